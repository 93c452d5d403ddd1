"""Give a field its structure code, the doubt about it, and what the networks looked at.

In:  `Field`s. Out: a `Prediction` each. Next: the agent's `triage`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from model.strangeness import Strangeness


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a bundle says about one field; the same field gives the same answer.

    Args:
        subtype: The most probable subtype, such as "G".
        subtype_probabilities: Subtype → probability; sums to 1.
        size: The most probable size inside that subtype, such as "9-10".
        size_min: Its lower bound as an integer. size_max: its upper bound.
        size_probabilities: Size → probability inside that subtype; sums to 1.
        structure_code: Subtype and size together, such as "G9-10".
        probability: Of the structure code, calibrated.
        probabilities: Structure code → probability (DESIGN.md, "two-stage routing").
        prediction_set: The codes that cannot be told apart at the bundle's confidence, neighbours
            in size, never across subtypes; the structure code is among them.
        subtype_map: (rows, columns) float16, signed evidence for the subtype over the field:
            its mean over valid cells plus the bias is the logit.
        size_map: The same for the size, or None where the subtype has one size.
        coarser_share: Share of the field, in [0, 1], that looks coarser than the size; per size.
        strangeness: How unlike the taught examples the field is.
        bundle: Name of the bundle that answered.
        engine: "pytorch" or "openvino", and on which device. precision: "fp32", "bf16" or "int8".
    """

    subtype: str
    subtype_probabilities: dict[str, float]
    size: str
    size_min: int
    size_max: int
    size_probabilities: dict[str, float]
    structure_code: str
    probability: float
    probabilities: dict[str, float]
    prediction_set: tuple[str, ...]
    subtype_map: NDArray[np.float16]
    size_map: NDArray[np.float16] | None
    coarser_share: dict[str, float]
    strangeness: Strangeness
    bundle: str
    engine: str
    precision: str
