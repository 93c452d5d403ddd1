"""Triggers that refuse to change or delete evidence, on SQLite and PostgreSQL alike.

They are removed before a migration and created again after it, so that only a migration may change
evidence. Rows are added as before; a restore replaces the whole database.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from sqlalchemy import Connection, inspect, text

from agent.store.evidence.declaration import ALL, EVIDENCE, EvidenceTable

FUNCTION, LOGIN_FUNCTION = "martensight_refuse", "martensight_login"
REFUSAL = "is evidence: it is neither changed nor deleted"


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
    wanted = {f"guard_{table}_{act}" for table in EVIDENCE for act in acts}
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
    tables = [table for table in EVIDENCE if inspect(connection).has_table(table)]
    rights = text(
        "SELECT has_table_privilege(:quoted, 'DELETE') OR has_table_privilege(:quoted, 'TRUNCATE') "
        "OR (:whole AND has_any_column_privilege(:quoted, 'UPDATE')) "
        "OR pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = to_regclass(:quoted)"
    )
    whole = {table: EVIDENCE[table].fixed == ALL for table in tables}
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
    guards = [evidence for table, evidence in EVIDENCE.items() if table in there]
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


def _sqlite(guard: EvidenceTable, columns: list[str]) -> Iterator[tuple[str, str]]:
    table, key = f'"{guard.table}"', f'"{columns[0]}"'
    refuse = f"BEGIN SELECT RAISE(ABORT, '{guard.table} {REFUSAL}'); END"
    changed = " OR ".join(
        [
            *(f'OLD."{name}" IS NOT NEW."{name}"' for name in _list_fixed(guard, columns)),
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


def _list_fixed(guard: EvidenceTable, columns: list[str]) -> Sequence[str]:
    return columns if guard.fixed == ALL else guard.fixed


def _postgresql(guard: EvidenceTable, columns: list[str]) -> Iterator[tuple[str, str]]:
    table = f'"{guard.table}"'
    run = f"EXECUTE FUNCTION {FUNCTION}()"
    changed = " OR ".join(
        [
            *(
                f'OLD."{name}"::text IS DISTINCT FROM NEW."{name}"::text'
                for name in _list_fixed(guard, columns)
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
