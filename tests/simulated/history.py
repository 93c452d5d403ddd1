"""One history by its seed: played, brought to rest, and held against its promises."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import structlog

from simulated.database import Database, Point
from simulated.disk import in_place_of_the_real_one
from simulated.past import Past, make_past
from simulated.promises import come_to_rest, list_broken
from simulated.schedule import RestlessError
from simulated.world import World

COLLECT_EVERY = 50


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a history ended.

    Args:
        seed: Of the history. broken: a sentence for each broken promise. steps: calls to disk and
            database that it took. digest: of every step. counts: what happened how often.
    """

    seed: int
    broken: tuple[str, ...]
    steps: int
    digest: int
    counts: dict[str, int] = field(default_factory=dict)


class Simulation:
    """Plays histories, one after another. Use within `simulation()`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.world: World | None = None
        self._past: Past | None = None

    def prepare(self) -> None:
        """Play what some histories begin with."""
        self.world = World(0, self._database)
        self._past = make_past(self.world)

    def play(self, seed: int, say: Callable[[str], None] | None = None) -> Outcome:
        """Play one history.

        Args:
            seed: Decides everything.
            say: Called with each step.
        """
        if seed % COLLECT_EVERY == 0:
            gc.collect()
        world = self.world = World(seed, self._database, say, past=self._past)
        try:
            world.play()
            if not world.ledger.violations:
                come_to_rest(world)
            if not world.ledger.violations:
                for sentence in list_broken(world):
                    world.broken(sentence)
        except RestlessError as error:
            world.broken(str(error))
        finally:
            world.schedule.end()
            Point.before = staticmethod(lambda _what: None)
        for (state,) in world.ask("SELECT state FROM content"):
            world.ledger.count(f"file {state}")
        schedule, ledger = world.schedule, world.ledger
        return Outcome(
            seed, tuple(ledger.violations), schedule.steps, schedule.digest, ledger.counts
        )


@contextmanager
def simulation() -> Iterator[Simulation]:
    """Yield what plays histories; the process's disk, log and database are the simulation's."""
    database = Database()
    playing = Simulation(database)

    def hear(_logger: Any, level: str, event: dict[str, Any]) -> Any:
        if playing.world:
            playing.world.logged(level, event)
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(
        processors=[hear],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=False,
    )
    gc.collect()
    gc.freeze()
    gc.disable()  # a third of the time otherwise; what a history leaves is collected now and then
    try:
        with in_place_of_the_real_one(lambda: playing.world.disk if playing.world else None):
            playing.prepare()
            yield playing
    finally:
        gc.enable()
        structlog.configure(**before)
        database.close()
