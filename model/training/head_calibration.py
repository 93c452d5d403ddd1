"""Calibrate heads on images that they were not fitted on: temperatures, prediction sets, maps."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from model.calibration import SetLevels, fit_set_levels, fit_temperature
from model.inference.saliency import compute_evidence, compute_evidence_limit
from model.networks.schemes import CODE, SUBTYPE, Head, Scheme, softmax
from model.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from model.data.dataset import Example
    from model.inference.feature_extractor import FieldExtractor, FieldFeatures


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
