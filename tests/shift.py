"""A scripted shift on drawn micrographs: what happens, and what has to be said of every order.

The micrographs are drawn and go through the real reading, cropping, pipeline and store; only the
network is stood in for by an oracle that knows what was drawn, so that what has to be said of every
order is known exactly. Ten kinds of orders come in turn; files come in the order of the clock.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import lab
import numpy as np

from agent.archive import Archive
from agent.demo.drawing import draw
from agent.demo.microscope import encoded
from agent.errors import FileError
from agent.imaging import crop, read
from agent.orders import Specifications
from agent.orders.assessment import Lab, assess
from agent.orders.document import document_of
from agent.orders.facts import Allowance
from agent.pipeline import Pipeline
from agent.store import Decision, Store
from agent.triage import Policy, Scope
from agent.watch import Arrival, Provenance
from agent.watch.listing import list_folder
from model import default_taxonomy

if TYPE_CHECKING:
    from pathlib import Path

START = datetime(2026, 11, 24, 6, 0, tzinfo=UTC)
OLD, NEW = "20260101-00000000", "20260202-00000000"
PIXELS = (140, 105)
FIELDS = 5
SOURCE = Provenance(
    fixed={"material": "100Cr6"},
    pattern=r"(?P<order>\d+)_(?P<specimen>\d+)_(?P<field>\d+)(_P(?P<preparation>\d+))?",
)
WANTED = lab.RING_A.model_copy(update={"fields": FIELDS, "um_per_px": (0.15, 0.25)})
KINDS = (
    "plain",
    "over_etched",
    "coarse",
    "wrong_objective",
    "mixed_in",
    "missing",
    "promoted",
    "offline",
    "duplicate",
    "two_specimens",
)
FINAL = {
    "plain": ("conforms", ""),
    "over_etched": ("conforms", ""),
    "coarse": ("does_not_conform", "field 4 is G7, confirmed by R. Stahl: 8 or finer is demanded"),
    "wrong_objective": ("undecided", "field 3 was shot at 0.4 µm per pixel, 0.15 to 0.25 are"),
    "mixed_in": ("undecided", "field 5 awaits review: ordered G, looks like B: mix-up or heat"),
    "missing": ("undecided", "4 of 5 fields"),
    "promoted": ("conforms", ""),
    "offline": ("conforms", ""),
    "duplicate": ("conforms", ""),
    "two_specimens": ("undecided", "names the order and belongs to no specimen: it claims two"),
}
"""Kind → what has to be said at the end, and the reason that has to be named."""
MIDWAY = {
    "over_etched": "4 of 5 fields; field 2 is unusable (over etched): prepare the specimen again",
    "coarse": "field 4 could be 7",
    "offline": "3 of 5 fields",
}
"""Kind → what has to be said before the shift's second half."""


FINE = {kind for kind, (word, _) in FINAL.items() if word == "conforms"}
MIDWAY_FINE = {"plain", "duplicate", "two_specimens"}
"""Kinds that may conform at the end, and before the second half."""


@dataclass(frozen=True)
class Shot:
    """One file: its name, what is drawn, and what the oracle says of it."""

    name: str
    code: str = "G8"
    codes: tuple[str, ...] = ("G8",)
    um_per_px: float = 0.2
    defect: str = ""
    copy_of: str = ""


@dataclass
class Script:
    """A shift of so many orders.

    Args:
        orders: How many.
    """

    orders: int
    first: list[Shot] = field(default_factory=list)
    second: list[Shot] = field(default_factory=list)

    def __post_init__(self) -> None:
        for number in range(self.orders):
            self._plan(str(4000 + number), KINDS[number % len(KINDS)])

    def kind(self, order: str) -> str:
        return KINDS[(int(order) - 4000) % len(KINDS)]

    @property
    def numbers(self) -> list[str]:
        return [str(4000 + number) for number in range(self.orders)]

    def _plan(self, order: str, kind: str) -> None:
        usual = [Shot(f"{order}_01_{n}.tif") for n in range(1, FIELDS + 1)]
        early, late = usual, []
        if kind == "over_etched":
            early = [replace(s, defect="over-etched") if "_2.tif" in s.name else s for s in usual]
            late = [Shot(f"again/{order}_01_2.tif")]
        elif kind == "coarse":
            early = [
                replace(s, code="G7", codes=("G7",)) if "_4.tif" in s.name else s for s in usual
            ]
        elif kind == "wrong_objective":
            early = [replace(s, um_per_px=0.4) if "_3.tif" in s.name else s for s in usual]
        elif kind == "mixed_in":
            early = [
                replace(s, code="B8", codes=("B8",)) if "_5.tif" in s.name else s for s in usual
            ]
        elif kind == "missing":
            early = usual[:-1]
        elif kind == "promoted":
            early, late = usual[:2], usual[2:]
        elif kind == "offline":
            early, late = usual[:3], usual[3:]
        elif kind == "duplicate":
            late = [Shot(f"copy/{order}_01_2.tif", copy_of=f"{order}_01_2.tif")]
        elif kind == "two_specimens":
            late = [Shot(f"{order}_02_2.tif", copy_of=f"{order}_01_2.tif")]
        self.first += early
        self.second += late


class Oracle:
    """Answers by what was drawn, doubts and all; `desk` tells which field is which."""

    def __init__(self, name: str, desk: ThisDesk) -> None:
        self.name, self._desk = name, desk

    def classify(self, fields):
        return [self._said(one) for one in fields]

    def sizes_given(self, fields, _subtype):
        return [{"7": 0.1, "8": 0.9} for _ in fields]

    def _said(self, one):
        shot = self._desk.shown[_fingerprint(one.pixels)]
        said = lab.prediction_of(shot["code"])
        defects = (f"{shot['defect']}: prepare again",) if shot["defect"] else ()
        return replace(said, bundle=self.name, prediction_set=tuple(shot["codes"]), defects=defects)


def _fingerprint(pixels) -> str:
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()[:16]


def export(shots: list[Shot], folder: Path, truth: Path) -> None:
    """Draw files into the export folder, and write what they show for the oracle."""
    known: dict[str, Any] = json.loads(truth.read_text("utf-8")) if truth.exists() else {}
    for shot in shots:
        path = folder / shot.name
        path.parent.mkdir(parents=True, exist_ok=True)
        if shot.copy_of:
            path.write_bytes((folder / shot.copy_of).read_bytes())
            continue
        seed = int(hashlib.sha256(shot.name.encode()).hexdigest()[:7], 16)
        drawn = draw(
            shot.code, seed=seed, um_per_px=shot.um_per_px, size=PIXELS, bar=None, border=False
        )
        held = encoded(drawn, "tif")
        said = {"code": shot.code, "codes": shot.codes, "defect": shot.defect}
        known[hashlib.sha256(held).hexdigest()] = said
        path.write_bytes(held)
    truth.write_text(json.dumps(known), encoding="utf-8")


class ThisDesk:
    """Reads and crops as the workers do, here, and remembers what each crop shows."""

    def __init__(self, truth: Path) -> None:
        self._truth = json.loads(truth.read_text("utf-8"))
        self.shown: dict[str, Any] = {}

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
        self.store = Store.open(url, site="Plant 1", agent="PC")
        self._bundle = bundle

    def now(self) -> datetime:
        return self.at

    def pipeline(self) -> Pipeline:
        desk = ThisDesk(self.truth)
        policy = Policy(control_share=0.0, scope=Scope(({"material": "100Cr6"},)))
        return Pipeline(
            store=self.store,
            archive=Archive(self.folder / "data"),
            pool=desk,
            classifier=Oracle(self._bundle, desk),
            policy=policy,
            now=self.now,
            sources={"LOM": SOURCE},
            earlier=lambda name: (Oracle(name, desk), policy),
            ordered=lambda told, _: ("G",) if told.get("order") else (),
        )

    def work(self) -> None:
        """Take everything that lies there to its fate."""
        found = list_folder(self.export).pictures
        files = [Arrival("LOM", self.export, name, *facts) for name, facts in found.items()]
        self.store.arrive(sorted(files, key=lambda one: one.relative), at=self.at)
        pipeline = self.pipeline()
        while pipeline.take(8).files:
            pass

    def promote(self) -> None:
        self._bundle = NEW

    def decide(self, kind: str, field_name: str, decision: Decision) -> None:
        """Let the reviewer decide one field of every order of a kind."""
        for view in list(self.store.micrographs()):
            told = view.process_data
            mine = told.get("order") and self.script.kind(told["order"]) == kind
            if mine and told.get("field") == field_name and view.label is None:
                self.store.decide(view.id, decision, at=self.at)

    def lab(self) -> Lab:
        return Lab(
            specifications=Specifications((WANTED,)),
            taxonomy=default_taxonomy(),
            sources={"LOM": SOURCE},
            allowances=tuple(
                Allowance(
                    "100Cr6",
                    name,
                    "8 or finer",
                    "G",
                    298,
                    0,
                    0.0199,
                    "R. Stahl",
                    um_per_px=(0.01, 5.0),
                )
                for name in (OLD, NEW)
            ),
        )

    def said(self, order: str) -> dict[str, Any]:
        """Say an order as its page would now."""
        assessed = assess(self.store, order, self.lab())
        assert assessed is not None, order
        return document_of(assessed)

    # --- the day ---

    def first_half(self) -> None:
        export(self.script.first, self.export, self.truth)
        self.work()
        over = Decision("unusable", "R. Stahl", why="over_etched")
        self.decide("over_etched", "2", over)

    def second_half(self) -> None:
        self.at += timedelta(hours=2)
        self.promote()
        export(self.script.second, self.export, self.truth)
        self.work()
        self.decide("coarse", "4", Decision("code", "R. Stahl", code="G7"))


def wrong(shift: Shift, expected: dict[str, tuple[str, str]]) -> list[str]:
    """Say every order of which something else is said than has to be."""
    found = []
    for order in shift.script.numbers:
        kind = shift.script.kind(order)
        if kind not in expected:
            continue
        word, reason = expected[kind]
        said = shift.said(order)
        sentences = "; ".join((*said["because"], *said["missing"]))
        if said["conformity"] != word or reason not in sentences:
            found.append(f"{order} ({kind}): {said['conformity']}: {sentences}")
    return found


def false_conforms(shift: Shift, fine: set[str]) -> list[str]:
    """Say every order that is said to conform and is not of a kind that may."""
    return [
        order
        for order in shift.script.numbers
        if shift.script.kind(order) not in fine and shift.said(order)["conformity"] == "conforms"
    ]


def everything(shift: Shift) -> dict[str, dict[str, Any]]:
    """Say every order, without what differs between two runs: numbers of rows are not in it."""
    return {order: shift.said(order) for order in shift.script.numbers}
