"""Read and crop claimed files in the worker pool."""

from __future__ import annotations

import errno
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Self

from agent.imaging import Crop, CropPool
from agent.orders.facts.process_data import (
    collect_keys,
    find_notes,
    list_missing_notes,
    merge_notes,
)
from agent.pipeline.crop_triage import merge_metadata
from agent.pipeline.in_flight import InFlightFile
from agent.store import Claim, Store, number_key
from agent.watch import Provenance, is_below_link, locate


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
        self._unread: deque[InFlightFile] = deque()
        self._reading: dict[Path, list[InFlightFile]] = {}
        self._read: deque[tuple[InFlightFile, list[Crop] | BaseException]] = deque()
        self._outcomes: Generator[tuple[Path, list[Crop] | Exception], None, None] | None = None

    @property
    def workers(self) -> int:
        """Number of files that are read at the same time."""
        return self._pool.workers

    @property
    def is_busy(self) -> bool:
        """Whether a file that was added has not been yielded yet."""
        return bool(self._unread or self._reading or self._read)

    def has_outcome(self) -> bool:
        """Return whether the next file is read already."""
        return bool(self._read) or self._pool.has_outcome()

    def add(self, claims: Iterable[Claim]) -> None:
        """Add files; each is read as soon as a worker has room for it."""
        for claim in claims:
            try:
                self._unread.append(self._open(claim))
            except OSError as error:  # the share did not give the note next to it
                path = locate(claim.folder, claim.relative)
                self._read.append((InFlightFile(claim, path, {}, None), error))

    def clear(self) -> None:
        """Forget all files; the worker that reads one of them ends."""
        outcomes, self._outcomes = self._outcomes, None
        if outcomes is not None:
            outcomes.close()
        self._unread.clear()
        self._reading.clear()
        self._read.clear()

    def iter_cropped(self) -> Iterator[tuple[InFlightFile, list[Crop] | BaseException]]:
        """Yield each file with its crops, or the error, in order of completion.

        What was not yielded when the caller stops is yielded by the next call; it is read in
        between. The table of objectives may need what only the file says (its objective, its
        size): then a file is cropped a second time with the scale that the table vouches for.
        """
        while self._read or self._receive():
            if self._read:
                yield self._read.popleft()

    def _receive(self) -> bool:
        """Wait for the next file; return False where none is left."""
        if self._outcomes is None:
            self._reading.clear()
            self._outcomes = self._pool.crop_all(_Unread(self._take_next))
        received = next(self._outcomes, None)
        if received is None:
            self._outcomes = None
            return bool(self._unread)
        path, outcome = received
        for file in self._reading.pop(path):
            if _is_below_link(file.claim):
                outcome = OSError(errno.ELOOP, "a folder above it is a link", str(path))
            if isinstance(outcome, list) and self._needs_another_scale(file, outcome):
                self._unread.appendleft(file)
            else:
                self._on_stage("read", time.perf_counter() - file.began_s)
                self._read.append((file, outcome))
        return True

    def _take_next(self) -> tuple[Path, float | None] | None:
        """Return what is read next, None where nothing is for now.

        A path that is being read waits: it may hold other bytes by the time of its later claim.
        """
        first = next((file for file in self._unread if file.path not in self._reading), None)
        if first is None:
            return None
        job = (first.path, first.um_per_px)
        together = [file for file in self._unread if (file.path, file.um_per_px) == job]
        self._unread = deque(file for file in self._unread if file not in together)
        self._reading[first.path] = together
        return job

    def _open(self, claim: Claim) -> InFlightFile:
        source = self._sources.get(claim.source, Provenance())
        path = locate(claim.folder, claim.relative)
        has_notes = self._has_sidecars and claim.origin == "watch"
        notes = find_notes(path, root=claim.folder) if has_notes else []
        notes += list_missing_notes(claim.noted, notes)
        keys = collect_keys(
            source,
            claim.relative,
            beside=merge_notes(notes),
            notes=notes,
            given=claim.process_data,
            exact_numbers=self._store.exact_numbers,
            otherwise=self._find_other_order(claim, source) if claim.origin == "watch" else {},
        )
        scale = self._find_scale(claim, source, keys.process_data)
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

    def _find_other_order(self, claim: Claim, source: Provenance) -> Mapping[str, str]:
        """Return another known order that a name means, {} if none.

        By the whole word of which the pattern took a part, or by a pattern that was edited since it
        was listed: a wrong pattern that is mended makes no order.
        """
        key = partial(number_key, exact=self._store.exact_numbers)
        today = {key(place.get("order", "")) for place in source.named_places(claim.relative)}
        others = [*source.whole_places(claim.relative)]
        for pattern, fixed in self._store.sources.list_readings(claim.source, claim.content_id):
            before = Provenance(fixed, pattern)
            others += before.named_places(claim.relative)
        known = self._store.orders.list_known({place.get("order", "") for place in others})
        return next(
            (
                place
                for place in others
                if (own := key(place.get("order", ""))) in known and own not in today
            ),
            {},
        )

    def _find_scale(
        self,
        claim: Claim,
        source: Provenance,
        process_data: Mapping[str, str],
        size: tuple[int, int] | None = None,
    ) -> float | None:
        """Return the scale that the table of objectives gives for the day of a picture.

        A file was there when it was listed at the latest, and its time of change may be that of a
        wrong clock or of a copy: where the two days have different scales, there is none.
        """
        listed_at = claim.listed_at or self._now()
        changed_s = claim.mtime_ns / 1e9 if claim.origin == "watch" else listed_at.timestamp()
        changed_at = datetime.fromtimestamp(max(min(changed_s, listed_at.timestamp()), 0), UTC)
        scales = {
            source.um_per_px(process_data, on=at.date(), size=size)
            for at in (listed_at, changed_at)
        }
        return scales.pop() if len(scales) == 1 else None

    def _needs_another_scale(self, file: InFlightFile, crops: Sequence[Crop]) -> bool:
        source = self._sources.get(file.claim.source)
        if source is None or not source.objectives or file.is_second_read or not crops:
            return False
        process_data, _ = merge_metadata(file.process_data, crops[0].metadata)
        size = (crops[0].width, crops[0].height)
        scale = self._find_scale(file.claim, source, process_data, size)
        if scale == file.um_per_px:
            return False
        file.um_per_px, file.is_second_read = scale, True
        return True


def _is_below_link(claim: Claim) -> bool:
    try:
        return is_below_link(claim.folder, claim.relative)
    except OSError:  # its folder is gone: what was read whole is what was listed
        return False


class _Unread:
    """Jobs for the workers: an iterator that may have another one after it had none."""

    def __init__(self, take: Callable[[], tuple[Path, float | None] | None]) -> None:
        self._take = take

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> tuple[Path, float | None]:
        job = self._take()
        if job is None:
            raise StopIteration
        return job
