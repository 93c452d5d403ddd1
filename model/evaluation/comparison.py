"""Compare a candidate with the bundle in use: each check of whether it may replace it."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from model.evaluation.evaluation import Case, confidence_and_correctness, negative_log_likelihoods
from model.evaluation.metrics import calibration_error
from model.evaluation.paired import (
    LEVEL,
    Pair,
    PairedEvaluation,
    alarm_p_value,
    compute_max_loss,
    compute_mean,
    count_won_and_lost,
    count_won_and_lost_specimens,
    estimate_accuracy,
    estimate_accuracy_change,
    estimate_change,
    group_by_specimen,
    loss_p_value,
    sign_test,
)
from model.statistics import holm, mcnemar, upper_bound

# --- result of one promotion check, and what a lab requires of a candidate ------------------------


@dataclass(frozen=True, slots=True)
class GateThresholds:
    """Requirements of a lab for a candidate.

    Args:
        may_lose: Largest share of the images that may be lost, at the upper confidence limit.
        min_accuracy: Smallest share of correct codes, in [0, 1].
        min_recall: Smallest recall of every code, at the upper limit of its interval: a code with
            few images does not fail by chance.
        may_flip_back: Largest share of once corrected images that may be wrong again.
        max_slowdown: Largest ratio of its time to that of the bundle in use.
    """

    may_lose: float = 0.03
    min_accuracy: float = 0.6
    min_recall: float = 0.2
    may_flip_back: float = 0.05
    max_slowdown: float = 1.5


@dataclass(frozen=True, slots=True)
class Check:
    """Result of one check.

    Args:
        name: Stable name.
        passed: Whether the candidate meets the criterion.
        sentence: The reason, for the lead.
        numbers: What the result is based on, as JSON.
    """

    name: str
    passed: bool
    sentence: str
    numbers: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON."""
        return {
            "name": self.name,
            "passed": self.passed,
            "sentence": self.sentence,
            "numbers": self.numbers,
        }


def format_count(n: int, what: str) -> str:
    """Format a count with its noun."""
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def format_percent(share: float | None) -> str:
    """Format a share in percent, or "nothing"."""
    return "nothing" if share is None else f"{100 * share:.1f} %"


def format_points(share: float | None) -> str:
    """Format a share in points without sign."""
    return "?" if share is None else f"{100 * share:.1f}"


def format_signed(share: float | None) -> str:
    """Format a change in points with its sign."""
    return "?" if share is None else f"{100 * share:+.1f}"


# --- check whether a candidate loses accuracy: overall, per code, per slice, at a limit -----------


MIN_DISCORDANT, MIN_NEW = 6, 20
"""Minimum number of specimens on which the bundles differ, or of new test specimens: five that all
favour one side occur by chance once in sixteen times."""


def check_evidence(pair: PairedEvaluation, thresholds: GateThresholds) -> Check:
    """Check whether there are enough specimens; images of one specimen count once."""
    del thresholds
    won, lost = count_won_and_lost(pair.pairs)
    better, worse = count_won_and_lost_specimens(pair.pairs)
    new = [case for case in pair.candidate.cases if case.key in pair.new]
    specimens = len(group_by_specimen(pair.pairs))
    new_specimens = len({case.group for case in new})
    enough = better + worse >= MIN_DISCORDANT or new_specimens >= MIN_NEW
    needed = (
        ""
        if enough
        else f"; at least {MIN_NEW} new or {MIN_DISCORDANT} judged differently are needed"
    )
    sentence = (
        f"{len(pair.pairs)} test micrographs of {specimens} specimens, {len(new)} of them new, "
        f"of {new_specimens} specimens; of {better + worse} specimens one of both bundles has more "
        f"right{needed}"
    )
    numbers = {"n": len(pair.pairs), "new": len(new), "won": won, "lost": lost}
    numbers |= {"specimens": specimens, "new_specimens": new_specimens}
    numbers |= {"won_specimens": better, "lost_specimens": worse}
    return Check("evidence", enough, sentence, numbers)


def check_floors(pair: PairedEvaluation, thresholds: GateThresholds) -> Check:
    """Check whether the candidate is good enough, regardless of the bundle in use."""
    accuracy = estimate_accuracy(pair.candidate.cases)
    by_code: dict[str, list[Case]] = defaultdict(list)
    for case in pair.candidate.cases:
        by_code[case.true].append(case)
    recalls = {code: estimate_accuracy(cases) for code, cases in by_code.items()}
    low = [
        code
        for code, recall in sorted(recalls.items())
        if (recall.high or 0.0) < thresholds.min_recall
    ]
    passed = (accuracy.value or 0.0) >= thresholds.min_accuracy and not low
    sentence = (
        f"{format_percent(accuracy.value)} of the codes right, at least "
        f"{thresholds.min_accuracy:.0%} asked"
    )
    if low:
        sentence += f"; surely below {thresholds.min_recall:.0%} right of {', '.join(low)}"
    return Check(
        "floors",
        passed,
        sentence,
        {
            "accuracy": accuracy.as_json(),
            "min_accuracy": thresholds.min_accuracy,
            "recall": {code: recall.as_json() for code, recall in recalls.items()},
            "min_recall": thresholds.min_recall,
        },
    )


def check_overall(pair: PairedEvaluation, thresholds: GateThresholds) -> Check:
    """Check whether the loss of accuracy is below the margin, at the upper confidence limit."""
    won, lost = count_won_and_lost(pair.pairs)
    max_loss = compute_max_loss(pair.pairs)
    change = estimate_accuracy_change(pair.pairs)
    specimens = len(group_by_specimen(pair.pairs))
    passed = max_loss is not None and max_loss <= thresholds.may_lose
    return Check(
        "overall",
        passed,
        f"{format_signed(change.value)} points of accuracy ({format_signed(change.low)} to "
        f"{format_signed(change.high)}); it loses at most {format_points(max_loss)} points with "
        f"95 % confidence, counted over {format_count(specimens, 'specimen')}; "
        f"{format_points(thresholds.may_lose)} allowed",
        {
            "specimens": specimens,
            "won": won,
            "lost": lost,
            "change": change.as_json(),
            "most_lost": max_loss,
            "may_lose": thresholds.may_lose,
            "worse_p": loss_p_value(pair.pairs),
            "better_p": loss_p_value([(b, a) for a, b in pair.pairs]),
        },
    )


def check_codes(pair: PairedEvaluation, thresholds: GateThresholds) -> Check:
    """Check whether accuracy on a structure code is lost."""
    del thresholds
    groups: dict[str, list[Pair]] = defaultdict(list)
    for cases in pair.pairs:
        groups[cases[0].true].append(cases)
    return _check_parts("codes", groups)


def check_slices(pair: PairedEvaluation, thresholds: GateThresholds) -> Check:
    """Check whether accuracy is lost on a slice, such as a microscope or a material."""
    del thresholds
    groups: dict[str, list[Pair]] = defaultdict(list)
    for cases in pair.pairs:
        for attribute, value in cases[0].slices.items():
            if value:
                groups[f"{attribute} {value}"].append(cases)
    return _check_parts("slices", groups)


def check_limits(pair: PairedEvaluation, thresholds: GateThresholds) -> Check:
    """Check whether at a limit in use more nonconforming fields would be predicted to conform.

    Both bundles are evaluated on the same images, so one more field already fails. The bound counts
    specimens with such a field, because fields of one specimen are not independent.
    """
    del thresholds
    numbers: dict[str, dict[str, float | None]] = {}
    worse = []
    for name, meets in pair.limits.items():
        nonconforming = [cases for cases in pair.pairs if not meets(cases[0].true)]
        false_conform = [
            [
                case_pair
                for case_pair in nonconforming
                if _is_predicted_conforming(case_pair[side], meets)
            ]
            for side in (0, 1)
        ]
        n_current, n_candidate = (len(errors) for errors in false_conform)
        specimens = len(group_by_specimen(nonconforming))
        specimens_current, specimens_candidate = (
            len(group_by_specimen(errors)) for errors in false_conform
        )
        current_upper95 = upper_bound(specimens_current, specimens)
        candidate_upper95 = upper_bound(specimens_candidate, specimens)
        numbers[name] = {
            "n": len(nonconforming),
            "current": n_current,
            "candidate": n_candidate,
            "specimens": specimens,
            "current_specimens": specimens_current,
            "candidate_specimens": specimens_candidate,
            "current_upper95": current_upper95,
            "candidate_upper95": candidate_upper95,
        }
        if n_candidate > n_current:
            worse.append(
                f"at {name!r} {n_candidate} of {len(nonconforming)} fields that break it would be "
                f"called conforming, {n_current} now; of {specimens} specimens "
                f"{specimens_candidate} (at most {format_percent(candidate_upper95)}), "
                f"{specimens_current} now (at most {format_percent(current_upper95)})"
            )
    sentence = (
        "no limit is in use" if not numbers else f"{len(numbers)} limits in use, none is riskier"
    )
    return Check("limits", not worse, "; ".join(worse) or sentence, numbers)


def check_corrected(pair: PairedEvaluation, thresholds: GateThresholds) -> Check:
    """Check whether codes that were once corrected, and are now correct, become wrong again."""
    correct = [(a, b) for a, b in pair.corrected if a.right]
    flipped = [b for _, b in correct if not b.right]
    allowed = max(1, math.floor(thresholds.may_flip_back * len(correct)))
    return Check(
        "corrected",
        len(flipped) <= allowed,
        f"of {len(correct)} once corrected micrographs that are right now {len(flipped)} would be "
        f"wrong again, {allowed} allowed"
        if correct
        else "no micrograph was corrected that is right now",
        {
            "n": len(correct),
            "back": len(flipped),
            "allowed": allowed,
            "flips": [{"key": b.key, "true": b.true, "candidate": b.predicted} for b in flipped],
        },
    )


def _check_parts(name: str, groups: Mapping[str, Sequence[Pair]]) -> Check:
    """Check for each part whether accuracy is lost, with Holm's correction."""
    p_values = holm({part: loss_p_value(pairs) for part, pairs in groups.items()})
    numbers = {}
    for part, pairs in sorted(groups.items()):
        n_current, n_candidate = sum(a.right for a, _ in pairs), sum(b.right for _, b in pairs)
        numbers[part] = {
            "n": len(pairs),
            "current": n_current,
            "candidate": n_candidate,
            "p": p_values[part],
        }
    lost = [part for part, counts in numbers.items() if counts["p"] < LEVEL]
    sentence = "; ".join(
        f"{part}: {numbers[part]['candidate']} of {numbers[part]['n']} right, "
        f"{numbers[part]['current']} before (p = {numbers[part]['p']:.2g})"
        for part in lost
    )
    return Check(
        name, not lost, sentence or f"none of {len(numbers)} is lost beyond chance", numbers
    )


def _is_predicted_conforming(case: Case, meets: Callable[[str], bool]) -> bool:
    """Return whether a field is not flagged and every code in its prediction set meets a limit."""
    return not case.flagged and all(meets(code) for code in {case.predicted, *case.prediction_set})


# --- check whether a candidate's probabilities, alarms and time are as good as before -------------


ECE_SLACK = 0.01


NLL_SLACK = 0.02
"""Largest significant loss of calibration: 0.01 of probability; 0.02 nat."""


MIN_UNUSUAL = 5


MAX_UNUSUAL_SHARE = 0.5
"""More than half, and at least five, new images of a code flagged by the bundle in use: they show
another material or preparation than its reference images of that code."""


def check_calibration(pair: PairedEvaluation, thresholds: GateThresholds) -> Check:
    """Check whether the predicted probabilities are as well calibrated.

    The log-likelihood is a proper score: where it improves significantly, a larger calibration
    error only means underconfidence.
    """
    del thresholds
    ece = estimate_change(pair.pairs, confidence_and_correctness, calibration_error)
    nll = estimate_change(pair.pairs, negative_log_likelihoods, compute_mean)
    is_reliable = (ece.low or 0.0) <= ECE_SLACK or (nll.high or 0.0) < 0
    passed = is_reliable and (nll.low or 0.0) <= NLL_SLACK
    return Check(
        "calibration",
        passed,
        f"calibration error {format_signed(ece.value)} points ({format_signed(ece.low)} to "
        f"{format_signed(ece.high)}), loss {nll.value or 0.0:+.3f} ({nll.low or 0.0:+.3f} to "
        f"{nll.high or 0.0:+.3f})",
        {"ece_change": ece.as_json(), "nll_change": nll.as_json()},
    )


def check_false_alarms(pair: PairedEvaluation, thresholds: GateThresholds) -> Check:
    """Check whether ordinary images are flagged no more often than the alarm rate allows.

    If the bundle in use flags as many, the images have changed, not the bundle.

    Source:
        Vovk 2012, arXiv:1209.2673: given its reference images, the rate of a conformal p-value is
        beta distributed, so that the count among new ones is beta-binomial.
    """
    del thresholds
    n, alpha = len(pair.candidate.cases), pair.candidate.alpha
    flagged, flagged_before = (
        sum(case.flagged for case in evaluation.cases)
        for evaluation in (pair.candidate, pair.current)
    )
    p_value = alarm_p_value(flagged, n, alpha, pair.known)
    passed = p_value >= LEVEL or flagged <= flagged_before
    return Check(
        "false_alarms",
        passed,
        f"calls {flagged} of {n} ordinary micrographs strange, the bundle at work "
        f"{flagged_before}; {alpha:.0%} was set",
        {"n": n, "current": flagged_before, "candidate": flagged, "alpha": alpha, "p": p_value},
    )


def check_unusual(pair: PairedEvaluation, thresholds: GateThresholds) -> Check:
    """Check whether images that are known to be unusual are still flagged."""
    del thresholds
    pairs = [
        (before, after)
        for kind, flags in pair.current.strange.items()
        for before, after in zip(flags, pair.candidate.strange[kind], strict=True)
    ]
    lost = sum(a.flagged and not b.flagged for a, b in pairs)
    won = sum(b.flagged and not a.flagged for a, b in pairs)
    flagged_before, flagged = sum(a.flagged for a, _ in pairs), sum(b.flagged for _, b in pairs)
    p_value = sign_test(lost, won)
    sentence = (
        f"calls {flagged} of {len(pairs)} known strange micrographs strange, the other "
        f"{flagged_before}"
    )
    return Check(
        "strange",
        p_value >= LEVEL,
        sentence if pairs else "no known strange micrograph to ask about",
        {"n": len(pairs), "current": flagged_before, "candidate": flagged, "p": p_value},
    )


def check_new_images(pair: PairedEvaluation, thresholds: GateThresholds) -> Check:
    """Check whether new images with a code resemble the reference images of that code.

    A candidate trained on a foreign material under an existing code would classify it correctly.
    """
    del thresholds
    by_code: dict[str, list[bool]] = defaultdict(list)
    for case in pair.current.cases:
        if case.key in pair.new and case.key not in pair.vouched:
            by_code[case.true].append(case.flagged)
    numbers = {
        code: {"n": len(flags), "strange": sum(flags)} for code, flags in sorted(by_code.items())
    }
    failed = [
        f"{counts['strange']} of {counts['n']} new test micrographs labelled {code} are not "
        "comparable with the reference images (another material, or another preparation?)"
        for code, counts in numbers.items()
        if counts["strange"] >= MIN_UNUSUAL and counts["strange"] > MAX_UNUSUAL_SHARE * counts["n"]
    ]
    sentence = "the new test micrographs look like the reference images"
    return Check("strangers", not failed, "; ".join(failed) or sentence, numbers)


def check_latency(pair: PairedEvaluation, thresholds: GateThresholds) -> Check:
    """Check whether the candidate is too slow; both were timed interleaved on the same images."""
    slowdown = pair.slowdown
    return Check(
        "latency",
        slowdown is None or slowdown <= thresholds.max_slowdown,
        "nobody measured the time"
        if slowdown is None
        else f"takes {slowdown:.2f} times as long, {thresholds.max_slowdown:g} times allowed",
        {"slowdown": slowdown, "max_slowdown": thresholds.max_slowdown},
    )


# --- every check of whether a candidate may replace the bundle in use, one criterion each ---------
# Every check is a small pure function. Images of one specimen are not independent, so significance
# is tested over specimens.


CHECKS = (
    check_evidence,
    check_overall,
    check_limits,
    check_new_images,
    check_corrected,
    check_codes,
    check_slices,
    check_floors,
    check_calibration,
    check_false_alarms,
    check_unusual,
    check_latency,
)
"""All checks, in the order of the report."""


# --- compare a candidate with the bundle in use on the same test images ---------------------------


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
