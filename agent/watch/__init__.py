"""Watch the microscope folders and say which files have come to rest."""

from __future__ import annotations

from agent.watch.arrival import Arrival

__all__ = ["Arrival"]
