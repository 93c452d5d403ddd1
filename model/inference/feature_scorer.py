"""Score kept features with a bundle: codes, prediction sets and the distance of the whole field.

The same numbers as from the pictures, for whole row groups at once. Local strangeness is not among
them: the cells of a field are not kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from model.errors import ModelError
from model.inference.predictor import ENGINE_DIFFERENCE
from model.networks.schemes import CODE, SUBTYPE, Head, Scheme
from model.ood.conformal import compute_p_values

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from model.calibration import SetLevels
    from model.ood.feature_arrays import FeatureBatch, FeatureForm
    from model.ood.field_distance import FieldDistance


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

    def require_form(self, form: FeatureForm) -> None:
        """Raise unless features of a form are those that the bundle scores.

        Raises:
            ModelError: They are of another network or another extraction.
        """
        if form != self.form:
            raise ModelError(
                f"The kept features are of another network than that of {self.name}, or were "
                "extracted in another way. Make them again with: agent models features --fill."
            )

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
