"""Whatever a seed lets happen to disk, database, clock and machines, every promise is kept.

A seed that breaks one prints itself; `python tests/bench/simulation.py --seed N --replay` prints
each of its steps.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

if os.name != "posix":
    pytest.skip("the simulated disk is a POSIX one", allow_module_level=True)

BENCH = Path(__file__).parent / "bench" / "simulation.py"


def play(*given: str) -> subprocess.CompletedProcess[str]:
    """Play histories in a process of their own, whose sets are gone through alike each time."""
    return subprocess.run(
        [sys.executable, str(BENCH), "--say-every", "0", *given],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("first", [0, 250])
def test_no_promise_breaks_in_250_histories(first):
    played = play("--first", str(first), "--histories", "250")

    assert (played.returncode, played.stderr) == (0, ""), played.stdout
    assert played.stdout.startswith("250 histories, ")


def test_a_seed_is_the_same_history_to_the_step():
    first, second = play("--seed", "7", "--replay"), play("--seed", "7", "--replay")

    steps = [line for line in first.stdout.splitlines() if re.match(r"\d+ \d+\.\d\d ", line)]
    digests = [re.findall(r"digest ([0-9a-f]{8})", one.stdout) for one in (first, second)]
    assert len(steps) > 50
    assert digests[0] == digests[1]
    assert digests[0]


@pytest.mark.parametrize("mutant", ["settle time ignored", "what is given back"])
def test_a_planted_fault_is_caught_and_its_seed_is_named(mutant):
    played = play("--mutants", "--only", mutant, "--first", "20000", "--histories", "60")

    assert played.returncode == 0, played.stdout + played.stderr
    assert re.search(r": after \d+: ", played.stdout)
