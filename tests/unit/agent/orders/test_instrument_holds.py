"""A failed check holds everything since the last good one, until a lead releases it."""

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from labs.ordering import AT, SETTINGS

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


def fail(ordering, *, at, pc="PC", doubts=None):
    facts = BAD | ({"doubts": list(doubts)} if doubts else {})
    ordering.store.records.add(CONTROL, pc, by="agent", at=at, facts=facts)


def order_of(ordering, *, at=AT, number="4711"):
    for field in (1, 2, 3):
        ordering.confirm(ordering.take(field, at=at, order=number))


def release(ordering, *words, by="R. Stahl", reason="the bar was read wrongly, the scale is right"):
    return ordering.agent(
        "orders", "release-hold", "LOM-07", "--by", by, "--reason", reason, *words
    )


def test_what_came_between_the_last_good_check_and_a_failed_one_is_held_too(ordering):
    ordering.check(at=AT - HOUR)
    order_of(ordering)
    before = ordering.order()["conformity"]
    fail(ordering, at=AT + HOUR)
    after = ordering.order()["specimens"][0]

    assert before == "conforms"
    assert after["conformity"] == "undecided"
    (missing,) = after["missing"]
    assert missing == (
        "field 1, field 2, field 3: the control check of 2026-11-24 10:00 UTC on PC failed, "
        "the last good one is of 2026-11-24 08:00"
    )


def test_a_good_check_afterwards_proves_nothing_of_the_time_between(ordering):
    ordering.check(at=AT - HOUR)
    order_of(ordering)
    fail(ordering, at=AT + HOUR)
    ordering.check(at=AT + 2 * HOUR)
    order_of(ordering, at=AT + 3 * HOUR, number="4712")

    assert ordering.order()["conformity"] == "undecided"
    assert ordering.order("4712")["conformity"] == "conforms"


@pytest.mark.parametrize("option", ["--from", "--to"])
@pytest.mark.parametrize("time", ["2026-03-29T02:30", "2026-10-25T02:30"])
def test_a_release_at_a_time_that_is_skipped_or_comes_twice_is_refused(ordering, option, time):
    text = SETTINGS.replace('time_zone = "UTC"', 'time_zone = "Europe/Berlin"')
    (ordering.folder / "agent.toml").write_text(text, encoding="utf-8")
    ordering.check(at=AT - HOUR)
    order_of(ordering)
    fail(ordering, at=AT + HOUR)

    assert release(ordering, option, time) == 2
    assert f"such as {time}+01:00 or {time}+02:00" in " ".join(ordering.err.split())
    assert release(ordering, "--from", f"{time}+01:00") == 0


def test_what_came_before_the_last_good_check_is_not_held(ordering):
    ordering.check(at=AT - HOUR)
    order_of(ordering)
    ordering.check(at=AT + HOUR)
    fail(ordering, at=AT + 2 * HOUR)

    assert ordering.order()["conformity"] == "conforms"


def test_a_failed_check_of_another_source_holds_nothing(ordering):
    ordering.check(at=AT - HOUR)
    order_of(ordering)
    other = BAD | {"sources": ["LOM-08"]}
    ordering.store.records.add(CONTROL, "PC", by="agent", at=AT + HOUR, facts=other)

    assert ordering.order()["conformity"] == "conforms"


def test_a_new_pc_whose_first_check_fails_holds_nothing_that_another_one_proved(ordering):
    ordering.check(at=AT - HOUR)
    order_of(ordering)
    fail(ordering, at=AT + HOUR, pc="new PC")

    assert ordering.order()["conformity"] == "conforms"


@pytest.mark.parametrize(
    ("doubts", "word"),
    [
        ([Suspicion.MODEL], "conforms"),
        ([Suspicion.INSTRUMENT], "undecided"),
        ([Suspicion.INSTRUMENT, Suspicion.MODEL], "undecided"),
        (None, "undecided"),  # a check that read no image
    ],
)
def test_a_code_lifts_only_a_doubt_about_the_model(ordering, doubts, word):
    ordering.check(at=AT - HOUR)
    order_of(ordering)
    fail(ordering, at=AT + HOUR, doubts=doubts)

    assert ordering.order()["conformity"] == word


def test_without_a_code_a_doubt_about_the_model_holds(ordering):
    ordering.check(at=AT - HOUR)
    ordering.take(1)
    fail(ordering, at=AT + HOUR, doubts=[Suspicion.MODEL])

    missing = ordering.order()["specimens"][0]["missing"]
    assert any("control check of 2026-11-24 10:00 UTC on PC failed" in one for one in missing)


# --- a lead releases ----------------------------------------------------------------------------


def test_a_lead_releases_with_a_reason_that_every_statement_keeps(ordering):
    ordering.check(at=AT - HOUR)
    order_of(ordering)
    fail(ordering, at=AT + HOUR)
    nobody = release(ordering, by="Ada")
    unreasoned = release(ordering, reason=" ")
    released = release(ordering)
    document = ordering.order()

    assert (nobody, unreasoned, released) == (2, 2, 0)
    assert document["conformity"] == "conforms"
    note, _scale = document["notes"]
    assert note.startswith("results of LOM-07 from 2026-11-24 08:00 to ")
    assert note.endswith("released by R. Stahl: the bar was read wrongly, the scale is right")
    assert "note: results of LOM-07" in " ".join(shown(ordering).split())


def shown(ordering):
    assert ordering.agent("orders", "show", "4711") == 0
    return ordering.out


def test_a_release_covers_its_time_alone_and_no_later_failure(ordering):
    ordering.check(at=AT - HOUR)
    order_of(ordering)
    order_of(ordering, at=AT + 2 * HOUR, number="4712")
    fail(ordering, at=AT + 3 * HOUR)

    assert release(ordering, "--to", "2026-11-24T10:00") == 0
    assert ordering.order()["conformity"] == "conforms"
    assert ordering.order("4712")["conformity"] == "undecided"

    later = datetime.now(UTC) + HOUR
    ordering.check(at=AT + 4 * HOUR)
    order_of(ordering, at=AT + 5 * HOUR, number="4713")
    fail(ordering, at=later)

    assert ordering.order()["conformity"] == "conforms"
    assert ordering.order("4713")["conformity"] == "undecided"


def test_a_failed_check_every_quarter_of_an_hour_takes_no_release_back(ordering):
    ordering.check(at=AT - HOUR)
    order_of(ordering)
    fail(ordering, at=AT + HOUR)
    assert release(ordering) == 0
    fail(ordering, at=datetime.now(UTC) + HOUR)

    assert ordering.order()["conformity"] == "conforms"


def test_what_is_not_held_or_has_not_come_yet_cannot_be_released(ordering):
    ordering.check(at=AT - HOUR)
    order_of(ordering)
    nothing = release(ordering)
    why = ordering.err
    fail(ordering, at=AT + HOUR)
    future = release(ordering, "--to", "2099-01-01")

    assert (nothing, future) == (2, 2)
    assert "No results of LOM-07 are held" in why
    assert "not after now" in ordering.err


# --- who hears of it ----------------------------------------------------------------------------


def test_status_and_report_name_the_affected_orders(ordering):
    settings = read(ordering.folder / "agent.toml")
    ordering.check(at=AT - HOUR)
    order_of(ordering)
    order_of(ordering, number="4712")
    now = AT + 5 * HOUR
    sound = build_status_from_store(settings, ordering.store, now=now, running=False)
    fail(ordering, at=AT + HOUR)
    document = build_status_from_store(settings, ordering.store, now=now, running=False)
    (instrument,) = instruments(
        ordering.store, ["LOM-07"], {}, control=(), every=timedelta(0), now=now
    )
    assert release(ordering) == 0
    released = build_status_from_store(settings, ordering.store, now=now, running=False)

    assert (sound["affected_orders"], released["affected_orders"]) == ([], [])
    assert document["affected_orders"] == ["4711", "4712"]
    assert instrument.affected == ("4711", "4712")
    (problem,) = [one for one in document["problems"] if "affected" in one]
    assert problem.startswith(
        "LOM-07: the control check on PC of 2026-11-24 10:00 UTC failed: 2 orders affected, "
        "results from 2026-11-24 08:00 UTC to now are held"
    )


def test_the_shell_says_it_too(ordering):
    ordering.check(at=AT - HOUR)
    order_of(ordering)
    fail(ordering, at=AT + HOUR)

    ordering.agent("status", "--json")

    assert json.loads(ordering.out)["affected_orders"] == ["4711"]


def test_a_failed_check_lets_the_outbox_examine_old_orders_it_holds(ordering):
    ordering.check(at=AT - HOUR)
    order_of(ordering)
    order_of(ordering, at=AT - 3 * HOUR, number="4712")
    settings, now = read(ordering.folder / "agent.toml"), AT + timedelta(days=100)
    lab = load_policy(settings, ordering.store, default_taxonomy(), now=now)
    at = begin(ordering.store)
    fail(ordering, at=AT + HOUR)

    position = Position(at.trail, at.result, swept=10**6)
    due, _ = list_due(ordering.store, lab, OpenItems(), position=position, now=now)

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


def test_a_lims_hears_of_the_hold_and_of_its_release(ordering, tmp_path):
    settings, box = read(ordering.folder / "agent.toml"), tmp_path / "outbox"
    box.mkdir()
    site = OutboxFormat("Plant 1", ("json",))

    def fill():
        lab = load_policy(
            settings,
            ordering.store,
            default_taxonomy(),
            now=AT,
            held=load_holds(settings, ordering.store),
        )
        record_revisions(ordering.store, lab, site, now=AT)
        write_pending(ordering.store, lab, site, box, now=AT)

    ordering.check(at=AT - HOUR)
    order_of(ordering)
    fill()
    fail(ordering, at=AT + HOUR)
    fill()
    assert release(ordering) == 0
    fill()

    files = [json.loads(path.read_text("utf-8")) for path in sorted(box.glob("*.json"))]
    assert [file["conformity"] for file in files] == ["conforms", "undecided", "conforms"]
    assert "released by R. Stahl" in files[2]["notes"][0]


def test_the_nights_page_lists_the_affected_orders(ordering):
    ordering.check(at=AT - HOUR)
    order_of(ordering)
    fail(ordering, at=AT + HOUR)

    assert ordering.agent("report", "--date", "2026-11-24") == 0, ordering.err

    page = (ordering.folder / "data" / "reports" / "2026-11-24.html").read_text("utf-8")
    assert "1 order affected, its results are held: 4711" in page


# --- a clock that is set -------------------------------------------------------------------------


def test_a_clock_set_back_before_the_failed_check_hides_no_result(ordering):
    ordering.check(at=AT - 2 * HOUR)
    order_of(ordering, at=AT)
    fail(
        ordering, at=AT - HOUR
    )  # the clock went back by three hours: it was made after the results
    ordering.check(at=AT - HOUR / 2)

    assert ordering.order()["conformity"] == "undecided"


def test_a_clock_set_back_before_the_results_hides_no_failed_check(ordering):
    ordering.check(at=AT - 2 * HOUR)
    fail(ordering, at=AT + HOUR)
    order_of(ordering, at=AT)  # made after the failed check, whatever the clock says

    assert ordering.order()["conformity"] == "undecided"


def test_a_clock_set_back_after_a_good_check_holds_no_honest_result(ordering):
    ordering.check(at=AT + HOUR)
    order_of(ordering, at=AT)
    ordering.check(at=AT + HOUR / 2)

    assert ordering.order()["conformity"] == "conforms"
