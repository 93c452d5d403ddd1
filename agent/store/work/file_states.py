"""States of a content version, its claim by a worker, and its status.

A state is a row, so a crash is a query: content in work has a lease that expires, and the
attempt was counted before it began. A worker that lost its lease changes nothing any more.

    settling → queued → processing → done | duplicate | set_aside | ignored
                  ↑______ failed ______|
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Annotated, TypeVar

from agent.errors import FileCode
from agent.store.results.stored_facts import NOT_FROZEN
from agent.store.tables import ContentRow
from agent.watch import ListedFile

RETRY_AFTER = (
    timedelta(minutes=1),
    timedelta(minutes=10),
    timedelta(hours=1),
    timedelta(hours=6),
)
"""Pause after each unexpected crash on one file."""

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
SUSPECT_AFTER = (
    2  # lost leases; from then on a file is tried alone, to find the one that crashes the agent
)
CHUNK = 400  # rows per statement: SQLite takes at most 999 values in old builds


class State(StrEnum):
    """State of a content version; part of the JSON contract."""

    SETTLING = "settling"
    QUEUED = "queued"
    PROCESSING = "processing"
    DONE = "done"
    FAILED = "failed"
    SET_ASIDE = "set_aside"
    DUPLICATE = "duplicate"
    IGNORED = "ignored"


UNREAD = (State.SETTLING, State.QUEUED, State.FAILED)
"""Not claimed yet: new bytes under the same name are the same version still growing."""


class Lane(IntEnum):
    """Priority of a queued file; within a lane the oldest is first."""

    URGENT = 0
    FRESH = 1
    BACKLOG = 2


AT_ONCE = datetime(2000, 1, 1, tzinfo=UTC)
"""When something is due that need not wait: a clock that is set back must not delay it."""

VANISHED = "vanished"
BEFORE_READ = "deleted before it could be read"
OVERWRITTEN = "overwritten"
OVERWRITTEN_SENTENCE = (
    "copied on, or written again, before it was read; the newer version is taken instead"
)
NOT_A_FILE = "not_a_file"
NOT_A_PICTURE = "not_a_picture"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim(ListedFile):
    """A file, as last listed, claimed by one worker until the lease expires.

    Args:
        content_id: Number of the content version.
        token: Distinguishes this claim from a later one of the same content.
        attempts: Number of attempts, this one included.
        origin: "watch", "import" or "api".
        lane: "urgent", "fresh" or "backlog".
        process_data: Received with the file; does not include what the path names.
        noted: Order → specimen that notes next to it named while it waited.
        listed_at: When it was first listed, aware UTC.
    """

    content_id: int
    token: int
    attempts: int
    origin: str = "watch"
    lane: str = "fresh"
    process_data: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    noted: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    listed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class FileFate:
    """Status of a content version.

    Args:
        path: Current or last path.
        paths: All names it had, `path` first.
        sha256: None until it was read.
        size_bytes: Size of the file.
        source: Name of the source.
        state: See `State`.
        code: Stable code of the reason, or None.
        reason: Reason as a sentence, or None.
        attempts: Number of attempts.
        first_seen_at: Aware UTC.
        done_at: Aware UTC, or None.
        next_try_at: Aware UTC, or None.
        duplicate_of: Path of the same content, or None.
        id: Its number.
        previous: Number of the version before it under the same name, or None.
        read_again: Hash of each later version under one of its names that gave a field → whether
            its bytes were new; a copy has the field of its original.
        seen_as: Source and name below it, of all names it had.
        sent_with: Process data from its sender, column → value.
        noted: Order → specimen named by notes next to it, as far as they were read.
        renamed_to: Of a file that vanished unread, or whose folder is another source now: source
            and the later name of it, or None.
        read_as: Source → pattern and fixed process data, as agents read names since it was listed.
    """

    path: str
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
    paths: Annotated[tuple[str, ...], NOT_FROZEN] = ()
    previous: Annotated[int | None, NOT_FROZEN] = None
    read_again: Annotated[Mapping[str, bool], NOT_FROZEN] = field(default_factory=dict)
    seen_as: Annotated[tuple[tuple[str, str], ...], NOT_FROZEN] = ()
    sent_with: Annotated[Mapping[str, str], NOT_FROZEN] = field(default_factory=dict)
    noted: Annotated[Mapping[str, str], NOT_FROZEN] = field(default_factory=dict)
    renamed_to: Annotated[tuple[str, str] | None, NOT_FROZEN] = None
    read_as: Annotated[Mapping[str, Sequence[tuple[str, Mapping[str, str]]]], NOT_FROZEN] = field(
        default_factory=dict
    )

    @property
    def known_code(self) -> str:
        """Its code; one that failed without has crashed the reader."""
        return self.code or FileCode.CRASHED.value

    @property
    def ended_at(self) -> datetime:
        """When it was done or set aside; until then when it was first seen."""
        return self.done_at or self.first_seen_at

    def as_json(self) -> dict[str, object]:
        """Return it as `agent files --json` prints it."""
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
        """Code and sentence together, or None where there is no reason."""
        return ": ".join(part for part in (self.code, self.reason) if part) or None


def _iso(at: datetime | None) -> str | None:
    return at.isoformat(timespec="milliseconds") if at else None


Item = TypeVar("Item")


def chunks(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """Yield the values in batches that fit into one SQL statement."""
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
    """Set a state of a content in which nothing is due, for now or permanently."""
    content.state, content.code, content.reason = state, code, reason
    content.due_at, content.done_at = None, at
