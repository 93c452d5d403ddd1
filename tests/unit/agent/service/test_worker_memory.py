"""A worker releases what it needs no more: memory after a while, files in hand at its end."""

from dataclasses import dataclass, field

from agent.pipeline import BatchOutcome
from agent.service.health.problems import Problems
from agent.service.worker import IDLE_S, RELEASE_AFTER_S, REST_AFTER_S, Worker


@dataclass
class NoBundle:
    """There is no bundle, and nothing is wrong with that."""

    classifier: None = None
    problem: str = ""
    waits_for: str = ""
    trouble: str = ""

    def refresh(self):
        return False


@dataclass
class Rounds:
    """A pipeline that processes as many files a round as planned."""

    plan: list[int] = field(default_factory=list)

    released: int = 0
    has_held: bool = False

    def process_batch(self, _n, **_options):
        return BatchOutcome(stored=self.plan.pop(0))

    def release_held(self):
        self.released += 1


@dataclass
class RecordingPool:
    """A pool that records what it is told to do."""

    now_s: float = 0.0
    acts: list[tuple[str, float]] = field(default_factory=list)

    def release_memory(self):
        self.acts.append(("release", self.now_s))

    def rest(self):
        self.acts.append(("rest", self.now_s))


def test_the_processes_that_read_release_memory_and_end_once_no_file_comes_for_long():
    pool, rounds = RecordingPool(), Rounds([1, 0, 0, 0, 0, 1, 0, 0])
    worker = _work_with(rounds, pool, steady=lambda: pool.now_s)

    for at_s in (0, 20, 31, REST_AFTER_S + 1, 2000, 2001, 2032, 2001 + REST_AFTER_S + 1):
        pool.now_s = at_s
        worker.run_round()

    assert pool.acts == [("release", 31), ("rest", 601.0), ("release", 2032), ("rest", 2602.0)]


def test_the_processes_that_read_end_where_no_file_came_since_the_start():
    pool, rounds = RecordingPool(), Rounds([0, 0])
    worker = _work_with(rounds, pool, steady=lambda: pool.now_s)

    for at_s in (0, REST_AFTER_S + 1):
        pool.now_s = at_s
        worker.run_round()

    assert pool.acts == [("rest", REST_AFTER_S + 1)]


def test_a_round_follows_at_once_while_a_file_is_in_hand():
    rounds = Rounds([0, 0])
    worker = _work_with(rounds)

    pauses_s = [worker.run_round()]
    rounds.has_held = True
    pauses_s.append(worker.run_round())

    assert pauses_s == [IDLE_S, 0.0]


def _work_with(rounds, pool=None, **given):
    return Worker(
        lambda: (pool, rounds), bundle=NoBundle(), reachable=list, problems=Problems(), **given
    )


def test_what_is_in_hand_is_given_back_at_the_end_also_after_the_pool_was_abandoned():
    rounds = Rounds([1])
    worker = _work_with(rounds)
    worker.run_round()

    worker.stop()
    worker.abandon()
    worker.run()

    assert rounds.released == 1


def test_memory_is_released_once_after_the_last_file_and_again_after_the_next():
    released, now_s = [], 0.0
    rounds = Rounds([0, 2, 0, 0, 0, 1, 0])
    worker = Worker(
        lambda: (None, rounds),
        bundle=NoBundle(),
        reachable=list,
        problems=Problems(),
        steady=lambda: now_s,
        release_memory=lambda: released.append(now_s),
    )

    for pause_s in (0, 100, RELEASE_AFTER_S, 1, 100, 1, RELEASE_AFTER_S + 1):
        now_s += pause_s
        worker.run_round()

    assert released == [131.0, 263.0]
