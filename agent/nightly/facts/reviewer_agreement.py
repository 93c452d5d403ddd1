"""Compute how often reviewers agree with the model, over three months, since one night has too few.

A decision taken with the model's answer in view leans to it, so decisions without it are counted
separately.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from agent.orders.judge.decision_rule import SecondLook, recommend_second_look
from agent.orders.judge.judgement_rules import MAX_FALSE_CONFORM
from agent.store import DoubleReview, LabelledMicrograph, Record
from model import Taxonomy

WINDOW = timedelta(days=90)
WITHIN = 0.03  # half the width of the 95 % interval
Z95 = 1.96  # two-sided 95 % quantile of the normal distribution


@dataclass(frozen=True, slots=True)
class Raters:
    """Agreement of the raters in the newest round robin.

    Args:
        name: Of the campaign.
        raters, images: How many.
        code, subtype: Fleiss' kappa with its 95 % interval, or None where it is not defined.
    """

    name: str
    raters: int
    images: int
    code: tuple[float, float, float] | None
    subtype: tuple[float, float, float] | None


@dataclass(frozen=True, slots=True)
class ReviewerAgreement:
    """How often two sides gave the same structure code.

    Args:
        n: Micrographs with a reviewer's code and an answer of the model.
        same: Of `n`, those with the same code.
        blind_n: Of `n`, those where the reviewer had not seen the answer.
        blind_same: Of `blind_n`, those with the same code.
        two_n: Micrographs that two reviewers decided, each without seeing the other's decision.
        two_same: Of `two_n`, those with the same code.
        raters: The newest round robin, or None where there was none.
        two_kappa: Quadratically weighted kappa of their sizes with its 95 % interval, or None.
        second_look: Limits at which double reviews show that one reviewer is not enough.
    """

    n: int
    same: int
    blind_n: int
    blind_same: int
    two_n: int = 0
    two_same: int = 0
    raters: Raters | None = None
    two_kappa: tuple[float, float, float] | None = None
    second_look: tuple[SecondLook, ...] = ()


def still_needed(n: int, same: int, *, within: float = WITHIN) -> int:
    """Return how many more blind decisions give the true agreement a 95 % interval this narrow.

    Args:
        n: Blind decisions so far.
        same: Of those, the same as the model's answer.
        within: Half the width of the 95 % interval, as a share.

    Returns:
        0 where there are enough.

    Source:
        The normal approximation of a share's interval, at the agreement observed so far with one
        success and one failure added, so that a lucky beginning does not promise too much.
    """
    share = (same + 1) / (n + 2)
    return max(0, math.ceil((Z95 / within) ** 2 * share * (1 - share)) - n)


def agreement(
    labelled: Iterable[LabelledMicrograph],
    reviews: Iterable[DoubleReview] = (),
    rounds: Iterable[Record] = (),
    *,
    until: datetime,
    taxonomy: Taxonomy | None = None,
    limits: Mapping[str, Callable[[str], bool]] | None = None,
    max_false_conform: float = MAX_FALSE_CONFORM,
) -> ReviewerAgreement:
    """Compute the agreement in decisions of the last `WINDOW` before an instant.

    Args:
        labelled: What reviewers decided.
        reviews: By two reviewers, each without seeing the other's code.
        rounds: Records of round robins, oldest first; the newest counts, however old.
        until: An aware instant.
        taxonomy: Orders the sizes; None leaves their kappa out.
        limits: Limit in use → whether a code keeps it.
        max_false_conform: Largest bound of labels on two sides of a limit, a share.
    """
    reviewed = [review for review in reviews if until - WINDOW < review.at <= until]
    two = [review.codes for review in reviewed]
    counted = [
        entry
        for entry in labelled
        if entry.origin == "watch"
        and entry.label.kind == "code"
        and entry.model_code is not None
        and until - WINDOW < entry.label.at <= until
    ]
    blind = [entry for entry in counted if entry.label.blind]
    return ReviewerAgreement(
        n=len(counted),
        same=sum(entry.label.code == entry.model_code for entry in counted),
        blind_n=len(blind),
        blind_same=sum(entry.label.code == entry.model_code for entry in blind),
        two_n=len(two),
        two_same=sum(code == other for code, other in two),
        raters=_raters([record for record in rounds if record.at <= until]),
        two_kappa=_two_kappa(two, taxonomy) if taxonomy else None,
        second_look=recommend_second_look(reviewed, limits or {}, most=max_false_conform),
    )


def _two_kappa(
    two: Sequence[tuple[str, str]], taxonomy: Taxonomy
) -> tuple[float, float, float] | None:
    from model import TaxonomyError, size_kappa  # noqa: PLC0415 - brings PyTorch

    try:
        kappa = size_kappa(two, taxonomy)
    except TaxonomyError:  # of another taxonomy than today's
        return None
    if kappa.value is None or kappa.low is None or kappa.high is None:
        return None
    return kappa.value, kappa.low, kappa.high


def _raters(rounds: Sequence[Record]) -> Raters | None:
    if not rounds:
        return None
    name, facts = rounds[-1].subject, rounds[-1].facts["agreement"]

    def kappa(level: str) -> tuple[float, float, float] | None:
        estimate = facts[level]["kappa"]
        return (
            None
            if estimate["low"] is None
            else (estimate["value"], estimate["low"], estimate["high"])
        )

    code = facts["code"]
    return Raters(name, code["raters"], code["images"], kappa("code"), kappa("subtype"))
