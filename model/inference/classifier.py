"""Give a field its structure code, the doubt about it, and what the networks looked at.

In:  `Field`s. Out: a `Prediction` each. Next: the agent's `triage`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from model.bundle import load_bundle
from model.calibration import prediction_set
from model.errors import BundleError
from model.inference.feature_extractor import over_whole
from model.inference.predictor import Predictor
from model.inference.saliency import coarser_margin, contrast, evidence
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
    from model.networks.encoder import Encoder
    from model.networks.schemes import Answer, Head, Scheme
    from model.ood.detector import OodResult
    from model.runtime.engines import Engine
    from model.runtime.quantization import Int8Calibration
    from model.taxonomy import Taxonomy

COMPILED = ".compiled"
"""Folder beside the bundles for compiled forms; it may be deleted at any time."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a bundle says about one field; the same field gives the same answer.

    Args:
        subtype: The most probable subtype, such as "G".
        subtype_probabilities: Subtype → probability; sums to 1.
        size: The most probable size inside that subtype, such as "9-10".
        size_min: Its lower bound as an integer, None where the size has no whole numbers.
        size_max: Its upper bound.
        size_probabilities: Size → probability inside that subtype; sums to 1.
        structure_code: Subtype and size together, such as "G9-10".
        probability: Of the structure code, calibrated.
        probabilities: Structure code → probability (DESIGN.md, "two-stage routing").
        prediction_set: The codes that cannot be told apart at the bundle's confidence, neighbours
            in size, never across subtypes; the structure code is among them.
        subtype_map: (rows, columns) float16, signed evidence for the subtype over the field:
            its mean over valid cells plus the bias is the logit.
        size_map: The same for the size, or None where the subtype has one size.
        coarser_share: Share of the field, in [0, 1], that looks coarser than the size; per size.
        coarser_map: (rows, columns) float16, in logits, how much a place looks coarser than the
            field's own size: above 0 where it does, so that the share above 0 is
            `coarser_share[size]`. None where nothing is coarser or the subtype has one size.
        contrast_map: (rows, columns) float16, signed evidence for the size and against
            `contrast_with`, "why 8 and not 7"; None where the subtype has one size.
        contrast_with: The size that came nearest, or "".
        strangeness: How unlike the taught examples the field is.
        bundle: Name of the bundle that answered.
        engine: "pytorch" or "openvino", and on which device. precision: "fp32", "bf16" or "int8".
        defects: What is wrong with the picture or the preparation and what to do, such as
            "out of focus: shoot again"; () where nothing is.
        evidence_limits: "subtype_evidence_limit" and "size_evidence_limit": the evidence that gets
            the full colour on every map of this bundle; {} where the bundle does not say.
    """

    subtype: str
    subtype_probabilities: dict[str, float]
    size: str
    size_min: int | None
    size_max: int | None
    size_probabilities: dict[str, float]
    structure_code: str
    probability: float
    probabilities: dict[str, float]
    prediction_set: tuple[str, ...]
    subtype_map: NDArray[np.float16]
    size_map: NDArray[np.float16] | None
    coarser_share: dict[str, float]
    strangeness: OodResult
    bundle: str
    engine: str
    precision: str
    defects: tuple[str, ...] = ()
    coarser_map: NDArray[np.float16] | None = None
    contrast_map: NDArray[np.float16] | None = None
    contrast_with: str = ""
    evidence_limits: Mapping[str, float] = field(default_factory=dict)


class Classifier:
    """A bundle at work: fields in, predictions out.

    Args:
        name: The bundle's name.
        scheme: How its heads are joined.
        framing: How it is shown a field.
        conformal_level: Up to where prediction sets grow.
        eyes: Networks by name.
        heads: Heads by name.
        known: What it knows as ordinary.
        engine: What runs it.
        alpha: Share of ordinary fields that may be flagged as strange.
        manifest: What the bundle says about itself, or None before it is written.
        cache: Folder for compiled forms, or None.
        seen: (n, c) float32, what the first stage's network made of fields it had not learned from,
            for a second opinion on strangeness; None where the bundle does not say.
        eight: How its networks count in eight bits, for an engine that does.
    """

    def __init__(
        self,
        *,
        name: str,
        scheme: Scheme,
        framing: Framing,
        conformal_level: float,
        eyes: Mapping[str, Encoder],
        heads: Mapping[str, Head],
        known: OodDetector,
        engine: Engine,
        alpha: float = 0.02,
        manifest: Manifest | None = None,
        cache: Path | None = None,
        seen: NDArray[np.float32] | None = None,
        eight: Int8Calibration | None = None,
    ) -> None:
        self.name = name
        self.alpha = alpha
        self._manifest = manifest
        self._scheme, self._heads, self._known = scheme, heads, known
        self._level = conformal_level
        self._answerer = Predictor(scheme, framing, eyes, heads, engine, cache=cache, eight=eight)
        self._second = fit_classifier_scorers(seen) if seen is not None and len(seen) else {}

    @classmethod
    def load(
        cls,
        bundle: Path,
        *,
        device: str = "auto",
        precision: str = "auto",
        alpha: float = 0.02,
        eight: Int8Calibration | None = None,
    ) -> Classifier:
        """Verify a bundle and make it ready on this machine.

        Args:
            bundle: Its folder.
            device: "auto", "cpu", "cuda" or "cuda:N".
            precision: "auto", "fp32", "bf16" or "int8", for which it must have been converted.
            alpha: Share of ordinary fields that may be flagged as strange.
            eight: For "int8", how its networks count; None: as was kept beside the bundle.

        Raises:
            BundleError: The bundle is not what it was when it was written.
            ModelError: The device is not there, or the bundle was not converted.
        """
        loaded = load_bundle(bundle)
        try:
            known = OodDetector.from_tensors(loaded.known_tensors, loaded.known_facts)
        except (KeyError, ValueError, TypeError) as error:
            raise BundleError(
                f"The bundle {bundle.name} does not hold together: {error}."
            ) from error
        return cls(
            name=loaded.manifest.name,
            scheme=loaded.scheme,
            framing=loaded.manifest.framing,
            conformal_level=loaded.manifest.conformal_level,
            eyes=loaded.eyes,
            heads=loaded.heads,
            known=known,
            engine=choose_engine(
                device, precision, {eye.backbone.arch for eye in loaded.eyes.values()}
            ),
            alpha=alpha,
            manifest=loaded.manifest,
            cache=bundle.parent / COMPILED / bundle.name,
            seen=loaded.known_tensors.get(SEEN_BY_CLASSIFIER),
            eight=(eight or load_int8_calibration(bundle)) if precision == "int8" else None,
        )

    @property
    def engine(self) -> Engine:
        """What runs it."""
        return self._answerer.engine

    @property
    def degraded_reason(self) -> str:
        """A sentence while a GPU does not answer and the CPU does in its place, or ""."""
        return self._answerer.degraded_reason

    @property
    def taxonomy(self) -> Taxonomy:
        """What it knows, and what of it it was taught."""
        return self._scheme.taxonomy

    @property
    def manifest(self) -> Manifest:
        """What the bundle says about itself.

        Raises:
            BundleError: It has not been written yet.
        """
        if self._manifest is None:
            raise BundleError("This classifier has not been written to a bundle yet.")
        return self._manifest

    @property
    def learned_from(self) -> frozenset[str]:
        """Keys of the micrographs that shaped it; none before it is written."""
        return self._manifest.learned_from if self._manifest else frozenset()

    @property
    def evidence_limits(self) -> dict[str, float]:
        """The evidence that gets the full colour on maps of each stage; {} if not learned."""
        said = self._manifest.facts.get("evidence_limits", {}) if self._manifest else {}
        return {f"{stage}_evidence_limit": float(limit) for stage, limit in said.items() if limit}

    def require_alarm_rate(self) -> str:
        """Refuse an alarm rate finer than the bundle's known images can tell.

        Returns:
            A sentence of warning where they tell it only roughly, or "".

        Raises:
            ModelError: Too few known images; the sentence says what to do.
        """
        return self._known.require(self.alpha)

    def known_embeddings(self) -> dict[str, NDArray[np.float32]]:
        """Give what the frozen network made of every field it knows as ordinary, key → (d,)."""
        return self._known.embeddings()

    def score_ood(self, field: Field) -> tuple[NDArray[np.float32], OodResult]:
        """Give what the frozen network makes of a field, (d,), and how strange it is."""
        return self._known.score_whole(field, self.alpha)

    def classify(self, fields: Sequence[Field]) -> list[Prediction]:
        """Answer for every field; which fields come together changes no answer.

        Args:
            fields: Any number, of any sizes.

        Returns:
            A prediction each, in the same order.
        """
        predictions: list[Prediction] = []
        for some, judged in self._answerer.by_group(fields):
            strange = self._known.score(some, self.alpha)
            predictions += map(self._told, some, judged, strange)
        return predictions

    def predict_codes(self, fields: Sequence[Field]) -> list[Answer]:
        """Answer for every field, without maps and without strangeness."""
        groups = self._answerer.by_group(fields)
        return [judged.answer for _, group in groups for judged in group]

    def size_probabilities_for(
        self, fields: Sequence[Field], subtype: str
    ) -> list[dict[str, float]]:
        """Say each size's probability if fields were of a subtype that need not be the predicted.

        Args:
            fields: Any number, of any sizes.
            subtype: Such as the one that was ordered.

        Returns:
            Size → probability for each field, summing to 1; {} where nobody tells its sizes apart.
        """
        found = self._sizes(subtype)
        if found is None:
            return [{} for _ in fields]
        head, classes = found

        inside = [
            {size: float(shares[at]) for size, at in classes.items()}
            for shares in self._answerer.shares(head, fields)
        ]
        return [{size: share / sum(one.values()) for size, share in one.items()} for one in inside]

    def _told(self, shown: Field, judged: RawPrediction, strangeness: OodResult) -> Prediction:
        answer, taxonomy = judged.answer, self._scheme.taxonomy
        subtype, size = answer.best
        code = taxonomy.code(subtype, size)
        lower, upper = taxonomy.size_bounds(size)
        near = prediction_set(answer.sizes, self._level)
        looks = self._looks(shown, judged)
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
            prediction_set=tuple(taxonomy.code(subtype, one) for one in near),
            subtype_map=self._map(shown, judged, answer.subtype_head),
            size_map=(
                self._map(shown, judged, answer.size_evidence) if answer.size_evidence else None
            ),
            coarser_share=looks.shares,
            strangeness=self._accompanied(strangeness, judged),
            bundle=self.name,
            engine=judged.engine.label,
            precision=judged.engine.precision,
            defects=tuple(str(defect) for defect in self._known.defects(shown)),
            coarser_map=looks.coarser,
            contrast_map=looks.contrast,
            contrast_with=looks.near,
            evidence_limits=self.evidence_limits,
        )

    def _accompanied(self, strangeness: OodResult, judged: RawPrediction) -> OodResult:
        """Log what the classifier itself would say of strangeness; it decides nothing."""
        head = self._heads[self._scheme.first_stage()[0]]
        embedding = judged.sights[head.eye].embedding[None]
        doubt = score_uncertainty(head.logits(embedding)[0], judged.answer.codes)
        away = {
            name: float(one.scores(normalize_rows(embedding))[0])
            for name, one in self._second.items()
        }
        return replace(strangeness, companions={**strangeness.companions, **doubt, **away})

    def _map(
        self, shown: Field, judged: RawPrediction, which: tuple[str, int]
    ) -> NDArray[np.float16]:
        head, index = self._heads[which[0]], which[1]
        return self._drawn(shown, judged, head, lambda by_cell: evidence(by_cell, head, index))

    def _drawn(
        self,
        shown: Field,
        judged: RawPrediction,
        head: Head,
        draw: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    ) -> NDArray[np.float16]:
        """Draw a map of each frame as a head sees it, and join them over the field."""
        maps = [draw(by_cell) for by_cell in judged.sights[head.eye].by_cell[head.name]]
        return over_whole(shown, judged.frames, maps, self._answerer.stride(head.eye))

    def _sizes(self, subtype: str) -> tuple[Head, dict[str, int]] | None:
        """Say which head tells the sizes of a subtype apart, and which class each size is in it."""
        name = CODE if self._scheme.kind == "global" else size_head(subtype)
        head = self._heads.get(name)
        if head is None:
            return None
        if name != CODE:
            return head, {size: at for at, size in enumerate(head.classes)}
        parsed = [self.taxonomy.parse(code) for code in head.classes]
        return head, {size: at for at, (own, size) in enumerate(parsed) if own == subtype}

    def _looks(self, shown: Field, judged: RawPrediction) -> _Looks:
        """Say where a field looks coarser than its size, and why it is no neighbouring size."""
        subtype, size = judged.answer.best
        found = self._sizes(subtype)
        if found is None or len(found[1]) < 2:  # noqa: PLR2004 - one size is nothing to compare
            return _Looks({}, None, None, "")
        head, classes = found
        names, indices = list(classes), list(classes.values())
        at = names.index(size)
        others = {name: share for name, share in judged.answer.sizes.items() if name != size}
        near = max(others, key=others.__getitem__)
        return _Looks(
            _coarser_shares(judged.sights[head.eye], head, classes),
            self._drawn(
                shown,
                judged,
                head,
                lambda by_cell: coarser_margin(by_cell[indices], at),
            )
            if at
            else None,
            self._drawn(
                shown,
                judged,
                head,
                lambda by_cell: contrast(by_cell, head, classes[size], classes[near]),
            ),
            near,
        )


@dataclass(frozen=True, slots=True)
class _Looks:
    shares: dict[str, float]
    coarser: NDArray[np.float16] | None
    contrast: NDArray[np.float16] | None
    near: str


def _coarser_shares(
    sight: FieldFeatures, head: Head, classes: Mapping[str, int]
) -> dict[str, float]:
    """Say per size, coarse to fine, which share of the steel looks coarser."""
    by_cell = np.concatenate([c.reshape(len(c), -1) for c in sight.by_cell[head.name]], axis=1)
    weights = np.concatenate([w.ravel() for w in sight.weights])
    looks = by_cell[list(classes.values())].argmax(axis=0)
    total = float(weights.sum())
    return {
        size: float(weights[looks < at].sum()) / total if total else 0.0
        for at, size in enumerate(classes)
    }
