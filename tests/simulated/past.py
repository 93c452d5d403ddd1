"""A lab in which work was done before its history begins, so that a history need not wait for it.

Two orders have a micrograph each; one of them has a decision and its first revision in the outbox,
the other one was decided a moment ago.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from agent.store import Decision
from simulated.lab import SHARE, picture
from simulated.promises import work_off

if TYPE_CHECKING:
    import sqlite3

    from simulated.disk import Node
    from simulated.world import Ledger, World

BEGAN_AT = datetime(2026, 10, 19, 9, 0, tzinfo=UTC)
NAMES = ("4711_1_11.tif", "4712_2_12.tif")


@dataclass(frozen=True, slots=True)
class Past:
    """What there is when a history begins.

    Args:
        rows: Of the database. root: of the disk. ledger: what the world knows of it.
    """

    rows: sqlite3.Connection
    root: Node
    ledger: Ledger

    def enter(self, world: World) -> None:
        """Let a world know what was."""
        world.ledger.whole.update(self.ledger.whole)
        world.ledger.seen.update(self.ledger.seen)
        world.ledger.decided.extend(self.ledger.decided)
        world.people.pictures = len(NAMES)


def make_past(world: World) -> Past:
    """Play the past in a new world, in which nothing goes wrong."""
    world.start_at, world.has_outbox = BEGAN_AT, True
    world.schedule.is_calm = True
    del world.machines[1:]
    (machine,) = world.machines
    machine.boot()
    world.schedule.run(lambda: len(world.schedule.actors) > 1, world.on_death)
    world.schedule.end()
    for number, name in enumerate(NAMES, 1):
        data = picture(number, 12)
        world.ledger.whole[hashlib.sha256(data).hexdigest()] = number
        world.disk.write(f"{SHARE}/{name}", data, at_ns=world.share_ns())
    work_off(world)
    for (public_id,) in world.ask("SELECT public_id FROM micrograph ORDER BY id"):
        decision = Decision("code", "Ada", code="G7", comment="seen")
        label = machine.store.labels.decide(public_id, decision, at=world.wall())
        world.ledger.decided.append((public_id, label, "G7"))
        if len(world.ledger.decided) == 1:
            machine.outbox.run_round()
            world.people.lims()
    assert not world.ledger.violations
    return Past(world.database.keep(), world.disk.root, world.ledger)
