"""Play seeded histories of a whole lab in one process, and say which promises broke.

    python tests/bench/simulation.py [--histories 100000] [--first 0] [--jobs 1]
    python tests/bench/simulation.py --seed 123 --replay
    python tests/bench/simulation.py --mutants [--histories 300]

The agents are the real ones: watch, queue, lease, work, outbox and nights; the clock, the disk,
the database's faults, deaths and the order of threads follow from the seed (`simulated_world`). A
broken promise prints its seed; `--replay` prints each step of it. The exit code is 3 where one
broke. `--mutants` plants one fault after another, and prints after how many histories
each is caught.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from pathlib import Path

if os.environ.get("PYTHONHASHSEED") != "0":  # sets of names have to be gone through alike
    os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "PYTHONHASHSEED": "0"})  # noqa: S606

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from simulated_history import simulation
from simulated_mutants import MUTANTS, planted


def main() -> int:
    """Play, print, and return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--histories", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--seed", type=int, help="this one only")
    parser.add_argument("--replay", action="store_true", help="print each step")
    parser.add_argument("--mutants", action="store_true", help="plant faults, and see them caught")
    parser.add_argument("--only", default="", help="mutants whose name holds this")
    parser.add_argument("--most", type=int, default=10, help="broken histories after which it ends")
    parser.add_argument("--say-every", type=int, default=1000)
    asked = parser.parse_args()
    seeds = range(asked.first, asked.first + asked.histories)
    if asked.seed is not None:
        seeds = range(asked.seed, asked.seed + 1)
    if asked.mutants:
        return _hunt(seeds, asked.only)
    began_s, broken, steps, played = time.process_time(), 0, 0, 0
    counts: Counter[str] = Counter()
    with simulation() as playing:
        for seed in seeds:
            outcome = playing.play(seed, print if asked.replay else None)
            played += 1
            steps += outcome.steps
            counts.update(outcome.counts)
            if outcome.broken:
                broken += 1
                print(f"seed {seed}: {'; '.join(outcome.broken)}", flush=True)
                if broken >= asked.most:
                    break
            if asked.say_every and played % asked.say_every == 0:
                took_s = time.process_time() - began_s
                print(
                    f"{played} histories, {broken} broken, {took_s / played:.4f} s each", flush=True
                )
    took_s = time.process_time() - began_s
    print(
        f"{played} histories, {steps} steps, {broken} broken, {took_s:.1f} s of processor time, "
        f"{took_s / max(played, 1):.4f} s each"
    )
    print(", ".join(f"{name} {n}" for name, n in sorted(counts.items())))
    if asked.seed is not None:
        print(f"digest {outcome.digest:08x}")
    return 3 if broken else 0


def _hunt(seeds: range, only: str) -> int:
    """Print after how many histories each mutant is caught; 3 where one is not."""
    missed = 0
    with simulation() as playing:
        for name in MUTANTS:
            if only not in name:
                continue
            with planted(name):
                found = next((one for one in map(playing.play, seeds) if one.broken), None)
            missed += found is None
            after = f"after {found.seed - seeds.start + 1}" if found else f"not after {len(seeds)}"
            print(f"{name}: {after}: {found.broken[0] if found else ''}"[:240], flush=True)
    return 3 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
