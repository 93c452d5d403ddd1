# ruff: noqa: FBT003, PLR0917 - OpenCV's positional ways
"""Print how well micrographs are read: bars, scale, border, kept rectangle, time.

    python tests/bench/imaging.py FOLDER          real images with a MANIFEST.json
    python tests/bench/imaging.py FOLDER --burnt 5    … each five times with a bar written into it
    python tests/bench/imaging.py --drawn 1000    drawn ones with exact truth
    python tests/bench/imaging.py --timing 20     CPU time of 2000 × 1500 px files, reading to crop

`--failures DIR` writes a picture of every failure: look at them, a share says little.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from composites import compute_clean_area
from drawn.micrographs import draw, draw_panels
from overlays import burnt

from agent.errors import FileError
from agent.imaging import crop
from agent.imaging.readers.read import MicrographImage, read

LEAST_PX = 300  # of a side that is left above the graphics of a real image
TWO_BARS = {"instantscale_1pass_x300.tif"}  # beside the one that the manifest names
UM_PER_PX = (0.001, 50.0)  # wide, so that the reader itself is measured and not the range


@dataclass
class Tally:
    """What was counted, and which images failed at what."""

    n: int = 0
    with_bar: int = 0
    bars_found: int = 0
    without_bar: int = 0
    false_bars: int = 0
    labelled: int = 0
    right: int = 0
    wrong: int = 0
    ends: int = 0
    clean: int = 0
    clean_of: int = 0
    areas: list[float] = field(default_factory=list)
    whole_of: int = 0
    whole: int = 0
    bordered: int = 0
    bordered_clean: int = 0
    ms_bar: list[float] = field(default_factory=list)
    ms_none: list[float] = field(default_factory=list)
    failures: dict[str, list[str]] = field(default_factory=dict)

    def failed(self, what: str, name: str) -> None:
        self.failures.setdefault(what, []).append(name)


@dataclass(frozen=True)
class Bar:
    """A true bar; um is None where it has no label."""

    line: tuple[int, int, int, int]
    line_px: float
    um: float | None
    tolerance_px: float = 0


@dataclass(frozen=True)
class Truth:
    """What is true of one image, which may have two bars; masks are (h, w) bool."""

    bars: tuple[Bar, ...]
    dirty: np.ndarray | None
    border: bool | None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--burnt", type=int, default=0, metavar="N")
    parser.add_argument("--drawn", type=int, default=0, metavar="N")
    parser.add_argument("--first", type=int, default=0, metavar="SEED")
    parser.add_argument("--timing", type=int, default=0, metavar="N")
    parser.add_argument("--failures", type=Path)
    parser.add_argument("--only", default="")
    asked = parser.parse_args()
    cv2.setNumThreads(1)
    _warm_up()
    if asked.folder and asked.burnt:
        tally = Tally()
        for name, micrograph, truth in _burnt(asked.folder, asked.burnt, asked.first):
            _measure(tally, name, micrograph, truth, 0.0, asked.failures)
        _print(f"{asked.folder.name}, bars written into real images, {tally.n}", tally)
    elif asked.folder:
        tally = Tally()
        for name, path, truth in _real(asked.folder):
            if asked.only in name:
                started = time.process_time()
                [micrograph, *_] = read(path)
                spent = time.process_time() - started
                _measure(tally, name, micrograph, truth, spent, asked.failures)
        _print(f"{asked.folder.name}, {tally.n} real images", tally)
    if asked.drawn:
        tally = Tally()
        for seed in range(asked.first, asked.first + asked.drawn):
            drawn = draw_panels(seed) if seed % 40 == 39 else draw(seed)
            bar = drawn.bars[0] if drawn.bars else None
            truth = Truth(
                bars=tuple(Bar(bar.line, bar.line_px, bar.um) for bar in drawn.bars),
                dirty=drawn.dirty,
                # Of two fields side by side one is kept: that is neither a border nor the whole.
                border=None if "panels" in drawn.words else "border" in drawn.words,
            )
            name = f"{seed:05d} " + " ".join(f"{k}={v}" for k, v in drawn.words.items())
            if bar:
                name += f" '{bar.label}' {bar.line_px:g}px {bar.colour}"
                name += " band" if drawn.band else ""
            _measure(tally, name, _as_read(drawn.pixels), truth, 0.0, asked.failures)
        _print(f"drawn, {tally.n} images", tally)
    if asked.timing:
        _time(asked.timing)


def _time(n: int) -> None:
    """Print the median CPU time from a JPEG file of 3 megapixels to its crop, on one core."""
    spent: dict[bool, list[float]] = {True: [], False: []}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "field.jpg"
        for seed in range(n):
            drawn = draw(50_000 + seed, size=(1500, 2000), bar=seed % 2 == 0, distractors=False)
            _, data = cv2.imencode(".jpg", drawn.pixels[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
            path.write_bytes(data.tobytes())
            started = time.process_time()
            with contextlib.suppress(FileError):
                _crop(read(path)[0])
            spent[bool(drawn.bars)].append(1000 * (time.process_time() - started))
    print("\n2000 × 1500 px, file to crop, one core\n\n| what | CPU ms, median |\n| --- | --- |")
    print(f"| with bar, label read ({len(spent[True])}) | {median(spent[True]):.0f} |")
    print(f"| no bar ({len(spent[False])}) | {median(spent[False]):.0f} |")


def _warm_up() -> None:
    """Make the reader before anything is timed: a worker makes it once in its life."""
    _crop(_as_read(draw(0, size=(480, 640), bar="solid", border=False).pixels))


def _as_read(pixels: np.ndarray) -> MicrographImage:
    return MicrographImage(
        sha256="0" * 64,
        size_bytes=0,
        page=0,
        pages=1,
        format="PNG",
        pixels=pixels,
        scales=(),
        metadata={},
        warnings=(),
    )


def _crop(micrograph: MicrographImage):
    return crop(micrograph, um_per_px_range=UM_PER_PX)


def _real(folder: Path):
    manifest = json.loads((folder / "MANIFEST.json").read_text("utf-8"))
    for image in manifest.get("images") or manifest["files"]:
        if "has_scale_bar" not in image and "specimen_border" not in image:
            continue
        path = folder / image["file"]
        border = image.get("specimen_border")
        try:
            [first, *_] = read(path)
        except FileError:
            continue
        height, width = first.pixels.shape[:2]
        dirty = np.zeros((height, width), bool)
        for key in ("scale_bar_bbox", "info_band_bbox"):
            if image.get(key):
                x0, y0, x1, y1 = image[key]
                dirty[y0:y1, x0:x1] = True
        known = border is not None and (not border["present"] or "specimen_bbox" in border)
        if border and border["present"] and "specimen_bbox" in border:
            x0, y0, x1, y1 = border["specimen_bbox"]
            by = border.get("tolerance_px", 0)
            beyond = np.ones((height, width), bool)
            beyond[max(0, y0 - by) : y1 + by, max(0, x0 - by) : x1 + by] = False
            dirty |= beyond
        yield (
            image["file"],
            path,
            Truth(
                bars=_real_bars(image),
                dirty=dirty if known or border is None else None,
                border=border["present"] if border else None,
            ),
        )


def _burnt(folder: Path, rounds: int, first: int):
    """Write bars into the part of each real image that shows no graphics; border and all stay."""
    manifest = json.loads((folder / "MANIFEST.json").read_text("utf-8"))
    for number, image in enumerate(manifest.get("images") or manifest["files"]):
        [micrograph, *_] = read(folder / image["file"])
        pixels = micrograph.pixels
        drawn = [image[key] for key in ("scale_bar_bbox", "info_band_bbox") if image.get(key)]
        pixels = pixels[: min([box[1] - 4 for box in drawn], default=len(pixels))]
        if min(pixels.shape[:2]) < LEAST_PX or image["file"] in TWO_BARS:
            continue
        for at in range(first, first + rounds):
            one = burnt(pixels, (at, number))
            yield (
                f"{at} {image['file']} {one.style} '{one.label}' {one.line_px:g}px",
                _as_read(one.pixels),
                Truth((Bar(one.line, one.line_px, one.um),), None, None),
            )


def _real_bars(image) -> tuple[Bar, ...]:
    line = image.get("scale_bar_line_bbox") or image.get("scale_bar_bbox")
    if not line:
        return ()
    um, tolerance_px = image.get("scale_bar_length_um"), image.get("tolerance_px", 0)
    return (Bar(tuple(line), image["scale_bar_px"], um, tolerance_px),)


def _measure(tally, name, micrograph, truth, read_s, failures) -> None:
    tally.n += 1
    started = time.process_time()
    try:
        cut = _crop(micrograph)
    except FileError as error:
        tally.failed("set aside", name)
        if truth.dirty is not None and (~truth.dirty).mean() > 0.1:
            tally.clean_of += 1
        print(name, error.code, file=sys.stderr)
        return
    took = 1000 * (time.process_time() - started + read_s)
    (tally.ms_bar if truth.bars else tally.ms_none).append(took)
    wrong = [*_measure_bar(tally, cut, truth), *_measure_crop(tally, cut, truth)]
    for what in wrong:
        tally.failed(what, name)
    if wrong and failures:
        failures.mkdir(parents=True, exist_ok=True)
        _picture(failures / f"{name[:60].replace('/', '_')}.jpg", micrograph, cut, truth, wrong)


def _measure_bar(tally, cut, truth) -> list[str]:
    bar = cut.micron_bar
    if not truth.bars:
        tally.without_bar += 1
        if bar is not None:
            tally.false_bars += 1
            return [f"false bar ({bar.label})"]
        return []
    tally.with_bar += 1
    wrong = []
    met = next((true for true in truth.bars if bar and _meets(bar.bbox, true.line)), None)
    true = met or truth.bars[0]
    if met:
        tally.bars_found += 1
        allowed = max(2.0, 0.01 * true.line_px) + 0.5 * true.tolerance_px
        if abs(bar.line_px - true.line_px) <= allowed:
            tally.ends += 1
        else:
            wrong.append(f"ends ({bar.line_px:g} for {true.line_px:g})")
    else:
        wrong.append("bar missed")
    if true.um is not None:
        tally.labelled += 1
        if bar is not None and bar.um is not None:
            off = abs(bar.um / bar.line_px * true.line_px / true.um - 1)
            if off <= 0.02:
                tally.right += 1
            else:
                tally.wrong += 1
                wrong.append(f"scale wrong ({bar.label})")
        elif met:
            wrong.append("label not read")
    elif bar is not None and bar.um is not None:
        tally.wrong += 1
        wrong.append(f"scale wrong (no label, read {bar.label})")
    return wrong


def _measure_crop(tally, cut, truth) -> list[str]:
    wrong = []
    x0, y0, x1, y1 = cut.box
    if truth.dirty is not None:
        tally.clean_of += 1
        share = float(truth.dirty[y0:y1, x0:x1].mean())
        if share < 0.01:
            tally.clean += 1
        else:
            wrong.append(f"dirty {share:.3f}")
        if truth.border:
            tally.bordered += 1
            tally.bordered_clean += share < 0.01
        best = compute_clean_area(truth.dirty)
        kept = (x1 - x0) * (y1 - y0) / max(1, best)
        if share < 0.01:
            tally.areas.append(min(kept, 1.0))
            if kept < 0.8:
                wrong.append(f"area {kept:.2f}")
    if truth.border is False:
        tally.whole_of += 1
        if cut.specimen_area.whole_frame:
            tally.whole += 1
        else:
            wrong.append("not kept whole")
    return wrong


def _meets(box, line) -> bool:
    """Return whether a box covers most of a line."""
    w = min(box[2], line[2]) - max(box[0], line[0])
    h = min(box[3], line[3]) - max(box[1], line[1])
    return w > 0.7 * (line[2] - line[0]) and h > 0


def _picture(path, micrograph, cut, truth, wrong) -> None:
    image = np.ascontiguousarray(micrograph.pixels[:, :, ::-1])
    if truth.dirty is not None:
        outlines, _ = cv2.findContours(
            truth.dirty.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE
        )
        cv2.drawContours(image, outlines, -1, (0, 200, 255), 1)
    cv2.rectangle(image, cut.box[:2], (cut.box[2] - 1, cut.box[3] - 1), (0, 255, 0), 2)
    if not cut.specimen_area.whole_frame:
        polygon = np.array(cut.specimen_area.polygon, np.int32)
        cv2.polylines(image, [polygon], True, (255, 100, 0), 2)
    if cut.band:
        cv2.rectangle(image, cut.band[:2], (cut.band[2] - 1, cut.band[3] - 1), (255, 0, 255), 2)
    if cut.micron_bar:
        box = cut.micron_bar.bbox
        cv2.rectangle(image, box[:2], box[2:], (0, 0, 255), 1)
    head = np.zeros((24, image.shape[1], 3), np.uint8)
    cv2.putText(head, " | ".join(wrong)[:120], (2, 16), 0, 0.45, (0, 255, 255), 1)
    _, data = cv2.imencode(".jpg", np.vstack([head, image]))
    path.write_bytes(data.tobytes())


def _print(title: str, tally: Tally) -> None:
    def share(part: int, of: int) -> str:
        return f"{part}/{of}" + (f" ({100 * part / of:.1f} %)" if of else "")

    none = tally.labelled - tally.right - tally.wrong
    rows = [
        ("bars found", share(tally.bars_found, tally.with_bar)),
        ("false bars on images without one", share(tally.false_bars, tally.without_bar)),
        ("scale right within 2 %", share(tally.right, tally.labelled)),
        ("scale wrong", share(tally.wrong, tally.labelled)),
        ("scale not read", share(none, tally.labelled)),
        ("bar ends within 2 px or 1 %", share(tally.ends, tally.bars_found)),
        ("kept rectangle < 1 % dirty", share(tally.clean, tally.clean_of)),
        ("… of those with a border", share(tally.bordered_clean, tally.bordered)),
        ("area kept, median", f"{median(tally.areas):.3f}" if tally.areas else "-"),
        ("images without border kept whole", share(tally.whole, tally.whole_of)),
        ("CPU ms with bar, median", f"{median(tally.ms_bar):.0f}" if tally.ms_bar else "-"),
        ("CPU ms without bar, median", f"{median(tally.ms_none):.0f}" if tally.ms_none else "-"),
    ]
    print(f"\n{title}\n")
    print("| what | result |\n| --- | --- |")
    for what, result in rows:
        print(f"| {what} | {result} |")
    for what, names in sorted(tally.failures.items()):
        for name in names:
            print(f"  {what}: {name}")


if __name__ == "__main__":
    main()
