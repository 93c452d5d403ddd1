"""Fit the OOD detector, evaluate the test images, and search them for copies of trained ones."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.data.dataset import Example, Split
from model.data.feature_cache import FeatureCache
from model.data.near_duplicates import format_leak_warning, iter_overlaps
from model.errors import ModelError, TrainingError
from model.evaluation.evaluation import (
    Case,
    Evaluation,
    OodFlag,
    build_case,
    iter_flags,
    iter_predictions,
)
from model.inference.classifier import Classifier
from model.ood.detector import OodDetector, iter_fit_reduced
from model.ood.fit import ReferenceFeatures, iter_fit_detector
from model.progress import Progress
from model.taxonomy import Taxonomy


def fit_ood_detector(
    examples: Sequence[Example],
    taxonomy: Taxonomy,
    fit_detector: Callable[[Sequence[Example]], OodDetector] | None,
    cache: FeatureCache | None,
    shared: ReferenceFeatures | None,
    *,
    is_native: bool,
) -> Generator[Progress[Path], None, tuple[OodDetector, list[str]]]:
    """Fit the OOD detector, or call the given function.

    Args:
        examples: Its reference images.
        taxonomy: Of the trained codes.
        fit_detector: Fits it in place of this function, or None.
        cache: Keeps features for the next training, or None.
        shared: Features that heads and OOD check share, or None.
        is_native: Whether fields keep their pixels where there are no shared features.

    Returns:
        The detector, and sentences on its reference images.
    """
    if fit_detector is not None:
        yield Progress("strangeness", len(examples), len(examples))
        return fit_detector(examples), []
    for progress in iter_fit_detector(
        examples,
        subtype_of=lambda code: taxonomy.parse(code)[0],
        cache=cache,
        features=shared,
        is_native=is_native,
    ):
        yield Progress("strangeness", progress.done, progress.total, progress.note)
        if progress.result is not None:
            return progress.result, [progress.note] if progress.note else []
    raise TrainingError("Strangeness was not learned: there was nothing to learn it from.")


def fit_reduced_detector(
    examples: Sequence[Example],
    taxonomy: Taxonomy,
    cache: FeatureCache | None,
    shared: ReferenceFeatures | None,
) -> Generator[Progress[Path], None, OodDetector | None]:
    """Fit the OOD detector in bf16 if heads share its pass and this PC has it, else return None."""
    if shared is None:
        return None
    shared.release_memory()
    for progress in iter_fit_reduced(
        examples,
        shared.extractor,
        subtype_of=lambda code: taxonomy.parse(code)[0],
        cache=cache,
    ):
        yield Progress("strangeness", progress.done, progress.total)
        if progress.result is not None:
            return progress.result
    return None


def format_alarm_note(detector: OodDetector, alpha: float) -> str:
    """Return what is uncertain about an alarm rate, or ""; it never ends a training."""
    try:
        return detector.require(alpha)
    except ModelError as error:
        return str(error)


def report_alarm_rate(
    detector: OodDetector, alpha: float
) -> Generator[Progress[Path], None, list[str]]:
    """Yield and return what is uncertain about the alarm rate, if anything."""
    note = format_alarm_note(detector, alpha)
    if note:
        yield Progress("strangeness", len(detector), len(detector), note)
    return [note] if note else []


def evaluate_test_set(
    classifier: Classifier,
    test: Sequence[Example],
    untrained: Mapping[str, Sequence[Example]],
    embeddings: dict[str, NDArray[np.float32]],
) -> Generator[Progress[Path], None, Evaluation]:
    """Evaluate the test images, and the images of untrained codes, which must be flagged.

    Args:
        classifier: The classifier.
        test: The test images.
        untrained: Kind → images of untrained codes.
        embeddings: Receives the embedding of each test image by the frozen pass.
    """
    total = len(test) + sum(map(len, untrained.values()))
    cases: list[Case] = []
    for batch, predictions in iter_predictions(classifier, test):
        for example, prediction in zip(batch, predictions, strict=True):
            cases.append(build_case(example, prediction, classifier.taxonomy))
            if prediction.features is not None:
                embeddings[example.key] = prediction.features.embedding
        yield Progress("evaluation", len(cases), total)
    unusual: dict[str, tuple[OodFlag, ...]] = {}
    done = len(cases)
    for kind, examples in untrained.items():
        flags = []
        for flag in iter_flags(classifier, examples):
            flags.append(flag)
            yield Progress("evaluation", done := done + 1, total)
        unusual[kind] = tuple(flags)
    return Evaluation("", classifier.taxonomy, tuple(cases), 0, classifier.alpha, unusual)


def find_leaks(
    evaluation: Evaluation, sides: Split, known_copies: Collection[tuple[str, str]]
) -> Generator[Progress[Path], None, list[str]]:
    """Find test images that show a place of a training image rotated or cropped."""
    trained = {example.key: example for example in (*sides.train, *sides.validation)}
    tested = {example.key: example for example in sides.test}
    pairs: list[tuple[str, str]] = []
    n = len(tested)
    for done, overlaps in enumerate(iter_overlaps(evaluation.cases, tested, trained), 1):
        pairs += [pair for pair in overlaps if pair not in known_copies]
        yield Progress("leakage", done, n)
    if note := format_leak_warning(pairs, (*trained.values(), *tested.values())):
        yield Progress("leakage", n, n, note)
    return [note] if note else []
