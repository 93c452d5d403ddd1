"""Say how much better more labelled images would make it, and how many until that shows.

In:  embeddings of labelled images, with codes and specimens. Out: a `Curve`. Next: a person, who
decides whether labelling pays. Heads on the frozen network are taught on some of the specimens and
asked about others, again and again; what the errors do as the images grow is carried on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from model.networks.linear_probe import ProbeData, fit_head
from model.networks.schemes import CODE, Scheme
from model.statistics import Estimate

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from model.taxonomy import Taxonomy

_SHARES = (0.3, 0.45, 0.65, 1.0)
"""Of the specimens that are not asked about."""
_ASKED = 0.25
_REPEATS = 8
_DRAWS = 500
_FURTHEST = 4.0
"""No further than four times what there is: beyond that nobody knows the curve."""
_LEAST_GROUPS = 12


@dataclass(frozen=True, slots=True)
class LearningCurve:
    """How the share of wrong codes falls as labelled images grow.

    Args:
        n: Labelled images there are.
        points: (images, repeats) pairs of what was taught on and the share that was wrong.
    """

    n: int
    points: tuple[tuple[tuple[int, float], ...], ...]

    def error(self, n: int) -> Estimate:
        """Carry the share of wrong codes on to n images, with a 95 % interval over repeats."""
        lines = [_line(chosen) for chosen in self._drawn()]
        found = [math.exp(a + b * math.log(n)) for a, b in lines]
        low, high = np.quantile(found, [0.025, 0.975])
        a, b = _line(self.points)
        return Estimate(
            min(1.0, math.exp(a + b * math.log(n))), min(1.0, float(low)), min(1.0, float(high))
        )

    def until(self, gain: float) -> tuple[int | None, int | None, int | None]:
        """Say how many more images until the accuracy has gained so much.

        Args:
            gain: Share of the images, such as 0.02 for two points.

        Returns:
            How many, and the 95 % interval of it over repeats; None: more than three times what
            there is, if ever.
        """
        found = sorted(_more(_line(chosen), self.n, gain) for chosen in self._drawn())
        low, high = found[round(0.025 * len(found))], found[round(0.975 * len(found)) - 1]
        return _whole(_more(_line(self.points), self.n, gain)), _whole(low), _whole(high)

    def as_json(self) -> dict[str, Any]:
        """Give it as a JSON document holds it."""
        return {"n": self.n, "points": [[list(point) for point in one] for one in self.points]}

    def _drawn(self) -> Iterator[Sequence[Sequence[tuple[int, float]]]]:
        rng = np.random.default_rng(0)
        for _ in range(_DRAWS):
            yield [self.points[i] for i in rng.integers(0, len(self.points), len(self.points))]


def _line(repeats: Sequence[Sequence[tuple[int, float]]]) -> tuple[float, float]:
    """Fit log error against log images; an error of none counts as half an image of the smallest.

    Source:
        Viering and Loog 2021, arXiv:2103.10948: a power law fits most learning curves.
    """
    sizes: dict[int, list[float]] = {}
    for repeat in repeats:
        for place, (_, wrong) in enumerate(repeat):
            sizes.setdefault(place, []).append(wrong)
    n = [float(np.mean([repeat[place][0] for repeat in repeats])) for place in sizes]
    errors = [max(float(np.mean(wrong)), 0.5 / n[-1]) for wrong in sizes.values()]
    slope, offset = np.polyfit(np.log(n), np.log(errors), 1)
    return float(offset), float(min(slope, 0.0))


def _more(line: tuple[float, float], n: int, gain: float) -> float:
    """Solve the line for the images after which the error has fallen by the gain."""
    offset, slope = line
    wanted = math.exp(offset + slope * math.log(n)) - gain
    if wanted <= 0 or slope >= 0:
        return math.inf
    more = math.exp(min((math.log(wanted) - offset) / slope, 50.0)) - n
    return max(0.0, more) if more <= (_FURTHEST - 1) * n else math.inf


def _whole(more: float) -> int | None:
    return None if not math.isfinite(more) else math.ceil(more)


def fit_learning_curve(
    embeddings: NDArray[np.floating],
    codes: Sequence[str],
    groups: Sequence[str],
    taxonomy: Taxonomy,
) -> LearningCurve | None:
    """Draw the learning curve.

    Args:
        embeddings: (n, d) of labelled images.
        codes: Theirs, all of them taught ones of the taxonomy.
        groups: Their specimens, never both taught on and asked about.
        taxonomy: What they can be called.

    Returns:
        The curve, or None where there are too few specimens for one.
    """
    names = np.array(sorted(set(groups)))
    if len(names) < _LEAST_GROUPS:
        return None
    points, own = [], np.array(groups)
    for repeat in range(_REPEATS):
        shuffled = np.random.default_rng(repeat).permutation(names)
        asked = max(2, round(_ASKED * len(names)))
        held, rest = np.isin(own, shuffled[:asked]), shuffled[asked:]
        told = []
        for share in _SHARES:
            taught = np.isin(own, rest[: max(2, round(share * len(rest)))])
            told.append((int(taught.sum()), _wrong(embeddings, codes, taught, held, taxonomy)))
        points.append(tuple(told))
    return LearningCurve(len(codes), tuple(points))


def _wrong(
    embeddings: NDArray[np.floating],
    codes: Sequence[str],
    taught: NDArray[np.bool_],
    held: NDArray[np.bool_],
    taxonomy: Taxonomy,
) -> float:
    """Teach a head on some images, and give the share of others that it has wrong."""
    known = sorted({code for code, is_taught in zip(codes, taught, strict=True) if is_taught})
    if len(known) < 2:  # noqa: PLR2004 - one code is always right, and says nothing
        return 1.0
    scheme = Scheme("global", taxonomy.restricted_to(frozenset(known)))
    chosen = np.flatnonzero(taught)
    seen = ProbeData(
        embeddings=np.asarray(embeddings[chosen], np.float32),
        images=np.arange(len(chosen)),
        codes=[codes[place] for place in chosen.tolist()],
        counts=np.ones(len(chosen)),
    )
    head = fit_head(scheme, CODE, "frozen", seen, imbalance="sqrt", ordinal=False).head
    said = head.logits(np.asarray(embeddings[held], np.float32)).argmax(axis=1)
    true = [codes[place] for place in np.flatnonzero(held).tolist()]
    return float(np.mean([head.classes[a] != b for a, b in zip(said, true, strict=True)]))
