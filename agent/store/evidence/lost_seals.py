"""Compare files that could not be used with the audit log: each keeps its order open.

Such a file may be read again, be exported again or vanish; its record is never removed.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from sqlmodel import col, select

from agent.store.evidence import audit_log
from agent.store.tables import ContentRow, PathRow, SourceRow
from agent.store.work.file_states import OVERWRITTEN, VANISHED, State

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from datetime import datetime

    from sqlmodel import Session

    from agent.store.evidence.audit_log import TrailEntry

SEALED = "files.set_aside"
"""Act of the audit log: files could not be used; their numbers, sources and names."""
MOST = 500
"""Files that one act names."""


def seal(session: Session, site_id: int, *, at: datetime) -> int:
    """Append the files that were set aside since the last time; return how many those are.

    Args:
        session: Open for writing, the audit log locked.
        site_id: Of the site.
        at: Now.
    """
    known = {
        number for entry in audit_log.entries(session, act=SEALED) for number, *_ in _files(entry)
    }
    wanted = (
        select(ContentRow.id, SourceRow.name, PathRow.relative)
        .join(PathRow, col(PathRow.content_id) == col(ContentRow.id))
        .join(SourceRow, col(SourceRow.id) == col(PathRow.source_id))
        .where(ContentRow.site_id == site_id, ContentRow.state == State.SET_ASIDE)
        .order_by(col(ContentRow.id), col(PathRow.id))
    )
    files = [
        [number, source, relative]
        for number, source, relative in session.exec(wanted)
        if number not in known
    ][:MOST]
    if files:
        facts = {"files": files}
        audit_log.append(session, site_id, at=at, actor="agent", act=SEALED, facts=facts)
    return len(files)


def _files(entry: TrailEntry) -> list[tuple[int, str, str]]:
    try:
        return [
            (int(number), str(source), str(relative))
            for number, source, relative in entry.facts["files"]
        ]
    except (KeyError, TypeError, ValueError):
        return []


def find_differences(session: Session) -> Iterator[str]:
    """Yield a sentence for each file that could not be used and is now missing from its table."""
    sealed = {
        file: entry for entry in audit_log.entries(session, act=SEALED) for file in _files(entry)
    }
    names = _load_names(session, {(source, relative) for _, source, relative in sealed})
    for (number, source, relative), entry in sealed.items():
        row = session.get(ContentRow, number)
        if fault := _find_fault(session, row, number, names[source, relative]):
            yield (
                f"file {number} ({relative} of {source}): it could not be used (trail number "
                f"{entry.id}), and {fault}"
            )


def _load_names(
    session: Session, wanted: Collection[tuple[str, str]]
) -> dict[tuple[str, str], set[int]]:
    """Return (source, relative) → numbers of the contents that ever had this name."""
    names: dict[tuple[str, str], set[int]] = defaultdict(set)
    if not wanted:
        return names
    paths = select(SourceRow.name, PathRow.relative, PathRow.content_id).join(
        SourceRow, col(SourceRow.id) == col(PathRow.source_id)
    )
    for source, relative, number in session.exec(paths.execution_options(yield_per=500)):
        if (source, relative) in wanted:
            names[source, relative].add(number)
    return names


def _find_fault(
    session: Session, row: ContentRow | None, number: int, same_name: Collection[int]
) -> str:
    if not same_name or (row is not None and number not in same_name):
        return "no file of that name is known any more"
    if row is None:
        return ""  # another spelling of a known file, which has its names now
    if row.state == State.IGNORED and row.code != VANISHED:
        is_replaced = row.code == OVERWRITTEN and len(same_name) > 1
        return "" if is_replaced else "it is ignored now, though no one dismissed it"
    if row.state == State.DUPLICATE:
        known = session.get(ContentRow, row.duplicate_of) if row.duplicate_of else None
        if known is None or known.sha256 not in (row.sha256, None):
            return "it counts as a copy of another file, and is none"
    return ""
