"""What programs that burn scale bars into real texture share: colours, fonts, texture, JPEG."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import cv2
import numpy as np
from drawn.graphics import fonts
from numpy.random import Generator
from numpy.typing import NDArray

Mask = NDArray[np.float32]  # (h, w) coverage in [0, 1]
Colour = tuple[int, int, int]

NICE = (1, 2, 2.5, 3, 4, 5, 10, 15, 20, 25, 30, 40, 50, 75, 100, 150, 200, 250, 300, 400, 500)
UM_PER_PX = (0.002, 8.0)
UNLIKE = 60  # grey values in a channel by which ink differs from what lies below it …
MOST_ALIKE = 0.1  # … but for this share of the pixels below line and words
WHITE, BLACK, YELLOW = (255, 255, 255), (0, 0, 0), (255, 255, 0)


@cache
def list_fonts(names: tuple[str, ...], folder: Path) -> list[str]:
    """Return the paths of named fonts that exist in a folder or among the tests' own."""
    there = {path.name: str(path) for path in sorted(folder.rglob("*.[ot]t[bf]"))}
    there |= {Path(path).name: path for path in fonts()}
    paths = [there[name] for name in names if name in there]
    if not paths:
        raise SystemExit(f"{folder}: no font of this split; unpack Debian's fonts there.")
    return paths


def vary_texture(rng: Generator, texture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a texture turned, mirrored, cut and enlarged."""
    pixels = np.rot90(texture, int(rng.integers(4)))
    pixels = pixels[:, ::-1] if rng.random() < 0.5 else pixels
    height, width = pixels.shape[:2]
    share = rng.uniform(0.7, 1.0)
    tall, wide = int(height * share), int(width * share)
    y, x = int(rng.integers(height - tall + 1)), int(rng.integers(width - wide + 1))
    size = float(rng.uniform(800, 2000)) / max(wide, tall)
    cut = np.ascontiguousarray(pixels[y : y + tall, x : x + wide])
    return np.asarray(cv2.resize(cut, None, fx=size, fy=size, interpolation=cv2.INTER_CUBIC))


def blend(part: NDArray[np.float32], mask: Mask, colour: Colour) -> None:
    """Blend a colour into a part of a picture, in place."""
    part[:] = part + mask[:, :, None] * (np.array(colour, np.float32) - part)


def compress(rng: Generator, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return pixels as a JPEG file keeps them."""
    half, full = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
    options = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(72, 97))]
    options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, half if rng.random() < 0.6 else full]
    _, packed = cv2.imencode(".jpg", np.ascontiguousarray(pixels[:, :, ::-1]), options)
    return np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR)[:, :, ::-1])
