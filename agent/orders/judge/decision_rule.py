"""Describe the rule by which an order is decided, and how often it could conform falsely.

Counted are double reviews in which at least one reviewer saw a break. Where both miss a break
independently with probability e, they differ in 2 e / (1 + e) >= e of them, and a field that was
called breaking wrongly only adds to it: fields that keep the limit cannot hide the errors at those
that break it. The fields of one specimen are no independent trials, so specimens are counted, and
one with any fault is a fault. MEASURED: `tests/bench/risks.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent.orders.facts.specimen_facts import FieldFacts, SpecimenFacts
from agent.orders.judge.judgement_rules import Rules, describe_uncertainty
from agent.orders.judge.limit import format_limit
from agent.store import GIVEN_REFERENCE, DoubleReview, MicrographView, Store
from model import TaxonomyError, join_code, taxonomy_from, upper_bound
from reports import decimal
from reports import gettext as _

if TYPE_CHECKING:  # an order is judged without the tables of campaigns
    from agent.store import Campaign


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
        if campaign.row.closed_at is not None:
            yield from _iter_campaign(store, campaign)


def _iter_campaign(store: Store, campaign: Campaign) -> Iterator[DoubleReview]:
    by_image: dict[int, dict[str, str]] = {}
    separators = {s.name: s.separator for s in taxonomy_from(campaign.row.taxonomy).subtypes}
    for rating in store.campaigns.ratings(campaign.row.name):
        subtype, size = rating.said.subtype or "", rating.said.size or ""
        code = join_code(subtype, size, separators.get(subtype, ""))
        by_image.setdefault(rating.image, {})[rating.rater] = code
    for image in campaign.images:
        codes = list(by_image.get(image.number, {}).values())
        view = store.results.find(image.micrograph)
        if not codes or view is None or campaign.row.closed_at is None:
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
        at=campaign.row.closed_at or campaign.row.created_at,
        specimen=f"{order}/{specimen}" if specimen else "",
        material=known.get("material", ""),
        answers=tuple(dict.fromkeys(code for code in answers if code)),
        is_reference=is_reference,
    )


NAME = "guarded acceptance"
SOURCES = ("JCGM 106:2012", "ILAC-G8:09/2019")
MISSING = 1.0
NEAR, AVERAGE = "next_to_limit", "average_field"
"""A field that breaks by one size, and one that breaks as the average of its material does."""


@dataclass(frozen=True, slots=True)
class DecisionRule:
    """The rule behind a statement, and what is known of its errors.

    Attributes:
        limit: What is demanded, in words.
        guard: What keeps a field on the safe side, in words.
        mean: How a mean over fields is made and how certain it is, a sentence each; empty where
            every field has to keep the limit.
        reviewers: Whose labels count.
        reviewed: Fields that a label proves.
        automatic: Fields that rest on the model alone.
        upper95: Upper 95 % bound of a false "conforms" of an order that breaks its limit, or None.
        basis: What it is true for: `NEAR`, `AVERAGE`, "model" for the model alone, "" without one.
        sentences: The bound in words, and what is not known of it.
    """

    limit: str
    guard: str
    mean: tuple[str, ...]
    reviewers: tuple[str, ...]
    reviewed: int
    automatic: int
    upper95: float | None
    basis: str
    sentences: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return it as the document of an order has it."""
        return {
            "name": NAME,
            "sources": list(SOURCES),
            "limit": self.limit,
            "guard": self.guard,
            "mean": "; ".join(self.mean) or None,
            "reviewers": list(self.reviewers),
            "fields_reviewed": self.reviewed,
            "fields_automatic": self.automatic,
            "false_conform_upper95": self.upper95,
            "false_conform_basis": self.basis or None,
            "false_conform": "; ".join(self.sentences),
        }

    @property
    def lines(self) -> tuple[str, ...]:
        """The rule for a reader, one sentence each."""
        rule = _("{name} ({sources}): {guard}").format(
            name=_("guarded acceptance"), sources=", ".join(SOURCES), guard=self.guard
        )
        return tuple(line for line in (rule, *self.mean, *self.sentences) if line)

    @property
    def text(self) -> str:
        """The rule as a paragraph."""
        return " ".join(f"{line[:1].upper()}{line[1:]}." for line in self.lines)


def build_decision_rule(
    specimens: Sequence[SpecimenFacts], rules: Rules, reviews: Iterable[DoubleReview]
) -> DecisionRule:
    """Build the rule for an order with its current fields.

    An order that breaks its limit conforms falsely only if each break is missed, so the bound is
    that of the one break which is missed most often: by a reviewer, or by the model alone. A mean
    may break its limit although no field was misread by much, so for it there is no bound.

    Args:
        specimens: Of the order.
        rules: That they are judged by.
        reviews: Double reviews and readings of reference values.
    """
    counted = [field for specimen in specimens for field in specimen.fields if not field.superseded]
    reviewed = [field for field in counted if field.decided and field.decided.kind == "code"]
    alone = [
        [f for f in specimen.fields if not f.superseded and not f.decided] for specimen in specimens
    ]
    reviewers = sorted({field.decided.by for field in reviewed if field.decided})
    model = [_compute_model_bound(fields, rules) for fields in alone if fields]
    upper95 = max(model) if model else None
    basis, sentences = "model" if model else "", []
    if reviewed:
        errors = estimate_reviewer_errors(reviews, rules)
        basis = NEAR if errors.near.n else AVERAGE if errors.average.n else ""
        bounds = [*model, _get_pairs(errors).upper95]
        bounds += [errors.reference.upper95] if errors.reference.n else []
        upper95 = max(bounds) if basis else None
        sentences = list(_describe_errors(errors, basis))
    if not rules.by_worst:
        upper95, basis = None, ""
        sentences = [
            _(
                'risk of a false "conforms": not yet known for a mean; the errors of single fields '
                "do not bound it"
            )
        ]
    elif model:
        sentence = _("fields that rest on the model alone: at most {bound} per specimen (95 %)")
        sentences.append(sentence.format(bound=decimal(max(model), ".1%")))
    return DecisionRule(
        limit=rules.specification.demand,
        guard=_describe_guard(rules),
        mean=() if rules.by_worst else tuple(_describe_mean(specimens, rules)),
        reviewers=tuple(reviewers),
        reviewed=len(reviewed),
        automatic=sum(map(len, alone)),
        upper95=upper95,
        basis=basis,
        sentences=tuple(sentences),
    )


def _get_pairs(errors: ReviewerErrors) -> MissRate:
    return errors.near if errors.near.n else errors.average


def _describe_errors(errors: ReviewerErrors, basis: str) -> Iterator[str]:
    """Yield the bound of two reviewers, and what is known of a bias that they share."""
    pairs, known = _get_pairs(errors), errors.reference
    if not basis:
        yield _(
            'risk of a false "conforms": not yet known, no double review of a field that breaks '
            "the limit"
        )
    else:
        sentence = {
            NEAR: _(
                'risk of a false "conforms" where a field breaks next to the limit: at most '
                "{bound} (95 %), if the two reviewers err independently ({faults} of {n} "
                "specimens with double reviews)"
            ),
            AVERAGE: _(
                'risk of a false "conforms" for an average breaking field of this material: at '
                "most {bound} (95 %), if the two reviewers err independently ({faults} of {n} "
                "specimens with double reviews); next to the limit it is not yet known"
            ),
        }[basis]
        yield sentence.format(bound=decimal(pairs.upper95, ".1%"), faults=pairs.faults, n=pairs.n)
    if known.n:
        yield _(
            "risk with a bias that all reviewers share: at most {bound} (95 %; {faults} of {n} "
            "specimens with a reference value next to the limit were called conforming)"
        ).format(bound=decimal(known.upper95, ".1%"), faults=known.faults, n=known.n)
    else:
        yield _(
            "a bias that all reviewers share is not bounded: no round robin against reference "
            "values next to the limit"
        )


def _describe_guard(rules: Rules) -> str:
    return _(
        "a field keeps {limit} where a reviewer who was sure says so, or where every code that the "
        "model's prediction set holds keeps it"
    ).format(limit=_describe_limit(rules))


def _describe_limit(rules: Rules) -> str:
    wanted = rules.specification
    return wanted.demand if wanted.limits else format_limit(wanted.limit) or rules.ordered


def _describe_mean(specimens: Sequence[SpecimenFacts], rules: Rules) -> Iterator[str]:
    limit = format_limit(rules.specification.limit)
    yield _(
        "the mean over all distinct places has to keep {limit}, and so has that of the first {n}; "
        "of several shots of one place the worst one counts"
    ).format(limit=limit, n=rules.specification.fields)
    yield _(
        "the mean itself is compared: guard band w = k u = 0 with k = 0 (simple acceptance), so a "
        "specimen whose true mean breaks the limit narrowly may conform in half of all cases or "
        "more"
    )
    for facts in specimens:
        counted = [field for field in facts.fields if not field.superseded]
        yield from describe_uncertainty(facts, counted, rules)


def _compute_model_bound(fields: Sequence[FieldFacts], rules: Rules) -> float:
    bounds = [
        allowance.bound
        for allowance in rules.allowances
        if allowance.on
        and any(rules.is_validated_by(allowance, name) for name in rules.specification.subtype)
        and allowance.bundle in {field.bundle for field in fields}
    ]
    known = [bound for bound in bounds if bound is not None]
    return max(known) if known else MISSING
