"""Result of a classifier for one field. Loads no PyTorch, so pages and the store can name it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from model.ood.conformal import OodResult
    from model.ood.feature_arrays import FrozenFeatures


@dataclass(frozen=True, slots=True)
class AnswerFacts:
    """What a bundle answers on one field, apart from what is absent where there was no bundle.

    Args:
        subtype_probabilities: Subtype → probability; sums to 1.
        size_min: Lower bound of the size as an integer, None if it has no whole numbers.
        size_max: Its upper bound, likewise.
        size_probabilities: Size → probability given the subtype; sums to 1.
        probabilities: Structure code → probability (DESIGN.md, "two-stage routing").
        prediction_set: Codes in the conformal prediction set: the structure code with neighbouring
            sizes, and all of each other subtype that is possible; in the order of the taxonomy.
        coarser_share: Size → share of the steel, in [0, 1], classified as coarser than this size.
        bundle: Name of the bundle.
        engine: Library and device, such as "openvino cpu".
        precision: "fp32", "bf16" or "int8".
    """

    subtype_probabilities: dict[str, float]
    size_min: int | None
    size_max: int | None
    size_probabilities: dict[str, float]
    probabilities: dict[str, float]
    prediction_set: tuple[str, ...]
    coarser_share: dict[str, float]
    bundle: str
    engine: str
    precision: str


@dataclass(frozen=True, slots=True)
class Prediction(AnswerFacts):
    """Result for one field; the same field always gets the same result.

    Args:
        subtype: The most probable subtype, such as "G".
        size: The most probable size given that subtype, such as "9-10".
        structure_code: Subtype and size, such as "G9-10".
        probability: Calibrated probability of the structure code.
        subtype_map: (rows, columns) float16 over the field, signed evidence for the subtype in
            logits; its mean over valid cells plus the bias is the logit.
        size_map: The same for the size, or None if the subtype has one size.
        coarser_map: (rows, columns) float16, in logits; above 0 where a cell is classified as
            coarser than the predicted size, so the share above 0 is `coarser_share[size]`. None if
            the predicted size is the coarsest or the only one.
        contrast_map: (rows, columns) float16, signed evidence for the size over `contrast_with`
            in logits, "why 8 and not 7"; None if the subtype has one size.
        contrast_with: The second most probable size, or "".
        strangeness: Result of the out-of-distribution check.
        defects: Defects of the image or the preparation with their remedy, such as
            "out of focus: shoot again"; () if there are none.
        evidence_limits: "subtype_evidence_limit" and "size_evidence_limit": the evidence drawn in
            full colour on every map of this bundle; {} if the bundle records none.
        features: What the frozen pass keeps of the field, or None.
    """

    subtype: str
    size: str
    structure_code: str
    probability: float
    subtype_map: NDArray[np.float16]
    size_map: NDArray[np.float16] | None
    strangeness: OodResult
    defects: tuple[str, ...] = ()
    coarser_map: NDArray[np.float16] | None = None
    contrast_map: NDArray[np.float16] | None = None
    contrast_with: str = ""
    evidence_limits: Mapping[str, float] = field(default_factory=dict)
    features: FrozenFeatures | None = field(default=None, repr=False, compare=False)
