"""Write-ahead buffer of kept features: one file per process and form, appended to row by row.

A killed process leaves at most one torn record, which a reader skips: its features are made again.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import struct
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from agent.features.feature_rows import FeatureRow, FormOfRows, fits

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import RawIOBase
    from pathlib import Path

BUFFER: Final = ".buffer"
TAKEN: Final = ".taken"
"""End of the name of a buffer that is being compacted."""

_MAGIC: Final = b"\xf7MSF"
_HEAD: Final = struct.Struct("<4sI8s")  # magic, length, first bytes of the SHA-256
_PARTS: Final = ("heads", "moments", "embedding", "descriptor")
_FORM, _ROW = b"F", b"R"
_TRIES: Final = 3


class FeatureBuffer:
    """Appends rows to the buffer of this process.

    Args:
        folder: Folder of the buffers; created with the first row.
        writer: Name of this agent.
    """

    def __init__(self, folder: Path, writer: str) -> None:
        self._folder = folder
        self._name = f"{re.sub(r'[^A-Za-z0-9_-]', '_', writer)[:40]}-{os.getpid()}"
        self._lock = threading.Lock()  # the threads of this process append to one file

    def append(self, of: FormOfRows, row: FeatureRow) -> None:
        """Append one row.

        Raises:
            OSError: It cannot be written; what is in the buffer stays readable.
        """
        path = self._folder / f"{of.id}.{self._name}{BUFFER}"
        for _ in range(_TRIES):
            self._folder.mkdir(parents=True, exist_ok=True)
            with self._lock:
                is_appended = self._append_to(path, of, row)
            if is_appended:
                return

    def _append_to(self, path: Path, of: FormOfRows, row: FeatureRow) -> bool:
        """Append a row; return False if the buffer was taken away, perhaps before it was read."""
        with path.open("ab", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            record = _pack(_ROW + _row_to_bytes(row))
            content = record if end else _pack(_FORM + of.to_bytes()) + record
            try:
                _write_all(file, content)
            except OSError:
                with suppress(OSError):
                    file.truncate(end)
                raise
            try:
                return _is_same(path, file)
            except FileNotFoundError:
                return False


def read_buffer(path: Path) -> list[tuple[FormOfRows, list[FeatureRow]]]:
    """Return the forms of a buffer, each with its rows; torn records are skipped.

    A row is of the last form before it. One that does not fit that form is skipped.
    """
    parts: list[tuple[FormOfRows, list[FeatureRow]]] = []
    for payload in _iter_records(path.read_bytes()):
        with suppress(ValueError, KeyError, TypeError):
            if payload[:1] == _FORM:
                parts.append((FormOfRows.from_bytes(payload[1:]), []))
            elif parts:
                of, rows = parts[-1]
                row = _row_from_bytes(payload[1:])
                if fits(of, row):
                    rows.append(row)
    return parts


def _is_same(path: Path, file: RawIOBase) -> bool:
    return os.path.samestat(path.stat(), os.fstat(file.fileno()))


def _write_all(file: RawIOBase, content: bytes) -> None:
    written = file.write(content)
    if written != len(content):
        raise OSError(errno.ENOSPC, f"only {written} of {len(content)} bytes were written")


def _pack(payload: bytes) -> bytes:
    return _HEAD.pack(_MAGIC, len(payload), hashlib.sha256(payload).digest()[:8]) + payload


def _iter_records(content: bytes) -> Iterator[bytes]:
    at = 0
    while (at := content.find(_MAGIC, at)) >= 0:
        start = at + _HEAD.size
        if start <= len(content):
            _magic, length, digest = _HEAD.unpack_from(content, at)
            payload = content[start : start + length]
            if hashlib.sha256(payload).digest()[:8] == digest:
                yield payload
                at = start + length
                continue
        at += 1


def _row_to_bytes(row: FeatureRow) -> bytes:
    parts = [getattr(row, name) for name in _PARTS]
    facts = {
        "sha256": row.sha256,
        "page": row.page,
        "crop": row.crop,
        "um_per_px": row.um_per_px,
        "area_px": row.area_px,
        "lengths": [len(part) for part in parts],
    }
    return b"\n".join((json.dumps(facts).encode(), b"".join(parts)))


def _row_from_bytes(payload: bytes) -> FeatureRow:
    head, _, body = payload.partition(b"\n")
    facts = json.loads(head)
    parts: list[bytes] = []
    at = 0
    for length in facts.pop("lengths"):
        parts.append(body[at : at + length])
        at += length
    heads, moments, embedding, descriptor = parts
    return FeatureRow(
        **facts, heads=heads, moments=moments, embedding=embedding, descriptor=descriptor
    )
