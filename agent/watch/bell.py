"""Ring when something happens in a folder; what happened, only the folder itself can say.

In:  file system events (watchdog). Out: hints, and a ring. Next: `watched` looks.
The handler only writes down and rings: one exception in it would end watchdog's dispatcher, and
slow work in it would drop events. Two losses watchdog keeps to itself are found out here: events
that the kernel dropped, and folders below the first that no watch was left for.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import sys
import threading
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakSet

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

from agent.watch.names import Kind, kind_of, to_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from watchdog.observers.api import BaseObserver

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
"""Not "opened" and "closed without writing": our own reading would ring for ever."""
BURST = 5_000  # more names than this between two looks: the folder is listed instead
# A folder renamed twice in a moment: it names every folder it watches, and listens on all the same.
warnings.filterwarnings("ignore", message="Callback with id", category=RuntimeWarning)
GATHER_S = 0.05  # watchdog's wait; on Windows its default of 1 s holds back a busy folder's events


class Deaf(Exception):  # noqa: N818 - a state, said in the message
    """No events can be had from this folder; the message says why and what to do."""


class LimitReached(Deaf):
    """No events, because a limit of this PC's is used up, which somebody can raise."""


@dataclass(frozen=True, slots=True)
class Hints:
    """What events spoke of since the last look: relative paths, or "list it all"."""

    paths: frozenset[str]
    list_all: bool


class Bell(FileSystemEventHandler):
    """Hear one folder's events.

    Args:
        folder: The folder, listened to with everything below it.
        ring: Called, from watchdog's thread, whenever there is something to look at.
    """

    def __init__(self, folder: Path, ring: Callable[[], None]) -> None:
        self._folder = os.fspath(folder)
        self._ring = ring
        self._lock = threading.Lock()
        self._paths: set[str] = set()
        self._list_all = False
        self._observer: BaseObserver | None = None

    def start(self) -> None:
        """Begin to listen. Raises `Deaf`."""
        observer = Observer(timeout=GATHER_S)
        if not os.path.isdir(self._folder):  # noqa: PTH112 - on Windows only a thread would find out
            raise deaf_by(FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)))
        try:
            observer.schedule(self, self._folder, recursive=True, event_filter=HEARD)
            observer.start()
        except OSError as error:
            _silence(observer)
            raise deaf_by(error) from error
        except RuntimeError as error:  # no thread left
            raise Deaf(str(error)) from error
        if (shortage := no_watch_left(self._folder)) is not None:
            _silence(observer)
            raise deaf_by(shortage)
        self._observer = observer
        _OVERFLOW.listen_for(self)

    def is_healthy(self) -> bool:
        """Say whether events would still come: a dead emitter leaves its observer alive."""
        observer = self._observer
        return (
            observer is not None
            and observer.is_alive()
            and bool(observer.emitters)
            and all(emitter.is_alive() for emitter in observer.emitters)
            and no_watch_left(self._folder) is None
        )

    def stop(self) -> None:
        """Stop listening; harmless when it never began."""
        observer, self._observer = self._observer, None
        if observer is not None:
            _silence(observer)

    def take_hints(self) -> Hints:
        """Take what was heard since the last call."""
        with self._lock:
            hints = Hints(frozenset(self._paths), self._list_all)
            self._paths, self._list_all = set(), False
        return hints

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Write down what an event speaks of, and ring. Called by watchdog; must never raise."""
        try:
            heard = [self._note(path, event) for path in (event.src_path, event.dest_path) if path]
        except Exception:  # noqa: BLE001 - it would end the dispatcher; the listing finds the file
            heard = [self._note_all()]
        if any(heard):
            self._ring()

    def _note(self, path: bytes | str, event: FileSystemEvent) -> bool:
        if event.is_directory:
            # A folder that came may be full, and its files' events may have come before we heard.
            return False if isinstance(event, DirModifiedEvent) else self._note_all()
        relative = os.path.relpath(os.fsdecode(path), self._folder).replace(os.sep, "/")
        relative = to_text(relative)
        if relative.startswith("../") or kind_of(relative) is Kind.JUNK:
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
        """Learn that events were lost: only a listing knows what came meanwhile."""
        self._note_all()
        self._ring()


class _Overflow(logging.Handler):
    """Hears watchdog say that the kernel dropped events; it says so in its log and nowhere else."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._bells: WeakSet[Bell] = WeakSet()

    def listen_for(self, bell: Bell) -> None:
        """Tell this bell of it."""
        self.acquire()
        try:
            self._bells.add(bell)
        finally:
            self.release()

    def emit(self, record: logging.LogRecord) -> None:
        """Tell every bell: which of them lost something is not said. Called with the lock held."""
        if "overflow" in str(record.msg):
            for bell in tuple(self._bells):
                bell.overflowed()


_OVERFLOW = _Overflow()
logging.getLogger("watchdog.observers.inotify_c").addHandler(_OVERFLOW)


def no_watch_left(folder: str) -> OSError | None:
    """Ask Linux for one watch more, and give it back; None where there was one.

    watchdog passes over folders below the first that it gets no watch for, without a word.
    """
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    asked = libc.inotify_init1(os.O_CLOEXEC)
    if asked < 0:
        return None  # no instance left for this question; watchdog has its own already
    try:
        delete_self = 0x400
        if libc.inotify_add_watch(asked, os.fsencode(folder), delete_self) >= 0:
            return None
        number = ctypes.get_errno()
        return OSError(number, os.strerror(number)) if number == errno.ENOSPC else None
    finally:
        os.close(asked)


def deaf_by(error: OSError) -> Deaf:
    """Say in a sentence why no events can be had: inotify's own words mislead."""
    if error.errno == errno.ENOSPC:
        return LimitReached(
            "this PC's limit of watched folders is used up "
            "(raise fs.inotify.max_user_watches); polling instead"
        )
    if error.errno == errno.EMFILE:
        return LimitReached(
            "this PC's limit of watchers is used up "
            "(raise fs.inotify.max_user_instances); polling instead"
        )
    return Deaf(f"no events can be had here ({error.strerror or error}); polling instead")


def _silence(observer: BaseObserver) -> None:
    """Stop an observer, whatever state it is in; it may never have begun."""
    observer.stop()
    if observer.is_alive():
        observer.join(timeout=2)
