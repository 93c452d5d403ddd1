"""Say whether a candidate should replace the bundle at work, on the same test images.

In:  two `Evaluation`s. Out: a `Comparison`. Next: the agent's `retrain` gates on it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from model.intervals import bootstrap, mcnemar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from model.metrics import Case, Evaluation

_ENOUGH = 30
"""Fewer common test images are no evidence."""

_MOST_LOST = -0.03
"""Where the lower 95 % limit of the paired difference may lie, in shares of the images."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Whether a candidate should replace the current bundle, for a person to decide.

    Args:
        recommend: Whether the numbers speak for it.
        sentence: Why, in one sentence.
        numbers: Everything it rests on.
    """

    recommend: bool
    sentence: str
    numbers: dict[str, Any]


def compare(
    current: Evaluation | None, candidate: Evaluation, *, may_lose: float = 0.01
) -> Comparison:
    """Say whether a candidate should replace the current bundle, on the same test images.

    The candidate is recommended if it is better beyond chance, or not worse by more than
    `may_lose` (lower 95 % limit of the paired difference within three points) while no code loses
    more than one image or 5 %; with fewer than 30 common images the evidence is not enough.

    Args:
        current: Of the bundle at work, or None.
        candidate: Of the one that would replace it.
        may_lose: Share of the common images, in [0, 1], that may be lost on balance.
    """
    if current is None:
        return Comparison(
            recommend=True,
            sentence=(
                f"There is no bundle yet; {candidate.bundle} has {candidate.correct} of "
                f"{candidate.n} test micrographs right."
            ),
            numbers={"candidate": candidate.as_json(), "current": None},
        )
    before = {case.key: case for case in current.cases}
    pairs = [(before[case.key], case) for case in candidate.cases if case.key in before]
    n = len(pairs)
    was, now = sum(a.right for a, _ in pairs), sum(b.right for _, b in pairs)
    lost = sum(a.right and not b.right for a, b in pairs)
    won = sum(b.right and not a.right for a, b in pairs)
    p_value = mcnemar(lost, won)
    delta = np.array([float(b.right) - float(a.right) for a, b in pairs])
    change = bootstrap(n, lambda i: float(delta[i].mean()))
    worse = _worse_codes(pairs)
    untaught = _not_taught(current, candidate)
    numbers = {
        "n": n,
        "current_right": was,
        "candidate_right": now,
        "won": won,
        "lost": lost,
        "mcnemar_p": p_value,
        "change": change.as_json(),
        "worse_codes": worse,
        "not_taught": untaught,
        "flips": [
            {"key": b.key, "true": b.true, "current": a.predicted, "candidate": b.predicted}
            for a, b in pairs
            if a.predicted != b.predicted
        ],
        "current": current.as_json(),
        "candidate": candidate.as_json(),
    }
    counted = f"{now} of {n} test micrographs right, {current.bundle} {was} (p = {p_value:.2g})"
    if said := _flags(untaught):
        counted += f"; {said}"
    if n < _ENOUGH:
        return Comparison(
            recommend=False,
            sentence=f"Not enough evidence: only {n} common test micrographs; {counted}.",
            numbers=numbers,
        )
    if worse:
        return Comparison(
            recommend=False,
            sentence=f"{candidate.bundle} is worse at {', '.join(worse)}: {counted}.",
            numbers=numbers,
        )
    if now < was - may_lose * n or (change.low is not None and change.low < _MOST_LOST):
        return Comparison(
            recommend=False,
            sentence=f"{candidate.bundle} may be worse: {counted}.",
            numbers=numbers,
        )
    better = "better" if now > was and p_value < 0.05 else "at least as good"  # noqa: PLR2004 - level
    return Comparison(
        recommend=True,
        sentence=f"{candidate.bundle} is {better}: {counted}.",
        numbers=numbers,
    )


def _not_taught(current: Evaluation, candidate: Evaluation) -> dict[str, int]:
    (was, n), (now, same) = current.not_taught(), candidate.not_taught()
    return {"n": min(n, same), "current_flagged": was, "candidate_flagged": now}


def _flags(found: Mapping[str, int]) -> str:
    """Say how both bundles do on images that must be flagged, "" where there are none."""
    if not found["n"]:
        return ""
    return (
        f"of {found['n']} micrographs of codes that are not taught it flags "
        f"{found['candidate_flagged']}, the other {found['current_flagged']}"
    )


def _worse_codes(pairs: Sequence[tuple[Case, Case]]) -> list[str]:
    lost: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for before, after in pairs:
        total[before.true] += 1
        lost[before.true] += int(before.right) - int(after.right)
    return [code for code in sorted(total) if lost[code] > max(1, 0.05 * total[code])]
