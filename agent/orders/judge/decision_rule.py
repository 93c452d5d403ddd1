"""Describe the rule by which an order is decided, and how often it could conform falsely."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent.orders.judge.limit import format_limit
from agent.orders.judge.mean_size import describe_uncertainty
from agent.orders.judge.reviewer_errors import estimate_reviewer_errors
from reports import decimal
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from agent.orders.facts.specimen_facts import FieldFacts, SpecimenFacts
    from agent.orders.judge.judgement_rules import Rules
    from agent.orders.judge.reviewer_errors import MissRate, ReviewerErrors
    from agent.store import DoubleReview

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
