"""A rating that was submitted is kept as it was given; who said what is never mixed up."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from labs.stored import OTHER, SHA, file, finding

from agent.errors import UsageError
from agent.store import NewImage, NewRater, Opinion, Store

AT = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
IDS = (SHA[:16], OTHER[:16])
G8 = Opinion("G", "8", "mean", comment="even", viewing_s=4.5)


@pytest.fixture
def store(address):
    with Store.open(address, site="Plant 1", agent="PC") as opened:
        opened.files.add([file("a.tif"), file("b.tif")], at=AT)
        for claim, sha256 in zip(
            opened.work_queue.claim(2, at=AT, lease_s=60), (SHA, OTHER), strict=True
        ):
            opened.work_queue.finish(claim, [finding(sha256, reasons=())], at=AT)
        yield opened


def planned(store, *, opened: bool = True, **more):
    raters = [NewRater("R1", "Ann", account="Ann"), NewRater("R2", "Bob", team="daily")]
    images = [NewImage(IDS[0], "G8", "G8, near a limit"), NewImage(IDS[1])]
    told = {"taxonomy": {"name": "small"}, "seed": 3, "by": "Lea", "at": AT} | more
    store.campaigns.add("spring", images, raters, **told)
    store.campaigns.give_link("spring", "R2", "hash of Bob's link", by="Lea", at=AT)
    if opened:
        store.campaigns.open("spring", by="Lea", at=AT)
    return store.campaigns.find("spring")


def seats(store):
    ann = store.campaigns.seat(name="spring", account="Ann")
    bob = store.campaigns.seat(hashed="hash of Bob's link")
    return ann, bob


def test_a_campaign_comes_back_as_it_was_set_up(store):
    campaign = planned(store, opened=False)

    assert [(image.number, image.micrograph, image.reference) for image in campaign.images] == [
        (1, IDS[0], "G8"),
        (2, IDS[1], None),
    ]
    assert [(rater.pseudonym, rater.team, rater.has_link) for rater in campaign.raters] == [
        ("R1", "", False),
        ("R2", "daily", True),
    ]
    assert (campaign.row.state, campaign.row.seed, campaign.given) == ("planned", 3, 0)


def test_a_rating_is_kept_word_for_word_under_its_own_rater(store):
    planned(store)
    ann, bob = seats(store)

    store.campaigns.rate(ann, 1, G8, at=AT)
    store.campaigns.rate(bob, 1, Opinion(None, None), at=AT + timedelta(seconds=1))

    said = [
        (rating.rater, rating.image, rating.said) for rating in store.campaigns.ratings("spring")
    ]
    assert said == [("R1", 1, G8), ("R2", 1, Opinion(None, None))]
    assert seats(store)[0].ratings.keys() == {1}


def test_the_same_form_sent_twice_is_kept_once(store):
    planned(store)
    ann, _ = seats(store)

    assert store.campaigns.rate(ann, 1, G8, at=AT)
    assert not store.campaigns.rate(ann, 1, Opinion("B", "7", "max"), at=AT)

    assert [rating.said for rating in store.campaigns.ratings("spring")] == [G8]


def test_a_change_is_a_row_of_its_own_and_only_where_it_is_allowed(store):
    planned(store)
    ann, _ = seats(store)
    store.campaigns.rate(ann, 1, G8, at=AT)

    with pytest.raises(UsageError, match="no second rating"):
        store.campaigns.rate(ann, 1, Opinion("G", "7", "mean"), at=AT, revision=2)

    assert len(store.campaigns.ratings("spring")) == 1


def test_where_a_change_is_allowed_both_rows_stay_and_the_newer_counts(store):
    planned(store, may_go_back=True)
    ann, _ = seats(store)
    store.campaigns.rate(ann, 1, G8, at=AT)

    store.campaigns.rate(ann, 1, Opinion("G", "7", "mean"), at=AT, revision=2)

    assert [rating.said.size for rating in store.campaigns.ratings("spring")] == ["8", "7"]
    assert seats(store)[0].ratings[1].said.size == "7"
    assert store.campaigns.find("spring").given == 1


@pytest.mark.parametrize("state", ["planned", "closed"])
def test_nothing_is_taken_before_it_opens_or_after_it_closed(store, state):
    planned(store, opened=state == "closed")
    ann, _ = seats(store)
    if state == "closed":
        store.campaigns.close("spring", by="Lea", at=AT)

    with pytest.raises(UsageError, match="not open; nothing was kept"):
        store.campaigns.rate(ann, 1, G8, at=AT)


@pytest.mark.both_databases
def test_many_raters_at_once_lose_nothing(store):
    raters = [NewRater(f"R{n:02d}", f"Rater {n}", account=f"a{n}") for n in range(14)]
    images = [NewImage(public_id) for public_id in IDS]
    store.campaigns.add("all", images, raters, taxonomy={}, seed=1, by="Lea", at=AT)
    store.campaigns.open("all", by="Lea", at=AT)

    def play(n: int) -> None:
        seat = store.campaigns.seat(name="all", account=f"a{n}")
        for number in (1, 2):
            said = Opinion("G", str(n), "mean", comment=f"{n} on {number}")
            store.campaigns.rate(seat, number, said, at=AT)

    with ThreadPoolExecutor(14) as pool:
        list(pool.map(play, range(14)))

    found = {
        (rating.rater, rating.image): rating.said.comment
        for rating in store.campaigns.ratings("all")
    }
    wanted = {(f"R{n:02d}", number): f"{n} on {number}" for n in range(14) for number in (1, 2)}
    assert found == wanted


def test_opening_and_closing_stand_in_the_trail(store):
    planned(store)
    ann, _ = seats(store)
    store.campaigns.rate(ann, 1, G8, at=AT)
    store.campaigns.close("spring", by="Lea", at=AT)

    acts = [act.act for act in store.audit_log.iter_acts("campaign.")]
    whats = ("planned", "link_given", "opened", "closed")
    assert acts == [f"campaign.{what}" for what in whats]
    (closed,) = store.audit_log.iter_acts("campaign.closed")
    assert closed.facts["ratings"] == 1
    assert len(closed.facts["sha256"]) == 64
    assert store.audit_log.find_problems() == []


def test_a_link_that_was_given_anew_ends_the_one_before(store):
    planned(store)

    store.campaigns.give_link("spring", "R2", "a new hash", by="Lea", at=AT)

    assert store.campaigns.seat(hashed="hash of Bob's link") is None
    assert store.campaigns.seat(hashed="a new hash").rater.name == "Bob"


def test_the_pixels_of_a_campaign_are_not_pruned(store):
    store.campaigns.add("one", [NewImage(IDS[0])], [], taxonomy={}, seed=1, by="Lea", at=AT)

    later = AT + timedelta(days=1)

    found = store.retention.plan("crops", before=later, statements_since=later)
    assert [kept.id for kept in found.prunable] == [IDS[1]]


def test_a_taken_name_and_an_unknown_micrograph_are_refused(store):
    planned(store)

    with pytest.raises(UsageError, match="take another name"):
        planned(store)
    with pytest.raises(UsageError, match="no micrograph has the id"):
        store.campaigns.add("x", [NewImage("00" * 8)], [], taxonomy={}, seed=1, by="Lea", at=AT)
    assert store.campaigns.find("x") is None
