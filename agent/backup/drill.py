"""Restore a back-up on trial, in a scratch folder, and compare the result with its manifest.

The lab's own database and folders are never touched.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from agent.backup.facts import BackupFacts, read_facts
from agent.backup.file import find_database, unpack
from agent.errors import AgentError, StoreError
from agent.evidence import anchors
from agent.store import (
    Store,
    drop_scratch_database,
    make_scratch_database,
    put_back,
    recompute_statement,
    sites_in,
)
from agent.terminal import format_count

NAMED_TABLES = ("micrograph", "label", "order", "statement", "trail")
"""Tables whose rows the sentence names."""
TRAIL = "trail"
"""It is longer where the trial brought an older schema up, or laid guards again."""
GROW = {"agent", "alembic_version", "site"}
"""Tables that opening a database writes into: the trial's own agent, say."""
AT_LEAST = 2.5
"""Room that a trial needs, in sizes of what is in the back-up: unpacked, migrated, with a log."""


@dataclass(frozen=True, slots=True)
class DrillResult:
    """Result of a restore on trial.

    Attributes:
        file: The back-up.
        faults: A sentence each; () where all is as it was.
        counts: Table → rows after the restore.
        statement: The statement that was compared, "" where the lab has none.
        notes: What could not be compared, a sentence each.
    """

    file: Path
    faults: tuple[str, ...] = ()
    counts: dict[str, int] = field(default_factory=dict)
    statement: str = ""
    notes: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """The result in words, for the operator."""
        if self.faults:
            more = f" (and {len(self.faults) - 1} more)" if len(self.faults) > 1 else ""
            return f"{self.file.name}: {self.faults[0]}{more}"
        named = (name for name in NAMED_TABLES if name in self.counts)
        rows = ", ".join(_format_rows(name, self.counts[name]) for name in named)
        stated = f"; {self.statement} is as it was frozen" if self.statement else ""
        return f"{self.file.name}: restored on trial: {rows}; every hash is as written{stated}"

    def to_json(self) -> dict[str, Any]:
        """Return it as the command and the record hold it."""
        return {
            "file": self.file.name,
            "sound": not self.faults,
            "faults": list(self.faults),
            "counts": self.counts,
            "statement": self.statement,
            "notes": list(self.notes),
        }


def _format_rows(table: str, count: int) -> str:
    if table == TRAIL:
        return format_count(count, "act in the trail", "acts in the trail")
    return format_count(count, table)


def rehearse_restore(
    backup: Path,
    *,
    scratch: Path,
    url: str,
    at: datetime,
) -> DrillResult:
    """Restore a back-up on trial and compare it with its manifest.

    Args:
        backup: The zip file.
        scratch: A folder with room; a hidden one is made in it and removed again.
        url: Address of the lab's database; with PostgreSQL a database is made next to it for the
            trial, where its user may.
        at: Now, aware UTC.
    """
    facts = read_facts(backup)
    if facts is None:
        return DrillResult(backup, ("not a whole back-up of this program",))
    try:
        _require_room(backup, scratch)
        with tempfile.TemporaryDirectory(dir=scratch, prefix=".drill-") as folder:
            names = unpack(backup, Path(folder), url, lambda _done, _of, _what: None)
            copied = Path(folder) / find_database(backup, names)
            return _compare(backup, facts, copied, url, at)
    except AgentError as error:
        return DrillResult(backup, (str(error).removeprefix(f"{backup}: "),))
    except OSError as error:
        return DrillResult(backup, (f"cannot be unpacked ({error.strerror or error})",))


def _require_room(backup: Path, scratch: Path) -> None:
    import zipfile  # noqa: PLC0415 - only for the sizes

    with suppress(zipfile.BadZipFile), zipfile.ZipFile(backup) as packed:
        needed = AT_LEAST * sum(member.file_size for member in packed.infolist())
        free = shutil.disk_usage(scratch).free
        if free < needed:
            raise StoreError(
                f"{scratch}: a restore on trial needs {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB "
                "are free"
            )


def _compare(backup: Path, facts: BackupFacts, copied: Path, url: str, at: datetime) -> DrillResult:
    sites = sites_in(copied)
    site = facts.site or (sites[0] if sites else "")
    if site not in sites:
        return DrillResult(backup, (f"its database does not hold the site {site!r}",))
    if copied.suffix == ".db":
        return _compare_database(backup, facts, f"sqlite:///{copied.as_posix()}", site)
    name = f"martensight_drill_{at:%Y%m%d%H%M%S}"
    trial = None if url.startswith("sqlite") else make_scratch_database(url, name)
    if trial is None:
        note = (
            "the PostgreSQL user may make no database, so the dump was read and not put back: "
            "GRANT CREATEDB, or run the drill of OPERATIONS by hand"
        )
        return DrillResult(backup, notes=(note,), counts=dict(facts.counts))
    try:
        put_back(trial, copied, aside=copied.with_suffix(".aside"))
        return _compare_database(backup, facts, trial, site)
    finally:
        drop_scratch_database(url, name)


def _compare_database(backup: Path, facts: BackupFacts, url: str, site: str) -> DrillResult:
    with Store.open(url, site=site, agent="restore drill") as store:
        counts = store.backup.count_rows()
        faults = [*store.checks.find_problems(thorough=True), *store.audit_log.find_problems()]
        faults += _other_counts(facts, counts)
        faults += _anchor_fault(backup, store)
        newest = max(store.statements.every(), key=lambda one: one.id, default=None)
        compared = ""
        if newest:
            compared = f"statement {newest.number} of order {newest.order}"
            if recompute_statement(store.statements.text(newest.sha256)) != newest.sha256:
                faults.append(f"{compared} is not what was frozen")
    return DrillResult(backup, tuple(faults), counts, compared)


def _other_counts(facts: BackupFacts, counts: dict[str, int]) -> Iterator[str]:
    for name, count in facts.counts.items():
        has = counts.get(name, 0)
        if name not in GROW and has != count and not (name == TRAIL and has > count):
            yield f"table {name}: {has} rows, the back-up was made with {count}"


def _anchor_fault(backup: Path, store: Store) -> Iterator[str]:
    anchor = anchors.find_in_backup(backup)
    if anchor and anchor.number:
        sha256 = store.audit_log.get_hashes([anchor.number]).get(anchor.number)
        if sha256 != anchor.sha256:
            yield f"trail: number {anchor.number} is not what it was when the back-up was made"
