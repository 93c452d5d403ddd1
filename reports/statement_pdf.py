"""Draw a statement as PDF/A-3 with its document attached, so that a customer can check it alone.

PDF/A-3 (ISO 19005-3) allows an attachment of any kind. The attached bytes are those that were
hashed; the hash is printed, and it is in the audit log.
"""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape, quoteattr

from fpdf.enums import XPos, YPos

from reports.i18n import gettext as _
from reports.pdf_page import CREATOR, INK, MARGIN_MM, SANS, SMALL_PT, SOFT, PdfPage

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from reports.content.components import DocumentSection, StatementPicture
    from reports.content.statements import StatementPage

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
