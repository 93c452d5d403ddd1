"""What happens to the agents of a simulated lab: clocks, faults, deaths and power cuts."""

from __future__ import annotations

import errno
import os
import sqlite3
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from simulated.database import FULL, GONE, LOCKED, Database, Point
from simulated.disk import Disk
from simulated.lab import (
    DATA,
    LAB,
    LEASE_S,
    OUTBOX,
    SHARE,
    SPECIFICATIONS,
    Machine,
    ObservedStore,
    picture,
    settings,
)
from simulated.people import People
from simulated.schedule import Schedule

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.store import Claim
    from simulated.past import Past

STARTS = (
    datetime(2026, 10, 20, 10, 0, tzinfo=UTC),
    datetime(2026, 10, 25, 0, 20, tzinfo=UTC),  # the hour that Berlin has twice
    datetime(2027, 3, 28, 0, 30, tzinfo=UTC),  # the hour that it leaves out
    datetime(2026, 11, 24, 22, 15, tzinfo=UTC),  # a quarter of an hour before a night ends
)
BACK_S, AHEAD_S = (-90.0, -3600.0, -86400.0), (90.0, 3600.0, 3 * 86400.0)
CLOCK_RESTS_S = 150.0
RARE, OFTEN = 0.01, 0.06
NEVER_S = 1e9
KINDS = (
    "share", "share_gone", "stale", "empty", "short", "vanish", "disk", "disk_full", "database",
    "database_gone", "outbox", "outbox_gone", "death", "power", "clock", "stall", "overwrite",
)  # fmt: skip
"""What may go wrong; each history has some of it, so that none hides another."""
SHARE_ERRORS = (errno.EIO, errno.EACCES, errno.ESTALE, errno.ETIMEDOUT)
GONE_ERRORS = (errno.ENOENT, errno.ESTALE, errno.EHOSTDOWN, errno.EIO)


@dataclass
class Ledger:
    """What the world knows to be true, kept apart from the store.

    Args:
        whole: Hash → number of every picture that was once finished.
        seen: Name → bytes of every file that the LIMS ever saw in the outbox.
        decided: Decisions that the store said it has: micrograph, label, code.
        noted: Hash → name of pictures whose note names another order than their path.
        meddled: Names that somebody renamed, overwrote, touched or deleted.
        half: Files of which a part may rightly have been read: it rested, or a read was cut short.
        restarted: An agent was started again. violations: promises that were broken.
    """

    whole: dict[str, int] = field(default_factory=dict)
    seen: dict[str, bytes] = field(default_factory=dict)
    decided: list[tuple[str, int, str]] = field(default_factory=list)
    half: bool = False
    noted: dict[str, str] = field(default_factory=dict)
    meddled: set[str] = field(default_factory=set)
    restarted: bool = False
    violations: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def count(self, what: str) -> None:
        """Count what happened."""
        self.counts[what] = self.counts.get(what, 0) + 1


class World:
    """One history.

    Args:
        seed: Decides everything. database: begins again. say: called with each step.
        past: What some histories begin with, None: all begin with nothing.
    """

    def __init__(
        self,
        seed: int,
        database: Database,
        say: Callable[[str], None] | None = None,
        *,
        past: Past | None = None,
    ) -> None:
        self.seed, self.database = seed, database
        self.schedule = Schedule(seed, say)
        self.ledger = Ledger()
        draw = self.schedule.random
        self.kinds = {kind for kind in KINDS if draw.random() < 0.3}
        self.rate = draw.choice((RARE, OFTEN))
        self.start_at = draw.choice(STARTS)
        self.offset_s = 0.0
        self.lateness = draw.choice((0.3, 0.7))
        self.idle_s = draw.choice((2.0, 20.0, 60.0))
        self.writes_slowly = draw.random() < 0.2
        self.coarse = draw.random() < 0.2
        self.events = draw.choice((None, 0.5, 1.0))
        self.has_nights = draw.random() < 0.03
        self.has_outbox = draw.random() < 0.12
        if draw.random() < 0.2:
            self.kinds.add("power")
        self.meet_s = draw.random()
        """When (s) the agents look into their orders for the first time."""
        if self.has_outbox and draw.random() < 0.5:
            self.kinds.add("outbox")
        if "clock" in self.kinds:
            self.kinds.add("short")  # so that something is put off
        self.beats = "clock" in self.kinds or self.has_nights
        self.drag_s = 0.0
        self.share_is = "there"
        self.disk_is_full = self.database_is_gone = self.outbox_is_gone = False
        self.ears: list[Any] = []
        self.stale: dict[str, dict[str, os.stat_result]] = {}
        self.tokens: dict[int, int] = {}
        self.waits: dict[int, float] = {}
        """Content → until when (s, steady) it is put off at most."""
        self._faults: dict[object, list[str]] = {}
        self._warned: set[object] = set()
        self._silent: set[object] = set()
        self.people = People(self)
        self._clock_set_s = -CLOCK_RESTS_S
        self.disk = Disk(self._pc_ns, self._before, listed=self._listed, pulled=self._pulled)
        if not self.has_outbox or self.has_nights or draw.random() < 0.2:
            past = None
        self._lay_out(past)
        mode = "poll" if self.events is None else "native"
        self.settings = settings(mode=mode, zone="Europe/Berlin")
        database.begin(past.rows if past else None)
        Point.before = self._before_statement
        if "stall" in self.kinds:
            self.schedule.stalling = 0.1
        self.schedule.switching = draw.choice((0.05, 0.2))
        self.machines = [Machine(self, n) for n in range(draw.choice((1, 2)))]

    def _lay_out(self, past: Past | None) -> None:
        for folder in (SHARE, DATA, OUTBOX, LAB):
            self.disk.make_folder(folder)
        self.disk.write(f"{LAB}/specifications.toml", SPECIFICATIONS.encode())
        # A folder that holds nothing at all may be a share that is not mounted: it says nothing.
        self.disk.write(f"{SHARE}/Thumbs.db", b"a system's own")
        if past:
            self.disk.begin_with(past.root)
            past.enter(self)

    # --- clocks ---------------------------------------------------------------------------------

    def wall(self) -> datetime:
        """Return the time as the PCs say it, aware UTC."""
        return self.start_at + timedelta(seconds=self.schedule.now_s + self.offset_s)

    def _pc_ns(self) -> int:
        return int(self.wall().timestamp() * 1e9)

    def share_ns(self) -> int:
        """Return the time as the server of the share says it."""
        seconds = self.start_at.timestamp() + self.schedule.now_s - 4000
        return int(seconds // 2 * 2 * 10**9) if self.coarse else int(seconds * 1e9)

    def late(self, pause_s: float) -> float:
        """Return how long a loop really waits: a busy PC comes back late, never early."""
        if self.schedule.is_calm:
            return NEVER_S  # `simulated.promises` goes on with its rounds, one after another
        draw = self.schedule.random.random()
        is_late = draw < self.lateness and pause_s > 1.0
        late_s = draw / self.lateness * 40.0 if is_late else draw
        return max(pause_s, 0.01) + late_s + draw * self.drag_s

    # --- faults ---------------------------------------------------------------------------------

    def _strikes(self, kind: str, *, chance: float | None = None) -> bool:
        if kind not in self.kinds or self.schedule.is_calm or self.schedule.current is None:
            return False
        if self.schedule.random.random() >= (self.rate if chance is None else chance):
            return False
        self.ledger.count(kind)
        return True

    def _raise(self, number: int, path: str, *, is_said: bool = False) -> None:
        self.schedule.note(f"  fault: {errno.errorcode[number]} {path}")
        if is_said:
            self._faults.setdefault(self.schedule.current, []).append(path)
        raise OSError(number, os.strerror(number), path)

    def _before(self, call: str, path: str) -> None:
        actor = self.schedule.current
        if actor is None or actor.machine is None:
            return
        self.schedule.pass_by(f"{call} {path}", may_wait=True)
        if path.startswith(SHARE):
            self._before_share(call, path)
        elif path.startswith(OUTBOX):
            if self.outbox_is_gone:
                self._raise(self.schedule.random.choice(GONE_ERRORS), path, is_said=True)
            if self._strikes("outbox"):
                self._raise(errno.EIO, path, is_said=call not in ("stat", "unlink"))
        elif call == "mkdir" and self.disk.find(path):
            return
        elif path.startswith(DATA) and call in ("create", "write", "fsync", "replace", "mkdir"):
            # Where the outbox's last round ended is no matter: the next one begins with all orders.
            is_said = path != DATA and "outbox.json" not in path
            if self.disk_is_full and call in ("create", "write", "mkdir"):
                self._raise(errno.ENOSPC, path, is_said=is_said)
            if self._strikes("disk"):
                number = self.schedule.random.choice((errno.ENOSPC, errno.EIO, errno.EACCES))
                self._raise(number, path, is_said=is_said)

    def _before_share(self, call: str, path: str) -> None:
        if self.share_is == "gone":
            self._raise(self.schedule.random.choice(GONE_ERRORS), path)
        if self._strikes("share"):
            self._raise(self.schedule.random.choice(SHARE_ERRORS), path)
        if path.endswith(".tif") and call in ("open", "stat") and self._strikes("vanish"):
            self._raise(errno.ENOENT, path)

    def _listed(self, folder: str, shown: dict[str, os.stat_result]) -> None:
        """Show a folder of the share as its cache has it."""
        actor = self.schedule.current
        if not folder.startswith(SHARE) or actor is None or actor.machine is None:
            return
        if self.share_is == "empty":
            shown.clear()
        elif self.share_is == "stale":
            old = self.stale.get(folder, {})
            names = list(shown) if len(shown) == 1 else list(old)
            shown_now = {name: old[name] for name in names if name in old}
            shown.clear()
            shown.update(shown_now)

    def _pulled(self, path: str, held: bytes) -> bytes:
        chance = 0.3 if self.beats else None
        if path.endswith(".tif") and held and self._strikes("short", chance=chance):
            self.ledger.half = True
            return held[: self.schedule.random.randrange(len(held))]
        is_exported = path.endswith(".tif") and len(held) > len(picture(0, 0))
        if is_exported and self.share_is == "there" and self._strikes("overwrite", chance=0.2):
            return self.people.overwrite_while_read(path[len(SHARE) + 1 :], held)
        return held

    def _before_statement(self, what: str) -> None:
        self.schedule.pass_by(what, may_wait=what in ("begin", "committed"))
        actor = self.schedule.current
        if actor is None:
            return
        if (self.database_is_gone and what == "begin") or self._strikes("database"):
            sentence = {"begin": LOCKED, "committed": GONE, "commit": GONE}.get(what, FULL)
            self.schedule.note(f"  fault: {sentence} at {what}")
            if actor not in self._silent:
                self._faults.setdefault(actor, []).append(what)
            raise sqlite3.OperationalError(sentence)

    def quietly(self, act: Callable[[], Any]) -> Any:
        """Do what the program does without a word when it fails."""
        actor = self.schedule.current
        self._silent.add(actor)
        try:
            return act()
        finally:
            self._silent.discard(actor)

    # --- what is seen of the agents -------------------------------------------------------------

    def open_store(self, number: int) -> ObservedStore:
        """Return the store of an agent."""
        store = self.database.open(number, ObservedStore)
        store.world = self
        return store

    def claimed(self, claim: Claim) -> None:
        """Note who has a content in hand; where it is taken over, the other one goes on too."""
        newest = self.tokens.get(claim.content_id, 0)
        if claim.token <= newest:
            self.broken(f"content {claim.content_id} was claimed twice with one token")
        self.tokens[claim.content_id] = max(claim.token, newest)
        self.waits.pop(claim.content_id, None)
        if newest:
            self.ledger.count("claimed again")
            self.schedule.let_all_go_on()
        elif len(self.machines) > 1 and self._strikes("stall", chance=0.9):
            self.schedule.stall_soon(within=25)
            for seconds in (1.0, 20.0, 60.0):  # somebody else looks as soon as the lease is over
                self.schedule.start("bell", self._wake_workers, after_s=LEASE_S + seconds)

    def finished(self) -> None:
        """Cut the power now and then as soon as a row says that pixels are kept."""
        if self._strikes("power", chance=0.9):
            self.schedule.death_at = self.schedule.steps + 1

    def _wake_workers(self) -> None:
        for machine in self.machines:
            machine.wake_worker()

    def put_off(self, content_id: int, at: datetime) -> None:
        """Note until when (s, steady) a content is put off at most; the clock may be set now."""
        rows = self.ask("SELECT due_at FROM content WHERE id = ?", content_id)
        if rows and rows[0][0]:
            due_at = datetime.fromisoformat(rows[0][0]).replace(tzinfo=UTC)
            self.waits[content_id] = self.schedule.now_s + (due_at - at).total_seconds()
            if self._strikes("clock", chance=0.5):
                self._set_clock()

    def broken(self, sentence: str) -> None:
        """Write down that a promise is broken."""
        self.schedule.note(f"BROKEN: {sentence}")
        self.ledger.violations.append(sentence)

    def logged(self, level: str, event: dict[str, Any]) -> None:
        """Hear what the program logs."""
        name = str(event["event"])
        if self.schedule.say:
            facts = {k: v for k, v in event.items() if k not in ("event", "exc_info", "took_ms")}
            self.schedule.note(f"  log {name} {facts}")
        if level in ("warning", "error", "exception", "critical"):
            self._warned.add(self.schedule.current)
        if name == "file.set_aside" and event["code"] == "truncated" and not self.ledger.half:
            self.broken(f"{event['file']} was read before it was whole")
        if name.endswith(".crashed") or name == "file.unwritable":
            self.broken(f"{name}: {event.get('exc_info')!r} {event.get('file', '')}")

    def observed(self, machine: Machine, turn: Callable[[], float]) -> float:
        """Run one round of a loop; a fault that it met has to be said by someone."""
        actor = self.schedule.current
        self._faults.pop(actor, None)
        self._warned.discard(actor)
        said = machine.problems.all()
        pause_s = turn()
        faults = self._faults.pop(actor, [])
        if faults and not (said or machine.problems.all() or actor in self._warned):
            self.broken(f"not a word of a fault of {actor and actor.name}: {faults[:3]}")
        return pause_s

    def ask(self, question: str, *given: object) -> list[tuple[Any, ...]]:
        """Return rows of the database, read beside the program."""
        return self.database.ask(question, *given)

    # --- weather --------------------------------------------------------------------------------

    def weather(self) -> None:
        """Take things away for a while, and set clocks."""
        draw = self.schedule.random
        able = [k for k in ("share_gone", "stale", "empty", "disk_full") if k in self.kinds]
        able += [k for k in ("database_gone", "outbox_gone", "clock") if k in self.kinds]
        able += ["death", "death"] if self.kinds & {"death", "power"} else []
        while able:
            self.schedule.sleep(draw.choice((3.0, 30.0)) * (0.1 + draw.random()))
            if self.schedule.is_calm:
                return
            kind = draw.choice(able)
            self.ledger.count(kind)
            self.schedule.note(f"weather: {kind}")
            if kind == "clock":
                self._set_clock()
            elif kind == "death":
                self.schedule.death_at = self.schedule.steps + draw.randrange(1, 60)
            else:
                self._take_away(kind)
                takes_s = draw.choice((5.0, 120.0, 3600.0)) * draw.random()
                self.drag_s = takes_s / 5  # the hundredth try of an outage shows nothing new
                self.schedule.sleep(takes_s)
                self.drag_s = 0.0
                self._give_back()
                self.schedule.note(f"weather: {kind} is over")

    def _set_clock(self) -> None:
        # Two that cancel each other between two looks at the clock cannot be seen by anybody.
        if self.schedule.now_s < self._clock_set_s + CLOCK_RESTS_S:
            return
        self._clock_set_s = self.schedule.now_s
        by_s = self.schedule.random.choice(BACK_S if self.waits else (*BACK_S, *AHEAD_S))
        self.schedule.note(f"the clock is set by {by_s:.0f} s")
        self.offset_s += by_s

    def _take_away(self, kind: str) -> None:
        if kind == "stale":
            self.share_is, self.stale = "stale", self._snapshot()
        elif kind in ("share_gone", "empty"):
            self.share_is = "gone" if kind == "share_gone" else "empty"
        self.disk_is_full = kind == "disk_full"
        self.database_is_gone = kind == "database_gone"
        self.outbox_is_gone = kind == "outbox_gone"

    def _give_back(self) -> None:
        self.share_is = "there"
        self.disk_is_full = self.database_is_gone = self.outbox_is_gone = False

    def _snapshot(self) -> dict[str, dict[str, os.stat_result]]:
        found = {}
        for folder in (SHARE, f"{SHARE}/sub"):
            node = self.disk.find(folder)
            if node is not None:
                found[folder] = {n: one.facts() for n, one in sorted(node.entries.items())}
        return found

    def on_death(self, machine: object) -> None:
        """Let a dead machine start again after a while; a power cut takes the others with it."""
        assert isinstance(machine, Machine)
        draw = self.schedule.random
        machine.is_up = False
        self.ledger.restarted = True
        self.ears.clear()
        if "power" in self.kinds and draw.random() < 0.8:
            for other in self.machines:
                if other.is_up:
                    self.schedule.doom(other)
                    other.is_up = False
            self.schedule.bury()
            self.schedule.died.clear()
            self.schedule.note("the power is cut")
            self.ledger.count("power_cut")
            for folder in (DATA, OUTBOX):
                self.disk.cut_power(folder, draw.random)
        for one in self.machines:
            if not one.is_up:
                self.schedule.start(
                    f"start {one.number}", self._starter(one), after_s=draw.choice((1.0, 100.0))
                )

    def _starter(self, machine: Machine) -> Callable[[], None]:
        def start() -> None:
            if not machine.is_up:
                machine.boot()

        return start

    def be_calm(self) -> None:
        """Let bad luck end."""
        self.schedule.is_calm = True
        self.schedule.note("from here on nothing goes wrong")
        for actor in self.schedule.actors:
            if not actor.is_idle or actor.name.startswith("start"):
                actor.due_s = self.schedule.now_s
        self._give_back()

    # --- the whole history ----------------------------------------------------------------------

    def play(self) -> None:
        """Let everything happen."""
        schedule, draw = self.schedule, self.schedule.random
        for machine in self.machines:
            machine.boot()
        schedule.start("microscope", self.people.microscope)
        if self.has_outbox:
            schedule.start("reviewer", self.people.reviewer, after_s=15.0)
        if draw.random() < 0.15:
            schedule.start("lead", self.people.lead)
        schedule.start("weather", self.weather, after_s=0.5)
        last, rest_s = draw.choice((150, 400)), draw.choice((30.0, 60.0, 200.0))

        def is_over() -> bool:
            since_s = self.people.exported_s
            is_done = since_s is not None and schedule.now_s >= since_s + rest_s
            goes_on = schedule.now_s < schedule.lasts_s and schedule.steps < 2 * last
            return bool(self.ledger.violations) or (
                (is_done or schedule.steps >= last) and not goes_on
            )

        schedule.run(is_over, self.on_death)
