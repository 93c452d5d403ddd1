"""Say of an order what the pure rules make of its rows, as `agent order --json` and pages say it.

In:  `OrderView`s, the specifications, what the leads allow. Out: an `Assessed` order. Next: the
command, the page, the API. The same rows give the same answer, whoever asks and however often the
agent was killed in between: nothing is remembered beside them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING

import reports
from agent.errors import WrongUse
from agent.orders import conformity
from agent.orders.alike_numbers import describe_alike, describe_specimens, list_alike
from agent.orders.amendments import describe_amendments, describe_pending
from agent.orders.applicable_specification import (
    apply_specification,
    apply_taxonomy,
    describe_applied_taxonomy,
    describe_late_change,
    describe_version,
)
from agent.orders.claims import describe_claims, describe_settled
from agent.orders.decision_rule import DecisionRule, build_decision_rule
from agent.orders.field_facts import FieldContext, build_specimen_facts
from agent.orders.judgement_rules import MAX_FALSE_CONFORM, Rules
from agent.orders.lost_files import (
    DISMISSED,
    describe_dismissed,
    describe_lost,
    describe_renamed,
    load_named,
)
from agent.orders.order_notes import gather_notes
from agent.orders.places import describe_same_places
from agent.orders.same_places import describe_decisions
from agent.orders.specification_history import REOPENED, SpecificationHistory
from agent.orders.specimen_facts import Conformity, SpecimenFacts, Statement
from agent.orders.taxonomy_history import TaxonomyHistory
from agent.store import VANISHED, State, number_key
from reports import gettext as _
from reports import marked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from agent.orders.scale_tracing import ScaleMeasurement
    from agent.orders.specification import Choice, Specification, Specifications
    from agent.orders.specimen_facts import Allowance
    from agent.store import (
        FileFate,
        MicrographView,
        OrderView,
        PreparationView,
        SpecimenView,
        Store,
        Unassigned,
    )
    from agent.watch import Provenance
    from model import Taxonomy

    Traced = Callable[[MicrographView], ScaleMeasurement | None]

WAITING = (State.SETTLING, State.QUEUED, State.PROCESSING, State.FAILED)
"""States of a file that may still become a field."""
LOST = (State.SET_ASIDE,)


@dataclass(frozen=True, slots=True)
class Lab:
    """What a lab has laid down, beside the rows.

    Args:
        specifications: What is demanded. taxonomy: what a micrograph can be.
        sources: Source → what its paths say, to know the order of a file not yet read.
        allowances: What the leads have switched on.
        zone: Time zone of the site. max_false_conform: see `Rules`.
        held: Says why a field's result is held, "" where it is not.
        remarks: Says what a statement has to mention of a field.
        traced: Finds the stage-micrometer measurement that proves a field's scale, or None.
        is_lead: Says whether somebody may do what only a lead may.
        second_look: A label at the limit counts only where a second reviewer confirms it.
        double_reviews: Returns the codes that two people gave to one micrograph.
        history: The specifications as they were. taxonomies: the taxonomy as it was.
    """

    specifications: Specifications
    taxonomy: Taxonomy
    sources: Mapping[str, Provenance] = field(default_factory=dict)
    allowances: tuple[Allowance, ...] = ()
    zone: str = "UTC"
    max_false_conform: float = MAX_FALSE_CONFORM
    held: Callable[[MicrographView], str] = lambda _view: ""
    remarks: Callable[[MicrographView], Iterable[str]] = lambda _view: ()
    traced: Traced = lambda _view: None
    is_lead: Callable[[str], bool] = lambda _name: False

    second_look: bool = False
    double_reviews: Callable[[], Iterable[tuple[str, str]]] = lambda: ()
    history: SpecificationHistory = field(default_factory=SpecificationHistory)
    taxonomies: TaxonomyHistory = field(default_factory=TaxonomyHistory)

    @property
    def context(self) -> FieldContext:
        """What is known of a field outside its own row; its place is not."""
        return FieldContext(self.held, self.is_lead, traced=self.traced)


@dataclass(frozen=True, slots=True)
class AssessedSpecimen:
    """One specimen and what is said of it.

    Args:
        view: Its rows. facts: what was decided on. statement: what was decided.
        notes: What a reader should know besides, such as an earlier preparation's result.
    """

    view: SpecimenView
    facts: SpecimenFacts
    statement: Statement
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Assessed:
    """One order and what is said of it.

    Args:
        view: Its rows. statement: of the whole order. material: of the order.
        specification: What is demanded, or None. version: of it, 0 where it was never seen.
        specimens: By name. unassigned: fields that name the order and belong to no specimen.
        lost: Files of it that could not be used. taxonomy: by which it is judged.
        notes: What leads decided about it, and which version of the specification applies.
        decision_rule: By which rule it is decided, None without a specification.
        order_doubts: What is open about the order as a whole, besides its specimens.
        material_doubt: Why its material is not known for sure, "" where it is.
        needs_lead: Some of the doubts are settled by a lead alone; the others by more images.
        lacks_specimens: Specimens that the order names have no image yet.
    """

    view: OrderView
    statement: Statement
    material: str
    specification: Specification | None
    version: int
    specimens: tuple[AssessedSpecimen, ...]
    unassigned: tuple[Unassigned, ...]
    lost: tuple[FileFate, ...]
    taxonomy: Taxonomy
    notes: tuple[str, ...] = ()
    decision_rule: DecisionRule | None = None
    order_doubts: tuple[str, ...] = ()
    material_doubt: str = ""
    needs_lead: bool = False
    lacks_specimens: bool = False

    def rules(self, lab: Lab) -> Rules:
        """Return what its specimens are held against. Raises `WrongUse` without a specification."""
        if self.specification is None:
            raise WrongUse(f"No specification applies to order {self.view.number}.")
        return build_rules(self.view, self.specification, self.material, self.taxonomy, lab)


def build_rules(
    view: OrderView, wanted: Specification, material: str, taxonomy: Taxonomy, lab: Lab
) -> Rules:
    """Build what the specimens of an order are held against."""
    return Rules(
        specification=wanted,
        taxonomy=taxonomy,
        material=material,
        expected=tuple(view.facts.get("subtype") or ()),
        allowances=lab.allowances,
        max_false_conform=lab.max_false_conform,
        second_look=lab.second_look,
    )


@dataclass(frozen=True, slots=True)
class Beside:
    """What stands beside the rows of orders; read once where many are assessed.

    Args:
        waiting: Files that may still become a field. lost: files that could not be used.
        unassigned: Fields that belong to no specimen.
        named_lost: Order → contents of lost files that a note or a sender named it for.
        alike: Orders whose numbers are alike, see `list_alike`.
    """

    waiting: tuple[FileFate, ...] = ()
    lost: tuple[FileFate, ...] = ()
    unassigned: tuple[Unassigned, ...] = ()
    named_lost: Mapping[str, frozenset[int]] = field(default_factory=lambda: MappingProxyType({}))
    alike: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def of(cls, store: Store) -> Beside:
        """Read it."""
        fates = tuple(store.files.iter_status((*WAITING, *LOST)))
        lost = (one for one in fates if one.state in LOST)
        return cls(
            tuple(one for one in fates if one.state in WAITING),
            (*lost, *store.files.iter_status(State.IGNORED, code=VANISHED)),
            tuple(store.orders.unassigned()),
            load_named(store),
            list_alike(store),
        )


HEARD_WITHIN = timedelta(days=60)
"""An order that was first heard of longer ago is in no report; the outbox examines it in turn."""


def assess_recent(store: Store, lab: Lab, *, now: datetime) -> Iterator[Assessed]:
    """Say what can be said of every order heard of lately: urgent ones first, then the newest."""
    lines = [one for one in store.orders.all() if is_recent(one.first_seen_at, now)]
    beside = Beside.of(store) if lines else Beside()
    for line in lines:
        if assessed := assess(store, line.number, lab, beside=beside):
            yield assessed


def is_recent(heard_at: datetime | None, now: datetime) -> bool:
    """Return whether an order was first heard of within `HEARD_WITHIN`."""
    return heard_at is None or now - heard_at <= HEARD_WITHIN


def assess(store: Store, number: str, lab: Lab, *, beside: Beside | None = None) -> Assessed | None:
    """Say what can be said of one order, or None if nobody has heard of it."""
    view = store.orders.order(number)
    return assess_view(store, view, lab, beside=beside) if view else None


def assess_view(
    store: Store, view: OrderView, lab: Lab, *, beside: Beside | None = None
) -> Assessed:
    """Say what can be said of an order's rows, as they are or as they might be."""
    number = view.number
    beside = beside or Beside.of(store)
    key = partial(number_key, exact=store.exact_numbers)
    waiting = list(_files_of(beside.waiting, number, lab.sources, key))
    unread = tuple(_lost_of(beside, number, lab.sources, key))
    renamed = [one for one in unread if _is_renamed(one, beside, lab.sources, key)]
    lost = tuple(one for one in unread if one not in renamed)
    torn = tuple(
        one
        for one in beside.unassigned
        if key(one.view.process_data.get("order", "")) == key(number)
    )
    material, said = material_of(view)
    reopened = store.records.latest(REOPENED, number)
    dismissed = store.records.all(DISMISSED, number)
    applied = apply_specification(view, lab, material=material, reopened=reopened)
    choice = applied.choice
    versions = store.orders.versions()
    own = apply_taxonomy(lab, applied)
    notes = (
        *describe_settled(view.claims),
        *describe_amendments(view.facts),
        *describe_dismissed(dismissed),
        *describe_renamed(renamed),
        *describe_alike(number, beside.alike),
        *describe_specimens(
            [str(one) for one in view.facts.get("specimens") or ()],
            [one.name for one in view.specimens],
            exact=store.exact_numbers,
        ),
        *describe_version(view, lab, applied, versions),
        *describe_applied_taxonomy(view, lab, applied, own),
    )
    places = store.places.known(_public_ids(view))
    context = replace(lab.context, places=places, taxonomy=own)
    if choice.specification is None:
        specimens = tuple(_not_assessed(one, choice, context) for one in view.specimens)
        word = Conformity.UNDECIDED if choice.is_torn else Conformity.NOT_ASSESSED
        statement = Statement(word, (choice.sentence,))
        return Assessed(
            view, statement, material, None, 0, specimens, torn, lost, own.taxonomy, notes
        )
    rules = build_rules(view, choice.specification, material, own.taxonomy, lab)
    there = _with_waiting(view, waiting, key)
    assessed = tuple(_specimen(one, count, rules, said, context) for one, count in there)
    known = {key(one.view.name) for one in assessed}
    loose = len([name for _, name in waiting if key(name) not in known])
    late = describe_late_change(view, lab, applied)
    settled_by_leads = (
        *_torn(torn),
        *describe_claims(view.claims, {one.view.id for one in torn}),
        *describe_pending(view.facts),
        *describe_lost(lost, dismissed),
        *([late] if late else ()),
    )
    doubts = (*([conformity.still_to_be_read(loose)] if loose else ()), *settled_by_leads)
    statement = _order(view, assessed, rules, doubts, key)
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
            *gather_notes([(one.view, one.facts) for one in assessed], lab.remarks),
        ),
        decision_rule=build_decision_rule(
            [one.facts for one in assessed], rules, lab.double_reviews()
        ),
        order_doubts=doubts,
        material_doubt=said,
        needs_lead=bool(settled_by_leads or said),
        lacks_specimens=_lacks_specimens(view, assessed, rules, key) or loose > 0,
    )


def describe_open(
    assessed: Assessed, lab: Lab, *, exact_numbers: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what an undecided order lacks, and apart from it why the model alone proves nothing.

    The second is most often the same for every order, so that a list of orders says it once.
    """
    rules, key = assessed.rules(lab), partial(number_key, exact=exact_numbers)
    refusals: dict[str, None] = {}
    shorter: list[AssessedSpecimen] = []
    for one in assessed.specimens:
        missing = one.statement.missing
        if one.statement.conformity is Conformity.UNDECIDED and not assessed.material_doubt:
            missing = conformity.describe_without_model(missing, one.facts, rules)
            refusals |= dict.fromkeys(conformity.list_model_refusals(one.facts, rules))
        shorter.append(replace(one, statement=replace(one.statement, missing=missing)))
    statement = _order(assessed.view, shorter, rules, assessed.order_doubts, key)
    return statement.missing, tuple(refusals)


def material_of(view: OrderView) -> tuple[str, str]:
    """Say an order's material, and why it is not sure, "" where it is.

    The order list stands above; else all specimens have to say the same.
    """
    if view.material:
        return view.material, ""
    found = sorted({one.material for one in view.specimens if one.material})
    if len(found) > 1:
        said = _("its specimens name several materials: {materials}")
        return "", said.format(materials=", ".join(found))
    return (found[0] if found else ""), ""


def _public_ids(view: OrderView) -> set[str]:
    return {
        one.view.id
        for specimen in view.specimens
        for prepared in specimen.preparations
        for one in prepared.fields
    }


def _files_of(
    fates: Iterable[FileFate],
    number: str,
    sources: Mapping[str, Provenance],
    key: Callable[[str], str],
) -> Iterator[tuple[FileFate, str]]:
    """Yield the files of which any name, also an earlier one, names an order, and its specimen."""
    for fate in fates:
        for told in _named_places(fate, sources):
            if key(told.get("order", "")) == key(number):
                yield fate, told.get("specimen", "")
                break


def _lost_of(
    beside: Beside, number: str, sources: Mapping[str, Provenance], key: Callable[[str], str]
) -> Iterator[FileFate]:
    """Yield the files that could not be used and that a path, a note or a sender names."""
    by_name = {fate.id for fate, _specimen in _files_of(beside.lost, number, sources, key)}
    named = {
        content
        for order, contents in beside.named_lost.items()
        if key(order) == key(number)
        for content in contents
    }
    yield from (fate for fate in beside.lost if fate.id in by_name | named)


def _is_renamed(
    fate: FileFate, beside: Beside, sources: Mapping[str, Provenance], key: Callable[[str], str]
) -> bool:
    """Return whether a file that vanished unread came again under a name for the same specimen.

    One that a note or a sender names is not: the note may not have come along.
    """
    is_named = any(fate.id in contents for contents in beside.named_lost.values())
    if fate.renamed_to is None or is_named:
        return False
    source = sources.get(fate.renamed_to[0])
    later = list(source.named_places(fate.renamed_to[1])) if source else []
    before = list(_named_places(fate, sources))
    places = {
        (key(place.get("order", "")), key(place.get("specimen", ""))) for place in (*before, *later)
    }
    return bool(later) and len(places) == 1


def numbers_named(beside: Beside, lab: Lab) -> Iterator[str]:
    """Yield the orders that waiting and lost files name."""
    for fate in (*beside.waiting, *beside.lost):
        for told in _named_places(fate, lab.sources):
            yield told.get("order", "")
    yield from beside.named_lost


def _named_places(fate: FileFate, sources: Mapping[str, Provenance]) -> Iterator[Mapping[str, str]]:
    if fate.sent_with.get("order"):
        yield fate.sent_with
    for order, specimen in fate.noted.items():
        yield {"order": order, "specimen": specimen}
    for name, relative in fate.seen_as:
        if source := sources.get(name):
            yield from source.named_places(relative)


def _with_waiting(
    view: OrderView, waiting: Sequence[tuple[FileFate, str]], key: Callable[[str], str]
) -> list[tuple[SpecimenView, int]]:
    names = [key(specimen) for _, specimen in waiting]
    return [(one, names.count(key(one.name))) for one in view.specimens]


# --- one specimen -------------------------------------------------------------------------------


def _not_assessed(view: SpecimenView, choice: Choice, context: FieldContext) -> AssessedSpecimen:
    word = Conformity.UNDECIDED if choice.is_torn else Conformity.NOT_ASSESSED
    facts = build_specimen_facts(view, context, waiting=0)
    return AssessedSpecimen(view, facts, Statement(word, (choice.sentence,)), ())


def _specimen(
    view: SpecimenView, waiting: int, rules: Rules, doubt: str, context: FieldContext
) -> AssessedSpecimen:
    facts = build_specimen_facts(view, context, waiting=waiting)
    statement = (
        Statement(Conformity.UNDECIDED, (doubt,)) if doubt else conformity.specimen(facts, rules)
    )
    counted = [one for one in facts.fields if not one.superseded]
    own = {field.id for field in (*facts.fields, *facts.earlier)}
    notes = (
        *describe_same_places(facts, counted),
        *describe_decisions(own, context.places),
        *_notes(view, rules),
    )
    return AssessedSpecimen(view, facts, statement, notes)


NUMERALS = (
    marked("first"),
    marked("second"),
    marked("third"),
    marked("fourth"),
    marked("fifth"),
    marked("sixth"),
    marked("seventh"),
    marked("eighth"),
    marked("ninth"),
)


def _ordinal(n: int) -> str:
    return _(NUMERALS[n - 1]) if n <= len(NUMERALS) else _("{n}th").format(n=n)


def _notes(view: SpecimenView, rules: Rules) -> Iterator[str]:
    """Say what earlier preparations showed: "third preparation, first result: coarser"."""
    if len(view.preparations) < 2:  # noqa: PLR2004 - a second one
        return
    *before, last = view.preparations
    which = _ordinal(len(view.preparations))
    new = _coarsest(last, rules)
    for number, prepared in enumerate(before, start=1):
        old = _coarsest(prepared, rules)
        if old is None:
            said = _("{which} preparation; the {earlier} gave no result")
            yield said.format(which=which, earlier=_ordinal(number))
        elif new is None:
            said = _("{which} preparation, {earlier} result: {code}")
            yield said.format(which=which, earlier=_ordinal(number), code=old[1])
        else:
            how = (
                _("coarser")
                if old[0] < new[0]
                else _("finer")
                if old[0] > new[0]
                else _("the same")
            )
            said = _("{which} preparation, {earlier} result: {how} ({old}, now {new})")
            yield said.format(
                which=which, earlier=_ordinal(number), how=how, old=old[1], new=new[1]
            )


def _coarsest(prepared: PreparationView, rules: Rules) -> tuple[int, str] | None:
    codes = [
        (one.view.label.code if one.view.label else None) or one.view.structure_code
        for one in prepared.fields
    ]
    order = rules.taxonomy.sizes
    found = [
        (order.index(parsed[1]), code) for code in codes if code and (parsed := rules.parsed(code))
    ]
    return min(found, default=None)


# --- the order ----------------------------------------------------------------------------------


def _torn(torn: Sequence[Unassigned]) -> Iterator[str]:
    for one in torn:
        yield _("{id} names the order and belongs to no specimen: {why}").format(
            id=one.view.id, why=reports.retold(one.reason)
        )


def _order(
    view: OrderView,
    assessed: Sequence[AssessedSpecimen],
    rules: Rules,
    doubts: Sequence[str],
    key: Callable[[str], str],
) -> Statement:
    required, count = _required_specimens(view, assessed, rules, key)
    statement = conformity.order(
        {one.view.name: one.statement for one in assessed}, required, count or None
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
    names = {key(one.view.name): one.view.name for one in assessed}
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
    there = {one.view.name for one in assessed}
    return not there or not set(required) <= there or len(there | set(required)) < count
