"""Derive process data and scale of a micrograph from its source and path, before it is opened."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from agent.settings import objective_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import date


@dataclass(frozen=True, slots=True)
class Calibration:
    """One calibrated objective: an independent scale.

    Args:
        name: As in the process data, such as "50x".
        um_per_px: µm per pixel, measured with a stage micrometer.
        width: Image width in pixels for which it is valid, or None for any.
        height: Image height in pixels for which it is valid, or None for any.
        valid_from: First day of validity, or None.
    """

    name: str
    um_per_px: float
    width: int | None = None
    height: int | None = None
    valid_from: date | None = None


@dataclass(frozen=True, slots=True)
class Provenance:
    """Data common to all files of one source.

    Args:
        fixed: Process data of every file.
        pattern: Regular expression with named groups, searched in the relative path, or "".
        objectives: The table of calibrated objectives.
    """

    fixed: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    pattern: str = ""
    objectives: tuple[Calibration, ...] = ()

    def process_data(self, relative: str) -> dict[str, str]:
        """Return the process data of one file; the path overrides the fixed values."""
        return self._found(relative)

    def named_places(self, relative: str) -> Iterator[dict[str, str]]:
        """Yield the matches of the pattern in the path, and in the file name where they differ.

        The pattern is searched, so a folder that resembles a name matches first.

        Args:
            relative: The path below the source.
        """
        path = relative.replace("\\", "/")
        whole = self._found(path)
        name = self._found(path.rpartition("/")[2])
        yield whole
        if name and any(whole.get(key, value) != value for key, value in name.items()):
            yield name

    def _found(self, text: str) -> dict[str, str]:
        match = re.search(self.pattern, text) if self.pattern else None
        groups = {k: v.strip() for k, v in match.groupdict().items() if v} if match else {}
        return {**self.fixed, **groups}

    def um_per_px(
        self,
        process_data: Mapping[str, str],
        *,
        on: date,
        size: tuple[int, int] | None = None,
    ) -> float | None:
        """Return the scale in the table of objectives, or None where missing or ambiguous.

        Args:
            process_data: Its `objective`, else its `magnification`, names the entry.
            on: The day; the newest entry valid on it counts.
            size: (width, height) of the image in pixels, or None if unknown.
        """
        entries = list(self._matching(process_data, on, size))
        newest = max(
            (entry.valid_from.toordinal() if entry.valid_from else 0 for entry in entries),
            default=0,
        )
        scales = {
            entry.um_per_px
            for entry in entries
            if (entry.valid_from.toordinal() if entry.valid_from else 0) == newest
        }
        return scales.pop() if len(scales) == 1 else None

    def _matching(
        self, process_data: Mapping[str, str], on: date, size: tuple[int, int] | None
    ) -> Iterator[Calibration]:
        name = objective_key(
            process_data.get("objective") or process_data.get("magnification") or ""
        )
        for entry in self.objectives:
            fits = size is None or (
                entry.width in (None, size[0]) and entry.height in (None, size[1])
            )
            begun = entry.valid_from is None or entry.valid_from <= on
            if name and objective_key(entry.name) == name and fits and begun:
                yield entry
