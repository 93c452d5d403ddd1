"""Fit the heads of a frozen network to augmented views of every image, embedded once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from model.data.splits import folds
from model.networks.linear_probe import ProbeData, fit_head
from model.progress import Progress
from model.training.view_embedding import ViewEmbedder

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from model.data.dataset import Example
    from model.data.feature_cache import FeatureCache
    from model.ood.reference_features import ReferenceFeatures
    from model.training.config import TrainingConfig
    from model.training.head_calibration import HeadLogits
    from model.training.task import TrainingTask


FOLDS = 5
"""Folds of the cross-validation that replaces the validation set with a frozen backbone."""


def fit_linear_probes(
    task: TrainingTask,
    examples: Sequence[Example],
    config: TrainingConfig,
    cache: FeatureCache | None,
    shared: ReferenceFeatures | None,
) -> Generator[Progress[Path], None, HeadLogits]:
    """Embed every image once, in several augmented views, then fit each head to the embeddings.

    No choice depends on the validation images here, so they are trained on too.

    Args:
        task: Afterwards it holds the fitted heads.
        examples: What the heads learn from.
        config: The training configuration.
        cache: Keeps the embeddings for the next training, or None.
        shared: Features that the OOD check computes too, or None.

    Returns:
        The logits of each image from heads fitted without its specimen.
    """
    embedder = ViewEmbedder(task, config, cache, shared)
    new = [example for example in examples if example.key not in task.views]
    for done, example in enumerate(new, 1):
        task.views[example.key] = embedder.embed(example)
        yield Progress("images", done, len(new))
    views = [task.views[example.key] for example in examples]
    data = ProbeData(
        embeddings=np.concatenate(views),
        images=np.repeat(np.arange(len(examples)), [len(rows) for rows in views]),
        codes=[example.code for example in examples],
        counts=np.array([example.weight for example in examples]),
        folds=assign_folds(examples, config.seed),
    )
    out_of_fold_logits: HeadLogits = {}
    for done, name in enumerate(task.heads, 1):
        probe = fit_head(
            task.scheme,
            name,
            task.name,
            data,
            imbalance=config.imbalance,
            ordinal=config.loss == "ordinal",
        )
        task.fitted_heads[name], out_of_fold_logits[name] = probe.head, probe.out_of_fold_logits
        yield Progress(name, done, len(task.heads))
    return out_of_fold_logits


def assign_folds(examples: Sequence[Example], seed: int) -> NDArray[np.intp]:
    """Return the cross-validation fold of each example; specimens are left out whole."""
    fold_of = {
        example.key: fold
        for fold, (_, left_out) in enumerate(folds(examples, FOLDS, seed=seed))
        for example in left_out
    }
    return np.array([fold_of[example.key] for example in examples], dtype=np.intp)
