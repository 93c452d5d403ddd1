"""Needles of fields as a measurement stores them, written out for tests."""

from __future__ import annotations

import cv2
import numpy as np

from agent.needles import LongNeedle, NeedleField, NeedleHistogram, NeedleStatus
from drawn.needles.canvas import NeedleCanvas
from drawn.needles.plates import Population, scatter

SHORTEST_UM, LONGEST_UM, BINS = 3.0, 200.0, 160
NETWORK = "0123456789ab"
UNRELIABLE = 2
"""Which of the five longest has a dashed line."""


def measured(
    seed: int = 0,
    *,
    median_um: float = 9.0,
    count: int = 200,
    area_um2: float = 19_200.0,
    calibration: str | None = None,
) -> NeedleField:
    """Make a measured field of needles whose lengths are lognormal around a median."""
    rng = np.random.default_rng([seed, 29])
    lengths = np.clip(median_um * rng.lognormal(0, 0.35, count), SHORTEST_UM, LONGEST_UM)
    areas = lengths**2 / 9
    edges = np.geomspace(SHORTEST_UM, LONGEST_UM, BINS + 1)
    by_number = np.histogram(lengths, edges)[0].astype(float)
    by_area = np.histogram(lengths, edges, weights=areas)[0]
    order = np.argsort(lengths)
    share = np.cumsum(areas[order]) / areas.sum()

    def by_area_um(of: float) -> float:
        return round(float(lengths[order][np.searchsorted(share, of)]), 2)

    def by_number_um(of: float) -> float:
        return round(float(np.quantile(lengths, of)), 2)

    longest = tuple(
        LongNeedle(
            length_um=round(float(length), 2),
            relative_error=0.2,
            is_reliable=n != UNRELIABLE,
            line_px=((10.0, 8.0 * n), (10.0 + float(length), 8.0 * n)),
        )
        for n, length in enumerate(sorted(lengths, reverse=True)[:5], start=1)
    )
    return NeedleField(
        status=NeedleStatus.MEASURED,
        network=NETWORK,
        calibration=calibration,
        pixel_um=0.12,
        area_um2=area_um2,
        structure_share=0.98,
        measured_share=0.9,
        needles=count,
        l50_um=by_area_um(0.5),
        l90_um=by_area_um(0.9),
        l99_um=by_area_um(0.99),
        l50_number_um=by_number_um(0.5),
        l90_number_um=by_number_um(0.9),
        l99_number_um=by_number_um(0.99),
        maximum_um=longest[0].length_um,
        anisotropy=0.1,
        heterogeneity=1.3,
        intercept_um=3.0,
        expected_l50_um=9.4,
        expected_error=0.2,
        longest=longest,
        orientation=(1 / 12,) * 12,
        histogram=NeedleHistogram(
            SHORTEST_UM, LONGEST_UM, BINS, 0, tuple(by_number.tolist()), tuple(by_area.tolist())
        ),
    )


def not_measured(reason: str = "too_few") -> NeedleField:
    """Make a field without lengths."""
    return NeedleField(
        status=NeedleStatus.NOT_MEASURED,
        reason=reason,
        network="" if reason == "no_scale" else NETWORK,
        pixel_um=None if reason == "no_scale" else 0.12,
        intercept_um=2.0 if reason == "evidence_disagrees" else None,
        expected_l50_um=5.66 if reason == "evidence_disagrees" else None,
    )


def draw_needles():
    """Draw a field of needles, 102 µm wide."""
    rng = np.random.default_rng(11)
    canvas = NeedleCanvas.blank(512, 205)
    population = Population(
        length_um=18, spread=0.3, aspect=9, coverage=0.9, tone=110, tone_spread=14, edge=-45,
        edges=2, halo=0, midrib=0, blunt=0.8, bend=0.02, kinked=0, branched=0, packets=0.2,
        variants=6, grain=2, longest_first=True,
    )  # fmt: skip
    scatter(population, rng, canvas)
    noisy = cv2.GaussianBlur(canvas.grey, (0, 0), 0.6) + rng.normal(0, 3, canvas.grey.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)
