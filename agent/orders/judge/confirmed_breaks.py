"""Fields that break a specification by a reviewer's label."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.orders.facts.places import (
    distinct_places,
)
from agent.orders.judge.evidence import (
    is_confirmed,
)
from agent.orders.judge.field_questions import describe_acquisition
from agent.orders.judge.limit import format_limit
from agent.orders.judge.mean_size import find_extreme, find_size_number, format_mean
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent.orders.facts.places import SpecimenPlace
    from agent.orders.facts.specimen_facts import (
        FieldDecision,
        FieldFacts,
        SpecimenFacts,
    )
    from agent.orders.judge.judgement_rules import Rules


def describe_breaks(
    facts: SpecimenFacts, counted: Sequence[FieldFacts], rules: Rules
) -> Iterator[str]:
    """Yield which fields break the specification by a reviewer's label."""
    for field in counted:
        if (
            not field.decided
            or field.decided.kind != "code"
            or field.awaits
            or field.other_taxonomy
        ):
            continue
        if field.decided.unsure and not is_confirmed(field):
            continue
        code, by = field.decided.said, field.decided.by
        if not rules.breaks(code):
            continue
        if not rules.is_of(code):
            yield _("{field} is {code}, confirmed by {who}: {wanted} was ordered").format(
                field=field.called, code=rules.name_code(code), who=by, wanted=rules.ordered
            )
        elif rules.by_worst and _is_measured(field, field.decided, rules):
            yield _("{field} is {code}, confirmed by {who}: {limit} is demanded").format(
                field=field.called,
                code=rules.name_code(code),
                who=by,
                limit=rules.limit_words(code),
            )
    if not rules.by_worst:
        yield from _describe_broken_mean(distinct_places(counted, facts.same_places), rules)


def _is_measured(field: FieldFacts, decided: FieldDecision, rules: Rules) -> bool:
    """Return whether a reviewer's size counts: its scale is certain, its criterion as demanded."""
    if list(describe_acquisition(field, rules)) or field.held or field.other_taxonomy:
        return False
    wrong = {"max": ("mean", "unrecorded"), "mean": ("max",)}[rules.specification.criterion]
    return decided.criterion not in wrong


def _describe_broken_mean(places: Sequence[SpecimenPlace], rules: Rules) -> Iterator[str]:
    """The mean over distinct places in its most favourable reading, all decided by reviewers."""
    wanted, bound = rules.specification, rules.bound_in(rules.specification.subtype[0])
    if bound is None or len(places) < wanted.fields:
        return
    counted = [field for place in places for field in place.fields]
    if not all(_is_settled(field, rules) for field in counted):
        return
    numbers = [
        [find_size_number(field, rules, bound.favourable) for field in place.fields]
        for place in places
    ]
    best = [find_extreme(of_place, bound, is_favourable=True) for of_place in numbers]
    if any(number is None for number in best):
        return
    mean = sum(number for number in best if number is not None) / len(best)
    if not bound.admits(mean):
        names = ", ".join(sorted({field.decided.by for field in counted if field.decided}))
        yield _("the mean of {n} fields is {mean}, confirmed by {who}: {limit} is demanded").format(
            n=len(best), mean=format_mean(mean, bound), who=names, limit=format_limit(wanted.limit)
        )


def _is_settled(field: FieldFacts, rules: Rules) -> bool:
    decided = field.decided
    return (
        decided is not None
        and not field.awaits
        and decided.kind == "code"
        and (not decided.unsure or is_confirmed(field))
        and _is_measured(field, decided, rules)
    )
