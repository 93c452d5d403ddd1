"""Monitor the size numbers of heat-treatment batches per material and furnace.

The unit is the batch: its fields are averaged. The first `BASELINE_BATCHES` batches of a material
in one furnace are the baseline, which then stays. A batch is compared with it by two rules: its
own mean (individuals chart, 3 sigma) and the cumulative sum of the deviations, which finds a slow
coarsening that no single batch shows.

Source:
    Montgomery, Introduction to Statistical Quality Control: individuals chart, 6.4 (sigma from the
    mean moving range, d2 = 1.128); tabular CUSUM, 9.1 (k = 0.5 sigma, h = 5 sigma: a false alarm
    in about 465 batches).
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from datetime import date  # noqa: TC003 - pydantic reads it
from itertools import pairwise
from statistics import fmean
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from agent.store import MicrographView

BASELINE_BATCHES = 20
SHOWN_BATCHES = 60
D2 = 1.128  # mean range of two normal values, in standard deviations
LIMIT_SIGMA = 3.0
SLACK_SIGMA = 0.5
DECISION_SIGMA = 5.0
LEAST_SIGMA = 0.2
"""Size numbers are steps; batches that are all called the same differ by less than a step."""
SIZE = re.compile(r"(\d+)(?:-(\d+))?$")


@dataclass(frozen=True, slots=True)
class BatchSize:
    """Mean size number of one heat-treatment batch in one night.

    Args:
        material, furnace, batch: From the process data; the furnace is "" where it is not known.
        n: Fields with a size.
        size: Their mean size number; `9-10` counts as 9.5.
    """

    material: str
    furnace: str
    batch: str
    n: int
    size: float


@dataclass(frozen=True, slots=True)
class BatchPoint:
    """One batch on a chart.

    Args:
        batch: Its name.
        night: The last one with fields of it.
        size: Mean size number.
        cusum: Sum of the deviations, in size numbers; below 0 is coarser.
    """

    batch: str
    night: date
    size: float
    cusum: float = 0.0


@dataclass(frozen=True, slots=True)
class BatchChart:
    """The batches of one material in one furnace.

    Args:
        material, furnace: As of `BatchSize`.
        batches: How many so far.
        usual: Mean of the baseline; 0.0 while it is gathered.
        sigma: Standard deviation of the baseline; 0.0 while it is gathered.
        points: The newest last, those of the baseline too while it is gathered.
        alarm: "value" where a batch of tonight is beyond the limits, "cusum" where the sum is, ""
            for none.
    """

    material: str
    furnace: str
    batches: int
    usual: float
    sigma: float
    points: tuple[BatchPoint, ...]
    alarm: str


def average_batches(micrographs: Iterable[MicrographView]) -> tuple[BatchSize, ...]:
    """Average the sizes of a night's fields per material, furnace and batch.

    A reviewer's code counts before the model's. Fields without a batch or a size are left out.
    """
    sizes: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for micrograph in micrographs:
        data = micrograph.process_data
        size = _find_size(micrograph)
        if data.get("batch") and size is not None:
            furnace = str(micrograph.process_extra.get("furnace", ""))
            sizes[data.get("material", ""), furnace, data["batch"]].append(size)
    return tuple(
        BatchSize(*key, n=len(values), size=round(fmean(values), 3))
        for key, values in sorted(sizes.items())
    )


def _find_size(micrograph: MicrographView) -> float | None:
    decision = micrograph.label
    if decision is not None:
        match = SIZE.search(decision.code or "") if decision.kind == "code" else None
        return fmean((int(match[1]), int(match[2] or match[1]))) if match else None
    low, high = micrograph.result.size_min, micrograph.result.size_max
    return None if low is None or high is None else fmean((low, high))


def chart_batches(
    earlier: Sequence[tuple[date, Sequence[BatchSize]]],
    night: date,
    tonight: Sequence[BatchSize],
) -> tuple[BatchChart, ...]:
    """Compare tonight's batches with those before them, per material and furnace.

    Args:
        earlier: Nights before tonight with their batches, in any order.
        night: Tonight.
        tonight: Its batches; furnaces without one tonight have no chart.
    """
    before = sorted(((day, sizes) for day, sizes in earlier if day < night), key=lambda day: day[0])
    keys = sorted({(entry.material, entry.furnace) for entry in tonight})
    nights = [*before, (night, tonight)]
    return tuple(_chart(*key, list(_merge(nights, *key)), night) for key in keys)


def _merge(
    nights: Sequence[tuple[date, Sequence[BatchSize]]], material: str, furnace: str
) -> Iterator[BatchPoint]:
    """Yield each batch with all its fields, in the sequence in which the batches came."""
    merged: dict[str, tuple[int, float, date]] = {}
    for day, sizes in nights:
        for entry in sizes:
            if (entry.material, entry.furnace) == (material, furnace):
                n, total, _day = merged.get(entry.batch, (0, 0.0, day))
                merged[entry.batch] = (n + entry.n, total + entry.n * entry.size, day)
    for batch, (n, total, day) in merged.items():
        yield BatchPoint(batch, day, round(total / n, 3))


def _chart(material: str, furnace: str, batches: list[BatchPoint], night: date) -> BatchChart:
    if len(batches) <= BASELINE_BATCHES:
        shown = tuple(batches[-SHOWN_BATCHES:])
        return BatchChart(material, furnace, len(batches), 0.0, 0.0, shown, "")
    baseline = [point.size for point in batches[:BASELINE_BATCHES]]
    usual = fmean(baseline)
    sigma = max(LEAST_SIGMA, fmean(abs(b - a) for a, b in pairwise(baseline)) / D2)
    points = tuple(_sum_up(batches[BASELINE_BATCHES:], usual, sigma))
    new = [point for point in points if point.night == night]
    is_beyond = any(abs(point.size - usual) > LIMIT_SIGMA * sigma for point in new)
    is_drifting = any(abs(point.cusum) > DECISION_SIGMA * sigma for point in new)
    return BatchChart(
        material,
        furnace,
        len(batches),
        round(usual, 3),
        round(sigma, 3),
        points[-SHOWN_BATCHES:],
        "value" if is_beyond else "cusum" if is_drifting else "",
    )


def _sum_up(points: Iterable[BatchPoint], usual: float, sigma: float) -> Iterator[BatchPoint]:
    """Yield the points with the larger of the two one-sided sums, the coarse one negative."""
    finer = coarser = 0.0
    for point in points:
        finer = max(0.0, finer + point.size - usual - SLACK_SIGMA * sigma)
        coarser = max(0.0, coarser + usual - point.size - SLACK_SIGMA * sigma)
        cusum = finer if finer > coarser else -coarser
        yield BatchPoint(point.batch, point.night, point.size, round(cusum, 3))
