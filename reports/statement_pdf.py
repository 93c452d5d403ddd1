"""Draw a statement as PDF/A-3 with its document attached, so that a customer can check it alone.

PDF/A-3 (ISO 19005-3) allows an attachment of any kind. The attached bytes are those that were
hashed; the hash is printed, and it is in the audit log.
"""

from __future__ import annotations

import io
from datetime import UTC
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape, quoteattr

from fontTools.ttLib import TTFont
from fpdf import FPDF, FontFace
from fpdf.enums import TableBordersLayout, TextEmphasis, VAlign, WrapMode, XPos, YPos

from reports.content.components import Tone
from reports.i18n import gettext as _
from reports.i18n import language

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from reports.content.components import Fact, Table
    from reports.content.statements import StatementPage, StatementPicture, StatementSection

COMPLIANCE = "PDF/A-3B"
ATTACHMENT = "statement.json"
CREATOR = "Martensight"
SANS, MONO = "sans", "mono"
FONTS = (
    (SANS, "", "DejaVuSans.ttf"),
    (SANS, "B", "DejaVuSans-Bold.ttf"),
    (MONO, "", "DejaVuSansMono.ttf"),
)
"""Fonts that come with matplotlib; a PDF/A embeds what it uses of them."""
MARGIN_MM, FOOT_MM = 18.0, 20.0
BODY_PT, SMALL_PT, HEAD_PT = 8.5, 7.0, 10.5
LINE_MM = 4.3
INK, SOFT, RULE = (27, 33, 39), (84, 94, 104), (205, 209, 207)
SUNK, PAPER = (241, 241, 238), (255, 255, 255)
TONES = {
    Tone.CALM: ((23, 97, 58), (230, 243, 234)),
    Tone.ATTENTION: ((125, 70, 0), (253, 240, 217)),
    Tone.PROBLEM: ((156, 23, 32), (251, 231, 230)),
}
"""Ink and ground of each tone, as the pages have them in daylight."""
LONGEST_WORD, LONGEST_CELL = 33, 36
"""Letters after which a column is not made wider; half a SHA-256 is 32."""
BOLD = 1.15
"""Width of a bold letter in plain ones."""
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
    drawn = _Paper(page, at)
    drawn.draw()
    drawn.embed_file(
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
    return bytes(drawn.output())


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


class _Paper(FPDF):
    """An A4 document with head and foot on every page."""

    def __init__(self, page: StatementPage, at: datetime) -> None:
        super().__init__(enforce_compliance=COMPLIANCE)
        self._page = page
        for family, style, name in FONTS:
            self.add_font(family, style, _font(name))
        self.set_lang(language())
        self.set_title(f"{page.title}, {page.number}")
        self.set_author(page.site)
        self.set_creator(CREATOR)
        self.set_subject(page.word)
        self.set_keywords(page.sha256)
        self.set_creation_date(at)
        self.set_xmp_metadata(_metadata(page, at))
        self.set_margins(MARGIN_MM, 24.0, MARGIN_MM)
        self.set_auto_page_break(auto=True, margin=FOOT_MM)
        self.set_line_width(0.2)

    def normalize_text(self, text: str) -> str:
        """Replace letters that the font lacks: PDF/A allows no missing glyph.

        The attached document has them as they were written.
        """
        known = _glyphs()
        return super().normalize_text("".join(c if ord(c) in known else "\ufffd" for c in text))

    # --- every page ---

    def header(self) -> None:
        """Draw name of the site and title at the top."""
        self.set_xy(MARGIN_MM, 11)
        self.set_font(SANS, "B", SMALL_PT + 1)
        self.set_text_color(*INK)
        self.cell(self.epw / 2, 5, self._page.site)
        self.set_font(SANS, "", SMALL_PT + 0.5)
        self.set_text_color(*SOFT)
        self.cell(self.epw / 2, 5, f"{self._page.title} · {self._page.number}", align="R")
        self.set_draw_color(*RULE)
        self.line(MARGIN_MM, 17.5, self.w - MARGIN_MM, 17.5)
        self.set_xy(MARGIN_MM, 23)

    def footer(self) -> None:
        """Draw hash and page number at the bottom."""
        self.set_y(-14)
        self.set_draw_color(*RULE)
        self.line(MARGIN_MM, self.h - 15.5, self.w - MARGIN_MM, self.h - 15.5)
        self.set_text_color(*SOFT)
        self.set_font(MONO, "", SMALL_PT - 1)
        self.cell(self.epw * 0.72, 4, f"SHA-256 {self._page.sha256}")
        self.set_font(SANS, "", SMALL_PT)
        number = _("page {n} of {of}").format(n=self.page_no(), of=self.str_alias_nb_pages)
        self.cell(self.epw * 0.28, 4, number, align="R", new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        self.cell(self.epw, 4, self._page.footer)

    # --- parts ---

    def draw(self) -> None:
        """Draw the statement."""
        self.add_page()
        page = self._page
        self.set_text_color(*INK)
        self.set_font(SANS, "B", 16)
        self.multi_cell(0, 8, page.title, new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        self.set_font(SANS, "", BODY_PT)
        self.set_text_color(*SOFT)
        text = f"{page.number} · {page.generated}"
        self.multi_cell(0, 5, text, new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        self.ln(2)
        self._verdict()
        self._facts(page.facts)
        for section in page.sections:
            self._section(section)

    def _verdict(self) -> None:
        page = self._page
        ink, ground = TONES[page.tone]
        self.set_fill_color(*ground)
        self.set_draw_color(*ink)
        self.set_text_color(*ink)
        top = self.get_y()
        self.set_font(SANS, "B", 13)
        height = self._height_of_verdict()
        self.rect(MARGIN_MM, top, self.epw, height, style="F")
        self.set_fill_color(*ink)
        self.rect(MARGIN_MM, top, 1.6, height, style="F")
        self.set_xy(MARGIN_MM + 5, top + 2.5)
        self.multi_cell(self.epw - 8, 6, page.word, new_x=XPos.LEFT, new_y=YPos.NEXT)
        self.set_font(SANS, "", BODY_PT)
        self.set_text_color(*INK)
        for line in (page.demand, *page.sentences):
            if line:
                width = self.epw - 8
                self.multi_cell(width, LINE_MM, line, align="L", new_x=XPos.LEFT, new_y=YPos.NEXT)
        self.set_xy(MARGIN_MM, top + height + 3)

    def _height_of_verdict(self) -> float:
        """Return how high the box is, measured without drawing."""
        lines = [line for line in (self._page.demand, *self._page.sentences) if line]
        self.set_font(SANS, "", BODY_PT)
        n = sum(self._count_lines(line, self.epw - 8) for line in lines)
        self.set_font(SANS, "B", 13)
        return 6.0 + n * LINE_MM + 5.0

    def _count_lines(self, text: str, width: float) -> int:
        drawn = self.multi_cell(width, LINE_MM, text, dry_run=True, output="LINES")
        return len(drawn) if isinstance(drawn, list) else 1

    def _section(self, section: StatementSection) -> None:
        if not section.is_filled:
            return
        if self.will_page_break(22):
            self.add_page()
        self.ln(3)
        self.set_font(SANS, "B", HEAD_PT)
        self.set_text_color(*INK)
        self.multi_cell(0, 6, section.title, new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        self.ln(0.8)
        self._lines(section.lines)
        self._facts(section.facts)
        for table in section.tables:
            self._table(table)
        self._pictures(section.pictures)

    def _lines(self, lines: Iterable[str]) -> None:
        self.set_font(SANS, "", BODY_PT)
        self.set_text_color(*INK)
        for line in lines:
            self.multi_cell(0, LINE_MM, line, align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT)
            self.ln(0.8)

    def _facts(self, facts: Sequence[Fact]) -> None:
        if not facts:
            return
        self.set_font(SANS, "", BODY_PT)
        self.set_text_color(*INK)
        self.set_draw_color(*RULE)
        self.set_fill_color(*PAPER)
        with self.table(
            first_row_as_headings=False,
            col_widths=(28, 72),
            borders_layout=TableBordersLayout.NONE,
            line_height=LINE_MM,
            padding=(0.35, 2, 0.35, 0),
            text_align="LEFT",
            v_align=VAlign.T,
            wrapmode=WrapMode.WORD,
        ) as table:
            for fact in facts:
                row = table.row()
                row.cell(fact.name, style=FontFace(color=SOFT))
                row.cell(fact.value)
        self.ln(1)

    def _table(self, shown: Table) -> None:
        if not shown.rows:
            return
        if shown.title:
            if self.will_page_break(18):
                self.add_page()
            self.ln(0.8)
            self.set_font(SANS, "B", BODY_PT)
            self.set_text_color(*SOFT)
            self.multi_cell(0, LINE_MM + 0.6, shown.title, new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        self.set_font(SANS, "", SMALL_PT)
        self.set_text_color(*INK)
        self.set_draw_color(*RULE)
        self.set_fill_color(*PAPER)
        with self.table(
            col_widths=_widths(shown),
            borders_layout=TableBordersLayout.HORIZONTAL_LINES,
            line_height=3.5,
            padding=(0.7, 1.2, 0.7, 0.6),
            text_align="LEFT",
            headings_style=FontFace(emphasis=TextEmphasis.B, color=SOFT, fill_color=SUNK),
            wrapmode=WrapMode.WORD,
            repeat_headings=1,
        ) as table:
            table.row(shown.columns)
            for cells in shown.rows:
                table.row(cells)
        self.ln(1.5)

    def _pictures(self, pictures: Sequence[StatementPicture]) -> None:
        width = (self.epw - (PICTURES_PER_ROW - 1) * PICTURE_GAP_MM) / PICTURES_PER_ROW
        height = width * 3 / 4
        for start in range(0, len(pictures), PICTURES_PER_ROW):
            if self.will_page_break(height + CAPTION_MM):
                self.add_page()
            top = self.get_y() + 1
            for n, shown in enumerate(pictures[start : start + PICTURES_PER_ROW]):
                self._picture(shown, MARGIN_MM + n * (width + PICTURE_GAP_MM), top, width, height)
            self.set_xy(MARGIN_MM, top + height + CAPTION_MM)

    def _picture(
        self, shown: StatementPicture, x: float, y: float, width: float, height: float
    ) -> None:
        self.set_fill_color(*SUNK)
        self.rect(x, y, width, height, style="F")
        share = min(width / shown.width, height / shown.height)
        w, h = shown.width * share, shown.height * share
        alt = f"{shown.title}. {shown.caption}"
        at = (x + (width - w) / 2, y + (height - h) / 2)
        self.image(io.BytesIO(shown.jpeg), at[0], at[1], w, h, alt_text=alt)
        self.set_xy(x, y + height + 0.8)
        self.set_font(SANS, "B", SMALL_PT)
        self.set_text_color(*(SOFT if shown.gone else INK))
        self.multi_cell(width, 3.3, shown.title, align="L", new_x=XPos.LEFT, new_y=YPos.NEXT)
        self.set_font(SANS, "", SMALL_PT - 0.5)
        self.set_text_color(*SOFT)
        self.multi_cell(width, 3.1, shown.caption, align="L", new_x=XPos.LEFT, new_y=YPos.NEXT)


def _font(name: str) -> str:
    return str(files("matplotlib").joinpath("mpl-data", "fonts", "ttf", name))


@cache
def _glyphs() -> frozenset[int]:
    """Return the code points that all fonts have, and line breaks."""
    maps = [set(TTFont(_font(name), lazy=True).getBestCmap()) for _, _, name in FONTS[:2]]
    return frozenset(set.intersection(*maps) | {ord("\n")})


def _widths(shown: Table) -> tuple[float, ...]:
    """Return widths of columns in proportion to their longest words and cells.

    Long words, such as hashes, are broken; a short word of a narrow column is not.
    """
    cells = [shown.columns, *shown.rows]
    widths = []
    for n in range(len(shown.columns)):
        bold = max((len(part) for part in shown.columns[n].split()), default=1) * BOLD
        word = max((len(part) for row in shown.rows for part in row[n].split()), default=1)
        cell = max(len(row[n]) for row in cells)
        least = max(min(word, LONGEST_WORD), bold) + 2.5
        widths.append(float(max(least, min(cell, LONGEST_CELL), 4)))
    return tuple(widths)
