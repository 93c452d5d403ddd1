"""Compare results and fields with what they were filed with, and with the acts since then.

What a field was filed with never changes; its assignment changes by an act alone; reasons for
review are only ever added.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from sqlmodel import col, select

from agent.store.evidence import audit_log, filing
from agent.store.evidence.declaration import EVIDENCE
from agent.store.evidence.odd_shapes import name_odd, sort_acts
from agent.store.tables import (
    ContentRow,
    MicrographRow,
    NeedleFieldRow,
    OrderRow,
    PlaceRow,
    PreparationRow,
    ResultRow,
    SourceRow,
    SpecimenRow,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sqlmodel import Session

    from agent.store.evidence.audit_log import TrailEntry

LIVE, DONE, REVIEW = "live", "done", "review"
ASSIGNED, UNASSIGNED, PRUNED = "field.assigned", "field.unassigned", "pixels.pruned"
PREPARED_AGAIN = "specimen.prepared_again"


@dataclass(slots=True)
class _Acts:
    """Acts on fields in the audit log.

    Attributes:
        moved: Id of a field → the newest act that moved it.
        pruned: Ids of fields whose crops were deleted.
        preparations: (order, specimen, preparation) that an act began or filled.
        replaced: (result, the one before it) of a field, of which an act says so.
    """

    moved: dict[str, TrailEntry] = field(default_factory=dict)
    pruned: set[str] = field(default_factory=set)
    preparations: set[tuple[str, str, str]] = field(default_factory=set)
    replaced: set[tuple[int, int]] = field(default_factory=set)


@dataclass(slots=True)
class _ResultValues:
    """Values collected from all results.

    Attributes:
        judged: (order, specimen) → what its first fields filled, by result number.
        preparations: (order, specimen, preparation) in which fields were filed.
        live: Row number of a micrograph → its live results, the oldest first.
        current: Row number of a micrograph → its result that counts.
    """

    judged: dict[tuple[str, str], dict[str, tuple[str, int]]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    preparations: set[tuple[str, str, str]] = field(default_factory=set)
    live: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    current: dict[int, int] = field(default_factory=dict)


def find_differences(session: Session) -> Iterator[str]:
    """Yield a sentence for each result, field, specimen and preparation that differs."""
    (acts, odd), results = _gather(session), _ResultValues()
    yield from odd
    preparations = dict(session.exec(select(PreparationRow.id, PreparationRow.name)).all())
    places, needles = _places(session), _hash_needles(session)
    wanted = (
        select(ResultRow, MicrographRow, SourceRow.name, PlaceRow)
        .join(MicrographRow, col(MicrographRow.id) == col(ResultRow.micrograph_id))
        .join(SourceRow, col(SourceRow.id) == col(MicrographRow.source_id))
        .outerjoin(PlaceRow, col(PlaceRow.micrograph_id) == col(MicrographRow.id))
        .order_by(col(ResultRow.id))
        .execution_options(yield_per=200)
    )
    for result, micrograph, source, place in session.exec(wanted):
        _note(results, result)
        what = f"result {result.id} of field {micrograph.public_id}"
        if not result.filed:
            yield f"{what}: what it was filed with was deleted"
            continue
        filed = filing.read(result.filed)
        if not filed:
            yield f"{what}: what it was filed with cannot be read: it was changed"
            continue
        yield from name_odd(what, _add_filed(results, filed, result.id or 0))
        for sentence in name_odd("it", _of_result(result, filed)):
            yield f"{what}: {sentence}"
        if needles.get(result.id or 0) != filed.get("needles"):
            yield f"{what}: its needle lengths were changed, added or deleted after it was filed"
        now = _CurrentField(source, places.get(micrograph.specimen_id), place)
        now.preparation = preparations.get(micrograph.preparation_id, "")
        for sentence in name_odd("it", _of_field(micrograph, filed, now, acts)):
            yield f"field {micrograph.public_id}: {sentence} (as result {result.id} was filed)"
    yield from _compare_currents(results, acts)
    yield from _compare_specimens(session, results)
    yield from _compare_preparations(session, results, acts)
    yield from _without_field(session)


@dataclass(slots=True)
class _CurrentField:
    """Current values of a field.

    Attributes:
        source: Name of its source.
        specimen: Order and specimen, or None.
        place: Hash of its landmarks.
        preparation: Name of its preparation.
    """

    source: str
    specimen: tuple[str, str] | None
    place: PlaceRow | None
    preparation: str = ""

    def as_list(self) -> list[str] | None:
        """Return order, specimen and preparation as a result is filed with them."""
        return [*self.specimen, self.preparation] if self.specimen else None


def _gather(session: Session) -> tuple[_Acts, list[str]]:
    """Return the acts, and a sentence for each that no version of this program wrote."""
    acts = _Acts()
    return acts, sort_acts(audit_log.entries(session), partial(_sort_in, acts))


def _sort_in(acts: _Acts, entry: TrailEntry) -> None:
    if entry.act in {ASSIGNED, UNASSIGNED}:
        after = entry.facts.get(filing.AFTER) or {}
        if place := after.get("place"):
            acts.preparations.add(tuple(place))
        acts.moved[entry.subject] = entry
    elif entry.act == PRUNED and entry.facts.get("kind") == "crops":
        acts.pruned.update(entry.facts.get("ids") or ())
    elif entry.act == filing.REPLACED:
        acts.replaced.add((entry.facts["result"], entry.facts["before"]))
    elif entry.act == PREPARED_AGAIN:
        order, _, specimen = entry.subject.rpartition("/")
        acts.preparations.add((order, specimen, str(entry.facts.get("preparation") or "")))


def _places(session: Session) -> dict[int | None, tuple[str, str]]:
    wanted = select(SpecimenRow.id, OrderRow.number, SpecimenRow.name).join(
        OrderRow, col(OrderRow.id) == col(SpecimenRow.order_id)
    )
    return {number: (order, name) for number, order, name in session.exec(wanted)}


def _hash_needles(session: Session) -> dict[int, str]:
    """Return result number → hash of the needles measured with it."""
    rows = session.exec(select(NeedleFieldRow).execution_options(yield_per=200))
    return {row.result_id: filing.digest(row)[0] for row in rows}


def _note(results: _ResultValues, result: ResultRow) -> None:
    number = result.id or 0
    if result.role == LIVE:
        results.live[result.micrograph_id].append(number)
    if result.current:
        results.current[result.micrograph_id] = number


def _add_filed(results: _ResultValues, filed: Mapping[str, Any], number: int) -> Iterator[str]:
    """Add the specimen and preparation of a result; yield nothing."""
    yield from ()
    if place := filed.get("place"):
        order, specimen, preparation = place
        results.preparations.add((order, specimen, preparation))
        for name, value in (filed.get("judged") or {}).items():
            results.judged[order, specimen].setdefault(name, (value, number))


# --- a result -----------------------------------------------------------------------------------


def _of_result(result: ResultRow, filed: Mapping[str, Any]) -> Iterator[str]:
    if filing.digest(result)[0] != filed.get("result"):
        hints = str(filed.get("hints"))[len(EVIDENCE["micrograph"].filed or ()) * filing.HINT :]
        changed = filing.find_changed(result, hints)
        yield f"{_format_was(changed)} changed after it was filed"
    if lost := [reason for reason in filed["reasons"] if reason not in result.reasons]:
        yield f"the reason {_format_was(lost, '')} why a person is to look was taken away"
    if filed["handling"] == REVIEW and result.handling != REVIEW:
        yield f"handling was {filed['handling']!r} when it was filed, is {result.handling!r}"


def _compare_currents(results: _ResultValues, acts: _Acts) -> Iterator[str]:
    for micrograph, live in results.live.items():
        for before, number in pairwise(live):
            if (number, before) not in acts.replaced:
                yield (f"result {number}: it took the place of result {before}, and no act says so")
        counts = results.current.get(micrograph)
        if counts != live[-1]:
            yield (
                f"result {live[-1]}: it is the newest of its field and does not count; "
                f"{'result ' + str(counts) if counts else 'none'} does, and no act says so"
            )


def _format_was(names: list[str], verb: str = " was") -> str:
    if not names:
        return f"a value{verb}"
    return f"{', '.join(names)}{verb if len(names) == 1 else verb.replace('was', 'were')}"


# --- a field ------------------------------------------------------------------------------------


def _of_field(
    row: MicrographRow, filed: Mapping[str, Any], now: _CurrentField, acts: _Acts
) -> Iterator[str]:
    if filing.digest(row)[0] != filed.get("micrograph"):
        changed = filing.find_changed(row, str(filed.get("hints")))
        yield f"{_format_was(changed)} changed after it was filed"
    if now.source != filed.get("source"):
        yield f"its source was {filed.get('source')!r}, is {now.source!r}"
    if "landmarks" in filed:
        kept = filing.hash_landmarks(now.place.landmarks) if now.place else None
        if kept != filed["landmarks"]:
            yield "what its place is recognised by was changed or deleted"
    if row.pruned_at is not None and row.public_id not in acts.pruned:
        yield "its pixels count as pruned, and no act deleted them"
    moved = acts.moved.get(row.public_id)
    if moved is None:
        yield from _compare_unmoved(row, filed, now)
    else:
        yield from _compare_moved(row, moved, now)


def _compare_unmoved(
    row: MicrographRow, filed: Mapping[str, Any], now: _CurrentField
) -> Iterator[str]:
    was = filed.get("place")
    if was != now.as_list():
        yield (
            f"it belonged to {_format_place(was)}, is at {_format_place(now.as_list())}, and no "
            "act moved it"
        )
    names = filed.get("names") or {}
    yield from _iter_differing(names, row)
    if row.unassigned != filed.get("unassigned", ""):
        yield f"why it belongs to no specimen was {filed.get('unassigned', '')!r}"


def _compare_moved(row: MicrographRow, act: TrailEntry, now: _CurrentField) -> Iterator[str]:
    if act.act == UNASSIGNED:
        if row.unassigned != act.facts.get("reason"):
            yield f"why it belongs to no specimen was {act.facts.get('reason')!r}"
        return  # `belonging_checks` names where it is
    after = act.facts.get(filing.AFTER) or {}
    if after.get("place") != now.as_list():
        yield (
            f"it belonged to {_format_place(after.get('place'))} (trail number {act.id}), is at "
            f"{_format_place(now.as_list())}"
        )
    yield from _iter_differing(after.get("names") or {}, row)


def _iter_differing(names: Mapping[str, Any], row: MicrographRow) -> Iterator[str]:
    for name in filing.MOVED:
        was, is_now = names.get(name, ""), getattr(row, name)
        if was != is_now:
            yield f"{name} was {was!r}, is {is_now!r}"


def _format_place(place: list[str] | None) -> str:
    if not place:
        return "no order"
    order, specimen, preparation = place
    return f"order {order}, specimen {specimen}, preparation {preparation}"


# --- specimens, preparations, files -------------------------------------------------------------


def _compare_specimens(session: Session, results: _ResultValues) -> Iterator[str]:
    wanted = select(SpecimenRow, OrderRow.number).join(
        OrderRow, col(OrderRow.id) == col(SpecimenRow.order_id)
    )
    for row, order in session.exec(wanted.order_by(col(SpecimenRow.id))):
        for name, (was, number) in results.judged.get((order, row.name), {}).items():
            is_now = getattr(row, name)
            if is_now != was:
                yield (
                    f"specimen {row.name} of order {order}: {name} was {was!r} (as result {number} "
                    f"was filed), is {is_now!r}"
                )


def _compare_preparations(session: Session, results: _ResultValues, acts: _Acts) -> Iterator[str]:
    wanted = (
        select(PreparationRow, SpecimenRow.name, OrderRow.number)
        .join(SpecimenRow, col(SpecimenRow.id) == col(PreparationRow.specimen_id))
        .join(OrderRow, col(OrderRow.id) == col(SpecimenRow.order_id))
        .order_by(col(PreparationRow.id))
    )
    known = results.preparations | acts.preparations
    for row, specimen, order in session.exec(wanted):
        if (order, specimen, row.name) not in known:
            yield (
                f"preparation {row.name} of order {order}, specimen {specimen}: no field was filed "
                "in it and no act began it"
            )


def _without_field(session: Session) -> Iterator[str]:
    """Yield the files that were read and have no field, and the fields that have no result."""
    has = select(MicrographRow.id).where(col(MicrographRow.content_id) == col(ContentRow.id))
    wanted = select(ContentRow.id, ContentRow.sha256).where(ContentRow.state == DONE, ~has.exists())
    for number, sha256 in session.exec(wanted):
        yield f"file {number} ({sha256}): it was read, and its fields were deleted"
    judged = select(ResultRow.id).where(col(ResultRow.micrograph_id) == col(MicrographRow.id))
    for public_id in session.exec(select(MicrographRow.public_id).where(~judged.exists())):
        yield f"field {public_id}: its result was deleted"
