"""Archived micrographs are judged again in units: nothing is lost, and nothing counts twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import timedelta

import pytest
from folders import TESTS
from unit_lab import (
    AT,
    LEASE_S,
    Judge,
    answer,
    count_answers,
    fill,
    start,
    worker_of,
)

from agent.store import JobState, Store, UnitAnswer

N = 40


@pytest.fixture
def store(address):
    with Store.open(address, site="Plant 1", agent="PC") as opened:
        yield opened


def test_units_are_of_one_source_and_everything_is_judged_once(store, address):
    fill(store, N)
    fill(store, 10, source="LOM-08")
    job, judge = start(store, unit=16), Judge()

    ends = [end for end in worker_of(store, judge).pull() if end]

    progress = store.work_jobs.get_progress(job, at=AT)
    assert (ends, progress.units) == (["done"] * 4, {"done": 4})
    assert (progress.done, progress.judged, progress.job.total) == (N + 10,) * 3
    assert set(judge.seen.values()) == {1}
    assert progress.flips == {("G8", "G7"): N + 10}
    assert count_answers(address) == (N + 10, N + 10)
    assert (store.work_jobs.close_when_done(job, at=AT)) is True
    assert (store.work_jobs.close_when_done(job, at=AT)) is False
    closed = store.work_jobs.get_progress(job, at=AT)
    assert (closed.units, closed.judged, closed.flips) == ({}, N + 10, progress.flips)


def test_codes_with_spaces_are_counted_as_they_are_while_a_job_runs_and_after_it(store):
    """A lab's own codes have spaces, so that a space does not separate two codes."""
    fill(store, 16, code="globular coarse")
    job = start(store)
    list(worker_of(store).pull())

    flips = {("globular coarse", "G7"): 16}
    assert store.work_jobs.get_progress(job, at=AT).flips == flips
    store.work_jobs.close_when_done(job, at=AT)
    assert store.work_jobs.get_progress(job, at=AT).flips == flips


def test_a_second_job_of_the_bundle_has_nothing_to_do(store, address):
    fill(store, 20)
    first = start(store)
    list(worker_of(store).pull())
    store.work_jobs.close_when_done(first, at=AT)

    second = store.work_jobs.get_progress(start(store), at=AT)

    assert second.job.id != first
    assert (second.job.known, second.job.total) == (20, 0)


def test_crops_that_are_gone_or_damaged_are_counted_and_stop_nothing(store, address):
    fill(store, 20)
    job = start(store)

    def judge(views):
        gone, damaged = UnitAnswer(views[0]), UnitAnswer(views[1], fault="cut \0 off \udcff")
        return [gone, damaged, *map(answer, views[2:])]

    list(worker_of(store, judge).pull())

    progress = store.work_jobs.get_progress(job, at=AT)
    assert (progress.lost, progress.unreadable, progress.judged) == (3, 3, 14)
    assert progress.faults[0].reason == "cut  off ?"


def test_a_worker_that_lost_its_lease_counts_nothing(store, address):
    """It is cut off in the middle of a batch, and another finishes the unit in that time."""
    fill(store, 32)
    job, other = start(store), Judge()

    def lose(batch):
        if batch == 2:
            list(worker_of(store, other, late_s=LEASE_S + 1).pull())

    ends = [end for end in worker_of(store, Judge(lose)).pull() if end]

    progress = store.work_jobs.get_progress(job, at=AT)
    assert ends == ["lost"]
    assert (progress.judged, progress.flips) == (32, {("G8", "G7"): 32})
    assert (sum(other.seen.values()), count_answers(address)) == (24, (32, 32))


def test_a_claim_of_an_earlier_attempt_can_do_nothing(store):
    fill(store, 8)
    job = start(store)
    first = store.work_units.claim([job], at=AT, lease_s=LEASE_S)
    second = store.work_units.claim([job], at=AT + timedelta(seconds=61), lease_s=LEASE_S)
    (view, *_) = store.work_units.list_views(first.left)

    assert second.attempt > first.attempt
    assert store.work_units.record(first, [answer(view)], at=AT, lease_s=9) is None
    assert not store.work_units.renew(first, at=AT, lease_s=9)
    assert not store.work_units.finish(first, at=AT)
    assert not store.work_units.release(first)
    assert not store.work_units.fail(first, "late", at=AT)
    assert store.work_units.record(second, [answer(view)], at=AT, lease_s=9) is JobState.OPEN


def test_a_clock_that_was_set_back_delays_no_unit(store):
    fill(store, 8)
    job = start(store)
    ahead = AT + timedelta(hours=5)
    store.work_units.claim([job], at=ahead, lease_s=LEASE_S)

    assert store.work_units.claim([job], at=ahead + timedelta(seconds=30), lease_s=1) is None
    assert store.work_units.claim([job], at=AT, lease_s=LEASE_S) is not None


@pytest.mark.parametrize("act", ["pause", "cancel"])
def test_a_job_is_paused_and_cancelled_while_it_runs(store, address, act):
    fill(store, 32)
    job = start(store)

    def stop(batch):
        if batch == 2:
            getattr(store.work_jobs, act)(job, by="Bea", at=AT)

    ends = [end for end in worker_of(store, Judge(stop)).pull() if end]

    done = {"pause": (["released"], 16, "waiting"), "cancel": (["lost"], 8)}
    progress = store.work_jobs.get_progress(job, at=AT)
    assert (ends, progress.judged, *progress.units) == done[act]
    assert list(worker_of(store).pull()) == []
    assert store.work_jobs.resume(job, by="Bea", at=AT) is (act == "pause")
    list(worker_of(store).pull())
    assert count_answers(address) == ((32, 32) if act == "pause" else (8, 8))
    acts = [entry.act for entry in store.audit_log.iter_acts() if entry.act.startswith("work.")]
    assert acts == ["work.requested", *(["work.paused", "work.resumed"] if act == "pause" else ["work.cancelled"])]  # fmt: skip  # noqa: E501


def test_a_unit_that_fails_again_and_again_is_set_aside_with_its_reason_until_resumed(store):
    fill(store, 8)
    job = start(store)

    def fail(_batch):
        raise ValueError("the network returns 'nonsense'; DROP TABLE result")

    for minutes in (0, 2, 10):
        list(worker_of(store, Judge(fail), late_s=60 * minutes).pull())

    progress = store.work_jobs.get_progress(job, at=AT)
    assert (progress.units, progress.set_aside) == ({"set_aside": 1}, 8)
    assert progress.faults[0].reason.startswith("ValueError: the network returns 'nonsense'")
    assert store.work_jobs.close_when_done(job, at=AT)
    assert store.work_jobs.resume(job, by="Ada", at=AT)
    list(worker_of(store).pull())
    assert store.work_jobs.get_progress(job, at=AT).judged == 8


def test_a_unit_whose_agents_die_without_progress_is_set_aside(store):
    fill(store, 8)
    job = start(store)
    claims = [
        store.work_units.claim([job], at=AT + timedelta(minutes=2 * n), lease_s=LEASE_S)
        for n in range(5)
    ]

    assert [bool(claim) for claim in claims] == [True, True, True, True, False]
    fault = store.work_jobs.get_progress(job, at=AT).faults[0]
    assert fault.reason == "its agent ended 4 times while it worked on it"


def test_units_whose_crops_are_here_come_first_and_others_only_where_they_can_be_read(address):
    with (
        Store.open(address, site="Plant 1", agent="PC-A") as first,
        Store.open(address, site="Plant 1", agent="PC-B") as second,
    ):
        fill(first, 8, source="LOM-A")
        fill(second, 8, source="LOM-B")
        job = start(first)

        own = first.work_units.claim([job], at=AT, lease_s=LEASE_S)
        none = first.work_units.claim([job], at=AT, lease_s=LEASE_S)
        (home,) = first.work_units.list_waiting_homes([job])
        other = first.work_units.claim([job], at=AT, lease_s=1, homes=[home.agent_id])

        assert (own.home, own.source) == ("PC-A", "LOM-A")
        assert none is None
        assert (other.home, other.source) == ("PC-B", "LOM-B")


def test_an_agent_of_another_site_takes_nothing_and_changes_nothing(store, address):
    fill(store, 8)
    job = start(store)
    claim = store.work_units.claim([job], at=AT, lease_s=LEASE_S)
    (view, *_) = store.work_units.list_views(claim.left)
    with Store.open(address, site="Plant 2", agent="PC") as there:
        later = AT + timedelta(days=1)

        assert list(worker_of(there, late_s=86400).pull([job])) == []
        assert there.work_units.claim([job], at=later, lease_s=1) is None
        assert there.work_units.record(claim, [answer(view)], at=later, lease_s=1) is None
        assert there.work_units.list_views(claim.left) == []
        assert there.work_jobs.list_progress(at=later) == []
        for act in (there.work_jobs.pause, there.work_jobs.resume, there.work_jobs.cancel):
            assert not act(job, by="Eve", at=later)

    assert store.work_units.renew(claim, at=AT, lease_s=LEASE_S)
    assert count_answers(address) == (0, 0)


@pytest.mark.parametrize("name", ["../..", "x'; DROP TABLE work_unit; --", "ä\n<b>", "a" * 3000])
def test_a_hostile_name_is_only_a_name(store, name):
    fill(store, 2, source=name)
    job = store.work_jobs.open(name, "shadow", days=3, since=None, by=name, at=AT)
    store.work_jobs.divide(job.id, unit=256, at=AT)

    assert store.work_units.claim([job.id], at=AT, lease_s=1).source == name
    assert list(worker_of(store).pull()) == []  # there is no bundle of this name here
    assert store.work_jobs.list_progress(at=AT)[0].job.bundle == name


# --- real processes -------------------------------------------------------------------------------


class Worker:
    """A worker in a process, which waits after each batch until it is let go on."""

    def __init__(self, address: str, agent: str, late_s: float = 0.0) -> None:
        self.process = subprocess.Popen(
            [
                sys.executable,
                str(TESTS / "unit_process.py"),
                address,
                "Plant 1",
                agent,
                str(late_s),
            ],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": str(TESTS)},
        )  # fmt: skip

    def hear(self) -> str:
        return self.process.stdout.readline().strip()

    def go_on(self) -> None:
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def close(self) -> None:
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(20)

    def run_to_end(self) -> list[str]:
        heard = []
        while (line := self.hear()) != "over":
            heard.append(line)
            self.go_on()
        self.close()
        return [line for line in heard if line != "batch"]

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.close()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_process_killed_in_a_unit_loses_nothing_while_another_works_beside_it(store, address):
    fill(store, 64)
    job = start(store)
    killed, other = Worker(address, "PC-A"), Worker(address, "PC-B", late_s=1)
    for worker in (killed, other, killed, other):
        assert worker.hear() == "batch"
        worker.go_on()
    assert killed.hear() == "batch"
    killed.kill()

    ends = other.run_to_end()
    taken_over = Worker(address, "PC-C", late_s=LEASE_S + 2).run_to_end()

    progress = store.work_jobs.get_progress(job, at=AT)
    assert (ends, taken_over) == (["done"], ["done"])
    assert (progress.judged, progress.units) == (64, {"done": 2})
    assert count_answers(address) == (64, 64)
