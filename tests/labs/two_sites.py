"""Two sites on one database and in one data folder: `Plant 1` asks, `Plant 2` must not answer."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn.needle_samples import measured
from sqlalchemy import MetaData, inspect, select
from sqlalchemy.engine import Connection

from agent.imaging import public_id
from agent.store import (
    Claim,
    Decision,
    Entry,
    FrozenStatement,
    NewImage,
    NewNeedle,
    NewRater,
    NewStatement,
    Opinion,
    RingRules,
    Seat,
    Signature,
    SourceHealth,
    StatementFile,
    Store,
    engine,
)
from agent.store.people import auth
from agent.watch import ListedFile
from labs.lab import DAY, Lab

HERE, THERE = "Plant 1", "Plant 2"
HIDDEN = "zzhidden"
"""Part of every value of the other site that nobody asks for."""
NIGHT = date(2026, 11, 24)
TOKEN = "u" * 43
"""Last part of the link of a rater of the other site."""
COOKIE, PROGRAM = "c" * 64, "d" * 64
NUMBER = 999_983
"""A number that no row has."""


@dataclass(frozen=True)
class Known:
    """What a stranger might know of a site: each is a key that something is looked up by.

    Of `nowhere` each is well formed and belongs to nothing.
    """

    fields: tuple[str, ...]
    sha256: str
    order: str
    specimen: str
    source: str
    bundle: str
    campaign: str
    account: str
    pseudonym: str
    token: str
    cookie: str
    program: str
    statement: str
    heat: str
    record: str
    job: str
    act: str
    ints: dict[str, int]
    claim: Claim
    seat: Seat
    frozen: FrozenStatement

    def strings(self) -> list[str]:
        """Return every key that is a text, in the same sequence for each site."""
        own = [getattr(self, name) for name in self.__annotations__]
        texts = [value for value in own if isinstance(value, str) and value != self.act]
        return [*self.fields, *texts]


def open_lab(folder: Path, address: str, site: str) -> Lab:
    """Open a lab whose site shares a database and a data folder with others."""
    lab = Lab(folder)
    lab.store.close()
    lab.store = Store.open(address, site=site, agent="PC")
    lab.archive.folder.mkdir(exist_ok=True)
    lab.places = type(lab.places)(lab.store)
    return lab


def fill_here(lab: Lab) -> None:
    """Leave something of the own site, so that nothing is empty for want of rows."""
    lab.source = "LOM-1"
    own = lab.take("G8", name="own.tif", order="A-1", specimen="1", reasons=("uncertain",))
    lab.store.labels.decide(own, Decision("code", "Ada", code="G8"), at=DAY)
    lab.store.promotions.promote("20261101-aaaaaaaa", by="Ada", reason="own", at=DAY, metrics={})


def fill_there(lab: Lab) -> Known:
    """Leave a row in every table of a site, each with a value that is a secret."""
    lab.source, store = "LOM-2", lab.store
    told = {"order": "B-4711", "specimen": "S-77", "heat": "H-4711", "batch": f"{HIDDEN}-batch"}
    said = {"customer": f"{HIDDEN}-customer", "product": f"{HIDDEN}-product"}
    store.orders.take_list([Entry("B-4711", **said)], "list.csv", by="Eve", at=DAY)
    pixels = np.random.default_rng(7).integers(60, 200, (80, 100, 3), dtype=np.uint8)
    needles = replace(measured(), network=f"{HIDDEN}-network")
    fields = tuple(
        lab.take(
            "G7", name=f"{HIDDEN}{n}.tif", pixels=pixels, reasons=("uncertain",),
            needles=needles, field=str(n), **told,
        )
        for n in (1, 2)
    )  # fmt: skip
    store.labels.decide(
        fields[0], Decision("code", "Bea", code="G7", comment=f"{HIDDEN}-why"), at=DAY
    )
    lab.set_aside(f"{HIDDEN}3.tif", "unreadable", f"{HIDDEN}-sentence")
    lab.duplicate(f"{HIDDEN}4.tif", fields[0])
    metrics = {"note": f"{HIDDEN}-metrics"}
    store.promotions.promote(
        "20261102-bbbbbbbb", by="Bea", reason=f"{HIDDEN}-reason", at=DAY, metrics=metrics
    )
    store.records.add("control-2", "LOM-2", by="Bea", at=DAY, facts={"note": f"{HIDDEN}-record"})
    store.specifications.note(
        [("B-spec", NIGHT, "Bea", "5" * 64, {"note": f"{HIDDEN}-entry"})], zone="UTC", at=DAY
    )
    new = NewStatement("B-4711", 1, "", "conforms", "s", True, {"note": f"{HIDDEN}-document"})  # noqa: FBT003
    statement = store.statements.add(new, at=DAY)
    (frozen,) = store.statements.all("B-4711")
    facts = {"kind": "pdf", "language": "en", "sha256": f"{HIDDEN}-hash", "size_bytes": 3}
    store.statements.add_files(frozen, [StatementFile(statement_id=frozen.id, at=DAY, **facts)])
    store.nightly_reports.freeze(NIGHT, f'{{"note": "{HIDDEN}-night"}}', at=DAY)
    _let_in(store)
    _rate(store, fields)
    store.sources.record([SourceHealth("LOM-2", f"/{HIDDEN}")])
    store.agents.record_heartbeat({"note": f"{HIDDEN}-facts"}, at=DAY)
    needle = store.needle_measurements.add(
        fields[0], NewNeedle((1.0, 2.0), (60.0, 50.0), 0.12), by=f"{HIDDEN}-by", at=DAY
    )
    rollout = _roll_out(store)
    job = store.jobs.begin("job-2", at=DAY, facts={"note": f"{HIDDEN}-job"})
    lab.arrive(f"{HIDDEN}5.tif", at=DAY)
    store.files.add([ListedFile("LOM-2", lab.folder / "export", f"{HIDDEN}6.tif", 1, 1)], at=DAY)
    (claim,) = store.work_queue.claim(1, at=DAY, lease_s=3600)
    seat = store.campaigns.seat(name="B-spring", account="bea")
    assert seat is not None
    view = store.results.find(fields[0])
    assert view is not None
    assert view.label is not None
    return Known(
        fields=fields,
        sha256=view.sha256,
        order="B-4711",
        specimen="S-77",
        source="LOM-2",
        bundle="20261102-bbbbbbbb",
        campaign="B-spring",
        account="bea",
        pseudonym="R7",
        token=TOKEN,
        cookie=COOKIE,
        program=PROGRAM,
        statement=statement,
        heat="H-4711",
        record="control-2",
        job="job-2",
        act="label",
        ints={
            "content": claim.content_id,
            "micrograph": view.number,
            "label": view.label.id,
            "result": view.result.id,
            "job": job,
            "needle": needle,
            "rollout": rollout,
        },
        claim=claim,
        seat=seat,
        frozen=frozen,
    )


def _roll_out(store: Store) -> int:
    store.agents.record_start(at=DAY)
    signature = Signature("Bea", f"{HIDDEN}-rollout", DAY)
    store.promotions.sign(
        "20261102-dddddddd", signature, metrics={}, promoters=1, instead_of="20261102-bbbbbbbb",
        rings=RingRules(("PC",)),
    )  # fmt: skip
    ticket = store.rollouts.find_wanted().ticket
    answers = {"g8": {"image": f"{HIDDEN}.tif", "code": "G8", "probability": 0.9}}
    assert store.rollouts.record_answers(ticket, answers, at=DAY)
    rollout = store.rollouts.find_latest()
    assert rollout is not None
    return rollout.id


def _let_in(store: Store) -> None:
    hashed = auth.hash_password("correct horse battery", name="bea")
    store.accounts.add("bea", kind="person", role="admin", hashed=hashed, by="Bea", at=DAY)
    store.accounts.add("press", kind="program", role="admin", hashed=PROGRAM, by="Bea", at=DAY)
    store.accounts.begin("bea", cookie=COOKIE, at=DAY)


def _rate(store: Store, fields: tuple[str, ...]) -> None:
    hashed = hashlib.sha256(TOKEN.encode()).hexdigest()
    raters = [NewRater("R7", f"{HIDDEN}-rater", account="bea")]
    images = [NewImage(field, "G7", f"{HIDDEN}-stratum") for field in fields]
    store.campaigns.add("B-spring", images, raters, taxonomy={}, seed=1, by="Bea", at=DAY)
    store.campaigns.give_link("B-spring", "R7", hashed, by="Bea", at=DAY)
    store.campaigns.open("B-spring", by="Bea", at=DAY)
    seat = store.campaigns.seat(name="B-spring", account="bea")
    assert seat is not None
    store.campaigns.rate(seat, 1, Opinion("G", "7", comment=f"{HIDDEN}-opinion"), at=DAY)


def nowhere(known: Known) -> Known:
    """Return keys like those of a site that belong to nothing."""
    sha256 = hashlib.sha256(b"nothing").hexdigest()
    images = tuple(
        replace(image, id=NUMBER, micrograph="0" * 16) for image in known.seat.campaign.images
    )
    row = known.seat.campaign.row.model_copy(update={"id": NUMBER, "name": "C-spring"})
    campaign = replace(known.seat.campaign, row=row, images=images)
    return replace(
        known,
        fields=(public_id(sha256, 0), public_id(sha256, 1)),
        sha256=sha256,
        order="C-4711",
        specimen="S-78",
        source="LOM-3",
        bundle="20261103-cccccccc",
        campaign="C-spring",
        account="cea",
        pseudonym="R8",
        token="v" * 43,
        cookie="e" * 64,
        program="f" * 64,
        statement="6" * 64,
        heat="H-4712",
        record="kontrol-2",
        job="job-3",
        act="label",
        ints=dict.fromkeys(known.ints, NUMBER),
        claim=replace(known.claim, content_id=NUMBER, source="LOM-3"),
        seat=Seat(campaign, known.seat.rater.model_copy(update={"id": NUMBER}), {}),
        frozen=replace(known.frozen, id=NUMBER, sha256="6" * 64, order="C-4711"),
    )


def rows_of(address: str, site: int) -> dict[str, list[tuple[Any, ...]]]:
    """Return every row of a site, table by table, as the database has it: read past the program."""
    opened = engine.create_engine(address)
    found: dict[str, list[tuple[Any, ...]]] = {}
    with opened.connect() as connection:
        for table in _tables_of(connection).sorted_tables:
            own = table.c.get("site_id", table.c.id if table.name == "site" else None)
            if own is not None:
                asked = select(table).where(own == site)
                found[table.name] = sorted(map(tuple, connection.execute(asked)), key=repr)
    opened.dispose()
    return found


REFLECTED: dict[tuple[str, ...], MetaData] = {}
"""What was read of a database's tables, by their names: reading it takes longer than all rows."""


def _tables_of(connection: Connection) -> MetaData:
    names = (connection.dialect.name, *inspect(connection).get_table_names())
    if names not in REFLECTED:
        REFLECTED[names] = MetaData()
        REFLECTED[names].reflect(connection)
    return REFLECTED[names]


def later(hours: float) -> Any:
    """Return a time after `DAY`."""
    return DAY + timedelta(hours=hours)


class World:
    """Two sites in one database, and what the other's keys are."""

    def __init__(self, folder: Path, address: str) -> None:
        self.folder, self.address = folder, address
        here, there = open_lab(folder, address, HERE), open_lab(folder, address, THERE)
        fill_here(here)
        self.known = fill_there(there)
        here.store.close()
        there.store.close()
        self.before = rows_of(address, 2)

    def must_be_as_before(self, what: str, address: str = "") -> None:
        """Compare the other site's rows, here or in a copy of the database, with before."""
        now = rows_of(address or self.address, 2)
        changed = [table for table in now if now[table] != self.before[table]]
        assert changed == [], f"{what} changed the other site's {changed}"


@pytest.fixture(scope="module")
def sqlite_world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("two") / "data"
    folder.mkdir()
    return World(folder, f"sqlite:///{folder / 'martensight.db'}")


@pytest.fixture
def world(sqlite_world: World, tmp_path: Path) -> World:
    """A copy of the two sites that a test may change."""
    copied = World.__new__(World)
    copied.folder = tmp_path / "data"
    shutil.copytree(sqlite_world.folder, copied.folder)
    copied.address = f"sqlite:///{copied.folder / 'martensight.db'}"
    copied.known, copied.before = sqlite_world.known, sqlite_world.before
    return copied
