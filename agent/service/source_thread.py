"""Watch one source in a separate thread: a share that hangs delays no other."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path

import structlog

from agent.errors import StoreError
from agent.orders.facts.order_policy import build_provenance, is_urgent
from agent.service.health.problems import Problems
from agent.settings import Source
from agent.store import NOT_A_FILE, NOT_A_PICTURE, SourceHealth, Store, StoreFaultError
from agent.watch import (
    EventListener,
    Kind,
    ListedFile,
    Provenance,
    SourceWatcher,
    WatchResult,
    classify_name,
)
from agent.watch.source_watcher import NOT_A_FILE_SENTENCE

log = structlog.get_logger()

GATHER_S = 0.05  # one copy rings many times
AGAIN_S = (1.0, 2.0, 5.0, 10.0)  # after a fault of the database or a bug of ours
AT_ONCE = 1000  # rows in one transaction, so that others may write in between
FRESH_AT_MOST = 64  # more files of a source that wait are a backlog; a fresh one goes before them


def build_watcher(
    source: Source,
    *,
    store: Store,
    ring: Callable[[], None],
    hear: bool = True,
    steady: Callable[[], float] = time.monotonic,
    listen: Callable[[Path, Callable[[], None]], EventListener] = EventListener,
) -> SourceWatcher:
    """Make the watch of one source from its settings."""
    return SourceWatcher(
        source,
        known=store.files.list_known(source.name),
        settling=store.files.list_settling(source.name),
        ring=ring,
        clock=steady,
        hear=hear,
        listen=listen,
    )


def write_down(
    look: WatchResult,
    watched: SourceWatcher,
    store: Store,
    *,
    at: datetime,
    source: Provenance | None,
) -> int:
    """Store one listing; only then does the watcher count a file as queued.

    Args:
        look: The listing.
        watched: The watcher.
        store: The database.
        at: Now, aware UTC.
        source: What its paths say; files of urgent orders go first.

    Returns:
        How many files are new in the queue.

    Raises:
        StoreFaultError: The database cannot be written now; nothing is lost, it is offered again.
    """
    if source and (look.listed or look.settling or look.at_rest or look.ignored):
        folder = str(watched.folder)
        store.sources.note_reading(watched.name, folder, pattern=source.pattern, fixed=source.fixed)
    for _ in _iter_written(
        look.settling, watched, lambda files: store.files.add_settling(files, at=at)
    ):
        pass
    lane = _choose_lane(len(look.at_rest), watched.name, store) if look.at_rest else ""
    first = store.orders.urgent_numbers() if look.at_rest and source else ()
    urgent = [file for file in look.at_rest if is_urgent(file.relative, source, first)]
    chosen = {file.relative for file in urgent}
    others = [file for file in look.at_rest if file.relative not in chosen]
    for files in _iter_written(
        urgent, watched, lambda files: store.files.add(files, at=at, lane="urgent")
    ):
        watched.taken(files)
    for files in _iter_written(
        others, watched, lambda files: store.files.add(files, at=at, lane=lane)
    ):
        watched.taken(files)
    others = [file for file in look.ignored if classify_name(file.relative) is not Kind.PICTURE]
    for ignored, code, sentence in (
        (others, NOT_A_PICTURE, "its name is no picture's"),
        ([file for file in look.ignored if file not in others], NOT_A_FILE, NOT_A_FILE_SENTENCE),
    ):
        for files in _iter_written(
            ignored,
            watched,
            partial(store.files.add_ignored, code=code, sentence=sentence, at=at),
        ):
            watched.taken(files)
    if look.gone:
        store.files.mark_gone(watched.name, look.gone, at=at)
        watched.let_go(look.gone)
    return len(look.at_rest)


def _choose_lane(count: int, source: str, store: Store) -> str:
    if count > FRESH_AT_MOST:
        return "backlog"
    return (
        "fresh"
        if count + store.work_queue.count_waiting(source, at_most=FRESH_AT_MOST) <= FRESH_AT_MOST
        else "backlog"
    )


def _iter_written(
    files: Sequence[ListedFile],
    watched: SourceWatcher,
    write: Callable[[Sequence[ListedFile]], object],
) -> Iterator[Sequence[ListedFile]]:
    """Write files down, many at once; one that no row can hold costs itself alone.

    Yields:
        What is written.
    """
    waiting = [files[start : start + AT_ONCE] for start in range(0, len(files), AT_ONCE)][::-1]
    while waiting:
        group = waiting.pop()
        try:
            write(group)
        except (StoreFaultError, StoreError):
            raise
        except Exception as error:
            if len(group) > 1:
                half = len(group) // 2
                waiting += [group[half:], group[:half]]
                continue
            log.exception("file.unwritable", source=watched.name, file=group[0].relative)
            watched.refuse(group[0], f"it cannot be written down ({type(error).__name__})")
            continue
        yield group


class SourceWatch(threading.Thread):
    """The thread that watches one source.

    Args:
        source: Its settings.
        store: The database.
        now: Returns the time, aware UTC.
        on_work: Called when something is new in the queue.
        problems: Where problems are reported.
        on_rest: Called with the source and the relative paths that are queued now.
        steady: A clock that cannot be set, in seconds.
        listen: Listens to a folder's events; `EventListener`, or a replacement.
    """

    def __init__(
        self,
        source: Source,
        *,
        store: Store,
        now: Callable[[], datetime],
        on_work: Callable[[], None],
        problems: Problems,
        on_rest: Callable[[str, list[str]], None] = lambda _source, _relatives: None,
        steady: Callable[[], float] = time.monotonic,
        listen: Callable[[Path, Callable[[], None]], EventListener] = EventListener,
    ) -> None:
        self._on_rest = on_rest
        super().__init__(name=f"watch {source.name}", daemon=True)
        self._steady, self._listen = steady, listen
        self._source, self._store, self._now = source, store, now
        self.source = source.name
        self._on_work, self._problems = on_work, problems
        self._rung, self._stopping = threading.Event(), threading.Event()
        self._watched: SourceWatcher | None = None
        self._failures = 0
        self._before = (0, 0)  # files that each way brought before this start
        self.last_scan_at: datetime | None = None
        self.offline_since: datetime | None = None
        self.ready = threading.Event()
        """Set after the first look, whatever it showed."""

    def run(self) -> None:
        """List and store until stopped; a fault costs time, never the thread."""
        while not self._stopping.is_set():
            pause_s = self.run_round()
            self.ready.set()
            if self._rung.wait(max(pause_s, 0)):
                self._stopping.wait(GATHER_S)
                self._rung.clear()
        if self._watched:
            self._watched.close()

    def run_round(self) -> float:
        """List once and store it; return how long (s) to wait before the next round."""
        try:
            pause_s = self._round()
        except (StoreFaultError, StoreError) as fault:
            return self._again(str(fault))
        except Exception as error:
            log.exception("folder.crashed", source=self._source.name)
            return self._again(f"{type(error).__name__}: {error}")
        self._failures = 0
        self._problems.say(self._subject, self._trouble())
        return pause_s

    def stop(self) -> None:
        """Request that it stops after the current listing."""
        self._stopping.set()
        self._rung.set()

    def is_reachable(self) -> bool:
        """Return whether its files can be read now, by the last listing."""
        return self._watched is not None and self._watched.state.online

    def health(self) -> SourceHealth:
        """Return the state of the source, as it is stored."""
        state = self._watched.state if self._watched else None
        return SourceHealth(
            name=self._source.name,
            folder=str(self._source.folder),
            mode=state.mode if state else self._source.mode,
            online=bool(state and state.online),
            offline_since=self.offline_since,
            last_scan_at=self.last_scan_at,
            found_by_scan=self._before[0] + (state.found_by_scan if state else 0),
            found_by_event=self._before[1] + (state.found_by_event if state else 0),
            problem=state.problem if state else "",
        )

    @property
    def _subject(self) -> str:
        return f"source {self._source.name}"

    def _trouble(self) -> str:
        problem = self._watched.state.problem if self._watched else ""
        return f"{self._source.name}: {problem}" if problem else ""

    def _round(self) -> float:
        if self._watched is None:
            self._before = next(
                (
                    (health.found_by_scan, health.found_by_event)
                    for health in self._store.sources.list_all()
                    if health.name == self._source.name
                ),
                (0, 0),
            )
            self._watched = build_watcher(
                self._source,
                store=self._store,
                ring=self._rung.set,
                steady=self._steady,
                listen=self._listen,
            )
        watched = self._watched
        look = watched.look(self._steady())
        if look.listed:
            self.last_scan_at = self._now()
        online = watched.state.online
        if online and self.offline_since:
            self._store.work_queue.make_due(self._source.name)
        self.offline_since = None if online else self.offline_since or self._now()
        provenance = build_provenance(self._source)
        if write_down(look, watched, self._store, at=self._now(), source=provenance):
            self._on_rest(self.source, [file.relative for file in look.at_rest])
            self._on_work()
        now_s = self._steady()
        return watched.next_look_at_s(now_s) - now_s

    def _again(self, sentence: str) -> float:
        pause_s = AGAIN_S[min(self._failures, len(AGAIN_S) - 1)]
        self._failures += 1
        self._problems.say(self._subject, f"{self._source.name}: {sentence}")
        return pause_s
