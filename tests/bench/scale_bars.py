"""Measure how scale bars burned into real texture are read: right, wrong or not at all.

    python tests/bench/scale_bars.py ../shared/data --split SPLIT --fonts FOLDER [--wrong FOLDER]
    python tests/bench/scale_bars.py ../shared/data --others

"skia" and "report" are drawn by `skia_bars`, which needs `pip install skia-python`: the reader is
developed on the first, and no picture of the second is looked at before its figures are published.
"fresh" is drawn by `fresh_bars`; `--fonts` names a folder with the fonts of these three. "cairo" is
drawn by `cairo_bars`, which needs `pip install cairocffi` and no folder of fonts. Labels of two
numbers ("1/2 mm") have to stay unread and are counted apart. The same seed burns the same bar.

`--others` reads what nobody of this project drew or photographed: the bars of `drawn_by_others`,
where a label of two numbers has to stay unread, and the ZEISS strips of `other_labs` whose printed
magnification or TIFF tag gives the scale. Without the folder nothing is measured.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import time
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from scipy.stats import beta

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from collections.abc import Iterator

from fresh_bars import burn_fresh
from numpy.typing import NDArray

from agent.imaging.scale_bar.bars.line import FoundBar
from agent.imaging.scale_bar.detect import find_graphics

FULL, QUICK = 2000, 200
HALVES = ("development", "test")
SPLITS = {"fresh": (4, "test"), "skia": (5, "development"), "report": (6, "test"),
          "cairo": (7, "development")}  # fmt: skip
"""Number of the seeds and half of the textures of every split."""
NEEDS = {  # module and package of a split that are no dependencies
    "skia": ("skia", "skia-python"),
    "report": ("skia", "skia-python"),
    "cairo": ("cairocffi", "cairocffi"),
}
RIGHT_WITHIN = 0.02
ZEISS = 367.9  # µm per pixel times magnification: the median of these pictures of 1024 px
MAGNIFICATION = {  # part of a name in `other_labs`: as printed next to the bar
    "vqa_t1__L1_0f99": 2760,
    "vqa_t1__L2_0ac3": 234190,
    "fibers__0185": 6240,
    "fibers__0450": 2430,
    "fibers__1bf6": 567,
    "fibers__2c99": 3310,
    "fibers__72b3": 1140,
    "fibers__7599": 3200,
    "fibers__8685": 3830,
    "particles__0b03": 416830,
    "particles__0c02": 125800,
    "particles__0d19": 290690,
    "particles__0dde": 343440,
}
TAGGED = {"Along_the_build_21": 0.05391}  # µm per pixel by ZEISS's tag 34118
TWO_BARS = {"instantscale_1pass_x300.tif"}  # in addition to the one in its band


@dataclass(frozen=True)
class Burned:
    """A picture with a bar: (h, w, 3) uint8 pixels, the look, the label, and the truth."""

    pixels: NDArray[np.uint8]
    look: str
    label: str
    line_px: float
    um: float

    @property
    def is_of_two(self) -> bool:
        """Whether the label is a fraction, which has to stay unread."""
        return any(sign in self.label for sign in "/⁄½")


def is_in(split: str, name: str) -> bool:
    """Return whether a name belongs to a split; the same name always does."""
    return HALVES[zlib.crc32(name.encode()) % 2] == split


def list_textures(folder: Path, split: str) -> list[tuple[Path, int | None]]:
    """Return real pictures of a split with the row where their graphics begin, None without."""
    steel = [(path, None) for path in sorted((folder / "uhcs" / "micrographs").glob("*.png"))]
    manifest = folder / "micrographs" / "MANIFEST.json"
    others = json.loads(manifest.read_text())["images"] if manifest.exists() else []
    paths = [
        (folder / "micrographs" / image["file"], (image.get("info_band_bbox") or (0, None))[1])
        for image in others
        if (image.get("info_band_bbox") or image.get("has_scale_bar") is False)
        and image["file"] not in TWO_BARS
    ]
    return [(path, foot) for path, foot in [*steel, *paths] if is_in(split, path.name)]


def list_whole_fields(folder: Path, half: str) -> list[tuple[Path, int | None]]:
    """Return pictures of other labs without graphics that belong to a half."""
    names = ("repositoryfiles+*/*.jpg", "ronan498+*/*.png")
    paths = [path for name in names for path in sorted((folder / "other_labs").glob(name))]
    return [(path, None) for path in paths if is_in(half, path.name)]


def burn(split: str, seed: int, folder: Path, font_folder: Path) -> Burned:
    """Burn a bar into a texture of a split."""
    number, half = SPLITS[split]
    rng = np.random.default_rng([number, seed])
    textures = list_textures(folder, half)
    textures += [] if split == "fresh" else list_whole_fields(folder, half)
    path, foot = textures[int(rng.integers(len(textures)))]
    bgr = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)[:foot]
    if split == "fresh":
        return Burned(*burn_fresh(rng, bgr[:, :, ::-1], font_folder))
    if split == "cairo":
        from cairo_bars import burn_cairo  # noqa: PLC0415 - cairo is no dependency

        return Burned(*burn_cairo(seed, rng, bgr[:, :, ::-1]))
    from skia_bars import burn_skia  # noqa: PLC0415 - Skia is no dependency

    return Burned(*burn_skia(split, rng, bgr[:, :, ::-1], font_folder))


def judge(burned: Burned) -> tuple[str, str]:
    """Return "right", "wrong" or "none", and what was read."""
    bars = [bar for bar in find_graphics(burned.pixels).bars if bar.um is not None]
    if not bars:
        return ("refused" if burned.is_of_two else "none"), ""
    off = (bars[0].um / bars[0].line_px) / (burned.um / burned.line_px) - 1
    read = f"{bars[0].label} over {bars[0].line_px:.1f} px, true {burned.line_px:.1f} px"
    return ("right" if abs(off) <= RIGHT_WITHIN else "wrong"), read


def iter_measured(
    bars: Iterator[tuple[str, Burned]], wrong: Path | None, unread: Path | None
) -> Iterator[tuple[str, str, bool]]:
    """Yield look, outcome and kind of label of every bar; write pictures of those not right."""
    for name, burned in bars:
        outcome, read = judge(burned)
        yield burned.look, outcome, burned.is_of_two
        if outcome == "wrong":
            print(f"wrong: {name} {burned.look} '{burned.label}' read {read}", flush=True)
        if outcome == "none" and unread is not None:
            print(
                f"none: {name} {burned.look} '{burned.label}' {burned.line_px:.1f} px", flush=True
            )
        folder = {"wrong": wrong, "none": unread}.get(outcome)
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            _, packed = cv2.imencode(".png", burned.pixels[:, :, ::-1])
            (folder / f"{name}.png").write_bytes(packed.tobytes())


def iter_others(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Yield who drew or photographed a picture, its name, and right, wrong, none or refused."""
    drawn = folder / "drawn_by_others" / "bars"
    for truth in json.loads((drawn / "truth.json").read_text()):
        bar = find_read_bar(drawn / truth["file"])
        if "/" in truth["label"]:
            yield "drawn by others, two numbers", truth["file"], "wrong" if bar else "refused"
        else:
            yield "drawn by others", truth["file"], compare(bar, truth["um_per_px"])
    for path in sorted((folder / "other_labs").rglob("*.*")):
        scales = [ZEISS / by for name, by in MAGNIFICATION.items() if name in path.name]
        scales += [um_per_px for name, um_per_px in TAGGED.items() if name in path.name]
        if scales:
            yield (
                "other labs, magnification or tag",
                path.name,
                compare(find_read_bar(path), scales[0]),
            )


def find_read_bar(path: Path) -> FoundBar | None:
    """Return the bar of a picture that states a length."""
    bgr = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    bars = find_graphics(np.ascontiguousarray(bgr[:, :, ::-1])).bars
    return next((bar for bar in bars if bar.um is not None), None)


def compare(bar: FoundBar | None, um_per_px: float) -> str:
    """Return whether a bar gives a scale: "right", "wrong", or "none" without one."""
    if bar is None or bar.um is None:
        return "none"
    return "right" if abs(bar.um / bar.line_px / um_per_px - 1) <= RIGHT_WITHIN else "wrong"


def format_share(hits: int, n: int) -> str:
    """Format a share with its exact 95 % interval (Clopper and Pearson)."""
    low = beta.ppf(0.025, hits, n - hits + 1) if hits else 0.0
    high = beta.ppf(0.975, hits + 1, n - hits) if hits < n else 1.0
    return f"{hits} of {n} ({hits / n:.1%}, {low:.1%} to {high:.1%})"


def print_others(folder: Path) -> None:
    """Measure what others drew or photographed, and print it."""
    outcomes = list(iter_others(folder))
    for who in sorted({who for who, _, _ in outcomes}):
        of_them = Counter(outcome for by, _, outcome in outcomes if by == who)
        for outcome, hits in of_them.items():
            print(f"{who}: {outcome} {format_share(hits, of_them.total())}")
    for who, name, outcome in outcomes:
        if outcome in ("wrong", "none"):
            print(f"  {outcome}: {name} ({who})")


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} bars instead of {FULL}")
    parser.add_argument("--first", type=int, default=0, metavar="SEED")
    parser.add_argument("--count", type=int, metavar="N", help="bars to burn")
    parser.add_argument("--split", choices=SPLITS, default="skia")
    parser.add_argument("--wrong", type=Path, help="folder for pictures of wrong readings")
    parser.add_argument("--unread", type=Path, help="folder for pictures of bars not read")
    parser.add_argument("--others", action="store_true", help="pictures of others instead")
    parser.add_argument("--fonts", type=Path, default=Path("/usr/share/fonts"))
    options = parser.parse_args()
    cv2.setNumThreads(1)
    if options.others:
        print_others(options.folder)
        return 0
    module, package = NEEDS.get(options.split, ("numpy", "numpy"))
    if importlib.util.find_spec(module) is None:
        print(f"{package} is not installed, nothing is measured: pip install {package}")
        return 0
    if not list_textures(options.folder, SPLITS[options.split][1]):
        print(f"no real pictures in {options.folder}: nothing is measured")
        return 0
    spent_s = -time.process_time()
    count = options.count or (QUICK if options.quick else FULL)
    seeds = range(options.first, options.first + count)
    bars = (
        (f"{options.split}-{seed:04d}", burn(options.split, seed, options.folder, options.fonts))
        for seed in seeds
    )
    measured = list(iter_measured(bars, options.wrong, options.unread))
    spent_s += time.process_time()
    of_two = Counter(outcome for _, outcome, is_of_two in measured if is_of_two)
    measured = [bar for bar in measured if not bar[2]]
    totals = Counter(outcome for _, outcome, _ in measured)
    for outcome in ("right", "wrong", "none"):
        print(f"{outcome:5}  {format_share(totals[outcome], totals.total())}")
    print(f"of two numbers: {dict(of_two)}")
    for number, part in enumerate(("ground or look", "line", "label")):
        of_part = Counter((look.split("-")[number], outcome) for look, outcome, _ in measured)
        for name in sorted({name for name, _ in of_part}):
            counts = {o: of_part[name, o] for o in ("right", "wrong", "none")}
            print(f"  {part} {name:14} {counts}")
    print(f"{spent_s / count:.3f} s of processor time each, burning included")
    return 0


if __name__ == "__main__":
    sys.exit(main())
