"""Facts of the folders outside the data folder: which refuse, their back-ups, a renamed site.

`agent status` needs no more of them, so that nothing heavy is imported here. They are gathered
apart from the heartbeat, since a share may hang for hours.

A site with another name is another site: it would begin again in an outbox that is in use, and no
account of the old name would hold. Notes of what was sent stay under the name that sent them, in
the data folder and in the outbox.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from agent.backup.facts import KnownBackup, is_own, list_backups
from agent.files import shares
from agent.orders import SpecificationError, read_specifications
from agent.orders.lims.resumption import list_noted_sites, name_file
from agent.orders.specifications.specification_history import describe_lost_file
from agent.service.data_folder import agent_name
from agent.settings import Settings, iter_paths
from agent.site_time import compute_age
from agent.store import Store, find_first_act, list_opened_sites
from agent.store.own_database import MARK

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


_NEVER = datetime.min.replace(tzinfo=UTC)


def describe_renamed(settings: Settings, store: Store) -> str:
    """Return which site this data folder was another's of before, "" where all is well.

    A site that another PC works for is a site in its own right.
    """
    return _describe_outbox(settings, store) or _describe_folder(settings, store)


def _describe_outbox(settings: Settings, store: Store) -> str:
    """Return which site of this data folder the outbox holds results of, "" where all is well.

    A site that this data folder sent nothing for is none of its own. A site that has notes of its
    own in the outbox began there before.
    """
    if not settings.orders.outbox:
        return ""
    outbox, own = Path(settings.orders.outbox), name_file(settings.site.name)
    try:
        noted = shares.inspect(outbox, lambda: list_noted_sites(outbox=outbox))
        mine = list_noted_sites(data=settings.store.folder)
    except OSError:
        return ""  # it is said where the outbox is filled
    if own in noted:
        return ""
    names = {name_file(name): name for name in store.over_all_sites().names()}
    for site in sorted(noted & mine):
        name = names.get(site, site)
        if not _has_other_agent(store, name):
            return (
                f"[orders] outbox: {outbox} holds results of site {name!r}, which this data folder "
                f"sent; [site] name is now {settings.site.name!r}, a new site without results, so "
                f'nothing is sent. Put back name = "{name}" under [site] in agent.toml, or set a '
                "new outbox folder for the new name."
            )
    return ""


def _describe_folder(settings: Settings, store: Store) -> str:
    """Return which site the agent of this PC and data folder ran for before, "" for none."""
    name, pc = settings.site.name, agent_name()
    before = [site for site in list_opened_sites(settings.store.folder) if site != name]
    if not before:
        return ""
    began = {
        agent.site: agent.first_started_at
        for agent in store.over_all_sites().agents()
        if agent.name == pc and agent.first_started_at
    }
    own = began.get(name)
    for site in before:
        at = began.get(site)
        if at and (own is None or own > at) and not _has_other_agent(store, site):
            return (
                f"[site] name is now {name!r}, a new site without results and accounts; the agent "
                f"of this PC and of {settings.store.folder} ran for site {site!r} before. Put back "
                f'name = "{site}" under [site] in agent.toml, or set a new [store] folder for the '
                "new name."
            )
    return ""


def _has_other_agent(store: Store, site: str) -> bool:
    """Return whether another PC worked for a site after this one."""
    agents = [agent for agent in store.over_all_sites().agents() if agent.site == site]
    own = agent_name()
    left = max((entry.seen_at or _NEVER for entry in agents if entry.name == own), default=_NEVER)
    return any(entry.name != own and (entry.seen_at or _NEVER) > left for entry in agents)


SHARES_EVERY_S = 30.0


@dataclass(frozen=True, slots=True)
class ShareFacts:
    """What was last found in the folders outside.

    Attributes:
        online: Source → whether its folder can be seen.
        backup: Folder of the back-ups and the newest one's time, None where none are wanted.
        problems: A sentence each.
    """

    online: Mapping[str, bool] = field(default_factory=dict)
    backup: Mapping[str, Any] | None = None
    problems: tuple[str, ...] = ()


def list_shares(settings: Settings) -> dict[str, Path]:
    """Return the folders and files outside that the settings name, by setting, without sources."""
    return {
        named.label: named.folder
        for named in iter_paths(settings)
        if not named.source and named.path != settings.store.folder
    }


def describe_faults(settings: Settings) -> dict[str, str]:
    """Return setting → why its folder or file outside cannot be read, without sources."""
    named = list_shares(settings)
    sources = [source.folder for source in settings.sources]
    faults = shares.find_faults({*named.values(), *sources})
    return {
        setting: f"{path} cannot be read ({faults[str(path)]}). Check the share, its server, and "
        "the rights of the account."
        for setting, path in named.items()
        if str(path) in faults
    }


def gather_share_facts(settings: Settings, store: Store | None, *, now: datetime) -> ShareFacts:
    """Return the facts of today; a share that hangs costs `shares.LIMIT_S` once.

    Args:
        settings: Of the lab.
        store: Open, None where it cannot be.
        now: Aware UTC.
    """
    faults = describe_faults(settings)
    return ShareFacts(
        online={source.name: shares.is_folder(source.folder) for source in settings.sources},
        backup=_describe_backup(settings, now),
        problems=(
            *(f"{setting}: {fault}" for setting, fault in faults.items()),
            *_iter_limit_problems(settings, store),
            *describe_overdue(settings, now),
            *filter(None, [describe_renamed(settings, store) if store else ""]),
        ),
    )


def _describe_backup(settings: Settings, now: datetime) -> dict[str, Any] | None:
    if not settings.backup.folder:
        return None
    newest = find_newest(settings, now=now)
    return {
        "folder": str(settings.backup.folder),
        "last_at": newest.facts.made_at.isoformat() if newest else None,
    }


def _iter_limit_problems(settings: Settings, store: Store | None) -> Iterator[str]:
    file = settings.orders.specifications
    try:
        read_specifications(file)
    except SpecificationError as error:
        yield f"no order can be judged by the specification limits: {error}"
    else:
        if store and (lost := describe_lost_file(store, file)):
            yield lost
