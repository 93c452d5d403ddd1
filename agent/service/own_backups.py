"""Find the back-ups of a lab in its folder, and whether the newest one is too old.

`agent status` needs no more of them, so that nothing heavy is imported here.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from agent.backup_facts import is_own, list_backups
from agent.store import find_first_act

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.backup_facts import KnownBackup
    from agent.settings import Settings

OVERDUE = timedelta(hours=48)


def list_own(settings: Settings, *, lab: str = "") -> list[KnownBackup]:
    """Return the lab's own back-ups in its folder, the oldest first.

    Args:
        settings: Of the lab.
        lab: Hash of its site's first act, "": what the data folder holds.
    """
    if not settings.backup.folder:
        return []
    lab = lab or find_first_act(settings.store.folder, settings.site.name)
    known = list_backups(Path(settings.backup.folder))
    return [backup for backup in known if is_own(backup.facts, site=settings.site.name, lab=lab)]


def list_of_others(settings: Settings) -> list[KnownBackup]:
    """Return the newest back-up of each other lab in the folder; of earlier versions none."""
    own = {backup.file for backup in list_own(settings)}
    newest = {
        (backup.facts.site, backup.facts.lab): backup
        for backup in list_backups(Path(settings.backup.folder))
        if backup.file not in own and backup.facts.site
    }
    return list(newest.values())


def last_backup_at(settings: Settings, *, lab: str = "") -> datetime | None:
    """Return when the lab's newest back-up was made, aware UTC; None if there is none."""
    own = list_own(settings, lab=lab)
    return own[-1].facts.made_at if own else None


def describe_overdue(settings: Settings, now: datetime) -> Iterator[str]:
    """Yield that the last back-up is too old; nothing where none are wanted.

    A lab that has just set its folder has the same 48 hours: they count from the data folder's
    own beginning.
    """
    if not settings.backup.folder:
        return
    folder = Path(settings.backup.folder)
    last = last_backup_at(settings) or _last_of_earlier_version(folder)
    since = last or _began_at(settings.store.folder)
    if since is None or now - since < OVERDUE:
        return
    hours = (now - since).total_seconds() / 3600
    if last is None:
        yield (
            f"back-up: {folder} contains no backup of this lab yet, and the data is {hours:.0f} "
            "hours old."
        )
    else:
        yield f"back-up: the last one in {folder} is {hours:.0f} hours old."


def _last_of_earlier_version(folder: Path) -> datetime | None:
    """Return when the newest back-up was made that names no lab, or None."""
    made = [backup.facts.made_at for backup in list_backups(folder) if not backup.facts.site]
    return max(made, default=None)


def _began_at(folder: Path) -> datetime | None:
    made = [file.stat().st_mtime for file in folder.glob("agent*.lock")]
    return datetime.fromtimestamp(min(made), UTC) if made else None
