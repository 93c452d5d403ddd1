"""Say what a source and a path tell of a micrograph, before anybody has opened it.

In:  a source's fixed values, its pattern, its table of objectives. Out: process data, and the
scale that the table vouches for. Next: `pipeline`.
"""

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
    """One calibrated objective: the independent witness for a scale.

    Args:
        name: As it appears in the process data, such as "50x".
        um_per_px: µm per pixel, measured with a stage micrometer.
        width, height: Image size in pixels that it holds for, or None for any.
        valid_from: First day it holds, or None.
    """

    name: str
    um_per_px: float
    width: int | None = None
    height: int | None = None
    valid_from: date | None = None


@dataclass(frozen=True, slots=True)
class Provenance:
    """What holds for every file of one source.

    Args:
        fixed: Process data that every file has.
        pattern: Regular expression with named groups, searched in the relative path, or "".
        objectives: The table of calibrated objectives.
    """

    fixed: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    pattern: str = ""
    objectives: tuple[Calibration, ...] = ()

    def process_data(self, relative: str) -> dict[str, str]:
        """Say the process data of one file; what its path says stands above the fixed values."""
        return self._found(relative)

    def named_places(self, relative: str) -> Iterator[dict[str, str]]:
        """Yield what the pattern finds in a path, and in the file's name where that differs.

        A pattern is searched, so a folder that looks like a name is found first.

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
        found = re.search(self.pattern, text) if self.pattern else None
        told = {k: v.strip() for k, v in found.groupdict().items() if v} if found else {}
        return {**self.fixed, **told}

    def um_per_px(
        self,
        process_data: Mapping[str, str],
        *,
        on: date,
        size: tuple[int, int] | None = None,
    ) -> float | None:
        """Say the scale the table vouches for, or None where it has nothing to say or doubts.

        Args:
            process_data: Its `objective`, else its `magnification`, names the entry.
            on: The day; the newest entry that is valid by then holds.
            size: (width, height) of the image in pixels, or None where not yet known.
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
