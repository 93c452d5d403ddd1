"""Fit a head on what a frozen network saw.

In:  embeddings of labelled images. Out: a `Taught` head. Next: `training`.
A convex fit without a learning rate: the same images give the same head, in seconds.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from model.networks.schemes import SUBTYPE, Head, Scheme, soft_targets

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

NEIGHBOUR_DOUBT = 0.15
"""Share of an ordinal target that goes to the neighbouring sizes (raters' kappa is about 0.3)."""

_PENALTIES = (1e-2, 1e-3, 1e-4, 1e-5)
"""Of the squared weights; the one that says best of images left out is taken."""


@dataclass(frozen=True, slots=True)
class ProbeData:
    """What a network saw of images that a head is to be taught on.

    Args:
        embeddings: (n, c) float32, one row per view; the first row of an image shows it as it is.
        images: (n,) which image each row shows.
        codes: The structure code of each image.
        counts: (images,) how much each image counts.
        folds: (images,) which fold each image is left out with, or None: nothing is left out.
    """

    embeddings: NDArray[np.float32]
    images: NDArray[np.intp]
    codes: Sequence[str]
    counts: NDArray[np.float64]
    folds: NDArray[np.intp] | None = None


@dataclass(frozen=True, slots=True)
class FittedProbe:
    """A head, and what it says of images it was not taught on.

    Args:
        head: Taught on every image.
        blind: (images, k) float64, logits of each image from heads that were taught without it and
            its specimen; NaN where those had no image of its class. Empty without folds.
    """

    head: Head
    blind: NDArray[np.float64]


def fit_head(
    scheme: Scheme, name: str, eye: str, seen: ProbeData, *, imbalance: str, ordinal: bool
) -> FittedProbe:
    """Fit one head by regularised logistic regression, on every image there is.

    The penalty is chosen by, and the doubt is measured on, images that were left out in turn; so no
    image is lost to it. Against a fifth held back for that: 1 to 2.5 points more on drawn images.

    Args:
        scheme: What the head's classes are.
        name: Which head.
        eye: The network it looks through.
        seen: What there is to learn from.
        imbalance: As in `Plan`; seeing rare images more often and weighing them are one here.
        ordinal: Whether sizes get some doubt between neighbours.
    """
    classes = scheme.heads()[name]
    targets = np.array([_target(scheme, name, code) for code in seen.codes], dtype=np.intp)

    def fitted(images: NDArray[np.bool_], penalty: float) -> _LinearModel:
        """Fit on the rows of some images that the head has a class for."""
        rows = images[seen.images] & (targets[seen.images] >= 0)
        own = targets[seen.images[rows]]
        wanted = _targets(own, len(classes), name, ordinal=ordinal)
        counts = seen.counts[seen.images[rows]] * class_weights(own, imbalance)[own]
        x = seen.embeddings[rows].astype(np.float64)
        centre, spread = x.mean(axis=0), x.std(axis=0) + 1e-6
        weight, bias = _logistic((x - centre) / spread, wanted, counts / counts.sum(), penalty)
        return _LinearModel(weight / spread, bias, centre)

    everything = np.ones(len(targets), dtype=bool)
    penalty, blind = _PENALTIES[len(_PENALTIES) // 2], np.zeros((0, len(classes)))
    if seen.folds is not None:
        penalty, blind = _out_of_fold_logits(seen, targets, len(classes), fitted)
    line = fitted(everything, penalty)
    if len(blind):
        # A head says of an image it has no class for the same, taught on all or on a part.
        others = targets < 0
        blind[others] = line.logits(_plain(seen)[others])
    head = build_head(name, eye, classes, (line.weight, line.bias), line.centre)
    return FittedProbe(head, blind)


@dataclass(frozen=True, slots=True)
class _LinearModel:
    weight: NDArray[np.float64]
    bias: NDArray[np.float64]
    centre: NDArray[np.float64]

    def logits(self, embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
        offset = embeddings.astype(np.float64) - self.centre
        return np.asarray(offset @ self.weight.T + self.bias, dtype=np.float64)


def _out_of_fold_logits(
    seen: ProbeData,
    targets: NDArray[np.intp],
    classes: int,
    fitted: Callable[[NDArray[np.bool_], float], _LinearModel],
) -> tuple[float, NDArray[np.float64]]:
    """Find the penalty whose heads say best of images they were not taught on, and what they say.

    Where no image can be left out without its class being lost, the middle penalty is taken.
    """
    folds = seen.folds if seen.folds is not None else np.zeros(len(targets), np.intp)
    plain = _plain(seen)
    best = (
        float("inf"),
        _PENALTIES[len(_PENALTIES) // 2],
        np.full((len(targets), classes), np.nan),
    )
    for penalty in _PENALTIES:
        blind = np.full((len(targets), classes), np.nan)
        for fold in np.unique(folds):
            rest = (folds != fold) & (targets >= 0)
            if len(np.unique(targets[rest])) < 2:  # noqa: PLR2004 - nothing to tell apart
                continue
            known = np.isin(targets, np.unique(targets[rest])) & (folds == fold)
            if len(np.unique(targets[rest])) == targets.max() + 1 and known.any():
                blind[known] = fitted(folds != fold, penalty).logits(plain[known])
        told = ~np.isnan(blind).any(axis=1)
        loss = _loss(blind[told], targets[told]) if told.any() else float("inf")
        if loss < best[0]:
            best = (loss, penalty, blind)
    return best[1], best[2]


def _plain(seen: ProbeData) -> NDArray[np.float32]:
    """Give the (images, c) embeddings of images as they are: the first row of each."""
    return seen.embeddings[np.unique(seen.images, return_index=True)[1]]


def _target(scheme: Scheme, name: str, code: str) -> int:
    """Give the class a code stands for in a head, -1 where the head is not asked about it."""
    target = scheme.target(name, code)
    return -1 if target is None else target


def build_head(
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
