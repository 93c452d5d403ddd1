"""Comparing and calibrating needles from the shell: shown before it is set, and only by a lead."""

from __future__ import annotations

import json

import numpy as np
import pytest
from labs.lab import DAY
from labs.shell import Shell

from agent.needle_truth import needle_calibration
from agent.needle_truth.comparison import COLUMNS, COMPARISON
from agent.store import NewNeedle
from model.needles.version import read_version

UM = 0.2


@pytest.fixture
def shell(tmp_path, capsys):
    opened = Shell(tmp_path, capsys)
    opened.write("agent.toml", '[site]\nname = "Plant 1"\n[orders]\nleads = ["Lea"]\n')
    opened.lab.compares_places = False
    yield opened
    opened.lab.store.close()


def measure(shell, *, fields, needles=10, ratio=1.2):
    """Let Ann measure needles, and keep a comparison in which the program is off by a ratio."""
    rng, rows, store = np.random.default_rng(4), [], shell.lab.store
    for number in range(fields):
        field = shell.lab.take("G8", name=f"f{number}.tif", um_per_px=UM)
        for _ in range(needles):
            length = float(8 * rng.lognormal(0, 0.3))
            needle = NewNeedle((5.0, 5.0), (5.0 + length / UM, 5.0), UM)
            row = store.needle_measurements.add(field, needle, by="Ann", at=DAY)
            program = length * ratio * float(rng.lognormal(0, 0.1))
            rows.append([row, field, "G", "LOM-07", "Ann", length, "matched", program, True])
    assert len(rows[0]) == len(COLUMNS)
    facts = {"network": read_version(), "counts": {}, "rows": rows}
    store.records.add(COMPARISON, "", by="Lea", at=DAY, facts=facts)


def test_a_calibration_is_shown_before_a_lead_sets_it_and_is_withdrawn(shell):
    measure(shell, fields=30)
    words = ("needles", "calibrate", "--subtype", "G", "--microscope", "LOM-07")
    signed = ("--by", "Lea", "--reason", "October")

    code, shown = shell.agent(*words, "--dry-run")
    assert (code, "would be set" in shown) == (0, True)
    assert needle_calibration(shell.lab.store, "G", "LOM-07") is None
    assert shell.agent(*words, "--by", "Ann", "--reason", "x")[0] == 2
    assert shell.agent(*words, "--by", "Lea")[0] == 2
    assert needle_calibration(shell.lab.store, "G", "LOM-07") is None

    code, text = shell.agent(*words, *signed)

    made = needle_calibration(shell.lab.store, "G", "LOM-07")
    assert code == 0
    assert "version G/LOM-07 1 set" in text
    assert made.ratio.value == pytest.approx(1.2, rel=0.02)
    assert (made.by, made.needles, made.fields) == ("Lea", 300, 30)
    assert shell.agent(*words, "--off", *signed)[0] == 0
    assert needle_calibration(shell.lab.store, "G", "LOM-07") is None


def test_with_too_few_fields_it_names_how_many_are_missing_and_sets_nothing(shell):
    measure(shell, fields=4)

    code, text = shell.agent("needles", "calibrate", "--by", "Lea", "--reason", "x", "--json")

    (group,) = json.loads(text)
    assert code == 3
    assert "6 fields with 10 measured needles are missing" in group["refused"]
    assert (group["calibration"], group["set"]) == (None, False)
    assert needle_calibration(shell.lab.store, "G", "LOM-07") is None


def test_compare_measures_the_archived_crops_and_keeps_a_record(shell):
    field = shell.lab.take("G8", um_per_px=UM)
    needle = NewNeedle((5.0, 5.0), (60.0, 60.0), UM)
    shell.lab.store.needle_measurements.add(field, needle, by="Ann", at=DAY)

    code, text = shell.agent("needles", "compare", "--json")

    document = json.loads(text.splitlines()[0])
    assert code == 0
    assert document["record"] == shell.lab.store.records.latest(COMPARISON, "").id
    assert document["groups"][0]["counts"]["not_measured"] == 1


def test_without_measured_needles_compare_tells_how_they_are_measured(shell):
    code, text = shell.agent("needles", "compare")

    assert code == 0
    assert "Reviewers measure them in the viewer" in text
