"""Learn what is ordinary from labelled fields, and what ordinary fields reach that it never saw.

In:  `Example`s. Out: a step per field looked at and measured, the last with a `Known`. Next:
`training` puts it into the bundle. Cross-conformal: each field is measured by models that learned
from the other folds alone, specimens never on two sides; the final models learn from all.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from statistics import median_low
from typing import TYPE_CHECKING

import numpy as np

from model.errors import TrainingError
from model.image_quality import DefectLimits, measure_quality
from model.networks.backbones import frozen_lite0, hash_state_dict
from model.ood import conformal
from model.ood.detector import FORM, OodDetector
from model.ood.features import WINDOW_LAYERS, build_ood_extractor
from model.ood.mahalanobis import (
    PLACES,
    WHOLE_LAYERS,
    Moments,
    OodModels,
    Textures,
    TiedGaussians,
    normalize_rows,
)
from model.ood.score_normalization import ScoreNormalizer
from model.runtime.engines import has_bf16

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from model.data.dataset import Example
    from model.networks.backbones import Backbone
    from model.ood.features import OodFeatureExtractor, OodFeatures
    from model.ood.mahalanobis import Distances

_OWN_MEAN_FROM = 10
"""Codes with fewer images share the mean of their subtype."""

_OF_LIGHT = ("tone", "shade")
_LEAST = 0.01
"""Differences of light and colour below one in a hundred are rounding, not steel: a grey camera's
fields have no colour at all, and its next one a little."""

_KEPT_BYTES = 1_500_000_000
"""Cells of the examples that are kept in memory while learning; the rest is looked at twice."""


@dataclass(frozen=True, slots=True)
class Step:
    """How far the learning is.

    Args:
        done: Fields looked at or measured. total: of how many; each is looked at, then measured.
        known: What was learned, with the last step only.
    """

    done: int
    total: int
    known: OodDetector | None = None


def fit_detector(
    examples: Sequence[Example],
    backbone: Backbone | None = None,
    *,
    subtype_of: Callable[[str], str],
) -> OodDetector:
    """Learn in one go; as `iter_fit_detector`."""
    known = None
    for step in iter_fit_detector(examples, backbone, subtype_of=subtype_of):
        known = step.known
    if known is None:
        raise TrainingError("There is no example to learn the known structures from.")
    return known


def iter_fit_detector(
    examples: Sequence[Example],
    backbone: Backbone | None = None,
    *,
    subtype_of: Callable[[str], str],
) -> Iterator[Step]:
    """Learn what is known, and what known fields reach that the learning never saw.

    Args:
        examples: Labelled fields; their order changes nothing.
        backbone: The frozen network; None takes EfficientNet-Lite0 with its ImageNet weights.
        subtype_of: Structure code → subtype.

    Raises:
        TrainingError: Fewer than two examples.
    """
    if len(examples) < 2:  # noqa: PLR2004 - one to learn from, one to compare
        raise TrainingError("Strangeness needs at least two examples to compare with.")
    backbone = backbone or frozen_lite0()
    precision = "bf16" if has_bf16() else "fp32"
    looker = build_ood_extractor(backbone, precision)
    memory = _Memory(sorted(examples, key=lambda one: one.key), looker)
    total = 2 * len(memory)
    folds = conformal.assign_folds(memory.groups, memory.codes, memory.keys)
    known = _Summed(memory.codes, folds, [subtype_of(code) for code in memory.codes])
    for index in range(len(memory)):
        known.take(index, memory[index])
        yield Step(index + 1, total)
    reached: dict[int, Distances] = {}
    for fold in range(int(folds.max()) + 1):
        models = known.models(np.flatnonzero(folds != fold))
        for index in np.flatnonzero(folds == fold).tolist():
            reached[index] = models.distances(memory[index])
            yield Step(len(memory) + len(reached), total)
    yield Step(
        total,
        total,
        OodDetector(
            known.models(np.arange(len(folds))),
            ScoreNormalizer.of([reached[index] for index in range(len(folds))], memory.microscopes),
            list(zip(memory.keys, memory.codes, strict=True)),
            known.embeddings(),
            DefectLimits.fit(memory.measured),
            looker,
            {
                "form": FORM,
                "arch": backbone.arch,
                "backbone": hash_state_dict(backbone.state_dict()),
                "precision": precision,
                "folds": int(folds.max()) + 1,
                "microscopes": dict(Counter(memory.microscopes)),
                "fields_per_specimen": median_low(Counter(memory.groups).values()),
            },
        ),
    )


class _Memory:
    """The examples' impressions: kept while they fit, else looked at again."""

    def __init__(self, examples: Sequence[Example], looker: OodFeatureExtractor) -> None:
        self._examples = examples
        self._looker = looker
        self._kept: dict[int, OodFeatures] = {}
        self._left = _KEPT_BYTES
        self.measured: list[dict[str, float]] = []
        self.keys = [example.key for example in examples]
        self.codes = [example.code for example in examples]
        self.groups = [example.group for example in examples]
        self.microscopes = [example.slices.get("microscope", "") for example in examples]

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> OodFeatures:
        if index in self._kept:
            return self._kept[index]
        field = self._examples[index].load()
        seen = self._looker.look(field)
        if len(self.measured) == index:  # the first time round
            self.measured.append(measure_quality(field))
        size = sum(getattr(seen, name).features.nbytes for name in PLACES)
        if size <= self._left:
            self._left -= size
            self._kept[index] = seen
        return seen


class _Summed:
    """Everything the Gaussians of any share of the examples are made from."""

    def __init__(
        self, codes: Sequence[str], folds: NDArray[np.int64], subtypes: Sequence[str]
    ) -> None:
        self._folds, self._subtypes = folds, list(subtypes)
        usual = Counter(codes)
        self._classes = [
            code if usual[code] >= _OWN_MEAN_FROM else subtype
            for code, subtype in zip(codes, subtypes, strict=True)
        ]
        self._whole: list[tuple[NDArray[np.float32], ...]] = []
        self._windows: list[tuple[NDArray[np.float32], ...]] = []
        self._cells: dict[tuple[str, int, str], Moments] = {}

    def take(self, index: int, seen: OodFeatures) -> None:
        """Take in the next example."""
        self._whole.append(seen.whole)
        self._windows.append(seen.windows)
        for name in PLACES:
            key = (name, int(self._folds[index]), self._subtypes[index])
            one = Moments.of(getattr(seen, name).on_steel())
            self._cells[key] = self._cells[key] + one if key in self._cells else one

    def embeddings(self) -> NDArray[np.float32]:
        """Give the whole fields in the last layer, of length one, (n, 2c)."""
        return normalize_rows(np.stack([whole[-1] for whole in self._whole])).astype(np.float32)

    def models(self, chosen: NDArray[np.intp]) -> OodModels:
        """Fit the Gaussians of some whole folds."""
        known = set(self._folds[chosen].tolist())
        return OodModels(
            whole=tuple(
                TiedGaussians.fit(
                    normalize_rows(np.stack([self._whole[i][layer] for i in chosen])),
                    [self._classes[i] for i in chosen],
                )
                for layer in WHOLE_LAYERS
            ),
            window=tuple(
                TiedGaussians.fit(
                    normalize_rows(np.concatenate([self._windows[i][layer] for i in chosen])),
                    [self._classes[i] for i in chosen for _ in self._windows[i][layer]],
                )
                for layer in range(len(WINDOW_LAYERS))
            ),
            places=tuple(self._textures(name, known) for name in PLACES),
            subtype_of=dict(zip(self._classes, self._subtypes, strict=True)),
        )

    def _textures(self, part: str, known: set[int]) -> Textures:
        summed: dict[str, Moments] = {}
        for (name, fold, subtype), one in self._cells.items():
            if name == part and fold in known:
                summed[subtype] = summed[subtype] + one if subtype in summed else one
        return Textures.from_moments(summed, least=_LEAST if part in _OF_LIGHT else 0.0)
