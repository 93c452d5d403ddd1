"""Trouble with the clock or the disk is said once when it begins, and once when it is over."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import structlog

from agent.service.health.problems import HostMonitor, dump_clocks, load_clocks

AT = datetime(2026, 11, 24, 21, 0, tzinfo=UTC)


class Pc:
    """Clocks and a disk that a test sets."""

    def __init__(self, folder) -> None:
        self.wall, self.steady_s, self.free = AT, 100.0, 50_000_000_000
        self.vitals = HostMonitor(
            folder, now=lambda: self.wall, steady=lambda: self.steady_s, free=lambda _: self.free
        )

    def passes(self, seconds: float, *, set_by: float = 0.0) -> None:
        self.wall += timedelta(seconds=seconds + set_by)
        self.steady_s += seconds


@pytest.fixture
def pc(tmp_path) -> Pc:
    return Pc(tmp_path)


def events(pc: Pc, *steps) -> list[str]:
    with structlog.testing.capture_logs() as heard:
        pc.vitals.look()
        for step in steps:
            step()
            pc.vitals.look()
    return [one["event"] for one in heard]


def test_a_clock_that_is_set_is_an_event_and_a_pc_that_slept_is_none(pc) -> None:
    slept = events(pc, lambda: pc.passes(40_000))
    set_back = events(pc, lambda: pc.passes(5, set_by=-7200), lambda: pc.passes(5))

    assert slept == []
    assert set_back == ["clock.jumped"]


@pytest.mark.parametrize(
    ("ran_s", "runs_s", "set_by_s"),
    [
        (90_000.0, 90_600.0, 18_000.0),  # ahead while no agent ran
        (90_000.0, 90_600.0, -18_000.0),
        (90_000.0, 90_600.0, 0.0),
        (90_000.0, 60.0, 0.0),  # the PC was off
        (60.0, 600.0, 0.0),
    ],
)
def test_a_clock_that_was_set_while_no_agent_ran_is_known_where_the_pc_was_not_off(
    pc, tmp_path, ran_s, runs_s, set_by_s
) -> None:
    was_off = runs_s < ran_s or ran_s < 100
    pc.steady_s = runs_s
    pc.wall += timedelta(days=1) if was_off else timedelta(seconds=runs_s - ran_s + set_by_s)
    before = load_clocks(dump_clocks((AT, ran_s)))
    monitor = HostMonitor(tmp_path, now=lambda: pc.wall, steady=lambda: pc.steady_s, before=before)

    assert monitor.look() == timedelta(seconds=set_by_s)
    assert monitor.look() == timedelta(0)


def test_a_small_correction_of_the_clock_is_no_event(pc) -> None:
    assert events(pc, lambda: pc.passes(5, set_by=2)) == []


def test_a_disk_that_stays_full_for_a_day_is_one_event(pc) -> None:
    def fill() -> None:
        pc.free = 900_000_000

    def hover() -> None:
        pc.free = 1_100_000_000

    def clear() -> None:
        pc.free = 90_000_000_000

    assert events(pc, fill, hover, fill, *[lambda: None] * 100) == ["disk.low"]
    assert events(pc, clear, clear) == ["disk.roomy"]


def test_a_data_folder_that_is_away_is_no_matter_of_the_disk(tmp_path) -> None:
    def gone(_) -> int:
        raise FileNotFoundError

    vitals = HostMonitor(tmp_path, now=lambda: AT, steady=lambda: 0.0, free=gone)

    vitals.look()
