"""Run the real agent for a while, and print whether its memory grows.

    python tests/bench/soak.py [--minutes 30] [--every-s 10] [--bundle BUNDLE] [--keep FOLDER]
    python tests/bench/soak.py --count 1000 --bundle BUNDLE [--long-rest]

Memory is the proportional set size of all processes (Linux); each process is printed at the end.

glibc keeps its memory as the unit of `agent service install` tells it (deploy/martensight.service).

A pretend microscope exports drawn micrographs; `agent run` takes them, and somebody looks at the
page. Twice a minute the memory of all its processes, its open files and its threads are counted.
The first third is warming up. The table gives the slope of each over the rest with its 95 %
interval, as growth per hour: an interval that holds 0 is no growth that can be seen. Exit code 3
where one grows for certain, or a micrograph was not taken. With `--count` the next micrograph
comes as soon as fewer than eight wait, until so many are done or the minutes are over.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import psutil

from agent.demo.micrograph import draw_micrograph

PORT = 8796
SAMPLE_S = 15.0
WAITING = 8
REST_S = 45.0  # longer than the worker waits before it releases memory
LONG_REST_S = 630.0  # longer than it waits before it ends the processes that read
UNIT = Path(__file__).parents[2] / "deploy" / "martensight.service"
SIZES = ((1000, 750), (1280, 960), (800, 600), (1600, 1200), (2000, 1500))
HEAVY = ("torch", "openvino", "cv2", "onnxruntime", "matplotlib", "scipy", "sklearn", "pandas")
CODES = ("G7", "G8", "G9-10", "B7", "B8", "B9-10", "M8", "M9-10")


@dataclass(frozen=True)
class Sample:
    """What the agent uses at one moment: megabytes of all its processes, its files, threads."""

    at_s: float
    memory_mb: float
    files: int
    threads: int
    processes: int


def sampled(process: psutil.Process, began_s: float) -> Sample:
    family = [process, *process.children(recursive=True)]
    memory = sum(measure_memory(one)[0] for one in family)
    return Sample(
        at_s=time.monotonic() - began_s,
        memory_mb=memory,
        files=process.num_fds() if os.name == "posix" else process.num_handles(),
        threads=process.num_threads(),
        processes=len(family),
    )


def measure_memory(process: psutil.Process) -> tuple[float, float]:
    """Return the megabytes of a process: pages shared with others in parts (PSS), and private."""
    with suppress(psutil.Error, OSError):
        rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="ascii")
        rows = re.findall(r"^(\w+): +(\d+) kB", rollup, re.MULTILINE)
        kb = {name: int(value) for name, value in rows}
        return kb["Pss"] / 1e3, (kb["Private_Dirty"] + kb["Private_Clean"]) / 1e3
    return 0.0, 0.0


def print_processes(process: psutil.Process) -> None:
    """Print the memory of each process, and which heavy libraries it has loaded."""
    print(f"{'process':<60}{'PSS MB':>8}{'private':>8}{'threads':>8}  libraries")
    for one in [process, *process.children(recursive=True)]:
        with suppress(psutil.Error, OSError):
            maps = Path(f"/proc/{one.pid}/maps").read_text(encoding="utf-8")
            loaded = [name for name in HEAVY if f"site-packages/{name}/" in maps]
            line = " ".join(one.cmdline())[-58:]
            pss, private = measure_memory(one)
            print(f"{line:<60}{pss:>8.0f}{private:>8.0f}{one.num_threads():>8}  {' '.join(loaded)}")


def memory_of_unit() -> dict[str, str]:
    """Return the memory settings of glibc from the systemd unit."""
    unit = UNIT.read_text(encoding="utf-8")
    (told,) = re.findall(r"^Environment=(MALLOC_.*)$", unit, re.MULTILINE)
    return dict(one.split("=") for one in told.split())


def export(folder: Path, number: int) -> None:
    """Write one drawn micrograph as a microscope does: under another name, then renamed."""
    size = SIZES[number % len(SIZES)]
    drawn = draw_base(CODES[number % len(CODES)], size)
    # Another content at little cost: drawing each would keep a core from the agent.
    shown = np.roll(drawn, (7 * number % size[1], 13 * number % size[0]), axis=(0, 1))
    held = cv2.imencode(".png", shown[..., ::-1])[1].tobytes()
    part = folder / f"field_{number:05}.part"
    part.write_bytes(held)
    part.rename(part.with_suffix(".png"))


@cache
def draw_base(code: str, size: tuple[int, int]) -> np.ndarray:
    return draw_micrograph(code, seed=50_000, size=size).pixels


def look_at_the_page() -> None:
    for path in ("/review", "/api/v1/status", "/metrics"):
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{PORT}{path}", None, 20):
            pass


def slope(samples: list[Sample], name: str) -> tuple[float, float]:
    """Estimate growth per hour and half its 95 % interval; neighbours in time are dependent."""
    x = np.array([sample.at_s for sample in samples]) / 3600
    y = np.array([getattr(sample, name) for sample in samples], float)
    design = np.stack([x, np.ones_like(x)], axis=1)
    (rate, base), *_ = np.linalg.lstsq(design, y, rcond=None)
    rest = y - design @ (rate, base)
    spread = float(rest @ rest) / max(1, len(y) - 2)
    if spread == 0:
        return float(rate), 0.0
    near = float(rest[1:] @ rest[:-1]) / float(rest @ rest)
    # Samples that resemble their neighbours tell less than their number.
    widened = (1 + max(0.0, near)) / (1 - min(0.95, max(0.0, near)))
    error = (spread * widened / float(((x - x.mean()) ** 2).sum())) ** 0.5
    return float(rate), 1.96 * error


def run(
    lab: Path,
    minutes: float,
    every_s: float,
    bundle: Path | None,
    *,
    count: int | None = None,
    long_rest: bool = False,
) -> bool:
    exports = lab / "export"
    exports.mkdir(parents=True)
    (lab / "agent.toml").write_text(
        f"[web]\nport = {PORT}\n[imaging]\nworkers = 1\n"
        '[[sources]]\nname = "LOM"\nfolder = "export"\nquiet_s = 1\n',
        encoding="utf-8",
    )
    agent = [sys.executable, "-m", "agent", "--config", str(lab / "agent.toml")]
    if bundle:
        subprocess.run([*agent, "models", "add", str(bundle)], check=True)
        promoted = [*agent, "models", "promote", bundle.name, "--by", "bench", "--reason", "soak"]
        subprocess.run(promoted, check=True)
    with (lab / "log").open("wb") as log:
        process = subprocess.Popen(
            [*agent, "run"], stdout=log, stderr=log, env=os.environ | memory_of_unit()
        )
    began_s, samples, exported = time.monotonic(), [], 0
    try:
        watched = psutil.Process(process.pid)
        next_file_s = next_sample_s = began_s
        while time.monotonic() - began_s < 60 * minutes and exported != count:
            if count is not None and exported - count_done() < WAITING:
                next_file_s = 0.0
            if time.monotonic() >= next_file_s:
                export(exports, exported)
                exported, next_file_s = exported + 1, max(next_file_s, began_s) + every_s
            if time.monotonic() >= next_sample_s:
                look_at_the_page()
                samples.append(sampled(watched, began_s))
                next_sample_s += SAMPLE_S
            wake_s = min(next_file_s, next_sample_s) - time.monotonic()
            time.sleep(max(0.0, min(wake_s, 1.0)))
        done = waited_for(exported)
        rested_s = 0.0
        for rest_s in (0.0, REST_S, LONG_REST_S)[: 3 if long_rest else 2]:
            time.sleep(rest_s - rested_s)
            rested_s = rest_s
            memory_mb = sampled(watched, began_s).memory_mb
            print(f"after {rest_s:g} s without a file: {memory_mb:.0f} MB", flush=True)
            print_processes(watched)
    finally:
        process.terminate()
        process.wait(60)
    return told(samples, exported, done)


def count_done() -> int:
    """Return how many micrographs are done, 0 while the page does not answer yet."""
    with suppress(OSError):
        url = f"http://127.0.0.1:{PORT}/api/v1/status"
        with urllib.request.urlopen(url, None, 20) as answer:
            return int(json.load(answer).get("states", {}).get("done", 0))
    return 0


def waited_for(exported: int) -> int:
    """Return how many micrographs are done, once all are or no more arrive."""
    done, last_s = -1, time.monotonic()
    while done < exported and time.monotonic() - last_s < 120:
        now = count_done()
        if now != done:
            done, last_s = now, time.monotonic()
        time.sleep(0.5)
    return done


def told(samples: list[Sample], exported: int, done: int) -> bool:
    steady = samples[len(samples) // 3 :]
    minutes = (samples[-1].at_s - samples[0].at_s) / 60
    print(f"{minutes:.0f} minutes, {exported} micrographs exported, {done} done")
    print("memory, MB, all along:", *(f"{sample.memory_mb:.0f}" for sample in samples))
    print(f"{'':<22}{'first':>8}{'last':>8}{'most':>8}   growth per hour (95 %)")
    grows = False
    titles = {"memory_mb": "memory, MB", "files": "open files", "threads": "threads"}
    for name, title in titles.items():
        values = [getattr(one, name) for one in steady]
        rate, half = slope(steady, name)
        grows |= rate - half > 0 and max(values) > min(values)
        interval = f"{rate:+.1f} ({rate - half:+.1f} to {rate + half:+.1f})"
        row = f"{values[0]:>8.0f}{values[-1]:>8.0f}{max(values):>8.0f}"
        print(f"{title:<22}{row}   {interval}")
    return done == exported and not grows


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--minutes", type=float, default=30)
    ask.add_argument("--every-s", type=float, default=10)
    ask.add_argument("--bundle", type=Path)
    ask.add_argument("--count", type=int, help="micrographs, as fast as they are taken")
    ask.add_argument("--long-rest", action="store_true", help="wait until no process reads")
    ask.add_argument("--keep", type=Path, help="the lab's folder, kept")
    given = ask.parse_args()
    lab = given.keep or Path(tempfile.mkdtemp(prefix="soak-"))
    try:
        every_s = given.every_s if given.count is None else math.inf
        fine = run(
            lab,
            given.minutes,
            every_s,
            given.bundle,
            count=given.count,
            long_rest=given.long_rest,
        )
    finally:
        if given.keep is None:
            shutil.rmtree(lab, ignore_errors=True)
    raise SystemExit(0 if fine else 3)


if __name__ == "__main__":
    main()
