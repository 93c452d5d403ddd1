"""Watching of microscope folders: which files are complete.

Events only make it faster; the listing of a folder decides.
"""

from __future__ import annotations

from agent.watch.arrival import Facts, ListedFile
from agent.watch.bell import EventListener
from agent.watch.listing import find_facts
from agent.watch.names import EXTENSIONS, Kind, classify_name, locate, to_text
from agent.watch.provenance import Calibration, Provenance
from agent.watch.settling import StabilityTracker
from agent.watch.watched import SourceState, SourceWatcher, WatchResult

__all__ = [
    "EXTENSIONS",
    "Calibration",
    "EventListener",
    "Facts",
    "Kind",
    "ListedFile",
    "Provenance",
    "SourceState",
    "SourceWatcher",
    "StabilityTracker",
    "WatchResult",
    "classify_name",
    "find_facts",
    "locate",
    "to_text",
]
