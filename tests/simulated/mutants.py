"""Faults put into the program on purpose, to see how soon a simulated history shows each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from unittest.mock import patch

from sqlmodel import col, select

from agent import archive
from agent.orders.lims import outbox
from agent.pipeline import batch
from agent.service.health.problems import Problems
from agent.store import StoreFaultError
from agent.store.evidence import quality_records
from agent.store.tables import ContentRow
from agent.store.work import deduplication, work_queue
from agent.store.work.file_states import State, rest
from agent.store.work.files import Files
from agent.watch import write_completion


def _at_rest_at_once(self: Any, listing: Any, now_s: float) -> list[Any]:
    self._unchanged_since = dict.fromkeys(listing, now_s)
    return [file for file in listing if file.size_bytes]


def _held_by_anyone(session: Any, claim: Any) -> Any:
    content = session.exec(select(ContentRow).where(ContentRow.id == claim.content_id)).first()
    return content if content is not None and content.state == State.PROCESSING else None


def _swallow(real: Callable[..., Any], *faults: type[Exception]) -> Callable[..., Any]:
    def call(*given: Any, **named: Any) -> Any:
        with suppress(*faults):
            return real(*given, **named)
        return 0

    return call


def _release_for_good(session: Any, claim: Any, sentence: Any, *, retry_at: Any) -> bool:
    content = work_queue.find_claimed(session, claim)
    if content is not None:
        rest(content, State.QUEUED, None, sentence)
        session.add(content)
    return content is not None


def _due_without_the_dead(
    session: Any, whose: Any, n: int, *, at: Any, only: Any
) -> list[tuple[Any, Any]]:
    rows = _REAL_DUE(session, whose, n, at=at, only=only)
    return [row for row in rows if row[0].attempts == 0]


def _add_together(self: Any, new: Any, *, by: str, at: Any, follows: int) -> list[int]:
    return [self.add(one.kind, one.subject, by=by, at=at, facts=one.facts) for one in new]


def _known_by_no_hash(session: Any, content: Any, sha256: str) -> Any:
    asked = select(ContentRow).where(
        ContentRow.sha256 == sha256, col(ContentRow.id) < 0, ContentRow.id != content.id
    )
    return session.exec(asked).first()


_REAL_DUE = work_queue.list_due
MUTANTS: dict[str, tuple[Any, str, Any]] = {
    "settle time ignored": (write_completion.StabilityTracker, "find_stable", _at_rest_at_once),
    "a lease that is over still counts": (work_queue, "find_claimed", _held_by_anyone),
    "row committed before the pixels are synced": (archive, "_flush", lambda _file: None),
    "name of the pixels not synced": (archive, "flush_folder", lambda _folder: None),
    "name of a new folder not synced": (
        archive, "_make_folder", lambda folder: folder.mkdir(parents=True, exist_ok=True),
    ),
    "duplicates not recognised": (deduplication, "known_by_hash", _known_by_no_hash),
    "a change while it was read not noticed": (
        batch, "has_changed", lambda _claim, **_named: False,
    ),
    "outbox marks a revision as written that was not": (
        outbox, "write_whole", _swallow(outbox.write_whole, OSError),
    ),
    "two agents write one revision": (quality_records.Records, "add_together", _add_together),
    "the watch counts a file as taken before the journal has it": (
        Files, "add", _swallow(Files.add, StoreFaultError),
    ),
    "what is given back is never due again": (work_queue, "release_claim", _release_for_good),
    "work of the dead is never taken over": (work_queue, "list_due", _due_without_the_dead),
    "a fault is not said": (Problems, "say", lambda _self, _subject, _sentence: False),
    "a clock that is set back is not followed": (
        work_queue.WorkQueue, "shift_clock", lambda _self, _by, **_named: None,
    ),
}  # fmt: skip
"""Name → where, what, and what stands there instead."""


@contextmanager
def planted(name: str) -> Iterator[None]:
    """Put one fault into the program."""
    where, what, instead = MUTANTS[name]
    with patch.object(where, what, instead):
        yield
