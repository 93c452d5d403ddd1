"""Fit a head on what a frozen network saw.

In:  embeddings of training and validation images. Out: a `Head`. Next: `training`.
A convex fit without a learning rate: the same images give the same head, in seconds.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import torch

from model.scheme import SUBTYPE, Head, Scheme, soft_targets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

NEIGHBOUR_DOUBT = 0.15
"""Share of an ordinal target that goes to the neighbouring sizes (raters' kappa is about 0.3)."""

_PENALTIES = (1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5)
"""Of the squared weights; the one with the best validation loss is taken."""


def fit_head(
    scheme: Scheme,
    name: str,
    eye: str,
    taught: tuple[NDArray[np.float32], Sequence[str], NDArray[np.float64]],
    checked: tuple[NDArray[np.float32] | None, Sequence[str]],
    *,
    imbalance: str,
    ordinal: bool,
) -> Head:
    """Fit one head by regularised logistic regression.

    Args:
        scheme: What the head's classes are.
        name: Which head.
        eye: The network it looks through.
        taught: (n, c) embeddings, their codes, and how much each counts.
        checked: (m, c) embeddings of validation images and their codes, to choose the penalty.
        imbalance: As in `Plan`; seeing rare images more often and weighing them are one here.
        ordinal: Whether sizes get some doubt between neighbours.
    """
    embeddings, codes, counts = taught
    rows, targets = _asked(scheme, name, codes)
    x = embeddings[rows].astype(np.float64)
    centre, spread = x.mean(axis=0), x.std(axis=0) + 1e-6
    classes = scheme.heads()[name]
    wanted = _targets(targets, len(classes), name, ordinal=ordinal)
    weights = counts[rows] * class_weights(targets, imbalance)[targets]
    fits = [
        _logistic((x - centre) / spread, wanted, weights / weights.sum(), penalty)
        for penalty in _PENALTIES
    ]
    best = fits[len(fits) // 2]
    if checked[0] is not None:
        held, true = _asked(scheme, name, checked[1])
        if len(held) >= 2 * len(classes):
            z = (checked[0][held].astype(np.float64) - centre) / spread
            losses = [_loss(z @ w.T + b, true) for w, b in fits]
            best = fits[int(np.argmin(losses))]
    return head_from(name, eye, classes, (best[0] / spread, best[1]), centre)


def head_from(
    name: str,
    eye: str,
    classes: tuple[str, ...],
    layer: tuple[NDArray[np.float64], NDArray[np.float64]],
    centre: NDArray[np.float64],
) -> Head:
    """Make a head of a linear layer whose bias is the logit at `centre`.

    Args:
        name: Which head.
        eye: The network it looks through.
        classes: What its logits stand for.
        layer: (k, c) weights and (k,) logits of a field whose mean features are `centre`.
        centre: (c,) mean features of the training images.
    """
    weight, bias = layer
    return Head(
        name=name,
        eye=eye,
        classes=classes,
        weight=np.asarray(weight, dtype=np.float32),
        bias=np.asarray(bias, dtype=np.float32),
        centre=np.asarray(centre, dtype=np.float32),
    )


def class_weights(targets: Sequence[int] | NDArray[np.intp], imbalance: str) -> NDArray[np.float64]:
    """Say how much an image of each class counts; 1 on average over the images.

    Args:
        targets: The classes of the training images.
        imbalance: "oversample" or "weighted": every class counts the same; "sqrt": half of the
            way, in logarithms; "none".
    """
    counts = Counter(int(target) for target in targets)
    size = max(counts) + 1
    power = {"oversample": 1.0, "weighted": 1.0, "sqrt": 0.5, "none": 0.0}[imbalance]
    weights = np.array([counts[i] ** -power if counts[i] else 0.0 for i in range(size)])
    mean = sum(weights[i] * n for i, n in counts.items()) / counts.total()
    return np.asarray(weights / mean, dtype=np.float64)


def _asked(
    scheme: Scheme, name: str, codes: Sequence[str]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    targets = [scheme.target(name, code) for code in codes]
    rows = [row for row, target in enumerate(targets) if target is not None]
    return np.array(rows, dtype=np.intp), np.array([targets[row] for row in rows], dtype=np.intp)


def _targets(
    targets: NDArray[np.intp], classes: int, name: str, *, ordinal: bool
) -> NDArray[np.float64]:
    neighbour = NEIGHBOUR_DOUBT if ordinal and name.startswith("size:") else 0.0
    smoothing = 0.05 if ordinal and name == SUBTYPE else 0.0
    soft = soft_targets(targets.tolist(), classes, neighbour=neighbour, smoothing=smoothing)
    return soft.astype(np.float64)


def _logistic(
    x: NDArray[np.float64],
    targets: NDArray[np.float64],
    weights: NDArray[np.float64],
    penalty: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Minimise the weighted cross-entropy; features are divided by the root of their number."""
    root = np.sqrt(x.shape[1])
    features, wanted = torch.from_numpy(x / root), torch.from_numpy(targets)
    counts = torch.from_numpy(weights)
    weight = torch.zeros(targets.shape[1], x.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(targets.shape[1], dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS([weight, bias], max_iter=120, line_search_fn="strong_wolfe")

    def closure() -> float:
        solver.zero_grad()
        shares = torch.log_softmax(features @ weight.T + bias, dim=1)
        loss = -(counts * (wanted * shares).sum(1)).sum() + penalty * (weight**2).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    solver.step(closure)  # type: ignore[no-untyped-call]
    return (weight.detach() / root).numpy(), bias.detach().numpy()


def _loss(logits: NDArray[np.float64], true: NDArray[np.intp]) -> float:
    shifted = logits - logits.max(axis=1, keepdims=True)
    shares = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return -float(shares[np.arange(len(true)), true].mean())
