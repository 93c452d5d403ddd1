"""Convert OOD scores to conformal p-values; the result of the check for one field.

The guarantee covers good images only: on average at most alpha of them are flagged. It does not
bound how many unusual images are missed.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.errors import ModelError

OWN_SCORES_FROM = 100
"""Microscopes with fewer reference images are compared with the images of all microscopes: at an
alarm rate of 2 % fewer images do not estimate their own rate to within a factor of two."""

FOLDS = 10
"""Folds of the cross-conformal pool: each model is then fitted on nine tenths of the examples."""


def compute_p_values(
    scores: NDArray[np.float64], reference: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the conformal p-value of each score: the share of reference scores at least as high.

    Args:
        scores: (n,) float64; larger is more unusual.
        reference: (m,) float64, scores of the reference images in ascending order.

    Returns:
        (n,) float64 in [1 / (m + 1), 1]; the score itself is counted.

    Source:
        Vovk et al. 2005, conformal prediction; pooled over folds as in Vovk 2015,
        arXiv:1208.0806 (cross-conformal), with one final model instead of one per fold.
    """
    at_least = len(reference) - np.searchsorted(reference, scores, side="left").astype(np.float64)
    shares: NDArray[np.float64] = (1.0 + at_least) / (len(reference) + 1.0)
    return shares


def min_reference_images(alpha: float) -> int:
    """Return the smallest number of reference images that can resolve an alarm rate.

    Args:
        alpha: Alarm rate, in (0, 1).
    """
    return max(1, math.ceil(1.0 / alpha - 1.0 - 1e-9))


def require_reference_images(alpha: float, count: int) -> None:
    """Raise if the reference images are too few for an alarm rate.

    Args:
        alpha: Alarm rate, in (0, 1).
        count: Number of reference images.

    Raises:
        ModelError: Alpha is out of range, or the images are too few.
    """
    if not 0.0 < alpha < 1.0:
        raise ModelError(f"The alarm rate alpha must lie between 0 and 1, not {alpha:g}.")
    if count < min_reference_images(alpha):
        raise ModelError(
            f"A false-alarm rate of {alpha:g} needs at least {min_reference_images(alpha)} "
            f"reference images, and this bundle has {count}. Set [strangeness] alpha to "
            f"{_round_up(1.0 / (count + 1)):g} or more, or train on more images."
        )


def _round_up(alpha: float) -> float:
    """Return an alarm rate rounded up to three decimals."""
    return math.ceil(alpha * 1000.0 - 1e-9) / 1000.0


def format_precision_warning(alpha: float, count: int) -> str:
    """Return a warning that the alarm rate is uncertain with so few reference images, or "".

    Args:
        alpha: Alarm rate, in (0, 1).
        count: Number of reference images.
    """
    rank = math.floor(alpha * (count + 1) + 1e-9)  # from rank 5 on, the rate is stable
    if count < min_reference_images(alpha) or rank >= 5:  # noqa: PLR2004
        return ""
    return (
        f"False alarms up to {100 * compute_alarm_limit(alpha, count):.1f} % (target "
        f"{100 * alpha:g} %): add reference images, there are {count}."
    )


def compute_specimen_alarm_rate(alpha: float, fields: int) -> float:
    """Compute the share of good specimens that have at least one flagged field.

    Args:
        alpha: Alarm rate of one field.
        fields: Fields per specimen, assumed to be flagged independently. Where they resemble one
            another, fewer specimens are affected, each with more fields.
    """
    return float(1.0 - (1.0 - alpha) ** fields)


def alarm_rate_in_words(alpha: float, fields: int) -> str:
    """Format what an alarm rate means for single fields and for whole specimens.

    Args:
        alpha: Alarm rate of one field.
        fields: Fields per specimen.
    """
    sentence = f"{alpha:.1%} of good fields are flagged on average"
    if fields < 2:  # noqa: PLR2004 - a specimen of one field is no more than its field
        return f"{sentence}."
    return (
        f"{sentence}; of good specimens with {fields} fields "
        f"{compute_specimen_alarm_rate(alpha, fields):.1%} have a flagged one."
    )


def alarm_rate_warnings(alpha: float, summary: Mapping[str, Any]) -> list[str]:
    """Return sentences on why a bundle's alarm rate is uncertain; [] if it is not.

    Args:
        alpha: Alarm rate that the lab has set.
        summary: Summary of the bundle's reference images, from `OodDetector.summary`.
    """
    calibrated, counts = summary["own_scores"], summary["microscopes"]
    too_few = [
        f"{name} ({n})" for name, n in sorted(counts.items()) if name and name not in calibrated
    ]
    warnings = [format_precision_warning(alpha, summary["known"])]
    if too_few and len(counts) > 1:
        warnings.append(
            "Too few reference images for a separate false-alarm rate (at least "
            f"{OWN_SCORES_FROM}): {', '.join(too_few)}. Their fields are compared with the images "
            "of all microscopes."
        )
    return [sentence for sentence in warnings if sentence]


def compute_alarm_limit(alpha: float, count: int, tested: int | None = None) -> float:
    """Compute the false-alarm rate that chance alone exceeds once in twenty times.

    Args:
        alpha: Alarm rate, in (0, 1).
        count: Number of reference images.
        tested: Number of new good images that are counted; None: no limit.

    Source:
        The rate is Beta(rank, count + 1 - rank) distributed, counts from it beta-binomially
        (Vovk 2012, arXiv:1209.2673); computed here from 20 000 drawn rates with a fixed seed.
    """
    rank = max(1, math.floor(alpha * (count + 1) + 1e-9))
    rng = np.random.default_rng(20)
    rates = rng.beta(rank, max(count + 1 - rank, 1e-3), 20_000)
    if tested is not None:
        rates = rng.binomial(tested, rates) / tested
    return float(np.quantile(rates, 0.95, method="higher"))


def assign_folds(
    groups: Sequence[str], classes: Sequence[str], keys: Sequence[str], count: int = FOLDS
) -> NDArray[np.int64]:
    """Assign examples to folds, each group to one fold, every class spread over the folds.

    Args:
        groups: Key of what stays together, such as the specimen.
        classes: Key of what is spread over the folds, such as the structure code.
        keys: Unique names.
        count: Largest number of folds.

    Returns:
        (n,) int64 fold numbers, independent of the order of the examples. A class that comes from a
        single group is assigned image by image; else no other fold would contain it.
    """
    single_group = {
        name
        for name in set(classes)
        if len({group for group, other in zip(groups, classes, strict=True) if other == name}) == 1
    }
    units = [
        f"{group} {key}" if name in single_group else group
        for group, name, key in zip(groups, classes, keys, strict=True)
    ]
    sizes = Counter(units)
    class_of = dict(zip(units, classes, strict=True))
    order = sorted(sizes, key=lambda group: (class_of[group], -sizes[group], _hash_text(group)))
    count = max(2, min(count, len(order)))
    fold_of = {group: position % count for position, group in enumerate(order)}
    return np.array([fold_of[group] for group in units], np.int64)


def _hash_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


# --- result of the out-of-distribution check for one field. Loads no PyTorch ----------------------


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
