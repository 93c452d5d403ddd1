"""Compare frozen documents, statements and nights, with the rows that they name.

They name results and places of fields, which no act had to explain when they were frozen.
"""

from __future__ import annotations

import json
from collections import defaultdict
from functools import cached_property
from typing import TYPE_CHECKING, Any

import sqlalchemy
from sqlmodel import col, select

from agent.store.evidence.acts import ODD, compare
from agent.store.evidence.declaration import format_place
from agent.store.results import given_scales
from agent.store.tables import MicrographRow, OrderRow, ResultRow, StatementRow
from agent.store.work.file_states import chunks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlmodel import Session

    from agent.store.evidence.acts import ActIndex, RowReader

REPORTED = ("bundle", "structure_code", "probability", "um_per_px")
"""Columns of a result and its micrograph that are compared with a night's report."""
MOVING = frozenset({"field.assigned", "field.unassigned"})


class DocumentChecks:
    """Comparison of the documents of statements and nights with the rows that they name.

    Args:
        session: Open.
        rows: Of the session.
        acts: Of fields at least.
    """

    def __init__(self, session: Session, rows: RowReader, acts: ActIndex) -> None:
        self._session, self._rows, self._acts = session, rows, acts
        self._misplaced: set[str] = set()

    # --- statements ---

    def compare_statement(self, what: str, row: Mapping[str, Any]) -> Iterator[str]:
        """Yield a sentence per value that a statement's text and its row, or a field, differ in."""
        document = json.loads(row["document"])
        stated = {name: (document.get(name), "its text") for name in ("number", "conformity", "at")}
        stated["order_id"] = document.get("order"), "its text"
        yield from compare(what, stated, {**row, "at": row["at"].isoformat()})
        for public_id, *was in _list_places(document.get("document")):
            now = self._places.get(public_id)
            if now is None or public_id in self._misplaced or self._was_moved(public_id):
                continue
            if was != list(now[: len(was)]):
                self._misplaced.add(public_id)
                stated = {"place": (format_place(was), what)}
                is_now = {"place": format_place([*filter(None, now)])}
                yield from compare(f"field {public_id}", stated, is_now)

    def compare_sequence(self) -> Iterator[str]:
        """Yield a sentence per statement that does not follow the one before it."""
        wanted = (
            select(OrderRow.number, StatementRow.number, StatementRow.sha256)
            .add_columns(col(StatementRow.previous_sha256))
            .join(OrderRow, col(OrderRow.id) == col(StatementRow.order_id))
            .order_by(col(StatementRow.order_id), col(StatementRow.number))
        )
        newest: dict[str, str] = {}
        for order, number, sha256, previous in self._session.execute(wanted):
            what = f"statement {number} of order {order}"
            stated = {"previous_sha256": (newest.get(order, ""), "the statement before it")}
            yield from compare(what, stated, {"previous_sha256": previous})
            newest[order] = sha256

    @cached_property
    def _places(self) -> dict[str, tuple[str, str, str]]:
        """Id of a field → its order, specimen and preparation, "" where it has none."""
        specimens, preparations = map(self._rows.get_names, ("specimen", "preparation"))
        wanted = select(
            MicrographRow.public_id, MicrographRow.specimen_id, MicrographRow.preparation_id
        )
        return {
            public_id: (
                *specimens.get(specimen or 0, ("", "")),
                preparations.get(prepared or 0, ""),
            )
            for public_id, specimen, prepared in self._session.exec(wanted)
        }

    def _was_moved(self, public_id: str) -> bool:
        acts = self._acts.list_acts("micrograph", {"public_id": public_id})
        return any(entry.act in MOVING for _, entry in acts)

    # --- nights ---

    def compare_night(self, what: str, row: Mapping[str, Any]) -> Iterator[str]:
        """Yield a sentence for each result that a night's report names and no row contains."""
        try:
            named = json.loads(row["facts"]).get("micrographs", ())
            by_id = {str(micrograph["id"]): micrograph for micrograph in named}
        except ODD:
            return
        for batch in chunks(sorted(by_id)):
            known = self._load_results(batch)
            for public_id in batch:
                reported = by_id[public_id]
                stated = reported | (reported.get("result") or {})  # nested in its field
                was = tuple(stated.get(name) for name in REPORTED)
                rows = known.get(public_id, set())
                if was not in rows:
                    now = " or ".join(map(str, sorted(rows, key=str))) or "nothing"
                    yield f"result of {public_id}: was {was} ({what}), is {now}"

    def _load_results(self, public_ids: Sequence[str]) -> dict[str, set[tuple[Any, ...]]]:
        wanted = (
            sqlalchemy.select(
                col(MicrographRow.public_id),
                col(ResultRow.bundle),
                col(ResultRow.structure_code),
                col(ResultRow.probability),
                col(MicrographRow.um_per_px),
                col(ResultRow.thresholds),
            )
            .join(ResultRow, col(ResultRow.micrograph_id) == col(MicrographRow.id))
            .where(col(MicrographRow.public_id).in_(public_ids))
        )
        results: dict[str, set[tuple[Any, ...]]] = defaultdict(set)
        for public_id, *values, um_per_px, thresholds in self._session.execute(wanted):
            scale = given_scales.resolve_scale(thresholds, um_per_px)
            results[public_id].add((*values, scale))
        return results


def _list_places(document: Any) -> Iterator[tuple[str, ...]]:
    """Yield id, order, specimen and, where it is stated, preparation of each field."""
    for specimen in (document or {}).get("specimens", ()):
        at = (str(document.get("order") or ""), str(specimen.get("specimen") or ""))
        prepared = str(specimen.get("preparation") or "")
        for listed in specimen.get("fields", ()) if all(at) else ():
            yield str(listed["id"]), *at, *filter(None, [prepared])
        for listed in specimen.get("superseded", ()) if all(at) else ():
            yield str(listed["id"]), *at
