"""Facts of the folders outside the data folder, and which of them refuse or hang.

They are gathered apart from the heartbeat, since a share may hang for hours.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agent.files import shares
from agent.orders import BadSpecification, read_specifications
from agent.service.folder.own_backups import describe_overdue, find_newest
from agent.service.folder.renamed_site import describe_renamed
from agent.settings import iter_paths

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

    from agent.settings import Settings
    from agent.store import Store

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
            *_iter_limit_problems(settings),
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


def _iter_limit_problems(settings: Settings) -> Iterator[str]:
    file = settings.orders.specifications
    try:
        read_specifications(file)
    except BadSpecification as error:
        yield f"no order can be judged by the specification limits: {error}"
