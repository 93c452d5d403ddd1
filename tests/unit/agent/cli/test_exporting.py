"""What is exported is what is known, whole, in a form that the other program reads right."""

from __future__ import annotations

import csv
import io
import json
import logging

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from labs.lab import minutes

from agent.cli import main
from agent.files.csv_export import FORMULA_STARTS, format_csv, plain
from agent.labelled_import import iter_rows
from agent.store import Decision, NewNeedle, Origin, acting_through


@pytest.fixture
def agent(tmp_path, capfd):
    """Runs one command as a shell would; gives its exit code, answer and complaint."""
    (tmp_path / "agent.toml").write_text('[site]\nname = "Plant 1"\n', encoding="utf-8")

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["--config", str(tmp_path / "agent.toml"), *arguments])
        said = capfd.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    handlers = logging.getLogger().handlers[:]
    yield run
    logging.getLogger().handlers = handlers  # a command's own are bound to the captured stderr
    structlog.reset_defaults()


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
