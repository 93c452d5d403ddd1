"""What is truly bad never conforms unless a lead signed for it, and every reason is true.

Fifty acts by people who are no leads: exports with the tricks that were found, labels honest or
careless, notes, lists, moves, copies, kills, clock changes, promotions, edited specifications and
failing checks. A label that its author is sure of is honest; the model's prediction set holds the
truth. To one order of each history only honest things are done: it has to conform.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from pathlib import Path

from hidden_pictures import VARIANTS, Picture
from hidden_reasons import untrue_reasons
from hidden_world import (
    BUNDLES,
    KINDS,
    LOOSER,
    ORDERS,
    PEOPLE,
    PLACES,
    SPECIMENS,
    STRICT,
    Label,
    PlaceOf,
    World,
)
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

COUNTS: Counter[str] = Counter()
"""What happened in all histories of this process."""
MANY = st.integers(0, 30)
SOME = st.sampled_from(SPECIMENS)
WHO = st.sampled_from(PEOPLE)
FIELD = st.sampled_from(["1", "2", "3"])
VARIANT = st.sampled_from(sorted(VARIANTS))
TRICKS = (
    "lend",
    "copy",
    "export_as_next_preparation",
    "export_with_another_note",
    "spoil",
    "label_carelessly",
    "undo",
    "supersede",
    "prepare_again",
    "move",
    "deliver_a_list",
    "edit_the_specification",
    "set_the_clock",
)
"""Careless and dishonest acts. Most histories know two of them at most: where an order is in doubt
for many reasons, no single rule is tried."""
SPELLED = st.sampled_from(["", "", "0"])


def has_tricked(machine: HiddenTruth) -> bool:
    """Return whether there is a micrograph that dishonest acts may be about."""
    return bool(machine.tricked())


class HiddenTruth(RuleBasedStateMachine):
    """A plant with three orders; to the honest one only honest things are done."""

    @initialize(
        honest=st.sampled_from(ORDERS),
        kinds=st.tuples(*[st.sampled_from(KINDS)] * len(ORDERS)),
        tricks=st.one_of(st.sets(st.sampled_from(TRICKS), max_size=2), st.just(set(TRICKS))),
    )
    def begin(self, honest: str, kinds: tuple[str, ...], tricks: set[str]) -> None:
        self.tricks = tricks
        self.folder = Path(tempfile.mkdtemp(dir=SCRATCH))
        told = dict(zip(ORDERS, kinds, strict=True))
        told[honest] = "fine"
        self.world = World(self.folder, told, honest)
        COUNTS["histories"] += 1

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            for number in self.world.orders:
                self.examine(number)
            for number in self.others():
                if number in self.world.orders:
                    self.complete(number)
            self.end_honestly()
        finally:
            self.world.store.close()
            shutil.rmtree(self.folder)

    # --- what has to hold -------------------------------------------------------------------------

    def examine(self, number: str) -> None:
        """Hold what is said of an order against the truth."""
        assessed = self.world.look(number)
        COUNTS["statements"] += 1
        word = str(assessed.statement.conformity)
        COUNTS[word] += 1
        bad = self.world.why_not(number)
        COUNTS["bad statements"] += bool(bad)
        if word == "conforms" and bad:
            COUNTS["false conforms"] += 1
            raise AssertionError(f"order {number} conforms, and {'; '.join(bad)}")
        if untrue := list(untrue_reasons(self.world, assessed)):
            COUNTS["untrue reasons"] += 1
            raise AssertionError(f"order {number}: untrue: {untrue}")

    def complete(self, number: str) -> None:
        """Add what an order lacks and label what is fine: only what was hidden is left."""
        world, known = self.world, self.world.orders[number]
        world.tick()
        world.check(passed=True)
        for specimen in sorted(known.specimens):
            for n, picture in enumerate(self.tempting(number, specimen)[: known.law.fields]):
                world.export(number, specimen, picture, field_name=str(n + 4))
        world.drain()
        for micrograph_id, one in list(world.of(number)):
            if not one.picture.breaks and {"Dora", "Emil"}.isdisjoint(x.by for x in one.given):
                for by in ("Dora", "Emil"):
                    world.label(micrograph_id, Label(by, "code", one.picture.truth, unsure=False))
        COUNTS["bad orders"] += bool(world.why_not(number))
        self.examine(number)

    def tempting(self, number: str, specimen: str) -> list[Picture]:
        """Return fine pictures that would complete a specimen, its own ones first."""
        world = self.world
        own = {self.place(number, specimen, n) for n in range(1, PLACES)} - {None}
        fine = sorted(place for place in own if place and world.truth(place) != "G7")
        others = {
            one.picture.place
            for one in world.shown.values()
            if not one.picture.breaks and all(x.order != world.honest for x in one.names)
        }
        lent = sorted(place for place in others if place[:2] != (number, specimen))
        shown = [(place, "as shot") for place in fine]
        if len(fine) == 1:
            shown += [(fine[0], "turned"), (fine[0], "cropped")]
        elif not fine:
            shown = [(place, "brighter") for place in lent]
        return [world.picture(place, how, 0, strange=False) for place, how in shown]

    def end_honestly(self) -> None:
        """Shoot and label what the honest order lacks; then it conforms."""
        world, number = self.world, self.world.honest
        world.tick()
        world.check(passed=True)
        known = world.hear(number)
        known.specimens |= {SPECIMENS[0]}
        for specimen in sorted(known.specimens):
            for n in range(known.law.fields):
                world.tick()
                picture = world.picture(PlaceOf(number, specimen, n), "as shot", 0, strange=False)
                if picture.place not in world.own_places(number, specimen):
                    world.export(number, specimen, picture, field_name=str(n + 1))
        world.drain()
        for micrograph_id, one in list(world.of(number)):
            if not one.standing or one.standing[-1].unsure:
                world.label(micrograph_id, Label("Ada", "code", one.picture.truth, unsure=False))
        assessed = world.look(number)
        self.examine(number)
        word = str(assessed.statement.conformity)
        if word != "conforms" and world.is_held_by_a_failed_check(assessed):
            COUNTS["honest orders held by a failed check"] += 1
            return
        COUNTS["honest orders"] += 1
        if word != "conforms":
            COUNTS["honest orders refused"] += 1
            raise AssertionError(f"honest order {number}: {assessed.statement.missing}")

    # --- what is drawn ----------------------------------------------------------------------------

    def act(self, trick: str = "") -> bool:
        """Let a minute pass before an act; return whether it happens in this history."""
        if trick and trick not in self.tricks:
            return False
        self.world.tick()
        COUNTS["acts"] += 1
        return True

    def others(self) -> list[str]:
        """Return the orders to which anything may be done."""
        return [number for number in ORDERS if number != self.world.honest]

    def tricked(self) -> list[str]:
        """Return the micrographs to which anything may be done."""
        return [
            micrograph_id
            for micrograph_id, one in self.world.shown.items()
            if all(name.order != self.world.honest for name in one.names)
        ]

    def pick(self, n: int) -> str:
        """Return one of these micrographs."""
        some = self.tricked()
        return some[n % len(some)]

    def place(self, number: str, specimen: str, n: int) -> PlaceOf | None:
        """Return a place that is shown as an order's own, None where none ever is."""
        kind = self.world.kinds[number]
        if kind == "lent":
            return None
        return PlaceOf(number, specimen, 1 if kind == "one place" else n)

    # --- honest acts ------------------------------------------------------------------------------

    @rule(which=MANY, specimen=SOME, n=st.integers(0, PLACES - 1), answer=MANY, strange=MANY)
    def export(self, which: int, specimen: str, n: int, answer: int, strange: int) -> None:
        """Export a place of an order as its field."""
        self.act()
        number = ORDERS[which % len(ORDERS)]
        place = self.place(number, specimen, n)
        if place is None:
            return
        if number == self.world.honest and place in self.world.own_places(number, specimen):
            return
        picture = self.world.picture(place, "as shot", answer, strange=strange == 1)
        self.world.export(number, specimen, picture, field_name=str(n + 1))
        self.world.drain()

    @precondition(lambda self: self.world.shown)
    @rule(n=MANY, by=WHO)
    def label_surely(self, n: int, by: str) -> None:
        """Give the true code."""
        self.act()
        shown = list(self.world.shown)
        micrograph_id = shown[n % len(shown)]
        truth = self.world.shown[micrograph_id].picture.truth
        self.world.label(micrograph_id, Label(by, "code", truth, unsure=False))

    @rule(n=MANY, stage=st.integers(0, 1), specimen=SOME, place=st.integers(0, PLACES - 1))
    def be_killed(self, n: int, stage: int, specimen: str, place: int) -> None:
        """Kill the agent while it has a file in hand, or before its place is compared."""
        self.act()
        number = self.others()[n % 2]
        shown = self.place(number, specimen, place)
        if shown is None:
            return
        picture = self.world.picture(shown, "as shot", n, strange=False)
        self.world.export(number, specimen, picture, field_name=str(place + 1))
        if stage:
            self.world.hold_and_be_killed()
        self.world.drain(is_killed_before_comparing=not stage)

    @rule(bundle=st.sampled_from(BUNDLES))
    def promote(self, bundle: str) -> None:
        """Promote a bundle."""
        self.act()
        self.world.bundle = bundle

    @rule(passed=st.sampled_from([True, True, False]))
    def check(self, *, passed: bool) -> None:
        """Check the instrument."""
        self.act()
        self.world.check(passed=passed)

    @rule(which=MANY)
    def look(self, which: int) -> None:
        """Ask for an order in between."""
        self.act()
        if heard := sorted(self.world.orders):
            self.examine(heard[which % len(heard)])

    # --- careless and dishonest acts --------------------------------------------------------------

    @precondition(has_tricked)
    @rule(n=MANY, which=MANY, specimen=SOME, name=FIELD, variant=VARIANT, answer=MANY, zero=SPELLED)
    def lend(  # noqa: PLR0917 - each is drawn
        self, n: int, which: int, specimen: str, name: str, variant: str, answer: int, zero: str
    ) -> None:
        """Export a place that was shown before as another field, also of another order."""
        if not self.act("lend"):
            return
        number = self.others()[which % 2]
        place = self.world.shown[self.pick(n)].picture.place
        picture = self.world.picture(place, variant, answer, strange=False)
        self.world.export(number, specimen, picture, field_name=name, spelling=zero)
        self.world.drain()

    @precondition(has_tricked)
    @rule(n=MANY, which=MANY, specimen=SOME, name=FIELD, preparation=st.sampled_from(["", "2"]))
    def copy(self, n: int, which: int, specimen: str, name: str, preparation: str) -> None:
        """Copy or rename a file under the name of another field."""
        if not self.act("copy"):
            return
        number = self.others()[which % 2]
        picture = self.world.shown[self.pick(n)].picture
        self.world.export(
            number, specimen, picture, field_name=f"{name}", preparation=preparation, spelling="00"
        )
        self.world.drain()

    @rule(which=MANY, specimen=SOME, n=st.integers(0, PLACES - 1), answer=MANY)
    def export_as_next_preparation(self, which: int, specimen: str, n: int, answer: int) -> None:
        """Name a later preparation in the file's name."""
        if not self.act("export_as_next_preparation"):
            return
        number = self.others()[which % 2]
        place = self.place(number, specimen, n)
        if place is None:
            return
        picture = self.world.picture(place, "as shot", answer, strange=False)
        later = str(2 + which % 2)
        self.world.export(number, specimen, picture, field_name=str(n + 1), preparation=later)
        self.world.drain()

    @rule(which=MANY, specimen=SOME, n=st.integers(0, PLACES - 1), answer=MANY)
    def export_with_another_note(self, which: int, specimen: str, n: int, answer: int) -> None:
        """Lay a note next to a picture that names another order than its path."""
        if not self.act("export_with_another_note"):
            return
        number, other = self.others() if which % 2 else self.others()[::-1]
        place = self.place(other, specimen, n)
        if place is None:
            return
        picture = self.world.picture(place, "as shot", answer, strange=False)
        note = {"order": other}
        self.world.export(number, specimen, picture, field_name=str(n + 1), note=note)
        self.world.drain()

    @rule(which=MANY, specimen=SOME, name=FIELD)
    def spoil(self, which: int, specimen: str, name: str) -> None:
        """Export a file that ends early."""
        if not self.act("spoil"):
            return
        if which % 4 == 0:  # seldom: it keeps its order open for good
            self.world.spoil(self.others()[which % 2], specimen, name)

    @precondition(has_tricked)
    @rule(
        n=MANY,
        by=WHO,
        label=st.sampled_from(
            [
                ("code", "G8"),
                ("code", "G7"),
                ("cannot_tell", ""),
                ("strange", "pearlite"),
                ("unusable", "stained"),
                ("unusable", "out_of_focus"),
            ]
        ),
    )
    def label_carelessly(self, n: int, by: str, label: tuple[str, str]) -> None:
        """Give any code without being sure, or none."""
        if not self.act("label_carelessly"):
            return
        kind, said = label
        self.world.label(self.pick(n), Label(by, kind, said, unsure=kind == "code"))

    @precondition(has_tricked)
    @rule(n=MANY, by=WHO)
    def undo(self, n: int, by: str) -> None:
        """Take a label back, also another's."""
        if not self.act("undo"):
            return
        self.world.undo(self.pick(n), by)

    @precondition(has_tricked)
    @rule(n=MANY, by=WHO, defect=st.sampled_from(["", "stained"]), asks_first=st.booleans())
    def supersede(self, n: int, by: str, defect: str, *, asks_first: bool) -> None:
        """Replace a field."""
        if not self.act("supersede"):
            return
        self.world.supersede(self.pick(n), by, defect, asks_first=asks_first)

    @rule(which=MANY, specimen=SOME, by=WHO, asks_first=st.booleans())
    def prepare_again(self, which: int, specimen: str, by: str, *, asks_first: bool) -> None:
        """Begin the next preparation."""
        if not self.act("prepare_again"):
            return
        number = self.others()[which % 2]
        self.world.prepare_again(number, specimen, by, asks_first=asks_first)

    @precondition(has_tricked)
    @rule(n=MANY, which=MANY, specimen=SOME, by=WHO, name=FIELD)
    def move(self, n: int, which: int, specimen: str, by: str, name: str) -> None:
        """Assign a micrograph to another order."""
        if not self.act("move"):
            return
        self.world.move(self.pick(n), self.others()[which % 2], specimen, by, name)

    @rule(
        which=MANY,
        n=MANY,
        facts=st.sampled_from(
            [
                {"specimens": ["01"]},
                {"specimens": ["01", "02"]},
                {"specimens": ["02"]},
                {"count": 1},
                {"count": 2},
                {"specification": "washer"},
            ]
        ),
    )
    def deliver_a_list(self, which: int, n: int, facts: dict[str, object]) -> None:
        """Deliver an order list, also one that drops something."""
        if not self.act("deliver_a_list"):
            return
        self.world.deliver(self.others()[which % 2], f"list-{n % 3}.csv", facts)

    @rule(how=st.sampled_from(["strict", *LOOSER]))
    def edit_the_specification(self, how: str) -> None:
        """Edit the file of specifications in place."""
        if not self.act("edit_the_specification"):
            return
        self.world.edit((STRICT,) if how == "strict" else LOOSER[how])

    @rule(hours=st.sampled_from([-30, -3, -1, 1, 30]))
    def set_the_clock(self, hours: int) -> None:
        """Set the clock forward or back."""
        if not self.act("set_the_clock"):
            return
        self.world.set_clock(hours)


SCRATCH = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - a memory disk
