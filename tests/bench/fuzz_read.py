"""Spoil real and drawn files in every way and read them: no crash, no hang, always a reason.

    python tests/bench/fuzz_read.py [FOLDER …] [--n 2000] [--seed 0]

Each mutated file is read in a worker process under a time limit. What may come back is pixels or
a `FileError` with its code; anything else is a failure, its recipe is printed, and the exit code
is 1. Without a folder only drawn files are spoilt.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import tifffile
from pebble import ProcessExpired, ProcessPool

from agent.errors import FileError
from agent.imaging.readers.read import Limits, read
from agent.watch.listing import READ_HERE, get_extension

LIMIT_S = 10.0
LARGEST_BYTES = 1_500_000
"""Larger files only make the run longer: what breaks readers are headers."""


def drawn(folder: Path) -> list[Path]:
    """Make small whole files of every form that can be written."""
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3)).astype(np.uint8)
    pixels = cv2.GaussianBlur(noise, (0, 0), 2)
    deep = pixels[..., 0].astype(np.uint16) * 200
    forms = {
        "rgb": {"photometric": "rgb"},
        "big": {"photometric": "rgb", "bigtiff": True, "tile": (32, 32)},
        "lzw": {"photometric": "rgb", "compression": "lzw", "predictor": True},
        "zstd": {"photometric": "rgb", "compression": "zstd", "rowsperstrip": 8},
        "jpeg": {"photometric": "rgb", "compression": "jpeg"},
        "packbits": {"photometric": "rgb", "compression": "packbits"},
    }
    for name, how in forms.items():
        tifffile.imwrite(folder / f"{name}.tif", pixels, **how)
    tifffile.imwrite(folder / "deep.tif", deep, resolution=(20000, 20000))
    tifffile.imwrite(folder / "stack.ome.tif", np.stack([deep] * 4), metadata={"axes": "ZYX"})
    tifffile.imwrite(folder / "imagej.tif", np.stack([deep] * 3), imagej=True)
    for suffix in (".png", ".jpg", ".bmp"):
        (folder / f"drawn{suffix}").write_bytes(cv2.imencode(suffix, pixels)[1])
    (folder / "deep.png").write_bytes(cv2.imencode(".png", deep)[1])
    return sorted(folder.iterdir())


def spoilt(content: bytes, seed: int) -> tuple[str, bytes]:  # noqa: C901 - one branch per kind
    """Mutate a file; the same seed spoils it the same way."""
    dice = np.random.default_rng(seed)
    data = bytearray(content)
    kinds = ("flip", "header", "cut", "zeros", "copy", "insert", "ones", "shuffle", "tail")
    kind = kinds[int(dice.integers(len(kinds)))]
    at = int(dice.integers(len(data)))
    length = int(min(len(data) - at, 1 + dice.geometric(0.002)))
    if kind == "flip":
        for _ in range(int(dice.integers(1, 20))):
            data[int(dice.integers(len(data)))] ^= 1 << int(dice.integers(8))
    elif kind == "header":
        for _ in range(int(dice.integers(1, 6))):
            data[int(dice.integers(min(400, len(data))))] = int(dice.integers(256))
    elif kind == "cut":
        del data[at:]
    elif kind == "zeros":
        data[at : at + length] = bytes(length)
    elif kind == "copy":
        start = int(dice.integers(len(data)))
        data[at : at + length] = data[start : start + length]
    elif kind == "insert":
        data[at:at] = dice.bytes(length)
    elif kind == "ones":
        data[at : at + length] = b"\xff" * length
    elif kind == "shuffle":
        part = np.frombuffer(bytes(data[at : at + length]), np.uint8)
        data[at : at + length] = dice.permutation(part).tobytes()
    else:
        data[at:] = bytes(len(data) - at)
    return kind, bytes(data)


def attempt(path: Path, seed: int, scratch: Path) -> str:
    """Read one mutated file and say what came of it."""
    _, content = spoilt(path.read_bytes(), seed)
    file = scratch / f"spoilt{path.suffix}"
    file.write_bytes(content)
    try:
        pages = read(file, limits=Limits(max_megapixels=50))
    except FileError as error:
        return error.code.value
    whole = all(page.pixels.ndim == 3 and page.pixels.dtype == np.uint8 for page in pages)
    return "read" if whole else "no picture"


def main() -> int:
    """Spoil, read, count."""
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("folders", nargs="*", type=Path)
    ask.add_argument("--n", type=int, default=2000)
    ask.add_argument("--seed", type=int, default=0)
    asked = ask.parse_args()
    with tempfile.TemporaryDirectory() as made, tempfile.TemporaryDirectory() as scratch:
        files = drawn(Path(made))
        for folder in asked.folders:
            found = (p for p in sorted(folder.iterdir()) if get_extension(p.name) in READ_HERE)
            files += [p for p in found if p.stat().st_size <= LARGEST_BYTES]
        seeds = range(asked.seed, asked.seed + asked.n)
        jobs = [(files[seed % len(files)], seed, Path(scratch)) for seed in seeds]
        return run(jobs, files)


def run(jobs: list[tuple[Path, int, Path]], files: list[Path]) -> int:
    """Read every job in a worker; print the count of outcomes and every failure's recipe."""
    fates: Counter[str] = Counter()
    failures: list[str] = []
    slowest = 0.0
    with ProcessPool(max_workers=1, context=get_context("spawn")) as pool:
        for path, seed, scratch in jobs:
            kind, _ = spoilt(path.read_bytes(), seed)
            began = time.perf_counter()
            future = pool.schedule(attempt, args=(path, seed, scratch), timeout=LIMIT_S)
            try:
                fate = future.result()
            except TimeoutError:
                fate = "HANG"
            except ProcessExpired as death:
                fate = f"DIED {death.exitcode}"
            except Exception as error:  # noqa: BLE001 - exactly what is looked for
                fate = f"BUG {type(error).__name__}: {str(error)[:80]}"
            slowest = max(slowest, time.perf_counter() - began)
            fates[fate] += 1
            if fate.split()[0].isupper():
                failures.append(f"{fate}  {path.name} seed {seed} {kind}")
    print(f"{len(jobs)} mutations of {len(files)} files, slowest {slowest:.2f} s")
    for fate, count in fates.most_common():
        print(f"{count:6d}  {fate}")
    print("\n".join(failures))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
