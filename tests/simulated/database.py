"""A real SQLite whose statements and commits fail when the world says so.

The faults are raised where the driver raises them, so that all of the program's own handling runs:
a database that is locked or full, and a connection that drops before or after a commit.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import event

from agent.store import Store
from agent.store import engine as engines
from agent.store.engine import AgentIdentity

SITE, AGENTS = "Plant 1", ("PC 1", "PC 2", "pages")
AnyStore = TypeVar("AnyStore", bound=Store)
MEMORY = Path("/dev/shm")  # noqa: S108 - a disk in memory, where there is one
LOCKED, FULL, GONE = (
    "database is locked",
    "database or disk is full",
    "server closed the connection",
)


class Point:
    """Where the world is asked: a function that a history puts in its place."""

    before: Callable[[str], None] = staticmethod(lambda _what: None)


class _Cursor(sqlite3.Cursor):
    def execute(self, statement: str, *given: Any) -> Any:
        if statement.startswith(("BEGIN", "INSERT", "UPDATE", "DELETE")):
            Point.before(statement[:6].strip().lower())
        return super().execute(statement, *given)


class _Connection(sqlite3.Connection):
    def cursor(self, *_: Any) -> Any:
        return super().cursor(_Cursor)

    def commit(self) -> None:
        written = self.in_transaction
        if written:
            Point.before("commit")
        super().commit()
        if written:
            Point.before("committed")


class Database:
    """One file that begins again with each history; connections and what they prepared stay."""

    def __init__(self) -> None:
        folder = str(MEMORY) if MEMORY.is_dir() else None
        self._folder = tempfile.TemporaryDirectory(dir=folder, prefix="simulation-")
        self._file = Path(self._folder.name) / "martensight.db"
        url = f"sqlite:///{self._file}"
        for name in AGENTS:
            Store.open(url, site=SITE, agent=name).close()
        self._beside = sqlite3.connect(self._file, isolation_level=None)
        self._template = self.keep()
        self._engine = engines.make_engine(url)
        event.listen(self._engine, "do_connect", _make_ours)
        event.listen(self._engine, "connect", _hurry)

    def begin(self, rows: sqlite3.Connection | None = None) -> None:
        """Hold what `keep` returned, None: nothing. Nobody may be in a transaction."""
        (rows or self._template).backup(self._beside)

    def keep(self) -> sqlite3.Connection:
        """Return a copy of all rows, in memory."""
        rows = sqlite3.connect(":memory:")
        self._beside.backup(rows)
        return rows

    def open(self, agent: int, kind: type[AnyStore]) -> AnyStore:
        """Return the store as one of the agents has it."""
        return kind(self._engine, AgentIdentity(1, agent + 1))

    def ask(self, question: str, *given: object) -> list[tuple[Any, ...]]:
        """Return rows, read beside the program."""
        return self._beside.execute(question, given).fetchall()

    def close(self) -> None:
        """Delete the file."""
        self._engine.dispose()
        self._beside.close()
        self._template.close()
        self._folder.cleanup()


def _make_ours(_dialect: object, _record: object, _args: object, given: dict[str, Any]) -> None:
    given["factory"] = _Connection


def _hurry(connection: Any, _record: object) -> None:
    # Nobody cuts the power of this file, and nobody else can end a lock while we wait.
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA busy_timeout = 0")
