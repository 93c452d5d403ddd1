"""Check whether a candidate's probabilities, alarms and time are as good as before."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from model.evaluation.cases import confidence_and_correctness, negative_log_likelihoods
from model.evaluation.check_result import Check, GateThresholds, format_signed
from model.evaluation.metrics import calibration_error
from model.evaluation.pair_statistics import (
    LEVEL,
    alarm_p_value,
    compute_mean,
    estimate_change,
    sign_test,
)

if TYPE_CHECKING:
    from model.evaluation.paired import PairedEvaluation


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
