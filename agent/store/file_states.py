"""Name what a content version can be: its states, its claim, its fate.

Out: `State`, `Lane`, `Claim`, `FileFate`. Next: `intake` (what the watch says), `claims` (what a
worker says), `identity` (is it known already?), `fates` (what people ask).
A state is a row, so a crash is a query: whatever was in hand has a lease that runs out, and the
attempt was counted before it began. A worker that lost its lease changes nothing any more.

    settling → queued → processing → done | duplicate | set_aside | ignored
                  ↑______ failed ______|
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar

from agent.errors import FileCode
from agent.watch import locate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from agent.store.tables import ContentRow

RETRY_AFTER = (
    timedelta(minutes=1),
    timedelta(minutes=10),
    timedelta(hours=1),
    timedelta(hours=6),
)
"""How long after each unexpected crash of one file it is tried again."""

READ_AGAIN = frozenset(
    {
        FileCode.EMPTY,
        FileCode.TRUNCATED,
        FileCode.NOT_AN_IMAGE,
        FileCode.UNREADABLE,
        FileCode.DECODER_KILLED,
    }
)
"""Why a file that was set aside is read again by itself, after the same pauses: a server's stale
cache, or a share that hung, looks the same as a file that is no use."""

MAX_ATTEMPTS = len(RETRY_AFTER) + 1
DEATHS_AT_ONCE = 5
MAX_DEATHS = DEATHS_AT_ONCE + MAX_ATTEMPTS
"""How often the agent may die with a file in hand: so often it is tried again at once, then after
the pauses of a crash, then it is set aside. More than the five attempts of a crash, because a
machine that is switched off again and again must not cost an innocent file."""
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


AT_ONCE = datetime(2000, 1, 1, tzinfo=UTC)
"""When something is due that need not wait: a clock that is set back must not delay it."""

VANISHED = "vanished"
BEFORE_READ = "deleted before it could be read"
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
        noted: Order → specimen that notes next to it named while it waited.
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
    noted: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

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
        is_read_again: A later version came under the same name.
        seen_as: Source and name below it, of every name that it was seen under.
        sent_with: Process data that its sender gave, column → value.
        noted: Order → specimen that notes next to it name, as far as they were read.
        renamed_to: Of a file that vanished unread: source and the later name of it, or None.
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
    is_read_again: bool = False
    seen_as: tuple[tuple[str, str], ...] = ()
    sent_with: Mapping[str, str] = field(default_factory=dict)
    noted: Mapping[str, str] = field(default_factory=dict)
    renamed_to: tuple[str, str] | None = None

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


Item = TypeVar("Item")


def chunks(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """Cut what is asked about into questions a database can take."""
    for start in range(0, len(items), CHUNK):
        yield items[start : start + CHUNK]


def rest(
    content: ContentRow,
    state: State,
    code: str | None = None,
    reason: str | None = None,
    *,
    at: datetime | None = None,
) -> None:
    """Put a content where nothing is to be done about it, for now or for good."""
    content.state, content.code, content.reason = state, code, reason
    content.due_at, content.done_at = None, at
