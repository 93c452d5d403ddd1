"""Measure how long each stage takes for one micrograph of 2000 × 1500 px.

    python tests/bench/stages.py --bundle FOLDER [--before FOLDER] [--n 8] [--threads 1] [--profile]
    python tests/bench/stages.py --bundle FOLDER --precision bf16 --before FOLDER --n 8
    python tests/bench/stages.py --bundle FOLDER --arch resnet18 [--px 1994] [--um-per-px 0.2]

Every stage is run over the same drawn micrographs, one after the other as the pipeline does, in
this process; what is printed is the median per micrograph in ms (wall and processor time) and
the share of the whole. Below stands what the classify step costs against the bare pass of the
networks that it needs for codes, on the same frame: the median of the ratios of processor time,
each of one micrograph, and of the parts of the step. Where heads and unusual check share a pass,
the bare pass is that of all four stages of the network. In bf16 both ratios are printed: to the
bare pass in bf16, and to that in fp32. `--before` measures another bundle, or the same one, in
fp32 on the same micrographs, in turns. `--profile` lists the functions that take most of it.
`--arch` measures two untrained networks of that architecture in two stages, each with heads by
chance, next to the bundle's unusual check; micrographs are then `--px` wide and high.
Without a bundle the model's stages are left out.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import tempfile
import time
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
import torch

from agent.archive import Archive
from agent.demo.micrograph import draw_micrograph
from agent.imaging import crop
from agent.imaging.crop import crop_to_json
from agent.imaging.readers.page import Limits
from agent.imaging.readers.read import read
from agent.pipeline import select_maps
from agent.store import MicrographResult, Store
from agent.triage import Policy, triage
from agent.watch import ListedFile
from agent.watch.listing import list_folder
from model import Classifier, Field, default_taxonomy
from model.bundle import load_bundle
from model.framing import Framing
from model.networks.backbones import Encoder, build_backbone
from model.networks.schemes import Head, Scheme
from model.ood.detector import load_detector
from model.runtime.engines import choose_engine
from model.runtime.torch_runner import build_runner

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from model import Prediction

HEIGHT, WIDTH = 1500, 2000

CLASSIFY = "classify"
BARE, BARE_FP32, CODES, STRANGENESS, DEFECTS = PARTS = (
    "bare pass for the codes",
    "bare pass in fp32",
    "  codes",
    "  strangeness",
    "  defects",
)


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

    def print_stages(self) -> None:
        """Print the table of the stages."""
        whole = sum(median(took) for name, took in self.wall_ms.items() if name not in PARTS)
        print(f"{'stage':28}{'wall ms':>10}{'cpu ms':>10}{'share':>8}")
        for name, took in self.wall_ms.items():
            if name not in PARTS:
                wall, cpu = median(took), median(self.cpu_ms[name])
                print(f"{name:28}{wall:10.0f}{cpu:10.0f}{wall / whole:8.0%}")
        print(f"{'all':28}{whole:10.0f}")

    def print_ratios(self) -> None:
        """Print what the classify step and its parts cost against the bare pass, in pairs."""
        bare = [name for name in (BARE, BARE_FP32) if self.cpu_ms[name]]
        print(f"\n{'processor time':28}{'ms':>10}{'× the bare pass':>18}", end="")
        print(f"{'× that in fp32':>18}" if len(bare) > 1 else "")
        for name in (*bare, CLASSIFY, CODES, STRANGENESS, DEFECTS):
            took = self.cpu_ms[name]
            ratios = [
                median(own / one for own, one in zip(took, self.cpu_ms[other], strict=True))
                for other in bare
            ]
            print(f"{name:28}{median(took):10.0f}" + "".join(f"{r:18.2f}" for r in ratios))


class Options(argparse.Namespace):
    """What is measured."""

    bundle: Path | None
    before: Path | None
    n: int
    threads: int
    precision: str
    profile: bool
    arch: str
    px: int
    um_per_px: float | None

    @property
    def size_px(self) -> tuple[int, int]:
        """Rows and columns of a micrograph."""
        return (self.px, self.px) if self.arch else (HEIGHT, WIDTH)


def exported(folder: Path, n: int, size_px: tuple[int, int]) -> None:
    """Draw micrographs as a microscope would export them."""
    for number in range(n):
        pixels = draw_micrograph("G8", seed=number, size=size_px[::-1]).pixels
        held = cv2.imencode(".tif", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1]
        (folder / f"{number}.tif").write_bytes(held.tobytes())


class Networks(NamedTuple):
    """What a classifier is built from, as far as it is measured."""

    scheme: Scheme
    framing: Framing
    encoders: Mapping[str, Encoder]
    heads: Mapping[str, Head]
    shares_pass: bool


def build_two_stages(arch: str, px: int) -> Networks:
    """Return untrained networks in two stages, each subtype with one of its own."""
    torch.manual_seed(0)
    codes = [f"{subtype}{size}" for subtype in "GBM" for size in ("7", "8", "9-10")]
    scheme = Scheme("two-stage", default_taxonomy().restricted_to(codes))
    encoders = {name: Encoder(build_backbone(arch)).eval() for name in scheme.heads()}
    rng = np.random.default_rng(0)
    heads = {}
    for name, classes in scheme.heads().items():
        channels = encoders[name].channels
        weight = rng.normal(0, channels**-0.5, (len(classes), channels)).astype(np.float32)
        bias, mean = np.zeros(len(classes), np.float32), np.zeros(channels, np.float32)
        heads[name] = Head(name, name, classes, weight, bias, mean)
    for encoder in encoders.values():
        encoder.requires_grad_(requires_grad=False)
    return Networks(scheme, Framing("mirror", px), encoders, heads, shares_pass=False)


class Judge:
    """A classifier, and its bare networks on the same engine."""

    def __init__(self, bundle: Path, precision: str, given: Options) -> None:
        loaded = load_bundle(bundle)
        self.detector = load_detector(loaded.ood_tensors, loaded.ood_facts, precision="fp32")
        if given.arch:
            networks = build_two_stages(given.arch, given.px)
            self.classifier = Classifier(
                name=given.arch,
                scheme=networks.scheme,
                framing=networks.framing,
                set_levels=loaded.manifest.set_levels,
                encoders=networks.encoders,
                heads=networks.heads,
                detector=self.detector,
                engine=choose_engine("auto", precision, {given.arch}),
            )
        else:
            self.classifier = Classifier.load(bundle, precision=precision)
            networks = Networks(
                loaded.scheme,
                loaded.manifest.framing,
                loaded.encoders,
                loaded.heads,
                bool(loaded.manifest.field_embedding),
            )
        self._framing, self._scheme, self._heads = networks[1], networks[0], networks[3]
        shared, own = networks.shares_pass, self.classifier.engine
        self._runners = {
            part: {
                name: build_runner(
                    Encoder(encoder.backbone, (3,)).eval() if shared else encoder, engine
                )
                for name, encoder in networks.encoders.items()
            }
            for part, engine in ((BARE, own), (BARE_FP32, replace(own, precision="fp32")))
            if part == BARE or own.precision != "fp32"
        }
        height, width = given.size_px
        blank = np.zeros((height, width, 3), np.uint8)
        self.measure(Stopwatch(), Field(blank, np.ones((height, width), np.bool_), 0.2))

    def measure(self, watch: Stopwatch, field: Field) -> Prediction:
        """Classify a field, then run the bare pass and the parts of the step on it again."""
        with watch.stage(CLASSIFY):
            (prediction,) = self.classifier.classify([field])
        size_head = self._scheme.second_stage(prediction.subtype)
        heads = [*self._scheme.first_stage(), *([size_head] if size_head else [])]
        frames = self._framing.frames(field)
        for part, runners in self._runners.items():
            with watch.stage(part):
                for encoder in dict.fromkeys(self._heads[head].encoder for head in heads):
                    for frame in frames:
                        runners[encoder].features(frame.pixels[None])
        with watch.stage(CODES):
            self.classifier.predict_codes([field])
        with watch.stage(STRANGENESS):
            self.classifier.score_ood(field)
        with watch.stage(DEFECTS):
            self.detector.defects(field)
        return prediction


def one(
    watch: Stopwatch, path: Path, judge: Judge | None, lab: Lab, um_per_px: float | None
) -> Field:
    """Run one micrograph through every stage; return its field.

    Args:
        watch: Keeps what it took.
        path: The file.
        judge: Classifies it, or None.
        lab: Where it is stored.
        um_per_px: Its scale in place of the one that its bar states, or None.
    """
    with watch.stage("read"):
        (micrograph,) = read(path, limits=Limits())
    with watch.stage("crop"):
        seen = crop(micrograph, um_per_px_range=(0.01, 5.0))
    field = Field(seen.pixels, seen.valid, um_per_px or seen.um_per_px)
    prediction = judge.measure(watch, field) if judge else None
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
    return field


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
    parser.add_argument("--before", type=Path, help="a bundle in fp32, on the same micrographs")
    parser.add_argument("--n", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--arch", default="", help="of two untrained networks, such as resnet18")
    parser.add_argument("--px", type=int, default=1994, help="side of a micrograph for --arch")
    parser.add_argument("--um-per-px", type=float, help="scale in place of the bar's")
    parser.add_argument("--profile", action="store_true", help="list the costliest functions")
    given = parser.parse_args(namespace=Options())
    torch.set_num_threads(given.threads)
    cv2.setNumThreads(given.threads)
    judge = Judge(given.bundle, given.precision, given) if given.bundle else None
    before = Judge(given.before, "fp32", given) if given.before else None
    if judge:
        engine = judge.classifier.engine
        print(f"bundle {judge.classifier.name}: {engine.label}, {engine.precision}")
    with tempfile.TemporaryDirectory() as folder:
        export = Path(folder, "export")
        export.mkdir()
        exported(export, given.n, given.size_px)
        lab = Lab(Path(folder))
        lab.arrive(export)
        watch, earlier = Stopwatch(), Stopwatch()
        for path in sorted(export.iterdir()):
            field = one(watch, path, judge, lab, given.um_per_px)
            if before:
                before.measure(earlier, field)
        watch.print_stages()
        if before:
            print(f"\nbefore: bundle {before.classifier.name}, fp32", end="")
            earlier.print_ratios()
        if judge:
            watch.print_ratios()
        if judge and given.profile:
            print_profile(judge.classifier, given.n, given.size_px)
        lab.store.close()


def print_profile(classifier: Classifier, n: int, size_px: tuple[int, int]) -> None:
    """Print the functions that take most of the processor time of classify."""
    drawn = [draw_micrograph("G8", seed=seed, size=size_px[::-1]).pixels for seed in range(n)]
    fields = [Field(pixels, np.ones(pixels.shape[:2], np.bool_), 0.2) for pixels in drawn]
    profile = cProfile.Profile(time.process_time)
    profile.runcall(classifier.classify, fields)
    pstats.Stats(profile).sort_stats("tottime").print_stats(15)


if __name__ == "__main__":
    main()
