"""The pixel size of a micrograph by each of its sources, and what they agree on."""

from __future__ import annotations

from dataclasses import dataclass

_AGREEMENT = 0.05  # scales that differ by a larger share contradict each other


@dataclass(frozen=True, slots=True)
class Scale:
    """The pixel size according to one source.

    Args:
        source: "metadata", "micron_bar", "sidecar" or "settings".
        um_per_px: µm per pixel.
    """

    source: str
    um_per_px: float


def resolve_scale(
    scales: tuple[Scale, ...], plausible: tuple[float, float]
) -> tuple[float | None, str | None, tuple[str, ...]]:
    """Return the scale all sources agree on, its most trusted source, and warnings."""
    low, high = plausible
    in_range = [scale for scale in scales if low <= scale.um_per_px <= high]
    warnings = ("scale_out_of_range",) if len(in_range) < len(scales) else ()
    if not in_range:
        return None, None, warnings
    values = [scale.um_per_px for scale in in_range]
    if max(values) > (1 + _AGREEMENT) * min(values):
        return None, None, (*warnings, "scale_conflict")
    return in_range[0].um_per_px, in_range[0].source, warnings
