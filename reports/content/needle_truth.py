"""Content of the page of measured needles: program against people, and the calibrations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markupsafe import Markup

    from reports.content.components import Fact, Tone


@dataclass(frozen=True, slots=True)
class NeedlePlot:
    """The points and lines of one Bland-Altman plot.

    Args:
        name: Unique on the page, for the ids inside the drawing.
        points: Geometric mean of both lengths in µm, program over people, and whether both tips are
            at the same places.
        bias: Mean ratio and its interval.
        lower: Lower limit of agreement and its interval.
        upper: Upper limit of agreement and its interval.
    """

    name: str
    points: tuple[tuple[float, float, bool], ...]
    bias: tuple[float, float, float]
    lower: tuple[float, float, float]
    upper: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class NeedleGroup:
    """The measured needles of one subtype on one microscope.

    Args:
        title: Such as "G on LOM-07".
        state: Such as "not calibrated here"; a tag.
        tone: Of the state.
        progress: How many fields and needles there are, and how many are missing, in a sentence.
        facts: Bias, limits, what was found.
        plot: Drawn; empty where there are too few.
        note: Why there is no plot or no calibration, "" for nothing.
    """

    title: str
    state: str
    tone: Tone
    progress: str
    facts: tuple[Fact, ...]
    plot: Markup
    note: str


@dataclass(frozen=True, slots=True)
class CalibrationLine:
    """One recorded calibration as a row: all cells as they are read."""

    version: str
    ratio: str
    source: str
    by: str
    state: str


@dataclass(frozen=True, slots=True)
class NeedleTruthPage:
    """Measured needles against the program's.

    Args:
        site: The lab's name.
        reviewer: Who reads the page, "" where unknown.
        groups: Per subtype and microscope.
        calibrations: Recorded ones, the newest first.
        compared: When the newest comparison was made, "" for never.
    """

    site: str
    reviewer: str
    groups: tuple[NeedleGroup, ...]
    calibrations: tuple[CalibrationLine, ...]
    compared: str
