"""Process the files that are in the sources now, and end.

Listing, quiet time and pipeline are the daemon's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from agent.errors import StoreError
from agent.imaging import CropPool
from agent.orders.facts.order_policy import build_provenance
from agent.pipeline import BatchOutcome, Pipeline, StalledError
from agent.service.active_bundle import CurrentBundle
from agent.service.composition import make_pipeline, make_pool
from agent.service.data_folder import RunLock, clock
from agent.service.health.share_facts import describe_renamed
from agent.service.jobs.backup import seal_results
from agent.service.jobs.exchange import find_position, take_lists
from agent.service.jobs.instrument_check import check_when_due
from agent.service.source_thread import build_watcher, write_down
from agent.service.statements import StatementKeeper
from agent.settings import Settings
from agent.store import Store, StoreFaultError
from agent.watch import SourceState, SourceWatcher

log = structlog.get_logger()

QUIET_TIMES = 10  # a file that changes for longer is not waited for
AT_LEAST_S = 2.0
STALLED_AT_MOST_S = 60.0  # database or disk away for longer than this ends the run
LATER_S = 45.0  # a file that is tried again within it is waited for
FILES = 32


@dataclass(slots=True)
class RunOutcome:
    """Result of a run.

    Args:
        taken: Counts of files by what became of them.
        waiting: Files that were not complete, or are tried again later.
        problems: What the operator should know, one sentence each.
    """

    taken: BatchOutcome = field(default_factory=BatchOutcome)
    waiting: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Whether every file there was could be used."""
        taken = self.taken
        return not (taken.set_aside or taken.failed or self.waiting or self.problems)


def run_once(
    settings: Settings,
    store: Store,
    *,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
    now: Callable[[], datetime] = clock,
    should_stop: Callable[[], bool] = lambda: False,
) -> RunOutcome:
    """List every source, wait until its files are complete, and work until nothing is queued.

    Args:
        settings: Of the lab.
        store: Open.
        on_progress: Called with files done and files known of.
        now: Returns the time, aware UTC.
        should_stop: Called between files.

    Raises:
        UsageError: An agent is running here already.
    """
    with (
        RunLock.of(settings),
        make_pool(settings) as pool,
    ):
        store.work_queue.requeue_own(at=now())
        run = _Run(settings, store, pool, on_progress=on_progress, now=now, should_stop=should_stop)
        return run.run()


class _Run:
    def __init__(
        self,
        settings: Settings,
        store: Store,
        pool: CropPool,
        *,
        on_progress: Callable[[int, int], None],
        now: Callable[[], datetime],
        should_stop: Callable[[], bool],
    ) -> None:
        self._settings, self._store = settings, store
        self._on_progress, self._now, self._should_stop = on_progress, now, should_stop
        self._bundle = CurrentBundle(settings, store)
        self._keeper = StatementKeeper(
            settings, store, now=now, position=find_position(settings, store)
        )
        self._keeper.listen()
        self._bundle.refresh()
        self._pipeline: Pipeline = make_pipeline(
            settings, store=store, pool=pool, classifier=self._bundle.classifier, now=now
        )
        self._names = [source.name for source in settings.sources]
        self._provenances = {source.name: build_provenance(source) for source in settings.sources}
        self._began_s = time.monotonic()
        self._stalled_at_s: float | None = None
        self._done = self._total = 0
        self._outcome = RunOutcome()

    def run(self) -> RunOutcome:
        listed = take_lists(self._settings, self._store, at=self._now(), rest_s=0.0)
        self._outcome.problems += [f"order list {sentence}" for sentence in listed]
        self._check_instrument()
        self._began_s = time.monotonic()  # files are given their time from here on
        watches = [
            build_watcher(source, store=self._store, ring=lambda: None, hear=False)
            for source in self._settings.sources
        ]
        ends_s = {
            source.name: self._began_s + max(QUIET_TIMES * source.quiet_s, AT_LEAST_S)
            for source in self._settings.sources
        }
        last_s = max(ends_s.values(), default=self._began_s) + LATER_S
        looks_at_s = dict.fromkeys(ends_s, self._began_s)
        while not self._should_stop():
            self._look(watches, looks_at_s)
            if self._work():
                continue
            now_s = time.monotonic()
            waits = any(_is_waited_for(w.state, now_s < ends_s[w.name]) for w in watches)
            if not waits and (now_s > last_s or not self._store.files.count_by_state()["queued"]):
                break
            time.sleep(max(min(*looks_at_s.values(), now_s + 0.5) - now_s, 0.01))
        return self._ended(watches)

    def _check_instrument(self) -> None:
        if self._bundle.waits_for:
            return
        try:
            check_when_due(self._settings, self._store, self._bundle.classifier, at=self._now())
        except StoreFaultError as fault:
            self._wait_for_store(fault)

    def _look(self, watches: Sequence[SourceWatcher], looks_at_s: dict[str, float]) -> None:
        """List every source that is due."""
        for watched in watches:
            name, now_s = watched.name, time.monotonic()
            if now_s < looks_at_s[name]:
                continue
            try:
                look, provenance = watched.look(now_s), self._provenances.get(name)
                write_down(look, watched, self._store, at=self._now(), source=provenance)
            except StoreFaultError as fault:
                self._wait_for_store(fault)
            looks_at_s[name] = watched.next_look_at_s(time.monotonic())

    def _work(self) -> int:
        """Process a batch and return how many files were in it."""
        try:
            self._take_up_bundle()
            counts = self._store.files.count_by_state()
            open_ = sum(counts[state] for state in ("settling", "queued", "processing"))
            self._total = self._done + open_
            taken = self._pipeline.process_batch(
                FILES,
                only=self._names,
                should_stop=self._should_stop,
                on_file=lambda _: self._count(),
            )
        except (StalledError, StoreFaultError) as stalled:
            self._wait_for_store(stalled)
            return 1
        self._keeper.freeze_touched()
        self._stalled_at_s = None
        total = self._outcome.taken
        for kind in BatchOutcome.__slots__:
            setattr(total, kind, getattr(total, kind) + getattr(taken, kind))
        return taken.files

    def _take_up_bundle(self) -> None:
        """Load the bundle that could not be read for want of files or memory."""
        if self._bundle.waits_for and self._bundle.refresh():
            self._pipeline.use(self._bundle.classifier, self._bundle.policy())
        if self._bundle.waits_for:
            raise StalledError(self._bundle.waits_for)

    def _wait_for_store(self, fault: Exception) -> None:
        """Wait a moment for disk or database. Raises the fault when it lasts."""
        now_s = time.monotonic()
        if self._stalled_at_s is None:
            self._stalled_at_s = now_s
            log.warning("work.stalled", reason=str(fault))
        if now_s - self._stalled_at_s > STALLED_AT_MOST_S:
            raise StoreError(f"{fault}; nothing is lost, run it again.") from fault
        time.sleep(1.0)

    def _count(self) -> None:
        self._done += 1
        self._on_progress(self._done, max(self._total, self._done))

    def _ended(self, watches: Sequence[SourceWatcher]) -> RunOutcome:
        outcome = self._outcome
        for watched in watches:
            state = watched.state
            if not state.online:
                outcome.problems.append(f"{watched.name}: {state.problem}")
            outcome.waiting += state.pending
            watched.close()
        if self._bundle.problem:
            outcome.problems.append(str(self._bundle.problem))
        outcome.waiting += self._store.files.count_by_state()["queued"]
        seal_results(self._store, at=self._now())
        said = [self._keeper.finish(), describe_renamed(self._settings, self._store)]
        outcome.problems += filter(None, said)
        return outcome


def _is_waited_for(state: SourceState, early: bool) -> bool:
    """Return whether a source may still bring files; not for ever."""
    return early and (bool(state.pending) or not state.online)
