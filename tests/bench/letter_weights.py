"""Print the weights of rows of letters, of `scale_bar/labels/label_search.py`, fitted anew.

    python tests/bench/letter_weights.py 300

Draws so many fields, takes every row of ink that may be letters, and fits a logistic regression
that tells rows of a bar's label from all others. Fields of even seeds are fitted to; on the others
it says how many labels are found, and how many rows a field without a bar would have read. What is
printed goes into the module by hand, after the tables of `imaging.py` were looked at.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from drawn.micrographs import draw

from agent.imaging.boxes import within
from agent.imaging.scale_bar.bars.planes import compute_planes
from agent.imaging.scale_bar.labels.label_search import LOOKS, iter_letter_rows

FIRST = 4000
RIDGE = 0.01
BELIEFS = (0.05, 0.15, 0.3, 0.5, 0.7)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("fields", type=int, nargs="?", default=300)
    cv2.setNumThreads(1)
    looks, labels, seeds, barred = [], [], [], {}
    for seed in range(FIRST, FIRST + parser.parse_args().fields):
        drawn = draw(seed)
        barred[seed] = bool(drawn.bars)
        for row in iter_letter_rows(compute_planes(drawn.pixels)):
            looks.append(row.looks)
            labels.append(any(is_label(row.box, bar) for bar in drawn.bars))
            seeds.append(seed)
    looks, labels, seeds = np.array(looks), np.array(labels), np.array(seeds)
    even = seeds % 2 == 0
    report(looks[~even], labels[~even], seeds[~even], barred, fitted(looks[even], labels[even]))
    constant, *weights = fitted(looks, labels)
    print(f"CONSTANT = {constant:.2f}")
    for name, weight in zip(LOOKS, weights, strict=True):
        print(f"{weight:8.2f}  {name}")


def is_label(box, bar) -> bool:
    """Return whether a row is where a bar and its label are, and is not the bar's own ticks."""
    x0, y0, x1, y1 = bar.box
    ticks = bar.style == "comb" and abs(box[3] - bar.line[3]) < 3
    return bool(bar.label) and within(box, (x0 - 3, y0 - 3, x1 + 3, y1 + 3)) and not ticks


def fitted(looks, labels):
    """Fit a logistic regression: a constant, and a weight of each look."""
    middle, spread = looks.mean(axis=0), looks.std(axis=0)
    scaled = np.column_stack([np.ones(len(looks)), (looks - middle) / spread])
    weights = np.zeros(scaled.shape[1])
    for _ in range(30):
        p = 1 / (1 + np.exp(-scaled @ weights))
        slope = scaled.T @ (labels - p) - RIDGE * weights
        bend = (scaled.T * (p * (1 - p))) @ scaled + RIDGE * np.eye(len(weights))
        weights += np.linalg.solve(bend, slope)
    own = weights[1:] / spread
    return np.concatenate([[weights[0] - own @ middle], own])


def report(looks, labels, seeds, barred, weights) -> None:
    belief = 1 / (1 + np.exp(-(weights[0] + looks @ weights[1:])))
    bare = [seed for seed, has in barred.items() if not has and seed % 2]
    print("| belief | labels found | rows read in a field without a bar |\n| --- | --- | --- |")
    for least in BELIEFS:
        found = set(seeds[labels & (belief > least)].tolist())
        rows = np.mean([np.count_nonzero(belief[seeds == seed] > least) for seed in bare])
        print(f"| {least} | {len(found)}/{len(set(seeds[labels].tolist()))} | {rows:.1f} |")


if __name__ == "__main__":
    main()
