"""A failed check holds everything since the last good one, until a lead releases it."""

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from labs.ordering import AT, Desk

from agent.nightly.facts.order_status import instruments
from agent.orders.facts.open_items import OpenItems
from agent.orders.facts.order_policy import load_policy
from agent.orders.instruments.instrument_checks import CONTROL, Suspicion
from agent.orders.instruments.instrument_holds import CheckResult, find_failures, load_holds
from agent.orders.judge.assessment import Position, begin, list_due
from agent.orders.lims.outbox import OutboxFormat, record_revisions, write_pending
from agent.service.health.status import build_status_from_store
from agent.settings import read
from model import default_taxonomy

HOUR = timedelta(hours=1)
BAD = {"passed": False, "sources": ["LOM-07"], "software": "1", "findings": []}


@pytest.fixture
def desk(tmp_path, capsys):
    desk = Desk(tmp_path, capsys)
    yield desk
    desk.store.close()


def fail(desk, *, at, pc="PC", doubts=None):
    facts = BAD | ({"doubts": list(doubts)} if doubts else {})
    desk.store.records.add(CONTROL, pc, by="agent", at=at, facts=facts)


def order_of(desk, *, at=AT, number="4711"):
    for field in (1, 2, 3):
        desk.confirm(desk.take(field, at=at, order=number))


def release(desk, *words, by="R. Stahl", reason="the bar was read wrongly, the scale is right"):
    return desk.agent("orders", "release-hold", "LOM-07", "--by", by, "--reason", reason, *words)


def test_what_came_between_the_last_good_check_and_a_failed_one_is_held_too(desk):
    desk.check(at=AT - HOUR)
    order_of(desk)
    before = desk.order()["conformity"]
    fail(desk, at=AT + HOUR)
    after = desk.order()["specimens"][0]

    assert before == "conforms"
    assert after["conformity"] == "undecided"
    (missing,) = after["missing"]
    assert missing == (
        "field 1, field 2, field 3: the control check of 2026-11-24 10:00 UTC on PC failed, "
        "the last good one is of 2026-11-24 08:00"
    )


def test_a_good_check_afterwards_proves_nothing_of_the_time_between(desk):
    desk.check(at=AT - HOUR)
    order_of(desk)
    fail(desk, at=AT + HOUR)
    desk.check(at=AT + 2 * HOUR)
    order_of(desk, at=AT + 3 * HOUR, number="4712")

    assert desk.order()["conformity"] == "undecided"
    assert desk.order("4712")["conformity"] == "conforms"


def test_what_came_before_the_last_good_check_is_not_held(desk):
    desk.check(at=AT - HOUR)
    order_of(desk)
    desk.check(at=AT + HOUR)
    fail(desk, at=AT + 2 * HOUR)

    assert desk.order()["conformity"] == "conforms"


def test_a_failed_check_of_another_source_holds_nothing(desk):
    desk.check(at=AT - HOUR)
    order_of(desk)
    other = BAD | {"sources": ["LOM-08"]}
    desk.store.records.add(CONTROL, "PC", by="agent", at=AT + HOUR, facts=other)

    assert desk.order()["conformity"] == "conforms"


def test_a_new_pc_whose_first_check_fails_holds_nothing_that_another_one_proved(desk):
    desk.check(at=AT - HOUR)
    order_of(desk)
    fail(desk, at=AT + HOUR, pc="new PC")

    assert desk.order()["conformity"] == "conforms"


@pytest.mark.parametrize(
    ("doubts", "word"),
    [
        ([Suspicion.MODEL], "conforms"),
        ([Suspicion.INSTRUMENT], "undecided"),
        ([Suspicion.INSTRUMENT, Suspicion.MODEL], "undecided"),
        (None, "undecided"),  # a check that read no image
    ],
)
def test_a_code_lifts_only_a_doubt_about_the_model(desk, doubts, word):
    desk.check(at=AT - HOUR)
    order_of(desk)
    fail(desk, at=AT + HOUR, doubts=doubts)

    assert desk.order()["conformity"] == word


def test_without_a_code_a_doubt_about_the_model_holds(desk):
    desk.check(at=AT - HOUR)
    desk.take(1)
    fail(desk, at=AT + HOUR, doubts=[Suspicion.MODEL])

    missing = desk.order()["specimens"][0]["missing"]
    assert any("control check of 2026-11-24 10:00 UTC on PC failed" in one for one in missing)


# --- a lead releases ----------------------------------------------------------------------------


def test_a_lead_releases_with_a_reason_that_every_statement_keeps(desk):
    desk.check(at=AT - HOUR)
    order_of(desk)
    fail(desk, at=AT + HOUR)
    nobody = release(desk, by="Ada")
    unreasoned = release(desk, reason=" ")
    released = release(desk)
    document = desk.order()

    assert (nobody, unreasoned, released) == (2, 2, 0)
    assert document["conformity"] == "conforms"
    note, _scale = document["notes"]
    assert note.startswith("results of LOM-07 from 2026-11-24 08:00 to ")
    assert note.endswith("released by R. Stahl: the bar was read wrongly, the scale is right")
    assert "note: results of LOM-07" in " ".join(shown(desk).split())


def shown(desk):
    assert desk.agent("orders", "show", "4711") == 0
    return desk.out


def test_a_release_covers_its_time_alone_and_no_later_failure(desk):
    desk.check(at=AT - HOUR)
    order_of(desk)
    order_of(desk, at=AT + 2 * HOUR, number="4712")
    fail(desk, at=AT + 3 * HOUR)

    assert release(desk, "--to", "2026-11-24T10:00") == 0
    assert desk.order()["conformity"] == "conforms"
    assert desk.order("4712")["conformity"] == "undecided"

    later = datetime.now(UTC) + HOUR
    desk.check(at=AT + 4 * HOUR)
    order_of(desk, at=AT + 5 * HOUR, number="4713")
    fail(desk, at=later)

    assert desk.order()["conformity"] == "conforms"
    assert desk.order("4713")["conformity"] == "undecided"


def test_a_failed_check_every_quarter_of_an_hour_takes_no_release_back(desk):
    desk.check(at=AT - HOUR)
    order_of(desk)
    fail(desk, at=AT + HOUR)
    assert release(desk) == 0
    fail(desk, at=datetime.now(UTC) + HOUR)

    assert desk.order()["conformity"] == "conforms"


def test_what_is_not_held_or_has_not_come_yet_cannot_be_released(desk):
    desk.check(at=AT - HOUR)
    order_of(desk)
    nothing = release(desk)
    why = desk.err
    fail(desk, at=AT + HOUR)
    future = release(desk, "--to", "2099-01-01")

    assert (nothing, future) == (2, 2)
    assert "No results of LOM-07 are held" in why
    assert "not after now" in desk.err


# --- who hears of it ----------------------------------------------------------------------------


def test_status_and_report_name_the_affected_orders(desk):
    settings = read(desk.folder / "agent.toml")
    desk.check(at=AT - HOUR)
    order_of(desk)
    order_of(desk, number="4712")
    now = AT + 5 * HOUR
    sound = build_status_from_store(settings, desk.store, now=now, running=False)
    fail(desk, at=AT + HOUR)
    document = build_status_from_store(settings, desk.store, now=now, running=False)
    (instrument,) = instruments(desk.store, ["LOM-07"], {}, control=(), every=timedelta(0), now=now)
    assert release(desk) == 0
    released = build_status_from_store(settings, desk.store, now=now, running=False)

    assert (sound["affected_orders"], released["affected_orders"]) == ([], [])
    assert document["affected_orders"] == ["4711", "4712"]
    assert instrument.affected == ("4711", "4712")
    (problem,) = [one for one in document["problems"] if "affected" in one]
    assert problem.startswith(
        "LOM-07: the control check on PC of 2026-11-24 10:00 UTC failed: 2 orders affected, "
        "results from 2026-11-24 08:00 UTC to now are held"
    )


def test_the_shell_says_it_too(desk):
    desk.check(at=AT - HOUR)
    order_of(desk)
    fail(desk, at=AT + HOUR)

    desk.agent("status", "--json")

    assert json.loads(desk.out)["affected_orders"] == ["4711"]


def test_a_failed_check_lets_the_outbox_examine_old_orders_it_holds(desk):
    desk.check(at=AT - HOUR)
    order_of(desk)
    order_of(desk, at=AT - 3 * HOUR, number="4712")
    settings, now = read(desk.folder / "agent.toml"), AT + timedelta(days=100)
    lab = load_policy(settings, desk.store, default_taxonomy(), now=now)
    at = begin(desk.store)
    fail(desk, at=AT + HOUR)

    position = Position(at.trail, at.result, swept=10**6)
    due, _ = list_due(desk.store, lab, OpenItems(), position=position, now=now)

    assert due == ["4711"]


# --- the rule -----------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 50), st.booleans()), max_size=12), st.integers(0, 50))
def test_a_time_is_proved_only_between_two_good_checks_with_none_failed_between(said, hour):
    times = {h: passed for h, passed in said if h != hour}
    checks = [CheckResult(AT + h * HOUR, passed) for h, passed in sorted(times.items())]

    held = any(failure.spans(AT + hour * HOUR) for failure in find_failures(checks, "LOM-07", "PC"))

    before = [passed for h, passed in sorted(times.items()) if h < hour]
    after = [passed for h, passed in sorted(times.items()) if h > hour]
    assert held == (before[-1:] == [False] or after[:1] == [False])


@given(st.lists(st.booleans(), max_size=12))
def test_failures_never_overlap(passed):
    checks = [CheckResult(AT + n * HOUR, good) for n, good in enumerate(passed)]

    found = list(find_failures(checks, "LOM-07", "PC"))

    assert all(a.until is not None and b.after >= a.until for a, b in pairwise(found))


def test_a_lims_hears_of_the_hold_and_of_its_release(desk, tmp_path):
    settings, box = read(desk.folder / "agent.toml"), tmp_path / "outbox"
    box.mkdir()
    site = OutboxFormat("Plant 1", ("json",))

    def fill():
        lab = load_policy(
            settings,
            desk.store,
            default_taxonomy(),
            now=AT,
            held=load_holds(settings, desk.store),
        )
        record_revisions(desk.store, lab, site, now=AT)
        write_pending(desk.store, lab, site, box, now=AT)

    desk.check(at=AT - HOUR)
    order_of(desk)
    fill()
    fail(desk, at=AT + HOUR)
    fill()
    assert release(desk) == 0
    fill()

    files = [json.loads(path.read_text("utf-8")) for path in sorted(box.glob("*.json"))]
    assert [file["conformity"] for file in files] == ["conforms", "undecided", "conforms"]
    assert "released by R. Stahl" in files[2]["notes"][0]


def test_the_nights_page_lists_the_affected_orders(desk):
    desk.check(at=AT - HOUR)
    order_of(desk)
    fail(desk, at=AT + HOUR)

    assert desk.agent("report", "--date", "2026-11-24") == 0, desk.err

    page = (desk.folder / "data" / "reports" / "2026-11-24.html").read_text("utf-8")
    assert "1 order affected, its results are held: 4711" in page


# --- a clock that is set -------------------------------------------------------------------------


def test_a_clock_set_back_before_the_failed_check_hides_no_result(desk):
    desk.check(at=AT - 2 * HOUR)
    order_of(desk, at=AT)
    fail(desk, at=AT - HOUR)  # the clock went back by three hours: it was made after the results
    desk.check(at=AT - HOUR / 2)

    assert desk.order()["conformity"] == "undecided"


def test_a_clock_set_back_before_the_results_hides_no_failed_check(desk):
    desk.check(at=AT - 2 * HOUR)
    fail(desk, at=AT + HOUR)
    order_of(desk, at=AT)  # made after the failed check, whatever the clock says

    assert desk.order()["conformity"] == "undecided"


def test_a_clock_set_back_after_a_good_check_holds_no_honest_result(desk):
    desk.check(at=AT + HOUR)
    order_of(desk, at=AT)
    desk.check(at=AT + HOUR / 2)

    assert desk.order()["conformity"] == "conforms"
