"""Bound how often reviewers call a field conforming that breaks the limit.

Counted are double reviews in which at least one reviewer saw a break. Where both miss a break
independently with probability e, they differ in 2 e / (1 + e) >= e of them, and a field that was
called breaking wrongly only adds to it: fields that keep the limit cannot hide the errors at those
that break it. The fields of one specimen are no independent trials, so specimens are counted, and
one with any fault is a fault. MEASURED: `tests/bench/risks.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.store import GIVEN_REFERENCE, DoubleReview
from model import TaxonomyError, join_code, taxonomy_from, upper_bound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from agent.orders.judge.judgement_rules import Rules
    from agent.store import Campaign, MicrographView, Store


@dataclass(frozen=True, slots=True)
class MissRate:
    """Specimens in which a break was missed, of those that have one.

    Attributes:
        faults: Specimens with a field on two sides of the limit.
        n: Specimens with a field that at least one side calls breaking.
    """

    faults: int
    n: int

    @property
    def upper95(self) -> float:
        """Upper 95 % bound of the share, 1 without a specimen."""
        bound = upper_bound(self.faults, self.n)
        return 1.0 if bound is None else bound


@dataclass(frozen=True, slots=True)
class ReviewerErrors:
    """What is known of missed breaks.

    Attributes:
        near: By two reviewers, in fields that the model's answer places next to the limit.
        average: By two reviewers, in all fields of the material.
        reference: Against reference values next to the limit; a bias that reviewers share shows
            only here.
    """

    near: MissRate
    average: MissRate
    reference: MissRate


def estimate_reviewer_errors(reviews: Iterable[DoubleReview], rules: Rules) -> ReviewerErrors:
    """Count missed breaks by specimen.

    Args:
        reviews: Double reviews and readings of reference values.
        rules: With limit and material.
    """
    own = [
        review
        for review in reviews
        if _is_of_material(review, rules)
        and all(rules.parsed(code) for code in review.codes)
        and any(rules.breaks(code) for code in review.codes)
    ]
    pairs = [review for review in own if not review.is_reference]
    references = [
        review
        for review in own
        if review.is_reference
        and rules.breaks(review.codes[1])
        and _is_near(review.codes[1:], rules)
    ]
    return ReviewerErrors(
        near=_count(filter(lambda review: _is_near(review.answers, rules), pairs), rules.keeps),
        average=_count(pairs, rules.keeps),
        reference=_count(references, rules.keeps),
    )


def _is_of_material(review: DoubleReview, rules: Rules) -> bool:
    return not (review.material and rules.material) or review.material == rules.material


def _is_near(answers: Sequence[str], rules: Rules) -> bool:
    """Return whether answers are next to the limit, or on both sides of it."""
    sides = {rules.keeps(code) for code in answers}
    return len(sides) > 1 or any(rules.is_next_to_limit(code) for code in answers)


def _count(reviews: Iterable[DoubleReview], keeps: Callable[[str], bool]) -> MissRate:
    """Count specimens; fields without a specimen may be of one, so together they are one."""
    by_specimen: dict[str, bool] = {}
    for review in reviews:
        one, other = (keeps(code) for code in review.codes)
        by_specimen[review.specimen] = by_specimen.get(review.specimen, False) or one != other
    return MissRate(sum(by_specimen.values()), len(by_specimen))


@dataclass(frozen=True, slots=True)
class SecondLook:
    """A limit at which one reviewer is not enough.

    Attributes:
        limit: The limit, such as "G 8 or finer".
        faults: Specimens with a double review of which one code keeps it and the other does not.
        n: Specimens with double reviews.
        upper95: Upper 95 % bound of the share of faults.
        most: The largest bound that is allowed.
    """

    limit: str
    faults: int
    n: int
    upper95: float
    most: float


def recommend_second_look(
    reviews: Sequence[DoubleReview],
    limits: Mapping[str, Callable[[str], bool]],
    *,
    most: float,
) -> tuple[SecondLook, ...]:
    """Return the limits at which double reviews show that one reviewer is not enough.

    Args:
        reviews: By two reviewers.
        limits: Limit → whether a code keeps it.
        most: The largest upper bound of the share of faults that is allowed.
    """
    second_looks = []
    for name, keeps in limits.items():
        known = (two for two in reviews if all(_is_known(code, keeps) for code in two.codes))
        rate = _count(known, keeps)
        if rate.faults and rate.upper95 > most:
            second_looks.append(SecondLook(name, rate.faults, rate.n, rate.upper95, most))
    return tuple(second_looks)


def _is_known(code: str, keeps: Callable[[str], bool]) -> bool:
    try:
        keeps(code)
    except TaxonomyError:
        return False
    return True


def iter_double_reviews(store: Store) -> Iterator[DoubleReview]:
    """Yield double reviews, and from closed round robins the first two raters of an image.

    Where an image came with a reference value, its first rater is compared with it too.
    """
    yield from store.labels.list_double_reviews()
    for campaign in store.campaigns.all():
        if campaign.closed_at is not None:
            yield from _iter_campaign(store, campaign)


def _iter_campaign(store: Store, campaign: Campaign) -> Iterator[DoubleReview]:
    by_image: dict[int, dict[str, str]] = {}
    separators = {s.name: s.separator for s in taxonomy_from(campaign.taxonomy).subtypes}
    for rating in store.campaigns.ratings(campaign.name):
        subtype, size = rating.said.subtype or "", rating.said.size or ""
        code = join_code(subtype, size, separators.get(subtype, ""))
        by_image.setdefault(rating.image, {})[rating.rater] = code
    for image in campaign.images:
        codes = list(by_image.get(image.number, {}).values())
        view = store.results.find(image.micrograph)
        if not codes or view is None or campaign.closed_at is None:
            continue
        if codes[1:]:
            yield _build_review(view, (codes[0], codes[1]), campaign)
        if image.reference and image.stratum == GIVEN_REFERENCE:
            yield _build_review(view, (codes[0], image.reference), campaign, is_reference=True)


def _build_review(
    view: MicrographView, codes: tuple[str, str], campaign: Campaign, *, is_reference: bool = False
) -> DoubleReview:
    known = view.process_data
    order, specimen = known.get("order", ""), known.get("specimen", "")
    answers = (view.result.structure_code, *view.result.prediction_set)
    return DoubleReview(
        codes=codes,
        at=campaign.closed_at or campaign.created_at,
        specimen=f"{order}/{specimen}" if specimen else "",
        material=known.get("material", ""),
        answers=tuple(dict.fromkeys(code for code in answers if code)),
        is_reference=is_reference,
    )
