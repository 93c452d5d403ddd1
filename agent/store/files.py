"""Discovered files: record listings, so that no file is forgotten and none is recorded twice.

New bytes under a name that was not read yet are the same version, still growing; under a name that
was read they are a new version, linked to the one before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import insert, update
from sqlmodel import col, select

from agent.store import sources
from agent.store.deduplication import hand_over
from agent.store.file_states import AT_ONCE, UNREAD, VANISHED, Lane, State, chunks
from agent.store.tables import ContentRow, PathRow, SourceRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from sqlmodel import Session

    from agent.store.sources import Whose
    from agent.watch import ListedFile


def known(session: Session, whose: Whose, source: str) -> dict[str, tuple[int, int, int]]:
    """Return the recorded files of a source, for one set difference with a listing.

    Returns:
        Relative path → (size_bytes, mtime_ns, ctime_ns), without settling files: after a restart
        they have to become stable again.
    """
    query = (
        select(PathRow.relative, PathRow.size_bytes, PathRow.mtime_ns, PathRow.ctime_ns)
        .join(SourceRow, col(SourceRow.id) == col(PathRow.source_id))
        .join(ContentRow, col(ContentRow.id) == col(PathRow.content_id))
        .where(
            SourceRow.site_id == whose.site_id,
            SourceRow.name == source,
            col(PathRow.replaced_at).is_(None),
            col(PathRow.gone_at).is_(None),
            ContentRow.state != State.SETTLING,
        )
    )
    return {relative: (size, mtime, ctime) for relative, size, mtime, ctime in session.exec(query)}


@dataclass(frozen=True, slots=True)
class Intake:
    """Values common to all files of one call."""

    state: State
    lane: Lane
    origin: str
    at: datetime
    process_data: Mapping[str, Mapping[str, str]]
    code: str | None = None
    reason: str | None = None


def take_in(session: Session, whose: Whose, arrivals: Iterable[ListedFile], intake: Intake) -> int:
    """Record listed files; a file that is already recorded changes nothing.

    Returns:
        The number of new files.
    """
    by_source: dict[tuple[str, str], list[ListedFile]] = {}
    for arrival in arrivals:
        by_source.setdefault((arrival.source, str(arrival.folder)), []).append(arrival)
    count = 0
    for (name, folder), files in by_source.items():
        source_id = sources.source_id(session, whose, name, folder)
        latest = list({file.relative: file for file in files}.values())
        for batch in chunks(latest):
            count += _take_in(session, whose, source_id, batch, intake)
    return count


def _take_in(
    session: Session, whose: Whose, source_id: int, arrivals: Sequence[ListedFile], intake: Intake
) -> int:
    query = (
        select(PathRow, ContentRow)
        .join(ContentRow, col(ContentRow.id) == col(PathRow.content_id))
        .where(
            PathRow.source_id == source_id,
            col(PathRow.replaced_at).is_(None),
            col(PathRow.relative).in_([arrival.relative for arrival in arrivals]),
        )
        .with_for_update(of=ContentRow)
    )
    met = {path.relative: (path, content) for path, content in session.exec(query)}
    news = [arrival for arrival in arrivals if arrival.relative not in met]
    _insert(session, whose, source_id, [(arrival, None) for arrival in news], intake)
    changed = [
        _update(session, whose, met[arrival.relative], arrival, intake)
        for arrival in arrivals
        if arrival.relative in met
    ]
    return len(news) + sum(changed)


def _insert(
    session: Session,
    whose: Whose,
    source_id: int,
    arrivals: Sequence[tuple[ListedFile, int | None]],
    intake: Intake,
) -> None:
    if not arrivals:
        return
    contents = [
        {
            "site_id": whose.site_id,
            "source_id": source_id,
            "size_bytes": arrival.size_bytes,
            "state": intake.state,
            "lane": intake.lane,
            "origin": intake.origin,
            "code": intake.code,
            "reason": intake.reason,
            "attempts": 0,
            "claims": 0,
            "interrupted": 0,
            "due_at": AT_ONCE if intake.state == State.QUEUED else None,
            "first_seen_at": intake.at,
            "previous_id": previous,
            "process_data": dict(intake.process_data.get(arrival.relative, {})),
        }
        for arrival, previous in arrivals
    ]
    ids = session.scalars(
        insert(ContentRow).returning(col(ContentRow.id), sort_by_parameter_order=True), contents
    ).all()
    session.execute(
        insert(PathRow),
        [
            {"content_id": content_id, "source_id": source_id, **_facts(arrival, intake.at)}
            for content_id, (arrival, _) in zip(ids, arrivals, strict=True)
        ],
    )


def _facts(arrival: ListedFile, at: datetime) -> dict[str, object]:
    return {
        "relative": arrival.relative,
        "size_bytes": arrival.size_bytes,
        "mtime_ns": arrival.mtime_ns,
        "ctime_ns": arrival.ctime_ns,
        "seen_at": at,
    }


def _update(
    session: Session,
    whose: Whose,
    met: tuple[PathRow, ContentRow],
    arrival: ListedFile,
    intake: Intake,
) -> bool:
    path, content = met
    came_back = path.gone_at is not None
    path.gone_at = None
    session.add(path)
    if _is_unchanged(path, arrival):
        return _update_unchanged(session, content, came_back=came_back, intake=intake)
    if content.state in UNREAD or content.code == VANISHED:
        hand_over(session, content)
        _replace_bytes(session, path, content, arrival, intake)
    else:
        path.replaced_at = intake.at
        session.flush()
        _insert(session, whose, path.source_id, [(arrival, content.id)], intake)
    return True


def _is_unchanged(path: PathRow, arrival: ListedFile) -> bool:
    return (path.size_bytes, path.mtime_ns, path.ctime_ns) == (
        arrival.size_bytes,
        arrival.mtime_ns,
        arrival.ctime_ns,
    )


def _update_unchanged(
    session: Session, content: ContentRow, *, came_back: bool, intake: Intake
) -> bool:
    rested = content.state == State.SETTLING and intake.state == State.QUEUED
    returned = came_back and content.code == VANISHED
    if not (rested or returned):
        return False
    _enter(content, intake)
    session.add(content)
    return True


def _replace_bytes(
    session: Session, path: PathRow, content: ContentRow, arrival: ListedFile, intake: Intake
) -> None:
    path.size_bytes, path.mtime_ns, path.ctime_ns = (
        arrival.size_bytes,
        arrival.mtime_ns,
        arrival.ctime_ns,
    )
    path.seen_at = intake.at
    content.size_bytes, content.sha256 = arrival.size_bytes, None
    _enter(content, intake)
    session.add_all([path, content])


def _enter(content: ContentRow, intake: Intake) -> None:
    content.state, content.lane = intake.state, intake.lane
    content.code, content.reason = intake.code, intake.reason
    content.attempts = content.interrupted = 0
    content.due_at = AT_ONCE if intake.state == State.QUEUED else None
    content.done_at = None


def gone(
    session: Session, whose: Whose, source: str, relatives: Iterable[str], *, at: datetime
) -> None:
    """Record that files are no longer listed; nothing of theirs is deleted."""
    query = select(SourceRow.id).where(SourceRow.site_id == whose.site_id, SourceRow.name == source)
    source_id = session.exec(query).first()
    for batch in chunks(list(relatives)):
        session.execute(
            update(PathRow)
            .where(
                col(PathRow.source_id) == source_id,
                col(PathRow.relative).in_(batch),
                col(PathRow.replaced_at).is_(None),
                col(PathRow.gone_at).is_(None),
            )
            .values(gone_at=at)
        )
        still_settling = select(PathRow.content_id).where(
            PathRow.source_id == source_id,
            col(PathRow.relative).in_(batch),
            col(PathRow.replaced_at).is_(None),
        )
        session.execute(
            update(ContentRow)
            .where(col(ContentRow.id).in_(still_settling), col(ContentRow.state) == State.SETTLING)
            .values(
                state=State.IGNORED,
                code=VANISHED,
                reason="deleted before it came to rest",
                done_at=at,
            )
        )


def settling(session: Session, whose: Whose, source: str) -> set[str]:
    """Return the relative paths of files that were last listed while still being written."""
    query = (
        select(PathRow.relative)
        .join(ContentRow, col(ContentRow.id) == col(PathRow.content_id))
        .join(SourceRow, col(SourceRow.id) == col(PathRow.source_id))
        .where(
            SourceRow.site_id == whose.site_id,
            SourceRow.name == source,
            ContentRow.state == State.SETTLING,
            col(PathRow.replaced_at).is_(None),
        )
    )
    return set(session.exec(query))
