"""Lay a night's facts out on pages: the verdict first, and every omission stated.

The first page stays small enough for any mail box and old PC; the rest is on pages in a folder next
to it, and the first page names them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

import reports
from agent.archive import Archive
from agent.files.pictures import Palette
from agent.nightly.facts.snapshot import SHOWN, NightFacts
from agent.nightly.page import summary
from agent.nightly.page.embedded_images import (
    ROW_PX,
    SMALL_ROW_PX,
    Embedded,
    embed_colour_scale,
    enlarge,
)
from agent.nightly.page.headline import micrographs
from agent.nightly.page.micrograph_cards import build_card
from agent.nightly.page.micrograph_rows import hide_answer, night_to_json
from agent.nightly.page.night_charts import furnace_trends
from agent.nightly.page.night_tables import (
    agreement_facts,
    code_counts,
    count_source,
    format_expected,
    hour_counts,
    provenance_facts,
)
from agent.nightly.page.verdict import list_lines, sort_by_weight
from agent.orders.instruments.prediction_flips import load_picture
from agent.site_time import format_night_title, local, local_full
from agent.store import MicrographView
from reports import Card, Link, Night, Picture, Tone
from reports import gettext as _

T = TypeVar("T")
Row = tuple["MicrographView", "Picture | None"]
"""A micrograph that needs no reviewer, with its thumbnail."""
PAGE_BYTES = 3_700_000
"""What the pictures of one page may weigh; everything else of a page is some hundred kB."""
CARDS_PER_PAGE = 100
ROWS_PER_PAGE = 500
LINES_PER_TABLE = 1000
MOST_PRINTS = 1000
PRINT_BYTES, ROW_BYTES = 400, 500
FULL_CARDS = 100
"""Flagged micrographs whose card has maps and field; the weightiest, so that 5000 stay readable."""
MANY_MICROGRAPHS = 1000
"""From so many on, the pictures of lists are smaller."""


def lay_out(
    facts: NightFacts,
    archive: Archive,
    *,
    revision: int,
    generated: datetime,
    late: datetime | None,
    on_drawn: Callable[[int, int], None],
) -> tuple[Night, tuple[dict[str, Any], ...], tuple[MicrographView, ...]]:
    """Lay a night out on pages.

    Args:
        facts: Frozen, or those of a night that is still running.
        archive: Has the pictures.
        revision: Number of the facts' revision, from 1.
        generated: Now, aware.
        late: When the facts were frozen, where that was long after the night's end.
        on_drawn: Called with the number of micrographs drawn, and the number of all.

    Returns:
        The first page; facts of the overflow pages, in order; micrographs that wait for a
        reviewer, the weightiest first.
    """
    is_large = len(facts.micrographs) > MANY_MICROGRAPHS
    gallery = Embedded(archive, list_px=SMALL_ROW_PX if is_large else ROW_PX)
    brief_gallery = Embedded(archive, is_brief=True)
    inside = night_to_json(facts)
    room = PAGE_BYTES - len(reports.as_json(inside))
    flagged = sort_by_weight(
        hide_answer(micrograph) for micrograph in facts.micrographs if micrograph.is_flagged
    )
    others = [micrograph for micrograph in facts.micrographs if not micrograph.is_flagged]

    def drawn(batch: list[MicrographView], before: int) -> Iterator[MicrographView]:
        for number, micrograph in enumerate(batch, start=before + 1):
            yield micrograph
            on_drawn(number, len(facts.micrographs))

    prints = [(micrograph, gallery.thumbnail(micrograph)) for micrograph in flagged[:MOST_PRINTS]]
    room -= sum(PRINT_BYTES + _weigh(thumbnail) for _micrograph, thumbnail in prints)
    cards = _paginate(
        (
            _card(micrograph, facts, gallery)
            if number < FULL_CARDS
            else _card(micrograph, facts, brief_gallery, is_brief=True)
            for number, micrograph in enumerate(drawn(flagged, 0))
        ),
        _card_weight,
        CARDS_PER_PAGE,
        PAGE_BYTES,
        first_bytes=room,
    )
    room -= sum(map(_card_weight, cards[0]))
    places = {micrograph.id: f"#m-{micrograph.id}" for micrograph in flagged} | {
        card.id: f"{facts.night}/{page_name(number)}#m-{card.id}"
        for number, page in enumerate(cards[1:], start=1)
        for card in page
    }
    rows = _paginate(
        ((micrograph, gallery.thumbnail(micrograph)) for micrograph in drawn(others, len(flagged))),
        _row_weight,
        ROWS_PER_PAGE,
        PAGE_BYTES,
        first_bytes=room if len(cards) < 2 else 0,  # noqa: PLR2004 - rows follow the last cards
    )
    room -= sum(map(_row_weight, rows[0]))
    by_id = {micrograph.id: micrograph for micrograph in flagged}
    rooms = [room, *(PAGE_BYTES - sum(map(_card_weight, page)) for page in cards[1:])]
    brief = {micrograph.id for micrograph in flagged[FULL_CARDS:]}
    cards = [
        enlarge(page, by_id, gallery, left, brief=brief)
        for page, left in zip(cards, rooms, strict=True)
    ]
    stamp = local_full(generated, facts.zone)
    more = _more(facts, cards[1:], rows[1:], stamp)
    night = replace(
        _night(facts, cards[0], rows[0], more=more, revision=revision, stamp=stamp),
        shadow=facts.shadow if facts.shadow and facts.shadow.judged else None,
        flip_pictures={
            flip.id: load_picture(flip, archive)
            for flip in (facts.shadow.flips[:SHOWN] if facts.shadow else ())
        },
        inside=inside,
        late=_describe_late(facts, late) if late else "",
        prints=tuple(
            (micrograph, picture, places[micrograph.id]) for micrograph, picture in prints
        ),
    )
    return night, more, tuple(micrograph for micrograph in flagged if micrograph.is_undecided)


def _describe_late(facts: NightFacts, frozen_at: datetime) -> str:
    """Return what a report that was written late cannot know."""
    return _(
        "First written {at}. The report shows what was known at the end of the night, {until}. "
        "Not known as of then: problems of sources, files that failed then and were read since, "
        "and places in orders that were changed since by hand or by an order list."
    ).format(at=local(frozen_at, facts.zone), until=local(facts.gathered_at, facts.zone))


def _card(
    micrograph: MicrographView, facts: NightFacts, gallery: Embedded, *, is_brief: bool = False
) -> Card:
    review = (
        Link(_("Decide"), f"{facts.review_url}/review/{micrograph.id}")
        if facts.review_url
        else None
    )
    card = build_card(
        micrograph,
        gallery,
        zone=facts.zone,
        words=facts.words,
        review=review,
        texts=facts.texts,
        needle_limit_um=facts.needle_limits.get(micrograph.id),
        is_brief=is_brief,
    )
    order = micrograph.process_data.get("order", "")
    return replace(card, order=Link(order, summary.order_href(order, facts)) if order else None)


def _card_weight(card: Card) -> int:
    figures = (card.crop, card.field, *card.maps, *card.nearest)
    needles = card.needles.longest if card.needles else ()
    chart = len(card.needles.chart) if card.needles else 0
    return (
        4000
        + chart
        + sum(len(f.picture.src) for f in figures if f and f.picture)
        + sum(len(cut_out.src) for _length, cut_out in needles)
    )


def _row_weight(row: Row) -> int:
    return ROW_BYTES + _weigh(row[1])


def _weigh(picture: Picture | None) -> int:
    return len(picture.src) if picture else 0


def _paginate(
    items: Iterator[T],
    weight: Callable[[T], int],
    most: int,
    most_bytes: int,
    first_bytes: int | None,
) -> list[tuple[T, ...]]:
    pages: list[list[T]] = [[]]
    room = most_bytes if first_bytes is None else first_bytes
    for item in items:
        heavy = weight(item)
        if (pages[-1] or first_bytes is not None) and (heavy > room or len(pages[-1]) >= most):
            pages.append([])
            room = most_bytes
            first_bytes = None
        pages[-1].append(item)
        room -= heavy
    return [tuple(page) for page in pages]


def _more(
    facts: NightFacts,
    cards: Sequence[tuple[Card, ...]],
    rows: Sequence[tuple[Row, ...]],
    stamp: str,
) -> tuple[dict[str, Any], ...]:
    """Return the facts of each overflow page."""
    contents: list[tuple[tuple[Card, ...], tuple[Row, ...]]] = [
        *((batch, ()) for batch in cards),
        *(((), batch) for batch in rows),
    ]
    evidence, alarm = _scales()
    shared = {
        "site": facts.site,
        "zone": facts.zone,
        "words": facts.words,
        "night": facts.night,
        "agent": facts.review_url,
        "evidence_scale": evidence,
        "alarm_scale": alarm,
        "generated": stamp,
    }
    return tuple(
        shared
        | {
            "heading": _("{what}, page {n} of {total}").format(
                what=_("To review") if batch else _("Handled automatically"),
                n=number + 1,
                total=len(contents) + 1,
            ),
            "cards": batch,
            "rows": lines,
            "previous": page_name(number - 1) if number > 1 else "",
            "next": page_name(number + 1) if number < len(contents) else "",
        }
        for number, (batch, lines) in enumerate(contents, start=1)
    )


def page_name(number: int) -> str:
    """Return the file name of an overflow page; the first of them is page 2."""
    return f"page-{number + 1}.html"


def _night(
    facts: NightFacts,
    cards: tuple[Card, ...],
    rows: tuple[Row, ...],
    *,
    more: tuple[dict[str, Any], ...],
    revision: int,
    stamp: str,
) -> Night:
    evidence, alarm = _scales()
    day = facts.night.isoformat()
    return Night(
        site=facts.site,
        zone=facts.zone,
        date=day,
        title=format_night_title(facts.night),
        period=_("{after} to {until}, {zone}").format(
            after=local(facts.after, facts.zone),
            until=local(facts.until, facts.zone),
            zone=facts.zone,
        ),
        running=facts.running,
        revision=revision,
        tone=Tone(facts.summary.tone),
        headline=facts.summary.headline,
        lines=list_lines(facts),
        expected=format_expected(facts),
        codes=tuple(code_counts(facts)),
        hours=tuple(hour_counts(facts)),
        sources=tuple(count_source(folder, facts) for folder in facts.sources),
        cards=cards,
        more=tuple(
            Link(page["heading"], f"{day}/{page_name(number)}")
            for number, page in enumerate(more, start=1)
        ),
        left_out=_left_out(facts, more),
        rows=rows,
        unusable=facts.unusable[:LINES_PER_TABLE],
        duplicates=facts.duplicates[:LINES_PER_TABLE],
        p_values=tuple(
            micrograph.result.strangeness.p_value
            for micrograph in facts.micrographs
            if micrograph.result.strangeness.p_value is not None
        ),
        alpha=facts.alpha,
        evidence_scale=evidence,
        alarm_scale=alarm,
        agreement=tuple(agreement_facts(facts)),
        provenance=tuple(provenance_facts(facts, revision)),
        generated=stamp,
        beside=(Link("CSV", f"{day}.csv"), Link("JSON", f"{day}.json")),
        older=Link(_("All nights"), "index.html"),
        orders=summary.open_orders(facts),
        orders_left_out=summary.orders_left_out(facts),
        orders_note=summary.orders_note(facts),
        instruments=summary.instruments(facts),
        changes=tuple(summary.changes(facts)),
        groups=tuple(summary.groups(facts)),
        control=tuple(summary.control_trends(facts)),
        furnaces=tuple(furnace_trends(facts)),
        links=_links(facts),
        agent=facts.review_url,
        words=facts.words,
    )


def _links(facts: NightFacts) -> tuple[Link, ...]:
    """Return links to the agent's queue and orders, () where its address is not set."""
    url = facts.review_url
    if not url:
        return ()
    return (
        Link(_("Review queue"), f"{url}/review"),
        Link(_("Orders"), f"{url}/orders"),
        Link(_("Trends"), f"{url}/trends"),
    )


def _scales() -> tuple[reports.Picture, reports.Picture]:
    return (
        embed_colour_scale(
            Palette.EVIDENCE, _("scale from violet, against, to orange, for the answer")
        ),
        embed_colour_scale(Palette.ALARM, _("scale from grey, normal, to yellow, unusual")),
    )


def _left_out(facts: NightFacts, more: tuple[dict[str, Any], ...]) -> str:
    cards = sum(len(page["cards"]) for page in more)
    rows = sum(len(page["rows"]) for page in more)
    parts = [
        _("{micrographs} more to review").format(micrographs=micrographs(cards)) if cards else "",
        _("{micrographs} more that were handled automatically").format(
            micrographs=micrographs(rows)
        )
        if rows
        else "",
    ]
    omitted = _(" and ").join(part for part in parts if part)
    own = _("To keep this page small, {what} are on separate pages.")
    sentences = [own.format(what=omitted) if omitted else ""]
    if facts.summary.review > FULL_CARDS:
        brief = _(
            "From flagged micrograph {n} on, a card shows the crop alone. Its maps are on the "
            "review page."
        )
        sentences.append(brief.format(n=FULL_CARDS + 1))
    for files, what in (
        (
            facts.unusable,
            _("{n} more files not used are named in the JSON file next to this page."),
        ),
        (facts.duplicates, _("{n} more duplicates are named in the JSON file next to this page.")),
    ):
        if (over := len(files) - LINES_PER_TABLE) > 0:
            sentences.append(what.format(n=over))
    return " ".join(sentence for sentence in sentences if sentence)
