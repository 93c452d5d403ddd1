"""Rows, audit log, and what is kept outside the database, each compared with the others."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.backup.facts import find_broken_backups, read_facts
from agent.backup.file import unpack_database
from agent.errors import StoreError
from agent.evidence import anchors, timestamps
from agent.evidence.anchors import Anchor
from agent.evidence.timestamps import Timestamped
from agent.files.shares import inspect
from agent.orders.judge.assessed import OrderPolicy
from agent.orders.statements.freezing import find_differences, list_stated, list_unsupported
from agent.store import Store, acts_in, name_odd


@dataclass(frozen=True, slots=True)
class Outside:
    """Evidence outside the database of where the audit log ended.

    Args:
        reports: The folder of the nights' reports.
        backups: The folder of back-ups, or None.
        files: Files of anchors, or logs.
        timestamps: The folder of time stamps, or None.
        certificates: Of the time-stamp authority (PEM), or None.
        site: Name of the lab's site, whose back-ups alone are compared; "": all.
        data: The data folder, which holds the notes of restores, or None.
    """

    reports: Path
    backups: Path | None = None
    files: tuple[Path, ...] = ()
    timestamps: Path | None = None
    certificates: Path | None = None
    site: str = ""
    data: Path | None = None

    def list_timestamped(self) -> list[Timestamped]:
        """Return the ends of the trail that an authority stamped."""
        if self.timestamps is None:
            return []
        return list(timestamps.iter_timestamps(self.timestamps, self.certificates))

    def iter_anchors(self) -> Iterator[Anchor]:
        """Yield every anchor. Raises `StoreError` where a file cannot be read."""
        yield from anchors.iter_reports(self.reports)
        if self.data:
            yield from anchors.iter_notes(self.data)
        for file in list_own_backups(self.backups, self.site) if self.backups else ():
            if anchor := anchors.find_in_backup(file):
                yield anchor
        for file in self.files:
            yield from anchors.iter_lines(file)
        for stamp in self.list_timestamped():
            if not stamp.fault:
                yield stamp.anchor

    def find_broken_backups(self) -> tuple[list[str], list[str]]:
        """Return the back-ups of which any byte cannot be read, see `facts.find_broken_backups`."""
        if self.backups is None:
            return [], []
        return find_broken_backups(self.backups, site=self.site, lab="", thorough=True)

    def list_useless(self) -> list[str]:
        """Return a sentence per file in which something is, and no end of the trail."""
        return [
            f"{file}: it holds no end of the trail, so nothing was compared with it"
            for file in self.files
            if file.stat().st_size and not any(True for _ in anchors.iter_lines(file))
        ]


def list_own_backups(folder: Path, site: str) -> list[Path]:
    """Return the back-ups in a folder that are not of another site, the oldest first; "": all.

    Only the site counts: rewriting the audit log changes the lab's first act as well.
    """
    facts = inspect(folder, lambda: {file: read_facts(file) for file in folder.glob("*.zip")})
    meant = {"", site} if site else {manifest.site for manifest in facts.values() if manifest}
    own = [
        (manifest.made_at, file)
        for file, manifest in facts.items()
        if manifest and manifest.site in meant
    ]
    return [file for _, file in sorted(own)]


def verify_trail(
    store: Store, outside: Outside, *, policy: OrderPolicy | None = None
) -> tuple[list[str], list[str]]:
    """Compare the trail with its own hashes, with what is kept outside, and the rows with it.

    Args:
        store: Open.
        outside: What is kept outside the database.
        policy: By which the newest statement of each order is assessed again; None: it is not.

    Returns:
        A sentence per fault, and one per stretch that is not covered.
    """
    anchor_checks = anchors.check(store, outside.iter_anchors())
    row_faults, row_notes = store.checks.compare_rows()
    chain = [*store.audit_log.find_problems(), *anchor_checks.faults]
    broken, other_broken = outside.find_broken_backups()
    guards = store.checks.find_problems(thorough=True) + store.checks.find_schema_differences()
    guards += [
        f"database: the guard {name} is missing" for name in store.checks.find_missing_guards()
    ]
    guards += [
        f"database: the trigger {name} is not this program's; it may change what is written"
        for name in store.checks.find_foreign_triggers()
    ]
    named = _list_changed_acts(store, outside.backups) if chain and outside.backups else []
    stated = list(name_odd("statements", find_differences(store, list_stated(store))))
    restated = list_unsupported(store, policy) if policy else []
    stated += [sentence for sentence, is_sure in restated if is_sure]
    stamped = outside.list_timestamped()
    stamps = [stamp.fault for stamp in stamped if stamp.fault] + _list_changed_stamps(
        store, outside
    )
    faults = [*chain, *named, *row_faults, *stated, *guards, *broken, *stamps]
    stamp_notes = [stamp.note for stamp in stamped if stamp.note]
    losses = [loss.sentence for loss in anchors.list_losses(store)]
    notes = [*losses, *anchor_checks.notes, *row_notes, *other_broken, *outside.list_useless()]
    later = [sentence for sentence, is_sure in restated if not is_sure]
    return faults, [*notes, *later, *stamp_notes]


def _list_changed_stamps(store: Store, outside: Outside) -> list[str]:
    """Return the time stamps that differ from the audit log."""
    if outside.timestamps is None:
        return []
    changed = []
    for entry in store.audit_log.iter_acts(timestamps.STAMPED):
        file = outside.timestamps / Path(entry.subject).name
        if file.is_file() and timestamps.hash_file(file) != entry.facts.get("sha256"):
            changed.append(
                f"{file.name}: it was changed after it was made (trail number {entry.id})"
            )
    return changed


def _list_changed_acts(store: Store, backups: Path) -> list[str]:
    """Return the acts that differ in the newest back-up from before the change, or are missing."""
    for file in reversed(list_own_backups(backups, store.site)):
        anchor = anchors.find_in_backup(file)
        if (
            anchor
            and store.audit_log.get_hashes([anchor.number]).get(anchor.number) == anchor.sha256
        ):
            continue  # made after the change, or of before what was changed
        try:
            with tempfile.TemporaryDirectory(prefix="martensight-verify-") as scratch:
                copied = unpack_database(file, Path(scratch))
                return list(_iter_differences(store, acts_in(copied), file.name))
        except (StoreError, OSError, ValueError):
            continue
    return []


def _iter_differences(store: Store, copies: Iterator[dict[str, Any]], where: str) -> Iterator[str]:
    now = {entry.id: entry for entry in store.audit_log.iter_acts()}
    for copy in copies:
        number = copy["id"]
        entry = now.get(number)
        if entry is None:
            yield (
                f"trail: number {number} ({copy['act']} of {copy['subject']} by {copy['actor']}) "
                f"of {where} was deleted"
            )
            continue
        for name in ("at", "actor", "act", "subject"):
            was, is_now = copy[name], getattr(entry, name)
            if was != is_now:
                yield f"trail: number {number}: {name} was {was} ({where}), is {is_now}"
        was = copy["facts"]
        if was != entry.facts:
            yield f"trail: number {number}: facts were {was} ({where}), are {entry.facts}"
