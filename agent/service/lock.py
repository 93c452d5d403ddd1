"""Let one agent of a name run on a data folder, one bundle be taught, and no second beside it.

In:  the data folder. Out: a lock that the system gives back when the process ends, however it
ends. Next: `daemon` and `once` hold it, and whoever teaches; `status` asks whether somebody does.
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
    """A right that one process has at a time.

    Args:
        path: The file that is locked; it is made, and stays.
        taken: Said to whoever comes second; "{who}" becomes the holder's process, where known.
    """

    def __init__(self, path: Path, taken: str) -> None:
        self._path, self._taken = path, taken
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take it, or say who has it.

        Raises:
            WrongUse: Somebody has it already.
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
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        self._descriptor = descriptor

    def release(self) -> None:
        """Give it back; harmless when it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)  # closing lets the lock go
        self._descriptor = None

    def is_held(self) -> bool:
        """Say whether some process has it."""
        try:
            descriptor = os.open(self._path, os.O_RDWR | _CLOSE_ON_EXEC)
        except OSError:
            return False
        try:
            return not _lock(descriptor)
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
        folder: The data folder. agent: this agent's name.
    """

    def __init__(self, folder: Path, agent: str) -> None:
        safe = re.sub(r"[^A-Za-z0-9_.-]", "_", agent)
        place = str(folder).replace("{", "{{").replace("}", "}}")
        super().__init__(
            folder / f"agent-{safe}.lock",
            f"{place}: an agent is already running here{{who}}; it takes the files by itself.",
        )


class TeachLock(Lock):
    """The right to teach a bundle on this data folder: one is taught at a time.

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

    def _lock(descriptor: int) -> bool:
        os.lseek(descriptor, 1 << 20, os.SEEK_SET)  # far behind the text, which stays readable
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        os.lseek(descriptor, 0, os.SEEK_SET)
        return True

else:
    import fcntl

    def _lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
