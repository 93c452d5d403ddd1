"""Compose fields with labels for `border_network.py`: mounted, layered and whole steel.

Fields from `VARIED` on vary the steel itself: coarse particles, second phases, grains of several
tones, another material. None of that is a mount. Fields from `HARD` on are those of `border_hard`.
"""

from __future__ import annotations

import sys
import zlib
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from border_hard import coarsen, make_uneven, mount_hard
from composites import Composite, list_mounts, list_whole, mount_texture
from drawn.border import draw_depth
from drawn.micrographs import draw
from drawn.steel import soft_noise

from agent.imaging.specimen.border_network import CELL_PX, shrink
from agent.imaging.specimen.grid import grid_shape

ROWS, COLUMNS = 144, 192
"""Cells of a field; a smaller one is padded."""
NO_LABEL = 255
VARIED = 10_000
"""First seed of fields whose steel is varied."""
HARD = 20_000
"""First seed of fields with filled mounts, rims, bleeding, or coarse steel without a border."""

KINDS = ("blend", "phase", "particles", "grains", "material", "turned")
STEEL_ALONE = ("blend", "particles", "grains", "turned")
"""What varies the steel without an edge of another texture."""


def is_held(name: str) -> bool:
    """Return whether a picture of the split is held out: one of four."""
    return zlib.crc32(name.encode()) // 2 % 4 == 0


def draw_sample(seed: int, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return a field and its labels: (576, 768) uint8 and (144, 192) uint8."""
    rng = np.random.default_rng([77, seed])
    if seed >= HARD:
        composite = _compose_hard(rng, folder)
    elif rng.random() < 0.12:
        share = rng.random()
        border = True if share < 0.5 else "layered" if share < 0.65 else False
        field = draw(1_500_000 + seed, bar=False, band=False, border=border)
        nothing = np.zeros(field.outside.shape, bool)
        dirty, bleeding = field.outside | field.bleeding, field.bleeding & ~field.outside
        composite = Composite(field.pixels, field.words, dirty, nothing, bleeding, nothing)
    else:
        composite = _compose(rng, folder, varied=seed >= VARIED)
    grid = grid_shape(*composite.pixels.shape[:2])
    grey = cv2.cvtColor(shrink(composite.pixels, grid), cv2.COLOR_RGB2GRAY)
    return _pad(grey, label_cells(composite, grid))


def label_cells(composite: Composite, grid: tuple[int, int]) -> np.ndarray:
    """Return the class of each cell, (gh, gw) uint8, in the order of `CLASSES`."""
    outside = composite.dirty & ~composite.bleeding & ~composite.coating
    labels = np.zeros(grid, np.uint8)
    masks = ((3, composite.layer), (2, composite.bleeding), (4, composite.coating), (1, outside))
    for label, mask in masks:
        share = cv2.resize(mask.astype(np.float32), grid[::-1], interpolation=cv2.INTER_AREA)
        labels[share > (0.4 if label == 1 else 0.5)] = label
    return labels


def _compose(rng: np.random.Generator, folder: Path, *, varied: bool) -> Composite:
    """Mount a part of a texture, or keep it without a border, under another lamp."""
    textures = [each for each in list_whole(folder, "development") if not is_held(each[0].name)]
    mounts = [each for each in list_mounts(folder, "development") if not is_held(each[0].name)]
    rgb = _draw_texture(rng, textures)
    if varied and rng.random() < 0.6:
        rgb = _vary_steel(rgb, rng, textures)
    if rng.random() < (0.5 if varied else 0.58):
        return mount_texture(rgb, rng, {}, mounts)
    if rng.random() < 0.2:
        rgb = make_uneven(rgb, rng)
    if rng.random() < 0.2:
        rgb = cv2.GaussianBlur(rgb, (0, 0), rng.uniform(0.5, 3))
    rgb = rgb + rng.normal(0, rng.uniform(0, 3), rgb.shape[:2])[:, :, None]
    nothing = np.zeros(rgb.shape[:2], bool)
    return Composite(np.clip(rgb, 0, 255).astype(np.uint8), {}, *[nothing] * 4)


def _compose_hard(rng: np.random.Generator, folder: Path) -> Composite:
    """Mount a texture, mostly with a filler, a rim or bleeding, or coarsen it without a border."""
    textures = [each for each in list_whole(folder, "development") if not is_held(each[0].name)]
    return compose_hard(rng, textures)


def compose_hard(
    rng: np.random.Generator, textures: list[tuple[Path, int | None]], kind: str = ""
) -> Composite:
    """Compose a field of `border_hard` of these textures.

    Args:
        rng: Decides all that is left open.
        textures: Pictures and their last rows.
        kind: "filled", "plain" or "whole"; any where it is empty.
    """
    kind = kind or str(rng.choice(["filled", "plain", "whole"], p=[0.42, 0.26, 0.32]))
    rgb = _draw_texture(rng, textures, smallest=0.25)
    if rng.random() < (0.35 if kind == "whole" else 0.3):
        rgb = _vary_steel(rgb, rng, textures, STEEL_ALONE)
    if kind == "whole":
        if rng.random() < 0.75:
            rgb = coarsen(rgb, rng)
        rgb = rgb + rng.normal(0, rng.uniform(0, 3), rgb.shape[:2])[:, :, None]
        nothing = np.zeros(rgb.shape[:2], bool)
        return Composite(np.clip(rgb, 0, 255).astype(np.uint8), {}, *[nothing] * 4)
    return mount_hard(rgb, rng, lambda: _draw_texture(rng, textures), filled=kind == "filled")


def _draw_texture(
    rng: np.random.Generator, textures: list[tuple[Path, int | None]], smallest: float = 0.35
) -> np.ndarray:
    """Return a part of a real texture, (h, w, 3) float32, RGB."""
    path, foot = textures[int(rng.integers(len(textures)))]
    bgr = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)[:foot]
    return _change_tones(_cut(bgr, rng, smallest)[:, :, ::-1], rng)


def _vary_steel(
    rgb: np.ndarray,
    rng: np.random.Generator,
    textures: list[tuple[Path, int | None]],
    kinds: tuple[str, ...] = KINDS,
) -> np.ndarray:
    """Return steel of another look, without a mount."""
    height, width = rgb.shape[:2]
    kind = str(rng.choice(kinds))
    if kind == "grains":
        return _tone_grains(rgb, rng)
    if kind == "particles":
        return _lay_particles(rgb, rng)
    if kind == "turned":
        turn = cv2.getRotationMatrix2D((width / 2, height / 2), rng.uniform(0, 360), 1.5)
        return cv2.warpAffine(rgb, turn, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    other = cv2.resize(_draw_texture(rng, textures), (width, height))
    if kind == "blend":
        share = np.float32(rng.uniform(0.3, 0.7))
    elif kind == "phase":
        if rng.random() < 0.5:
            other = cv2.GaussianBlur(other, (0, 0), rng.uniform(2, 15))
        size = float(np.exp(rng.uniform(np.log(0.02), np.log(0.25)))) * width
        cloud = soft_noise(rng, height, width, size) - rng.uniform(-0.3, 1.2)
        share = np.clip(0.5 + rng.uniform(2, 20) * cloud, 0, 1)[:, :, None]
    else:
        edge = draw_depth(rng, str(rng.choice(["straight", "wavy", "arc"])), height, width)
        edge = edge + rng.uniform(0.3, 6) * soft_noise(rng, height, width, 12)
        share = 1 / (1 + np.exp(np.clip(edge / rng.uniform(0.7, 3), -20, 20)))[:, :, None]
    return (rgb * (1 - share) + other * share).astype(np.float32)


def _tone_grains(rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return steel whose grains differ in tone, as etching and orientation make them."""
    height, width = rgb.shape[:2]
    count = int(np.exp(rng.uniform(np.log(6), np.log(150))))
    seeds = np.ones((height, width), np.uint8)
    seeds[rng.integers(height, size=count), rng.integers(width, size=count)] = 0
    away, marks = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5)
    tones = rng.normal(0, rng.uniform(10, 45), int(marks.max()) + 1).astype(np.float32)
    flat = cv2.GaussianBlur(rgb, (0, 0), rng.uniform(3, 10))
    share = np.float32(rng.uniform(0, 0.9))  # of the structure that remains
    grains = flat + share * (rgb - flat) + tones[marks][:, :, None]
    if rng.random() < 0.5:
        edges = cv2.Laplacian(away, cv2.CV_32F, ksize=3) < -0.7
        grains -= rng.uniform(20, 80) * cv2.blur(edges.astype(np.float32), (3, 3))[:, :, None]
    return cv2.GaussianBlur(grains, (0, 0), 0.8)


def _lay_particles(rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return steel with a few large even particles, such as primary carbides."""
    height, width = rgb.shape[:2]
    mask = np.zeros((height, width), np.float32)
    size = float(np.exp(rng.uniform(np.log(0.02), np.log(0.22)))) * width
    angular = rng.random() < 0.5
    for _ in range(int(rng.integers(2, 4 + int(8 * (0.2 * width / size) ** 1.5) % 60))):
        angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(4, 10 if angular else 24))))
        radius = size * rng.uniform(0.4 if angular else 0.7, 1.2, len(angles))
        stretch = rng.uniform(0.25, 1)
        centre = rng.uniform(-0.05, 1.05, 2) * (width, height)
        corners = np.stack([np.cos(angles) * radius, stretch * np.sin(angles) * radius], 1)
        turn = rng.uniform(0, np.pi)
        turned = corners @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        cv2.fillPoly(mask, [np.round(centre + turned).astype(np.int32)], 1.0, cv2.LINE_AA)
    mask = cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.6, 4 if angular else 8))
    if not angular:
        mask = np.clip(4 * mask - 1.5, 0, 1)
    step = rng.choice([-1, 1]) * rng.uniform(25, 110)
    tone = float(np.clip(float(rgb.mean()) + step, 5, 250))
    inner = tone + 0.15 * (cv2.GaussianBlur(rgb, (0, 0), rng.uniform(1, 6)) - float(rgb.mean()))
    return (rgb * (1 - mask[:, :, None]) + inner * mask[:, :, None]).astype(np.float32)


def _cut(bgr: np.ndarray, rng: np.random.Generator, smallest: float) -> np.ndarray:
    """Return a part, mirrored or not, at another size: coarse carbides touch its sides."""
    if rng.random() < 0.5:
        bgr = bgr[:, ::-1]
    if rng.random() < 0.5:
        bgr = bgr[::-1]
    height, width = bgr.shape[:2]
    share = float(rng.choice([1.0, rng.uniform(smallest, 1.0), rng.uniform(0.6, 1.0)]))
    high, wide = int(share * height), int(share * width)
    if rng.random() < 0.15:
        high = min(height, int(high * rng.uniform(0.7, 1.2)))
    y, x = int(rng.integers(height - high + 1)), int(rng.integers(width - wide + 1))
    across = int(rng.choice([645, 968, rng.integers(480, 1100)], p=[0.45, 0.25, 0.3]))
    size = (across, int(across * high / wide))
    return cv2.resize(bgr[y : y + high, x : x + wide], size, interpolation=cv2.INTER_CUBIC)


def _change_tones(rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    values = rgb.astype(np.float32)
    if rng.random() >= 0.6:
        return values
    low, high = np.percentile(values, [2, 98])
    share = np.clip((values - low) / max(20, high - low), 0, 1) ** float(
        np.exp(rng.uniform(-0.7, 0.7))
    )
    width = rng.uniform(50, 220)
    values = (rng.uniform(5, 240 - width) + width * share).astype(np.float32)
    return 255 - values if rng.random() < 0.2 else values


def _pad(grey: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if grey.shape[0] > grey.shape[1]:
        grey, labels = np.rot90(grey), np.rot90(labels)
    rows, columns = min(labels.shape[0], ROWS), min(labels.shape[1], COLUMNS)
    padded = np.zeros((ROWS * CELL_PX, COLUMNS * CELL_PX), np.uint8)
    marked = np.full((ROWS, COLUMNS), NO_LABEL, np.uint8)
    padded[: rows * CELL_PX, : columns * CELL_PX] = grey[: rows * CELL_PX, : columns * CELL_PX]
    marked[:rows, :columns] = labels[:rows, :columns]
    return padded, marked
