"""Archived micrographs get one answer of another bundle each, whatever interrupts a run."""

from __future__ import annotations

from datetime import timedelta

import pytest
from labs.second_bundle import AT, NEW, Judge, count_answers, fill

from agent.objects import ObjectsUnavailableError
from agent.retrain import Again, judge_patiently, reprocess
from agent.retrain.reprocessing import AGAIN_S, TOGETHER
from agent.store import Store
from model import ModelError

N = 3 * TOGETHER


@pytest.fixture
def store(address):
    with Store.open(address, site="Plant 1", agent="PC") as opened:
        yield opened


def run(store: Store, judge: Judge, since=None) -> Again:
    given = {"role": "shadow", "since": since, "now": lambda: AT + timedelta(hours=1)}
    *_, again = reprocess(store, NEW, judge, **given)
    return again


def test_a_run_that_was_interrupted_is_continued_by_the_next_one(store, address) -> None:
    fill(store, N)
    batches = []

    def interrupt(_views) -> None:
        batches.append(1)
        if len(batches) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(store, first := Judge(interrupt))
    again = run(store, second := Judge())

    assert (again.judged, again.known) == (N - TOGETHER, TOGETHER)
    assert set((first.seen + second.seen).values()) == {1}
    assert count_answers(address) == (N, N)
    assert run(store, Judge()) == Again(known=N)


def test_two_runs_at_once_give_each_micrograph_one_answer(store, address) -> None:
    fill(store, N)
    others = []

    def run_another(_views) -> None:
        if not others:
            others.append(run(store, Judge()))

    again = run(store, Judge(run_another))

    assert (others[0].judged, again.judged, again.known) == (N, 0, N)
    assert count_answers(address) == (N, N)


def test_one_that_cannot_be_classified_does_not_stop_the_others(store) -> None:
    fill(store, N)
    spoilt = next(view.id for view in store.results.iter_all())

    def refuse(views) -> None:
        if spoilt in {view.id for view in views}:
            raise ModelError("the crop is empty")

    again = run(store, Judge(refuse))

    assert (again.judged, again.unreadable, again.lost) == (N - 1, 1, 0)
    assert again.flips == {("G8", "G7"): N - 1}


def test_an_object_storage_that_is_away_is_waited_for(store) -> None:
    fill(store, TOGETHER)
    paused = []

    def fail(_views) -> None:
        if len(paused) < 4:
            raise ObjectsUnavailableError("s3://lab/one does not answer")

    left, _ = store.results.list_unanswered(NEW)
    again = judge_patiently(
        store, Judge(fail), left, role="shadow", now=lambda: AT, pause=paused.append
    )

    assert paused == [*AGAIN_S, AGAIN_S[-1]]
    assert again.judged == TOGETHER


def test_the_newest_come_first_and_those_before_a_time_not_at_all(store) -> None:
    fill(store, 2, source="LOM-1", at=AT - timedelta(days=30))
    fill(store, 2, source="LOM-2")
    numbers = [view.number for view in store.results.iter_all()]

    assert store.results.list_unanswered(NEW) == (numbers[::-1], 0)
    assert store.results.list_unanswered(NEW, since=AT - timedelta(days=1)) == (numbers[:1:-1], 0)


def test_a_site_judges_its_own_micrographs_alone(store, address) -> None:
    fill(store, 2)
    with Store.open(address, site="Plant 2", agent="PC") as other:
        fill(other, 3)

        again = run(other, Judge())

    assert again.judged == 3
    assert store.results.list_unanswered(NEW)[1] == 0
