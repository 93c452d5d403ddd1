"""Assess orders: load their rows, judge every specimen, and gather what is open.

The same rows give the same answer, however often the agent was killed: nothing is remembered apart
from them.

Orders that an act, a new result or a new file touched are examined at once, between rounds. A
round also examines recent orders, and `SWEPT_PER_ROUND` of the others in turn: nothing depends on
the touched ones being complete. With n old orders each is examined at the latest after
ceil(n / 200) + 1 rounds. An act of `EVERY_ORDER` names no order and may change any: all are
examined.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Self

from agent.needles import NeedleField
from agent.orders.facts.field_facts import FieldContext, build_specimen_facts
from agent.orders.facts.needle_lengths import (
    add_doubts,
    build_specimen_needles,
    gather_order_needles,
    list_order_doubts,
    list_specimen_doubts,
    load_needles,
)
from agent.orders.facts.open_items import (
    OpenItems,
    describe_alike,
    describe_claims,
    describe_settled,
    describe_specimens,
    find_replaced,
    gave_field,
    is_renamed,
    is_unwatched,
    iter_lost,
    iter_named_files,
    iter_named_orders,
)
from agent.orders.facts.order_list import describe_amendments, describe_pending
from agent.orders.facts.places import describe_decisions, describe_same_places
from agent.orders.facts.possible_fields import (
    describe_dismissed,
    describe_lost,
    describe_renamed,
    find_possible,
    list_reached,
)
from agent.orders.facts.specimen_facts import Conformity, Statement
from agent.orders.instruments.instrument_checks import CONTROL
from agent.orders.instruments.instrument_holds import RELEASE, list_orders_in_doubt
from agent.orders.judge import conformity
from agent.orders.judge.assessed import Assessed, AssessedSpecimen, OrderPolicy, build_rules
from agent.orders.judge.conformity import describe_possible, list_open
from agent.orders.judge.decision_rule import build_decision_rule
from agent.orders.judge.judgement_rules import Rules
from agent.orders.specifications.applicable_specification import (
    apply_specification,
    apply_taxonomy,
    describe_applied_taxonomy,
    describe_demands,
    describe_late_change,
    describe_version,
)
from agent.orders.specifications.specification import Specification, SpecificationChoice
from agent.orders.specifications.specification_history import REOPENED
from agent.orders.statements.order_notes import describe_preparations, gather_notes
from agent.store import (
    ACCEPTED,
    BEGUN_ANEW,
    FOUND_OLDER,
    RESTORED,
    FileFate,
    Heads,
    OrderAge,
    OrderView,
    SpecimenView,
    Store,
    Unassigned,
    number_key,
)
from agent.store.orders.order_corrections import DISMISSED
from agent.store.sites.sites import CLOCK_SET
from reports import gettext as _

HEARD_WITHIN = timedelta(days=60)
"""An order that was first seen longer ago is in no report; the outbox examines it in turn."""


def assess_recent(store: Store, policy: OrderPolicy, *, now: datetime) -> Iterator[Assessed]:
    """Yield the orders first seen within `HEARD_WITHIN`: urgent ones first, then the newest."""
    lines = store.orders.all(since=now - HEARD_WITHIN)
    open_items = OpenItems.of(store) if lines else OpenItems()
    for line in lines:
        if assessed := assess(store, line.number, policy, open_items=open_items):
            yield assessed


def is_recent(heard_at: datetime | None, now: datetime) -> bool:
    """Return whether an order was first seen within `HEARD_WITHIN`."""
    return heard_at is None or now - heard_at <= HEARD_WITHIN


def assess(
    store: Store, number: str, policy: OrderPolicy, *, open_items: OpenItems | None = None
) -> Assessed | None:
    """Return an assessed order, None for an unknown number."""
    view = store.orders.order(number)
    return assess_view(store, view, policy, open_items=open_items) if view else None


def assess_view(
    store: Store, view: OrderView, policy: OrderPolicy, *, open_items: OpenItems | None = None
) -> Assessed:
    """Assess an order's rows, as stored or as they might be."""
    number = view.number
    strays = open_items.unassigned if open_items else None
    open_items = open_items or OpenItems.of_order(store, number, policy.sources)
    key = partial(number_key, exact=store.exact_numbers)
    named = list(iter_named_files(open_items.waiting, number, policy.sources, key))
    unwatched = [fate for fate, _name in named if is_unwatched(fate, policy.sources)]
    waiting = [(fate, name) for fate, name in named if fate not in unwatched]
    unread = (*iter_lost(open_items, number, policy.sources, key), *unwatched)
    renamed = [fate for fate in unread if is_renamed(fate, open_items, policy.sources, key)]
    replaced = find_replaced(unread, (fate for fate, _name in waiting))
    places = store.places.known(_public_ids(view))
    lost = tuple(
        fate
        for fate in unread
        if fate not in renamed
        and fate.id not in replaced
        and not gave_field(fate, view, places, policy.sources, key)
    )
    torn = tuple(
        stray
        for stray in open_items.unassigned
        if key(stray.view.process_data.get("order", "")) == key(number)
    )
    material, material_doubt = find_material(view)
    reopened = store.records.latest(REOPENED, number)
    dismissed = store.records.all(DISMISSED, number)
    applied = apply_specification(view, policy, material=material, reopened=reopened)
    choice = applied.choice
    demands = policy.find_demands(applied.since, applied.last)
    policy = policy.demanding(demands)
    versions = store.specifications.versions()
    own = apply_taxonomy(policy, applied)
    notes = (
        *describe_settled(view.claims),
        *describe_amendments(view.facts),
        *describe_dismissed(dismissed),
        *describe_renamed(renamed),
        *describe_alike(number, open_items.alike),
        *describe_specimens(
            [str(name) for name in view.facts.get("specimens") or ()],
            [specimen.name for specimen in view.specimens],
            exact=store.exact_numbers,
        ),
        *describe_version(view, policy, applied, versions),
        *describe_applied_taxonomy(view, policy, applied, own),
        *describe_demands(policy, demands),
    )
    context = replace(policy.context, places=places, taxonomy=own)
    needles = load_needles(store, view) if _wants_needles(policy, choice) else None
    if choice.specification is None:
        specimens = tuple(
            _build_unassessed(specimen, choice, context, needles) for specimen in view.specimens
        )
        word = Conformity.UNDECIDED if choice.is_torn else Conformity.NOT_ASSESSED
        statement = Statement(word, (choice.sentence,))
        return Assessed(
            view, statement, material, None, 0, specimens, torn, lost, own.taxonomy, notes
        )
    rules = build_rules(view, choice.specification, material, own.taxonomy, policy)
    counted = _with_waiting(view, waiting, key)
    assessed = tuple(
        _assess_specimen(specimen, count, rules, material_doubt, context, needles)
        for specimen, count in counted
    )
    known = {key(specimen.view.name) for specimen in assessed}
    loose = len([name for _, name in waiting if key(name) not in known])
    late = describe_late_change(view, policy, applied)
    settled_by_leads = (
        *_describe_strays(torn),
        *describe_claims(view.claims, {stray.view.id for stray in torn}),
        *describe_pending(view.facts),
        *describe_lost(lost, dismissed, policy.sources),
        *(doubt for doubt in (late, applied.doubt) if doubt),
    )
    demanded = choice.specification.fields
    possible = find_possible(
        store,
        view,
        strays,
        demanded=demanded,
        slips=all(own.statement.conformity is Conformity.CONFORMS for own in assessed),
    )
    might_belong = list_open(possible, rules, policy.is_lead)
    doubts = (
        *([conformity.describe_waiting(loose)] if loose else ()),
        *describe_possible(possible, might_belong, rules, policy.is_lead),
        *settled_by_leads,
        *_list_needle_doubts(assessed, choice.specification),
    )
    alone = _judge_order(view, assessed, rules, doubts, key)
    why, loss = open_items.outside.hold(store, number, alone.conformity)
    doubts += (why,) if why else ()
    statement = _judge_order(view, assessed, rules, doubts, key)
    is_held_back = alone.conformity is Conformity.CONFORMS and bool(why)
    return Assessed(
        view=view,
        statement=statement,
        material=material,
        specification=choice.specification,
        version=versions.get(choice.specification.sha256, 0),
        specimens=assessed,
        unassigned=torn,
        lost=lost,
        taxonomy=own.taxonomy,
        notes=(
            *notes,
            *gather_notes(
                [(specimen.view, specimen.facts) for specimen in assessed], policy.remarks
            ),
        ),
        decision_rule=build_decision_rule(
            [specimen.facts for specimen in assessed], rules, policy.double_reviews()
        ),
        order_doubts=doubts,
        material_doubt=material_doubt,
        held_back=(loss.to_json() if loss else {}) if is_held_back else None,
        possible={
            name: possible.get_name(name) for name in might_belong if name in possible.fields
        },
        alike=tuple(name for name in might_belong if name not in possible.fields),
        needs_lead=bool(settled_by_leads or material_doubt or why),
        lacks_specimens=_lacks_specimens(view, assessed, rules, key) or loose > 0,
        demands=demands,
    )


def describe_open(
    assessed: Assessed, policy: OrderPolicy, *, exact_numbers: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what an undecided order lacks, and separately why the model alone proves nothing.

    The second is most often the same for every order, so a list of orders prints it once.
    """
    rules, key = assessed.rules(policy), partial(number_key, exact=exact_numbers)
    refusals: dict[str, None] = {}
    shorter: list[AssessedSpecimen] = []
    for specimen in assessed.specimens:
        missing = specimen.statement.missing
        if specimen.statement.conformity is Conformity.UNDECIDED and not assessed.material_doubt:
            missing = conformity.describe_without_model(missing, specimen.facts, rules)
            refusals |= dict.fromkeys(conformity.list_model_refusals(specimen.facts, rules))
        shorter.append(replace(specimen, statement=replace(specimen.statement, missing=missing)))
    statement = _judge_order(assessed.view, shorter, rules, assessed.order_doubts, key)
    return statement.missing, tuple(refusals)


def find_material(view: OrderView) -> tuple[str, str]:
    """Return an order's material, and why it is uncertain, "" where it is not.

    The order list comes first; without one all specimens have to name the same material.
    """
    if view.material:
        return view.material, ""
    materials = sorted({specimen.material for specimen in view.specimens if specimen.material})
    if len(materials) > 1:
        sentence = _("its specimens name several materials: {materials}")
        return "", sentence.format(materials=", ".join(materials))
    return (materials[0] if materials else ""), ""


def _public_ids(view: OrderView) -> set[str]:
    return {
        field.view.id
        for specimen in view.specimens
        for prepared in specimen.preparations
        for field in prepared.fields
    }


def _with_waiting(
    view: OrderView, waiting: Sequence[tuple[FileFate, str]], key: Callable[[str], str]
) -> list[tuple[SpecimenView, int]]:
    names = [key(specimen) for _, specimen in waiting]
    return [(row, names.count(key(row.name))) for row in view.specimens]


# --- one specimen -------------------------------------------------------------------------------


def _wants_needles(policy: OrderPolicy, choice: SpecificationChoice) -> bool:
    wanted = choice.specification
    return policy.has_needles or (wanted is not None and wanted.demands_needles)


def _build_unassessed(
    view: SpecimenView,
    choice: SpecificationChoice,
    context: FieldContext,
    needles: Mapping[str, NeedleField] | None,
) -> AssessedSpecimen:
    word = Conformity.UNDECIDED if choice.is_torn else Conformity.NOT_ASSESSED
    facts = build_specimen_facts(view, context, waiting=0)
    own = build_specimen_needles(facts, needles) if needles is not None else None
    return AssessedSpecimen(view, facts, Statement(word, (choice.sentence,)), (), own)


def _assess_specimen(  # noqa: PLR0917 - as `_build_unassessed`, with rules
    view: SpecimenView,
    waiting: int,
    rules: Rules,
    doubt: str,
    context: FieldContext,
    needles: Mapping[str, NeedleField] | None,
) -> AssessedSpecimen:
    facts = build_specimen_facts(view, context, waiting=waiting)
    statement = (
        Statement(Conformity.UNDECIDED, (doubt,))
        if doubt
        else conformity.judge_specimen(facts, rules)
    )
    own_needles = build_specimen_needles(facts, needles) if needles is not None else None
    if own_needles is not None:
        doubts = list_specimen_doubts(own_needles, rules.specification)
        statement = add_doubts(statement, doubts)
    counted = [member for member in facts.fields if not member.superseded]
    own = {field.id for field in (*facts.fields, *facts.earlier)}
    notes = (
        *describe_same_places(facts, counted),
        *describe_decisions(own, context.places),
        *describe_preparations(view, rules),
    )
    return AssessedSpecimen(view, facts, statement, notes, own_needles)


def _list_needle_doubts(
    assessed: Sequence[AssessedSpecimen], wanted: Specification
) -> tuple[str, ...]:
    own = tuple(specimen.needles for specimen in assessed if specimen.needles)
    return list_order_doubts(gather_order_needles(own, wanted), wanted)


# --- the order ----------------------------------------------------------------------------------


def _describe_strays(torn: Sequence[Unassigned]) -> Iterator[str]:
    for stray in torn:
        yield _("{id} names the order and belongs to no specimen: {why}").format(
            id=stray.view.id, why=_(stray.reason)
        )


def _judge_order(
    view: OrderView,
    assessed: Sequence[AssessedSpecimen],
    rules: Rules,
    doubts: Sequence[str],
    key: Callable[[str], str],
) -> Statement:
    required, count = _required_specimens(view, assessed, rules, key)
    statement = conformity.judge_order(
        {specimen.view.name: specimen.statement for specimen in assessed}, required, count or None
    )
    if not doubts:
        return statement
    word = statement.conformity
    if word is Conformity.CONFORMS:
        word = Conformity.UNDECIDED
    return Statement(word, (*statement.missing, *doubts), statement.because)


def _required_specimens(
    view: OrderView,
    assessed: Sequence[AssessedSpecimen],
    rules: Rules,
    key: Callable[[str], str],
) -> tuple[list[str], int]:
    """Return the names that an order demands, and how many specimens it demands in all."""
    names = {key(specimen.view.name): specimen.view.name for specimen in assessed}
    required = [names.get(key(str(n)), str(n)) for n in view.facts.get("specimens") or ()]
    # A list may ask for more specimens than the specification, never for fewer.
    return required, max(int(view.facts.get("count") or 0), rules.specification.specimens or 0)


def _lacks_specimens(
    view: OrderView,
    assessed: Sequence[AssessedSpecimen],
    rules: Rules,
    key: Callable[[str], str],
) -> bool:
    required, count = _required_specimens(view, assessed, rules, key)
    there = {specimen.view.name for specimen in assessed}
    return not there or not set(required) <= there or len(there | set(required)) < count


SWEPT_PER_ROUND = 200
"""About 1 s of processor time; 10 000 old orders are through after 50 rounds of 2 min."""
OWN_ACTS = (
    "outbox.", "outbox_files.", "outbox_written.", "statement.", "login.", "night.", "notice",
    "report_", "order.urgent", "rollout.",
)  # fmt: skip
"""Acts that change no order, those of examining among them."""
EVERY_ORDER = (
    "automatic.recorded",
    "specifications.recorded",
    "scale_check.recorded",
    f"{CLOCK_SET}.recorded",
    "settings.changed",
    "model.promoted",
    "account.added",
    "account.role_changed",
    "account.disabled",
    "account.enabled",
    RESTORED,
    BEGUN_ANEW,
    FOUND_OLDER,
    ACCEPTED,
)
"""Acts that name no order and may change any of them."""
CHECK_ACTS = (f"{CONTROL}.recorded", f"{RELEASE}.recorded")
"""Acts that name no order and change what is held."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where the last round ended.

    Args:
        trail, result: Newest row of the audit log and newest result that it had seen.
        swept: Number (row id) of the last order that the sweep examined, 0 before the first.
        content: Newest content of a file that it had seen.
    """

    trail: int
    result: int
    swept: int = 0
    content: int = 0

    def to_json(self) -> dict[str, int]:
        """Return it as a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Any) -> Self | None:
        """Parse it; None where it is not one, so that the sweep begins again."""
        try:
            return cls(
                trail=int(document["trail"]),
                result=int(document["result"]),
                swept=int(document["swept"]),
                content=int(document.get("content", 0)),
            )
        except (KeyError, TypeError, ValueError):
            return None


def begin(store: Store) -> Position:
    """Return the position of a lab whose outbox has not been filled before: the sweep does it."""
    heads = store.order_changes.heads()
    return Position(heads.trail, heads.result, content=store.order_changes.newest_content())


def list_touched(
    store: Store, policy: Callable[[], OrderPolicy], *, position: Position, now: datetime
) -> tuple[list[str], Position]:
    """Return the orders that something touched since a position, and the position after it.

    Args:
        store: Open.
        policy: Returns what is laid down; only called where something was touched.
        position: Where the last call ended.
        now: Aware UTC.
    """
    heads, content = store.order_changes.heads(), store.order_changes.newest_content()
    after = Position(heads.trail, heads.result, position.swept, content)
    if after == position:
        return [], position
    if heads.trail < position.trail:  # an older backup was restored
        return [age.number for age in store.order_changes.ages()], after
    numbers = _list_changed(store, position, now)
    if heads.result != position.result:
        numbers |= list_reached(store, after=position.result)
    if content != position.content:
        numbers |= set(
            iter_named_orders(OpenItems.of_new_files(store, after=position.content), policy())
        )
    known = [age.number for age in store.order_changes.ages()] if numbers else []
    return [number for number in known if number in numbers], after


def list_due(
    store: Store,
    policy: OrderPolicy,
    open_items: OpenItems,
    *,
    position: Position | None,
    now: datetime,
) -> tuple[list[str], Position]:
    """Return the orders to examine now, and the position of the next round.

    Args:
        store: Open.
        policy: The policy of the lab.
        open_items: Files that wait or are lost; the orders that their paths name are due.
        position: Where the last round ended, None: every order is due.
        now: Aware UTC.

    Returns:
        Numbers, recent orders first and urgent ones first among them, each once.
    """
    begun = begin(store)  # first: what comes during this round is of the next one
    ages = store.order_changes.ages()
    if position is None:
        return [age.number for age in ages], begun
    if begun.trail < position.trail:  # an older backup was restored
        position = begun
    touched = _list_changed(store, position, now) | set(iter_named_orders(open_items, policy))
    old = sorted((age for age in ages if not is_recent(age.first_seen_at, now)), key=_by_id)
    swept, end = _select_next(old, position.swept)
    due = [age.number for age in ages if is_recent(age.first_seen_at, now)]
    due += [number.number for number in old if number.number in touched]
    due += swept
    return list(dict.fromkeys(due)), replace(begun, swept=end)


def _list_changed(store: Store, position: Position, now: datetime) -> set[str]:
    """Return the orders that acts and results since a position may have changed."""
    since = Heads(position.trail, position.result)
    numbers, acts = store.order_changes.since(since, without=OWN_ACTS)
    if not acts.keys().isdisjoint(EVERY_ORDER):
        return {age.number for age in store.order_changes.ages()}
    times = [at for act, at in acts.items() if act in CHECK_ACTS]
    doubtful = list_orders_in_doubt(store, since=min(times), now=now) if times else ()
    return {*numbers, *doubtful}


def _select_next(old: Sequence[OrderAge], after: int) -> tuple[Iterable[str], int]:
    """Return the next orders of the sweep and the last one's row id, 0 where it is through."""
    swept = [number for number in old if number.id > after][:SWEPT_PER_ROUND]
    end = swept[-1].id if len(swept) == SWEPT_PER_ROUND else 0
    return [number.number for number in swept], end


def _by_id(order: OrderAge) -> int:
    return order.id
