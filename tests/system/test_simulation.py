"""Whatever a seed lets happen to disk, database, clock and machines, every promise is kept.

A seed that breaks one prints itself; `python tests/bench/simulation.py --seed N --replay` prints
each of its steps.
"""

import os
import re
import subprocess
import sys

import pytest
from folders import TESTS

if os.name != "posix":
    pytest.skip("the simulated disk is a POSIX one", allow_module_level=True)

BENCH = TESTS / "bench" / "simulation.py"


def play(*given: str) -> subprocess.CompletedProcess[str]:
    """Play histories in a process of their own, whose sets are gone through alike each time."""
    return subprocess.run(
        [sys.executable, str(BENCH), "--say-every", "0", *given],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONHASHSEED": "0"},  # else it starts itself anew
    )


@pytest.mark.parametrize(
    ("first", "histories"), [(0, 8), pytest.param(8, 592, marks=pytest.mark.slow)]
)
def test_no_promise_breaks(first, histories):
    played = play("--first", str(first), "--histories", str(histories))

    assert (played.returncode, played.stderr) == (0, ""), played.stdout
    assert played.stdout.startswith(f"{histories} histories, ")


def test_a_seed_is_the_same_history_to_the_step():
    played = play("--seed", "7", "--replay", "--times", "2")

    steps = [line for line in played.stdout.splitlines() if re.match(r"\d+ \d+\.\d\d ", line)]
    one, other = re.findall(r"digest ([0-9a-f]{8})", played.stdout)
    assert len(steps) > 50
    assert one == other


@pytest.mark.slow
def test_planted_faults_are_caught_and_their_seeds_are_named():
    mutants = ["settle time ignored", "what is given back", "duplicates not recognised"]

    only = [part for name in mutants for part in ("--only", name)]
    played = play("--mutants", *only, "--first", "20000", "--histories", "60")

    assert played.returncode == 0, played.stdout + played.stderr
    assert len(re.findall(r": after \d+, seed 20\d{3}: ", played.stdout)) == 3
