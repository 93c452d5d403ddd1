"""Fit how L50 follows from the mean intercept: `python tests/bench/needle_intercepts.py`.

Drawn fields of the training program, their exact L50, no network.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from drawn.needles import draw_field
from drawn.needles.canvas import PIXEL_UM
from drawn.needles.truth import measure_truth

from model.needles.field import measure_mean_intercept
from model.needles.lengths import compute_distribution

LEAST_NEEDLES = 30


def main() -> None:
    """Print factor, power and scatter of the relation."""
    parser = argparse.ArgumentParser(prog="python tests/bench/needle_intercepts.py")
    parser.add_argument("--fields", type=int, default=150)
    parser.add_argument("--side", type=int, default=512)
    options = parser.parse_args()
    pairs = []
    for seed in range(options.fields):
        field = draw_field(np.random.default_rng(300_000 + seed), options.side)
        if not field.has_needles.all():
            continue
        needles, _ = measure_truth(field.owner, field.axes, PIXEL_UM)
        intercept = measure_mean_intercept(field.grey.astype(np.float32), PIXEL_UM)
        if len(needles) < LEAST_NEEDLES or intercept is None:
            continue
        lengths = np.array([needle.length_um for needle in needles])
        areas = np.array([needle.area_um2 for needle in needles])
        l50 = compute_distribution(lengths, areas, np.ones(len(needles))).quantile_um(0.5)
        if l50 is not None:
            pairs.append((np.log(intercept), np.log(l50)))
    x, y = np.array(pairs).T
    power, offset = np.polyfit(x, y, 1)
    scatter = y - offset - power * x
    print(
        f"L50 = {np.exp(offset):.2f} · intercept^{power:.2f}, n {len(x)}, scatter of the logarithm "
        f"{scatter.std(ddof=2):.3f}, 1 % and 99 % {np.quantile(scatter, (0.01, 0.99)).round(2)}, "
        f"intercepts {np.exp(np.quantile(x, (0, 0.5, 1))).round(2)} µm, correlation "
        f"{np.corrcoef(x, y)[0, 1]:.2f}"
    )


if __name__ == "__main__":
    main()
