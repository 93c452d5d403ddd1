"""Read and crop claimed files in the worker pool."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

from agent.orders.waiting_notes import list_missing_notes
from agent.pipeline.crop_triage import merge_metadata
from agent.pipeline.in_flight import InFlightFile
from agent.process_data import collect_keys, find_notes, merge_notes
from agent.watch import Provenance, locate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from agent.imaging import Crop, CropPool
    from agent.store import Claim, Store


class FileReader:
    """Read claimed files and crop their micrographs.

    Args:
        store: Open.
        pool: Worker processes.
        now: Returns the time, aware UTC.
        sources: Source → what it and its paths say of a file.
        has_sidecars: Whether the notes next to a picture are read.
        on_stage: Called with "read" and how long it took, s.
    """

    def __init__(
        self,
        store: Store,
        pool: CropPool,
        now: Callable[[], datetime],
        sources: Mapping[str, Provenance],
        on_stage: Callable[[str, float], None],
        *,
        has_sidecars: bool,
    ) -> None:
        self._store, self._pool, self._now, self._sources = store, pool, now, sources
        self._on_stage, self._has_sidecars = on_stage, has_sidecars

    def has_outcome(self) -> bool:
        """Return whether the next file is read already."""
        return self._pool.has_outcome()

    def iter_cropped(
        self, claims: Sequence[Claim]
    ) -> Iterator[tuple[InFlightFile, list[Crop] | BaseException]]:
        """Yield each file with its crops, or the error, in order of completion.

        The table of objectives may need what only the file says (its objective, its size): then
        a file is cropped a second time with the scale that the table vouches for.
        """
        jobs: deque[InFlightFile] = deque()
        for claim in claims:
            try:
                jobs.append(self._open(claim))
            except OSError as error:  # the share did not give the note next to it
                yield InFlightFile(claim, locate(claim.folder, claim.relative), {}, None), error
        while jobs:
            by_path: dict[Path, list[InFlightFile]] = {}
            for file in jobs:
                by_path.setdefault(file.path, []).append(file)
            round_ = [(path, files[0].um_per_px) for path, files in by_path.items()]
            jobs.clear()
            for path, outcome in self._pool.crop_all(round_):
                for file in by_path[path]:
                    if isinstance(outcome, list) and self._needs_another_scale(file, outcome):
                        jobs.append(file)
                    else:
                        self._on_stage("read", time.perf_counter() - file.began_s)
                        yield file, outcome

    def _open(self, claim: Claim) -> InFlightFile:
        source = self._sources.get(claim.source, Provenance())
        path = locate(claim.folder, claim.relative)
        notes = find_notes(path) if self._has_sidecars and claim.origin == "watch" else []
        notes += list_missing_notes(claim.noted, notes)
        keys = collect_keys(
            source,
            claim.relative,
            beside=merge_notes(notes),
            notes=notes,
            given=claim.process_data,
            exact_numbers=self._store.exact_numbers,
        )
        scale = source.um_per_px(keys.process_data, on=self._now().date())
        began_s = time.perf_counter()
        return InFlightFile(
            claim,
            path,
            keys.process_data,
            scale,
            conflict=keys.conflict,
            claims=keys.claims,
            began_s=began_s,
        )

    def _needs_another_scale(self, file: InFlightFile, crops: Sequence[Crop]) -> bool:
        source = self._sources.get(file.claim.source)
        if source is None or not source.objectives or file.is_second_read or not crops:
            return False
        process_data, _ = merge_metadata(file.process_data, crops[0].metadata)
        size = (crops[0].width, crops[0].height)
        scale = source.um_per_px(process_data, on=self._now().date(), size=size)
        if scale == file.um_per_px:
            return False
        file.um_per_px, file.is_second_read = scale, True
        return True
