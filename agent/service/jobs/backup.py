"""Back the lab up each night, try the back-up, and write the ends of the audit log outside it.

Existing back-ups are those in the folder, never remembered: a deleted back-up is none, and a PC
that slept catches up when it wakes. Other labs may use the same folder. An anchor file on a share
that is unavailable gets the end of the next quarter of an hour: each includes all acts before it.
"""

from __future__ import annotations

import errno
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import structlog

from agent.backup import maintenance
from agent.backup.drill import DrillResult, rehearse_restore
from agent.backup.facts import name_backup
from agent.errors import AgentError
from agent.evidence import timestamps
from agent.evidence.anchors import Anchor, append
from agent.files.shares import inspect
from agent.service.health.share_facts import find_newest, list_past
from agent.settings import Settings
from agent.site_time import compute_age, compute_night_period, night_of
from agent.store import Record, Store, StoreFaultError, store_url

log = structlog.get_logger()

ANCHOR_EVERY_S = 900.0
ANCHOR_FILE = "anchor_file"
"""Kind of the records of the file that a PC wrote its anchors into."""
SEALS_AT_ONCE = 10
"""Each covers up to 2000 results."""


def seal_results(store: Store, *, at: datetime) -> None:
    """Seal what was filed since the last time into the audit log, before its end is kept."""
    for _ in range(SEALS_AT_ONCE):
        if not store.results.seal(at=at):
            break


class Anchoring:
    """Write the end of the audit log wherever it is kept, when there is a new one.

    Args:
        store: Holds the audit log.
        file: The file of [trail] anchor, "" for none.
    """

    def __init__(self, store: Store, file: str) -> None:
        self._store, self._file = store, file
        self._written = 0

    def write(self, *, at: datetime) -> str:
        """Write it; return a sentence where the file could not be written, "" where all is well.

        What was filed since the last time is sealed first, so that the end holds it.
        """
        seal_results(self._store, at=at)
        head = self._store.audit_log.get_head()
        if head.number == self._written:
            return ""
        anchor = Anchor.of(head, at=at, site=self._store.site)
        log.info("trail.anchored", **anchor.to_json())
        if self._file:
            try:
                self._append(Path(self._file), anchor)
            except OSError as error:
                return (
                    f"[trail] anchor: {self._file} cannot be written ({error.strerror or error}); "
                    "it is tried again by itself."
                )
        self._written = head.number
        return ""

    def _append(self, file: Path, anchor: Anchor) -> None:
        """Append to the file; one that this PC wrote and that is gone is not made again.

        Where a share is not mounted, its mount point is a folder of the system disk.
        """
        facts = {"file": str(file)}
        if self._store.records.has_state(ANCHOR_FILE, facts) and not file.exists():
            raise FileNotFoundError(
                errno.ENOENT,
                "it is gone. Mount its share, or where it was removed make an empty file",
                str(file),
            )
        append(file, anchor)
        self._store.records.add_state(ANCHOR_FILE, by="agent", at=anchor.at, facts=facts)


def stamp_when_due(settings: Settings, store: Store, *, at: datetime) -> str | None:
    """Time-stamp the end of the audit log, once a night; a fault is logged and tried again.

    It runs next to the anchoring, so that an authority that hangs delays nothing.

    Args:
        settings: Of the lab.
        store: Holds the audit log.
        at: Now, aware UTC.

    Returns:
        A sentence where there is no time stamp, "" where one was made, None where none is due.
    """
    url, folder = settings.trail.timestamp_url, settings.store.folder / timestamps.FOLDER
    if not url:
        return None
    ends, zone = settings.night.at, settings.site.time_zone
    last = timestamps.find_newest_at(folder)
    if last and night_of(last, ends, zone) >= night_of(at, ends, zone):
        return None
    head = store.audit_log.get_head()
    if not head.number:
        return None
    certificates = settings.trail.timestamp_certificates
    try:
        file = timestamps.request_timestamp(
            url, Anchor.of(head, at=at), folder, Path(certificates) if certificates else None
        )
        facts = {"number": head.number, "sha256": timestamps.hash_file(file)}
    except (timestamps.TimestampError, OSError) as fault:
        log.warning("timestamp.failed", reason=str(fault))
        return f"[trail] timestamp_url: {fault}"
    store.audit_log.add(
        at=at, actor="agent", act=timestamps.STAMPED, subject=file.name, facts=facts
    )
    log.info("timestamp.made", file=str(file), number=head.number)
    return ""


BACKUP_EVERY_S = 1800.0
DRILL = "restore_drill"
"""Kind of the records that keep what a restore on trial found."""
EVERY = {"weekly": timedelta(days=7), "monthly": timedelta(days=30)}


def settings_files(settings: Settings) -> list[Path]:
    """Return the settings files that a back-up holds, of two with one name the one in use.

    They are the file itself, what it names, and every `*.toml` next to either.
    """
    taxonomy = [Path(settings.model.taxonomy)] if settings.model.taxonomy else []
    file = [settings.file] if settings.file else []
    named = [*file, settings.orders.specifications, *taxonomy]
    folders = dict.fromkeys(file.parent for file in named)
    beside = [
        file for folder in folders for file in inspect(folder, partial(_list_settings, folder))
    ]
    return list(dict.fromkeys([*named, *beside]))


def _list_settings(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.toml"))


# --- each night ---------------------------------------------------------------------------------


def tend_backups(settings: Settings, store: Store, *, at: datetime) -> str | None:
    """Back up, and restore on trial, where either is due.

    Returns:
        A sentence where the operator has to act, "" where all is well, None where nothing is due.
    """
    made = back_up_when_due(settings, store, at=at)
    if made:
        return made
    result = rehearse_when_due(settings, store, at=at)
    return describe_drill(store) if result or made == "" else made


def back_up_when_due(settings: Settings, store: Store, *, at: datetime) -> str | None:
    """Back up if the night's is not there yet; a fault is logged and tried again.

    Args:
        settings: Of the lab; an empty `backup.folder` makes none.
        store: What is backed up.
        at: Now, aware UTC.

    Returns:
        A sentence where it could not be made, "" where it was, None where none is due.
    """
    if not settings.backup.folder:
        return None
    lab = _require_first_act(store, at=at)
    if not is_due(settings, at, lab=lab):
        return None
    folder = Path(settings.backup.folder)
    file = folder / name_backup(settings.site.name, lab, at, is_automatic=True)
    try:
        for name in maintenance.remove_leftovers(folder, at=at):
            log.info("backup.leftover_removed", name=name)
        seal_results(store, at=at)
        count = maintenance.back_up(
            store,
            settings.store.folder,
            file,
            settings_files=settings_files(settings),
            pixels=False,
            at=at,
            progress=lambda _done, _of, _what: None,
            is_automatic=True,
        )
        maintenance.examine(file)
        store.audit_log.add(at=at, actor="agent", act="backup.made", subject=file.name)
        _thin_out(settings, lab, at=at)
    except (AgentError, StoreFaultError, OSError) as error:
        log.error("backup.failed", reason=str(error))  # noqa: TRY400 - one sentence
        return f"back-up: {error}"
    log.info("backup.made", file=str(file), files=count, size_bytes=file.stat().st_size)
    return ""


def _require_first_act(store: Store, *, at: datetime) -> str:
    """Return the hash of the lab's first act, by which its back-ups are known; make one if need be.

    Without one, two new labs of one name could not be told apart.
    """
    if not store.audit_log.get_first_hash():
        store.audit_log.add(at=at, actor="agent", act="lab.begun")
    return store.audit_log.get_first_hash()


def is_due(settings: Settings, at: datetime, *, lab: str) -> bool:
    """Return whether the newest back-up of a lab is older than the last end of a night."""
    last = find_newest(settings, now=at, lab=lab)
    ends, zone = settings.night.at, settings.site.time_zone
    began_at, _ = compute_night_period(night_of(at, ends, zone), ends, zone)
    return last is None or last.facts.made_at < began_at


def _thin_out(settings: Settings, lab: str, *, at: datetime) -> None:
    """Delete the oldest of the lab's own nightly back-ups; every other one stays."""
    past = list_past(settings, now=at, lab=lab)
    own = [backup for backup in past if backup.facts.is_automatic]
    for backup in own[: -settings.backup.keep]:
        backup.file.unlink(missing_ok=True)


# --- on trial -----------------------------------------------------------------------------------


def rehearse_when_due(settings: Settings, store: Store, *, at: datetime) -> DrillResult | None:
    """Restore the newest back-up on trial if that is due; what it found, None where it is not."""
    every = EVERY.get(settings.backup.verify)
    newest = find_newest(settings, now=at, lab=store.audit_log.get_first_hash())
    last = find_last_drill(store)
    age = compute_age(last.at, at) if last else None
    if every is None or newest is None or (age is not None and age < every):
        return None
    result = rehearse(settings, store, newest.file, at=at)
    if result.faults:
        log.error("backup.verified", sound=False, found=result.sentence)
    else:
        log.info("backup.verified", sound=True, found=result.sentence)
    return result


def rehearse(settings: Settings, store: Store, file: Path, *, at: datetime) -> DrillResult:
    """Restore a back-up on trial, and keep on record what it found."""
    result = rehearse_restore(
        file,
        scratch=settings.store.folder,
        url=store_url(settings.store.folder, settings.store.url),
        at=at,
    )
    store.records.add(DRILL, file.name, by="agent", at=at, facts=result.to_json())
    return result


def find_last_drill(store: Store) -> Record | None:
    """Return the record of the newest restore on trial, or None."""
    return max(store.records.newest(DRILL).values(), key=lambda one: one.id, default=None)


def describe_drill(store: Store) -> str:
    """Return why the newest restore on trial failed, "" where it did not."""
    last = find_last_drill(store)
    if last is None or last.facts["sound"]:
        return ""
    return (
        f"back-up: {last.subject} was restored on trial on {last.at:%Y-%m-%d}: "
        f"{last.facts['faults'][0]}; make a new one (agent backup) and agent backup --verify it."
    )
