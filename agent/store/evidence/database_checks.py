"""Checks of a database: integrity, guards, separation of sites, values that none can read.

SQLite accepts any value, a text in a column of times too. One such value would end every
comparison of rows and so hide other changes.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Connection,
    Date,
    DateTime,
    Float,
    Integer,
    LargeBinary,
    String,
    Table,
    TextClause,
    inspect,
    text,
)
from sqlalchemy.sql.schema import CallableColumnDefault
from sqlalchemy.types import TypeDecorator, TypeEngine

from agent.store import engine as engines
from agent.store import schema
from agent.store.engine import Repository, opening, reading
from agent.store.evidence import guards, row_checks
from agent.store.sites import site_guards
from agent.store.tables import load_metadata

DOCUMENTS = {"trail": "facts", "statement": "document"}
"""Columns of text that hold a JSON object, kept as text since it is what was hashed."""
DAY = "'[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*'"
BEYOND_ASCII = "'*[^\x01-\x7f]*'"
"""Letters that may be no UTF-8: SQLite keeps any bytes as text, and Python refuses to read them."""
SHOWN = 60
"""Letters of a value that a sentence shows."""


def find_unreadable(connection: Connection, site_id: int) -> Iterator[str]:
    """Yield a sentence for each value of a site that is not of its column's type.

    PostgreSQL enforces the types itself; only JSON that is stored as text is read there.
    """
    if connection.dialect.name == "sqlite":
        yield from _of_another_kind(connection, site_id)
    read = "CAST({} AS BLOB)" if connection.dialect.name == "sqlite" else "{}"
    for name, column in DOCUMENTS.items():
        wanted = read.format(f'"{column}"')
        query = text(
            f'SELECT id, {wanted} FROM "{name}" WHERE site_id = :site_id ORDER BY id'  # noqa: S608 - our names
        ).execution_options(yield_per=500)
        for number, value in connection.execute(query, {"site_id": site_id}):
            shown = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
            if not _is_object(shown):
                yield _sentence(name, number, column, shown)


def _of_another_kind(connection: Connection, site_id: int) -> Iterator[str]:
    there = set(inspect(connection).get_table_names())
    for table in load_metadata().sorted_tables:
        if table.name in there:
            yield from _in_table(connection, table, site_id)


def _in_table(connection: Connection, table: Table, site_id: int) -> Iterator[str]:
    suspects = {
        column.name: f'"{column.name}" IS NOT NULL AND ({_suspect(column)})'
        for column in table.columns
    }
    any_of_them = " OR ".join(f"({suspect})" for suspect in suspects.values())
    own = {"site_id": site_id} if "site_id" in table.columns else {}
    if not connection.execute(_select("1", table, f"({any_of_them}) LIMIT 1"), own).first():
        return  # one scan of a table without faults
    for column in table.columns:
        wanted = f'rowid, typeof("{column.name}"), CAST("{column.name}" AS BLOB)'
        for number, stored, raw in connection.execute(
            _select(wanted, table, f"({suspects[column.name]})"), own
        ):
            if not _is_read(column, stored, bytes(raw)):
                value = bytes(raw).decode(errors="replace")
                yield _sentence(table.name, number, column.name, value)


def _sentence(table: str, number: int, column: str, value: str) -> str:
    return (
        f"{table} {number}: {column} holds {value[:SHOWN]!r}, which cannot be read: it was changed"
    )


def _is_object(value: str) -> bool:
    try:
        return isinstance(json.loads(value), dict)
    except ValueError:
        return False


def _select(wanted: str, table: Table, where: str) -> TextClause:
    query = f'SELECT {wanted} FROM "{table.name}" WHERE {where}'.replace(":", "\\:")  # noqa: S608 - our own names
    # Unindexed: a value of another type in `site_id` belongs to no site, so each names it.
    if "site_id" in table.columns:
        query = query.replace(
            " WHERE ", " WHERE (+site_id = :site_id OR typeof(site_id) <> 'integer') AND ", 1
        )
    return text(query)


def _plain(kind: TypeEngine[object]) -> TypeEngine[object]:
    return kind.impl_instance if isinstance(kind, TypeDecorator) else kind


def _suspect(column: Column[object]) -> str:
    """Return SQL that is true for every value that cannot be read, and for few others."""
    kind, name = _plain(column.type), f'"{column.name}"'
    if isinstance(kind, Integer | Boolean):
        return f"typeof({name}) <> 'integer'"
    if isinstance(kind, Float):
        return f"typeof({name}) NOT IN ('real', 'integer')"
    if isinstance(kind, LargeBinary):
        return f"typeof({name}) <> 'blob'"
    if isinstance(kind, Date | DateTime):
        return f"typeof({name}) <> 'text' OR {name} NOT GLOB {DAY} OR datetime({name}) IS NULL"
    beyond_ascii = f"{name} GLOB {BEYOND_ASCII} OR instr(CAST({name} AS BLOB), x'00')"
    if isinstance(kind, JSON):
        shapes = f"json_type({name}) <> '{_shape(column)}'"
        return f"typeof({name}) <> 'text' OR {beyond_ascii} OR NOT json_valid({name}) OR {shapes}"
    return f"typeof({name}) <> 'text' OR {beyond_ascii}"


def _shape(column: Column[object]) -> str:
    """Return what the JSON of a column is: "array" where a list is its empty value."""
    default = column.default
    if not isinstance(default, CallableColumnDefault):
        return "object"
    empty = default.arg(None)  # type: ignore[arg-type] # it needs no context
    return "array" if isinstance(empty, list) else "object"


def _is_read(column: Column[object], stored: str, raw: bytes) -> bool:
    """Return whether a suspect is read all the same, such as NaN in JSON, or a letter like "é"."""
    kind = _plain(column.type)
    try:
        value = raw.decode()
        if isinstance(kind, JSON):
            shape = dict if _shape(column) == "object" else list
            return isinstance(json.loads(value), shape)
        if isinstance(kind, Date | DateTime):
            datetime.fromisoformat(value)
            return True
    except ValueError:
        return False
    return isinstance(kind, String) and stored == "text"


class DatabaseChecks(Repository):
    """Checks of the database and of the evidence in it."""

    def find_problems(self, *, thorough: bool = False) -> list[str]:
        """Check the integrity of the database; return one sentence per problem.

        Args:
            thorough: Check each index against its table too; takes minutes on a large one.
        """
        return engines.problems(self._engine, thorough=thorough)

    def find_dump_fault(self) -> str:
        """Return why this PC cannot back PostgreSQL up, "" where it can, and for SQLite.

        pg_dump refuses a server that is newer than itself.
        """
        if engines.is_sqlite(self._engine):
            return ""
        program = shutil.which("pg_dump")
        if program is None:
            return "pg_dump is not installed, so that PostgreSQL is not backed up"
        done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)  # noqa: S603 - our own words
        number = re.search(r"\) (\d+)", done.stdout)
        with opening(self._engine), self._engine.connect() as connection:
            server = (
                int(connection.exec_driver_sql("SHOW server_version_num").scalar_one()) // 10_000
            )
        if number and int(number[1]) < server:
            return (
                f"{program} is of version {number[1]} and refuses the server, which is of version "
                f"{server}, so that PostgreSQL is not backed up"
            )
        return ""

    def find_schema_differences(self) -> list[str]:
        """Return a sentence for each table or index that is not as this program makes it.

        A view in the place of a table and an index over a part of the rows show other rows than
        those that are there.
        """
        with tempfile.TemporaryDirectory(prefix="martensight-schema-") as scratch:
            made = engines.make_engine(f"sqlite:///{Path(scratch).as_posix()}/made.db")
            try:
                if engines.is_sqlite(self._engine):
                    schema.bring_up(made)
                    with made.connect() as connection:
                        wanted = _list_made(connection)
            finally:
                made.dispose()
        with opening(self._engine), self._engine.connect() as connection:
            if engines.is_sqlite(self._engine):
                return list(_compare_made(wanted, _list_made(connection)))
            return list(_compare_tables(connection))

    def find_missing_guards(self) -> list[str]:
        """Return the names of the triggers on evidence that are missing, disabled or changed."""
        with opening(self._engine), self._engine.connect() as connection:
            return guards.find_missing(connection)

    def find_foreign_triggers(self) -> list[str]:
        """Return the triggers of the database that are not this program's."""
        with opening(self._engine), self._engine.connect() as connection:
            return guards.find_foreign(connection, site_guards.list_names(connection))

    def find_rewritable_tables(self) -> list[str]:
        """Return the tables of evidence that this PostgreSQL user could rewrite; SQLite: none."""
        with opening(self._engine), self._engine.connect() as connection:
            return guards.may_rewrite(connection)

    def find_unscoped_tables(self) -> list[str]:
        """Return the tables whose rows PostgreSQL does not separate by site; SQLite: none."""
        with opening(self._engine), self._engine.connect() as connection:
            return site_guards.find_missing_policies(connection)

    def is_exempt_from_policies(self) -> bool:
        """Return whether this user of PostgreSQL is bound by no policy, such as a superuser."""
        with opening(self._engine), self._engine.connect() as connection:
            return site_guards.is_exempt(connection)

    def find_unreadable_values(self) -> list[str]:
        """Return a sentence per value that is not of its column's type, as SQLite allows it."""
        with self._engine.connect() as connection:
            return list(find_unreadable(connection, self._whose.site_id))

    def compare_rows(self) -> tuple[list[str], list[str]]:
        """Compare all rows of evidence with the audit log, see `row_checks.examine`."""
        with reading(self._engine) as session:
            return row_checks.examine(session)


def _list_made(connection: Connection) -> dict[str, tuple[str, object]]:
    """Return name → kind and parts of the tables, views and indexes of a SQLite database.

    An upgraded table has another text than a new one, but the same columns.
    """
    rows = connection.exec_driver_sql(
        "SELECT name, type, tbl_name, coalesce(sql, '') FROM sqlite_master "
        "WHERE type IN ('table', 'view', 'index') AND name NOT LIKE 'sqlite#_%' ESCAPE '#'"
    ).all()
    made: dict[str, tuple[str, object]] = {}
    for name, kind, table, text_ in rows:
        pragma = "index_xinfo" if kind == "index" else "table_xinfo"
        parts = connection.exec_driver_sql(f'PRAGMA {pragma}("{name}")').all()
        if kind == "index":
            columns = tuple(column[2] for column in parts if column[5])
            condition = " ".join(str(text_).split()).partition(" WHERE ")[2]
            made[name] = kind, (table, columns, condition, " UNIQUE " in text_)
        else:
            made[name] = kind, frozenset((*column[1:4], *column[5:]) for column in parts)
    return made


def _compare_made(
    wanted: Mapping[str, tuple[str, object]], there: Mapping[str, tuple[str, object]]
) -> Iterator[str]:
    for name, (kind, made) in wanted.items():
        if name not in there:
            yield f"database: the {kind} {name} is missing"
        elif not _is_alike((kind, made), there[name]):
            is_now = there[name][0]
            what = f"is a {is_now}" if is_now != kind else "is not as this program makes it"
            yield f"database: the {kind} {name} {what}; it may show other rows than there are"
    for name in sorted(set(there) - set(wanted)):
        if there[name][0] != "table":
            yield f"database: the {there[name][0]} {name} is not this program's"


def _is_alike(wanted: tuple[str, object], there: tuple[str, object]) -> bool:
    """Return whether what is there has all that is wanted; a further column does no harm."""
    if isinstance(wanted[1], frozenset) and isinstance(there[1], frozenset):
        return wanted[0] == there[0] and wanted[1] <= there[1]
    return wanted == there


def _compare_tables(connection: Connection) -> Iterator[str]:
    """Yield what of a PostgreSQL database is not as this program makes it."""
    inspector = inspect(connection)
    there = set(inspector.get_table_names())
    for name, table in sorted(load_metadata().tables.items()):
        if name not in there:
            yield f"database: the table {name} is missing, or something else is in its place"
            continue
        columns = {str(column["name"]) for column in inspector.get_columns(name)}
        if columns != set(table.columns.keys()):
            odd = ", ".join(sorted(columns ^ set(table.columns.keys())))
            yield f"database: the table {name} has other columns than this program's ({odd})"
    for name in sorted({*inspector.get_view_names(), *inspector.get_materialized_view_names()}):
        yield f"database: the view {name} is not this program's"
    for setting in connection.execute(_OWN_SEARCH_PATH).scalars():
        yield f"database: this user of PostgreSQL reads other tables first ({setting})"
    rules = text("SELECT tablename, rulename FROM pg_rules WHERE schemaname = current_schema()")
    for table_name, rule in connection.execute(rules):
        yield f"database: the rule {rule} on {table_name} is not this program's"


_OWN_SEARCH_PATH = text(
    "SELECT setting FROM pg_db_role_setting JOIN pg_roles ON pg_roles.oid = setrole, "
    "unnest(setconfig) AS setting WHERE rolname = current_user "
    "AND setting LIKE 'search_path=%' AND setting != 'search_path=public'"
)
