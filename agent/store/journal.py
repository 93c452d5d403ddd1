"""Keep the books of every content version: taken once, never lost, never forgotten.

In:  `Arrival`s from the watch. Out: `Claim`s for the pipeline, each file's fate. Next: `results`.
A state is a row, so a crash is a query: whatever was in hand has a lease that runs out, and the
attempt was counted before it began. A worker that lost its lease changes nothing any more.

    settling → queued → processing → done | duplicate | set_aside | ignored
                  ↑______ failed ______|
"""

from __future__ import annotations

import os
import unicodedata
from dataclasses import dataclass, field
from datetime import timedelta
from enum import IntEnum, StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, insert, literal_column, or_, update
from sqlalchemy.orm import aliased
from sqlmodel import col, select

from agent.errors import FileCode
from agent.store import sources
from agent.store.tables import ContentRow, PathRow, SourceRow
from agent.watch import locate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement
    from sqlmodel import Session

    from agent.store.sources import Whose
    from agent.watch import Arrival

RETRY_AFTER = (
    timedelta(minutes=1),
    timedelta(minutes=10),
    timedelta(hours=1),
    timedelta(hours=6),
)
"""How long after each unexpected crash of one file it is tried again."""

MAX_ATTEMPTS = len(RETRY_AFTER) + 1
SUSPECT_AFTER = 2  # leases lost: from then on a file is tried alone, so that the guilty one shows
CHUNK = 400  # rows per question: SQLite takes at most 999 values in old builds


class State(StrEnum):
    """Where a content version stands; part of the JSON contract."""

    SETTLING = "settling"
    QUEUED = "queued"
    PROCESSING = "processing"
    DONE = "done"
    FAILED = "failed"
    SET_ASIDE = "set_aside"
    DUPLICATE = "duplicate"
    IGNORED = "ignored"


UNREAD = (State.SETTLING, State.QUEUED, State.FAILED)
"""Nobody has taken it yet: new bytes under the same name are the same version still growing."""


class Lane(IntEnum):
    """Who goes first; within a lane the oldest."""

    URGENT = 0
    FRESH = 1
    BACKLOG = 2


VANISHED = "vanished"
OVERWRITTEN = "overwritten"


@dataclass(frozen=True, slots=True)
class Claim:
    """One content version in one worker's hands, until its lease runs out.

    Args:
        content_id: Which. token: tells this claim from a later one of the same content.
        source: Name of the source. folder: its folder. relative: the path below it.
        size_bytes, mtime_ns, ctime_ns: As last listed; other facts now mean it has changed.
        attempts: How often it was tried, this time included.
        origin: "watch", "import" or "api". lane: "urgent", "fresh" or "backlog".
        process_data: What was given with the file; the path's own is not in it.
    """

    content_id: int
    token: int
    source: str
    folder: Path
    relative: str
    size_bytes: int
    mtime_ns: int
    ctime_ns: int
    attempts: int
    origin: str = "watch"
    lane: str = "fresh"
    process_data: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def path(self) -> Path:
        """Where it lies."""
        return locate(self.folder, self.relative)


@dataclass(frozen=True, slots=True)
class FileFate:
    """What became of one content version.

    Args:
        path: Where it lies, or lay last. paths: every name it was seen under, `path` first.
        sha256: None until it was read. size_bytes: its size. source: name of the source.
        state: See `State`. code: why, as a stable word, or None. reason: why, one sentence.
        attempts: How often it was tried. first_seen_at, done_at, next_try_at: aware UTC.
        duplicate_of: Path of the same content, or None. id: its number.
        previous: Number of the version before it under the same name, or None.
    """

    path: str
    paths: tuple[str, ...]
    sha256: str | None
    size_bytes: int
    source: str
    state: str
    code: str | None
    reason: str | None
    attempts: int
    first_seen_at: datetime
    done_at: datetime | None
    next_try_at: datetime | None
    duplicate_of: str | None
    id: int
    previous: int | None

    def as_json(self) -> dict[str, object]:
        """Say it as `agent files --json` does."""
        return {
            "path": self.path,
            "paths": list(self.paths),
            "sha256": self.sha256,
            "size_bytes": self.size_bytes,
            "source": self.source,
            "state": self.state,
            "reason": self.said,
            "attempts": self.attempts,
            "first_seen_at": _iso(self.first_seen_at),
            "done_at": _iso(self.done_at),
            "duplicate_of": self.duplicate_of,
            "code": self.code,
            "next_try_at": _iso(self.next_try_at),
        }

    @property
    def said(self) -> str | None:
        """Code and sentence together, or None where there is nothing to say."""
        return ": ".join(part for part in (self.code, self.reason) if part) or None


def _iso(at: datetime | None) -> str | None:
    return at.isoformat(timespec="milliseconds") if at else None


# --- what the watch asks and says ---------------------------------------------------------------


def known(session: Session, whose: Whose, source: str) -> dict[str, tuple[int, int, int]]:
    """Say what is already written down of a source, for one set difference with a listing.

    Returns:
        Relative path → (size_bytes, mtime_ns, ctime_ns). Files still settling are not in it:
        after a restart they have to come to rest again.
    """
    asked = (
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
    return {relative: (size, mtime, ctime) for relative, size, mtime, ctime in session.exec(asked)}


@dataclass(frozen=True, slots=True)
class Intake:
    """What holds for every file that arrives together."""

    state: State
    lane: Lane
    origin: str
    at: datetime
    process_data: Mapping[str, Mapping[str, str]]
    code: str | None = None
    reason: str | None = None


def take_in(session: Session, whose: Whose, arrivals: Iterable[Arrival], intake: Intake) -> int:
    """Write down files as the watch saw them; a file already written down changes nothing.

    Returns:
        How many of them are news.
    """
    by_source: dict[tuple[str, str], list[Arrival]] = {}
    for arrival in arrivals:
        by_source.setdefault((arrival.source, str(arrival.folder)), []).append(arrival)
    count = 0
    for (name, folder), files in by_source.items():
        source_id = sources.source_id(session, whose, name, folder)
        latest = list({file.relative: file for file in files}.values())
        for some in _chunks(latest):
            count += _take_in(session, whose, source_id, some, intake)
    return count


def _chunks(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), CHUNK):
        yield items[start : start + CHUNK]


def _take_in(
    session: Session, whose: Whose, source_id: int, arrivals: Sequence[Arrival], intake: Intake
) -> int:
    asked = (
        select(PathRow, ContentRow)
        .join(ContentRow, col(ContentRow.id) == col(PathRow.content_id))
        .where(
            PathRow.source_id == source_id,
            col(PathRow.replaced_at).is_(None),
            col(PathRow.relative).in_([arrival.relative for arrival in arrivals]),
        )
    )
    met = {path.relative: (path, content) for path, content in session.exec(asked)}
    news = [arrival for arrival in arrivals if arrival.relative not in met]
    _write_down(session, whose, source_id, [(arrival, None) for arrival in news], intake)
    changed = [
        _meet_again(session, whose, met[arrival.relative], arrival, intake)
        for arrival in arrivals
        if arrival.relative in met
    ]
    return len(news) + sum(changed)


def _write_down(
    session: Session,
    whose: Whose,
    source_id: int,
    arrivals: Sequence[tuple[Arrival, int | None]],
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
            "due_at": intake.at if intake.state == State.QUEUED else None,
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


def _facts(arrival: Arrival, at: datetime) -> dict[str, object]:
    return {
        "relative": arrival.relative,
        "size_bytes": arrival.size_bytes,
        "mtime_ns": arrival.mtime_ns,
        "ctime_ns": arrival.ctime_ns,
        "seen_at": at,
    }


def _meet_again(
    session: Session,
    whose: Whose,
    met: tuple[PathRow, ContentRow],
    arrival: Arrival,
    intake: Intake,
) -> bool:
    path, content = met
    came_back = path.gone_at is not None
    path.gone_at = None
    session.add(path)
    if _same(path, arrival):
        return _meet_unchanged(session, content, came_back=came_back, intake=intake)
    if content.state in UNREAD or content.code == VANISHED:
        _hand_over(session, content, at=intake.at)
        _grow(session, path, content, arrival, intake)
    else:
        path.replaced_at = intake.at
        session.flush()
        _write_down(session, whose, path.source_id, [(arrival, content.id)], intake)
    return True


def _same(path: PathRow, arrival: Arrival) -> bool:
    return (path.size_bytes, path.mtime_ns, path.ctime_ns) == (
        arrival.size_bytes,
        arrival.mtime_ns,
        arrival.ctime_ns,
    )


def _meet_unchanged(
    session: Session, content: ContentRow, *, came_back: bool, intake: Intake
) -> bool:
    rested = content.state == State.SETTLING and intake.state == State.QUEUED
    returned = came_back and content.code == VANISHED
    if not (rested or returned):
        return False
    _enter(content, intake)
    session.add(content)
    return True


def _grow(
    session: Session, path: PathRow, content: ContentRow, arrival: Arrival, intake: Intake
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
    content.due_at = intake.at if intake.state == State.QUEUED else None
    content.done_at = None


def gone(
    session: Session, whose: Whose, source: str, relatives: Iterable[str], *, at: datetime
) -> None:
    """Write down that files are no longer listed; nothing of theirs is deleted."""
    asked = select(SourceRow.id).where(SourceRow.site_id == whose.site_id, SourceRow.name == source)
    source_id = session.exec(asked).first()
    for some in _chunks(list(relatives)):
        session.execute(
            update(PathRow)
            .where(
                col(PathRow.source_id) == source_id,
                col(PathRow.relative).in_(some),
                col(PathRow.replaced_at).is_(None),
                col(PathRow.gone_at).is_(None),
            )
            .values(gone_at=at)
        )


# --- what a worker asks and says ----------------------------------------------------------------


def claim(
    session: Session,
    whose: Whose,
    n: int,
    *,
    at: datetime,
    lease_s: float,
    only: Sequence[str] | None = None,
) -> list[Claim]:
    """Take up to `n` contents that are due into this worker's hands; each attempt is counted.

    A content whose lease ran out is taken from whoever had it. One that has cost several
    leases is taken alone: if it is what kills the agent, no other file pays for it.
    """
    taken: list[Claim] = []
    while len(taken) < n:
        rows = _due(session, whose, n - len(taken), at=at, only=only)
        if not rows:
            break
        places = _places(session, [content.id or 0 for content, _ in rows])
        for content, source in rows:
            if content.interrupted >= SUSPECT_AFTER and taken:
                return taken
            made = _claim(content, source, places, whose, at=at, lease_s=lease_s)
            session.add(content)
            if made:
                taken.append(made)
            if made and content.interrupted >= SUSPECT_AFTER:
                return taken
        session.flush()
    return taken


def _due(
    session: Session, whose: Whose, n: int, *, at: datetime, only: Sequence[str] | None
) -> list[tuple[ContentRow, SourceRow]]:
    asked = (
        select(ContentRow, SourceRow)
        .join(SourceRow, col(SourceRow.id) == col(ContentRow.source_id))
        .where(
            ContentRow.site_id == whose.site_id,
            col(ContentRow.due_at).is_not(None),
            col(ContentRow.due_at) <= at,
        )
        .order_by(col(ContentRow.lane), col(ContentRow.due_at), col(ContentRow.id))
        .limit(n)
        .with_for_update(skip_locked=True, of=ContentRow)
    )
    if only is not None:
        asked = asked.where(col(SourceRow.name).in_(only))
    rows = [(content, source) for content, source in session.exec(asked)]
    for content, _ in rows:
        if content.state == State.PROCESSING:  # its lease ran out: whoever had it is gone
            content.interrupted += 1
    return rows


def _places(session: Session, content_ids: Sequence[int]) -> dict[int, PathRow]:
    asked = (
        select(PathRow)
        .where(
            col(PathRow.content_id).in_(content_ids),
            col(PathRow.replaced_at).is_(None),
        )
        .order_by(col(PathRow.gone_at).is_(None), col(PathRow.id).desc())
    )
    return {path.content_id: path for path in session.exec(asked)}  # the last one holds


def _claim(
    content: ContentRow,
    source: SourceRow,
    places: Mapping[int, PathRow],
    whose: Whose,
    *,
    at: datetime,
    lease_s: float,
) -> Claim | None:
    path = places.get(content.id or 0)
    if path is None:
        _rest(content, State.IGNORED, OVERWRITTEN, _OVERWRITTEN_SENTENCE)
        return None
    if content.attempts >= MAX_ATTEMPTS:
        sentence = f"it was in hand each of the {content.attempts} times the agent died"
        _rest(content, State.SET_ASIDE, FileCode.CRASHED, sentence, at=at)
        return None
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
    )


_OVERWRITTEN_SENTENCE = "overwritten before it was read; the newer version is taken instead"


def _rest(
    content: ContentRow,
    state: State,
    code: str | None = None,
    reason: str | None = None,
    *,
    at: datetime | None = None,
) -> None:
    content.state, content.code, content.reason = state, code, reason
    content.due_at, content.done_at = None, at


def held(session: Session, claim: Claim) -> ContentRow | None:
    """Find the claimed content if the claim still holds; None if another worker has it."""
    asked = select(ContentRow).where(ContentRow.id == claim.content_id).with_for_update()
    content = session.exec(asked).first()
    if content is None or content.state != State.PROCESSING or content.claims != claim.token:
        return None
    return content


def renew(session: Session, claims: Iterable[Claim], *, at: datetime, lease_s: float) -> None:
    """Lengthen the leases of claims that still hold."""
    for one in claims:
        if content := held(session, one):
            content.due_at = at + timedelta(seconds=lease_s)
            session.add(content)


def take_back(session: Session, whose: Whose, *, at: datetime) -> int:
    """Queue again what this agent had in hand when it died; only it may call this, at its start."""
    asked = select(ContentRow).where(
        ContentRow.state == State.PROCESSING, ContentRow.agent_id == whose.agent_id
    )
    rows = session.exec(asked).all()
    for content in rows:
        content.state, content.due_at = State.QUEUED, at
        content.interrupted += 1
        session.add(content)
    return len(rows)


def identify(
    session: Session,
    claim: Claim,
    sha256: str,
    *,
    at: datetime,
    is_there: Callable[[Path], bool],
) -> int | None:
    """Write down what a claimed content's hash is, and whether that content is already known.

    The same bytes under the same name again (a touch, a restored date) and a rename move the
    name to the known content, which keeps its results; another name beside it is a duplicate.

    Returns:
        None: it is new, go on. Else the number of the known content, and the claim is over.
    """
    content = held(session, claim)
    if content is None:
        return claim.content_id
    original = _known_by_hash(session, content, sha256)
    if original is None:
        content.sha256 = sha256
        session.add(content)
        session.flush()
        return None
    if original.code in (VANISHED, OVERWRITTEN):
        _replace(session, original, content, sha256)
        return None
    if _is_same_file(session, content, original, claim, is_there):
        _fold(session, content, original, at=at)
    else:
        content.sha256, content.duplicate_of = sha256, original.id
        _rest(content, State.DUPLICATE, at=at)
        session.add(content)
    return original.id


def _known_by_hash(session: Session, content: ContentRow, sha256: str) -> ContentRow | None:
    asked = select(ContentRow).where(
        ContentRow.sha256 == sha256,
        literal_column("content.state != 'duplicate'"),
        ContentRow.id != content.id,
    )
    return session.exec(asked).first()


def _replace(session: Session, lost: ContentRow, content: ContentRow, sha256: str) -> None:
    lost.sha256 = None
    session.add(lost)
    session.flush()
    content.sha256 = sha256
    _point_duplicates(session, lost, content)
    session.add(content)
    session.flush()


def _point_duplicates(session: Session, away_from: ContentRow, to: ContentRow) -> None:
    session.execute(
        update(ContentRow)
        .where(col(ContentRow.duplicate_of) == away_from.id, col(ContentRow.id) != to.id)
        .values(duplicate_of=to.id)
    )


def _is_same_file(
    session: Session,
    content: ContentRow,
    original: ContentRow,
    claim: Claim,
    is_there: Callable[[Path], bool],
) -> bool:
    asked = (
        select(PathRow, SourceRow.folder)
        .join(SourceRow, col(SourceRow.id) == col(PathRow.source_id))
        .where(PathRow.content_id == original.id)
    )
    names = session.exec(asked).all()
    if any(
        path.relative == claim.relative and path.source_id == content.source_id for path, _ in names
    ):
        return True
    there = [
        locate(Path(folder), path.relative)
        for path, folder in names
        if path.replaced_at is None and path.gone_at is None
    ]
    return all(not is_there(place) or _one_entry(place, claim.path) for place in there)


def _one_entry(one: Path, other: Path) -> bool:
    # A rename that changed only the case (or the spelling of an umlaut), on a file system that
    # does not tell them apart: both names still answer.
    def folded(path: Path) -> str:
        return unicodedata.normalize("NFC", str(path)).casefold()

    if folded(one) != folded(other):
        return False
    try:
        return one.samefile(other)
    except OSError:
        return False


def lies_there(path: Path) -> bool:
    """Say whether a name is still in its folder; a share that does not answer says yes."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return not path.parent.exists()  # the whole folder is away: that is no rename
    except OSError:
        return True
    return True


def _fold(session: Session, content: ContentRow, original: ContentRow, *, at: datetime) -> None:
    session.execute(
        update(PathRow)
        .where(
            col(PathRow.content_id) == original.id,
            col(PathRow.replaced_at).is_(None),
            col(PathRow.gone_at).is_(None),
        )
        .values(gone_at=at)
    )
    session.execute(
        update(PathRow).where(col(PathRow.content_id) == content.id).values(content_id=original.id)
    )
    session.execute(
        update(ContentRow)
        .where(col(ContentRow.previous_id) == content.id)
        .values(previous_id=original.id)
    )
    _point_duplicates(session, content, original)
    session.execute(delete(ContentRow).where(col(ContentRow.id) == content.id))
    session.expunge(content)


def done(content: ContentRow, *, at: datetime) -> None:
    """Mark a content as finished; called in the transaction that writes its results."""
    _rest(content, State.DONE, at=at)


def set_aside(
    session: Session, claim: Claim, code: str, sentence: str, *, at: datetime, sha256: str | None
) -> bool:
    """Write down that this content is no use, and why. Gives back whether the claim held."""
    content = held(session, claim)
    if content is None:
        return False
    if sha256 and (original := _known_by_hash(session, content, sha256)):
        content.sha256, content.duplicate_of = sha256, original.id
        _rest(content, State.DUPLICATE, at=at)
    else:
        content.sha256 = sha256 or content.sha256
        _rest(content, State.SET_ASIDE, code, sentence, at=at)
    session.add(content)
    return True


def fail(session: Session, claim: Claim, sentence: str, *, at: datetime) -> datetime | None:
    """Write down an unexpected crash of this file.

    Returns:
        When it is tried again; None if that was the last time (it is set aside as `crashed`),
        or if the claim no longer held.
    """
    content = held(session, claim)
    if content is None:
        return None
    session.add(content)
    if content.attempts >= MAX_ATTEMPTS:
        _rest(content, State.SET_ASIDE, FileCode.CRASHED, sentence, at=at)
        return None
    _rest(content, State.FAILED, FileCode.CRASHED, sentence)
    content.due_at = at + RETRY_AFTER[content.attempts - 1]
    return content.due_at


def release(session: Session, claim: Claim, sentence: str | None, *, retry_at: datetime) -> bool:
    """Give a claim back: share, disk or database was at fault, so the attempt does not count."""
    content = held(session, claim)
    if content is None:
        return False
    content.attempts -= 1
    if _places(session, [claim.content_id]):
        _rest(content, State.QUEUED, None, sentence)
        content.due_at = retry_at
    else:
        _rest(content, State.IGNORED, OVERWRITTEN, _OVERWRITTEN_SENTENCE)
    session.add(content)
    return True


def vanish(session: Session, claim: Claim, *, at: datetime) -> bool:
    """Write down that the file was deleted before it could be read; it may come back."""
    content = held(session, claim)
    if content is None:
        return False
    _rest(content, State.IGNORED, VANISHED, "deleted before it could be read", at=at)
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
    _hand_over(session, content, at=at)
    return True


def _hand_over(session: Session, content: ContentRow, *, at: datetime) -> None:
    # The bytes of an unfinished content are leaving: a duplicate that still has them takes over.
    if content.sha256 is None:
        return
    asked = (
        select(ContentRow)
        .where(ContentRow.duplicate_of == content.id)
        .order_by(col(ContentRow.id))
        .limit(1)
    )
    heir = session.exec(asked).first()
    if heir is None:
        return
    content.sha256 = None
    session.add(content)
    session.flush()
    heir.duplicate_of = None
    _rest(heir, State.QUEUED)
    heir.due_at = at
    _point_duplicates(session, content, heir)
    session.add(heir)
    session.flush()


# --- what people ask ----------------------------------------------------------------------------


RETRIABLE = (State.FAILED, State.SET_ASIDE, State.IGNORED)


def retry(session: Session, whose: Whose, which: Sequence[str] | None, *, at: datetime) -> int:
    """Queue again what failed or was set aside, from the first attempt on.

    Args:
        session: Open for writing.
        whose: The site.
        which: Paths (whole or below the source), hashes or their beginnings of 8 and more
            digits, or numbers; None means every failed or set-aside content.
        at: Now.

    Returns:
        How many contents are queued again.
    """
    asked = (
        select(ContentRow)
        .join(SourceRow, col(SourceRow.id) == col(ContentRow.source_id))
        .where(ContentRow.site_id == whose.site_id)
    )
    if which is None:
        asked = asked.where(col(ContentRow.state).in_([State.FAILED, State.SET_ASIDE]))
    else:
        asked = asked.where(col(ContentRow.state).in_(RETRIABLE), or_(*map(_named, which)))
    rows = session.exec(asked).all()
    for content in rows:
        _rest(content, State.QUEUED)
        content.attempts = content.interrupted = 0
        content.due_at = at
        session.add(content)
    return len(rows)


SHORTEST_HASH = 8


def _named(name: str) -> ColumnElement[bool]:
    by_path = (
        select(PathRow.content_id)
        .join(SourceRow, col(SourceRow.id) == col(PathRow.source_id))
        .where(
            or_(
                col(PathRow.relative) == name,
                col(SourceRow.folder) + "/" + col(PathRow.relative) == name.replace("\\", "/"),
            )
        )
    )
    ways: list[ColumnElement[bool]] = [col(ContentRow.id).in_(by_path)]
    if len(name) >= SHORTEST_HASH and set(name) <= set("0123456789abcdef"):
        ways.append(col(ContentRow.sha256).startswith(name))
    if name.isdecimal() and len(name) < SHORTEST_HASH:
        ways.append(col(ContentRow.id) == int(name))
    return or_(*ways)


def files(
    session: Session, whose: Whose, *, states: Sequence[str] | None, source: str | None
) -> Iterator[FileFate]:
    """Say what became of every content version of this site, oldest first."""
    original = aliased(ContentRow)
    asked = (
        select(ContentRow, SourceRow.name)
        .join(SourceRow, col(SourceRow.id) == col(ContentRow.source_id))
        .outerjoin(original, col(original.id) == col(ContentRow.duplicate_of))
        .where(ContentRow.site_id == whose.site_id)
        .order_by(col(ContentRow.id))
        .limit(CHUNK)
    )
    if states:
        asked = asked.where(col(ContentRow.state).in_(states))
    if source:
        asked = asked.where(SourceRow.name == source)
    last = 0
    while rows := session.exec(asked.where(col(ContentRow.id) > last)).all():
        yield from _fates(session, rows)
        last = rows[-1][0].id or 0
        session.expunge_all()


def _fates(session: Session, rows: Sequence[tuple[ContentRow, str]]) -> Iterator[FileFate]:
    ids = {content.id for content, _ in rows}
    paths = _paths(session, ids | {content.duplicate_of for content, _ in rows} - {None})
    for content, source in rows:
        names = paths.get(content.id or 0, [])
        first = paths.get(content.duplicate_of or 0, [])
        yield FileFate(
            path=names[0] if names else "",
            paths=tuple(names),
            sha256=content.sha256,
            size_bytes=content.size_bytes,
            source=source,
            state=content.state,
            code=content.code,
            reason=content.reason,
            attempts=content.attempts,
            first_seen_at=content.first_seen_at,
            done_at=content.done_at,
            next_try_at=content.due_at if content.state in UNREAD else None,
            duplicate_of=first[0] if first else None,
            id=content.id or 0,
            previous=content.previous_id,
        )


def _paths(session: Session, content_ids: Iterable[int | None]) -> dict[int, list[str]]:
    """Content → every name it was seen under, those of its duplicates behind its own."""
    found: dict[int, dict[str, None]] = {}
    for some in _chunks(sorted(number for number in content_ids if number)):
        asked = (
            select(
                ContentRow.id,
                ContentRow.duplicate_of,
                SourceRow.folder,
                PathRow.relative,
            )
            .join(PathRow, col(PathRow.content_id) == col(ContentRow.id))
            .join(SourceRow, col(SourceRow.id) == col(PathRow.source_id))
            .where(or_(col(ContentRow.id).in_(some), col(ContentRow.duplicate_of).in_(some)))
            .order_by(
                col(ContentRow.duplicate_of).is_not(None),
                col(PathRow.replaced_at).is_not(None),
                col(PathRow.gone_at).is_not(None),
                col(PathRow.id).desc(),
            )
        )
        for number, duplicate_of, folder, relative in session.exec(asked):
            name = str(Path(folder) / relative)
            for owner in (number, duplicate_of):
                if owner is not None and owner in some:
                    found.setdefault(owner, {}).setdefault(name)
    return {owner: list(names) for owner, names in found.items()}


def counts(session: Session, whose: Whose) -> dict[str, int]:
    """Say how many content versions of this site are in each state; every state is named."""
    from sqlalchemy import func  # noqa: PLC0415 - read beside its only use

    asked = (
        select(ContentRow.state, func.count())
        .where(ContentRow.site_id == whose.site_id)
        .group_by(ContentRow.state)
    )
    return {state.value: 0 for state in State} | dict(session.exec(asked).all())
