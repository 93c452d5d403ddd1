"""Ask of a candidate, one question at a time, whether it may take the place of a bundle at work.

In:  a `Duel`: two bundles on the same images. Out: a `Check` per question, with its numbers.
Next: `comparison` sums them up. Every question is a small pure function. Images of one specimen
stand and fall together, so what is tested for chance is tested over specimens.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from model.evaluation.evaluate import confidence_and_correctness, negative_log_likelihoods
from model.evaluation.metrics import calibration_error
from model.statistics import (
    Estimate,
    bootstrap,
    holm,
    max_loss_in_clusters,
    upper_bound,
    wilson_in_clusters,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from model.evaluation.evaluate import Case
    from model.evaluation.paired import Pair, PairedEvaluation

FEWEST_DISCORDANT, FEWEST_NEW = 6, 20
"""With fewer specimens that one of both does better at, and fewer new test specimens, nothing is
concluded: five that all speak for one side happen by chance once in sixteen times."""

LEVEL = 0.01
"""A loss of a code, a slice or an alarm counts from this chance on, one-sided."""

ECE_SLACK = 0.01
NLL_SLACK = 0.02
"""What calibration may lose beyond doubt: a hundredth of probability; a fiftieth of a nat."""

FEWEST_STRANGERS = 5
MOST_STRANGERS = 0.5
"""From five new test images of a code on, half of them strange to the bundle at work is too many:
they are of another material or preparation than those it knows by that code."""


@dataclass(frozen=True, slots=True)
class GateThresholds:
    """What a lab asks of a candidate.

    Args:
        may_lose: Share of the images that may be lost, at the far end of the interval.
        min_accuracy: Floor of the share of right codes.
        min_recall: Floor of the share of right answers of every code, at the upper limit of its
            interval: a code of few images is given the benefit of the doubt.
        may_flip_back: Share of once corrected images that may be wrong again.
        max_slowdown: How many times as long as the bundle at work it may take.
    """

    may_lose: float = 0.03
    min_accuracy: float = 0.6
    min_recall: float = 0.2
    may_flip_back: float = 0.05
    max_slowdown: float = 1.5


@dataclass(frozen=True, slots=True)
class Check:
    """The answer to one question.

    Args:
        name: Stable word. passed: nothing speaks against the candidate here.
        sentence: Why, for a person. numbers: what it rests on.
    """

    name: str
    passed: bool
    sentence: str
    numbers: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """Give it as a JSON document holds it."""
        return {
            "name": self.name,
            "passed": self.passed,
            "sentence": self.sentence,
            "numbers": self.numbers,
        }


# --- the questions ------------------------------------------------------------------------------


def evidence(duel: PairedEvaluation, rules: GateThresholds) -> Check:
    """Ask whether there is enough to go by; images of one specimen are one piece of evidence."""
    del rules
    won, lost = won_and_lost(duel.pairs)
    better, worse = _won_and_lost_specimens(duel.pairs)
    new = [case for case in duel.candidate.cases if case.key in duel.new]
    specimens, new_specimens = len(_specimens(duel.pairs)), len({case.group for case in new})
    enough = better + worse >= FEWEST_DISCORDANT or new_specimens >= FEWEST_NEW
    wanted = (
        ""
        if enough
        else f"; at least {FEWEST_NEW} new or {FEWEST_DISCORDANT} judged differently are needed"
    )
    sentence = (
        f"{len(duel.pairs)} test micrographs of {specimens} specimens, {len(new)} of them new, "
        f"of {new_specimens} specimens; of {better + worse} specimens one of both bundles has more "
        f"right{wanted}"
    )
    numbers = {"n": len(duel.pairs), "new": len(new), "won": won, "lost": lost}
    numbers |= {"specimens": specimens, "new_specimens": new_specimens}
    numbers |= {"won_specimens": better, "lost_specimens": worse}
    return Check("evidence", enough, sentence, numbers)


def floors(duel: PairedEvaluation, rules: GateThresholds) -> Check:
    """Ask whether it is good enough at all, whatever the bundle at work is."""
    accuracy = _share_right(duel.candidate.cases)
    by_code: dict[str, list[Case]] = defaultdict(list)
    for case in duel.candidate.cases:
        by_code[case.true].append(case)
    recalls = {code: _share_right(cases) for code, cases in by_code.items()}
    low = [
        code for code, recall in sorted(recalls.items()) if (recall.high or 0.0) < rules.min_recall
    ]
    passed = (accuracy.value or 0.0) >= rules.min_accuracy and not low
    said = f"{_percent(accuracy.value)} of the codes right, at least {rules.min_accuracy:.0%} asked"
    if low:
        said += f"; surely below {rules.min_recall:.0%} right of {', '.join(low)}"
    return Check(
        "floors",
        passed,
        said,
        {
            "accuracy": accuracy.as_json(),
            "min_accuracy": rules.min_accuracy,
            "recall": {code: recall.as_json() for code, recall in recalls.items()},
            "min_recall": rules.min_recall,
        },
    )


def overall(duel: PairedEvaluation, rules: GateThresholds) -> Check:
    """Ask whether it loses less than the margin, at the far end of the interval."""
    won, lost = won_and_lost(duel.pairs)
    worst = most_lost_of(duel.pairs)
    change = change_of(duel.pairs)
    specimens = len(_specimens(duel.pairs))
    passed = worst is not None and worst <= rules.may_lose
    return Check(
        "overall",
        passed,
        f"{_signed(change.value)} points of accuracy ({_signed(change.low)} to "
        f"{_signed(change.high)}); it loses at most {_points(worst)} points with 95 % confidence, "
        f"counted over {_counted(specimens, 'specimen')}; {_points(rules.may_lose)} allowed",
        {
            "specimens": specimens,
            "won": won,
            "lost": lost,
            "change": change.as_json(),
            "most_lost": worst,
            "may_lose": rules.may_lose,
            "worse_p": chance_of_loss(duel.pairs),
            "better_p": chance_of_loss([(b, a) for a, b in duel.pairs]),
        },
    )


def codes(duel: PairedEvaluation, rules: GateThresholds) -> Check:
    """Ask whether a structure code is lost."""
    del rules
    groups: dict[str, list[Pair]] = defaultdict(list)
    for pair in duel.pairs:
        groups[pair[0].true].append(pair)
    return _no_part_lost("codes", groups)


def slices(duel: PairedEvaluation, rules: GateThresholds) -> Check:
    """Ask whether a plant, microscope, magnification, material or criterion is lost."""
    del rules
    groups: dict[str, list[Pair]] = defaultdict(list)
    for pair in duel.pairs:
        for what, value in pair[0].slices.items():
            if value:
                groups[f"{what} {value}"].append(pair)
    return _no_part_lost("slices", groups)


def limits(duel: PairedEvaluation, rules: GateThresholds) -> Check:
    """Ask whether at any limit in use more fields that break it would be called conforming.

    Both are asked of the same images, so the bound gets worse with the first one more. The bound is
    that of the specimens with such a field: fields of one specimen are no trials of their own.
    """
    del rules
    found: dict[str, dict[str, float | None]] = {}
    worse = []
    for name, keeps in duel.limits.items():
        breaking = [pair for pair in duel.pairs if not keeps(pair[0].true)]
        slips = [[p for p in breaking if _called_conforming(p[side], keeps)] for side in (0, 1)]
        was, now = (len(some) for some in slips)
        n, (was_of, now_of) = len(_specimens(breaking)), (len(_specimens(some)) for some in slips)
        found[name] = {
            "n": len(breaking),
            "current": was,
            "candidate": now,
            "specimens": n,
            "current_specimens": was_of,
            "candidate_specimens": now_of,
            "current_upper95": upper_bound(was_of, n),
            "candidate_upper95": upper_bound(now_of, n),
        }
        if now > was:
            worse.append(
                f"at {name!r} {now} of {len(breaking)} fields that break it would be called "
                f"conforming, {was} now; of {n} specimens {now_of} (at most "
                f"{_percent(upper_bound(now_of, n))}), {was_of} now (at most "
                f"{_percent(upper_bound(was_of, n))})"
            )
    said = "no limit is in use" if not found else f"{len(found)} limits in use, none is riskier"
    return Check("limits", not worse, "; ".join(worse) or said, found)


def calibration(duel: PairedEvaluation, rules: GateThresholds) -> Check:
    """Ask whether its probabilities say as well how sure one may be.

    The loss is a proper score: where it falls beyond doubt, a larger calibration error only says
    that the candidate is right more often than it promises.
    """
    del rules
    ece = _change(duel.pairs, confidence_and_correctness, calibration_error)
    nll = _change(duel.pairs, negative_log_likelihoods, _mean)
    promises = (ece.low or 0.0) <= ECE_SLACK or (nll.high or 0.0) < 0
    passed = promises and (nll.low or 0.0) <= NLL_SLACK
    return Check(
        "calibration",
        passed,
        f"calibration error {_signed(ece.value)} points ({_signed(ece.low)} to "
        f"{_signed(ece.high)}), loss {nll.value or 0.0:+.3f} ({nll.low or 0.0:+.3f} to "
        f"{nll.high or 0.0:+.3f})",
        {"ece_change": ece.as_json(), "nll_change": nll.as_json()},
    )


def false_alarms(duel: PairedEvaluation, rules: GateThresholds) -> Check:
    """Ask whether it calls ordinary images strange no more often than was set.

    Where the bundle at work does so as often, the images have changed, not the bundle.

    Source:
        Vovk 2012, arXiv:1209.2673: given its known images, the rate of a conformal p-value is
        beta distributed, so that the count among new ones is beta-binomial.
    """
    del rules
    n, alpha = len(duel.candidate.cases), duel.candidate.alpha
    now, was = (sum(c.flagged for c in one.cases) for one in (duel.candidate, duel.current))
    chance = _chance_of_alarms(now, n, alpha, duel.known)
    passed = chance >= LEVEL or now <= was
    return Check(
        "false_alarms",
        passed,
        f"calls {now} of {n} ordinary micrographs strange, the bundle at work {was}; "
        f"{alpha:.0%} was set",
        {"n": n, "current": was, "candidate": now, "alpha": alpha, "p": chance},
    )


def strange(duel: PairedEvaluation, rules: GateThresholds) -> Check:
    """Ask whether it still calls strange what people know to be strange."""
    del rules
    pairs = [
        (before, after)
        for kind, some in duel.current.strange.items()
        for before, after in zip(some, duel.candidate.strange[kind], strict=True)
    ]
    lost = sum(a.flagged and not b.flagged for a, b in pairs)
    won = sum(b.flagged and not a.flagged for a, b in pairs)
    was, now = sum(a.flagged for a, _ in pairs), sum(b.flagged for _, b in pairs)
    chance = _chance(lost, won)
    said = f"calls {now} of {len(pairs)} known strange micrographs strange, the other {was}"
    return Check(
        "strange",
        chance >= LEVEL,
        said if pairs else "no known strange micrograph to ask about",
        {"n": len(pairs), "current": was, "candidate": now, "p": chance},
    )


def strangers(duel: PairedEvaluation, rules: GateThresholds) -> Check:
    """Ask whether new images that carry a code look like images of that code at all.

    A candidate that learned a foreign material under a known code would have its images right.
    """
    del rules
    told: dict[str, list[bool]] = defaultdict(list)
    for case in duel.current.cases:
        if case.key in duel.new and case.key not in duel.vouched:
            told[case.true].append(case.flagged)
    found = {code: {"n": len(some), "strange": sum(some)} for code, some in sorted(told.items())}
    foreign = [
        f"{one['strange']} of {one['n']} new test micrographs labelled {code} are not comparable "
        "with the reference images (another material, or another preparation?)"
        for code, one in found.items()
        if one["strange"] >= FEWEST_STRANGERS and one["strange"] > MOST_STRANGERS * one["n"]
    ]
    said = "the new test micrographs look like the reference images"
    return Check("strangers", not foreign, "; ".join(foreign) or said, found)


def corrected(duel: PairedEvaluation, rules: GateThresholds) -> Check:
    """Ask whether answers that people once corrected, and that are right now, flip back."""
    right = [(a, b) for a, b in duel.corrected if a.right]
    back = [b for _, b in right if not b.right]
    allowed = max(1, math.floor(rules.may_flip_back * len(right)))
    return Check(
        "corrected",
        len(back) <= allowed,
        f"of {len(right)} once corrected micrographs that are right now {len(back)} would be wrong "
        f"again, {allowed} allowed"
        if right
        else "no micrograph was corrected that is right now",
        {
            "n": len(right),
            "back": len(back),
            "allowed": allowed,
            "flips": [{"key": b.key, "true": b.true, "candidate": b.predicted} for b in back],
        },
    )


def latency(duel: PairedEvaluation, rules: GateThresholds) -> Check:
    """Ask whether it takes too long; both were timed in turns, on the same images."""
    slowdown = duel.slowdown
    return Check(
        "latency",
        slowdown is None or slowdown <= rules.max_slowdown,
        "nobody measured the time"
        if slowdown is None
        else f"takes {slowdown:.2f} times as long, {rules.max_slowdown:g} times allowed",
        {"slowdown": slowdown, "max_slowdown": rules.max_slowdown},
    )


CHECKS = (
    evidence,
    overall,
    limits,
    strangers,
    corrected,
    codes,
    slices,
    floors,
    calibration,
    false_alarms,
    strange,
    latency,
)
"""Every question, in the order in which people want to hear of it."""


# --- what they count ----------------------------------------------------------------------------


def won_and_lost(pairs: Sequence[Pair]) -> tuple[int, int]:
    """Count the images that only the candidate, and that only the bundle at work has right."""
    won = sum(b.right and not a.right for a, b in pairs)
    return won, sum(a.right and not b.right for a, b in pairs)


def chance_of_loss(pairs: Sequence[Pair]) -> float:
    """Compute the one-sided chance that so many specimens are lost and so few won.

    A specimen is lost where fewer of its images are right than before.
    """
    won, lost = _won_and_lost_specimens(pairs)
    return _chance(lost, won)


def _won_and_lost_specimens(pairs: Sequence[Pair]) -> tuple[int, int]:
    change = [sum(b.right - a.right for a, b in some) for some in _specimens(pairs).values()]
    return sum(one > 0 for one in change), sum(one < 0 for one in change)


def most_lost_of(pairs: Sequence[Pair]) -> float | None:
    """Compute the one-sided upper 95 % limit of what is lost, counted over specimens.

    Source:
        See `most_lost_in_clusters`.
    """
    groups = list(_specimens(pairs).values())
    lost = [sum(a.right and not b.right for a, b in some) for some in groups]
    won = [sum(b.right and not a.right for a, b in some) for some in groups]
    return max_loss_in_clusters(lost, won, [len(some) for some in groups])


def _share_right(cases: Iterable[Case]) -> Estimate:
    """Compute the share of right codes with its interval over specimens."""
    groups: dict[str, list[bool]] = defaultdict(list)
    for case in cases:
        groups[case.group].append(case.right)
    return wilson_in_clusters([sum(one) for one in groups.values()], [*map(len, groups.values())])


def change_of(pairs: Sequence[Pair]) -> Estimate:
    """Give the change of accuracy with its 95 % interval over resampled specimens."""
    return _change(pairs, lambda cases: np.array([case.right for case in cases], float), _mean)


def _change(
    pairs: Sequence[Pair],
    told: Callable[[Sequence[Case]], NDArray[np.float64]],
    number: Callable[[NDArray[np.float64]], float],
) -> Estimate:
    """Give how much a number changes, with its interval over resampled specimens.

    Args:
        pairs: What both say of each image.
        told: Gives what is counted of each image, (n, …).
        number: Makes one number of it, or of some of its rows.
    """
    before, after = told([a for a, _ in pairs]), told([b for _, b in pairs])
    places: dict[str, list[int]] = defaultdict(list)
    for place, (case, _) in enumerate(pairs):
        places[case.group].append(place)
    groups = [np.array(some) for some in places.values()]

    def changed(chosen: NDArray[np.intp]) -> float:
        rows = np.concatenate([groups[group] for group in chosen])
        return number(after[rows]) - number(before[rows])

    return bootstrap(len(groups), changed)


def _mean(told: NDArray[np.float64]) -> float:
    return float(told.mean())


def _no_part_lost(name: str, groups: Mapping[str, Sequence[Pair]]) -> Check:
    chances = holm({part: chance_of_loss(pairs) for part, pairs in groups.items()})
    found = {}
    for part, pairs in sorted(groups.items()):
        was, now = sum(a.right for a, _ in pairs), sum(b.right for _, b in pairs)
        found[part] = {"n": len(pairs), "current": was, "candidate": now, "p": chances[part]}
    lost = [part for part, one in found.items() if one["p"] < LEVEL]
    said = "; ".join(
        f"{part}: {found[part]['candidate']} of {found[part]['n']} right, "
        f"{found[part]['current']} before (p = {found[part]['p']:.2g})"
        for part in lost
    )
    return Check(name, not lost, said or f"none of {len(found)} is lost beyond chance", found)


def _specimens(pairs: Iterable[Pair]) -> dict[str, list[Pair]]:
    found: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        found[pair[0].group].append(pair)
    return found


def _called_conforming(case: Case, keeps: Callable[[str], bool]) -> bool:
    """Whether a field would be called conforming: ordinary, and every code named keeps it."""
    return not case.flagged and all(keeps(code) for code in {case.predicted, *case.prediction_set})


def _chance(lost: int, won: int) -> float:
    """Compute the chance of so many losses or more where both are equally likely."""
    from scipy.special import bdtr  # noqa: PLC0415 - takes a fifth of a second

    return float(bdtr(won, won + lost, 0.5)) if lost else 1.0


def _chance_of_alarms(flagged: int, n: int, alpha: float, known: int) -> float:
    from scipy.stats import betabinom, binom  # noqa: PLC0415 - takes most of a second

    if not flagged:
        return 1.0
    if not known:
        return float(binom.sf(flagged - 1, n, alpha))
    rank = max(1, math.floor(alpha * (known + 1)))
    return float(betabinom.sf(flagged - 1, n, rank, known + 1 - rank))


def _counted(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def _percent(share: float | None) -> str:
    return "nothing" if share is None else f"{100 * share:.1f} %"


def _points(share: float | None) -> str:
    return "?" if share is None else f"{100 * share:.1f}"


def _signed(share: float | None) -> str:
    return "?" if share is None else f"{100 * share:+.1f}"
