"""Measure crops of fields with their mount as a strip at a side, next to a mean of rows.

    python tests/bench/border_strips.py ../shared/data [--labs report] [--pictures FOLDER]

Steel and mount are real and come from different repositories; the labs of "choose" decided every
limit, those of "report" none. The strip is 0.5 to 30 % deep at one side, at two, in a corner, or
a band across, which leaves two specimens. Whole fields of the same pictures have no border.
Without the folder nothing is measured.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from composites import DIRTY, UM_PER_PX, compute_clean_area, repeat_mirrored
from drawn.border import draw_resin
from drawn.steel import soft_noise
from scale_bars import format_share

from agent.errors import FileError
from agent.imaging.crop import crop
from agent.imaging.readers.read import MicrographImage

SIZES = ((1944, 2592), (1200, 1600), (960, 1280), (720, 960))
KINDS = ("side", "side", "side", "side", "thin", "thin", "tilted", "two_sides", "corner", "band")
STEEL = {
    "choose": ("uhcs/micrographs/*.png", "micrographs/bnsreenu_[ATc]*.jpg"),
    "report": (
        "other_labs/repositoryfiles*/*.jpg",
        "other_labs/ronan498*/*.png",
        "micrographs/nist*",
        "micrographs/nasa_ni*.png",
    ),
}
MOUNT = {
    "choose": (
        ("micrographs/nasa_ebc_010417_4_S2480023.png", (0, 75)),
        ("micrographs/nasa_ebc_032919_10_100cyc0017.png", (0, 340)),
        ("micrographs/nasa_ebc_040617_3_S0410018.png", (820, 1024)),
        ("micrographs/nasa_ebc_040617_3_S0410019.png", (720, 1024)),
        ("micrographs/nasa_ebc_040617_3_S0410028.png", (0, 300)),
    ),
    "report": (
        ("other_labs/gmarxcc+image-process-decarb/1a1r9.png", (0, 270)),
        ("other_labs/gmarxcc+image-process-decarb/1a1r9.png", (290, 390)),
        ("other_labs/gmarxcc+image-process-decarb/1a2str.png", (120, 330)),
        ("other_labs/gmarxcc+image-process-decarb/1a4str.png", (170, 360)),
        ("other_labs/gmarxcc+image-process-decarb/str.png", (560, 660)),
    ),
}
SEED = {"choose": 510_000, "report": 520_000}
_FRAMED = ("image_1001.png",)  # a white frame around it


@dataclass(frozen=True)
class Strip:
    """A field: (h, w, 3) uint8, its kind, and where its mount is, (h, w) bool."""

    pixels: np.ndarray
    kind: str
    dirty: np.ndarray
    words: str


@dataclass
class Tally:
    """Counts of one kind of field."""

    count: int = 0
    clean: int = 0
    whole: int = 0
    named: int = 0
    kept: list[float] = field(default_factory=list)
    beyond: list[float] = field(default_factory=list)
    peer_clean: int = 0
    peer_kept: list[float] = field(default_factory=list)


def list_steel(folder: Path, labs: str) -> list[Path]:
    """Return the pictures that show steel, or another metal, throughout."""
    return [
        path
        for pattern in STEEL[labs]
        for path in sorted(folder.glob(pattern))
        if not path.name.endswith(_FRAMED)
    ]


def compose(labs: str, seed: int, folder: Path, kind: str = "") -> Strip:
    """Compose a field; `kind` is one of `KINDS` or "whole", any with a border where it is empty."""
    rng = np.random.default_rng([SEED[labs], seed, kind == "whole"])
    kind = kind or str(rng.choice(KINDS))
    height, width = SIZES[int(rng.choice(len(SIZES), p=[0.05, 0.15, 0.4, 0.4]))]
    colour = rng.random() < 0.6
    texture, name = _draw_steel(rng, list_steel(folder, labs), height, width)
    steel = _photograph(texture, rng, colour=colour)
    nothing = np.zeros((height, width), bool)
    if kind == "whole":
        return Strip(_expose(steel, rng), kind, nothing, name)
    depth, words = _draw_strip(rng, kind, height, width)
    mount, mount_name = _draw_mount(rng, MOUNT[labs], folder, steel, colour=colour)
    soft = float(np.exp(rng.uniform(np.log(0.6), np.log(0.004 * height))))
    if rng.random() < 0.3:  # polishing rounds the edge out of focus and out of the light
        reach = rng.uniform(0.004, 0.025) * height
        near = np.clip(1 - depth / reach, 0, 1)[:, :, None].astype(np.float32)
        blurred = cv2.GaussianBlur(steel, (0, 0), reach / 6)
        steel = (steel * (1 - near) + blurred * near) * (1 - rng.uniform(0, 0.25) * near)
        words += " rounded"
    alpha = (1 / (1 + np.exp(-np.clip(depth / soft, -20, 20))))[:, :, None]
    out = steel * alpha + mount * (1 - alpha)
    if rng.random() < 0.15:
        out += rng.uniform(20, 80) * np.exp(-((depth / (2 * soft)) ** 2))[:, :, None]
    return Strip(_expose(out, rng), kind, depth < 0, f"{name} {mount_name} {words}")


def _draw_steel(
    rng: np.random.Generator, paths: list[Path], height: int, width: int
) -> tuple[np.ndarray, str]:
    path = paths[int(rng.integers(len(paths)))]
    bgr = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    share = rng.uniform(0.5, 1.0)
    high = int(share * min(bgr.shape[0], bgr.shape[1] * height / width))
    wide = int(high * width / height)
    y, x = int(rng.integers(bgr.shape[0] - high + 1)), int(rng.integers(bgr.shape[1] - wide + 1))
    part = bgr[y : y + high, x : x + wide, ::-1]
    part = part[:, ::-1] if rng.random() < 0.5 else part
    part = part[::-1] if rng.random() < 0.5 else part
    size = (width, height)
    return cv2.resize(part, size, interpolation=cv2.INTER_CUBIC).astype(np.float32), path.name


def _photograph(rgb: np.ndarray, rng: np.random.Generator, *, colour: bool) -> np.ndarray:
    """Change tone, contrast, colour and focus, and shade the field as a lamp does."""
    height, width = rgb.shape[:2]
    low, high = np.percentile(rgb, [2, 98])
    span = rng.uniform(50, 190)
    top = rng.uniform(max(90, span), 245)
    rgb = top - span + span * (rgb - low) / max(20.0, high - low)
    if colour:
        rgb = rgb * np.array([rng.normal(1, 0.06), 1, rng.normal(0.95, 0.09)], np.float32)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    cx, cy = rng.normal(0, 0.25, 2)
    shade = 1 - rng.uniform(0, 0.3) * ((x - cx) ** 2 + (y - cy) ** 2) / 2
    turn = rng.uniform(0, 2 * np.pi)
    shade *= 1 - rng.uniform(0, 0.12) * (x * np.cos(turn) + y * np.sin(turn))
    rgb = rgb * shade[:, :, None]
    if rng.random() < 0.3:
        rgb = cv2.GaussianBlur(rgb, (0, 0), rng.uniform(0.5, 0.002 * height))
    return rgb.astype(np.float32)


def _draw_strip(
    rng: np.random.Generator, kind: str, height: int, width: int
) -> tuple[np.ndarray, str]:
    """Return how deep in the steel every pixel lies, below 0 in the mount."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    deep = float(np.exp(rng.uniform(np.log(0.03), np.log(0.3)))) * height
    if kind == "thin":
        deep = float(np.exp(rng.uniform(np.log(0.01), np.log(0.03)))) * height
    sides = [y, height - 1 - y, x, width - 1 - x]
    side = int(rng.integers(4))
    tilt = rng.normal(0, 0.6) if kind != "tilted" else rng.choice([-1, 1]) * rng.uniform(1, 7)
    along = (x - width / 2) if side < 2 else (y - height / 2)
    depth = sides[side] - deep + np.tan(np.deg2rad(tilt)) * along
    words = f"{kind} side {side} deep {deep / height:.3f}"
    if kind == "two_sides":
        other = float(np.exp(rng.uniform(np.log(0.015), np.log(0.2)))) * height
        depth = np.minimum(
            depth, sides[int(rng.choice([i for i in range(4) if i != side]))] - other
        )
    elif kind == "corner":
        share = rng.uniform(0.08, 0.4)
        turn = np.deg2rad(rng.uniform(20, 70))
        depth = (
            np.cos(turn) * sides[int(rng.integers(2))]
            + np.sin(turn) * sides[2 + int(rng.integers(2))]
        )
        depth = depth - share * height
        words = f"corner {share:.2f}"
    elif kind == "band":
        middle = rng.uniform(0.25, 0.75) * (height if side < 2 else width)
        half = 0.5 * rng.uniform(0.02, 0.2) * height
        depth = np.abs(sides[side] - middle + np.tan(np.deg2rad(rng.normal(0, 3))) * along) - half
        words = f"band {2 * half / height:.3f}"
    rough = rng.uniform(0, 0.0015) * height
    depth = depth + rough * soft_noise(rng, height, width, 0.01 * height)
    if rng.random() < 0.4 and deep > 0.03 * height:
        depth = depth + rng.uniform(0, 0.006) * height * soft_noise(
            rng, height, width, 0.3 * height
        )
    return depth.astype(np.float32), words


def _draw_mount(
    rng: np.random.Generator,
    mounts: tuple[tuple[str, tuple[int, int]], ...],
    folder: Path,
    steel: np.ndarray,
    *,
    colour: bool,
) -> tuple[np.ndarray, str]:
    """Return a real mount, or a drawn one, of a tone that the steel does not have on average."""
    height, width = steel.shape[:2]
    level = float(steel.mean())
    if rng.random() < 0.25:
        kind = str(rng.choice(["dark", "shaded", "grainy", "cloudy", "filled", "bright"]))
        return draw_resin(rng, kind, height, width, level, steel, colour=colour), kind
    name, (top, foot) = mounts[int(rng.integers(len(mounts)))]
    bgr = cv2.imdecode(np.frombuffer((folder / name).read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    part = bgr[top:foot]
    zoom = float(np.exp(rng.uniform(np.log(0.7), np.log(2.5))))
    part = cv2.resize(part, None, fx=zoom, fy=zoom)
    tile = repeat_mirrored(part, height, width)[:, :, ::-1].astype(np.float32)
    if rng.random() < 0.3:
        tile = cv2.GaussianBlur(tile, (0, 0), rng.uniform(1, 0.006 * height))
    tone = level * rng.uniform(0.1, 0.7)
    out = tone + rng.uniform(0.5, 1.6) * (tile - float(tile.mean()))
    if colour:
        out = out * np.array([rng.normal(1, 0.1), 1, rng.normal(1, 0.12)], np.float32)
    turn = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    shade = 1 + rng.uniform(0, 0.25) * (x * np.cos(turn) + y * np.sin(turn))
    return (out * shade[:, :, None]).astype(np.float32), Path(name).name


def _expose(rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    noisy = rgb + rng.normal(0, rng.uniform(0.3, 3), rgb.shape[:2])[:, :, None]
    pixels = np.clip(noisy, 0, 255).astype(np.uint8)
    if rng.random() < 0.5:
        quality = int(rng.integers(75, 96))
        _, packed = cv2.imencode(".jpg", pixels[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        pixels = np.ascontiguousarray(cv2.imdecode(packed, cv2.IMREAD_COLOR)[:, :, ::-1])
    return pixels


# ------------------------------------------------------------------------------ the yardstick


def crop_by_rows(pixels: np.ndarray) -> tuple[int, int, int, int]:
    """Return the box that the means of rows and columns give.

    At each side the largest step of the mean over a window of 1 % is an edge where the tone beyond
    it differs from the field's by three times the spread of the field's rows.
    """
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    height, width = grey.shape
    edges = []
    for profile in (grey.mean(axis=1), grey.mean(axis=0)):
        n = len(profile)
        inner = profile[n // 3 : 2 * n // 3]
        spread = max(2.0, float(inner.std()))
        for values in (profile, profile[::-1]):
            wide = max(3, n // 100)
            sums = np.concatenate([[0.0], np.cumsum(values)])
            at = np.arange(wide, n // 2)
            before = (sums[at] - sums[at - wide]) / wide
            after = (sums[at + wide] - sums[at]) / wide
            best = int(np.argmax(np.abs(after - before)))
            tone = float(values[: at[best]].mean())
            differs = abs(tone - float(np.median(inner))) > 3 * spread
            edges.append(int(at[best]) + 2 if differs else 0)
    return edges[2], edges[0], width - edges[3], height - edges[1]


# --------------------------------------------------------------------------------- measurement


def measure(strip: Strip, tally: Tally) -> tuple[tuple[int, int, int, int] | None, list[str]]:
    """Crop a field, count the result, and return the box and what is wrong."""
    image = MicrographImage(
        sha256="0" * 64, size_bytes=0, page=0, pages=1, format="PNG", pixels=strip.pixels,
        scales=(), metadata={}, warnings=(),
    )  # fmt: skip
    tally.count += 1
    best = compute_clean_area(strip.dirty)
    peer = crop_by_rows(strip.pixels)
    tally.peer_clean += _is_clean(strip.dirty, peer)
    tally.peer_kept.append(min(1.0, (peer[2] - peer[0]) * (peer[3] - peer[1]) / best))
    try:
        cut = crop(image, um_per_px_range=UM_PER_PX)
    except FileError as error:
        tally.kept.append(0.0)
        return None, [error.code.value]
    x0, y0, x1, y1 = cut.box
    tally.whole += cut.specimen_area.whole_frame
    tally.named += "several_specimens" in cut.warnings
    kept = min(1.0, (x1 - x0) * (y1 - y0) / best)
    tally.kept.append(kept)
    clean = _is_clean(strip.dirty, cut.box)
    tally.clean += clean
    if clean and not cut.specimen_area.whole_frame and strip.kind in ("side", "thin"):
        tally.beyond.append(_measure_beyond(strip.dirty, cut.box))
    wrong = [] if clean else [f"dirty {strip.dirty[y0:y1, x0:x1].mean():.3f}"]
    if kept < 0.9:
        wrong.append(f"kept {kept:.2f}")
    return cut.box, [*wrong, *(cut.warnings if wrong else ())]


def _is_clean(dirty: np.ndarray, box: tuple[int, int, int, int]) -> bool:
    x0, y0, x1, y1 = box
    return float(dirty[y0:y1, x0:x1].mean()) < DIRTY


def _measure_beyond(dirty: np.ndarray, box: tuple[int, int, int, int]) -> float:
    """Return how far past the border the crop ends, as a share of the height."""
    x0, y0, x1, y1 = box
    height, width = dirty.shape
    rows, columns = dirty[:, x0:x1].any(axis=1), dirty[y0:y1].any(axis=0)
    gaps = []
    for full, start, foot, size in ((rows, y0, y1, height), (columns, x0, x1, width)):
        if full[: size // 2].any():
            gaps.append(start - 1 - int(np.flatnonzero(full[: size // 2])[-1]))
        if full[size // 2 :].any():
            gaps.append(size // 2 + int(np.flatnonzero(full[size // 2 :])[0]) - foot)
    return max(gaps, default=0) / height


def write_picture(
    path: Path, strip: Strip, box: tuple[int, int, int, int] | None, words: str
) -> None:
    """Write a field with its true outline and the kept rectangle."""
    image = np.ascontiguousarray(strip.pixels[:, :, ::-1])
    thick = max(1, image.shape[0] // 400)
    outlines, _ = cv2.findContours(
        strip.dirty.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE
    )
    cv2.drawContours(image, outlines, -1, (0, 200, 255), thick)
    if box:
        cv2.rectangle(image, box[:2], (box[2] - 1, box[3] - 1), (0, 255, 0), thick)
    image = cv2.resize(image, (800, 800 * image.shape[0] // image.shape[1]))
    cv2.putText(image, words[:110], (4, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 255, 0), 1)
    _, packed = cv2.imencode(".jpg", image)
    path.write_bytes(packed.tobytes())


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--labs", choices=tuple(STEEL), default="choose")
    parser.add_argument("--count", type=int, default=100, metavar="N", help="fields of each kind")
    parser.add_argument("--first", type=int, default=0, metavar="SEED", help="first field")
    parser.add_argument("--pictures", type=Path, help="folder for pictures of what is wrong")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    if not list_steel(options.folder, options.labs):
        print(f"no real pictures in {options.folder}: nothing is measured")
        return 0
    if options.pictures is not None:
        options.pictures.mkdir(parents=True, exist_ok=True)
    tallies: dict[str, Tally] = {}
    spent_s = 0.0
    for whole in (False, True):
        for seed in range(options.first, options.first + options.count):
            strip = compose(options.labs, seed, options.folder, "whole" if whole else "")
            tally = tallies.setdefault(strip.kind, Tally())
            spent_s -= time.process_time()
            box, wrong = measure(strip, tally)
            spent_s += time.process_time()
            if wrong:
                print(f"{seed}: {wrong} {strip.words}", flush=True)
                if options.pictures is not None:
                    name = f"{options.labs}-{strip.kind}-{seed:04d}.jpg"
                    write_picture(options.pictures / name, strip, box, f"{wrong} {strip.words}")
    total = Tally()
    for each in [tally for kind, tally in tallies.items() if kind != "whole"]:
        for name in Tally.__dataclass_fields__:
            setattr(total, name, getattr(total, name) + getattr(each, name))
    for kind, each in [*sorted(tallies.items()), ("all with a border", total)]:
        beyond = sorted(each.beyond) or [0.0]
        print(f"{kind}: clean {format_share(each.clean, each.count)}, whole {each.whole}")
        print(f"  kept median {median(each.kept):.3f}, mean {np.mean(each.kept):.3f}")
        most = beyond[int(0.9 * len(beyond))]
        print(f"  past the border {median(beyond):.4f}, 9 of 10 up to {most:.4f}")
        print(f"  several specimens named {each.named}")
        rows = format_share(each.peer_clean, each.count)
        print(f"  a mean of rows: clean {rows}, kept median {median(each.peer_kept):.3f}")
    print(f"{spent_s / (2 * options.count):.3f} s of processor time each")
    return 0


if __name__ == "__main__":
    sys.exit(main())
