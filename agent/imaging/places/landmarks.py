"""Extract the landmarks of a micrograph: small patches that are found again in another picture.

Neither scale nor light of the micrograph is used: both may be wrong, missing or changed on
purpose.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.imaging.places.descriptors import COORDINATES, LEVELS, Codes, compress

# --- detect corners, such as junctions of grains or lamellae, where a micrograph has few blobs ----


_SIGMAS = (1.2, 1.7, 2.4, 3.4, 4.8)
"""Blurs in pixels, half an octave apart: a copy of other magnification is at most a fifth off."""

_MOST = 60  # corners at each blur
_QUALITY = 0.02  # of the strongest corner
_DIAMETER = 4.0  # of a corner, in blurs: about what SIFT gives a blob of that size
_BROADER = 1.5  # the blur in which the orientation is measured


def detect_corners(grey: NDArray[np.uint8]) -> list[cv2.KeyPoint]:
    """Return corners of several sizes, oriented along the gradient of the blurred picture.

    Args:
        grey: (h, w) uint8.

    Returns:
        Keypoints in pixels, with the octave and layer in which SIFT describes them.
    """
    exact = grey.astype(np.float32)
    return [corner for sigma in _SIGMAS for corner in _detect_at(exact, sigma)]


def _detect_at(exact: NDArray[np.float32], sigma: float) -> list[cv2.KeyPoint]:
    smooth = cv2.GaussianBlur(exact, (0, 0), sigma)
    block = max(3, int(2 * sigma) | 1)
    corners = cv2.goodFeaturesToTrack(smooth, _MOST, _QUALITY, 3 * sigma, blockSize=block)
    if corners is None:
        return []
    strength = cv2.cornerMinEigenVal(smooth, block)
    broad = cv2.GaussianBlur(exact, (0, 0), _BROADER * sigma)
    across, down = (cv2.Sobel(broad, cv2.CV_32F, *order) for order in ((1, 0), (0, 1)))
    size, octave = _DIAMETER * sigma, _pack_octave(_DIAMETER * sigma)
    keypoints = []
    for x, y in corners.reshape(-1, 2).tolist():
        at = (int(y), int(x))
        angle = math.degrees(math.atan2(down[at], across[at])) % 360
        keypoints.append(cv2.KeyPoint(x, y, size, angle, float(strength[at]), octave))
    return keypoints


def _pack_octave(size: float) -> int:
    """Return the octave and layer of a keypoint of that diameter, as OpenCV's SIFT packs them."""
    octaves = math.log2(size / 2 / 1.6)  # 1.6: blur of SIFT's first layer
    octave = min(5, max(0, round(octaves - 0.5)))
    layer = min(3, max(1, round(3 * (octaves - octave))))
    return octave | layer << 8


# --- extract the landmarks of a micrograph: small patches that are found again in another picture


MOST = 400
"""Landmarks of a micrograph; with more, a place is found more surely and costs more to keep."""

WORKING_AREA = 400 * 300
"""Pixels of the picture in which landmarks are detected. Larger ones are reduced."""

LEAST = 12
"""A micrograph with fewer landmarks is not distinct."""

_FLAT = 1.5  # grey levels, standard deviation of the working picture: camera noise
_SPREAD = 45.0  # grey levels, to which the standard deviation is brought
_LEAST_SIDE = 32  # of the working picture; OpenCV cannot halve a smaller one often enough
_CONTRAST = 0.015  # SIFT's contrast threshold, of the picture brought to that spread
_EDGE = 12.0  # SIFT's edge threshold
_SPARSE = 800  # with fewer blobs, corners are landmarks as well
_CORNERS_FOR_A_BLOB = 0.7
_BANDS = 4  # octaves of size among which landmarks are shared out
_CELLS = 4  # rows and columns of the grid over which landmarks are shared out

_VERSION = b"PL1"
_HEAD = struct.Struct("<3sHIId")  # version, landmarks, height, width, µm per pixel or NaN
_FINEST = 65535  # steps of a position in the longer side
_SIZE_STEPS = 20.0  # for a doubling
_TURN_STEPS = 256
_RECORD = 2 * 2 + 1 + 1 + COORDINATES // 2  # bytes of a landmark
_LARGEST_SIDE = 1_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Landmarks:
    """Landmarks of a micrograph, stored to recognise its place.

    Args:
        positions: (n, 2) float32, x and y in pixels of the crop, 0 to its size.
        sizes: (n,) float32, diameter in pixels of the crop.
        orientations: (n,) float32, radians in [0, 2 pi).
        codes: (n, d) int8, compressed descriptors.
        height: Of the crop, in pixels.
        width: Of the crop, in pixels.
        um_per_px: Size of a pixel in µm, or None; kept for the caller, not used here.
    """

    positions: NDArray[np.float32]
    sizes: NDArray[np.float32]
    orientations: NDArray[np.float32]
    codes: Codes
    height: int
    width: int
    um_per_px: float | None

    def __len__(self) -> int:
        """Return the number of landmarks."""
        return len(self.positions)

    @property
    def is_distinct(self) -> bool:
        """Whether there is enough structure to recognise the place."""
        return len(self) >= LEAST

    @property
    def working_factor(self) -> float:
        """Pixels of the working picture for one pixel of the crop, at most 1."""
        return _compute_working_factor(self.height, self.width)

    def to_bytes(self) -> bytes:
        """Return the landmarks as 21 bytes and 26 more for each, at most 10 421."""
        longer = max(self.height, self.width)
        places = np.clip(np.rint(self.positions * (_FINEST / longer)), 0, _FINEST)
        sizes = np.clip(np.rint(np.log2(np.maximum(self.sizes, 1)) * _SIZE_STEPS), 0, 255)
        turns = np.rint(self.orientations * (_TURN_STEPS / (2 * np.pi))) % _TURN_STEPS
        levels = (self.codes + LEVELS).astype(np.uint8)
        scale = math.nan if self.um_per_px is None else self.um_per_px
        head = _HEAD.pack(_VERSION, len(self), self.height, self.width, scale)
        packed = levels[:, 0::2] | levels[:, 1::2] << 4
        parts = (places.astype("<u2"), sizes.astype("u1"), turns.astype("u1"), packed)
        return head + b"".join(part.tobytes() for part in parts)

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Return the landmarks that `to_bytes` wrote.

        Raises:
            ValueError: The bytes are not landmarks of this version, are cut, or contradict
                themselves.
        """
        if len(content) < _HEAD.size or content[:3] != _VERSION:
            raise ValueError(
                f"These {len(content)} bytes are not landmarks of version {_VERSION.decode()}. "
                "Extract them again from the micrograph."
            )
        _, count, height, width, scale = _HEAD.unpack_from(content)
        expected = _HEAD.size + count * _RECORD
        if len(content) != expected:
            raise ValueError(
                f"{count} landmarks take {expected} bytes, got {len(content)}. "
                "Extract them again from the micrograph."
            )
        if not (0 < height <= _LARGEST_SIDE and 0 < width <= _LARGEST_SIDE):
            raise ValueError(f"Landmarks of a crop of {width} x {height} px cannot be.")
        if not (math.isnan(scale) or 0 < scale < math.inf):
            raise ValueError(f"Landmarks at {scale} µm per pixel cannot be.")
        at = np.cumsum([_HEAD.size, 4 * count, count, count])
        steps = np.frombuffer(content, "<u2", 2 * count, at[0]).reshape(count, 2)
        sizes = np.frombuffer(content, "u1", count, at[1])
        turns = np.frombuffer(content, "u1", count, at[2])
        packed = np.frombuffer(content, "u1", count * COORDINATES // 2, at[3])
        levels = np.stack([packed & 15, packed >> 4], axis=1).reshape(count, COORDINATES)
        positions = (steps * (max(height, width) / _FINEST)).astype(np.float32)
        if (positions > (width + 1, height + 1)).any():
            raise ValueError(f"Landmarks outside of their crop of {width} x {height} px.")
        return cls(
            positions=positions,
            sizes=np.exp2(sizes / _SIZE_STEPS).astype(np.float32),
            orientations=(turns * (2 * np.pi / _TURN_STEPS)).astype(np.float32),
            codes=levels.astype(np.int8) - np.int8(LEVELS),
            height=height,
            width=width,
            um_per_px=None if math.isnan(scale) else scale,
        )


def extract_landmarks(
    pixels: NDArray[np.uint8], valid: NDArray[np.bool_], um_per_px: float | None
) -> Landmarks:
    """Return the landmarks of a crop, the same ones for the same pixels.

    Args:
        pixels: (h, w, 3) uint8, RGB.
        valid: (h, w) bool; no landmark touches a pixel that is not valid.
        um_per_px: Size of a pixel in µm, or None.

    Returns:
        Rounded as `Landmarks.to_bytes` keeps them. Few or none where there is no structure.
    """
    height, width = valid.shape
    factor = _compute_working_factor(height, width)
    grey, usable = _reduce(pixels, valid, factor)
    keypoints, codes = _detect(grey, usable)
    positions = np.array([keypoint.pt for keypoint in keypoints], np.float32).reshape(-1, 2)
    turns = np.array([keypoint.angle for keypoint in keypoints], np.float32)
    exact = Landmarks(
        positions=((positions + 0.5) / factor).astype(np.float32),
        sizes=(np.array([point.size for point in keypoints], np.float32) / factor).astype(
            np.float32
        ),
        orientations=np.deg2rad(turns),
        codes=codes,
        height=height,
        width=width,
        um_per_px=um_per_px,
    )
    return Landmarks.from_bytes(exact.to_bytes())


def _compute_working_factor(height: int, width: int) -> float:
    return min(1.0, math.sqrt(WORKING_AREA / (height * width)))


def _reduce(
    pixels: NDArray[np.uint8], valid: NDArray[np.bool_], factor: float
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return the grey working picture and which of its pixels are valid."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)
    if not valid.any():
        return grey[:1, :1], np.zeros((1, 1), bool)
    if not valid.all():
        grey[~valid] = round(float(grey[valid].mean()))
    if factor == 1:
        return grey, valid
    height, width = valid.shape
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    usable = cv2.resize(valid.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    return small.astype(np.uint8, copy=False), usable


def _detect(
    grey: NDArray[np.uint8], usable: NDArray[np.bool_]
) -> tuple[Sequence[cv2.KeyPoint], Codes]:
    """Return keypoints in pixels of the working picture, and their codes."""
    none = np.zeros((0, COORDINATES), np.int8)
    spread = float(grey[usable].std()) if usable.any() else 0.0
    if spread < _FLAT or min(grey.shape) < _LEAST_SIDE:
        return (), none
    mean = float(grey[usable].mean())
    brought = (grey.astype(np.float32) - np.float32(mean)) * np.float32(_SPREAD / spread) + 128
    brought[~usable] = 128
    even = np.clip(brought, 0, 255).astype(np.uint8)
    sift = cv2.SIFT.create(contrastThreshold=_CONTRAST, edgeThreshold=_EDGE)
    blobs = list(sift.detect(even, None))
    corners = detect_corners(even) if len(blobs) < _SPARSE else []
    keypoints = _choose(blobs + corners, len(blobs), usable)
    if not keypoints:
        return (), none
    keypoints, descriptors = sift.compute(even, keypoints)
    return keypoints, compress(descriptors)


def _choose(
    keypoints: list[cv2.KeyPoint], blobs: int, usable: NDArray[np.bool_]
) -> list[cv2.KeyPoint]:
    """Return the strongest keypoints of every place and size.

    Without sharing out, the finest and those of the part with most contrast would be all: then a
    picture at twice the magnification has few in common.

    Args:
        keypoints: Blobs, then corners.
        blobs: How many of them are blobs.
        usable: (h, w) bool, of the working picture.
    """
    if not keypoints:
        return []
    height, width = usable.shape
    position = np.array([keypoint.pt for keypoint in keypoints], np.float32)
    size = np.array([keypoint.size for keypoint in keypoints], np.float32)
    response = np.array([keypoint.response for keypoint in keypoints], np.float32)
    kept = np.arange(len(keypoints))
    if not usable.all():
        room = cv2.distanceTransform(usable.astype(np.uint8), cv2.DIST_L2, 3)
        at = np.minimum(position.astype(int), (width - 1, height - 1))
        kept = kept[room[at[:, 1], at[:, 0]] >= size + 1]  # its radius twice, and rounding
    band = np.clip(np.log2(size[kept] / 2), 0, _BANDS - 1).astype(int)
    cell = np.minimum((position[kept] * _CELLS / (width, height)).astype(int), _CELLS - 1)
    corner = kept >= blobs
    group = ((corner * _BANDS + band) * _CELLS + cell[:, 0]) * _CELLS + cell[:, 1]
    order = np.lexsort((-response[kept], group))
    rank = np.empty(len(kept))
    rank[order] = np.arange(len(kept)) - np.searchsorted(group[order], group[order])
    rank[corner] = (rank[corner] + 0.5) / _CORNERS_FOR_A_BLOB
    chosen = kept[np.lexsort((-response[kept], rank))[:MOST]]
    return [keypoints[at] for at in chosen]
