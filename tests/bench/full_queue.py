"""Measure the way of a file from the queue to its stored result, all processes counted.

    python tests/bench/full_queue.py [--bundle FOLDER] [--n 40] [--height 1500] [--width 2000]

Drawn micrographs lie in a folder; the pipeline of the agent takes them in rounds as the agent
does: a worker process reads and crops, this process judges, archives and stores. The first round is
not counted: it loads libraries and compiles the networks. Printed are the processor time of a file
in the workers and here, and the share of two cores that the queue kept busy (with the load of the
machine: other jobs take cores away). The share that it wanted counts threads that ran or waited for
a core, at most two, so that other jobs change it little. Two ways take turns on the same files:
each file archived before the next one is judged, and meanwhile. `--apart` reads no file of the next
round while the last of a round is judged. Among other jobs rounds are shorter than on an idle PC,
where they have five files; `--round` sets that.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import NamedTuple

import cv2
import numpy as np
import psutil
from numpy.typing import NDArray

from agent.archive import Archive
from agent.demo.micrograph import draw_micrograph
from agent.imaging import CropPool, crop, read
from agent.pipeline import Pipeline, run_in_thread
from agent.service.worker import Pace
from agent.store import Store
from agent.triage import Policy
from agent.watch import ListedFile
from agent.watch.listing import list_folder
from model import Classifier

CODES = ("G8", "B7", "M8", "G9-10")
WARM = 3
SAMPLE_S = 0.02
LIST_EVERY = 2
TURN = 8


class Options(argparse.Namespace):
    """What is measured."""

    bundle: Path | None
    n: int
    apart: bool
    round: int
    height: int
    width: int


def export(folder: Path, n: int, size: tuple[int, int]) -> None:
    """Draw micrographs as a microscope exports them."""
    folder.mkdir()
    for number in range(n):
        drawn = draw_micrograph(CODES[number % len(CODES)], seed=number, size=size).pixels
        (folder / f"{number:04}.tif").write_bytes(cv2.imencode(".tif", drawn[..., ::-1])[1])


def measure_cpu_s(sampler: int) -> tuple[float, float]:
    """Return the processor time of this process and of its workers, in seconds.

    Args:
        sampler: The process of `sample_wanted`, which is left out.
    """
    own = psutil.Process()
    workers = [child for child in own.children(recursive=True) if child.pid != sampler]
    return sum(own.cpu_times()[:2]), sum(sum(worker.cpu_times()[:2]) for worker in workers)


def sample_wanted(pid: int, turns: Connection) -> None:
    """Send how often none, one, and two or more threads of a process and its children could run.

    A message begins a turn, the next one ends it; None ends the process.
    """
    while turns.recv() is not None:
        counts = [0, 0, 0]
        tasks: list[Path] = []
        while not turns.poll(SAMPLE_S):
            if sum(counts) % LIST_EVERY == 0:  # a thread of archiving lives for a tenth of a second
                pids = [child.pid for child in psutil.Process(pid).children(recursive=True)]
                pids = [pid, *(child for child in pids if child != os.getpid())]
                tasks = [task for number in pids for task in list_tasks(number)]
            counts[min(2, sum(map(can_run, tasks)))] += 1
        turns.recv()
        turns.send(counts)


def list_tasks(pid: int) -> list[Path]:
    """Return the threads of a process, [] where it has ended."""
    with suppress(OSError):
        return list(Path(f"/proc/{pid}/task").iterdir())
    return []


def can_run(task: Path) -> bool:
    """Return whether a thread runs or waits for a core."""
    with suppress(OSError):
        return (task / "stat").read_text().rpartition(")")[2].split()[0] == "R"
    return False


class Tools(NamedTuple):
    """What a pipeline is built from."""

    store: Store
    pool: CropPool
    classifier: Classifier | None


@dataclass
class Way:
    """One way of taking the files, with a database and an archive of its own.

    Attributes:
        stages: Stage → wall time, s.
        n: Files taken.
        cpu_s: Processor time here and in the workers.
        wall_s: Wall time.
        counts: Samples with none, one, and two or more threads that could run.
    """

    name: str
    pipeline: Pipeline
    reads_ahead: bool
    round_files: int
    stages: dict[str, float]
    pace: Pace = field(default_factory=Pace)
    n: int = 0
    cpu_s: NDArray[np.float64] = field(default_factory=lambda: np.zeros(2))
    wall_s: float = 0.0
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(3, np.int64))

    def take(self, n: int) -> int:
        """Process files in rounds until `n` are stored, or a few more; return how many."""
        stored = 0
        while stored < n:
            began_s = time.monotonic()
            wanted = self.round_files or self.pace.files()
            outcome = self.pipeline.process_batch(wanted, reads_ahead=self.reads_ahead)
            self.pace.took(outcome.files, time.monotonic() - began_s)
            stored += outcome.stored
            if not (outcome.files or self.pipeline.has_held):
                break
        return stored

    def measure(self, n: int, sampler: Connection, sampler_pid: int) -> None:
        """Process `n` files and add what they cost."""
        sampler.send("begin")
        began_s, before = time.monotonic(), measure_cpu_s(sampler_pid)
        self.n += self.take(n)
        self.wall_s += time.monotonic() - began_s
        self.cpu_s += np.subtract(measure_cpu_s(sampler_pid), before)
        sampler.send("end")
        self.counts += np.array(sampler.recv())

    def print_costs(self) -> None:
        """Print what a file cost."""
        here_s, workers_s = self.cpu_s
        n, cpu_s = self.n, here_s + workers_s
        print(f"{self.name}: {n} files, {self.wall_s / n * 1000:.0f} ms each")
        print(
            f"  processor time of a file: {cpu_s / n * 1000:.0f} ms "
            f"(workers {workers_s / n * 1000:.0f}, here {here_s / n * 1000:.0f})"
        )
        print(f"  share of two cores: {cpu_s / (2 * self.wall_s):.0%}")
        none, one, two = self.counts / self.counts.sum()
        print(f"  share of two cores wanted: {two + one / 2:.1%} (none {none:.0%}, one {one:.0%})")
        print("  wall, ms:", {stage: round(s / n * 1000) for stage, s in self.stages.items()})


def build_way(lab: Path, name: str, tools: Tools, given: Options) -> Way:
    """Return a way of taking the files of a folder, with all of them in its queue."""
    stages: dict[str, float] = {}

    def add(stage: str, seconds: float) -> None:
        stages[stage] = stages.get(stage, 0.0) + seconds

    facts = list_folder(lab / "export").pictures
    files = [ListedFile("LOM", lab / "export", name, *facts[name]) for name in sorted(facts)]
    tools.store.files.add(files, at=datetime.now(UTC))
    pipeline = Pipeline(
        store=tools.store,
        archive=Archive(lab / name),
        pool=tools.pool,
        classifier=tools.classifier,
        policy=Policy(),
        now=lambda: datetime.now(UTC),
        on_stage=add,
        archiving=run_in_thread if name == "meanwhile" else None,
    )
    return Way(name, pipeline, not given.apart, given.round, stages)


def measure(lab: Path, n: int, given: Options) -> None:
    """Queue the files, take them both ways in turns and print what they cost."""
    classifier = Classifier.load(given.bundle) if given.bundle else None
    with ExitStack() as stack:
        ours, theirs = get_context("spawn").Pipe()
        sampler = get_context("spawn").Process(target=sample_wanted, args=(os.getpid(), theirs))
        sampler.start()
        ways = []
        for name in ("before", "meanwhile"):
            address = f"sqlite:///{lab}/{name}.db"
            store = stack.enter_context(Store.open(address, site="Bench", agent="bench"))
            pool = stack.enter_context(CropPool(workers=1, landmarks=True))  # as the agent's
            tools = Tools(store, pool, classifier)
            ways.append(build_way(lab, name, tools, given))
            ways[-1].take(WARM)
            ways[-1].stages.clear()
        for start in range(0, n, TURN):
            for way in ways:
                way.measure(min(TURN, n - start), ours, sampler.pid or 0)
        ours.send(None)
        sampler.join()
    print(f"load {os.getloadavg()[0]:.1f}")
    for way in ways:
        way.print_costs()


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
    wanted.add_argument("--n", type=int, default=40, help="files of each way")
    wanted.add_argument("--apart", action="store_true")
    wanted.add_argument("--round", type=int, default=0, help="files of a round; 0: as the agent")
    wanted.add_argument("--height", type=int, default=1500)
    wanted.add_argument("--width", type=int, default=2000)
    given = wanted.parse_args(namespace=Options())
    with tempfile.TemporaryDirectory(prefix="queue-") as folder:
        lab = Path(folder)
        export(lab / "export", given.n + WARM, (given.width, given.height))
        names = sorted(path.name for path in (lab / "export").iterdir())
        cv2.setNumThreads(1)
        measure_archive(lab, names)
        measure(lab, given.n, given)


if __name__ == "__main__":
    main()
