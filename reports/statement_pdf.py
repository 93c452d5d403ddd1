"""Draw statements, customers' reports and the audit log as PDF.

PDF/A-3 (ISO 19005-3) allows an attachment of any kind. The attached bytes are those that were
hashed; the hash is printed, and it is in the audit log.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from fpdf.enums import XPos, YPos
from PIL import Image

from reports.content.components import (
    DocumentSection,
    Letterhead,
    StatementPage,
    StatementPicture,
    Table,
)
from reports.i18n import gettext as _
from reports.i18n import ngettext
from reports.pdf_page import (
    BODY_PT,
    CREATOR,
    INK,
    LINE_MM,
    MARGIN_MM,
    RULE,
    SANS,
    SMALL_PT,
    SOFT,
    PdfPage,
)

COMPLIANCE = "PDF/A-3B"
ATTACHMENT = "statement.json"
PICTURES_PER_ROW, PICTURE_GAP_MM, CAPTION_MM = 4, 4.0, 11.0


def render_statement_pdf(page: StatementPage, document: bytes, *, at: datetime) -> bytes:
    """Draw a statement.

    Args:
        page: What it shows.
        document: The canonical JSON, attached as it is.
        at: When it was stated, aware; the PDF's own date.

    Returns:
        A whole PDF/A-3B, the same bytes whenever it is drawn.
    """
    drawn = StatementPaper(page, at)
    drawn.draw()
    attach_document(drawn, document, at=at)
    return bytes(drawn.output())


def attach_document(paper: PdfPage, document: bytes, *, at: datetime) -> None:
    """Attach a statement's document to its PDF."""
    paper.embed_file(
        bytes=document,
        basename=ATTACHMENT,
        desc=_("The whole statement as canonical JSON; its SHA-256 is printed on the pages"),
        mime_type="application/json",
        associated_file_relationship="Source",
        creation_date=at,
        modification_date=at,
        compress=True,
        checksum=True,
    )


def _metadata(page: StatementPage, at: datetime) -> str:
    """Return the XMP packet that PDF/A asks for; its times are the statement's, never now.

    Source:
        ISO 16684-1 (XMP), ISO 19005-3, 6.6: it repeats the document's own dictionary.
    """
    when = at.astimezone(UTC).isoformat(timespec="seconds")
    title = escape(f"{page.title}, {page.number}")
    return f"""<x:xmpmeta xmlns:x="adobe:ns:meta/">
  <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"
    xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:pdf="http://ns.adobe.com/pdf/1.3/" xmlns:pdfaid="http://www.aiim.org/pdfa/ns/id/">
    <rdf:Description rdf:about="" xmp:CreatorTool={quoteattr(CREATOR)} xmp:CreateDate="{when}"
      xmp:ModifyDate="{when}" xmp:MetadataDate="{when}" pdf:Keywords={quoteattr(page.sha256)}>
      <pdfaid:part>3</pdfaid:part>
      <pdfaid:conformance>B</pdfaid:conformance>
      <dc:title><rdf:Alt><rdf:li xml:lang="x-default">{title}</rdf:li></rdf:Alt></dc:title>
      <dc:description><rdf:Alt>
        <rdf:li xml:lang="x-default">{escape(page.word)}</rdf:li>
      </rdf:Alt></dc:description>
      <dc:creator><rdf:Seq><rdf:li>{escape(page.site)}</rdf:li></rdf:Seq></dc:creator>
    </rdf:Description>
  </rdf:RDF>
</x:xmpmeta>"""


class StatementPaper(PdfPage):
    """A statement."""

    pictures_per_row = PICTURES_PER_ROW

    def __init__(self, page: StatementPage, at: datetime) -> None:
        super().__init__(
            page.site,
            f"{page.title} · {page.number}",
            page.footer,
            code=f"SHA-256 {page.sha256}",
            compliance=COMPLIANCE,
        )
        self._page = page
        self.set_title(f"{page.title}, {page.number}")
        self.set_subject(page.word)
        self.set_keywords(page.sha256)
        self.set_creation_date(at)
        self.set_xmp_metadata(_metadata(page, at))

    def draw(self) -> None:
        """Draw the statement."""
        self.add_page()
        page = self._page
        self.draw_top()
        self.draw_title(page.title, f"{page.number} · {page.generated}")
        self.draw_verdict(page.tone, page.word, (page.demand, *page.sentences))
        self.draw_facts(page.facts)
        for section in page.sections:
            self._section(section)
        self.draw_end()

    def draw_top(self) -> None:
        """Draw what is above the title: nothing."""

    def draw_end(self) -> None:
        """Draw what is below the last section: nothing."""

    def _section(self, section: DocumentSection) -> None:
        if not section.is_filled:
            return
        self.draw_heading(section.title)
        self.draw_lines(section.lines)
        self.draw_facts(section.facts)
        for table in section.tables:
            self.draw_table(table)
        self._pictures(section.pictures)

    def _pictures(self, pictures: Sequence[StatementPicture]) -> None:
        width = (self.epw - (self.pictures_per_row - 1) * PICTURE_GAP_MM) / self.pictures_per_row
        height = width * 3 / 4
        for start in range(0, len(pictures), self.pictures_per_row):
            if self.will_page_break(height + CAPTION_MM):
                self.add_page()
            top = self.get_y() + 1
            for n, shown in enumerate(pictures[start : start + self.pictures_per_row]):
                self._picture(shown, MARGIN_MM + n * (width + PICTURE_GAP_MM), top, width, height)
            self.set_xy(MARGIN_MM, top + height + CAPTION_MM)

    def _picture(
        self, shown: StatementPicture, x: float, y: float, width: float, height: float
    ) -> None:
        alt = f"{shown.title}. {shown.caption}"
        self.draw_picture(shown.jpeg, (shown.width, shown.height), (x, y, width, height), alt)
        self.set_xy(x, y + height + 0.8)
        self.set_font(SANS, "B", SMALL_PT)
        self.set_text_color(*(SOFT if shown.gone else INK))
        self.multi_cell(width, 3.3, shown.title, align="L", new_x=XPos.LEFT, new_y=YPos.NEXT)
        self.set_font(SANS, "", SMALL_PT - 0.5)
        self.set_text_color(*SOFT)
        self.multi_cell(width, 3.1, shown.caption, align="L", new_x=XPos.LEFT, new_y=YPos.NEXT)


# --- draw a customer's report as PDF/A-3 under the lab's letterhead, the statement attached -------


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


# --- draw acts of the audit log as PDF, newest first, as the page of the history lists them -------


LONGEST_FACTS, LONGEST_NAME = 600, 120
WIDTHS = (8.0, 17.0, 16.0, 17.0, 20.0, 38.0)


def render_history_pdf(
    page: Mapping[str, Any], *, site: str, at: datetime, generated: str, sha256: str
) -> bytes:
    """Draw acts.

    Args:
        page: What the template of the history shows.
        site: Name of the site.
        at: When they were read, aware; the PDF's own date.
        generated: The same time at the site.
        sha256: Hash of the newest act of the audit log then, which chains all acts before it.

    Returns:
        A whole PDF, the same bytes whenever it is drawn from the same content.
    """
    foot = _("Read {at}; hash of the newest act of the audit log above").format(at=generated)
    paper = PdfPage(site, _("History"), foot, code=sha256)
    paper.set_creation_date(at)
    paper.set_title(f"{site}, {_('History')}")
    paper.add_page()
    paper.draw_title(_("History"), " · ".join(_describe(page)))
    if page["problem"]:
        paper.draw_lines([page["problem"]])
    columns = (_("No."), _("Time"), _("Name"), _("Act"), _("Object"), _("Facts"))
    rows = tuple(
        (
            str(row["entry"].id),
            row["at"],
            _clip(row["entry"].actor, LONGEST_NAME),
            row["act"],
            _clip(row["subject"], LONGEST_NAME),
            _clip(row["facts"], LONGEST_FACTS),
        )
        for row in page["rows"]
    )
    paper.draw_table(Table("", columns, rows), WIDTHS)
    if page["next_href"]:
        paper.draw_lines([_("Older acts are not in this file; the CSV has them.")])
    return bytes(paper.output())


def _clip(text: str, most: int) -> str:
    """Return a text that a row of one page has room for; the CSV has all of it."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _describe(page: Mapping[str, Any]) -> Iterator[str]:
    """Yield how many acts there are and what they were searched for."""
    n, asked = len(page["rows"]), page["asked"]
    yield ngettext("{n} act", "{n} acts", n).format(n=n)
    searched = (
        (_("Acts"), _(page["kinds"][asked["kind"]]) if asked["kind"] else ""),
        (_("Name"), asked["who"]),
        (_("Object"), asked["subject"]),
        (_("Facts"), asked["facts"]),
        (_("From"), asked["first"]),
        (_("To"), asked["last"]),
    )
    yield from (f"{name}: {value}" for name, value in searched if value)
