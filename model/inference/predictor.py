"""Prediction of class probabilities for fields, on a GPU with fallback to the CPU.

The CPU in fp32 takes over while the GPU does not respond, and recomputes predictions whose margin
is too small for the precision of the engine.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from model.errors import GpuError
from model.inference.feature_extractor import (
    DeviceFrame,
    FeatureExtractor,
    FieldExtractor,
    FieldFeatures,
    prefetch,
)
from model.runtime.engines import Engine, choose_engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from model.framing import Field, Frame, Framing
    from model.networks.backbones import Encoder
    from model.networks.schemes import FieldPrediction, Head, Scheme
    from model.ood.frozen_pass import FieldMaps
    from model.runtime.quantization import Int8Calibration

ENGINE_DIFFERENCE = 0.02
"""Largest difference of a probability between two engines; a prediction with a margin below twice
this is recomputed in fp32."""

_MIN_GROUP, _MAX_GROUP_CPU = 8, 16
"""Fields that are framed and predicted together."""

_MAX_GROUP_GPU, _MAX_GROUP_GPU_PX = 256, 1 << 27
"""Larger groups for a GPU, because the last batch of each subtype is padded; the limit in pixels,
32 fields of 1994 px, bounds the GPU memory of a group."""

_PREDICTION_THREADS = 2
"""Threads that evaluate GPU results: while one computes on the CPU, the GPU works for the other."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RawPrediction:
    """Class probabilities of one field, with the features they were computed from.

    Args:
        answer: The probabilities.
        frames: The frames of the field.
        features: Encoder name → features of the field.
        engine: The engine that computed them.
        seen: Maps of the frozen pass if another pass than theirs computed the features.
    """

    answer: FieldPrediction
    frames: list[Frame]
    features: dict[str, FieldFeatures]
    engine: Engine
    seen: FieldMaps | None = None

    @property
    def maps(self) -> FieldMaps | None:
        """Maps of the frozen pass if it served the heads, else None."""
        own = (features.maps for features in self.features.values())
        return self.seen or next((maps for maps in own if maps is not None), None)


class Predictor:
    """Encoders and heads ready for inference; predictions do not depend on the grouping of fields.

    Args:
        scheme: Combines the outputs of the heads.
        framing: Turns fields into frames.
        encoders: Encoders by name.
        heads: Heads by name.
        engine: From `choose_engine`.
        cache: Folder for compiled models, or None.
        int8: Activation ranges for an int8 engine, else None.
        extractor: Extracts the features in place of the encoders, as heads on the frozen network
            need it; None: one is built from framing, encoders and engine.
        build_exact: Returns the extractor in fp32 that goes with `extractor`; None if that computes
            in fp32.

    Attributes:
        engine: The engine in use.
        degraded_reason: Sentence for the operator while a GPU does not respond, else "".
    """

    def __init__(
        self,
        scheme: Scheme,
        framing: Framing,
        encoders: Mapping[str, Encoder],
        heads: Mapping[str, Head],
        engine: Engine,
        *,
        cache: Path | None = None,
        int8: Int8Calibration | None = None,
        extractor: FieldExtractor | None = None,
        build_exact: Callable[[], FieldExtractor] | None = None,
    ) -> None:
        self.engine = extractor.engine if extractor else engine
        self.degraded_reason = ""
        self._scheme, self._framing, self._encoders, self._heads = scheme, framing, encoders, heads
        self._difference = int8.difference if int8 else ENGINE_DIFFERENCE
        ready = _quantize(encoders, int8) if int8 else encoders
        self._cpu_extractor: FieldExtractor | None = None
        self._build_exact = build_exact
        self._cpu_lock = Lock()
        self._extractor: FieldExtractor
        if extractor:
            self._extractor = extractor
            return
        try:
            self._extractor = FeatureExtractor(framing, ready, engine, cache, heads.values())
        except GpuError as error:
            self._record_gpu_error(error)
            self._extractor = self._get_cpu_extractor()
            self.engine = self._extractor.engine

    def predict_in_batches(
        self, fields: Sequence[Field]
    ) -> Iterator[tuple[Sequence[Field], list[RawPrediction]]]:
        """Yield groups of fields with their predictions.

        On a GPU the next groups are framed and predicted while the caller uses the current one.
        """
        if self.engine.on_gpu:
            framed = prefetch(self._frame, self._iter_groups(fields))
            predictions = prefetch(self._predict, framed, _PREDICTION_THREADS)
        else:
            predictions = map(self._predict, map(self._frame, self._iter_groups(fields)))
        return zip(self._iter_groups(fields), predictions, strict=True)

    def class_probabilities(self, head: Head, fields: Sequence[Field]) -> list[NDArray[np.float64]]:
        """Compute the (k,) class probabilities of one head for every field."""

        def evaluate(framed: _FramedFields) -> list[NDArray[np.float64]]:
            evaluation = _HeadEvaluation(framed)
            evaluation.evaluate(head, range(len(framed.frames)))
            return [probabilities[head.name] for probabilities in evaluation.probabilities]

        return [
            probabilities
            for group in self._iter_groups(fields)
            for probabilities in self._run_with_fallback(self._frame(group), evaluate)
        ]

    def stride(self, encoder: str) -> int:
        """Return the stride of an encoder: pixels of a frame per cell of its feature map."""
        return self._extractor.stride(encoder)

    def _iter_groups(self, fields: Sequence[Field]) -> Iterator[Sequence[Field]]:
        """Yield groups of growing size: a small first one lets the GPU start early."""
        start, size, largest = 0, _MIN_GROUP, _MAX_GROUP_CPU
        while start < len(fields):
            if self.engine.on_gpu:
                largest = min(_MAX_GROUP_GPU, _MAX_GROUP_GPU_PX // fields[start].valid.size)
            size = self._extractor.fields_per_group or max(_MIN_GROUP, min(size, largest))
            yield fields[start : start + size]
            start, size = start + size, 2 * size

    def _frame(self, fields: Sequence[Field]) -> _FramedFields:
        try:
            return _FramedFields(self._extractor.frames(fields), self._extractor)
        except GpuError as error:
            self._record_gpu_error(error)
        return _FramedFields(self._get_cpu_extractor().frames(fields), self._get_cpu_extractor())

    def _predict(self, framed: _FramedFields) -> list[RawPrediction]:
        predictions = self._run_with_fallback(framed, self._evaluate_scheme)
        close = [
            at
            for at, prediction in enumerate(predictions)
            if prediction.engine.precision != "fp32"
            and prediction.answer.margin < 2 * self._difference
        ]
        if close:
            exact = self._evaluate_scheme(self._move_to_cpu([framed.frames[at] for at in close]))
            for at, prediction in zip(close, exact, strict=True):
                predictions[at] = replace(prediction, seen=predictions[at].maps)
        return predictions

    def _run_with_fallback(
        self, framed: _FramedFields, evaluate: Callable[[_FramedFields], T]
    ) -> T:
        """Evaluate on the engine; if the GPU does not respond, on the CPU."""
        try:
            result = evaluate(framed)
        except GpuError as error:
            self._record_gpu_error(error)
        else:
            if framed.extractor.engine.on_gpu:
                self.degraded_reason = ""
            return result
        return evaluate(self._move_to_cpu(framed.frames))

    def _record_gpu_error(self, error: GpuError) -> None:
        self.degraded_reason = f"{error} Until then the CPU answers, more slowly."

    def _move_to_cpu(self, fields: Sequence[Sequence[DeviceFrame]]) -> _FramedFields:
        """Prepare the same frames for the CPU."""
        cpu = self._get_cpu_extractor()
        return _FramedFields([[cpu.to_device(f.frame) for f in frames] for frames in fields], cpu)

    def _get_cpu_extractor(self) -> FieldExtractor:
        with self._cpu_lock:
            if self._cpu_extractor is None and self._build_exact is not None:
                self._cpu_extractor = self._build_exact()
            if self._cpu_extractor is None:
                engine = choose_engine("cpu", "fp32")
                self._cpu_extractor = FeatureExtractor(
                    self._framing, self._encoders, engine, heads=self._heads.values()
                )
        return self._cpu_extractor

    def _evaluate_scheme(self, framed: _FramedFields) -> list[RawPrediction]:
        evaluation, (fields, extractor) = _HeadEvaluation(framed), framed
        for head in self._scheme.first_stage():
            evaluation.evaluate(self._heads[head], range(len(fields)))
        if self._scheme.kind == "two-stage":
            for head, indices in self._select_second_stage(evaluation).items():
                evaluation.evaluate(self._heads[head], indices)
        return [
            RawPrediction(
                self._scheme.combine(probabilities),
                [f.frame for f in frames],
                features,
                extractor.engine,
            )
            for probabilities, frames, features in zip(
                evaluation.probabilities, fields, evaluation.features, strict=True
            )
        ]

    def _select_second_stage(self, evaluation: _HeadEvaluation) -> dict[str, list[int]]:
        """Return the indices of the fields for each size head: those of its subtype."""
        (first,) = self._scheme.first_stage()
        names = self._heads[first].classes
        selected: dict[str, list[int]] = defaultdict(list)
        for at, probabilities in enumerate(evaluation.probabilities):
            head = self._scheme.second_stage(names[int(np.argmax(probabilities[first]))])
            if head is not None:
                selected[head].append(at)
        return selected


def _quantize(encoders: Mapping[str, Encoder], int8: Int8Calibration) -> dict[str, Encoder]:
    from model.runtime.quantization import quantize  # noqa: PLC0415 - PyTorch

    return {name: quantize(encoder, int8.ranges[name]) for name, encoder in encoders.items()}


class _FramedFields(NamedTuple):
    """The frames of fields, and the extractor on whose device they are."""

    frames: Sequence[Sequence[DeviceFrame]]
    extractor: FieldExtractor


class _HeadEvaluation:
    """Probabilities of fields, head by head; each encoder runs at most once per field."""

    def __init__(self, framed: _FramedFields) -> None:
        self._fields, self._extractor = framed
        self.features: list[dict[str, FieldFeatures]] = [{} for _ in self._fields]
        self.probabilities: list[dict[str, NDArray[np.float64]]] = [{} for _ in self._fields]

    def evaluate(self, head: Head, indices: Sequence[int]) -> None:
        missing = [at for at in indices if head.encoder not in self.features[at]]
        extracted = self._extractor.extract(head.encoder, [self._fields[at] for at in missing])
        for at, features in zip(missing, extracted, strict=True):
            self.features[at][head.encoder] = features
        for at in indices:
            embedding = self.features[at][head.encoder].embedding[None]
            self.probabilities[at][head.name] = head.probabilities(embedding)[0]
