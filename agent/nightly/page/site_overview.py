"""Summarise all sites that share a database on one page, `sites.html`: what needs action at each.

There is no such page where only one site is in the database.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import reports
from agent.files.whole_file import write_whole
from agent.nightly.facts.snapshot import from_text
from agent.site_time import local_full
from reports import Tone, ngettext
from reports import gettext as _

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from agent.nightly.facts.snapshot import NightSettings
    from agent.store import SiteSeen, Store

PAGE = "sites.html"
OLD_DAYS = 2
"""A report that is older than so many days is a problem."""
TONES = (Tone.PROBLEM, Tone.ATTENTION, Tone.CALM)


def write_sites(
    store: Store, folder: Path, settings: NightSettings, *, now: datetime
) -> Path | None:
    """Write the page of all sites.

    Returns:
        Its path; None where this site is the only one.
    """
    sites = store.over_all_sites().sites()
    if len(sites) < 2:  # noqa: PLR2004 - a single site needs no overview
        return None
    path = folder / PAGE
    with reports.speaking(settings.language):
        page = reports.render(
            "sites",
            site=settings.site,
            zone=settings.zone,
            sites=sorted(
                (_describe_site(site, now=now) for site in sites),
                key=lambda line: (TONES.index(line["tone"]), line["site"].name),
            ),
            generated=local_full(now, settings.zone),
        )
    write_whole({path: page.encode()})
    return path


def _describe_site(site: SiteSeen, *, now: datetime) -> dict[str, Any]:
    """Return a site with its last night, in one sentence, and how much it needs action."""
    night = from_text(site.newest.facts_json) if site.newest else None
    if night is None:
        headline, tone = _("No night has been reported yet."), Tone.ATTENTION
    else:
        headline, tone = night.summary.headline, Tone(night.summary.tone)
    days = (now - site.newest.frozen_at).days if site.newest else 0
    if days >= OLD_DAYS:
        old = ngettext("the report is {n} day old", "the report is {n} days old", days)
        headline, tone = f"{headline}; {old.format(n=days)}", Tone.PROBLEM
    if site.waiting and tone is Tone.CALM:
        tone = Tone.ATTENTION
    tone = Tone.PROBLEM if site.offline else tone
    return {"site": site, "night": night, "headline": headline, "tone": tone}
