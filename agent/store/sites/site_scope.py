"""Separate the sites that share a database: each statement names its site.

Three layers do it, and none relies on the others. A session adds the site to each table of a
statement and to each new row. The guard on the engine refuses a statement that reaches the driver
without it, so a forgotten site is a fault and never an answer. PostgreSQL compares each row again,
see `site_guards`. An engine that was not bound reaches no table of a site.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from functools import cache, lru_cache
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Integer,
    and_,
    column,
    event,
    exists,
    inspect,
    or_,
    select,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import ORMExecuteState, with_loader_criteria
from sqlalchemy.orm import Session as AnySession
from sqlalchemy.orm.interfaces import CompileStateOption
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.visitors import InternalTraversal
from sqlmodel import Session, col

from agent.errors import AgentError
from agent.store.tables import PER_SITE, SITE, Account, OfGroup, OfSite, PromotionRow, SiteRow

EVERY_SITE: Final = 0
"""Value of `SITE` with which rows of all sites are read, and none is written."""
SCHEMA: Final = -1
"""Value of `SITE` with which the schema is changed; a migration knows no site."""
GROUPED: dict[type[Account | PromotionRow], str] = {
    Account: "shares_accounts",
    PromotionRow: "shares_bundles",
}
"""Tables of which a site also reads the rows of others, where all of them share → the column."""
COUNTED = frozenset({"failures", "locked_until"})
"""Columns of a shared account that a log-in at another site changes."""
POSTGRESQL_SETTING: Final = "martensight.site"
"""Setting of a session of PostgreSQL that its policies compare rows with."""

_SITE_OF_NONE = column("site_id", Integer)
"""What `OfSite` itself has as the site of its rows: SQLAlchemy first calls a criterion with it."""
_GUARDED: Final = "site_guarded"
"""Execution option of an engine whose connections are guarded already, as its base is."""
_flushing: ContextVar[bool] = ContextVar("flushing", default=False)


class ForeignSiteError(AgentError):
    """A statement or a row leaves its site; nothing was read or written."""


class unindexed(FunctionElement[int]):  # noqa: N801 - spelt as SQL functions are
    """A column that SQLite uses no index for.

    A database of one site has the same number in each row, and SQLite does not know it: an index
    that begins with the site would win over the one that finds a row.
    """

    inherit_cache = True
    type = Integer()


@compiles(unindexed)
def _plain(element: unindexed, compiler: Any, **options: Any) -> str:
    return str(compiler.process(next(iter(element.clauses)), **options))


@compiles(unindexed, "sqlite")
def _with_plus(element: unindexed, compiler: Any, **options: Any) -> str:
    return f"+{_plain(element, compiler, **options)}"


def bind(engine: Engine, site_id: int) -> Engine:
    """Return an engine that reaches the rows of one site alone.

    Args:
        engine: Its connections are guarded from now on.
        site_id: Number of the site; `EVERY_SITE` reads the rows of all.
    """
    is_guarded = engine.get_execution_options().get(_GUARDED, False)
    if not is_guarded and not event.contains(engine, "before_cursor_execute", _guard):
        event.listen(engine, "before_cursor_execute", _guard)
        if engine.dialect.name == "postgresql":
            event.listen(engine, "begin", _tell_postgresql)
    return engine.execution_options(**{SITE: site_id, _GUARDED: True})


# --- the session ----------------------------------------------------------------------------------


class SiteSession(Session):
    """A session whose statements and rows are those of the engine's site."""

    def flush(self, objects: Sequence[Any] | None = None) -> None:
        """Write changes; the guard accepts rows that `_check_rows` has checked."""
        token = _flushing.set(True)
        try:
            super().flush(objects)
        finally:
            _flushing.reset(token)


def get_site(session: AnySession) -> int | None:
    """Return the site of a session, `EVERY_SITE`, or None where its engine is not bound."""
    site: int | None = session.get_bind().get_execution_options().get(SITE)
    return site


@event.listens_for(SiteSession, "do_orm_execute")
def _add_site(state: ORMExecuteState) -> None:
    site = get_site(state.session)
    if site is not None and site > 0 and state.is_orm_statement and not state.is_insert:
        options = (_option(site),) if state.is_select else _criteria(site)
        state.statement = state.statement.options(*options)


class _SiteOption(CompileStateOption):
    """The criteria of a site as one option of a statement, known to its cache by the site alone.

    SQLAlchemy compares the options of each statement with those it has compiled: as themselves,
    the criteria would double what a small statement costs.
    """

    _cache_key_traversal = [("site", InternalTraversal.dp_plain_obj)]  # noqa: RUF012 - read by them
    propagate_to_loaders = False

    def __init__(self, site: int) -> None:
        self.site = site

    def process_compile_state(self, compile_state: Any) -> None:
        """Add the site to each table; called once for each statement that is compiled."""
        for option in _criteria(self.site):
            option.process_compile_state(compile_state)


_option = cache(_SiteOption)


@cache
def _criteria(site: int) -> tuple[Any, ...]:
    """Return the options that add a site to every table of a statement, in subqueries too."""
    own = with_loader_criteria(
        OfSite,
        lambda cls: unindexed(getattr(cls, "site_id", _SITE_OF_NONE)) == site,
        include_aliases=True,
        propagate_to_loaders=False,
    )
    shared = (
        with_loader_criteria(
            table, _is_shared(table, site), include_aliases=True, propagate_to_loaders=False
        )
        for table in GROUPED
    )
    return (own, *shared)


def _is_shared(table: type[Account | PromotionRow], site: int) -> ColumnElement[bool]:
    """Return what rows of a shared table a site reads: its own, and others' by mutual consent."""
    shares = col(getattr(SiteRow, GROUPED[table]))
    number = col(SiteRow.id)
    here = select(number).where(number == site, shares.is_(True))
    others = select(number).where(shares.is_(True))
    own = unindexed(col(table.site_id)) == site
    return or_(own, and_(exists(here), col(table.site_id).in_(others)))


@event.listens_for(SiteSession, "before_flush")
def _check_rows(session: SiteSession, _context: object, _objects: object) -> None:
    site = get_site(session)
    for row in (*session.new, *session.dirty, *session.deleted):
        if isinstance(row, OfSite | OfGroup):
            _require_own(row, site)


def _require_own(row: Any, site: int | None) -> None:
    state = inspect(row)
    if not state.persistent and row.site_id is None and site:
        return  # the column fills it in
    before = state.attrs.site_id.history.deleted if state.persistent else ()
    if site and row.site_id == site and not before:
        return
    if isinstance(row, Account) and site and state.persistent and not before:
        changed = {attribute.key for attribute in state.attrs if attribute.history.has_changes()}
        if changed <= COUNTED:
            return  # a shared account, visible by both sites' consent
    raise ForeignSiteError(
        f"{row.__tablename__} {getattr(row, 'id', None)} is of site {row.site_id}, and site {site} "
        "writes it; nothing was written."
    )


# --- the guard ------------------------------------------------------------------------------------

_COLUMNS = re.compile(r"(INSERT (?:OR \w+ )?INTO \S+ )\(([^)]*)\)")
_TABLE = re.compile(
    r"""(?:\b(FROM|JOIN|UPDATE|INTO|USING)|,)\s+\(?"?(\w+)"?(?:\s+AS\s+"?(\w+)"?)?(?![\w."])"""
)
_BOUND = r"site_id = (?:\?|:|%|\$)"
_NAMED = re.compile(rf'(?<![\w.])"?(\w+)"?\.{_BOUND}')
_UNNAMED = re.compile(rf'(?<![\w."]){_BOUND}')
_WRITES = ("INSERT", "UPDATE", "DELETE", "REPLACE")


@lru_cache(maxsize=4096)
def find_tables(statement: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return the tables of sites that a statement reaches, and those without a named site.

    Args:
        statement: SQL as the driver gets it.
    """
    text = " ".join(statement.split())
    inserted = _COLUMNS.search(text)
    columns = [name.strip(' "') for name in inserted[2].split(",")] if inserted else []
    bound = frozenset(_NAMED.findall(text))  # one pattern: compiling one a table takes milliseconds
    is_bound = _UNNAMED.search(text) is not None
    reached: set[str] = set()
    left_open: set[str] = set()
    for verb, table, alias in _TABLE.findall(_COLUMNS.sub(r"\1", text)):
        if table in PER_SITE:
            reached.add(table)
            names_site = (alias or table) in bound or (not alias and is_bound)
            named = "site_id" in columns if verb == "INTO" else names_site
            left_open |= set() if named else {table}
    return frozenset(reached), frozenset(left_open)


def _guard(
    connection: Connection,
    _cursor: object,
    statement: str,
    _parameters: object,
    context: Any,
    _many: object,
) -> None:
    """Refuse a statement that leaves the site of its connection."""
    compiled = context.compiled if context is not None else None
    reached, left_open = find_tables(compiled.string if compiled is not None else statement)
    if not reached:
        return
    site = connection.get_execution_options().get(SITE)
    if site == SCHEMA:
        return
    verb = statement.lstrip()[:7].upper()
    if site == EVERY_SITE:
        if verb.startswith(_WRITES):
            raise ForeignSiteError(f"a connection that reads all sites writes none: {statement}")
        return
    if site is None:
        raise ForeignSiteError(f"a connection that is bound to no site: {statement}")
    if left_open and not (_flushing.get() and verb.startswith(("UPDATE", "DELETE"))):
        raise ForeignSiteError(f"no site is named of {', '.join(sorted(left_open))}: {statement}")
    if compiled is not None:
        _check_values(context.compiled_parameters, site)


def _check_values(parameters: Sequence[Mapping[str, Any]], site: int) -> None:
    names = [name for name in parameters[0] if name.startswith("site_")] if parameters else ()
    for row in parameters:
        for name in names:
            if isinstance(row[name], int) and row[name] != site:
                raise ForeignSiteError(f"a statement of site {site} names site {row[name]}.")


# --- PostgreSQL -----------------------------------------------------------------------------------


def _tell_postgresql(connection: Connection) -> None:
    """Set the connection's site at the server; outside a transaction, so that it is not undone."""
    site = connection.get_execution_options().get(SITE)
    if connection.info.get(SITE, "") == site:
        return
    driver: Any = connection.connection.driver_connection
    driver.autocommit = True
    value = "" if site is None else str(site)
    driver.execute("SELECT set_config(%s, %s, false)", (POSTGRESQL_SETTING, value))
    driver.autocommit = False
    connection.info[SITE] = site
