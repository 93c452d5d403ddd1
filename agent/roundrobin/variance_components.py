"""Compute variance components of crossed and nested sources.

Written out because REML, which statsmodels has, hides where a small plan has nothing to separate
two sources by; the tests compare the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from reports import Message, marked

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

REST = "rest"
"""Name of the variance that no source explains."""


@dataclass(frozen=True, slots=True)
class Components:
    """Variances by source.

    Args:
        variance: Source → variance, in squared units of the numbers; `REST` comes last. A negative
            estimate is 0.
        inseparable: Sources left out, each with the reason.
    """

    variance: Mapping[str, float]
    inseparable: Mapping[str, Message]


def components(numbers: Sequence[float], sources: Mapping[str, Sequence[object]]) -> Components:
    """Split the variance of numbers by their sources.

    Args:
        numbers: (n,).
        sources: Source → the level of each number; a nested or crossed one has pairs as levels.

    Source:
        Rao 1971, MINQUE with identity weights: quadratic forms of the sources set equal to their
        expectations. In a balanced plan these are the estimators of the analysis of variance
        (Searle, Casella and McCulloch 1992, chapter 11); where runs are missing they stay unbiased.
        Below zero is cut to 0, as the AIAG manual does.
    """
    y = np.asarray(numbers, float)
    kept, left_out = _separable(sources, len(y))
    designs = [_centred(levels) for levels in kept.values()]  # (n, k) each
    centred = y - y.mean()
    forms = [((design.T @ centred) ** 2).sum() for design in designs] + [(centred**2).sum()]
    # Trace of each pair of forms; that of the rest is the identity, centred, and needs no matrix.
    with_rest = [(design**2).sum() for design in designs]
    expected = np.array(
        [
            [((design.T @ second) ** 2).sum() for second in designs] + [rest]
            for design, rest in zip(designs, with_rest, strict=True)
        ]
        + [[*with_rest, len(y) - 1.0]]
    )
    solved, *_ = np.linalg.lstsq(expected, np.array(forms), rcond=None)
    variance = {
        name: max(0.0, float(value)) for name, value in zip([*kept, REST], solved, strict=True)
    }
    return Components(variance, left_out)


def _separable(
    sources: Mapping[str, Sequence[object]], n: int
) -> tuple[dict[str, Sequence[object]], dict[str, Message]]:
    kept: dict[str, Sequence[object]] = {}
    left_out: dict[str, Message] = {}
    groupings: dict[tuple[int, ...], str] = {tuple(range(n)): REST}
    for name, levels in sources.items():
        grouping = _grouping(levels)
        if len(set(grouping)) == 1:
            left_out[name] = Message(marked("there is only one"))
        elif grouping in groupings:
            left_out[name] = Message(
                marked("cannot be separated from {source} in this plan"),
                {"source": groupings[grouping]},
            )
        else:
            kept[name], groupings[grouping] = levels, name
    return kept, left_out


def _grouping(levels: Sequence[object]) -> tuple[int, ...]:
    """Number levels in the order in which they come, so that equal groupings have equal numbers."""
    numbers: dict[object, int] = {}
    return tuple(numbers.setdefault(level, len(numbers)) for level in levels)


def _centred(levels: Sequence[object]) -> NDArray[np.float64]:
    """Return the indicator matrix (n, k) of the levels, each column less its mean."""
    grouping = np.array(_grouping(levels))
    design = np.equal.outer(grouping, np.arange(grouping.max() + 1)).astype(float)
    return np.asarray(design - design.mean(axis=0))
