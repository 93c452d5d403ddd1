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
from model.networks.backbones import frozen_lite0
from model.ood import conformal
from model.ood.detector import FORM, OodDetector
from model.ood.feature_arrays import PLACES
from model.ood.features import WINDOW_LAYERS, build_ood_extractor
from model.ood.field_distance import (
    NATIVE_WEIGHT,
    FieldDistance,
    ReferenceFields,
    compute_held_out_distances,
)
from model.ood.field_size import MEASURED_PIECES
from model.ood.mahalanobis import (
    WHOLE_LAYERS,
    Moments,
    OodModels,
    Textures,
    TiedGaussians,
    normalize_rows,
)
from model.ood.outliers import find_outliers, format_outliers
from model.ood.reference_features import ReferenceFeatures
from model.ood.score_normalization import ScoreNormalizer
from model.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from model.data.dataset import Example
    from model.data.feature_cache import FeatureCache
    from model.networks.backbones import Backbone
    from model.ood.feature_arrays import OodFeatures
    from model.ood.mahalanobis import Distances

_OWN_MEAN_FROM = 10
"""Codes with fewer images share the mean of their subtype."""

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
    sums = _FeatureSums(
        features.codes,
        folds,
        [subtype_of(code) for code in features.codes],
    )
    for index in range(len(features)):
        sums.add(index, features[index])
        yield Progress("strangeness", index + 1, total)
    distances: dict[int, Distances] = {}
    pieces: dict[int, Distances] = {}
    quarters: dict[int, NDArray[np.float32]] = {}
    step = -(-len(features) // MEASURED_PIECES)
    for fold in range(int(folds.max()) + 1):
        models = sums.fit_models(np.flatnonzero(folds != fold))
        for index in np.flatnonzero(folds == fold).tolist():
            distances[index] = models.compute_distances(features[index])
            piece = features.extract_piece(index) if index % step == 0 else None
            if piece is not None:
                pieces[index] = models.compute_distances(piece)
                quarters[index] = piece.blocks
            yield Progress("strangeness", len(features) + len(distances), total)
    measured = [distances[index] for index in range(len(folds))]
    normalizer = ScoreNormalizer.fit(measured, features.microscopes, pieces)
    reference = ReferenceFields(
        sums.blocks,
        quarters,
        np.stack([normalizer.z_scores(own) for own in measured]),
        folds,
        features.microscopes,
        list(normalizer.microscopes),
        normalizer.sizes.area_px,
        NATIVE_WEIGHT if frozen_pass.is_native else 1.0,
    )
    held_out = compute_held_out_distances(reference)
    outliers = find_outliers(features.labels, features.codes, held_out)
    yield Progress(
        "strangeness",
        total,
        total,
        format_outliers(outliers, len(features)),
        OodDetector(
            sums.fit_models(np.arange(len(folds))),
            normalizer,
            list(zip(features.keys, features.codes, strict=True)),
            sums.embeddings(),
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
            FieldDistance.fit(reference, held_out),
        ),
    )


class _FeatureSums:
    """Sums from which the Gaussians of any set of folds are fitted."""

    def __init__(
        self,
        codes: Sequence[str],
        folds: NDArray[np.int64],
        subtypes: Sequence[str],
    ) -> None:
        self._folds, self._subtypes = folds, list(subtypes)
        counts = Counter(codes)
        self._classes = [
            code if counts[code] >= _OWN_MEAN_FROM else subtype
            for code, subtype in zip(codes, subtypes, strict=True)
        ]
        self._whole: list[tuple[NDArray[np.float32], ...]] = []
        self._windows: list[tuple[NDArray[np.float32], ...]] = []
        self.blocks: list[NDArray[np.float32]] = []
        self._cells: dict[tuple[str, int, str], Moments] = {}

    def add(self, index: int, features: OodFeatures) -> None:
        """Add the next example."""
        self._whole.append(features.whole)
        self._windows.append(features.windows)
        self.blocks.append(features.blocks)
        for name in PLACES:
            key = (name, int(self._folds[index]), self._subtypes[index])
            moments = Moments.from_vectors(getattr(features, name).on_steel())
            self._cells[key] = self._cells[key] + moments if key in self._cells else moments

    def embeddings(self) -> NDArray[np.float32]:
        """Return the embedding of each whole field in the last layer, (n, 2c), unit rows."""
        return normalize_rows(np.stack([whole[-1] for whole in self._whole])).astype(np.float32)

    def fit_models(self, rows: NDArray[np.intp]) -> OodModels:
        """Fit the Gaussians to examples that are all of some folds.

        Args:
            rows: (m,) indices of the examples.
        """
        fold_numbers = set(self._folds[rows].tolist())
        return OodModels(
            whole=tuple(
                TiedGaussians.fit(
                    normalize_rows(np.stack([self._whole[i][layer] for i in rows])),
                    [self._classes[i] for i in rows],
                )
                for layer in WHOLE_LAYERS
            ),
            window=tuple(
                TiedGaussians.fit(
                    normalize_rows(np.concatenate([self._windows[i][layer] for i in rows])),
                    [self._classes[i] for i in rows for _ in self._windows[i][layer]],
                )
                for layer in range(len(WINDOW_LAYERS))
            ),
            places=tuple(self._fit_textures(name, fold_numbers) for name in PLACES),
            subtype_of=dict(zip(self._classes, self._subtypes, strict=True)),
        )

    def _fit_textures(self, look: str, fold_numbers: set[int]) -> Textures:
        by_subtype: dict[str, Moments] = {}
        for (name, fold, subtype), moments in self._cells.items():
            if name == look and fold in fold_numbers:
                earlier = by_subtype.get(subtype)
                by_subtype[subtype] = moments if earlier is None else earlier + moments
        min_std = _MIN_STD if look in _INTENSITY_LOOKS else 0.0
        return Textures.from_moments(by_subtype, min_std=min_std)
