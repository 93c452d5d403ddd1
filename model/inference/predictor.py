"""Predict class probabilities: for fields, on a GPU with fallback to the CPU, or kept features.

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
from model.networks.schemes import CODE, SUBTYPE, FieldPrediction, Head, Scheme
from model.ood.conformal import compute_p_values
from model.runtime.engines import Engine, choose_engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from model.calibration import SetLevels
    from model.framing import Field, Frame, Framing
    from model.networks.backbones import Encoder
    from model.ood.feature_arrays import FeatureBatch, FeatureForm
    from model.ood.field_distance import FieldDistance
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
        shared: What extracts the features in place of the encoders, as heads on the frozen network
            need it, and what builds its counterpart in fp32; None: built from framing, encoders
            and engine.

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
        cache: Path | None,
        int8: Int8Calibration | None,
        shared: tuple[FieldExtractor, Callable[[], FieldExtractor]] | None,
    ) -> None:
        self._build_exact: Callable[[], FieldExtractor] | None
        extractor, self._build_exact = shared or (None, None)
        self.engine = extractor.engine if extractor else engine
        self.degraded_reason = ""
        self._scheme, self._framing, self._encoders, self._heads = scheme, framing, encoders, heads
        self._difference = int8.difference if int8 else ENGINE_DIFFERENCE
        ready = _quantize(encoders, int8) if int8 else encoders
        self._cpu_extractor: FieldExtractor | None = None
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


# --- score kept features with a bundle: codes, prediction sets and the distance of the whole field
# The same numbers as from the pictures, for whole row groups at once. Local strangeness is not
# among them: the cells of a field are not kept.


@dataclass(frozen=True, slots=True)
class ScoredFeatures:
    """What a bundle makes of kept features, one row per crop.

    Args:
        codes: Every structure code of the bundle.
        code: (n,) index into `codes`; -1 where the code needs the picture: the scale is unknown,
            or the bundle has separate networks.
        probability: (n,) float64 of that code.
        members: (n, codes) bool, the prediction set.
        is_close: (n,) whether the picture has to decide: the margin is within the engine's
            tolerance.
        whole: (n,) float64 log distance of the whole field; NaN without a scale.
        p_whole: (n,) float64 share of reference fields at least as far; NaN likewise.
    """

    codes: tuple[str, ...]
    code: NDArray[np.intp]
    probability: NDArray[np.float64]
    members: NDArray[np.bool_]
    is_close: NDArray[np.bool_]
    whole: NDArray[np.float64]
    p_whole: NDArray[np.float64]

    def __len__(self) -> int:
        """Return the number of crops."""
        return len(self.code)

    def find_code(self, row: int) -> str | None:
        """Return the structure code of a row; None where the code needs the picture."""
        return self.codes[self.code[row]] if self.code[row] >= 0 else None

    def list_set(self, row: int) -> tuple[str, ...]:
        """Return the prediction set of a row in the order of the taxonomy; () without a code."""
        return tuple(self.codes[at] for at in np.flatnonzero(self.members[row]))


class FeatureScorer:
    """Heads, prediction sets and whole-field distance of a bundle, for kept features.

    Args:
        name: The bundle's name.
        scheme: Combines the outputs of the heads.
        heads: Heads by name; {} if they classify separate networks.
        form: Form of the features that the bundle can score.
        set_levels: How unlikely a class of a prediction set may be.
        field_distance: Distance of the whole field.
        alpha: False-alarm rate.
        is_exact: The pass computes in fp32, so that no code is too close to call.
    """

    def __init__(
        self,
        *,
        name: str,
        scheme: Scheme,
        heads: Mapping[str, Head],
        form: FeatureForm,
        set_levels: SetLevels,
        field_distance: FieldDistance,
        alpha: float,
        is_exact: bool = True,
    ) -> None:
        self.name, self.form, self.alpha = name, form, alpha
        self._scheme, self._heads, self._levels = scheme, heads, set_levels
        self._distance, self._is_exact = field_distance, is_exact
        self._sizes = _list_sizes(scheme)
        self._codes = tuple(code for codes in self._sizes.values() for code in codes)
        starts = np.cumsum([0, *map(len, self._sizes.values())])[:-1]
        self._starts = {name: int(at) for name, at in zip(self._sizes, starts, strict=True)}

    @property
    def scores_codes(self) -> bool:
        """Whether codes and prediction sets can be scored; else only the whole field."""
        return bool(self._heads)

    def score(self, batch: FeatureBatch) -> ScoredFeatures:
        """Score kept features of the bundle's form."""
        count = len(batch.descriptors)
        code = np.full(count, -1, np.intp)
        members = np.zeros((count, len(self._codes)), bool)
        probability, margin = np.full(count, np.nan), np.zeros(count)
        if self._heads:
            subtype = self._score_subtypes(batch)  # (n, subtypes)
            best = subtype.argmax(axis=1)
            for index, name in enumerate(self._sizes):
                rows = np.flatnonzero(best == index)
                if not len(rows):
                    continue
                sizes, joint = self._score_sizes(batch, rows, name, subtype[rows, index])
                chosen = sizes.argmax(axis=1)
                start = self._starts[name]
                code[rows] = start + chosen
                members[rows] = self._list_members(subtype[rows], index, sizes)
                probability[rows] = joint[np.arange(len(rows)), chosen]
                margin[rows] = np.minimum(_top2_gap(subtype[rows]), _top2_gap(sizes))
        code[~batch.has_scale], members[~batch.has_scale] = -1, False
        probability[~batch.has_scale] = np.nan
        whole = self._distance.measure(batch.descriptors, batch.area_px)
        whole[~batch.has_scale] = np.nan
        return ScoredFeatures(
            self._codes,
            code,
            probability,
            members,
            (code >= 0) & (margin < 2 * ENGINE_DIFFERENCE) & (not self._is_exact),
            whole,
            self._compute_p_values(whole),
        )

    # -------------------------------------------------------------- heads

    def _compute_probabilities(
        self, batch: FeatureBatch, head: str, rows: NDArray[np.intp] | None = None
    ) -> NDArray[np.float64]:
        embeddings = batch.embeddings if rows is None else batch.embeddings[rows]
        return self._heads[head].probabilities(embeddings)

    def _score_subtypes(self, batch: FeatureBatch) -> NDArray[np.float64]:
        if self._scheme.kind != "global":
            return self._compute_probabilities(batch, SUBTYPE)
        joint = self._compute_probabilities(batch, CODE)
        return np.stack([joint[:, at].sum(axis=1) for at in self._find_columns().values()], axis=1)

    def _score_sizes(
        self, batch: FeatureBatch, rows: NDArray[np.intp], name: str, subtype: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the probability of each size given the subtype, and of each code, (n, s) each."""
        if self._scheme.kind == "global":
            joint = self._compute_probabilities(batch, CODE, rows)[:, self._find_columns()[name]]
            total = joint.sum(axis=1, keepdims=True)
            return joint / np.where(total > 0, total, 1.0), joint
        head = self._scheme.second_stage(name)
        sizes = (
            np.ones((len(rows), 1))
            if head is None
            else self._compute_probabilities(batch, head, rows)
        )
        return sizes, sizes * subtype[:, None]

    def _list_members(
        self, subtype: NDArray[np.float64], best: int, sizes: NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        """Return the prediction sets of fields of one subtype, as `calibration.prediction_set`.

        Args:
            subtype: (n, subtypes).
            best: Index of the subtype.
            sizes: (n, s) of each of its sizes.
        """
        levels, columns = self._levels, np.arange(len(self._codes))
        members = np.zeros((len(sizes), len(self._codes)), bool)
        for index, (name, codes) in enumerate(self._sizes.items()):
            start = self._starts[name]
            if index == best:
                own = np.array([levels.sizes.get(code, levels.size) for code in codes])
                low, high = _grow_sets(sizes, own)
                members |= (columns >= start + low[:, None]) & (columns <= start + high[:, None])
            else:
                level = levels.subtypes.get(name, levels.subtype)
                is_possible = 1.0 - subtype[:, index] <= level
                members[:, start : start + len(codes)] |= is_possible[:, None]
        return members

    def _find_columns(self) -> dict[str, list[int]]:
        """Return the columns of each subtype in the code head."""
        classes = self._heads[CODE].classes
        return {
            name: [classes.index(code) for code in codes] for name, codes in self._sizes.items()
        }

    # -------------------------------------------------------------- whole field

    def _compute_p_values(self, whole: NDArray[np.float64]) -> NDArray[np.float64]:
        p_values = compute_p_values(whole, self._distance.distances)
        return np.where(np.isnan(whole), np.nan, p_values)


def _list_sizes(scheme: Scheme) -> dict[str, tuple[str, ...]]:
    """Return the trained codes of each subtype, coarse to fine."""
    taxonomy = scheme.taxonomy
    return {
        subtype.name: tuple(
            taxonomy.code(subtype.name, size.name) for size in subtype.trained_sizes
        )
        for subtype in taxonomy.subtypes
        if subtype.trained_sizes
    }


def _top2_gap(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    if probabilities.shape[1] == 1:
        return np.ones(len(probabilities))
    two = np.partition(probabilities, -2, axis=1)[:, -2:]
    return np.asarray(two[:, 1] - two[:, 0], np.float64)


def _grow_sets(
    sizes: NDArray[np.float64], levels: NDArray[np.float64]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the first and last size of each prediction set, each size by its own level."""
    count, width = sizes.shape
    row = np.arange(count)
    low = sizes.argmax(axis=1)
    high, first, last = low.copy(), low.copy(), low.copy()
    mass = sizes[row, low]
    padded = np.pad(sizes, ((0, 0), (1, 1)), constant_values=-1.0)
    for _ in range(width - 1):
        goes_down = padded[row, low] >= padded[row, high + 2]
        low, high = low - goes_down, high + ~goes_down
        added = np.where(goes_down, low, high)
        belongs = mass <= levels[added]
        first, last = np.where(belongs, low, first), np.where(belongs, high, last)
        mass = mass + sizes[row, added]
    return first, last
