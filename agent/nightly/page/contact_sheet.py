"""Lay the flagged micrographs of a night out as a contact sheet, and enlarge what has room.

The sheet is the overview: every flagged micrograph, the weightiest first, wherever its card is.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import reports
from agent.nightly.page.micrograph_cards import format_decision
from reports import ContactPrint

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from agent.nightly.page.embedded_images import Embedded
    from agent.store import MicrographView
    from reports import Card

MOST_PRINTS = 1000
LEAST_GAIN = 1.3
"""A picture is not enlarged for less."""


def build_contact_sheet(
    flagged: Sequence[MicrographView], hrefs: Mapping[str, str], gallery: Embedded
) -> Iterator[ContactPrint]:
    """Yield the print of each flagged micrograph, `MOST_PRINTS` at most.

    Args:
        flagged: The weightiest first.
        hrefs: Public id → where its card is.
        gallery: Has the thumbnails.
    """
    for micrograph in flagged[:MOST_PRINTS]:
        word = micrograph.result.reasons[0] if micrograph.result.reasons else ""
        yield ContactPrint(
            id=micrograph.id,
            name=micrograph.name,
            href=hrefs.get(micrograph.id, ""),
            picture=gallery.thumbnail(micrograph),
            code=micrograph.result.structure_code or "",
            word=word,
            why=reports.reason(word)[0] if word else "",
            order=micrograph.process_data.get("order", ""),
            decided=format_decision(micrograph.label) if micrograph.label else "",
        )


def enlarge(
    cards: Sequence[Card],
    micrographs: Mapping[str, MicrographView],
    gallery: Embedded,
    room_bytes: int,
    *,
    brief: Collection[str] = (),
) -> tuple[Card, ...]:
    """Return cards whose crops are as large as the room of their page allows, at most 1600 px.

    Args:
        cards: Of one page.
        micrographs: Public id → the micrograph.
        gallery: Has the crops.
        room_bytes: What the page may still weigh.
        brief: Public ids of cards that are not enlarged.
    """
    enlarged = []
    for number, card in enumerate(cards):
        share = room_bytes // (len(cards) - number)
        small = card.crop.picture
        is_shown = small is not None and card.id not in brief
        large = gallery.large_crop(micrographs[card.id], most_bytes=share) if is_shown else None
        if small is None or large is None or large.width < LEAST_GAIN * small.width:
            enlarged.append(card)
            continue
        room_bytes -= len(large.src) - len(small.src)
        enlarged.append(replace(card, crop=replace(card.crop, picture=large)))
    return tuple(enlarged)
