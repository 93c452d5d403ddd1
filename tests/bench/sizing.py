"""Print what a micrograph costs a lab's PC: processor time, disk and memory.

    python tests/bench/sizing.py FOLDER [--bundle BUNDLE] [--n 12]

Takes N micrographs of the folder through `agent run --once`, without a bundle and, if one is given,
with it. Processor time counts all processes and counts the start apart, so it does not depend on
what else the PC does.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

PICTURES = {".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp"}


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def agent(lab: Path, *arguments: str) -> tuple[float, float]:
    """Run one command; say its processor seconds, and the most memory (MB) of its processes."""
    before_s, peak = cpu_s(), 0.0
    command = [sys.executable, "-m", "agent", "--config", str(lab / "agent.toml"), *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    watched, stop = psutil.Process(process.pid), threading.Event()

    def watch() -> None:
        nonlocal peak
        while not stop.wait(0.1):
            try:
                family = [watched, *watched.children(recursive=True)]
                peak = max(peak, sum(one.memory_info().rss for one in family) / 1e6)
            except psutil.Error:
                continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    process.wait()
    stop.set()
    watcher.join()
    return cpu_s() - before_s, peak


def size_mb(path: Path) -> float:
    files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
    return sum(file.stat().st_size for file in files) / 1e6


def measure(pictures: list[Path], bundle: Path | None) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        lab = Path(scratch)
        (lab / "export").mkdir()
        (lab / "agent.toml").write_text(
            "[imaging]\nworkers = 1\n[web]\nport = 0\n[[sources]]\n"
            'name = "LOM"\nfolder = "export"\nquiet_s = 0.1\n',
            encoding="utf-8",
        )
        shutil.copy(pictures[0], lab / "export" / f"first{pictures[0].suffix}")
        if bundle:
            agent(lab, "models", "add", str(bundle))
            agent(lab, "models", "promote", bundle.name, "--by", "bench", "--reason", "sizing")
        start_s, _ = agent(lab, "run", "--once")
        database = size_mb(lab / "data" / "martensight.db")
        crops = size_mb(lab / "data" / "crops")
        for number, picture in enumerate(pictures[1:]):
            shutil.copy(picture, lab / "export" / f"{number:04}{picture.suffix}")
        began_s = time.monotonic()
        took_s, peak = agent(lab, "run", "--once")
        count = len(pictures) - 1
        rows = (
            ("processor time", f"{(took_s - start_s) / count:.2f} s"),
            (
                "wall time on this PC now, start included",
                f"{(time.monotonic() - began_s) / count:.2f} s",
            ),
            (
                "crops, maps and previews",
                f"{(size_mb(lab / 'data' / 'crops') - crops) / count:.2f} MB",
            ),
            ("original bytes", f"{size_mb(lab / 'data' / 'originals') / (count + 1):.2f} MB"),
            (
                "database",
                f"{(size_mb(lab / 'data' / 'martensight.db') - database) / count * 1000:.1f} kB",
            ),
            ("most memory of all processes", f"{peak:.0f} MB in all"),
        )
        judged = f"with {bundle.name}" if bundle else "without a bundle"
        print(f"\nper micrograph, n = {count}, {judged}")
        for what, value in rows:
            print(f"  {what:<44} {value}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--n", type=int, default=12)
    given = parser.parse_args()
    pictures = [path for path in sorted(given.folder.rglob("*")) if path.suffix.lower() in PICTURES]
    pictures = pictures[: given.n + 1]
    pixels = sum(picture.stat().st_size for picture in pictures) / 1e6 / len(pictures)
    print(f"{len(pictures)} micrographs, {pixels:.1f} MB each, {os.cpu_count()} cores")
    measure(pictures, None)
    if given.bundle:
        measure(pictures, given.bundle)


if __name__ == "__main__":
    main()
