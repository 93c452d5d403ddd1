"""Play many histories of a world with a hidden truth and count what is stated falsely.

    python tests/bench/hidden_truth.py [--histories 20000] [--acts 50] [--seed 0] [--minutes M]
        [--jobs 2] [--into FILE]

Each history is fifty acts by people who are mostly no leads (`tests/hidden/acts.py`). It prints how
many histories, acts and statements there were, how many bad orders were completed as somebody would
who wants them to conform, and how many statements were false. A failing history is printed; with
`--shrink` its shortest form. `--into` appends one line of JSON per batch, so that a run that is cut
off has counted what it did. Exit code 3 if anything was stated falsely.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))


def main() -> int:
    """Run what was asked for."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--histories", type=int, default=20_000)
    asked.add_argument("--acts", type=int, default=50)
    asked.add_argument("--seed", type=int, default=0)
    asked.add_argument("--minutes", type=float, default=0.0, help="Stop after so long; 0: never.")
    asked.add_argument("--jobs", type=int, default=1, help="Processes, each with its own seeds.")
    asked.add_argument("--into", type=Path, help="File that gets a line of JSON per batch.")
    asked.add_argument("--shrink", action="store_true")
    given = asked.parse_args()
    counts: Counter[str] = Counter()
    failures: list[str] = []
    with ProcessPoolExecutor(given.jobs) as pool:
        for part, found in pool.map(play, [given] * given.jobs, range(given.jobs)):
            counts += part
            failures += found
    print_counts(counts)
    for line in failures[:20]:
        print(line)
    return 3 if failures else 0


def play(given: argparse.Namespace, job: int) -> tuple[Counter[str], list[str]]:
    """Play one job's share of the histories; return what happened, and what failed."""
    from hidden import histories as world  # noqa: PLC0415
    from hidden.histories import COUNTS  # noqa: PLC0415

    gc.freeze()  # what was imported stays: a tenth of the time would go into looking at it again
    gc.set_threshold(50_000, 50, 50)
    began_s, failures, batch = time.monotonic(), list[str](), job
    while COUNTS["histories"] * given.jobs < given.histories:
        if given.minutes and time.monotonic() - began_s > 60 * given.minutes:
            break
        before, used_s, found = COUNTS.copy(), time.process_time(), []
        try:
            world.play(given.seed * 1_000_000 + batch, acts=given.acts, shrink=given.shrink)
        except Exception as error:  # noqa: BLE001 - whatever a history meets is a finding
            found = [f"seed {given.seed}, batch {batch}: {error!r}"]
            found += getattr(error, "__notes__", [])
        COUNTS["processor time, ms"] += round(1000 * (time.process_time() - used_s))
        if given.into:
            line = {"batch": batch, "counts": dict(COUNTS - before), "failures": found}
            with given.into.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"seed": given.seed} | line) + "\n")
        failures += found
        batch += given.jobs
    return COUNTS, failures


def print_counts(counts: Counter[str]) -> None:
    """Print what happened."""
    for what in ("histories", "acts", "statements", "bad statements", "bad orders"):
        print(f"{what:36} {counts[what]}")
    for what in ("false conforms", "untrue reasons", "honest orders refused"):
        print(f"{what:36} {counts[what]}  (target 0)")
    for what in ("honest orders", "honest orders held by a failed check"):
        print(f"{what:36} {counts[what]}")
    took_s = counts["processor time, ms"] / 1000
    each_s = took_s / max(counts["histories"], 1)
    print(f"{'processor time':36} {took_s:.0f} s, {each_s:.2f} s each")


if __name__ == "__main__":
    sys.exit(main())
