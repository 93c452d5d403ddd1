"""Say per kind how much of what is strange is flagged, and how often a known field is.

    python tests/bench/strangeness.py --drawing other --known 200 --fresh 120 --each 24
    python tests/bench/strangeness.py --drawing demo --real ../shared/data/micrographs
    python tests/bench/strangeness.py --drawing other --ladder --yardsticks --leave-out M8

Two drawings that share no line: the demo's needles, and `other_drawing`'s filtered noise. No
average over kinds is printed, on purpose.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import other_drawing
import torch

from agent.demo import drawing as demo_drawing
from agent.demo import strange as demo_strange
from model.conformal import alarm_limit
from model.dataset import Example
from model.frame import Field
from model.gaussian import Clouds, unit
from model.network import frozen_lite0
from model.strangeness import Known, Strangeness, looker_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

ALPHA = 0.02
CODES = other_drawing.CODES
SCALES = (0.2, 0.2, 0.15, 0.25)

Box = "tuple[float, float, float, float] | None"


@dataclass(frozen=True)
class Drawing:
    """One program that draws: a field of a code, or of a strange kind, and where that is."""

    name: str
    kinds: tuple[str, ...]
    draw: Callable[[str, int, str, float], tuple[Field, Box]]


def _demo(code: str, seed: int, kind: str, um: float) -> tuple[Field, Box]:
    drawn = demo_drawing.draw(code, seed=seed, strange=kind, um_per_px=um, bar=None, border=False)
    return _field(drawn.pixels, um), drawn.where


def _other(code: str, seed: int, kind: str, um: float) -> tuple[Field, Box]:
    drawn = other_drawing.draw(code, seed=seed, strange=kind, um_per_px=um)
    return _field(drawn.pixels, um), _box(drawn.mask)


DRAWINGS = {
    "demo": Drawing("demo", demo_strange.KINDS, _demo),
    "other": Drawing("other", (*other_drawing.LOCAL, *other_drawing.WHOLE), _other),
}

SHIFTS: dict[str, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    "brighter by 10 %": lambda x: _clipped(x * 1.1),
    "darker by 10 %": lambda x: _clipped(x * 0.9),
    "white balance": lambda x: _clipped(x * np.array([1.06, 1.0, 0.94])),
    "JPEG 85": lambda x: cv2.imdecode(
        cv2.imencode(".jpg", x, [cv2.IMWRITE_JPEG_QUALITY, 85])[1], cv2.IMREAD_COLOR
    ),
    "blur of 0.7 px": lambda x: cv2.GaussianBlur(x, (0, 0), 0.7),
}


def _clipped(light: NDArray[np.floating]) -> NDArray[np.uint8]:
    return np.clip(light, 0, 255).astype(np.uint8)


def _field(pixels: NDArray[np.uint8], um: float | None) -> Field:
    return Field(np.ascontiguousarray(pixels), np.ones(pixels.shape[:2], bool), um)


def _box(mask: NDArray[np.bool_] | None) -> Box:
    if mask is None:
        return None
    y, x = np.nonzero(mask)
    return (x.min(), y.min(), x.max() + 1, y.max() + 1)


def known_fields(
    drawing: Drawing, count: int, first: int, codes: Sequence[str]
) -> Iterator[Example]:
    for i in range(count):
        code, um = codes[i % len(codes)], SCALES[i // len(codes) % 4]

        def load(code: str = code, seed: int = first + i, um: float = um) -> Field:
            return drawing.draw(code, seed, "", um)[0]

        yield Example(f"{first + i}", code, f"{first + i}", load)


# ------------------------------------------------------------------ figures


def auroc(usual: NDArray[np.float64], strange: NDArray[np.float64]) -> float:
    below = (usual[None] < strange[:, None]).mean() + 0.5 * (usual[None] == strange[:, None]).mean()
    return float(below)


def told(
    kind: str, found: Sequence[Strangeness], usual: NDArray[np.float64], hits: str = ""
) -> None:
    scores = np.array([one.score for one in found])
    missed = np.quantile(scores, 0.05, method="lower")
    print(
        f"{kind:22} n {len(found):3}  AUROC {auroc(usual, scores):.3f}  "
        f"FPR95 {(usual >= missed).mean():.2f}  "
        f"TPR {np.mean([one.flagged for one in found]):.2f} {hits}",
        flush=True,
    )


def hit(found: Strangeness, field: Field, where: Box) -> bool:
    """Whether the strangest cell lies in the box, give or take a cell."""
    height, width = field.valid.shape
    row, column = np.unravel_index(np.argmax(found.heat), found.heat.shape)
    y, x = (row + 0.5) * height / found.heat.shape[0], (column + 0.5) * width / found.heat.shape[1]
    around = height / found.heat.shape[0]
    x0, y0, x1, y1 = where
    return bool(x0 - around <= x < x1 + around and y0 - around <= y < y1 + around)


def told_kind(
    known: Known, drawing: Drawing, kind: str, count: int, usual: NDArray[np.float64]
) -> None:
    drawn = [
        drawing.draw(CODES[i % 8], 5000 + 97 * i, kind, SCALES[i // 8 % 4]) for i in range(count)
    ]
    found = known.judge([field for field, _ in drawn], ALPHA)
    places = [hit(o, f, w) for o, (f, w) in zip(found, drawn, strict=True) if w is not None]
    told(kind, found, usual, f" place {np.mean(places):.2f}" if places else "")


def told_coarse(known: Known, drawing: Drawing, count: int, usual: NDArray[np.float64]) -> None:
    codes = other_drawing.COARSE
    fields = [
        drawing.draw(codes[i % len(codes)], 9000 + i, "", SCALES[i // 6 % 4])[0]
        for i in range(count)
    ]
    told("coarser than trained", known.judge(fields, ALPHA), usual)


def told_real(known: Known, folder: Path, usual: NDArray[np.float64]) -> None:
    fields = []
    for path in sorted(folder.iterdir()):
        pixels = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
        if pixels is not None:  # the lower tenth holds the bar
            kept = pixels[: int(0.88 * pixels.shape[0]), :, ::-1][:1200, :1600]
            fields.append(_field(kept, None))
    told("real, other materials", known.judge(fields, ALPHA), usual)


def told_ladder(known: Known, count: int) -> None:
    for kind in ("inclusion", "pearlite", "ferrite", "stain"):
        line = []
        for radius in (2.0, 3.0, 4.5, 7.0, 10.0, 15.0):
            drawn = [
                other_drawing.draw(CODES[i % 8], seed=7000 + i, strange=kind, strange_um=radius)
                for i in range(count)
            ]
            found = known.judge([_field(d.pixels, d.um_per_px) for d in drawn], ALPHA)
            line.append(f"{radius:g} µm {np.mean([one.flagged for one in found]):.2f}")
        print(f"ladder {kind:15} n {count} each  " + "  ".join(line), flush=True)


def told_yardsticks(
    taught: Sequence[Example], fresh: Sequence[Field], strange: Sequence[Field]
) -> None:
    """Score one kind by the companions on the same last-layer embeddings."""
    looker = looker_of(frozen_lite0())

    def seen(fields: Sequence[Field]) -> NDArray[np.float64]:
        return unit(np.stack([looker.look(field).whole[-1] for field in fields]))

    learned, usual, odd = seen([e.load() for e in taught]), seen(fresh), seen(strange)
    clouds = Clouds.around(learned, [e.code for e in taught])
    centre = learned.mean(axis=0)
    values, axes = np.linalg.eigh(np.cov((learned - centre).T))
    rest = axes[:, np.argsort(values)[:-64]]
    scores = {
        "kNN, cosine, k = 1": lambda z: 1 - (z @ learned.T).max(axis=1),
        "Mahalanobis++, last layer": lambda z: clouds.squared(z).min(axis=1),
        "ViM residual, 64 kept": lambda z: np.linalg.norm((z - centre) @ rest, axis=1),
    }
    for name, score in scores.items():
        print(f"  {name:28} AUROC {auroc(score(usual), score(odd)):.3f}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--drawing", choices=sorted(DRAWINGS), default="other")
    parser.add_argument("--known", type=int, default=200)
    parser.add_argument("--fresh", type=int, default=120)
    parser.add_argument("--each", type=int, default=24)
    parser.add_argument("--shifts", type=int, default=60, help="fresh fields per harmless shift")
    parser.add_argument("--real", type=Path)
    parser.add_argument("--ladder", action="store_true")
    parser.add_argument("--yardsticks", action="store_true")
    parser.add_argument("--leave-out", default="", help="a code that is not taught")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    drawing = DRAWINGS[chosen.drawing]
    codes = [code for code in CODES if code != chosen.leave_out]

    taught = list(known_fields(drawing, chosen.known, 1000, codes))
    kept = {example.key: example.load() for example in taught}
    ready = [Example(e.key, e.code, e.group, lambda e=e: kept[e.key]) for e in taught]
    began, spent = time.perf_counter(), time.process_time()
    known = Known.learn(ready, subtype_of=lambda code: code[0])
    print(
        f"learned {chosen.known} fields of 800 × 600 px, drawing {drawing.name!r}: "
        f"{time.perf_counter() - began:.0f} s, {time.process_time() - spent:.0f} s of one core"
    )
    fresh = [e.load() for e in known_fields(drawing, chosen.fresh, 3000, codes)]
    spent = time.process_time()
    found = known.judge(fresh, ALPHA)
    each = (time.process_time() - spent) / len(fresh)
    usual = np.array([one.score for one in found])
    share = np.mean([one.flagged for one in found])
    print(
        f"known, never seen       n {len(fresh):3}  flagged {share:.3f}"
        f"  (chance allows {alarm_limit(ALPHA, len(known), len(fresh)):.3f} at alpha {ALPHA})"
        f"  {1000 * each:.0f} ms of one core each"
    )
    defects = [[defect.name for defect in known.defects(field)] for field in fresh]
    print(f"known, with a defect    n {len(fresh):3}  {np.mean([bool(d) for d in defects]):.3f}")
    for kind in drawing.kinds:
        told_kind(known, drawing, kind, chosen.each, usual)
    told_coarse(known, drawing, 2 * chosen.each, usual)
    if chosen.leave_out:
        left = [drawing.draw(chosen.leave_out, 8000 + i, "", 0.2)[0] for i in range(chosen.each)]
        told(f"left out: {chosen.leave_out}", known.judge(left, ALPHA), usual)
    if chosen.real:
        told_real(known, chosen.real, usual)
    for name, shift in SHIFTS.items():
        shifted = [_field(shift(f.pixels), f.um_per_px) for f in fresh[: chosen.shifts]]
        again = known.judge(shifted, ALPHA)
        share = np.mean([one.flagged for one in again])
        print(f"harmless: {name:17} n {len(again):3}  flagged {share:.3f}", flush=True)
    if chosen.ladder:
        told_ladder(known, chosen.each)
    if chosen.yardsticks:
        for kind in drawing.kinds:
            print(f"yardsticks, {kind}")
            odd = [
                drawing.draw(CODES[i % 8], 5000 + 97 * i, kind, 0.2)[0] for i in range(chosen.each)
            ]
            told_yardsticks(ready, fresh, odd)
    return 0


if __name__ == "__main__":
    sys.exit(main())
