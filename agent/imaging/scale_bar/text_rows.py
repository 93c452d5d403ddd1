# ruff: noqa: PLR2004 - pixels, grey values and shares, measured on drawn labels
"""Detect rows of letters near the top or the bottom without OCR.

Graphics are saturated in one of the planes whatever their colour; this search costs a tenth of a
text detector.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from agent.imaging.scale_bar.planes import COLOUR_PLANE, find_parts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from agent.imaging.boxes import Box

    Plane = NDArray[Any]  # (h, w) grey

_INK = (215, 250)  # grey values of graphics in the plane where they are bright …
_COLOUR = (90,)  # … and in the plane of colours, which JPEG pales
_FULL_INK = (225,)  # between top and bottom, where few labels stand, only full ink is looked for
_RARE_INK = 0.02  # share of full pixels below which few of them are texture
_NEAR = (0.25, 0.7)  # shares of the height: most labels stand above the first or below the second
_ROOM = 0.05  # of the height by which the searched parts overlap
_FARTHEST_RARE = (0.12, 0.08)  # of height and width: farther in, rare ink is as seldom texture …
_FARTHEST_USUAL = (1.0, 0.3)  # … but usual ink is ever more often
_APART = 0.97  # of the rim of a row; rare ink in texture seldom has nothing like it so close
_MOST_INK = 0.2  # share of full pixels above which the steel itself is full
_MOST_LETTERS = 600
_TALLEST_PX = 80  # of a row
_FARTHEST = 1.6  # heights between two letters of a row
LOOKS = (
    "three letters or more",
    "share of letters at least half as tall as the row",
    "share of the rim that is 40 grey values darker than the letters",
    "distance from the top or the bottom, of the height",
    "share of such ink around, at most a tenth",
    "how unevenly letters stand on their line, in heights",
    "distance from the left or the right, of the width",
    "how far width over height is from that of a usual label",
)
CONSTANT = -2.10
WEIGHTS = np.array([1.61, 2.57, 0.63, -11.85, -27.64, -0.95, -7.58, -0.52])
"""Weight of each of `LOOKS`, fitted by `tests/bench/letter_weights.py`."""


@dataclass(frozen=True, slots=True, eq=False)
class TextRow:
    """A possible row of letters.

    Args:
        box: Its box, pixels.
        mask: (h, w) uint8, its ink inside the box.
        looks: Features in the order of `LOOKS`.
        belief: Probability in [0, 1] that it is text.
    """

    box: Box
    mask: Plane
    looks: tuple[float, ...]
    belief: float


def iter_letter_rows(planes: list[Plane]) -> Iterator[TextRow]:
    """Yield possible rows of letters: all near the top or the bottom, between them in full ink."""
    height = len(planes[0])
    above, below, room = (round(share * height) for share in (*_NEAR, _ROOM))
    for number, plane in enumerate(planes):
        for top, foot in ((below, height), (0, above), (above - room, below + room)):
            part = plane[top:foot]
            inks = _INK if 0 in (top, height - foot) else _FULL_INK
            for least in inks if number != COLOUR_PLANE else _COLOUR:
                mask = cv2.inRange(part, least, 255)
                share = cv2.countNonZero(mask) / mask.size
                if share < (_MOST_INK if inks is _INK else _RARE_INK):
                    for letters in _group_rows(find_parts(mask)):
                        extent = (top, height, share < _RARE_INK)
                        yield _build_row(letters, mask, part, share, extent)


def _group_rows(letters: NDArray[Any]) -> list[NDArray[Any]]:
    """Return possible letters grouped into rows, (n, 5) each: x, y, width, height, area."""
    w, h, area = letters[:, 2], letters[:, 3], letters[:, 4]
    usual = (h >= 4) & (h <= 70) & (w <= 2.2 * h + 4) & (area >= 6)
    filled = area >= np.where(w < 0.7 * h, 0.12, 0.2) * w * h
    letters = letters[usual & filled]
    if len(letters) > _MOST_LETTERS:
        return []
    rows: list[list[Any]] = []
    near: list[list[Any]] = []  # rows that a letter this far to the right may go on with
    for number, letter in enumerate(letters[np.argsort(letters[:, 0])].tolist()):
        x, y, w, h, _ = letter
        farthest = x - _FARTHEST * _TALLEST_PX  # of the right side of such a row
        if number % 16 == 0:
            near = [row for row in near if row[2] >= farthest]
        for row in near:
            _, top, right, foot, _ = row
            if top >= y + h or foot <= y or right < farthest:  # the most usual case first
                continue
            tall, shared = foot - top, min(foot, y + h) - max(top, y)
            follows = x - right <= _FARTHEST * max(tall, h)
            if follows and shared >= 0.5 * min(tall, h) and 0.4 * tall <= h <= 2.2 * tall:
                row[:4] = (min(row[0], x), min(top, y), max(right, x + w), max(foot, y + h))
                row[4].append(letter)
                break
        else:
            rows.append([x, y, x + w, y + h, [letter]])
            near.append(rows[-1])
    return [
        np.array(row[4])
        for row in rows
        if 7 <= row[3] - row[1] <= _TALLEST_PX
        and 2 <= len(row[4]) <= 30
        and 1.3 * (row[3] - row[1]) <= row[2] - row[0] <= 30 * (row[3] - row[1])
    ]


def _build_row(
    letters: NDArray[Any], mask: Plane, plane: Plane, share: float, extent: tuple[int, int, bool]
) -> TextRow:
    """Return the row with its probability of being text.

    Args:
        letters: (n, 5) x, y, width, height, area.
        mask: (h, w), ink.
        plane: (h, w), brightness.
        share: Share of ink in the searched part.
        extent: Top of the part and height of the image, pixels; whether such ink is rare.
    """
    x, y, w, h, _ = letters.T
    x0, y0, x1, y1 = int(x.min()), int(y.min()), int((x + w).max()), int((y + h).max())
    tall, (top, height, is_rare) = y1 - y0, extent
    ink = mask[y0:y1, x0:x1]
    rim = plane[[max(0, y0 - 2), min(len(plane) - 1, y1 + 1)], x0:x1]
    apart = float(np.mean(cv2.mean(plane[y0:y1, x0:x1], ink)[0] - rim.astype(np.int16) > 40))
    farthest = _FARTHEST_RARE if is_rare and apart >= _APART else _FARTHEST_USUAL
    looks = (
        float(len(letters) >= 3),
        float(np.mean(h >= 0.5 * tall)),
        apart,
        min(min(top + y0, height - top - y1) / height, farthest[0]),
        min(share, 0.1),
        min(float(np.std(y + h)) / tall, 0.3),
        min(min(x0, mask.shape[1] - x1) / mask.shape[1], farthest[1]),
        abs((x1 - x0) / tall - 3.2),
    )
    belief = 1 / (1 + np.exp(-(CONSTANT + float(WEIGHTS @ looks))))
    return TextRow((x0, top + y0, x1, top + y1), ink, looks, float(belief))
