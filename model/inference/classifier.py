"""Classifier: fields to structure codes with uncertainty, evidence maps and OOD result."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from model.bundle import LoadedBundle, Manifest, load_bundle
from model.calibration import SetLevels, prediction_set
from model.errors import BundleError, ModelError
from model.inference.feature_extractor import (
    FieldExtractor,
    FieldFeatures,
    SharedPassExtractor,
    compute_coarser_margin,
    compute_contrast,
    compute_evidence,
    stitch_maps,
)
from model.inference.prediction import Prediction
from model.inference.predictor import FeatureScorer, Predictor, RawPrediction
from model.networks.schemes import CODE, FieldPrediction, Head, Scheme, size_head
from model.ood.detector import OodDetector, load_detector
from model.ood.features import OodFeatureExtractor, rebuild_ood_extractor
from model.ood.mahalanobis import normalize_rows
from model.ood.nearest_neighbor import SEEN_BY_CLASSIFIER, fit_classifier_scorers, score_uncertainty
from model.runtime.conversion import keeping_converted
from model.runtime.engines import Engine, choose_engine

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from model.framing import Field, Framing
    from model.networks.backbones import Encoder
    from model.ood.conformal import OodResult
    from model.ood.feature_arrays import FeatureForm, FrozenFeatures
    from model.ood.frozen_pass import FrozenBackbone
    from model.runtime.quantization import Int8Calibration
    from model.taxonomy import Taxonomy

COMPILED = ".compiled"
"""Folder for compiled models, next to the bundles; it may be deleted at any time."""

CONVERTED = ".converted"
"""Folder for converted networks, next to the bundles; it may be deleted at any time."""


class Classifier:
    """A model bundle loaded for inference.

    Args:
        name: The bundle's name.
        scheme: Combines the outputs of the heads.
        framing: Turns fields into frames.
        set_levels: How unlikely a class of a prediction set may be.
        encoders: Encoders by name.
        heads: Heads by name.
        detector: Out-of-distribution detector.
        engine: From `choose_engine`.
        alpha: False-alarm rate: share of normal fields that may be flagged as unusual.
        manifest: The bundle's manifest, or None before the bundle is written.
        cache: Folder for compiled models, or None.
        validation_embeddings: (n, c) float32, embeddings of validation images by the first stage's
            encoder, for the companion OOD scores; None if the bundle has none.
        int8: Activation ranges for an int8 engine, else None.
        shares_pass: Whether the heads classify the embedding by the detector's frozen pass; else
            each encoder has a pass of its own.
    """

    def __init__(
        self,
        *,
        name: str,
        scheme: Scheme,
        framing: Framing,
        set_levels: SetLevels,
        encoders: Mapping[str, Encoder],
        heads: Mapping[str, Head],
        detector: OodDetector,
        engine: Engine,
        alpha: float = 0.02,
        manifest: Manifest | None = None,
        cache: Path | None = None,
        validation_embeddings: NDArray[np.float32] | None = None,
        int8: Int8Calibration | None = None,
        shares_pass: bool = False,
    ) -> None:
        self.name = name
        self.alpha = alpha
        self._manifest = manifest
        self._scheme, self._heads, self._detector = scheme, heads, detector
        self._levels = set_levels
        self._predictor = Predictor(
            scheme,
            framing,
            {} if shares_pass else encoders,  # the pass has the network: 12 MB less
            heads,
            engine,
            cache=cache,
            int8=int8,
            shared=(
                _build_shared_extractor(detector.extractor, heads),
                partial(_build_exact_extractor, detector.extractor, heads),
            )
            if shares_pass
            else None,
        )
        self._shares_pass = shares_pass
        self._companions = (
            fit_classifier_scorers(validation_embeddings)
            if validation_embeddings is not None and len(validation_embeddings)
            else {}
        )

    @classmethod
    def load(
        cls,
        bundle: Path,
        *,
        device: str = "auto",
        precision: str = "auto",
        alpha: float = 0.02,
        int8: Int8Calibration | None = None,
        as_tested: bool = False,
    ) -> Classifier:
        """Verify a bundle and load it for this machine.

        Args:
            bundle: The bundle's folder.
            device: "auto", "cpu", "cuda" or "cuda:N".
            precision: "auto", "fp32", "bf16" or "int8"; "int8" requires a converted bundle. Code
                and unusual check in one pass are computed in bf16 only if that is given, the bundle
                has statistics for it and this PC computes the same bits, else in fp32; see
                `engine`.
            alpha: False-alarm rate: share of normal fields that may be flagged as unusual.
            int8: Activation ranges for "int8"; None loads those stored with the bundle.
            as_tested: Whether to load the heads that have not learned from the bundle's test
                images, to evaluate it on those; in service the heads that learned from all.

        Raises:
            BundleError: The bundle was changed after it was written, or is invalid.
            ModelError: The device does not exist, or the bundle was not converted.
        """
        loaded = load_bundle(bundle, as_tested=as_tested)
        shared = loaded.manifest.field_embedding
        if shared and precision == "int8":
            raise ModelError(
                f"The bundle {bundle.name} computes code and unusual check in one pass of the "
                "frozen network, which has no int8. Set model.precision to auto."
            )
        try:
            with keeping_converted(bundle.parent / CONVERTED):
                detector = load_detector(
                    loaded.ood_tensors,
                    loaded.ood_facts,
                    _find_frozen_backbone(loaded),
                    precision=precision if shared and device != "pytorch" else "fp32",
                )
        except (KeyError, ValueError, TypeError) as error:
            raise BundleError(
                f"The bundle {bundle.name} does not hold together: {error}."
            ) from error
        return cls(
            name=loaded.manifest.name,
            scheme=loaded.scheme,
            framing=loaded.manifest.framing,
            set_levels=loaded.manifest.set_levels,
            encoders={} if shared else loaded.encoders,
            heads=loaded.heads,
            detector=detector,
            engine=choose_engine(
                device, precision, {stored.backbone.arch for stored in loaded.stored_encoders}
            ),
            alpha=alpha,
            manifest=loaded.manifest,
            cache=bundle.parent / COMPILED / bundle.name,
            validation_embeddings=loaded.ood_tensors.get(SEEN_BY_CLASSIFIER),
            int8=(int8 or _load_int8(bundle)) if precision == "int8" else None,
            shares_pass=bool(shared),
        )

    @property
    def engine(self) -> Engine:
        """The engine in use."""
        return self._predictor.engine

    @property
    def degraded_reason(self) -> str:
        """Sentence for the operator while a GPU does not respond, else ""."""
        return self._predictor.degraded_reason

    @property
    def taxonomy(self) -> Taxonomy:
        """The taxonomy, with the classes that it was not trained on marked as untrained."""
        return self._scheme.taxonomy

    @property
    def manifest(self) -> Manifest:
        """The bundle's manifest.

        Raises:
            BundleError: The bundle has not been written yet.
        """
        if self._manifest is None:
            raise BundleError("This classifier has not been written to a bundle yet.")
        return self._manifest

    @property
    def learned_from(self) -> frozenset[str]:
        """Keys of what its heads learned from; empty before the bundle is written."""
        return self._manifest.learned_from if self._manifest else frozenset()

    @property
    def evidence_limits(self) -> dict[str, float]:
        """The evidence drawn in full colour on the maps of each stage, in logits; {} if unknown."""
        limits = self._manifest.facts.get("evidence_limits", {}) if self._manifest else {}
        return {f"{stage}_evidence_limit": float(limit) for stage, limit in limits.items() if limit}

    def require_alarm_rate(self) -> str:
        """Check that the bundle has enough reference images for its false-alarm rate.

        Returns:
            A warning if they resolve the rate only roughly, else "".

        Raises:
            ModelError: There are too few reference images; the message states the remedy.
        """
        return self._detector.require(self.alpha)

    def reference_embeddings(self) -> dict[str, NDArray[np.float32]]:
        """Return the embedding of every reference image by the frozen network, key → (d,)."""
        return self._detector.embeddings()

    def score_ood(self, field: Field) -> tuple[NDArray[np.float32], OodResult]:
        """Return a field's embedding by the frozen network, (d,), and its OOD result."""
        return self._detector.score_whole(field, self.alpha)

    def classify(self, fields: Sequence[Field]) -> list[Prediction]:
        """Classify fields; results do not depend on which fields are passed together.

        Args:
            fields: Any number, of any sizes.

        Returns:
            One prediction per field, in the same order.
        """
        predictions: list[Prediction] = []
        for group, raw in self._predictor.predict_in_batches(fields):
            predictions += map(self._build_prediction, group, raw)
        return predictions

    @property
    def feature_form(self) -> FeatureForm:
        """What the kept features depend on besides the crop; bundles of one form share them."""
        return self._detector.describe_form()

    def extract_features(self, fields: Sequence[Field]) -> list[FrozenFeatures]:
        """Extract what is kept of fields, without classifying them."""
        return [self._detector.keep(field) for field in fields]

    def build_feature_scorer(self) -> FeatureScorer:
        """Return what scores kept features, without their images."""
        return FeatureScorer(
            name=self.name,
            scheme=self._scheme,
            heads=self._heads if self._shares_pass else {},
            form=self.feature_form,
            set_levels=self._levels,
            field_distance=self._detector.field_distance,
            alpha=self.alpha,
            is_exact=self._detector.extractor.frozen_pass.engine.precision == "fp32",
        )

    def predict_codes(self, fields: Sequence[Field]) -> list[FieldPrediction]:
        """Compute the class probabilities of fields, without maps and without OOD check."""
        groups = self._predictor.predict_in_batches(fields)
        return [prediction.answer for _, group in groups for prediction in group]

    def size_probabilities_for(
        self, fields: Sequence[Field], subtype: str
    ) -> list[dict[str, float]]:
        """Compute size probabilities given a subtype, which need not be the predicted one.

        Args:
            fields: Any number, of any sizes.
            subtype: For example the subtype that the order specifies.

        Returns:
            Size → probability for each field, summing to 1; {} if the bundle has no head for the
            sizes of this subtype.
        """
        size_classes = self._find_size_classes(subtype)
        if size_classes is None:
            return [{} for _ in fields]
        head, classes = size_classes

        joint = [
            {size: float(probabilities[at]) for size, at in classes.items()}
            for probabilities in self._predictor.class_probabilities(head, fields)
        ]
        return [{size: p / sum(row.values()) for size, p in row.items()} for row in joint]

    def _decide(self, answer: FieldPrediction) -> tuple[str, tuple[str, ...]]:
        """Return the structure code, and the codes of the prediction set."""
        taxonomy = self._scheme.taxonomy
        return taxonomy.code(*answer.best), prediction_set(answer, taxonomy, self._levels)

    def _build_prediction(self, field: Field, raw: RawPrediction) -> Prediction:
        ood_result, features = self._detector.inspect(field, self.alpha, raw.maps)
        answer = raw.answer
        subtype, size = answer.best
        code, codes = self._decide(answer)
        lower, upper = self._scheme.taxonomy.size_bounds(size)
        comparison = self._compare_sizes(field, raw)
        return Prediction(
            subtype=subtype,
            subtype_probabilities=answer.subtype,
            size=size,
            size_min=lower,
            size_max=upper,
            size_probabilities=answer.sizes,
            structure_code=code,
            probability=answer.codes[code],
            probabilities=answer.codes,
            prediction_set=codes,
            subtype_map=self._compute_evidence_map(field, raw, answer.subtype_head),
            size_map=(
                self._compute_evidence_map(field, raw, answer.size_evidence)
                if answer.size_evidence
                else None
            ),
            coarser_share=comparison.coarser_shares,
            strangeness=self._add_companion_scores(ood_result, raw),
            bundle=self.name,
            engine=raw.engine.label,
            # Close codes are recomputed in fp32, which is part of answering in a lower precision.
            precision=(self.engine if self._shares_pass else raw.engine).precision,
            defects=tuple(str(defect) for defect in self._detector.defects(field, raw.maps)),
            coarser_map=comparison.coarser_map,
            contrast_map=comparison.contrast_map,
            contrast_with=comparison.second_size,
            evidence_limits=self.evidence_limits,
            features=features,
        )

    def _add_companion_scores(self, ood_result: OodResult, raw: RawPrediction) -> OodResult:
        """Add OOD scores of the classifier's own features; they are recorded, never decided on."""
        head = self._heads[self._scheme.first_stage()[0]]
        embedding = raw.features[head.encoder].embedding[None]
        uncertainty = score_uncertainty(head.logits(embedding)[0], raw.answer.codes)
        distances = {
            name: float(scorer.scores(normalize_rows(embedding))[0])
            for name, scorer in self._companions.items()
        }
        return replace(ood_result, companions={**ood_result.companions, **uncertainty, **distances})

    def _compute_evidence_map(
        self, field: Field, raw: RawPrediction, head_class: tuple[str, int]
    ) -> NDArray[np.float16]:
        head, index = self._heads[head_class[0]], head_class[1]
        return self._compute_map(
            field, raw, head, lambda by_cell: compute_evidence(by_cell, head, index)
        )

    def _compute_map(
        self,
        field: Field,
        raw: RawPrediction,
        head: Head,
        compute: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    ) -> NDArray[np.float16]:
        """Compute a map from a head's logits in each frame, and stitch them over the field."""
        maps = [compute(by_cell) for by_cell in raw.features[head.encoder].by_cell[head.name]]
        return stitch_maps(field, raw.frames, maps, self._predictor.stride(head.encoder))

    def _find_size_classes(self, subtype: str) -> tuple[Head, dict[str, int]] | None:
        """Return the head that classifies the sizes of a subtype, and the class of each size."""
        name = CODE if self._scheme.kind == "global" else size_head(subtype)
        head = self._heads.get(name)
        if head is None:
            return None
        if name != CODE:
            return head, {size: at for at, size in enumerate(head.classes)}
        parsed = [self.taxonomy.parse(code) for code in head.classes]
        return head, {size: at for at, (own, size) in enumerate(parsed) if own == subtype}

    def _compare_sizes(self, field: Field, raw: RawPrediction) -> _SizeComparison:
        """Compare the predicted size with all coarser sizes and with the second most probable."""
        subtype, size = raw.answer.best
        size_classes = self._find_size_classes(subtype)
        if size_classes is None or len(size_classes[1]) < 2:  # noqa: PLR2004 - only one size
            return _SizeComparison({}, None, None, "")
        head, classes = size_classes
        names, indices = list(classes), list(classes.values())
        at = names.index(size)
        others = {name: p for name, p in raw.answer.sizes.items() if name != size}
        second = max(others, key=others.__getitem__)
        return _SizeComparison(
            _compute_coarser_shares(raw.features[head.encoder], head, classes),
            self._compute_map(
                field,
                raw,
                head,
                lambda by_cell: compute_coarser_margin(by_cell[indices], at),
            )
            if at
            else None,
            self._compute_map(
                field,
                raw,
                head,
                lambda by_cell: compute_contrast(by_cell, head, classes[size], classes[second]),
            ),
            second,
        )


def _build_shared_extractor(
    extractor: OodFeatureExtractor, heads: Mapping[str, Head]
) -> FieldExtractor:
    (encoder,) = {head.encoder for head in heads.values()}
    return SharedPassExtractor(extractor, encoder, heads.values())


def _build_exact_extractor(
    extractor: OodFeatureExtractor, heads: Mapping[str, Head]
) -> FieldExtractor:
    return _build_shared_extractor(rebuild_ood_extractor(extractor, "fp32"), heads)


def _load_int8(bundle: Path) -> Int8Calibration:
    from model.runtime.quantization import load_int8_calibration  # noqa: PLC0415 - PyTorch

    return load_int8_calibration(bundle)


def _find_frozen_backbone(loaded: LoadedBundle) -> FrozenBackbone | None:
    """Return the network in the bundle if heads and OOD check share it.

    None: the installed network. It is also taken where a training in this process has loaded it:
    one instance, with what is compiled of it, serves both.
    """
    if not loaded.manifest.field_embedding:
        return None
    (stored,) = loaded.stored_encoders
    backbones = sys.modules.get("model.networks.backbones")
    if backbones is not None and backbones.is_loaded_lite0(stored.backbone.weights_hash):
        return None
    return stored.backbone


@dataclass(frozen=True, slots=True)
class _SizeComparison:
    coarser_shares: dict[str, float]
    coarser_map: NDArray[np.float16] | None
    contrast_map: NDArray[np.float16] | None
    second_size: str


def _compute_coarser_shares(
    features: FieldFeatures, head: Head, classes: Mapping[str, int]
) -> dict[str, float]:
    """Compute per size, coarse to fine, the share of the steel that is classified as coarser."""
    # (k, cells) over all frames
    by_cell = np.concatenate([c.reshape(len(c), -1) for c in features.by_cell[head.name]], axis=1)
    weights = np.concatenate([w.ravel() for w in features.weights])  # (cells,)
    best_sizes = by_cell[list(classes.values())].argmax(axis=0)
    total = float(weights.sum())
    return {
        size: float(weights[best_sizes < at].sum()) / total if total else 0.0
        for at, size in enumerate(classes)
    }
