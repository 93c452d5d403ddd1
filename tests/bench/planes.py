"""How surely planes of one file that show different places are told from planes out of focus.

    python tests/bench/planes.py [--folder ../shared/data/uhcs] [--first SEED] [--timing]

Different: micrographs of one heat treatment (real; pairs that do overlap, by `uhcs_overlaps.csv`,
are left out), and fields of one code (drawn), all of one size. One place: the field again, blurred
by 1 to 24 px of 645, moved by up to 10 px, brighter or darker by 20 %, with noise of 3 grey levels;
as a channel: inverted, gamma 2, as dark field (outlines) and as interference contrast.
A plane at or above `LEAST_LIKE` is one place. --timing: processor time of a stack of nine planes of
2000 x 1500 px, with and without the comparison. Drawn micrographs are not steel.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from agent.demo.micrograph import draw_micrograph
from agent.imaging.readers.z_stack import (
    LEAST_LIKE,
    ReducedPlane,
    compute_sharpness,
    find_other_places,
    iter_likeness,
)
from model import upper_bound

HERE = Path(__file__).parent
BLURS = (1, 2, 4, 8, 12, 16, 24)
ROWS = 484  # of a micrograph of UHCS above its info band


def measure_likeness(sharp: ReducedPlane, plane: ReducedPlane) -> float:
    """Return the largest correlation of two planes; 1 for identical planes."""
    return max(iter_likeness(sharp, plane))


def real(folder: Path) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yield heat treatment, name and pixels of every real micrograph."""
    with (folder / "MANIFEST.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            path = folder / row["file"]
            path = path if path.is_file() else folder / "micrographs" / row["file"]
            pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_GRAYSCALE)
            yield f"{row['specimen']} {row['magnification']}", path.name, pixels[:ROWS]


def drawn(first: int) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yield code, name and pixels of drawn fields."""
    for code in ("G7", "G8", "B8", "M8"):
        for n in range(30):
            field = draw_micrograph(
                code, seed=first + n, um_per_px=0.2, size=(800, 600), bar=None, border=False
            )
            yield code, f"{code}-{n}", field.pixels[..., 0]


def overlapping() -> set[frozenset[str]]:
    """Return the pairs of real micrographs that do overlap."""
    with (HERE / "uhcs_overlaps.csv").open(newline="", encoding="utf-8") as file:
        return {frozenset(row[:2]) for row in csv.reader(file)}


def defocus(rng: np.random.Generator, pixels: np.ndarray, blur: float) -> np.ndarray:
    """Return a plane of the same place out of focus."""
    plane = cv2.GaussianBlur(pixels, (0, 0), blur * pixels.shape[1] / 645).astype(np.float32)
    plane = plane * rng.uniform(0.8, 1.2) + rng.normal(0, 3, plane.shape)
    moved = np.roll(plane, rng.integers(-10, 11, 2), (0, 1))
    return np.clip(moved, 0, 255).astype(np.uint8)


def measure(name: str, pictures: list[tuple[str, str, np.ndarray]]) -> None:
    """Print both tables of one kind of pictures."""
    rng, apart = np.random.default_rng(0), overlapping()
    by_group = defaultdict(list)
    for group, called, pixels in pictures:
        by_group[group, pixels.shape].append((called, ReducedPlane.of(pixels)))
    different = [
        (measure_likeness(one, other), f"{a}, {b}")
        for group in by_group.values()
        for (a, one), (b, other) in itertools.combinations(group[:12], 2)
        if frozenset((a, b)) not in apart
    ]
    called_one = sorted((like, pair) for like, pair in different if like >= LEAST_LIKE)
    bound = 100 * (upper_bound(len(called_one), len(different)) or 1.0)
    print(f"{name}: {len(called_one)} of {len(different)} different pairs called one place "
          f"(at most {bound:.2f} %); highest {max(different)}", flush=True)  # fmt: skip
    for pair in called_one:
        print("   ", pair)
    for blur in BLURS:
        likes = [
            measure_likeness(ReducedPlane.of(pixels), ReducedPlane.of(defocus(rng, pixels, blur)))
            for _, _, pixels in pictures[:: max(1, len(pictures) // 80)]
        ]
        found = sum(like >= LEAST_LIKE for like in likes)
        print(f"{name}: out of focus by {blur:>2} px: {found} of {len(likes)} one place, least "
              f"{min(likes):.2f}", flush=True)  # fmt: skip


def outline(pixels: np.ndarray) -> np.ndarray:
    """Return what dark field shows: edges are bright."""
    smooth = cv2.GaussianBlur(pixels.astype(np.float32), (0, 0), 1)
    across, down = (cv2.Sobel(smooth, cv2.CV_32F, *order) for order in ((1, 0), (0, 1)))
    edges = cv2.magnitude(across, down)
    return (255 * (edges / edges.max()) ** 0.6).astype(np.uint8)


def relief(pixels: np.ndarray) -> np.ndarray:
    """Return what interference contrast shows: slopes to one side are bright."""
    smooth = cv2.GaussianBlur(pixels.astype(np.float32), (0, 0), 1)
    return np.clip(128 + cv2.Sobel(smooth, cv2.CV_32F, 1, 1), 0, 255).astype(np.uint8)


CHANNELS = {
    "inverted": lambda pixels: 255 - pixels,
    "gamma 2": lambda pixels: (255 * (pixels / 255.0) ** 2).astype(np.uint8),
    "dark field": outline,
    "interference contrast": relief,
}


def measure_channels(name: str, pictures: list[tuple[str, str, np.ndarray]]) -> None:
    """Print how alike channels are, of one place and of different ones."""
    reduced = [ReducedPlane.of(pixels, outlines=True) for _, _, pixels in pictures]
    pairs = [
        (measure_likeness(one, other), f"{a[1]}, {b[1]}")
        for (a, one), (b, other) in itertools.pairwise(zip(pictures, reduced, strict=True))
        if one.grey.shape == other.grey.shape and frozenset((a[1], b[1])) not in overlapping()
    ]
    wrong = sum(like >= LEAST_LIKE for like, _ in pairs)
    print(f"{name}, channels: {wrong} of {len(pairs)} different pairs called one place; highest "
          f"{max(pairs)}")  # fmt: skip
    for change, make in CHANNELS.items():
        likes = [
            measure_likeness(one, ReducedPlane.of(make(pixels), outlines=True))
            for one, (_, _, pixels) in list(zip(reduced, pictures, strict=True))[::4]
        ]
        found = sum(like >= LEAST_LIKE for like in likes)
        print(f"{name}, {change}: {found} of {len(likes)} one place, least {min(likes):.2f}")


def timing() -> None:
    """Print the processor time of a stack of nine planes."""
    rng = np.random.default_rng(0)
    pixels = draw_micrograph(
        "G8", seed=1, um_per_px=0.2, size=(2000, 1500), bar=None, border=False
    ).pixels
    planes = [defocus(rng, pixels[..., 0], 0.1 + abs(z - 4)) for z in range(9)]
    began = time.process_time()
    for plane in planes:
        compute_sharpness(plane)
    middle = time.process_time()
    reduced = [ReducedPlane.of(plane) for plane in planes]
    others = find_other_places(reduced, 4)
    end = time.process_time()
    print(f"nine planes of 2000 x 1500 px: sharpness {1000 * (middle - began):.0f} ms, comparison "
          f"{1000 * (end - middle):.0f} ms; other places: {others}")  # fmt: skip


def main() -> None:
    """Measure and print."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--folder", type=Path, default=Path("../shared/data/uhcs"))
    ask.add_argument("--first", type=int, default=7000)
    ask.add_argument("--timing", action="store_true")
    given = ask.parse_args()
    cv2.setNumThreads(1)
    if given.timing:
        timing()
        return
    if given.folder.is_dir():
        measure("real", list(real(given.folder)))
        measure_channels("real", list(real(given.folder)))
    else:
        print(f"{given.folder} is not there: no real micrographs", file=sys.stderr)
    measure("drawn", list(drawn(given.first)))
    measure_channels("drawn", list(drawn(given.first)))


if __name__ == "__main__":
    main()
