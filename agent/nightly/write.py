"""Write a night's report: one page, its data files and the index, each whole or not at all.

The first writing of a night that is over freezes its facts; later ones draw the same facts again.
The page of all sites, `sites.html`, is only there where several sites are in the database.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import structlog

import reports
from agent.archive import Archive
from agent.files.whole_file import write_whole
from agent.nightly.facts.collect import LATE, gather
from agent.nightly.facts.snapshot import (
    NightFacts,
    NightSettings,
    Summary,
    from_text,
    parse_summary,
    to_text,
)
from agent.nightly.page.layout import lay_out, page_name
from agent.nightly.page.micrograph_rows import build_record, hide_answer, records_to_csv
from agent.nightly.period_report import format_period_title, list_written, parse_period
from agent.site_time import compute_age, compute_night_end, local_full, night_of
from agent.store import NightHead, SiteSeen, Store
from reports import Tone, ngettext
from reports import gettext as _

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
    night = from_text(site.newest.facts) if site.newest else None
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


log = structlog.get_logger()

LONGEST_CATCH_UP = 31
"""Nights that are written afterwards at most, the newest ones."""


@dataclass(frozen=True, slots=True)
class Written:
    """A report that was written.

    Args:
        path: The page.
        summary: Its one line.
        revision: Number of the facts' revision, from 1.
        running: The night was not over, so its facts were not frozen.
        lines: The verdict of the page, one line each.
        flagged: Content hash and page of each micrograph that waits, the weightiest first.
    """

    path: Path
    summary: Summary
    revision: int
    running: bool
    lines: tuple[str, ...] = ()
    flagged: tuple[tuple[str, int], ...] = ()


def write_report(
    store: Store,
    archive: Archive,
    folder: Path,
    night: date,
    settings: NightSettings,
    *,
    now: datetime,
    refresh: bool = False,
    with_pdf: bool = False,
    on_drawn: Callable[[int, int], None] = lambda _done, _of: None,
) -> Written:
    """Write one night's page, its JSON and CSV, and the index of all nights.

    A night that was empty by plan is a line in the index and nothing else.

    Args:
        store: Open.
        archive: Has the pictures.
        folder: The reports folder; created if missing.
        night: Its date.
        settings: Of the lab.
        now: An aware instant.
        refresh: Gather the facts again, as a recorded revision.
        with_pdf: Write the page as PDF too.
        on_drawn: Called with the number of micrographs drawn, and the number of all.

    Raises:
        OSError: The folder cannot be written.
    """
    with reports.speaking(settings.language):
        _freeze_earlier(store, night, settings, now=now)
        facts, text, revision, frozen_at = _facts(store, night, settings, now=now, refresh=refresh)
    if facts.summary.planned and not facts.running:
        index = write_index(store, folder, settings, now=now)
        return Written(index, facts.summary, revision, running=False)
    beside = folder / night.isoformat()
    path = folder / f"{night}.html"
    with reports.speaking(facts.language):  # as it was first reported, whatever is set by now
        late = frozen_at if frozen_at and frozen_at - facts.gathered_at > LATE else None
        first, more, undecided = lay_out(
            facts, archive, revision=revision, generated=now, late=late, on_drawn=on_drawn
        )
        page = reports.render("night", page=first)
        pdf = (
            {folder / f"{night}.pdf": reports.render_night_pdf(first, at=facts.gathered_at)}
            if with_pdf
            else {}
        )
        for number, overflow in enumerate(more, start=1):  # one at a time: one may have 200 MB
            write_whole({beside / page_name(number): reports.render("more", **overflow).encode()})
    write_whole(
        {
            folder / f"{night}.json": text.encode(),
            folder / f"{night}.csv": records_to_csv(
                build_record(hide_answer(micrograph), facts.zone)
                for micrograph in facts.micrographs
            ).encode(),
            path: page.encode(),
            **pdf,
        }
    )
    if not with_pdf:  # of an earlier revision, maybe
        (folder / f"{night}.pdf").unlink(missing_ok=True)
    _clear(beside, keep={page_name(number) for number in range(1, len(more) + 1)})
    write_index(store, folder, settings, now=now, running=facts if facts.running else None)
    log.info(
        "night.reported",
        night=night.isoformat(),
        revision=revision,
        taken=facts.summary.taken,
        review=facts.summary.review,
        unusable=facts.summary.unusable,
        running=facts.running,
    )
    lines = tuple(f"{line.count} {line.text}" for line in first.lines)
    flagged = tuple((micrograph.sha256, micrograph.page) for micrograph in undecided)
    return Written(path, facts.summary, revision, facts.running, lines, flagged)


def _freeze_earlier(store: Store, night: date, settings: NightSettings, *, now: datetime) -> None:
    """Freeze the earlier nights that have no facts yet, since each night is compared with them."""
    frozen = {row.date for row in _list_sound(store, now)}
    for earlier in _list_over(store, settings, now=now):
        if earlier < night and earlier not in frozen:
            _facts(store, earlier, settings, now=now, refresh=False)


def _facts(
    store: Store, night: date, settings: NightSettings, *, now: datetime, refresh: bool
) -> tuple[NightFacts, str, int, datetime | None]:
    """Return a night's facts, their text and revision, and when they were frozen."""
    row = store.nightly_reports.find(night)
    is_sound = row is not None and any(head.date == night for head in _list_sound(store, now))
    if row is not None and is_sound and not refresh:
        return from_text(row.facts), row.facts, row.revision, row.frozen_at
    facts = gather(store, night, settings, now=now, refresh=refresh)
    text = to_text(facts)
    if facts.running:
        return facts, text, 1, None
    frozen = store.nightly_reports.freeze(
        night, text, at=now, revision=row.revision + 1 if row else 1
    )
    # Another agent may have been first: what is frozen holds, not what was just gathered.
    kept = frozen.facts
    return from_text(kept), kept, frozen.revision, frozen.frozen_at


def _clear(folder: Path, keep: set[str]) -> None:
    if not folder.is_dir():
        return
    for page in folder.glob("page-*.html"):
        if page.name not in keep:
            page.unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()


def write_index(
    store: Store,
    folder: Path,
    settings: NightSettings,
    *,
    now: datetime,
    running: NightFacts | None = None,
) -> Path:
    """Write the list of all nights; its script marks it as old when the newest night is."""
    rows = _list_sound(store, now)
    newest = max([row.frozen_at for row in rows] + ([now] if running else []), default=now)
    path = folder / "index.html"
    sites = write_sites(store, folder, settings, now=now)
    with reports.speaking(settings.language):
        page = reports.render(
            "index",
            site=settings.site,
            nights=[
                *([(running.summary, _("still running"), True)] if running else ()),
                *(_describe_line(row, folder) for row in rows),
            ],
            newest=newest,
            newest_at=local_full(newest, settings.zone),
            generated=local_full(now, settings.zone),
            has_sites=sites is not None,
            periods={
                name: format_period_title(period)
                for name in list_written(folder)
                if (period := parse_period(name)) is not None
            },
        )
    write_whole({path: page.encode()})
    return path


def _describe_line(row: NightHead, folder: Path) -> tuple[Summary, str, bool]:
    """Return a night in one line, a note next to it, and whether it has a page."""
    summary = parse_summary(row.head)
    note = _("revision {n}").format(n=row.revision) if row.revision > 1 else ""
    return summary, note, (folder / f"{summary.night}.html").is_file()


def missing_nights(
    store: Store, folder: Path, settings: NightSettings, *, now: datetime
) -> list[date]:
    """Return the nights that are over and have no page, oldest first.

    They begin with the night in which this site's agent first started, at most `LONGEST_CATCH_UP`
    of them: a PC that slept writes them when it wakes, and a page that could not be written, though
    its facts were frozen, is written as soon as it can be.
    """
    heads = _list_sound(store, now)
    frozen = {row.date for row in heads}
    pageless = {row.date for row in heads if parse_summary(row.head).planned}
    return [
        day
        for day in _list_over(store, settings, now=now)
        if day not in frozen or not (day in pageless or (folder / f"{day}.html").is_file())
    ]


def _list_sound(store: Store, now: datetime) -> list[NightHead]:
    """Return the frozen nights, newest first, but those that a clock that was ahead froze.

    Since then, or now, it is earlier than when they were frozen: their facts are of a time that had
    not come.
    """
    heads = store.nightly_reports.list_all()
    sound: set[date] = set()
    for head in sorted(heads, key=lambda head: head.number, reverse=True):
        if compute_age(head.frozen_at, now) is not None:
            sound.add(head.date)
        now = min(now, head.frozen_at)
    return [head for head in heads if head.date in sound]


def _list_over(store: Store, settings: NightSettings, *, now: datetime) -> list[date]:
    """Return the newest `LONGEST_CATCH_UP` nights of this site's agents that are over."""
    starts = [
        agent.first_started_at
        for agent in store.agents.list_all()
        if agent.first_started_at is not None
    ]
    if starts and min(starts) > now:  # by a clock that was ahead; the first act since counts
        starts = [at for at in [store.audit_log.find_earliest_at(until=now)] if at is not None]
    nights = {row.date for row in _list_sound(store, now)}
    nights |= {night_of(start, settings.at, settings.zone) for start in starts}
    if not nights:
        return []
    last = night_of(now, settings.at, settings.zone)
    first = max(min(nights), last - timedelta(days=LONGEST_CATCH_UP))
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    return [day for day in days if compute_night_end(day, settings.at, settings.zone) <= now]
