"""Summarise all sites that share a database on one page, `sites.html`: what needs action at each.

There is no such page where only one site is in the database.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import reports
from agent.files.whole_file import write_whole
from agent.nightly.facts.snapshot import from_text
from agent.site_time import local, local_full
from reports import Link, SiteLine, SitesPage, Tone, ngettext
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
        page = reports.render("sites", page=build_sites_page(sites, settings, now=now))
    write_whole({path: page.encode()})
    return path


def build_sites_page(sites: list[SiteSeen], settings: NightSettings, *, now: datetime) -> SitesPage:
    """Build the page of all sites, the ones that need action most first."""
    lines = sorted(
        (_line(site, settings.zone, now=now) for site in sites),
        key=lambda line: (TONES.index(line.tone), line.name),
    )
    back = Link(_("All nights"), "index.html")
    return SitesPage(settings.site, tuple(lines), local_full(now, settings.zone), back)


def _line(site: SiteSeen, zone: str, *, now: datetime) -> SiteLine:
    waiting = str(site.waiting)
    if site.waits_since is not None:
        waiting = _("{n}, the oldest since {at}").format(
            n=site.waiting, at=local(site.waits_since, zone)
        )
    facts = from_text(site.newest.facts_json) if site.newest else None
    if facts is None:
        headline, tone = _("No night has been reported yet."), Tone.ATTENTION
    else:
        headline, tone = facts.summary.headline, Tone(facts.summary.tone)
    days = (now - site.newest.frozen_at).days if site.newest else 0
    if days >= OLD_DAYS:
        old = ngettext("the report is {n} day old", "the report is {n} days old", days)
        headline, tone = f"{headline}; {old.format(n=days)}", Tone.PROBLEM
    if site.waiting and tone is Tone.CALM:
        tone = Tone.ATTENTION
    url = facts.review_url if facts else ""
    return SiteLine(
        name=site.name,
        tone=Tone.PROBLEM if site.offline else tone,
        headline=headline,
        night=reports.short_day(facts.night) if facts else "",
        href=f"{url}/reports/{facts.night}.html" if facts and url else "",
        waiting=waiting,
        review=f"{url}/review" if url else "",
        orders=_orders(facts.summary.broken, facts.summary.undecided) if facts else "–",
        sources=", ".join(site.offline) or "–",
        agent=local(site.seen_at, zone) if site.seen_at else _("never"),
    )


def _orders(broken: int, undecided: int) -> str:
    counts = [
        ngettext("{n} does not conform", "{n} do not conform", broken).format(n=broken)
        if broken
        else "",
        ngettext("{n} undecided", "{n} undecided", undecided).format(n=undecided)
        if undecided
        else "",
    ]
    return ", ".join(filter(None, counts)) or "–"
