"""Content of the page of measured needles: program against people, and the calibrations."""

from __future__ import annotations

from dataclasses import dataclass


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
