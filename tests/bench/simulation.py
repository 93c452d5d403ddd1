"""Play seeded histories of a whole lab in one process, and say which promises broke.

    python tests/bench/simulation.py [--histories 100000] [--first 0] [--into FILE]
    python tests/bench/simulation.py --seed 123 --replay
    python tests/bench/simulation.py --mutants [--histories 300]

The agents are the real ones: watch, queue, lease, work, outbox and nights; the clock, the disk,
the database's faults, deaths and the order of threads follow from the seed (`simulated.world`). A
broken promise prints its seed; `--replay` prints each step of it. The exit code is 3 where one
broke. `--mutants` plants one fault after another, and prints after how many histories
each is caught.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if os.environ.get("PYTHONHASHSEED") != "0":  # sets of names have to be gone through alike
    os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "PYTHONHASHSEED": "0"})  # noqa: S606

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from simulated.history import simulation
from simulated.mutants import MUTANTS, planted

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulated.history import Outcome, Simulation

BATCH = 250


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
    parser.add_argument(
        "--only", action="append", default=[], help="mutants whose name holds this; may be repeated"
    )
    parser.add_argument("--times", type=int, default=1, help="play each seed so often")
    parser.add_argument("--into", type=Path, help="file that gets a line of JSON per batch")
    parser.add_argument("--most", type=int, default=10, help="broken histories after which it ends")
    parser.add_argument("--say-every", type=int, default=1000)
    asked = parser.parse_args()
    seeds = range(asked.first, asked.first + asked.histories)
    if asked.seed is not None:
        seeds = range(asked.seed, asked.seed + 1)
    if asked.mutants:
        return _hunt(seeds, asked.only)
    return _play(seeds, asked)


def _play(seeds: range, asked: argparse.Namespace) -> int:
    """Play batch after batch; 3 where a promise broke."""
    total = Batch(asked.first)
    with simulation() as playing:
        for first in range(seeds.start, seeds.stop, BATCH):
            batch = Batch(first)
            for seed in range(first, min(first + BATCH, seeds.stop)):
                for _ in range(asked.times):
                    outcome = batch.play(playing, seed, print if asked.replay else None)
                    if asked.seed is not None:
                        print(f"digest {outcome.digest:08x}")
                if total.broken + batch.broken >= asked.most:
                    break
            total.add(batch)
            if asked.into:
                with asked.into.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(vars(batch)) + "\n")
            if asked.say_every and total.played % asked.say_every < BATCH:
                print(total.line(), flush=True)
            if total.broken >= asked.most:
                break
    print(total.line())
    print(", ".join(f"{name} {n}" for name, n in sorted(total.counts.items())))
    return 3 if total.broken else 0


@dataclass
class Batch:
    """What some histories came to.

    Args:
        first: Seed of the first one. played: how many. broken: how many broke a promise.
        steps: Calls to disk and database. took_s: processor time. counts: what happened how often.
        failures: A sentence per broken history.
    """

    first: int
    played: int = 0
    broken: int = 0
    steps: int = 0
    took_s: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def play(
        self, playing: Simulation, seed: int, say: Callable[[str], None] | None = None
    ) -> Outcome:
        """Play one more, and print its seed if it breaks a promise."""
        began_s = time.process_time()
        outcome = playing.play(seed, say)
        self.took_s += time.process_time() - began_s
        self.played += 1
        self.steps += outcome.steps
        self.counts.update(outcome.counts)
        if outcome.broken:
            self.broken += 1
            self.failures.append(f"seed {seed}: {'; '.join(outcome.broken)}")
            print(self.failures[-1], flush=True)
        return outcome

    def add(self, other: Batch) -> None:
        """Count another batch in."""
        self.played += other.played
        self.broken += other.broken
        self.steps += other.steps
        self.took_s += other.took_s
        self.counts.update(other.counts)

    def line(self) -> str:
        """Return the figures in a line."""
        return (
            f"{self.played} histories, {self.steps} steps, {self.broken} broken, "
            f"{self.took_s:.1f} s of processor time, {self.took_s / max(self.played, 1):.4f} s each"
        )


def _hunt(seeds: range, only: list[str]) -> int:
    """Print after how many histories each mutant is caught; 3 where one is not."""
    missed = 0
    with simulation() as playing:
        for name in MUTANTS:
            if only and not any(part in name for part in only):
                continue
            with planted(name):
                found = next((one for one in map(playing.play, seeds) if one.broken), None)
            missed += found is None
            after = f"not after {len(seeds)}"
            if found:
                after = f"after {found.seed - seeds.start + 1}, seed {found.seed}"
            print(f"{name}: {after}: {found.broken[0] if found else ''}"[:240], flush=True)
    return 3 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
