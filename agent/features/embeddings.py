"""Use the kept embeddings: micrographs that look alike, and the map of all of them.

Principal components of unit embeddings, by one pass over all rows of the form that is in use; the
same rows give the same map. The newest rows are drawn.
"""

from __future__ import annotations

import io
import threading
import zipfile
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from agent.features.feature_folder import DamagedShardError, FeatureFolder
from agent.features.feature_rows import LOOK, choose_columns, read_fixed, read_look
from agent.files.whole_file import write_whole

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pyarrow as pa
    from numpy.typing import NDArray


MOST_POINTS: Final = 50_000
"""Micrographs that are drawn."""
MOST_FITTED: Final = 1_000_000
"""Newest rows that the directions are computed from: more do not turn them."""
FILE: Final = "map.npz"
DAMAGED: Final = (
    OSError, ValueError, KeyError, IndexError, EOFError, TypeError, RuntimeError, OverflowError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What reading a changed file raises: one changed byte of a ZIP may mean "encrypted"."""


@dataclass(frozen=True, slots=True)
class EmbeddingMap:
    """Places of micrographs on the map.

    Args:
        sha256: (n,) hashes of the files, 32 bytes each, the newest shard first.
        page: (n,) pages of the files.
        xy: (n, 2) float32 in [0, 1].
        explained: Share of the variance that the two directions have.
        rows: How many rows the directions were computed from.
    """

    sha256: NDArray[np.bytes_]
    page: NDArray[np.int32]
    xy: NDArray[np.float32]
    explained: float
    rows: int


def compute_map(folder: FeatureFolder) -> EmbeddingMap | None:
    """Compute the map of the form that was written to last; None where nothing is kept."""
    forms = folder.list_forms()
    if not forms:
        return None
    fitted = _fit(folder, forms[-1])
    if fitted is None:
        return None
    mean, axes, explained, rows = fitted
    seen: set[tuple[bytes, int]] = set()
    hashes: list[bytes] = []
    pages: list[int] = []
    places: list[NDArray[np.float64]] = []
    for _of, table in folder.iter_tables(forms[-1], ["sha256", "page", LOOK]):
        xy = (read_look(table).astype(np.float64) - mean) @ axes
        keys = zip(
            table.column("sha256").to_pylist(), table.column("page").to_pylist(), strict=True
        )
        for row, key in enumerate(keys):
            if key not in seen and len(seen) < MOST_POINTS:
                seen.add(key)
                hashes.append(key[0])
                pages.append(key[1])
                places.append(xy[row])
        if len(seen) >= MOST_POINTS:
            break
    return EmbeddingMap(
        np.frombuffer(b"".join(hashes), "V32"),
        np.array(pages, np.int32),
        _scale(np.stack(places)),
        explained,
        rows,
    )


def _fit(
    folder: FeatureFolder, form: str
) -> tuple[NDArray[np.float64], NDArray[np.float64], float, int] | None:
    """Return mean (d,), two axes (d, 2), their share of the variance, and the number of rows."""
    count = 0
    total: NDArray[np.float64] | None = None
    outer: NDArray[np.float64] | None = None
    for _of, table in folder.iter_tables(form, [LOOK]):
        units = read_look(table).astype(np.float64)
        if total is None or outer is None:
            total, outer = np.zeros(units.shape[1]), np.zeros((units.shape[1],) * 2)
        total += units.sum(axis=0)
        outer += units.T @ units
        count += len(units)
        if count >= MOST_FITTED:
            break
    if total is None or outer is None or not count:
        return None
    mean = total / count
    covariance = outer / count - np.outer(mean, mean)
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    axes = vectors[:, ::-1][:, :2]
    largest = np.abs(axes).argmax(axis=0)
    axes = axes * np.where(axes[largest, np.arange(2)] < 0, -1.0, 1.0)  # the sign is arbitrary
    explained = float(values[-2:].sum() / max(float(values.sum()), 1e-12))
    return mean, axes, explained, count


def _scale(xy: NDArray[np.float64]) -> NDArray[np.float32]:
    """Scale places into the unit square; one in a thousand at each side lies on its edge."""
    low, high = np.quantile(xy, 0.001, axis=0), np.quantile(xy, 0.999, axis=0)
    side = max(float((high - low).max()), 1e-9)
    centred = (xy - (low + high) / 2) / side + 0.5
    return np.clip(centred, 0.0, 1.0).astype(np.float32)


def save_map(folder: Path, found: EmbeddingMap) -> None:
    """Save a map; it is complete or absent."""
    buffer = io.BytesIO()
    np.savez(
        buffer,
        sha256=found.sha256.view(np.uint8).reshape(-1, 32),
        page=found.page,
        xy=found.xy,
        facts=np.array([found.explained, found.rows], np.float64),
    )
    write_whole({folder / FILE: buffer.getvalue()})


def load_map(folder: Path) -> EmbeddingMap | None:
    """Load a map; None where there is none, or it is damaged: the next night computes it again."""
    try:
        with np.load(folder / FILE, allow_pickle=False) as stored:
            sha256 = np.ascontiguousarray(stored["sha256"]).view("V32")[:, 0]
            explained, rows = stored["facts"]
            found = EmbeddingMap(sha256, stored["page"], stored["xy"], float(explained), int(rows))
    except DAMAGED:
        return None
    same = len(found.page) == len(found.sha256) == len(found.xy)
    is_whole = same and found.xy.ndim == 2 and bool(np.isfinite(found.xy).all())  # noqa: PLR2004
    return found if is_whole else None


# --- find the micrographs that look most like one, by the cosine of their kept embeddings ---------
# Embeddings are held as 8-bit integers, 64 MB for 100 000 micrographs: the cosine is off by less
# than 0.001. The newest rows are held, up to a limit.


SAME_SCALE: Final = 1.1
"""Largest ratio of two scales that count as the same: objectives differ by more."""
_STEP: Final = 512
"""Rows that are multiplied at a time: they stay in the processor's cache. MEASURED for 100 000 rows
in all: 10 ms of processor time, with 8192 at a time 100 ms."""
_LARGEST: Final = 127


@dataclass(frozen=True, slots=True)
class Similar:
    """A micrograph that looks like another one.

    Args:
        sha256: Hash of its file.
        page: Page of the file.
        cosine: Of the two embeddings, at most 1.
        um_per_px: Its scale; 0 where it is unknown.
        is_same_scale: Both scales are known, and the same.
    """

    sha256: str
    page: int
    cosine: float
    um_per_px: float
    is_same_scale: bool


@dataclass(frozen=True, slots=True)
class _Part:
    """The rows of one shard."""

    sha256: NDArray[np.bytes_]  # (n,) V32
    page: NDArray[np.int32]
    um_per_px: NDArray[np.float32]
    codes: NDArray[np.int8]  # (n, d)
    steps: NDArray[np.float32]  # (n,)

    def find(self, sha256: str, page: int) -> int | None:
        rows = np.flatnonzero(
            (self.sha256 == np.frombuffer(bytes.fromhex(sha256), "V32")[0]) & (self.page == page)
        )
        return int(rows[0]) if len(rows) else None


class SimilarIndex:
    """Embeddings of the newest micrographs, read again where shards have changed.

    Args:
        folder: The kept features.
        most_rows: How many micrographs are held.
    """

    def __init__(self, folder: FeatureFolder, *, most_rows: int = 200_000) -> None:
        self._folder, self._most_rows = folder, most_rows
        self._parts: dict[Path, _Part] = {}
        self._lock = threading.Lock()

    @property
    def folder(self) -> Path:
        """Folder of the kept features."""
        return self._folder.folder

    def find(self, sha256: str, page: int, *, n: int) -> list[Similar] | None:
        """Return the micrographs that look most like one, those of its scale first.

        Args:
            sha256: Hash of its file.
            page: Page of the file.
            n: How many at most.

        Returns:
            None where no features of it are kept.
        """
        with self._lock:
            parts = self._refresh()
        place = next(
            ((part, row) for part in parts if (row := part.find(sha256, page)) is not None), None
        )
        if place is None:
            return None
        part, row = place
        vector = part.codes[row].astype(np.float32) * part.steps[row]
        own_um_per_px = float(part.um_per_px[row])
        found: dict[tuple[str, int], Similar] = {}
        for other in parts:  # newest first: an older row of the same micrograph does not count
            for hit in _iter_best(other, vector, own_um_per_px, n + 1):
                found.setdefault((hit.sha256, hit.page), hit)
        found.pop((sha256, page), None)
        ranked = sorted(found.values(), key=lambda hit: (not hit.is_same_scale, -hit.cosine))
        return ranked[:n]

    def count(self) -> int:
        """Return how many rows are held."""
        with self._lock:
            return sum(len(part.page) for part in self._refresh())

    def _refresh(self) -> list[_Part]:
        """Read the shards that are new; return the parts, newest first."""
        forms = self._folder.list_forms()
        paths = self._folder.list_shards(forms[-1])[::-1] if forms else []
        kept: dict[Path, _Part] = {}
        rows = 0
        for path in paths:
            if rows >= self._most_rows:
                break
            part = self._parts.get(path) or self._read(path)
            if part is not None:
                kept[path] = part
                rows += len(part.page)
        self._parts = kept
        return list(kept.values())

    def _read(self, path: Path) -> _Part | None:
        import pyarrow as pa

        try:
            with self._folder.open_shard(path) as shard:
                groups = [
                    _read_group(
                        shard.read_row_group(
                            group, columns=choose_columns(COLUMNS, shard.schema_arrow.names)
                        )
                    )
                    for group in range(shard.num_row_groups)
                ]
        except (DamagedShardError, OSError, ValueError, KeyError, pa.ArrowException):
            return None  # the periodic job reports it and deletes it
        return _Part(*(np.concatenate(column) for column in zip(*groups, strict=True)))


COLUMNS: Final = ("sha256", "page", "um_per_px", LOOK)


def _read_group(table: pa.Table) -> tuple[NDArray[np.generic], ...]:
    vectors = read_look(table)
    steps = np.maximum(np.abs(vectors).max(axis=1), 1e-12) / _LARGEST
    codes = np.rint(vectors / steps[:, None]).astype(np.int8)
    # The quantised vector is given unit length again, so that a copy has the cosine 1.
    lengths = np.linalg.norm(codes.astype(np.float32), axis=1)
    return (
        read_fixed(table, "sha256", np.uint8).view("V32")[:, 0],
        np.asarray(table.column("page"), np.int32),
        np.asarray(table.column("um_per_px"), np.float32),
        codes,
        (1.0 / np.maximum(lengths, 1e-12)).astype(np.float32),
    )


def _iter_best(
    part: _Part, vector: NDArray[np.float32], um_per_px: float, n: int
) -> Iterator[Similar]:
    """Yield the best rows of a part among those of the same scale, and among the others."""
    cosines = np.empty(len(part.page), np.float32)
    block = np.empty((_STEP, len(vector)), np.float32)
    for start in range(0, len(cosines), _STEP):
        codes = part.codes[start : start + _STEP]
        rows_of_step = block[: len(codes)]
        np.copyto(rows_of_step, codes, casting="unsafe")
        np.dot(rows_of_step, vector, out=cosines[start : start + _STEP])
    cosines *= part.steps
    known = (part.um_per_px > 0) & (um_per_px > 0)
    ratio = np.where(known, part.um_per_px / max(um_per_px, 1e-12), np.inf)
    same = known & (ratio <= SAME_SCALE) & (ratio >= 1 / SAME_SCALE)
    for rows, is_same in ((np.flatnonzero(same), True), (np.flatnonzero(~same), False)):
        if len(rows) > n:
            rows = rows[np.argpartition(cosines[rows], -n)[-n:]]  # noqa: PLW2901 - the best of them
        for row in rows:
            yield Similar(
                part.sha256[row].tobytes().hex(),
                int(part.page[row]),
                min(float(cosines[row]), 1.0),
                float(part.um_per_px[row]),
                is_same,
            )
