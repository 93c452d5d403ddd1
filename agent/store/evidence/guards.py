"""Triggers that refuse to change or delete evidence, on SQLite and PostgreSQL alike.

They are removed before a migration and created again after it, so that only a migration may change
evidence. Rows are added as before; a restore replaces the whole database.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import inspect, text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from sqlalchemy import Connection

FUNCTION, LOGIN_FUNCTION = "martensight_refuse", "martensight_login"
REFUSAL = "is evidence: it is neither changed nor deleted"


@dataclass(frozen=True, slots=True)
class Guard:
    """The evidence in a table. Rows of a guarded table are never deleted.

    Args:
        table: Name of the table.
        fixed: Columns that never change; None: all of them.
        once: Columns that are filled once and then never change.
        key: Its primary key.
    """

    table: str
    fixed: tuple[str, ...] | None = None
    once: tuple[str, ...] = ()
    key: str = "id"


GUARDED = (
    Guard("trail"),
    Guard("label"),
    Guard("record"),
    Guard("promotion"),
    Guard("specification"),
    Guard("night"),
    Guard("rating"),
    Guard("measurement"),
    Guard("needle_field"),
    Guard(
        "needle_measurement",
        fixed=(
            "site_id",
            "micrograph_id",
            "start_x",
            "start_y",
            "end_x",
            "end_y",
            "um_per_px",
            "length_um",
            "by",
            "at",
        ),
        once=("withdrawn_by", "withdrawn_at"),
    ),
    Guard("statement"),
    Guard("statement_file"),
    Guard(
        "order",
        fixed=("site_id", "number", "first_seen_at"),
    ),
    Guard(
        "specimen",
        fixed=("site_id", "order_id", "name", "first_seen_at"),
        once=("bundle", "heat", "batch", "material"),
    ),
    Guard("preparation", fixed=("specimen_id", "name", "first_seen_at", "replaces")),
    Guard(
        "micrograph",
        fixed=(
            "public_id",
            "site_id",
            "sha256",
            "page",
            "origin",
            "taken_at",
            "width",
            "height",
            "um_per_px",
            "um_per_px_source",
            "recipe",
            "source_id",
            "relative",
            "crop_facts",
            "warnings",
            "area_mm2",
            "plant",
            "microscope",
            "objective",
            "magnification",
            "operator",
            "process_extra",
        ),
    ),
    Guard(
        "result",
        fixed=(
            "micrograph_id",
            "site_id",
            "bundle",
            "recipe",
            "origin",
            "done_at",
            "subtype",
            "subtype_probabilities",
            "size",
            "size_min",
            "size_max",
            "size_probabilities",
            "structure_code",
            "probability",
            "probabilities",
            "prediction_set",
            "coarser_share",
            "p_value",
            "strangeness",
            "thresholds",
            "expected",
            "engine",
            "precision",
            "role",
            "after_record",
        ),
        once=("filed",),
    ),
    Guard(
        "place",
        fixed=("micrograph_id", "site_id", "landmarks"),
        once=("compared_at",),
        key="micrograph_id",
    ),
    Guard("source", fixed=("site_id", "name")),
    Guard(
        "same_place",
        fixed=("site_id", "micrograph_id", "other_id", "share", "area_px", "facts", "found_at"),
    ),
    Guard(
        "order_claim",
        fixed=("site_id", "micrograph_id", "order_id", "specimen", "origin", "file", "at"),
        once=("settled_by", "settled_reason", "settled_at"),
    ),
    Guard("account", fixed=("name", "kind", "created_at")),
    Guard("login", fixed=("site_id", "sha256", "account_id", "began_at"), once=("ended_at",)),
    Guard("campaign", fixed=("site_id", "name", "seed", "by", "created_at")),
    Guard("campaign_image", fixed=("campaign_id", "number", "micrograph_id", "reference")),
    Guard("campaign_rater", fixed=("campaign_id", "pseudonym", "name")),
)
"""All guarded tables. A migration that adds a table of evidence adds a line here, no SQL."""


def lay(connection: Connection) -> None:
    """Create the guards of all existing tables; existing guards are created again."""
    remove(connection)
    for statement in _statements(connection).values():
        connection.exec_driver_sql(statement)


def remove(connection: Connection) -> None:
    """Remove every guard, for the time of a migration."""
    if connection.dialect.name == "sqlite":
        for name in _laid_sqlite(connection):
            connection.exec_driver_sql(f'DROP TRIGGER "{name}"')
    else:
        for name in FUNCTIONS:
            connection.exec_driver_sql(f"DROP FUNCTION IF EXISTS {name}() CASCADE")


def are_laid(connection: Connection) -> bool:
    """Return whether a guard of every name is there; a quick look, made at each opening."""
    if connection.dialect.name == "sqlite":
        laid = set(_laid_sqlite(connection))
        acts = ("update", "delete", "insert")
    else:
        laid = _enabled_postgresql(connection)
        acts = ("update", "delete", "truncate")
    wanted = {f"guard_{guard.table}_{act}" for guard in GUARDED for act in acts}
    return laid >= wanted | {"guard_login_insert"}


def find_missing(connection: Connection) -> list[str]:
    """Return the names of guards that are missing, disabled or changed."""
    wanted = _statements(connection)
    if connection.dialect.name == "sqlite":
        laid = _laid_sqlite(connection)
        return [name for name, statement in wanted.items() if laid.get(name) != statement]
    found = text("SELECT proname, prosrc FROM pg_proc WHERE proname = ANY(:names)")
    bodies = connection.execute(found, {"names": list(FUNCTIONS)}).all()
    if sorted((name, body) for name, body in bodies) != sorted(_list_functions(connection).items()):
        return list(wanted)
    enabled = _enabled_postgresql(connection)
    return [name for name in wanted if name.startswith("guard_") and name not in enabled]


def find_foreign(connection: Connection, known: Collection[str]) -> list[str]:
    """Return the triggers that are not this program's: one can change what is being written.

    Args:
        connection: Open.
        known: Names of further triggers of this program.
    """
    if connection.dialect.name == "sqlite":
        rows = connection.exec_driver_sql(
            "SELECT name, tbl_name FROM sqlite_master WHERE type = 'trigger' ORDER BY name"
        )
    else:
        rows = connection.execute(
            text(
                "SELECT tgname, relname FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid "
                "JOIN pg_namespace ON pg_namespace.oid = relnamespace "
                "WHERE NOT tgisinternal AND nspname = current_schema() ORDER BY tgname"
            )
        )
    wanted = {*_statements(connection), *known}
    return [f"{name} on {table}" for name, table in rows if name not in wanted]


def may_rewrite(connection: Connection) -> list[str]:
    """Return the tables of evidence in which this PostgreSQL user may delete rows or drop guards.

    SQLite has no users; there the list is empty.
    """
    if connection.dialect.name == "sqlite":
        return []
    tables = [guard.table for guard in GUARDED if inspect(connection).has_table(guard.table)]
    rights = text(
        "SELECT has_table_privilege(:quoted, 'DELETE') OR has_table_privilege(:quoted, 'TRUNCATE') "
        "OR (:whole AND has_any_column_privilege(:quoted, 'UPDATE')) "
        "OR pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = to_regclass(:quoted)"
    )
    whole = {guard.table: guard.fixed is None for guard in GUARDED}
    return [
        table
        for table in tables
        if connection.execute(rights, {"quoted": f'"{table}"', "whole": whole[table]}).scalar()
    ]


def _laid_sqlite(connection: Connection) -> dict[str, str]:
    rows = connection.exec_driver_sql(
        "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'guard#_%' "
        "ESCAPE '#'"
    )
    return {str(name): str(statement) for name, statement in rows}


def _enabled_postgresql(connection: Connection) -> set[str]:
    rows = connection.execute(
        text("SELECT tgname FROM pg_trigger WHERE NOT tgisinternal AND tgenabled IN ('O', 'A')")
    )
    return {str(name) for (name,) in rows}


def _statements(connection: Connection) -> Mapping[str, str]:
    """Return name → statement, of the tables that are there."""
    there = {
        table: [column["name"] for column in inspect(connection).get_columns(table)]
        for table in inspect(connection).get_table_names()
    }
    guards = [guard for guard in GUARDED if guard.table in there]
    if connection.dialect.name == "sqlite":
        return {
            name: statement
            for guard in guards
            for name, statement in _sqlite(guard, there[guard.table])
        }
    own = {
        name: f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $guard${body}$guard$"
        for name, body in _list_functions(connection).items()
    }
    return own | {
        name: statement
        for guard in guards
        for name, statement in _postgresql(guard, there[guard.table])
    }


def _sqlite(guard: Guard, columns: list[str]) -> Iterator[tuple[str, str]]:
    table, key = f'"{guard.table}"', f'"{guard.key}"'
    refuse = f"BEGIN SELECT RAISE(ABORT, '{guard.table} {REFUSAL}'); END"
    changed = " OR ".join(
        [
            *(f'OLD."{name}" IS NOT NEW."{name}"' for name in guard.fixed or columns),
            *(
                f'(coalesce(OLD."{name}", \'\') != \'\' AND OLD."{name}" IS NOT NEW."{name}")'
                for name in guard.once
            ),
        ]
    )
    for act, when in (
        ("UPDATE", f" WHEN {changed}"),
        ("DELETE", ""),
        # REPLACE deletes the existing row without firing the trigger of DELETE.
        ("INSERT", f" WHEN EXISTS (SELECT 1 FROM {table} WHERE {key} = NEW.{key})"),  # noqa: S608
    ):
        name = f"guard_{guard.table}_{act.lower()}"
        yield name, f'CREATE TRIGGER "{name}" BEFORE {act} ON {table}{when} {refuse}'


def _postgresql(guard: Guard, columns: list[str]) -> Iterator[tuple[str, str]]:
    table = f'"{guard.table}"'
    run = f"EXECUTE FUNCTION {FUNCTION}()"
    changed = " OR ".join(
        [
            *(
                f'OLD."{name}"::text IS DISTINCT FROM NEW."{name}"::text'
                for name in guard.fixed or columns
            ),
            *(
                f"(coalesce(OLD.\"{name}\"::text, '') != '' "
                f'AND OLD."{name}"::text IS DISTINCT FROM NEW."{name}"::text)'
                for name in guard.once
            ),
        ]
    )
    for act, what in (
        ("update", f"BEFORE UPDATE ON {table} FOR EACH ROW WHEN ({changed})"),
        ("delete", f"BEFORE DELETE ON {table} FOR EACH ROW"),
        ("truncate", f"BEFORE TRUNCATE ON {table} FOR EACH STATEMENT"),
    ):
        name = f"guard_{guard.table}_{act}"
        yield name, f'CREATE TRIGGER "{name}" {what} {run}'
    if guard.table == "login":
        name = "guard_login_insert"
        run = f"EXECUTE FUNCTION {LOGIN_FUNCTION}()"
        yield name, f'CREATE TRIGGER "{name}" BEFORE INSERT ON {table} FOR EACH ROW {run}'


def _list_functions(connection: Connection) -> dict[str, str]:
    """Return the functions of the triggers of PostgreSQL: name → body."""
    schema = connection.execute(text("SELECT quote_ident(current_schema())")).scalar_one()
    return {FUNCTION: _BODY, LOGIN_FUNCTION: _LOGIN_BODY.format(schema=schema)}


FUNCTIONS = (FUNCTION, LOGIN_FUNCTION)
_BODY = f"BEGIN RAISE EXCEPTION USING MESSAGE = TG_TABLE_NAME || ' {REFUSAL}'; END"
# The tables are named with their schema, as a temporary table of the same name is found first.
_LOGIN_BODY = (
    "BEGIN IF NOT EXISTS (SELECT 1 FROM (SELECT act, actor, facts FROM {schema}.trail "
    "WHERE site_id = NEW.site_id ORDER BY id DESC LIMIT 1) AS newest JOIN {schema}.account "
    "ON account.id = NEW.account_id AND account.name = newest.actor "
    "WHERE newest.act = 'login.began' AND newest.facts::jsonb ->> 'login' = "
    "encode(sha256(convert_to(NEW.sha256, 'UTF8')), 'hex')) "
    "THEN RAISE EXCEPTION 'a log-in begins with an act of the audit log'; END IF; RETURN NEW; END"
)
