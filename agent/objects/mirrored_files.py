"""Find, fetch and delete single files of a data folder that an object storage has, too."""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from agent.files.whole_file import PART
from agent.objects.bucket import Bucket, ObjectsUnavailableError
from agent.objects.upload_index import PRUNED, Uploaded, UploadIndex

# --- bound how long a page waits for the object storage, which goes on fetching what it needs -----
# A page sets the time until which its requests may wait. A request that takes longer goes on in a
# thread of this process, and its result is there when the page is loaded again.


Result = TypeVar("Result")
THREADS: Final = 8
MOST_KEPT: Final = 200
"""Requests that wait, run or have an answer that no page has read yet; more are not begun."""
KEPT_S: Final = 60.0
"""An answer that no page has read for so long is forgotten: the file may have changed."""
_until_s: ContextVar[float | None] = ContextVar("until_s", default=None)


class BeingFetchedError(ObjectsUnavailableError):
    """The object storage has not answered yet; the request goes on in the background."""


@contextmanager
def waiting_at_most(seconds: float) -> Iterator[None]:
    """Bound how long all requests to object storages of this context wait together, from now on."""
    token = _until_s.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _until_s.reset(token)


class _Read(Future[Any]):
    """What a read returns, and when it ended (s, monotonic)."""

    end_s = math.inf


class BackgroundReads:
    """Reads from an object storage that go on where their page does not wait any longer.

    Their threads are daemons. The interpreter waits for those of a `ThreadPoolExecutor`, so that a
    storage that hangs would keep the agent from stopping.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._turns = threading.Semaphore(THREADS)
        self._reads: dict[str, _Read] = {}

    def run(self, name: str, call: Callable[[], Result]) -> Result:
        """Return what a read returns, at once where this context waits without end.

        Args:
            name: Of the read; one that runs already is joined.
            call: Sends the requests.

        Raises:
            BeingFetchedError: The time of the page is over, and the read goes on.
            OSError: As raised by the read.
        """
        until_s = _until_s.get()
        if until_s is None:
            return call()
        read = self._start(name, call)
        if read and wait_for([read], max(0.0, until_s - time.monotonic())).done:
            with self._lock:
                if self._reads.get(name) is read:  # not another page's, begun since
                    del self._reads[name]
            return cast("Result", read.result())
        raise BeingFetchedError(f"{name} is being fetched from the object storage")

    def _start(self, name: str, call: Callable[[], Any]) -> _Read | None:
        """Return the read of a name, begun where none runs; None where too many wait."""
        oldest_s = time.monotonic() - KEPT_S
        with self._lock:
            self._reads = {
                name: read for name, read in self._reads.items() if read.end_s >= oldest_s
            }
            if name not in self._reads and len(self._reads) < MOST_KEPT:
                read = self._reads[name] = _Read()
                threading.Thread(target=self._work, args=(read, call), daemon=True).start()
            return self._reads.get(name)

    def _work(self, read: _Read, call: Callable[[], Any]) -> None:
        with self._turns:
            try:
                answer = call()
            except Exception as error:  # noqa: BLE001 - raised again where the result is read
                read.set_exception(error)
            else:
                read.set_result(answer)
        read.end_s = time.monotonic()


# --- find, fetch and delete single files of a data folder that an object storage has, too ---------


FEATURES: Final = "kept-features"
FOLDERS: Final = ("crops", "originals", "statements", "bundles", "reports", FEATURES)
BUNDLE_FILE: Final = "bundle.json"
_PART_OF_NAME = re.compile(r"(?!\.)[\w.,=+@()# -]{1,200}(?<![. ])")
_DEEPEST: Final = 6


class MirroredFiles:
    """The data folder of one agent and its object storage; safe to share between threads.

    A method that needs the storage raises `ObjectsUnavailableError` where it does not answer.

    Args:
        folder: The data folder.
        bucket: The storage.
    """

    def __init__(self, folder: Path, bucket: Bucket) -> None:
        self.folder, self.bucket, self.index = folder, bucket, UploadIndex(folder)
        self._reads = BackgroundReads()

    def has(self, path: Path) -> bool:
        """Return whether a file of the data folder exists, on the disk or in the storage."""
        if path.is_file():
            return True
        name = self.name_of(path)
        if self.index.find(name) is not None:
            return True
        return not self.index.is_doomed(name) and self._reads.run(
            name, lambda: self._find_remote(name)
        )

    def is_known(self, start: Path) -> bool:
        """Return whether a file whose path begins so is known to be in the storage, unasked."""
        return bool(self.index.list_start(self.name_of(start)))

    def fetch(self, path: Path) -> None:
        """Fetch a file from the storage unless it is on the disk.

        Raises:
            FileNotFoundError: It is nowhere, or was deleted.
            DamagedObjectError: The storage has other bytes than were stored.
        """
        if not path.is_file():
            name = self.name_of(path)
            self._reads.run(f"the file {name}", lambda: self._fetch(path, name))

    def _fetch(self, path: Path, name: str) -> None:
        self._refuse_doomed(name)
        known = self.index.find(name)
        sha256 = self.bucket.fetch(name, path, sha256=known.sha256 if known else "")
        if self.index.is_doomed(name) or (known and self.index.find(name) is None):
            # Since then pruned, or to be sent again: the next round knows by the database.
            self.index.record_compared(PRUNED, 0)
            return
        facts = path.stat()
        self.index.record(Uploaded(name, facts.st_size, facts.st_mtime_ns, sha256, is_local=True))

    def compute_hash(self, path: Path) -> str:
        """Return the SHA-256 of a file that is only in the storage, read through once.

        Raises:
            FileNotFoundError: It is nowhere.
        """
        name = self.name_of(path)
        self._refuse_doomed(name)
        return self.bucket.compute_hash(name)

    def list_start(self, start: Path) -> list[Path]:
        """Return the files whose path begins so, on the disk or in the storage."""
        beginning = self.name_of(start)
        local = [path for path in start.parent.glob(f"{start.name}*") if path.is_file()]
        doomed = set(self.index.list_doomed())
        remote = [
            self.folder / name
            for name in self._reads.run(
                f"the list of {beginning}", lambda: self.bucket.list_names(beginning)
            )
            if is_own_name(name) and name not in doomed
        ]
        return sorted({*local, *remote})

    def find_start(self, start: Path) -> Path | None:
        """Return the first file whose path begins so, without a request if one is known."""
        if known := self.index.list_start(self.name_of(start)):
            return self.folder / min(known)
        return next(iter(self.list_start(start)), None)

    def measure(self, path: Path) -> int:
        """Return the size of a file in bytes, on the disk or in the storage; 0 for none."""
        with suppress(OSError):
            return path.stat().st_size
        known = self.index.find(self.name_of(path))
        return known.size if known else 0

    def delete(self, path: Path) -> None:
        """Delete a file from the disk and the storage; if that is away, with the next round."""
        name = self.name_of(path)
        self.index.doom(name)
        path.unlink(missing_ok=True)
        with suppress(ObjectsUnavailableError):
            self.delete_remote(name)

    def delete_remote(self, name: str) -> None:
        """Delete an object that is recorded as to be deleted."""
        self.bucket.delete(name)
        self.index.record_deleted(name)

    def _refuse_doomed(self, name: str) -> None:
        if self.index.is_doomed(name):
            raise FileNotFoundError(f"{name}: it was deleted")

    def _find_remote(self, name: str) -> bool:
        facts = self.bucket.find(name)
        if facts is not None:
            self.index.record(Uploaded(name, facts.size, 0, facts.sha256, is_local=False))
        return facts is not None

    def name_of(self, path: Path) -> str:
        """Return the name of a file in the storage: its path in the data folder, with "/"."""
        return path.relative_to(self.folder).as_posix()


def is_own_name(name: str) -> bool:
    """Return whether an object may be one of the agent's: what it names stays in its folders."""
    parts = name.split("/")
    return (
        1 < len(parts) <= _DEEPEST
        and parts[0] in FOLDERS
        and all(_PART_OF_NAME.fullmatch(part) for part in parts)
        and not name.endswith(PART)
    )


def select_own(names: Collection[str]) -> list[str]:
    """Return the objects that may be the agent's, in their order.

    An object that is named as the folder of another one is none: no disk holds both.
    """
    own = [name for name in names if is_own_name(name)]
    folders = {name[:end] for name in own for end, letter in enumerate(name) if letter == "/"}
    return [name for name in own if name not in folders]
