"""Say whether a candidate should replace the bundle at work, on the same test images.

In:  a `Duel` of the two. Out: a `Comparison`. Next: the agent's `retrain` gates on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from model.evaluation.promotion_checks import CHECKS, GateThresholds, won_and_lost
from model.statistics import mcnemar

if TYPE_CHECKING:
    from model.evaluation.paired import PairedEvaluation
    from model.evaluation.promotion_checks import Check

_BETTER = 0.05
"""One-sided chance below which a gain is called better."""

_INCONCLUSIVE = ("evidence", "overall")
"""Checks that can fail for want of images, and say nothing against the candidate then."""


class Finding(StrEnum):
    """What the numbers say of a candidate."""

    BETTER = "better"
    NOT_WORSE = "not_worse"
    WORSE = "worse"
    NOT_ENOUGH_EVIDENCE = "not_enough_evidence"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Whether a candidate should replace the current bundle, for a person to decide.

    Args:
        finding: What the numbers say.
        sentence: Why, for a person.
        checks: Every question that was asked, with its answer.
        numbers: Everything it rests on.
    """

    finding: Finding
    sentence: str
    checks: tuple[Check, ...]
    numbers: dict[str, Any]

    @property
    def recommend(self) -> bool:
        """Whether the numbers speak for it."""
        return self.finding in (Finding.BETTER, Finding.NOT_WORSE)


def compare_bundles(duel: PairedEvaluation, rules: GateThresholds | None = None) -> Comparison:
    """Say whether a candidate should replace the current bundle.

    Too little evidence is said first, whatever else there is; then one check that fails speaks
    against the candidate. It is better where its gain is beyond chance, else not worse.

    Args:
        duel: What both say of the same images.
        rules: What the lab asks.
    """
    rules = rules or GateThresholds()
    checks = tuple(check(duel, rules) for check in CHECKS)
    by_name = {check.name: check for check in checks}
    finding = _finding(by_name)
    return Comparison(finding, _sentence(duel, finding, checks), checks, _numbers(duel, checks))


def _finding(checks: dict[str, Check]) -> Finding:
    overall = checks["overall"]
    if not checks["evidence"].passed:
        return Finding.NOT_ENOUGH_EVIDENCE
    if any(not one.passed for name, one in checks.items() if name not in _INCONCLUSIVE):
        return Finding.WORSE
    if not overall.passed:
        lost = -(overall.numbers["change"]["value"] or 0.0)
        is_worse = lost > overall.numbers["may_lose"] or overall.numbers["worse_p"] < _BETTER
        return Finding.WORSE if is_worse else Finding.NOT_ENOUGH_EVIDENCE
    is_better = overall.numbers["better_p"] < _BETTER
    return Finding.BETTER if is_better else Finding.NOT_WORSE


def _sentence(duel: PairedEvaluation, finding: Finding, checks: tuple[Check, ...]) -> str:
    name, n = duel.candidate.bundle, duel.candidate.n
    said = {
        Finding.BETTER: f"{name} is better",
        Finding.NOT_WORSE: f"{name} is not worse",
        Finding.WORSE: f"{name} is worse, or may be",
        Finding.NOT_ENOUGH_EVIDENCE: "Not enough evidence",
    }[finding]
    counted = (
        f"{duel.candidate.correct} of {n} test micrographs right, {duel.current.bundle} "
        f"{duel.current.correct}"
    )
    against = [check.sentence for check in checks if not check.passed]
    return f"{said}: {'; '.join([counted, *against])}."


def _numbers(duel: PairedEvaluation, checks: tuple[Check, ...]) -> dict[str, Any]:
    pairs = duel.pairs
    won, lost = won_and_lost(pairs)
    return {
        "n": len(pairs),
        "current_right": duel.current.correct,
        "candidate_right": duel.candidate.correct,
        "won": won,
        "lost": lost,
        "mcnemar_p": mcnemar(lost, won),
        "checks": [check.as_json() for check in checks],
        "flips": [
            {"key": b.key, "true": b.true, "current": a.predicted, "candidate": b.predicted}
            for a, b in pairs
            if a.predicted != b.predicted
        ],
        "current": duel.current.as_json(),
        "candidate": duel.candidate.as_json(),
    }
