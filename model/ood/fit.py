"""Fit an OOD detector to labelled fields and calibrate it by cross-conformal prediction.

Each field is scored by models fitted to the other folds only, a specimen never in two folds; the
final models are fitted to all fields.
"""

from __future__ import annotations

from collections import Counter
from statistics import median_low
from typing import TYPE_CHECKING

import numpy as np

from model.errors import TrainingError
from model.image_quality import DefectLimits
from model.networks.backbones import Backbone, frozen_lite0
from model.ood import conformal
from model.ood.detector import FORM, OodDetector, ReferenceImages
from model.ood.feature_arrays import PLACES, OodFeatures
from model.ood.features import build_ood_extractor
from model.ood.field_distance import (
    NATIVE,
    ONE_SCALE,
    FieldDistance,
    ReferenceFields,
    map_distances,
)
from model.ood.mahalanobis import Distances, Moments, Textures, compute_distances, normalize_rows
from model.ood.reference_features import ReferenceFeatures, find_outliers, format_outliers
from model.ood.score_normalization import MEASURED_PIECES, ScoreNormalizer
from model.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from model.data.dataset import Example
    from model.data.feature_cache import FeatureCache

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
    nearest = [subtypes[compared.nearest[0]] for compared in held_out]
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
    maps = [
        map_distances(compared.windows, steel)
        for compared, steel in zip(held_out, sums.window_steel, strict=True)
    ]
    normalizer = ScoreNormalizer.fit(measured, maps, pieces)
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
        self.window_steel: list[NDArray[np.bool_]] = []
        self._cells: dict[tuple[str, int, str], Moments] = {}

    def add(self, index: int, features: OodFeatures) -> None:
        """Add the next example."""
        self._last.append(features.whole[-1])
        self.descriptors.append(features.descriptor)
        self.windows.append(features.windows.on_steel())
        self.window_steel.append(features.windows.steel)
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
