"""Report the progress of a schema upgrade, and copy the database before it.

A large database takes minutes: an operator or a service manager gets progress every few seconds.
"""

from __future__ import annotations

import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from sqlalchemy import Engine

from agent.errors import StoreError
from agent.store import engine as engines

EVERY_S = 10.0
ROWS_PER_S = 300_000
"""Rows that a step passes in a second: a third of the 0.9 million that `tests/bench/upgrade.py`
measured with SQLite and short rows on two busy cores; a lab's rows are longer."""
LEAST_S = 2.0


@dataclass(frozen=True, slots=True)
class Upgrade:
    """Progress of an upgrade.

    Attributes:
        place: Address of the database, without its password.
        before: Its schema.
        after: The target schema.
        step: Number of the running migration, from 1; 0 before the first one.
        steps: Number of migrations.
        title: Of the running migration.
        rows: In the database.
        estimate_s: Estimated total time from the rows, in seconds.
        elapsed_s: Time since the start, in seconds.
        kept: Path of the copy, or None.
        note: Why there is no copy, "" where there is one.
        is_done: It is over.
    """

    place: str
    before: str
    after: str
    steps: int
    rows: int
    estimate_s: float
    step: int = 0
    title: str = ""
    elapsed_s: float = 0.0
    kept: Path | None = None
    note: str = ""
    is_done: bool = False

    @property
    def sentence(self) -> str:
        """Progress as a sentence for the operator."""
        if self.is_done:
            kept = f"as it was: {self.kept}" if self.kept else self.note
            return f"the database has schema {self.after} now, after {self.elapsed_s:.0f} s; {kept}"
        if self.step == 0:
            return (
                f"the database is brought from schema {self.before} to {self.after}: "
                f"{self.rows} rows, {self.steps} steps, about {_duration(self.estimate_s)}; "
                f"{self.title}"
            )
        return (
            f"upgrade, step {self.step} of {self.steps} ({self.title}), "
            f"{self.elapsed_s:.0f} s of about {_duration(self.estimate_s)}"
        )


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds >= 90 else f"{max(seconds, 1):.0f} s"  # noqa: PLR2004 - one and a half minutes


def estimate_s(rows: int, steps: int) -> float:
    """Return how long an upgrade takes, in seconds: the copy, and each step once over the rows."""
    return LEAST_S + rows * (steps + 1) / ROWS_PER_S


@dataclass
class UpgradeProgress:
    """Tells a listener how far an upgrade is, also while one step runs.

    Args:
        listen: Called with each change, and every few seconds, from another thread too.
        every_s: Seconds between two calls.
    """

    listen: Callable[[Upgrade], None]
    every_s: float = EVERY_S
    now: Upgrade | None = None
    _began_s: float = field(default_factory=time.monotonic)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def change(self, upgrade: Upgrade) -> None:
        """Set another state and call the listener."""
        self.now = upgrade
        self.tell()

    def tell(self) -> None:
        """Report the progress to the listener; what it raises ends no upgrade."""
        with self._lock, suppress(Exception):
            if self.now:
                self.listen(replace(self.now, elapsed_s=time.monotonic() - self._began_s))

    @contextmanager
    def ticking(self) -> Iterator[None]:
        """Report the progress every few seconds, whatever the step takes."""
        is_over = threading.Event()

        def tick() -> None:
            while not is_over.wait(self.every_s):
                self.tell()

        thread = threading.Thread(target=tick, name="upgrade", daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()


# --- the database as it was ---------------------------------------------------------------------


def keep_before(
    engine: Engine, before: str, after: str, folder: Path | None
) -> tuple[Path | None, str]:
    """Copy a database before its schema changes; a copy of the same state is enough.

    Args:
        engine: The database.
        before: Its schema.
        after: The target schema; it is part of the copy's name.
        folder: The data folder, for the dump of a PostgreSQL.

    Returns:
        The copy, and "" or why there is none.

    Raises:
        StoreError: A SQLite database cannot be copied: it is not changed then.
    """
    if not engines.is_sqlite(engine):
        return _copy_dump(engine, after, folder)
    file = engines.sqlite_file(engine.url)
    if file is None:
        return None, "it is in memory"
    try:
        return _copy_file(file, after), ""
    except (OSError, sqlite3.Error) as error:
        raise StoreError(
            f"{file}: the copy before the change from schema {before} to {after} cannot be kept "
            f"({getattr(error, 'strerror', None) or error}). Make room for "
            f"{file.stat().st_size / 1e6:.0f} MB next to it and start again; nothing was changed."
        ) from error


def _copy_file(file: Path, after: str) -> Path:
    head = _head(file)
    for number in range(1, 1000):
        end = "" if number == 1 else f"-{number}"
        kept = file.with_name(f"{file.name}.before-schema-{after}{end}")
        if not kept.exists():
            break
        if _head(kept) == head:
            return kept
    part = file.with_name(f".{kept.name}.part")
    part.unlink(missing_ok=True)
    try:
        _require_room(file)
        with closing(sqlite3.connect(file)) as database, closing(sqlite3.connect(part)) as copied:
            database.backup(copied)
            copied.execute("PRAGMA journal_mode = DELETE")  # one file, nothing next to it
        part.replace(kept)
    finally:
        part.unlink(missing_ok=True)
    return kept


def _require_room(file: Path) -> None:
    """Raise if there is no disk space for the copy and the log of the upgrade."""
    needed, free = 2 * file.stat().st_size, shutil.disk_usage(file.parent).free
    if free < needed:
        raise OSError(28, f"{free / 1e6:.0f} MB are free, {needed / 1e6:.0f} MB are needed")


def _head(file: Path) -> tuple[object, ...]:
    """Return what two copies of one state have in common: schema, and the end of the audit log."""
    try:
        with closing(sqlite3.connect(f"file:{file.as_posix()}?mode=ro", uri=True)) as database:
            (schema,) = database.execute("SELECT version_num FROM alembic_version").fetchone()
            query = "SELECT id, sha256 FROM trail ORDER BY id DESC LIMIT 1"
            newest = database.execute(query).fetchone() or (0, "")
            (files,) = database.execute("SELECT count(*) FROM content").fetchone()
    except (sqlite3.Error, TypeError):
        return (file,)
    return (schema, *newest, files)


def _copy_dump(engine: Engine, after: str, folder: Path | None) -> tuple[Path | None, str]:
    from agent.store import backup  # noqa: PLC0415 - it imports `schema`, which imports this

    if folder is None:
        return None, "no copy was kept"
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    kept = folder / f"martensight.before-schema-{after}-{stamp}.pgdump"
    part = folder / f".{kept.name}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        backup.copy(engine, part, progress=lambda _done, _of: None)
        part.replace(kept)
    except (StoreError, OSError) as error:
        return None, f"no copy was kept before the upgrade: {error}"
    finally:
        part.unlink(missing_ok=True)
    return kept, ""
