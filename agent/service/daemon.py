"""Run the agent until it is stopped: watches, worker, schedule, pages and heartbeat.

The first signal finishes the current file and stops within ten seconds; a second one stops at once.
Either way the database knows what was claimed. A restart from the page stops it the same way; the
caller then runs the next agent in this process, which a service manager does not notice.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import structlog

from agent.archive import Archive
from agent.backup.maintenance import INBOX_SOURCE
from agent.delivery.mail import check
from agent.errors import AgentError
from agent.imaging import WALL_CLOCK, CropPool
from agent.orders.instruments.instrument_holds import Affected, list_affected_orders, load_holds
from agent.pipeline import Pipeline
from agent.service.active_bundle import ROLLOUT_EVERY_S, CurrentBundle, RolloutLeader
from agent.service.composition import hash_settings, make_pipeline, make_pool, open_store
from agent.service.copies import PRESENCE_EVERY_S, require_newest, write_presence
from agent.service.data_folder import RunLock, clock
from agent.service.health.database_clock import DatabaseClock
from agent.service.health.meter import Meter
from agent.service.health.problems import (
    HostMonitor,
    Problems,
    describe_full,
    dump_clocks,
    load_clocks,
)
from agent.service.health.share_facts import (
    SHARES_EVERY_S,
    ShareFacts,
    describe_renamed,
    gather_share_facts,
)
from agent.service.health.status import build_status_from_store, next_report_at, save_status
from agent.service.jobs.archive import OBJECTS_EVERY_S, ObjectKeeper, Verifier
from agent.service.jobs.backup import (
    ANCHOR_EVERY_S,
    BACKUP_EVERY_S,
    Anchoring,
    stamp_when_due,
    tend_backups,
)
from agent.service.jobs.delivery import DELIVERY_EVERY_S, deliver_reports
from agent.service.jobs.exchange import (
    LISTS_EVERY_S,
    NOTICES_EVERY_S,
    OUTBOX_EVERY_S,
    fill_outbox,
    find_position,
    send_notices,
    tend_lists,
)
from agent.service.jobs.features import TEND_EVERY_S, FeatureKeeper
from agent.service.jobs.instrument_check import InstrumentCheck
from agent.service.page_process import PageProcess
from agent.service.schedule import (
    NIGHT_EVERY_S,
    SHADOW_AGAIN_S,
    TRAIN_AGAIN_S,
    PeriodicThread,
    ReportScheduler,
    RetrainScheduler,
)
from agent.service.source_thread import SourceWatch
from agent.service.statements import STATEMENTS_EVERY_S, StatementKeeper
from agent.service.worker import Worker
from agent.settings import Settings
from agent.settings.root import RECIPE
from agent.store import Store, StoreFaultError
from agent.store.sites.fleet import KEY, describe_pc
from agent.store.sites.site_folders import get_own_file
from agent.web import is_this_pc_alone, refuse_strangers
from agent.web.metrics import MEASURES
from reports import Message

log = structlog.get_logger()

BEAT_S = 5.0
HOLDS_EVERY_S = 60.0
REQUESTS_EVERY_S = 3.0
TICK_S = 0.5
STANDS_STILL_S = 900.0  # several times the longest step there is: a large file, a bundle that loads
WORKER_ENDS_S = 7.0  # what the file in hand gets; then its process is killed and it is given back
THREADS_END_S = 1.0
ERRANDS_END_S = 20.0
"""How long a restart waits for periodic jobs; a share that hangs must not hold it up."""
PAGES_END_S, PAGES_RESTART_S = 3.0, 10.0
FORCED = 130
READABLE = (
    "passwords travel readable to the page; set [web] certificate and key, so that it is https"
)


class Agent:
    """One running agent.

    Args:
        settings: Of the lab.
        serve: Whether the review page is served.
        now: Returns the time, aware UTC.
        on_ready: Called once everything runs.
        on_beat: Called with each heartbeat.
        on_stopping: Called when it begins to stop, not for a restart.
        on_delay: Called with what delays the start, every few seconds: an upgrade, a full disk.
        before: The agent that ran in this process until its restart; its address is taken over.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        serve: bool = True,
        now: Callable[[], datetime] = clock,
        on_ready: Callable[[], None] = lambda: None,
        on_beat: Callable[[], None] = lambda: None,
        on_stopping: Callable[[], None] = lambda: None,
        on_delay: Callable[[str], None] = lambda _sentence: None,
        before: Agent | None = None,
    ) -> None:
        self._settings, self._serve, self._now = settings, serve, now
        self._on_ready, self._on_beat, self._on_stopping = on_ready, on_beat, on_stopping
        self._on_delay = on_delay
        self._stop = threading.Event()
        self._restarts = False
        self._listener = before.take_listener(settings) if before else None
        self._set_back_s = self._set_ahead_s = 0.0
        self._clocks: tuple[datetime, float] | None = None
        self._affected: list[Affected] = []
        self._outside = ShareFacts()
        self._affected_at_s = 0.0
        self._meter = Meter()
        self._lock = RunLock.of(settings)
        self._pc: dict[str, Any] = {}
        self._database_clock: DatabaseClock | None = None
        self._bundle: CurrentBundle | None = None
        self.problems = Problems(self._meter.troubled)
        self.url = ""
        """Where the review page answers, once it does."""

    def stop(self) -> None:
        """Request that it stops, also where it is about to restart."""
        self._restarts = False
        self._stop.set()

    def restart(self) -> None:
        """Request that it stops, and that its caller runs another one with the settings of then."""
        if not self._stop.is_set():
            log.info("service.restarting")
            self._restarts = True
            self._stop.set()

    def take_listener(self, settings: Settings) -> socket.socket | None:
        """Return the socket of the page for the next agent; closed where its address is another."""
        listener, self._listener = self._listener, None
        own, others = self._settings.web, settings.web
        if listener and (own.host, own.port) != (others.host, others.port):
            listener.close()
            return None
        return listener

    def run(self) -> bool:
        """Run until `stop`, a signal or `restart`.

        Returns:
            Whether the caller runs another agent, with the settings read again.

        Raises:
            SetupError: Settings, data folder, database or port cannot be used.
        """
        check(self._settings.notify.urls)
        # Signals count from here on; a Ctrl-C while torch loads must not be lost.
        with self._listening():
            if not self._wait_for_room():
                return False
            with (
                self._lock,
                open_store(
                    self._settings, on_upgrade=lambda upgrade: self._on_delay(upgrade.sentence)
                ) as store,
            ):
                self._run(store)
            return self._restarts

    def _wait_for_room(self) -> bool:
        """Wait while the data folder's disk is full; return whether the start goes on."""
        folder, is_full = self._settings.store.folder, False
        while full := describe_full(folder):
            if not is_full:
                log.error("disk.low", reason=full)
            is_full = True
            self._on_delay(full)
            if self._stop.wait(BEAT_S):
                return False
        if is_full:
            log.info("disk.roomy", folder=str(folder))
        return True

    def _run(self, store: Store) -> None:
        now, settings = self._now, self._settings
        self._inspect_shares(store)  # all at once; the ones that hang delay nothing from here on
        for sentence in require_newest(settings, store, now=now()):
            log.warning("database.older", reason=sentence)
            self.problems.say("copies", sentence)
        if renamed := describe_renamed(settings, store):
            log.warning("site.renamed", reason=renamed)
        taken_back = store.work_queue.requeue_own(at=now())
        store.settings_history.record(settings.model_dump(mode="json"), at=now())
        archive = Archive.open(settings)
        self._bundle = bundle = CurrentBundle(settings, store, converts_apart=True)
        instrument = InstrumentCheck(settings, store, now=now, problems=self.problems)
        worker = Worker(
            lambda: self._tools(store, bundle),
            bundle=bundle,
            reachable=lambda: [*(w.source for w in watches if w.is_reachable()), INBOX_SOURCE],
            problems=self.problems,
            after_round=instrument.after_round,
            release_memory=bundle.release_memory,
        )
        watches = [
            SourceWatch(
                source,
                store=store,
                now=now,
                on_work=worker.wake,
                problems=self.problems,
                on_rest=self._meter.rested,
            )
            for source in settings.sources
        ]
        nights = ReportScheduler(settings, store, archive, now=now, problems=self.problems)
        candidates = RetrainScheduler(
            settings, store, now=now, problems=self.problems, should_stop=self._stop.is_set
        )
        verifier = Verifier(store, archive, now=now, problems=self.problems)
        keeper = StatementKeeper(settings, store, now=now, position=find_position(settings, store))
        keeper.listen()
        errands = self._errands(store, keeper, candidates, nights)
        pages = self._pages(store, worker)
        store.agents.record_start(at=now())  # its port is its own: else it does not run
        log.info("service.started", sources=len(watches), taken_back=taken_back, page=self.url)
        worker.start()
        for watch in watches:
            watch.start()
        verifier.start()
        for errand in errands:
            errand.start()
        if pages:
            pages.start()
        threading.Thread(target=self._examine, args=(store,), name="check", daemon=True).start()
        self._on_ready()
        try:
            self._keep_watch(store, worker, watches)
        finally:
            log.info("service.stopping")
            if not self._restarts:
                self._on_stopping()
            verifier.stop()
            for errand in errands:
                errand.stop()
            ends_at_s = time.monotonic() + ERRANDS_END_S
            while self._restarts and any(errand.is_alive() for errand in errands):
                if time.monotonic() > ends_at_s:  # its page says so while it waits
                    break
                time.sleep(TICK_S)
            self._end(worker, watches, pages)
            self._say_stopped(store)
            log.info("service.stopped")

    def _errands(
        self,
        store: Store,
        keeper: StatementKeeper,
        candidates: RetrainScheduler,
        nights: ReportScheduler,
    ) -> list[PeriodicThread]:
        settings, now = self._settings, self._now
        anchoring = Anchoring(store, settings.trail.anchor)
        written: dict[Path, str] = {}

        def be_present() -> str:
            return write_presence(settings, store, now=now(), written=written)

        errands: list[tuple[str, Callable[[], Message | str | None], float]] = [
            ("shares", lambda: self._inspect_shares(store), SHARES_EVERY_S),
            ("presence", be_present, PRESENCE_EVERY_S),
            ("trail", lambda: anchoring.write(at=now()), ANCHOR_EVERY_S),
            ("time stamp", lambda: stamp_when_due(settings, store, at=now()), ANCHOR_EVERY_S),
            ("order lists", lambda: tend_lists(settings, store, at=now()), LISTS_EVERY_S),
            ("back-up", lambda: tend_backups(settings, store, at=now()), BACKUP_EVERY_S),
            ("statements", keeper.tend, STATEMENTS_EVERY_S),
            ("outbox", lambda: fill_outbox(settings, store, now=now()), OUTBOX_EVERY_S),
            (
                "report delivery",
                lambda: deliver_reports(settings, store, now=now()),
                DELIVERY_EVERY_S,
            ),
            ("night", nights.tend, NIGHT_EVERY_S),
            ("requests", candidates.answer_requests, REQUESTS_EVERY_S),
            ("retrain", candidates.look, TRAIN_AGAIN_S),
            ("shadow", candidates.shadow, SHADOW_AGAIN_S),
            (
                "features",
                FeatureKeeper(settings, store, now=now, should_stop=self._stop.is_set).tend,
                TEND_EVERY_S,
            ),
            (
                "object storage",
                ObjectKeeper(settings, store, now=now, should_stop=self._stop.is_set).tend,
                OBJECTS_EVERY_S,
            ),
            ("rollout", RolloutLeader(store, now=now).tend, ROLLOUT_EVERY_S),
            ("notices", lambda: send_notices(settings, store, now=now()), NOTICES_EVERY_S),
        ]
        return [
            PeriodicThread(name, errand, every_s=every_s, problems=self.problems)
            for name, errand, every_s in errands
        ]

    def _tools(self, store: Store, bundle: CurrentBundle) -> tuple[CropPool, Pipeline]:
        pool = make_pool(self._settings)
        pool.warm()
        pipeline = make_pipeline(
            self._settings,
            store=store,
            pool=pool,
            classifier=bundle.classifier,
            now=self._now,
            on_stage=self._meter.staged,
            on_fate=self._meter.fated,
        )
        return pool, pipeline

    def _inspect_shares(self, store: Store) -> None:
        """Gather the facts that the heartbeat stores: a share that hangs must not hold it up."""
        self._outside = gather_share_facts(self._settings, store, now=self._now())

    # --- while it runs --------------------------------------------------------------------------

    def _examine(self, store: Store) -> None:
        # In its own thread: a damaged database is reported soon, and a large one delays no start.
        if faults := store.checks.find_problems():
            self.problems.say("soundness", f"{faults[0]}; see agent verify --installation")
            log.error("database.damaged", faults=len(faults), first=faults[0])

    def _keep_watch(self, store: Store, worker: Worker, watches: list[SourceWatch]) -> None:
        beat_at_s = 0.0
        where = self._settings.store
        self._clocks = load_clocks(store.agents.get_facts())
        vitals = HostMonitor(where.folder, now=self._now, before=self._clocks)
        measures = get_own_file(where.folder, MEASURES, url=where.url)
        while not self._stop.wait(TICK_S):
            if time.monotonic() < beat_at_s:
                continue
            beat_at_s = time.monotonic() + BEAT_S
            self._lock.require_held()
            dead = [thread.name for thread in (worker, *watches) if not thread.is_alive()]
            self.problems.say("threads", f"{', '.join(dead)} ended unexpectedly" if dead else "")
            still_s = worker.stands_still_s()
            limit_s = max(STANDS_STILL_S, 1.5 * WALL_CLOCK * self._settings.imaging.time_limit_s)
            stuck = (
                f"nothing has moved on for {still_s / 60:.0f} minutes" if still_s > limit_s else ""
            )
            if self.problems.say("stuck", stuck) and stuck:
                log.error("work.stuck", still_s=round(still_s))
            jump_s = vitals.look().total_seconds()
            self._clocks = vitals.clocks
            self._set_back_s += max(-jump_s, 0.0)
            self._set_ahead_s += max(jump_s, 0.0)
            self._beat(store, watches)
            self._meter.write(measures, self.problems)
            if not dead and not stuck:
                self._on_beat()  # a service manager restarts an agent that misses it

    def _beat(self, store: Store, watches: list[SourceWatch]) -> None:
        try:
            self._follow_clock(store)
            store.sources.record([watch.health() for watch in watches])
            if self._pc:  # a clock that was set since would make this PC seem to be off
                self._pc["clock_ahead_s"] = round(self._clock_ahead_s(store), 1)
            store.agents.record_heartbeat(self._facts(), at=self._now())
            affected = self._held_orders(store)
            document = build_status_from_store(
                self._settings,
                store,
                now=self._now(),
                running=True,
                affected=affected,
                outside=self._outside,
            )
        except (StoreFaultError, AgentError) as fault:
            if self.problems.say("database", str(fault)):
                log.warning("store.unreachable", reason=str(fault))
            return
        except Exception as error:  # reporting must never end the work
            log.exception("beat.crashed")
            self.problems.say("heartbeat", f"heartbeat: {type(error).__name__}: {error}")
            return
        self.problems.say("heartbeat", "")
        if self.problems.say("database", ""):
            log.info("store.back")
        self._pc = describe_pc(
            document,
            bundle=(self._bundle.name if self._bundle else None) or "",
            settings=hash_settings(self._settings, store),
            recipe=RECIPE,
            clock_ahead_s=self._clock_ahead_s(store),
        )
        save_status(self._settings, document)

    def _clock_ahead_s(self, store: Store) -> float:
        if self._database_clock is None:
            self._database_clock = DatabaseClock(store, now=self._now)
        return self._database_clock.measure()

    def _held_orders(self, store: Store) -> list[Affected]:
        """Return the orders with held results; they are queried once a minute."""
        now_s = time.monotonic()
        if now_s >= self._affected_at_s:
            holds = load_holds(self._settings, store)
            self._affected = list_affected_orders(store, holds, now=self._now())
            self._affected_at_s = now_s + HOLDS_EVERY_S
        return self._affected

    def _follow_clock(self, store: Store) -> None:
        if self._set_back_s:
            store.work_queue.shift_clock(timedelta(seconds=self._set_back_s), at=self._now())
            self._set_back_s = 0.0
        if self._set_ahead_s:  # one that was set back shows in what is listed next
            names = [source.name for source in self._settings.sources]
            ahead = timedelta(seconds=self._set_ahead_s)
            store.sources.note_clock_ahead(names, ahead, at=self._now())
            self._set_ahead_s = 0.0

    def _facts(self) -> dict[str, Any]:
        return {
            "pid": os.getpid(),
            "problems": list(messages := self.problems.messages()),
            "problem_messages": {text: known.to_json() for text, known in messages.items()},
            "page": self.url,
            **dump_clocks(self._clocks),
            KEY: self._pc,
            "next_report_at": next_report_at(self._settings, self._now()).isoformat(),
        }

    # --- pages ----------------------------------------------------------------------------------

    def _pages(self, store: Store, worker: Worker) -> PageProcess | None:
        if not self._serve:
            return None
        web = self._settings.web
        refuse_strangers(web, store.accounts)
        pages = PageProcess(
            self._settings,
            on_work=worker.wake,
            on_restart=self.restart,
            problems=self.problems,
            listener=self._listener,
        )
        self._listener = pages.listener
        if not web.certificate and not is_this_pc_alone(web.host):
            self.problems.say("tls", READABLE)
        self.url = pages.url
        return pages

    # --- stopping -------------------------------------------------------------------------------

    def _end(self, worker: Worker, watches: list[SourceWatch], pages: PageProcess | None) -> None:
        worker.stop()
        for watch in watches:
            watch.stop()
        if pages:
            pages.stop()
        worker.join(WORKER_ENDS_S)
        if worker.is_alive():
            worker.abandon()
            worker.join(THREADS_END_S)
        for thread in watches:
            thread.join(THREADS_END_S / max(len(watches), 1))  # a dead share holds its own only
        if pages:
            pages.join(PAGES_RESTART_S if self._restarts else PAGES_END_S)
        if self._listener and not self._restarts:
            self._listener.close()

    def _say_stopped(self, store: Store) -> None:
        try:
            facts = {"stopped": True, **dump_clocks(self._clocks)}
            store.agents.record_heartbeat(facts, at=self._now())
            write_presence(self._settings, store, now=self._now(), is_stopped=True)
        except (StoreFaultError, AgentError) as fault:
            log.warning("store.unreachable", reason=str(fault))

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """Stop gently at the first signal and at once at the second; restore the handlers after."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def heard(number: int, _frame: FrameType | None) -> None:
            if self._stop.is_set() and not self._restarts:
                os._exit(FORCED)  # the journal has everything; what was in hand is queued again
            log.info("service.signalled", signal=signal.Signals(number).name)
            self.stop()

        names = ("SIGINT", "SIGTERM", "SIGBREAK")
        numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
        before = {number: signal.signal(number, heard) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
