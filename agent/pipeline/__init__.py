"""The way of one file from the queue to a stored result.

`triage_crops` decides and writes nothing; `batch` writes and decides nothing. A failure is told
apart by its cause: the file (set aside), the share, disk or database (released, the attempt not
counted, and `StalledError` where no file can go on), or this program (tried again later).
"""

from __future__ import annotations

from agent.pipeline.batch import LEASE_S, Pipeline
from agent.pipeline.crop_triage import BundleChoice, NeedleMeasuring
from agent.pipeline.in_flight import BatchOutcome, StalledError
from agent.pipeline.result_archive import choose_archiving, run_here, run_in_thread, select_maps

__all__ = [
    "LEASE_S",
    "BatchOutcome",
    "BundleChoice",
    "NeedleMeasuring",
    "Pipeline",
    "StalledError",
    "choose_archiving",
    "run_here",
    "run_in_thread",
    "select_maps",
]
