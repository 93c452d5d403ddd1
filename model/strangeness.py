"""Say how unlike everything taught a field is, as a whole and at its strangest place.

In:  `Field`s through one frozen network. Out: a `Strangeness` with a calibrated p-value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Strangeness:
    """How far one field lies from everything the bundle was taught.

    Args:
        p_value: Share of known fields that look at least this strange, in (0, 1]; small is strange.
        flagged: Whether `p_value` is below the alarm rate alpha that the lab has set.
        whole: Distance of the whole field in calibration standard deviations; larger is stranger.
        local: Distance of the strangest place, 1 = the alarm level of a single place.
        where: Box (x0, y0, x1, y1) of the strangest place in pixels of the field, x1/y1
            exclusive, or None if no place reaches the alarm level.
        heat: (rows, columns) float16 over the whole field, 1 = alarm level.
        sentence: The reason a person reads: what is strange, and how rare that is.
        nearest: Keys of the most similar known examples, nearest first, per candidate code.
    """

    p_value: float
    flagged: bool
    whole: float
    local: float
    where: tuple[int, int, int, int] | None
    heat: NDArray[np.float16]
    sentence: str
    nearest: dict[str, tuple[str, ...]]
