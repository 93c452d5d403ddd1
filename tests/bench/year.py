"""Play a lab's year, its clock in a seed's hands, and say which promise broke.

Usage: python tests/bench/year.py [--seed 1] [--days 365] [--orders 2]

Days with orders, nights, weekends and holidays on which the PC is off; reviewers who decide and
correct, a LIMS that takes what lies in its folder; a back-up each night, pruning each month; on
days that the seed chooses two moves, three restores of an older back-up, four upgrades and two days
on which nothing can be written. The promises: every night has its report, no revision goes back, no
number is sent twice, and nothing that a statement names is missing. The exit code is 3 where one
broke.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from labs.lab import Lab
from labs.later_versions import later_versions

from agent.archive import Archive
from agent.backup import maintenance
from agent.errors import AgentError
from agent.service.folder.copies import check_start, write_presence
from agent.service.folder.own_backups import list_own
from agent.service.folder.resuming import resume
from agent.service.health.problems import Problems
from agent.service.jobs.backup import settings_files, tend_backups
from agent.service.jobs.order_lists import take_lists
from agent.service.jobs.outbound import fill_outbox
from agent.service.report_scheduler import ReportScheduler
from agent.settings import Settings, read
from agent.store import Decision, StoreFault, store_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

START = datetime(2026, 1, 5, 7, 0, tzinfo=UTC)
HOLIDAYS = {(1, 6), (5, 1), (10, 3), (12, 24), (12, 25), (12, 26), (12, 31)}
CODES = ("G8", "G7", "G9-10")
SETTINGS = """
[site]
name = "Plant 1"
time_zone = "UTC"

[night]
at = "22:00"

[orders]
outbox = "{work}/outbox"
lists = "{work}/lists"
outbox_formats = ["json"]

[backup]
folder = "{work}/backups"
keep = 10

[trail]
anchor = "{work}/anchors.jsonl"

[retention]
crops_days = 30
originals_days = 30
"""
LIMITS = """
[[specification]]
name = "ring-a"
valid_from = 2020-01-01
approved_by = "R. Stahl"
material = "100Cr6"
subtype = ["G"]
limit = "8 or finer"
fields = 1
"""


class Lims:
    """Takes every file out of the outbox, and remembers the highest revision of each order."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.highest: dict[str, tuple[int, str]] = {}
        self.taken = 0
        self.broken: list[str] = []

    def take(self, day: datetime) -> None:
        """Return what is there, in the order in which it was written."""
        for file in sorted(self._folder.glob("*.json"), key=lambda path: path.stat().st_mtime_ns):
            document = json.loads(file.read_text("utf-8"))
            order, revision = document["order"], document["revision"]
            last, known = self.highest.get(order, (0, ""))
            if revision < last or (revision == last and document["id"] != known):
                self.broken.append(f"{day:%Y-%m-%d}: order {order}: {revision} came after {last}")
            self.highest[order] = (revision, document["id"])
            self.taken += 1
            file.unlink()


class Year:
    """One lab through a year.

    Args:
        seed: Decides everything.
        days: How many.
        orders: New ones each working day.
        work: A scratch folder.
    """

    def __init__(
        self, seed: int, days: int, orders: int, work: Path, install: Callable[[], str]
    ) -> None:
        self.random = random.Random(seed)
        self.days, self.orders, self.work = days, orders, work
        for name in ("outbox", "lists", "backups"):
            (work / name).mkdir()
        self.lims = Lims(work / "outbox")
        self.counts: Counter[str] = Counter()
        self.broken: list[str] = []
        self.fields: dict[str, str] = {}  # public id → order
        self.install = install
        self.places = self.versions = self.files = 0
        self.off = self._draw_days_off()
        self.events = self._draw_events()
        self._settle_in(work / "pc-0")

    # --- what the seed decides ---

    def _draw_days_off(self) -> set[int]:
        """Return days on which the PC is off: weekends, holidays, two weeks in summer."""
        summer = self.random.randrange(170, 200)
        off = set()
        for day in range(self.days):
            at = START + timedelta(days=day)
            if at.weekday() >= 5 or (at.month, at.day) in HOLIDAYS:
                off.add(day)
        return off | set(range(summer, summer + 14))

    def _draw_events(self) -> dict[int, str]:
        working = [day for day in range(20, self.days - 5) if day not in self.off]
        names = ["move"] * 2 + ["restore"] * 3 + ["upgrade"] * 4 + ["full"] * 2
        return dict(zip(self.random.sample(working, len(names)), names, strict=True))

    # --- the lab ---

    def _settle_in(self, place: Path) -> None:
        place.mkdir(parents=True, exist_ok=True)
        (place / "agent.toml").write_text(SETTINGS.format(work=self.work), encoding="utf-8")
        (place / "specifications.toml").write_text(LIMITS, encoding="utf-8")
        self.place: Path = place
        self.settings: Settings = read(place / "agent.toml", {})
        self._open()

    def _open(self) -> None:
        self.lab = Lab(self.place / "data")

    def play(self) -> None:
        """Play every day."""
        for day in range(self.days):
            now = START + timedelta(days=day)
            if day in self.off:
                continue
            if event := self.events.get(day):
                self.counts[event] += 1
                if event != "full":
                    getattr(self, f"_{event}")(now)
            found = check_start(self.settings, self.lab.store, now=now)
            if found.refusal or found.warnings:
                self.broken.append(f"{now:%Y-%m-%d}: {found.refusal or found.warnings[0]}")
            self.lab.store.agents.record_start(at=now)
            with full_disk() if event == "full" else _nothing():
                self._work(day, now)
        self._close_the_year()

    def _work(self, day: int, now: datetime) -> None:
        """Play a working day: nights that were missed, orders, decisions, the LIMS, the evening."""
        self._round(now)
        for number in range(self.orders):
            self._attempt(lambda n=number: self._take_order(day, n, now))
        known = sorted(self.fields)
        for public_id in self.random.sample(known, min(len(known), self.orders + 1)):
            code = self.random.choice(CODES)
            self._attempt(lambda p=public_id, c=code: self._decide(p, c, now + timedelta(hours=2)))
        self._round(now + timedelta(hours=3))
        if now.day == 1 or self.random.random() < 0.05:
            self._attempt(lambda: self._prune(now + timedelta(hours=4)))
        if self.random.random() < 0.5:
            self._round(now + timedelta(hours=15, minutes=10))

    def _attempt(self, act) -> None:
        """Do something that a full disk may prevent; a person does it again another day."""
        try:
            act()
        except (OSError, AgentError, StoreFault):
            self.counts["prevented"] += 1

    def _take_order(self, day: int, number: int, now: datetime) -> None:
        self.files += 1
        order = str(40000 + day * 10 + number)
        told = {"order": order, "specimen": "1", "field": "1", "material": "100Cr6"}
        public_id = self.lab.take("G8", name=f"{order}-{self.files}.tif", at=now, **told)
        self.fields[public_id] = order
        self.counts["orders"] += 1

    def _decide(self, public_id: str, code: str, at: datetime) -> None:
        if self.lab.store.results.find(public_id) is None:
            del self.fields[public_id]  # it was lost with a restore, and nobody takes it again
            return
        decision = Decision("code", "Ada", code=code, comment="looked again")
        self.lab.store.labels.decide(public_id, decision, at=at)
        self.counts["decisions"] += 1

    def _prune(self, at: datetime) -> None:
        archive = Archive(self.place / "data")
        plans = maintenance.plan(
            self.lab.store,
            archive,
            befores={"crops": at - timedelta(days=30)},
            statements_since=at - timedelta(days=365.25 * 15),
        )
        maintenance.prune(self.lab.store, archive, plans, at=at, progress=lambda *_: None)

    def _round(self, now: datetime) -> None:
        """Do what the service does by itself; a fault there is a problem and no crash."""
        store, settings = self.lab.store, self.settings
        nights = ReportScheduler(
            settings, store, self.lab.archive, now=lambda: now, problems=Problems()
        )
        for errand in (
            nights.catch_up,
            lambda: take_lists(settings, store, at=now, rest_s=-1e9),
            lambda: fill_outbox(settings, store, now=now),
            lambda: tend_backups(settings, store, at=now),
            lambda: write_presence(settings, store, now=now),
        ):
            self._attempt(errand)
        self.lims.take(now)

    # --- what years bring ---

    def _restore(self, now: datetime) -> None:
        """Put an older back-up in the place of the database."""
        own = list_own(self.settings, lab=self.lab.store.audit_log.get_first_hash())
        chosen = own[-min(len(own), self.random.randrange(2, 7))].file
        self.lab.store.close()
        self._put_back(chosen, now)

    def _move(self, now: datetime) -> None:
        """Bring the lab to another PC."""
        file = self.work / "moved.zip"
        maintenance.back_up(
            self.lab.store,
            self.place / "data",
            file,
            settings_files=settings_files(self.settings),
            pixels=True,
            at=now,
            progress=lambda *_: None,
        )
        write_presence(self.settings, self.lab.store, now=now, is_stopped=True)
        self.lab.store.close()
        self.places += 1
        place = self.work / f"pc-{self.places}"
        place.mkdir()
        old, self.place = self.place, place
        for name in ("agent.toml", "specifications.toml"):
            shutil.copy(old / name, place / name)
        self.settings = read(place / "agent.toml", {})
        self._put_back(file, now)
        file.unlink()
        shutil.rmtree(old)

    def _put_back(self, file: Path, now: datetime) -> None:
        folder = self.place / "data"
        restored = maintenance.restore(
            file,
            url=store_url(folder),
            folder=folder,
            at=now,
            progress=lambda *_: None,
            site="Plant 1",
        )
        self._open()
        head = self.lab.store.audit_log.get_head()
        self.lab.store.audit_log.add(
            at=now, actor="agent", act="backup.restored", facts={"trail": head.number}
        )
        beyond, lists, _ = resume(self.settings, self.lab.store, since=restored.made_at, at=now)
        self.counts["orders beyond"] += len(beyond)
        self.counts["lists again"] += len(lists)

    def _upgrade(self, _now: datetime) -> None:
        """Install the next version of the program: one migration more."""
        self.lab.store.close()
        self.versions += 1
        new = self.install()
        self._open()
        if not list((self.place / "data").glob(f"*.before-schema-{new}*")):
            self.broken.append(f"no copy was kept before schema {new}")

    # --- the promises ---

    def _close_the_year(self) -> None:
        end = START + timedelta(days=self.days)
        self._round(end)
        self.broken += self.lims.broken
        self.broken += self._missing_reports(end)
        self.broken += self._missing_evidence()
        self.broken += self.lab.store.audit_log.find_problems()
        self.broken += self.lab.store.statements.problems()
        self.lab.store.close()

    def _missing_reports(self, end: datetime) -> Iterator[str]:
        night = START.date()
        while night < end.date() - timedelta(days=1):
            self.counts["nights"] += 1
            if not list((self.place / "data" / "reports").glob(f"{night}.html")):
                yield f"the night of {night} has no report"
            night += timedelta(days=1)

    def _missing_evidence(self) -> Iterator[str]:
        store, archive = self.lab.store, Archive(self.place / "data")
        for one in store.statements.every():
            document = store.statements.document(one.sha256)
            self.counts["statements"] += 1
            for public_id in document["labels"]:
                view = store.results.find(public_id)
                if view is None or not archive.crop_path(view.sha256, view.page).is_file():
                    yield f"statement {one.number} of {one.order} names {public_id}: it is gone"


@contextmanager
def _nothing() -> Iterator[None]:
    yield


@contextmanager
def full_disk() -> Iterator[None]:
    """Limit the file size of this process: what a full disk does to every writer."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def main() -> int:
    """Play a year, print what happened, and return the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--orders", type=int, default=2)
    told = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    began_s = time.perf_counter()
    with tempfile.TemporaryDirectory() as name, later_versions(Path(name) / "versions") as install:
        year = Year(told.seed, told.days, told.orders, Path(name), install)
        year.play()
        with suppress(OSError):
            shutil.rmtree(year.place)
    took_s = time.perf_counter() - began_s
    said = ", ".join(f"{count} {what}" for what, count in sorted(year.counts.items()))
    print(f"seed {told.seed}, {told.days} days in {took_s:.0f} s: {said}")
    print(f"{year.lims.taken} revisions of {len(year.lims.highest)} orders")
    for sentence in year.broken[:20]:
        print(f"broken: {sentence}")
    print("every promise was kept" if not year.broken else f"{len(year.broken)} broken")
    return 3 if year.broken else 0


if __name__ == "__main__":
    sys.exit(main())
