"""Compare every row of evidence with the acts that explain it; name row, column, was and is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlmodel import col, select

from agent.store.evidence import audit_log, seals
from agent.store.evidence.acts import (
    ActIndex,
    RowReader,
    compare,
    fold,
    get_author,
    name_odd,
)
from agent.store.evidence.declaration import EVIDENCE
from agent.store.evidence.document_checks import DocumentChecks
from agent.store.evidence.filing_checks import FilingChecks
from agent.store.people.label_resolution import FOR_ORDERS, IMPORTED, signed_by_program
from agent.store.sites import settings_history
from agent.store.tables import SiteRow, SourceRow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from sqlmodel import Session

    from agent.store.evidence.audit_log import TrailEntry

    Further = Callable[[str, Mapping[str, Any]], Iterator[str]]
    """Comparison of a row that is as its acts state it, which a table alone needs."""


@dataclass(frozen=True, slots=True)
class RowChecks:
    """Result of the comparison with the audit log.

    Args:
        faults: One sentence per value that differs.
        notes: What the audit log does not cover, a sentence each.
    """

    faults: tuple[str, ...]
    notes: tuple[str, ...]


def examine(session: Session) -> RowChecks:
    """Compare every row of evidence of a site with the audit log."""
    rows, acts = RowReader(session), ActIndex(session, EVIDENCE)
    faults = [*acts.odd]
    for table, evidence in EVIDENCE.items():
        if evidence.is_explained:
            faults += name_odd(table, _compare_table(session, rows, acts, table))
    faults += name_odd("label", _name_strangers(acts))
    faults += name_odd("source", _name_moved_sources(session))
    faults += name_odd("result", FilingChecks(session, rows, acts).find_differences())
    faults += name_odd("seals", seals.find_differences(session))
    return RowChecks(tuple(faults), tuple(audit_log.clock_notes(session)))


def _name_moved_sources(session: Session) -> Iterator[str]:
    """Yield the sources of `agent.toml` whose folder no settings ever named."""
    folders: dict[tuple[str, str], list[str]] = {}
    for entry in audit_log.entries(session, act=settings_history.ACT):
        for source in entry.facts.get(settings_history.IN_FORCE, {}).get("sources") or ():
            folders.setdefault((entry.site, source["name"]), []).append(source["folder"])
    query = select(SiteRow.name, SourceRow.name, SourceRow.folder).join(
        SiteRow, col(SiteRow.id) == col(SourceRow.site_id)
    )
    for site, name, folder in session.exec(query.order_by(col(SourceRow.id))):
        named = folders.get((site, name), [])
        if named and folder not in named:
            yield f"source {name}: its folder was {named[-1]!r}, is {folder!r}"


def find_differences(session: Session, tables: Sequence[str]) -> Iterator[str]:
    """Yield a sentence for each value of a row of these tables that no act explains."""
    rows, acts = RowReader(session), ActIndex(session, (*tables, "micrograph"))
    for table in tables:
        yield from name_odd(table, _compare_table(session, rows, acts, table))


def _compare_table(session: Session, rows: RowReader, acts: ActIndex, table: str) -> Iterator[str]:
    """Compare each row with its acts, then name the rows that acts have and the table lacks."""
    evidence = EVIDENCE[table]
    documents = DocumentChecks(session, rows, acts)
    further: Further | None = {
        "night": documents.compare_night,
        "statement": documents.compare_statement,
        "order_claim": lambda what, row: _compare_settled(acts, what, row),
    }.get(table)
    for values in rows.iter_rows(evidence):
        what = evidence.call(values)
        yield from name_odd(what, _compare_row(table, what, values, acts, further))
    for values, entry in acts.iter_without_row(table):
        what = evidence.call(values)
        yield f"{what} ({entry.act} by {entry.actor}, trail number {entry.id}) was deleted"
    if table == "statement":
        yield from documents.compare_sequence()


def _compare_row(
    table: str,
    what: str,
    values: Mapping[str, Any],
    acts: ActIndex,
    further: Further | None,
) -> Iterator[str]:
    of_row = acts.list_acts(table, values)
    declared = EVIDENCE[table].acts
    if any(act.before is None for act in declared) and all(
        act.before is not None for act, _ in of_row
    ):
        author = get_author(declared, values)
        yield f"{what}: {f'by {author} ' if author else ''}is not in the trail"
        return
    differences = list(compare(what, fold(table, of_row), values))
    yield from differences
    if further and not differences:
        yield from further(what, values)


# --- what one table alone needs -------------------------------------------------------------------


def _compare_settled(acts: ActIndex, what: str, row: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for a claim that no act of a lead settled."""
    settled = any(
        entry.facts.get("lead")
        and (entry.actor, entry.at) == (row["settled_by"], row["settled_at"])
        for entry in _list_assigned(acts, row["micrograph_id"])
    )
    if row["settled_by"] and not settled:
        yield f"{what}: settled_by was '' (no act), is {row['settled_by']!r}"


def _list_assigned(acts: ActIndex, public_id: str) -> list[TrailEntry]:
    of_field = acts.list_acts("micrograph", {"public_id": public_id})
    return [entry for _, entry in of_field if entry.act == "field.assigned"]


def _name_strangers(acts: ActIndex) -> Iterator[str]:
    """Yield a sentence for each label of somebody that the lab does not know.

    Since its first account a lab takes labels from accounts alone.
    """
    first = min((entry.id for _, entry in acts.iter_all("account")), default=0)
    for _, entry in acts.iter_all("label"):
        if entry.act == "label.given" and 0 < first < entry.id:
            what = f"label {entry.facts['label']} of {entry.subject}"
            yield from name_odd(what, _name_stranger(what, entry))


def _name_stranger(what: str, entry: TrailEntry) -> Iterator[str]:
    if stranger := _find_stranger(entry):
        yield f"{what}: {stranger} (trail number {entry.id})"


def _find_stranger(entry: TrailEntry) -> str:
    signed = entry.facts.get(audit_log.SIGNED) or {}
    account = signed.get("account", "")
    if not account:
        return f"{entry.actor} gave it, and no account signed it though the lab has accounts"
    names = {account, signed_by_program(account, account), signed_by_program("", account)}
    is_named = any(entry.actor.endswith(name) for name in names)
    if is_named or entry.facts.get("origin") in {IMPORTED, FOR_ORDERS}:
        return ""
    return f"{entry.actor} gave it, and {account} signed it"
