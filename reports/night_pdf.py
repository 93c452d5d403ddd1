"""Draw a night's report as PDF, in the order of the printed page: verdict, orders, sheet, cards.

It is drawn from the same content as the page, so that a lab PC needs no browser for it.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from fpdf.enums import XPos, YPos

from reports.content.components import Figure, Picture, Table, Tone
from reports.content.night import Card, Night
from reports.i18n import day_and_time, ngettext
from reports.i18n import gettext as _
from reports.pdf_page import BODY_PT, INK, MARGIN_MM, RULE, SANS, SMALL_PT, SOFT, TONES, PdfPage
from reports.vocabulary import describe_decision, reason

Print = tuple[Any, Picture | None, str]

T = TypeVar("T")

MOST_CARDS = 16
"""As on the printed page; the others are in the report file."""
MOST_PRINTS = 112
PRINTS_PER_ROW, PRINT_GAP_MM, PRINT_TEXT_MM = 8, 2.0, 7.5
CARDS_PER_SHEET, CARD_COLUMNS = 4, 2
CARD_GAP_MM, CARD_MM = 5.0, 118.0
ORDER_WIDTHS, ORDER_LINES = (14.0, 24.0, 48.0, 14.0), 2
TINY_PT = 6.0


def render_night_pdf(night: Night, *, at: datetime) -> bytes:
    """Draw a night.

    Args:
        night: Its first page.
        at: When its facts were gathered, aware; the PDF's own date.

    Returns:
        A whole PDF, the same bytes whenever it is drawn from the same content.
    """
    paper = _Paper(night)
    paper.set_creation_date(at)
    paper.draw()
    return bytes(paper.output())


class _Paper(PdfPage):
    """A night on A4 pages."""

    def __init__(self, night: Night) -> None:
        super().__init__(night.site, night.title, night.generated)
        self._night = night
        self.set_title(f"{night.site}, {night.title}")

    def draw(self) -> None:
        """Draw every part."""
        night = self._night
        self.add_page()
        self.draw_title(night.title, " · ".join(filter(None, (night.period, *self._state()))))
        lines = [f"{line.count}  {line.text}" for line in night.lines]
        self.draw_verdict(night.tone, night.headline, (*lines, night.late))
        self._changes()
        self._orders()
        self._instruments()
        self._prints()
        self._cards()

    def _state(self) -> Iterator[str]:
        if self._night.running:
            yield _("still running")
        elif self._night.revision > 1:
            yield _("revision {n}").format(n=self._night.revision)

    def _changes(self) -> None:
        if self._night.changes:
            self.draw_heading(_("What changed since the last report"))
            self.draw_lines(f"· {sentence}" for sentence in self._night.changes)

    def _orders(self) -> None:
        night = self._night
        if not night.orders:
            return
        self.draw_heading(_("Open orders"))
        if night.orders_note:
            self.draw_lines([night.orders_note])
        self.set_font(SANS, "", SMALL_PT)
        why_mm = self.epw * ORDER_WIDTHS[2] / sum(ORDER_WIDTHS) - 4
        columns = (_("Order"), _("Status"), _("Why, what is missing"), _("Known for"))
        rows = tuple(
            (
                f"{order.number} ({_('urgent')})" if order.urgent else order.number,
                order.word,
                " ".join(self.clip("; ".join(order.said), why_mm, ORDER_LINES)),
                order.age,
            )
            for order in night.orders
        )
        self.draw_table(Table("", columns, rows), ORDER_WIDTHS)
        if night.orders_left_out:
            self.draw_lines([night.orders_left_out])

    def _instruments(self) -> None:
        columns = (_("Source"), _("Reference images"), _("Control specimen"), _("Scale"))
        rows = tuple(
            (source, *(text for text, _tone in states))
            for source, states in self._night.instruments
        )
        if rows:
            self.draw_heading(_("Checks of the instruments"))
            self.draw_table(Table("", columns, rows))

    # --- contact sheet ---

    def _prints(self) -> None:
        prints = self._night.prints[:MOST_PRINTS]
        if not prints:
            return
        self.draw_heading(_("Contact sheet"), room_mm=45)
        width = (self.epw - (PRINTS_PER_ROW - 1) * PRINT_GAP_MM) / PRINTS_PER_ROW
        height = width * 3 / 4
        for row in _in_rows(prints, PRINTS_PER_ROW):
            if self.will_page_break(height + PRINT_TEXT_MM):
                self.add_page()
            top = self.get_y()
            for n, shown in enumerate(row):
                self._print(shown, MARGIN_MM + n * (width + PRINT_GAP_MM), top, width, height)
            self.set_xy(MARGIN_MM, top + height + PRINT_TEXT_MM)
        if over := len(self._night.prints) - len(prints):
            self.draw_lines([_left_out(over)])

    def _print(self, shown: Print, x: float, y: float, width: float, height: float) -> None:
        micrograph, picture, _href = shown
        result, order = micrograph.result, micrograph.process_data.get("order", "")
        if picture:
            self._draw(picture, (x, y, width, height))
        self.set_xy(x, y + height + 0.4)
        self.set_font(SANS, "B", TINY_PT)
        self.set_text_color(*INK)
        self._line(width, f"{result.structure_code or '–'} {order}".strip())
        self.set_font(SANS, "", TINY_PT - 0.5)
        self.set_text_color(*SOFT)
        decided = describe_decision(micrograph.label) if micrograph.label else ""
        self._line(width, decided or (reason(result.reasons[0])[0] if result.reasons else ""))

    # --- cards ---

    def _cards(self) -> None:
        cards = self._night.cards[:MOST_CARDS]
        width = (self.epw - CARD_GAP_MM) / CARD_COLUMNS
        for sheet in _in_rows(cards, CARDS_PER_SHEET):
            self.add_page()
            top = self.get_y()
            for n, card in enumerate(sheet):
                column, row = n % CARD_COLUMNS, n // CARD_COLUMNS
                x = MARGIN_MM + column * (width + CARD_GAP_MM)
                self._card(card, x, top + row * (CARD_MM + CARD_GAP_MM), width)
        over = len(self._night.cards) - len(cards) + self._count_further()
        if cards and over:
            self.set_xy(MARGIN_MM, self.h - 24)
            self.set_font(SANS, "", SMALL_PT)
            self.set_text_color(*SOFT)
            self._line(self.epw, _left_out(over))

    def _count_further(self) -> int:
        return max(0, len(self._night.prints) - len(self._night.cards))

    def _card(self, card: Card, x: float, y: float, width: float) -> None:
        self.set_draw_color(*RULE)
        self.rect(x, y, width, CARD_MM)
        inner, left = width - 4, x + 2
        ink = TONES[Tone.PROBLEM][0]
        self.set_xy(left, y + 1.5)
        self.set_font(SANS, "B", BODY_PT)
        self.set_text_color(*INK)
        self._line(inner, f"{card.answer.code or '–'}  {card.answer.probability}  {card.name}", 4.2)
        self.set_font(SANS, "", TINY_PT)
        self.set_text_color(*SOFT)
        order = f" · {card.order.text}" if card.order else ""
        self._line(inner, f"{card.source} · {card.at} · {card.id}{order}", 3)
        for cause in card.causes[:3]:
            self.set_font(SANS, "B", SMALL_PT)
            self.set_text_color(*(ink if cause.word == "strange" else INK))
            self._line(inner, cause.title, 3.4)
            self.set_font(SANS, "", TINY_PT)
            self.set_text_color(*INK)
            for sentence in (cause.sentence, cause.action):
                self._clip(inner, sentence, 2)
        self.set_y(self.get_y() + 0.8)
        self._pictures(card, left, inner)
        self.set_xy(left, self.get_y() + 0.5)
        self._answer(card, inner)

    def _pictures(self, card: Card, left: float, inner: float) -> None:
        """Draw the crop large, two maps next to it, the other pictures below."""
        gap, title = 1.5, 2.9
        width = (inner - 2 * gap) / 3
        height = width * 3 / 4
        top, step = self.get_y(), height + title
        large = (2 * width + gap, 2 * height + title)
        self._figure(card.crop, left, top, large)
        others = [figure for figure in (*card.maps, card.field) if figure and figure.picture]
        for n, figure in enumerate(others):
            column, row = (2, n) if n < 2 else (n - 2, 2)  # noqa: PLR2004 - two fit beside the crop
            self._figure(figure, left + column * (width + gap), top + row * step, (width, height))
        self.set_xy(left, top + (3 if len(others) > 2 else 2) * step)  # noqa: PLR2004

    def _figure(self, figure: Figure, x: float, y: float, size: tuple[float, float]) -> None:
        width, height = size
        self.set_xy(x, y)
        self.set_font(SANS, "", TINY_PT - 0.3)
        self.set_text_color(*SOFT)
        self._line(width, figure.title, 2.8)
        if figure.picture:
            self._draw(figure.picture, (x, y + 2.9, width, height))

    def _answer(self, card: Card, inner: float) -> None:
        said = card.answer
        self.set_font(SANS, "", TINY_PT)
        self.set_text_color(*INK)
        bars = [
            f"{title}: " + ", ".join(f"{share.label} {share.text}" for share in shares)
            for title, shares in ((_("Subtype"), said.subtypes), (said.size_title, said.sizes))
            if shares
        ]
        for text in (*bars, "" if said.strange else said.strangeness, *card.warnings[:2]):
            self._clip(inner, text, 2)
        if card.decision:
            self.set_font(SANS, "B", TINY_PT)
            at = day_and_time(card.decision.at.astimezone(ZoneInfo(self._night.zone)))
            text = f"{describe_decision(card.decision)}, {card.decision.by}, {at}"
            self._clip(inner, text, 1)

    # --- pieces ---

    def _draw(self, picture: Picture, box: tuple[float, float, float, float]) -> None:
        encoded = picture.src.partition(",")[2]
        size = (picture.width, picture.height)
        self.draw_picture(base64.b64decode(encoded), size, box, picture.alt)

    def _line(self, width: float, text: str, height: float = 2.9) -> None:
        """Draw one line, cut to the width."""
        self._clip(width, text, 1, height)

    def _clip(self, width: float, text: str, most: int, height: float = 2.7) -> None:
        """Draw a text on at most so many lines; what does not fit ends in "…"."""
        if not text:
            return
        for line in self.clip(text, width, most):
            self.cell(width, height, line, new_x=XPos.LEFT, new_y=YPos.NEXT)


def _in_rows(items: Sequence[T], n: int) -> Iterator[Sequence[T]]:
    yield from (items[start : start + n] for start in range(0, len(items), n))


def _left_out(n: int) -> str:
    return ngettext(
        "{n} more card is in the report file.", "{n} more cards are in the report file.", n
    ).format(n=n)
