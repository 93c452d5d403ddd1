"""What one pass of the frozen network keeps of a field: small enough to store for every micrograph.

Codes, prediction sets and the strangeness of the whole field can be computed from it without the
image, see `Classifier.score_features`. Loads no PyTorch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class FrozenFeatures:
    """Summary of one field by the frozen network.

    Args:
        made_by: Network, weights, engine and versions. Two summaries can be compared, and a bundle
            can score one, only if this is equal.
        embedding: (d,) float32, what heads on the frozen network classify.
        whole: Per layer (2c,) float32: mean and standard deviation of each channel over steel.
        blocks: (b, c) float32, unit rows: mean of the broad cells of each block of 80 µm.
        area_px: Area of steel in pixels of the frame.
    """

    made_by: str
    embedding: NDArray[np.float32]
    whole: tuple[NDArray[np.float32], ...]
    blocks: NDArray[np.float32]
    area_px: float

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return everything but `made_by`, arrays by name, for a file or a database."""
        arrays: dict[str, NDArray[np.generic]] = {
            "embedding": self.embedding,
            "blocks": self.blocks,
            "area_px": np.array([self.area_px], np.float64),
        }
        return arrays | {f"whole.{index}": layer for index, layer in enumerate(self.whole)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]], made_by: str) -> Self:
        """Return the features from what `to_arrays` returned, in any floating-point type."""
        count = sum(name.startswith("whole.") for name in arrays)
        return cls(
            made_by,
            np.asarray(arrays["embedding"], np.float32),
            tuple(np.asarray(arrays[f"whole.{index}"], np.float32) for index in range(count)),
            np.asarray(arrays["blocks"], np.float32),
            float(np.asarray(arrays["area_px"], np.float64).item()),
        )


@dataclass(frozen=True, slots=True)
class WholeFieldScore:
    """Strangeness of a whole field, from its features alone; places inside it are not scored.

    Args:
        p_value: Share of reference fields at least as far from the other ones, in (0, 1].
        flagged: Whether `p_value` is at most the false-alarm rate.
        distance: Mean log cosine distance of its blocks to the nearest reference field, corrected
            for a small area.
        nearest: Keys of the most similar reference fields, nearest first, per structure code.
    """

    p_value: float
    flagged: bool
    distance: float
    nearest: dict[str, tuple[str, ...]]
