"""Measure crops of composites: real steel next to real and drawn mounts, or without a border.

    python tests/bench/composites.py ../shared/data [--quick] [--split test] [--failures FOLDER]

Textures and real mounts are split by their names into "development" and "test"; the same seed
makes the same composite. A decarburised rim, a coating or a nitrided layer belongs to the specimen
or not, as the lab decides, so that it is neither dirty nor part of the largest clean rectangle.
Without the folder nothing is measured.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from drawn.border import BORDERS, draw_depth, draw_resin, mounted
from drawn.steel import soft_noise
from numpy.typing import NDArray
from scale_bars import HALVES, format_share, is_in, list_textures

from agent.errors import FileError
from agent.imaging.crop import _find_largest_rectangle, crop
from agent.imaging.readers.read import MicrographImage

FULL, QUICK = 1000, 60
DIRTY = 0.01  # share of the kept rectangle from which it is not clean
WITH_EDGE = {"uhcs_1207.png", "instantscale_1.tif", "instantscale_2.tif"}  # a specimen ends there
LAYERS = ("decarburised", "nitrided", "coated")
UM_PER_PX = (0.001, 50.0)
SEED = {"development": 310_000, "test": 320_000}


@dataclass(frozen=True)
class Composite:
    """A field: (h, w, 3) uint8 pixels, what it shows, and its truth, (h, w) bool each.

    Args:
        pixels: The field.
        words: What was chosen.
        dirty: Mount, gap and bleeding; empty without a border.
        layer: A deeper rim of the specimen.
        bleeding: The part of `dirty` that is discoloured steel.
        coating: The part of `dirty` that is a thin coating.
    """

    pixels: NDArray[np.uint8]
    words: dict[str, str]
    dirty: NDArray[np.bool_]
    layer: NDArray[np.bool_]
    bleeding: NDArray[np.bool_]
    coating: NDArray[np.bool_]


@dataclass
class Tally:
    """Counts of one kind of field."""

    clean: int = 0
    whole: int = 0
    kept: list[float] = field(default_factory=list)
    named: int = 0
    miscalled: int = 0
    layered: int = 0


def list_mounts(folder: Path, split: str) -> list[tuple[Path, tuple[int, int]]]:
    """Return real pictures with rows of a mount alone: the first and one past the last of them."""
    manifest = folder / "micrographs" / "MANIFEST.json"
    images = json.loads(manifest.read_text())["images"] if manifest.exists() else []
    mounts = []
    for image in images:
        border = image.get("specimen_border") or {}
        if not border.get("specimen_bbox") or not is_in(split, image["file"]):
            continue
        _, top, _, foot = border["specimen_bbox"]
        height, off = image["size_px"][1], border["tolerance_px"]
        foot_of = (image.get("info_band_bbox") or (0, height))[1]
        rows = max((0, top - off), (foot + off, foot_of), key=lambda pair: pair[1] - pair[0])
        if rows[1] - rows[0] >= 60:
            mounts.append((folder / "micrographs" / image["file"], rows))
    return mounts


def list_whole(folder: Path, split: str) -> list[tuple[Path, int | None]]:
    """Return the textures of a split that show steel throughout, as `list_textures` does."""
    manifest = folder / "micrographs" / "MANIFEST.json"
    images = json.loads(manifest.read_text())["images"] if manifest.exists() else []
    bordered = {
        image["file"] for image in images if (image.get("specimen_border") or {}).get("present")
    }
    textures = list_textures(folder, split)
    return [(path, foot) for path, foot in textures if path.name not in bordered | WITH_EDGE]


def compose(split: str, seed: int, folder: Path, *, border: bool) -> Composite:
    """Make a composite, or take a real texture without a border."""
    rng = np.random.default_rng([SEED[split], seed, border])
    textures = list_whole(folder, split)
    path, foot = textures[int(rng.integers(len(textures)))]
    bgr = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)[:foot]
    if border is False:
        bgr = _cut_part(bgr, rng)
    zoom = float(rng.choice([1.0, 1.5])) * 1000 / max(1000, bgr.shape[1])
    rgb = cv2.resize(bgr[:, :, ::-1], None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
    words = {"texture": path.name}
    nothing = np.zeros(rgb.shape[:2], bool)
    if not border:
        return Composite(np.ascontiguousarray(rgb), words, *[nothing] * 4)
    return mount_texture(rgb.astype(np.float32), rng, words, list_mounts(folder, split))


def _cut_part(bgr: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return a part of a texture, mirrored or not, so that more fields differ than files."""
    height, width = bgr.shape[:2]
    share = float(rng.uniform(0.6, 1.0))
    high, wide = int(share * height), int(share * width)
    y, x = int(rng.integers(height - high + 1)), int(rng.integers(width - wide + 1))
    part = bgr[y : y + high, x : x + wide]
    return part[:, ::-1] if rng.random() < 0.5 else part


def mount_texture(
    rgb: NDArray[np.float32],
    rng: np.random.Generator,
    words: dict[str, str],
    mounts: list[tuple[Path, tuple[int, int]]],
) -> Composite:
    """Put a texture into a drawn or a real mount, in one case of three with a deeper rim."""
    height, width = rgb.shape[:2]
    state = rng.integers(2**32)
    kind = str(rng.choice(BORDERS))
    layer_kind = str(rng.choice(LAYERS)) if rng.random() < 1 / 3 else ""
    layer = bleeding = np.zeros((height, width), bool)
    masks: dict[str, NDArray[np.bool_]] = {}
    if layer_kind:
        words["layer"] = layer_kind
        depth = draw_depth(np.random.default_rng(state), kind, height, width)
        rgb, layer = _lay(rgb, rng, depth, layer_kind)
        words["border"] = kind
        soft = rng.uniform(0.7, 3.0)
        alpha = 1 / (1 + np.exp(-np.clip(depth / soft, -20, 20)))
        mount = str(rng.choice(["dark", "grey", "bright", "shaded", "cloudy"]))
        words["mount"] = mount
        level = float(rgb.mean())
        resin = draw_resin(rng, mount, height, width, level, rgb, colour=False)
        if mounts and rng.random() < 0.5:
            resin = _real_mount(mounts, rng, height, width, words)
        out = rgb * alpha[:, :, None] + resin * (1 - alpha[:, :, None])
        dirty = depth < 0
    else:
        seeded = np.random.default_rng(state)
        out, outside, bleeding = mounted(rgb, seeded, kind, words, colour=False, masks=masks)
        while not outside.any():  # "layer" is no mount
            words.pop("layered", None)
            out, outside, bleeding = mounted(rgb, seeded, kind, words, colour=False, masks=masks)
        dirty = outside | bleeding
        if mounts and rng.random() < 0.25 and not bleeding.any():
            resin = _real_mount(mounts, rng, height, width, words)
            masks.clear()  # the resin covers it
            alpha = cv2.GaussianBlur((~outside).astype(np.float32), (0, 0), 1.2)[:, :, None]
            out = rgb * alpha + resin * (1 - alpha)
    noisy = out + rng.normal(0, rng.uniform(0, 3), out.shape[:2])[:, :, None]
    pixels = np.clip(noisy, 0, 255).astype(np.uint8)
    if rng.random() < 0.5:
        _, packed = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 88])
        pixels = cv2.imdecode(packed, cv2.IMREAD_COLOR)
    coating = masks.get("coating", np.zeros_like(dirty))
    return Composite(pixels, words, dirty, layer & ~dirty, bleeding, coating)


def _lay(
    rgb: NDArray[np.float32], rng: np.random.Generator, depth: NDArray[np.float32], kind: str
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Change the rim of the steel, and return where."""
    height, width = depth.shape
    deep = rng.uniform(0.04, 0.12) * min(height, width)
    at = depth + 0.1 * deep * soft_noise(rng, height, width, 30)
    smooth = cv2.GaussianBlur(rgb, (0, 0), 3.0)
    if kind == "decarburised":  # ferrite: lighter, with little structure, fading inwards
        share = np.clip(1.2 - at / deep, 0, 1)[:, :, None]
        rim = 0.3 * rgb + 0.7 * smooth + rng.uniform(30, 60)
    elif kind == "nitrided":  # darker, with its structure, fading inwards
        share = np.clip(1.2 - at / deep, 0, 1)[:, :, None]
        rim = rgb * rng.uniform(0.5, 0.75)
    else:  # a coating: one tone, ends in a step
        share = (at < deep)[:, :, None].astype(np.float32)
        tone = float(np.clip(rgb.mean() + rng.choice([-60, 60]), 20, 245))
        rim = np.full_like(rgb, tone) + 4 * soft_noise(rng, height, width, 3)[:, :, None]
    return rgb * (1 - share) + rim * share, (depth >= 0) & (share[:, :, 0] > 0.1)


def _real_mount(
    mounts: list[tuple[Path, tuple[int, int]]],
    rng: np.random.Generator,
    height: int,
    width: int,
    words: dict[str, str],
) -> NDArray[np.float32]:
    """Return a real mount, (h, w, 3), mirrored until it covers the field."""
    path, (top, foot) = mounts[int(rng.integers(len(mounts)))]
    words["mount"] = path.name
    bgr = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)[top:foot]
    part = cv2.flip(bgr, int(rng.integers(-1, 2)))
    return repeat_mirrored(part, height, width)[:, :, ::-1].astype(np.float32)


def repeat_mirrored(part: NDArray[np.generic], height: int, width: int) -> NDArray[np.generic]:
    """Return a picture, (h, w) or (h, w, 3), repeated and mirrored until it covers a field."""
    down, across = -(-height // len(part)), -(-width // part.shape[1])
    tile = np.concatenate([part[::-1] if i % 2 else part for i in range(down)])
    tile = np.concatenate([tile[:, ::-1] if i % 2 else tile for i in range(across)], axis=1)
    return tile[:height, :width]


def compute_clean_area(dirty: NDArray[np.bool_]) -> float:
    """Return the area of the largest rectangle without a dirty pixel, in cells of 1/300."""
    height, width = dirty.shape
    step = max(1, max(height, width) // 300)
    rows, columns = height // step, width // step
    cells = dirty[: rows * step, : columns * step].reshape(rows, step, columns, step)
    found = _find_largest_rectangle(~cells.any(axis=(1, 3)))
    if found is None:
        return 0.0
    return float((found[2] - found[0]) * (found[3] - found[1]) * step * step)


def measure(composite: Composite, tally: Tally) -> list[str]:
    """Crop a composite, count the result, and return what is wrong."""
    image = MicrographImage(
        sha256="0" * 64, size_bytes=0, page=0, pages=1, format="PNG", pixels=composite.pixels,
        scales=(), metadata={}, warnings=(),
    )  # fmt: skip
    try:
        cut = crop(image, um_per_px_range=UM_PER_PX)
    except FileError as error:
        return [error.code.value]
    x0, y0, x1, y1 = cut.box
    wrong = [] if cut.specimen_area.whole_frame else ["cut"]
    tally.whole += cut.specimen_area.whole_frame
    if not composite.dirty.any():
        return wrong
    tally.layered += bool(composite.layer.any())
    tally.named += bool(composite.layer.any()) and "surface_layer" in cut.warnings
    tally.miscalled += bool(composite.layer.any()) and "bleeding" in cut.warnings
    share = float(composite.dirty[y0:y1, x0:x1].mean())
    tally.clean += share < DIRTY
    kept = (x1 - x0) * (y1 - y0) / max(1, compute_clean_area(composite.dirty | composite.layer))
    tally.kept.append(min(kept, 1.0))
    few = [f"kept {kept:.2f}"] if kept < 0.8 else []
    return [f"dirty {share:.3f}"] if share >= DIRTY else few


def write_picture(path: Path, composite: Composite, wrong: list[str]) -> None:
    """Write a failure with its true outline and the kept rectangle."""
    image = np.ascontiguousarray(composite.pixels[:, :, ::-1])
    for mask, colour in ((composite.dirty, (0, 200, 255)), (composite.layer, (255, 200, 0))):
        outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(image, outlines, -1, colour, 2)
    cv2.putText(image, " | ".join(wrong), (4, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (0, 255, 0), 2)
    _, packed = cv2.imencode(".jpg", image)
    path.write_bytes(packed.tobytes())


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} fields instead of {FULL}")
    parser.add_argument("--count", type=int, metavar="N", help="fields of each kind")
    parser.add_argument("--first", type=int, default=0, metavar="SEED", help="first field")
    parser.add_argument("--split", choices=HALVES, default="development")
    parser.add_argument("--failures", type=Path, help="folder for pictures of failures")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    if not list_textures(options.folder, options.split):
        print(f"no real pictures in {options.folder}: nothing is measured")
        return 0
    count = options.count or (QUICK if options.quick else FULL)
    if options.failures is not None:
        options.failures.mkdir(parents=True, exist_ok=True)
    spent_s = -time.process_time()
    for border in (True, False):
        tally = Tally()
        for seed in range(options.first, options.first + count):
            composite = compose(options.split, seed, options.folder, border=border)
            wrong = measure(composite, tally)
            if wrong and not (border and wrong == ["cut"]):
                print(f"{'border' if border else 'none'} {seed}: {wrong} {composite.words}")
                if options.failures is not None:
                    name = f"{options.split}-{'border' if border else 'none'}-{seed:04d}.jpg"
                    write_picture(options.failures / name, composite, wrong)
        if border:
            print(f"clean                 {format_share(tally.clean, count)}")
            print(f"kept of the largest   median {median(tally.kept):.3f}")
            layered = max(1, tally.layered)
            print(f"deeper rims named     {format_share(tally.named, layered)}")
            print(f"… called bleeding     {format_share(tally.miscalled, layered)}")
        else:
            print(f"without border, whole {format_share(tally.whole, count)}")
    print(f"{(spent_s + time.process_time()) / (2 * count):.3f} s of processor time each")
    return 0


if __name__ == "__main__":
    sys.exit(main())
