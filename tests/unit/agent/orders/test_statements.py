"""What was stated of an order is frozen when it changes, whole, and never changes again."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from labs.lab import DAY, RING_A
from labs.statements import ISSUER, RULES, alter, freeze, label, newest, stated, take
from labs.stored import SHA, file, finding

import reports
from agent.backup.verification import Outside, verify_trail
from agent.cli.app import main
from agent.orders import Specifications
from agent.orders.facts.open_items import OpenItems
from agent.orders.facts.scale_tracing import SCALE_CHECK, ScaleTracing, load_measurements
from agent.orders.instruments.instrument_checks import CONTROL
from agent.orders.instruments.instrument_holds import Holds, load_releases
from agent.orders.judge.assessment import Position, assess, begin, list_due, list_touched
from agent.orders.judge.method_validation import AUTOMATIC, VALIDATION, load_allowances
from agent.orders.lims.outbox import OUTBOX, OutboxFormat, record_revisions
from agent.orders.lims.resumption import Beyond, SentRevision, adopt
from agent.orders.specifications.specification_history import load_history, reopen
from agent.orders.statements.freezing import (
    Freezer,
    find_differences,
    freeze_orders,
    list_stated,
    list_unsupported,
)
from agent.orders.statements.statement_page import build_statement_page
from agent.settings.root import RECIPE
from agent.store import Decision, Entry, NewStatement, Store, recompute_statement
from model import load_taxonomy

MIXED = """
name = "Ball bearing steel"
[[size]]
name = "coarse"
[[size]]
name = "medium"
[[subtype]]
name = "network"
[[subtype]]
name = "globular"
sizes = ["coarse", "medium"]
"""


@pytest.mark.parametrize(
    ("code", "word"), [("globular medium", "conforms"), ("globular coarse", "does_not_conform")]
)
def test_a_statement_names_the_limit_of_each_field_or_that_there_is_none(lab, tmp_path, code, word):
    (tmp_path / "taxonomy.toml").write_text(MIXED, encoding="utf-8")
    wanted = RING_A.model_copy(
        update={"subtype": ("network", "globular"), "limit": "medium or finer", "fields": 2}
    )
    rules = replace(
        RULES,
        specifications=Specifications((wanted,)),
        taxonomy=load_taxonomy(tmp_path / "taxonomy.toml"),
    )
    for field, said in (("1", "network"), ("2", code)):
        label(lab, take(lab, field, None, reasons=("untrained",)), said)

    freeze(lab, rules=rules)

    whole = newest(lab)
    page = build_statement_page(whole, "ab" * 32, lambda _field: None)
    (fields,) = [part for part in page.sections if part.title == "Fields"]
    assert stated(lab) == [word]
    assert [field["limit"] for field in whole["fields"]] == [None, "medium or finer"]
    assert [row[1:3] for row in fields.tables[0].rows] == [
        ("network", "no limit"),
        (code, "medium or finer"),
    ]


# --- when one is made ---------------------------------------------------------------------------


def test_each_change_of_conformity_is_one_statement_and_the_same_state_none(lab):
    public_id = take(lab)
    freeze(lab)
    freeze(lab, at=DAY + timedelta(hours=1))
    label(lab, public_id)
    freeze(lab)
    freeze(lab, at=DAY + timedelta(days=3))
    lab.store.labels.undo(public_id, by="Ada", at=DAY + timedelta(hours=2))
    freeze(lab, at=DAY + timedelta(hours=2))
    label(lab, public_id, "G7", at=DAY + timedelta(hours=3))

    freeze(lab, at=DAY + timedelta(hours=3))

    assert stated(lab) == ["undecided", "conforms", "undecided", "does_not_conform"]


def test_what_a_retraining_suspects_changes_no_statement_and_what_a_lead_doubts_does(lab):
    public_id = take(lab)
    label(lab, public_id, "G7")
    freeze(lab)
    view = lab.store.results.find(public_id)
    doubt = {"label_id": view.label.id, "at": DAY + timedelta(hours=1)}

    lab.store.labels.mark_suspect(public_id, sentence="label", by="agent retrain", **doubt)
    freeze(lab, at=DAY + timedelta(hours=2))
    after_program = stated(lab)
    label(lab, public_id, "G7", by="Ben", at=DAY + timedelta(hours=3))
    freeze(lab, at=DAY + timedelta(hours=3))
    doubt = {"label_id": lab.store.results.find(public_id).label.id, "at": DAY}
    lab.store.labels.mark_suspect(public_id, sentence="requested", by="R. Stahl", **doubt)
    freeze(lab, at=DAY + timedelta(hours=4))

    assert after_program == ["does_not_conform"]
    assert stated(lab) == ["does_not_conform", "does_not_conform", "undecided"]


def test_once_it_was_final_another_basis_is_a_statement_too(lab):
    first = take(lab)
    freeze(lab)
    take(lab, "2")
    freeze(lab)  # still undecided, for another reason
    label(lab, first)
    for view in lab.store.results.iter_all():
        label(lab, view.id)
    freeze(lab)
    label(lab, first, by="Bob")

    freeze(lab)

    assert stated(lab) == ["undecided", "conforms", "conforms"]
    assert [one["name"] for one in newest(lab)["people"]] == ["Ada", "Bob"]


def test_a_statement_names_the_acts_behind_it_and_the_one_before(lab):
    public_id = take(lab)
    label(lab, public_id)
    (first,) = freeze(lab)
    label(lab, public_id, "G7", by="R. Stahl", at=DAY + timedelta(hours=1))

    freeze(lab, at=DAY + timedelta(hours=2))

    whole = newest(lab)
    assert (whole["number"], whole["previous"]) == (2, first)
    assert [(one["by"], one["act"]) for one in whole["cause"]] == [("R. Stahl", "label.given")]
    assert f"field {public_id}: G8 by Ada, now G7 by R. Stahl" in whole["changed"]
    assert whole["words"]["de"]["changed"][0] == "der Auftrag: entspricht, jetzt entspricht nicht"


def test_a_clock_that_is_set_back_makes_no_statement_older_than_the_one_before(lab):
    public_id = take(lab)
    freeze(lab)
    label(lab, public_id)

    freeze(lab, at=DAY - timedelta(days=1))

    first, second = lab.store.statements.all("4711")
    assert second.at == first.at
    assert lab.store.statements.find_at("4711", DAY) == second


def test_what_was_said_on_a_day_is_found(lab):
    public_id = take(lab)
    label(lab, public_id)
    freeze(lab)
    label(lab, public_id, "G7", at=DAY + timedelta(days=2))
    freeze(lab, at=DAY + timedelta(days=2))

    said = [lab.store.statements.find_at("4711", DAY + timedelta(days=days)) for days in (-1, 1, 2)]

    assert [one and one.conformity for one in said] == [None, "conforms", "does_not_conform"]


def test_two_agents_that_examine_at_once_freeze_one_statement(lab):
    label(lab, take(lab))
    (first,) = freeze(lab)
    known = lab.store.statements.newest()
    label(lab, next(iter(lab.store.results.iter_all())).id, "G7")
    freeze(lab)

    late = Freezer(lab.store, RULES, ISSUER, open_items=OpenItems.of(lab.store))

    assert late.freeze("4711", known, now=DAY) == ""
    assert stated(lab) == ["conforms", "does_not_conform"]
    assert newest(lab)["previous"] == first


# --- what it holds ------------------------------------------------------------------------------


def test_a_statement_holds_all_that_it_rests_on(lab):
    store = lab.store
    check = {"passed": True, "sources": ["LOM-07"], "software": "0.1.0", "bundle": "b"}
    store.records.add(CONTROL, "PC", by="agent", at=DAY, facts=check | {"findings": []})
    scale = {
        "microscope": "",
        "source": "LOM-07",
        "objective": "50x",
        "um_per_px": 0.12,
        "uncertainty": 0.004,
        "width": 100,
        "height": 90,
        "certificate": "D-K-1187",
    }
    before = DAY - timedelta(days=9)
    store.records.add(SCALE_CHECK, "LOM-07", by="A. Cole", at=before, facts=scale)
    limit = {"n": 149, "wrong": 0, "upper95": 0.0199, "bound95": 0.0199, "um_per_px": [0.1, 0.2]}
    facts = {"bundle": "20261101-0badcafe", "images": 900, "specimens": 298, "folder": "held-out"}
    record = store.records.add(
        VALIDATION,
        "100Cr6",
        by="R. Stahl",
        at=before,
        facts=facts | {"limits": {"G 8 or finer": limit}},
    )
    on = {"on": True, "reason": "validated", "validation": record}
    store.records.add(AUTOMATIC, "100Cr6", by="R. Stahl", at=before, facts=on)
    kept = take(lab, "1", objective="50x")
    gone = take(lab, "2", "G7", objective="50x")
    store.order_corrections.supersede(
        gone, by="R. Stahl", reason="over-etched", at=DAY, defect="over_etched", lead=True
    )
    rules = replace(
        RULES,
        allowances=load_allowances(store),
        traced=ScaleTracing(load_measurements(store)).find,
        is_lead=lambda name: name == "R. Stahl",
    )

    freeze(lab, rules=rules)

    whole = newest(lab)
    field = next(one for one in whole["fields"] if one["id"] == kept)
    (permission,) = whole["permissions"]
    (aside,) = whole["set_aside"]
    assert whole["conformity"] == "conforms"
    assert whole["document"]["decision_rule"]["name"] == "guarded acceptance"
    assert whole["method"]["guard"].startswith("a field keeps 8 or finer")
    assert whole["specification"]["entry"]["limit"] == "8 or finer"
    assert whole["bundles"] == {
        "20261101-0badcafe": {"sha256": "of 20261101-0badcafe", "promoted": []}
    }
    assert field["recipe"] == RECIPE
    assert (field["engine"], field["precision"]) == ("pytorch", "fp32")
    assert field["crop"] == [0, 0, 100, 80]
    assert field["scale_certificate"]["certificate"] == "D-K-1187"
    assert field["source"] == "LOM-07"
    assert [one["on"] for one in whole["control_checks"]] == ["PC"]
    assert (permission["by"], permission["validation"]["record"]) == ("R. Stahl", record)
    assert permission["fields"] == [kept]
    assert (aside["name"], aside["by"], aside["reason"]) == (gone, "R. Stahl", "over-etched")
    assert whole["software"].startswith("Martensight ")
    assert (whole["site"], whole["zone"]) == ("Plant 1", "Europe/Berlin")


def test_its_hash_is_in_the_audit_log_and_in_the_outbox_whose_document_is_kept(lab):
    label(lab, take(lab))

    record_revisions(lab.store, RULES, OutboxFormat("Plant 1", ("json",)), now=DAY, issuer=ISSUER)

    (statement,) = lab.store.statements.all("4711")
    (act,) = lab.store.audit_log.iter_acts("statement.frozen")
    outbox = lab.store.records.latest(OUTBOX, "4711")
    kept = lab.store.records.latest("outbox_files", outbox.facts["id"])
    assert act.facts["sha256"] == statement.sha256
    assert outbox.facts["statement"] == statement.sha256
    assert json.loads(kept.facts["texts"]["json"])["statement"] == statement.sha256


def test_every_statement_since_the_last_round_reaches_the_outbox(lab):
    public_id = take(lab)
    site = OutboxFormat("Plant 1", ("json",))
    for code in ("G8", "G7", "G8"):
        label(lab, public_id, code)
        freeze(lab)

    record_revisions(lab.store, RULES, site, now=DAY, issuer=ISSUER)

    found = [record.facts["statement_number"] for record in lab.store.records.all(OUTBOX, "4711")]
    assert stated(lab) == ["conforms", "does_not_conform", "undecided"]
    assert found == [1, 2, 3]


# --- it never changes ---------------------------------------------------------------------------


def test_the_text_of_a_statement_has_its_hash_and_stays_when_everything_else_changes(lab):
    public_id = take(lab)
    label(lab, public_id)
    (sha256,) = freeze(lab)
    before = lab.store.statements.text(sha256)
    edited = RING_A.model_copy(update={"limit": "7 or finer", "approved_by": "Eve"})

    lab.store.promotions.promote("20270101-00000000", by="Ada", reason="new", at=DAY, metrics={})
    lab.store.orders.take_list([Entry("4711", customer="Other")], "l", by="x", at=DAY)
    label(lab, public_id, "G7")
    freeze(lab, rules=replace(RULES, specifications=Specifications((edited,)), second_look=True))

    assert len(lab.store.statements.all("4711")) == 2
    assert lab.store.statements.text(sha256) == before
    assert recompute_statement(before) == sha256
    assert lab.store.statements.problems() == []


@pytest.mark.parametrize(
    ("sql", "sentence"),
    [
        (
            "UPDATE statement SET document = replace(document, 'G8', 'G7') WHERE number = 1",
            "sha256 of document was",
        ),
        ("UPDATE statement SET conformity = 'conforms' WHERE number = 2", "is 'conforms'"),
        ("UPDATE statement SET at = '2026-01-01 00:00:00' WHERE number = 2", "is 2026-01-01"),
        ("UPDATE statement SET final = 0 WHERE number = 1", "final was True (trail number"),
        ("UPDATE statement SET state = 'x' WHERE number = 2", "is 'x'"),
        ("DELETE FROM statement WHERE number = 2", "(statement.frozen by agent, trail number"),
        ("DELETE FROM statement WHERE number = 1", "(the statement before it), is"),
    ],
)
def test_a_changed_row_is_found(lab, sql, sentence):
    public_id = take(lab)
    label(lab, public_id)
    freeze(lab)
    label(lab, public_id, "G7")
    freeze(lab)

    alter(lab, sql)

    found = lab.store.statements.problems()
    assert any(sentence in one and "order 4711" in one for one in found)


def test_a_statement_that_was_made_by_hand_is_found(lab):
    label(lab, take(lab))
    freeze(lab)
    whole = newest(lab) | {"number": 2, "conformity": "does_not_conform"}
    text_ = json.dumps(whole, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    before = lab.store.statements.all("4711")[0].sha256

    alter(
        lab,
        "INSERT INTO statement (site_id, order_id, number, sha256, previous_sha256, conformity, "
        "state, final, at, document) SELECT site_id, order_id, 2, :sha, :before, "
        "'does_not_conform', state, final, at, :text FROM statement WHERE number = 1",
        sha=recompute_statement(text_),
        before=before,
        text=text_,
    )

    (found,) = lab.store.statements.problems()
    assert found.startswith("statement 2 of order 4711: is not in the trail")


def test_both_databases_keep_a_statement_byte_for_byte(address):
    with Store.open(address, site="Plant 1", agent="PC") as store:
        store.files.add([file("a.tif")], at=DAY)
        (claim,) = store.work_queue.claim(1, at=DAY, lease_s=60)
        process = {"order": "4711", "specimen": "1", "material": "100Cr6"}
        store.work_queue.finish(claim, [finding(SHA, process=process)], at=DAY)

        (sha256,) = freeze_orders(store, RULES, ISSUER, ["4711"], now=DAY)
        again = freeze_orders(store, RULES, ISSUER, ["4711"], now=DAY)

        assert again == []
        assert recompute_statement(store.statements.text(sha256)) == sha256
        assert store.statements.newest(["4711"])["4711"].sha256 == sha256
        assert store.statements.problems() == []


# --- what sets it off ---------------------------------------------------------------------------


def test_what_touches_an_order_is_examined_at_once(lab):
    take(lab)
    take(lab, order="4712")
    position = begin(lab.store)
    label(lab, next(iter(lab.store.results.iter_all())).id)
    (mine,) = {lab.store.orders.of_micrograph(next(iter(lab.store.results.iter_all())).id)}

    due, after = list_touched(lab.store, lambda: RULES, position=position, now=DAY)
    nothing, same = list_touched(lab.store, lambda: RULES, position=after, now=DAY)

    assert due == [mine]
    assert (nothing, same) == ([], after)


def test_an_act_that_names_no_order_is_examined_for_all(lab):
    for order in ("4711", "4712"):
        take(lab, order=order)
    position, later = begin(lab.store), DAY + timedelta(days=400)
    facts = {"on": False, "reason": "drift", "validation": None}
    lab.store.records.add(AUTOMATIC, "100Cr6", by="R. Stahl", at=later, facts=facts)

    due, _ = list_touched(lab.store, lambda: RULES, position=position, now=later)
    everything, _ = list_due(
        lab.store,
        RULES,
        OpenItems.of(lab.store),
        position=replace(position, swept=10**6),
        now=later,
    )

    assert sorted(due) == ["4711", "4712"]
    assert sorted(everything) == ["4711", "4712"]


# --- the long story -----------------------------------------------------------------------------


def test_the_statements_are_what_a_reader_would_have_seen(lab):
    """Play an order's life; after each step a reader looks, and the agent freezes."""
    store, rules, position = lab.store, RULES, Position(0, 0)
    clock, seen, texts = DAY, [], {}

    def laws():
        return replace(
            rules,
            held=Holds(store.records.all(CONTROL), {}, load_releases(store)),
            allowances=load_allowances(store),
            history=load_history(store),
            is_lead=lambda name: name == "R. Stahl",
        )

    def step(act, *, is_killed=False):
        nonlocal clock, position
        clock += timedelta(hours=1)
        act()
        now = assess(store, "4711", laws())
        if now and (not seen or seen[-1] != now.statement.conformity):
            seen.append(str(now.statement.conformity))
        due, after = list_touched(store, laws, position=position, now=clock)
        freeze_orders(store, laws(), ISSUER, due, now=clock)
        if not is_killed:  # a kill comes before the position is kept: the next round sees it again
            position = after
        assert {one: store.statements.text(one) for one in texts} == texts
        for statement in store.statements.all("4711"):
            texts[statement.sha256] = store.statements.text(statement.sha256)

    def note():
        one = (RING_A.name, RING_A.valid_from, RING_A.approved_by, RING_A.sha256, RING_A.entry)
        store.specifications.note([one], zone="UTC", at=clock)

    def check(*, passed):
        facts = {"passed": passed, "sources": ["LOM-07"], "software": "1", "findings": []}
        store.records.add(CONTROL, "PC", by="agent", at=clock, facts=facts)

    ids = []
    step(note)
    step(lambda: check(passed=True))
    step(lambda: ids.append(take(lab, "1", at=clock)))
    step(lambda: label(lab, ids[0], at=clock))
    step(lambda: check(passed=False), is_killed=True)
    step(
        lambda: store.records.add(
            "hold_release",
            "LOM-07",
            by="R. Stahl",
            at=clock,
            facts={
                "from": DAY.isoformat(),
                "to": clock.isoformat(),
                "reason": "lamp, not the scale",
            },
        )
    )
    step(lambda: label(lab, ids[0], "G7", by="R. Stahl", at=clock), is_killed=True)
    step(lambda: store.labels.undo(ids[0], by="R. Stahl", at=clock))
    step(lambda: label(lab, ids[0], "G8", by="R. Stahl", at=clock))
    step(lambda: ids.append(take(lab, "2", at=clock)))
    step(lambda: label(lab, ids[1], at=clock))
    step(lambda: check(passed=True))
    step(
        lambda: store.order_corrections.supersede(
            ids[1], by="R. Stahl", reason="blurred", at=clock, defect="out_of_focus", lead=True
        ),
        is_killed=True,
    )
    step(lambda: lab.set_aside("4711_1_3.tif", "unreadable", "cut off", at=clock))
    step(lambda: reopen(store, "4711", by="R. Stahl", reason="asked by the customer", at=clock))
    step(
        lambda: store.orders.take_list(
            [Entry("4711", facts={"specimens": ["1", "2"]})], "l", by="PPS", at=clock
        )
    )

    words = stated(lab)
    assert seen == [
        "undecided",
        "conforms",
        "undecided",
        "conforms",
        "does_not_conform",
        "undecided",
    ]
    assert [b for a, b in pairwise(["", *words]) if a != b] == seen
    assert store.statements.problems() == []


def test_a_result_or_label_that_was_changed_under_a_statement_is_named(lab):
    first = take(lab)
    label(lab, first)
    freeze(lab)
    assert list(find_differences(lab.store, list_stated(lab.store))) == []

    alter(lab, "UPDATE result SET structure_code = 'G6'")
    alter(lab, "UPDATE label SET code = 'G5'")

    said = "; ".join(find_differences(lab.store, list_stated(lab.store)))
    assert f"statement 1 of order 4711: field {first}: the result was G8 by" in said
    assert "the label was G8 by Ada, the rows hold G5 by Ada" in said


def test_a_statement_that_conforms_and_was_appended_to_an_order_that_does_not_is_named(lab):
    label(lab, take(lab), "G7")
    freeze(lab)
    document = newest(lab) | {"number": 2, "conformity": "conforms"}
    (first,) = lab.store.statements.all("4711")
    forged = NewStatement("4711", 2, first.sha256, "conforms", "x", True, document)  # noqa: FBT003
    assert lab.store.statements.add(forged, at=DAY + timedelta(hours=1))

    ((sentence, is_sure),) = list_unsupported(lab.store, RULES)

    assert is_sure
    assert "statement 2 of order 4711 says that it conforms" in sentence
    assert "by what the database holds it is: does not conform" in sentence


def test_a_statement_that_is_merely_older_than_the_order_is_a_note(lab):
    first = take(lab)
    label(lab, first)
    freeze(lab)
    assert list_unsupported(lab.store, RULES) == []

    label(lab, first, "G7", by="Bob", at=DAY + timedelta(hours=1))

    ((sentence, is_sure),) = list_unsupported(lab.store, RULES)
    assert not is_sure
    assert "Something was done with it since" in sentence


# --- what an auditor asks -------------------------------------------------------------------------


def list_audited():
    """Return question → keys of the guide's table of an auditor's questions, and of each field."""
    page = (Path(reports.__file__).parent / "guide" / "orders.md").read_text(encoding="utf-8")
    table = page.partition("What an auditor asks")[2].partition("\n## ")[0]
    rows = [line.split("|") for line in table.splitlines() if line.startswith("| ")][2:]
    asked = {}
    for _, question, answer, _ in rows:
        inside = "".join(re.findall(r"`fields` \(([^)]*)\)", answer))
        of_field = re.findall(r"`([a-z0-9_]+)`", inside)
        keys = re.findall(r"`([a-z_.]+)`", answer.replace(inside, "") if inside else answer)
        asked[question.strip()] = keys, of_field
    return asked


def get_at(whole, key):
    for part in key.split("."):
        whole = whole[part]
    return whole


def conforms(lab):
    label(lab, take(lab))


def breaks(lab):
    label(lab, take(lab), "G7")


def is_held(lab):
    conforms(lab)
    lab.take("G7", name="4711-01-4.tif", at=DAY, material="100Cr6")


def is_revised(lab):
    public_id = take(lab)
    label(lab, public_id)
    freeze(lab)
    label(lab, public_id, "G7", by="Ben", at=DAY + timedelta(hours=1))
    label(lab, public_id, "G7", by="Eve", at=DAY + timedelta(hours=1))


def is_imported_for_orders(lab):
    decision = Decision("code", "R. Stahl", code="G8", origin="import_for_orders")
    lab.store.labels.decide(take(lab, code=None, reasons=("untrained",)), decision, at=DAY)


def averages(lab):
    for number, code in enumerate(("G8", "G9-10"), start=1):
        label(lab, take(lab, str(number), code), code)
    entry = RING_A.model_copy(update={"fields": 2, "specimen_rule": "mean_of_fields"})
    return replace(RULES, specifications=Specifications((entry,)))


def is_restored(lab):
    conforms(lab)
    lost = SentRevision("4711", 3, "ab12", "cd34", "does_not_conform", lab="")
    adopt(lab.store, [Beyond(lost, revision=1, statement_number=1)], at=DAY)


AUDITED = {
    conforms: ("conforms", "labels", "'Ada'"),
    breaks: ("does_not_conform", "document.because", "field 1 is G7, confirmed by Ada"),
    is_held: ("undecided", "document.missing", "4711-01-4.tif belongs to no specimen"),
    is_revised: ("does_not_conform", "changed", "conforms"),
    is_imported_for_orders: ("conforms", "fields", "'imported': True"),
    averages: ("conforms", "document.decision_rule", "'mean': "),
    is_restored: ("undecided", "document.missing", "lost revision 3, which the LIMS holds"),
}

MAY_BE_NONE = ("What is missing", "What was replaced", "Were the instruments checked")
"""Beginnings of the questions to which "nothing" is an answer."""


def read_by_command(lab, capsys):
    """Return the newest statement of order 4711 and its hash, as a command prints them."""
    config = lab.folder.parent / "agent.toml"
    config.write_text('[site]\nname = "Plant 1"\n', encoding="utf-8")
    words = ("orders", "show", "4711", "--as-of", "2100-01-01", "--json")
    with pytest.raises(SystemExit) as ended:
        main(["--config", str(config), *words])
    assert not ended.value.code
    printed = json.loads(capsys.readouterr().out)
    return printed["statement"], printed["sha256"]


@pytest.mark.parametrize("happen", AUDITED)
def test_a_statement_answers_what_an_auditor_asks(lab, capsys, happen):
    word, key, answer = AUDITED[happen]
    rules = happen(lab) or RULES
    freeze(lab, at=DAY + timedelta(hours=2), rules=rules)

    whole, sha256 = read_by_command(lab, capsys)

    assert whole["conformity"] == word
    assert answer in str(get_at(whole, key))
    has_bundle = any(field["bundle"] for field in whole["fields"])
    for question, (keys, of_field) in list_audited().items():
        answers = [get_at(whole, asked) for asked in keys]
        known = [[field[asked] for asked in of_field] for field in whole["fields"]]
        is_none = question.startswith(MAY_BE_NONE) or (keys[0] == "bundles" and not has_bundle)
        assert any(answers) or is_none, question
        assert all(any(values) for values in known) or not of_field, question
    assert len(list_audited()) >= 10
    text = json.dumps(whole, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    assert hashlib.sha256(text.encode()).hexdigest() == sha256
    assert (whole["previous"] is None) == (whole["number"] == 1)
    assert whole["cause"]
    assert build_statement_page(whole, "ab" * 32, lambda _field: None).sections
    assert verify_trail(lab.store, Outside(lab.reports))[0] == []
