"""Watching of microscope folders: which files are complete.

Events only make it faster; the listing of a folder decides.
"""

from __future__ import annotations

from agent.watch.file_types import EXTENSIONS, Kind, classify_name, locate, to_text
from agent.watch.fs_events import EventListener
from agent.watch.listed_file import Facts, ListedFile
from agent.watch.listing import find_facts
from agent.watch.path_metadata import Calibration, Provenance
from agent.watch.source_watcher import SourceState, SourceWatcher, WatchResult
from agent.watch.stability import StabilityTracker

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
