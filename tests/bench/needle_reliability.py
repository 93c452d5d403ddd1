"""Fit the reliability of needles on drawn fields: `python tests/bench/needle_reliability.py`.

Fields of both training programs that no training used.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from drawn.needles import DrawnField, draw_field
from drawn.needles.canvas import PIXEL_UM, degrade
from drawn.needles.generations import draw_generations
from drawn.needles.truth import TrueNeedle, measure_truth

from model.needles.instances import FEATURES, MeasuredNeedles, find_needles
from model.needles.lengths import compute_weights
from model.needles.needle_map import NeedleMapper

FIRST_SEED = 930_000
LONGEST_SHARE, LEAST_LONGEST = 0.1, 20
"""Only the longest needles of a field can be listed, so only they are fitted."""
LEAST_NEEDLES, LEAST_BODY = 40, 0.3
LARGEST_ERROR, TIP_REACH, TIP_UM = 0.15, 0.2, 0.6
"""A needle is right if its length is within this, and its tips within this share of the length."""
RIDGE = 1.0
"""Penalty on the squared coefficients of standardised features."""


def main() -> None:
    """Print the coefficients and how often needles above some thresholds are right."""
    parser = argparse.ArgumentParser(prog="python tests/bench/needle_reliability.py")
    parser.add_argument("--fields", type=int, default=70)
    parser.add_argument("--side", type=int, default=512)
    options = parser.parse_args()
    torch.set_num_threads(1)
    parts = list(_iter_needles(options.fields, options.side))
    features = np.concatenate([part for part, _ in parts])
    is_right = np.concatenate([right for _, right in parts])
    coefficients, intercept = fit_logistic(features, is_right)
    print(f"{len(is_right)} needles of {len(parts)} fields, {is_right.mean():.0%} right")
    print("COEFFICIENTS", dict(zip(FEATURES, coefficients.round(2).tolist(), strict=True)))
    print(f"INTERCEPT {intercept:.2f}")
    probability = expit(features @ coefficients + intercept)
    for limit in (0.5, 0.6, 0.7, 0.8):
        above = probability >= limit
        if not above.any():
            break
        print(f"at least {limit}: {above.mean():.0%}, right {is_right[above].mean():.0%}")


def fit_logistic(
    features: NDArray[np.float64], is_right: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], float]:
    """Fit a logistic regression with a weak ridge penalty.

    Args:
        features: (n, k).
        is_right: (n,).

    Returns:
        (k,) coefficients of the features as they are, and the intercept.
    """
    mean, deviation = features.mean(axis=0), features.std(axis=0) + 1e-9
    inputs = np.column_stack([(features - mean) / deviation, np.ones(len(features))])
    penalty = np.append(np.full(features.shape[1], RIDGE), 0.0)

    def compute_loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        logits = inputs @ weights
        loss = np.logaddexp(0, logits).sum() - logits[is_right].sum() + penalty @ weights**2 / 2
        return loss, inputs.T @ (expit(logits) - is_right) + penalty * weights

    weights = minimize(compute_loss, np.zeros(inputs.shape[1]), jac=True).x
    coefficients = weights[:-1] / deviation
    return coefficients, float(weights[-1] - coefficients @ mean)


def _iter_needles(
    fields: int, side: int
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.bool_]]]:
    """Yield the features of the longest needles of each field, and whether each is right."""
    mapper = NeedleMapper()
    size_um = (side * PIXEL_UM, side * PIXEL_UM)
    seed = FIRST_SEED
    while fields:
        field = _draw(np.random.default_rng(seed), side, is_grown=seed % 2 == 0)
        seed += 1
        if not field.has_needles.all():
            continue
        true, targets = measure_truth(field.owner, field.axes, PIXEL_UM)
        if len(true) < LEAST_NEEDLES or targets.body.mean() < LEAST_BODY:
            continue
        fields -= 1
        needles = find_needles(mapper.map(field.grey, PIXEL_UM))
        weights = compute_weights(needles.ends_um, size_um)
        longest = np.argsort(-np.where(weights > 0, needles.length_um, 0))
        count = max(LEAST_LONGEST, int(LONGEST_SHARE * len(needles)))
        chosen = longest[: min(count, int((weights > 0).sum()))]
        yield needles.features[chosen], _compare(needles, chosen, true)


def _draw(rng: np.random.Generator, side: int, *, is_grown: bool) -> DrawnField:
    if not is_grown:
        return draw_field(rng, side)
    canvas = draw_generations(rng, side)
    everywhere = np.ones((side, side), bool)
    return DrawnField(degrade(canvas.grey, rng), canvas.owner, canvas.axes, everywhere)


def _compare(
    needles: MeasuredNeedles, chosen: NDArray[np.intp], true: list[TrueNeedle]
) -> NDArray[np.bool_]:
    length = np.array([each.length_um for each in true])
    ends = np.array([each.points[[0, -1]] for each in true]) * PIXEL_UM
    is_right = []
    for index in chosen.tolist():
        off = np.minimum(
            np.linalg.norm(ends - needles.ends_um[index], axis=2).max(axis=1),
            np.linalg.norm(ends - needles.ends_um[index][::-1], axis=2).max(axis=1),
        )
        alike = np.abs(needles.length_um[index] / length - 1) <= LARGEST_ERROR
        is_right.append(bool((alike & (off <= TIP_REACH * length + TIP_UM)).any()))
    return np.array(is_right, bool)


if __name__ == "__main__":
    main()
