"""Receive files that programs send, and queue them like those of a microscope.

A file is named by its content, so sending it twice has the effect of sending it once.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

from starlette.concurrency import run_in_threadpool

from agent.backup.maintenance import INBOX_SOURCE, is_archived_upload
from agent.errors import AgentError, UsageError
from agent.files.whole_file import PART, flush_folder
from agent.imaging.crop import public_id
from agent.settings import PROCESS_KEYS
from agent.store import FileFate, State, Store
from agent.watch import ListedFile, find_facts

PARTS = ".parts"
"""Folder of incomplete files; on the same disk, so that a complete one is moved atomically."""
KEPT = timedelta(days=30)
"""A sent file that is archived or could not be used is deleted after this time."""
SETTLED = (State.DONE, State.DUPLICATE, State.IGNORED, State.SET_ASIDE)
QUOTA_BYTES = 20_000_000_000
"""What one sender may send in a day."""
SENT = ".sent"
"""End of the name of a day's file, with a line of bytes and sender per file that was received."""
LONGEST_NAME = 120
LONGEST_VALUE = 200


class UploadsBusyError(AgentError):
    """As many files are being received as the limit allows."""


class EmptyUploadError(AgentError):
    """The body was empty."""


@dataclass(slots=True)
class _Part:
    """A file that is being received: where it is written, and its size and hash so far."""

    path: Path
    file: BinaryIO
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)
    size_bytes: int = 0

    def add(self, piece: bytes) -> None:
        self.file.write(piece)
        self.digest.update(piece)
        self.size_bytes += len(piece)

    def close(self) -> None:
        """Flush the file to disk and close it."""
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()


class Inbox:
    """Folder of sent files.

    Args:
        folder: Folder of the inbox, below the data folder.
        store: Open.
        now: Returns the time, aware UTC.
        on_work: Called when a file was queued.
        at_once: How many files may be received at once.
        quota_bytes: What one sender may send in a day.
    """

    def __init__(
        self,
        folder: Path,
        store: Store,
        *,
        now: Callable[[], datetime],
        on_work: Callable[[], None] = lambda: None,
        at_once: int = 4,
        quota_bytes: int = QUOTA_BYTES,
    ) -> None:
        self._folder, self._store, self._now, self._on_work = folder, store, now, on_work
        self._places = threading.BoundedSemaphore(at_once)
        self._quota_bytes, self._sent_bytes = quota_bytes, Counter[str]()
        self._today: date | None = None

    def clear(self) -> None:
        """Delete the incomplete files of an earlier process, and what is needed no longer."""
        for part in (self._folder / PARTS).glob(f"*{PART}"):
            part.unlink(missing_ok=True)
        self._begin_day()

    def _begin_day(self) -> None:
        """Count from zero on a new day, and delete what was settled long ago."""
        now = self._now()
        if self._today == now.date():
            return
        self._today = now.date()
        self._sent_bytes = self._read_sent(now.date())
        for fate in self._store.files.iter_status(SETTLED, INBOX_SOURCE):
            for source, relative in fate.seen_as:
                path = self._folder / relative
                is_old = fate.done_at is None or now - fate.done_at > KEPT
                if source == INBOX_SOURCE and is_old and self._is_spare(fate, relative):
                    path.unlink(missing_ok=True)

    def _read_sent(self, today: date) -> Counter[str]:
        """Return what each sender has sent today, and delete the files of other days."""
        sent_bytes = Counter[str]()
        for path in (self._folder / PARTS).glob(f"*{SENT}"):
            if path.stem != today.isoformat():
                path.unlink(missing_ok=True)
                continue
            for line in path.read_text("utf-8", "replace").splitlines():
                count, _, sender = line.partition(" ")
                sent_bytes[sender] += int(count) if count.isdecimal() else 0
        return sent_bytes

    def _write_sent(self, count: int, sender: str) -> None:
        """Add what a sender has sent to the file of the day, so that it counts after a restart."""
        if count and self._today:
            path = self._folder / PARTS / f"{self._today.isoformat()}{SENT}"
            with suppress(OSError), path.open("a", encoding="utf-8") as file:
                file.write(f"{count} {sender}\n")

    def _is_spare(self, fate: FileFate, relative: str) -> bool:
        """Return whether a file of the inbox is kept elsewhere, or holds nothing that is used."""
        data = self._folder.parent
        is_kept = is_archived_upload(data, Path(self._folder.name) / relative)
        return is_kept or fate.state not in {State.DONE, State.DUPLICATE}

    async def receive(
        self, name: str, pieces: AsyncIterator[bytes], told: Mapping[str, str], *, sender: str = ""
    ) -> dict[str, Any]:
        """Write a file to disk as it arrives, and queue it.

        Args:
            name: As the sender calls it; only its last part counts.
            pieces: The file's bytes.
            told: Process data, column → value.
            sender: Account of the program, "" where it is not known.

        Returns:
            `id` of the first page, `sha256`, and `state`: "queued", or "done" if it was known.

        Raises:
            UsageError: A process-data column is unknown, or a value is too long.
            UploadsBusyError: As many files are being received as the limit allows, or the sender
                has sent as much as it may in a day.
            EmptyUploadError: No bytes were sent.
            OSError: The data folder cannot be written.
        """
        _refuse_unknown(told)
        if not self._places.acquire(blocking=False):
            raise UploadsBusyError(
                "as many files are being received as may be at once; send it again soon"
            )
        try:
            await run_in_threadpool(self._begin_day)
            return await self._received(name, self._count(pieces, sender), told)
        finally:
            self._places.release()

    async def _count(self, pieces: AsyncIterator[bytes], sender: str) -> AsyncIterator[bytes]:
        """Yield pieces as long as their sender may send more. Raises `UploadsBusyError`."""
        count = 0
        try:
            async for piece in pieces:
                count += len(piece)
                self._sent_bytes[sender] += len(piece)
                if self._sent_bytes[sender] > self._quota_bytes:
                    raise UploadsBusyError(
                        f"{sender or 'this PC'} has sent as much as one sender may in a day "
                        f"({self._quota_bytes / 1e9:.0f} GB); send it again tomorrow"
                    )
                yield piece
        finally:
            self._write_sent(count, sender)

    async def _received(
        self, name: str, pieces: AsyncIterator[bytes], told: Mapping[str, str]
    ) -> dict[str, Any]:
        part = await run_in_threadpool(self._begin)
        try:
            async for piece in pieces:
                if piece:
                    await run_in_threadpool(part.add, piece)
            if not part.size_bytes:
                raise EmptyUploadError("the body is empty; send the file's bytes")
            return await run_in_threadpool(self._keep, name, part, told)
        finally:
            part.file.close()
            part.path.unlink(missing_ok=True)

    def take(self, name: str, held: bytes, told: Mapping[str, str]) -> dict[str, Any]:
        """Store and queue a file whose bytes are in memory; all else as in `receive`."""
        _refuse_unknown(told)
        part = self._begin()
        try:
            part.add(held)
            return self._keep(name, part, told)
        finally:
            part.file.close()
            part.path.unlink(missing_ok=True)

    def _begin(self) -> _Part:
        folder = self._folder / PARTS
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{secrets.token_hex(8)}{PART}"
        return _Part(path, path.open("xb"))

    def _keep(self, name: str, part: _Part, told: Mapping[str, str]) -> dict[str, Any]:
        part.close()
        sha256 = part.digest.hexdigest()
        relative = f"{sha256[:2]}/{sha256[:16]}{_of(told)}-{_safe(name)}"
        path = self._folder / relative
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            part.path.replace(path)
            flush_folder(path.parent)
        facts = find_facts(self._folder, relative)
        if facts is None:
            raise FileNotFoundError(f"{path} was removed at this moment; send it again")
        arrival = ListedFile(INBOX_SOURCE, self._folder, relative, *facts)
        self._store.files.add(
            [arrival],
            at=self._now(),
            lane="urgent",
            origin="api",
            process_data={relative: dict(told)},
        )
        self._on_work()
        known = self._store.results.find(public_id(sha256, 0))
        return {
            "id": public_id(sha256, 0),
            "sha256": sha256,
            "state": "done" if known else "queued",
        }


def _of(told: Mapping[str, str]) -> str:
    """Return a suffix that separates the same content with other process data, "" without any.

    The same content sent for another order is another file, so that both orders list it.
    """
    if not told:
        return ""
    text = json.dumps(dict(sorted(told.items())), ensure_ascii=False)
    return f"-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _refuse_unknown(told: Mapping[str, str]) -> None:
    if strangers := sorted(told.keys() - set(PROCESS_KEYS)):
        raise UsageError(
            f"no process data is called {strangers[0]!r}; known are {', '.join(PROCESS_KEYS)}."
        )
    if any(len(value) > LONGEST_VALUE or not value.isprintable() for value in told.values()):
        raise UsageError(f"a value of the process data has at most {LONGEST_VALUE} plain letters.")


def _safe(name: str) -> str:
    last = re.split(r"[/\\]", name)[-1]
    plain = re.sub(r"[^\w.+ -]", "_", last).strip(". ")
    return plain[-LONGEST_NAME:] or "file"
