"""Lock a data folder for one agent of a name, and for one training at a time.

The system releases a lock when the process ends, however it ends.
"""

from __future__ import annotations

import os
import re
import sys
import time
from typing import TYPE_CHECKING, Self

from agent.errors import BadStore, WrongUse

if TYPE_CHECKING:
    from pathlib import Path


PATIENCE_S = 2.0  # who only asks holds it for a moment, and a killed agent takes one to end
ASK_EVERY_S = 0.05


class Lock:
    """A lock that one process has at a time.

    Args:
        path: The file that is locked; it is made, and stays.
        taken: Error message for the second process; "{who}" becomes the first one, where known.
    """

    def __init__(self, path: Path, taken: str) -> None:
        self._path, self._taken = path, taken
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Acquire it.

        Raises:
            WrongUse: Another process has it; the message names it.
            BadStore: The data folder cannot be written.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | _CLOSE_ON_EXEC, 0o644)
        except OSError as error:
            raise BadStore(f"{self._path}: cannot be written ({error.strerror}).") from error
        if not _locked_within(descriptor, PATIENCE_S):
            holder = os.pread(descriptor, 32, 0) if hasattr(os, "pread") else b""
            os.close(descriptor)
            pid = holder.decode(errors="replace").strip()
            raise WrongUse(self._taken.format(who=f" (process {pid})" if pid else ""))
        try:
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()}\n".encode())
        except OSError as error:
            os.close(descriptor)
            raise BadStore(f"{self._path}: cannot be written ({error.strerror}).") from error
        self._descriptor = descriptor

    def release(self) -> None:
        """Release it; harmless when it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)  # closing lets the lock go
        self._descriptor = None

    def is_held(self) -> bool:
        """Return whether a process has it."""
        try:
            descriptor = os.open(self._path, _TO_ASK | _CLOSE_ON_EXEC)
        except OSError:
            return False
        try:
            return not _lock(descriptor, only_ask=True)
        finally:
            os.close(descriptor)

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class RunLock(Lock):
    """The right to run as this agent on this data folder.

    Args:
        folder: The data folder.
        agent: This agent's name.
    """

    def __init__(self, folder: Path, agent: str) -> None:
        safe = re.sub(r"[^A-Za-z0-9_.-]", "_", agent)
        place = str(folder).replace("{", "{{").replace("}", "}}")
        super().__init__(
            folder / f"agent-{safe}.lock",
            f"{place}: an agent is already running here{{who}}; it takes the files by itself.",
        )


class TrainingLock(Lock):
    """Lock for training on this data folder: one bundle is trained at a time.

    Args:
        folder: The data folder.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(
            folder / "teach.lock",
            "A training is already running{who}. agent status shows its progress; "
            "agent retrain --cancel stops it.",
        )


def _locked_within(descriptor: int, patience_s: float) -> bool:
    ends_s = time.monotonic() + patience_s
    while not (locked := _lock(descriptor)) and time.monotonic() < ends_s:
        time.sleep(ASK_EVERY_S)
    return locked


_CLOSE_ON_EXEC = getattr(os, "O_CLOEXEC", 0)  # a worker must not keep it when the agent is killed

if sys.platform == "win32":
    import msvcrt

    _TO_ASK = os.O_RDWR  # Windows locks a part of a file that is open for writing

    def _lock(descriptor: int, *, only_ask: bool = False) -> bool:  # noqa: ARG001 - for POSIX
        os.lseek(descriptor, 1 << 20, os.SEEK_SET)  # far behind the text, which stays readable
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        os.lseek(descriptor, 0, os.SEEK_SET)
        return True

else:
    import fcntl

    _TO_ASK = os.O_RDONLY  # also where the disk has become read-only

    def _lock(descriptor: int, *, only_ask: bool = False) -> bool:
        kind = fcntl.LOCK_SH if only_ask else fcntl.LOCK_EX  # NFS: the latter only for writers
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
