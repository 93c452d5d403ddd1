"""Measure how far the looks of one field lie from what was taught.

In:  an `Impression`, and the Gaussians of the taught fields. Out: `Distances`, not yet compared
with anything. Next: `usual` says what is ordinary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from model.ood.gaussian import unit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from model.ood.features import Cells, Impression
    from model.ood.gaussian import Clouds, Textures

WHOLE_LAYERS: Final = (0, 1, 2, 3)
"""Layers whose distances are averaged over the whole field."""

PLACES: Final = ("fine", "broad", "tone", "patch", "shade")
"""Looks that are taken cell by cell, and so can say where."""

_TOP: Final = {"fine": 20, "broad": 3, "tone": 10, "patch": 1, "shade": 2}
"""How many of the strangest cells are averaged: about 80, 190 and 40 µm², and one or two patches.
A number, no share of the field: an inclusion is as strange in a large field as in a small one."""


@dataclass(frozen=True, slots=True)
class Distances:
    """What one field's looks measure.

    Args:
        whole: (layers,) logarithms. windows: (w, layers) logarithms.
        subtype: The subtype whose fields look most like this one as a whole.
        places: Per look of `PLACES` (rows, columns) float32, 0 off the steel.
        tops: (5,) logarithms: the mean square of the strangest cells of each.
    """

    whole: NDArray[np.float64]
    windows: NDArray[np.float64]
    subtype: str
    places: tuple[NDArray[np.float32], ...]
    tops: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Models:
    """The Gaussians: per layer for the whole and the windows, per subtype for cells."""

    whole: tuple[Clouds, ...]
    window: tuple[Clouds, ...]
    places: tuple[Textures, ...]
    subtype_of: Mapping[str, str]

    def distances(self, seen: Impression) -> Distances:
        """Measure one field."""
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
        return Distances(
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

    def whitened(self, embeddings: NDArray[np.floating]) -> NDArray[np.float32]:
        """Bring unit embeddings of the last layer to where plain distance counts, (n, d)."""
        found: NDArray[np.float32] = (embeddings @ self.whole[-1].whiten).astype(np.float32)
        return found


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
