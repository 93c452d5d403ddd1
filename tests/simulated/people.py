"""What happens around the agents of a simulated lab: a microscope, people who decide, a LIMS."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from agent.errors import UsageError
from agent.store import Decision, DecisionConflictError, StoreFaultError
from simulated.lab import BUNDLES, OUTBOX, QUIET_S, SHARE, picture

if TYPE_CHECKING:
    from simulated.world import World

MEDDLING = ("overwrite", "rename", "delete", "touch", "other", "broken")


class People:
    """Everybody outside the agents.

    Args:
        world: They live in.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.pictures = 0
        self.exported_s: float | None = None
        """When the microscope had exported its last picture."""

    # --- the microscope -------------------------------------------------------------------------

    def export(self, name: str = "") -> None:
        """Write a new picture in parts, as the microscope does."""
        draw = self.world.schedule.random
        self.pictures += 1
        number, length = self.pictures, draw.randrange(4, 40)
        old = self.world.disk.find(f"{SHARE}/{name}") if name else None
        if old is not None and len(picture(number, length)) == len(old.data):
            length += 1
        data = picture(number, length)
        self.world.ledger.whole[hashlib.sha256(data).hexdigest()] = number
        if not name:
            name = self._new_name()
            if draw.random() < 0.15:
                self._put(f"{name[:-4]}.txt", b"Auftrag: 9999")
                self.world.ledger.noted[hashlib.sha256(data).hexdigest()] = name
        if draw.random() < 0.2:
            self._put(name + ".tmp", data)
            self.world.schedule.sleep(draw.random() * 3)
            self._rename(name + ".tmp", name)
            return
        ends = [*sorted(draw.sample(range(len(data)), draw.choice((0, 1, 2)))), len(data)]
        for end in ends:
            self._put(name, data[:end])
            if end < len(data):
                slow = self.world.writes_slowly and draw.random() < 0.3
                if slow:
                    self.world.ledger.half = True
                self.world.schedule.sleep(QUIET_S * 4 if slow else QUIET_S * 0.9 * draw.random())

    def _new_name(self) -> str:
        draw = self.world.schedule.random
        order, specimen = draw.choice(("4711", "4712")), draw.choice(("1", "2"))
        folder = draw.choice(("", "", "sub/"))
        if folder:
            self.world.disk.make_folder(f"{SHARE}/sub")
        return f"{folder}{order}_{specimen}_{self.pictures + draw.randrange(100, 900)}.tif"

    def _put(self, name: str, data: bytes) -> None:
        self.world.schedule.note(f"writes {name} ({len(data)} bytes)")
        self.world.disk.write(f"{SHARE}/{name}", data, at_ns=self.world.share_ns())
        self._ring(name)

    def _rename(self, old: str, new: str) -> None:
        self.world.schedule.note(f"renames {old} to {new}")
        self.world.disk.replace(f"{SHARE}/{old}", f"{SHARE}/{new}")
        self._ring(new)

    def _ring(self, name: str) -> None:
        for ear in tuple(self.world.ears):
            if self.world.schedule.random.random() < (self.world.events or 0.0):
                ear.hear(name)

    def on_share(self) -> list[str]:
        """Return the names of the pictures on the share."""
        return [name for name in self.world.disk.files(SHARE) if name.endswith(".tif")]

    def microscope(self) -> None:
        """Export, and do what else happens in an export folder."""
        draw = self.world.schedule.random
        for _ in range(draw.choice((1, 2, 2, 3, 4))):
            self.world.schedule.sleep(draw.choice((0.5, 5.0, 40.0)) * draw.random())
            names = self.on_share()
            if not names or draw.random() < 0.6:
                self.export()
            else:
                self._meddle(draw.choice(names))
        self.exported_s = self.world.schedule.now_s

    def _meddle(self, name: str) -> None:
        draw = self.world.schedule.random
        node = self.world.disk.find(f"{SHARE}/{name}")
        act = draw.choice(("copy", "copy", *MEDDLING))
        if node is None:
            return
        if act in ("overwrite", "rename", "delete", "touch"):
            self.world.ledger.meddled.add(name)
        if act in ("copy", "rename"):  # what is known beside its old name is not beside its new one
            self.world.ledger.noted = {
                k: v for k, v in self.world.ledger.noted.items() if v != name
            }
        if act == "copy":
            self._put(self._new_name(), node.data)
        elif act == "overwrite":
            self.export(name)
        elif act == "rename":
            self._rename(name, self._new_name())
        elif act == "delete":
            self.world.schedule.note(f"deletes {name}")
            self.world.disk.unlink(f"{SHARE}/{name}")
        elif act == "touch":
            self._put(name, node.data)
        elif act == "other":
            self._put("notes.txt", b"a note")
        else:
            self.pictures += 1
            self._put(self._new_name(), b"no picture %d" % self.pictures)

    def overwrite_while_read(self, name: str, held: bytes) -> bytes:
        """Begin to write another picture over one that is being read.

        Args:
            name: Of the file.
            held: Its bytes.

        Returns:
            What the reader gets: the beginning of the new one, and maybe the end of the old one.
        """
        draw = self.world.schedule.random
        self.pictures += 1
        data = picture(self.pictures, len(held) - len(picture(0, 0)) + draw.choice((0, 0, 3)))
        self.world.ledger.whole[hashlib.sha256(data).hexdigest()] = self.pictures
        self.world.ledger.meddled.add(name)
        cut = draw.randrange(1, len(held))
        torn = data[:cut] + (held[cut:] if draw.random() < 0.5 else b"")
        self._put(name, torn)

        def write_the_rest() -> None:
            if name in self.on_share():
                self._put(name, data)

        self.world.schedule.start(
            "microscope's rest", write_the_rest, after_s=QUIET_S * 0.5 * draw.random()
        )
        return torn

    # --- people and a LIMS ----------------------------------------------------------------------

    def reviewer(self) -> None:
        """Decide what was stored, and ask for what failed to be tried again."""
        draw, store = self.world.schedule.random, self.world.open_store(2)
        while True:
            self.world.schedule.sleep(draw.choice((2.0, 15.0)) * (0.2 + draw.random()))
            rows = self.world.ask("SELECT public_id FROM micrograph ORDER BY id")
            if not rows or self.world.schedule.is_calm:
                continue
            public_id, code = draw.choice(rows)[0], draw.choice(("G8", "G7", "G7"))
            decision = Decision("code", "Ada", code=code, comment="again")
            try:
                label = store.labels.decide(public_id, decision, at=self.world.wall())
            except (StoreFaultError, UsageError, DecisionConflictError):
                continue
            self.world.schedule.note(f"Ada decides {public_id}: {code}")
            self.world.ledger.decided.append((public_id, label, code))
            if draw.random() < 0.5:
                for machine in self.world.machines:
                    machine.wake_outbox()

    def lead(self) -> None:
        """Promote the other bundle once."""
        draw, store = self.world.schedule.random, self.world.open_store(2)
        self.world.schedule.sleep(60.0 * draw.random())
        for _ in range(3):
            try:
                store.promotions.promote(
                    BUNDLES[1], by="R. Stahl", reason="better", at=self.world.wall(), metrics={}
                )
            except StoreFaultError:
                self.world.schedule.sleep(10.0)
                continue
            return

    def lims(self) -> None:
        """Look into the outbox: what was there once stays as it is."""
        for name, held in self.world.disk.files(OUTBOX).items():
            if name.startswith("."):
                continue
            if self.world.ledger.seen.setdefault(name, held) != held:
                self.world.broken(f"the file {name} of the outbox was changed")
            order, _, revision = name.rpartition("-")[0].rpartition("-r")
            before = f"{order}-r{int(revision) - 1}-"
            if revision != "1" and not any(
                one.startswith(before) for one in self.world.ledger.seen
            ):
                self.world.broken(f"{name} came before the revision before it")
