"""A lab whose orders have a hidden truth, and what people do there who are no leads.

The ledger of the world is kept next to the store and never read from it: what each picture truly
shows, which orders it was named for and in which sequence things happened, whatever the clock says.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

import lab
from hidden_pictures import COARSE, FINE, SETS, Picture, PlaceOf, compare

from agent.errors import WrongUse
from agent.imaging.crop import public_id
from agent.orders import Specifications
from agent.orders.assessment import Assessed, assess
from agent.orders.assessment import Lab as Rules
from agent.orders.control import CONTROL, GOOD_FOR
from agent.orders.facts import Allowance
from agent.orders.instrument_holds import Holds
from agent.orders.keys import keys_of
from agent.orders.permissions import require_may_assign, require_may_replace
from agent.orders.place_check import PlaceCheck
from agent.orders.specification_history import load_history
from agent.store import Decision, Entry, Finding, number_key
from agent.triage import Handling, Reason, Verdict
from agent.watch import Arrival, Provenance

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from agent.orders.specification import Specification
    from agent.store import Claim

ORDERS, SPECIMENS = ("4711", "4712", "4713"), ("01", "02")
KINDS = ("fine", "one coarse", "coarse", "lent", "one place")
"""What an order's specimens truly are: fine, coarse at one place or at all, or fine and never shown
but by pictures of other specimens, or by one place of each of them."""
PLACES = 4
PEOPLE = ("Ada", "Ben", "Cem")
LEAD = "R. Stahl"
BUNDLES = ("20260101-00000000", "20260202-00000000")
SOURCE = Provenance(
    fixed={"material": "100Cr6"},
    pattern=r"(?P<order>\d+)_(?P<specimen>\d+)_(?P<field>\d+)(_P(?P<preparation>\d+))?",
)
STRICT = lab.RING_A.model_copy(update={"fields": 2, "area_mm2": 0.0025})
LOOSER = {
    "limit": (STRICT.model_copy(update={"limit": "7 or finer"}),),
    "fields": (STRICT.model_copy(update={"fields": 1, "area_mm2": 0.0}),),
    "name": (STRICT.model_copy(update={"name": "ring-b", "limit": "7 or finer"}),),
}
"""How somebody may edit the file of specifications."""
WASHER = STRICT.model_copy(
    update={"name": "washer", "material": "", "product": "washer", "limit": "7 or finer"}
)
"""Another specification of the file, which a list may name."""


class Label(NamedTuple):
    """One label of the ledger; `said` is the code, the kind or the why."""

    by: str
    kind: str
    said: str
    unsure: bool


class Name(NamedTuple):
    """An order and specimen that something names for a micrograph."""

    order: str
    specimen: str


@dataclass
class Micrograph:
    """What the world knows of one micrograph.

    Args:
        picture: What it shows. names: what it was ever named for. bundle: that answered.
        made: When its result was made, in the world's sequence.
        standing, given: Labels that were not taken back, and all of them.
    """

    picture: Picture
    names: set[Name]
    bundle: str
    made: int
    done_at: datetime
    standing: list[Label] = field(default_factory=list)
    given: list[Label] = field(default_factory=list)


@dataclass
class Known:
    """What the world knows of one order.

    Args:
        law: What it is judged by: in force when it was first heard of.
        specimens: That its pictures or lists ever named. count: that a list ever asked for.
        coarse: Something coarse was named for it.
        preparations: Specimen → names of its preparations.
        changes: Lists that changed something. is_tricked: something dishonest was done to it.
        is_listed: A list named it.
    """

    law: Specification
    specimens: set[str] = field(default_factory=set)
    count: int = 0
    coarse: bool = False
    preparations: dict[str, set[str]] = field(default_factory=dict)
    changes: set[str] = field(default_factory=set)
    is_tricked: bool = False
    is_listed: bool = False


class World:
    """Three orders of one plant.

    Args:
        folder: For the database.
        kinds: Order → what its specimens truly are, one of `KINDS`.
        honest: The order to which nothing dishonest is done.
    """

    def __init__(self, folder: Path, kinds: Mapping[str, str], honest: str) -> None:
        self._folder, self.kinds, self.honest = folder, dict(kinds), honest
        self.now, self.step, self.was_set_back = lab.DAY, 0, False
        self.lab = lab.Lab(folder, source="LOM")
        self.places = PlaceCheck(self.lab.store, compare=compare)
        self.file: tuple[Specification, ...] = (STRICT,)
        self.bundle = BUNDLES[0]
        self.shown: dict[str, Micrograph] = {}
        self.orders: dict[str, Known] = {}
        self.lost: dict[str, set[str]] = {}
        self.checks: list[tuple[int, bool, datetime]] = []
        self._pictures: dict[str, tuple[Picture, Mapping[str, str]]] = {}
        self._arrivals = 0
        self.read_specifications()
        self.check(passed=True)

    @property
    def store(self):
        """The lab's store."""
        return self.lab.store

    def tick(self) -> None:
        """Let a minute pass, in the world and on the clock."""
        self.step += 1
        self.now += timedelta(minutes=1)

    # --- what is true -----------------------------------------------------------------------------

    def truth(self, place: PlaceOf) -> str:
        """Return the true code of a place."""
        kind = self.kinds[place.order]
        if kind == "coarse" or (kind == "one coarse" and place.n == 0):
            return COARSE
        return "G9-10" if place.n == PLACES - 1 else FINE

    def picture(self, place: PlaceOf, variant: str, answer: int, *, strange: bool) -> Picture:
        """Return a new picture of a place, with one of a model's honest answers."""
        truth = self.truth(place)
        honest = [one for one in SETS[COARSE if truth == COARSE else FINE] if truth in one[1]]
        code, codes = honest[answer % len(honest)]
        return Picture(place, variant, self._arrivals, truth, code, codes, strange)

    def hear(self, number: str) -> Known:
        """Return what is known of an order; its law is that of the first time."""
        number = number_key(number)
        if number not in self.orders:
            self.orders[number] = Known(self.file[0])
        return self.orders[number]

    def is_broken(self, micrograph: Micrograph) -> bool:
        """Return whether its result lies between two good checks with a failed one between."""
        last = max((at for at, passed, _ in self.checks if passed and at <= micrograph.made))
        later = [(at, passed) for at, passed, _ in self.checks if at > last]
        until = min((at for at, passed in later if passed and at > micrograph.made), default=None)
        return any(not ok and (until is None or at < until) for at, ok in later)

    def own_places(self, number: str, specimen: str) -> set[PlaceOf]:
        """Return the places of a specimen that were shown under its own name."""
        return {
            one.picture.place
            for one in self.shown.values()
            if Name(number, specimen) in one.names and one.picture.place[:2] == (number, specimen)
        }

    def why_not(self, number: str) -> list[str]:
        """Return why an order must not conform unless a lead signs for it; [] where it may."""
        known = self.orders[number]
        breaks = known.law.limit == STRICT.limit
        mine = [one for one in self.shown.values() if any(n.order == number for n in one.names)]
        found = []
        if breaks and (known.coarse or self.kinds[number] == "coarse"):
            found.append("it is coarse")
        found += [
            f"specimen {name} shows {len(places)} places of its own"
            for name in sorted(known.specimens)
            if len(places := self.own_places(number, name)) < known.law.fields
        ]
        if known.count > len(known.specimens):
            found.append("specimens are missing")
        if self.lost.get(number):
            found.append("a file could not be used")
        if any(len(some) > known.law.max_preparations for some in known.preparations.values()):
            found.append("too many preparations")
        if not self.was_set_back and any(self.is_broken(one) for one in mine):
            found.append("the instrument was broken")
        return found

    # --- the agent --------------------------------------------------------------------------------

    def rules(self) -> Rules:
        """Return what the lab has laid down."""
        allowances = [
            Allowance(
                "100Cr6", BUNDLES[0], "8 or finer", "G", 298, 0, 0.0199, LEAD, um_per_px=(0.01, 5)
            )
        ]
        return Rules(
            specifications=Specifications((*self.file, WASHER)),
            taxonomy=lab.TAXONOMY,
            sources={"LOM": SOURCE},
            allowances=tuple(allowances),
            held=Holds(self.store.records.all(CONTROL), {}, ()),
            is_lead=LEAD.__eq__,
            history=load_history(self.store),
        )

    def look(self, number: str) -> Assessed:
        """Return what the agent says of an order."""
        self.drain()
        assessed = assess(self.store, number, self.rules())
        assert assessed is not None, number
        return assessed

    def arrive(self, name: str, picture: Picture, note: Mapping[str, str]) -> None:
        """Let a file come to rest in the export folder."""
        self._arrivals += 1
        self._pictures[name] = (picture, note)
        size = 1000 + int(picture.sha256[:6], 16)
        arrival = Arrival("LOM", self._folder / "export", name, size, self._arrivals)
        self.store.arrive([arrival], at=self.now)

    def drain(self, *, is_killed_before_comparing: bool = False) -> None:
        """Take every file to its fate, as the pipeline does."""
        while claims := self.store.claim(8, at=self.now, lease_s=60):
            for claim in claims:
                self._take(claim)
        if is_killed_before_comparing:
            self.be_killed()
        self.places.compare_pending(at=self.now)

    def be_killed(self) -> None:
        """Start the agent again; what it had in hand is taken back."""
        self.store.close()
        self.lab = lab.Lab(self._folder, source="LOM")
        self.places = PlaceCheck(self.store, compare=compare)
        self.store.take_back(at=self.now)

    def hold_and_be_killed(self) -> None:
        """Claim what is there, and be killed before any of it is written."""
        self.store.claim(8, at=self.now, lease_s=60)
        self.be_killed()

    def _take(self, claim: Claim) -> None:
        if claim.relative not in self._pictures:
            self.store.set_aside(claim, "not_an_image", "no image", at=self.now)
            return
        picture, note = self._pictures[claim.relative]
        keys = keys_of(SOURCE, claim.relative, beside=note, given=claim.process_data)
        named = {Name(number_key(one.order), one.specimen) for one in keys.claims}
        known = self.store.identify(claim, picture.sha256, at=self.now)
        micrograph_id = public_id(picture.sha256, 0)
        if known is not None:
            if known != claim.content_id:
                claims = [replace(one, origin="copy") for one in keys.claims]
                self.store.orders.claim_again(known, claims, claim.relative, at=self.now)
            self.shown[micrograph_id].names |= named
            return
        order, specimen = (keys.process_data.get(key, "") for key in ("order", "specimen"))
        bundle = self.bundle
        if not keys.conflict and order and specimen:
            bundle = self.store.orders.reserve(order, specimen, bundle, at=self.now)
        self.store.finish(claim, [self._finding(picture, keys, bundle)], at=self.now)
        self.shown[micrograph_id] = Micrograph(picture, named, bundle, self.step, self.now)
        if not keys.conflict:
            some = self.hear(order).preparations.setdefault(specimen, set())
            some.add(keys.process_data.get("preparation") or max(some, key=int, default="1"))

    def _finding(self, picture: Picture, keys, bundle: str) -> Finding:
        said = lab.prediction_of(picture.code, p_value=0.004 if picture.strange else 0.4)
        reasons = (
            *([Reason.STRANGE] if picture.strange else ()),
            *([Reason.UNCERTAIN] if len(picture.codes) > 1 else ()),
        )
        return Finding(
            lab.facts_of(picture.crop()),
            keys.process_data,
            {},
            replace(said, bundle=bundle, prediction_set=picture.codes),
            Verdict(Handling.REVIEW if reasons else Handling.AUTOMATIC, reasons),
            area_mm2=picture.area_mm2,
            unassigned=keys.conflict,
            landmarks=picture.landmarks(),
            claims=keys.claims if keys.conflict else (),
        )

    # --- what people do ---------------------------------------------------------------------------

    def export(
        self,
        number: str,
        specimen: str,
        picture: Picture,
        *,
        field_name: str,
        preparation: str = "",
        spelling: str = "",
        note: Mapping[str, str] | None = None,
    ) -> None:
        """Export a picture as a field of a specimen."""
        tail = f"_P{preparation}" if preparation else ""
        name = f"{spelling}{number}_{specimen}_{field_name}{tail}.tif"
        places = {Name(number, specimen)}
        if note:
            places.add(Name(note["order"], specimen))
        for place in places:
            known = self.hear(place.order)
            known.specimens.add(place.specimen)
            known.coarse |= picture.breaks
        self.arrive(name, picture, note or {})

    def spoil(self, number: str, specimen: str, field_name: str) -> None:
        """Export a file that cannot be read."""
        name = f"{number}_{specimen}_{field_name}_bad.tif"
        self._arrivals += 1
        arrival = Arrival("LOM", self._folder / "export", name, 10 + self._arrivals, 1)
        self.store.arrive([arrival], at=self.now)
        self.lost.setdefault(number, set()).add(name)
        self.drain()

    def label(self, micrograph_id: str, label: Label) -> None:
        """Decide a micrograph."""
        one = self.shown[micrograph_id]
        decision = Decision(
            label.kind,
            label.by,
            code=label.said if label.kind == "code" else None,
            strange_kind=label.said if label.kind == "strange" else None,
            why=label.said if label.kind == "unusable" else None,
            unsure=label.unsure,
            comment="again",
        )
        self.store.decide(micrograph_id, decision, at=self.now)
        one.standing.append(label)
        one.given.append(label)

    def undo(self, micrograph_id: str, by: str) -> None:
        """Take the label back that holds."""
        one = self.shown[micrograph_id]
        if one.standing:
            self.store.undo(micrograph_id, by=by, at=self.now)
            one.standing.pop()

    def supersede(self, micrograph_id: str, by: str, defect: str, *, asks_first: bool) -> None:
        """Let a field count no longer, by the command or past it."""
        number = self.store.orders.of_micrograph(micrograph_id)
        try:
            if asks_first and number:
                require_may_replace(
                    self.store, self.rules(), number, [micrograph_id],
                    by=by, defect=defect, picture="",
                )  # fmt: skip
        except WrongUse:
            return
        self.store.orders.supersede(
            micrograph_id, by=by, reason="again", defect=defect, lead=False, at=self.now
        )

    def prepare_again(self, number: str, specimen: str, by: str, *, asks_first: bool) -> None:
        """Begin the next preparation, by the command or past it."""
        view = self.store.orders.order(number)
        mine = [one for one in view.specimens if one.name == specimen] if view else []
        if not mine:
            return
        ids = [one.view.id for last in mine[0].preparations[-1:] for one in last.fields]
        try:
            if asks_first:
                require_may_replace(
                    self.store, self.rules(), number, ids, by=by, defect="stained", picture=""
                )
        except WrongUse:
            return
        name = self.store.orders.prepare_again(
            number, specimen, by=by, reason="stained", defect="stained", lead=False, at=self.now
        )
        self.hear(number).preparations.setdefault(specimen, set()).add(name)

    def move(self, micrograph_id: str, number: str, specimen: str, by: str, name: str) -> None:
        """Assign a micrograph, where the command allows it."""
        keys = {"order": number, "specimen": specimen, "field": name}
        try:
            require_may_assign(self.store, self.rules(), micrograph_id, keys, by=by)
            self.store.orders.assign(micrograph_id, keys, by=by, reason="mine", at=self.now)
        except WrongUse:
            return
        one = self.shown[micrograph_id]
        one.names.add(Name(number, specimen))
        known = self.hear(number)
        known.specimens.add(specimen)
        known.coarse |= one.picture.breaks
        some = known.preparations.setdefault(specimen, set())
        some.add(max(some, key=int, default="1"))

    def deliver(self, number: str, name: str, facts: Mapping[str, object]) -> None:
        """Deliver an order list."""
        is_new = number not in self.orders
        known = self.hear(number)
        named: Sequence[str] = facts.get("specimens", ())  # type: ignore[assignment]
        if not is_new:
            known.changes.add(name)
        if facts.get("specification") and not known.is_listed and not any(self.of(number)):
            known.law = WASHER  # the first list may still name it before the first field
        known.is_listed = True
        known.specimens |= set(named)
        known.count = max(known.count, int(facts.get("count", 0)))  # type: ignore[call-overload]
        self.store.orders.take_list(
            [Entry(number, facts=dict(facts))], name, by="order list", at=self.now
        )

    def edit(self, file: tuple[Specification, ...]) -> None:
        """Edit the file of specifications in place; the agent reads it."""
        self.file = file
        self.read_specifications()

    def read_specifications(self) -> None:
        """Note the file's state, as the agent does whenever it reads it."""
        entries = [
            (one.name, one.valid_from, one.approved_by, one.sha256, one.entry)
            for one in (*self.file, WASHER)
        ]
        self.store.orders.note_specifications(entries, at=self.now)

    def check(self, *, passed: bool) -> None:
        """Check the instrument."""
        self.step += 1
        self.checks.append((self.step, passed, self.now))
        facts = {"passed": passed, "sources": ["LOM"], "software": "1", "findings": []}
        self.store.records.add(CONTROL, "PC", by="agent", at=self.now, facts=facts)

    def is_fresh(self, micrograph: Micrograph) -> bool:
        """Return whether the newest check before a result is a day old at most, by the clock."""
        before = [at for _, _, at in self.checks if at <= micrograph.done_at]
        return bool(before) and micrograph.done_at - max(before) <= GOOD_FOR

    def is_held_by_a_failed_check(self, assessed: Assessed) -> bool:
        """Return whether nothing but a failed check speaks against an order."""
        said = [reason for one in assessed.specimens for reason in one.statement.missing]
        failed = any(not passed for _, passed, _ in self.checks)
        return failed and bool(said) and all("control check of" in one for one in said)

    def set_clock(self, hours: int) -> None:
        """Set the clock of the PC forward or back."""
        self.was_set_back |= hours < 0
        self.now += timedelta(hours=hours)

    def of(self, number: str) -> Iterator[tuple[str, Micrograph]]:
        """Yield the micrographs that were ever named for an order."""
        for micrograph_id, one in self.shown.items():
            if any(name.order == number for name in one.names):
                yield micrograph_id, one
