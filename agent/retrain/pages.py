"""Build the page of what would change under another bundle: whole, with its pictures inside."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import reports
from agent.archive import write_whole
from agent.orders.facts import Conformity
from agent.orders.flips import flip_card
from agent.orders.paper import TONES
from agent.retrain.bundles import record_of
from reports import ImpactOrder, ImpactPage, Tone

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from agent.archive import Archive
    from agent.orders.flips import Flip
    from agent.retrain.impact import Changed, Impact

MOST = 240
"""Flips shown of orders whose conformity stays; those of the others are all shown."""


def keep_impact(found: Impact, folder: Path, archive: Archive, *, site: str, at: str) -> Path:
    """Write an impact as page and JSON, named by its hash.

    Args:
        found: The impact.
        folder: The bundle's folder `record`.
        archive: Has the pictures.
        site: Name of the site.
        at: When, and by which program, in words.

    Returns:
        The path of the page.
    """
    stem = f"impact-{found.sha256()[:12]}"
    page = folder / f"{stem}.html"
    held = reports.render_impact(impact_page(found, archive, site=site, at=at))
    document = json.dumps(found.document(), ensure_ascii=False, indent=1, sort_keys=True)
    write_whole({page: held.encode(), folder / f"{stem}.json": document.encode()})
    return page


def newest_impact(bundle: Path) -> Path | None:
    """Return the newest page of a bundle's impact; None where none was written."""
    found = record_of(bundle).glob("impact-*.html")
    return max(found, key=lambda one: one.stat().st_mtime, default=None)


def impact_page(found: Impact, archive: Archive, *, site: str, at: str) -> ImpactPage:
    """Build the page of an impact."""
    return ImpactPage(
        site=site,
        title=f"What would change under {found.bundle}",
        headline=headline_of(found),
        tone=Tone.ATTENTION if found.changed or found.unasked else Tone.CALM,
        sentences=sentences_of(found),
        orders=tuple(_order(one, archive) for one in found.changed),
        flips=tuple(flip_card(one, archive) for one in found.flips[:MOST]),
        left_out=_left_out(found.flips),
        mark=found.sha256(),
        generated=at,
    )


def headline_of(found: Impact) -> str:
    """Return the result in one sentence."""
    n, of = len(found.changed), f"of {_counted(found.orders, 'order')}"
    if not n:
        return f"The conformity of none {of} would change"
    return f"The conformity of {n} {of} would change"


def sentences_of(found: Impact) -> tuple[str, ...]:
    """Return what the result rests on, and what is not known."""
    flips = len(found.flips) + sum(len(one.flips) for one in found.changed)
    compared = (
        f"Orders first heard of since {found.since:%Y-%m-%d}: of {_counted(found.fields, 'field')} "
        f"that count and both bundles answered, {flips} are answered otherwise than by "
        f"{found.current or 'no bundle'}."
    )
    unasked = (
        f"{_counted(found.unasked, 'field')} could not be compared: {found.bundle} has not "
        "answered them."
    )
    lost = f"{_counted(found.lost, 'field')} have no crop any more, so nobody can be asked."
    stays = (
        "What a person decided stands whoever is at work. Nothing was written and nothing is "
        "stated anew: results that stand keep their bundle."
    )
    known = (unasked if found.unasked else "", lost if found.lost else "")
    return (compared, *filter(None, known), stays, *found.notes)


def _counted(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"


def _left_out(flips: Sequence[Flip]) -> str:
    over = len(flips) - MOST
    return f"{over} more stand in the JSON file beside this page." if over > 0 else ""


def _order(one: Changed, archive: Archive) -> ImpactOrder:
    words = {word.words: TONES[word] for word in Conformity}
    return ImpactOrder(
        number=one.number,
        before=one.before,
        after=one.after,
        before_tone=words[one.before],
        after_tone=words[one.after],
        why=one.why,
        flips=tuple(flip_card(flip, archive) for flip in one.flips),
    )
