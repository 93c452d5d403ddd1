"""Measure a round of the outbox in a lab with many old orders.

Usage: python tests/bench/outbox.py --orders 10000 --fields 3
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from labs.lab import DAY, RING_A, TAXONOMY, Lab

from agent.orders import Specifications
from agent.orders.judge.assessed import OrderPolicy
from agent.orders.judge.examination import SWEPT_PER_ROUND, Position, begin
from agent.orders.lims.outbox import OutboxFormat, record_revisions
from agent.store import Decision, Entry

RULES = OrderPolicy(Specifications((RING_A,)), TAXONOMY)
SITE = OutboxFormat("Plant 1")
LATER = DAY + timedelta(days=100)


def main() -> None:
    """Fill a lab, and print the processor time of rounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--orders", type=int, default=10_000, help="old orders, most without fields"
    )
    parser.add_argument("--fields", type=int, default=3, help="fields of each swept order")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder) / "data")
        empty = given.orders - SWEPT_PER_ROUND
        entries = [Entry(f"{n:06d}") for n in range(empty)]
        lab.store.orders.take_list(entries, "list.csv", by="bench", at=DAY)
        for n in range(SWEPT_PER_ROUND):
            for field in range(given.fields):
                keys = {"order": f"x{n}", "specimen": "1", "field": str(field)}
                public_id = lab.take("G8", material="100Cr6", **keys)
                lab.store.labels.decide(public_id, Decision("code", "Ada", code="G8"), at=DAY)
        measure(lab, "nothing is due", 10**9)
        measure(lab, f"{SWEPT_PER_ROUND} orders, all new to the LIMS", empty)
        measure(lab, f"{SWEPT_PER_ROUND} orders, nothing new", empty)
        lab.store.close()


def measure(lab: Lab, what: str, swept: int) -> None:
    """Print the processor time of one round that begins behind an order's row id."""
    heads = begin(lab.store)
    position = Position(heads.trail, heads.result, swept)
    start_s = time.process_time()
    record_revisions(lab.store, RULES, SITE, now=LATER, position=position)
    print(f"{what}: {time.process_time() - start_s:.2f} s of processor time")


if __name__ == "__main__":
    main()
