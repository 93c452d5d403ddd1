"""Combine the stored needles of several fields: quantiles with intervals, the longest to expect."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from agent.needles.field import NeedleField, NeedleHistogram
    from model.needles.lengths import LengthDistribution

LEAST_FIELDS = 5
"""Measured fields for an interval, as `model.needles.lengths`."""
LEAST_MAXIMA = 20
"""Measured fields for the longest needle in a larger area, as `model.needles.lengths`."""
PREDICTED_MM2 = 100.0
"""Area of the prediction where no specification names one."""
SHARES = (0.5, 0.9, 0.99)
REMEMBERED = 512


@dataclass(frozen=True, slots=True)
class PooledLength:
    """A length with its 95 % interval, µm, None where fields or longer needles are too few."""

    value_um: float
    low_um: float | None
    high_um: float | None

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {"value_um": self.value_um, "low_um": self.low_um, "high_um": self.high_um}


@dataclass(frozen=True, slots=True)
class PooledNeedles:
    """The needles of several fields together.

    Args:
        measured: Measured fields.
        reasons: Reason → fields that were not measured for it.
        needles: Complete needles.
        l50, l90, l99: Weighted by area; None without a measured field. L99 is None without an
            interval too: of few needles it is too short.
        maximum_um: The longest complete needle that was found.
        predicted: Longest needle to expect in `predicted_mm2`, with its 95 % prediction interval;
            None below 20 fields or for fields of different area.
        predicted_mm2: Area of the prediction.
        network: Version of the network, "" where fields were measured with several.
        calibration: Version of the site's calibration, None: not calibrated here.
        is_mixed: The fields have several networks or calibrations, so they are not combined.
    """

    measured: int = 0
    reasons: Mapping[str, int] | None = None
    needles: int = 0
    l50: PooledLength | None = None
    l90: PooledLength | None = None
    l99: PooledLength | None = None
    maximum_um: float | None = None
    predicted: PooledLength | None = None
    predicted_mm2: float = PREDICTED_MM2
    network: str = ""
    calibration: str | None = None
    is_mixed: bool = False

    def get_quantile(self, name: str) -> PooledLength | None:
        """Return "L50", "L90" or "L99"."""
        return {"L50": self.l50, "L90": self.l90, "L99": self.l99}[name]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "trial": True,
            "calibrated": self.calibration is not None,
            "calibration": self.calibration,
            "network": self.network or None,
            "fields_measured": self.measured,
            "fields_not_measured": dict(self.reasons or {}),
            "needles": self.needles,
            "l50": self.l50 and self.l50.to_json(),
            "l90": self.l90 and self.l90.to_json(),
            "l99": self.l99 and self.l99.to_json(),
            "longest_um": self.maximum_um,
            "longest_expected": self.predicted
            and self.predicted.to_json() | {"area_mm2": self.predicted_mm2},
        }


def pool_needles(
    fields: Iterable[NeedleField], *, area_mm2: float = PREDICTED_MM2
) -> PooledNeedles:
    """Combine fields of one specimen or order; the interval resamples whole fields.

    Args:
        fields: One per place.
        area_mm2: Area in which the longest needle is predicted.
    """
    return _pool(tuple(fields), area_mm2)


@lru_cache(REMEMBERED)
def _pool(fields: tuple[NeedleField, ...], area_mm2: float) -> PooledNeedles:
    used = [field for field in fields if field.is_measured and field.histogram]
    reasons = Counter(field.reason for field in fields if not field.is_measured)
    if not used:
        return PooledNeedles(reasons=dict(reasons), predicted_mm2=area_mm2)
    kinds = {(field.network, field.calibration, _bins(field.histogram)) for field in used}
    if len(kinds) > 1:
        return PooledNeedles(len(used), dict(reasons), predicted_mm2=area_mm2, is_mixed=True)
    rows = [_to_distribution(field.histogram) for field in used if field.histogram]
    scale, is_calibrated = _find_scale(used[0].histogram), used[0].calibration is not None
    estimates = {
        share: _estimate(rows, share, scale, is_calibrated=is_calibrated) for share in SHARES
    }
    return PooledNeedles(
        measured=len(used),
        reasons=dict(reasons),
        needles=sum(field.needles for field in used),
        l50=estimates[0.5],
        l90=estimates[0.9],
        l99=l99 if (l99 := estimates[0.99]) and l99.high_um else None,
        maximum_um=max((field.maximum_um or 0.0 for field in used), default=None),
        predicted=_predict(used, area_mm2),
        predicted_mm2=area_mm2,
        network=used[0].network,
        calibration=used[0].calibration,
    )


def _bins(histogram: NeedleHistogram | None) -> tuple[float, float, int]:
    return (histogram.shortest_um, histogram.longest_um, histogram.bins) if histogram else (0, 0, 0)


def _to_distribution(histogram: NeedleHistogram) -> LengthDistribution:
    import numpy as np  # noqa: PLC0415 - with SciPy, only where needles were measured

    from model.needles.lengths import LengthDistribution  # noqa: PLC0415 - SciPy

    by_number, by_area = np.zeros(histogram.bins), np.zeros(histogram.bins)
    last = histogram.first + len(histogram.by_number)
    by_number[histogram.first : last] = histogram.by_number
    by_area[histogram.first : last] = histogram.by_area
    return LengthDistribution(by_number, by_area)


def _find_scale(histogram: NeedleHistogram | None) -> float:
    """Return by what a calibration has multiplied the edges of the bins."""
    from model.needles.lengths import LENGTH_EDGES_UM  # noqa: PLC0415 - SciPy

    return histogram.shortest_um / float(LENGTH_EDGES_UM[0]) if histogram else 1.0


def _estimate(
    rows: Sequence[LengthDistribution], share: float, scale: float, *, is_calibrated: bool
) -> PooledLength | None:
    from model.needles.lengths import estimate_quantile  # noqa: PLC0415 - SciPy

    estimate = estimate_quantile(rows, share, is_calibrated=is_calibrated)
    if estimate is None:
        return None
    low, high = estimate.low_um, estimate.high_um
    return _to_length(
        estimate.value_um * scale,
        None if low is None else low * scale,
        None if high is None else high * scale,
    )


def _predict(used: Sequence[NeedleField], area_mm2: float) -> PooledLength | None:
    from model.needles.lengths import predict_longest  # noqa: PLC0415 - NumPy

    if len(used) < LEAST_MAXIMA:
        return None
    maxima = [field.maximum_um or 0.0 for field in used]
    longest = predict_longest(maxima, [field.area_um2 or 1.0 for field in used], area_mm2)
    if longest is None:
        return None
    return _to_length(longest.value_um, longest.low_um, longest.high_um)


def _to_length(value: float, low: float | None, high: float | None) -> PooledLength:
    return PooledLength(
        round(value, 2),
        None if low is None else round(low, 2),
        None if high is None else round(high, 2),
    )
