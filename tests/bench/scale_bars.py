"""Measure how scale bars burned into real texture are read: right, wrong or not at all.

    python tests/bench/scale_bars.py ../shared/data [--quick] [--split blind] [--wrong FOLDER]
    python tests/bench/scale_bars.py ../shared/data --others

Looks (plate, line, place of the label), fonts and textures are split by their names into
"development" and "test"; both were looked at while the reader was written. "tuning" and "blind" are
drawn by `burned_bars` with looks and fonts of their own; the reader was developed on the first, and
no failure of the second was looked at before its figures were published. "fresh" is drawn by
`fresh_bars`, with looks and fonts that neither has. `--fonts` names a folder with their fonts.

`--others` reads what nobody of this project drew or photographed: the bars of `drawn_by_others`,
where a label of two numbers has to stay unread, and the ZEISS strips of `other_labs` whose printed
magnification or TIFF tag gives the scale.

The same seed burns the same bar. In the first two splits a label and a length are drawn
independently, so that one bar in 15 states a scale outside `POSSIBLE`, which the reader refuses;
shares are printed with and without them. Without the folder nothing is measured.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.stats import beta

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from burned_bars import KITS, burn_look
from drawn.graphics import fonts
from fresh_bars import HALF, burn_fresh

from agent.imaging.scale_bar.detect import find_graphics

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from agent.imaging.scale_bar.bars.line import FoundBar

FULL, QUICK = 2000, 200
HALVES = ("development", "test")
SPLITS = (*HALVES, *KITS, "fresh")
PLATES = ("none", "label", "both", "glass", "band")
LINES = ("solid", "caps", "ticks", "arrows", "ruler", "double")
PLACES = ("above", "below", "right", "left")
LENGTHS = (1, 2, 5, 10, 20, 25, 50, 100, 200, 250, 500)
RIGHT_WITHIN = 0.02
LEAST_CONTRAST = 90
POSSIBLE = (1e-5, 50.0)  # µm per pixel: from an atom to a pixel that shows no structure
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
    def is_possible(self) -> bool:
        """Whether a micrograph can have the scale that the bar states."""
        return POSSIBLE[0] <= self.um / self.line_px <= POSSIBLE[1]


def is_in(split: str, name: str) -> bool:
    """Return whether a name belongs to a split; the same name always does."""
    return HALVES[zlib.crc32(name.encode()) % 2] == split


def find_half(split: str) -> str:
    """Return the half of the textures that a split is burned into."""
    if split in KITS:
        return KITS[split].half
    return HALF if split == "fresh" else split


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


def list_looks(split: str) -> list[tuple[str, str, str]]:
    """Return the looks of a split: plate, line and place of the label."""
    looks = itertools.product(PLATES, LINES, PLACES)
    return [look for look in looks if is_in(split, " ".join(look))]


def burn(split: str, seed: int, folder: Path, font_folder: Path) -> Burned:
    """Burn a bar into a texture of a split."""
    rng = np.random.default_rng([SPLITS.index(split), seed])
    if split not in HALVES:
        textures = list_textures(folder, find_half(split))
        path, foot = textures[int(rng.integers(len(textures)))]
        bgr = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)[:foot]
        rgb = bgr[:, :, ::-1]
        if split == "fresh":
            return Burned(*burn_fresh(rng, rgb, font_folder))
        return Burned(*burn_look(KITS[split], rng, rgb, font_folder))
    textures, looks = list_textures(folder, split), list_looks(split)
    path, foot = textures[int(rng.integers(len(textures)))]
    plate, line, place = looks[int(rng.integers(len(looks)))]
    bgr = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)[:foot]
    zoom = float(rng.choice([1.0, 1.5, 2.0])) * 1000 / max(1000, bgr.shape[1])
    pixels = cv2.resize(bgr[:, :, ::-1], None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
    files = [file for file in fonts() if is_in(split, Path(file).name)]
    value = int(rng.choice(LENGTHS))
    unit, um = [("µm", value), ("µm", value), ("nm", value / 1000), ("mm", 1000 * value)][
        int(rng.choice(4, p=[0.45, 0.35, 0.15, 0.05]))
    ]
    label = f"{value}{rng.choice(['', ' '])}{unit}"
    pen = Pen(pixels, rng, font=str(rng.choice(files)), look=(plate, line, place))
    line_px = pen.write(label)
    after = np.asarray(pen.picture)
    if rng.random() < 0.5:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(75, 97))]
        _, packed = cv2.imencode(".jpg", after[:, :, ::-1], quality)
        after = cv2.imdecode(packed, cv2.IMREAD_COLOR)[:, :, ::-1]
    look = f"{plate}-{line}-{place}"
    return Burned(np.ascontiguousarray(after), look, label, line_px, float(um))


class Pen:
    """Writes one bar with its label into a picture."""

    def __init__(
        self,
        pixels: NDArray[np.uint8],
        rng: np.random.Generator,
        *,
        font: str,
        look: tuple[str, str, str],
    ) -> None:
        self.picture = Image.fromarray(pixels)
        self._draw = ImageDraw.Draw(self.picture)
        self._rng = rng
        self._plate, self._line, self._place = look
        self._high = int(max(12, len(pixels) * rng.uniform(0.025, 0.045)))
        self._font = ImageFont.truetype(font, self._high)

    def write(self, label: str) -> float:
        """Write bar and label; return the length that the label states, pixels."""
        rng, (width, height) = self._rng, self.picture.size
        left, top, right, foot = self._draw.textbbox((0, 0), label, font=self._font)
        words_w, words_h = int(right - left), int(foot - top)
        long = int(max(40, width * rng.uniform(0.1, 0.3)))
        tall = int(max(2, self._high * rng.uniform(0.12, 0.5)))
        gap, pad = int(self._high * rng.uniform(0.25, 0.5)), int(self._high * 0.35)
        beside = self._place in ("right", "left")
        w = (long + 2 * gap + words_w if beside else max(long, words_w)) + 2 * pad
        h = (max(words_h, tall) if beside else words_h + gap + tall) + 2 * pad
        aside = int(width * rng.uniform(0.0, 0.03))
        x = int(rng.choice([aside, width - aside - w]))
        y = height - h - (0 if self._plate == "band" else aside)
        inner = (x + pad, y + pad, x + w - pad, y + h - pad)
        words, bar = self._place_both(inner, (words_w, words_h), (long, tall))
        words_box = (*words, words[0] + words_w, words[1] + words_h)
        ink = self._lay_plate((x, y, x + w, y + h), words_box)
        self._draw.text((words[0] - left, words[1] - top), label, font=self._font, fill=ink)
        return self._draw_line(*bar, long, tall, ink)

    def _place_both(
        self, inner: tuple[int, int, int, int], words: tuple[int, int], bar: tuple[int, int]
    ) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return the top left corners of words and bar."""
        (x0, y0, x1, y1), (words_w, words_h), (long, tall) = inner, words, bar
        middle = (y0 + y1) // 2
        if self._place == "right":
            return (x1 - words_w, middle - words_h // 2), (x0, middle - tall // 2)
        if self._place == "left":
            return (x0, middle - words_h // 2), (x1 - long, middle - tall // 2)
        centre = (x0 + x1) // 2
        words_y, bar_y = (y0, y1 - tall) if self._place == "above" else (y1 - words_h, y0)
        return (centre - words_w // 2, words_y), (centre - long // 2, bar_y)

    def _lay_plate(
        self, box: tuple[int, int, int, int], words: tuple[int, int, int, int]
    ) -> tuple[int, int, int]:
        """Lay the plate and return an ink that is seen on what lies under line and words."""
        if self._plate == "band":
            box = (0, box[1], self.picture.width, self.picture.height)
        if self._plate == "label":
            by = max(2, self._high // 6)
            box = (words[0] - by, words[1] - by, words[2] + by, words[3] + by)
        paper = (0, 0, 0) if self._rng.random() < 0.5 else (255, 255, 255)
        if self._plate == "glass":
            part = self.picture.crop(box)
            self.picture.paste(Image.blend(part, Image.new("RGB", part.size, paper), 0.6), box)
        elif self._plate != "none":
            self._draw.rectangle([box[0], box[1], box[2] - 1, box[3] - 1], fill=paper)
        under = np.asarray(self.picture.crop(box)).reshape(-1, 3).mean(axis=0)
        inks = [(255, 255, 255), (0, 0, 0), (255, 255, 0), (255, 0, 0), (0, 0, 160)]
        inks.sort(key=lambda ink: float(np.abs(np.array(ink) - under).mean()) < LEAST_CONTRAST)
        seen = sum(float(np.abs(np.array(ink) - under).mean()) >= LEAST_CONTRAST for ink in inks)
        return inks[int(self._rng.integers(max(1, min(seen, 3))))]

    def _draw_line(self, x: int, y: int, long: int, tall: int, ink: tuple[int, int, int]) -> float:
        """Draw the bar; return the length that its label states, pixels."""
        last, foot, thin = x + long - 1, y + tall - 1, max(1, tall // 4)
        if self._line == "solid":
            self._draw.rectangle([x, y, last, foot], fill=ink)
            return float(long)
        middle = y + tall // 2
        if self._line == "double":
            self._draw.rectangle([x, y, last, foot], outline=ink, width=thin)
            return float(long)
        tall = max(tall, 6)
        foot, middle = y + tall - 1, y + tall // 2
        if self._line == "arrows":
            self._draw.rectangle([x, middle, last, middle + thin - 1], fill=ink)
            for tip, by in ((x, 6), (last, -6)):
                self._draw.polygon([(tip, middle), (tip + by, middle - 3), (tip + by, middle + 3)],
                                   fill=ink)  # fmt: skip
            return float(long)
        base = foot - thin + 1 if self._line != "caps" else middle
        self._draw.rectangle([x, base, last, base + thin - 1], fill=ink)
        ticks = np.linspace(x, last - thin + 1, 11 if self._line == "ruler" else 2).round()
        for number, at in enumerate(ticks.astype(int).tolist()):
            short = 0 if number % 5 == 0 or len(ticks) == 2 else tall // 2
            self._draw.rectangle([at, y + short, at + thin - 1, foot], fill=ink)
        return float(ticks[-1] - ticks[0])


def judge(burned: Burned) -> tuple[str, str]:
    """Return "right", "wrong" or "none", and what was read."""
    bars = [bar for bar in find_graphics(burned.pixels).bars if bar.um is not None]
    if not bars:
        return "none", ""
    off = (bars[0].um / bars[0].line_px) / (burned.um / burned.line_px) - 1
    read = f"{bars[0].label} over {bars[0].line_px:.1f} px, true {burned.line_px:.1f} px"
    return ("right" if abs(off) <= RIGHT_WITHIN else "wrong"), read


def iter_measured(
    bars: Iterator[tuple[str, Burned]], wrong: Path | None, unread: Path | None
) -> Iterator[tuple[str, str, bool]]:
    """Yield look, outcome and possibility of every bar; write pictures of those not right."""
    for name, burned in bars:
        outcome, read = judge(burned)
        yield burned.look, outcome, burned.is_possible
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


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} bars instead of {FULL}")
    parser.add_argument("--first", type=int, default=0, metavar="SEED")
    parser.add_argument("--count", type=int, metavar="N", help="bars to burn")
    parser.add_argument("--split", choices=SPLITS, default="development")
    parser.add_argument("--wrong", type=Path, help="folder for pictures of wrong readings")
    parser.add_argument("--unread", type=Path, help="folder for pictures of bars not read")
    parser.add_argument("--others", action="store_true", help="pictures of others instead")
    parser.add_argument("--fonts", type=Path, default=Path("/usr/share/fonts"))
    options = parser.parse_args()
    cv2.setNumThreads(1)
    if options.others:
        outcomes = list(iter_others(options.folder))
        for who in sorted({who for who, _, _ in outcomes}):
            of_them = Counter(outcome for by, _, outcome in outcomes if by == who)
            for outcome, hits in of_them.items():
                print(f"{who}: {outcome} {format_share(hits, of_them.total())}")
        for who, name, outcome in outcomes:
            if outcome in ("wrong", "none"):
                print(f"  {outcome}: {name} ({who})")
        return 0
    if not list_textures(options.folder, find_half(options.split)):
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
    totals = Counter(outcome for _, outcome, _ in measured)
    possible = Counter(outcome for _, outcome, is_possible in measured if is_possible)
    for outcome in ("right", "wrong", "none"):
        print(f"{outcome:5}  {format_share(totals[outcome], count)}")
        share = format_share(possible[outcome], possible.total())
        print(f"       {share} of the bars whose scale a micrograph can have")
    for number, part in enumerate(("plate", "line", "label")):
        of_part = Counter((look.split("-")[number], outcome) for look, outcome, _ in measured)
        for name in sorted({name for name, _ in of_part}):
            counts = {o: of_part[name, o] for o in ("right", "wrong", "none")}
            print(f"  {part} {name:11} {counts}")
    print(f"{spent_s / count:.3f} s of processor time each, burning included")
    return 0


if __name__ == "__main__":
    sys.exit(main())
