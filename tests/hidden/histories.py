"""What is truly bad never conforms unless a lead signed for it, and every reason is true.

Fifty acts by people who are mostly no leads: exports with the tricks that were found, labels honest
or careless, notes, lists, moves, copies, kills, clock changes, promotions, edited specifications
and failing checks. A label that its author is sure of is honest, but for one person; the model's
prediction set holds the truth, unless the picture is unlike its reference images. To one order of
each history only honest things are done: it has to conform.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from hidden.acts import COUNTS
from hidden.ends import Ends
from hidden.reasons import untrue_reasons

if TYPE_CHECKING:
    from agent.orders.judge.assessed import Assessed

__all__ = ["COUNTS", "HiddenTruth", "play"]
BATCH = 10
"""Histories of one seed; beyond ten Hypothesis makes most of them by copying parts of others."""


def play(number: int, *, histories: int = BATCH, acts: int = 50, shrink: bool = False) -> None:
    """Play a batch of histories.

    Args:
        number: Seed of the batch.
        histories: How many of them; at most `BATCH`.
        acts: Steps of each history.
        shrink: Make one that fails as short as possible.

    Raises:
        AssertionError: Something was stated falsely.
    """
    run_state_machine_as_test(
        seed(number)(HiddenTruth),
        settings=settings(
            max_examples=min(histories, BATCH),
            stateful_step_count=acts,
            deadline=None,
            database=None,
            phases=[Phase.generate, *([Phase.shrink] if shrink else [])],
            suppress_health_check=list(HealthCheck),
        ),
    )


class HiddenTruth(Ends):
    """Holds every statement against the truth, in between and at the end."""

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        self.world.drain()
        for number in self.world.orders:
            self.examine(number)
        for number, hide in zip(self.others(), self.hides, strict=True):
            self.complete(number, hide)
        self.end_honestly()

    def examine(self, number: str) -> None:
        """Hold what is reported of an order against the truth."""
        world = self.world
        assessed = world.look(number)
        if assessed is None:
            assert not world.orders[number].is_heard, f"order {number} is forgotten"
            return
        COUNTS["statements"] += 1
        word = str(assessed.statement.conformity)
        COUNTS[word] += 1
        bad = world.why_not(number)
        COUNTS["bad statements"] += bool(bad)
        if word == "conforms" and bad:
            COUNTS["false conforms"] += 1
            raise AssertionError(f"order {number} conforms, and {'; '.join(bad)}")
        if untrue := list(untrue_reasons(world, assessed)):
            COUNTS["untrue reasons"] += 1
            raise AssertionError(f"order {number}: untrue: {untrue}")
        self.examine_answers(assessed)

    def examine_answers(self, assessed: Assessed) -> None:
        """Hold each field's answer against the one that its bundle gave."""
        for specimen in assessed.specimens:
            for field in (*specimen.facts.fields, *specimen.facts.earlier):
                one = self.world.shown[field.id]
                given = (one.bundle, one.picture.code, one.picture.codes)
                answers = (field.bundle, field.code, tuple(field.codes))
                assert answers == given, f"{field.called}: {given} became {answers}"
