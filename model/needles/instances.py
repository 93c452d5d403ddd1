"""Group the axis cells of a needle map into needles.

Cells are linked to chains along the axis where direction and length agree, then chains are merged
whose predicted midpoints agree: the two parts of a crossed needle point to the same tips. No line
is traced through a crossing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import distance_transform_edt, map_coordinates
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from scipy.special import expit

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from model.needles.needle_map import NeedleMap


# --- how far the length of a grouped needle can be relied on, from how well its cells agree -------
# The network predicts a length at every cell, and the chain of cells is visible for some extent.
# Both err independently: the prediction is drawn towards usual lengths, the extent misses faint
# ends or runs on into a neighbour.


SHORTEST_UM = 3.0
"""Shorter needles are only a few px wide at 0.2 µm per px and are not counted."""
EXTENT_WEIGHT, EXTENT_REACH = 0.5, 0.6
"""Weight of the visible extent where it agrees with the prediction, and the log ratio at which its
weight is 1/e of that. MEASURED on 70 held-out drawn fields: the median of log(true/predicted) per
log(extent/predicted)."""
FEATURES = ("disagreement", "excess", "scatter", "turn", "error", "axis", "bend", "offset")

COEFFICIENTS = (-2.2, 2.24, -13.13, -7.82, -1.5, 0.55, -3.78, -0.28)
INTERCEPT = -0.51
"""Logistic regression on `FEATURES`, fitted by `python tests/bench/needle_reliability.py` with 44
fields on 2311 long needles, of which 47 % are right; of those with at least 0.5, 67 % are."""
LARGEST_DISAGREEMENT = 0.4
"""Largest log ratio of visible extent and predicted length of a reliable needle. A longer extent
runs over several needles, a shorter one is mostly guessed: of both one in five is right."""


@dataclass(frozen=True, slots=True)
class ChainAgreement:
    """How well the cells of each needle agree; arrays (n,), lengths in one unit.

    Args:
        predicted: Median of the lengths that its cells predict.
        extent: Visible extent of the chain.
        length: Length that the needle is given.
        scatter: Root mean square distance of the midpoints that its cells predict.
        turn: Mean angle between the cells' directions and the needle's, radians.
        error: Mean relative error that the network expects.
        axis: Mean probability of an axis.
        bend: Root mean square distance of the cells from a straight line.
        offset: Distance between the middles of extent and prediction.
    """

    predicted: NDArray[np.float64]
    extent: NDArray[np.float64]
    length: NDArray[np.float64]
    scatter: NDArray[np.float64]
    turn: NDArray[np.float64]
    error: NDArray[np.float64]
    axis: NDArray[np.float64]
    bend: NDArray[np.float64]
    offset: NDArray[np.float64]

    def stack(self) -> NDArray[np.float64]:
        """Return the features of the logistic regression, (n, 8), see `FEATURES`."""
        ratio = np.log(self.extent / self.predicted)
        return np.stack(
            [
                np.abs(ratio),
                np.maximum(ratio, 0),
                self.scatter / self.length,
                self.turn,
                np.log(np.maximum(self.error, 0.01)),
                self.axis,
                self.bend / self.length,
                self.offset / self.length,
            ],
            axis=1,
        )


def combine_lengths(
    predicted: NDArray[np.float64], extent: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the length to expect of needles that were not selected by their length.

    Args:
        predicted: (n,) lengths predicted by the network.
        extent: (n,) visible extents, same unit.

    Returns:
        (n,) a weighted geometric mean; the more the two disagree, the less the extent counts.
    """
    ratio = np.log(extent / predicted)
    weight = EXTENT_WEIGHT * np.exp(-((ratio / EXTENT_REACH) ** 2))
    return np.asarray(predicted * np.exp(weight * ratio), np.float64)


def estimate_reliability(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Estimate the probability that length and tips of a long needle are right.

    Right is, as on the training program: length within 15 %, both tips within 20 % of the length.

    Args:
        features: (n, 8), see `FEATURES`.

    Returns:
        (n,) 0 to 1; 0 where prediction and extent contradict each other.
    """
    probability = expit(features @ np.array(COEFFICIENTS) + INTERCEPT)
    return np.where(features[:, 0] < LARGEST_DISAGREEMENT, probability, 0.0)


# --- group the axis cells of a needle map into needles --------------------------------------------


LEAST_AXIS = 0.35
"""Smallest axis probability of a ridge cell."""
LINK_CELLS = 2.3
LINK_ANGLE, LINK_LOG_LENGTH = np.deg2rad(20), 0.8
TIP_CELLS = 3.0
"""Cells nearer to a tip are linked to one side only: needles often touch tip to tip in a line."""
MERGE_ANGLE, MERGE_LOG_LENGTH = np.deg2rad(16), 0.3
CROOKED, LARGEST_RATIO = 0.03, 2.0
LEAST_SUPPORT = 0.25
"""Share of a needle's length on which its axis has to be visible."""


@dataclass(frozen=True, slots=True)
class MeasuredNeedles:
    """The needles of one field, one row per needle.

    Args:
        length_um: (n,) apparent length from tip to tip, the visible extent where that is longer.
            It is that of the line that is drawn; for needles that were selected as long ones.
        expected_um: (n,) length to expect of a needle that was not selected by its length.
        features: (n, 8) how well the cells of each needle agree, see `reliability.FEATURES`.
        reliability: (n,) probability that `length_um` and both tips are right, 0 to 1.
        relative_error: (n,) the network's own estimate of the mean relative error of the length.
        area_um2: (n,) visible area.
        ends_um: (n, 2, 2) both tips, (x, y) from the top left corner of the map.
        angle: (n,) direction of the axis in [0, π), radians, clockwise from the x axis.
        support: (n,) share of the length on which the axis is visible.
        cells_um: (m, 2) axis cells of all needles, (x, y).
        number: (m,) the needle of each cell.
    """

    length_um: NDArray[np.float64]
    expected_um: NDArray[np.float64]
    features: NDArray[np.float64]
    reliability: NDArray[np.float64]
    relative_error: NDArray[np.float64]
    area_um2: NDArray[np.float64]
    ends_um: NDArray[np.float64]
    angle: NDArray[np.float64]
    support: NDArray[np.float64]
    cells_um: NDArray[np.float64]
    number: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.length_um)

    def trace(self, index: int, step_um: float = 1.0) -> NDArray[np.float64]:
        """Return a smoothed (k, 2) line from tip to tip of one needle, in µm."""
        start, end = self.ends_um[index]
        cells = self.cells_um[self.number == index]
        along = (end - start) / max(float(np.linalg.norm(end - start)), 1e-9)
        place = (cells - start) @ along
        bins = np.floor(place / step_um).astype(int)
        means = [cells[bins == each].mean(axis=0) for each in np.unique(bins)]
        middle = [m for m in means if step_um < (m - start) @ along < (end - start) @ along - 1]
        return np.array([start, *middle, end])


@dataclass(frozen=True, slots=True)
class _Cells:
    """Ridge cells: position in cells (x, y), angle, distances in cells, weight, own error, axis."""

    at: NDArray[np.float64]
    angle: NDArray[np.float64]
    near: NDArray[np.float64]
    far: NDArray[np.float64]
    weight: NDArray[np.float64]
    error: NDArray[np.float64]
    axis: NDArray[np.float64]
    row: NDArray[np.intp]
    column: NDArray[np.intp]

    @property
    def log_length(self) -> NDArray[np.float64]:
        return np.asarray(np.log(np.maximum(self.near + self.far, 1.0)))


@dataclass(frozen=True, slots=True)
class _Chains:
    """Groups of cells: midpoint (x, y), length, direction, cells, extent along it, bend across.

    Also the distance of the extent's middle from the midpoint, and the scatter of the midpoints
    that the cells predict.
    """

    middle: NDArray[np.float64]
    length: NDArray[np.float64]
    angle: NDArray[np.float64]
    count: NDArray[np.intp]
    extent: NDArray[np.float64]
    bend: NDArray[np.float64]
    offset: NDArray[np.float64]
    scatter: NDArray[np.float64]


def find_needles(maps: NeedleMap) -> MeasuredNeedles:
    """Group axis cells into needles; see the module for how."""
    cells = _find_ridges(maps)
    if not len(cells.at):
        return build_no_needles()
    label = _link(cells)
    label = _merge(cells, label)
    chains = _describe(cells, label)
    length = _choose_length(chains)
    support = np.minimum(chains.count / length, 1.0)
    keep = (length * maps.cell_um >= SHORTEST_UM) & (support >= LEAST_SUPPORT) & (chains.count > 2)  # noqa: PLR2004 - a direction needs three cells
    area = _measure_areas(maps, cells, label, length)
    agreement = _compare(cells, label, chains, length)
    features = agreement.stack()[keep]
    along = np.stack([np.cos(chains.angle), np.sin(chains.angle)], axis=1)
    half = along * length[:, None] / 2
    ends = np.stack([chains.middle - half, chains.middle + half], axis=1)
    renumbered = np.cumsum(keep) - 1
    kept_cells = keep[label]
    return MeasuredNeedles(
        length_um=length[keep] * maps.cell_um,
        expected_um=_expect_length(chains)[keep] * maps.cell_um,
        features=features,
        reliability=estimate_reliability(features),
        relative_error=agreement.error[keep],
        area_um2=area[keep],
        ends_um=(ends[keep] + 0.5) * maps.cell_um,
        angle=np.mod(chains.angle[keep], np.pi),
        support=support[keep],
        cells_um=(cells.at[kept_cells] + 0.5) * maps.cell_um,
        number=renumbered[label[kept_cells]],
    )


def _compare(
    cells: _Cells, label: NDArray[np.intp], chains: _Chains, length: NDArray[np.float64]
) -> ChainAgreement:
    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.bincount(label, values) / chains.count)

    return ChainAgreement(
        predicted=chains.length,
        extent=chains.extent + 1,
        length=length,
        scatter=chains.scatter,
        turn=mean(_angle_between(cells.angle, chains.angle[label])),
        error=mean(cells.error),
        axis=mean(cells.axis),
        bend=chains.bend,
        offset=chains.offset,
    )


def _expect_length(chains: _Chains) -> NDArray[np.float64]:
    """Combine prediction and visible extent; of a crooked chain only the prediction counts."""
    extent = chains.extent + 1
    crooked = chains.bend > CROOKED * extent + 0.5
    return np.where(crooked, chains.length, combine_lengths(chains.length, extent))


def _choose_length(chains: _Chains) -> NDArray[np.float64]:
    """Return the visible extent where it is longer than predicted, unless the chain is crooked.

    A crooked chain, or one of more than twice the predicted length, runs over several needles.
    """
    extent = chains.extent + 1
    crooked = (chains.bend > CROOKED * extent + 0.5) | (extent > LARGEST_RATIO * chains.length)
    return np.where(crooked, chains.length, np.maximum(chains.length, extent))


def build_no_needles() -> MeasuredNeedles:
    """Return the needles of a field without any."""
    none = np.zeros(0)
    empty = np.zeros((0, 2))
    return MeasuredNeedles(
        length_um=none,
        expected_um=none,
        features=np.zeros((0, len(FEATURES))),
        reliability=none,
        relative_error=none,
        area_um2=none,
        ends_um=np.zeros((0, 2, 2)),
        angle=none,
        support=none,
        cells_um=empty,
        number=np.zeros(0, np.intp),
    )


def _find_ridges(maps: NeedleMap) -> _Cells:
    """Keep cells whose axis probability is largest across the axis, placed between cells."""
    row, column = np.nonzero(maps.axis >= LEAST_AXIS)
    angle = maps.angle[row, column].astype(np.float64)
    normal = np.stack([-np.sin(angle), np.cos(angle)])  # (x, y)
    here = maps.axis[row, column]
    sides = [
        map_coordinates(
            maps.axis, [row + sign * normal[1], column + sign * normal[0]], order=1, mode="nearest"
        )
        for sign in (-1, 1)
    ]
    beyond = maps.near_um[row, column] < 0.5 * maps.cell_um  # a blunt end, past the tip
    ridge = (here >= sides[0]) & (here > sides[1]) & ~beyond
    curvature = np.maximum(2 * here - sides[0] - sides[1], 1e-3)
    offset = np.clip((sides[1] - sides[0]) / (2 * curvature), -0.5, 0.5)
    at = np.stack([column + offset * normal[0], row + offset * normal[1]], axis=1)[ridge]
    row, column = row[ridge], column[ridge]
    error = np.exp(maps.log_error[row, column].astype(np.float64))
    return _Cells(
        at=at,
        angle=angle[ridge],
        near=maps.near_um[row, column] / maps.cell_um,
        far=maps.far_um[row, column] / maps.cell_um,
        weight=here[ridge] / (0.05 + error),
        error=error,
        axis=here[ridge].astype(np.float64),
        row=row,
        column=column,
    )


def _link(cells: _Cells) -> NDArray[np.intp]:
    """Link neighbouring cells to chains; every tip cell joins the nearest inner cell only."""
    count = len(cells.at)
    is_tip = cells.near <= TIP_CELLS
    inner = np.flatnonzero(~is_tip)
    pairs = cKDTree(cells.at[inner]).query_pairs(LINK_CELLS, output_type="ndarray")
    first, second = inner[pairs.T]
    tips = np.flatnonzero(is_tip)
    distance, nearest = cKDTree(cells.at[inner]).query(cells.at[tips]) if len(inner) else ([], [])
    close = np.asarray(distance) <= TIP_CELLS + 1.0
    first = np.concatenate([first, tips[close]])
    second = np.concatenate([second, inner[np.asarray(nearest, np.intp)[close]]])
    turn = _angle_between(cells.angle[first], cells.angle[second])
    step = cells.at[second] - cells.at[first]
    sideways = np.abs(
        step[:, 1] * np.cos(cells.angle[first]) - step[:, 0] * np.sin(cells.angle[first])
    )
    log_length = cells.log_length
    alike = np.abs(log_length[first] - log_length[second]) < LINK_LOG_LENGTH
    joined = (turn < LINK_ANGLE) & (sideways < 1.1) & alike  # noqa: PLR2004 - one cell and rounding
    return _connect(first[joined], second[joined], count)


def _merge(cells: _Cells, label: NDArray[np.intp]) -> NDArray[np.intp]:
    """Merge chains whose midpoint, length and direction agree."""
    chains = _describe(cells, label)
    reach = 0.13 * chains.length + 1.5
    pairs = cKDTree(chains.middle).query_pairs(
        float(np.quantile(reach, 0.99)), output_type="ndarray"
    )
    first, second = pairs.T
    longer = np.maximum(chains.length[first], chains.length[second])
    step = chains.middle[second] - chains.middle[first]
    weight = np.where(chains.count[first] > chains.count[second], first, second)
    angle = chains.angle[weight]
    along = np.abs(step[:, 0] * np.cos(angle) + step[:, 1] * np.sin(angle))
    across = np.abs(step[:, 1] * np.cos(angle) - step[:, 0] * np.sin(angle))
    joined = (
        (_angle_between(chains.angle[first], chains.angle[second]) < MERGE_ANGLE)
        & (np.abs(np.log(chains.length[first] / chains.length[second])) < MERGE_LOG_LENGTH)
        & (along < 0.12 * longer + 0.8)
        & (across < 0.03 * longer + 0.8)
    )
    return _connect(first[joined], second[joined], len(chains.length))[label]


def _connect(first: NDArray[np.intp], second: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    graph = coo_array((np.ones(len(first), bool), (first, second)), shape=(count, count))
    label: NDArray[np.intp] = connected_components(graph, directed=False)[1].astype(np.intp)
    return label


def _describe(cells: _Cells, label: NDArray[np.intp]) -> _Chains:
    count = np.bincount(label)
    total = np.bincount(label, cells.weight)

    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.bincount(label, values * cells.weight) / total)

    centre = np.stack([mean(cells.at[:, 0]), mean(cells.at[:, 1])], axis=1)
    angle = _fit_direction(cells, label, centre, mean)
    along = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    across = np.stack([-np.sin(angle), np.cos(angle)], axis=1)
    place = ((cells.at - centre[label]) * along[label]).sum(axis=1)
    offset = (cells.far - cells.near) / 2
    middle = _find_middle(place, offset, cells, label, mean)
    sideways = ((cells.at - centre[label]) * across[label]).sum(axis=1)
    lateral = mean(sideways)
    bend = np.sqrt(np.bincount(label, (sideways - lateral[label]) ** 2) / count)
    points = centre + along * middle[:, None] + across * lateral[:, None]
    low, high = np.full(len(count), np.inf), np.full(len(count), -np.inf)
    np.minimum.at(low, label, place)
    np.maximum.at(high, label, place)
    length = np.exp(_median(cells.log_length, label, count))
    nearest = np.minimum(
        np.abs(place + offset - middle[label]), np.abs(place - offset - middle[label])
    )
    return _Chains(
        middle=points,
        length=length,
        angle=angle,
        count=count,
        extent=high - low,
        bend=bend,
        offset=np.abs((low + high) / 2 - middle),
        scatter=np.sqrt(np.bincount(label, nearest**2) / count),
    )


def _fit_direction(
    cells: _Cells,
    label: NDArray[np.intp],
    centre: NDArray[np.float64],
    mean: Callable[[NDArray[np.float64]], NDArray[np.float64]],
) -> NDArray[np.float64]:
    """Add the predicted directions to the scatter of the cells: short chains have no other."""
    x, y = (cells.at - centre[label]).T
    extent = 8.0  # squared cells; the predicted direction weighs as much as a chain of ten cells
    cosine = mean(x * x - y * y) + extent * mean(np.cos(2 * cells.angle))
    sine = 2 * mean(x * y) + extent * mean(np.sin(2 * cells.angle))
    return np.asarray(np.arctan2(sine, cosine) / 2)


def _find_middle(
    place: NDArray[np.float64],
    offset: NDArray[np.float64],
    cells: _Cells,
    label: NDArray[np.intp],
    mean: Callable[[NDArray[np.float64]], NDArray[np.float64]],
) -> NDArray[np.float64]:
    """Find where the middle of each chain's needle is along its direction.

    Every cell has two candidates, one on each side. The start with the smallest mean distance to
    the nearer candidates wins.
    """
    deepest = np.zeros(int(label.max()) + 1)
    order = np.argsort(cells.near / (cells.near + cells.far))
    deepest[label[order]] = place[order]  # the last one written has the largest share
    best = np.zeros(len(deepest))
    best_distance = np.full(len(deepest), np.inf)
    for start in (deepest, mean(place + offset), mean(place - offset), np.zeros(len(deepest))):
        middle = start
        for _ in range(3):
            ahead = np.abs(place + offset - middle[label]) < np.abs(place - offset - middle[label])
            middle = mean(np.where(ahead, place + offset, place - offset))
        ahead = np.abs(place + offset - middle[label]) < np.abs(place - offset - middle[label])
        distance = mean(np.abs(np.where(ahead, place + offset, place - offset) - middle[label]))
        better = distance < best_distance
        best, best_distance = (
            np.where(better, middle, best),
            np.where(better, distance, best_distance),
        )
    return best


def _median(
    values: NDArray[np.float64], label: NDArray[np.intp], count: NDArray[np.intp]
) -> NDArray[np.float64]:
    ordered = values[np.lexsort((values, label))]
    start = np.concatenate([[0], np.cumsum(count)[:-1]])
    return np.asarray((ordered[start + (count - 1) // 2] + ordered[start + count // 2]) / 2)


def _angle_between(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.abs(np.mod(first - second + np.pi / 2, np.pi) - np.pi / 2))


def _measure_areas(
    maps: NeedleMap,
    cells: _Cells,
    label: NDArray[np.intp],
    length: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Assign body cells to the nearest axis cell and count them per needle."""
    owner = np.full(maps.axis.shape, -1, np.intp)
    owner[cells.row, cells.column] = label
    distance, (row, column) = distance_transform_edt(owner < 0, return_indices=True)
    nearest = owner[row, column]
    inside = (maps.body > 0.5) & (distance <= 0.25 * length[nearest] + 1)  # noqa: PLR2004 - more likely than not
    inside |= owner >= 0
    counts = np.bincount(nearest[inside], minlength=len(length))
    return np.asarray(counts * maps.cell_um**2, np.float64)
