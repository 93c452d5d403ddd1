"""Work queue: claims of content by workers, with leases, and the outcome of each attempt.

The attempt is counted before it starts; failures of share, disk or database do not count against
the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sqlalchemy import update
from sqlmodel import Session, col, select

from agent.errors import FileCode
from agent.store.engine import AgentIdentity, Repository, reading, write_retrying, writing
from agent.store.evidence import seals
from agent.store.orders.order_naming import ClaimedPlace, OrderNaming
from agent.store.results import results
from agent.store.results.results import MicrographResult
from agent.store.tables import ContentRow, PathRow, SourceRow
from agent.store.work import deduplication, file_status
from agent.store.work.deduplication import hand_over, known_by_hash
from agent.store.work.file_states import (
    AT_ONCE,
    BEFORE_READ,
    DEATHS_AT_ONCE,
    MAX_ATTEMPTS,
    MAX_DEATHS,
    OVERWRITTEN,
    OVERWRITTEN_SENTENCE,
    READ_AGAIN,
    RETRY_AFTER,
    SUSPECT_AFTER,
    VANISHED,
    Claim,
    Lane,
    State,
    rest,
)


def claim_due(
    session: Session,
    whose: AgentIdentity,
    n: int,
    *,
    at: datetime,
    lease_s: float,
    only: Sequence[str] | None,
    has_others: bool,
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
        places = load_paths(session, [content.id for content, _ in rows])
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
    path = places.get(content.id)
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
        content_id=content.id,
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
        listed_at=content.first_seen_at,
    )


def find_claimed(session: Session, claim: Claim) -> ContentRow | None:
    """Return the claimed content if the claim is still valid; None if another worker has it."""
    query = select(ContentRow).where(ContentRow.id == claim.content_id).with_for_update()
    content = session.exec(query).first()
    if content is None or content.state != State.PROCESSING or content.claims != claim.token:
        return None
    return content


WATCH = "watch"


class WorkQueue(Repository):
    """Repository of queued contents and their claims."""

    def claim(
        self,
        n: int,
        *,
        at: datetime,
        lease_s: float,
        only: Sequence[str] | None = None,
        has_others: bool = False,
    ) -> list[Claim]:
        """Claim up to `n` due contents for this worker; each attempt is counted.

        Args:
            n: Maximum number.
            at: Now.
            lease_s: After this time in seconds without `renew` another worker may claim them.
            only: Names of the sources this agent can reach; None: all of the site.
            has_others: Whether the worker has other files in hand; then none is claimed that must
                be alone.
        """
        with writing(self._engine) as session:
            return claim_due(
                session,
                self._whose,
                n,
                at=at,
                lease_s=lease_s,
                only=only,
                has_others=has_others,
            )

    def renew(self, held: Iterable[Claim], *, at: datetime, lease_s: float) -> None:
        """Extend the leases of claims that are still valid."""
        with writing(self._engine) as session:
            for claim in held:
                if content := find_claimed(session, claim):
                    content.due_at = at + timedelta(seconds=lease_s)
                    session.add(content)

    def requeue_own(self, *, at: datetime) -> int:
        """Queue again what this agent was processing when it died; call it at its start only."""
        with writing(self._engine) as session:
            query = select(ContentRow).where(
                ContentRow.state == State.PROCESSING, ContentRow.agent_id == self._whose.agent_id
            )
            rows = session.exec(query).all()
            for content in rows:
                requeue_interrupted(content, at=at)
                session.add(content)
            session.flush()
            _set_back(session, self._whose, timedelta(0), at=at)
            return len(rows)

    def make_due(self, source: str) -> None:
        """Make the waiting files of a source due now: the reason for waiting is over."""
        with writing(self._engine) as session:
            query = select(SourceRow.id).where(
                SourceRow.site_id == self._whose.site_id, SourceRow.name == source
            )
            session.execute(
                update(ContentRow)
                .where(
                    col(ContentRow.source_id).in_(query),
                    col(ContentRow.site_id) == self._whose.site_id,
                    col(ContentRow.state) == State.QUEUED,
                    col(ContentRow.due_at) > AT_ONCE,
                )
                .values(due_at=AT_ONCE)
            )

    def count_waiting(self, source: str, lane: str = "fresh", *, at_most: int) -> int:
        """Count the files of a source in a lane, up to `at_most`."""
        with reading(self._engine) as session:
            number = int(Lane[lane.upper()])
            return file_status.waiting(session, self._whose, source, number, at_most=at_most)

    def shift_clock(self, by: timedelta, *, at: datetime) -> None:
        """Shift due times after the clock was set back, so that no wait becomes longer.

        Args:
            by: How far it was set back; 0 where unknown, after a start.
            at: Now, by the new time.
        """
        with writing(self._engine) as session:
            _set_back(session, self._whose, by, at=at)

    def identify(
        self,
        claim: Claim,
        sha256: str,
        *,
        at: datetime,
        is_there: Callable[[Path], bool] = deduplication.lies_there,
        names: Sequence[ClaimedPlace] = (),
        on_torn: Callable[[str], None] = lambda _: None,
    ) -> int | None:
        """Return the known content with the same bytes, if any; then the claim is over.

        Args:
            claim: Of the file that was read.
            sha256: Hash of the bytes that were read.
            at: Now.
            is_there: Returns whether there is a file at a path.
            names: Orders and specimens that it names. Where it is a copy they are written in the
                same transaction, so that no crash in between loses them.
            on_torn: Called with each micrograph that thereby loses its specimen.

        Returns:
            None: it is new, go on. Else the number of the content that has these bytes.
        """
        with reading(self._engine) as session:
            rivals = deduplication.rivals(session, claim, sha256)
        away = [place for place in rivals if deduplication.is_away(place, claim.path, is_there)]

        def write(session: Session) -> int | None:
            content = find_claimed(session, claim)
            if content is None:
                return claim.content_id  # another worker has it
            known = deduplication.identify(session, content, claim, sha256, at=at, away=away)
            if known not in {None, claim.content_id} and content.origin != "import":
                self._order_naming.expect_import(session, known, at=at)
            if known is not None and known != claim.content_id and names:
                copies = [replace(place, origin="copy") for place in names]
                torn[:] = self._order_naming.claim_copy(
                    session, known, sha256, copies, claim.relative, at=at
                )
            return known

        torn: list[str] = []
        known = write_retrying(self._engine, write)
        for public_id in torn:
            on_torn(public_id)
        return known

    def finish(self, claim: Claim, findings: Sequence[MicrographResult], *, at: datetime) -> bool:
        """Write all micrographs and results of a file, and `done`, in one transaction.

        Returns:
            False if nothing was written: another worker has it, or these bytes are known already.
        """
        sha256 = findings[0].crop_facts["sha256"] if findings else ""
        names = _list_names(claim, findings[0]) if findings else ()
        if findings and self.identify(claim, sha256, at=at, names=names) is not None:
            return False
        with writing(self._engine) as session:
            content = find_claimed(session, claim)
            if content is None:
                return False
            for finding in findings:
                results.write(session, self._whose, content, claim.relative, finding, at=at)
            if content.id is not None and sha256:
                session.flush()
                self._order_naming.settle_copies(session, content.id, sha256, at=at)
            rest(content, State.DONE, at=at)
            session.add(content)
            return True

    def set_aside(
        self, claim: Claim, code: str, sentence: str, *, at: datetime, sha256: str | None = None
    ) -> bool:
        """Record that this content cannot be used, and why; return whether the claim was valid."""
        with writing(self._engine) as session:
            content = find_claimed(session, claim)
            if content is None:
                return False
            if sha256 and (original := known_by_hash(session, content, sha256)):
                content.sha256, content.duplicate_of = sha256, original.id
                rest(content, State.DUPLICATE, at=at)
            else:
                content.sha256 = sha256 or content.sha256
                since = content.done_at or at  # a file read again is not new in this night's report
                rest(content, State.SET_ASIDE, code, sentence, at=since)
                _retry_later(content, code, at=at)
            session.add(content)
            if content.state == State.SET_ASIDE:
                seals.append_unusable(session, self._whose.site_id, content.id, at=at)
            return True

    def fail(self, claim: Claim, sentence: str, *, at: datetime) -> datetime | None:
        """Record an unexpected error with this file.

        Returns:
            When it is tried again; None if that was the last time (it is set aside as `crashed`),
            or if the claim was no longer valid.
        """
        with writing(self._engine) as session:
            content = find_claimed(session, claim)
            if content is None:
                return None
            session.add(content)
            crashes = max(content.attempts - content.interrupted, 1)
            if crashes >= MAX_ATTEMPTS:
                rest(content, State.SET_ASIDE, FileCode.CRASHED, sentence, at=at)
                seals.append_unusable(session, self._whose.site_id, content.id, at=at)
                return None
            rest(content, State.FAILED, FileCode.CRASHED, sentence)
            content.due_at = at + RETRY_AFTER[crashes - 1]
            return content.due_at

    def release(
        self, claim: Claim, *, at: datetime, retry_at: datetime, sentence: str | None = None
    ) -> bool:
        """Release a claim: share, disk or database failed, so the attempt does not count."""
        with writing(self._engine) as session:
            return release_claim(session, claim, sentence, retry_at=max(at, retry_at))

    def miss(self, claim: Claim, sentence: str, *, at: datetime, retry_at: datetime) -> bool | None:
        """Record that the file was missing when it was to be read.

        It vanished where a listing has missed its name too, or no listing ever checks it. Else it
        is queued again: a share may not show a file for a moment, and the next listing decides.

        Returns:
            Whether it vanished; None where the claim was no longer valid.
        """
        with writing(self._engine) as session:
            return _miss(session, claim, sentence, at=at, retry_at=max(at, retry_at))

    @property
    def _order_naming(self) -> OrderNaming:
        return OrderNaming(self._engine, self._whose)


def _set_back(session: Session, whose: AgentIdentity, by: timedelta, *, at: datetime) -> None:
    """Shift due times after the clock was set back, so that no wait of this agent becomes longer.

    Args:
        session: Open for writing.
        whose: The agent.
        by: How far it was set back; 0 where unknown, after a start.
        at: Now, by the new time.
    """
    latest = at + RETRY_AFTER[-1]  # later than the longest pause: set by another clock
    query = select(ContentRow).where(
        ContentRow.site_id == whose.site_id,
        ContentRow.agent_id == whose.agent_id,
        col(ContentRow.due_at) > (AT_ONCE if by else latest),
    )
    for content in session.exec(query):
        if content.due_at:
            content.due_at = min(content.due_at - by, latest) if by else at
            session.add(content)


def _retry_later(content: ContentRow, code: str, *, at: datetime) -> None:
    if code in READ_AGAIN and content.attempts <= len(RETRY_AFTER):
        content.lane = Lane.BACKLOG
        content.due_at = at + RETRY_AFTER[content.attempts - 1]


def release_claim(
    session: Session, claim: Claim, sentence: str | None, *, retry_at: datetime
) -> bool:
    """Release a claim: share, disk or database failed, so the attempt does not count."""
    content = find_claimed(session, claim)
    if content is None:
        return False
    content.attempts -= 1
    if load_paths(session, [claim.content_id]):
        rest(content, State.QUEUED, content.code, sentence)
        content.due_at = retry_at
    else:
        rest(content, State.IGNORED, OVERWRITTEN, OVERWRITTEN_SENTENCE)
    session.add(content)
    return True


def _miss(
    session: Session, claim: Claim, sentence: str, *, at: datetime, retry_at: datetime
) -> bool | None:
    """Record that the file was missing when it was to be read.

    It vanished where a listing has missed its name too, or no listing ever checks it. Else it is
    queued again: a share may not show a file for a moment, and the next listing decides.

    Returns:
        Whether it vanished; None where the claim was no longer valid.
    """
    content = find_claimed(session, claim)
    if content is None:
        return None
    if claim.origin == WATCH and _is_listed(session, claim):
        release_claim(session, claim, sentence, retry_at=retry_at)
        return False
    rest(content, State.IGNORED, VANISHED, BEFORE_READ, at=at)
    session.add(content)
    session.execute(
        update(PathRow)
        .where(
            col(PathRow.content_id) == content.id,
            col(PathRow.replaced_at).is_(None),
            col(PathRow.gone_at).is_(None),
        )
        .values(gone_at=at)
    )
    hand_over(session, content)
    return True


def _is_listed(session: Session, claim: Claim) -> bool:
    standing = select(PathRow.id).where(
        PathRow.content_id == claim.content_id,
        col(PathRow.replaced_at).is_(None),
        col(PathRow.gone_at).is_(None),
    )
    return session.exec(standing).first() is not None


def _list_names(claim: Claim, finding: MicrographResult) -> tuple[ClaimedPlace, ...]:
    """Return the orders that a file names, as claims of a copy."""
    named = finding.process_data
    own = ClaimedPlace(named.get("order", ""), named.get("specimen", ""), "path", claim.relative)
    return () if claim.origin == "import" else (own, *finding.claims)
