"""Compare a candidate with the bundle in use on the same test images."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from model.evaluation.paired import count_won_and_lost
from model.evaluation.promotion_checks import CHECKS, GateThresholds
from model.statistics import mcnemar

if TYPE_CHECKING:
    from model.evaluation.paired import PairedEvaluation
    from model.evaluation.promotion_checks import Check

_BETTER = 0.05
"""One-sided p-value below which a gain is called better."""

_INCONCLUSIVE = ("evidence", "overall")
"""Checks that also fail for lack of images, which does not make the candidate worse."""


class ComparisonOutcome(StrEnum):
    """Result of a comparison."""

    BETTER = "better"
    NOT_WORSE = "not_worse"
    WORSE = "worse"
    NOT_ENOUGH_EVIDENCE = "not_enough_evidence"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Whether a candidate should replace the bundle in use; a lead decides.

    Args:
        finding: The result.
        sentence: The reason, for the lead.
        checks: All checks, with their results.
        numbers: Everything the result is based on, as JSON.
    """

    finding: ComparisonOutcome
    sentence: str
    checks: tuple[Check, ...]
    numbers: dict[str, Any]


def compare_bundles(pair: PairedEvaluation, thresholds: GateThresholds | None = None) -> Comparison:
    """Compare a candidate with the bundle in use.

    Too little evidence takes precedence over every other result; then one failed check makes the
    candidate worse. It is better where its gain is significant, else not worse.

    Args:
        pair: Evaluation of both bundles on the same images.
        thresholds: Requirements of the lab; None: the defaults.
    """
    thresholds = thresholds or GateThresholds()
    checks = tuple(check(pair, thresholds) for check in CHECKS)
    by_name = {check.name: check for check in checks}
    finding = _decide(by_name)
    sentence = _format_sentence(pair, finding, checks)
    return Comparison(finding, sentence, checks, _collect_numbers(pair, checks))


def _decide(checks: dict[str, Check]) -> ComparisonOutcome:
    overall = checks["overall"]
    if not checks["evidence"].passed:
        return ComparisonOutcome.NOT_ENOUGH_EVIDENCE
    if any(not check.passed for name, check in checks.items() if name not in _INCONCLUSIVE):
        return ComparisonOutcome.WORSE
    if not overall.passed:
        loss = -(overall.numbers["change"]["value"] or 0.0)
        is_worse = loss > overall.numbers["may_lose"] or overall.numbers["worse_p"] < _BETTER
        return ComparisonOutcome.WORSE if is_worse else ComparisonOutcome.NOT_ENOUGH_EVIDENCE
    is_better = overall.numbers["better_p"] < _BETTER
    return ComparisonOutcome.BETTER if is_better else ComparisonOutcome.NOT_WORSE


def _format_sentence(
    pair: PairedEvaluation, finding: ComparisonOutcome, checks: tuple[Check, ...]
) -> str:
    name, n = pair.candidate.bundle, pair.candidate.n
    verdict = {
        ComparisonOutcome.BETTER: f"{name} is better",
        ComparisonOutcome.NOT_WORSE: f"{name} is not worse",
        ComparisonOutcome.WORSE: f"{name} is worse, or may be",
        ComparisonOutcome.NOT_ENOUGH_EVIDENCE: "Not enough evidence",
    }[finding]
    counts = (
        f"{pair.candidate.correct} of {n} test micrographs right, {pair.current.bundle} "
        f"{pair.current.correct}"
    )
    failed = [check.sentence for check in checks if not check.passed]
    return f"{verdict}: {'; '.join([counts, *failed])}."


def _collect_numbers(pair: PairedEvaluation, checks: tuple[Check, ...]) -> dict[str, Any]:
    cases = pair.pairs
    won, lost = count_won_and_lost(cases)
    return {
        "n": len(cases),
        "current_right": pair.current.correct,
        "candidate_right": pair.candidate.correct,
        "won": won,
        "lost": lost,
        "mcnemar_p": mcnemar(lost, won),
        "checks": [check.as_json() for check in checks],
        "flips": [
            {"key": b.key, "true": b.true, "current": a.predicted, "candidate": b.predicted}
            for a, b in cases
            if a.predicted != b.predicted
        ],
        "current": pair.current.as_json(),
        "candidate": pair.candidate.as_json(),
    }
