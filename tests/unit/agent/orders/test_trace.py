"""What stands behind a statement can be shown: pixels, checks, decisions, what was said before."""

import hashlib
import json
import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from labs.ordering import AT, BUNDLE, DEMAND
from labs.pipeline import Parrot
from labs.small import past, write_labelled

from agent.archive import Archive
from agent.orders.judge.assessment import Position
from agent.orders.statements.statement import describe_changes
from agent.orders.statements.trace import Sameness, judge_again
from agent.service.statements import StatementKeeper
from agent.settings import read


def trace(ordering, *words, folder="out"):
    """Trace into a folder; exit code, `trace.json` and the page come back."""
    target = ordering.folder / folder
    code = ordering.agent("orders", "trace", words[0], target, "--by", "R. Stahl", *words[1:])
    if not target.exists():
        return code, {}, ""
    document = json.loads((target / "trace.json").read_text("utf-8"))
    return code, document, (target / "trace.html").read_text("utf-8")


def conforming(ordering):
    ids = [ordering.take(field) for field in (1, 2, 3)]
    for one in ids:
        ordering.confirm(one)
    return ids


# --- the folder ---------------------------------------------------------------------------------


def test_a_trace_says_all_that_stands_behind_an_order(ordering):
    ids = conforming(ordering)
    ordering.check()
    freeze(ordering)

    code, document, page = trace(ordering, "4711")

    (order,), first = document["orders"], document["fields"][0]
    assert code == 0
    assert order["conformity"] == "conforms"
    assert order["specification_version"] == 1
    assert order["specification_entry"]["limit"] == "8 or finer"
    assert [field["id"] for field in document["fields"]] == ids
    assert first["um_per_px"] == 0.12
    assert first["crop"]["scales"] == [{"source": "metadata", "um_per_px": 0.12}]
    assert first["decisions"][0]["by"] == "Ada"
    assert [check["passed"] for check in first["control_checks"]] == [True]
    assert first["judged_again"]["outcome"] == "not_possible"  # its bundle is not on this disk
    assert "the file&#39;s metadata: 0.12 µm per pixel" in page
    assert "code G8" in page
    assert "ring-a, version 1" in page
    assert (ordering.folder / "out" / "specifications" / "ring-a-1.json").is_file()


def test_a_german_page_has_german_words_and_its_json_english_ones(ordering):
    conforming(ordering)
    ordering.check()
    with (ordering.folder / "agent.toml").open("a", encoding="utf-8") as file:
        file.write('\n[report]\nlanguage = "de"\n')

    code, document, page = trace(ordering, "4711")

    assert code == 0
    assert '<html lang="de">' in page
    for words in ("Nachweis des Auftrags 4711", "Maßstab und seine Prüfungen", "0,12 µm je Pixel"):
        assert words in page
    for words in ("Judged", "Control check of that day", "demanded:", "Superseded"):
        assert words not in page
    assert document["orders"][0]["conformity"] == "conforms"


def test_every_file_of_a_trace_is_named_with_its_hash(ordering):
    (first, *_) = conforming(ordering)

    trace(ordering, "4711")

    folder = ordering.folder / "out"
    lines = (folder / "SHA256SUMS").read_text("utf-8").splitlines()
    sums = {name: sum_ for sum_, name in (line.split("  ") for line in lines)}
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert sums.keys() == there - {"SHA256SUMS"}
    assert f"pixels/{first}/crop.png" in sums
    assert all(
        hashlib.sha256((folder / name).read_bytes()).hexdigest() == sum_
        for name, sum_ in sums.items()
    )


def test_the_page_asks_the_network_for_nothing_and_escapes_what_people_typed(ordering):
    ordering.take(1, specimen="<b>7</b>")

    _, _, page = trace(ordering, "4711")

    assert re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', page) == []
    assert "&lt;b&gt;7&lt;/b&gt;" in page
    assert "<b>7</b>" not in page


def test_a_folder_that_is_there_is_left_as_it_is_and_nothing_is_stated(ordering):
    conforming(ordering)
    (ordering.folder / "out").mkdir()
    (ordering.folder / "out" / "mine.txt").write_text("mine")

    assert ordering.agent("orders", "trace", "4711", ordering.folder / "out") == 2

    assert "already there, and is left as it is" in ordering.err
    assert [path.name for path in (ordering.folder / "out").iterdir()] == ["mine.txt"]
    assert ordering.store.records.all("statement") == []


def test_superseded_fields_stay_in_the_trace_with_reason_and_person(ordering):
    coarse = ordering.take(1, "G7")
    words = ("--by", "R. Stahl", "--reason", "too dark", "--defect", "over_etched")
    ordering.agent("orders", "supersede", "4711", "--specimen", "01", *words)
    ordering.at = datetime.now(UTC)
    conforming(ordering)

    _, document, page = trace(ordering, "4711")

    (old,) = [field for field in document["fields"] if field["id"] == coarse]
    assert old["place"] == "specimen 01, preparation 1"
    assert old["superseded"]["reason"] == "too dark"
    assert "superseded by R. Stahl: too dark, defect over etched" in page
    assert "specimen prepared again (too dark)" in page


def test_a_failed_check_of_that_day_is_in_the_trace(ordering):
    conforming(ordering)
    ordering.check(passed=False)

    _, document, page = trace(ordering, "4711")

    assert document["orders"][0]["conformity"] == "undecided"
    assert document["fields"][0]["held"].startswith("the control check of 2026-11-24 09:00 UTC")
    assert "on PC: failed" in page


# --- statements and amendments ------------------------------------------------------------------


def freeze(ordering):
    """Let the agent freeze what changed, as its service does."""
    keeper = StatementKeeper(
        read(ordering.folder / "agent.toml"),
        ordering.store,
        now=lambda: AT,
        position=Position(0, 0),
    )
    return keeper.freeze_touched()


def test_a_correction_is_an_amendment_and_the_earlier_statement_stays_readable(ordering):
    (first, *_) = conforming(ordering)
    ordering.check()
    freeze(ordering)
    ordering.confirm(first, "G7", "looked again")
    freeze(ordering)

    code, document, page = trace(ordering, "4711", folder="second")

    (order,) = document["orders"]
    earlier, amended = order["statements"]
    assert code == 0
    assert earlier["document"]["conformity"] == "conforms"
    assert amended["document"]["conformity"] == "does_not_conform"
    assert f"field {first}: G8 by Ada, now G7 by Ada" in amended["changed"]
    kept = ordering.folder / "second" / "statements" / "4711-1.json"
    assert hashlib.sha256(kept.read_bytes()).hexdigest() == earlier["sha256"]
    assert json.loads(kept.read_bytes())["document"] == earlier["document"]
    assert "Statement 1: conforms" in page
    assert "Statement 2: does not conform" in page


def test_a_trace_writes_nothing_into_the_database(ordering):
    conforming(ordering)
    freeze(ordering)
    (ordering.folder / "specifications.toml").write_text(DEMAND.replace("= 3", "= 2"), "utf-8")
    before = (ordering.folder / "data" / "martensight.db").read_bytes()
    acts = [entry.act for entry in ordering.store.audit_log.iter_acts()]

    trace(ordering, "4711", "--by", "Ada")

    assert [entry.act for entry in ordering.store.audit_log.iter_acts()] == acts
    assert (ordering.folder / "data" / "martensight.db").read_bytes() == before


def test_an_order_without_a_statement_says_so(ordering):
    ordering.take(1)

    _, document, page = trace(ordering, "4711")

    assert document["orders"][0]["statements"] == []
    assert "None was made yet: the order is still undecided." in page


def test_a_change_is_said_in_a_few_words():
    def said(word, *fields):
        specimen = {"specimen": "01", "conformity": word, "fields": list(fields), "superseded": []}
        rest = dict.fromkeys(("material", "customer", "product", "demand", "specification"), "")
        return rest | {
            "conformity": word,
            "missing": [],
            "specification_version": 1,
            "specimens": [specimen],
        }

    field = {"id": "a", "structure_code": "G8", "decided": None, "superseded": None}
    gone = field | {"superseded": {"reason": "blurred"}}

    assert list(describe_changes(said("conforms", field), said("conforms", field))) == []
    assert list(describe_changes(said("conforms", field), said("undecided", gone))) == [
        "the order: conforms, now undecided",
        "specimen 01: conforms, now undecided",
        "field a: G8, now G8, superseded",
    ]


# --- what a word names --------------------------------------------------------------------------


def test_a_heat_leads_to_all_its_orders(ordering):
    for order in ("4711", "4712"):
        ordering.take(1, order=order, keys={"heat": "H7"})
    ordering.take(1, order="4713", keys={"heat": "H8"})

    _, document, _ = trace(ordering, "H7")

    assert document["kind"] == "heat"
    assert [order["order"] for order in document["orders"]] == ["4711", "4712"]


def test_a_word_that_names_two_things_is_refused_until_it_is_said_which(ordering):
    ordering.take(1, order="4711", keys={"heat": "4712"})
    ordering.take(1, order="4712")

    torn, _, _ = trace(ordering, "4712")
    sentence = ordering.err
    _, document, _ = trace(ordering, "4712", "--as", "heat")

    assert torn == 2
    assert "'4712' names an order and a heat; say which with --as order" in sentence
    assert [order["order"] for order in document["orders"]] == ["4711"]


def test_an_id_leads_to_one_field_and_states_nothing(ordering):
    (first, *_) = conforming(ordering)

    _, document, _ = trace(ordering, first)

    assert [field["id"] for field in document["fields"]] == [first]
    assert document["orders"][0]["order"] == "4711"
    assert ordering.store.records.all("statement") == []


def test_a_field_of_no_order_is_traced_alone(ordering):
    stray = ordering.take(1, keys={"order": "", "specimen": ""})

    _, document, page = trace(ordering, stray)

    assert document["orders"] == []
    assert [field["id"] for field in document["fields"]] == [stray]
    assert "belongs to no specimen" in page


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("1",), "Unknown order or heat or micrograph '1'"),
        (("4711", "--as", "batch"), "--as: one of order, heat, id, found 'batch'"),
    ],
)
def test_a_word_that_names_nothing_is_said(ordering, words, sentence):
    ordering.take(1)

    assert ordering.agent("orders", "trace", *words) == 2
    assert sentence in ordering.err


# --- judged again -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("says", "outcome", "sentence"),
    [
        ("G8", Sameness.SAME, "G8 again, probability 0.8460 then, 0.8460 now"),
        ("G7", Sameness.DIFFERENT, "structure code G8 then, G7 now"),
    ],
)
def test_the_archived_crop_is_judged_again(ordering, says, outcome, sentence):
    view = ordering.store.results.find(ordering.take(1))

    again = judge_again(view, ordering.lab.archive, Parrot(BUNDLE, says))

    assert again.outcome is outcome
    assert again.sentence.startswith(sentence)


def test_another_answer_in_another_precision_is_no_difference(ordering):
    view = ordering.store.results.find(ordering.take(1))
    view = replace(view, result=replace(view.result, precision="bf16"))

    same, other = (judge_again(view, ordering.lab.archive, Parrot(BUNDLE, s)) for s in ("G8", "G7"))

    assert same.outcome is Sameness.SAME
    assert other.outcome is Sameness.NOT_POSSIBLE
    assert other.sentence == (
        "it was computed in bf16, which this PC does not reproduce; in fp32: structure code G8 "
        "then, G7 now; prediction set G8 then, G7 now"
    )


def test_a_crop_that_is_no_longer_what_was_archived_is_different(ordering):
    view = ordering.store.results.find(ordering.take(1))
    archive = Archive(ordering.folder / "data")
    path = archive.crop_path(view.sha256, 0)
    view.artefacts["crop"] = hashlib.sha256(path.read_bytes()).hexdigest()
    path.write_bytes(path.read_bytes() + b"\0")

    again = judge_again(view, archive, Parrot(BUNDLE))

    assert again.outcome is Sameness.DIFFERENT
    assert "not what was archived" in again.sentence


@pytest.mark.slow
def test_a_real_bundle_says_the_same_again_and_the_original_bytes_are_there(taught_lab, tmp_path):
    (picture, *_) = past(1, first_order=6000, seed=21)
    export = taught_lab.folder / "export"
    labelled = tmp_path / "drawn"
    write_labelled([picture], labelled)
    (drawn,) = (labelled / picture.code).iterdir()
    (export / drawn.name).write_bytes(drawn.read_bytes())
    assert taught_lab.agent("run", "--once") == 0

    assert taught_lab.agent("orders", "trace", picture.order, tmp_path / "out") == 0

    document = json.loads((tmp_path / "out" / "trace.json").read_text("utf-8"))
    (field,) = document["fields"]
    (original,) = (tmp_path / "out" / "pixels" / field["id"]).glob("original.*")
    assert field["judged_again"]["outcome"] == "same"
    assert [check["passed"] for check in field["control_checks"]] == [True]
    assert original.read_bytes() == drawn.read_bytes()
    assert list((tmp_path / "out" / "bundles").glob("*.json"))
