"""What a result row keeps as JSON of a crop, its strangeness and a scale given by a reviewer.

The row of a micrograph is evidence and keeps what its file said. A result that was judged at
another scale names that scale among its thresholds, with the record that proves who gave it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import pydantic

from reports import Message, read_message

Box = tuple[int, int, int, int]
NOT_FROZEN = pydantic.Field(exclude=True)
"""Of a value that the frozen facts of a night leave out."""


@dataclass(frozen=True, slots=True)
class MicrographFacts:
    """What is known of every micrograph, whatever else is read of it.

    Args:
        id: Public id.
        sha256: Hash of the file.
        page: Page of the file.
        um_per_px: Scale in µm per pixel, or None.
        recipe: Recipe of the crop.
    """

    id: str
    sha256: str
    page: int
    um_per_px: float | None
    recipe: str


@dataclass(frozen=True, slots=True)
class StoredScaleBar:
    """A scale bar as it was read.

    Args:
        box: (x0, y0, x1, y1) in pixels of the file.
        line_px: Length of its line in pixels.
        label: Its label as read.
        um: The length that the label names, in µm; None where it could not be read.
    """

    box: Box
    line_px: float
    label: str
    um: float | None


@dataclass(frozen=True, slots=True)
class StoredCrop:
    """A crop as it was stored.

    Args:
        document: As `agent look --json` prints it.
        box: (x0, y0, x1, y1) in pixels of the file, or None.
        pages: Number of pages of the file.
        polygon: Outline of the specimen, (x, y) in pixels of the file; () for the whole frame.
        scales: Source of a scale and the scale in µm per pixel, each that was found.
        micron_bar: The scale bar, or None.
    """

    document: Annotated[Mapping[str, Any], NOT_FROZEN] = field(default_factory=dict)
    box: Box | None = None
    pages: int = 1
    polygon: tuple[tuple[int, int], ...] = ()
    scales: tuple[tuple[str, float], ...] = ()
    micron_bar: StoredScaleBar | None = None

    @property
    def marks(self) -> tuple[Box, ...]:
        """Boxes of what was burned in."""
        return (self.micron_bar.box,) if self.micron_bar else ()

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> StoredCrop:
        """Build it from what `agent.imaging.crop.crop_to_json` returned; {} is allowed."""
        area: Mapping[str, Any] = document.get("specimen_area") or {}
        bar, box = document.get("micron_bar"), document.get("crop")
        return cls(
            document=document,
            box=_read_box(box) if box else None,
            pages=int(document.get("pages") or 1),
            polygon=()
            if area.get("whole_frame", True)
            else tuple((int(x), int(y)) for x, y in area.get("polygon") or ()),
            scales=tuple(
                (scale["source"], float(scale["um_per_px"]))
                for scale in document.get("scales") or ()
            ),
            micron_bar=StoredScaleBar(
                _read_box(bar["bbox"]),
                float(bar["line_px"]),
                str(bar["label"]),
                None if bar["um"] is None else float(bar["um"]),
            )
            if bar
            else None,
        )


@dataclass(frozen=True, slots=True)
class StoredStrangeness:
    """An out-of-distribution result as it was stored; all None, false or empty without a bundle.

    Args:
        p_value: Share of the reference images that score at least as high, or None.
        is_flagged: The p-value is at most the lab's alarm rate.
        whole: z-score of the whole field, or None.
        local: Largest value of the heat map, 1 = alarm level, or None.
        where: Box of the most unusual place in pixels of the crop, or None.
        sentence: The reason in English, as programs read it.
        message: The reason as it is shown.
        nearest: Structure code → keys of the nearest reference images.
        defects: Defects of image and preparation, each "finding: remedy".
        companions: Scores of other methods by name; they decide nothing.
    """

    p_value: float | None = None
    is_flagged: bool = False
    whole: float | None = None
    local: float | None = None
    where: Box | None = None
    sentence: str = ""
    message: Message = field(default_factory=lambda: Message(""))
    nearest: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    defects: tuple[str, ...] = ()
    companions: Mapping[str, float] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Return whether there is one."""
        return self.p_value is not None

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> StoredStrangeness:
        """Build it from a result row's column; {} is allowed."""
        if not document:
            return NO_STRANGENESS
        where, sentence = document.get("where"), str(document.get("sentence", ""))
        return cls(
            p_value=document.get("p_value"),
            is_flagged=bool(document.get("flagged")),
            whole=document.get("whole"),
            local=document.get("local"),
            where=_read_box(where) if where else None,
            sentence=sentence,
            message=read_message(document.get("message"), sentence),
            nearest={code: tuple(keys) for code, keys in (document.get("nearest") or {}).items()},
            defects=tuple(document.get("defects") or ()),
            companions=document.get("companions") or {},
        )


NO_STRANGENESS = StoredStrangeness()
"""Of a micrograph that no bundle has judged."""


def _read_box(edges: Iterable[int]) -> Box:
    x0, y0, x1, y1 = (int(edge) for edge in edges)
    return x0, y0, x1, y1


GIVEN = "scale_given"
"""Kind of the records in which a reviewer gives a scale, and key among a result's thresholds."""
BY_REVIEWER = "reviewer"
"""Source of such a scale."""
DOUBTS = frozenset({"scale_conflict", "scale_out_of_range", "scale_unclear"})
"""Warnings about a scale that do not concern one that reviewers gave."""


def find_given(thresholds: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a result says of a given scale: um_per_px, by, record; {} where it has none."""
    given = thresholds.get(GIVEN)
    return given if isinstance(given, dict) else {}


def resolve_scale(thresholds: Mapping[str, Any], um_per_px: float | None) -> float | None:
    """Return the scale of a result, µm per pixel: the given one, else that of the file."""
    given = find_given(thresholds)
    return float(given["um_per_px"]) if given else um_per_px


def resolve_recipe(thresholds: Mapping[str, Any], recipe: str) -> str:
    """Return the recipe of a result: with another scale the same crop is another input."""
    given = find_given(thresholds)
    return f"{recipe}+scale-{given['record']}" if given else recipe


def keep_warnings(thresholds: Mapping[str, Any], warnings: Sequence[str]) -> tuple[str, ...]:
    """Return the warnings of a result, without doubts about a scale that was replaced."""
    if not find_given(thresholds):
        return tuple(warnings)
    return tuple(warning for warning in warnings if warning not in DOUBTS)
