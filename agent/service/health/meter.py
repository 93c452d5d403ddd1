"""Count what the agent does, and lay the numbers where the pages' process finds them for /metrics.

The file is in Prometheus' own text format. Counters begin at zero with each start of the agent, as
Prometheus expects.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    write_to_textfile,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from agent.service.health.problems import Problems

STAGE_BUCKETS_S = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 60)
LAG_BUCKETS_S = (0.3, 1, 3, 10, 30, 60, 300, 1800, 3600, 6 * 3600, 24 * 3600)
MOST_AT_REST = 100_000
"""Number of waiting files whose time of completion is remembered; for more it is not."""


class Meter:
    """Counters of one agent. Thread-safe.

    Args:
        now_s: Steady clock, in seconds.
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._now_s, self._lock = now_s, threading.Lock()
        self._rested_s: dict[tuple[str, str], float] = {}
        self._stages = Histogram(
            "martensight_stage_seconds",
            "Time of a file in a stage: read and cropped, judged, kept.",
            ["stage"],
            buckets=STAGE_BUCKETS_S,
            registry=self._registry,
        )
        self._lag = Histogram(
            "martensight_rest_to_stored_seconds",
            "Time from a file's coming to rest to its stored result.",
            buckets=LAG_BUCKETS_S,
            registry=self._registry,
        )
        self._fates = Counter(
            "martensight_fates",
            "Files by what became of them.",
            ["fate"],
            registry=self._registry,
        )
        self._faults = Counter(
            "martensight_faults",
            "Troubles that began, by subject.",
            ["subject"],
            registry=self._registry,
        )
        self._problems = Gauge(
            "martensight_problems", "Troubles that hold now.", registry=self._registry
        )
        self._beat = Gauge(
            "martensight_agent_heartbeat_timestamp_seconds",
            "When the agent wrote these numbers.",
            registry=self._registry,
        )

    def rested(self, source: str, relatives: Iterable[str]) -> None:
        """Record that files of a source are complete now."""
        now_s = self._now_s()
        with self._lock:
            for relative in relatives:
                if len(self._rested_s) < MOST_AT_REST:
                    self._rested_s[source, relative] = now_s

    def staged(self, stage: str, seconds: float) -> None:
        """Count how long a file was in a stage."""
        self._stages.labels(stage).observe(seconds)

    def fated(self, source: str, relative: str, fate: str) -> None:
        """Count what became of a file: "stored", "duplicate", "set_aside" or "failed"."""
        self._fates.labels(fate).inc()
        with self._lock:
            rested_s = self._rested_s.pop((source, relative), None)
        if fate == "stored" and rested_s is not None:
            self._lag.observe(self._now_s() - rested_s)

    def troubled(self, subject: str) -> None:
        """Count a problem that began."""
        self._faults.labels(subject).inc()

    def write(self, file: Path, problems: Problems) -> None:
        """Write the numbers to a file; a full disk is no matter."""
        self._problems.set(len(problems.all()))
        self._beat.set_to_current_time()
        try:
            write_to_textfile(str(file), self._registry)
        except OSError:
            return
