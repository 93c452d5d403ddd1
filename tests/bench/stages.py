"""Measure each stage for one micrograph of 2000 × 1500 px.

    python tests/bench/stages.py --bundle FOLDER [--n 8] [--threads 1]

Every stage is run over the same drawn micrographs, one after the other as the pipeline does, in
this process; what is printed is the median per micrograph in ms (wall and processor time) and
the share of the whole. Without a bundle the model's stages are left out.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from agent.archive import Archive
from agent.demo.synthetic.micrograph import draw_micrograph
from agent.imaging import crop
from agent.imaging.crop_json import crop_to_json
from agent.imaging.readers.page import Limits
from agent.imaging.readers.read import read
from agent.pipeline import select_maps
from agent.store import MicrographResult, Store
from agent.triage import Policy, triage
from agent.watch import ListedFile
from agent.watch.listing import list_folder
from model import Classifier, Field

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.imaging import Crop
    from model import Prediction

HEIGHT, WIDTH = 1500, 2000


class Stopwatch:
    """Keeps what every stage took."""

    def __init__(self) -> None:
        self.wall_ms: dict[str, list[float]] = defaultdict(list)
        self.cpu_ms: dict[str, list[float]] = defaultdict(list)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time one stage of one micrograph."""
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        yield
        self.wall_ms[name].append((time.perf_counter() - wall_s) * 1000)
        self.cpu_ms[name].append((time.process_time() - cpu_s) * 1000)

    def say(self) -> None:
        """Print the table."""
        whole = sum(median(took) for took in self.wall_ms.values())
        print(f"{'stage':14}{'wall ms':>10}{'cpu ms':>10}{'share':>8}")
        for name, took in self.wall_ms.items():
            wall, cpu = median(took), median(self.cpu_ms[name])
            print(f"{name:14}{wall:10.0f}{cpu:10.0f}{wall / whole:8.0%}")
        print(f"{'all':14}{whole:10.0f}")


def exported(folder: Path, n: int) -> None:
    """Draw micrographs as a microscope would export them."""
    for number in range(n):
        pixels = draw_micrograph("G8", seed=number, size=(WIDTH, HEIGHT)).pixels
        held = cv2.imencode(".tif", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1]
        (folder / f"{number}.tif").write_bytes(held.tobytes())


def predicted(watch: Stopwatch, classifier: Classifier, seen: Crop) -> Prediction:
    """Classify in the classifier's own three steps."""
    field = Field(seen.pixels, seen.valid, seen.um_per_px)
    with watch.stage("classify"):
        ((_, (raw,)),) = classifier._predictor.predict_in_batches([field])
    with watch.stage("strangeness"):
        (unusual,) = classifier._detector.score([field], classifier.alpha)
    with watch.stage("saliency"):
        return classifier._build_prediction(field, raw, unusual)


def one(watch: Stopwatch, path: Path, classifier: Classifier | None, lab: Lab) -> None:
    """Run one micrograph through every stage."""
    with watch.stage("read"):
        (micrograph,) = read(path, limits=Limits())
    with watch.stage("crop"):
        seen = crop(micrograph, um_per_px_range=(0.01, 5.0))
    prediction = predicted(watch, classifier, seen) if classifier else None
    with watch.stage("archive"):
        artefacts: dict[str, object] = {**lab.archive.keep(seen)}
        if prediction:
            lab.archive.keep_maps(seen.sha256, 0, prediction.bundle, select_maps(prediction))
    with watch.stage("store"):
        at = datetime.now(UTC)
        (claim,) = lab.store.work_queue.claim(1, at=at, lease_s=60)
        lab.store.work_queue.identify(claim, seen.sha256, at=at)
        verdict = triage(
            prediction,
            sha256=seen.sha256,
            um_per_px=seen.um_per_px,
            warnings=seen.warnings,
            material="",
            policy=Policy(),
        )
        finding = MicrographResult(
            crop_to_json(seen), {}, {}, prediction, verdict, artefacts=artefacts
        )
        lab.store.work_queue.finish(claim, [finding], at=at)


class Lab:
    """A store and an archive on this disk."""

    def __init__(self, folder: Path) -> None:
        self.store = Store.open(f"sqlite:///{folder}/bench.db", site="Bench", agent="bench")
        self.archive = Archive(folder / "data")

    def arrive(self, folder: Path) -> None:
        """Queue every file of a folder."""
        found = list_folder(folder).pictures
        files = [ListedFile("LOM", folder, name, *facts) for name, facts in found.items()]
        self.store.files.add(files, at=datetime.now(UTC))


def main() -> None:
    """Read the arguments, measure, say."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--n", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", default="auto")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    cv2.setNumThreads(given.threads)
    classifier = None
    if given.bundle:
        classifier = Classifier.load(given.bundle, precision=given.precision)
        print(f"bundle {classifier.name}: {classifier.engine.label}, {classifier.engine.precision}")
        classifier.classify([Field(np.zeros((HEIGHT, WIDTH, 3), np.uint8),
                                   np.ones((HEIGHT, WIDTH), bool), 0.2)])  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        export = Path(folder, "export")
        export.mkdir()
        exported(export, given.n)
        lab = Lab(Path(folder))
        lab.arrive(export)
        watch = Stopwatch()
        for path in sorted(export.iterdir()):
            one(watch, path, classifier, lab)
        watch.say()
        lab.store.close()


if __name__ == "__main__":
    main()
