"""Needle lengths leave the lab marked as a trial: CSV, Parquet, JSON and the API."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
from drawn.needle_samples import measured, not_measured
from fastapi.testclient import TestClient
from labs.lab import HOME, desk_of
from labs.shell import Shell

from agent.web import create_app

FIELD = measured(3)
CALIBRATED = replace(measured(4), calibration="2026-11-28")


@pytest.fixture
def shell(tmp_path, capsys):
    made = Shell(tmp_path, capsys)
    for needles in (FIELD, CALIBRATED, not_measured("too_few"), None):
        made.lab.take("G8", needles=needles)
    return made


def test_a_csv_has_the_lengths_and_whether_they_are_calibrated(shell, tmp_path) -> None:
    file = tmp_path / "all.csv"

    shell.agent("export", "micrographs", "--out", file)

    rows = list(csv.DictReader(io.StringIO(file.read_text(encoding="utf-8-sig"))))
    assert [row["needles_status"] for row in rows] == ["measured", "measured", "too_few", ""]
    assert [row["needles_calibration"] for row in rows] == [
        "not calibrated here",
        "2026-11-28",
        "not calibrated here",
        "",
    ]
    assert float(rows[0]["needle_l90_um"]) == FIELD.l90_um
    assert float(rows[0]["needle_longest_um"]) == FIELD.maximum_um
    assert (rows[2]["needle_l90_um"], rows[2]["needles"]) == ("", "")


def test_a_parquet_file_has_them_as_numbers(shell, tmp_path) -> None:
    file = tmp_path / "all.parquet"

    shell.agent("export", "micrographs", "--out", str(file))

    table = pq.read_table(file)
    assert table["needle_l50_um"].to_pylist() == [FIELD.l50_um, CALIBRATED.l50_um, None, None]
    assert table["needles"].to_pylist() == [200, 200, None, None]


def test_the_api_returns_one_micrograph_with_all_and_lists_in_brief(shell) -> None:
    with TestClient(create_app(desk_of(shell.lab)), base_url=HOME) as client:
        listed = client.get("/api/v1/micrographs").json()["micrographs"]
        ids = [entry["id"] for entry in listed if (entry["needles"] or {}).get("l90_um")]
        one = client.get(f"/api/v1/micrographs/{ids[0]}").json()["needles"]

    by_status = {(entry["needles"] or {}).get("reason") for entry in listed}
    assert by_status == {"", "too_few", None}
    assert (one["trial"], one["status"]) == (True, "measured")
    assert len(one["longest"]) == 5
    assert all("longest" not in (entry["needles"] or {}) for entry in listed)
    assert one == json.loads(json.dumps((CALIBRATED if one["calibration"] else FIELD).to_json()))
