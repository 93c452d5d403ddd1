"""Needle lengths leave the lab marked as a trial: CSV, Parquet, JSON and the API."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from datetime import timedelta

import pyarrow.parquet as pq
import pytest
from drawn.needle_samples import measured, not_measured
from fastapi.testclient import TestClient
from labs.lab import DAY, HOME, RING_A, SETTINGS, TAXONOMY, web_of
from labs.shell import Shell

from agent.nightly import write_report
from agent.orders import Specifications
from agent.orders.judge.assessed import OrderPolicy
from agent.web import create_app

FIELD = measured(3)
CALIBRATED = replace(measured(4), calibration="2026-11-28")


NUMBER = re.compile(r"\d+\.\d+")
WITH_NEEDLES = OrderPolicy(Specifications((RING_A,)), TAXONOMY, has_needles=True)
TOLD = {"order": "4711", "specimen": "01", "field": "1", "material": "100Cr6"}


def read_everywhere(folder, capsys, needles):
    """Return place → text of every place that shows needle lengths of an order's field."""
    shell = Shell(folder, capsys)
    shell.write("agent.toml", '[site]\nname = "Plant 1"\n[needles]\nenabled = true\n')
    public_id = shell.lab.take("G8", needles=needles, reasons=("uncertain",), **TOLD)
    texts = {"order in the shell": shell.agent("orders", "show", "4711")[1]}
    texts["order as JSON"] = shell.agent("orders", "show", "4711", "--json")[1]
    shell.agent("export", "micrographs", "--out", folder / "all.csv")
    texts["CSV"] = (folder / "all.csv").read_text(encoding="utf-8-sig")
    shell.agent("export", "micrographs", "--out", folder / "all.parquet")
    texts["Parquet"] = str(pq.read_table(folder / "all.parquet").to_pylist())
    lab = shell.lab
    later = DAY + timedelta(days=1)
    report = write_report(lab.store, lab.archive, lab.reports, DAY.date(), SETTINGS, now=later)
    texts["report"] = report.path.read_text("utf-8")
    web = replace(web_of(lab), lab=lambda: WITH_NEEDLES)
    with TestClient(create_app(web), base_url=HOME) as client:
        for place, address in {
            "page of the order": "/order/4711",
            "API, one": f"/api/v1/micrographs/{public_id}",
            "API, all": "/api/v1/micrographs",
            "API, order": "/api/v1/orders/4711",
        }.items():
            texts[place] = client.get(address).text
    lab.store.close()
    return texts


def test_every_place_that_shows_a_length_tells_whether_it_is_calibrated(tmp_path, capsys) -> None:
    for name, needles, is_calibrated in (("raw", FIELD, False), ("set", CALIBRATED, True)):
        (tmp_path / name).mkdir()

        texts = read_everywhere(tmp_path / name, capsys, needles)

        for place, text in texts.items():
            plain = text.replace(" ", "").lower()
            shown = [float(number) for number in NUMBER.findall(text)]
            assert any(number == pytest.approx(needles.l90_um, rel=0.01) for number in shown), place
            states = "notcalibrated" in plain or '"calibrated":false' in plain
            assert states is not is_calibrated, place


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
    with TestClient(create_app(web_of(shell.lab)), base_url=HOME) as client:
        listed = client.get("/api/v1/micrographs").json()["micrographs"]
        ids = [entry["id"] for entry in listed if (entry["needles"] or {}).get("l90_um")]
        one = client.get(f"/api/v1/micrographs/{ids[0]}").json()["needles"]

    by_status = {(entry["needles"] or {}).get("reason") for entry in listed}
    assert by_status == {"", "too_few", None}
    assert (one["trial"], one["status"]) == (True, "measured")
    assert len(one["longest"]) == 5
    assert all("longest" not in (entry["needles"] or {}) for entry in listed)
    assert one == json.loads(json.dumps((CALIBRATED if one["calibration"] else FIELD).to_json()))
