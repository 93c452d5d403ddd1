"""Embed augmented views of an image by a frozen network; the plain view may be computed already."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from model.inference.feature_extractor import FeatureExtractor, SharedPassExtractor
from model.networks.backbones import frozen_lite0, hash_state_dict
from model.networks.field_embedding import STAGES_3_4_MEAN_STD, STAGES_3_4_UNIT_PARTS
from model.ood.features import build_ood_extractor
from model.ood.frozen_pass import UM_PER_PX, is_frozen_lite0
from model.ood.reference_features import ReferenceFeatures
from model.runtime.engines import choose_engine
from model.training.batches import VERSION as AUGMENTATION
from model.training.batches import augment
from model.training.plan import derive_seed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from model.data.dataset import Example
    from model.data.feature_cache import FeatureCache
    from model.framing import Field, Framing
    from model.inference.feature_extractor import FieldExtractor
    from model.networks.encoder import Encoder
    from model.networks.schemes import Head
    from model.training.config import TrainingConfig, TrainingTask


def build_shared_features(
    task: TrainingTask, config: TrainingConfig, cache: FeatureCache | None
) -> ReferenceFeatures | None:
    """Return the features that heads and OOD check share; None if their passes differ."""
    is_native = task.framing.is_native
    if (
        not (is_native or (task.framing.kind == "scale" and task.framing.um_per_px == UM_PER_PX))
        or not is_frozen_lite0(task.encoder.backbone)
        or config.taps is not None
        or len(task.heads) != len(task.scheme.heads())
    ):
        return None
    extractor = build_ood_extractor(
        frozen_lite0(),
        "fp32",
        task.framing.usual_um_per_px,
        STAGES_3_4_UNIT_PARTS if is_native else STAGES_3_4_MEAN_STD,
        is_native=is_native,
    )
    return ReferenceFeatures((*task.train, *task.validation), extractor, cache)


def build_extractor(
    config: TrainingConfig,
    framing: Framing,
    encoders: Mapping[str, Encoder],
    heads: Mapping[str, Head],
    shared: ReferenceFeatures | None,
) -> tuple[FieldExtractor, Framing]:
    """Return the extractor for the fitted heads, and the framing of its input."""
    if shared is None:
        engine = choose_engine(config.device)
        return FeatureExtractor(framing, encoders, engine, heads=heads.values()), framing
    (name,) = encoders
    extractor = SharedPassExtractor(shared.extractor, name, heads.values())
    return extractor, shared.extractor.frozen_pass.framing


class ViewEmbedder:
    """Embeddings of the views of an image; the first view is not augmented.

    Args:
        task: Has the network and the framing.
        config: The training configuration.
        cache: Keeps embeddings for the next training, or None.
        shared: Features of the OOD check that the plain view is taken from, or None.
    """

    def __init__(
        self,
        task: TrainingTask,
        config: TrainingConfig,
        cache: FeatureCache | None,
        shared: ReferenceFeatures | None,
    ) -> None:
        self._task, self._config, self._cache, self._shared = task, config, cache, shared
        self._extractor: FieldExtractor
        if shared is None:
            engine = choose_engine(config.device)
            self._extractor = FeatureExtractor(task.framing, {task.name: task.encoder}, engine)
            self._made_by = (
                f"views {AUGMENTATION} {task.encoder.backbone.arch} {task.encoder.taps} {engine} "
                f"{hash_state_dict(task.encoder.state_dict())}"
            )
        else:
            self._extractor = SharedPassExtractor(shared.extractor, task.name)
            self._made_by = f"views {AUGMENTATION} {shared.extractor.made_by}"

    def embed(self, example: Example) -> NDArray[np.float32]:
        """Return the (views, c) embeddings of an example."""
        if self._shared is None:
            return self._embed_views(example)
        plain = self._find_plain(example, self._shared)[None]
        if self._config.views == 1:
            return plain
        return np.concatenate([plain, self._embed_views(example)])

    def _find_plain(self, example: Example, shared: ReferenceFeatures) -> NDArray[np.float32]:
        """Return the embedding of the image as it is, computed by another step if possible."""
        if example.key in shared:
            return shared.get_embedding(example.key)
        if example.key in self._task.plain:
            return self._task.plain[example.key]
        own = ReferenceFeatures([example], shared.extractor, self._cache)
        return own.get_embedding(example.key)

    def _embed_views(self, example: Example) -> NDArray[np.float32]:
        """Return the embeddings of the views that no other pass has computed."""
        field = example.load()
        if self._cache is None:
            return self._compute_views(example.key, field)
        # The usual pixel size is a median of the examples: it must not renew fields with a scale.
        framing = self._task.framing
        usual = 0.0 if field.um_per_px or framing.is_native else framing.usual_um_per_px
        options = (
            f"{self._made_by} {replace(framing, usual_um_per_px=usual)} "
            f"views {self._config.views} rotate {self._config.rotate} "
            f"seed {derive_seed(self._config, example.key)}"
        )
        kept = self._cache.get_or_compute(
            field, options, lambda: {"views": self._compute_views(example.key, field)}
        )
        return np.asarray(kept["views"], np.float32)

    def _compute_views(self, key: str, field: Field) -> NDArray[np.float32]:
        (plain,) = self._extractor.frames([field])
        rng = np.random.default_rng(derive_seed(self._config, key))
        views = [] if self._shared is not None else [plain]
        views += [
            [
                self._extractor.to_device(
                    augment(device_frame.frame, rng, rotate=self._config.rotate)
                )
                for device_frame in plain
            ]
            for _ in range(self._config.views - 1)
        ]
        extracted = self._extractor.extract(self._task.name, views)
        return np.stack([features.embedding for features in extracted])
