"""What happens in a plant with a hidden truth: honest acts, careless ones and tricks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from hidden.ledger import (
    BUNDLES,
    COARSE,
    KINDS,
    LEAD,
    LOOSER,
    ORDERS,
    PEOPLE,
    PLACES,
    SPECIMENS,
    STRICT,
    Label,
)
from hidden.pictures import VARIANTS, PlaceOf
from hidden.world import World

COUNTS: Counter[str] = Counter()
"""What happened in all histories of this process."""
MANY = st.integers(0, 30)
SOME = st.sampled_from(SPECIMENS)
WHO = st.sampled_from(PEOPLE)
FIELD = st.sampled_from(["1", "2", "3"])
PLACE = st.integers(0, PLACES - 1)
VARIANT = st.sampled_from(sorted(VARIANTS))
SPELLED = st.sampled_from(["", "", "0"])
TRICKS: list[str] = []
"""Names of the careless and dishonest acts. Most histories know two of them at most: where an order
is in doubt for many reasons, no single rule is tried."""
ENDS = (
    *["all"] * 6, "what is listed", "one field each", "the model alone", "one person", "truly",
)  # fmt: skip
"""How somebody completes a bad order at the end who wants it to conform: with all that it lacks, or
with less, or with an honest label of every field."""
HIDES = (
    *["nothing"] * 4, "be unlike", "be unsure", "call unusable", "supersede", "prepare again",
    "move", "copy", "mislabel", "take back", "lead alone", "lead without a picture", "edit",
    "list late", "drop specimens", "fail a check", "zeros", "another bundle", "switch on late",
)  # fmt: skip
"""What is done at last with all that breaks the limit of an order."""
OF_FINE_ORDERS = ("drop specimens", "fail a check", "zeros", "another bundle", "switch on late")
"""Tricks with an order that is fine; of the others but "nothing" only one with something coarse."""


def trick(*, of_a_micrograph: bool = False, **drawn: Any) -> Callable[[Any], Any]:
    """Make a rule of an act that only some histories know.

    Args:
        of_a_micrograph: It needs one that belongs to no honest order.
        drawn: As of `rule`.
    """

    def make(act: Any) -> Any:
        TRICKS.append(act.__name__)

        def may(self: Acts) -> bool:
            return act.__name__ in self.tricks and (not of_a_micrograph or bool(self.tricked()))

        return precondition(may)(rule(**drawn)(act))

    return make


class Acts(RuleBasedStateMachine):
    """A plant with three orders; to the honest one only honest things are done."""

    @initialize(
        honest=st.sampled_from(ORDERS),
        kinds=st.tuples(*[st.sampled_from(KINDS)] * len(ORDERS)),
        tricks=st.integers(0, 3).flatmap(
            lambda n: (
                st.sets(st.sampled_from(TRICKS), min_size=n, max_size=n)
                if n
                else st.just(set(TRICKS))
            )
        ),
        end=st.sampled_from(ENDS),
        hides=st.tuples(st.sampled_from(HIDES), st.sampled_from(HIDES)),
        is_automatic=st.booleans(),
    )
    def begin(
        self,
        honest: str,
        kinds: tuple[str, ...],
        tricks: set[str],
        end: str,
        hides: tuple[str, str],
        *,
        is_automatic: bool,
    ) -> None:
        self.tricks, self.end, self.hides = tricks, end, hides
        told = dict(zip(ORDERS, kinds, strict=True))
        told[honest] = "fine"
        others = [number for number in ORDERS if number != honest]
        for number, hide in zip(others, hides, strict=True):
            if hide in OF_FINE_ORDERS:
                told[number] = "fine"
            elif hide != "nothing" and told[number] != "coarse":
                told[number] = "one coarse"
        self.world = World(told, honest)
        if is_automatic:
            self.world.switch_on()
        COUNTS["histories"] += 1

    def examine(self, number: str) -> None:
        """Hold what is reported of an order against the truth."""
        raise NotImplementedError

    # --- what is drawn ----------------------------------------------------------------------------

    def act(self) -> None:
        """Let a minute pass before an act."""
        self.world.tick()
        COUNTS["acts"] += 1

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
        """Return one of these micrographs, mostly one that breaks the limit."""
        some = self.tricked()
        coarse = [id_ for id_ in some if self.world.shown[id_].picture.breaks]
        return coarse[n % len(coarse)] if coarse and n % 3 else some[n % len(some)]

    def place(self, number: str, specimen: str, n: int) -> PlaceOf | None:
        """Return a place that is shown as an order's own, None where none ever is."""
        kind = self.world.kinds[number]
        if kind == "lent":
            return None
        return PlaceOf(number, specimen, 1 if kind == "one place" else n)

    # --- honest acts ------------------------------------------------------------------------------

    @rule(
        which=MANY,
        specimen=SOME,
        n=PLACE,
        answer=MANY,
        strange=st.integers(0, 9),
        read=st.booleans(),
    )
    def export(
        self, which: int, specimen: str, n: int, answer: int, strange: int, *, read: bool
    ) -> None:
        """Export a place of an order as its field; it may be read only later."""
        self.act()
        number = ORDERS[which % len(ORDERS)]
        place = self.place(number, specimen, n)
        if place is None:
            return
        if number == self.world.honest and place in self.world.own_places(number, specimen):
            return
        picture = self.world.picture(place, "as shot", answer, strange=strange == 1)
        self.world.export(number, specimen, picture, field_name=str(n + 1))
        if read:
            self.world.drain()
        else:
            self.examine(number)

    @precondition(lambda self: self.world.shown)
    @rule(n=MANY, by=WHO)
    def label_surely(self, n: int, by: str) -> None:
        """Give the true code."""
        self.act()
        shown = list(self.world.shown)
        micrograph_id = shown[n % len(shown)]
        picture = self.world.shown[micrograph_id].picture
        if not picture.breaks or n % 4 == 0:  # an honest label of what is coarse ends all tricks
            self.world.label(micrograph_id, Label(by, "code", picture.truth, unsure=False))

    @rule(which=MANY)
    def look(self, which: int) -> None:
        """Ask for an order in between."""
        self.act()
        self.world.drain()
        if heard := sorted(self.world.orders):
            self.examine(heard[which % len(heard)])

    @rule(bundle=st.sampled_from(BUNDLES), is_rare=MANY)
    def promote(self, bundle: str, is_rare: int) -> None:
        """Promote a bundle, or let the model alone say "conforms" from now on."""
        self.act()
        self.world.drain()
        self.world.bundle = bundle
        if is_rare % 3 == 0:
            self.world.switch_on()

    # --- careless and dishonest acts, and accidents -----------------------------------------------

    @trick(n=MANY, stage=st.integers(0, 1), specimen=SOME, place=PLACE)
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
        else:
            self.world.read_all()
            self.world.be_killed()
            self.examine(number)
        self.world.drain()

    @trick(passed=st.booleans())
    def check(self, *, passed: bool) -> None:
        """Check the instrument."""
        self.act()
        self.world.drain()
        self.world.check(passed=passed)

    @trick(
        of_a_micrograph=True,
        n=MANY, which=MANY, specimen=SOME, name=FIELD, variant=VARIANT, answer=MANY, zero=SPELLED,
    )  # fmt: skip
    def lend(  # noqa: PLR0917 - each is drawn
        self, n: int, which: int, specimen: str, name: str, variant: str, answer: int, zero: str
    ) -> None:
        """Export a place that was shown before as another field, also of another order."""
        self.act()
        number = self.others()[which % 2]
        place = self.world.shown[self.pick(n)].picture.place
        picture = self.world.picture(place, variant, answer, strange=False)
        self.world.export(number, specimen, picture, field_name=name, spelling=zero)
        self.world.drain()

    @trick(which=MANY, specimen=SOME, n=PLACE, zeros=st.sampled_from(["0", "00"]))
    def number_again(self, which: int, specimen: str, n: int, zeros: str) -> None:
        """Spell the number of a field or of its order with zeros before it."""
        self.act()
        number = self.others()[which % 2]
        place = self.place(number, specimen, n)
        if place is None:
            return
        picture = self.world.picture(place, "as shot", which, strange=False)
        is_field = which % 3 == 0
        self.world.export(
            number, specimen, picture,
            field_name=f"{zeros}1" if is_field else str(n + 1), spelling="" if is_field else zeros,
        )  # fmt: skip
        self.world.drain()

    @trick(
        of_a_micrograph=True,
        n=MANY, which=MANY, specimen=SOME, name=FIELD, preparation=st.sampled_from(["", "2"]),
    )  # fmt: skip
    def copy(self, n: int, which: int, specimen: str, name: str, preparation: str) -> None:
        """Copy or rename a file under the name of another field."""
        self.act()
        number = self.others()[which % 2]
        picture = self.world.shown[self.pick(n)].picture
        self.world.export(
            number, specimen, picture, field_name=name, preparation=preparation, spelling="00"
        )
        self.world.drain()

    @trick(which=MANY, specimen=SOME, n=PLACE, answer=MANY)
    def export_as_next_preparation(self, which: int, specimen: str, n: int, answer: int) -> None:
        """Name a later preparation in the file's name."""
        self.act()
        number = self.others()[which % 2]
        place = self.place(number, specimen, n)
        if place is None:
            return
        picture = self.world.picture(place, "as shot", answer, strange=False)
        later = str(2 + which % 2)
        self.world.export(number, specimen, picture, field_name=str(n + 1), preparation=later)
        self.world.drain()

    @trick(which=MANY, specimen=SOME, n=PLACE, answer=MANY)
    def export_with_another_note(self, which: int, specimen: str, n: int, answer: int) -> None:
        """Lay a note next to a picture that names another order than its path."""
        self.act()
        number, other = self.others() if which % 2 else self.others()[::-1]
        place = self.place(other, specimen, n)
        if place is None:
            return
        picture = self.world.picture(place, "as shot", answer, strange=False)
        note = {"order": other}
        self.world.export(number, specimen, picture, field_name=str(n + 1), note=note)
        self.world.drain()

    @trick(which=MANY, specimen=SOME, name=FIELD)
    def spoil(self, which: int, specimen: str, name: str) -> None:
        """Export a file that ends early."""
        self.act()
        self.world.spoil(self.others()[which % 2], specimen, name)

    @trick(
        of_a_micrograph=True,
        n=MANY,
        by=WHO,
        label=st.sampled_from(
            [
                ("code", "G8"),
                ("code", "G8"),
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
        self.act()
        kind, said = label
        self.world.label(self.pick(n), Label(by, kind, said, unsure=kind == "code"))

    @trick(of_a_micrograph=True, n=MANY, by=WHO, first=WHO)
    def mislabel(self, n: int, by: str, first: str) -> None:
        """Be sure that a coarse field is fine, after somebody saw that it is coarse.

        No more than one person is ever wrong about a field.
        """
        self.act()
        coarse = [id_ for id_ in self.tricked() if self.world.shown[id_].picture.breaks]
        if not coarse:
            return
        micrograph_id = coarse[n % len(coarse)]
        one = self.world.shown[micrograph_id]
        if one.wrong not in {"", by}:
            return
        self.world.label(micrograph_id, Label(first, "code", COARSE, unsure=False))
        one.wrong = by
        self.world.label(micrograph_id, Label(by, "code", "G8", unsure=False))

    @trick(of_a_micrograph=True, n=MANY, by=WHO)
    def undo(self, n: int, by: str) -> None:
        """Take a label back, also another's."""
        self.act()
        self.world.undo(self.pick(n), by)

    @trick(of_a_micrograph=True, n=MANY, by=WHO, defect=st.sampled_from(["", "stained"]),
           asks_first=st.booleans())  # fmt: skip
    def supersede(self, n: int, by: str, defect: str, *, asks_first: bool) -> None:
        """Replace a field."""
        self.act()
        self.world.supersede(self.pick(n), by, defect, asks_first=asks_first)

    @trick(of_a_micrograph=True, n=MANY, by=st.sampled_from([*PEOPLE, LEAD, LEAD]),
           defect=st.sampled_from(["", "stained"]), picture=st.sampled_from(["", "ab" * 32]),
           asks_first=st.booleans())  # fmt: skip
    def confirm_and_set_aside(
        self, n: int, by: str, defect: str, picture: str, *, asks_first: bool
    ) -> None:
        """Let a lead set a field aside that somebody labelled, perhaps the lead."""
        self.act()
        micrograph_id = self.pick(n)
        truth = self.world.shown[micrograph_id].picture.truth
        self.world.label(micrograph_id, Label(by, "code", truth, unsure=False))
        self.world.supersede(micrograph_id, LEAD, defect, picture, asks_first=asks_first)

    @trick(which=MANY, specimen=SOME, by=WHO, asks_first=st.booleans())
    def prepare_again(self, which: int, specimen: str, by: str, *, asks_first: bool) -> None:
        """Begin the next preparation."""
        self.act()
        self.world.drain()
        number = self.others()[which % 2]
        self.world.prepare_again(number, specimen, by, asks_first=asks_first)

    @trick(of_a_micrograph=True, n=MANY, which=MANY, specimen=SOME, by=WHO, name=FIELD)
    def move(self, n: int, which: int, specimen: str, by: str, name: str) -> None:
        """Assign a micrograph to another order."""
        self.act()
        self.world.drain()
        self.world.move(self.pick(n), self.others()[which % 2], specimen, by, name)

    @trick(of_a_micrograph=True, n=MANY, role=st.sampled_from(["shadow", "reprocess"]))
    def compare_bundles(self, n: int, role: str) -> None:
        """Let another bundle answer for comparison; what counts stays."""
        self.act()
        self.world.compare_bundles(self.pick(n), role)

    @trick(
        which=MANY,
        n=MANY,
        facts=st.sampled_from(
            [
                {"specimens": ["01"]},
                {"specimens": ["01", "02"]},
                {"specimens": ["02"]},
                {"count": 1},
                {"count": 3},
                {"specification": "washer"},
            ]
        ),
    )
    def deliver_a_list(self, which: int, n: int, facts: dict[str, object]) -> None:
        """Deliver an order list, also one that drops something."""
        self.act()
        self.world.drain()
        self.world.deliver(self.others()[which % 2], f"list-{n % 3}.csv", facts)

    @trick(how=st.sampled_from(["strict", *LOOSER]))
    def edit_the_specification(self, how: str) -> None:
        """Edit the file of specifications in place."""
        self.act()
        self.world.edit((STRICT,) if how == "strict" else LOOSER[how])

    @trick(hours=st.sampled_from([-30, -3, -1, 1, 30]))
    def set_the_clock(self, hours: int) -> None:
        """Set the clock forward or back."""
        self.act()
        self.world.set_clock(hours)
