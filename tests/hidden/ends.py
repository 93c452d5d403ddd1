"""How a history ends: somebody hides what is bad and completes the order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hidden.acts import COUNTS, Acts
from hidden.ledger import BUNDLES, LEAD, LOOSER, PLACES, SPECIMENS, Label, Name
from hidden.pictures import PlaceOf

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.orders.judge.assessed import Assessed
    from hidden.pictures import Picture

A_PICTURE = "ab" * 32
CARELESS = {
    "be unsure": Label("", "code", "G8", unsure=True),
    "call unusable": Label("", "unusable", "stained", unsure=False),
}


class Ends(Acts):
    """Ends a history; each trick is tried alone and at its worst, on all that breaks the limit."""

    def complete(self, number: str, hide: str) -> None:
        """Add what an order lacks and label what is fine: only what was hidden is left."""
        world, known = self.world, self.world.hear(number)
        world.tick()
        world.check(passed=True)
        if self.end == "the model alone" or hide == "another bundle":
            world.switch_on()
        self.hide(number, hide)
        specimens = known.specimens or {SPECIMENS[0]}
        if hide == "drop specimens" or (self.end == "what is listed" and known.listed):
            specimens = set(known.listed)
        n_fields = 1 if self.end == "one field each" else known.law.fields
        for specimen in sorted(specimens):
            for n, picture in enumerate(self.tempting(number, specimen)[:n_fields]):
                world.tick()
                zeros = "0" * n if hide == "zeros" else ""
                name = f"{zeros}4" if hide == "zeros" else str(n + 4)
                world.export(number, specimen, picture, field_name=name)
        if hide == "nothing":
            world.read_all()
            self.label_all(number, truly=False)
            self.examine(number)  # its places are not compared yet
        world.drain()
        world.tick()
        if hide in {"another bundle", "switch on late"}:
            world.switch_on()
        else:
            self.label_all(number, truly=hide in {"edit", "list late"} or self.end == "truly")
        if hide == "fail a check":
            world.check(passed=False)
            world.check(passed=True)
        COUNTS["bad orders"] += bool(world.why_not(number))
        self.examine(number)

    def hide(self, number: str, how: str) -> None:
        """Do one trick with all that breaks the limit."""
        world = self.world
        if world.kinds[number] == "one coarse" and not any(
            one.picture.breaks for _, one in world.of(number)
        ):
            place = PlaceOf(number, SPECIMENS[0], 0)
            picture = world.picture(place, "as shot", 0, strange=how == "be unlike")
            world.export(number, SPECIMENS[0], picture, field_name="1")
            world.drain()
        if how == "another bundle":
            world.bundle = BUNDLES[1]
        elif how == "edit":
            world.edit(LOOSER["limit"])
        elif how == "list late":
            world.deliver(number, "late.csv", {"specification": "washer"})
        elif how == "drop specimens":
            self.drop_specimens(number)
        for micrograph_id, one in list(world.of(number)):
            if one.picture.breaks and all(x.order != world.honest for x in one.names):
                world.tick()
                self.hide_field(number, micrograph_id, how)

    def hide_field(self, number: str, micrograph_id: str, how: str) -> None:
        """Do one trick with one field that breaks the limit."""
        world, one = self.world, self.world.shown[micrograph_id]
        other = next(x for x in self.others() if x != number)
        if how in {"mislabel", "take back", "lead alone", "lead without a picture"}:
            self.overrule(micrograph_id, how)
        elif how in CARELESS:
            for by in ("Ada", "Ben"):
                world.label(micrograph_id, CARELESS[how]._replace(by=by))
        elif how == "supersede":
            world.supersede(micrograph_id, "Ada", "stained", asks_first=False)
        elif how == "prepare again":
            for specimen in sorted({x.specimen for x in one.names if x.order == number}):
                if len(world.hear(number).preparations.get(specimen, ())) == 1:
                    world.prepare_again(number, specimen, "Ada", asks_first=False)
        elif how == "move":
            world.move(micrograph_id, other, "01", "Ada", "3")
        elif how == "copy":
            world.export(other, "01", one.picture, field_name="3")
            world.drain()

    def overrule(self, micrograph_id: str, how: str) -> None:
        """Overrule a label that is sure of the break: by one other label, or by a lead's word."""
        world, one = self.world, self.world.shown[micrograph_id]
        if how in {"mislabel", "take back"}:
            if one.wrong not in {"", "Cem"}:
                return
            world.label(micrograph_id, Label("Ada", "code", "G7", unsure=False))
            if how == "take back":
                world.undo(micrograph_id, "Ben")
            one.wrong = "Cem"
            world.label(micrograph_id, Label("Cem", "code", "G8", unsure=False))
            return
        is_alone = how == "lead alone"
        world.label(micrograph_id, Label(LEAD if is_alone else "Ada", "code", "G7", unsure=False))
        picture = A_PICTURE if is_alone else ""
        world.supersede(micrograph_id, LEAD, "stained", picture, asks_first=False)

    def drop_specimens(self, number: str) -> None:
        """Deliver a list with a specimen of which nothing comes, then one without it."""
        there = sorted(self.world.hear(number).specimens - {"03"} or {SPECIMENS[0]})
        self.world.deliver(number, "all.csv", {"specimens": [*there, "03"]})
        self.world.deliver(number, "fewer.csv", {"specimens": there})

    def label_all(self, number: str, *, truly: bool) -> None:
        """Label what is fine, or everything truly, by two people or one."""
        if self.end == "the model alone":
            return
        people = ("Dora", "Emil")[: 1 if self.end == "one person" else 2]
        for micrograph_id, one in list(self.world.of(number)):
            if one.picture.breaks and not truly:
                continue
            if {"Dora", "Emil"}.isdisjoint(x.by for x in one.given):
                for by in people:
                    label = Label(by, "code", one.picture.truth, unsure=False)
                    self.world.label(micrograph_id, label)

    def tempting(self, number: str, specimen: str) -> list[Picture]:
        """Return fine pictures that would complete a specimen, its own ones first."""
        own = {self.place(number, specimen, n) for n in range(1, PLACES)} - {None}
        fine = sorted(x for x in own if x and self.world.truth(x) != "G7")
        shown = [(place, "as shot") for place in fine]
        if len(fine) == 1:
            shown += [(fine[0], "turned"), (fine[0], "cropped")]
        elif not fine:
            shown = [(place, "brighter") for place in self.lent(Name(number, specimen))]
        return [self.world.picture(place, how, 0, strange=False) for place, how in shown]

    def lent(self, borrower: Name) -> Iterator[PlaceOf]:
        """Yield fine places of other specimens that were shown."""
        others = {
            one.picture.place
            for one in self.world.shown.values()
            if not one.picture.breaks and all(x.order != self.world.honest for x in one.names)
        }
        yield from (place for place in sorted(others) if place[:2] != borrower)

    def end_honestly(self) -> None:
        """Shoot and label what the honest order lacks; then it conforms."""
        world, number = self.world, self.world.honest
        world.tick()
        world.check(passed=True)
        known = world.hear(number)
        for specimen in sorted(known.specimens | {SPECIMENS[0]}):
            for n in range(max(known.law.fields, world.file[0].fields)):
                world.tick()
                picture = world.picture(PlaceOf(number, specimen, n), "as shot", 0, strange=False)
                if picture.place not in world.own_places(number, specimen):
                    world.export(number, specimen, picture, field_name=str(n + 1))
        world.drain()
        for micrograph_id, one in list(world.of(number)):
            if not one.standing or one.standing[-1].unsure:
                world.label(micrograph_id, Label("Ada", "code", one.picture.truth, unsure=False))
        assessed = world.look(number)
        assert assessed is not None, number
        self.examine(number)
        word = str(assessed.statement.conformity)
        if word != "conforms" and self.is_held_by_a_failed_check(assessed):
            COUNTS["honest orders held by a failed check"] += 1
            return
        COUNTS["honest orders"] += 1
        if word != "conforms":
            COUNTS["honest orders refused"] += 1
            raise AssertionError(f"honest order {number}: {assessed.statement.missing}")

    def is_held_by_a_failed_check(self, assessed: Assessed) -> bool:
        """Return whether nothing but a failed check speaks against an order."""
        said = [reason for specimen in assessed.specimens for reason in specimen.statement.missing]
        failed = any(not passed for _, passed, _ in self.world.checks)
        return failed and bool(said) and all("control check of" in one for one in said)
