"""Features of crops, kept by content hash, so that no training passes the same crop twice.

A file is named by what its features depend on, so it is never stale, only unused. Its first bytes
are the checksum of the rest: a damaged file is deleted and its features are computed again. The
folder may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING
from uuid import uuid4

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from model.framing import Field

    Arrays = Mapping[str, NDArray[np.generic]]

_SUFFIX = ".features"
_CHECKSUM_BYTES = 32
_LIBRARIES = ("torch", "torchvision", "openvino", "numpy")


def hash_field(field: Field) -> str:
    """Return the SHA-256 of everything of a field that features depend on, as hex."""
    digest = hashlib.sha256(f"{field.valid.shape}{field.um_per_px}".encode())
    digest.update(np.ascontiguousarray(field.pixels).data)
    digest.update(np.packbits(field.valid).data)
    return digest.hexdigest()


class FeatureCache:
    """Features by content hash in a folder of limited size.

    Args:
        folder: Created when the first features are kept.
        limit_bytes: Largest size of all files; the longest unused are deleted first. 0: features
            are neither kept nor read.
    """

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self._folder, self._limit = folder, limit_bytes
        self._written_bytes = 0

    def get_or_compute(
        self, field: Field, made_by: str, compute: Callable[[], Arrays]
    ) -> dict[str, NDArray[np.generic]]:
        """Return the features of a field: those kept, or newly computed ones.

        Args:
            field: The field.
            made_by: What the features depend on besides the field: weights, engine, options.
            compute: Computes the features, arrays by name.
        """
        if not self._limit:
            return dict(compute())
        parts = [hash_field(field), made_by, *map(_find_version, _LIBRARIES)]
        name = hashlib.sha256("\n".join(parts).encode()).hexdigest()
        file = self._folder / name[:2] / f"{name}{_SUFFIX}"
        kept = _read(file)
        if kept is None:
            kept = {key: np.ascontiguousarray(array) for key, array in compute().items()}
            self._write(file, save(kept))
        return kept

    def _write(self, file: Path, data: bytes) -> None:
        """Write a file under another name and rename it; without room features are not kept."""
        part = file.with_name(f"{uuid4().hex}.part")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(hashlib.sha256(data).digest() + data)
            part.replace(file)
        except OSError:
            _delete(part)
            return
        self._written_bytes += len(data)
        if self._written_bytes > self._limit // 10:
            self.prune()

    def prune(self) -> None:
        """Delete the longest unused files until the rest is within the limit."""
        self._written_bytes = 0
        files = []
        for path in self._folder.rglob("*"):
            try:
                if path.is_file():
                    files.append((path.stat().st_mtime, path.stat().st_size, path))
            except OSError:  # deleted by another process
                continue
        excess = sum(size for _, size, _ in files) - self._limit
        for _, size, path in sorted(files):
            if excess <= 0:
                break
            _delete(path)
            excess -= size


def _read(file: Path) -> dict[str, NDArray[np.generic]] | None:
    """Return the arrays of a file and mark it as used; None if it is missing or damaged."""
    try:
        content = file.read_bytes()
        os.utime(file)
    except OSError:
        return None
    checksum, data = content[:_CHECKSUM_BYTES], content[_CHECKSUM_BYTES:]
    try:
        if hashlib.sha256(data).digest() == checksum:
            return dict(load(data))
    except SafetensorError:
        pass
    _delete(file)
    return None


def _delete(file: Path) -> None:
    """Delete a file; one that another process has open on Windows stays until the next time."""
    with suppress(OSError):
        file.unlink()


def _find_version(library: str) -> str:
    try:
        return f"{library} {version(library)}"
    except PackageNotFoundError:
        return library
