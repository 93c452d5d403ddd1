"""Kept features of micrographs as rows: their Parquet schema, and the buffer of new ones."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO, RawIOBase
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from model.ood.feature_arrays import FeatureBatch, FeatureForm, FrozenFeatures, pack_moments

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import pyarrow as pa
    from numpy.typing import NDArray


FORM: Final = b"martensight.form"
"""Key of the form in the metadata of a shard."""

ROWS_PER_GROUP: Final = 1024
"""Rows that are decoded together: 5 MB."""

KEY_BYTES: Final = 32

LOOK: Final = "embedding"
"""Column that micrographs are compared by: moments of the last layer. Where what heads classify
holds them, there is none, and that is compared."""


@dataclass(frozen=True, slots=True)
class FormOfRows:
    """Extraction form and crop recipe: rows of one are comparable.

    Args:
        form: What the features depend on besides the crop.
        recipe: Version of the crop recipe.
    """

    form: FeatureForm
    recipe: str

    @property
    def id(self) -> str:
        """Name of the folder of these rows."""
        return self.form.compute_id(self.recipe)

    def to_bytes(self) -> bytes:
        """Return it as JSON, for the metadata of a shard."""
        document = {"recipe": self.recipe, "form": self.form.to_json()}
        return json.dumps(document, sort_keys=True).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> FormOfRows:
        """Return what `to_bytes` wrote.

        Raises:
            ValueError: It is damaged or of another version.
        """
        try:
            document = json.loads(content)
            return cls(FeatureForm.from_json(document["form"]), str(document["recipe"]))
        except (KeyError, TypeError, UnicodeDecodeError) as error:
            raise ValueError(f"no form of features: {error}") from error


@dataclass(frozen=True, slots=True)
class FeatureRow:
    """The kept features of one micrograph.

    Args:
        sha256: Hash of the file, hex.
        page: Page of the file.
        crop: Hash of the crop's pixels, mask and scale, hex.
        um_per_px: Scale of the crop; 0 where it is unknown.
        area_px: Area of steel in pixels of the frame.
        heads: float32 bytes of what heads classify.
        moments: float16 bytes of the moments but the last layer's.
        embedding: float16 bytes of the last layer's moments; b"" where `heads` holds them.
        descriptor: float16 bytes of what the whole field is compared by.
    """

    sha256: str
    page: int
    crop: str
    um_per_px: float
    area_px: float
    heads: bytes
    moments: bytes
    embedding: bytes
    descriptor: bytes

    @property
    def key(self) -> tuple[str, int]:
        """File and page."""
        return self.sha256, self.page


def build_row(
    features: FrozenFeatures,
    *,
    sha256: str,
    page: int,
    recipe: str,
    crop: str,
    um_per_px: float | None,
) -> tuple[FormOfRows, FeatureRow]:
    """Return features as a row, and what it depends on besides the crop.

    Args:
        features: Of the crop.
        sha256: Hash of its file.
        page: Page of the file.
        recipe: Version of the crop recipe.
        crop: Hash of the crop's pixels, mask and scale.
        um_per_px: Its scale, or None.
    """
    form = FeatureForm.describe(features)
    return FormOfRows(form, recipe), FeatureRow(
        sha256=sha256,
        page=page,
        crop=crop,
        um_per_px=um_per_px or 0.0,
        area_px=features.area_px,
        heads=features.embedding.tobytes(),
        moments=pack_moments(features.whole[: -2 if form.is_long else -1]).tobytes(),
        embedding=b"" if form.is_long else pack_moments(features.whole[-1:]).tobytes(),
        descriptor=features.descriptor.astype(np.float16).tobytes(),
    )


def build_schema(of: FormOfRows) -> pa.Schema:
    """Return the Parquet schema of rows of a form."""
    import pyarrow as pa

    *first, last = of.form.moments
    own_look = [] if of.form.is_long else [(LOOK, pa.binary(2 * last))]
    first = first[:-1] if of.form.is_long else first
    return pa.schema(
        [
            ("sha256", pa.binary(KEY_BYTES)),
            ("page", pa.int32()),
            ("crop", pa.binary(KEY_BYTES)),
            ("um_per_px", pa.float32()),
            ("area_px", pa.float32()),
            ("heads", pa.binary(4 * of.form.embedding)),
            ("moments", pa.binary(2 * sum(first))),
            *own_look,
            ("descriptor", pa.binary(2 * of.form.descriptor)),
        ],
        metadata={FORM: of.to_bytes()},
    )


def fits(of: FormOfRows, row: FeatureRow) -> bool:
    """Return whether the parts of a row have the lengths of a form."""
    schema = build_schema(of)
    widths = {"embedding": 0} | {
        name: schema.field(name).type.byte_width
        for name in schema.names
        if name in ("heads", "moments", LOOK, "descriptor")
    }
    return all(len(getattr(row, name)) == width for name, width in widths.items())


def encode_shard(of: FormOfRows, rows: Sequence[FeatureRow]) -> bytes:
    """Return rows as a Parquet file, ordered by key, so that equal rows give equal bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    ordered = sorted(rows, key=lambda row: row.key)
    schema = build_schema(of)
    columns: list[list[Any]] = [
        [bytes.fromhex(row.sha256) for row in ordered],
        [row.page for row in ordered],
        [bytes.fromhex(row.crop) for row in ordered],
        *([getattr(row, field.name) for row in ordered] for field in list(schema)[3:]),
    ]
    arrays = [
        _build_array(column, field.type) for column, field in zip(columns, schema, strict=True)
    ]
    buffer = BytesIO()
    pq.write_table(
        pa.Table.from_arrays(arrays, schema=schema),
        buffer,
        row_group_size=ROWS_PER_GROUP,
        compression="NONE",  # features are nearly noise: zstd saves 6 % and costs the reader most
        use_dictionary=False,
        write_statistics=False,
    )
    return buffer.getvalue()


def _build_array(values: Sequence[Any], of: pa.DataType) -> pa.Array:
    """Return values as an array; `pa.array` would import pandas where that is installed."""
    import pyarrow as pa

    if not (pa.types.is_binary(of) or pa.types.is_fixed_size_binary(of)):
        numbers = np.array(values, of.to_pandas_dtype())
        return pa.Array.from_buffers(of, len(values), [None, pa.py_buffer(numbers)])
    lengths = [len(value) for value in values]
    if pa.types.is_fixed_size_binary(of) and set(lengths) - {of.byte_width}:
        raise ValueError(f"a value is not {of.byte_width} bytes long: those after it would shift")
    ends = np.cumsum([0, *lengths], dtype=np.int32)
    offsets = [pa.py_buffer(ends)] if pa.types.is_binary(of) else []
    content = pa.py_buffer(b"".join(values))
    return pa.Array.from_buffers(of, len(values), [None, *offsets, content])


def read_rows(table: pa.Table) -> list[FeatureRow]:
    """Return the rows of a table of a shard."""
    columns = {name: table.column(name).to_pylist() for name in table.column_names}
    columns.setdefault(LOOK, [b""] * table.num_rows)
    for name in ("sha256", "crop"):
        columns[name] = [value.hex() for value in columns[name]]
    return [
        FeatureRow(**dict(zip(columns, values, strict=True)))
        for values in zip(*columns.values(), strict=True)
    ]


def to_batch(table: pa.Table) -> FeatureBatch:
    """Return the rows of a table as arrays, without a Python object per value."""
    return FeatureBatch(
        read_fixed(table, "heads", np.float32),
        read_fixed(table, "descriptor", np.float16).astype(np.float32),
        np.asarray(table.column("area_px"), np.float32),
        np.asarray(table.column("um_per_px"), np.float32) > 0,
    )


def read_look(table: pa.Table) -> NDArray[np.float32]:
    """Return what micrographs are compared by, (n, d) float32, unit rows."""
    vectors = (
        read_fixed(table, LOOK, np.float16).astype(np.float32)
        if LOOK in table.column_names
        else read_fixed(table, "heads", np.float32).copy()
    )
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return vectors


def choose_columns(wanted: Sequence[str], present: Sequence[str]) -> list[str]:
    """Return the columns to read: those that are wanted, and `heads` where there is no look."""
    return [
        name if name in present else "heads" for name in wanted if name in present or name == LOOK
    ]


def read_fixed(table: pa.Table, name: str, dtype: type[np.generic]) -> NDArray[Any]:
    """Return a column of fixed length as (n, values), without a copy where it has one chunk."""
    import pyarrow as pa

    column = table.column(name).combine_chunks()
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    width = column.type.byte_width
    parts = [
        np.frombuffer(chunk.buffers()[1], np.uint8)[
            chunk.offset * width : (chunk.offset + len(chunk)) * width
        ]
        for chunk in chunks
    ]
    flat = parts[0] if len(parts) == 1 else np.concatenate([np.zeros(0, np.uint8), *parts])
    return flat.view(dtype).reshape(table.num_rows, -1)


# --- write-ahead buffer of kept features: one file per process and form, appended to row by row ---
# A killed process leaves at most one torn record, which a reader skips: its features are made
# again.


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
                return os.path.samestat(path.stat(), os.fstat(file.fileno()))
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
