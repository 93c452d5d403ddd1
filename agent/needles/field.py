"""The needles of one micrograph as they are stored with its result.

Lengths are absent wherever the field was not measured: a number that must not be used is not
stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Any, Self

from model import Taxonomy
from model.class_names import Wording
from reports import Message, marked

FAILED = "failed"
NO_SCALE = "no_scale"
EVIDENCE_DISAGREES = "evidence_disagrees"
NO_NEEDLES, LATHS = "no_needles", "lath_martensite"

DETAILS = ("longest", "orientation", "histogram")
"""Values that a list of micrographs leaves out."""
REASONS: Mapping[str, str] = {
    NO_SCALE: marked("the scale is unknown: set it in the settings or export with a scale bar"),
    NO_NEEDLES: marked("no separate needles found; lath martensite is not measured"),
    LATHS: marked("lath martensite"),
    "too_coarse": marked("more than 0.35 µm per px: fine needles are not resolved"),
    "too_few": marked("fewer than 30 complete needles, or in less than 80 % of the field"),
    "uncertain": marked("the network is too unsure of the lengths in this field"),
    EVIDENCE_DISAGREES: marked("mean intercept and needle lengths contradict each other"),
    FAILED: marked("the measurement failed; the log of the agent has the cause"),
}
"""Why a field has no values → English words. The keys are stored."""
_EVIDENCE = marked(
    "mean intercept and needle lengths contradict each other: an intercept of {intercept} µm "
    "corresponds to an L50 of {expected} µm, far from the measured one"
)


class NeedleStatus(StrEnum):
    """Whether a field has needle lengths; part of the JSON contract."""

    MEASURED = "measured"
    NOT_MEASURED = "not_measured"


@dataclass(frozen=True, slots=True)
class LongNeedle:
    """One of the five longest needles.

    Args:
        length_um: Apparent length.
        relative_error: The network's estimate of the relative error of the length.
        is_reliable: Whether length and tips are probably right; if not, its line is dashed.
        line_px: Its axis from tip to tip, (x, y) in pixels of the crop.
    """

    length_um: float
    relative_error: float
    is_reliable: bool
    line_px: tuple[tuple[float, float], ...]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "length_um": self.length_um,
            "expected_relative_error": self.relative_error,
            "reliable": self.is_reliable,
            "line_px": [list(point) for point in self.line_px],
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Build it from what `to_json` returned."""
        line = tuple((float(x), float(y)) for x, y in document["line_px"])
        return cls(
            length_um=float(document["length_um"]),
            relative_error=float(document["expected_relative_error"]),
            is_reliable=bool(document["reliable"]),
            line_px=line,
        )


@dataclass(frozen=True, slots=True)
class NeedleHistogram:
    """Edge-corrected lengths in logarithmic bins, so that fields are pooled without their needles.

    Args:
        shortest_um, longest_um: Outer edges.
        bins: Number of bins, all equally wide in the logarithm.
        first: Number of the first stored bin; all before it are empty.
        by_number: Weight of the needles in each stored bin.
        by_area: Weight times visible area, µm².
    """

    shortest_um: float
    longest_um: float
    bins: int
    first: int
    by_number: tuple[float, ...]
    by_area: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "shortest_um": self.shortest_um,
            "longest_um": self.longest_um,
            "bins": self.bins,
            "first": self.first,
            "by_number": list(self.by_number),
            "by_area_um2": list(self.by_area),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self | None:
        """Build it from what `to_json` returned, None from {}."""
        if not document:
            return None
        return cls(
            shortest_um=float(document["shortest_um"]),
            longest_um=float(document["longest_um"]),
            bins=int(document["bins"]),
            first=int(document["first"]),
            by_number=_to_floats(document["by_number"]),
            by_area=_to_floats(document["by_area_um2"]),
        )

    def join_bins(self, most: int) -> NeedleHistogram:
        """Return the histogram in fewer bins, each of as many of its own."""
        step = max(self.bins // most, 1)
        count, begin = self.bins // step, self.first // step
        end = min((self.first + len(self.by_area) - 1) // step, count - 1) + 1
        by_number, by_area = [0.0] * (end - begin), [0.0] * (end - begin)
        pairs = zip(self.by_number, self.by_area, strict=True)
        for number, (weight, area) in enumerate(pairs, start=self.first):
            place = min(number // step, count - 1) - begin
            by_number[place] += weight
            by_area[place] += area
        return NeedleHistogram(
            shortest_um=self.shortest_um,
            longest_um=self.longest_um,
            bins=count,
            first=begin,
            by_number=tuple(by_number),
            by_area=tuple(by_area),
        )


@dataclass(frozen=True, slots=True)
class NeedleField:
    """The needles of one field.

    Args:
        status: Measured or not.
        reason: Key of `REASONS`, "" where it was measured.
        network: Version of the network, "" where it was not used.
        calibration: Version of the site's calibration, None: not calibrated here.
        pixel_um: Scale of the micrograph, µm per px, or None.
        area_um2: Area of the field.
        structure_share: Share of the area with a needle structure, 0 to 1.
        measured_share: Share of the area that contains measured needles, 0 to 1.
        needles: Complete needles.
        l50_um, l90_um, l99_um: Half, 90 %, 99 % of the needles' area is in shorter needles.
        l50_number_um, l90_number_um, l99_number_um: The same share of their number is shorter.
        maximum_um: The longest complete needle, the block maximum of the field.
        anisotropy: 0: no preferred direction; 1: all parallel.
        heterogeneity: L50 of coarse windows over that of fine ones, at least 1, or None.
        intercept_um: Mean intercept, the independent evidence.
        expected_l50_um: L50 that corresponds to the mean intercept.
        expected_error: Expected relative error of a length, by the network.
        longest: Up to five of the longest complete needles, longest first.
        orientation: Share of the length per 15°, clockwise from the x axis.
        histogram: The distribution, or None.
    """

    status: NeedleStatus
    reason: str = ""
    network: str = ""
    calibration: str | None = None
    pixel_um: float | None = None
    area_um2: float | None = None
    structure_share: float | None = None
    measured_share: float | None = None
    needles: int = 0
    l50_um: float | None = None
    l90_um: float | None = None
    l99_um: float | None = None
    l50_number_um: float | None = None
    l90_number_um: float | None = None
    l99_number_um: float | None = None
    maximum_um: float | None = None
    anisotropy: float | None = None
    heterogeneity: float | None = None
    intercept_um: float | None = None
    expected_l50_um: float | None = None
    expected_error: float | None = None
    longest: tuple[LongNeedle, ...] = ()
    orientation: tuple[float, ...] = ()
    histogram: NeedleHistogram | None = field(default=None)

    @property
    def is_measured(self) -> bool:
        """Whether it has lengths."""
        return self.status is NeedleStatus.MEASURED

    @property
    def reason_message(self) -> Message:
        """Why it was not measured, empty where it was."""
        return describe_reason(self)

    def to_json(self, *, is_brief: bool = False) -> dict[str, Any]:
        """Return it as JSON.

        Args:
            is_brief: Leave out the longest needles, the orientation and the histogram.
        """
        document = self.to_document() | {"trial": True, "calibrated": self.calibration is not None}
        left_out = DETAILS if is_brief else ()
        return {name: value for name, value in document.items() if name not in left_out}

    def to_document(self) -> dict[str, Any]:
        """Return it as it is stored."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return values | {
            "status": self.status.value,
            "longest": [needle.to_json() for needle in self.longest],
            "orientation": list(self.orientation),
            "histogram": self.histogram.to_json() if self.histogram else {},
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Build it from what `to_document` returned."""
        values = {
            "status": NeedleStatus(document["status"]),
            "longest": tuple(LongNeedle.from_json(entry) for entry in document["longest"]),
            "orientation": _to_floats(document["orientation"]),
            "histogram": NeedleHistogram.from_json(document["histogram"]),
        }
        return cls(**{**document, **values})


def describe_reason(measured: NeedleField) -> Message:
    """Return why a field was not measured, an empty message where it was."""
    if measured.is_measured:
        return Message("")
    if measured.reason == EVIDENCE_DISAGREES and measured.intercept_um:
        return Message(
            _EVIDENCE,
            {
                "intercept": round(measured.intercept_um, 1),
                "expected": round(measured.expected_l50_um or 0.0, 1),
            },
        )
    return Message(REASONS.get(measured.reason, REASONS[FAILED]))


def name_laths(measured: NeedleField, titles: Wording) -> NeedleField:
    """Return a field in which no needles were found with martensite, if it is that, as the reason.

    Args:
        measured: Its needles.
        titles: Title of its subtype, such as "martensitic 100Cr6".
    """
    is_martensite = any("martensit" in title.casefold() for title in (titles.en, titles.de))
    if measured.reason == NO_NEEDLES and is_martensite:
        return replace(measured, reason=LATHS)
    return measured


def _to_floats(values: Sequence[Any]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


# --- correct the lengths of a field by the calibration of the site --------------------------------


LENGTHS = (
    *("l50_um", "l90_um", "l99_um"),
    *("l50_number_um", "l90_number_um", "l99_number_um", "maximum_um"),
)


@dataclass(frozen=True, slots=True)
class LengthCorrection:
    """A calibration as it is applied to a field.

    Args:
        version: Name of the calibration, which the field stores.
        ratio: Program over people; lengths are divided by it.
    """

    version: str
    ratio: float


def correct_lengths(field: NeedleField, correction: LengthCorrection | None) -> NeedleField:
    """Return a field with calibrated lengths; without a calibration or lengths as it is.

    The mean intercept stays: it is the independent evidence of the uncorrected length.
    """
    if correction is None or not field.is_measured:
        return field
    lengths = {
        name: round(um / correction.ratio, 2)
        for name in LENGTHS
        if (um := getattr(field, name)) is not None
    }
    histogram = field.histogram
    return replace(
        field,
        calibration=correction.version,
        longest=tuple(_correct_needle(needle, correction.ratio) for needle in field.longest),
        histogram=_correct_histogram(histogram, correction.ratio) if histogram else None,
        **lengths,
    )


def _correct_needle(needle: LongNeedle, ratio: float) -> LongNeedle:
    return replace(needle, length_um=round(needle.length_um / ratio, 2))


def _correct_histogram(histogram: NeedleHistogram, ratio: float) -> NeedleHistogram:
    """Return the same bins at corrected edges."""
    return replace(
        histogram,
        shortest_um=histogram.shortest_um / ratio,
        longest_um=histogram.longest_um / ratio,
    )


# --- compare the size number of a micrograph with its needle lengths ------------------------------
# The chart alludes to ISO 643, where a grain's diameter halves with every two numbers. So the L90
# that corresponds to a size number is that of size 8 times 2^((8 - number) / 2). The rule
# contradicts only gross disagreement.
# Source: ISO 643:2019, m = 8 · 2^G grains per mm²; the L90 of size 8 is measured on drawn
# micrographs, see tests/bench/notebook/needles.md.


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
