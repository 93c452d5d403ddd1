"""What is exported is known, whole, and in a form that the other program reads right."""

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
from hypothesis import given
from hypothesis import strategies as st
from labs.lab import DAY, HOME, RING_A, SETTINGS, TAXONOMY, minutes, web_of
from labs.shell import Shell

from agent.files.csv_export import FORMULA_STARTS, format_csv, plain
from agent.labelled_import import iter_rows
from agent.nightly import write_report
from agent.orders import Specifications
from agent.orders.judge.assessed import OrderPolicy
from agent.store import Decision, NewNeedle, Origin, acting_through
from agent.web import create_app


def test_every_micrograph_is_a_row_with_its_code_and_its_decision(lab, agent, tmp_path):
    first = lab.take("G9-10", order="4711", name="=1+1.tif")
    lab.take("M8", reasons=("uncertain",))
    lab.store.labels.decide(first, Decision("code", "Ann", code="G8"), at=minutes(5))

    code, _, said = agent("export", "--out", str(tmp_path / "out.csv"))

    with (tmp_path / "out.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert code == 0
    assert "2 rows" in said
    assert [(r["structure_code"], r["size_min"], r["size_max"]) for r in rows] == [
        ("G9-10", "9", "10"),
        ("M8", "8", "8"),
    ]
    assert rows[0]["file"].endswith("=1+1.tif")
    assert rows[0]["order"] == "4711"
    assert rows[0]["decided_by"] == "Ann"
    assert [path.name for path in tmp_path.glob(".*part")] == []


def test_an_export_can_be_narrowed(lab, agent, tmp_path):
    lab.take("G8", order="4711")
    lab.take("M8")
    lab.take("B8", at=minutes(24 * 60))

    for words, codes in (
        (("--order", "4711"), ["G8"]),
        (("--source", "nowhere"), []),
        (("--from", "2026-11-25"), ["B8"]),
        (("--to", "2026-11-24"), ["G8", "M8"]),
    ):
        agent("export", "--out", str(tmp_path / "out.json"), *words)

        lines = (tmp_path / "out.json").read_text(encoding="utf-8").splitlines()
        assert [json.loads(line)["structure_code"] for line in lines] == codes, words


def test_a_german_spreadsheet_opens_it_right(lab, agent, tmp_path):
    lab.take("G9-10")

    agent("export", "--out", str(tmp_path / "out.csv"), "--spreadsheet")

    held = (tmp_path / "out.csv").read_bytes()
    (row,) = csv.DictReader(held.decode("utf-8-sig").splitlines(), delimiter=";")
    assert held.startswith(b"\xef\xbb\xbf")
    assert row["um_per_px"] == "0,12"
    assert (row["size_min"], row["size_max"]) == ("9", "10")  # 9-10 becomes a date


def test_json_lines_and_parquet_say_the_same(lab, agent, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="no pyarrow")
    lab.take("G8", reasons=("strange",))
    lab.take(None, reasons=("untrained",))

    agent("export", "--out", str(tmp_path / "out.jsonl"))
    agent("export", "--out", str(tmp_path / "out.parquet"))

    lines = (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()
    said, table = [json.loads(line) for line in lines], parquet.read_table(tmp_path / "out.parquet")
    for row, same in zip(said, table.to_pylist(), strict=True):
        assert {key: value for key, value in same.items() if value is not None} == {
            key: value for key, value in row.items() if value is not None
        }


def test_measured_needles_are_exported_with_tips_and_author_withdrawn_ones_too(
    lab, agent, tmp_path
):
    pytest.importorskip("pyarrow.parquet", reason="no pyarrow")
    field = lab.take("G8")
    for end in ((40.0, 60.0), (70.0, 100.0)):
        needle = NewNeedle((10.0, 20.0), end, 0.2)
        number = lab.store.needle_measurements.add(field, needle, by="Ann", at=minutes(3))
    lab.store.needle_measurements.withdraw(field, number, by="Bea", at=minutes(4))

    _, out, said = agent("export", "needles", "--format", "json")
    code, _, _ = agent("export", "needles", "--out", str(tmp_path / "needles.parquet"))

    first, second = (json.loads(line) for line in out.splitlines())
    assert (code, "2 rows" in said) == (0, True)
    assert (first["id"], first["length_um"], first["by"]) == (field, pytest.approx(10), "Ann")
    assert [first[tip] for tip in ("start_x", "start_y", "end_x", "end_y")] == [10, 20, 40, 60]
    assert (first["withdrawn_by"], second["withdrawn_by"]) == (None, "Bea")


def test_the_trail_says_through_what_each_act_came_and_who_proved_to_be_there(lab, agent):
    public_id = lab.take("G8")
    origin = Origin("web", account="Ann", proof="password", address="10.0.0.7")
    with acting_through(origin):
        lab.store.labels.decide(public_id, Decision("code", "Ann", code="G8"), at=minutes(5))
    lab.store.labels.undo(public_id, by="Ann", at=minutes(6))

    _, out, _ = agent("export", "trail", "--format", "json")

    given, undone = (json.loads(line) for line in out.splitlines())
    wanted = ("act", "origin", "account", "proof", "address")
    assert [given[name] for name in wanted] == [
        "label.given",
        "web",
        "Ann",
        "password",
        "10.0.0.7",
    ]
    assert [undone[name] for name in wanted] == ["label.undone", None, None, None, None]


def test_stdout_holds_the_rows_and_nothing_else(lab, agent):
    lab.take("G8")

    _, out, said = agent("export")

    assert len(out.splitlines()) == 2
    assert "1 row written" in said


UNWRITABLE = [
    (("--out", "no/such/folder/out.csv"), "cannot be written"),
    (("--from", "yesterday"), "write a day such as"),
    (("--format", "parquet"), "name the file"),
]


def test_what_cannot_be_written_is_said_in_a_sentence(lab, agent):
    for words, sentence in UNWRITABLE:
        code, _, said = agent("export", *words)

        assert code == 2, words
        assert sentence in said, words
        assert "Traceback" not in said, words


@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
def test_an_order_in_the_second_row_alone_has_its_column(lab, agent, tmp_path, name):
    lab.take("G8")
    lab.take("M8", order="4711")

    code, _, said = agent("export", "--out", str(tmp_path / name))

    assert code == 0, said
    if name.endswith("csv"):
        with (tmp_path / name).open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    else:
        parquet = pytest.importorskip("pyarrow.parquet", reason="no pyarrow")
        rows = parquet.read_table(tmp_path / name).to_pylist()
    assert [row["order"] or "" for row in rows] == ["", "4711"]


def test_what_is_exported_for_training_runs_nothing_and_is_read_back_as_it_was(
    lab, agent, tmp_path
):
    lab.store.labels.decide(
        lab.take("G8", order="=1+1"), Decision("code", "Ann", code="G8"), at=minutes(5)
    )

    agent("export", "labelled", "--out", str(tmp_path / "labelled"))

    text = (tmp_path / "labelled" / "manifest.csv").read_text(encoding="utf-8")
    assert "'=1+1" in text
    rows = [cells for _, cells in iter_rows(tmp_path / "labelled" / "manifest.csv", accept_all)]
    assert [row["order"] for row in rows] == ["=1+1"]


@given(st.text(st.sampled_from("='+-@\t\r\n＝\"a,"), max_size=6))
def test_no_cell_begins_like_a_formula_and_each_is_read_back(value):
    text = format_csv(["before", "name"], [{"before": 1, "name": value}])

    _, (_, cell) = csv.reader(io.StringIO(text, newline=""))
    assert not cell.startswith(FORMULA_STARTS)
    assert plain(cell) == value


def accept_all(manifest, columns):
    """Refuse no columns."""


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
