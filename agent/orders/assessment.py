"""Say of an order what the pure rules make of its rows, as `agent order --json` and pages say it.

In:  `OrderView`s, the specifications, what the leads allow. Out: an `Assessed` order. Next: the
command, the page, the API. The same rows give the same answer, whoever asks and however often the
agent was killed in between: nothing is remembered beside them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import reports
from agent.errors import WrongUse
from agent.orders import conformity
from agent.orders.facts import (
    Conformity,
    Decided,
    FieldFacts,
    SpecimenFacts,
    Statement,
    Superseded,
)
from agent.orders.limit import fault_of
from agent.orders.remarks import gather_notes
from agent.orders.rules import MAX_FALSE_CONFORM, Rules
from agent.store import State
from reports import gettext as _
from reports import marked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from agent.orders.facts import Allowance
    from agent.orders.scale_tracing import ScaleMeasurement
    from agent.orders.specification import Choice, Specification, Specifications
    from agent.store import (
        FieldView,
        FileFate,
        LabelView,
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
MM2_PER_UM2 = 1e-6


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
        lost: Files of it that could not be used. taxonomy: what a micrograph can be.
        notes: What holds of its fields and a reader should know, such as a released hold.
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


@dataclass(frozen=True, slots=True)
class Beside:
    """What stands beside the rows of orders; read once where many are assessed.

    Args:
        waiting: Files that may still become a field. lost: files that could not be used.
        unassigned: Fields that belong to no specimen.
    """

    waiting: tuple[FileFate, ...] = ()
    lost: tuple[FileFate, ...] = ()
    unassigned: tuple[Unassigned, ...] = ()

    @classmethod
    def of(cls, store: Store) -> Beside:
        """Read it."""
        return cls(
            tuple(store.files(WAITING)),
            tuple(store.files(LOST)),
            tuple(store.orders.unassigned()),
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
    waiting = list(_files_of(beside.waiting, number, lab.sources))
    lost = tuple(fate for fate, _specimen in _files_of(beside.lost, number, lab.sources))
    torn = tuple(one for one in beside.unassigned if one.view.process_data.get("order") == number)
    material, said = material_of(view)
    choice = choice_of(view, lab, material=material)
    if choice.specification is None:
        specimens = tuple(_not_assessed(one, choice, lab) for one in view.specimens)
        word = Conformity.UNDECIDED if choice.is_torn else Conformity.NOT_ASSESSED
        statement = Statement(word, (choice.sentence,))
        return Assessed(view, statement, material, None, 0, specimens, torn, lost, lab.taxonomy)
    rules = Rules(
        specification=choice.specification,
        taxonomy=lab.taxonomy,
        material=material,
        expected=tuple(view.facts.get("subtype") or ()),
        allowances=lab.allowances,
        max_false_conform=lab.max_false_conform,
    )
    there = _with_waiting(view, waiting)
    assessed = tuple(_specimen(one, count, rules, said, lab) for one, count in there)
    statement = _order(view, assessed, rules, torn, waiting)
    versions = store.orders.versions()
    return Assessed(
        view=view,
        statement=statement,
        material=material,
        specification=choice.specification,
        version=versions.get(choice.specification.sha256, 0),
        specimens=assessed,
        unassigned=torn,
        lost=lost,
        taxonomy=lab.taxonomy,
        notes=gather_notes([(one.view, one.facts) for one in assessed], lab.remarks),
    )


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


def choice_of(view: OrderView, lab: Lab, *, material: str) -> Choice:
    """Say which specification applies to an order, by the day it was first heard of."""
    at = view.first_seen_at
    day = (
        at.astimezone(ZoneInfo(lab.zone)).date() if at else datetime.now(ZoneInfo(lab.zone)).date()
    )
    keys = {
        "material": material,
        "product": view.product,
        "customer": view.customer,
        "specification": str(view.facts.get("specification") or ""),
    }
    return lab.specifications.for_order(keys, on=day)


def _files_of(
    fates: Iterable[FileFate], number: str, sources: Mapping[str, Provenance]
) -> Iterator[tuple[FileFate, str]]:
    """Say the files whose path names an order, each with its specimen."""
    for fate in fates:
        source = sources.get(fate.source)
        if source is None:
            continue
        told = source.process_data(_below(fate.path))
        if told.get("order") == number:
            yield fate, told.get("specimen", "")


def numbers_named(beside: Beside, lab: Lab) -> Iterator[str]:
    """Yield the orders that the paths of waiting and lost files name."""
    for fate in (*beside.waiting, *beside.lost):
        if source := lab.sources.get(fate.source):
            yield source.process_data(_below(fate.path)).get("order", "")


def _below(path: str) -> str:
    return path.replace("\\", "/")  # a pattern is searched, so that the folders before do no harm


def _with_waiting(
    view: OrderView, waiting: Sequence[tuple[FileFate, str]]
) -> list[tuple[SpecimenView, int]]:
    names = [specimen for _, specimen in waiting]
    return [(one, names.count(one.name)) for one in view.specimens]


def breaking(assessed: Assessed) -> list[FieldFacts]:
    """Say which fields that count now do not surely keep what is demanded."""
    wanted = assessed.specification
    if wanted is None:
        return []
    rules = Rules(wanted, assessed.taxonomy)
    return [
        field
        for one in assessed.specimens
        for field in one.facts.fields
        if (code := _code_of(field)) and not field.superseded and not rules.keeps(code)
    ]


def refuse_moving(
    store: Store, lab: Lab, public_id: str, keys: Mapping[str, str], *, by: str
) -> None:
    """Refuse that a field which does not keep its limit leaves its specimen without a lead's word.

    Also one that was superseded: what was found of a specimen stays with it.

    Args:
        store: Open.
        lab: What is laid down.
        public_id: Of the field.
        keys: Its new `order` and `specimen`.
        by: Who moves it.

    Raises:
        WrongUse: It does not keep the limit, and `by` is no lead.
    """
    number, view = store.orders.of_micrograph(public_id), store.micrograph(public_id)
    if number is None or view is None or lab.is_lead(by):
        return
    assessed, told = assess(store, number, lab), view.process_data
    stays = all(told.get(key) == keys.get(key) for key in ("order", "specimen"))
    if stays or assessed is None or assessed.specification is None:
        return
    rules = Rules(assessed.specification, assessed.taxonomy)
    for one in assessed.specimens:
        for own in (*one.facts.fields, *one.facts.earlier):
            if own.id == public_id and (code := _code_of(own)) and not rules.keeps(code):
                raise WrongUse(
                    _(
                        "{field} ({code}) does not keep the limit of order {order}, specimen "
                        "{specimen}: a lead alone may move it elsewhere (an account of that role, "
                        "or a name in [orders] leads)."
                    ).format(field=own.called, code=code, order=number, specimen=one.view.name)
                )


def _code_of(field: FieldFacts) -> str | None:
    return field.decided.said if field.decided and field.decided.kind == "code" else field.code


# --- one specimen -------------------------------------------------------------------------------


def _not_assessed(view: SpecimenView, choice: Choice, lab: Lab) -> AssessedSpecimen:
    word = Conformity.UNDECIDED if choice.is_torn else Conformity.NOT_ASSESSED
    facts = facts_of(view, waiting=0, held=lab.held, traced=lab.traced)
    return AssessedSpecimen(view, facts, Statement(word, (choice.sentence,)), ())


def _specimen(
    view: SpecimenView, waiting: int, rules: Rules, doubt: str, lab: Lab
) -> AssessedSpecimen:
    facts = facts_of(view, waiting=waiting, held=lab.held, traced=lab.traced)
    fault = doubt
    if rules.bound:
        fault = fault or fault_of(rules.bound, rules.specification.subtype, rules.taxonomy)
    statement = (
        Statement(Conformity.UNDECIDED, (fault,)) if fault else conformity.specimen(facts, rules)
    )
    return AssessedSpecimen(view, facts, statement, tuple(_notes(view, rules)))


def facts_of(
    view: SpecimenView,
    *,
    waiting: int,
    held: Callable[[MicrographView], str] = lambda _view: "",
    traced: Traced = lambda _view: None,
) -> SpecimenFacts:
    """Say a specimen's rows as the rules want them."""
    *before, last = view.preparations or (None,)
    return SpecimenFacts(
        name=view.name,
        preparation=last.name if last else "",
        fields=tuple(field_of(one, held, traced=traced) for one in (last.fields if last else ())),
        earlier=tuple(
            field_of(one, held, gone=_superseded(prepared), traced=traced)
            for prepared in before
            if prepared
            for one in prepared.fields
        ),
        waiting=waiting,
        preparations=len(view.preparations),
    )


def field_of(
    one: FieldView,
    held: Callable[[MicrographView], str] = lambda _view: "",
    *,
    gone: Superseded | None = None,
    traced: Traced = lambda _view: None,
) -> FieldFacts:
    """Say a field's row as the rules want it; `gone` says why its preparation no longer counts."""
    view, told = one.view, one.view.process_data
    said = one.superseded
    return FieldFacts(
        id=view.id,
        name=told.get("field", ""),
        code=view.structure_code,
        codes=view.prediction_set,
        decided=_decided(view.label) if view.label else None,
        awaits=view.awaits or (view.handling == "review" and view.label is None),
        reasons=view.reasons,
        um_per_px=view.um_per_px,
        scale_in_doubt="scale_conflict" in view.warnings,
        area_mm2=one.area_mm2 if one.area_mm2 is not None else _area(view),
        bundle=view.bundle,
        coarser_share=view.coarser_share,
        material=told.get("material", ""),
        magnification=told.get("magnification", ""),
        etchant=told.get("etchant", ""),
        superseded=_said(said) if said else gone,
        held=held(view),
        outside=str(view.expected.get("outside") or ""),
        done_at=view.done_at,
        scale_traced_to=found.to_json() if (found := traced(view)) else None,
    )


def _decided(label: LabelView) -> Decided:
    said = label.code or label.strange_kind or label.why or ""
    return Decided(label.kind, said, label.by, label.criterion)


def _said(said: Mapping[str, Any]) -> Superseded:
    return Superseded(
        reason=str(said.get("reason", "")),
        by=str(said.get("by", "")),
        defect=str(said.get("defect", "")),
        lead=bool(said.get("lead")),
    )


def _superseded(prepared: PreparationView) -> Superseded:
    said = prepared.facts.get("superseded")
    return _said(said) if said else Superseded(_("a later preparation came"), "")


def _area(view: MicrographView) -> float | None:
    """Area of the crop, for what was taken before the steel in it was counted."""
    if view.um_per_px is None or view.crop is None:
        return None
    x0, y0, x1, y1 = view.crop
    return (x1 - x0) * (y1 - y0) * view.um_per_px**2 * MM2_PER_UM2


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
    found = [(parsed[1].lower, code) for code in codes if code and (parsed := rules.parsed(code))]
    return min(found, default=None)


# --- the order ----------------------------------------------------------------------------------


def _order(
    view: OrderView,
    assessed: Sequence[AssessedSpecimen],
    rules: Rules,
    torn: Sequence[Unassigned],
    waiting: Sequence[tuple[FileFate, str]],
) -> Statement:
    required = [str(name) for name in view.facts.get("specimens") or ()]
    # A list may ask for more specimens than the specification, never for fewer.
    count = max(int(view.facts.get("count") or 0), rules.specification.specimens or 0)
    statement = conformity.order(
        {one.view.name: one.statement for one in assessed}, required, count or None
    )
    known = {one.view.name for one in assessed}
    loose = len([name for _, name in waiting if name not in known])
    more = (
        *([conformity.still_to_be_read(loose)] if loose else ()),
        *(
            _("{id} names the order and belongs to no specimen: {why}").format(
                id=one.view.id, why=reports.retold(one.reason)
            )
            for one in torn
        ),
    )
    if not more:
        return statement
    word = statement.conformity
    if word is Conformity.CONFORMS:
        word = Conformity.UNDECIDED
    return Statement(word, (*statement.missing, *more), statement.because)
