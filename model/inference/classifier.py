"""Classifier: fields to structure codes with uncertainty, evidence maps and OOD result."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from model.bundle import load_bundle
from model.calibration import prediction_set
from model.data.feature_cache import hash_field
from model.errors import BundleError
from model.inference.feature_extractor import stitch_maps
from model.inference.feature_scorer import FeatureScorer, describe_head
from model.inference.prediction import Prediction
from model.inference.predictor import Predictor
from model.inference.saliency import compute_coarser_margin, compute_contrast, compute_evidence
from model.kept_features import KeptFeatures
from model.networks.schemes import CODE, size_head
from model.ood.detector import OodDetector
from model.ood.mahalanobis import normalize_rows
from model.ood.nearest_neighbor import SEEN_BY_CLASSIFIER, fit_classifier_scorers, score_uncertainty
from model.runtime.engines import choose_engine
from model.runtime.quantization import load_int8_calibration

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from model.bundle import Manifest
    from model.framing import Field, Framing
    from model.inference.feature_extractor import FieldFeatures
    from model.inference.predictor import RawPrediction
    from model.kept_features import FeatureForm, HeadForm, WholeField
    from model.networks.encoder import Encoder
    from model.networks.schemes import FieldPrediction, Head, Scheme
    from model.ood.ood_result import OodResult
    from model.runtime.engines import Engine
    from model.runtime.quantization import Int8Calibration
    from model.taxonomy import Taxonomy

COMPILED = ".compiled"
"""Folder for compiled models, next to the bundles; it may be deleted at any time."""


class Classifier:
    """A model bundle loaded for inference.

    Args:
        name: The bundle's name.
        scheme: Combines the outputs of the heads.
        framing: Turns fields into frames.
        conformal_level: Probability mass at which prediction sets stop growing.
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
    """

    def __init__(
        self,
        *,
        name: str,
        scheme: Scheme,
        framing: Framing,
        conformal_level: float,
        encoders: Mapping[str, Encoder],
        heads: Mapping[str, Head],
        detector: OodDetector,
        engine: Engine,
        alpha: float = 0.02,
        manifest: Manifest | None = None,
        cache: Path | None = None,
        validation_embeddings: NDArray[np.float32] | None = None,
        int8: Int8Calibration | None = None,
    ) -> None:
        self.name = name
        self.alpha = alpha
        self._manifest = manifest
        self._scheme, self._heads, self._detector = scheme, heads, detector
        self._level = conformal_level
        self._predictor = Predictor(
            scheme, framing, encoders, heads, engine, cache=cache, int8=int8
        )
        self._framing = framing
        self._kept_heads = self._find_kept_heads(encoders)
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
    ) -> Classifier:
        """Verify a bundle and load it for this machine.

        Args:
            bundle: The bundle's folder.
            device: "auto", "cpu", "cuda" or "cuda:N".
            precision: "auto", "fp32", "bf16" or "int8"; "int8" requires a converted bundle.
            alpha: False-alarm rate: share of normal fields that may be flagged as unusual.
            int8: Activation ranges for "int8"; None loads those stored with the bundle.

        Raises:
            BundleError: The bundle was changed after it was written, or is invalid.
            ModelError: The device does not exist, or the bundle was not converted.
        """
        loaded = load_bundle(bundle)
        try:
            detector = OodDetector.from_tensors(loaded.ood_tensors, loaded.ood_facts)
        except (KeyError, ValueError, TypeError) as error:
            raise BundleError(
                f"The bundle {bundle.name} does not hold together: {error}."
            ) from error
        return cls(
            name=loaded.manifest.name,
            scheme=loaded.scheme,
            framing=loaded.manifest.framing,
            conformal_level=loaded.manifest.conformal_level,
            encoders=loaded.encoders,
            heads=loaded.heads,
            detector=detector,
            engine=choose_engine(
                device, precision, {encoder.backbone.arch for encoder in loaded.encoders.values()}
            ),
            alpha=alpha,
            manifest=loaded.manifest,
            cache=bundle.parent / COMPILED / bundle.name,
            validation_embeddings=loaded.ood_tensors.get(SEEN_BY_CLASSIFIER),
            int8=(int8 or load_int8_calibration(bundle)) if precision == "int8" else None,
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
        """Keys of the training and validation micrographs; empty before the bundle is written."""
        return self._manifest.learned_from if self._manifest else frozenset()

    @property
    def evidence_limits(self) -> dict[str, float]:
        """The evidence drawn in full colour on the maps of each stage, in logits; {} if unknown."""
        limits = self._manifest.facts.get("evidence_limits", {}) if self._manifest else {}
        return {f"{stage}_evidence_limit": float(limit) for stage, limit in limits.items() if limit}

    @property
    def feature_form(self) -> FeatureForm:
        """What the kept features depend on besides the crop; bundles of one form share them."""
        return replace(self._detector.describe_features(), heads=tuple(self._kept_heads.values()))

    def build_feature_scorer(self) -> FeatureScorer:
        """Return what scores kept features as this bundle would score the pictures."""
        return FeatureScorer(
            name=self.name,
            scheme=self._scheme,
            heads=self._heads if self._kept_heads else {},
            encoders=tuple(self._kept_heads),
            form=self.feature_form,
            conformal_level=self._level,
            assumed_um_per_px=self._assumed_um_per_px,
            field_distance=self._detector.field_distance,
            alpha=self.alpha,
        )

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
            ood_results = self._detector.score(group, self.alpha)
            predictions += map(self._build_prediction, group, raw, ood_results)
        return predictions

    def predict_codes(self, fields: Sequence[Field]) -> list[FieldPrediction]:
        """Compute the class probabilities of fields, without maps and without OOD check."""
        groups = self._predictor.predict_in_batches(fields)
        return [prediction.answer for _, group in groups for prediction in group]

    def extract_features(self, fields: Sequence[Field]) -> list[KeptFeatures | None]:
        """Extract what is kept of fields, without maps and without OOD check."""
        return [
            self._collect_features(field, prediction, self._detector.describe(field))
            for group, predictions in self._predictor.predict_in_batches(fields)
            for field, prediction in zip(group, predictions, strict=True)
        ]

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

    def _build_prediction(
        self, field: Field, raw: RawPrediction, ood_result: OodResult
    ) -> Prediction:
        answer, taxonomy = raw.answer, self._scheme.taxonomy
        subtype, size = answer.best
        code = taxonomy.code(subtype, size)
        lower, upper = taxonomy.size_bounds(size)
        sizes = prediction_set(answer.sizes, self._level)
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
            prediction_set=tuple(taxonomy.code(subtype, name) for name in sizes),
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
            precision=raw.engine.precision,
            defects=tuple(str(defect) for defect in self._detector.defects(field)),
            coarser_map=comparison.coarser_map,
            contrast_map=comparison.contrast_map,
            contrast_with=comparison.second_size,
            evidence_limits=self.evidence_limits,
            features=self._collect_features(field, raw, ood_result.kept),
        )

    @property
    def _assumed_um_per_px(self) -> float:
        """Scale that the framing assumes for a field without one; 0 if it assumes none."""
        return self._framing.usual_um_per_px if self._framing.kind == "scale" else 0.0

    def _find_kept_heads(self, encoders: Mapping[str, Encoder]) -> dict[str, HeadForm]:
        """Return the frozen encoders and what their embeddings depend on; {} if one was trained.

        A trained network is another one in each bundle, so that keeping its features saves nothing.
        """
        plan = self._manifest.facts.get("plan", {}) if self._manifest else {}
        if not plan.get("frozen"):
            return {}
        return {
            name: describe_head(encoder, self._framing, self.engine)
            for name, encoder in encoders.items()
        }

    def _collect_features(
        self, field: Field, raw: RawPrediction, whole: WholeField | None
    ) -> KeptFeatures | None:
        """Return what is kept of a field; None where an encoder did not run."""
        if whole is None or any(name not in raw.features for name in self._kept_heads):
            return None
        embeddings = [raw.features[name].embedding for name in self._kept_heads]
        return KeptFeatures(
            form=self.feature_form,
            crop=hash_field(field),
            um_per_px=field.um_per_px,
            assumed_um_per_px=0.0 if field.um_per_px else self._assumed_um_per_px,
            heads=np.concatenate([np.zeros(0, np.float32), *embeddings]),
            whole=whole,
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
