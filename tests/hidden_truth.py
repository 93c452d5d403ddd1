"""What is truly bad never conforms unless a lead signed for it, and every reason is true.

Fifty acts by people who are mostly no leads: exports with the tricks that were found, labels honest
or careless, notes, lists, moves, copies, kills, clock changes, promotions, edited specifications
and failing checks. A label that its author is sure of is honest, but for one person; the model's
prediction set holds the truth, unless the picture is unlike its reference images. To one order of
each history only honest things are done: it has to conform.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hidden_acts import COUNTS, Acts
from hidden_ledger import PLACES, SPECIMENS, Label
from hidden_pictures import PlaceOf
from hidden_reasons import untrue_reasons

if TYPE_CHECKING:
    from hidden_pictures import Picture

    from agent.orders.assessment import Assessed

__all__ = ["COUNTS", "HiddenTruth"]


class HiddenTruth(Acts):
    """Holds every statement against the truth, in between and at the end."""

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        self.world.drain()
        for number in self.world.orders:
            self.examine(number)
        for number in self.others():
            if number in self.world.orders:
                self.complete(number)
        self.end_honestly()

    def examine(self, number: str) -> None:
        """Hold what is reported of an order against the truth."""
        world = self.world
        assessed = world.look(number)
        if assessed is None:
            assert not world.orders[number].is_heard, f"order {number} is forgotten"
            return
        COUNTS["statements"] += 1
        word = str(assessed.statement.conformity)
        COUNTS[word] += 1
        bad = world.why_not(number)
        COUNTS["bad statements"] += bool(bad)
        if word == "conforms" and bad:
            COUNTS["false conforms"] += 1
            raise AssertionError(f"order {number} conforms, and {'; '.join(bad)}")
        if untrue := list(untrue_reasons(world, assessed)):
            COUNTS["untrue reasons"] += 1
            raise AssertionError(f"order {number}: untrue: {untrue}")
        self.examine_answers(assessed)

    def examine_answers(self, assessed: Assessed) -> None:
        """Hold each field's answer against the one that its bundle gave."""
        for specimen in assessed.specimens:
            for field in (*specimen.facts.fields, *specimen.facts.earlier):
                one = self.world.shown[field.id]
                given = (one.bundle, one.picture.code, one.picture.codes)
                answers = (field.bundle, field.code, tuple(field.codes))
                assert answers == given, f"{field.called}: {given} became {answers}"

    # --- how a history ends -----------------------------------------------------------------------

    def complete(self, number: str) -> None:
        """Add what an order lacks and label what is fine: only what was hidden is left."""
        world, known = self.world, self.world.orders[number]
        world.tick()
        world.check(passed=True)
        if self.end == "the model alone":
            world.switch_on()
        specimens = known.specimens
        if self.end == "what is listed" and known.listed:
            specimens = set(known.listed)
        n_fields = 1 if self.end == "one field each" else known.law.fields
        for specimen in sorted(specimens):
            for n, picture in enumerate(self.tempting(number, specimen)[:n_fields]):
                world.tick()
                world.export(number, specimen, picture, field_name=str(n + 4))
        world.drain()
        self.label_all(number)
        COUNTS["bad orders"] += bool(world.why_not(number))
        self.examine(number)

    def label_all(self, number: str) -> None:
        """Label what is fine, or everything truly, by two people or one."""
        if self.end == "the model alone":
            return
        people = ("Dora", "Emil")[: 1 if self.end == "one person" else 2]
        for micrograph_id, one in list(self.world.of(number)):
            if one.picture.breaks and self.end != "truly":
                continue
            if {"Dora", "Emil"}.isdisjoint(x.by for x in one.given):
                for by in people:
                    label = Label(by, "code", one.picture.truth, unsure=False)
                    self.world.label(micrograph_id, label)

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
        said = [reason for one in assessed.specimens for reason in one.statement.missing]
        failed = any(not passed for _, passed, _ in self.world.checks)
        return failed and bool(said) and all("control check of" in one for one in said)
