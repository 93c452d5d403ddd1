"""Describe the rule by which an order is decided, and how often it could conform falsely."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent.orders.limit import format_limit
from model import TaxonomyError, join_code, taxonomy_from, upper_bound
from reports import decimal
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from agent.orders.judgement_rules import Rules
    from agent.orders.specimen_facts import FieldFacts, SpecimenFacts
    from agent.store import Store

NAME = "guarded acceptance"
SOURCES = ("JCGM 106:2012", "ILAC-G8:09/2019")
MISSING = 1.0


@dataclass(frozen=True, slots=True)
class DecisionRule:
    """The rule behind a statement, and what is known of its errors.

    Attributes:
        limit: What is demanded, in words.
        guard: What keeps a field on the safe side, in words.
        mean: How a mean over fields is made, "" where every field has to keep the limit.
        reviewers: Whose labels count.
        reviewed: Fields that a label proves.
        automatic: Fields that rest on the model alone.
        upper95: Upper 95 % bound of a false "conforms" for an order of these fields, or None.
        sentence: The bound in words, or what is still needed to know it.
    """

    limit: str
    guard: str
    mean: str
    reviewers: tuple[str, ...]
    reviewed: int
    automatic: int
    upper95: float | None
    sentence: str

    def to_json(self) -> dict[str, Any]:
        """Return it as the document of an order has it."""
        return {
            "name": NAME,
            "sources": list(SOURCES),
            "limit": self.limit,
            "guard": self.guard,
            "mean": self.mean or None,
            "reviewers": list(self.reviewers),
            "fields_reviewed": self.reviewed,
            "fields_automatic": self.automatic,
            "false_conform_upper95": self.upper95,
            "false_conform": self.sentence,
        }

    @property
    def lines(self) -> tuple[str, ...]:
        """The rule for a reader, one sentence each."""
        rule = _("{name} ({sources}): {guard}").format(
            name=_("guarded acceptance"), sources=", ".join(SOURCES), guard=self.guard
        )
        return tuple(line for line in (rule, self.mean, self.sentence) if line)

    @property
    def text(self) -> str:
        """The rule as a paragraph."""
        return " ".join(f"{line[:1].upper()}{line[1:]}." for line in self.lines)


def compute_needed_reviews(most: float) -> int:
    """Return how many reviews without a fault bound the error rate at `most`, with 95 %.

    Source:
        Zero-failure case of Clopper and Pearson 1934: 1 - 0.05 ** (1 / n) <= most.
    """
    return math.ceil(math.log(0.05) / math.log(1 - most))


def build_decision_rule(
    specimens: Sequence[SpecimenFacts],
    rules: Rules,
    double_reviews: Iterable[tuple[str, str]],
) -> DecisionRule:
    """Build the rule for an order with its current fields.

    A double review counts as a fault where one code keeps the limit and the other does not. The
    bound of one field is raised to that of all reviewed fields; each specimen with fields that rest
    on the model alone adds the bound of its validation record.

    Args:
        specimens: Of the order.
        rules: That they are judged by.
        double_reviews: The codes that two reviewers gave to one micrograph, each unseen by the
            other.
    """
    counted = [field for specimen in specimens for field in specimen.fields if not field.superseded]
    reviewed = [field for field in counted if field.decided and field.decided.kind == "code"]
    alone = [
        [f for f in specimen.fields if not f.superseded and not f.decided] for specimen in specimens
    ]
    pairs = [pair for pair in double_reviews if all(rules.parsed(code) for code in pair)]
    faults = sum(rules.keeps(code) != rules.keeps(other) for code, other in pairs)
    needed = compute_needed_reviews(rules.max_false_conform)
    reviewers = sorted({field.decided.by for field in reviewed if field.decided})
    upper95: float | None = None
    if reviewed and len(pairs) < needed:
        sentence = _(
            'upper 95 % bound of a false "conforms": not known yet, {n} of {needed} double reviews'
        ).format(n=len(pairs), needed=needed)
    else:
        people = upper_bound(faults, len(pairs)) if reviewed else 0.0
        kept = (1 - (MISSING if people is None else people)) ** len(reviewed)
        for fields in alone:
            if fields:
                kept *= 1 - _compute_model_bound(fields, rules)
        upper95 = 1 - kept
        sentence = _(
            'upper 95 % bound of a false "conforms" for these {fields} fields: {bound} '
            "({faults} of {n} double reviews on two sides of the limit)"
        ).format(fields=len(counted), bound=decimal(upper95, ".1%"), faults=faults, n=len(pairs))
    return DecisionRule(
        limit=rules.specification.demand,
        guard=_describe_guard(rules),
        mean="" if rules.by_worst else _describe_mean(rules),
        reviewers=tuple(reviewers),
        reviewed=len(reviewed),
        automatic=sum(map(len, alone)),
        upper95=upper95,
        sentence=sentence,
    )


@dataclass(frozen=True, slots=True)
class SecondLook:
    """A limit at which one reviewer is not enough.

    Attributes:
        limit: The limit, such as "G 8 or finer".
        faults: Double reviews of which one code keeps it and the other does not.
        n: Double reviews.
        upper95: Upper 95 % bound of the share of faults.
        most: The largest bound that is allowed.
    """

    limit: str
    faults: int
    n: int
    upper95: float
    most: float


def recommend_second_look(
    double_reviews: Sequence[tuple[str, str]],
    limits: Mapping[str, Callable[[str], bool]],
    *,
    most: float,
) -> tuple[SecondLook, ...]:
    """Return the limits at which double reviews show that one reviewer is not enough.

    Args:
        double_reviews: The codes that two reviewers gave to one micrograph.
        limits: Limit → whether a code keeps it.
        most: The largest upper bound of the share of faults that is allowed.
    """
    second_looks = []
    for name, keeps in limits.items():
        pairs = [pair for pair in double_reviews if all(_is_known(code, keeps) for code in pair)]
        faults = sum(keeps(code) != keeps(other) for code, other in pairs)
        upper95 = upper_bound(faults, len(pairs))
        if faults and upper95 is not None and upper95 > most:
            second_looks.append(SecondLook(name, faults, len(pairs), upper95, most))
    return tuple(second_looks)


def _is_known(code: str, keeps: Callable[[str], bool]) -> bool:
    try:
        keeps(code)
    except TaxonomyError:
        return False
    return True


def _describe_guard(rules: Rules) -> str:
    return _(
        "a field keeps {limit} where a reviewer who was sure says so, or where every code that the "
        "model's prediction set holds keeps it"
    ).format(limit=format_limit(rules.specification.limit) or rules.ordered)


def _describe_mean(rules: Rules) -> str:
    return _(
        "the mean over all distinct places has to keep {limit}; of several shots of one place the "
        "worst one counts"
    ).format(limit=format_limit(rules.specification.limit))


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


def iter_double_reviews(store: Store) -> Iterator[tuple[str, str]]:
    """Yield the codes that two reviewers gave to one micrograph, each unseen by the other.

    From double reviews, and from closed round robins: there the first two raters of an image.
    """
    for code, other, _at in store.labels.list_blind_pairs():
        yield code, other
    for campaign in store.campaigns.all():
        if campaign.closed_at is None:
            continue
        by_image: dict[int, dict[str, str]] = {}
        separators = {s.name: s.separator for s in taxonomy_from(campaign.taxonomy).subtypes}
        for rating in store.campaigns.ratings(campaign.name):
            subtype, size = rating.said.subtype or "", rating.said.size or ""
            code = join_code(subtype, size, separators.get(subtype, ""))
            by_image.setdefault(rating.image, {})[rating.rater] = code
        for codes in by_image.values():
            first, *others = codes.values()
            if others:
                yield first, others[0]
