"""Database connections whose transactions lose no update, and the base of the repositories.

SQLite begins a writing transaction with `BEGIN IMMEDIATE`: with the driver's default, threads that
read, compute and write lose updates silently.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    DataError,
    IntegrityError,
    InterfaceError,
    OperationalError,
    ProgrammingError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import NullPool, PoolProxiedConnection, StaticPool
from sqlmodel import Session

from agent.errors import AgentError, StoreError, UsageError, hide_passwords
from agent.store.numbers import number_key
from agent.store.sites import site_scope
from agent.store.sites.site_scope import SiteSession

DATABASE_FILE = "martensight.db"
T = TypeVar("T")
WRITE_ATTEMPTS = 5  # so many agents may write the same row at once, each before the next
BUSY_TIMEOUT_MS = 15_000  # longer is reported as a fault, so that a stop need not wait
CONNECT_TIMEOUT_S = 5
CONNECTIONS, KEPT_CONNECTIONS = 15, 2
"""Most connections of a process to PostgreSQL, and how many of them stay open without work."""
NETWORK_FILE_SYSTEMS = frozenset(
    {"afs", "ceph", "cifs", "fuse.glusterfs", "fuse.rclone", "fuse.sshfs", "gfs2", "glusterfs"}
    | {"lustre", "ncpfs", "nfs", "nfs4", "smb2", "smb3", "smbfs"}
)
WINDOWS_REMOTE_DRIVE = 4  # GetDriveTypeW: DRIVE_REMOTE

ACTED, AFTER_ACT = "acted", "after_act"
"""Mark of a session that wrote into the audit log, and option of an engine: what is called then."""

WRITES = {"writes": True}
"""Execution option of a connection whose transaction is going to write."""


class StoreFaultError(AgentError):
    """The database is gone, locked or full for now: wait and try again, no file is to blame."""


def store_url(folder: Path, url: str = "") -> str:
    """Return the address of the database: the lab's own, or SQLite in the data folder.

    Args:
        folder: The data folder, absolute.
        url: The setting `store.url`, "" for SQLite.
    """
    return url or f"sqlite:///{(folder / DATABASE_FILE).as_posix()}"


def make_engine(url: str, *, connections: int = CONNECTIONS) -> Engine:
    """Create an engine; nothing is connected yet.

    Args:
        url: See `store_url`.
        connections: Most connections at once to PostgreSQL; 0: each transaction opens its own.

    Raises:
        StoreError: The address is none, its driver is missing, or SQLite would be on a network
            drive.
    """
    try:
        address = make_url(url)
        backend = address.get_backend_name()
    except ArgumentError as error:
        raise StoreError(
            f"store.url: not a database address: {url.partition(':')[0]!r}; "
            'write "" or "postgresql+psycopg://user:password@server/name".'
        ) from error
    if backend == "sqlite":
        return _sqlite(address)
    if backend == "postgresql":
        return _postgresql(address, connections)
    raise StoreError(f"store.url: {backend!r} is not supported; use SQLite or PostgreSQL.")


def _sqlite(address: URL) -> Engine:
    if file := sqlite_file(address):
        refuse_network(file)
        _make_folder(file.parent)
    engine = create_engine(
        address,
        connect_args={"check_same_thread": False},
        json_deserializer=_read_json,
        **({} if file else {"poolclass": StaticPool}),
    )
    event.listen(engine, "connect", _prepare_sqlite)
    # The event "begin" does the same, but with any event of the engine each connection looks all of
    # them up again, which is a sixth of the time of a small query.
    engine.dialect.do_begin = _begin_sqlite  # type: ignore[method-assign]
    engine.dialect.set_connection_execution_options = _note_writing  # type: ignore[method-assign]
    return engine


def _read_json(text: str) -> Any:
    """Return stored JSON; of thousands of rows most columns are empty, and need no parser."""
    if text == "{}":
        return {}
    if text == "[]":
        return []
    return None if text == "null" else json.loads(text)


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # we begin transactions ourselves, see `_begin_sqlite`
    for pragma in (
        f"busy_timeout = {BUSY_TIMEOUT_MS}",  # before WAL, which itself may have to wait
        "journal_mode = WAL",
        "synchronous = FULL",  # the machine is switched off at night
        "foreign_keys = ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _note_writing(connection: Connection, opts: Mapping[str, Any]) -> None:
    connection.info["writes"] = opts.get("writes", False)


def _begin_sqlite(dbapi_connection: PoolProxiedConnection) -> None:
    writes = dbapi_connection.info.pop("writes", False)
    dbapi_connection.cursor().execute("BEGIN IMMEDIATE" if writes else "BEGIN")


def _postgresql(address: URL, connections: int) -> Engine:
    kept = min(connections, KEPT_CONNECTIONS)
    pool: dict[str, Any] = (
        {"pool_size": kept, "max_overflow": connections - kept, "pool_pre_ping": True}
        if connections
        else {"poolclass": NullPool}
    )
    try:
        return create_engine(
            address.set(drivername="postgresql+psycopg"),
            connect_args={"connect_timeout": CONNECT_TIMEOUT_S},
            **pool,
        )
    except ModuleNotFoundError as error:
        raise StoreError(
            "store.url: PostgreSQL needs one more package: pip install 'martensight[postgres]'."
        ) from error


def sqlite_file(address: URL) -> Path | None:
    """Return the file of an SQLite address; None for one in memory."""
    name = address.database
    return None if not name or name == ":memory:" else Path(name)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"{folder}: the data folder cannot be made ({error.strerror or error})."
        ) from error


def refuse_network(file: Path) -> None:
    """Refuse SQLite on a network drive, where its locks do not work.

    Raises:
        StoreError: The file would be on one.
    """
    if kind := network_kind(file.absolute()):
        raise StoreError(
            f"{file}: SQLite on a network drive ({kind}) corrupts; "
            "set store.folder to a local disk, or store.url to PostgreSQL."
        )


def network_kind(path: Path) -> str | None:
    """Return the kind of network drive of a path, or None if it is local."""
    if sys.platform == "win32":
        return _windows_network_kind(path)
    mounts = Path("/proc/self/mounts")
    if not mounts.exists():
        return None
    kind = _mount_kind(path.resolve(), mounts.read_text(encoding="utf-8", errors="replace"))
    return kind if kind in NETWORK_FILE_SYSTEMS else None


def _mount_kind(path: Path, mounts: str) -> str:
    best, kind = 0, ""
    for line in mounts.splitlines():
        _, point, mount, *_ = line.split(" ")
        point = point.replace("\\040", " ")
        if path.is_relative_to(point) and len(point) >= best:
            best, kind = len(point), mount
    return kind


def _windows_network_kind(path: Path) -> str | None:
    drive = path.drive
    if drive.startswith("\\\\"):
        return "UNC path"
    import ctypes  # noqa: PLC0415 - only Windows has windll

    windll: Any = ctypes.windll  # type: ignore[attr-defined, unused-ignore]
    kind = windll.kernel32.GetDriveTypeW(f"{drive}\\")
    return "mapped drive" if kind == WINDOWS_REMOTE_DRIVE else None


def insert_for(session: Session) -> Any:
    """Return the database's own `insert`, which can leave out rows that are there."""
    if session.get_bind().dialect.name == "sqlite":
        from sqlalchemy.dialects import sqlite  # noqa: PLC0415 - a read needs neither

        return sqlite.insert
    from sqlalchemy.dialects import postgresql  # noqa: PLC0415

    return postgresql.insert


@contextmanager
def reading(engine: Engine) -> Iterator[Session]:
    """Open a transaction that only reads; no writer waits for it."""
    with _faults(engine), SiteSession(engine, expire_on_commit=False) as session:
        yield session


@contextmanager
def writing(engine: Engine) -> Iterator[Session]:
    """Open a transaction that writes; it commits at the end, whole or not at all.

    Where it wrote an act into the audit log, `AFTER_ACT` of the engine is called afterwards.
    """
    with _faults(engine), SiteSession(engine, expire_on_commit=False) as session, session.begin():
        # An option of this connection: a separate engine would look up all events again.
        session.connection(execution_options=WRITES)
        yield session
    if session.info.get(ACTED) and (listen := engine.get_execution_options().get(AFTER_ACT)):
        listen()


def write_retrying(engine: Engine, act: Callable[[Session], T]) -> T:
    """Write in a transaction, and again where another agent wrote the same row just before."""
    for _ in range(WRITE_ATTEMPTS - 1):
        try:
            with writing(engine) as session:
                return act(session)
        except IntegrityError:
            continue
    with writing(engine) as session:
        return act(session)


@contextmanager
def _faults(engine: Engine) -> Iterator[None]:
    try:
        yield
    except (DataError, UnicodeEncodeError, OverflowError) as error:
        raise UsageError(
            f"a text or a number cannot be kept in the database ({_reason(error)}). Leave out NUL "
            "and damaged letters, and use smaller numbers."
        ) from error
    except (IntegrityError, ProgrammingError):
        raise  # a bug of ours, and allowed to be one
    except (OperationalError, InterfaceError, PoolTimeoutError) as error:
        if _is_too_much(error):
            raise  # this one row's fault; waiting would not help
        raise StoreFaultError(f"database: {_reason(error)} ({place(engine)})") from error
    except DatabaseError as error:
        raise StoreError(_broken(engine, error)) from error


@contextmanager
def opening(engine: Engine) -> Iterator[None]:
    """Convert errors of opening into a message with the next step.

    Raises:
        StoreError: Not a database, no permission, or the server does not answer.
    """
    try:
        yield
    except (OperationalError, InterfaceError, StoreFaultError) as error:
        raise StoreError(
            f"{place(engine)}: the database cannot be opened ({_reason(error)})."
        ) from error
    except DatabaseError as error:
        raise StoreError(_broken(engine, error)) from error


def _broken(engine: Engine, error: DatabaseError) -> str:
    return (
        f"{place(engine)}: not a usable database ({_reason(error)}); "
        "restore a backup with: agent restore FILE"
    )


def _is_too_much(error: Exception) -> bool:
    """Return whether PostgreSQL refuses a value, such as a name longer than an index accepts.

    Source:
        PostgreSQL's error codes, class 54, "program limit exceeded".
    """
    return str(getattr(getattr(error, "orig", None), "sqlstate", "") or "").startswith("54")


def _reason(error: Exception) -> str:
    cause = getattr(error, "orig", None) or error
    lines = str(cause).strip().splitlines() or [type(cause).__name__]
    return lines[0].rstrip(".")


def place(engine: Engine) -> str:
    """Return the address of the database, without its password."""
    file = sqlite_file(engine.url) if is_sqlite(engine) else None
    return str(file) if file else hide_passwords(engine.url.render_as_string())


def is_sqlite(engine: Engine) -> bool:
    """Return whether this is SQLite."""
    return engine.dialect.name == "sqlite"


def problems(engine: Engine, *, thorough: bool = False) -> list[str]:
    """Check that the database is sound.

    Args:
        engine: The database.
        thorough: Check every index against its table too; takes minutes on a large one.

    Returns:
        One sentence per problem; empty if it is sound.
    """
    try:
        with reading(engine) as session:
            if not is_sqlite(engine):
                session.execute(text("SELECT 1"))
                return []
            check = "integrity_check" if thorough else "quick_check"
            messages = session.execute(text(f"PRAGMA {check}(20)")).scalars().all()
            dangling = session.execute(text("PRAGMA foreign_key_check")).all() if thorough else []
    except (StoreError, StoreFaultError) as error:
        return [str(error)]
    return [
        *(f"{place(engine)}: {line}" for line in messages if line != "ok"),
        *(
            f"{place(engine)}: a row of {row[0]} names one of {row[2]} that is gone"
            for row in dangling
        ),
    ]


@dataclass(frozen=True, slots=True)
class AgentIdentity:
    """Identity of a store: its site and its agent."""

    site_id: int
    agent_id: int
    exact_numbers: bool = False

    def key(self, number: str) -> str:
        """Return what all spellings of an order's number have in common at this site."""
        return number_key(number, exact=self.exact_numbers)


class Repository:
    """Rows of one subject at one site; each public method is one transaction.

    Args:
        engine: At this program's schema, bound to the site.
        whose: The site and the agent that use it.
    """

    def __init__(self, engine: Engine, whose: AgentIdentity) -> None:
        self._engine, self._whose = engine, whose

    @property
    def _all_sites(self) -> Engine:
        return site_scope.bind(self._engine, site_scope.EVERY_SITE)
