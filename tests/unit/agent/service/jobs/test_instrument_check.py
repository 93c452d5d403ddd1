"""A bundle that was never checked on this PC is checked within minutes, also on a busy one."""

from __future__ import annotations

import os

import cv2
import numpy as np
import pytest
from labs import lab
from labs.pipeline import Parrot
from labs.pool_children import killing_what_reads

from agent.orders.instruments.instrument_checks import CONTROL
from agent.service.data_folder import agent_name
from agent.service.health.problems import Problems
from agent.service.jobs.instrument_check import InstrumentCheck
from agent.settings import Settings

ROUND_S, QUERY_S = 30.0, 4.0


def draw_picture(seed: int) -> bytes:
    noise = np.random.default_rng(seed).integers(60, 200, (480, 640, 3), np.uint8)
    return cv2.imencode(".png", noise)[1].tobytes()


class Clock:
    """Seconds that pass with each query, as reading an image takes its time."""

    def __init__(self) -> None:
        self.s = 0.0

    def __call__(self) -> float:
        self.s += QUERY_S
        return self.s


class BusyLab:
    """A worker whose rounds always have files."""

    def __init__(self, folder) -> None:
        self.clock, self.problems = Clock(), Problems()
        self.lab = lab.Lab(folder / "data")
        self.store = self.lab.store
        settings = Settings(store={"folder": folder / "data"})
        self.check = InstrumentCheck(
            settings,
            self.store,
            now=lambda: lab.minutes(self.clock.s / 60),
            problems=self.problems,
            steady=self.clock,
        )

    def work(self, for_s: float, classifier=None) -> float:
        """Process rounds for so long; return the largest time (s) that a check took of one."""
        end_s, longest_s = self.clock.s + for_s, 0.0
        while self.clock.s < end_s:
            self.clock.s += ROUND_S
            began_s = self.clock.s
            self.check.after_round(8, classifier)
            longest_s = max(longest_s, self.clock.s - began_s)
        return longest_s

    def last(self):
        return self.store.records.latest(CONTROL, agent_name())


@pytest.fixture
def busy(tmp_path):
    busy = BusyLab(tmp_path)
    yield busy
    busy.store.close()


def test_a_busy_lab_checks_a_bundle_that_it_never_checked_within_minutes(busy) -> None:
    busy.work(600)
    without_bundle = busy.last()
    busy.work(600, Parrot())
    with_bundle = busy.last()

    assert without_bundle.facts["passed"]
    assert without_bundle.facts["bundle"] == ""
    assert len(without_bundle.facts["findings"]) == 3
    assert with_bundle.facts["bundle"] == Parrot().name
    assert len(with_bundle.facts["findings"]) == 3
    assert busy.problems.all() == []


def test_a_pause_of_twenty_seconds_is_enough_whenever_it_begins(busy) -> None:
    for files in (0, 0, 8, 0, 0, 0, 0, 0, 0):  # a look every four seconds
        busy.check.after_round(files, None)

    assert busy.last().facts["passed"]
    assert busy.clock.s <= 60


def test_the_check_of_a_busy_day_is_done_in_parts_too(busy) -> None:
    busy.work(600)
    first = busy.last()
    busy.clock.s += 25 * 3600
    while not busy.check.judged and busy.clock.s < 27 * 3600:
        busy.work(ROUND_S)
    in_part = busy.last()
    busy.work(1800)

    assert in_part == first
    assert busy.last().at > first.at
    assert busy.last().facts["passed"]


@pytest.mark.skipif(os.name == "nt", reason="Windows refuses memory, it kills no process for it")
def test_a_check_that_the_system_stops_is_a_problem_until_it_is_done(busy) -> None:
    with killing_what_reads():
        for _ in range(20):  # eighty seconds without a file
            busy.check.after_round(0, None)
    problems = busy.problems.all()
    for _ in range(200):
        busy.check.after_round(0, None)

    (problem,) = problems
    assert "control check: not done" in problem
    assert busy.last().facts["passed"]
    assert busy.problems.all() == []


def test_it_is_checked_in_parts_and_once(busy) -> None:
    longest_s = busy.work(600)
    checked = busy.last()
    afterwards_s = busy.work(1800)

    assert longest_s == 5 * QUERY_S  # two of the three images
    assert afterwards_s == QUERY_S
    assert checked is not None
    assert busy.last() == checked


def test_what_is_put_in_taken_out_or_replaced_between_two_parts_is_judged_as_it_is_at_the_end(busy):
    reference = busy.lab.folder / "reference"
    reference.mkdir()
    for name in ("b.png", "c.png", "d.png", "e.png"):
        (reference / name).write_bytes(draw_picture(0))
    seen = len(busy.check.judged)
    while seen < 5:  # the three of the program, b and c
        busy.work(ROUND_S)
        seen = len(busy.check.judged)
    (reference / "a.png").write_bytes(draw_picture(1))
    (reference / "b.png").write_bytes(b"no picture")
    (reference / "c.png").unlink()

    busy.work(1800)

    names = [name for name, _, _ in busy.last().facts["findings"]]
    bad = [name for name, _, is_good in busy.last().facts["findings"] if not is_good]
    assert names[3:] == ["a.png", "b.png", "d.png", "e.png"]
    assert bad == ["b.png"]


def test_a_first_check_that_fails_is_a_problem(busy) -> None:
    reference = busy.lab.folder / "reference"
    reference.mkdir()
    (reference / "own.png").write_bytes(b"no picture")

    busy.work(900)

    assert busy.last().facts["passed"] is False
    assert "own.png" in busy.problems.all()[0]
