"""Print the weights by which `agent/imaging/outside.py` believes a region, fitted anew.

    python tests/bench/border_weights.py --n 400 --first 100

Draws so many fields with a border and as many without, half of them layered, takes every candidate
that covers an outside well or hardly at all, and fits a logistic regression. What is printed goes
into the module by hand, after the tables of `imaging.py` were looked at.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from drawn import draw

from agent.imaging.cells import grid_shape, look
from agent.imaging.outside import WITNESSES, candidates, witnesses

RIDGE = 1.0
NO_BORDER = 5_000  # where the seeds of fields without a border begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=400)
    parser.add_argument("--first", type=int, default=100)
    parser.add_argument("--keep", type=Path, help="an .npz to keep what was gathered in")
    asked = parser.parse_args()
    rows, right, fields = [], [], []
    for seed in range(asked.first, asked.first + asked.n):
        add(seed, draw(seed, bar=False, border=True, distractors=False), rows, right, fields)
    for seed in range(asked.first + NO_BORDER, asked.first + NO_BORDER + asked.n):
        # every other one is a layered specimen: its second material is no outside
        border = "layered" if seed % 2 else False
        add(-seed, draw(seed, bar=False, border=border, distractors=False), rows, right, fields)
    said, true, field = np.array(rows), np.array(right), np.array(fields)
    if asked.keep:
        np.savez(asked.keep, said=said, true=true, field=field)
    weights, constant = fitted(said, true)
    for name, weight in zip(WITNESSES, weights, strict=True):
        print(f"{name:14} {weight:6.2f}")
    print(f"{'constant':14} {constant:6.2f}")
    print_recall(left_out(said, true, field), true, field, asked.n)


def add(seed, drawn, rows, right, fields) -> None:
    """Gather what is said of every candidate of one field, and whether it is an outside."""
    for said, good in said_of(drawn.pixels, drawn.outside):
        rows.append(said)
        right.append(good)
        fields.append(seed)


def said_of(pixels, outside):
    shape = grid_shape(*pixels.shape[:2])
    cells = look(pixels, np.ones(shape, bool)).halved()
    size = cells.usable.shape[::-1]
    share = cv2.resize(outside.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    beyond = share > 0.5
    count, marks = cv2.connectedComponents(beyond.astype(np.uint8), connectivity=4)
    true = [beyond, *(marks == mark for mark in range(1, count))]
    for region, rivals in candidates(cells):
        said = witnesses(cells, region, rivals)
        if said is None:
            continue
        pure = (region & beyond).sum() / region.sum()
        covers = max((region & one).sum() / max(1, (region | one).sum()) for one in true)
        if covers > 0.75 or (pure > 0.97 and covers > 0.4):
            yield said, True
        elif pure < 0.8:
            yield said, False


def fitted(said, true):
    """Fit a logistic regression by Newton's steps, with a small ridge."""
    design = np.column_stack([said, np.ones(len(said))])
    weights = np.zeros(design.shape[1])
    for _ in range(30):
        odds = 1 / (1 + np.exp(-np.clip(design @ weights, -30, 30)))
        slope = design.T @ (true - odds) - RIDGE * weights
        bend = (design * (odds * (1 - odds))[:, None]).T @ design + RIDGE * np.eye(len(weights))
        weights += np.linalg.solve(bend, slope)
    return weights[:-1], weights[-1]


def left_out(said, true, field):
    """Say the belief in every candidate, from weights fitted without its field."""
    beliefs = np.zeros(len(true))
    fold = np.abs(field) % 5
    for one in range(5):
        weights, constant = fitted(said[fold != one], true[fold != one])
        beliefs[fold == one] = said[fold == one] @ weights + constant
    return beliefs


def print_recall(beliefs, true, field, without) -> None:
    best = {}
    for one, belief in zip(field[~true], beliefs[~true], strict=True):
        if one < 0:
            best[one] = max(best.get(one, -99.0), belief)
    wrong = np.sort([*best.values()])[::-1]
    found = {}
    for one, belief in zip(field[true], beliefs[true], strict=True):
        found[one] = max(found.get(one, -99.0), belief)
    found = np.array([*found.values()])
    for allowed in (0, 1, 2, 4, 8):
        share = (found > wrong[allowed]).mean()
        print(f"{allowed} of {without} fields of steel wrong above {wrong[allowed]:5.2f}: ", end="")
        print(f"an outside is found in {100 * share:.1f} % of {len(found)}")


if __name__ == "__main__":
    main()
