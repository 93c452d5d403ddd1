"""Both databases for the tests: a SQLite file, and a real PostgreSQL started for the session.

PostgreSQL comes from Debian's package, runs on loopback in a temporary folder, and is stopped at
the end. Where none can be had the tests skip, and say why. The folder lies in memory where
temporary files do: a copied database is 600 files, and a disk takes half a second for them.
"""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from labs.later_versions import later_versions

from agent.store import Store, engine
from agent.store.evidence import guards

KINDS = ("sqlite", "postgresql")
USER = "postgres"
TIMEOUT_S = 60
OPTIONS = (
    "listen_addresses=127.0.0.1",
    "fsync=off",
    "full_page_writes=off",
    "wal_level=minimal",
    "max_wal_senders=0",
    "autovacuum=off",
    "jit=off",
    "max_connections=50",
)
SQLITE_ANSWERS_ALIKE = frozenset(
    {
        "as_of",
        "belonging",
        "campaigns",
        "needle_fields",
        "needle_measurements",
        "open_items",
        "reprocessing",
        "rollouts",
        "store",
        "trail",
    }
)
"""Test modules whose statements both databases answer alike, but for tests with the mark
`both_databases`: on PostgreSQL the others run with the slow tests."""
COPIES_FILES = 15_00_00
"""The first version of PostgreSQL that can be told to copy a template file by file."""


@pytest.hookimpl(tryfirst=True)  # before pytest selects by mark
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
        is_alike = item.path.stem.removeprefix("test_") in SQLITE_ANSWERS_ALIKE
        is_marked = item.get_closest_marker("both_databases") is not None
        if is_alike and "postgresql" in map(str, parameters) and not is_marked:
            item.add_marker(pytest.mark.slow)


def _programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    initdb = shutil.which("initdb")
    return Path(initdb).parent if initdb else None


def _why_not() -> str | None:
    if sys.platform == "win32":
        return "no PostgreSQL: it is started from Debian's package"
    if _programs() is None:
        return "no PostgreSQL: apt-get install postgresql"
    if os.getuid() == 0 and (shutil.which("setpriv") is None or _user_id() is None):
        return "no PostgreSQL: root may not run it, and there is no user postgres to run it as"
    return None


def _user_id() -> int | None:
    import pwd  # noqa: PLC0415 - Windows has none

    try:
        return pwd.getpwnam(USER).pw_uid
    except KeyError:
        return None


class Postgres:
    """A server of our own, with a database per test copied from a migrated one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._programs = _programs()
        self._names = (f"t{number}" for number in itertools.count())
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    def _call(self, program: str, *arguments: str) -> None:
        as_user = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]
        command = [str(self._programs / program), *arguments]
        with (self.folder / "calls.log").open("a") as log:  # a pipe would wait for the server
            subprocess.run(
                [*(as_user if os.getuid() == 0 else []), *command],
                check=True, stdout=log, stderr=log, timeout=TIMEOUT_S, cwd=self.folder,
            )  # fmt: skip

    def start(self) -> None:
        if os.getuid() == 0:
            shutil.chown(self.folder, USER)
        data = str(self.folder / "data")
        self._call("initdb", "-D", data, "-U", USER, "-A", "trust", "-E", "UTF8", "--no-sync")
        self.resume()

    def resume(self) -> None:
        settings = " ".join(f"-c {option}" for option in OPTIONS)
        options = f"-p {self.port} -k {self.folder} {settings}"
        log = str(self.folder / "server.log")
        self._call(
            "pg_ctl", "-D", str(self.folder / "data"), "-l", log, "-w", "-o", options, "start"
        )

    def stop(self) -> None:
        self._call("pg_ctl", "-D", str(self.folder / "data"), "-m", "immediate", "-w", "stop")

    def url(self, name: str) -> str:
        return f"postgresql+psycopg://{USER}@127.0.0.1:{self.port}/{name}"

    def empty(self, template: str = "template0") -> str:
        name = next(self._names)
        with self._connect() as connection:
            by_file = connection.info.server_version >= COPIES_FILES
            strategy = "STRATEGY FILE_COPY" if by_file else ""
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} {strategy}")
        return self.url(name)

    def drop(self, url: str) -> None:
        name = url.rpartition("/")[-1]
        self.run(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def run(self, statement: str) -> None:
        with self._connect() as connection:
            connection.execute(statement)

    def _connect(self) -> psycopg.Connection[tuple[object, ...]]:
        address = f"host=127.0.0.1 port={self.port} user={USER} dbname=postgres"
        return psycopg.connect(address, autocommit=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A running PostgreSQL with a migrated database `ours`."""
    if reason := _why_not():
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="martensight-pg-"))
    server = Postgres(folder)
    try:
        server.start()
        server.run("CREATE DATABASE ours TEMPLATE template0")
        Store.open(server.url("ours"), site="Plant 1", agent="PC").close()
        yield server
    finally:
        if (folder / "data" / "postmaster.pid").exists():
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy: migrating one per test would take most of the time."""
    file = tmp_path_factory.mktemp("template") / "martensight.db"
    Store.open(f"sqlite:///{file}", site="Plant 1", agent="PC").close()
    return file


@pytest.fixture(params=KINDS)
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Address of a migrated, empty database of each kind."""
    return migrated(request.param, request, tmp_path)


@pytest.fixture
def install_next_version(tmp_path: Path) -> Iterator[Callable[[], str]]:
    """A function that installs the next version of the program, with one migration more."""
    with later_versions(tmp_path / "versions") as install:
        yield install


def tamper(address: str, *statements: str) -> None:
    """Run statements as somebody does who has dropped the guards first, and lays them again."""
    opened = engine.make_engine(address)
    with opened.begin() as connection:
        guards.remove(connection)
        for statement in statements:
            connection.exec_driver_sql(statement)
        guards.lay(connection)
    opened.dispose()


def migrated(kind: str, request: pytest.FixtureRequest, folder: Path) -> str:
    """Make a migrated, empty database."""
    if kind == "postgresql":
        return _copied("ours", request)
    file = folder / "martensight.db"
    shutil.copy(request.getfixturevalue("sqlite_template"), file)
    return f"sqlite:///{file}"


def empty(kind: str, request: pytest.FixtureRequest, folder: Path) -> str:
    """Return the address of a database without tables."""
    if kind == "postgresql":
        return _copied("template0", request)
    return f"sqlite:///{folder / 'martensight.db'}"


def _copied(template: str, request: pytest.FixtureRequest) -> str:
    """Return a database of a running PostgreSQL, which is dropped with whoever asked for it."""
    server: Postgres = request.getfixturevalue("postgres")
    url = server.empty(template)
    request.addfinalizer(lambda: server.drop(url))  # each is 11 MB
    return url
