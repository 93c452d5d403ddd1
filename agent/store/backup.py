"""Copy a database while it is in use, and replace a database with a copy.

SQLite has an online backup; PostgreSQL's own programs make and load its dumps, so that an
administrator gets a format that they know.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sqlalchemy import URL, Engine, inspect, make_url
from sqlalchemy.engine.reflection import Inspector
from sqlalchemy.exc import ProgrammingError

from agent.errors import StoreError
from agent.store import engine as engines
from agent.store import schema
from agent.store.engine import Repository
from agent.store.evidence import guards
from agent.store.schema import count_rows
from agent.store.sites import site_guards
from agent.store.sites.site_scope import EVERY_SITE, POSTGRESQL_SETTING, bind
from agent.store.tables import PER_SITE, load_metadata

SQLITE_COPY = "martensight.db"
POSTGRESQL_COPY = "martensight.pgdump"
NO_VARIABLES: Mapping[str, str] = MappingProxyType({})
PAGES_AT_ONCE = 2000  # between two of them a writer gets its turn


def copy_name(engine: Engine) -> str:
    """Return the file name of a copy of this kind of database."""
    return SQLITE_COPY if engines.is_sqlite(engine) else POSTGRESQL_COPY


def copy(engine: Engine, target: Path, *, progress: Callable[[int, int], None]) -> dict[str, int]:
    """Copy the whole database as of one moment, while others go on working.

    Args:
        engine: The database.
        target: A file that does not exist yet.
        progress: Told (done, total), in pages; only SQLite knows.

    Returns:
        Table → rows in the copy.

    Raises:
        StoreError: It cannot be copied.
    """
    if engines.is_sqlite(engine):
        return _copy_sqlite(engine, target, progress)
    with engines.opening(engine), bind(engine, EVERY_SITE).connect() as connection:
        # What is dumped is what is counted, whatever others write in between.
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        snapshot = connection.exec_driver_sql("SELECT pg_export_snapshot()").scalar()
        counts = count_rows(connection)
        _dump(engine.url, target, snapshot=str(snapshot))
    return counts


def _dump(url: URL, target: Path, *, snapshot: str = "") -> None:
    """Dump the rows of all sites: PostgreSQL's policies show them to a session with this option."""
    options = (
        "--format=custom",
        "--enable-row-security",
        *([f"--snapshot={snapshot}"] if snapshot else []),
        f"--file={target}",
    )
    every = {"PGOPTIONS": f"-c {POSTGRESQL_SETTING}={EVERY_SITE}"}
    _run("pg_dump", url, *options, environment=every)


def _copy_sqlite(
    engine: Engine, target: Path, progress: Callable[[int, int], None]
) -> dict[str, int]:
    def said(_status: int, remaining: int, total: int) -> None:
        progress(total - remaining, total)

    try:
        with (
            engines.opening(engine),
            engine.connect() as connection,
            closing(sqlite3.connect(target)) as copied,
        ):
            driver: Any = connection.connection.driver_connection  # the sqlite3.Connection inside
            driver.backup(copied, pages=PAGES_AT_ONCE, progress=said)
            copied.execute("PRAGMA journal_mode = DELETE")  # one file, no log next to it
        return _count_copy(target)
    except sqlite3.Error as error:  # of the copy, such as a full disk
        raise StoreError(
            f"{target.parent}: the database cannot be copied there ({error})."
        ) from error


def _count_copy(copied: Path) -> dict[str, int]:
    engine = engines.make_engine(f"sqlite:///{copied.as_posix()}")
    try:
        with engine.connect() as connection:
            return count_rows(connection)
    finally:
        engine.dispose()
        with closing(sqlite3.connect(copied)) as file:
            file.execute("PRAGMA journal_mode = DELETE")


def put_back(url: str, copied: Path, *, aside: Path) -> Path | None:
    """Replace a database with a copy; it must not be in use.

    Args:
        url: Address of the database.
        copied: The file that `copy` made.
        aside: Where an existing database is moved: this ending behind SQLite's file, this file for
            a dump of PostgreSQL's.

    Returns:
        Where the previous database is now, or None if there was none.

    Raises:
        StoreError: The copy is broken, or newer than this program, or cannot be written there.
    """
    engine = engines.make_engine(url)
    try:
        if not engines.is_sqlite(engine):
            return _replace_postgresql(engine, copied, aside)
        file = engines.sqlite_file(engine.url)
    finally:
        engine.dispose()
    if file is None:
        raise StoreError("a database in memory cannot be restored.")
    _examine(copied)
    return _swap(file, copied, aside.suffix.removeprefix("."))


def _replace_postgresql(engine: Engine, copied: Path, aside: Path) -> Path | None:
    """Replace our tables with a dump, in one transaction, after a dump of the current ones.

    Not `pg_restore --clean`: it drops the tables of the dump and fails on tables that a newer
    schema has in addition.
    """
    _list_dump(copied)
    with engines.opening(engine):
        ours = _our_tables(inspect(engine))
    if ours:
        _dump(engine.url, aside)
    script = copied.with_suffix(".sql")
    _run("pg_restore", None, "--no-owner", "--exit-on-error", f"--file={script}", str(copied))
    quote = engine.dialect.identifier_preparer.quote
    tables = f"DROP TABLE IF EXISTS {', '.join(map(quote, ours))} CASCADE; " if ours else ""
    functions = [*guards.FUNCTIONS, *(f"{site_guards.PREFIX}{name}" for name in PER_SITE)]
    drop = tables + " ".join(
        f"DROP FUNCTION IF EXISTS {quote(name)}() CASCADE;" for name in functions
    )
    options = ("--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--single-transaction")
    _run("psql", engine.url, *options, f"--command={drop}", f"--file={script}")
    return aside if ours else None


def _our_tables(there: Inspector) -> list[str]:
    """Return the program's tables: known ones, and those of a newer program that refer to them."""
    names = set(there.get_table_names())
    ours = names & {*load_metadata().tables, "alembic_version"}
    while more := {
        name
        for name in names - ours
        if any(key["referred_table"] in ours for key in there.get_foreign_keys(name))
    }:
        ours |= more
    return sorted(ours)


def make_scratch_database(url: str, name: str) -> str | None:
    """Make an empty PostgreSQL database next to another one.

    Args:
        url: Address of the other one.
        name: Of the new one.

    Returns:
        Its address, None where this user may make none.
    """
    try:
        _run_alone(url, "CREATE DATABASE {} TEMPLATE template0", name)
    except (StoreError, ProgrammingError):
        return None
    return make_url(url).set(database=name).render_as_string(hide_password=False)


def drop_scratch_database(url: str, name: str) -> None:
    """Drop the database that `make_scratch_database` made.

    Args:
        url: Address of the other database.
        name: Of the one to drop.
    """
    _run_alone(url, "DROP DATABASE IF EXISTS {} WITH (FORCE)", name)


def _run_alone(url: str, statement: str, name: str) -> None:
    """Execute a statement with the name of a database, outside a transaction."""
    engine = engines.make_engine(url)
    try:
        with engines.opening(engine):
            connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            with connection:
                quoted = engine.dialect.identifier_preparer.quote(name)
                connection.exec_driver_sql(statement.format(quoted))
    finally:
        engine.dispose()


def examine_copy(copied: Path) -> None:
    """Check whether a copy can be restored, without restoring it.

    Raises:
        StoreError: It is damaged, or made by a newer program.
    """
    if copied.name == POSTGRESQL_COPY:
        _list_dump(copied)
    else:
        _examine(copied)


def sites_in(copied: Path) -> list[str]:
    """Return the names of the sites whose rows are in a copy, whatever its schema.

    Raises:
        StoreError: It cannot be read.
    """
    if copied.name == POSTGRESQL_COPY:
        listing = copied.with_suffix(".sites")
        options = ("--data-only", "--table=site", f"--file={listing}")
        _run("pg_restore", None, *options, str(copied))
        return list(_iter_names(listing.read_text(encoding="utf-8").splitlines()))
    try:
        with closing(sqlite3.connect(copied)) as database:
            return [str(name) for (name,) in database.execute("SELECT name FROM site ORDER BY id")]
    except sqlite3.DatabaseError as error:
        raise StoreError(f"the copy of the database cannot be read: {error}") from error


def acts_in(copied: Path) -> Iterator[dict[str, Any]]:
    """Yield the acts in a copy of a database, oldest first, whatever its schema.

    Each has the `id`, `at` (aware UTC), `actor`, `act`, `subject` and `facts` of a `TrailEntry`.

    Raises:
        StoreError: It cannot be read.
    """
    columns = ["id", "at", "actor", "act", "subject", "facts"]
    for row in _rows_of_trail(copied, columns):
        act: dict[str, Any] = dict(zip(columns, row, strict=True))
        when = datetime.fromisoformat(act["at"])
        aware = when if when.tzinfo else when.replace(tzinfo=UTC)
        yield act | {"id": int(act["id"]), "at": aware, "facts": json.loads(act["facts"])}


def _rows_of_trail(copied: Path, columns: list[str]) -> list[list[str]]:
    if copied.name == POSTGRESQL_COPY:
        script = copied.with_suffix(".trail")
        options = ("--data-only", "--table=trail", f"--file={script}")
        _run("pg_restore", None, *options, str(copied))
        return list(_iter_copied_rows(script.read_text(encoding="utf-8").splitlines(), columns))
    try:
        with closing(sqlite3.connect(copied)) as database:
            query = f"SELECT {', '.join(columns)} FROM trail ORDER BY id"  # noqa: S608 - our names
            return database.execute(query).fetchall()
    except sqlite3.DatabaseError as error:
        raise StoreError(f"the copy of the database cannot be read: {error}") from error


def _iter_copied_rows(script: list[str], columns: list[str]) -> Iterator[list[str]]:
    """Yield the rows of `COPY public.trail (id, at, …) FROM stdin;`, in the order of `columns`.

    Source:
        PostgreSQL, COPY, text format.
    """
    places: list[int] | None = None
    for line in script:
        if line.startswith("COPY ") and "(" in line:
            named = line.partition("(")[2].partition(")")[0].split(", ")
            places = [named.index(name) for name in columns]
        elif line == r"\.":
            places = None
        elif places is not None:
            values = [_ESCAPED.sub(_plain_letter, value) for value in line.split("\t")]
            yield [values[place] for place in places]


_ESCAPED = re.compile(r"\\(.)")
_LETTERS = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v", "N": ""}


def _plain_letter(match: re.Match[str]) -> str:
    return _LETTERS.get(match[1], match[1])


def _iter_names(script: list[str]) -> Iterator[str]:
    """Yield the names in `COPY public.site (id, name, …) FROM stdin;` and the rows behind it."""
    place = None
    for line in script:
        if line.startswith("COPY ") and "(" in line:
            columns = line.partition("(")[2].partition(")")[0].split(", ")
            place = columns.index("name")
        elif line == r"\.":
            place = None
        elif place is not None:
            yield line.split("\t")[place]


def _list_dump(copied: Path) -> None:
    program = shutil.which("pg_restore")
    if program is None:
        raise StoreError("pg_restore is not installed, so the back-up could not be tried.")
    ended = subprocess.run(  # noqa: S603 - a program of PostgreSQL, no shell
        [program, "--list", str(copied)], capture_output=True, text=True, check=False
    )
    if ended.returncode or "TABLE DATA" not in ended.stdout:
        raise StoreError(f"the copy of the database cannot be read: {ended.stderr.strip()}")
    there = set(_LISTED.findall(ended.stdout))
    version = copied.with_suffix(".version")
    options = ("--data-only", "--table=alembic_version", f"--file={version}")
    _run("pg_restore", None, *options, str(copied))
    if schema.HEAD in version.read_text(encoding="utf-8").split():
        _require_tables(there)


_LISTED = re.compile(r"^\d+; \d+ \d+ TABLE DATA \S+ (\S+) ", re.MULTILINE)


def _require_tables(there: Collection[str]) -> None:
    """Raise `StoreError` where a copy lacks a table of this program."""
    if missing := load_metadata().tables.keys() - set(there):
        raise StoreError(
            "the backup is damaged: its database lacks the table "
            f"{', '.join(sorted(missing))}; nothing was restored. Restore another backup."
        )


def _examine(copied: Path) -> None:
    engine = engines.make_engine(f"sqlite:///{copied.as_posix()}")
    try:
        schema.bring_up(engine)  # a newer one is refused here, before anything is touched
        if problems := engines.problems(engine):
            raise StoreError(f"the backup is damaged: {problems[0]}")
        _require_tables(inspect(engine).get_table_names())
    finally:
        engine.dispose()
    with closing(sqlite3.connect(copied)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")


def _swap(file: Path, copied: Path, aside: str) -> Path | None:
    # At each moment there is one whole database: a full disk or a kill costs the restore alone.
    before = None
    part = file.with_name(f".{file.name}.part")
    try:
        with copied.open("rb") as source, part.open("wb") as target:
            shutil.copyfileobj(source, target)
            target.flush()
            os.fsync(target.fileno())
        if file.exists():
            _checkpoint_log(file)
            before = file.with_name(f"{file.name}.{aside}")
            _link(file, before)
        for end in ("-wal", "-shm"):
            file.with_name(file.name + end).unlink(missing_ok=True)
        part.replace(file)
    except OSError as error:
        raise StoreError(f"{file}: cannot be replaced ({error.strerror or error}).") from error
    finally:
        part.unlink(missing_ok=True)
    return before


def _link(file: Path, before: Path) -> None:
    try:
        before.hardlink_to(file)
    except OSError:  # a file system without second names
        file.replace(before)


def _checkpoint_log(file: Path) -> None:
    # The log next to the file belongs to it, and would be lost with a rename.
    try:
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.DatabaseError:
        return  # it is broken: that may be why it is being restored


def _run(
    program: str,
    url: URL | None,
    *arguments: str,
    environment: Mapping[str, str] = NO_VARIABLES,
) -> None:
    executable = shutil.which(program)
    if executable is None:
        raise StoreError(
            f"{program} is not installed; PostgreSQL is copied with its own programs "
            "(Debian: apt-get install postgresql-client)."
        )
    command = [executable, *arguments, *([f"--dbname={_address(url)}"] if url else ())]
    password = (url.password or url.query.get("password")) if url else None
    password_of = {"PGPASSWORD": str(password)} if password else {}
    ended = subprocess.run(  # noqa: S603 - a program of PostgreSQL, no shell
        command,
        env={**os.environ, **environment, **password_of},
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        lines = ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"]
        raise StoreError(f"{program}: {lines[0]}")


def _address(url: URL) -> str:
    # The password goes through the environment: arguments can be read by every user of the PC.
    shown = url.set(drivername="postgresql", password=None)
    return shown.difference_update_query(["password"]).render_as_string()


class Backup(Repository):
    """Backup of the whole database."""

    @property
    def file_name(self) -> str:
        """File name of a copy of this kind of database inside a backup."""
        return copy_name(self._engine)

    def write(self, target: Path, *, progress: Callable[[int, int], None]) -> dict[str, int]:
        """Copy the whole database into a new file, as of one moment, while others use it.

        Args:
            target: The new file.
            progress: Called with the copied and the total number of pages.

        Returns:
            Table → rows in the copy.

        Raises:
            StoreError: It cannot be copied.
        """
        return copy(self._engine, target, progress=progress)

    def count_rows(self) -> dict[str, int]:
        """Return table → rows of all sites, as a backup contains them."""
        with engines.opening(self._engine), self._all_sites.connect() as connection:
            return count_rows(connection)
