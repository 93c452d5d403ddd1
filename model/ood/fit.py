"""Fit an OOD detector to labelled fields and calibrate it by cross-conformal prediction.

Each field is scored by models fitted to the other folds only, a specimen never in two folds; the
final models are fitted to all fields.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median_low
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.data.dataset import Example
from model.data.feature_cache import FeatureCache
from model.errors import TrainingError
from model.framing import Field
from model.image_quality import DefectLimits
from model.networks.backbones import Backbone, frozen_lite0
from model.ood import conformal
from model.ood.detector import FORM, OodDetector, ReferenceImages
from model.ood.feature_arrays import PLACES, VERSION, OodFeatures, from_arrays, to_arrays
from model.ood.features import OodFeatureExtractor, build_ood_extractor
from model.ood.field_distance import NATIVE, ONE_SCALE, FieldDistance, ReferenceFields
from model.ood.mahalanobis import Distances, Moments, Textures, compute_distances, normalize_rows
from model.ood.score_normalization import MEASURED_PIECES, ScoreNormalizer, crop_middle_quarter
from model.progress import Progress

# --- features of labelled fields, extracted once for heads and out-of-distribution check together
# Fields that are unlike the others of their structure code are named: an edge of the specimen,
# scratches or a stain in a few reference images set the limit beyond which fields are unusual,
# because the false-alarm rate allows only few of them. A person decides what to do with them:
# nothing is left out here. MEASURED on real steel of many scales: leaving out up to 1 % flags 151
# instead of 150 of 170 answers on other materials, and 7 instead of 6 of 304 good fields.


_CACHE_BYTES = 1_500_000_000
"""Features of cells that are held during a training; those of other examples are extracted again,
or read again from the cache."""


class ReferenceFeatures:
    """Features of examples by their position: held while they fit into memory.

    Args:
        examples: Labelled fields, in any order; they are sorted by key.
        extractor: Runs the frozen network.
        cache: Keeps features for the next training, or None.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        extractor: OodFeatureExtractor,
        cache: FeatureCache | None = None,
    ) -> None:
        self.extractor = extractor
        self._examples = sorted(examples, key=lambda example: example.key)
        self._cache = cache
        self._held: dict[int, OodFeatures] = {}
        self._free_bytes = _CACHE_BYTES
        self._quality: dict[int, dict[str, float]] = {}
        self.keys = [example.key for example in self._examples]
        self.labels = [example.label for example in self._examples]
        self.codes = [example.code for example in self._examples]
        self.groups = [example.group for example in self._examples]
        self.microscopes = [example.slices.get("microscope", "") for example in self._examples]
        self._index_of = {key: index for index, key in enumerate(self.keys)}

    def __len__(self) -> int:
        return len(self._examples)

    def __contains__(self, key: str) -> bool:
        return key in self._index_of

    def __getitem__(self, index: int) -> OodFeatures:
        if index in self._held:
            return self._held[index]
        field = self._examples[index].load()
        features = self.extract(field)
        if index not in self._quality:
            self._quality[index] = self.extractor.measure_quality(field)
        size = sum(getattr(features, name).features.nbytes for name in PLACES)
        if size <= self._free_bytes:
            self._free_bytes -= size
            self._held[index] = features
        return features

    def release_memory(self) -> None:
        """Forget the features of cells that are held; they are extracted again when needed."""
        self._held.clear()
        self._free_bytes = _CACHE_BYTES

    @property
    def quality(self) -> list[dict[str, float]]:
        """The image quality of every example; complete once each was extracted."""
        return [self._quality[index] for index in range(len(self))]

    def get_embedding(self, key: str) -> NDArray[np.float32]:
        """Return the (d,) embedding of the example of a key."""
        return self[self._index_of[key]].embedding

    def extract_piece(self, index: int) -> OodFeatures | None:
        """Extract the features of a field's middle quarter; None if it has too little steel."""
        piece = crop_middle_quarter(self._examples[index].load())
        return None if piece is None else self.extract(piece)

    def extract(self, field: Field) -> OodFeatures:
        """Extract the features of any field, or read them from the cache."""
        if self._cache is None:
            return self.extractor.extract(field)
        made_by = f"ood {VERSION} {self.extractor.made_by}"
        frozen_pass = self.extractor.frozen_pass
        if field.um_per_px is None and not frozen_pass.is_native:
            # the assumed size must not renew fields that have one
            made_by += f" {frozen_pass.framing.usual_um_per_px}"
        return from_arrays(
            self._cache.get_or_compute(
                field, made_by, lambda: to_arrays(self.extractor.extract(field))
            )
        )


_OUTLIER_FROM: Final = 2.0
"""Times the median distance of a code from which a field is an outlier."""

_LEAST_FIELDS = 10
"""Codes with fewer fields have no reliable median."""

_NAMED = 5


@dataclass(frozen=True, slots=True)
class Outlier:
    """A reference field that is unlike the others of its code.

    Args:
        name: How it is named to a person.
        code: Its structure code.
        times: Its distance to the nearest field of another fold, divided by the median of its code.
    """

    name: str
    code: str
    times: float


def find_outliers(
    names: Sequence[str], codes: Sequence[str], distances: NDArray[np.float64]
) -> list[Outlier]:
    """Return the outliers, the farthest first.

    Args:
        names: How the reference fields are named to a person.
        codes: Their structure codes.
        distances: (n,) their log distances to fields of other folds.
    """
    labels = np.array(codes)
    outliers = []
    for code in sorted(set(codes)):
        own = np.flatnonzero(labels == code)
        if len(own) < _LEAST_FIELDS:
            continue
        times = np.exp(distances[own] - np.median(distances[own]))
        outliers += [
            Outlier(names[at], code, float(factor))
            for at, factor in zip(own.tolist(), times, strict=True)
            if factor >= _OUTLIER_FROM
        ]
    return sorted(outliers, key=lambda outlier: (-outlier.times, outlier.name))


def format_outliers(outliers: Sequence[Outlier], total: int) -> str:
    """Return the sentence that names outliers for a person to look at, or "".

    Args:
        outliers: From `find_outliers`.
        total: Number of reference fields.
    """
    if not outliers:
        return ""
    named = "; ".join(
        f"{outlier.name}, {outlier.code}, {outlier.times:.1f} times"
        for outlier in outliers[:_NAMED]
    )
    more = f" and {len(outliers) - _NAMED} more" if len(outliers) > _NAMED else ""
    verb = "is" if len(outliers) == 1 else "are"
    return (
        f"{len(outliers)} of {total} reference images {verb} at least twice as far from the others "
        f"as is usual for their code: {named}{more}. Check them for an edge, scratches or a stain: "
        "they widen what counts as usual."
    )


# --- fit an OOD detector to labelled fields and calibrate it by cross-conformal prediction --------


_INTENSITY_LOOKS = ("tone", "shade")
_MIN_STD = 0.01
"""Smallest standard deviation of brightness and colour: below 1 % is rounding, not steel. Fields of
a monochrome camera have no colour at all, and those of the next camera a little."""


def fit_detector(
    examples: Sequence[Example],
    backbone: Backbone | None = None,
    *,
    subtype_of: Callable[[str], str],
) -> OodDetector:
    """Fit a detector without reporting progress; see `iter_fit_detector`."""
    detector = None
    for progress in iter_fit_detector(examples, backbone, subtype_of=subtype_of):
        detector = progress.result
    if detector is None:
        raise TrainingError("There are no examples to fit the out-of-distribution check.")
    return detector


def iter_fit_detector(
    examples: Sequence[Example],
    backbone: Backbone | None = None,
    *,
    subtype_of: Callable[[str], str],
    cache: FeatureCache | None = None,
    features: ReferenceFeatures | None = None,
    is_native: bool = False,
) -> Iterator[Progress[OodDetector]]:
    """Fit a detector and the scores of reference fields that its models were not fitted on.

    Args:
        examples: Labelled fields, in any order.
        backbone: Frozen network; None loads EfficientNet-Lite0 with its ImageNet weights.
        subtype_of: Structure code → subtype.
        cache: Keeps the features of every field for the next fit, or None.
        features: Features of the same examples that the heads were fitted to, in place of backbone
            and cache; None extracts them.
        is_native: Whether fields keep their pixels where features are extracted here.

    Yields:
        Progress per field extracted and per field scored, the last with the detector and a sentence
        on reference fields that are unlike the others of their code.

    Raises:
        TrainingError: Fewer than two examples.
    """
    if len(examples) < 2:  # noqa: PLR2004 - one to fit, one to score
        raise TrainingError("Strangeness needs at least two examples to compare with.")
    if features is None:
        extractor = build_ood_extractor(backbone or frozen_lite0(), "fp32", is_native=is_native)
        features = ReferenceFeatures(examples, extractor, cache)
    frozen_pass = features.extractor.frozen_pass
    total = 2 * len(features)
    folds = conformal.assign_folds(features.groups, features.codes, features.keys)
    subtypes = [subtype_of(code) for code in features.codes]
    sums = _FeatureSums(folds, subtypes)
    for index in range(len(features)):
        sums.add(index, features[index])
        yield Progress("strangeness", index + 1, total)
    reference = ReferenceFields(sums.descriptors, sums.windows, folds)
    held_out = reference.compare_held_out()
    nearest = [subtypes[compared.nearest] for compared in held_out]
    distances: dict[int, Distances] = {}
    pieces: dict[int, Distances] = {}
    quarters: dict[int, float] = {}
    step = -(-len(features) // MEASURED_PIECES)
    for fold in range(int(folds.max()) + 1):
        places = sums.fit_places(np.flatnonzero(folds != fold))
        for index in np.flatnonzero(folds == fold).tolist():
            distances[index] = compute_distances(places, features[index], nearest[index])
            piece = features.extract_piece(index) if index % step == 0 else None
            if piece is not None:
                pieces[index] = compute_distances(places, piece, nearest[index])
                quarters[index] = reference.compare(
                    piece.descriptor, piece.windows.on_steel(), fold
                ).distance
            yield Progress("strangeness", len(features) + len(distances), total)
    measured = [distances[index] for index in range(len(folds))]
    normalizer = ScoreNormalizer.fit(measured, pieces)
    own_distances = np.array([compared.distance for compared in held_out])
    outliers = find_outliers(features.labels, features.codes, own_distances)
    yield Progress(
        "strangeness",
        total,
        total,
        format_outliers(outliers, len(features)),
        OodDetector(
            sums.fit_places(np.arange(len(folds))),
            normalizer,
            ReferenceImages(features.keys, features.codes, subtypes, sums.embeddings()),
            DefectLimits.fit(features.quality),
            features.extractor,
            {
                "form": FORM,
                "arch": frozen_pass.backbone.arch,
                "backbone": frozen_pass.backbone.weights_hash,
                "precision": frozen_pass.engine.precision,
                "usual_um_per_px": frozen_pass.framing.usual_um_per_px,
                "embedding": features.extractor.embedding.name,
                "framing": frozen_pass.framing.kind,
                "folds": int(folds.max()) + 1,
                "microscopes": dict(Counter(features.microscopes)),
                "fields_per_specimen": median_low(Counter(features.groups).values()),
            },
            FieldDistance.fit(
                reference,
                held_out,
                quarters=quarters,
                z_scores=np.stack([normalizer.z_scores(own) for own in measured]),
                microscopes=_find_calibrated(features.microscopes),
                area_px=normalizer.sizes.area_px,
                weights=NATIVE if frozen_pass.is_native else ONE_SCALE,
            ),
        ),
    )


def _find_calibrated(microscopes: Sequence[str]) -> dict[str, NDArray[np.intp]]:
    """Return the fields of each microscope with enough for a false-alarm rate of its own."""
    names = np.array(microscopes)
    counts = Counter(microscopes)
    return {
        name: np.flatnonzero(names == name)
        for name in sorted(counts)
        if name and counts[name] >= conformal.OWN_SCORES_FROM
    }


class _FeatureSums:
    """Sums from which the Gaussians of any set of folds are fitted, and what is compared."""

    def __init__(self, folds: NDArray[np.int64], subtypes: Sequence[str]) -> None:
        self._folds, self._subtypes = folds, subtypes
        self._last: list[NDArray[np.float32]] = []
        self.descriptors: list[NDArray[np.float32]] = []
        self.windows: list[NDArray[np.float32]] = []
        self._cells: dict[tuple[str, int, str], Moments] = {}

    def add(self, index: int, features: OodFeatures) -> None:
        """Add the next example."""
        self._last.append(features.whole[-1])
        self.descriptors.append(features.descriptor)
        self.windows.append(features.windows.on_steel())
        for name in PLACES:
            key = (name, int(self._folds[index]), self._subtypes[index])
            moments = Moments.from_vectors(getattr(features, name).on_steel())
            self._cells[key] = self._cells[key] + moments if key in self._cells else moments

    def embeddings(self) -> NDArray[np.float32]:
        """Return the embedding of each whole field in the last layer, (n, 2c), unit rows."""
        return normalize_rows(np.stack(self._last)).astype(np.float32)

    def fit_places(self, rows: NDArray[np.intp]) -> tuple[Textures, ...]:
        """Fit the Gaussians of each of `PLACES` to examples that are all of some folds.

        Args:
            rows: (m,) indices of the examples.
        """
        fold_numbers = set(self._folds[rows].tolist())
        return tuple(self._fit_textures(name, fold_numbers) for name in PLACES)

    def _fit_textures(self, look: str, fold_numbers: set[int]) -> Textures:
        by_subtype: dict[str, Moments] = {}
        for (name, fold, subtype), moments in self._cells.items():
            if name == look and fold in fold_numbers:
                earlier = by_subtype.get(subtype)
                by_subtype[subtype] = moments if earlier is None else earlier + moments
        min_std = _MIN_STD if look in _INTENSITY_LOOKS else 0.0
        return Textures.from_moments(by_subtype, min_std=min_std)
