"""Watching of microscope folders: which files are complete.

Events only make it faster; the listing of a folder decides. The watcher itself is imported when it
is first used: every command needs the names of files, and only the service watches.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from agent.watch.file_types import EXTENSIONS, Kind, classify_name, locate, to_text
from agent.watch.listed_file import Facts, ListedFile
from agent.watch.listing import find_facts
from agent.watch.path_metadata import Calibration, Provenance
from agent.watch.stability import StabilityTracker

if TYPE_CHECKING:
    from agent.watch.fs_events import EventListener
    from agent.watch.source_watcher import SourceState, SourceWatcher, WatchResult

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

_WHERE = {
    "EventListener": "fs_events",
    "SourceState": "source_watcher",
    "SourceWatcher": "source_watcher",
    "WatchResult": "source_watcher",
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'agent.watch' has no attribute {name!r}")
    value = getattr(import_module(f"agent.watch.{_WHERE[name]}"), name)
    globals()[name] = value
    return value
