"""Watch one source by listing, quiet time and events, and report its health.

A file is offered until the caller confirms it with `taken`, so a database that cannot be written
costs time, never a micrograph.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from agent.settings import Source
from agent.watch.fs_events import (
    EventListener,
    EventsUnavailableError,
    Hints,
    WatchLimitError,
    WatchMode,
    choose_mode,
    is_local,
)
from agent.watch.listing import (
    Facts,
    Kind,
    ListedFile,
    Listing,
    classify_name,
    find_facts,
    list_folder,
    long_path,
)
from agent.watch.write_completion import Hold, StabilityTracker, find_hold, is_announced

log = structlog.get_logger()


NOT_A_FILE_SENTENCE = "it is a link, a pipe or an empty folder, not a file; links are not followed"

RENAMED_QUIET_S = 0.5  # a renamed file is complete at once; two checks, to be sure
EMPTY_AFTER = 5  # quiet times after which a placeholder that stays empty is recorded as `empty`
TEND_EVERY_S = 5.0  # interval of checks of root folder and event listener
POLL_EVERY_S = 2.0  # without events; listing takes at most 1/20 of the time
REST_SHARE = 20
BACK_OFF_S = (1.0, 5.0, 30.0, 120.0, 600.0)
WAITS_S = {
    Hold.REFUSED: (1.0, 2.0, 5.0, 15.0),
    Hold.OPEN: (1.0, 2.0, 5.0, 15.0, 15.0, 15.0, 15.0, 15.0),
    Hold.HOLES: (1.0, 2.0, 5.0, 15.0, 60.0, 300.0),
}
"""Intervals of the checks of a quiet file; after the last it is recorded anyway: after 23 s if it
does not open, 83 s if a program has it open without writing, 6 min if it has holes. Some programs
never close a file, and a file system that compresses zeros makes holes too."""
UNHEARD = 3  # files found without an event, and hardly any with: events do not arrive here


@dataclass(frozen=True, slots=True)
class SourceState:
    """State of one source, for `agent status`.

    Args:
        mode: "native" or "poll", as chosen.
        why: Reason of the choice.
        online: Whether the last listing of its folder succeeded.
        problem: What the operator should know, "" if nothing.
        found_by_scan: Files that the listing found before any event.
        found_by_event: Files first named by an event.
        pending: Files not yet complete.
        listed: Number of listings.
        took_s: Duration of the last listing, seconds.
    """

    mode: str
    why: str = ""
    online: bool = False
    problem: str = ""
    found_by_scan: int = 0
    found_by_event: int = 0
    pending: int = 0
    listed: int = 0
    took_s: float = 0.0


@dataclass(frozen=True, slots=True)
class WatchResult:
    """Result of one check of a source.

    Args:
        at_rest: Complete files, oldest first, offered until `taken`.
        settling: New files that are still being written.
        ignored: Files that are not pictures, by name, and what has a picture's name and is no
            file; offered until `taken`.
        gone: Recorded names missing from a whole listing; offered until `let_go`.
        listed: Whether the whole folder was listed.
    """

    at_rest: tuple[ListedFile, ...] = ()
    settling: tuple[ListedFile, ...] = ()
    ignored: tuple[ListedFile, ...] = ()
    gone: tuple[str, ...] = ()
    listed: bool = False


class SourceWatcher:
    """One source. Used from one thread; `name`, `folder` and `state` may be read from any.

    Args:
        source: Its name, its folder, and how it is watched.
        known: Relative path → facts of recorded files.
        settling: Relative paths recorded as still being written.
        ring: Called from another thread when something changed.
        clock: A monotonic clock, in seconds, to time the listing.
        hear: False: never use events (`agent run --once`).
        listen: Builds the event listener from the folder and the callback.
    """

    def __init__(
        self,
        source: Source,
        *,
        known: Mapping[str, Facts],
        settling: Iterable[str] = (),
        ring: Callable[[], None],
        clock: Callable[[], float],
        hear: bool = True,
        listen: Callable[[Path, Callable[[], None]], EventListener] = EventListener,
    ) -> None:
        self.name, self.folder = source.name, source.folder
        self._mode, self._completion = source.mode, source.completion
        self._scan_every_s, self._quiet_s = source.scan_every_s, source.quiet_s
        if self._completion == "rename":
            self._quiet_s = min(self._quiet_s, RENAMED_QUIET_S)
        self._known: dict[str, Facts] = dict(known)
        self._ring, self._clock, self._hear, self._listen = ring, clock, hear, listen
        self._settling = StabilityTracker(self._quiet_s)
        self._reported: set[str] = set(settling)
        self._pending: dict[str, ListedFile | None] = {}
        self._postponed: dict[ListedFile, tuple[int, float]] = {}
        self._refused: dict[ListedFile, str] = {}
        self._listed_trouble = self._limit = ""
        self._unannounced: set[str] = set()
        self._announced_count = self._unannounced_count = 0
        self._listener: EventListener | None = None
        self._listener_root: tuple[int, int] | None = None
        self._listen_at_s = self._list_at_s = self._check_at_s = float("-inf")
        self._failures = self._listen_failures = 0
        self._looked_s = 0.0
        self._watch_mode: WatchMode | None = None
        self._is_local = False
        self.state = SourceState("poll" if self._mode == "poll" else "native")

    def look(self, now_s: float) -> WatchResult:
        """Check the folder: all of it when a listing is due, else only pending files."""
        began_s = self._clock()
        self._check_health(now_s)
        hints = (
            self._listener.take_hints() if self._listener else Hints(frozenset(), list_all=False)
        )
        if hints.list_all or now_s >= self._list_at_s:
            listing = self._list(now_s)
            self._looked_s = self._clock() - began_s
            if listing is None:
                return WatchResult()
            others = listing.others | listing.not_files
            look = self._sort(listing.pictures, others, hints, now_s, listed=True)
            look = replace(look, gone=self._find_gone(listing))
        else:
            named = {n for n in hints.paths if classify_name(n) is Kind.PICTURE}
            others = {n: (0, 0, 0) for n in hints.paths if classify_name(n) is Kind.OTHER}
            pictures = self._look_up(named | self._pending.keys())
            if named - pictures.keys() - self._known.keys() - self._pending.keys():
                # Deleted already, or renamed: a folder renamed twice confuses watchdog.
                self._list_at_s = min(self._list_at_s, now_s + REST_SHARE * self.state.took_s)
            look = self._sort(pictures, self._find_existing(others), hints, now_s, listed=False)
        self._looked_s = self._clock() - began_s
        self._update_state(pending=len(self._pending))
        return look

    def next_look_at_s(self, now_s: float) -> float:
        """Return when the next check is due without an event."""
        due_s = [self._list_at_s, self._check_at_s]
        if self._pending:
            step_s = max(min(self._quiet_s / 4, 1.0), 0.05, 10 * self._looked_s)
            rests_at_s = self._settling.next_at_s()
            due_s += [now_s + step_s]
            if rests_at_s is not None and rests_at_s > now_s:
                due_s += [rests_at_s]
        return max(min(due_s), now_s + min(self._looked_s, 1.0))

    def taken(self, files: Iterable[ListedFile]) -> None:
        """Confirm that files are recorded; they are not offered again while unchanged."""
        for file in files:
            self._known[file.relative] = file.facts
            self._reported.discard(file.relative)
            self._postponed.pop(file, None)
            if self._pending.pop(file.relative, None):
                self._count_recorded(file.relative)
        self._update_state(pending=len(self._pending))

    def refuse(self, file: ListedFile, sentence: str) -> None:
        """Report that a file cannot be recorded; it is not offered until it changes."""
        self._refused[file] = sentence
        self._update_state(problem=self._find_problem())

    def let_go(self, relatives: Iterable[str]) -> None:
        """Confirm that files are recorded as gone; if they reappear they are offered again."""
        for relative in relatives:
            self._known.pop(relative, None)
            self._reported.discard(relative)

    def close(self) -> None:
        """Stop receiving events."""
        if self._listener:
            self._listener.stop()
        self._listener = None

    # --- the listing ---------------------------------------------------------------------------

    def _list(self, now_s: float) -> Listing | None:
        """Return the listing, or None if the folder is offline; then nothing is forgotten."""
        began_s = self._clock()
        try:
            listing = list_folder(self.folder)
            if not listing.entries and self._known:
                raise OSError(  # noqa: TRY301 - one place reports "offline"
                    errno.ENODEV,
                    f"it is empty, although {len(self._known)} files came from it before; "
                    "is the share mounted?",
                )
        except OSError as error:
            self._mark_offline(error, now_s)
            return None
        took_s = self._clock() - began_s
        self._failures = 0
        self._list_at_s = now_s + self._pause_s(took_s)
        if not self.state.online:
            log.info(
                "folder.back" if self.state.listed or self.state.problem else "folder.listed",
                source=self.name, folder=str(self.folder), mode=self.state.mode,
                why=self.state.why, files=len(listing.pictures),
            )  # fmt: skip
        self._listed_trouble = _format_troubles(
            listing.troubles or dict.fromkeys(listing.not_files, NOT_A_FILE_SENTENCE)
        )
        problem = self._find_problem()
        self._update_state(
            online=True, problem=problem, listed=self.state.listed + 1, took_s=took_s
        )
        return listing

    def _find_problem(self) -> str:
        refused = {file.relative: sentence for file, sentence in self._refused.items()}
        return self._listed_trouble or _format_troubles(refused) or self._limit

    def _find_gone(self, listing: Listing) -> tuple[str, ...]:
        if listing.troubles:
            return ()  # a part was unreadable: what is missing may be there
        named = self._known.keys() | self._reported
        there = listing.pictures.keys() | listing.others.keys() | listing.not_files.keys()
        return tuple(named - there)

    def _pause_s(self, took_s: float) -> float:
        if self.state.mode == "native" and self._listener:
            return max(self._scan_every_s, REST_SHARE * took_s)
        return max(min(self._scan_every_s, POLL_EVERY_S), REST_SHARE * took_s)

    def _mark_offline(self, error: OSError, now_s: float) -> None:
        sentence = error.strerror or str(error)
        if self.state.online or not self.state.problem:
            log.warning(
                "folder.unreachable", source=self.name, folder=str(self.folder), reason=sentence
            )
        pause_s = BACK_OFF_S[min(self._failures, len(BACK_OFF_S) - 1)]
        self._failures += 1
        self._list_at_s = now_s + min(pause_s, max(self._scan_every_s, 1.0), 30.0)
        self.close()
        self._pending.clear()
        self._settling.find_stable((), now_s)
        self._update_state(online=False, problem=f"{self.folder}: {sentence}", pending=0)

    def _look_up(self, names: Iterable[str]) -> dict[str, Facts | None]:
        """Return the facts of single files; None for one that is there but unreadable now."""
        facts_by_name: dict[str, Facts | None] = {}
        for name in names:
            try:
                facts = find_facts(self.folder, name)
            except OSError:
                facts_by_name[name] = None
                continue
            if facts is not None:
                facts_by_name[name] = facts
        return facts_by_name

    def _find_existing(self, others: Mapping[str, Facts]) -> dict[str, Facts]:
        unknown = (name for name in others if name not in self._known)
        return {name: facts for name, facts in self._look_up(unknown).items() if facts}

    # --- what is new, and what of it is at rest ------------------------------------------------

    def _sort(
        self,
        pictures: Mapping[str, Facts | None],
        others: Mapping[str, Facts],
        hints: Hints,
        now_s: float,
        *,
        listed: bool,
    ) -> WatchResult:
        known = self._known
        new = {name: facts for name, facts in pictures.items() if known.get(name) != facts}
        first = [name for name in new if name not in self._pending]
        self._count_found(first, hints, listed=listed)
        before = self._pending
        self._pending = {
            name: self._to_file(name, facts) if facts else None for name, facts in new.items()
        }
        waiting = [file for file in self._pending.values() if file is not None]
        rest = self._settling.find_stable(waiting, now_s)
        empty = [file for file in waiting if self._stays_empty(file, now_s)]
        still = set(waiting)
        self._postponed = {f: p for f, p in self._postponed.items() if f in still}
        self._refused = {f: why for f, why in self._refused.items() if f in still}
        offered = tuple(
            file
            for file in (*rest, *empty)
            if file not in self._refused and self._is_free(file, now_s, hints.paths)
        )
        self._reported.update(file.relative for file in waiting)
        resting = set(offered)
        return WatchResult(
            at_rest=offered,
            settling=tuple(
                file
                for file in waiting
                if file.relative not in before and file not in resting | self._refused.keys()
            ),
            ignored=tuple(self._to_file(n, f) for n, f in others.items() if n not in known),
            listed=listed,
        )

    def _to_file(self, relative: str, facts: Facts) -> ListedFile:
        return ListedFile(self.name, self.folder, relative, *facts)

    def _stays_empty(self, file: ListedFile, now_s: float) -> bool:
        patience_s = max(EMPTY_AFTER * self._quiet_s, 1.0)
        return not file.size_bytes and self._settling.unchanged_s(file, now_s) >= patience_s

    def _is_free(self, file: ListedFile, now_s: float, named: Collection[str]) -> bool:
        """Return whether the writer has released a quiet file; else postpone the next check.

        A file named by an event is checked at once: it may have been closed.
        """
        if self._completion == "sidecar" and not is_announced(file.path):
            return False
        tries, not_before_s = self._postponed.get(file, (0, now_s))
        if now_s < not_before_s and file.relative not in named:
            return False
        hold = find_hold(file, is_local=self._is_local)
        if hold is None or tries >= len(WAITS_S[hold]):
            return True
        if now_s >= not_before_s:
            self._postponed[file] = (tries + 1, now_s + WAITS_S[hold][tries])
        return False

    # --- events --------------------------------------------------------------------------------

    def _check_health(self, now_s: float) -> None:
        """Check root folder and event listener; a new listener is followed by a listing."""
        if now_s < self._check_at_s:
            return
        self._check_at_s = now_s + TEND_EVERY_S
        root = self._identify_root()
        if root is None:
            self._list_at_s = now_s if self.state.online else self._list_at_s
            return
        if not self.state.online:
            self._list_at_s = min(self._list_at_s, now_s)
        if self._watch_mode is None:
            self._watch_mode = choose_mode(self._mode, self.folder)
            self._is_local = is_local(self.folder)
            self._update_state(mode=self._watch_mode.mode, why=self._watch_mode.why)
        if not self._hear or self._watch_mode.mode == "poll":
            return
        if self._listener and (not self._listener.is_healthy() or root != self._listener_root):
            log.warning("folder.deaf", source=self.name, folder=str(self.folder))
            self.close()
        if self._listener is None and now_s >= self._listen_at_s:
            self._attach_listener(root, now_s)

    def _identify_root(self) -> tuple[int, int] | None:
        try:
            status = Path(long_path(self.folder)).stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def _attach_listener(self, root: tuple[int, int], now_s: float) -> None:
        listener = self._listen(self.folder, self._ring)
        try:
            listener.start()
        except EventsUnavailableError as error:
            pause_s = BACK_OFF_S[min(self._listen_failures, len(BACK_OFF_S) - 1)]
            self._listen_failures += 1
            self._listen_at_s = now_s + pause_s
            if self.state.why != str(error):
                log.warning("folder.deaf", source=self.name, reason=str(error))
            self._limit = str(error) if isinstance(error, WatchLimitError) else ""
            self._update_state(mode="poll", why=str(error))
            return
        self._listener, self._listener_root, self._listen_failures, self._limit = (
            listener,
            root,
            0,
            "",
        )
        self._announced_count = self._unannounced_count = 0
        self._list_at_s = now_s
        if self._watch_mode:
            self._update_state(mode=self._watch_mode.mode, why=self._watch_mode.why)

    def _count_found(self, first: Iterable[str], hints: Hints, *, listed: bool) -> None:
        """Count files named by events and files found only by the listing."""
        self._unannounced -= hints.paths
        by_event = by_scan = 0
        for name in first:
            if name in hints.paths or (hints.list_all and listed):
                by_event += 1
            else:
                by_scan += 1
                if self._listener and self.state.listed > 1:
                    self._unannounced.add(name)
        self._update_state(
            found_by_scan=self.state.found_by_scan + by_scan,
            found_by_event=self.state.found_by_event + by_event,
        )

    def _count_recorded(self, name: str) -> None:
        """Count a recorded file by whether an event named it; poll if events hardly arrive."""
        if not self._listener:
            return
        if name not in self._unannounced:
            self._announced_count += 1
            return
        self._unannounced.discard(name)
        self._unannounced_count += 1
        enough = (
            self._unannounced_count >= UNHEARD
            and self._unannounced_count > 10 * self._announced_count
        )
        if self._mode == "auto" and enough and self.state.mode != "poll":
            why = "files came here without an event"
            log.warning("folder.deaf", source=self.name, reason=f"{why}; polling from now on")
            self._watch_mode = WatchMode("poll", why)
            self._update_state(mode="poll", why=why)
            self.close()
            self._list_at_s = float("-inf")

    def _update_state(self, **facts: object) -> None:
        self.state = replace(self.state, **facts)  # type: ignore[arg-type]  # keys are its fields


def _format_troubles(sentences: Mapping[str, str]) -> str:
    if not sentences:
        return ""
    name, sentence = next(iter(sentences.items()))
    more = len(sentences) - 1
    return f"{name}: {sentence}" + (f" (and {more} more)" if more else "")
