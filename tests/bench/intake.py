"""Say how fast a folder of known files is ready again, and how fast new ones are queued.

    python tests/bench/intake.py [--known 100000] [--new 20000]

Empty-bodied files on the local disk: what is measured is listing, set difference and journal.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from agent.service.watching import watched_of, write_down
from agent.settings import Source
from agent.store import Store
from agent.watch import Arrival
from agent.watch.listing import list_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

PER_FOLDER = 1000


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Print wall time, processor time and memory of a step."""
    memory = psutil.Process().memory_info
    wall_s, cpu_s, before = time.perf_counter(), time.process_time(), memory().rss
    yield
    wall, cpu = time.perf_counter() - wall_s, time.process_time() - cpu_s
    print(f"{what:44}{wall:8.2f} s wall{cpu:8.2f} s cpu{(memory().rss - before) / 1e6:8.0f} MB")


def fill(folder: Path, n: int, prefix: str) -> None:
    """Lay n small files."""
    for number in range(n):
        place = folder / f"{prefix}{number // PER_FOLDER:04}"
        if number % PER_FOLDER == 0:
            place.mkdir(parents=True, exist_ok=True)
        (place / f"{number:07}.tif").write_bytes(b"x")


def main() -> None:
    """Read the arguments, measure, say."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--known", type=int, default=100_000)
    parser.add_argument("--new", type=int, default=20_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        export = Path(name, "export")
        fill(export, given.known, "known")
        store = Store.open(f"sqlite:///{name}/bench.db", site="Bench", agent="bench")
        at = datetime.now(UTC)
        with timed(f"{given.known} files listed and queued, first time"):
            pictures = list_folder(export).pictures
            files = [Arrival("LOM", export, path, *facts) for path, facts in pictures.items()]
            for start in range(0, len(files), 1000):
                store.arrive(files[start : start + 1000], at=at, lane="backlog")
        del files, pictures
        source = Source(name="LOM", folder=export, mode="poll", quiet_s=0)
        with timed(f"restart with {given.known} known files: ready"):
            watched = watched_of(source, store=store, ring=lambda: None)
            look = watched.look(time.monotonic())
            write_down(look, watched, store, at=at)
        print(f"{len(look.at_rest)} of them were taken for new")
        fill(export, given.new, "new")
        with timed(f"{given.new} new files at once: queued"):
            look = watched.look(time.monotonic() + 100)
            write_down(look, watched, store, at=at)
        print(f"{len(look.at_rest)} were new")
        (export / "fresh.tif").write_bytes(b"x")
        with timed("one fresh file behind them: queued and claimed"):
            look = watched.look(time.monotonic() + 200)
            write_down(look, watched, store, at=at)
            (claim,) = store.claim(1, at=datetime.now(UTC), lease_s=60)
        print(f"the first claim is {claim.relative}")
        watched.close()
        store.close()


if __name__ == "__main__":
    main()
