"""Turn scores into the share of known images that look at least as strange.

In:  scores of known images that their own model never saw. Out: p-values, and what they promise.
Next: `strangeness`. The promise is about good images only: at most alpha of them are flagged on
average. Nothing is promised about what is missed.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from model.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

OWN_SCORES_FROM = 100
"""Microscopes with fewer known images are compared with the images of all microscopes: at an alarm
rate of 2 % fewer images could not tell their own rate to within a factor of two."""

FOLDS = 10
"""Folds of the cross-conformal pool: each model then knows nine tenths of the examples."""


def p_values(scores: NDArray[np.float64], known: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give each score's share of known scores at least as high, itself counted.

    Args:
        scores: (n,), larger is stranger.
        known: (m,) of known images, sorted upwards.

    Returns:
        (n,) in [1 / (m + 1), 1].

    Source:
        Vovk et al. 2005, conformal prediction; pooled over folds as in Vovk 2015,
        arXiv:1208.0806 (cross-conformal), with one final model instead of one per fold.
    """
    at_least = len(known) - np.searchsorted(known, scores, side="left").astype(np.float64)
    shares: NDArray[np.float64] = (1.0 + at_least) / (len(known) + 1.0)
    return shares


def min_reference_images(alpha: float) -> int:
    """Say how many known images an alarm rate needs at the least."""
    return max(1, math.ceil(1.0 / alpha - 1.0 - 1e-9))


def require_reference_images(alpha: float, known: int) -> None:
    """Refuse an alarm rate that so few known images cannot resolve.

    Raises:
        ModelError: Too few; the sentence names both ways out.
    """
    if not 0.0 < alpha < 1.0:
        raise ModelError(f"The alarm rate alpha must lie between 0 and 1, not {alpha:g}.")
    if known < min_reference_images(alpha):
        raise ModelError(
            f"An alarm rate of {alpha:g} needs at least {min_reference_images(alpha)} known images "
            f"to compare with, and this bundle has {known}: set [strangeness] alpha to "
            f"{_lifted(1.0 / (known + 1)):g} or more, or train on more images."
        )


def _lifted(alpha: float) -> float:
    return math.ceil(alpha * 1000.0 - 1e-9) / 1000.0


def warning(alpha: float, known: int) -> str:
    """Say in a sentence how uncertain the alarm rate is with so few known images, or ""."""
    rank = math.floor(alpha * (known + 1) + 1e-9)
    if known < min_reference_images(alpha) or rank >= 5:  # noqa: PLR2004 - from five on, the rate is steady
        return ""
    return (
        f"With {known} known images the share of good images flagged may be anything up to "
        f"{alarm_limit(alpha, known):.1%} where {alpha:.1%} is set; more images make it steadier."
    )


def per_specimen(alpha: float, fields: int) -> float:
    """Give the share of good specimens of so many fields that have a flagged one.

    Args:
        alpha: The alarm rate of one field.
        fields: Of one specimen, taken to be flagged independently; where they resemble one another
            fewer specimens are affected, each with more fields.
    """
    return float(1.0 - (1.0 - alpha) ** fields)


def alarm_rate_in_words(alpha: float, fields: int) -> str:
    """Say in a sentence what an alarm rate means for single fields and for whole specimens."""
    said = f"{alpha:.1%} of good fields are flagged on average"
    if fields < 2:  # noqa: PLR2004 - a specimen of one field is no more than its field
        return f"{said}."
    return (
        f"{said}; of good specimens with {fields} fields {per_specimen(alpha, fields):.1%} have a "
        "flagged one."
    )


def alarm_rate_warnings(alpha: float, of: Mapping[str, Any]) -> list[str]:
    """Say in sentences what makes a bundle's alarm rate uncertain; [] where nothing does.

    Args:
        alpha: The alarm rate that the lab has set.
        of: The bundle's known images in short, from `Known.summary`.
    """
    own, all_of = of["own_scores"], of["microscopes"]
    few = [f"{name} ({n})" for name, n in sorted(all_of.items()) if name and name not in own]
    found = [warning(alpha, of["known"])]
    if few and len(all_of) > 1:
        found.append(
            f"Too few known images for an alarm rate of their own (at least {OWN_SCORES_FROM}) "
            f"have {', '.join(few)}: their fields are compared with the images of all microscopes."
        )
    return [sentence for sentence in found if sentence]


def alarm_limit(alpha: float, known: int, tested: int | None = None, level: float = 0.95) -> float:
    """Give the false-alarm rate that chance alone exceeds with probability 1 - level.

    Args:
        alpha: The alarm rate.
        known: How many calibration images.
        tested: How many new good images are counted; None: as many as one likes.
        level: Such as 0.95.

    Source:
        The rate is Beta(rank, known + 1 - rank) distributed, counts from it beta-binomially
        (Vovk 2012, arXiv:1209.2673); computed here from 20 000 drawn rates with a fixed seed.
    """
    rank = max(1, math.floor(alpha * (known + 1) + 1e-9))
    rng = np.random.default_rng(20)
    rates = rng.beta(rank, max(known + 1 - rank, 1e-3), 20_000)
    if tested is not None:
        rates = rng.binomial(tested, rates) / tested
    return float(np.quantile(rates, level, method="higher"))


def assign_folds(
    groups: Sequence[str], classes: Sequence[str], keys: Sequence[str], count: int = FOLDS
) -> NDArray[np.int64]:
    """Deal examples into folds, a group never on two sides, every class spread.

    Args:
        groups: What stays together, such as the specimen.
        classes: What is spread over the folds, such as the structure code.
        keys: Unique names.
        count: How many folds at most.

    Returns:
        (n,) fold numbers. A class that comes from a single group is dealt image by image, since no
        fold could know it otherwise. The same examples in any order get the same folds.
    """
    alone = {
        name
        for name in set(classes)
        if len({group for group, other in zip(groups, classes, strict=True) if other == name}) == 1
    }
    together = [
        f"{group} {key}" if name in alone else group
        for group, name, key in zip(groups, classes, keys, strict=True)
    ]
    size = Counter(together)
    usual = dict(zip(together, classes, strict=True))
    order = sorted(size, key=lambda group: (usual[group], -size[group], _digest(group)))
    count = max(2, min(count, len(order)))
    fold_of = {group: position % count for position, group in enumerate(order)}
    return np.array([fold_of[group] for group in together], np.int64)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
