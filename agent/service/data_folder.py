"""The data folder of the agent: its names, and its locks for one agent and one training at a time.

The system releases a lock when the process ends, however it ends. A share may not carry locks from
one PC to the other, so that an agent also keeps a presence next to its lock: a text that changes
as long as it runs. It is alive if the text changes; no clock of another PC counts.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Self

from agent.errors import StoreError, UsageError
from agent.settings import find_pc_name
from agent.store.sites.site_folders import get_own_file

if TYPE_CHECKING:
    from agent.settings import Settings
    from model import FeatureCache


def clock() -> datetime:
    """Return the time, aware UTC."""
    return datetime.now(UTC)


def agent_name() -> str:
    """Return this agent's name: the PC's."""
    return find_pc_name()


def bundles_folder(settings: Settings) -> Path:
    """Return the folder of the bundles."""
    return settings.store.folder / "bundles"


def get_feature_cache(settings: Settings) -> FeatureCache:
    """Return the features of crops that earlier trainings kept; the backup leaves them out."""
    from model import FeatureCache  # noqa: PLC0415 - brings PyTorch; most commands need none

    limit_bytes = settings.retrain.feature_cache_mb * 1_000_000
    return FeatureCache(settings.store.folder / "features", limit_bytes)


PATIENCE_S = 2.0  # who only asks holds it for a moment, and a killed agent takes one to end
ASK_EVERY_S = 0.05
BEAT_S = 2.0
WATCH_S = 10.0
"""A presence of another PC that has not changed for this long is of an agent that died."""
PRESENCE = "agent.presence"
PRESENCE_BYTES = 512


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
            UsageError: Another process has it; the message names it.
            StoreError: The data folder cannot be written.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | _CLOSE_ON_EXEC, 0o644)
        except OSError as error:
            raise StoreError(f"{self._path}: cannot be written ({error.strerror}).") from error
        if not _locked_within(descriptor, PATIENCE_S):
            holder = os.pread(descriptor, 32, 0) if hasattr(os, "pread") else b""
            os.close(descriptor)
            pid = holder.decode(errors="replace").strip()
            raise UsageError(self._taken.format(who=f" (process {pid})" if pid else ""))
        try:
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()}\n".encode())
        except OSError as error:
            os.close(descriptor)
            raise StoreError(f"{self._path}: cannot be written ({error.strerror}).") from error
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


@dataclass(frozen=True, slots=True)
class Presence:
    """An agent that runs, as it writes itself into a folder that others may use too.

    Attributes:
        pc: Name of its PC.
        boot: Of the running system, "" where it has none: containers of a PC have one, two PCs two.
        pid: Its process.
        folder: Its data folder.
        inode: Of the data folder; a container has another name each time, and the same folder.
        beat: Grows as long as it runs.
        at: When it was written, ISO 8601, "" where beats tell that it runs.
        is_stopped: It ended well.
        lab: Hash of the first act of its database, "" where that is not known.
        kind: Of its database, "sqlite" or "postgresql".
        number: Of the newest act of the trail.
        sha256: Of that act.
    """

    pc: str
    boot: str
    pid: int
    folder: str
    inode: int
    beat: int = 0
    at: str = ""
    is_stopped: bool = False
    lab: str = ""
    kind: str = ""
    number: int = 0
    sha256: str = ""

    @classmethod
    def of(cls, folder: Path, pc: str, *, boot: str | None = None) -> Self:
        """Return the presence of this process.

        Args:
            folder: Its data folder.
            pc: Name of the PC.
            boot: Of the running system, None: it is read.
        """
        inode = 0
        with suppress(OSError):
            inode = folder.stat().st_ino
        return cls(pc, _read_boot_id() if boot is None else boot, os.getpid(), str(folder), inode)

    @classmethod
    def read(cls, file: Path) -> Self | None:
        """Return what a file holds, None where it holds none."""
        with suppress(OSError, ValueError, TypeError):
            presence = cls(**json.loads(file.read_text(encoding="utf-8")))
            if presence.at:
                datetime.fromisoformat(presence.at)
            return presence
        return None

    def write(self, file: Path) -> None:
        """Write it over what is there, which needs no room on a full disk.

        Raises:
            OSError: The folder cannot be written.
        """
        file.parent.mkdir(exist_ok=True)
        text = json.dumps(asdict(self), ensure_ascii=False).encode().ljust(PRESENCE_BYTES)
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | _CLOSE_ON_EXEC, 0o644)
        try:
            os.write(descriptor, text)
            os.ftruncate(descriptor, len(text))
        finally:
            os.close(descriptor)  # a share gets it now

    def is_of(self, other: Presence) -> bool:
        """Return whether both are of one agent."""
        return (self.pc, self.boot, self.pid) == (other.pc, other.boot, other.pid)

    def may_be_elsewhere(self, other: Presence) -> bool:
        """Return whether the two may be of two PCs, so that no lock decides between them."""
        return (self.pc, self.boot) != (other.pc, other.boot) and (
            self.boot != other.boot or not self.boot
        )


class RunLock(Lock):
    """The right to run as the agent of this data folder.

    Args:
        folder: The data folder.
        agent: This agent's name.
        url: Address of the database: agents of several PCs share the folder with PostgreSQL, and
            each locks its own name; SQLite serves one agent at all.
        boot: Of the running system.
        beat_s: Time between two beats of the presence.
        watch_s: How long the presence of another PC is watched, in seconds.
    """

    def __init__(
        self,
        folder: Path,
        agent: str,
        url: str = "",
        *,
        boot: str | None = None,
        beat_s: float = BEAT_S,
        watch_s: float = WATCH_S,
    ) -> None:
        file = get_own_file(folder, "agent.lock", url=url, pc=agent)
        place = str(folder).replace("{", "{{").replace("}", "}}")
        super().__init__(
            file,
            f"{place}: an agent is already running here{{who}}. It takes the files by itself; for "
            "anything else stop it first (agent service stop).",
        )
        self._presence = folder / PRESENCE if file.name == "agent.lock" else None
        self._own = Presence.of(folder, agent, boot=boot)
        self._beat_s, self._watch_s = beat_s, watch_s
        self._ended = threading.Event()
        self._beating: threading.Thread | None = None
        self._taker: Presence | None = None

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the lock of this PC's agent."""
        return cls(settings.store.folder, find_pc_name(), settings.store.url)

    def acquire(self) -> None:
        """Acquire it; the folder of an agent that died on another PC is taken over.

        Raises:
            UsageError: Another process has it, of this PC or of another one; the message names it.
            StoreError: The data folder cannot be written.
        """
        super().acquire()
        if self._presence is None:
            return
        try:
            self._take_over(self._presence)
        except BaseException:
            super().release()
            raise
        self._write(self._presence)
        self._ended.clear()
        self._beating = threading.Thread(
            target=self._beat, args=(self._presence,), name="presence", daemon=True
        )
        self._beating.start()

    def release(self) -> None:
        """Release it; harmless when it is not held."""
        self._ended.set()
        if self._beating is not None:
            self._beating.join()
            self._beating = None
            if self._presence and not self._taker:
                self._own = replace(self._own, is_stopped=True)
                self._write(self._presence)
        super().release()

    def require_held(self) -> None:
        """Raise `StoreError` where an agent of another PC took the folder over."""
        if self._taker:
            raise StoreError(
                f"{self._path.parent}: {_name(self._taker)} took this folder over while this agent "
                f"stood still. {ONE_PC}"
            )

    def _take_over(self, file: Path) -> None:
        before = Presence.read(file)
        if before is None or before.is_stopped or not before.may_be_elsewhere(self._own):
            return
        ends_s = time.monotonic() + self._watch_s
        while time.monotonic() < ends_s:
            time.sleep(min(self._beat_s / 2, self._watch_s))
            now = Presence.read(file)
            if now and now.is_stopped:
                return
            if now and now != before:
                raise UsageError(
                    f"{self._path.parent}: {_name(now)} is running on this folder. {ONE_PC}"
                )
        import structlog  # noqa: PLC0415 - `agent status` asks for a lock, and is to be quick

        log = structlog.get_logger()
        log.warning(
            "folder.taken_over",
            reason=f"{self._path.parent}: {_name(before)} ended without stopping; this agent takes "
            "its folder over.",
        )

    def _beat(self, file: Path) -> None:
        while not self._ended.wait(self._beat_s):
            now = Presence.read(file)
            if now and not now.is_of(self._own) and not now.is_stopped:
                self._taker = now
                return
            self._own = replace(self._own, beat=self._own.beat + 1)
            self._write(file)

    def _write(self, file: Path) -> None:
        with suppress(OSError):  # a folder that cannot be written is named by the store
            self._own.write(file)


ONE_PC = (
    "A SQLite database serves one PC: stop one of the two agents, or use PostgreSQL for several "
    "PCs (guide, Set up several PCs)."
)


def _name(presence: Presence) -> str:
    return f"the agent of {presence.pc} (process {presence.pid})"


def _read_boot_id() -> str:
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return ""


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
