"""Back the lab up each night, try the back-up at once, and restore one on trial each month.

Existing back-ups are those in the folder, never remembered: a deleted back-up is none, and a PC
that slept catches up when it wakes. Other labs may use the same folder.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from agent.backup import maintenance
from agent.backup.drill import rehearse_restore
from agent.backup.facts import name_backup
from agent.errors import AgentError
from agent.files.shares import inspect
from agent.service.anchoring import seal_results
from agent.service.folder.own_backups import find_newest, list_past
from agent.site_time import compute_age, compute_night_period, night_of
from agent.store import StoreFault, store_url

if TYPE_CHECKING:
    from datetime import datetime

    from agent.backup.drill import DrillResult
    from agent.settings import Settings
    from agent.store import Record, Store

log = structlog.get_logger()

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
    except (AgentError, StoreFault, OSError) as error:
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
