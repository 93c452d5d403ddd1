"""Record which files of a data folder are in the object storage too, and which only there.

A small SQLite file next to the archive. It holds nothing that is evidence: if it is lost or
damaged, files are compared with the storage and sent again, and what was only there is looked up
by name.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing, suppress
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any, Final

import structlog

log = structlog.get_logger()

FILE: Final = "objects.sqlite"
PRUNED: Final = "pruned"
"""What is compared up to the number of the last act of pruning that was read."""
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS object (
    name TEXT PRIMARY KEY, size INTEGER NOT NULL, changed_ns INTEGER NOT NULL,
    sha256 TEXT NOT NULL, is_local INTEGER NOT NULL, is_own INTEGER NOT NULL,
    used_s REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS object_used ON object (is_local, used_s);
CREATE TABLE IF NOT EXISTS compared (what TEXT PRIMARY KEY, until INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS doomed (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TRIGGER IF NOT EXISTS object_doomed AFTER INSERT ON doomed
BEGIN DELETE FROM object WHERE name = NEW.name; END;
"""
_LOCAL_PICTURE: Final = "is_local = 1 AND (name GLOB 'crops/*' OR name GLOB 'originals/*')"
_DAMAGE: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


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
        used_s: When it was used last, seconds since 1970.
    """

    name: str
    size: int
    changed_ns: int
    sha256: str
    is_local: bool
    is_own: bool = False
    used_s: float = field(default_factory=time.time)


class UploadIndex:
    """The index of one data folder; safe to share between threads and processes.

    Args:
        folder: The data folder.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE

    def find(self, name: str) -> Uploaded | None:
        """Return what is known of a name, None where nothing is."""
        rows = self._run("SELECT * FROM object WHERE name = ?", name)
        return Uploaded(*rows[0]) if rows else None

    def list_start(self, start: str) -> dict[str, Uploaded]:
        """Return what is known of the names that begin so, by name."""
        rows = self._run(
            "SELECT * FROM object WHERE name >= ? AND name < ?", start, f"{start}\U0010ffff"
        )
        return {row[0]: Uploaded(*row) for row in rows}

    def record(self, uploaded: Uploaded) -> None:
        """Record that a file is in the storage."""
        self._run("INSERT OR REPLACE INTO object VALUES (?, ?, ?, ?, ?, ?, ?)", *astuple(uploaded))

    def record_removed(self, name: str) -> None:
        """Record that a file is in the storage alone."""
        self._run("UPDATE object SET is_local = 0 WHERE name = ?", name)

    def forget(self, name: str) -> None:
        """Forget a file, which is nowhere any more or has to be sent again."""
        self._run("DELETE FROM object WHERE name = ?", name)

    def list_longest_unused(self, limit: int) -> list[Uploaded]:
        """Return the local crops and originals that were not used for longest, so many at most."""
        rows = self._run(
            f"SELECT * FROM object WHERE {_LOCAL_PICTURE} ORDER BY used_s LIMIT ?",  # noqa: S608
            limit,
        )
        return [Uploaded(*row) for row in rows]

    def measure_pictures(self) -> int:
        """Return the bytes of the local crops and originals."""
        ((size,),) = self._run(
            f"SELECT coalesce(sum(size), 0) FROM object WHERE {_LOCAL_PICTURE}"  # noqa: S608
        )
        return int(size)

    def measure(self) -> tuple[int, int, int]:
        """Return files in the storage, their bytes, and how many of these bytes are local too."""
        ((files, size, local),) = self._run(
            "SELECT count(*), coalesce(sum(size), 0), coalesce(sum(size * is_local), 0) FROM object"
        )
        return files, size, local

    # --- how far the disk is compared with the storage, and objects to be deleted ---

    def find_compared(self, what: str) -> int:
        """Return until when something is compared; 0 for never.

        Args:
            what: A folder, of which the change time (ns) is returned that it had when all its files
                were sent; or `PRUNED`.
        """
        rows = self._run("SELECT until FROM compared WHERE what = ?", what)
        return int(rows[0][0]) if rows else 0

    def record_compared(self, what: str, until: int) -> None:
        """Record until when something is compared, as `find_compared` returns it."""
        self._run("INSERT OR REPLACE INTO compared VALUES (?, ?)", what, until)

    def forget_folders(self) -> None:
        """Forget which folders were compared, so that each is compared once more."""
        self._run("DELETE FROM compared WHERE what != ?", PRUNED)

    def doom(self, name: str) -> None:
        """Record that an object is to be deleted; nothing else is known of it any more."""
        self._run("INSERT OR REPLACE INTO doomed VALUES (?)", name)

    def is_doomed(self, name: str) -> bool:
        """Return whether an object is still to be deleted."""
        return bool(self._run("SELECT 1 FROM doomed WHERE name = ?", name))

    def list_doomed(self) -> list[str]:
        """Return the objects that are still to be deleted."""
        return [name for (name,) in self._run("SELECT name FROM doomed")]

    def record_deleted(self, name: str) -> None:
        """Record that an object was deleted."""
        self._run("DELETE FROM doomed WHERE name = ?", name)

    def _run(self, statement: str, *values: object) -> list[Any]:
        """Run a statement; return its rows. A damaged file is put aside, as if it were lost.

        Raises:
            OSError: The file cannot be used.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        for _attempt in range(2):
            try:
                with closing(sqlite3.connect(self.path, timeout=30.0)) as opened, opened:
                    opened.executescript(_TABLES)
                    return opened.execute(statement, values).fetchall()
            except sqlite3.DatabaseError as error:
                if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _DAMAGE:
                    raise OSError(f"{self.path}: cannot be used ({error})") from error
                self._put_aside(error)
        raise OSError(f"{self.path}: cannot be used (it is damaged again)")

    def _put_aside(self, error: sqlite3.DatabaseError) -> None:
        aside = self.path.with_name(f"{FILE}.damaged")
        log.error("objects.index_damaged", file=str(self.path), aside=str(aside), why=str(error))
        for end in ("-journal", "-wal", "-shm"):
            self.path.with_name(f"{FILE}{end}").unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            self.path.replace(aside)
