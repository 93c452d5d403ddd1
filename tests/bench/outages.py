"""Make database, share and disk unavailable to a running agent for a minute; print what it did.

    python tests/bench/outages.py [--away-s 60] [--only NAME …]

The agent is the real one (`agent run`, no bundle). Files are exported all the time: before, while
something is away, and after. Away are: a PostgreSQL of our own (stopped and started), a SQLite
that another program holds locked, the source's folder (renamed away), and the disk of the data
folder (a small file system of its own, filled up; needs root). Printed are what was lost or taken
twice, how soon after its return the agent worked again, and what `agent status` said meanwhile.
The exit code is 3 unless nothing was lost or twice, work went on within 30 s, and each trouble
was said.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from collections.abc import Callable, Iterator

from bench.stress import Agent, Contents
from servers.databases import Postgres

BACK_WITHIN_S = 30.0
SETTLES_S = 120.0
EVERY_S = 1.0
DISK_MB = 24


@dataclass
class Outage:
    """What one outage showed.

    Args:
        name: Which. exported: sha256 → when. said: what `agent status` called problems meanwhile.
        ended_at: When it was back. taken_at: when the first file after that was done, by the
            journal: asking takes a busy PC seconds.
        done: sha256 → how many fates. deaths: how often the agent died or did not stop.
    """

    name: str
    exported: dict[str, float] = field(default_factory=dict)
    said: list[list[str]] = field(default_factory=list)
    ended_at: datetime | None = None
    taken_at: datetime | None = None
    done: Counter[str] = field(default_factory=Counter)
    deaths: int = 0

    @property
    def lost(self) -> int:
        """How many contents have no result."""
        return sum(not self.done[sha] for sha in self.exported)

    @property
    def twice(self) -> int:
        """How many contents have more than one."""
        return sum(count > 1 for count in self.done.values())

    @property
    def back_s(self) -> float:
        """How soon (s) after its end a file was taken."""
        if self.ended_at is None or self.taken_at is None:
            return float("inf")
        return (self.taken_at - self.ended_at).total_seconds()

    @property
    def sentences(self) -> list[str]:
        """What was said while it lasted, the most frequent first."""
        counted = Counter(one for some in self.said for one in some if "no bundle" not in one)
        return [sentence for sentence, _ in counted.most_common()]

    @property
    def is_clean(self) -> bool:
        """Whether nothing was lost, work went on in time and the trouble was said."""
        good = not self.lost and not self.twice and not self.deaths
        return good and self.back_s <= BACK_WITHIN_S and bool(self.sentences)


class Lab:
    """A source, a data folder and the agent on them.

    Args:
        folder: Of everything. data: the data folder. url: of the database, "" for SQLite.
    """

    def __init__(self, folder: Path, data: Path, url: str = "") -> None:
        self.folder, self.data, self.export = folder, data, folder / "export"
        self.export.mkdir()
        text = f'[store]\nfolder = "{data}"\nurl = "{url}"\n'
        text += "[web]\nport = 0\n[imaging]\nworkers = 1\n"
        text += f'[[sources]]\nname = "LOM"\nfolder = "{self.export}"\nquiet_s = 1\n'
        (folder / "agent.toml").write_text(text, encoding="utf-8")
        self.agent = Agent(folder)

    def ask(self, *command: str) -> str:
        """Run a command of the agent."""
        settings = str(self.folder / "agent.toml")
        call = [sys.executable, "-m", "agent", "--config", settings, *command]
        return subprocess.run(call, capture_output=True, text=True, check=False).stdout

    def problems(self) -> list[str]:
        """Return what `agent status` calls a problem."""
        try:
            return list(json.loads(self.ask("status", "--json"))["problems"])
        except ValueError:
            return []

    def done(self) -> list[tuple[str, datetime]]:
        """Return the contents that have a state, and since when."""
        lines = self.ask("files", "--json", "--state", "done").splitlines()
        fates = [json.loads(line) for line in lines]
        return [(fate["sha256"], datetime.fromisoformat(fate["done_at"])) for fate in fates]


class Exporter(threading.Thread):
    """A microscope that exports a file every second, wherever its folder is just now."""

    def __init__(self, lab: Lab, outage: Outage) -> None:
        super().__init__()
        self._lab, self._outage, self._ends = lab, outage, threading.Event()
        self._contents = Contents(random.Random(outage.name).randrange(1 << 30))
        self.folder = lab.export
        self._lock = threading.Lock()

    def run(self) -> None:
        """Export until told to stop."""
        number = 0
        while not self._ends.wait(EVERY_S):
            held = self._contents.make(".png")
            with self._lock:
                (self.folder / f"{number:04}.png").write_bytes(held)
            self._outage.exported[hashlib.sha256(held).hexdigest()] = time.monotonic()
            number += 1

    def move(self, to: Path) -> None:
        """Rename the folder while the agent runs."""
        with self._lock:
            self.folder.rename(to)
            self.folder = to

    def stop(self) -> None:
        """Export no more."""
        self._ends.set()
        self.join()


def play(lab: Lab, name: str, away: Callable[[Exporter], object], away_s: float) -> Outage:
    """Export, take something away for a while, give it back, and wait until all is settled."""
    outage = Outage(name)
    exporter = Exporter(lab, outage)
    lab.agent.start()
    lab.agent.wait_until_ready()
    exporter.start()
    _until(lambda: bool(lab.done()), SETTLES_S)
    with away(exporter):  # type: ignore[attr-defined]  # a context manager
        ends_s = time.monotonic() + away_s
        while time.monotonic() < ends_s:
            outage.said.append(lab.problems())
            time.sleep(max(0.0, min(3.0, ends_s - time.monotonic())))
    outage.ended_at = datetime.now(UTC)
    before = len(lab.done())
    _until(lambda: len(lab.done()) > before, SETTLES_S)
    exporter.stop()
    _until(lambda: outage.exported.keys() <= {sha for sha, _ in lab.done()}, SETTLES_S)
    done = lab.done()
    outage.done = Counter(sha for sha, _ in done)
    outage.taken_at = min((at for _, at in done if at > outage.ended_at), default=None)
    outage.deaths = 0 if lab.agent.end() else 1
    return outage


def _until(condition: Callable[[], bool], limit_s: float) -> None:
    ends_s = time.monotonic() + limit_s
    while not condition() and time.monotonic() < ends_s:
        time.sleep(0.5)


# --- outages ------------------------------------------------------------------------------------


def database_stopped(folder: Path, away_s: float) -> Outage:
    """Stop PostgreSQL and start it again."""
    place = Path(tempfile.mkdtemp(prefix="martensight-pg-"))
    server = Postgres(place)
    server.start()

    @contextmanager
    def away(_: Exporter) -> Iterator[None]:
        server.stop()
        yield
        server.resume()

    try:
        lab = Lab(folder, folder / "data", server.empty())
        return play(lab, "database stopped", away, away_s)
    finally:
        server.stop()
        shutil.rmtree(place, ignore_errors=True)


def database_locked(folder: Path, away_s: float) -> Outage:
    """Hold SQLite's lock from another program."""
    lab = Lab(folder, folder / "data")
    hold = (
        "import sqlite3, sys;"
        "held = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None);"
        "held.execute('BEGIN EXCLUSIVE'); print('held', flush=True); sys.stdin.read()"
    )

    @contextmanager
    def away(_: Exporter) -> Iterator[None]:
        call = [sys.executable, "-c", hold, str(lab.data / "martensight.db")]
        with subprocess.Popen(call, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as held:
            assert held.stdout
            held.stdout.readline()
            yield
            held.communicate()

    return play(lab, "database locked", away, away_s)


def share_gone(folder: Path, away_s: float) -> Outage:
    """Rename the source's folder away and back; the microscope goes on writing into it."""
    lab = Lab(folder, folder / "data")

    @contextmanager
    def away(exporter: Exporter) -> Iterator[None]:
        exporter.move(folder / "aside")
        yield
        exporter.move(lab.export)

    return play(lab, "share gone", away, away_s)


def share_empty(folder: Path, away_s: float) -> Outage:
    """Show an empty folder in the source's place, as a mount point without its mount does."""
    lab = Lab(folder, folder / "data")

    @contextmanager
    def away(exporter: Exporter) -> Iterator[None]:
        exporter.move(folder / "aside")
        lab.export.mkdir()
        yield
        lab.export.rmdir()
        exporter.move(lab.export)

    return play(lab, "share empty", away, away_s)


def disk_full(folder: Path, away_s: float) -> Outage:
    """Fill the data folder's disk, a small one of its own, and free it again."""
    data = folder / "data"
    data.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "none", str(data)], check=True
    )

    @contextmanager
    def away(_: Exporter) -> Iterator[None]:
        ballast = data / "ballast"
        filling = threading.Event()

        def fill() -> None:  # and whatever is freed meanwhile
            while not filling.wait(0.2):
                try:
                    with ballast.open("ab") as file:
                        file.write(bytes(4096))
                        while True:
                            file.write(bytes(1 << 16))
                            file.flush()
                except OSError:
                    continue

        filler = threading.Thread(target=fill)
        filler.start()
        yield
        filling.set()
        filler.join()
        ballast.unlink()

    try:
        return play(Lab(folder, data), "disk full", away, away_s)
    finally:
        subprocess.run(["umount", "--lazy", str(data)], check=False)


OUTAGES = {
    one.__name__: one
    for one in (database_stopped, database_locked, share_gone, share_empty, disk_full)
}


def main() -> None:
    """Read the arguments, play, say."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--away-s", type=float, default=60.0)
    parser.add_argument("--only", nargs="*", choices=OUTAGES, default=list(OUTAGES))
    given = parser.parse_args()
    print(f"{'away':20}{'exported':>9}{'lost':>6}{'twice':>7}{'back after s':>14}  said meanwhile")
    clean = True
    for name in given.only:
        with tempfile.TemporaryDirectory(prefix="outage-") as folder:
            outage = OUTAGES[name](Path(folder), given.away_s)
        first = outage.sentences[0] if outage.sentences else "NOTHING"
        print(
            f"{outage.name:20}{len(outage.exported):9}{outage.lost:6}{outage.twice:7}"
            f"{outage.back_s:14.1f}  {first}" + (" DIED" if outage.deaths else ""),
            flush=True,
        )
        for more in outage.sentences[1:]:
            print(f"{'':58}{more}")
        clean = clean and outage.is_clean
    sys.exit(0 if clean else 3)


if __name__ == "__main__":
    main()
