"""Measure the way of a file from the queue to its stored result, all processes counted.

    python tests/bench/full_queue.py [--bundle FOLDER] [--n 40] [--height 1500] [--width 2000]

Drawn micrographs lie in a folder; the pipeline of the agent takes them in rounds as the agent
does: a worker process reads and crops, this process judges, archives and stores. The first round is
not counted: it loads libraries and compiles the networks. Printed are the processor time of a file
in the workers and here, and the share of two cores that the queue kept busy (with the load of the
machine: other jobs take cores away).
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import psutil

from agent.archive import Archive
from agent.demo.synthetic.micrograph import draw_micrograph
from agent.imaging import CropPool
from agent.pipeline import Pipeline
from agent.service.worker import Pace
from agent.store import Store
from agent.triage import Policy
from agent.watch import ListedFile
from agent.watch.listing import list_folder
from model import Classifier

if TYPE_CHECKING:
    from collections.abc import Sequence

CODES = ("G8", "B7", "M8", "G9-10")
WARM = 3


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


def take(pipeline: Pipeline, pace: Pace, n: int) -> None:
    """Take files in rounds until `n` are stored."""
    stored = 0
    while stored < n:
        began_s = time.monotonic()
        outcome = pipeline.process_batch(min(pace.files(), n - stored))
        pace.took(outcome.files, time.monotonic() - began_s)
        stored += outcome.stored
        if not outcome.files:
            raise SystemExit(f"only {stored} of {n} files were stored")


def measure(lab: Path, names: Sequence[str], bundle: Path | None) -> None:
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
        take(pipeline, pace, WARM)
        stages.clear()
        n = len(names) - WARM
        began_s, before = time.monotonic(), measure_cpu_s()
        take(pipeline, pace, n)
        wall_s, after = time.monotonic() - began_s, measure_cpu_s()
    here_s, workers_s = (now - then for now, then in zip(after, before, strict=True))
    print(f"{n} files, {wall_s / n * 1000:.0f} ms each, load {os.getloadavg()[0]:.1f}")
    print(
        f"processor time of a file: {(here_s + workers_s) / n * 1000:.0f} ms "
        f"(workers {workers_s / n * 1000:.0f}, here {here_s / n * 1000:.0f})"
    )
    print(f"share of two cores: {(here_s + workers_s) / (2 * wall_s):.0%}")
    print("wall, ms:", {stage: round(s / n * 1000) for stage, s in stages.items()})


def main() -> None:
    """Read the arguments, draw, measure."""
    wanted = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    wanted.add_argument("--bundle", type=Path)
    wanted.add_argument("--n", type=int, default=40)
    wanted.add_argument("--height", type=int, default=1500)
    wanted.add_argument("--width", type=int, default=2000)
    told = wanted.parse_args()
    with tempfile.TemporaryDirectory(prefix="queue-") as folder:
        lab = Path(folder)
        export(lab / "export", told.n + WARM, (told.width, told.height))
        names = sorted(path.name for path in (lab / "export").iterdir())
        measure(lab, names, told.bundle)


if __name__ == "__main__":
    main()
