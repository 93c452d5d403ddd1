"""Discovered files: record listings, so that no file is forgotten and none is recorded twice.

New bytes under a name that was not read yet are the same version, still growing; under a name that
was read they are a new version, linked to the one before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

from sqlalchemy import insert, update
from sqlmodel import Session, col, select

from agent.store.engine import AgentIdentity, Repository, reading, write_retrying, writing
from agent.store.evidence import audit_log
from agent.store.orders.unread_names import NamedOrder
from agent.store.sites import sites
from agent.store.tables import ContentRow, PathRow, SourceRow
from agent.store.work import file_status
from agent.store.work.deduplication import hand_over
from agent.store.work.file_states import (
    AT_ONCE,
    OVERWRITTEN,
    OVERWRITTEN_SENTENCE,
    UNREAD,
    VANISHED,
    FileFate,
    Lane,
    State,
    chunks,
    rest,
)
from agent.watch import ListedFile

NO_PROCESS_DATA: Mapping[str, Mapping[str, str]] = MappingProxyType({})


class Files(Repository):
    """Repository of discovered files and their status."""

    def list_known(self, source: str) -> dict[str, tuple[int, int, int]]:
        """Return the recorded files of a source, for one set difference with a listing.

        Returns:
            Relative path → (size_bytes, mtime_ns, ctime_ns), without settling files: after a
            restart they have to become stable again.
        """
        with reading(self._engine) as session:
            query = (
                select(PathRow.relative, PathRow.size_bytes, PathRow.mtime_ns, PathRow.ctime_ns)
                .join(SourceRow, col(SourceRow.id) == col(PathRow.source_id))
                .join(ContentRow, col(ContentRow.id) == col(PathRow.content_id))
                .where(
                    SourceRow.site_id == self._whose.site_id,
                    SourceRow.name == source,
                    col(PathRow.replaced_at).is_(None),
                    col(PathRow.gone_at).is_(None),
                    ContentRow.state != State.SETTLING,
                )
            )
            return {
                relative: (size, mtime, ctime)
                for relative, size, mtime, ctime in session.exec(query)
            }

    def add(
        self,
        arrivals: Iterable[ListedFile],
        *,
        at: datetime,
        lane: str = "fresh",
        origin: str = "watch",
        process_data: Mapping[str, Mapping[str, str]] = NO_PROCESS_DATA,
    ) -> int:
        """Queue stable files; a file that is already recorded changes nothing.

        Args:
            arrivals: Stable files.
            at: Now.
            lane: "urgent", "fresh" or "backlog".
            origin: "watch", "import" or "api".
            process_data: Relative path → column → value, where it was received with the file.

        Returns:
            The number of new files.
        """
        return self._take_in(
            arrivals, Intake(State.QUEUED, Lane[lane.upper()], origin, at, process_data)
        )

    def add_settling(self, arrivals: Iterable[ListedFile], *, at: datetime) -> int:
        """Record files that are still being written, so that they are shown; return new ones."""
        return self._take_in(
            arrivals, Intake(State.SETTLING, Lane.FRESH, "watch", at, NO_PROCESS_DATA)
        )

    def add_ignored(
        self, arrivals: Iterable[ListedFile], code: str, sentence: str, *, at: datetime
    ) -> int:
        """Record files that are ignored on purpose, and why; return the number of new ones."""
        intake = Intake(State.IGNORED, Lane.FRESH, "watch", at, NO_PROCESS_DATA, code, sentence)
        return self._take_in(arrivals, intake)

    def _take_in(self, arrivals: Iterable[ListedFile], intake: Intake) -> int:
        listed = list(arrivals)
        return write_retrying(
            self._engine, lambda session: _take_in_all(session, self._whose, listed, intake)
        )

    def list_settling(self, source: str) -> set[str]:
        """Return the relative paths of files that were last listed while still being written."""
        with reading(self._engine) as session:
            query = (
                select(PathRow.relative)
                .join(ContentRow, col(ContentRow.id) == col(PathRow.content_id))
                .join(SourceRow, col(SourceRow.id) == col(PathRow.source_id))
                .where(
                    SourceRow.site_id == self._whose.site_id,
                    SourceRow.name == source,
                    ContentRow.state == State.SETTLING,
                    col(PathRow.replaced_at).is_(None),
                )
            )
            return set(session.exec(query))

    def mark_gone(self, source: str, relatives: Iterable[str], *, at: datetime) -> None:
        """Record that files are no longer listed; nothing of theirs is deleted."""
        names = list(relatives)
        if names:
            with writing(self._engine) as session:
                _mark_gone(session, self._whose, source, names, at=at)

    def retry(self, which: Sequence[str] | None, *, at: datetime, by: str = "agent") -> int:
        """Queue files again, by path, hash or number; None: all failed or set aside.

        Returns:
            The number of queued contents.
        """
        with writing(self._engine) as session:
            count = file_status.retry(session, self._whose, which)
            if count:
                facts = {"which": list(which) if which is not None else "all", "count": count}
                audit_log.append(
                    session,
                    self._whose.site_id,
                    at=at,
                    actor=by,
                    act="files.retried",
                    facts=facts,
                )
            return count

    def iter_status(
        self,
        state: str | Sequence[str] | None = None,
        source: str | None = None,
        *,
        code: str | None = None,
        done_after: datetime | None = None,
        naming: NamedOrder | None = None,
        after: int = 0,
    ) -> Iterator[FileFate]:
        """Yield the status of the content versions of this site, state by state, oldest first.

        Args:
            state: One state or several; None for all.
            source: Name of the source, None for all.
            code: Stable code of the reason, None for all.
            done_after: Only contents that were done later than this.
            naming: Only contents that may name this order; some of them do not.
            after: Only contents with a higher number.
        """
        states = [state] if isinstance(state, str) else state
        with reading(self._engine) as session:
            yield from file_status.files(
                session,
                self._whose,
                states=states,
                source=source,
                code=code,
                done_after=done_after,
                naming=naming,
                after=after,
            )

    def find_last_done(self, until: datetime) -> dict[str, datetime]:
        """Return source → when its newest content was done, up to an instant."""
        with reading(self._engine) as session:
            return file_status.find_last_done(session, self._whose, until)

    def count_to_review(self) -> int:
        """Return the number of micrographs that wait for review, as the review queue has it."""
        with reading(self._engine) as session:
            return file_status.count_to_review(session, self._whose)

    def count_by_state(self) -> dict[str, int]:
        """Return state → number of content versions of this site; all states are named."""
        with reading(self._all_sites) as session:
            return file_status.counts(session, self._whose)


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


def _take_in_all(
    session: Session, whose: AgentIdentity, arrivals: Iterable[ListedFile], intake: Intake
) -> int:
    """Record listed files; a file that is already recorded changes nothing.

    Returns:
        The number of new files.
    """
    by_source: dict[tuple[str, str], list[ListedFile]] = {}
    for arrival in arrivals:
        by_source.setdefault((arrival.source, str(arrival.folder)), []).append(arrival)
    count = 0
    for (name, folder), files in by_source.items():
        source_id = sites.source_id(session, whose, name, folder)
        latest = list({file.relative: file for file in files}.values())
        for batch in chunks(latest):
            count += _take_in(session, whose, source_id, batch, intake)
    return count


def _take_in(
    session: Session,
    whose: AgentIdentity,
    source_id: int,
    arrivals: Sequence[ListedFile],
    intake: Intake,
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
    if news:
        sites.note_clock_set_back(session, whose, source_id, news[0].source, at=intake.at)
    _insert(session, whose, source_id, [(arrival, None) for arrival in news], intake)
    changed = [
        _update(session, whose, met[arrival.relative], arrival, intake)
        for arrival in arrivals
        if arrival.relative in met
    ]
    return len(news) + sum(changed)


def _insert(
    session: Session,
    whose: AgentIdentity,
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
    whose: AgentIdentity,
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
    if _is_unread(content):
        hand_over(session, content)
        if not _had_rested(content):
            _replace_bytes(session, path, content, arrival, intake)
            return True
        if content.code != VANISHED:
            rest(content, State.IGNORED, OVERWRITTEN, OVERWRITTEN_SENTENCE, at=intake.at)
    path.replaced_at = intake.at
    session.flush()
    _insert(session, whose, path.source_id, [(arrival, content.id)], intake)
    return True


def _had_rested(content: ContentRow) -> bool:
    """Return whether an unread content was whole: its picture is lost if another one follows."""
    return content.state != State.SETTLING and content.reason != BEFORE_REST


def _is_unread(content: ContentRow) -> bool:
    """Return whether no one read the bytes: one that was set aside retains its code when queued."""
    is_again = content.state == State.QUEUED and content.code is not None
    return content.code == VANISHED or (content.state in UNREAD and not is_again)


BEFORE_REST = "deleted before it came to rest"


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


def _mark_gone(
    session: Session, whose: AgentIdentity, source: str, relatives: Iterable[str], *, at: datetime
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
                reason=BEFORE_REST,
                done_at=at,
            )
        )
