"""Fit the heads of a frozen network to augmented views of every image, embedded once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from model.data.augmentation import VERSION as AUGMENTATION
from model.data.augmentation import augment
from model.data.splits import folds
from model.inference.feature_extractor import FeatureExtractor
from model.networks.backbones import hash_state_dict
from model.networks.linear_probe import ProbeData, fit_head
from model.progress import Progress
from model.runtime.engines import choose_engine
from model.training.provenance import derive_seed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from model.data.dataset import Example
    from model.data.feature_cache import FeatureCache
    from model.framing import Field
    from model.training.config import TrainingConfig
    from model.training.head_calibration import HeadLogits
    from model.training.task import TrainingTask


FOLDS = 5
"""Folds of the cross-validation that replaces the validation set with a frozen backbone."""


def fit_linear_probes(
    task: TrainingTask,
    examples: Sequence[Example],
    config: TrainingConfig,
    out_of_fold_logits: HeadLogits,
    cache: FeatureCache | None,
) -> Iterator[Progress[Path]]:
    """Embed every image once, in several augmented views, then fit each head to the embeddings.

    No choice depends on the validation images here, so they are trained on too.

    Args:
        task: Afterwards it holds the fitted heads.
        examples: What the heads learn from.
        config: The training configuration.
        out_of_fold_logits: Receives the logits of each image from heads fitted without its
            specimen.
        cache: Keeps the embeddings for the next training, or None.
    """
    engine = choose_engine(config.device)
    extractor = FeatureExtractor(task.framing, {task.name: task.encoder}, engine)
    made_by = (
        f"views {AUGMENTATION} {task.encoder.backbone.arch} {task.encoder.taps} {engine} "
        f"{hash_state_dict(task.encoder.state_dict())}"
    )
    new = [example for example in examples if example.key not in task.views]
    for done, example in enumerate(new, 1):
        task.views[example.key] = _embed_views(example, extractor, task, config, (cache, made_by))
        yield Progress("images", done, len(new))
    views = [task.views[example.key] for example in examples]
    data = ProbeData(
        embeddings=np.concatenate(views),
        images=np.repeat(np.arange(len(examples)), [len(rows) for rows in views]),
        codes=[example.code for example in examples],
        counts=np.array([example.weight for example in examples]),
        folds=assign_folds(examples, config.seed),
    )
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


def assign_folds(examples: Sequence[Example], seed: int) -> NDArray[np.intp]:
    """Return the cross-validation fold of each example; specimens are left out whole."""
    fold_of = {
        example.key: fold
        for fold, (_, left_out) in enumerate(folds(examples, FOLDS, seed=seed))
        for example in left_out
    }
    return np.array([fold_of[example.key] for example in examples], dtype=np.intp)


def _embed_views(
    example: Example,
    extractor: FeatureExtractor,
    task: TrainingTask,
    config: TrainingConfig,
    kept: tuple[FeatureCache | None, str],
) -> NDArray[np.float32]:
    """Return the (views, c) embeddings of one example; the first view is not augmented.

    Args:
        example: The example.
        extractor: Has the encoder.
        task: Has its name and the framing.
        config: The training configuration.
        kept: The cache, and what the embeddings depend on besides example and configuration.
    """
    field, (cache, made_by) = example.load(), kept

    def compute() -> dict[str, NDArray[np.float32]]:
        return {"views": _compute_views(example.key, field, extractor, task.name, config)}

    if cache is None:
        return compute()["views"]
    # The usual pixel size is a median of the examples: it must not renew fields with a scale.
    usual = 0.0 if field.um_per_px else task.framing.usual_um_per_px
    options = (
        f"{made_by} {replace(task.framing, usual_um_per_px=usual)} views {config.views} "
        f"rotate {config.rotate} seed {derive_seed(config, example.key)}"
    )
    return np.asarray(cache.get_or_compute(field, options, compute)["views"], np.float32)


def _compute_views(
    key: str, field: Field, extractor: FeatureExtractor, encoder: str, config: TrainingConfig
) -> NDArray[np.float32]:
    (plain,) = extractor.frames([field])
    rng = np.random.default_rng(derive_seed(config, key))
    views = [plain] + [
        [
            extractor.to_device(augment(device_frame.frame, rng, rotate=config.rotate))
            for device_frame in plain
        ]
        for _ in range(config.views - 1)
    ]
    return np.stack([features.embedding for features in extractor.extract(encoder, views)])
