"""Find the back-ups of a lab in its folder, and whether the newest one is too old.

`agent status` needs no more of them, so that nothing heavy is imported here.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from agent.backup.facts import is_own, list_backups
from agent.files import shares
from agent.site_time import compute_age
from agent.store import find_first_act
from agent.store.own_database import MARK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.backup.facts import KnownBackup
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
    known = _list_all(settings)
    return [backup for backup in known if is_own(backup.facts, site=settings.site.name, lab=lab)]


def _list_all(settings: Settings) -> list[KnownBackup]:
    """Return the back-ups in the folder, the oldest first; none where it refuses or hangs."""
    folder = Path(settings.backup.folder)
    try:
        return shares.inspect(folder, lambda: list_backups(folder))
    except OSError:
        return []


def list_of_others(settings: Settings) -> list[KnownBackup]:
    """Return the newest back-up of each other lab in the folder."""
    own = {backup.file for backup in list_own(settings)}
    newest = {
        (backup.facts.site, backup.facts.lab): backup
        for backup in _list_all(settings)
        if backup.file not in own
    }
    return list(newest.values())


def find_newest(settings: Settings, *, now: datetime, lab: str = "") -> KnownBackup | None:
    """Return the lab's newest back-up, None if there is none; one of the future counts for nothing.

    Args:
        settings: Of the lab.
        now: Aware UTC.
        lab: Hash of its first act, "": what the data folder holds.
    """
    past = list_past(settings, now=now, lab=lab)
    return past[-1] if past else None


def list_past(settings: Settings, *, now: datetime, lab: str = "") -> list[KnownBackup]:
    """Return the lab's own back-ups but those of the future, the oldest first; as `find_newest`."""
    return [each for each in list_own(settings, lab=lab) if _is_past(each, now)]


def _is_past(backup: KnownBackup, now: datetime) -> bool:
    return compute_age(backup.facts.made_at, now) is not None


def describe_overdue(settings: Settings, now: datetime) -> Iterator[str]:
    """Yield that the last back-up is too old or dated in the future; nothing where none are wanted.

    A lab that has just set its folder has the same 48 hours: they count from the data folder's
    own beginning.
    """
    if not settings.backup.folder:
        return
    folder = Path(settings.backup.folder)
    own = list_own(settings)
    ahead = [backup for backup in own if not _is_past(backup, now)]
    if ahead:
        yield (
            f"back-up: {ahead[-1].file} is dated {ahead[-1].facts.made_at:%Y-%m-%d %H:%M} UTC, in "
            "the future, so it does not count. Correct this PC's clock, or delete the file once "
            "there is a newer backup."
        )
    past = [backup.facts.made_at for backup in own if _is_past(backup, now)]
    last = past[-1] if past else _last_of_earlier_version(settings, now)
    since = last or _began_at(settings.store.folder)
    if since is None:
        return
    age = compute_age(since, now) or timedelta(0)
    if age < OVERDUE:
        return
    hours = age.total_seconds() / 3600
    if last is None:
        yield (
            f"back-up: {folder} contains no backup of this lab yet, and the data is {hours:.0f} "
            "hours old."
        )
    else:
        yield f"back-up: the last one in {folder} is {hours:.0f} hours old."


def _last_of_earlier_version(settings: Settings, now: datetime) -> datetime | None:
    """Return when the newest back-up was made that names no lab, or None."""
    known = (backup for backup in _list_all(settings) if not backup.facts.site)
    return max((each.facts.made_at for each in known if _is_past(each, now)), default=None)


def _began_at(folder: Path) -> datetime | None:
    # Locks are written at each start; the mark of the database at the first one.
    files = [file for file in (folder / MARK, *folder.glob("agent*.lock")) if file.is_file()]
    made = [file.stat().st_mtime for file in files]
    return datetime.fromtimestamp(min(made), UTC) if made else None
