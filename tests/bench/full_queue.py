"""Measure the way of a file from the queue to its stored result, all processes counted.

    python tests/bench/full_queue.py [--bundle FOLDER] [--n 40] [--height 1500] [--width 2000]

Drawn micrographs lie in a folder; the pipeline of the agent takes them in rounds as the agent
does: a worker process reads and crops, this process judges, archives and stores. The first round is
not counted: it loads libraries and compiles the networks. Printed are the processor time of a file
in the workers and here, and the share of two cores that the queue kept busy (with the load of the
machine: other jobs take cores away). The share that it wanted counts threads that ran or waited for
a core, at most two, so that other jobs change it little. `--apart` reads no file of the next round
while the last of a round is judged.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from contextlib import suppress
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import cv2
import numpy as np
import psutil

from agent.archive import Archive
from agent.demo.synthetic.micrograph import draw_micrograph
from agent.imaging import CropPool, crop, read
from agent.pipeline import Pipeline
from agent.service.worker import Pace
from agent.store import Store
from agent.triage import Policy
from agent.watch import ListedFile
from agent.watch.listing import list_folder
from model import Classifier

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.connection import Connection

CODES = ("G8", "B7", "M8", "G9-10")
WARM = 3
SAMPLE_S = 0.005


def export(folder: Path, n: int, size: tuple[int, int]) -> None:
    """Draw micrographs as a microscope exports them."""
    folder.mkdir()
    for number in range(n):
        drawn = draw_micrograph(CODES[number % len(CODES)], seed=number, size=size).pixels
        (folder / f"{number:04}.tif").write_bytes(cv2.imencode(".tif", drawn[..., ::-1])[1])


def measure_cpu_s() -> tuple[float, float]:
    """Return the processor time of this process and of its children, in seconds."""
    own = psutil.Process()
    children = sum(
        sum(child.cpu_times()[:2]) for child in own.children(recursive=True)
    )  # they live on: the pool keeps its workers
    return sum(own.cpu_times()[:2]), children


def sample_wanted(pid: int, stop: Connection) -> None:
    """Send how often none, one, and two or more threads of a process and its children could run."""
    counts = [0, 0, 0]
    tasks: list[Path] = []
    while not stop.poll(SAMPLE_S):
        if sum(counts) % 200 == 0:
            family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
            pids = [process.pid for process in family if process.pid != os.getpid()]
            tasks = [task for number in pids for task in Path(f"/proc/{number}/task").iterdir()]
        counts[min(2, sum(map(can_run, tasks)))] += 1
    stop.send(counts)


def can_run(task: Path) -> bool:
    """Return whether a thread runs or waits for a core."""
    with suppress(OSError):
        return (task / "stat").read_text().rpartition(")")[2].split()[0] == "R"
    return False


def take(pipeline: Pipeline, pace: Pace, n: int, *, reads_ahead: bool) -> None:
    """Process files in rounds until `n` are stored."""
    stored = 0
    while stored < n:
        began_s = time.monotonic()
        outcome = pipeline.process_batch(min(pace.files(), n - stored), reads_ahead=reads_ahead)
        pace.took(outcome.files, time.monotonic() - began_s)
        stored += outcome.stored
        if not outcome.files:
            raise SystemExit(f"only {stored} of {n} files were stored")


def measure(lab: Path, names: Sequence[str], bundle: Path | None, *, reads_ahead: bool) -> None:
    """Queue the files, take them and print what they cost."""
    stages: dict[str, float] = {}

    def add(stage: str, seconds: float) -> None:
        stages[stage] = stages.get(stage, 0.0) + seconds

    with (
        Store.open(f"sqlite:///{lab}/bench.db", site="Bench", agent="bench") as store,
        CropPool(workers=1) as pool,
    ):
        facts = list_folder(lab / "export").pictures
        files = [ListedFile("LOM", lab / "export", name, *facts[name]) for name in names]
        store.files.add(files, at=datetime.now(UTC))
        classifier = Classifier.load(bundle) if bundle else None
        pipeline = Pipeline(
            store=store,
            archive=Archive(lab / "data"),
            pool=pool,
            classifier=classifier,
            policy=Policy(),
            now=lambda: datetime.now(UTC),
            on_stage=add,
        )
        pace = Pace()
        take(pipeline, pace, WARM, reads_ahead=reads_ahead)
        stages.clear()
        n = len(names) - WARM
        began_s, before = time.monotonic(), measure_cpu_s()
        ours, theirs = get_context("spawn").Pipe()
        sampler = get_context("spawn").Process(target=sample_wanted, args=(os.getpid(), theirs))
        sampler.start()
        take(pipeline, pace, n, reads_ahead=reads_ahead)
        wall_s = time.monotonic() - began_s
        ours.send(None)
        counts = ours.recv()
        sampler.join()
        after = measure_cpu_s()
    here_s, workers_s = (now - then for now, then in zip(after, before, strict=True))
    print(f"{n} files, {wall_s / n * 1000:.0f} ms each, load {os.getloadavg()[0]:.1f}")
    print(
        f"processor time of a file: {(here_s + workers_s) / n * 1000:.0f} ms "
        f"(workers {workers_s / n * 1000:.0f}, here {here_s / n * 1000:.0f})"
    )
    print(f"share of two cores: {(here_s + workers_s) / (2 * wall_s):.0%}")
    none, one, two = (count / sum(counts) for count in counts)
    print(f"share of two cores wanted: {two + one / 2:.0%} (none {none:.0%}, one {one:.0%})")
    print("wall, ms:", {stage: round(s / n * 1000) for stage, s in stages.items()})


def measure_archive(lab: Path, names: Sequence[str]) -> None:
    """Print what archiving one micrograph costs by itself, in this process."""
    archive, took_s = Archive(lab / "archive"), []
    maps = dict.fromkeys(("subtype", "size", "strangeness"), np.zeros((47, 63), np.float16))
    for name in names[:8]:
        (micrograph,) = read(lab / "export" / name)
        kept = crop(micrograph, um_per_px_range=(0.01, 5.0))
        began_s = time.process_time()
        archive.keep(kept)
        archive.keep_maps(kept.sha256, 0, "b", maps)
        took_s.append(time.process_time() - began_s)
    size = sum(path.stat().st_size for path in lab.glob("archive/crops/*/*")) / len(took_s)
    print(f"archive of a micrograph: {median(took_s) * 1000:.0f} ms, {size / 1e6:.1f} MB")


def main() -> None:
    """Read the arguments, draw, measure."""
    wanted = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    wanted.add_argument("--bundle", type=Path)
    wanted.add_argument("--n", type=int, default=40)
    wanted.add_argument("--apart", action="store_true")
    wanted.add_argument("--height", type=int, default=1500)
    wanted.add_argument("--width", type=int, default=2000)
    told = wanted.parse_args()
    with tempfile.TemporaryDirectory(prefix="queue-") as folder:
        lab = Path(folder)
        export(lab / "export", told.n + WARM, (told.width, told.height))
        names = sorted(path.name for path in (lab / "export").iterdir())
        cv2.setNumThreads(1)
        measure_archive(lab, names)
        measure(lab, names, told.bundle, reads_ahead=not told.apart)


if __name__ == "__main__":
    main()
