"""Content of the page on which a reviewer gives the scale of a micrograph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reports.content.components import Picture


@dataclass(frozen=True, slots=True)
class ScalePage:
    """A micrograph whose scale is unknown, and the ways of entering it.

    Args:
        site: The lab's name.
        reviewer: Who reads the page, "" before a name was entered.
        may_decide: Whether the reader may also give a scale.
        id: Public id.
        name: The file's name.
        picture: The whole field; its size is that of the file, in pixels.
        objectives: Of the source's table: name, and µm per pixel in words.
        line: Over the scale bar to begin with: x0, y0, x1, y1 in pixels of the file.
        length: What was typed as its length.
        state: What is recorded already, in a sentence; "" for nothing.
        known: µm per pixel in words where the file says it, "" where it does not.
        two: That a second reviewer has to give the scale too, "" where one is enough.
        wrong: Why nothing was recorded, "" where nothing is wrong.
        um_per_px: What was typed as the µm of a pixel.
        source: Whose waiting micrographs the reader may give the scale at once, "" for none.
    """

    site: str
    reviewer: str
    may_decide: bool
    id: str
    name: str
    picture: Picture
    objectives: tuple[tuple[str, str], ...]
    line: tuple[float, float, float, float]
    length: str
    state: str
    known: str
    two: str
    wrong: str
    um_per_px: str = ""
    source: str = ""
