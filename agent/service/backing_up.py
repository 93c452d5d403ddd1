"""Back the lab up each night, try the back-up at once, and say when there is none.

In:  the clock, store and data folder. Out: zip files in the lab's back-up folder. Next: a person
who needs one. What is there is asked of the folder, never remembered: a back-up that somebody
deleted is no back-up, and a PC that slept makes up for it when it wakes.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from agent import safekeeping
from agent.errors import AgentError
from agent.night.period import compute_night_period, night_of
from agent.service.anchoring import seal
from agent.store import StoreFault

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.settings import Settings
    from agent.store import Store

log = structlog.get_logger()

OVERDUE = timedelta(hours=48)
BACKUP_EVERY_S = 1800.0
NAMES = "martensight-*Z.zip"


def last_backup_at(folder: Path) -> datetime | None:
    """Say when the newest back-up of a folder was made, aware UTC; None if there is none."""
    try:
        made = [file.stat().st_mtime for file in folder.glob(NAMES)]
    except OSError:
        return None
    return datetime.fromtimestamp(max(made), UTC) if made else None


def overdue(settings: Settings, now: datetime) -> Iterator[str]:
    """Say that the last back-up is too old; nothing where none are wanted.

    A lab that has just set its folder has the same 48 hours: they count from the data folder's
    own beginning.
    """
    if not settings.backup.folder:
        return
    folder = Path(settings.backup.folder)
    last = last_backup_at(folder)
    since = last or _began_at(settings.store.folder)
    if since is None or now - since < OVERDUE:
        return
    hours = (now - since).total_seconds() / 3600
    if last is None:
        yield f"back-up: none in {folder} yet, and the data is {hours:.0f} hours old."
    else:
        yield f"back-up: the last one in {folder} is {hours:.0f} hours old."


def _began_at(folder: Path) -> datetime | None:
    made = [file.stat().st_mtime for file in folder.glob("agent-*.lock")]
    return datetime.fromtimestamp(min(made), UTC) if made else None


def back_up_when_due(settings: Settings, store: Store, *, at: datetime) -> str | None:
    """Back up if the night's is not there yet; a fault is said and tried again.

    Args:
        settings: Of the lab; an empty `backup.folder` asks for nothing.
        store: What is backed up.
        at: Now, aware UTC.

    Returns:
        A sentence where it could not be made, "" where it was, None where none is due.
    """
    if not is_due(settings, at):
        return None
    folder = Path(settings.backup.folder)
    file = folder / f"martensight-{at:%Y%m%dT%H%M%SZ}.zip"
    try:
        seal(store, at=at)
        count = safekeeping.back_up(
            store,
            settings.store.folder,
            file,
            settings_files=_beside(settings),
            pixels=False,
            at=at,
            progress=lambda _done, _of, _what: None,
        )
        safekeeping.examine(file)
        store.remember(at=at, actor="agent", act="backup.made", subject=file.name)
        _thin_out(folder, settings.backup.keep)
    except (AgentError, StoreFault, OSError) as error:
        log.error("backup.failed", reason=str(error))  # noqa: TRY400 - said in a sentence
        return f"back-up: {error}"
    log.info("backup.made", file=str(file), files=count, size_bytes=file.stat().st_size)
    return ""


def is_due(settings: Settings, at: datetime) -> bool:
    """Say whether the newest back-up is older than the last end of a night."""
    if not settings.backup.folder:
        return False
    last = last_backup_at(Path(settings.backup.folder))
    ends, zone = settings.night.at, settings.site.time_zone
    began_at, _ = compute_night_period(night_of(at, ends, zone), ends, zone)
    return last is None or last < began_at


def _beside(settings: Settings) -> list[Path]:
    """Say which settings files go in: those of the folder that relative paths start from."""
    return sorted(settings.orders.specifications.parent.glob("*.toml"))


def _thin_out(folder: Path, keep: int) -> None:
    for file in sorted(folder.glob(NAMES))[:-keep]:
        file.unlink(missing_ok=True)
