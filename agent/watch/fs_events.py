"""Wake the watcher on file-system events; only the folder itself decides what changed.

The handler only records and wakes: an exception in it would end watchdog's dispatcher, and slow
work would drop events. Two losses that watchdog does not report are detected here: events dropped
by the kernel, and subfolders without a watch.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import sys
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from weakref import WeakSet

import psutil
from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirModifiedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from agent.watch.listing import Kind, classify_name, to_text

HEARD: list[type[FileSystemEvent]] = [
    FileCreatedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileClosedEvent,
    FileDeletedEvent,
    DirCreatedEvent,
    DirMovedEvent,
    DirDeletedEvent,
]
"""Without "opened" and "closed without writing": our own reading would wake us endlessly."""
BURST = 5_000  # more names than this between two checks: the folder is listed instead
# On a folder renamed twice quickly, watchdog names every watched folder, and still listens.
warnings.filterwarnings("ignore", message="Callback with id", category=RuntimeWarning)
GATHER_S = 0.05  # watchdog's wait; on Windows its default of 1 s delays a busy folder's events


class EventsUnavailableError(Exception):
    """This folder yields no events; the message contains the reason and what to do."""


class WatchLimitError(EventsUnavailableError):
    """No events, because a limit of this PC is reached, which an administrator can raise."""


@dataclass(frozen=True, slots=True)
class Hints:
    """Changes since the last check.

    Args:
        paths: Relative paths named by events.
        list_all: The whole folder must be listed.
    """

    paths: frozenset[str]
    list_all: bool


class EventListener(FileSystemEventHandler):
    """Receives the events of one folder.

    Args:
        folder: The folder, watched with everything below it.
        ring: Called from watchdog's thread whenever something changed.
    """

    def __init__(self, folder: Path, ring: Callable[[], None]) -> None:
        self._folder = os.fspath(folder)
        self._ring = ring
        self._lock = threading.Lock()
        self._paths: set[str] = set()
        self._list_all = False
        self._observer: BaseObserver | None = None

    def start(self) -> None:
        """Start receiving events.

        Raises:
            Deaf: This folder yields no events.
        """
        observer = Observer(timeout=GATHER_S)
        if not os.path.isdir(self._folder):  # noqa: PTH112 - on Windows only a thread would notice
            raise build_unavailable(FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)))
        try:
            observer.schedule(self, self._folder, recursive=True, event_filter=HEARD)
            observer.start()
        except OSError as error:
            _stop(observer)
            raise build_unavailable(error) from error
        except RuntimeError as error:  # no thread left
            raise EventsUnavailableError(str(error)) from error
        if (shortage := find_watch_shortage(self._folder)) is not None:
            _stop(observer)
            raise build_unavailable(shortage)
        self._observer = observer
        _OVERFLOW.listen_for(self)

    def is_healthy(self) -> bool:
        """Return whether events can still arrive: a dead emitter leaves its observer alive."""
        observer = self._observer
        return (
            observer is not None
            and observer.is_alive()
            and bool(observer.emitters)
            and all(emitter.is_alive() for emitter in observer.emitters)
            and find_watch_shortage(self._folder) is None
        )

    def stop(self) -> None:
        """Stop receiving events; harmless when never started."""
        observer, self._observer = self._observer, None
        if observer is not None:
            _stop(observer)

    def take_hints(self) -> Hints:
        """Return and clear the changes since the last call."""
        with self._lock:
            hints = Hints(frozenset(self._paths), self._list_all)
            self._paths, self._list_all = set(), False
        return hints

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Record an event and wake the watcher. Called by watchdog; must never raise."""
        try:
            is_relevant = [
                self._note(path, event) for path in (event.src_path, event.dest_path) if path
            ]
        except Exception:  # noqa: BLE001 - it would end the dispatcher; the listing finds the file
            is_relevant = [self._note_all()]
        if any(is_relevant):
            self._ring()

    def _note(self, path: bytes | str, event: FileSystemEvent) -> bool:
        if event.is_directory:
            # A new folder may hold files whose events preceded its watch.
            return False if isinstance(event, DirModifiedEvent) else self._note_all()
        relative = os.path.relpath(os.fsdecode(path), self._folder).replace(os.sep, "/")
        relative = to_text(relative)
        if relative.startswith("../") or classify_name(relative) is Kind.JUNK:
            return False
        with self._lock:
            if len(self._paths) < BURST:
                self._paths.add(relative)
            else:
                self._list_all = True
        return True

    def _note_all(self) -> bool:
        with self._lock:
            self._list_all = True
        return True

    def overflowed(self) -> None:
        """Request a full listing, since events were lost."""
        self._note_all()
        self._ring()


class _Overflow(logging.Handler):
    """Detects that the kernel dropped events, which watchdog reports only in its log."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._listeners: WeakSet[EventListener] = WeakSet()

    def listen_for(self, listener: EventListener) -> None:
        """Notify this listener of overflows."""
        self.acquire()
        try:
            self._listeners.add(listener)
        finally:
            self.release()

    def emit(self, record: logging.LogRecord) -> None:
        """Notify every listener: the record does not name the one. Called with the lock held."""
        if "overflow" in str(record.msg):
            for listener in tuple(self._listeners):
                listener.overflowed()


_OVERFLOW = _Overflow()
logging.getLogger("watchdog.observers.inotify_c").addHandler(_OVERFLOW)


def find_watch_shortage(folder: str) -> OSError | None:
    """Return the error if Linux has no inotify watch left, else None.

    watchdog silently skips subfolders for which it gets no watch.
    """
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_CLOEXEC)
    if descriptor < 0:
        return None  # no instance left for this test; watchdog already has one
    try:
        delete_self = 0x400
        if libc.inotify_add_watch(descriptor, os.fsencode(folder), delete_self) >= 0:
            return None
        number = ctypes.get_errno()
        return OSError(number, os.strerror(number)) if number == errno.ENOSPC else None
    finally:
        os.close(descriptor)


def build_unavailable(error: OSError) -> EventsUnavailableError:
    """Build the exception that explains why no events arrive: inotify's own message misleads."""
    if error.errno == errno.ENOSPC:
        return WatchLimitError(
            "this PC's limit of watched folders is used up "
            "(raise fs.inotify.max_user_watches); polling instead"
        )
    if error.errno == errno.EMFILE:
        return WatchLimitError(
            "this PC's limit of watchers is used up "
            "(raise fs.inotify.max_user_instances); polling instead"
        )
    return EventsUnavailableError(
        f"no events can be had here ({error.strerror or error}); polling instead"
    )


def _stop(observer: BaseObserver) -> None:
    """Stop an observer in any state, even one never started."""
    observer.stop()
    if observer.is_alive():
        observer.join(timeout=2)


# --- choose events or polling for a folder --------------------------------------------------------
# Nothing is ever written into a source for a test: the type of the file system decides, and later
# the arrivals do ("found by the listing, without an event").


Mode = Literal["native", "poll"]

SILENT = frozenset(
    "9p afpfs afs beegfs ceph cifs coda davfs drvfs glusterfs gpfs lustre ncpfs nfs nfs4 prl_fs"  # noqa: SIM905
    " smb3 smbfs vboxsf virtiofs vmhgfs webdav".split()
)
"""File systems that raise no event here when another machine writes."""


@dataclass(frozen=True, slots=True)
class WatchMode:
    """Mode of watching, and the reason."""

    mode: Mode
    why: str


def choose_mode(wish: Literal["native", "poll", "auto"], folder: Path) -> WatchMode:
    """Return the mode of one folder."""
    if wish != "auto":
        return WatchMode(wish, "set so")
    kind = find_file_system(folder)
    if kind is None:
        return WatchMode("native", "a local file system, as far as can be told")
    if is_silent(kind):
        return WatchMode("poll", f"{kind} tells nobody here what other machines write")
    return WatchMode("native", f"{kind} is a local file system")


def is_silent(kind: str) -> bool:
    """Return whether this type of file system raises no event when another machine writes."""
    kind = kind.lower()
    return kind in SILENT or kind.startswith("fuse.") or kind == "network share"


def is_local(folder: Path) -> bool:
    """Return whether a folder is certainly on a disk of this PC."""
    kind = find_file_system(folder)
    return kind is not None and not is_silent(kind)


def find_file_system(folder: Path) -> str | None:
    """Return the type of a folder's file system, or None where unknown."""
    if sys.platform == "win32":
        return _get_windows_type(folder)
    try:
        mounts = psutil.disk_partitions(all=True)
    except (OSError, RuntimeError, NotImplementedError):
        return None
    # The last of equals: a mount over a mount point hides the earlier one.
    above = [mount for mount in mounts if folder.is_relative_to(mount.mountpoint)]
    return max(reversed(above), key=lambda m: len(m.mountpoint)).fstype if above else None


def _get_windows_type(folder: Path) -> str | None:
    import ctypes  # noqa: PLC0415 - Windows alone

    remote = 4
    if str(folder).startswith("\\\\"):
        return "network share"
    kind: int = ctypes.windll.kernel32.GetDriveTypeW(folder.anchor)  # type: ignore[attr-defined, unused-ignore]
    return "network share" if kind == remote else None
