"""A store as of an instant holds what was known then, whatever happened since."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from labs.lab import DAY, Lab, minutes

from agent.store import Decision, Store
from agent.triage import Reason

NOON = DAY + timedelta(hours=3)
LATER = DAY + timedelta(days=1)


@pytest.fixture
def lab(address, tmp_path):
    """One site on a database of either kind."""
    lab = Lab(tmp_path)
    lab.store.close()
    lab.store = Store.open(address, site="Plant 1", agent="PC")
    yield lab
    lab.store.close()


def test_a_micrograph_that_came_later_is_not_there(lab):
    early = lab.take("G8", at=DAY)
    lab.take("G8", at=LATER)

    with lab.store.as_of(NOON) as past:
        assert [view.id for view in past.results.iter_all()] == [early]
        assert past.order_changes.heads().result < lab.store.order_changes.heads().result


def test_a_micrograph_that_was_decided_later_waits(lab):
    public_id = lab.take("G8", reasons=("uncertain",))
    lab.store.labels.decide(public_id, Decision("code", "Ann", code="G7"), at=LATER)

    with lab.store.as_of(NOON) as past:
        view = past.results.find(public_id)
        assert (view.label, view.awaits) == (None, True)
        assert past.review_queue.count_until(NOON) == (1, DAY)


def test_a_decision_that_was_taken_back_later_holds(lab):
    public_id = lab.take("G8", reasons=("uncertain",))
    lab.store.labels.decide(public_id, Decision("code", "Ann", code="G7"), at=minutes(5))
    lab.store.labels.undo(public_id, by="Ann", at=LATER)

    with lab.store.as_of(NOON) as past:
        view = past.results.find(public_id)
        assert (view.label.code, view.awaits) == ("G7", False)


def test_a_micrograph_that_was_put_up_for_review_later_was_automatic(lab):
    public_id = lab.take("G8")
    other = lab.take("G8", reasons=("uncertain",))
    lab.store.review_queue.add([public_id, other], Reason.UNLIKE_TAUGHT, by="agent", at=LATER)

    with lab.store.as_of(NOON) as past:
        view = past.results.find(public_id)
        assert (view.result.handling, view.result.reasons, view.awaits) == ("automatic", (), False)
        assert past.results.find(other).result.reasons == ("uncertain",)
        assert past.results.find(other).awaits


def test_an_order_that_became_urgent_later_was_not(lab):
    lab.take("G8", order="4711", specimen="1", field="1")
    lab.store.order_corrections.set_urgent("4711", urgent=True, by="Leo", at=LATER)
    lab.store.order_corrections.set_urgent(
        "4711", urgent=False, by="Leo", at=LATER + timedelta(hours=1)
    )

    with (
        lab.store.as_of(NOON) as before,
        lab.store.as_of(LATER + timedelta(minutes=1)) as between,
    ):
        assert [line.urgent for line in before.orders.all()] == [False]
        assert [line.urgent for line in between.orders.all()] == [True]


def test_a_field_that_was_superseded_later_counts(lab):
    public_id = lab.take("G8", order="4711", specimen="1", field="1")
    lab.store.order_corrections.supersede(
        public_id, by="Leo", reason="scratched", defect="", lead=True, at=LATER
    )

    with lab.store.as_of(NOON) as past:
        (specimen,) = past.orders.order("4711").specimens
        assert specimen.preparations[0].fields[0].superseded == {}


def test_a_promotion_that_came_later_is_unknown(lab):
    with lab.store.as_of(NOON) as past:
        assert past.promotions.find_current() is None
        assert past.nightly_reports.list_all() == []


@pytest.mark.both_databases
def test_a_store_as_of_an_instant_writes_nothing_and_keeps_to_its_site(lab, address):
    lab.take("G8")
    other = Store.open(address, site="Plant 2", agent="PC")

    with other, other.as_of(NOON) as past, lab.store.as_of(NOON) as own:
        assert list(past.results.iter_all()) == []
        with pytest.raises(Exception, match=r"view|read.?only|readonly"):
            own.nightly_reports.freeze(
                date(2026, 11, 24), "{}", at=datetime(2026, 11, 25, tzinfo=UTC)
            )
