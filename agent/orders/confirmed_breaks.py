"""Fields that break a specification by a reviewer's label."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.orders.evidence import (
    is_confirmed,
)
from agent.orders.field_questions import describe_acquisition
from agent.orders.mean_size import find_extreme, find_size_number, format_mean
from agent.orders.places import (
    distinct_places,
)
from reports import gettext as _
from reports import retold

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent.orders.judgement_rules import Rules
    from agent.orders.places import SpecimenPlace
    from agent.orders.specimen_facts import (
        FieldDecision,
        FieldFacts,
        SpecimenFacts,
    )


def describe_breaks(
    facts: SpecimenFacts, counted: Sequence[FieldFacts], rules: Rules
) -> Iterator[str]:
    """Yield which fields break the specification by a reviewer's label."""
    wanted = rules.specification
    for one in counted:
        if not one.decided or one.decided.kind != "code" or one.awaits or one.other_taxonomy:
            continue
        if one.decided.unsure and not is_confirmed(one):
            continue
        code, by = one.decided.said, one.decided.by
        if not rules.breaks(code):
            continue
        if not rules.is_of(code):
            yield _("{field} is {code}, confirmed by {who}: {wanted} was ordered").format(
                field=one.called, code=code, who=by, wanted=rules.ordered
            )
        elif rules.by_worst and _is_measured(one, one.decided, rules):
            yield _("{field} is {code}, confirmed by {who}: {limit} is demanded").format(
                field=one.called, code=code, who=by, limit=retold(wanted.limit)
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
    counted = [one for place in places for one in place.fields]
    if not all(_is_settled(one, rules) for one in counted):
        return
    numbers = [
        [find_size_number(one, rules, bound.favourable) for one in place.fields] for place in places
    ]
    best = [find_extreme(some, bound, is_favourable=True) for some in numbers]
    if any(one is None for one in best):
        return
    mean = sum(one for one in best if one is not None) / len(best)
    if not bound.admits(mean):
        names = ", ".join(sorted({one.decided.by for one in counted if one.decided}))
        yield _("the mean of {n} fields is {mean}, confirmed by {who}: {limit} is demanded").format(
            n=len(best), mean=format_mean(mean, bound), who=names, limit=retold(wanted.limit)
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
