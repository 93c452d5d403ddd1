"""Measure how soon a running agent stores a file: alone, in a crowd, and after a restart.

    python tests/bench/latency.py [--only rest crowd restart] [--files 40] [--new 20000]
                                  [--known 100000]

The agent is the real one (`agent run`, no bundle: read, crop, archive, store), quiet_s = 1.
rest      files that come one by one, with events and by polling: last write → stored.
crowd     `--new` small files at once, and one fresh file every ten seconds while they are taken:
          all of them taken, and last write → stored of the fresh ones.
restart   `--known` files that are in the journal as done: process start → folder listed, and
          memory, against an agent on an empty folder.
Wall clock, from the files' own times to the journal's; the exit code is 3 where a figure is missed.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.stress import Agent, Contents, Sqlite

from agent.store import Store
from agent.watch import ListedFile
from agent.watch.listing import list_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

QUIET_S, SCAN_EVERY_S = 1.0, 5.0
PER_FOLDER = 1000
FRESH_EVERY_S, FRESH_WITHIN_S = 10.0, 10.0
STANDS_STILL_S = 120.0
READY_WITHIN_S, MORE_MB = 5.0, 250.0


class Lab:
    """A source, a data folder and the agent on them."""

    def __init__(self, folder: Path, mode: str) -> None:
        self.folder, self.export = folder, folder / "export"
        self.export.mkdir(exist_ok=True)
        text = '[store]\nfolder = "data"\n[web]\nport = 0\n[[sources]]\nname = "LOM"\n'
        text += f'folder = "{self.export}"\nmode = "{mode}"\n'
        text += f"quiet_s = {QUIET_S}\nscan_every_s = {SCAN_EVERY_S}\n"
        (folder / "agent.toml").write_text(text, encoding="utf-8")
        self.database = Sqlite(folder / "data" / "martensight.db")
        self.agent = Agent(folder)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the agent, from ready to stopped."""
        self.agent.start()
        self.agent.wait_until_ready()
        try:
            yield
        finally:
            self.agent.end()

    def done(self) -> int:
        """Count what is stored."""
        ((count,),) = self.database.ask("SELECT COUNT(*) FROM content WHERE state = 'done'")
        return int(count)

    def waits_s(self, prefix: str) -> list[float]:
        """Return last write → stored (s) of each stored file whose name begins so."""
        rows = self.database.ask(
            "SELECT path.relative, path.mtime_ns, content.done_at FROM path"
            " JOIN content ON content.id = path.content_id WHERE content.state = 'done'"
        )
        return [
            datetime.fromisoformat(at).replace(tzinfo=UTC).timestamp() - mtime_ns / 1e9
            for relative, mtime_ns, at in rows
            if relative.startswith(prefix)
        ]

    def said(self, event: str) -> dict[str, object]:
        """Find the newest line of the log that says this."""
        lines = (self.folder / "data" / "logs" / "agent.log").read_text("utf-8").splitlines()
        found = [json.loads(line) for line in lines if f'"{event}"' in line]
        return found[-1] if found else {}


def _wait(lab: Lab, count: int) -> None:
    """Wait until so many are stored, or nothing has moved for long."""
    before, ends_s = -1, time.monotonic() + STANDS_STILL_S
    while (done := lab.done()) < count and time.monotonic() < ends_s:
        if done != before:
            before, ends_s = done, time.monotonic() + STANDS_STILL_S
        time.sleep(0.5)


def _say(what: str, waits_s: list[float], limit_s: float) -> bool:
    middle, worst = statistics.median(waits_s), max(waits_s)
    print(
        f"{what:44}{len(waits_s):7} files  median {middle:5.2f} s  worst {worst:5.2f} s"
        f"  (reach {limit_s:.0f} s)",
        flush=True,
    )
    return middle <= limit_s


def rest(folder: Path, given: argparse.Namespace) -> bool:
    """Export files one by one, heard and polled."""
    good = True
    for mode, limit_s in (("native", QUIET_S + 1), ("poll", QUIET_S + SCAN_EVERY_S + 1)):
        lab, rng, contents = Lab(folder, mode), random.Random(0), Contents(hash(mode) % 1000)
        before = 0 if mode == "native" else given.files
        with lab.running():
            for number in range(given.files):
                name = f"{mode}{number:03}.png"
                (lab.export / name).write_bytes(contents.make(".png"))
                time.sleep(rng.uniform(0.5, 2))
            _wait(lab, before + given.files)
        how = "with events" if mode == "native" else "by polling alone"
        good &= _say(f"one by one, {how}: last write → stored", lab.waits_s(mode), limit_s)
    return good


def crowd(folder: Path, given: argparse.Namespace) -> bool:
    """Copy a crowd at once, and export a fresh file now and then."""
    lab, contents, fresh = Lab(folder, "auto"), Contents(1), 0
    aside = folder / "aside"
    for number in range(given.new):
        place = aside / f"{number // PER_FOLDER:03}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number:06}.png").write_bytes(contents.make(".png"))
    with lab.running():
        began_s = time.monotonic()
        aside.rename(lab.export / "crowd")
        while len(lab.waits_s("crowd/")) < given.new and fresh < given.new:
            time.sleep(FRESH_EVERY_S)
            (lab.export / f"fresh{fresh:04}.png").write_bytes(contents.make(".png"))
            fresh += 1
            if fresh % 30 == 0:
                print(f"  {lab.done()} stored after {time.monotonic() - began_s:.0f} s", flush=True)
        _wait(lab, given.new + fresh)
        took_s = time.monotonic() - began_s
    taken = len(lab.waits_s("crowd/"))
    print(f"{given.new} at once: {taken} stored in {took_s:.0f} s", flush=True)
    waits_s = lab.waits_s("fresh")
    _say("a fresh file meanwhile: last write → stored", waits_s, FRESH_WITHIN_S)
    late = sum(wait_s > FRESH_WITHIN_S for wait_s in waits_s)
    print(f"  of {fresh} fresh files {late} waited longer than {FRESH_WITHIN_S:.0f} s")
    return taken == given.new and len(waits_s) == fresh and not late


def restart(folder: Path, given: argparse.Namespace) -> bool:
    """Start on an empty folder, and on one full of files that are known."""
    lab = Lab(folder, "auto")
    idle_s, idle_mb = _started(lab)
    for number in range(given.known):
        place = lab.export / f"{number // PER_FOLDER:04}"
        place.mkdir(exist_ok=True)
        (place / f"{number:07}.tif").write_bytes(b"x")
    _make_known(lab)
    full_s, full_mb = _started(lab)
    print(f"empty folder: listed {idle_s:.1f} s after the process began, {idle_mb:.0f} MB")
    print(f"{given.known} known files: {full_s:.1f} s, {full_mb:.0f} MB")
    print(f"  more: {full_s - idle_s:.1f} s, {full_mb - idle_mb:.0f} MB (reach {MORE_MB:.0f} MB)")
    return full_s - idle_s <= READY_WITHIN_S and full_mb - idle_mb <= MORE_MB


def _make_known(lab: Lab) -> None:
    """Write the folder's files into the journal, as if they had been taken."""
    url = f"sqlite:///{lab.folder}/data/martensight.db"
    with Store.open(url, site="Plant 1", agent="PC") as store:
        files = [
            ListedFile("LOM", lab.export, name, *facts)
            for name, facts in list_folder(lab.export).pictures.items()
        ]
        for start in range(0, len(files), PER_FOLDER):
            store.files.add(files[start : start + PER_FOLDER], at=datetime.now(UTC), lane="backlog")
    with closing(sqlite3.connect(lab.folder / "data" / "martensight.db")) as books, books:
        books.execute(
            "UPDATE content SET state = 'done', due_at = NULL, done_at = first_seen_at,"
            " sha256 = printf('%064x', id)"
        )


def _started(lab: Lab) -> tuple[float, float]:
    """Start, wait for the listing, and stop: seconds until it was listed, MB of all processes."""
    began_at = datetime.now(UTC)
    with lab.running():
        line = _newer(lab, began_at)
        _listed_after(lab, _at(line))  # which needs memory once more
        me = psutil.Process()
        agents = [one for one in me.children(recursive=True) if one.is_running()]
        used_mb = sum(agent.memory_info().rss for agent in agents) / 1e6
    return (_at(line) - began_at).total_seconds(), used_mb


def _newer(lab: Lab, began_at: datetime) -> dict[str, object]:
    ends_s = time.monotonic() + STANDS_STILL_S
    while time.monotonic() < ends_s:
        line = lab.said("folder.listed")
        if line and _at(line) >= began_at:
            return line
        time.sleep(0.1)
    raise SystemExit("the folder was never listed")


def _listed_after(lab: Lab, at: datetime) -> None:
    """Wait until the heartbeat tells of a listing after an instant."""
    ends_s = time.monotonic() + STANDS_STILL_S
    while time.monotonic() < ends_s:
        for (told,) in lab.database.ask("SELECT last_scan_at FROM source"):
            if told and datetime.fromisoformat(told).replace(tzinfo=UTC) > at:
                return
        time.sleep(0.1)
    raise SystemExit("the folder was never listed again")


def _at(line: dict[str, object]) -> datetime:
    return datetime.fromisoformat(str(line["timestamp"]))


FIGURES = {one.__name__: one for one in (rest, crowd, restart)}


def main() -> None:
    """Read the arguments, measure, say."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", choices=FIGURES, default=list(FIGURES))
    parser.add_argument("--files", type=int, default=40)
    parser.add_argument("--new", type=int, default=20_000)
    parser.add_argument("--known", type=int, default=100_000)
    given = parser.parse_args()
    good = True
    for name in given.only:
        folder = Path(tempfile.mkdtemp(prefix="latency-"))
        try:
            good &= FIGURES[name](folder, given)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    sys.exit(0 if good else 3)


if __name__ == "__main__":
    main()
