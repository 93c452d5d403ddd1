"""Compare the size number of a micrograph with its needle lengths.

The chart alludes to ISO 643, where a grain's diameter halves with every two numbers. So the L90
that corresponds to a size number is that of size 8 times 2^((8 - number) / 2). The rule contradicts
only gross disagreement.

Source:
    ISO 643:2019, m = 8 · 2^G grains per mm²; the L90 of size 8 is measured on drawn micrographs,
    see tests/bench/notebook/needles.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports import Message, marked

if TYPE_CHECKING:
    from agent.needles.field import NeedleField
    from model import Taxonomy

SIZE = 8
NUMBERS_PER_HALF = 2
_CONFLICT = marked("size {size}, but L90 = {l90} µm (expected {low} to {high} µm)")
_UNCALIBRATED = marked(
    "size {size}, but L90 = {l90} µm, not calibrated here (expected {low} to {high} µm)"
)


@dataclass(frozen=True, slots=True)
class SizeRule:
    """Which L90 corresponds to a size number.

    Args:
        l90_of_size_8_um: L90 of size number 8, µm.
        tolerance: Size numbers by which L90 may differ.
    """

    l90_of_size_8_um: float = 14.0
    tolerance: float = 2.0

    def compute_range(self, lower: float, upper: float) -> tuple[float, float]:
        """Return the smallest and the largest L90, µm, of a size.

        Args:
            lower: Its smallest size number.
            upper: Its largest, another one for a merged size such as 9-10.
        """
        return (
            self._compute_l90(upper + self.tolerance),
            self._compute_l90(lower - self.tolerance),
        )

    def _compute_l90(self, number: float) -> float:
        return float(self.l90_of_size_8_um * 2 ** ((SIZE - number) / NUMBERS_PER_HALF))


def find_size_conflict(
    measured: NeedleField | None, code: str | None, taxonomy: Taxonomy, rule: SizeRule
) -> Message | None:
    """Return how the size number and the needle lengths of a micrograph disagree.

    Args:
        measured: Its needles.
        code: Its structure code.
        taxonomy: What a micrograph can be.
        rule: Which L90 corresponds to a size number.

    Returns:
        None where they agree, or where one of them is not known: a size without numbers, or with
        numbers that are lengths in µm, alludes to no grain size.
    """
    if measured is None or not measured.is_measured or measured.l90_um is None or not code:
        return None
    name, size_name = taxonomy.parse(code)
    subtype = taxonomy.subtype(name)
    size = subtype.find_size(size_name)
    if size is None or size.numbers is None or subtype.falls:
        return None
    low, high = rule.compute_range(size.numbers.lower, size.numbers.upper)
    if low <= measured.l90_um <= high:
        return None
    return Message(
        _CONFLICT if measured.calibration else _UNCALIBRATED,
        {
            "size": size.name,
            "l90": float(f"{measured.l90_um:.3g}"),
            "low": float(f"{low:.2g}"),
            "high": float(f"{high:.2g}"),
        },
    )
