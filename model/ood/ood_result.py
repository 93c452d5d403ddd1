"""Result of the out-of-distribution check for one field. Loads no PyTorch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class OodResult:
    """How far one field is from the reference images of a bundle.

    Args:
        p_value: Share of reference fields that score at least as high, in (0, 1]; small is unusual.
        flagged: Whether `p_value` is at most the alarm rate alpha that the lab has set.
        whole: z-score of the whole field among the reference fields; larger is more unusual.
        local: Largest value of the heat map, 1 = the alarm level of a single place.
        where: Box (x0, y0, x1, y1) of the most unusual region in pixels of the field, x1/y1
            exclusive, or None if no cell reaches the alarm level.
        heat: (rows, columns) float16 over the whole field, 1 = alarm level.
        nearest: Keys of the most similar reference images, nearest first, per candidate code.
        references: Number of reference fields that were compared.
        is_resolvable: They are enough for the alarm rate.
        size_ratio: Area divided by the usual one, where no reference field is as large or as small;
            else None.
        score: Value that is compared with the reference scores; larger is more unusual, no unit.
        look: The one of `LOOKS` that is most unusual.
        area_um2: Area of the most unusual region in µm², or None without a region or a scale.
        companions: Scores of other methods by name, larger is more unusual; logged, they decide
            nothing.
    """

    p_value: float
    flagged: bool
    whole: float
    local: float
    where: tuple[int, int, int, int] | None
    heat: NDArray[np.float16]
    nearest: dict[str, tuple[str, ...]]
    references: int = 0
    is_resolvable: bool = True
    size_ratio: float | None = None
    score: float = 0.0
    look: str = "whole"
    area_um2: float | None = None
    companions: dict[str, float] = field(default_factory=dict)
