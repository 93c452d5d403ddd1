"""A lab whose orders have a hidden truth, and what people do there."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from labs import lab

from agent.errors import UsageError
from agent.imaging.crop import public_id
from agent.orders import Specifications
from agent.orders.facts.place_check import PlaceCheck
from agent.orders.facts.process_data import collect_keys
from agent.orders.facts.specimen_facts import Allowance
from agent.orders.instruments.instrument_checks import CONTROL
from agent.orders.instruments.instrument_holds import Holds
from agent.orders.judge.assessed import Assessed, OrderPolicy
from agent.orders.judge.assessment import assess
from agent.orders.judge.permissions import list_left, require_may_assign, require_may_replace
from agent.orders.specifications.specification_history import load_history
from agent.store import Decision, Entry, MicrographResult
from agent.triage import Handling, Reason, TriageVerdict
from agent.watch import ListedFile, Provenance
from hidden.ledger import (
    BUNDLES,
    LEAD,
    STRICT,
    WASHER,
    Gone,
    Label,
    Ledger,
    Micrograph,
    Name,
    plain,
)
from hidden.pictures import compare

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent.orders.specifications.specification import Specification
    from agent.store import Claim, Store
    from hidden.pictures import Picture

SOURCE = Provenance(
    fixed={"material": "100Cr6"},
    pattern=r"(?P<order>\d+)_(?P<specimen>\d+)_(?P<field>\d+)(_P(?P<preparation>\d+))?",
)


@dataclass(frozen=True)
class Disk:
    """A folder with a database that each history begins anew.

    Its store stays the same, as most of a history's time would go into preparing statements that
    another store has prepared before. Between histories no connection is open.

    Args:
        folder: Removed at the end of the process.
        store: Open on it. empty: the database's bytes at first.
    """

    folder: tempfile.TemporaryDirectory[str]
    store: Store
    empty: bytes

    @property
    def exports(self) -> Path:
        """The export folder; no file is ever in it."""
        return Path(self.folder.name) / "export"

    def begin(self) -> None:
        """Empty the database."""
        self.store.close()
        file = Path(self.store.place)
        for tail in ("-wal", "-shm"):
            file.with_name(file.name + tail).unlink(missing_ok=True)
        file.write_bytes(self.empty)


@cache
def disk() -> Disk:
    """Return the disk of this process, in memory where the system has such a disk."""
    memory = Path("/dev/shm")  # noqa: S108 - a memory disk
    folder = tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None)
    store = lab.Lab(Path(folder.name)).store
    store.close()
    return Disk(folder, store, Path(store.place).read_bytes())


class World(Ledger):
    """Three orders of one plant, with the agent that judges them; see `Ledger`."""

    def __init__(self, kinds: Mapping[str, str], honest: str) -> None:
        super().__init__(kinds, honest)
        disk().begin()
        self.store = disk().store
        self.places = PlaceCheck(self.store, compare=compare)
        self._rules: OrderPolicy | None = None
        self._pictures: dict[str, tuple[Picture, Mapping[str, str]]] = {}
        self._waiting: set[str] = set()
        self._is_idle = True
        self.read_specifications()
        self.check(passed=True)

    # --- the agent --------------------------------------------------------------------------------

    def rules(self) -> OrderPolicy:
        """Return what the lab has laid down; it is read again where something was written."""
        if self._rules is None:
            self._rules = OrderPolicy(
                specifications=Specifications((*self.file, WASHER)),
                taxonomy=lab.TAXONOMY,
                sources={"LOM": SOURCE},
                allowances=self._allowances(),
                held=Holds(self.store.records.all(CONTROL), {}, ()),
                is_lead=LEAD.__eq__,
                history=load_history(self.store),
            )
        return self._rules

    def _allowances(self) -> tuple[Allowance, ...]:
        if self.switched_on is None:
            return ()
        validated = Allowance(
            "100Cr6", BUNDLES[0], STRICT.limit, "G", 298, 0, 0.0199, LEAD, um_per_px=(0.01, 5)
        )
        return (replace(validated, since=self.switched_on[1]),)

    def switch_on(self) -> None:
        """Let the model alone say "conforms" from now on, as a lead does."""
        if self.switched_on is None:
            self.switched_on, self._rules = (self.step, self.now), None

    def look(self, number: str) -> Assessed | None:
        """Return what the agent says of an order, None where no file of it was read yet."""
        return assess(self.store, number, self.rules())

    def arrive(self, name: str, picture: Picture, note: Mapping[str, str]) -> None:
        """Let a file come to rest in the export folder."""
        self.arrivals, self._is_idle = self.arrivals + 1, False
        self.replaced |= {name} & self._waiting
        self._waiting.add(name)
        self._pictures[name] = (picture, note)
        size = 1000 + int(picture.sha256[:6], 16)
        arrival = ListedFile("LOM", disk().exports, name, size, self.arrivals)
        self.store.files.add([arrival], at=self.now)

    def drain(self) -> None:
        """Take every file to its fate, as the pipeline does; where none came, there is none."""
        if self._is_idle:
            return
        self.read_all()
        self.places.compare_pending(at=self.now)
        self._is_idle, self.is_uncompared = True, False

    def read_all(self) -> None:
        """Read every file; places are not compared yet."""
        for place in self.unread:
            self.note_heard(place.order)
        while claims := self.store.work_queue.claim(8, at=self.now, lease_s=60):
            for claim in claims:
                self._take(claim)
        self.unread, self.is_uncompared = [], True

    def be_killed(self) -> None:
        """Start the agent again; what it had in hand is taken back."""
        self.store.close()
        self.places, self._rules = PlaceCheck(self.store, compare=compare), None
        self.store.work_queue.requeue_own(at=self.now)

    def hold_and_be_killed(self) -> None:
        """Claim what is there, and be killed before any of it is written."""
        self.store.work_queue.claim(8, at=self.now, lease_s=60)
        self.be_killed()

    def _take(self, claim: Claim) -> None:
        self._waiting.discard(claim.relative)
        if claim.relative not in self._pictures:
            self.store.work_queue.set_aside(claim, "not_an_image", "no image", at=self.now)
            return
        picture, note = self._pictures[claim.relative]
        keys = collect_keys(SOURCE, claim.relative, beside=note, given=claim.process_data)
        named = {Name(plain(one.order), one.specimen) for one in keys.claims}
        known = self.store.work_queue.identify(claim, picture.sha256, at=self.now)
        micrograph_id = public_id(picture.sha256, 0)
        if known is not None:
            if known != claim.content_id:
                claims = [replace(one, origin="copy") for one in keys.claims]
                self.store.order_naming.claim_again(known, claims, claim.relative, at=self.now)
            self.shown[micrograph_id].names |= named
            return
        order, specimen = (keys.process_data.get(key, "") for key in ("order", "specimen"))
        bundle = self.bundle
        if not keys.conflict and order and specimen:
            bundle = self.store.orders.reserve(order, specimen, bundle, at=self.now)
            begun = self.begun.setdefault(Name(plain(order), specimen), bundle)
            assert bundle == begun, f"{order}/{specimen}, begun by {begun}, was judged by {bundle}"
        self.store.work_queue.finish(claim, [self._finding(picture, keys, bundle)], at=self.now)
        self.shown[micrograph_id] = Micrograph(picture, named, bundle, self.step, self.now)
        if not keys.conflict:
            some = self.hear(order).preparations.setdefault(specimen, set())
            some.add(keys.process_data.get("preparation") or max(some, key=int, default="1"))

    def _finding(self, picture: Picture, keys, bundle: str) -> MicrographResult:
        said = lab.prediction_of(picture.code, p_value=0.004 if picture.strange else 0.4)
        reasons = (
            *([Reason.STRANGE] if picture.strange else ()),
            *([Reason.UNCERTAIN] if len(picture.codes) > 1 else ()),
        )
        return MicrographResult(
            lab.facts_of(picture.crop()),
            keys.process_data,
            {},
            replace(said, bundle=bundle, prediction_set=picture.codes),
            TriageVerdict(Handling.REVIEW if reasons else Handling.AUTOMATIC, reasons),
            area_mm2=picture.area_mm2,
            unassigned=keys.conflict,
            landmarks=picture.landmarks(),
            claims=keys.claims if keys.conflict else (),
        )

    def compare_bundles(self, micrograph_id: str, role: str) -> None:
        """Let another bundle answer in the shadow; it calls everything fine."""
        picture = self.shown[micrograph_id].picture
        keys = collect_keys(SOURCE, f"{picture.place.order}_01_1.tif", beside={}, given={})
        another = replace(picture, code="G8", codes=("G8",), strange=False)
        finding = self._finding(another, keys, "20260303-00000000")
        self.store.results.add(micrograph_id, finding, role=role, at=self.now)

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
            self.name(place, picture, field_name)
            self.unread.append(place)
        self.arrive(name, picture, note or {})

    def spoil(self, number: str, specimen: str, field_name: str) -> None:
        """Export a file that cannot be read."""
        name = f"{number}_{specimen}_{field_name}_bad.tif"
        self.arrivals, self._is_idle = self.arrivals + 1, False
        arrival = ListedFile("LOM", disk().exports, name, 10 + self.arrivals, 1)
        self.store.files.add([arrival], at=self.now)
        self.lost.setdefault(number, set()).add(name)
        self.drain()

    def label(self, micrograph_id: str, label: Label) -> None:
        """Decide a micrograph."""
        decision = Decision(
            label.kind,
            label.by,
            code=label.said if label.kind == "code" else None,
            strange_kind=label.said if label.kind == "strange" else None,
            why=label.said if label.kind == "unusable" else None,
            unsure=label.unsure,
            comment="again",
        )
        self.store.labels.decide(micrograph_id, decision, at=self.now)
        self.note_label(self.shown[micrograph_id], label._replace(at=self.now))

    def undo(self, micrograph_id: str, by: str) -> None:
        """Take the label back that holds."""
        one = self.shown[micrograph_id]
        if one.standing:
            self.store.labels.undo(micrograph_id, by=by, at=self.now)
            self.note_undo(one, by)

    def supersede(
        self, micrograph_id: str, by: str, defect: str, picture: str = "", *, asks_first: bool
    ) -> None:
        """Replace a field, by the command or past it."""
        number = self.store.orders.of_micrograph(micrograph_id)
        try:
            if asks_first and number:
                require_may_replace(
                    self.store, self.rules(), number, [micrograph_id],
                    by=by, defect=defect, picture=picture,
                )  # fmt: skip
        except UsageError:
            return
        self.store.order_corrections.supersede(
            micrograph_id, by=by, reason="again", defect=defect, lead=by == LEAD,
            at=self.now, picture=picture,
        )  # fmt: skip
        self.shown[micrograph_id].gone = Gone(by, defect, picture)

    def prepare_again(self, number: str, specimen: str, by: str, *, asks_first: bool) -> None:
        """Begin the next preparation, by the command or past it."""
        view = self.store.orders.order(number)
        mine = [one for one in view.specimens if one.name == specimen] if view else []
        if not mine:
            return
        ids = [field.view.id for last in mine[0].preparations[-1:] for field in last.fields]
        try:
            if asks_first:
                require_may_replace(
                    self.store, self.rules(), number, ids, by=by, defect="stained", picture=""
                )
            name = self.store.order_corrections.prepare_again(
                number, specimen, by=by, reason="stained", defect="stained", lead=False, at=self.now
            )
        except UsageError:  # also where the clock of the PC was set back
            return
        self.hear(number).preparations.setdefault(specimen, set()).add(name)

    def move(self, micrograph_id: str, number: str, specimen: str, by: str, name: str) -> None:
        """Assign a micrograph, where the command allows it."""
        keys = {"order": number, "specimen": specimen, "field": name}
        try:
            require_may_assign(self.store, self.rules(), micrograph_id, keys, by=by)
            self.store.order_corrections.assign(
                micrograph_id,
                keys,
                by=by,
                reason="mine",
                at=self.now,
                left=list_left(self.store, [micrograph_id], keys),
            )
        except UsageError:
            return
        one = self.shown[micrograph_id]
        one.names.add(Name(number, specimen))
        self.note_heard(number)
        self.name(Name(number, specimen), one.picture, name)
        if not one.standing:  # a model's answer binds its specimen, a person's label does not
            self.begun.setdefault(Name(number, specimen), one.bundle)
        some = self.hear(number).preparations.setdefault(specimen, set())
        some.add(max(some, key=int, default="1"))

    def deliver(self, number: str, name: str, facts: Mapping[str, object]) -> None:
        """Deliver an order list."""
        is_new = number not in self.orders
        known = self.note_heard(number)
        named: Sequence[str] = facts.get("specimens", ())  # type: ignore[assignment]
        if not is_new:
            known.changes.add(name)
        if facts.get("specification") and not known.is_listed and not any(self.of(number)):
            known.law = WASHER  # the first list may still name it before the first field
        known.is_listed, known.listed = True, tuple(named) or known.listed
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
        self._rules = None
        entries = [
            (one.name, one.valid_from, one.approved_by, one.sha256, one.entry)
            for one in (*self.file, WASHER)
        ]
        self.store.specifications.note(entries, zone="UTC", at=self.now)

    def check(self, *, passed: bool) -> None:
        """Check the instrument."""
        self.step += 1
        self.checks.append((self.step, passed, self.now))
        self._rules = None
        facts = {"passed": passed, "sources": ["LOM"], "software": "1", "findings": []}
        self.store.records.add(CONTROL, "PC", by="agent", at=self.now, facts=facts)
