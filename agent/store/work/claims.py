"""Claims: contents that are due, oldest first, each with the lease of one worker."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from sqlmodel import col, select

from agent.errors import FileCode
from agent.store.tables import ContentRow, PathRow, SourceRow
from agent.store.work.file_states import (
    AT_ONCE,
    DEATHS_AT_ONCE,
    MAX_DEATHS,
    OVERWRITTEN,
    RETRY_AFTER,
    SUSPECT_AFTER,
    Claim,
    Lane,
    State,
    rest,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sqlmodel import Session

    from agent.store.repository import AgentIdentity


OVERWRITTEN_SENTENCE = (
    "copied on, or written again, before it was read; the newer version is taken instead"
)


def claim_due(
    session: Session,
    whose: AgentIdentity,
    n: int,
    *,
    at: datetime,
    lease_s: float,
    only: Sequence[str] | None = None,
    has_others: bool = False,
) -> list[Claim]:
    """Claim up to `n` due contents for this worker; each attempt is counted.

    A content whose lease expired is taken over. One that has cost several leases is claimed alone:
    if it crashes the agent, no other file is affected. It waits while the worker `has_others`.
    """
    taken: list[Claim] = []
    while len(taken) < n:
        rows = list_due(session, whose, n - len(taken), at=at, only=only)
        if not rows:
            break
        places = load_paths(session, [content.id or 0 for content, _ in rows])
        for content, source in rows:
            if content.interrupted >= SUSPECT_AFTER and (taken or has_others):
                return taken
            made = _claim(content, source, places, whose, at=at, lease_s=lease_s)
            session.add(content)
            if made:
                taken.append(made)
            if made and content.interrupted >= SUSPECT_AFTER:
                return taken
        session.flush()
    return taken


def list_due(
    session: Session, whose: AgentIdentity, n: int, *, at: datetime, only: Sequence[str] | None
) -> list[tuple[ContentRow, SourceRow]]:
    """Return contents that are due with their sources, oldest first within a lane."""
    query = (
        select(ContentRow, SourceRow)
        .join(SourceRow, col(SourceRow.id) == col(ContentRow.source_id))
        .where(
            ContentRow.site_id == whose.site_id,
            col(ContentRow.due_at).is_not(None),
            col(ContentRow.due_at) <= at,
        )
        .with_for_update(skip_locked=True, of=ContentRow)
    )
    if only is not None:
        query = query.where(col(SourceRow.name).in_(only))
    oldest = query.order_by(col(ContentRow.lane), col(ContentRow.due_at), col(ContentRow.id))
    rows = [(content, source) for content, source in session.exec(oldest.limit(n))]
    backlog = sum(content.lane == Lane.BACKLOG for content, _ in rows)
    if backlog > 1:
        rows = _mix_newest(session, rows, query, backlog // 2)
    for content, _ in rows:
        if content.state == State.PROCESSING:  # its lease expired: the worker is gone
            requeue_interrupted(content, at=at)
    return rows


def _mix_newest(
    session: Session, rows: list[tuple[ContentRow, SourceRow]], asked: Any, count: int
) -> list[tuple[ContentRow, SourceRow]]:
    """Replace some of the backlog's oldest files with its newest.

    The newest may be a fresh file that was listed among thousands, and a reviewer waits for it.
    """
    newest = (
        asked.where(ContentRow.lane == int(Lane.BACKLOG))
        .order_by(col(ContentRow.due_at).desc(), col(ContentRow.id).desc())
        .limit(count)
    )
    extra = [(content, source) for content, source in session.exec(newest)]
    kept = rows[: len(rows) - len(extra)]
    return kept + [pair for pair in extra if all(pair[0] is not row[0] for row in kept)]


def requeue_interrupted(content: ContentRow, *, at: datetime) -> None:
    """Queue a content again whose worker died: now, later or never."""
    content.interrupted += 1
    beyond = content.interrupted - DEATHS_AT_ONCE
    sentence = f"it was in hand each of the {content.interrupted} times the agent died"
    if beyond < 0:
        content.state, content.due_at = State.QUEUED, AT_ONCE
    elif content.interrupted >= MAX_DEATHS:
        rest(content, State.SET_ASIDE, FileCode.CRASHED, sentence, at=at)
    else:
        rest(content, State.FAILED, FileCode.CRASHED, sentence)
        content.due_at = at + RETRY_AFTER[min(beyond, len(RETRY_AFTER) - 1)]


def load_paths(session: Session, content_ids: Sequence[int]) -> dict[int, PathRow]:
    """Return content → its current path."""
    query = (
        select(PathRow)
        .where(
            col(PathRow.content_id).in_(content_ids),
            col(PathRow.replaced_at).is_(None),
        )
        .order_by(col(PathRow.gone_at).is_(None), col(PathRow.id).desc())
    )
    return {path.content_id: path for path in session.exec(query)}  # the last one is current


def _claim(
    content: ContentRow,
    source: SourceRow,
    places: Mapping[int, PathRow],
    whose: AgentIdentity,
    *,
    at: datetime,
    lease_s: float,
) -> Claim | None:
    path = places.get(content.id or 0)
    if path is None:
        rest(content, State.IGNORED, OVERWRITTEN, OVERWRITTEN_SENTENCE)
        return None
    if content.due_at is None or content.due_at > at:
        return None  # not due after all: its workers died too often
    content.state, content.agent_id = State.PROCESSING, whose.agent_id
    content.attempts += 1
    content.claims += 1
    content.due_at = at + timedelta(seconds=lease_s)
    return Claim(
        content_id=content.id or 0,
        token=content.claims,
        source=source.name,
        folder=Path(source.folder),
        relative=path.relative,
        size_bytes=path.size_bytes,
        mtime_ns=path.mtime_ns,
        ctime_ns=path.ctime_ns,
        attempts=content.attempts,
        origin=content.origin,
        lane=Lane(content.lane).name.lower(),
        process_data=MappingProxyType(dict(content.process_data)),
        noted=MappingProxyType(dict(content.noted)),
    )


def find_claimed(session: Session, claim: Claim) -> ContentRow | None:
    """Return the claimed content if the claim is still valid; None if another worker has it."""
    query = select(ContentRow).where(ContentRow.id == claim.content_id).with_for_update()
    content = session.exec(query).first()
    if content is None or content.state != State.PROCESSING or content.claims != claim.token:
        return None
    return content
