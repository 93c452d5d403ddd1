"""The needles of one micrograph as they are stored with its result.

Lengths are absent wherever the field was not measured: a number that must not be used is not
stored.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self

from reports import Message, marked

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from model.class_names import Wording

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
    """The needles of one field; the names are those of the table's columns.

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
        columns = self.to_columns() | {"trial": True, "calibrated": self.calibration is not None}
        left_out = DETAILS if is_brief else ()
        return {name: value for name, value in columns.items() if name not in left_out}

    def to_columns(self) -> dict[str, Any]:
        """Return column → value of its row."""
        columns = {each.name: getattr(self, each.name) for each in fields(self)}
        return columns | {
            "status": self.status.value,
            "longest": [needle.to_json() for needle in self.longest],
            "orientation": list(self.orientation),
            "histogram": self.histogram.to_json() if self.histogram else {},
        }

    @classmethod
    def from_columns(cls, columns: Mapping[str, Any]) -> Self:
        """Build it from the columns of its row."""
        own = {each.name: columns[each.name] for each in fields(cls)}
        return cls(
            **own
            | {
                "status": NeedleStatus(own["status"]),
                "longest": tuple(LongNeedle.from_json(entry) for entry in own["longest"]),
                "orientation": _to_floats(own["orientation"]),
                "histogram": NeedleHistogram.from_json(own["histogram"]),
            }
        )


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
