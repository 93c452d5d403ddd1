"""Draw the fields that `strangeness.py` measures on: known, strange, harmlessly other, and spoilt.

In:  a drawing's name. Out: `Drawn` fields, the same ones every time. Three drawings that share no
line: the demo's needles, `other_drawing`'s filtered noise, `third_drawing`'s packets of laths.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import other_drawing
import third_drawing

from agent.demo.synthetic import anomalies as demo_strange
from agent.demo.synthetic import micrograph as demo_drawing
from model.framing import Field

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]
    Box = tuple[float, float, float, float]

CODES, COARSE = other_drawing.CODES, other_drawing.COARSE
SCALES = (0.2, 0.2, 0.15, 0.25)
KNOWN, FRESH, COARSER, LEFT = 1000, 3000, 9000, 8000
"""Where the seeds of each set begin; a strange field's is 5000 + 97 × its number."""


@dataclass(frozen=True)
class Drawn:
    """A field, its code, and where its strange thing is (None: nowhere, or everywhere)."""

    field: Field
    code: str
    where: Box | None


@dataclass(frozen=True)
class Drawing:
    """One program that draws.

    Args:
        kinds: What it can draw that is strange.
        draw: Code, seed, kind, µm per pixel, radius in µm or None → pixels and the strange box.
        whole: Those of `kinds` that fill the field.
        sizes: Kinds whose size can be chosen.
    """

    name: str
    kinds: tuple[str, ...]
    draw: Callable[[str, int, str, float, float | None], tuple[Pixels, Box | None]]
    whole: tuple[str, ...]
    sizes: tuple[str, ...] = ()


def _demo(code: str, seed: int, kind: str, um: float, _: float | None) -> tuple[Pixels, Box | None]:
    drawn = demo_drawing.draw_micrograph(
        code, seed=seed, strange=kind, um_per_px=um, bar=None, border=False
    )
    return drawn.pixels, drawn.where


def _of(module: object) -> Callable[..., tuple[Pixels, Box | None]]:
    def draw(
        code: str, seed: int, kind: str, um: float, radius_um: float | None
    ) -> tuple[Pixels, Box | None]:
        drawn = module.draw(code, seed=seed, strange=kind, um_per_px=um, strange_um=radius_um)
        return drawn.pixels, _box(drawn.mask)

    return draw


def _box(mask: NDArray[np.bool_] | None) -> Box | None:
    if mask is None:
        return None
    y, x = np.nonzero(mask)
    return (x.min(), y.min(), x.max() + 1, y.max() + 1)


DRAWINGS = {
    "demo": Drawing("demo", demo_strange.KINDS, _demo, demo_strange.WHOLE[:4]),
    "other": Drawing(
        "other",
        (*other_drawing.LOCAL, *other_drawing.WHOLE),
        _of(other_drawing),
        other_drawing.WHOLE,
        other_drawing.LOCAL,
    ),
    "third": Drawing(
        "third",
        (*third_drawing.LOCAL, *third_drawing.WHOLE),
        _of(third_drawing),
        third_drawing.WHOLE,
        third_drawing.LOCAL,
    ),
}


class Shelf:
    """Draws fields, and keeps them in a folder where one is given: drawing takes most of the time.

    Args:
        drawing: Which program draws. folder: where its fields are kept, or None.
    """

    def __init__(self, drawing: Drawing, folder: Path | None) -> None:
        self.drawing, self._folder = drawing, folder

    def one(
        self, code: str, seed: int, kind: str = "", um: float = 0.2, radius_um: float | None = None
    ) -> Drawn:
        size = f"-{radius_um:g}um" if radius_um else ""
        name = f"{self.drawing.name}-{code}-{seed}-{kind}-{um:g}{size}.npz"
        path = self._folder / name if self._folder else None
        if path is not None and path.is_file():
            kept = np.load(path)
            pixels, where = kept["pixels"], tuple(kept["where"].tolist()) or None
        else:
            pixels, where = self.drawing.draw(code, seed, kind, um, radius_um)
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                np.savez(path, pixels=pixels, where=np.array(where or (), int))
        return Drawn(field_of(pixels, um), code, where)

    def known(self, count: int, first: int = KNOWN) -> list[Drawn]:
        """Fields of taught codes, at four scales."""
        return [self.one(CODES[i % 8], first + i, um=SCALES[i // 8 % 4]) for i in range(count)]

    def strange(self, kind: str, count: int, radius_um: float | None = None) -> list[Drawn]:
        return [
            self.one(CODES[i % 8], 5000 + 97 * i, kind, SCALES[i // 8 % 4], radius_um)
            for i in range(count)
        ]

    def coarser(self, count: int) -> list[Drawn]:
        """Sizes coarser than any taught one."""
        return [self.one(COARSE[i % 6], COARSER + i, um=SCALES[i // 6 % 4]) for i in range(count)]


def field_of(pixels: Pixels, um: float | None) -> Field:
    return Field(np.ascontiguousarray(pixels), np.ones(pixels.shape[:2], bool), um)


def changed(field: Field, change: Callable[[Pixels], NDArray[np.floating]]) -> Field:
    """Return the same field with other pixels."""
    return field_of(np.clip(change(field.pixels), 0, 255).astype(np.uint8), field.um_per_px)


# ------------------------------------------------------------------ harmless, and spoilt


def _jpeg(pixels: Pixels) -> Pixels:
    _, coded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 85])
    return cv2.imdecode(coded, cv2.IMREAD_COLOR)


HARMLESS: dict[str, Callable[[Pixels], NDArray[np.floating]]] = {
    "brighter by 10 %": lambda x: x * 1.1,
    "darker by 10 %": lambda x: x * 0.9,
    "white balance": lambda x: x * np.array([1.06, 1.0, 0.94]),
    "JPEG 85": _jpeg,
    "blur of 0.7 px": lambda x: cv2.GaussianBlur(x, (0, 0), 0.7),
}


def _scratched(pixels: Pixels) -> Pixels:
    height, width = pixels.shape[:2]
    drawn = pixels.copy()
    for start, end in ((0.1, 0.65), (0.25, 0.8), (0.55, 0.9)):
        ends = ((0, int(start * height)), (width - 1, int(end * height)))
        cv2.line(drawn, *ends, (70, 70, 70), 3, cv2.LINE_AA)
    return drawn


def _stained(pixels: Pixels) -> NDArray[np.floating]:
    height, width = pixels.shape[:2]
    y, x = np.mgrid[:height, :width]
    cover = np.clip(1.5 - np.hypot(x - 0.4 * width, y - 0.5 * height) / (0.2 * height), 0, 1)
    return pixels * (1 - cover[..., None] * (1 - np.array([0.85, 0.6, 0.35])))


def _contrast(pixels: Pixels, by: float, light: float) -> NDArray[np.floating]:
    middle = np.median(pixels)
    return (pixels - middle) * by + middle * light


SPOILT: dict[str, tuple[str, Callable[[Pixels], NDArray[np.floating]]]] = {
    "blur of 3 px": ("out_of_focus", lambda x: cv2.GaussianBlur(x, (0, 0), 3)),
    "a third of the contrast": ("low_contrast", lambda x: _contrast(x, 0.33, 0.98)),
    "under-etched": ("under_etched", lambda x: _contrast(x, 0.3, 1.25)),
    "over-etched": ("over_etched", lambda x: _contrast(x, 1.7, 0.6)),
    "three scratches": ("scratched", _scratched),
    "stained": ("stained", _stained),
    "overexposed": ("saturated", lambda x: x * 2.2),
    "a third of the light": ("too_dark", lambda x: x * 0.33),
}
"""What is done to a good field, and which defect ought to be named."""
