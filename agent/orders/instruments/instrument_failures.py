"""Find the times that failed instrument checks leave unproved, before a check and after it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.orders.instruments.instrument_checks import GOOD_FOR, Suspicion
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from agent.orders.instruments.instrument_checks import ControlPoint
    from agent.store import Record


@dataclass(frozen=True, slots=True)
class CheckResult:
    """Result of one check: of a PC with reference images, or of a control specimen's micrograph.

    Args:
        at: When, aware UTC.
        passed: It is as it was.
        doubts: What is in doubt where it is not.
        fault: What a control specimen's fault is, "" for a check with reference images.
    """

    at: datetime
    passed: bool
    doubts: frozenset[str] = frozenset()
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """Failed checks with no good one between them, and the time that they leave unproved.

    Args:
        source: Name of the source whose results are in doubt.
        pc: Name of the PC that was checked, "" for control specimens.
        after: Time of the last good check before, None where there was none.
        until: Time of the next good check, None where there is none yet.
        first_at, last_at: Times of the first and the last failed check.
        doubts: What is in doubt.
        fault: See `CheckResult`.
    """

    source: str
    pc: str
    after: datetime | None
    until: datetime | None
    first_at: datetime
    last_at: datetime
    doubts: frozenset[str]
    fault: str

    def spans(self, at: datetime) -> bool:
        """Return whether a result made at a time is not proved."""
        begun = self.after is None or self.after < at or self.first_at <= at
        return begun and (self.until is None or at < self.until)

    @property
    def is_about_the_model(self) -> bool:
        """Only the model's answer is in doubt, so that a reviewer's code is not."""
        return self.doubts == {Suspicion.MODEL}

    @property
    def sentence(self) -> str:
        """Reason to hold a result that was made before the failed check."""
        words = {
            "source": self.source,
            "pc": self.pc,
            "good": f"{self.after:%Y-%m-%d %H:%M}" if self.after else "",
            "bad": f"{self.first_at:%Y-%m-%d %H:%M}",
            "fault": self.fault,
        }
        if self.pc:
            template = (
                _("the control check of {bad} UTC on {pc} failed, the last good one is of {good}")
                if self.after
                else _("the control check of {bad} UTC on {pc} failed, and none before it was good")
            )
        else:
            template = (
                _(
                    "the control specimen of {source} of {bad} UTC failed ({fault}), the last good "
                    "one is of {good}"
                )
                if self.after
                else _(
                    "the control specimen of {source} of {bad} UTC failed ({fault}), and none "
                    "before it was good"
                )
            )
        return template.format(**words)


def iter_check_failures(checks: Sequence[Record], source: str) -> Iterator[Failure]:
    """Yield the failures of the PCs that read a source, by their checks, oldest first."""
    by_pc: dict[str, list[CheckResult]] = defaultdict(list)
    for result in checks:
        # A failed check that read no image names nothing in doubt: then it is the instrument.
        doubts = result.facts.get("doubts") or [Suspicion.INSTRUMENT]
        check = CheckResult(result.at, bool(result.facts.get("passed")), frozenset(doubts))
        by_pc[result.subject].append(check)
    for pc, results in by_pc.items():
        yield from find_failures(results, source, pc)


def iter_point_failures(points: Sequence[ControlPoint], source: str) -> Iterator[Failure]:
    """Yield the failures of a source's control specimens, oldest first."""
    checks = [
        CheckResult(
            at=point.at,
            passed=not point.faults,
            doubts=frozenset({Suspicion.INSTRUMENT}),
            fault=point.faults[0] if point.faults else "",
        )
        for point in points
    ]
    return find_failures(checks, source, "")


def find_failures(checks: Sequence[CheckResult], source: str, pc: str) -> Iterator[Failure]:
    """Yield each run of failed checks.

    Args:
        checks: Of one PC or of the control specimens, oldest first.
        source: Name of the source whose results they concern.
        pc: Name of the PC that was checked, "" for control specimens.
    """
    good: datetime | None = None
    run: list[CheckResult] = []

    def end(until: datetime | None) -> Iterator[Failure]:
        if run:
            doubts = frozenset[str]().union(*(result.doubts for result in run))
            first, last = run[0], run[-1]
            yield Failure(source, pc, good, until, first.at, last.at, doubts, first.fault)

    for result in checks:
        if not result.passed:
            run.append(result)
            continue
        yield from end(result.at)
        good, run = result.at, []
    yield from end(None)


def is_retired(checks: Sequence[Record], failure: Failure, at: datetime) -> bool:
    """Return whether a PC did not read the source at a time, and another one was checked.

    Its checks then hold nothing: it was replaced, or it was added later.
    """
    if not failure.pc:
        return False
    before = [result for result in checks if result.at <= at]
    if not before or before[-1].subject == failure.pc:
        return False
    own = [result for result in before if result.subject == failure.pc]
    if own:
        return at - own[-1].at > GOOD_FOR
    return at - before[-1].at <= GOOD_FOR
