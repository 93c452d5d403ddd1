"""A LIMS gets every final state of an order once, whatever is killed or away in between."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from labs.lab import DAY, RING_A, TAXONOMY

from agent.orders import Specifications
from agent.orders.facts.open_items import OpenItems
from agent.orders.judge.assessed import OrderPolicy
from agent.orders.judge.assessment import SWEPT_PER_ROUND, Position, begin, list_due
from agent.orders.lims.outbox import OUTBOX, OutboxFormat, record_revisions, write_pending
from agent.service.health.problems import Problems
from agent.service.jobs import exchange
from agent.service.schedule import PeriodicThread
from agent.settings import read
from agent.store import Decision, Entry

RULES = OrderPolicy(Specifications((RING_A,)), TAXONOMY)


@pytest.fixture
def box(tmp_path):
    folder = tmp_path / "outbox"
    folder.mkdir()
    return folder


def take(lab, order="4711", code="G8"):
    return lab.take(code, order=order, specimen="1", field="1", material="100Cr6")


def confirm(lab, public_id, code="G8", *, at=DAY):
    lab.store.labels.decide(public_id, Decision("code", "Ada", code=code), at=at)


def fill(lab, box, *, formats=("json",), now=DAY):
    site = OutboxFormat("Plant 1", formats)
    record_revisions(lab.store, RULES, site, now=now)
    return list(write_pending(lab.store, RULES, site, box, now=now).names)


def said_in(box):
    return [json.loads(path.read_text("utf-8")) for path in sorted(box.glob("*.json"))]


def test_an_order_is_written_when_it_is_final_and_not_before(lab, box):
    public_id = take(lab)

    before = fill(lab, box)
    confirm(lab, public_id)
    after = fill(lab, box)

    (document,) = said_in(box)
    assert before == []
    assert after == [f"4711-r1-{document['id']}.json"]
    assert (document["order"], document["revision"]) == ("4711", 1)
    assert (document["conformity"], document["site"]) == ("conforms", "Plant 1")


def test_the_same_state_is_written_once(lab, box):
    confirm(lab, take(lab))
    (name,) = fill(lab, box)
    (box / name).unlink()  # the LIMS has taken it

    again = fill(lab, box, now=DAY + timedelta(hours=1))

    assert again == []
    assert [path for path in box.iterdir() if path.is_file()] == []


def test_a_corrected_order_is_a_new_revision_also_where_it_is_no_longer_final(lab, box):
    public_id = take(lab)
    confirm(lab, public_id)
    fill(lab, box)
    lab.store.labels.undo(public_id, by="Ada", at=DAY)
    fill(lab, box)
    confirm(lab, public_id, "G7")
    fill(lab, box)
    lab.store.labels.undo(public_id, by="Ada", at=DAY)
    confirm(lab, public_id)

    fill(lab, box)

    found = [(one["revision"], one["conformity"]) for one in said_in(box)]
    assert found == [(1, "conforms"), (2, "undecided"), (3, "does_not_conform"), (4, "conforms")]
    assert len({one["id"] for one in said_in(box)}) == 4


def test_a_share_that_is_away_is_said_and_everything_is_written_when_it_is_back(lab, tmp_path):
    confirm(lab, take(lab))
    away = tmp_path / "share"

    with pytest.raises(OSError, match="no folder that can be seen"):
        fill(lab, away)
    away.mkdir()

    assert len(fill(lab, away)) == 1


def test_what_was_found_while_the_share_was_away_is_written_in_order(lab, tmp_path):
    public_id = take(lab)
    away = tmp_path / "share"
    confirm(lab, public_id)
    with pytest.raises(OSError, match="no folder that can be seen"):
        fill(lab, away)
    lab.store.labels.undo(public_id, by="Ada", at=DAY)
    confirm(lab, public_id, "G7")
    with pytest.raises(OSError, match="no folder that can be seen"):
        fill(lab, away, now=DAY + timedelta(hours=1))
    away.mkdir()

    fill(lab, away, now=DAY + timedelta(hours=2))

    found = [(one["revision"], one["conformity"], one["found_at"][11:13]) for one in said_in(away)]
    assert found == [(1, "conforms", "09"), (2, "does_not_conform", "10")]


def test_a_revision_that_cannot_be_written_is_not_overtaken_and_holds_no_other_order(lab, box):
    public_id = take(lab)
    confirm(lab, public_id)
    site = OutboxFormat("Plant 1", ("json",))
    record_revisions(lab.store, RULES, site, now=DAY)
    (first,) = lab.store.records.all(OUTBOX, "4711")
    (box / f"4711-r1-{first.facts['id']}.json").mkdir()
    lab.store.labels.undo(public_id, by="Ada", at=DAY)
    confirm(lab, take(lab, "4712"))
    record_revisions(lab.store, RULES, site, now=DAY)

    stuck = write_pending(lab.store, RULES, site, box, now=DAY)
    (box / f"4711-r1-{first.facts['id']}.json").rmdir()
    free = write_pending(lab.store, RULES, site, box, now=DAY)

    assert [name[:7] for name in stuck.names] == ["4712-r1"]
    assert stuck.faults[0].startswith("order 4711, revision 1: ")
    assert [name[:7] for name in free.names] == ["4711-r1", "4711-r2"]


def test_a_retraction_after_any_time_reaches_the_lims_in_the_next_round(lab, box):
    site, later = OutboxFormat("Plant 1", ("json",)), DAY + timedelta(days=400)
    public_id = take(lab)
    confirm(lab, public_id)
    position = record_revisions(lab.store, RULES, site, now=DAY, position=begin(lab.store))
    lab.store.labels.undo(public_id, by="Ada", at=later)

    record_revisions(lab.store, RULES, site, now=later, position=position)
    write_pending(lab.store, RULES, site, box, now=later)

    assert [one["conformity"] for one in said_in(box)] == ["conforms", "undecided"]


def test_every_old_order_is_examined_in_turn_also_where_nothing_touched_it(lab):
    numbers = [f"{n:04d}" for n in range(2 * SWEPT_PER_ROUND + 1)]
    entries = [Entry(number) for number in numbers]
    lab.store.orders.take_list(entries, "list.csv", by="Ada", at=DAY)
    now, position = DAY + timedelta(days=100), begin(lab.store)
    rounds = []

    for _ in range(4):
        due, position = list_due(lab.store, RULES, OpenItems(), position=position, now=now)
        rounds.append(due)

    assert [len(due) for due in rounds] == [SWEPT_PER_ROUND, SWEPT_PER_ROUND, 1, SWEPT_PER_ROUND]
    assert sorted(rounds[0] + rounds[1] + rounds[2]) == numbers


def test_a_field_that_was_moved_away_lets_both_old_orders_be_examined(lab):
    public_id = take(lab)
    take(lab, "4712")
    now, position = DAY + timedelta(days=100), begin(lab.store)
    position = Position(position.trail, position.result, swept=10**6)
    keys = {"order": "4712", "specimen": "1"}
    lab.store.order_corrections.assign(public_id, keys, by="Ada", reason="mixed up", at=now)

    due, _ = list_due(lab.store, RULES, OpenItems(), position=position, now=now)

    assert sorted(due) == ["4711", "4712"]


def test_a_revision_whose_content_is_gone_holds_its_order_and_is_named(lab, box):
    confirm(lab, take(lab))
    lost = {"id": "0123456789abcdef", "revision": 1, "state": "of another day"}
    lab.store.records.add(OUTBOX, "4711", by="agent", at=DAY, facts=lost)
    site = OutboxFormat("Plant 1", ("json",))

    record_revisions(lab.store, RULES, site, now=DAY)
    written = write_pending(lab.store, RULES, site, box, now=DAY)

    sentence = "order 4711, revision 1: the content of its files is not in the database."
    assert (written.names, written.faults) == ((), (f"{sentence} Run: agent verify",))


def test_the_audit_log_holds_the_hash_of_a_file_and_not_the_file(lab, box):
    confirm(lab, take(lab))
    (name,) = fill(lab, box)

    (entry,) = [act for act in lab.store.audit_log.iter_acts() if act.act == "outbox.recorded"]
    (files,) = [
        act for act in lab.store.audit_log.iter_acts() if act.act == "outbox_files.recorded"
    ]

    assert entry.facts["sha256"]["json"] == sha256((box / name).read_bytes()).hexdigest()
    assert files.facts.keys() == {"record", "order", "formats", "facts_sha256"}


def test_the_csv_has_sizes_as_numbers_and_runs_nothing(lab, box):
    confirm(lab, take(lab, "=4711", "G9-10"), "G9-10")

    (name,) = fill(lab, box, formats=("csv",))

    (row,) = csv.DictReader((box / name).read_text("utf-8").splitlines())
    assert (row["structure_code"], row["size_min"], row["size_max"]) == ("G9-10", "9", "10")
    assert row["order"] == "'=4711"
    assert (row["conformity"], row["decided_by"]) == ("conforms", "Ada")


def test_names_that_no_file_can_have_stay_apart(lab, box):
    for number in ("a/b", "a:b"):
        confirm(lab, take(lab, number))

    assert len(set(fill(lab, box))) == 2
    assert {one["order"] for one in said_in(box)} == {"a/b", "a:b"}


def test_an_old_order_with_a_code_the_taxonomy_lost_is_written_all_the_same(lab, box):
    confirm(lab, take(lab))
    site = OutboxFormat("Plant 1", ("csv",))
    subtypes = [replace(subtype, name="X") for subtype in TAXONOMY.subtypes if subtype.name == "M"]
    rules = replace(RULES, taxonomy=replace(TAXONOMY, subtypes=tuple(subtypes)))
    record_revisions(lab.store, RULES, site, now=DAY)

    record_revisions(lab.store, rules, site, now=DAY)
    written = write_pending(lab.store, rules, site, box, now=DAY)

    assert [name[:7] for name in written.names] == ["4711-r1", "4711-r2"]


# --- in the service -----------------------------------------------------------------------------


SETTINGS = """
[site]
name = "Plant 1"

[orders]
outbox = "outbox"

[notify]
urls = ["json://127.0.0.1:{port}/x"]
"""


def settings_of(lab, port=9):
    folder = lab.folder.parent
    (folder / "agent.toml").write_text(SETTINGS.format(port=port), encoding="utf-8")
    (folder / "specifications.toml").write_text(
        """
[[specification]]
name = "ring-a"
valid_from = 2026-01-01
approved_by = "R. Stahl"
material = "100Cr6"
subtype = ["G"]
limit = "8 or finer"
fields = 1
""",
        encoding="utf-8",
    )
    return read(folder / "agent.toml")


def test_the_service_fills_the_outbox_and_says_when_it_is_away(lab):
    settings = settings_of(lab)
    confirm(lab, take(lab))

    away = exchange.fill_outbox(settings, lab.store, now=DAY)
    Path(settings.orders.outbox).mkdir()
    back = exchange.fill_outbox(settings, lab.store, now=DAY)

    assert away.startswith("[orders] outbox: ")
    assert "no folder that can be seen" in away
    assert back == ""
    assert len([path for path in Path(settings.orders.outbox).iterdir() if path.is_file()]) == 2


def test_the_service_examines_what_was_touched_since_its_last_round(lab):
    settings = settings_of(lab)
    Path(settings.orders.outbox).mkdir()
    public_id, later = take(lab), DAY + timedelta(days=400)
    confirm(lab, public_id)
    exchange.fill_outbox(settings, lab.store, now=DAY)
    memo = settings.store.folder / exchange.OUTBOX_MEMO
    held = json.loads(memo.read_text("utf-8"))
    memo.write_text(json.dumps(held | {"swept": 10**6}), encoding="utf-8")  # the sweep is past it
    lab.store.labels.undo(public_id, by="Ada", at=later)

    exchange.fill_outbox(settings, lab.store, now=later)

    assert len(list(Path(settings.orders.outbox).glob("4711-r2-*.json"))) == 1


@pytest.mark.parametrize("memo", ["", "{}", "[1]", '{"trail": "x"}'])
def test_a_damaged_note_of_the_last_round_only_begins_the_sweep_again(lab, memo):
    settings = settings_of(lab)
    Path(settings.orders.outbox).mkdir()
    settings.store.folder.mkdir(exist_ok=True)
    (settings.store.folder / exchange.OUTBOX_MEMO).write_text(memo, encoding="utf-8")
    confirm(lab, take(lab))

    assert exchange.fill_outbox(settings, lab.store, now=DAY + timedelta(days=400)) == ""
    assert len(list(Path(settings.orders.outbox).glob("4711-r1-*.json"))) == 1


def test_an_errand_that_crashes_is_said_and_done_again():
    problems, done = Problems(), []

    def errand():
        done.append(1)
        if len(done) == 1:
            raise RuntimeError("once")
        thread.stop()
        return ""

    thread = PeriodicThread("outbox", errand, every_s=0, problems=problems)
    thread.start()
    thread.join(60)

    assert len(done) == 2
    assert problems.all() == []


def test_an_errand_without_news_leaves_standing_what_it_said_before():
    problems, news = Problems(), ["order list 4711.csv is broken", None]

    def errand():
        said = news.pop(0)
        if not news:
            thread.stop()
        return said

    thread = PeriodicThread("order lists", errand, every_s=0, problems=problems)
    thread.start()
    thread.join(60)

    assert news == []
    assert problems.all() == ["order list 4711.csv is broken"]


def notice(lab):
    facts = {"title": "Plant 1, night of 2026-11-24", "text": "3 need a person", "pictures": []}
    lab.store.records.add(exchange.NOTICE, "2026-11-24", by="agent", at=DAY, facts=facts)


def test_a_notice_nobody_took_is_sent_again_and_then_never_more(lab, listener):
    pytest.importorskip("apprise", reason="the notify extra is not installed")
    port, heard = listener
    notice(lab)

    away = exchange.send_notices(settings_of(lab), lab.store, now=DAY)
    taken = exchange.send_notices(settings_of(lab, port), lab.store, now=DAY)
    exchange.send_notices(settings_of(lab, port), lab.store, now=DAY)

    assert "is tried again" in away
    assert taken == ""
    assert [one["message"] for one in heard] == ["3 need a person"]


def test_a_notice_of_days_ago_is_old_news(lab, listener):
    pytest.importorskip("apprise", reason="the notify extra is not installed")
    port, heard = listener
    notice(lab)

    exchange.send_notices(settings_of(lab, port), lab.store, now=DAY + timedelta(days=4))

    assert heard == []
