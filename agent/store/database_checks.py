"""Checks of a database: integrity, guards on evidence, separation of sites, stored values."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

from agent.store import engine as engines
from agent.store import (
    guards,
    row_checks,
    site_policies,
    site_references,
)
from agent.store.engine import opening, reading
from agent.store.repository import Repository
from agent.store.unreadable import find_unreadable

if TYPE_CHECKING:
    from agent.store.row_checks import RowChecks


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

    def find_missing_guards(self) -> list[str]:
        """Return the names of the triggers on evidence that are missing, disabled or changed."""
        with opening(self._engine), self._engine.connect() as connection:
            return guards.find_missing(connection)

    def find_foreign_triggers(self) -> list[str]:
        """Return the triggers of the database that are not this program's."""
        with opening(self._engine), self._engine.connect() as connection:
            return guards.find_foreign(connection, site_references.list_names(connection))

    def find_rewritable_tables(self) -> list[str]:
        """Return the tables of evidence that this PostgreSQL user could rewrite; SQLite: none."""
        with opening(self._engine), self._engine.connect() as connection:
            return guards.may_rewrite(connection)

    def find_unscoped_tables(self) -> list[str]:
        """Return the tables whose rows PostgreSQL does not separate by site; SQLite: none."""
        with opening(self._engine), self._engine.connect() as connection:
            return site_policies.find_missing(connection)

    def is_exempt_from_policies(self) -> bool:
        """Return whether this user of PostgreSQL is bound by no policy, such as a superuser."""
        with opening(self._engine), self._engine.connect() as connection:
            return site_policies.is_exempt(connection)

    def find_unreadable_values(self) -> list[str]:
        """Return a sentence per value that is not of its column's type, as SQLite allows it."""
        with self._engine.connect() as connection:
            return list(find_unreadable(connection, self._whose.site_id))

    def compare_rows(self) -> RowChecks:
        """Compare all rows of evidence with the audit log."""
        with reading(self._all_sites) as every:
            covered = row_checks.find_covered(every)
        with reading(self._engine) as session:
            return row_checks.examine(session, covered)
