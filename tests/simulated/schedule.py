"""One thread that runs every thread of several agents, in an order that a seed decides.

An actor is a loop in a greenlet of its own. Wherever the program asks its disk or database, the
schedule is asked first: the actor may have to wait while others go on, or its machine may die.
Time is a number; nobody sleeps.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from random import Random
from zlib import crc32

from greenlet import getcurrent, greenlet

_PART = re.compile(r"\.[0-9]+-[0-9a-f]{8}\.part$")  # the program draws these names itself

MOST_ROUNDS = 3000
STALL_S = 200.0


class RestlessError(Exception):
    """What goes on goes on for ever."""


class Died(BaseException):
    """The actor's machine is dead: nothing that it still tries has any effect."""


class Actor:
    """A loop, and when it goes on.

    Args:
        name: For the trace. machine: that it dies with, None for what is outside all machines.
        due_s: When it goes on. hub: runs all actors. is_idle: it waits between two rounds, and may
            be woken.
    """

    def __init__(
        self, name: str, machine: object, body: Callable[[], None], due_s: float, hub: greenlet
    ) -> None:
        self.name, self.machine, self.due_s = name, machine, due_s
        self.is_idle = True
        self.is_doomed = False
        self.stalls_at = 0
        self.greenlet = greenlet(lambda: _run(body), hub)  # who starts it does not hear of its end


def _run(body: Callable[[], None]) -> None:
    try:
        body()
    except Died:
        return


class Schedule:
    """Runs actors by a seed.

    Args:
        seed: Decides everything.
        say: Called with each step, where somebody reads it.
    """

    def __init__(self, seed: int, say: Callable[[str], None] | None = None) -> None:
        self.random = Random(seed)
        self.now_s = 0.0
        self.steps = self.digest = 0
        self.is_calm = False
        self.switching = self.stalling = 0.0
        self.death_at = 0
        self.lasts_s = 0.0
        """A history is not over before: somebody stalls so long."""
        self.died: list[object] = []
        self.actors: list[Actor] = []
        self.current: Actor | None = None
        self.say = say
        self._hub = getcurrent()
        self._thread = threading.get_ident()

    def start(
        self, name: str, body: Callable[[], None], *, machine: object = None, after_s: float = 0.0
    ) -> Actor:
        """Add an actor."""
        actor = Actor(name, machine, body, self.now_s + after_s, self._hub)
        self.actors.append(actor)
        return actor

    def sleep(self, pause_s: float) -> None:
        """Let others go on; called by an actor between two rounds."""
        actor = self._me()
        actor.due_s, actor.is_idle = self.now_s + pause_s, True
        self._hub.switch()
        actor.is_idle = False
        self.raise_if_dead()

    def wake(self, actor: Actor) -> None:
        """Let an actor go on now, where it waits between two rounds."""
        if actor.is_idle:
            actor.due_s = min(actor.due_s, self.now_s)

    def raise_if_dead(self) -> None:
        """Raise `Died` where the current actor's machine is dead."""
        if self.current is not None and self.current.is_doomed:
            raise Died

    def note(self, what: str) -> None:
        """Write a step down."""
        self.steps += 1
        if what.endswith(".part"):
            what = _PART.sub("", what)
        who = self.current.name if self.current else "world"
        line = f"{self.steps} {self.now_s:.2f} {who}: {what}"
        self.digest = crc32(line.encode(), self.digest)
        if self.say:
            self.say(line)

    def pass_by(self, what: str, *, may_wait: bool) -> None:
        """Stand before a call to disk or database: wait, die, or go on."""
        if self.current is None:
            return
        self.raise_if_dead()
        self.note(what)
        if self.is_calm:
            return
        if self.death_at and self.steps >= self.death_at and self.current.machine is not None:
            self.death_at = 0
            self.note("dies here")
            self.doom(self.current.machine)
            raise Died
        # A share is inspected in a thread, for which its actor waits: no other can go on meanwhile.
        may_wait = may_wait and threading.get_ident() == self._thread
        if may_wait and self.current.stalls_at and self.steps >= self.current.stalls_at:
            self.current.stalls_at = 0
            self.note("stalls here")
            self.lasts_s = self.now_s + STALL_S
            self._wait(STALL_S)
        elif may_wait and self.random.random() < self.switching:
            stalls = self.random.random() < self.stalling
            self._wait(self.random.choice((30.0, 100.0, 300.0)) if stalls else 0.01)

    def stall_soon(self, *, within: int) -> None:
        """Let the current actor stall for long at one of its next steps."""
        self._me().stalls_at = self.steps + self.random.randrange(1, within)

    def let_all_go_on(self) -> None:
        """End every stall, and let the others go first; called by an actor."""
        if self.is_calm or self.current is None:
            return
        for actor in self.actors:
            if not actor.is_idle:
                actor.due_s = min(actor.due_s, self.now_s)
        self._wait(0.01)

    def _wait(self, pause_s: float) -> None:
        actor = self._me()
        actor.due_s = self.now_s + pause_s
        self._hub.switch()
        self.raise_if_dead()

    def doom(self, machine: object) -> None:
        """Let a machine be dead from now on."""
        for actor in self.actors:
            actor.is_doomed |= actor.machine is machine
        self.died.append(machine)

    def bury(self) -> None:
        """End the actors of dead machines; called by the hub."""
        for actor in [one for one in self.actors if one.is_doomed and one.greenlet]:
            self._resume(actor)
            assert actor.greenlet.dead, f"{actor.name} lives on"
        self.actors = [one for one in self.actors if not one.is_doomed]

    def end(self) -> None:
        """End every actor, wherever it stands."""
        for actor in self.actors:
            actor.is_doomed = True
        self.bury()

    def run(self, is_over: Callable[[], bool], on_death: Callable[[object], None]) -> None:
        """Let actors go on, one at a time, until it is over or none is left."""
        rounds = 0
        while self.actors and not is_over():
            rounds += 1
            if rounds > MOST_ROUNDS:
                raise RestlessError(f"nothing comes to rest in {MOST_ROUNDS} rounds")
            ready = [one for one in self.actors if one.due_s <= self.now_s]
            if not ready:
                self.now_s = min(one.due_s for one in self.actors)
                continue
            actor = ready[self.random.randrange(len(ready))] if len(ready) > 1 else ready[0]
            self._resume(actor)
            if actor.greenlet.dead:
                self.actors.remove(actor)
            if self.died:
                self.bury()
                died, self.died = self.died, []
                for machine in died:
                    on_death(machine)

    def _resume(self, actor: Actor) -> None:
        self.current = actor
        try:
            actor.greenlet.switch()
        finally:
            self.current = None

    def _me(self) -> Actor:
        assert self.current is not None
        return self.current
