"""Draw a customer's report as PDF/A-3 under the lab's letterhead, the statement attached."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from PIL import Image

from reports.pdf_page import BODY_PT, INK, LINE_MM, MARGIN_MM, RULE, SANS
from reports.statement_pdf import StatementPaper, attach_document

if TYPE_CHECKING:
    from datetime import datetime

    from reports.content.statements import Letterhead, StatementPage

LOGO_MM = (60.0, 18.0)
"""Largest width and height of the logo."""


def render_customer_pdf(
    page: StatementPage, letterhead: Letterhead, document: bytes, *, at: datetime
) -> bytes:
    """Draw a customer's report.

    Args:
        page: The statement, without evidence and history.
        letterhead: Of the lab.
        document: The frozen statement as canonical JSON, attached as it is.
        at: When it was stated, aware; the PDF's own date.

    Returns:
        A whole PDF/A-3B, the same bytes whenever it is drawn.
    """
    paper = _Letter(page, at, letterhead)
    paper.draw()
    attach_document(paper, document, at=at)
    return bytes(paper.output())


class _Letter(StatementPaper):
    """A statement under a letterhead, two pictures to a row."""

    pictures_per_row = 2

    def __init__(self, page: StatementPage, at: datetime, letterhead: Letterhead) -> None:
        super().__init__(page, at)
        self._letterhead = letterhead

    def draw_top(self) -> None:
        """Draw logo and address."""
        head, top = self._letterhead, self.get_y()
        if not (head.logo or head.address):
            return
        bottom = top
        if head.logo:
            bottom = top + self._logo(head.logo, top)
        self.set_xy(MARGIN_MM, top)
        self.set_font(SANS, "", BODY_PT)
        self.set_text_color(*INK)
        for line in head.address:
            self.set_x(MARGIN_MM)
            self.cell(self.epw, LINE_MM, line, align="R", new_x="LMARGIN", new_y="NEXT")
        bottom = max(bottom, self.get_y()) + 3
        self.set_draw_color(*RULE)
        self.line(MARGIN_MM, bottom, self.w - MARGIN_MM, bottom)
        self.set_xy(MARGIN_MM, bottom + 4)

    def draw_end(self) -> None:
        """Draw the closing lines together."""
        closing = self._letterhead.closing
        if closing:
            if self.will_page_break((LINE_MM + 0.8) * len(closing) + 6):
                self.add_page()
            self.ln(6)
            self.draw_lines(closing)

    def _logo(self, logo: bytes, top: float) -> float:
        """Draw the logo, and return its height."""
        with Image.open(io.BytesIO(logo)) as opened:
            width, height = opened.size
            flat = Image.new("RGB", opened.size, "white")  # PDF/A-3B allows no transparency here
            flat.paste(opened, mask=opened.getchannel("A") if "A" in opened.mode else None)
        share = min(LOGO_MM[0] / width, LOGO_MM[1] / height)
        alt = self._page.site
        self.image(flat, MARGIN_MM, top, width * share, height * share, alt_text=alt)
        return height * share
