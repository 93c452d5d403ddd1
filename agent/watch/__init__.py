"""Watching of microscope folders: which files are complete.

Events only make it faster; the listing of a folder decides.
"""

from __future__ import annotations

from agent.watch.arrival import Arrival, Facts
from agent.watch.bell import Bell
from agent.watch.listing import look_up
from agent.watch.names import EXTENSIONS, Kind, kind_of, locate, to_text
from agent.watch.provenance import Calibration, Provenance
from agent.watch.settling import Settling
from agent.watch.watched import Look, SourceState, Watched

__all__ = [
    "EXTENSIONS",
    "Arrival",
    "Bell",
    "Calibration",
    "Facts",
    "Kind",
    "Look",
    "Provenance",
    "Settling",
    "SourceState",
    "Watched",
    "kind_of",
    "locate",
    "look_up",
    "to_text",
]
