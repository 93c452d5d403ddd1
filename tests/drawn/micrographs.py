"""Draw micrographs of which everything is known: steel, border, bleeding, bar, band, distractors.

In:  a seed. Out: `Drawn`: pixels, and the truth to the pixel. For tests and benches only; the
demo draws its own. Varied on purpose, since what is judged are other labs' programs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

from drawn.border import mounted
from drawn.graphics import STYLE_SHARES, STYLES, Canvas, as_jpeg, resampled, with_palette
from drawn.steel import steel

if TYPE_CHECKING:
    from drawn.graphics import DrawnBar

Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Drawn:
    """A micrograph and its truth.

    Args:
        pixels: (h, w, 3) uint8, RGB. bars, band: what was burned in.
        outside, bleeding, graphics: (h, w) bool. words: what was chosen, for tables.
        marks: (h, w) bool, measurements and arrows; they may be kept, better not.
    """

    pixels: np.ndarray
    bars: tuple[DrawnBar, ...]
    band: Box | None
    outside: np.ndarray
    bleeding: np.ndarray
    graphics: np.ndarray
    words: dict[str, str]
    marks: np.ndarray

    @property
    def dirty(self):
        """Every pixel that may not be kept."""
        return self.outside | self.bleeding | self.graphics


def draw(
    seed: int,
    *,
    size: tuple[int, int] | None = None,
    bar: str | bool | None = None,
    border: str | bool | None = None,
    band: bool | None = None,
    distractors: bool | None = None,
) -> Drawn:
    """Draw one micrograph.

    Args:
        seed: The same seed draws the same micrograph.
        size: (height, width); None: chosen.
        bar: A style, False for none, True or None for any (None: also none at times).
        border: A kind, False for none, True or None for any (None: also none at times).
        band: Whether there is an info band; None: chosen.
        distractors: Whether texts and boxes that are no bar are drawn; None: chosen.
    """
    rng = np.random.default_rng(seed)
    height, width = size or _sizes(rng)
    if bar is None:
        bar = bool(rng.random() < 0.7)
    if border is None:
        border = bool(rng.random() < 0.5)
    if band is None:
        band = bool(bar) and bool(rng.random() < 0.35)
    if distractors is None:
        distractors = bool(rng.random() < 0.35)
    words: dict[str, str] = {}
    colour = bool(rng.random() < 0.5)
    grey = steel(np.random.default_rng([seed, 10]), height, width, words)
    outside = np.zeros((height, width), bool)
    bleeding = outside.copy()
    rgb = _tinted(grey, rng, colour=colour)
    if border:
        own = np.random.default_rng([seed, 11])
        rgb, outside, bleeding = mounted(rgb, own, border, words, colour=colour)
    rgb = _photographed(rgb, rng)
    canvas = Canvas(rgb, rng, colour=colour)
    if distractors:
        canvas.distract()
    found, band_box = (), None
    if band:
        band_box = canvas.add_band()
        canvas.band_words(band_box, bar=bool(bar))
    if bar:
        style = bar if isinstance(bar, str) else str(rng.choice(STYLES, p=STYLE_SHARES))
        found = (canvas.add_bar(style, band_box),)
    words["bar"] = found[0].style if found else "none"
    drawn = Drawn(
        canvas.pixels, found, band_box, outside, bleeding, canvas.graphics, words, canvas.marks
    )
    return _exported(drawn, rng, may_resample=size is None)


def draw_panels(seed: int) -> Drawn:
    """Draw two fields side by side in one picture, each with its bar."""
    rng = np.random.default_rng([seed, 2])
    height = int(rng.choice([600, 768, 960]))
    one, other = (
        draw(2 * seed + side, size=(height, int(height * 1.1)), bar=True, border=False, band=False)
        for side in (0, 1)
    )
    shift = one.pixels.shape[1]
    moved = tuple(
        replace(bar, line=_shifted(bar.line, shift), box=_shifted(bar.box, shift))
        for bar in other.bars
    )
    return Drawn(
        np.hstack([one.pixels, other.pixels]),
        one.bars + moved,
        None,
        *(
            np.hstack([getattr(half, mask) for half in (one, other)])
            for mask in ("outside", "bleeding", "graphics")
        ),
        {**one.words, "panels": "2"},
        np.hstack([one.marks, other.marks]),
    )


def _shifted(box, by):
    return (box[0] + by, box[1], box[2] + by, box[3])


def _exported(drawn, rng, *, may_resample):
    """Save the picture as programs do: another size, a palette, JPEG once or twice."""
    pixels, bars, band = drawn.pixels, drawn.bars, drawn.band
    masks = [drawn.outside, drawn.bleeding, drawn.graphics, drawn.marks]
    words = dict(drawn.words)
    if may_resample and rng.random() < 0.1:
        pixels, bars = resampled(pixels, bars, rng)
        height, width = pixels.shape[:2]
        words["resampled"] = f"{width / drawn.pixels.shape[1]:.2f}"
        if band is not None:
            share = height / drawn.pixels.shape[0]
            band = (0, int(band[1] * share), width, int(np.ceil(band[3] * share)))
        masks = [
            cv2.resize(mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) > 0
            for mask in masks
        ]
    if rng.random() < 0.04:
        words["palette"] = "yes"
        pixels = with_palette(pixels, rng)
    if rng.random() < 0.6:
        quality = int(rng.integers(60, 101))
        words["jpeg"] = str(quality)
        pixels = as_jpeg(pixels, quality, halved=rng.random() < 0.7)
        if rng.random() < 0.15:
            words["jpeg"] += ", 90"
            pixels = as_jpeg(pixels, 90, halved=True)
    return Drawn(pixels, bars, band, *masks[:3], words, masks[3])


def _sizes(rng):
    choices = ((480, 640), (600, 800), (768, 1024), (960, 1280), (1024, 1280), (1024, 1024))
    return choices[int(rng.integers(len(choices)))]


# ---------------------------------------------------------------------------------- the camera


def _tinted(grey, rng, *, colour):
    rgb = np.repeat(grey[:, :, None], 3, axis=2).astype(np.float32)
    if colour:
        rgb *= np.array([rng.normal(1.02, 0.04), 1.0, rng.normal(0.92, 0.07)], np.float32)
    return rgb


def _photographed(rgb, rng):
    height, width = rgb.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    light = 1 - rng.uniform(0, 0.16) * (x**2 + y**2) / 2 + rng.uniform(-0.06, 0.06) * x
    out = cv2.GaussianBlur(rgb.astype(np.float32), (0, 0), rng.uniform(0.4, 1.0))
    out = out * light[:, :, None].astype(np.float32)
    out += rng.normal(0, rng.uniform(0.8, 5), (height, width, 1)).astype(np.float32)
    return np.clip(out, 0, 255).astype(np.uint8)
