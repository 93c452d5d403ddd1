"""Record which files of a data folder are in the object storage too, and which only there.

A small SQLite file next to the archive. It holds nothing that is evidence: if it is lost or
damaged, files are compared with the storage and sent again, and what was only there is looked up
by name.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

log = structlog.get_logger()

FILE: Final = "objects.sqlite"
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS object (
    name TEXT PRIMARY KEY, size INTEGER NOT NULL, changed_ns INTEGER NOT NULL,
    sha256 TEXT NOT NULL, is_local INTEGER NOT NULL, used_s REAL NOT NULL,
    is_own INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS object_used ON object (is_local, used_s);
CREATE TABLE IF NOT EXISTS scanned (folder TEXT PRIMARY KEY, changed_ns INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS doomed (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS read_act (id INTEGER PRIMARY KEY CHECK (id = 1), number INTEGER);
"""


@dataclass(frozen=True, slots=True)
class Uploaded:
    """A file that is in the object storage.

    Args:
        name: In the data folder, with "/".
        size: Bytes.
        changed_ns: When the local file was changed last, nanoseconds since 1970.
        sha256: Of its bytes.
        is_local: It is in the data folder, too.
        is_own: It was sent from this data folder.
    """

    name: str
    size: int
    changed_ns: int
    sha256: str
    is_local: bool
    is_own: bool = False


class UploadIndex:
    """The index of one data folder; safe to share between threads and processes.

    Args:
        folder: The data folder.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE

    def find(self, name: str) -> Uploaded | None:
        """Return what is known of a name, None where nothing is."""
        with self._open() as opened:
            row = opened.execute(
                "SELECT name, size, changed_ns, sha256, is_local, is_own FROM object "
                "WHERE name = ?",
                (name,),
            ).fetchone()
        return _make(row) if row else None

    def list_folder(self, folder: str) -> dict[str, Uploaded]:
        """Return what is known of the files right in a folder, by name."""
        with self._open() as opened:
            rows = opened.execute(
                "SELECT name, size, changed_ns, sha256, is_local, is_own FROM object "
                "WHERE name > ? AND name < ?",
                (f"{folder}/", f"{folder}0"),  # "0" follows "/"
            ).fetchall()
        return {row[0]: _make(row) for row in rows}

    def list_start(self, start: str) -> list[str]:
        """Return the names that begin so."""
        with self._open() as opened:
            rows = opened.execute(
                "SELECT name FROM object WHERE name >= ? AND name < ?",
                (start, f"{start}\U0010ffff"),
            ).fetchall()
        return [name for (name,) in rows]

    def record(self, uploaded: Uploaded, *, used_s: float) -> None:
        """Record that a file is in the storage.

        Args:
            uploaded: The file.
            used_s: When it was used last, seconds since 1970.
        """
        values = (
            uploaded.name,
            uploaded.size,
            uploaded.changed_ns,
            uploaded.sha256,
            int(uploaded.is_local),
            used_s,
            int(uploaded.is_own),
        )
        with self._open() as opened:
            opened.execute("INSERT OR REPLACE INTO object VALUES (?, ?, ?, ?, ?, ?, ?)", values)

    def record_removed(self, name: str) -> None:
        """Record that a file is in the storage alone."""
        with self._open() as opened:
            opened.execute("UPDATE object SET is_local = 0 WHERE name = ?", (name,))

    def forget(self, name: str) -> None:
        """Forget a file, which is nowhere any more or has to be sent again."""
        with self._open() as opened:
            opened.execute("DELETE FROM object WHERE name = ?", (name,))

    def list_longest_unused(self, limit: int) -> list[Uploaded]:
        """Return the local crops and originals that were not used for longest.

        Args:
            limit: How many at most.
        """
        with self._open() as opened:
            rows = opened.execute(
                "SELECT name, size, changed_ns, sha256, is_local, is_own FROM object "
                "WHERE is_local = 1 AND (name GLOB 'crops/*' OR name GLOB 'originals/*') "
                "ORDER BY used_s LIMIT ?",
                (limit,),
            ).fetchall()
        return [_make(row) for row in rows]

    def measure_pictures(self) -> int:
        """Return the bytes of the local crops and originals."""
        with self._open() as opened:
            row = opened.execute(
                "SELECT coalesce(sum(size), 0) FROM object WHERE is_local = 1 "
                "AND (name GLOB 'crops/*' OR name GLOB 'originals/*')"
            ).fetchone()
        return int(row[0])

    def measure(self) -> tuple[int, int, int]:
        """Return files in the storage, their bytes, and how many of these bytes are local too."""
        with self._open() as opened:
            files, size, local = opened.execute(
                "SELECT count(*), coalesce(sum(size), 0), coalesce(sum(size * is_local), 0) "
                "FROM object"
            ).fetchone()
        return files, size, local

    # --- folders that were looked through, and objects to be deleted ---

    def find_scan(self, folder: str) -> int:
        """Return the change time (ns) that a folder had when it was looked through; 0 for never."""
        with self._open() as opened:
            row = opened.execute(
                "SELECT changed_ns FROM scanned WHERE folder = ?", (folder,)
            ).fetchone()
        return int(row[0]) if row else 0

    def record_scan(self, folder: str, changed_ns: int) -> None:
        """Record that all files of a folder are sent that it had at this change time."""
        with self._open() as opened:
            opened.execute("INSERT OR REPLACE INTO scanned VALUES (?, ?)", (folder, changed_ns))

    def forget_scans(self) -> None:
        """Forget which folders were looked through, so that each is compared once more."""
        with self._open() as opened:
            opened.execute("DELETE FROM scanned")

    def doom(self, name: str) -> None:
        """Record that an object is to be deleted."""
        with self._open() as opened:
            opened.execute("INSERT OR REPLACE INTO doomed VALUES (?)", (name,))
            opened.execute("DELETE FROM object WHERE name = ?", (name,))

    def is_doomed(self, name: str) -> bool:
        """Return whether an object is still to be deleted."""
        with self._open() as opened:
            row = opened.execute("SELECT 1 FROM doomed WHERE name = ?", (name,)).fetchone()
        return row is not None

    def list_doomed(self) -> list[str]:
        """Return the objects that are still to be deleted."""
        with self._open() as opened:
            return [name for (name,) in opened.execute("SELECT name FROM doomed").fetchall()]

    def record_deleted(self, name: str) -> None:
        """Record that an object was deleted."""
        with self._open() as opened:
            opened.execute("DELETE FROM doomed WHERE name = ?", (name,))

    def find_read_act(self) -> int:
        """Return the number of the last act of pruning that was read, 0 for none."""
        with self._open() as opened:
            row = opened.execute("SELECT number FROM read_act").fetchone()
        return int(row[0]) if row else 0

    def record_read_act(self, number: int) -> None:
        """Record that what was pruned up to this act of the audit log is deleted here, too."""
        with self._open() as opened:
            opened.execute("INSERT OR REPLACE INTO read_act VALUES (1, ?)", (number,))

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with closing(self._connect()) as opened, opened:
                yield opened
        except sqlite3.DatabaseError as error:
            if _is_damage(error):
                self._put_aside(error)
            raise OSError(f"{self.path}: cannot be used ({error})") from error

    def _connect(self) -> sqlite3.Connection:
        """Open the file with its tables; a damaged one is put aside, as if it were lost."""
        try:
            return _connect(self.path)
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise
            self._put_aside(error)
        return _connect(self.path)

    def _put_aside(self, error: sqlite3.DatabaseError) -> None:
        aside = self.path.with_name(f"{FILE}.damaged")
        log.error("objects.index_damaged", file=str(self.path), aside=str(aside), why=str(error))
        for end in ("-journal", "-wal", "-shm"):
            self.path.with_name(f"{FILE}{end}").unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            self.path.replace(aside)


def _connect(path: Path) -> sqlite3.Connection:
    opened = sqlite3.connect(path, timeout=30.0)
    try:
        opened.executescript(_TABLES)
    except BaseException:
        opened.close()
        raise
    return opened


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in {
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
    }


def _make(row: tuple[str, int, int, str, int, int]) -> Uploaded:
    return Uploaded(row[0], row[1], row[2], row[3], is_local=bool(row[4]), is_own=bool(row[5]))
