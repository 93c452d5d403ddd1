"""Status of files, and retries of files that an operator names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Select, column, false, func, or_, table, true
from sqlmodel import Session, col, select

from agent.store.engine import AgentIdentity
from agent.store.orders.unread_names import NamedOrder, find_listed_again, find_renamed, may_name
from agent.store.sites.sites import list_readings
from agent.store.tables import ContentRow, PathRow, SiteRow, SourceRow
from agent.store.work.file_states import (
    AT_ONCE,
    CHUNK,
    UNREAD,
    VANISHED,
    FileFate,
    State,
    chunks,
    rest,
)

RETRIABLE = (State.FAILED, State.SET_ASIDE, State.IGNORED)
UNUSED = (State.SET_ASIDE, State.IGNORED)
"""States of a content whose picture no one saw."""
UNSEEN = (*UNREAD, State.PROCESSING, *UNUSED)
"""States of a content whose picture no one saw, or not yet."""


def retry(session: Session, whose: AgentIdentity, which: Sequence[str] | None) -> int:
    """Queue again what failed or was set aside, from the first attempt on.

    Args:
        session: Open for writing.
        whose: The site.
        which: Paths (whole or below the source), hashes or their beginnings of 8 and more
            digits, or numbers; None means every failed or set-aside content.

    Returns:
        How many contents are queued again.
    """
    query = (
        select(ContentRow)
        .join(SourceRow, col(SourceRow.id) == col(ContentRow.source_id))
        .where(ContentRow.site_id == whose.site_id)
    )
    if which is None:
        query = query.where(col(ContentRow.state).in_([State.FAILED, State.SET_ASIDE]))
    else:
        query = query.where(
            col(ContentRow.state).in_(RETRIABLE), or_(false(), *map(_matches, which))
        )
    rows = session.exec(query).all()
    for content in rows:
        rest(content, State.QUEUED, content.code if content.state == State.SET_ASIDE else None)
        content.attempts = content.interrupted = 0
        content.due_at = AT_ONCE
        session.add(content)
    return len(rows)


SHORTEST_HASH = 8


def named(path: str) -> Select[Any]:
    """Select the numbers of all contents that ever had a path, whole or below their source."""
    return (
        select(PathRow.content_id)
        .join(SourceRow, col(SourceRow.id) == col(PathRow.source_id))
        .where(
            or_(
                col(PathRow.relative) == path,
                func.replace(col(SourceRow.folder), "\\", "/") + "/" + col(PathRow.relative)
                == path.replace("\\", "/"),
            )
        )
    )


def _matches(name: str) -> ColumnElement[bool]:
    ways: list[ColumnElement[bool]] = [col(ContentRow.id).in_(named(name))]
    if len(name) >= SHORTEST_HASH and set(name) <= set("0123456789abcdef"):
        ways.append(col(ContentRow.sha256).startswith(name))
    if name.isdecimal() and len(name) < SHORTEST_HASH:
        ways.append(col(ContentRow.id) == int(name))
    return or_(*ways)


def files(
    session: Session,
    whose: AgentIdentity,
    *,
    states: Sequence[str] | None,
    source: str | None,
    code: str | None = None,
    done_after: datetime | None = None,
    naming: NamedOrder | None = None,
    after: int = 0,
) -> Iterator[FileFate]:
    """Yield the status of the content versions of this site, state by state, oldest first."""
    filters = []
    if source:
        filters.append(col(SourceRow.name) == source)
    if code:
        filters.append(col(ContentRow.code) == code)
    if done_after:
        filters.append(col(ContentRow.done_at) > done_after)
    if naming:
        filters.append(may_name(naming))
    for state in _list_present(session, whose, states) if states else (None,):
        yield from _files(session, whose, state, filters, after=after)


def _list_present(session: Session, whose: AgentIdentity, states: Sequence[str]) -> list[str]:
    """Return those of some states that any content has: most often none waits or was lost."""
    of_site = select(ContentRow.id).where(ContentRow.site_id == whose.site_id)
    are_there: tuple[Any, ...] = tuple(
        of_site.where(ContentRow.state == state).exists() for state in states
    )
    # A column without meaning next to them: of a single one the row would be its value.
    row = session.exec(select(true(), *are_there)).one()
    return [state for state, is_there in zip(states, row[1:], strict=True) if is_there]


def _files(
    session: Session,
    whose: AgentIdentity,
    state: str | None,
    filters: Sequence[ColumnElement[bool]],
    *,
    after: int,
) -> Iterator[FileFate]:
    query = (
        select(*COLUMNS)  # columns, not rows of the ORM: a backlog has tens of thousands of files
        .join(SourceRow, col(SourceRow.id) == col(ContentRow.source_id))
        .where(ContentRow.site_id == whose.site_id, *filters)
        .order_by(col(ContentRow.id))
        .limit(CHUNK)
    )
    if state:  # one at a time: two would make the planner walk through every file there ever was
        query = query.where(ContentRow.state == state)
    while rows := session.exec(query.where(col(ContentRow.id) > after)).all():
        yield from _fates(session, whose, rows)
        if len(rows) < CHUNK:
            break
        after = rows[-1].id


COLUMNS: tuple[Any, ...] = (
    SourceRow.name,
    ContentRow.id,
    ContentRow.sha256,
    ContentRow.size_bytes,
    ContentRow.state,
    ContentRow.code,
    ContentRow.reason,
    ContentRow.attempts,
    ContentRow.first_seen_at,
    ContentRow.done_at,
    ContentRow.due_at,
    ContentRow.duplicate_of,
    ContentRow.previous_id,
    ContentRow.process_data,
    ContentRow.noted,
)


def _fates(session: Session, whose: AgentIdentity, rows: Sequence[Any]) -> Iterator[FileFate]:
    ids = {content.id for content in rows}
    paths = _paths(session, ids | {content.duplicate_of for content in rows} - {None})
    read_again = _find_read_again(session, rows)
    vanished = [content.id for content in rows if content.code == VANISHED]
    sources = session.exec(select(SourceRow).where(SourceRow.site_id == whose.site_id)).all()
    renamed = find_renamed(session, vanished) if vanished else {}
    renamed |= find_listed_again(
        session, sources, [content.id for content in rows if content.state in UNSEEN]
    )
    for content in rows:
        names = list(paths.get(content.id, {}))
        first = list(paths.get(content.duplicate_of or 0, {}))
        yield FileFate(
            path=names[0] if names else "",
            paths=tuple(names),
            sha256=content.sha256,
            size_bytes=content.size_bytes,
            source=content.name,
            state=content.state,
            code=content.code,
            reason=content.reason,
            attempts=content.attempts,
            first_seen_at=content.first_seen_at,
            done_at=content.done_at,
            next_try_at=_next_try(content),
            duplicate_of=first[0] if first else None,
            id=content.id,
            previous=content.previous_id,
            read_again=read_again.get(content.id, {}),
            seen_as=tuple(paths.get(content.id, {}).values()),
            sent_with=dict(content.process_data),
            noted=dict(content.noted),
            renamed_to=renamed.get(content.id),
            read_as=_read_names(sources, paths.get(content.id, {}).values(), content),
        )


def _read_names(
    sources: Sequence[SourceRow], names: Iterable[tuple[str, str]], content: Any
) -> dict[str, list[tuple[str, Mapping[str, str]]]]:
    """Return source → how its names were read since a content was listed, of those that it had."""
    if content.state not in UNSEEN:
        return {}
    own = {source for source, _relative in names}
    return {
        row.name: read
        for row in sources
        if row.name in own and (read := list_readings(row, content.id))
    }


def find_last_done(session: Session, whose: AgentIdentity, until: datetime) -> dict[str, datetime]:
    """Return source → when its newest content was done, up to an instant."""
    query = (
        select(SourceRow.name, func.max(ContentRow.done_at))
        .join(SourceRow, col(SourceRow.id) == col(ContentRow.source_id))
        .where(
            ContentRow.site_id == whose.site_id,
            ContentRow.state == State.DONE,
            col(ContentRow.done_at) <= until,
        )
        .group_by(SourceRow.name)
    )
    return {source: at for source, at in session.exec(query) if at is not None}


def _find_read_again(session: Session, rows: Sequence[Any]) -> dict[int, dict[str, bool]]:
    """Return content → hash of each later version that gave a field → whether it was no copy.

    Later versions are those under the names of the content and of its copies, one after another.
    """
    origins = {content.id for content in rows if content.state in UNUSED}
    later: dict[int, list[Any]] = {}  # content → its copies, and the next versions of its name
    newest = origins
    while newest:
        found: set[int] = set()
        for batch in chunks(sorted(newest)):
            query = select(*VERSION_COLUMNS).where(
                or_(
                    col(ContentRow.previous_id).in_(batch),
                    col(ContentRow.duplicate_of).in_(origins.intersection(batch)),
                )
            )
            for version in session.exec(query):
                for before in {version.previous_id, version.duplicate_of} & set(batch):
                    later.setdefault(before, []).append(version)
                found.add(version.id)
        newest = found - later.keys() - origins
    return {origin: _follow(origin, later) for origin in origins & later.keys()}


def _follow(origin: int, later: Mapping[int, Sequence[Any]]) -> dict[str, bool]:
    read_again: dict[str, bool] = {}
    seen, waiting = {origin}, [origin]
    while waiting:
        for version in later.get(waiting.pop(), ()):
            if version.id in seen:
                continue
            seen.add(version.id)
            waiting.append(version.id)
            is_own = version.state == State.DONE
            if version.sha256 and (is_own or version.state == State.DUPLICATE):
                read_again[version.sha256] = read_again.get(version.sha256, False) or is_own
    return read_again


VERSION_COLUMNS: tuple[Any, ...] = (
    ContentRow.id,
    ContentRow.previous_id,
    ContentRow.duplicate_of,
    ContentRow.state,
    ContentRow.sha256,
)


def waiting(session: Session, whose: AgentIdentity, source: str, lane: int, *, at_most: int) -> int:
    """Count the files of a source in a lane, up to `at_most`."""
    query = (
        select(ContentRow.id)
        .join(SourceRow, col(SourceRow.id) == col(ContentRow.source_id))
        .where(
            ContentRow.site_id == whose.site_id,
            ContentRow.lane == lane,
            col(ContentRow.due_at).is_not(None),
            SourceRow.name == source,
        )
        .limit(at_most)
    )
    return len(session.exec(query).all())


def _next_try(content: Any) -> datetime | None:
    waits = content.state in (*UNREAD, State.SET_ASIDE) and content.due_at != AT_ONCE
    due_at: datetime | None = content.due_at
    return due_at if waits else None


PATH_COLUMNS: tuple[Any, ...] = (
    ContentRow.id,
    ContentRow.duplicate_of,
    SourceRow.name,
    SourceRow.folder,
    PathRow.relative,
)


def _paths(
    session: Session, content_ids: Iterable[int | None]
) -> dict[int, dict[str, tuple[str, str]]]:
    """Return content → all its paths → source and name below it; those of duplicates last."""
    paths: dict[int, dict[str, tuple[str, str]]] = {}
    for batch in chunks(sorted(number for number in content_ids if number)):
        query = (
            select(*PATH_COLUMNS)
            .join(PathRow, col(PathRow.content_id) == col(ContentRow.id))
            .join(SourceRow, col(SourceRow.id) == col(PathRow.source_id))
            .where(or_(col(ContentRow.id).in_(batch), col(ContentRow.duplicate_of).in_(batch)))
            .order_by(
                col(ContentRow.duplicate_of).is_not(None),
                col(PathRow.replaced_at).is_not(None),
                col(PathRow.gone_at).is_not(None),
                col(PathRow.id).desc(),
            )
        )
        for number, duplicate_of, source, folder, relative in session.exec(query):
            path = str(Path(folder) / relative)
            for owner in (number, duplicate_of):
                if owner is not None and owner in batch:
                    paths.setdefault(owner, {}).setdefault(path, (source, relative))
    return paths


def count_to_review(session: Session, whose: AgentIdentity) -> int:
    """Return the number of micrographs that wait for review, without the tables of results."""
    result = table("result", column("site_id"), column("review_rank"))
    waiting = result.c.site_id == whose.site_id, result.c.review_rank.is_not(None)
    n: int = session.execute(select(func.count()).select_from(result).where(*waiting)).scalar_one()
    return n


def counts(session: Session, whose: AgentIdentity) -> dict[str, int]:
    """Return state → number of content versions of this site; all states are named.

    Args:
        session: One that reads the rows of all sites.
        whose: The site.
    """
    none = {state.value: 0 for state in State}
    query = (
        select(ContentRow.state, func.count())
        .where(ContentRow.site_id == whose.site_id)
        .group_by(ContentRow.state)
    )
    if not _is_only_site(session):
        return none | dict(session.exec(query).all())
    # SQLite counts a whole table in a fifteenth of the time of the entries of an index, so nearly
    # all contents, those that are done, are counted as the rest.
    others = col(ContentRow.state).in_([state for state in State if state is not State.DONE])
    unfinished = dict(session.exec(query.where(others)).all())
    total = session.exec(select(func.count()).select_from(ContentRow)).one()
    return none | unfinished | {State.DONE.value: total - sum(unfinished.values())}


def _is_only_site(session: Session) -> bool:
    """Return whether this is SQLite with one site, as nearly every one has."""
    if session.get_bind().dialect.name != "sqlite":
        return False
    return session.exec(select(func.count()).select_from(SiteRow)).one() == 1
