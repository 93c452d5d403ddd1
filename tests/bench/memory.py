"""Measure what a worker needs for a 100-megapixel TIFF, reading alone and with the crop.

    python tests/bench/memory.py [--megapixels 100]

Promise: at most 6 bytes per pixel above the decoded array (height × width × 3 bytes); each form
is measured in a process of its own, its peak against what that process needed before.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import tifffile

from agent.imaging.crop import crop
from agent.imaging.readers.read import read

FORMS = {
    "grey 8": ("grey", {}),
    "grey 8 LZW": ("grey", {"compression": "lzw", "rowsperstrip": 64}),
    "grey 16": ("deep", {}),
    "grey 16 zlib tiled": ("deep", {"compression": "zlib", "tile": (256, 256)}),
    "RGB 8": ("rgb", {"photometric": "rgb"}),
}


def steel(side: int) -> np.ndarray:
    """Draw a texture of `side` × `side` px; one tile repeated, since only its size counts."""
    noise = np.random.default_rng(0).normal(0, 40, (1000, 1000))
    tile = np.clip(cv2.GaussianBlur(noise, (0, 0), 1.5) * 3 + 128, 0, 255).astype(np.uint8)
    return np.tile(tile, (-(-side // 1000),) * 2)[:side, :side]


def write(file: Path, side: int, kind: str, how: dict[str, object]) -> None:
    """Write one form of the texture."""
    grey = steel(side)
    pixels = {"grey": lambda: grey, "deep": lambda: grey.astype(np.uint16) * 257}
    rgb = {"rgb": lambda: np.repeat(grey[..., None], 3, axis=-1)}
    tifffile.imwrite(file, (pixels | rgb)[kind](), **how)


def measure(file: Path, *, with_crop: bool) -> None:
    """Print this process's growth for one file."""
    small = file.with_suffix(".small.tif")
    tifffile.imwrite(small, steel(600))
    crop(read(small)[0], um_per_px_range=(0.01, 5))  # libraries are loaded before counting
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    [micrograph] = read(file)
    if with_crop:
        crop(micrograph, um_per_px_range=(0.01, 5))
    took_s = time.perf_counter() - began
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    per_px = grown / (micrograph.pixels.shape[0] * micrograph.pixels.shape[1])
    print(f"{per_px:8.2f} {per_px - 3:20.2f} {took_s:8.1f}")


def main() -> None:
    """Write every form, and measure each in a fresh process."""
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--megapixels", type=float, default=100)
    ask.add_argument("--file", type=Path)
    ask.add_argument("--write", choices=FORMS)
    ask.add_argument("--crop", action="store_true")
    asked = ask.parse_args()
    side = round((asked.megapixels * 1e6) ** 0.5)
    if asked.write:
        write(asked.file, side, *FORMS[asked.write])
        return
    if asked.file:
        measure(asked.file, with_crop=asked.crop)
        return
    print(f"{'':28}{'B per px':>8} {'above the decoded':>20} {'s':>8}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "large.tif"
        for name in FORMS:
            # In a process of its own: a child's peak begins at what its parent held.
            size = ("--megapixels", str(asked.megapixels))
            itself = [sys.executable, __file__, "--file", str(file)]
            subprocess.run([*itself, "--write", name, *size], check=True)
            for extra in ([], ["--crop"]):
                print(f"{name:20}{'crop' if extra else 'read':8}", end="", flush=True)
                subprocess.run([*itself, *extra], check=True)


if __name__ == "__main__":
    main()
