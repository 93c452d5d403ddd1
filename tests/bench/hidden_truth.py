"""Play many histories of a world with a hidden truth and count what is said falsely.

    python tests/bench/hidden_truth.py [--histories 20000] [--acts 50] [--seed 0] [--minutes M]

Each history is fifty acts by people who are no leads (`tests/hidden_truth.py`). It prints how many
histories, acts and statements there were, how many bad orders were completed as somebody would who
wants them to conform, and how many statements were false. A failing history is printed; with
`--shrink` its shortest form. Exit code 3 if anything was said falsely.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
BATCH = 20


def main() -> int:
    """Run what was asked for."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--histories", type=int, default=20_000)
    asked.add_argument("--acts", type=int, default=50)
    asked.add_argument("--seed", type=int, default=0)
    asked.add_argument("--minutes", type=float, default=0.0, help="Stop after so long; 0: never.")
    asked.add_argument("--shrink", action="store_true")
    given = asked.parse_args()
    from hidden_truth import COUNTS, HiddenTruth  # noqa: PLC0415
    from hypothesis import HealthCheck, Phase, seed, settings  # noqa: PLC0415
    from hypothesis.stateful import run_state_machine_as_test  # noqa: PLC0415

    began_s, used_s, failures, batch = time.monotonic(), time.process_time(), [], 0
    phases = [Phase.generate, *([Phase.shrink] if given.shrink else [])]
    while COUNTS["histories"] < given.histories:
        if given.minutes and time.monotonic() - began_s > 60 * given.minutes:
            break
        try:
            run_state_machine_as_test(
                seed(given.seed * 1_000_000 + batch)(HiddenTruth),
                settings=settings(
                    max_examples=BATCH,
                    stateful_step_count=given.acts,
                    deadline=None,
                    database=None,
                    phases=phases,
                    suppress_health_check=list(HealthCheck),
                ),
            )
        except Exception as error:  # noqa: BLE001 - whatever a history meets is a finding
            failures.append(f"seed {given.seed}, batch {batch}: {error!r}")
            failures += getattr(error, "__notes__", [])
        batch += 1
    took_s = time.process_time() - used_s
    for what in ("histories", "acts", "statements", "bad statements", "bad orders"):
        print(f"{what:36} {COUNTS[what]}")
    for what in ("false conforms", "untrue reasons", "honest orders refused"):
        print(f"{what:36} {COUNTS[what]}  (target 0)")
    for what in ("honest orders", "honest orders held by a failed check"):
        print(f"{what:36} {COUNTS[what]}")
    each_s = took_s / max(COUNTS["histories"], 1)
    print(f"{'processor time':36} {took_s:.0f} s, {each_s:.2f} s each")
    for line in failures[:20]:
        print(line)
    return 3 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
