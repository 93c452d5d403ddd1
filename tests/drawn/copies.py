"""Cut two pictures out of one, the second changed as exports and tricks change a micrograph."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator

CHANGES = (
    "moved",
    "turned",
    "mirrored",
    "magnified 2x",
    "brighter or darker",
    "quantised",
    "jpeg 75",
    "blurred",
    "all together",
    "all together at 2x",
)
"""What has to be found; each copy shares 25 to 100 % of the smaller picture."""

EXTRA = ("corners filled", "stretched 5 %", "inverted", "text across")
"""What is better found."""

REACH = (
    "blurred 0.25 %",
    "blurred 0.5 %",
    "blurred 1 %",
    "blurred 2 %",
    "stretched 10 %",
    "stretched 20 %",
    "bent 3 %",
    "bent 6 %",
    "bent 12 %",
)
"""How far a place is known: blur and bending (barrel distortion) as shares of the width."""

_ROOM = 0.75  # of the source's side, the most that one picture may take
_ALL = ("all together", "all together at 2x")
_ANY_ANGLE = ("turned", *_ALL, "corners filled", "stretched 5 %", "text across")


@dataclass(frozen=True)
class Pair:
    """Two pictures of one place.

    Args:
        one, other: (h, w) uint8.
        share: Overlap as a share of the smaller.
        transform: (2, 3), from x and y in `one` to `other`; the first pixel's centre is at 0.5.
    """

    one: np.ndarray
    other: np.ndarray
    share: float
    transform: np.ndarray


def rgb(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[..., None], 3, axis=2)


def jpeg(grey: np.ndarray, quality: int) -> np.ndarray:
    _, encoded = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE)


def cut_pair(
    source: np.ndarray,
    change: str,
    rng: Generator,
    *,
    size: tuple[int, int],
    shares: tuple[float, float] = (0.25, 1.0),
) -> Pair | None:
    """Cut two pictures of one size out of a source; None if it has no room for them.

    Of two magnifications the higher one is the source's where there is room; in a small source it
    is interpolated.

    Args:
        source: (h, w) uint8.
        change: One of CHANGES or EXTRA.
        rng: Chooses the places and the amounts.
        size: Width and height of both.
        shares: Least and largest overlap.
    """
    angle = rng.uniform(0, 2 * np.pi) if change in _ANY_ANGLE else 0.0
    mirrored = change == "mirrored" or (change in _ALL and rng.random() < 0.5)
    steps = _choose_steps(change, rng)
    room = _ROOM * min(source.shape[1] / size[0], source.shape[0] / size[1])
    steps = tuple(step * min(1.0, room / max(steps)) for step in steps)
    places = _place(source, size, steps, angle, rng=rng, shares=shares)
    if places is None:
        return None
    first, second, share = places
    whole = np.array([[1.0, 0], [0, 1]])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    flip = np.diag([-1.0, 1.0]) if mirrored else whole
    one, to_source = _sample(source, first, steps[0] * whole, size)
    other, from_source = _sample(source, second, steps[1] * turn @ flip, size)
    back = np.linalg.inv(np.vstack([from_source, [0, 0, 1]]))
    transform = (back @ np.vstack([to_source, [0, 0, 1]]))[:2]
    other, motion = _change(other, change, rng)
    linear, offset = motion[:, :2], motion[:, 2]
    moved = np.column_stack([linear @ transform[:, :2], linear @ transform[:, 2] + offset])
    return Pair(one, other, share, moved)


def _choose_steps(change: str, rng: Generator) -> tuple[float, float]:
    """Choose pixels of the source for one of each picture; at most 2, the lower magnification."""
    factor = {"magnified 2x": 2.0, "all together at 2x": 2.0}.get(change, 1.0)
    if change == "all together":
        factor = 2 ** rng.uniform(0, 1)
    return (1.0, factor) if rng.random() < 0.5 else (factor, 1.0)


def _place(source, size, steps, angle, *, rng, shares):
    """Find two windows in a source with the overlap that is wanted."""
    limits = np.array(source.shape[::-1], float)
    extents = [np.array(size) * step for step in steps]
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) / 2
    smaller = min(float(np.prod(extent)) for extent in extents)
    for _ in range(4000):
        first = rng.uniform(extents[0] / 2, limits - extents[0] / 2)
        second = first + rng.normal(0, 0.45, 2) * np.max(extents, axis=0)
        outline = (corners * extents[1]) @ turn.T + second
        if (outline < 0).any() or (outline > limits).any():
            continue
        area, _ = cv2.intersectConvexConvex(
            (corners * extents[0] + first).astype(np.float32), outline.astype(np.float32)
        )
        if shares[0] <= area / smaller <= shares[1]:
            return first, second, min(1.0, area / smaller)
    return None


def _sample(source, centre, linear, size):
    """Sample a window; a coarser one is averaged, as a camera does."""
    offset = centre - linear @ (np.array(size) / 2)
    step = float(np.sqrt(abs(np.linalg.det(linear))))
    # Centres of pixels are at 0.5 here and at 0 in OpenCV.
    shifted = offset + linear @ [0.5, 0.5] - 0.5
    smooth = cv2.GaussianBlur(source, (0, 0), 0.4 * step) if step > 1 else source
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    picture = cv2.warpAffine(
        smooth, np.column_stack([linear, shifted]), size, flags=flags, borderMode=cv2.BORDER_REFLECT
    )
    return picture, np.column_stack([linear, offset])


def _change(picture, change, rng):
    """Change a picture; return it and how its points moved."""
    still = np.array([[1.0, 0, 0], [0, 1, 0]])
    if change == "corners filled":
        return _turn_with_corners(picture, rng)
    if change == "stretched 5 %":
        height, width = picture.shape
        wider = round(1.05 * width)
        return cv2.resize(picture, (wider, height)), still * [[wider / width], [1]]
    if change == "inverted":
        return 255 - picture, still
    if change == "text across":
        return _write_across(picture), still
    if change in REACH:
        return _strain(picture, change), still
    together = change in _ALL
    if change == "brighter or darker" or together:
        picture = np.clip(picture * rng.choice([0.9, 1.1]), 0, 255).astype(np.uint8)
    if change == "quantised" or (together and rng.random() < 0.5):
        picture = picture // 8 * 8 + 4
    if change == "blurred" or together:
        picture = cv2.GaussianBlur(picture, (0, 0), 0.7)
    if change == "jpeg 75" or together:
        picture = jpeg(picture, 75)
    return picture, still


def _strain(picture, change):
    """Change a picture as no similarity does; where its points went is not told."""
    what, amount, _ = change.split()
    height, width = picture.shape
    share = float(amount) / 100
    if what == "blurred":
        return cv2.GaussianBlur(picture, (0, 0), share * width)
    if what == "stretched":
        return cv2.resize(picture, (round((1 + share) * width), height))
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    x, y = columns - width / 2, rows - height / 2
    growth = 1 + share * (x**2 + y**2) / (width**2 / 4 + height**2 / 4)
    bent = (x * growth + width / 2, y * growth + height / 2)
    maps = (one.astype(np.float32) for one in bent)
    return cv2.remap(picture, *maps, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)


def _turn_with_corners(picture, rng):
    height, width = picture.shape
    fill = int(rng.integers(3))
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), rng.uniform(0, 360), 1)
    turned = cv2.warpAffine(
        picture,
        turn,
        (width, height),
        flags=cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REFLECT if fill == 2 else cv2.BORDER_CONSTANT,
        borderValue=255 * fill,
    )
    half = turn[:, :2] @ [0.5, 0.5] - 0.5
    return turned, np.column_stack([turn[:, :2], turn[:, 2] - half])


def _write_across(picture):
    picture = picture.copy()
    width = picture.shape[1]
    for at, (text, tone) in enumerate((("Sample 4711", 255), ("field 3 x500", 0))):
        place = (width // 20, int((0.5 + 0.35 * at) * picture.shape[0]))
        cv2.putText(picture, text, place, 0, width / 220, tone, max(2, width // 90))
    return picture
