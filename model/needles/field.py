"""Measure the needles of one micrograph, or give the reason why they are not measured."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from model.needles.instances import FEATURES, MeasuredNeedles, build_no_needles, find_needles
from model.needles.lengths import (
    LengthDistribution,
    compute_distribution,
    compute_heterogeneity,
    compute_orientation,
    compute_weights,
)
from model.needles.needle_map import PIXEL_UM, NeedleMapper, resample

# --- mean intercept between tone changes along test lines: a measurement that needs no network ----


FINE_PX, COARSE_PX = 1.0, 6.0
"""Standard deviations of the band pass: noise below, uneven illumination above."""
LEAST_SWING = 0.5
"""Smallest swing that counts as a tone change, in standard deviations of the band pass."""
LINE_STEP = 3


def measure_mean_intercept(image: NDArray[np.float32], pixel_um: float) -> float | None:
    """Measure the mean distance between tone changes along rows and columns.

    Args:
        image: (h, w) grey, any contrast.
        pixel_um: µm per px.

    Returns:
        µm, or None where the image has no contrast.
    """
    values = np.asarray(image, np.float32)
    band = gaussian_filter(values, FINE_PX) - gaussian_filter(values, COARSE_PX)
    deviation = float(band.std())
    if deviation <= 1e-6:  # noqa: PLR2004 - an empty picture
        return None
    state = np.where(band > LEAST_SWING * deviation, 1, 0).astype(np.int8)
    state[band < -LEAST_SWING * deviation] = -1
    crossings = _count_changes(state[::LINE_STEP]) + _count_changes(state[:, ::LINE_STEP].T)
    length_px = state[::LINE_STEP].size + state[:, ::LINE_STEP].size
    return length_px * pixel_um / crossings if crossings else None


def _count_changes(lines: NDArray[np.int8]) -> int:
    """Count changes of sign along rows; zeros keep the sign before them."""
    flat = lines.ravel()
    row = np.repeat(np.arange(lines.shape[0]), lines.shape[1])
    signed = flat != 0
    signs, rows = flat[signed], row[signed]
    return int(((signs[1:] != signs[:-1]) & (rows[1:] == rows[:-1])).sum())


# --- measure the needles of one micrograph, or give the reason why they are not measured ----------


LARGEST_PIXEL_UM = 0.35
"""Coarser micrographs show too little of a fine needle."""
LEAST_STRUCTURE, LEAST_MEASURED = 0.05, 0.8
"""Smallest share of the area with needles for "some needles" and for lengths. MEASURED on 120 drawn
fields with needles: at least 0.95 in 95 % of them; on 38 real micrographs without, where all other
conditions are met: at most 0.73. With 0.6 one of them had lengths."""
LEAST_NEEDLES = 30
LARGEST_ERROR = 0.36
"""Largest area-weighted expected relative error of the lengths. MEASURED on 85 drawn fields with
needles: at most 0.33; of 4 real micrographs without, but with a structure, 0.32 to 0.38."""
LONGEST_SHOWN = 5
DISAGREEMENT = FEATURES.index("disagreement")
LEAST_RELIABILITY = 0.5
"""Smallest probability of right length and tips of a needle whose line is drawn solid; the others
are dashed. All of the longest are listed: to leave out the others would list shorter ones."""
ERROR_SPREAD = 0.6
"""Scale of the distribution of a length's logarithm over the relative error that the network
expects. MEASURED on 40 drawn fields: with it L90 has no bias, without it L90 is 10 % too small."""

INTERCEPT_FACTOR, INTERCEPT_POWER, INTERCEPT_BAND = 1.54, 1.49, 2.4
"""L50 = factor · mean intercept ^ power, µm. MEASURED on 110 held-out drawn fields: correlation of
the logarithms 0.73, scatter 0.38, so 98 % are within a factor of 2.4. On 102 fields
`tests/bench/needle_intercepts.py` finds 1.89 and 1.33, with 0.75 and 0.39; of its intercepts,
1.9 to 8.3 µm, L50 differs by at most 13 %. The evidence contradicts only gross errors."""


class NeedleOutcome(StrEnum):
    """Whether the needles of a field were measured, and why not."""

    MEASURED = "measured"
    NO_NEEDLES = "no_needles"
    TOO_COARSE = "too_coarse"
    TOO_FEW = "too_few"
    UNCERTAIN = "uncertain"
    EVIDENCE_DISAGREES = "evidence_disagrees"


@dataclass(frozen=True, slots=True)
class FieldMeasurement:
    """The needles of one field.

    Args:
        outcome: "measured", or why the values are not to be used.
        size_um: Width and height of the field.
        structure_share: Share of the area with a needle structure.
        measured_share: Share of the area that belongs to measured needles or lies next to them.
        needles: All needles, those at the border too.
        weights: (n,) edge-correction weight of each needle, 0 at the border.
        distribution: Edge-corrected distribution.
        expected_error: Area-weighted relative error of a length as expected by the network.
        intercept_um: Mean intercept, the independent evidence.
        expected_l50_um: L50 that corresponds to the mean intercept.
        orientation: (12,) shares per 15°.
        anisotropy: 0 to 1.
        heterogeneity: Ratio of the L50 of coarse and fine windows, or None.
    """

    outcome: NeedleOutcome
    size_um: tuple[float, float]
    structure_share: float
    measured_share: float
    needles: MeasuredNeedles
    weights: NDArray[np.float64]
    distribution: LengthDistribution
    expected_error: float
    intercept_um: float | None
    expected_l50_um: float | None
    orientation: NDArray[np.float64]
    anisotropy: float
    heterogeneity: float | None

    @property
    def maximum_um(self) -> float | None:
        """Length of the longest needle that the border does not cut, µm."""
        inside = self.needles.length_um[self.weights > 0]
        return float(inside.max()) if len(inside) else None

    @property
    def longest(self) -> list[int]:
        """Numbers of the five longest needles, longest first; see `list_longest`."""
        return list_longest(self.needles, self.weights)

    def is_reliable(self, index: int) -> bool:
        """Return whether length and tips of a needle are probably right."""
        return bool(self.needles.reliability[index] >= LEAST_RELIABILITY)


def measure_field(
    grey: NDArray[np.uint8], pixel_um: float, mapper: NeedleMapper
) -> FieldMeasurement:
    """Measure the needles of a micrograph.

    Args:
        grey: (h, w) uint8, steel only: no scale bar, no info band.
        pixel_um: Its scale, µm per px.
        mapper: The network.
    """
    size_um = (grey.shape[1] * pixel_um, grey.shape[0] * pixel_um)
    if pixel_um > LARGEST_PIXEL_UM:
        return _refuse_coarse(size_um)  # enlarging it would only take memory
    maps = mapper.map(grey, pixel_um)
    needles = find_needles(maps)
    weights = compute_weights(needles.ends_um, size_um)
    distribution = compute_distribution(
        needles.expected_um, needles.area_um2, weights, ERROR_SPREAD * needles.relative_error
    )
    orientation, anisotropy = compute_orientation(needles)
    intercept = measure_mean_intercept(resample(grey, pixel_um), PIXEL_UM)
    expected_l50 = None if intercept is None else _expect_l50(intercept)
    structure = float((maps.structure > 0.5).mean())  # noqa: PLR2004 - more likely than not
    error = _average_error(needles)
    return FieldMeasurement(
        outcome=_decide(
            structure=structure,
            counted=int((weights > 0).sum()),
            error=error,
            distribution=distribution,
            expected_l50_um=expected_l50,
        ),
        size_um=size_um,
        structure_share=structure,
        measured_share=_share_near(needles, size_um),
        needles=needles,
        weights=weights,
        distribution=distribution,
        expected_error=error,
        intercept_um=intercept,
        expected_l50_um=expected_l50,
        orientation=orientation,
        anisotropy=anisotropy,
        heterogeneity=compute_heterogeneity(needles, size_um),
    )


def list_longest(needles: MeasuredNeedles, weights: NDArray[np.float64]) -> list[int]:
    """Return the numbers of the longest needles, at most five, longest first.

    The longest are those of which prediction and visible extent both are long: where one alone is,
    several needles were taken for one. MEASURED on 14 drawn fields that no training used: of 70
    lines 55 instead of 45 are one needle, and 40 instead of 37 of the true five longest are there.

    Args:
        needles: All needles of a field.
        weights: (n,) edge-correction weights; a needle of weight 0 is cut by the border.
    """
    agreed = needles.length_um * np.exp(-needles.features[:, DISAGREEMENT])
    order = np.argsort(-np.where(weights > 0, agreed, 0), kind="stable")[:LONGEST_SHOWN]
    chosen = [index for index in order.tolist() if weights[index] > 0]
    return sorted(chosen, key=lambda index: -float(needles.length_um[index]))


def _refuse_coarse(size_um: tuple[float, float]) -> FieldMeasurement:
    needles = build_no_needles()
    weights = np.zeros(0)
    return FieldMeasurement(
        outcome=NeedleOutcome.TOO_COARSE,
        size_um=size_um,
        structure_share=0.0,
        measured_share=0.0,
        needles=needles,
        weights=weights,
        distribution=compute_distribution(needles.length_um, needles.area_um2, weights),
        expected_error=1.0,
        intercept_um=None,
        expected_l50_um=None,
        orientation=compute_orientation(needles)[0],
        anisotropy=0.0,
        heterogeneity=None,
    )


def _expect_l50(intercept_um: float) -> float:
    return float(INTERCEPT_FACTOR * intercept_um**INTERCEPT_POWER)


def _average_error(needles: MeasuredNeedles) -> float:
    total = float(needles.area_um2.sum())
    return float((needles.relative_error * needles.area_um2).sum() / total) if total else 1.0


def _share_near(needles: MeasuredNeedles, size_um: tuple[float, float]) -> float:
    """Return the share of squares of 8 µm that contain an axis of a measured needle."""
    columns, rows = (max(int(side // 8), 1) for side in size_um)
    if not len(needles):
        return 0.0
    place = needles.cells_um / np.array(size_um) * (columns, rows)
    column = np.clip(place[:, 0].astype(int), 0, columns - 1)
    row = np.clip(place[:, 1].astype(int), 0, rows - 1)
    return len(np.unique(row * columns + column)) / (columns * rows)


def _decide(
    *,
    structure: float,
    counted: int,
    error: float,
    distribution: LengthDistribution,
    expected_l50_um: float | None,
) -> NeedleOutcome:
    if structure < LEAST_STRUCTURE:
        return NeedleOutcome.NO_NEEDLES
    l50 = distribution.quantile_um(0.5)
    if structure < LEAST_MEASURED or counted < LEAST_NEEDLES or l50 is None:
        return NeedleOutcome.TOO_FEW
    if error > LARGEST_ERROR:
        return NeedleOutcome.UNCERTAIN
    if expected_l50_um is None or not (1 / INTERCEPT_BAND < l50 / expected_l50_um < INTERCEPT_BAND):
        return NeedleOutcome.EVIDENCE_DISAGREES
    return NeedleOutcome.MEASURED
