"""Measure the needles of a micrograph for its result."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import structlog

from agent.needles.field import (
    FAILED,
    NO_SCALE,
    LongNeedle,
    NeedleField,
    NeedleHistogram,
    NeedleStatus,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agent.imaging import Crop
    from model.needles.field import FieldMeasurement
    from model.needles.lengths import LengthDistribution
    from model.needles.needle_map import NeedleMapper

log = structlog.get_logger()


class NeedleMeasurer:
    """Measures crops with the needle network, which is loaded on first use."""

    @cached_property
    def _mapper(self) -> NeedleMapper:
        from model.needles.needle_map import NeedleMapper  # noqa: PLC0415 - PyTorch takes seconds

        return NeedleMapper()

    def measure(self, crop: Crop) -> NeedleField:
        """Measure the needles of a crop; a fault is a reason and costs no other result."""
        if crop.um_per_px is None:
            return NeedleField(NeedleStatus.NOT_MEASURED, NO_SCALE)
        try:
            from model.needles.field import measure_field  # noqa: PLC0415 - as in `_mapper`

            measured = measure_field(to_grey(crop.pixels, crop.valid), crop.um_per_px, self._mapper)
            return summarize(measured, crop.um_per_px, network=self._mapper.version)
        except Exception:  # a trial never costs the result that it is stored with
            log.exception("needles.crashed", micrograph=crop.id)
            return NeedleField(NeedleStatus.NOT_MEASURED, FAILED, pixel_um=crop.um_per_px)


def to_grey(pixels: NDArray[np.uint8], valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return a crop in grey; pixels without steel get its mean tone."""
    grey: NDArray[np.uint8] = np.round(pixels.mean(axis=2)).astype(np.uint8)
    if not valid.all():
        grey[~valid] = int(grey[valid].mean()) if valid.any() else 0
    return grey


def summarize(measured: FieldMeasurement, pixel_um: float, *, network: str) -> NeedleField:
    """Return what is stored of a measurement.

    Args:
        measured: The measurement.
        pixel_um: Scale of the micrograph, µm per px.
        network: Version of the network.
    """
    from model.needles.field import NeedleOutcome  # noqa: PLC0415 - PyTorch takes seconds

    is_measured = measured.outcome is NeedleOutcome.MEASURED
    facts = NeedleField(
        status=NeedleStatus.MEASURED if is_measured else NeedleStatus.NOT_MEASURED,
        reason="" if is_measured else measured.outcome.value,
        network=network,
        pixel_um=pixel_um,
        area_um2=round(measured.size_um[0] * measured.size_um[1], 1),
        structure_share=round(measured.structure_share, 4),
        measured_share=round(measured.measured_share, 4),
        intercept_um=_round(measured.intercept_um),
        expected_l50_um=_round(measured.expected_l50_um),
        expected_error=round(measured.expected_error, 4),
    )
    return _add_lengths(facts, measured, pixel_um) if is_measured else facts


def _add_lengths(facts: NeedleField, measured: FieldMeasurement, pixel_um: float) -> NeedleField:
    distribution, needles = measured.distribution, measured.needles

    def find(share: float, weighted: str = "area") -> float | None:
        return _round(distribution.quantile_um(share, weighted=weighted))

    longest = tuple(
        LongNeedle(
            length_um=round(float(needles.length_um[index]), 2),
            relative_error=round(float(needles.relative_error[index]), 3),
            is_reliable=measured.is_reliable(index),
            line_px=tuple(
                (round(float(x) / pixel_um, 1), round(float(y) / pixel_um, 1))
                for x, y in needles.trace(index)
            ),
        )
        for index in measured.longest
    )
    return replace(
        facts,
        needles=int((measured.weights > 0).sum()),
        maximum_um=_round(measured.maximum_um),
        anisotropy=round(measured.anisotropy, 4),
        heterogeneity=_round(measured.heterogeneity),
        longest=longest,
        orientation=tuple(round(float(share), 4) for share in measured.orientation),
        histogram=_to_histogram(distribution),
        l50_um=find(0.5),
        l90_um=find(0.9),
        l99_um=find(0.99),
        l50_number_um=find(0.5, "number"),
        l90_number_um=find(0.9, "number"),
        l99_number_um=find(0.99, "number"),
    )


def _to_histogram(distribution: LengthDistribution) -> NeedleHistogram:
    from model.needles.lengths import LENGTH_EDGES_UM  # noqa: PLC0415 - SciPy

    filled = np.flatnonzero(distribution.by_number > 0)
    first, last = (int(filled[0]), int(filled[-1]) + 1) if len(filled) else (0, 0)
    return NeedleHistogram(
        shortest_um=float(LENGTH_EDGES_UM[0]),
        longest_um=float(LENGTH_EDGES_UM[-1]),
        bins=len(LENGTH_EDGES_UM) - 1,
        first=first,
        by_number=tuple(round(float(v), 3) for v in distribution.by_number[first:last]),
        by_area=tuple(round(float(v), 2) for v in distribution.by_area[first:last]),
    )


def _round(value: float | None) -> float | None:
    return None if value is None else round(float(value), 2)
