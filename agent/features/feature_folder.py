"""The folder of kept features: Parquet shards named by their hash, and buffers of new rows.

A shard's name is the SHA-256 of its bytes, and a note next to it says how many rows it holds: a
damaged, exchanged or lost shard is noticed, deleted, and its rows are made again. Nothing in this
folder is evidence; it may be deleted at any time.

    kept-features/<form>/<sha256>.parquet  .json
    kept-features/buffers/<form>.<agent>-<pid>.buffer
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import stat
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from agent.features.feature_rows import (
    BUFFER,
    FORM,
    TAKEN,
    FeatureBuffer,
    FeatureRow,
    FormOfRows,
    choose_columns,
    encode_shard,
    read_buffer,
    read_fixed,
    read_rows,
)
from agent.files.whole_file import PART, compute_hash, write_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa
    import pyarrow.parquet as pq
    from numpy.typing import NDArray


BUFFERS: Final = "buffers"
SHARD, NOTE = ".parquet", ".json"
ROWS_PER_SHARD: Final = 16_384
"""About 90 MB."""
SMALL_ROWS, MOST_SMALL = 4096, 8
"""Shards with fewer rows are joined as soon as this agent has so many of them."""
_FORM_NAME = re.compile(r"[0-9a-f]{16}")
_SHARD_NAME = re.compile(r"[0-9a-f]{64}")


class DamagedShardError(Exception):
    """A shard that is not what its name says."""


@dataclass(frozen=True, slots=True)
class ShardFault:
    """A shard that cannot be used.

    Args:
        form: Of its rows.
        shard: Its hash.
        sentence: What is wrong.
        rows: How many rows it had; None where no note says it.
    """

    form: str
    shard: str
    sentence: str
    rows: int | None


@dataclass(frozen=True, slots=True)
class FeatureStatus:
    """What is kept.

    Args:
        forms: Form → recipe, rows, shards and size_bytes.
        buffered: Bytes of rows that are not in a shard yet.
    """

    forms: Mapping[str, Mapping[str, Any]]
    buffered: int

    @property
    def size_bytes(self) -> int:
        """Size of everything that is kept."""
        return self.buffered + sum(int(form["size_bytes"]) for form in self.forms.values())

    @property
    def rows(self) -> int:
        """Rows in shards, of all forms."""
        return sum(int(form["rows"]) for form in self.forms.values())

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "rows": self.rows,
            "size_bytes": self.size_bytes,
            "buffered_bytes": self.buffered,
            "forms": [{"form": name, **facts} for name, facts in self.forms.items()],
        }


@dataclass(frozen=True, slots=True)
class Selected:
    """Keys of the kept rows of a form: 12 bytes each, since there may be ten millions.

    Args:
        keys: (n,) ascending, from `compute_key`.
        um_per_px: (n,) scales of the crops, 0 where unknown.
    """

    keys: NDArray[np.uint64]
    um_per_px: NDArray[np.float32]

    def __len__(self) -> int:
        """Return the number of micrographs."""
        return len(self.keys)

    def has(self, sha256: str, page: int, um_per_px: float | None) -> bool:
        """Return whether the features of a micrograph are kept at its scale."""
        key = compute_key(sha256, page)
        at = int(np.searchsorted(self.keys, key))
        if at == len(self.keys) or self.keys[at] != key:
            return False
        kept = float(self.um_per_px[at])
        return abs(kept - (um_per_px or 0.0)) <= 1e-6 * max(kept, 1e-6)


def compute_key(sha256: str, page: int) -> np.uint64:
    """Return the first bytes of the hash of a file, mixed with the page."""
    return np.uint64(_mix(np.array([int(sha256[:16], 16)], np.uint64), np.array([page]))[0])


def _mix(heads: NDArray[np.uint64], pages: NDArray[np.integer]) -> NDArray[np.uint64]:
    mixed: NDArray[np.uint64] = heads ^ (pages.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    return mixed


class FeatureFolder:
    """The kept features of one site; safe to share between processes and agents.

    Args:
        folder: Folder of the features.
        writer: Name of this agent; it joins only its own small shards.
    """

    def __init__(self, folder: Path, writer: str) -> None:
        self.folder, self._writer = folder, writer
        self.buffer = FeatureBuffer(folder / BUFFERS, writer)
        self._sound: dict[Path, tuple[int, int]] = {}

    # -------------------------------------------------------------- reading

    def list_forms(self) -> list[str]:
        """Return the forms that have shards, the one that was written to last at the end."""
        newest = {
            name: max(map(_changed_at, self.list_shards(name)), default=0)
            for name in self._list_folders()
        }
        return sorted((name for name in newest if newest[name]), key=newest.__getitem__)

    def _list_folders(self) -> list[str]:
        with suppress(OSError):
            return sorted(
                path.name for path in self.folder.iterdir() if _FORM_NAME.fullmatch(path.name)
            )
        return []

    def list_shards(self, form: str) -> list[Path]:
        """Return the shards of a form, oldest first."""
        with suppress(OSError):
            shards = [
                path
                for path in (self.folder / form).glob(f"*{SHARD}")
                if _SHARD_NAME.fullmatch(path.stem)
            ]
            return sorted(shards, key=lambda path: (_changed_at(path), path.name))
        return []

    def open_shard(self, path: Path) -> pq.ParquetFile:
        """Open a shard after comparing it with its hash, and its form with its folder.

        Raises:
            DamagedShardError: It is cut, not what its name says, or of another form than its
                folder.
            OSError: It is gone or cannot be read.
        """
        import pyarrow.parquet as pq

        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):
            raise DamagedShardError(f"{path}: not a file")
        if self._sound.get(path) != (facts.st_mtime_ns, facts.st_size):
            if compute_hash(path) != path.stem:
                raise DamagedShardError(f"{path}: not what was written (its hash differs)")
            if _read_form(path) != path.parent.name:
                raise DamagedShardError(f"{path}: of another form than its folder")
            self._sound[path] = (facts.st_mtime_ns, facts.st_size)
        return pq.ParquetFile(path, memory_map=False)

    def iter_tables(
        self, form: str, columns: Sequence[str] | None = None
    ) -> Iterator[tuple[FormOfRows, pa.Table]]:
        """Yield the row groups of a form, the newest shard first.

        A damaged shard is deleted; one that cannot be read for now is left out.
        """
        import pyarrow as pa

        for path in reversed(self.list_shards(form)):
            try:
                with self.open_shard(path) as shard:
                    of = FormOfRows.from_bytes(shard.schema_arrow.metadata[FORM])
                    for group in range(shard.num_row_groups):
                        names = columns and choose_columns(columns, shard.schema_arrow.names)
                        yield of, shard.read_row_group(group, columns=names)
            except DamagedShardError:
                self._discard(path)
            except (ValueError, KeyError, OSError, pa.ArrowException):
                continue

    def select_keys(self, form: str) -> Selected:
        """Return which micrographs have features of a form."""
        keys, scales = [np.zeros(0, np.uint64)], [np.zeros(0, np.float32)]
        for _of, table in self.iter_tables(form, ["sha256", "page", "um_per_px"]):
            heads = np.ascontiguousarray(read_fixed(table, "sha256", np.uint8)[:, :8]).view(">u8")
            keys.append(_mix(heads[:, 0].astype(np.uint64), np.asarray(table.column("page"))))
            scales.append(np.asarray(table.column("um_per_px"), np.float32))
        unique, first = np.unique(np.concatenate(keys), return_index=True)  # the newest is first
        return Selected(unique, np.concatenate(scales)[first])

    # -------------------------------------------------------------- writing

    def compact(self) -> int:
        """Write the rows of all buffers into shards, and join small shards; return their number.

        Raises:
            OSError: The folder cannot be written; the buffers stay.
        """
        by_form: dict[str, tuple[FormOfRows, list[FeatureRow], list[Path]]] = {}
        for path in self._take_buffers():
            with suppress(OSError):  # another agent was faster, or it cannot be read: it stays
                parts = read_buffer(path)
                if not parts:
                    path.unlink(missing_ok=True)
                for of, rows in parts:
                    gathered = by_form.setdefault(of.id, (of, [], []))
                    gathered[1].extend(rows)
                    gathered[2].append(path)
        written = 0
        for of, rows, paths in by_form.values():
            self._write(of, rows)
            written += len(rows)
            for path in paths:
                path.unlink(missing_ok=True)
        for form in self.list_forms():
            self._join_small(form)
        return written

    def _take_buffers(self) -> list[Path]:
        """Rename the buffers, so that no process appends to them any more; oldest first."""
        taken = []
        with suppress(OSError):
            for path in list((self.folder / BUFFERS).glob(f"*{BUFFER}")):
                with suppress(OSError):  # open in another process, on Windows
                    path.rename(path.with_name(f"{path.name}.{secrets.token_hex(4)}{TAKEN}"))
            taken = list((self.folder / BUFFERS).glob(f"*{TAKEN}"))
        return sorted(taken, key=_changed_at)

    def _write(self, of: FormOfRows, rows: Sequence[FeatureRow]) -> list[Path]:
        """Write rows, oldest first, into shards; of one micrograph the last row counts."""
        newest = list({row.key: row for row in rows}.values())
        paths = []
        for start in range(0, len(newest), ROWS_PER_SHARD):
            part = newest[start : start + ROWS_PER_SHARD]
            content = encode_shard(of, part)
            path = self.folder / of.id / f"{hashlib.sha256(content).hexdigest()}{SHARD}"
            note = {"rows": len(part), "size_bytes": len(content), "writer": self._writer}
            write_whole({path: content})
            write_whole({path.with_suffix(NOTE): json.dumps(note).encode()})
            paths.append(path)
        return paths

    def _join_small(self, form: str) -> None:
        small = [path for path in self.list_shards(form) if self._is_own_small(path)]
        if len(small) < MOST_SMALL:
            return
        import pyarrow as pa

        rows: list[FeatureRow] = []
        of: FormOfRows | None = None
        joined = []
        for path in small:
            try:
                with self.open_shard(path) as shard:
                    of = FormOfRows.from_bytes(shard.schema_arrow.metadata[FORM])
                    rows += read_rows(shard.read())
            except DamagedShardError:
                self._discard(path)
                continue
            except (ValueError, KeyError, OSError, pa.ArrowException):
                continue
            joined.append(path)
        if of is None:
            return
        changed_ns = max(map(_changed_at, joined))
        written = self._write(of, rows)
        for path in written:  # as old as its rows: a newer row of another agent still counts
            os.utime(path, ns=(changed_ns, changed_ns))
        for path in joined:
            if path not in written:
                self._discard(path)

    def _is_own_small(self, path: Path) -> bool:
        note = _read_note(path)
        return note.get("writer") == self._writer and note.get("rows", SMALL_ROWS) < SMALL_ROWS

    def _discard(self, path: Path) -> None:
        """Delete a shard and its note; its rows are made again."""
        self._sound.pop(path, None)
        for file in (path.with_suffix(NOTE), path):
            with suppress(OSError):
                file.unlink(missing_ok=True)

    # -------------------------------------------------------------- checks

    def needs_tending(self) -> bool:
        """Return whether rows are to be written into a shard, or a shard was not compared yet."""
        with suppress(OSError):
            if any((self.folder / BUFFERS).iterdir()):
                return True
        for form in self._list_folders():
            shards = set(self.list_shards(form))
            notes = {path.with_suffix(SHARD) for path in (self.folder / form).glob(f"*{NOTE}")}
            if shards - self._sound.keys() or notes - shards:
                return True
        return False

    @property
    def compared(self) -> dict[Path, tuple[int, int]]:
        """Shards that agreed with their hash, each with its time of change (ns) and size."""
        return dict(self._sound)

    def skip_compared(self, shards: Mapping[Path, tuple[int, int]]) -> None:
        """Mark shards as compared, as another process has done it."""
        self._sound |= shards

    def iter_faults(self, *, is_enough: Callable[[], bool] = lambda: False) -> Iterator[ShardFault]:
        """Compare every shard with its hash, and every note with its shard.

        Args:
            is_enough: Called before a shard that was not compared yet; True leaves out the rest.
        """
        import pyarrow as pa

        for form in self._list_folders():
            for path in self.list_shards(form):
                if path not in self._sound and is_enough():
                    continue
                try:
                    self.open_shard(path).close()
                except (DamagedShardError, ValueError, KeyError) as error:
                    yield ShardFault(form, path.stem, str(error), _read_note(path).get("rows"))
                except (OSError, pa.ArrowException) as error:
                    sentence = f"{path}: cannot be read ({error})"
                    yield ShardFault(form, path.stem, sentence, _read_note(path).get("rows"))
            for note in sorted((self.folder / form).glob(f"*{NOTE}")):
                shard_path = note.with_suffix(SHARD)
                if not shard_path.is_file():
                    rows = _read_note(shard_path).get("rows")
                    yield ShardFault(form, note.stem, f"{shard_path}: missing", rows)

    def discard(self, fault: ShardFault) -> None:
        """Delete what is left of a shard that cannot be used."""
        self._discard(self.folder / fault.form / f"{fault.shard}{SHARD}")

    def sweep(self, *, before_s: float) -> int:
        """Delete incomplete files of killed agents; return their number.

        Args:
            before_s: Only files last changed before this, in seconds since 1970.
        """
        with suppress(OSError):
            old = [
                part for part in self.folder.glob(f"*/.*{PART}") if part.stat().st_mtime < before_s
            ]
            for part in old:
                part.unlink(missing_ok=True)
            return len(old)
        return 0

    def measure(self) -> FeatureStatus:
        """Return what is kept, by the notes; nothing is read whole."""
        forms: dict[str, dict[str, Any]] = {}
        for form in self.list_forms():
            shards = self.list_shards(form)
            notes = [_read_note(path) for path in shards]
            forms[form] = {
                "rows": sum(int(note.get("rows", 0)) for note in notes),
                "shards": len(shards),
                "size_bytes": sum(int(note.get("size_bytes", 0)) for note in notes),
            }
        buffered = 0
        with suppress(OSError):
            buffered = sum(path.stat().st_size for path in (self.folder / BUFFERS).iterdir())
        return FeatureStatus(forms, buffered)


def _read_form(path: Path) -> str:
    """Return the form of the rows of a shard, "" for one of an unknown version."""
    import pyarrow.parquet as pq

    with suppress(ValueError):
        metadata = pq.read_schema(path).metadata or {}
        return FormOfRows.from_bytes(metadata.get(FORM, b"")).id
    return ""


def _read_note(path: Path) -> dict[str, Any]:
    note_path = path.with_suffix(NOTE)
    if note_path in _NOTES:
        return _NOTES[note_path]
    try:
        note = json.loads(note_path.read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(note, dict):
        return {}
    note = {name: value for name, value in note.items() if type(value) is _NOTED.get(name)}
    if len(_NOTES) >= _MOST_NOTES:
        _NOTES.clear()
    _NOTES[note_path] = note
    return note


_NOTED: Final = {"rows": int, "size_bytes": int, "writer": str}
"""What a note says; a value of another type is damage and counts as unknown."""
_NOTES: dict[Path, dict[str, Any]] = {}
"""Notes that were read: one of a name never changes, and the status asks every few seconds."""
_MOST_NOTES = 10_000


def _changed_at(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


# --- write buffers of kept features into shards and compare shards with their hashes --------------


def tend_folder(
    _settings: object,
    *,
    folder: Path,
    writer: str,
    compared: Mapping[Path, tuple[int, int]],
    check_s: float,
) -> Iterator[str | ShardFault | dict[Path, tuple[int, int]]]:
    """Compact a folder, then compare its shards and delete those that are damaged.

    Args:
        folder: Of the kept features.
        writer: Name of this agent.
        compared: Shards that were compared before, from an earlier call.
        check_s: After so many seconds no further shard is compared.

    Yields:
        Why the folder cannot be written, and nothing more; else a fault of each damaged shard, last
        the shards that were compared.
    """
    features = FeatureFolder(folder, writer)
    features.skip_compared(compared)
    try:
        features.compact()
    except OSError as error:
        yield error.strerror or str(error)
        return
    ends_s = time.monotonic() + check_s
    for fault in features.iter_faults(is_enough=lambda: time.monotonic() > ends_s):
        features.discard(fault)
        yield fault
    yield features.compared
