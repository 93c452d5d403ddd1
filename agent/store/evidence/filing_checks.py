"""Compare results and fields with what they were filed with, where no act changed it since.

What a field was filed with never changes; its assignment changes by an act alone; reasons for
review are only ever added.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from sqlmodel import col, select

from agent.store.evidence import filing
from agent.store.evidence.acts import compare, fold, name_odd, show
from agent.store.evidence.declaration import CHANGEABLE, EVIDENCE, format_place
from agent.store.tables import (
    ContentRow,
    MicrographRow,
    NeedleFieldRow,
    PathRow,
    PlaceRow,
    PreparationRow,
    ResultRow,
    SourceRow,
    SpecimenRow,
)
from agent.store.work.file_states import State

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sqlmodel import Session

    from agent.store.evidence.acts import ActIndex, RowReader, Stated

LIVE, REVIEW = "live", "review"


class FilingChecks:
    """Comparison of results and fields with what they were filed with.

    Args:
        session: Open.
        rows: Of the session.
        acts: Of every table of evidence.
    """

    def __init__(self, session: Session, rows: RowReader, acts: ActIndex) -> None:
        self._session, self._rows, self._acts = session, rows, acts
        self._specimens: dict[tuple[str, str], Stated] = defaultdict(dict)
        self._preparations: set[tuple[str, ...]] = set()
        self._live: dict[int, list[int]] = defaultdict(list)
        self._current: dict[int, int] = {}
        self._needles = self._hash_needles()

    def find_differences(self) -> Iterator[str]:
        """Yield a sentence for each result, field, specimen and preparation that differs."""
        wanted = (
            select(ResultRow, MicrographRow, SourceRow.name, PlaceRow)
            .join(MicrographRow, col(MicrographRow.id) == col(ResultRow.micrograph_id))
            .join(SourceRow, col(SourceRow.id) == col(MicrographRow.source_id))
            .outerjoin(PlaceRow, col(PlaceRow.micrograph_id) == col(MicrographRow.id))
            .order_by(col(ResultRow.id))
            .execution_options(yield_per=200)
        )
        for result, micrograph, source, place in self._session.exec(wanted):
            self._note(result)
            what, field = f"result {result.id}", f"field {micrograph.public_id}"
            what = f"{what} of {field}"
            filed = filing.read(result.filed)
            if not filed:
                yield f"{what}: filed is {show(result.filed)}, which no result was filed with"
                continue
            yield from name_odd(what, self._compare_result(what, result, filed))
            by = f"as result {result.id} was filed"
            now = self._describe(micrograph) | {"source": source}
            now["sha256 of landmarks"] = filing.hash_landmarks(place.landmarks) if place else None
            yield from name_odd(field, _compare_hashed(field, micrograph, filed, by))
            yield from name_odd(
                field, self._compare_field(field, micrograph.public_id, filed, now, by)
            )
        yield from self._compare_currents()
        yield from name_odd("specimens", self._compare_specimens())
        yield from name_odd("preparations", self._compare_preparations())
        yield from self._name_without_field()
        yield from self._compare_files()

    def _hash_needles(self) -> dict[int, str]:
        """Return result number → hash of the needles measured with it."""
        rows = self._session.exec(select(NeedleFieldRow).execution_options(yield_per=200))
        return {row.result_id: filing.digest(row)[0] for row in rows}

    def _note(self, result: ResultRow) -> None:
        number = result.id or 0
        if result.role == LIVE:
            self._live[result.micrograph_id].append(number)
        if result.current:
            self._current[result.micrograph_id] = number

    def _describe(self, row: MicrographRow) -> dict[str, Any]:
        specimen = self._rows.get_names("specimen").get(row.specimen_id or 0)
        preparation = self._rows.get_names("preparation").get(row.preparation_id or 0, "")
        place = format_place(specimen and (*specimen, preparation))
        return {"place": place} | {name: getattr(row, name) for name in (*CHANGEABLE, "unassigned")}

    # --- one result and its field ---

    def _compare_result(
        self, what: str, result: ResultRow, filed: Mapping[str, Any]
    ) -> Iterator[str]:
        by = f"as result {result.id} was filed"
        if place := filed.get("place"):
            order, specimen, preparation = place
            self._preparations.add((order, specimen, preparation))
            for name, value in (filed.get("judged") or {}).items():
                self._specimens[order, specimen].setdefault(name, (value, by))
        yield from _compare_hashed(what, result, filed, by)
        if any(reason not in result.reasons for reason in filed["reasons"]):
            stated: Stated = {"reasons": (filed["reasons"], by)}
            yield from compare(what, stated, {"reasons": result.reasons})
        if filed["handling"] == REVIEW:
            yield from compare(what, {"handling": (REVIEW, by)}, {"handling": result.handling})
        needles = {"sha256 of needle_field": self._needles.get(result.id or 0)}
        yield from compare(what, dict.fromkeys(needles, (filed.get("needles"), by)), needles)

    def _compare_field(
        self, what: str, public_id: str, filed: Mapping[str, Any], now: Mapping[str, Any], by: str
    ) -> Iterator[str]:
        """Compare what acts may change of a field, where none did."""
        names = filed.get("names") or {}
        was = {name: names.get(name, "") for name in CHANGEABLE}
        was |= {"source": filed.get("source"), "place": format_place(filed.get("place"))}
        was["unassigned"] = filed.get("unassigned", "")
        if "landmarks" in filed:
            was["sha256 of landmarks"] = filed["landmarks"]
        moved = fold("micrograph", self._acts.list_acts("micrograph", {"public_id": public_id}))
        stated = {name: (value, by) for name, value in was.items() if name not in moved}
        yield from compare(what, stated, now)

    # --- what all results together are compared with ---

    def _compare_currents(self) -> Iterator[str]:
        for micrograph, live in self._live.items():
            for before, number in pairwise(live):
                if not self._acts.list_acts("result", {"result": number, "before": before}):
                    yield (
                        f"result {number}: it took the place of result {before}, and no act says so"
                    )
            counts = self._current.get(micrograph)
            if counts != live[-1]:
                yield (
                    f"result {live[-1]}: it is the newest of its field and does not count; "
                    f"{'result ' + str(counts) if counts else 'none'} does, and no act says so"
                )

    def _compare_specimens(self) -> Iterator[str]:
        names = self._rows.get_names("specimen")
        for row in self._session.exec(select(SpecimenRow).order_by(col(SpecimenRow.id))):
            order, specimen = names[row.id or 0]
            stated = self._specimens.get((order, specimen), {})
            now = {name: getattr(row, name) for name in stated}
            yield from compare(f"specimen {specimen} of order {order}", stated, now)

    def _compare_preparations(self) -> Iterator[str]:
        begun = set(self._preparations)
        for _, entry in self._acts.iter_all("micrograph"):
            if entry.act == "field.assigned" and (place := entry.facts[filing.AFTER].get("place")):
                begun.add(tuple(place))
        for _, entry in self._acts.iter_all("preparation"):
            order, _, specimen = entry.subject.rpartition("/")
            begun.add((order, specimen, str(entry.facts.get("preparation") or "")))
        names = self._rows.get_names("specimen")
        for row in self._session.exec(select(PreparationRow).order_by(col(PreparationRow.id))):
            order, specimen = names[row.specimen_id]
            if (order, specimen, row.name) not in begun:
                yield (
                    f"preparation {row.name} of order {order}, specimen {specimen}: no field was "
                    "filed in it and no act began it"
                )

    def _name_without_field(self) -> Iterator[str]:
        """Yield the files that were read and have no field, and the fields without a result."""
        has = select(MicrographRow.id).where(col(MicrographRow.content_id) == col(ContentRow.id))
        read = select(ContentRow.id, ContentRow.sha256).where(ContentRow.state == State.DONE)
        for number, sha256 in self._session.exec(read.where(~has.exists())):
            yield f"file {number} ({sha256}): it was read, and its fields were deleted"
        judged = select(ResultRow.id).where(col(ResultRow.micrograph_id) == col(MicrographRow.id))
        fields = select(MicrographRow.public_id).where(~judged.exists())
        for public_id in self._session.exec(fields):
            yield f"field {public_id}: its result was deleted"

    def _compare_files(self) -> Iterator[str]:
        """Yield the files of no known state, and those that could not be used and have no name."""
        states = select(ContentRow.id, ContentRow.state).order_by(col(ContentRow.id))
        for number, state in self._session.exec(states.where(col(ContentRow.state).not_in(State))):
            yield f"file {number}: state is {state!r}, which this program never wrote"
        named = select(PathRow.id).where(col(PathRow.content_id) == col(ContentRow.id))
        unusable = states.where(col(ContentRow.state).in_((State.SET_ASIDE, State.FAILED)))
        for number, state in self._session.exec(unusable.where(~named.exists())):
            yield f"file {number}: it is {state}, and no name of it is known any more"


def _compare_hashed(
    what: str, row: MicrographRow | ResultRow, filed: Mapping[str, Any], by: str
) -> Iterator[str]:
    """Yield a sentence per filed column of a row that is not what it was: its hash is known."""
    table = row.__tablename__
    if filing.digest(row)[0] == filed.get(table):
        return
    hints = str(filed.get("hints"))
    if table == "result":
        hints = hints[len(EVIDENCE["micrograph"].filed) * filing.HINT :]
    for name in filing.find_changed(row, hints) or ("a value",):
        now = show(getattr(row, name, None))
        yield f"{what}: {name} was changed after it was filed ({by}), is {now}"
