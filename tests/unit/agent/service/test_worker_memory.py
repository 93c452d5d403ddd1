"""A worker that has had no file for a while releases the networks' memory, once."""

from dataclasses import dataclass, field

from agent.pipeline import BatchOutcome
from agent.service.problems import Problems
from agent.service.worker import RELEASE_AFTER_S, Worker


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

    def process_batch(self, _n, **_options):
        return BatchOutcome(stored=self.plan.pop(0))


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
