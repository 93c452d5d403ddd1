"""Fields that break a specification by a reviewer's label, and those of no specimen that might."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.errors import WrongUse
from agent.orders.facts.field_facts import FieldContext, build_field_facts
from agent.orders.facts.places import distinct_places
from agent.orders.judge.evidence import find_contradiction, is_confirmed, iter_breaking_labels
from agent.orders.judge.field_questions import describe_acquisition
from agent.orders.judge.limit import format_limit
from agent.orders.judge.mean_size import find_extreme, find_size_number, format_mean
from agent.store import PROGRAMS, FieldView, voter_of
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from agent.orders.facts.places import SpecimenPlace
    from agent.orders.facts.possible_fields import Possible
    from agent.orders.facts.specimen_facts import (
        FieldDecision,
        FieldFacts,
        SpecimenFacts,
    )
    from agent.orders.judge.judgement_rules import Rules
    from agent.store import MicrographView


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


def describe_possible(
    possible: Possible, names: Iterable[str], rules: Rules, is_lead: Callable[[str], bool]
) -> Iterator[str]:
    """Yield what holds an order until a reviewer assigns it, or a reviewer or lead dismisses it.

    Args:
        possible: From `find_possible`.
        names: From `list_open`.
        rules: Of the order.
        is_lead: Returns whether a name is that of a lead.
    """
    for name in names:
        if name not in possible.fields:
            yield _(
                "order {other} might be this one, its number is alike: a lead assigns its "
                "micrographs (agent orders assign), or a reviewer dismisses it (agent orders "
                "dismiss-file)"
            ).format(other=name)
            continue
        view, why = possible.fields[name]
        text = _(
            "{file} belongs to no specimen and might be of this order ({why}): a reviewer "
            "assigns it (agent orders assign {id}) or dismisses it (agent orders dismiss-file)"
        )
        against = find_confirmed_break(view, rules, is_lead)
        if against:
            text = _(
                "{file} belongs to no specimen, might be of this order ({why}) and breaks its "
                "limit, labelled by {who}: a reviewer assigns it (agent orders assign {id}), or a "
                "second person, a lead, dismisses it (agent orders dismiss-file)"
            )
        who = ", ".join(sorted(against))
        yield text.format(file=possible.get_name(name), why=why, id=name, who=who)


def list_open(possible: Possible, rules: Rules, is_lead: Callable[[str], bool]) -> list[str]:
    """Return the public ids and orders that hold an order.

    Args:
        possible: From `find_possible`.
        rules: A field that a sure reviewer labelled as keeping them holds nothing.
        is_lead: Returns whether a name is that of a lead.
    """
    names = []
    for public_id, (view, _why) in possible.fields.items():
        dismissed_by = possible.settled.get(public_id, frozenset())
        if against := find_confirmed_break(view, rules, is_lead):
            is_settled = any(may_take_away(against, is_lead, by=by) for by in dismissed_by)
            names += [] if is_settled else [public_id]
            continue
        label = None if view.awaits_decision else view.order_label
        keeps = label and label.code and not label.unsure and rules.keeps(label.code)
        names += [] if keeps or dismissed_by else [public_id]
    return [*names, *(name for name in possible.alike if name not in possible.settled)]


def find_confirmed_break(
    view: MicrographView, rules: Rules, is_lead: Callable[[str], bool]
) -> frozenset[str]:
    """Return who surely labelled a field as breaking the rules; no one where that is outweighed.

    As for a field of an order, two other reviewers who are sure, or a lead, outweigh it.
    """
    own = build_field_facts(FieldView(view, {}, None), FieldContext(is_lead=is_lead))
    against = frozenset(label.by for label in iter_breaking_labels(own, rules) if not label.unsure)
    decided = own.decided
    keeps = decided is not None and decided.kind == "code" and rules.keeps(decided.said)
    is_outweighed = keeps and not find_contradiction(own, rules)
    return frozenset() if is_outweighed else against


def may_take_away(against: Iterable[str], is_lead: Callable[[str], bool], *, by: str) -> bool:
    """Return whether `by` may take a field that breaks the limit away from an order.

    A lead may, and only a second person: neither who labelled it as breaking, nor a program.

    Args:
        against: Who labelled it as breaking the limit.
        is_lead: Returns whether a name is that of a lead.
        by: Who dismisses, assigns or replaces it.
    """
    return is_lead(by) and voter_of(by) not in {PROGRAMS, *map(voter_of, against)}


def require_may_take_away(
    views: Iterable[MicrographView],
    number: str,
    rules: Rules,
    is_lead: Callable[[str], bool],
    *,
    by: str,
) -> None:
    """Refuse to take fields away from an order of which a reviewer labelled one as breaking.

    Args:
        views: The fields: dismissed, assigned to another order, or called another's place.
        number: Of the order that they are or might be of.
        rules: Of that order.
        is_lead: Returns whether a name is that of a lead.
        by: Who does it.

    Raises:
        WrongUse: One of the fields breaks the limit, and `by` may not take it away.
    """
    for view in views:
        against = find_confirmed_break(view, rules, is_lead)
        if against and not may_take_away(against, is_lead, by=by):
            raise WrongUse(
                _(
                    "{id} might be of order {number} and breaks its limit, labelled by {who}: a "
                    "second person, a lead, dismisses it or assigns it elsewhere."
                ).format(id=view.id, number=number, who=", ".join(sorted(against)))
            )
