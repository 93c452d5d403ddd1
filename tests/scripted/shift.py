"""A scripted shift on drawn micrographs: what happens, and what has to be said of every order.

The micrographs are drawn and go through the real reading, cropping, pipeline and store; only the
network is stood in for by an oracle that knows what was drawn, so that what has to be said of every
order is known exactly. The kinds of `scripted.kinds` come in turn; files come in the order of the
clock. Between the halves the specification is loosened in place and another bundle is promoted.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from hidden.pictures import VARIANTS
from labs import lab

from agent.archive import Archive
from agent.demo.exporter import encode
from agent.demo.micrograph import Drawn, draw_micrograph
from agent.errors import FileError
from agent.imaging import crop, read
from agent.labelled_import import ManifestProvenance, import_folder, list_labelled
from agent.orders import Specifications
from agent.orders.facts.specimen_facts import Allowance
from agent.orders.instruments.instrument_checks import CONTROL
from agent.orders.instruments.instrument_holds import Holds
from agent.orders.judge.assessed import OrderPolicy
from agent.orders.judge.assessment import assess
from agent.orders.specifications.specification_history import load_history
from agent.orders.statements.order_json import order_to_json
from agent.pipeline import Pipeline
from agent.store import Store
from agent.triage import Policy, Scope
from agent.watch import ListedFile, Provenance
from agent.watch.listing import list_folder
from model import default_taxonomy
from scripted.kinds import ALL, FIELDS, PARTNER, Kind, Shot

START = datetime(2026, 11, 24, 6, 0, tzinfo=UTC)
OLD, NEW = "20260101-00000000", "20260202-00000000"
PIXELS = (240, 180)
"""A size at which places can be told apart."""
TILE_STEP = 0.9
COPIES = VARIANTS | {
    "stretched": lambda pixels: cv2.resize(pixels, None, fx=1.15, fy=1.0),
    "half": lambda pixels: cv2.resize(pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
}
"""What an export makes of a place."""
SOURCE = Provenance(
    fixed={"material": "100Cr6"},
    pattern=r"(?P<order>\d+)_(?P<specimen>\d+)_(?P<field>\d+)(_P(?P<preparation>\d+))?",
)
SOURCES = {"LOM": SOURCE, "SEM": SOURCE}
WANTED = lab.RING_A.model_copy(update={"fields": FIELDS, "um_per_px": (0.15, 0.25)})
LOOSER = WANTED.model_copy(update={"limit": "7 or finer"})
OTHERS = (
    WANTED.model_copy(
        update={
            "name": "mean-a",
            "material": "",
            "product": "mean",
            "fields": 2,
            "specimen_rule": "mean_of_fields",
        }
    ),
    LOOSER.model_copy(update={"name": "loose-a", "material": "", "product": "washer"}),
)
KINDS = tuple(ALL)
LEADS = ("R. Stahl", "M. Erz")


@dataclass
class Script:
    """A shift of so many orders.

    Args:
        orders: How many.
        kinds: The kinds that come in turn.
        step: From one number to the next: 1 as labs count; multiples of 11 are never one character
            off, so that no order holds its neighbour.
    """

    orders: int
    kinds: dict[str, Kind] = field(default_factory=lambda: ALL)
    step: int = 110
    first: list[Shot] = field(default_factory=list)
    second: list[Shot] = field(default_factory=list)

    def __post_init__(self) -> None:
        for order in self.numbers:
            early, late = self.kind(order).plan(order)
            self.first += early
            self.second += late

    def name(self, order: str) -> str:
        """Return the name of an order's kind."""
        return tuple(self.kinds)[(int(order) // self.step - 4000) % len(self.kinds)]

    def kind(self, order: str) -> Kind:
        """Return an order's kind."""
        return self.kinds[self.name(order)]

    @property
    def numbers(self) -> list[str]:
        """Every order but the partners."""
        return [str((4000 + number) * self.step) for number in range(self.orders)]


class Oracle:
    """Answers by what was drawn, doubts and all; `web` tells which field is which."""

    def __init__(self, name: str, pool: InProcessPool) -> None:
        self.name, self._pool = name, pool

    def classify(self, fields):
        return [self._said(one) for one in fields]

    def size_probabilities_for(self, fields, _subtype):
        return [{"7": 0.1, "8": 0.9} for _ in fields]

    def _said(self, one):
        shot = self._pool.shown[_fingerprint(one.pixels)]
        said = lab.prediction_of(shot["code"], p_value=0.004 if shot["strange"] else 0.4)
        defects = (f"{shot['defect']}: prepare again",) if shot["defect"] else ()
        return replace(said, bundle=self.name, prediction_set=tuple(shot["codes"]), defects=defects)


def _fingerprint(pixels) -> str:
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()[:16]


@cache
def _drawn(place: str, code: str, um_per_px: float, tiles: int) -> Drawn:
    seed = int(hashlib.sha256(place.encode()).hexdigest()[:7], 16)
    width, height = PIXELS
    size = (int(width * (1 + (tiles - 1) * TILE_STEP)), height)
    return draw_micrograph(code, seed=seed, um_per_px=um_per_px, size=size, bar=None, border=False)


def shoot(shot: Shot) -> bytes:
    """Draw a file."""
    tiles = 1 if shot.tile is None else FIELDS
    drawn = _drawn(shot.place or shot.name, shot.code, shot.um_per_px, tiles)
    left = int((shot.tile or 0) * PIXELS[0] * TILE_STEP)
    pixels = COPIES[shot.variant](drawn.pixels[:, left : left + PIXELS[0]])
    scale = shot.um_per_px / 1.3 if shot.variant == "magnified" else shot.um_per_px
    taken = replace(drawn, pixels=np.ascontiguousarray(pixels), um_per_px=scale)
    held = encode(taken, "tif")
    return held[: len(held) // 2] if shot.is_cut else held


def export(shots: list[Shot], folder: Path, truth: Path) -> None:
    """Draw files into the export folder, and write what they show for the oracle."""
    known: dict[str, Any] = json.loads(truth.read_text("utf-8")) if truth.exists() else {}
    for shot in shots:
        path = folder / shot.name
        path.parent.mkdir(parents=True, exist_ok=True)
        held = (folder / shot.copy_of).read_bytes() if shot.copy_of else shoot(shot)
        if path.exists() and path.read_bytes() == held:
            continue  # a microscope writes no file again because the agent died
        if shot.copy_of:
            path.write_bytes(held)
            continue
        keys = ("code", "codes", "defect", "strange")
        known[hashlib.sha256(held).hexdigest()] = {key: getattr(shot, key) for key in keys}
        if shot.note:
            path.with_suffix(".json").write_text(json.dumps(shot.note), encoding="utf-8")
        path.write_bytes(held)
        if shot.changed_h is not None:
            changed_s = (START + timedelta(hours=shot.changed_h)).timestamp()
            os.utime(path, (changed_s, changed_s))
    truth.write_text(json.dumps(known), encoding="utf-8")


class InProcessPool:
    """Reads and crops as the workers do, here, and remembers what each crop shows."""

    def __init__(self, truth: Path) -> None:
        self._truth = json.loads(truth.read_text("utf-8"))
        self.shown: dict[str, Any] = {}

    def has_outcome(self) -> bool:
        return True

    def crop_all(self, jobs):
        for path, scale in jobs:
            try:
                outcome = [
                    crop(one, um_per_px_range=(0.01, 5.0), settings_scale=scale)
                    for one in read(path)
                ]
            except (FileError, OSError) as error:
                outcome = error
            else:
                for one in outcome:
                    self.shown[_fingerprint(one.pixels)] = self._truth[one.sha256]
            yield path, outcome


class Shift:
    """One lab on that day.

    Args:
        folder: Where everything is. script: what happens. url: of the database.
        bundle: The one at work.
    """

    def __init__(self, folder: Path, script: Script, url: str, *, bundle: str = OLD) -> None:
        self.folder, self.script = folder, script
        self.export = folder / "export"
        self.export.mkdir(parents=True, exist_ok=True)
        self.truth = folder / "truth.json"
        self.at = START
        self.url = url
        self.store = Store.open(url, site="Plant 1", agent="PC")
        self.refused = 0
        self._bundle = bundle
        self._ids: dict[str, list[str]] = {}
        self._said: dict[str, dict[str, Any]] = {}
        self._note((WANTED, *OTHERS))

    def _note(self, file: tuple[Any, ...]) -> None:
        self.file = file
        entries = [(s.name, s.valid_from, s.approved_by, s.sha256, s.entry) for s in file]
        self.store.specifications.note(entries, zone="UTC", at=self.at)

    def now(self) -> datetime:
        return self.at

    def pipeline(self, *more: str) -> Pipeline:
        pool = InProcessPool(self.truth)
        policy = Policy(control_share=0.0, scope=Scope(({"material": "100Cr6"},)))
        return Pipeline(
            store=self.store,
            archive=Archive(self.folder / "data"),
            pool=pool,
            classifier=Oracle(self._bundle, pool),
            policy=policy,
            now=self.now,
            sources=SOURCES | dict.fromkeys(more, ManifestProvenance()),
            earlier=lambda name: (Oracle(name, pool), policy),
            ordered=lambda told, _: ("G",) if told.get("order") else (),
        )

    def import_labels(self, folder: Path, manifest: Path, *, by: str, for_orders: bool) -> None:
        """Import a labelled folder, as `agent import` does."""
        listing = list_labelled(folder, default_taxonomy(), manifest)
        steps = import_folder(
            listing,
            store=self.store,
            pipeline=self.pipeline(listing.source),
            now=self.now,
            by=by,
            for_orders=for_orders,
        )
        for _ in steps:
            pass

    def work(self) -> None:
        """Take everything that lies there to its fate."""
        self._said = {}
        found = list_folder(self.export).pictures
        files = [
            ListedFile("SEM" if name.startswith("sem") else "LOM", self.export, name, *facts)
            for name, facts in found.items()
        ]
        self.store.files.add(sorted(files, key=lambda one: one.relative), at=self.at)
        pipeline = self.pipeline()
        while pipeline.process_batch(8).files:
            pass
        self._ids = {}

    def ids(self, order: str, field_name: str) -> list[str]:
        """Return the micrographs whose file is named as a field of an order, oldest first."""
        if not self._ids:
            for view in self.store.results.iter_all():
                name = view.path.replace("\\", "/").rsplit("/", 1)[-1]
                self._ids.setdefault(name.partition(".")[0], []).append(view.id)
        return self._ids[f"{order}_01_{field_name}"]

    def lab(self) -> OrderPolicy:
        return OrderPolicy(
            specifications=Specifications(self.file),
            taxonomy=default_taxonomy(),
            sources=SOURCES,
            allowances=tuple(
                Allowance(
                    "100Cr6", name, limit, "G", 298, 0, 0.0199, "R. Stahl", um_per_px=(0.01, 5.0)
                )
                for name in (OLD, NEW)
                for limit in ("8 or finer", "7 or finer")
            ),
            held=Holds(self.store.records.all(CONTROL), {}, ()),
            is_lead=LEADS.__contains__,
            history=load_history(self.store),
        )

    def said(self, order: str) -> dict[str, Any]:
        """Return an order as its page shows it now."""
        assessed = assess(self.store, order, self.lab())
        return order_to_json(assessed) if assessed else {"conformity": "unknown"}

    def said_now(self, order: str) -> dict[str, Any]:
        """Return an order as its page showed it at the first request after the last event."""
        if order not in self._said:
            self._said[order] = self.said(order)
        return self._said[order]

    # --- the day ---

    def first_half(self) -> None:
        self.begin()
        self.take_first()

    def begin(self) -> None:
        """Check the instruments and deliver the lists, before the first file."""
        before = self.at - timedelta(minutes=1)
        for source in SOURCES:
            facts = {"passed": True, "sources": [source], "software": "1", "findings": []}
            self.store.records.add(CONTROL, f"PC of {source}", by="agent", at=before, facts=facts)
        self._act("listed")

    def take_first(self) -> None:
        """Export and take the files of the first half, and let people act on them."""
        export(self.script.first, self.export, self.truth)
        self.work()
        self._act("before")

    def second_half(self) -> None:
        self.at += timedelta(hours=2)
        self._bundle = NEW
        self._note((LOOSER, *OTHERS))
        export(self.script.second, self.export, self.truth)
        self.work()
        self._act("after")

    def _act(self, which: str) -> None:
        self._said = {}
        acts = [(getattr(self.script.kind(order), which), order) for order in self.script.numbers]
        for act, order in sorted(acts, key=lambda one: getattr(one[0], "is_later", False)):
            if act:
                act(self, order)

    def reopen(self) -> None:
        """Start the agent again."""
        self._said = {}
        self.store.close()
        self.store = Store.open(self.url, site="Plant 1", agent="PC")


def _sentences(said: dict[str, Any]) -> str:
    return "; ".join((*said.get("because", ()), *said.get("missing", ())))


def wrong_halfway(shift: Shift) -> Iterator[str]:
    """Yield every order of which something else is said than has to be, after the first half."""
    for order in shift.script.numbers:
        kind, said = shift.script.kind(order), shift.said_now(order)
        word, reasons = said["conformity"], _sentences(said)
        may = kind.halfway == "conforms"
        if kind.halfway is None:
            continue
        if may != (word == "conforms") or not (may or kind.halfway in reasons):
            yield f"{order} ({shift.script.name(order)}), halfway: {word}: {reasons}"


def wrong(shift: Shift) -> Iterator[str]:
    """Yield every order of which something else is said than has to be, at the end."""
    for order in shift.script.numbers:
        kind = shift.script.kind(order)
        checked = [(order, kind.word, kind.reason)]
        if kind.partner:
            checked.append((f"{PARTNER}{order}", "undecided", kind.partner))
        for number, word, reason in checked:
            said = shift.said_now(number)
            reasons = _sentences(said)
            if said["conformity"] != word or reason not in reasons:
                yield f"{number} ({shift.script.name(order)}): {said['conformity']}: {reasons}"


def false_conforms(shift: Shift, *, halfway: bool = False) -> list[str]:
    """Return every order that is said to conform and is not of a kind that may."""
    found = []
    for order in shift.script.numbers:
        kind = shift.script.kind(order)
        may = (kind.halfway if halfway else kind.word) in {"conforms", None}
        numbers = [order, *([f"{PARTNER}{order}"] if kind.partner and not halfway else [])]
        found += [
            number
            for number in numbers
            if shift.said_now(number)["conformity"] == "conforms" and (not may or number != order)
        ]
    return found


def refused_honest(shift: Shift) -> list[str]:
    """Return every order of an honest kind, which has to conform, that does not."""
    return [
        order
        for order in shift.script.numbers
        if shift.script.kind(order).word == "conforms"
        and shift.said_now(order)["conformity"] != "conforms"
    ]


def everything(shift: Shift) -> dict[str, dict[str, Any]]:
    """Return every order, without what differs between two runs: numbers of rows are not in it."""
    return {order: shift.said(order) for order in shift.script.numbers}


def unsteady(shift: Shift) -> list[str]:
    """Return every order of which something else is said when it is asked for again."""
    before = {order: shift.said_now(order) for order in shift.script.numbers}
    shift.reopen()
    after = everything(shift)
    return [order for order in before if before[order] != after[order]]
