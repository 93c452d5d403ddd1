"""The agents of a simulated lab: the program's own loops, with a reader and a model for nothing."""

from __future__ import annotations

import hashlib
import struct
from collections import deque
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from labs import lab

import model
from agent.archive import Archive
from agent.errors import FileCode, FileError
from agent.imaging import Crop, SpecimenArea
from agent.orders.facts.order_policy import build_provenance
from agent.pipeline import Pipeline, run_here
from agent.service.health.problems import HostMonitor, Problems
from agent.service.jobs.exchange import fill_outbox
from agent.service.schedule import PeriodicThread, ReportScheduler
from agent.service.source_thread import SourceWatch
from agent.service.worker import Worker
from agent.settings import Settings
from agent.store import Store, StoreFaultError
from agent.store.work.work_queue import WorkQueue
from agent.triage import Policy
from agent.watch.fs_events import Hints
from model.runtime.engines import Engine

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence

    from agent.store import Claim
    from simulated.world import World

SHARE, DATA, OUTBOX, LAB = (f"/simulated/{name}" for name in ("share", "data", "outbox", "lab"))
SPECIFICATIONS = """
[[specification]]
name = "ring-a"
valid_from = 2020-01-01
approved_by = "R. Stahl"
material = "100Cr6"
subtype = ["G"]
limit = "8 or finer"
fields = 1
"""
BUNDLES = ("20260101-00000000", "20260202-00000000")
MAGIC = b"MICRO"
LEASE_S = 60.0
QUIET_S = 5.0


# --- pictures -----------------------------------------------------------------------------------


def picture(number: int, length: int) -> bytes:
    """Return a picture as the lab's microscope writes it; its length is in its head."""
    body = struct.pack(">I", number) + bytes([number % 256]) * length
    return MAGIC + struct.pack(">H", len(body)) + body


def read_picture(held: bytes) -> int:
    """Return the number in a picture.

    Raises:
        FileError: It is none, or not whole.
    """
    if not held:
        raise FileError(FileCode.EMPTY, "it is empty.")
    if held[: len(MAGIC)] != MAGIC[: len(held)]:
        raise FileError(FileCode.NOT_AN_IMAGE, "it is no picture.")
    head = len(MAGIC) + 2
    if len(held) < head or len(held) < head + struct.unpack(">H", held[len(MAGIC) : head])[0]:
        raise FileError(FileCode.TRUNCATED, "it ends too early.")
    return int(struct.unpack(">I", held[head : head + 4])[0])


def code_of(number: int) -> str:
    """Return what the model answers to a picture."""
    return ("G8", "G7", "G9-10")[number % 3]


def crop_of(held: bytes, scale: float | None) -> Crop:
    """Return the crop of a picture: grey, and no place that could be recognised."""
    number = read_picture(held)
    return Crop(
        sha256=hashlib.sha256(held).hexdigest(), page=0, pages=1, width=8, height=6, format="TIFF",
        um_per_px=scale or 0.2, um_per_px_source="settings" if scale else "metadata", scales=(),
        micron_bar=None, band=None,
        specimen_area=SpecimenArea(whole_frame=True, outside_fraction=0.0, polygon=()),
        box=(0, 0, 8, 6), recipe="1", warnings=(), metadata={},
        pixels=np.full((6, 8, 3), number % 200, np.uint8), valid=np.ones((6, 8), bool),
        preview=np.full((6, 8, 3), number % 200, np.uint8),
    )  # fmt: skip


class Pool:
    """Reads in place of worker processes; like them it is a file ahead of what it gives."""

    workers = 1

    def has_outcome(self) -> bool:
        return True

    def crop_all(
        self, jobs: Iterable[tuple[Path, float | None]]
    ) -> Generator[tuple[Path, list[Crop] | Exception], None, None]:
        """Read and crop, one after another."""
        left, read = iter(jobs), deque[tuple[Path, list[Crop] | Exception]]()
        while True:
            while len(read) <= self.workers and (job := next(left, None)):
                read.append(self._read(*job))
            if not read:
                return
            yield read.popleft()

    def _read(self, path: Path, scale: float | None) -> tuple[Path, list[Crop] | Exception]:
        try:
            return path, [crop_of(path.read_bytes(), scale)]
        except (FileError, OSError) as error:
            return path, error

    def close(self) -> None:
        """Nothing is held."""

    release_memory = rest = close


@cache
def _prediction(code: str, bundle: str, *, strange: bool) -> Any:
    said = lab.prediction_of(code, p_value=0.004 if strange else 0.4)
    return replace(said, bundle=bundle)


class Classifier:
    """Answers by the brightness of a picture."""

    trouble = ""
    engine = Engine("pytorch", "cpu", "fp32")

    def __init__(self, name: str) -> None:
        self.name = name

    def classify(self, fields: Sequence[Any]) -> list[Any]:
        """Return a prediction for each field."""
        levels = [int(field.pixels[0, 0, 0]) for field in fields]
        return [_prediction(code_of(n), self.name, strange=n % 5 == 0) for n in levels]


class CurrentBundle:
    """The bundle in use, asked of the store as the service does."""

    problem = trouble = waits_for = ""

    def __init__(self, store: Store, quietly: Callable[[Callable[[], Any]], Any]) -> None:
        self._store, self._quietly = store, quietly
        self.classifier = Classifier(BUNDLES[0])

    def refresh(self) -> bool:
        """Load another one where one was promoted."""
        before = self.classifier.name
        with suppress(StoreFaultError):
            name = self._quietly(self._store.promotions.find_current) or BUNDLES[0]
            if name != before:
                self.classifier = Classifier(name)
        return self.classifier.name != before

    def policy(self) -> Policy:
        """Return the lab's policy."""
        return POLICY


POLICY = Policy(control_share=0.0)


# --- what is observed ---------------------------------------------------------------------------


class ObservedWorkQueue(WorkQueue):
    """A work queue whose claims are written into the ledger of the world."""

    world: World

    def claim(self, *given: Any, **named: Any) -> list[Claim]:
        """Claim, and note who has what."""
        claims = super().claim(*given, **named)
        for one in claims:
            self.world.claimed(one)
        return claims

    def finish(self, claim: Claim, *given: Any, **named: Any) -> bool:
        """Finish; only the newest claim may."""
        finished = super().finish(claim, *given, **named)
        if finished and self.world.tokens.get(claim.content_id, 0) > claim.token:
            self.world.broken(f"content {claim.content_id} was finished by a claim that was over")
        if finished:
            self.world.finished()
        return finished

    def release(self, claim: Claim, *given: Any, **named: Any) -> bool:
        """Give a claim back, and note how long it is put off."""
        held = super().release(claim, *given, **named)
        self.world.put_off(claim.content_id, named["at"])
        return held

    def fail(self, claim: Claim, *given: Any, **named: Any) -> datetime | None:
        """Write down a crash, and note how long the file is put off."""
        next_at = super().fail(claim, *given, **named)
        self.world.put_off(claim.content_id, named["at"])
        return next_at

    def miss(self, claim: Claim, *given: Any, **named: Any) -> bool | None:
        """Write down that a file was not there, and note how long it is put off."""
        gone = super().miss(claim, *given, **named)
        self.world.put_off(claim.content_id, named["at"])
        return gone

    def set_aside(self, claim: Claim, *given: Any, **named: Any) -> bool:
        """Write down that a file is no use, and note when it is read again."""
        held = super().set_aside(claim, *given, **named)
        self.world.put_off(claim.content_id, named["at"])
        return held


class ObservedStore(Store):
    """A store with an observed work queue."""

    world: World

    @property
    def work_queue(self) -> ObservedWorkQueue:
        """The work queue, observed by the world."""
        queue = ObservedWorkQueue(self._engine, self._whose)
        queue.world = self.world
        return queue


class Ears:
    """Stands in for a listener to events: the world says what is heard, and loses some."""

    def __init__(self, world: World, ring: Callable[[], None]) -> None:
        self._world, self._ring = world, ring
        self._paths: set[str] = set()
        self.actor: Any = None

    def start(self) -> None:
        """Begin to listen."""
        self._world.ears.append(self)

    def stop(self) -> None:
        """Stop."""
        if self in self._world.ears:
            self._world.ears.remove(self)

    def is_healthy(self) -> bool:
        """Return whether events would still come."""
        return self in self._world.ears

    def hear(self, relative: str) -> None:
        """Hear of a file."""
        self._paths.add(relative)
        self._ring()
        if self.actor:
            self._world.schedule.wake(self.actor)

    def take_hints(self) -> Hints:
        """Take what was heard."""
        hints, self._paths = Hints(frozenset(self._paths), list_all=False), set()
        return hints


# --- one agent ----------------------------------------------------------------------------------


@cache
def settings(*, mode: str, zone: str) -> Settings:
    """Return the settings of the lab."""
    pattern = r"(?P<order>\d+)_(?P<specimen>\d+)_(?P<field>\d+)"
    return Settings(
        site={"name": "Plant 1", "time_zone": zone},
        store={"folder": Path(DATA)},
        sources=[
            {
                "name": "LOM", "folder": Path(SHARE), "mode": mode, "quiet_s": QUIET_S,
                "pattern": pattern, "material": "100Cr6",
            }
        ],
        model={"taxonomy": str(Path(model.__file__).with_name("taxonomy.toml"))},
        orders={"specifications": Path(LAB, "specifications.toml"), "outbox": OUTBOX},
    )  # fmt: skip


class Machine:
    """One PC with one agent.

    Args:
        world: It lives in. number: of the agent, from 0.
    """

    def __init__(self, world: World, number: int) -> None:
        self.world, self.number, self.is_up = world, number, False

    def now(self) -> datetime:
        """Return the time as the PC's clock says it."""
        return self.world.wall()

    def steady(self) -> float:
        """Return seconds on a clock that nobody sets."""
        return self.world.schedule.now_s

    def boot(self) -> None:
        """Start the agent."""
        self.is_up = True
        world, schedule = self.world, self.world.schedule
        self.store = world.open_store(self.number)
        self.problems = Problems()
        self.archive = Archive(Path(DATA))
        bundle, source = CurrentBundle(self.store, world.quietly), world.settings.sources[0]
        self.worker = Worker(
            lambda: (Pool(), self._pipeline(bundle)),
            bundle=bundle,
            reachable=lambda: ["LOM"] if self.watch.is_reachable() else [],
            problems=self.problems,
            steady=self.steady,
        )
        self.watch = SourceWatch(
            source,
            store=self.store,
            now=self.now,
            on_work=self.wake_worker,
            problems=self.problems,
            steady=self.steady,
            listen=self._listen,
        )
        self.outbox = PeriodicThread(
            "outbox",
            lambda: fill_outbox(world.settings, self.store, now=self.now()),
            every_s=120.0,
            problems=self.problems,
        )
        self.nights = ReportScheduler(
            world.settings, self.store, self.archive, now=self.now, problems=self.problems
        )
        self.vitals = HostMonitor(
            Path(DATA), now=self.now, steady=self.steady, free=lambda _folder: 10**12
        )
        self._actors: dict[str, Any] = {}
        schedule.start(f"boot {self.number}", self._begin, machine=self, after_s=0.1)

    def _pipeline(self, bundle: CurrentBundle) -> Pipeline:
        source = self.world.settings.sources[0]
        return Pipeline(
            store=self.store,
            archive=self.archive,
            pool=Pool(),
            classifier=bundle.classifier,
            policy=POLICY,
            now=self.now,
            sources={"LOM": build_provenance(source)},
            lease_s=LEASE_S,
            earlier=lambda name: (Classifier(name), POLICY),
            archiving=run_here if self.world.seed % 2 else None,
        )

    def _begin(self) -> None:
        while True:
            try:
                self.store.work_queue.requeue_own(at=self.now())
                self.store.agents.record_start(at=self.now())
                break
            except StoreFaultError:  # the service manager starts it again
                self.world.schedule.sleep(5.0)
        loops = {"watch": self._watch, "work": self._work}
        loops |= {"outbox": self._outbox} if self.world.has_outbox else {}
        loops |= {"beat": self._beat} if self.world.beats else {}
        loops |= {"night": self._night} if self.world.has_nights else {}
        for name, loop in loops.items():
            # The agents look into their orders at the same moment, so that they get in each
            # other's way.
            is_outbox = name == "outbox"
            after_s = self.world.meet_s if is_outbox else self.world.schedule.random.random()
            actor = self.world.schedule.start(
                f"{name} {self.number}", loop, machine=self, after_s=after_s
            )
            self._actors[name] = actor

    def _listen(self, _folder: Path, ring: Callable[[], None]) -> Ears:
        ears = Ears(self.world, ring)
        ears.actor = self._actors.get("watch")
        return ears

    def wake_outbox(self) -> None:
        """Let a round of the outbox begin now, where none is under way."""
        if "outbox" in self._actors:
            self.world.schedule.wake(self._actors["outbox"])

    def wake_worker(self) -> None:
        """Let a worker look for what is due now, where it waits."""
        if "work" in self._actors:
            self.world.schedule.wake(self._actors["work"])

    def _loop(self, turn: Callable[[], float]) -> None:
        while True:
            pause_s = self.world.observed(self, turn)
            self.world.schedule.sleep(self.world.late(pause_s))

    def _watch(self) -> None:
        self._loop(self.watch.run_round)

    def _work(self) -> None:
        # Nothing was due: it is woken by what comes, so that asking is only for what was put off.
        self._loop(lambda: self.worker.run_round() and self.world.idle_s)

    def _outbox(self) -> None:
        def turn() -> float:
            self.outbox.run_round()
            self.world.people.lims()
            return 40.0

        self._loop(turn)

    def _night(self) -> None:
        self._loop(lambda: self.nights.catch_up() or 1800.0)

    def _beat(self) -> None:
        self._loop(self.beat)

    def beat(self) -> float:
        """Do what the service does every few seconds besides."""
        try:
            set_back = self.vitals.look()
            if set_back < timedelta(0):
                self._owed = getattr(self, "_owed", timedelta(0)) - set_back
            if getattr(self, "_owed", None):
                self.store.work_queue.shift_clock(self._owed, at=self.now())
                self._owed = timedelta(0)
            self.store.sources.record([self.watch.health()])
            self.store.agents.record_heartbeat({"problems": self.problems.all()}, at=self.now())
        except StoreFaultError as fault:
            self.problems.say("database", str(fault))
            return 30.0
        self.problems.say("database", "")
        return 60.0
