"""Judge whether specimens and orders conform: pure, and never "conforms" by accident.

`conforms` needs a proof of every part; `does_not_conform` needs a reviewer; all else is
`undecided`, with everything that is missing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from agent.errors import UsageError
from agent.orders.facts.field_facts import FieldContext, build_field_facts
from agent.orders.facts.places import (
    SpecimenPlace,
    describe_same_numbers,
    describe_same_places,
    distinct_places,
    sum_area_mm2,
)
from agent.orders.facts.possible_fields import Possible
from agent.orders.facts.specimen_facts import (
    PREPARATION_DEFECTS,
    Conformity,
    FieldDecision,
    FieldFacts,
    SpecimenFacts,
    Statement,
)
from agent.orders.judge.field_evidence import (
    describe_acquisition,
    describe_field,
    describe_label,
    describe_replaced,
    find_contradiction,
    is_confirmed,
    iter_breaking_labels,
)
from agent.orders.judge.judgement_rules import (
    Rules,
    describe_mean,
    find_extreme,
    find_size_number,
    format_mean,
)
from agent.orders.judge.limit import format_limit
from agent.orders.judge.method_validation import refuse_field
from agent.orders.specifications.specification import Specification
from agent.store import PROGRAMS, FieldView, MicrographView, voter_of
from agent.store.numbers import number_key
from reports import decimal, ngettext
from reports import gettext as _


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
        against = find_confirmed_break(view, rules, is_lead)
        if name in possible.moved:
            yield _(
                "{file} was assigned to order {other}, might be of this order and breaks its "
                "limit, labelled by {who}: a second person, a lead, dismisses it (agent orders "
                "dismiss-file)"
            ).format(
                file=possible.get_name(name),
                other=view.process_data.get("order", ""),
                who=", ".join(sorted(against)),
            )
            continue
        text = _(
            "{file} belongs to no specimen and might be of this order ({why}): a reviewer "
            "assigns it (agent orders assign {id}) or dismisses it (agent orders dismiss-file)"
        )
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
        UsageError: One of the fields breaks the limit, and `by` may not take it away.
    """
    for view in views:
        against = find_confirmed_break(view, rules, is_lead)
        if against and not may_take_away(against, is_lead, by=by):
            raise UsageError(
                _(
                    "{id} might be of order {number} and breaks its limit, labelled by {who}: a "
                    "second person, a lead, dismisses it or assigns it elsewhere."
                ).format(id=view.id, number=number, who=", ".join(sorted(against)))
            )


AREA_ROUNDING = 1e-9


# --- the specimen -------------------------------------------------------------------------------


def judge_specimen(facts: SpecimenFacts, rules: Rules) -> Statement:
    """Judge one specimen against its specification."""
    if fault := rules.fault:
        return Statement(Conformity.UNDECIDED, (fault,))
    counted = list_counted(facts)
    broken = tuple(describe_breaks(facts, counted, rules))
    if broken:
        return Statement(Conformity.DOES_NOT_CONFORM, (), broken)
    missing = (
        *_describe_missing(facts, counted, rules.specification),
        *_describe_questions(facts, counted, rules),
        *_describe_model_refusals(counted, rules),
    )
    if missing:
        return Statement(Conformity.UNDECIDED, tuple(dict.fromkeys(missing)))
    return Statement(Conformity.CONFORMS)


def describe_without_model(
    missing: Sequence[str], facts: SpecimenFacts, rules: Rules
) -> tuple[str, ...]:
    """Return what a specimen lacks, except what rests on the model alone."""
    alone = set(_describe_model_refusals(list_counted(facts), rules))
    return tuple(sentence for sentence in missing if sentence not in alone)


def list_model_refusals(facts: SpecimenFacts, rules: Rules) -> tuple[str, ...]:
    """Return why the model alone proves none of the fields that no reviewer decided, each once."""
    alone = [field for field in list_counted(facts) if field.decided is None]
    refusals = (refuse_field(field, rules) for field in alone)
    return tuple(dict.fromkeys(why for why in refusals if why))


def list_counted(facts: SpecimenFacts) -> list[FieldFacts]:
    """Return the fields of a specimen that count: neither superseded nor unusable."""
    return [field for field in facts.fields if not field.superseded and not _is_unusable(field)]


def has_question(facts: SpecimenFacts, rules: Rules) -> bool:
    """Return whether the fields of a specimen need a reviewer or a lead before it conforms.

    Missing images are no such question, nor are answers that rest on the model alone.
    """
    counted = list_counted(facts)
    wanted = rules.specification
    bundles = {field.bundle for field in counted if field.bundle}
    return (
        bool(rules.fault)
        or facts.preparations > wanted.max_preparations
        or len(bundles) > 1
        or any(_describe_questions(facts, counted, rules))
    )


def lacks_images(facts: SpecimenFacts, rules: Rules) -> bool:
    """Return whether fields, area or a pending result are missing."""
    wanted = rules.specification
    places = distinct_places(list_counted(facts), facts.same_places)
    area = sum_area_mm2(places, facts.same_places)
    return (
        len(places) < wanted.fields or area < wanted.area_mm2 - AREA_ROUNDING or facts.waiting > 0
    )


def _describe_questions(
    facts: SpecimenFacts, counted: Sequence[FieldFacts], rules: Rules
) -> Iterator[str]:
    """Yield what a reviewer or a lead has to settle of the fields that are there."""
    yield from _describe_holds(counted)
    for field in counted:
        yield from describe_field(field, rules)
    yield from describe_mean(facts, counted, rules)
    yield from _describe_replaced(facts, counted, rules)


def _is_unusable(field: FieldFacts) -> bool:
    return field.decided is not None and field.decided.kind == "unusable"


def _describe_missing(
    facts: SpecimenFacts, counted: Sequence[FieldFacts], wanted: Specification
) -> Iterator[str]:
    """Yield what is missing: distinct places, and the area that they show together."""
    places = distinct_places(counted, facts.same_places)
    if len(places) < wanted.fields:
        yield _("{n} of {of} fields").format(n=len(places), of=wanted.fields)
        yield from describe_same_places(facts, counted)
        yield from describe_same_numbers(counted)
        yield from _describe_unusable(facts, {number_key(field.name) for field in counted})
    area = sum_area_mm2(places, facts.same_places)
    if area < wanted.area_mm2 - AREA_ROUNDING:
        yield _("{area} of {of} mm²").format(
            area=decimal(area, ".3f"), of=decimal(wanted.area_mm2, "g")
        )
        yield from describe_same_places(facts, counted)
    if facts.preparations > wanted.max_preparations:
        yield _("{n} preparations, at most {most} are allowed by the specification").format(
            n=facts.preparations, most=wanted.max_preparations
        )
    if facts.waiting:
        yield describe_waiting(facts.waiting)
    bundles = {field.bundle for field in counted if field.bundle}
    if len(bundles) > 1:
        yield _("its fields were judged by {n} bundles ({bundles})").format(
            n=len(bundles), bundles=", ".join(sorted(bundles))
        )


def describe_waiting(n: int) -> str:
    """Return that n files have no result yet."""
    return ngettext("{n} file still to be read", "{n} files still to be read", n).format(n=n)


def _describe_holds(counted: Sequence[FieldFacts]) -> Iterator[str]:
    """Yield each reason to hold results once, with its fields; most often all have the same."""
    for why in dict.fromkeys(field.held for field in counted if field.held):
        names = ", ".join(field.called for field in counted if field.held == why)
        yield f"{names}: {why}"


def _describe_unusable(facts: SpecimenFacts, used_numbers: Collection[str]) -> Iterator[str]:
    for field in facts.fields:
        is_there = number_key(field.name) in used_numbers
        if field.decided and _is_unusable(field) and not field.superseded and not is_there:
            sentence = (
                _("{field} is unusable ({why}): prepare the specimen again")
                if field.decided.said in PREPARATION_DEFECTS
                else _("{field} is unusable ({why}): shoot it again")
            )
            why = describe_label(field.decided.kind, field.decided.said)
            yield sentence.format(field=field.called, why=why)


# --- what was replaced, and what rests on the model alone ---------------------------------------


def _describe_replaced(
    facts: SpecimenFacts, counted: Sequence[FieldFacts], rules: Rules
) -> Iterator[str]:
    """Yield fields that could break the limit and left the count by a lead's decision alone."""
    here = {field.id for field in counted}
    for field in (*facts.earlier, *facts.fields):
        if field.id in here:
            continue
        where = _("an earlier preparation") if field in facts.earlier else _("a replaced shot")
        if sentence := describe_replaced(field, where, rules, is_covered=is_covered(field, rules)):
            yield sentence


def _describe_model_refusals(counted: Sequence[FieldFacts], rules: Rules) -> Iterator[str]:
    """Yield why fields that rest on the model alone lack a lead's permission."""
    alone = [field for field in counted if field.decided is None]
    refusals = [(field.called, refuse_field(field, rules)) for field in alone]
    for why, n in Counter(why for _name, why in refusals if why).items():
        names = [name for name, refusal in refusals if refusal == why]
        yield ngettext(
            "{field} rests on the model alone, and {why}",
            "{n} fields rest on the model alone, and {why}",
            n,
        ).format(field=names[0], n=n, why=why)


def is_covered(field: FieldFacts, rules: Rules) -> bool:
    """Return whether a lead's permission covers what the model alone says of a field."""
    return not refuse_field(field, rules)


# --- the order ----------------------------------------------------------------------------------


def judge_order(
    statements: Mapping[str, Statement], required: Sequence[str], count: int | None
) -> Statement:
    """Judge an order: it conforms if every required specimen does.

    Args:
        statements: Specimen → its statement.
        required: Specimens the order names.
        count: How many it demands, None where it does not specify.
    """
    lacking = [
        _("specimen {name}: no images received").format(name=name)
        for name in required
        if name not in statements
    ]
    short = (count or 0) - len(set(statements) | set(required))
    if short > 0:
        lacking.append(_("{n} of {of} specimens").format(n=len(statements), of=count))
    if not statements and not lacking:
        lacking.append(_("no images received"))
    conformities = {statement.conformity for statement in statements.values()}
    missing = (
        *lacking,
        *(
            _("specimen {name}: {said}").format(name=name, said="; ".join(statement.missing))
            for name, statement in sorted(statements.items())
            if statement.missing
        ),
    )
    because = tuple(
        _("specimen {name}: {said}").format(name=name, said="; ".join(statement.because))
        for name, statement in sorted(statements.items())
        if statement.because
    )
    if Conformity.DOES_NOT_CONFORM in conformities:
        return Statement(Conformity.DOES_NOT_CONFORM, missing, because)
    if missing or conformities != {Conformity.CONFORMS}:
        return Statement(Conformity.UNDECIDED, missing)
    return Statement(Conformity.CONFORMS)
