"""One evaluated image: its label, its prediction, and whether the OOD check flags it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from model.data.dataset import Example
    from model.inference.prediction import Prediction
    from model.taxonomy import Taxonomy


_MIN_PROBABILITY = 1e-12


@dataclass(frozen=True, slots=True)
class OodFlag:
    """OOD result of one image.

    Args:
        p_value: Share of reference images that score at least as high, in (0, 1].
        flagged: Whether the image was flagged.
        score: Larger is more unusual; orders images with the same p-value, such as those that score
            higher than every reference image.
    """

    p_value: float
    flagged: bool
    score: float = 0.0

    @property
    def order(self) -> float:
        """Sort key: smaller is more unusual, by p-value, then by score."""
        return self.p_value - 1e-6 * self.score / (1.0 + abs(self.score))


@dataclass(frozen=True, slots=True)
class Case:
    """True and predicted code of one image, and its OOD result.

    Args:
        key: Content hash of the image.
        group: Its specimen.
        true: The true code.
        predicted: The predicted code.
        probability: Probability of the predicted code.
        true_probability: Probability of the true code.
        prediction_set: Codes in the prediction set.
        p_value: OOD p-value.
        flagged: Whether the image was flagged as unusual.
        slices: Microscope, magnification, material and criterion, where known.
        score: OOD score; orders images with the same p-value.
        nearest: Keys of the most similar reference images of the true and the predicted code.
    """

    key: str
    group: str
    true: str
    predicted: str
    probability: float
    true_probability: float
    prediction_set: tuple[str, ...]
    p_value: float
    flagged: bool
    slices: Mapping[str, str]
    score: float = 0.0
    nearest: tuple[str, ...] = ()

    @property
    def alarm(self) -> OodFlag:
        """The OOD result."""
        return OodFlag(self.p_value, self.flagged, self.score)

    @property
    def right(self) -> bool:
        """Whether the predicted code is the true one."""
        return self.true == self.predicted


def flag_from(prediction: Prediction) -> OodFlag:
    """Return the OOD result of a prediction."""
    result = prediction.strangeness
    return OodFlag(result.p_value, result.flagged, result.score)


def compute_probability(
    true: str, codes: Mapping[str, float], subtypes: Mapping[str, float], taxonomy: Taxonomy
) -> float:
    """Return the probability of a code.

    Where the sizes were classified for the predicted subtype only, another subtype's probability is
    divided evenly among its sizes.
    """
    subtype, size = taxonomy.parse(true)
    if any(taxonomy.parse(code)[0] == subtype for code in codes):
        return codes.get(true, 0.0)
    sizes = [size_.name for size_ in taxonomy.subtype(subtype).trained_sizes]
    subtype_probability = subtypes.get(subtype, 0.0)
    return subtype_probability / len(sizes) if size in sizes else 0.0


def build_case(example: Example, prediction: Prediction, taxonomy: Taxonomy) -> Case:
    """Combine the prediction of an image with its true code."""
    true = taxonomy.code(*taxonomy.parse(example.code))
    slices = {**example.slices, "criterion": example.criterion}
    nearest = prediction.strangeness.nearest
    return Case(
        key=example.key,
        group=example.group,
        true=true,
        predicted=prediction.structure_code,
        probability=prediction.probability,
        true_probability=compute_probability(
            true, prediction.probabilities, prediction.subtype_probabilities, taxonomy
        ),
        prediction_set=prediction.prediction_set,
        p_value=prediction.strangeness.p_value,
        flagged=prediction.strangeness.flagged,
        slices=slices,
        score=prediction.strangeness.score,
        nearest=tuple(
            key
            for code in dict.fromkeys((true, prediction.structure_code))
            for key in nearest.get(code, ())
        ),
    )


def negative_log_likelihoods(cases: Sequence[Case]) -> NDArray[np.float64]:
    """Return the negative log-likelihood of the true code per case, (n,)."""
    return -np.log(np.maximum([case.true_probability for case in cases], _MIN_PROBABILITY))


def confidence_and_correctness(cases: Sequence[Case]) -> NDArray[np.float64]:
    """Return the probability of the predicted code and whether it is correct, (n, 2)."""
    return np.array([(case.probability, case.right) for case in cases], float).reshape(-1, 2)
