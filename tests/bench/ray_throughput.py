"""Measure what Ray costs: real crops judged by the plain agent and by Ray.

    python tests/bench/ray_throughput.py ../shared/data/uhcs [--quick] [--crops 600] [--size 320]
    PYTHONPATH=/tmp/raylib python tests/bench/ray_throughput.py …   where Ray is installed aside

Needs the extra `ray`. A bundle of heads on a frozen network is trained on whole micrographs of the
folder; windows of them become archived micrographs, `--unit` to a task. Each mode judges a copy of
the same data folder. Processor time is read from /proc for every process that a mode starts, so it
holds on a busy PC too; the clock does not. Ray's own processes are all but its workers: its
scheduler, its stores, its agents. The rate is that between the first and the last answers, without
the start of processes and the loading of the network, which are printed apart.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import os
import shutil
import sys
import tempfile
import threading
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2
import numpy as np
from feature_crops import ALPHA, train_heads
from features import load_examples
from labs.lab import crop_of, facts_of
from labs.second_bundle import SURE

from agent import log
from agent.archive import Archive
from agent.retrain import Again
from agent.service.composition import open_store
from agent.service.folder.data_folder import clock
from agent.service.jobs.ray_workers import judge_on_ray
from agent.service.jobs.shadow import judge_in_child
from agent.settings import Settings
from agent.store import MicrographResult
from agent.watch import ListedFile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.store import Store

TICKS = os.sysconf("SC_CLK_TCK")
SAMPLE_S = 0.2
"""Between two readings of /proc; what a process spent after the last one before its end is lost."""
UM_PER_PX = 0.25
MODES = ("plain agent", "Ray")


# --- the lab --------------------------------------------------------------------------------------


def cut_windows(folder: Path, count: int, size_px: int) -> Iterator[np.ndarray]:
    """Yield windows of the micrographs, the left ones of all before the right ones."""
    with (folder / "MANIFEST.csv").open(encoding="utf-8") as file:
        names = [row["file"] for row in csv.DictReader(file)]
    order = np.random.default_rng(0).permutation(len(names))
    places = [(side, n) for side in (0, 1) for n in order]
    if count > len(places):
        raise SystemExit(f"--crops: {folder} has windows for {len(places)} at most")
    for side, n in places[:count]:
        content = np.frombuffer((folder / names[n]).read_bytes(), np.uint8)
        pixels = cv2.cvtColor(cv2.imdecode(content, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        left = side * (pixels.shape[1] - size_px)
        yield np.ascontiguousarray(pixels[:size_px, left : left + size_px])


def make_settings(folder: Path) -> Settings:
    return Settings.model_validate(
        {
            "site": {"name": "Plant 1"},
            "store": {"folder": str(folder)},
            "strangeness": {"alpha": ALPHA},
        }
    )


def fill(settings: Settings, crops: Iterator[np.ndarray]) -> int:
    """Archive crops as micrographs of an earlier bundle; return how many."""
    archive, total = Archive(settings.store.folder), 0
    with open_store(settings) as store:
        for pixels in crops:
            sha256 = hashlib.sha256(pixels.tobytes()).hexdigest()
            crop = replace(crop_of(sha256, pixels), um_per_px=UM_PER_PX)
            store.files.add(
                [ListedFile("LOM-07", Path("/export"), f"{sha256}.tif", 10, 1)], at=clock()
            )
            (claim,) = store.work_queue.claim(1, at=clock(), lease_s=60)
            found = MicrographResult(
                facts_of(crop), {}, {}, None, SURE, artefacts=dict(archive.keep(crop))
            )
            total += bool(store.work_queue.finish(claim, [found], at=clock()))
    return total


# --- processor time -------------------------------------------------------------------------------


@dataclass
class CpuWatch:
    """Processor time (s) of all processes below this one, by what they are."""

    spent: dict[int, tuple[str, float]] = field(default_factory=dict)
    is_over: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.before_s = time.process_time()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()

    def end(self) -> None:
        self._sample()
        self.is_over.set()
        self.thread.join()

    def sum_up(self) -> dict[str, float]:
        """Return kind → seconds: "worker", "ray" for Ray's own processes, "driver" for this one."""
        self._sample()
        sums: dict[str, float] = defaultdict(float)
        for kind, seconds in list(self.spent.values()):
            sums[kind] += seconds
        sums["driver"] = time.process_time() - self.before_s
        return dict(sums)

    def _watch(self) -> None:
        while not self.is_over.wait(SAMPLE_S):
            self._sample()

    def _sample(self) -> None:
        parents: dict[int, int] = {}
        used: dict[int, float] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with suppress(OSError):
                    words = (entry / "stat").read_text().rpartition(")")[2].split()
                    parents[int(entry.name)] = int(words[1])
                    used[int(entry.name)] = (int(words[11]) + int(words[12])) / TICKS
        for pid, seconds in used.items():
            above = parents.get(pid, 0)
            while above not in {0, os.getpid()}:
                above = parents.get(above, 0)
            if above == os.getpid():
                with suppress(OSError):
                    call = Path(f"/proc/{pid}/cmdline").read_text()
                    self.spent[pid] = (_name_kind(call), seconds)


def _name_kind(call: str) -> str:
    if "judge_part" in call:
        return "worker"
    is_ray = any(word in call for word in ("ray::", "raylet", "gcs_server", "/ray/"))
    return "ray" if is_ray else "worker"


# --- the modes ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What a mode took.

    Args:
        judged: Micrographs.
        start_s: Until the first answers, clock.
        per_s: Micrographs per second between the first and the last answers.
        steady_ms: Kind → processor time (ms) per micrograph between them.
        whole_s: Kind → processor time (s) of everything.
    """

    judged: int
    start_s: float
    per_s: float
    steady_ms: dict[str, float]
    whole_s: dict[str, float]


def run_mode(mode: str, settings: Settings, store: Store, bundle: str, unit: int) -> Outcome:
    watch, began_s, seen = CpuWatch(), time.perf_counter(), []
    given = {"bundle": bundle, "role": "reprocess", "days": None, "by": "bench"}
    if mode == MODES[0]:
        steps = judge_in_child(settings, store, **given)
    else:
        steps = judge_on_ray(settings, store, address="local", part=unit, **given)
    again = None
    for news in steps:
        if isinstance(news, Again):
            again = news
        elif not seen or news.done > seen[-1][0]:
            seen.append((news.done, time.perf_counter() - began_s, watch.sum_up()))
    watch.end()
    assert again is not None
    assert again.judged == seen[-1][0]
    first = next(row for row in seen if row[0])
    (done, first_s, before), (total, last_s, after) = first, seen[-1]
    between = max(total - done, 1)
    steady = {kind: 1000 * (after[kind] - before.get(kind, 0)) / between for kind in after}
    rate = (total - done) / max(last_s - first_s, 1e-9)
    return Outcome(again.judged, first_s, rate, steady, watch.sum_up())


def print_outcome(mode: str, outcome: Outcome, plain: Outcome | None) -> None:
    steady = outcome.steady_ms
    total = sum(steady.values())
    kinds = ", ".join(f"{kind} {steady.get(kind, 0):.1f}" for kind in ("worker", "ray", "driver"))
    print(
        f"{mode}: {outcome.judged} micrographs, {outcome.per_s:.2f} per s, first answers after "
        f"{outcome.start_s:.1f} s; {total:.0f} ms of processor time per micrograph ({kinds}); "
        f"{sum(outcome.whole_s.values()):.1f} s in all, of it Ray's own "
        f"{outcome.whole_s.get('ray', 0):.1f} s; load {os.getloadavg()[0]:.1f}",
        flush=True,
    )
    if plain is not None:
        extra = total - sum(plain.steady_ms.values())
        share = (steady.get("ray", 0) + steady.get("driver", 0)) / total
        print(
            f"  Ray's own processes and the driver: {share:.1%} of the processor time; "
            f"{extra:+.0f} ms per micrograph against the plain agent, "
            f"{outcome.per_s / plain.per_s:.2f} times its rate",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="The micrographs, with their MANIFEST.csv.")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--crops", type=int, default=600)
    parser.add_argument("--size", type=int, default=320, help="Width and height of a crop, px.")
    parser.add_argument("--unit", type=int, default=32, help="Micrographs per task.")
    parser.add_argument("--train", type=int, default=160)
    given = parser.parse_args()
    if given.quick:
        given.crops, given.train = 256, 60
    log.set_up(level="critical")
    os.environ.setdefault("RAY_agent_register_timeout_ms", "240000")
    os.environ.setdefault("RAY_raylet_start_wait_time_s", "240")
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / "made"
        began_s = time.perf_counter()
        examples = load_examples(given.folder)
        bundle = train_heads(examples, given.train, made / "bundles").name
        settings = make_settings(made)
        n = fill(settings, cut_windows(given.folder, given.crops, given.size))
        print(
            f"{n} crops of {given.size} px of real micrographs, {bundle}, {os.cpu_count()} cores, "
            f"made in {time.perf_counter() - began_s:.0f} s",
            flush=True,
        )
        plain = None
        for number, mode in enumerate(MODES):
            folder = Path(scratch) / f"mode-{number}"
            shutil.copytree(made, folder)
            own = make_settings(folder)
            with open_store(own) as store:
                outcome = run_mode(mode, own, store, bundle, given.unit)
            print_outcome(mode, outcome, plain)
            plain = plain or outcome
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
