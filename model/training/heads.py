"""Fit heads to augmented views by a frozen network, calibrate them, estimate them out of fold."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.calibration import SetLevels, fit_set_levels, fit_temperature, prediction_set
from model.data.dataset import Example, folds
from model.data.feature_cache import FeatureCache
from model.evaluation.evaluation import Case, Evaluation, compute_probability
from model.framing import Field, Framing
from model.inference.feature_extractor import (
    FeatureExtractor,
    FieldExtractor,
    FieldFeatures,
    SharedPassExtractor,
    compute_evidence,
    compute_evidence_limit,
)
from model.networks.backbones import Encoder, frozen_lite0, hash_state_dict
from model.networks.field_embedding import STAGES_3_4_MEAN_STD, STAGES_3_4_UNIT_PARTS
from model.networks.linear_probe import ProbeData, fit_head
from model.networks.schemes import CODE, SUBTYPE, Head, Scheme, softmax
from model.ood.features import build_ood_extractor
from model.ood.fit import ReferenceFeatures
from model.ood.frozen_pass import UM_PER_PX, is_frozen_lite0
from model.progress import Progress
from model.runtime.engines import choose_engine
from model.statistics import wilson_in_clusters
from model.training.batches import VERSION as AUGMENTATION
from model.training.batches import augment
from model.training.config import TrainingConfig, TrainingTask
from model.training.plan import derive_seed

# --- embed augmented views of an image by a frozen network; the plain view may be computed already


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


# --- fit heads to a frozen network, calibrate them, and estimate them out of fold -----------------


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
        task.fitted_heads[name], out_of_fold_logits[name] = fit_head(
            task.scheme,
            name,
            task.name,
            data,
            imbalance=config.imbalance,
            ordinal=config.loss == "ordinal",
        )
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


# --- calibrate heads on images that they were not fitted on: temperatures, prediction sets, maps


EVIDENCE_IMAGES = 32
"""Validation images that set the scale of the evidence maps, where nothing else needs them."""

HeadLogits = dict[str, "NDArray[np.float64]"]
"""Head → (images, k) logits of images that it was not fitted on; NaN where there are none."""


def extract_features(
    examples: Sequence[Example],
    scheme: Scheme,
    heads: Mapping[str, Head],
    extractor: FieldExtractor,
) -> Generator[Progress[Path], None, tuple[HeadLogits, dict[str, float], NDArray[np.float32]]]:
    """Extract features of images that no network was trained on.

    Returns:
        Logits of every head, the scale of the evidence maps, and the first stage's embeddings
        (n, c).
    """
    by_encoder: dict[str, list[NDArray[np.float32]]] = defaultdict(list)
    scale = _EvidenceScale(scheme, heads)
    for done, example in enumerate(examples):
        frames = extractor.frames([example.load()])
        for encoder in extractor.encoders:
            (features,) = extractor.extract(encoder, frames)
            by_encoder[encoder].append(features.embedding)
            scale.add(example.code, encoder, features)
        yield Progress("calibration", done + 1, len(examples))
    embeddings = {encoder: np.stack(rows) for encoder, rows in by_encoder.items()}
    logits = {
        name: head.logits(embeddings[head.encoder]) for name, head in heads.items() if embeddings
    }
    first = heads[scheme.first_stage()[0]]
    return (
        logits,
        scale.limits(),
        embeddings.get(first.encoder, np.zeros((0, first.weight.shape[1]), "f4")),
    )


def calibrate_heads(
    examples: Sequence[Example], scheme: Scheme, heads: Mapping[str, Head], logits: HeadLogits
) -> tuple[dict[str, Head], SetLevels]:
    """Fit a temperature per head and the levels of prediction sets to out-of-sample logits."""
    calibrated = {}
    for name, head in heads.items():
        targets = [scheme.target(name, example.code) for example in examples]
        has_logits = ~np.isnan(logits[name]).any(axis=1) if name in logits else np.zeros(0, bool)
        rows = [row for row in np.flatnonzero(has_logits) if targets[row] is not None]
        head_logits = logits[name][rows] if rows else np.zeros((0, len(head.classes)))
        calibrated[name] = head.with_temperature(
            fit_temperature(head_logits, np.array([targets[row] for row in rows], dtype=np.intp))
        )
    answers, true, groups = [], [], []
    for row, example in enumerate(examples):
        row_logits = {name: head_logits[row] for name, head_logits in logits.items()}
        if any(np.isnan(head_logits).any() for head_logits in row_logits.values()):
            continue
        shares = {
            name: softmax(head_logits / calibrated[name].temperature)
            for name, head_logits in row_logits.items()
        }
        answers.append(scheme.combine(shares))
        true.append(scheme.taxonomy.parse(example.code))
        groups.append(example.group)
    return calibrated, fit_set_levels(answers, true, groups, scheme.taxonomy)


class _EvidenceScale:
    """Evidence of validation images, from which the maps of all images get one scale."""

    def __init__(self, scheme: Scheme, heads: Mapping[str, Head]) -> None:
        self._scheme, self._heads = scheme, heads
        self._values: dict[str, list[NDArray[np.float32]]] = {"subtype": [], "size": []}

    def add(self, code: str, encoder: str, features: FieldFeatures) -> None:
        """Add the evidence for the predicted class of each head of one network."""
        for name, head in self._heads.items():
            if head.encoder != encoder or self._scheme.target(name, code) is None:
                continue
            best = int(head.logits(features.embedding[None])[0].argmax())
            cells = zip(features.by_cell[name], features.weights, strict=True)
            values = [
                compute_evidence(by_cell, head, best)[weights > 0] for by_cell, weights in cells
            ]
            for stage in self._stages(name):
                self._values[stage] += values

    def limits(self) -> dict[str, float]:
        """Return the evidence that is drawn in full colour, per stage."""
        return {stage: compute_evidence_limit(values) for stage, values in self._values.items()}

    def _stages(self, head: str) -> tuple[str, ...]:
        if head == CODE:
            return ("subtype", "size")
        return ("subtype",) if head == SUBTYPE else ("size",)


# --- estimate heads on images that they were not fitted on, from their out-of-fold logits ---------


def build_cross_validation(
    examples: Sequence[Example],
    scheme: Scheme,
    heads: Mapping[str, Head],
    logits: HeadLogits,
    *,
    seed: int,
) -> dict[str, Any]:
    """Estimate accuracy and calibration over everything that heads learned from.

    No image is counted with heads that learned from its group; temperatures and the level of its
    prediction set are from the other folds too. Only the penalty of the heads was chosen on all
    folds.

    Args:
        examples: What the heads learned from.
        scheme: Combines the heads.
        heads: Heads by name.
        logits: Out-of-fold logits of each head, in the order of the examples.
        seed: Of the folds, as the heads were fitted with.

    Returns:
        For the model card; {} if no image has logits.
    """
    cases = tuple(_iter_cases(examples, scheme, heads, logits, assign_folds(examples, seed)))
    if not cases:
        return {}
    evaluation = Evaluation("", scheme.taxonomy, cases, 0, 0.0, {})
    groups: dict[str, list[bool]] = {}
    for case in cases:
        groups.setdefault(case.group, []).append(case.right)
    accuracy = wilson_in_clusters(
        [sum(right) for right in groups.values()], [len(right) for right in groups.values()]
    )
    nll, ece = evaluation.nll, evaluation.ece
    return {
        "n": len(cases),
        "groups": len(groups),
        "folds": FOLDS,
        "left_out": len(examples) - len(cases),
        "accuracy": accuracy.as_json(),
        "macro_f1": evaluation.macro_f1.as_json(),
        "nll": nll.value,
        "nll_interval": [nll.low, nll.high],
        "ece": ece.value,
        "ece_interval": [ece.low, ece.high],
        "coverage": evaluation.coverage.as_json(),
        "per_code": evaluation.per_code(),
    }


def _iter_cases(
    examples: Sequence[Example],
    scheme: Scheme,
    heads: Mapping[str, Head],
    logits: HeadLogits,
    folds: NDArray[np.intp],
) -> Iterator[Case]:
    """Yield a case per image that has logits of every head."""
    complete = ~np.any([np.isnan(rows).any(axis=1) for rows in logits.values()], axis=0)
    for fold in np.unique(folds):
        others = np.flatnonzero(folds != fold)
        calibrated, levels = calibrate_heads(
            [examples[int(row)] for row in others],
            scheme,
            heads,
            {name: rows[others] for name, rows in logits.items()},
        )
        for row in np.flatnonzero((folds == fold) & complete):
            yield _build_case(
                examples[int(row)],
                scheme,
                {name: logits[name][row] / head.temperature for name, head in calibrated.items()},
                levels,
            )


def _build_case(
    example: Example,
    scheme: Scheme,
    logits: Mapping[str, NDArray[np.float64]],
    levels: SetLevels,
) -> Case:
    answer = scheme.combine({name: softmax(row) for name, row in logits.items()})
    code = scheme.taxonomy.code(*answer.best)
    return Case(
        key=example.key,
        group=example.group,
        true=example.code,
        predicted=code,
        probability=answer.codes[code],
        true_probability=compute_probability(
            example.code, answer.codes, answer.subtype, scheme.taxonomy
        ),
        prediction_set=prediction_set(answer, scheme.taxonomy, levels),
        p_value=1.0,
        flagged=False,
        slices={},
    )
