"""Build the page of what would change under another bundle: whole, with its pictures inside."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import reports
from agent.files.whole_file import write_whole
from agent.orders.facts.specimen_facts import Conformity
from agent.orders.instruments.prediction_flips import load_picture
from agent.orders.statements.trace_page import TONES
from agent.retrain.bundle_registry import get_record_folder

if TYPE_CHECKING:
    from pathlib import Path

    from agent.archive import Archive
    from agent.retrain.impact import Impact

MOST = 240
"""Flips shown of orders whose conformity stays; those of the others are all shown."""


def save_impact(impact: Impact, folder: Path, archive: Archive, *, site: str, at: str) -> Path:
    """Write an impact as page and JSON, named by its hash.

    Args:
        impact: The impact.
        folder: The bundle's folder `record`.
        archive: Has the pictures.
        site: Name of the site.
        at: When, and by which program, in words.

    Returns:
        The path of the page.
    """
    stem = f"impact-{impact.sha256()[:12]}"
    page = folder / f"{stem}.html"
    shown = impact.flips[:MOST]
    flips = (*(flip for order in impact.changed for flip in order.flips), *shown)
    html = reports.render(
        "impact",
        site=site,
        impact=impact,
        headline=format_headline(impact),
        sentences=list_sentences(impact),
        tones={word.words: TONES[word] for word in Conformity},
        shown=shown,
        pictures={flip.id: load_picture(flip, archive) for flip in flips},
        generated=at,
    )
    document = json.dumps(impact.document(), ensure_ascii=False, indent=1, sort_keys=True)
    write_whole({page: html.encode(), folder / f"{stem}.json": document.encode()})
    return page


def find_newest_impact(bundle: Path) -> Path | None:
    """Return the newest page of a bundle's impact; None where none was written."""
    pages = get_record_folder(bundle).glob("impact-*.html")
    return max(pages, key=lambda page: page.stat().st_mtime, default=None)


def format_headline(impact: Impact) -> str:
    """Return the result in one sentence: what is known of it."""
    changed, total = len(impact.changed), impact.fields + impact.not_compared
    if not total:
        return f"Nothing to compare: {_format_count(impact.orders, 'order')} without a field"
    compared = f"{impact.fields} of {_format_count(total, 'field')} compared"
    if not impact.is_known:
        return f"Not known: {compared}"
    orders = f"{changed} of {_format_count(impact.orders, 'order')}"
    if impact.not_compared:
        return f"The conformity of at least {orders} would change: {compared}"
    return f"The conformity of {orders} would change"


def list_sentences(impact: Impact) -> tuple[str, ...]:
    """Return what the result rests on, what is not known, and what finds it out."""
    flips = len(impact.flips) + sum(len(order.flips) for order in impact.changed)
    compared = (
        f"Orders first seen since {impact.since:%Y-%m-%d}: of "
        f"{_format_count(impact.fields, 'field')} that count and have answers of both bundles, "
        f"{flips} differ from {impact.current or 'no bundle'}."
    )
    unasked = (
        f"{_format_count(impact.unasked, 'field')} could not be compared: {impact.bundle} has not "
        f"evaluated them. Run `{format_shadow_run(impact)}`, then "
        f"`agent models impact {impact.bundle} --days {impact.days}` again."
    )
    lost = f"{_format_count(impact.lost, 'field')} have no archived crop and were not compared."
    stays = (
        "Decisions of reviewers stay valid with any bundle. Nothing was written, and no statement "
        "changes: existing results keep their bundle."
    )
    known = (unasked if impact.unasked else "", lost if impact.lost else "")
    return (
        *((compared,) if impact.is_known else ()),
        *filter(None, known),
        stays,
        *impact.notes,
    )


def format_shadow_run(impact: Impact) -> str:
    """Return the command with which the other bundle answers the fields it has not."""
    return f"agent models reprocess --bundle {impact.bundle} --shadow --days {impact.days}"


def _format_count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"
