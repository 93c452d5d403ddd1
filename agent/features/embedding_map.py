"""A map of the kept embeddings: their two main directions, computed at night.

Principal components of unit embeddings, by one pass over all rows of the form that is in use; the
same rows give the same map. The newest rows are drawn.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from agent.features.feature_rows import LOOK, read_look
from agent.files.whole_file import write_whole

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from agent.features.feature_folder import FeatureFolder

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
