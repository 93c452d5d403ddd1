"""Find that `[site] name` was edited: a site with another name is another site, with no results.

It would begin again in an outbox that is in use, and no account of the old name would hold. Notes
of what was sent stay under the name that sent them, in the data folder and in the outbox.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from agent.files import shares
from agent.orders.lims.resumption import list_noted_sites, name_file
from agent.service.folder.data_folder import agent_name
from agent.store import list_opened_sites

if TYPE_CHECKING:
    from agent.settings import Settings
    from agent.store import Store

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
