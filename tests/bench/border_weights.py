"""Print the tables by which `agent/imaging/specimen/log_odds.py` believes a region, fitted anew.

    python tests/bench/border_weights.py --keep FOLDER

Draws 2632 fields, two in five with a border, takes every candidate that covers an outside
well or hardly at all, and fits an additive logistic model. Of 1200 fields, four of ten are of the
two other drawing programs; the rest are drawn as `imaging.py` draws them, bars and all. Fields
without a border are layered, or look different from place to place as steel does under a tilted
stage, an uneven lamp, in bands, or with a second phase. `--keep` keeps what cells look like, so
that a new witness needs no new drawing. What is printed goes into the module by hand, after the
tables of `imaging.py` were looked at.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import other_drawing
import third_drawing
from drawn import _photographed, draw
from drawn_border import mounted
from drawn_graphics import as_jpeg
from drawn_steel import soft_noise

from agent.imaging.crop import _mask_graphics
from agent.imaging.scale_bar.detect import find_graphics
from agent.imaging.specimen.grid import Cells, compute_cells, grid_shape
from agent.imaging.specimen.log_odds import FEATURES, QUICK_FEATURES
from agent.imaging.specimen.masks import find_largest_part
from agent.imaging.specimen.region_features import (
    Sides,
    edge_features,
    fine_features,
    quick_features,
)
from agent.imaging.specimen.segmentation import iter_candidates

SHARES = (0.02, 0.2, 0.4, 0.6, 0.8, 0.98)
"""Of the candidates below each node of a table."""
STIFF, SHRUNK = 3.0, 0.05
"""How much steps between neighbouring nodes and what is said at each are held back."""
LAYERED = 0.6
"""What a layered field counts: its second material is no outside, but often looks like one."""
WITH_WORDS = range(5000, 5400)
"""Fields in which texts, boxes and cross hairs are drawn."""
AS_THEY_COME = [
    seed
    for first, after in ((82000, 82400), (84000, 84300), (88000, 88160), (89000, 89300))
    for seed in range(first, after)
    if seed % 40 != 39
]
"""Fields of the bench `imaging.py`, which judges with other ones."""
LAYERS = range(90000, 90300)
"""The same, but of two materials each."""
SIZES = ((480, 640), (600, 800), (768, 1024), (600, 600))


@dataclass(frozen=True)
class Field:
    """What a drawn field looks like; beyond is (gh, gw), the share of a cell outside."""

    cells: Cells
    beyond: np.ndarray
    layered: bool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path, help="a folder to keep what cells look like")
    asked = parser.parse_args()
    cv2.setNumThreads(1)
    said, true, seeds, layered = [], [], [], []
    for seed in (*range(3000, 3800), *WITH_WORDS, *AS_THEY_COME, *LAYERS):
        field = kept(seed, asked.keep) if asked.keep else drawn(seed)
        for one, good in said_of(field):
            said.append(one)
            true.append(good)
            seeds.append(seed if field.beyond.any() else -seed)
            layered.append(field.layered)
    said, true, seeds, layered = (np.array(column) for column in (said, true, seeds, layered))
    weight = np.where(layered, LAYERED, 1.0)
    print_tables("OUTSIDE", "OUTSIDE_CONSTANT", said, true, weight)
    steel = (seeds > 0) | ~layered  # of layered fields, more may be wrong
    print_recall(left_out(said, true, seeds, weight)[steel], true[steel], seeds[steel])
    whole, seen = seeds < 0, said[:, : len(QUICK_FEATURES)]
    of_whole = seen[whole], layered[whole], np.ones(whole.sum())
    print_tables("SECOND", "SECOND_CONSTANT", *of_whole)
    beliefs = left_out(of_whole[0], of_whole[1], seeds[whole], of_whole[2])
    print_warned(beliefs, layered[whole], seeds[whole])


def print_tables(name, constant, said, true, weight) -> None:
    nodes = nodes_of(said)
    says = fitted(said, true, weight, nodes)
    parts = np.split(says, np.cumsum([len(at) for at in nodes]))
    print(f"{name}: Tables = {{")
    for witness, at, one in zip(FEATURES, nodes, parts, strict=False):
        print(f'    "{witness}": ({_row(at, 3)}, {_row(one, 2)}),')
    print(f"}}\n{constant} = {says[-1]:.2f}")


def _row(values, places) -> str:
    return f"({', '.join(f'{value:.{places}f}' for value in values)})"


def kept(seed, folder) -> Field:
    """Read a field from the folder, or draw it and keep it there."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{seed}.npz"
    if not file.exists():
        field = drawn(seed)
        np.savez(file, **asdict(field.cells), beyond=field.beyond, layered=field.layered)
        return field
    with np.load(file) as read:
        planes = dict(read)
    beyond, layered = planes.pop("beyond"), planes.pop("layered")
    return Field(Cells(**planes), beyond, bool(layered))


# ---------------------------------------------------------------------------------- the fields


def drawn(seed) -> Field:
    if seed in AS_THEY_COME:
        return _as_it_comes(draw(seed))
    if seed in LAYERS:
        return _as_it_comes(draw(seed, border="layered"))
    rng = np.random.default_rng([seed, 555])
    pixels, outside, layered = _own(seed, rng) if seed % 10 < 6 else _foreign(seed, rng)
    cells = compute_cells(pixels, np.ones(grid_shape(*pixels.shape[:2]), bool))
    size = cells.usable.shape[::-1]
    beyond = cv2.resize(outside.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    return Field(cells, beyond, layered)


def _as_it_comes(field) -> Field:
    height, width = field.pixels.shape[:2]
    usable = find_largest_part(~_mask_graphics(find_graphics(field.pixels), height, width))
    size = usable.shape[::-1]
    beyond = cv2.resize(field.outside.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    return Field(compute_cells(field.pixels, usable), beyond * usable, "layered" in field.words)


def _own(seed, rng):
    """Draw a field as the benches do, at times without a border but uneven."""
    border = seed % 2 == 0
    uneven = not border and rng.random() >= 0.65
    layered = not border and not uneven and rng.random() < 0.4
    field = draw(
        seed,
        size=SIZES[seed % 4],
        bar=False,
        band=False,
        distractors=seed in WITH_WORDS,
        border="layered" if layered else border,
    )
    if not uneven:
        return field.pixels, field.outside, layered
    return _taken(make_uneven(field.pixels.astype(np.float32), rng), rng), field.outside, False


def _foreign(seed, rng):
    """Draw a field of another program's steel, and mount it."""
    program = other_drawing if rng.random() < 0.5 else third_drawing
    height, width = SIZES[seed % 4]
    um_per_px = float(rng.choice([0.1, 0.2, 0.4]))
    kinds = [kind for kind in program.WHOLE if kind != "empty"]
    strange = "" if rng.random() < 0.75 else str(rng.choice(kinds))
    code = str(rng.choice(other_drawing.CODES + other_drawing.COARSE))
    steel = program.draw(
        code, seed=seed, strange=strange, um_per_px=um_per_px, size=(width, height)
    ).pixels.astype(np.float32)
    outside, words = np.zeros((height, width), bool), {}
    colour = bool(rng.random() < 0.5)
    if seed % 2 == 0:
        steel, outside, _ = mounted(steel, rng, "any", words, colour=colour)
    elif rng.random() < 0.4:
        steel = make_uneven(steel, rng)
    elif rng.random() < 0.25:
        steel, outside, _ = mounted(steel, rng, "layered", words, colour=colour)
    return _taken(steel, rng), outside, "layered" in words


def _taken(rgb, rng):
    pixels = _photographed(rgb, rng)
    if rng.random() < 0.6:
        pixels = as_jpeg(pixels, int(rng.integers(60, 101)), halved=True)
    return np.ascontiguousarray(pixels)


def make_uneven(rgb, rng):
    """Make steel look different from place to place, as it does without any border."""
    height, width = rgb.shape[:2]
    kind = str(rng.choice(["tilt", "lamp", "bands", "segregation", "phase"]))
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    along = (x * np.cos(angle) + y * np.sin(angle))[:, :, None]
    if kind == "lamp":
        return rgb * (1 + rng.uniform(0.15, 0.45) * along)
    if kind == "bands":
        pitch = rng.uniform(4, 18)
        wave = np.sin(along * pitch + 0.8 * soft_noise(rng, height, width, 0.3 * width)[:, :, None])
        return rgb * (1 + rng.uniform(0.08, 0.25) * np.tanh(3 * wave))
    if kind == "tilt":
        share = np.clip(along + rng.uniform(-0.5, 0.5), 0, 1)
        other = cv2.GaussianBlur(rgb, (0, 0), rng.uniform(2, 6))
    elif kind == "segregation":
        cloud = soft_noise(rng, height, width, rng.uniform(0.1, 0.4) * width)[:, :, None]
        share = 0.35 * np.clip(0.5 + 2 * cloud, 0, 1)
        other = cv2.GaussianBlur(rgb, (0, 0), 4) * rng.uniform(0.6, 1.2)
    else:
        cloud = soft_noise(rng, height, width, rng.uniform(0.06, 0.2) * width)
        phase = (cloud > rng.uniform(0.4, 1.2)).astype(np.float32)
        share = cv2.GaussianBlur(phase, (0, 0), 1.5)[:, :, None]
        tone, spread = rng.uniform(30, 230), rng.uniform(2, 15)
        other = tone + spread * rng.normal(0, 1, (height, width, 1))
    return rgb * (1 - share) + other * share


# ---------------------------------------------------------------------------------- the evidence


def region_features(cells, region, rivals):
    """Return the features of a region in the order of `FEATURES`; None where it is too small."""
    sides = Sides.of(cells, region, rivals)
    if sides is None:
        return None
    return np.concatenate(
        [compute(cells, sides) for compute in (quick_features, edge_features, fine_features)]
    )


def said_of(field):
    cells = field.cells.halved()
    size = cells.usable.shape[::-1]
    beyond = cv2.resize(field.beyond, size, interpolation=cv2.INTER_AREA) > 0.5
    count, marks = cv2.connectedComponents(beyond.astype(np.uint8), connectivity=4)
    true = [beyond, *(marks == mark for mark in range(1, count))]
    for region, rivals in iter_candidates(cells):
        said = region_features(cells, region, rivals)
        if said is None:
            continue
        pure = (region & beyond).sum() / region.sum()
        covers = max((region & one).sum() / max(1, (region | one).sum()) for one in true)
        if covers > 0.75 or (pure > 0.97 and covers > 0.4):
            yield said, True
        elif pure < 0.8:
            yield said, False


def nodes_of(said):
    """Choose the nodes of every table, rising; of those that nearly coincide, the first."""
    nodes = []
    for column in said.T:
        each = np.quantile(column, SHARES)
        apart = np.diff(each, prepend=-np.inf) > 0.02 * (each[-1] - each[0])
        nodes.append(each[apart])
    return nodes


def spread_out(said, nodes):
    """Return how near every value is to every node, (n, all nodes and 1); the last is 1."""
    near = [
        np.column_stack([np.interp(column, at, row) for row in np.eye(len(at))])
        for column, at in zip(said.T, nodes, strict=True)
    ]
    return np.column_stack([*near, np.ones(len(said))])


def fitted(said, true, weight, nodes):
    """Fit what witnesses say at their nodes by Newton's steps, neighbours held together."""
    design = spread_out(said, nodes)
    held = np.zeros((design.shape[1],) * 2)
    first = 0
    for at in nodes:
        own = slice(first, first + len(at))
        step = np.diff(np.eye(len(at)), axis=0)
        held[own, own] = STIFF * step.T @ step + SHRUNK * np.eye(len(at))
        first += len(at)
    says = np.zeros(design.shape[1])
    for _ in range(20):
        odds = 1 / (1 + np.exp(-np.clip(design @ says, -30, 30)))
        slope = design.T @ (weight * (true - odds)) - held @ says
        bend = (design * (weight * odds * (1 - odds))[:, None]).T @ design + held
        says += np.linalg.solve(bend, slope)
    return says


def left_out(said, true, seeds, weight):
    """Compute the log-odds of every candidate, from tables fitted without its field."""
    beliefs = np.zeros(len(true))
    fold = np.abs(seeds) // 2 % 5
    for one in range(5):
        others, own = fold != one, fold == one
        nodes = nodes_of(said[others])
        says = fitted(said[others], true[others], weight[others], nodes)
        beliefs[own] = spread_out(said[own], nodes) @ says
    return beliefs


def print_recall(beliefs, true, seeds) -> None:
    best = {}
    for one, belief in zip(seeds[~true], beliefs[~true], strict=True):
        if one < 0:
            best[one] = max(best.get(one, -99.0), belief)
    wrong = np.sort([*best.values()])[::-1]
    found = {}
    for one, belief in zip(seeds[true], beliefs[true], strict=True):
        found[one] = max(found.get(one, -99.0), belief)
    found = np.array([*found.values()])
    for allowed in (0, 1, 2, 4, 8):
        share = (found > wrong[allowed]).mean()
        print(
            f"{allowed} of {len(wrong)} fields of steel wrong above {wrong[allowed]:5.2f}: ", end=""
        )
        print(f"an outside is found in {100 * share:.1f} % of {len(found)}")


def print_warned(beliefs, layered, seeds) -> None:
    best = {}
    for seed, belief, two in zip(seeds, beliefs, layered, strict=True):
        best[seed] = max(best.get(seed, (-99.0, two)), (belief, two))
    two = np.array([belief for belief, is_two in best.values() if is_two])
    one = np.sort([belief for belief, is_two in best.values() if not is_two])
    for share in (0.005, 0.01, 0.02, 0.05):
        limit = one[int((1 - share) * len(one))]
        print(f"{100 * share} % of {len(one)} fields of one material above {limit:.2f}: ", end="")
        print(f"of {len(two)} of two, {100 * (two > limit).mean():.1f} %")


if __name__ == "__main__":
    main()
