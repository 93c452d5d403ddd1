"""Lengths of needles, measured by people and by the program."""

from __future__ import annotations

import numpy as np

from agent.needle_truth import LengthPair
from agent.needle_truth.comparison import COMPARISON
from agent.store import NewNeedle
from labs.lab import DAY
from model.needles.version import read_version

UM = 0.2


def fill(lab, *, fields, needles=10, ratio=1.2):
    """Let two people measure needles, and keep a comparison in which the program is off."""
    rng, rows = np.random.default_rng(4), []
    for number in range(fields):
        by = ("Ann", "Bea")[number % 2]
        field = lab.take("G8", name=f"f{number}.tif", um_per_px=UM)
        for place in range(needles):
            length = float(8 * rng.lognormal(0, 0.4))
            needle = NewNeedle((5.0, 5.0), (5.0 + length / UM, 5.0), UM)
            row = lab.store.needle_measurements.add(field, needle, by=by, at=DAY)
            if place == 0:
                rows.append([row, field, "G", "LOM-07", by, length, "unmatched", None, False])
                continue
            program = length * ratio * float(rng.lognormal(0, 0.15))
            agrees = abs(program / length - 1) < 0.3
            rows.append([row, field, "G", "LOM-07", by, length, "matched", program, agrees])
    facts = {"network": read_version(), "counts": {}, "rows": rows}
    lab.store.records.add(COMPARISON, "", by="Lea", at=DAY, facts=facts)


def simulate(rng, *, fields, needles, bias=1.0, between=0.1, within=0.2, slope=0.0):
    """Draw pairs of a program that is off by `bias`, by field and by needle, and by length."""
    pairs = []
    for number in range(fields):
        shift = np.log(bias) + rng.normal(0, between)
        for _ in range(needles + (number % 3)):
            true = 12 * rng.lognormal(0, 0.5)
            person = true * rng.lognormal(0, 0.03)
            program = true * np.exp(shift + slope * np.log(true / 12) + rng.normal(0, within))
            pairs.append(LengthPair(f"f{number:02d}", "Ann", person, program))
    return pairs
