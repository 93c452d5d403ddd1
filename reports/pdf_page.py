"""Draw A4 pages as PDF: head and foot, texts, tables and pictures.

Library: fpdf2. Fonts come with matplotlib, so nothing of the PC is needed.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import files

from fontTools.ttLib import TTFont
from fpdf import FPDF, FontFace
from fpdf.enums import TableBordersLayout, TextEmphasis, VAlign, WrapMode, XPos, YPos

from reports.content.components import Fact, Table, Tone
from reports.i18n import gettext as _
from reports.i18n import language

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


class PdfPage(FPDF):
    """An A4 document with head and foot on every page.

    Args:
        left, right: Text of the head.
        foot: Text of the foot.
        code: Line of the foot in a fixed-width font, "" for none.
        compliance: Such as "PDF/A-3B", None for a plain PDF.
    """

    def __init__(
        self, left: str, right: str, foot: str, *, code: str = "", compliance: str | None = None
    ) -> None:
        super().__init__(enforce_compliance=compliance)
        self._left, self._right, self._foot, self._code = left, right, foot, code
        for family, style, name in FONTS:
            self.add_font(family, style, _font(name))
        self.set_lang(language())
        self.set_author(left)
        self.set_creator(CREATOR)
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
        """Draw both texts of the head."""
        self.set_xy(MARGIN_MM, 11)
        self.set_font(SANS, "B", SMALL_PT + 1)
        self.set_text_color(*INK)
        self.cell(self.epw / 2, 5, self._left)
        self.set_font(SANS, "", SMALL_PT + 0.5)
        self.set_text_color(*SOFT)
        self.cell(self.epw / 2, 5, self._right, align="R")
        self.set_draw_color(*RULE)
        self.line(MARGIN_MM, 17.5, self.w - MARGIN_MM, 17.5)
        self.set_xy(MARGIN_MM, 23)

    def footer(self) -> None:
        """Draw the text of the foot and the page number."""
        self.set_y(-14)
        self.set_draw_color(*RULE)
        self.line(MARGIN_MM, self.h - 15.5, self.w - MARGIN_MM, self.h - 15.5)
        self.set_text_color(*SOFT)
        self.set_font(MONO, "", SMALL_PT - 1)
        self.cell(self.epw * 0.72, 4, self._code)
        self.set_font(SANS, "", SMALL_PT)
        number = _("page {n} of {of}").format(n=self.page_no(), of=self.str_alias_nb_pages)
        self.cell(self.epw * 0.28, 4, number, align="R", new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        self.cell(self.epw, 4, self._foot)

    # --- parts ---

    def draw_title(self, title: str, below: str) -> None:
        """Draw the title and a soft line below it."""
        self.set_text_color(*INK)
        self.set_font(SANS, "B", 16)
        self.multi_cell(0, 8, title, new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        self.set_font(SANS, "", BODY_PT)
        self.set_text_color(*SOFT)
        self.multi_cell(0, 5, below, new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        self.ln(2)

    def draw_heading(self, text: str, *, room_mm: float = 22) -> None:
        """Draw the heading of a section, on a new page where less room is left below it."""
        if self.will_page_break(room_mm):
            self.add_page()
        self.ln(3)
        self.set_font(SANS, "B", HEAD_PT)
        self.set_text_color(*INK)
        self.multi_cell(0, 6, text, new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        self.ln(0.8)

    def draw_verdict(self, tone: Tone, word: str, sentences: Sequence[str]) -> None:
        """Draw the box with the verdict."""
        ink, ground = TONES[tone]
        self.set_fill_color(*ground)
        self.set_draw_color(*ink)
        top = self.get_y()
        lines = [sentence for sentence in sentences if sentence]
        self.set_font(SANS, "", BODY_PT)
        n = sum(self._count_lines(line, self.epw - 8) for line in lines)
        self.set_font(SANS, "B", 13)
        height = 5.0 + 6.0 * self._count_lines(word, self.epw - 8) + n * LINE_MM
        self.rect(MARGIN_MM, top, self.epw, height, style="F")
        self.set_fill_color(*ink)
        self.rect(MARGIN_MM, top, 1.6, height, style="F")
        self.set_xy(MARGIN_MM + 5, top + 2.5)
        self.set_text_color(*ink)
        self.multi_cell(self.epw - 8, 6, word, align="L", new_x=XPos.LEFT, new_y=YPos.NEXT)
        self.set_font(SANS, "", BODY_PT)
        self.set_text_color(*INK)
        for line in lines:
            width = self.epw - 8
            self.multi_cell(width, LINE_MM, line, align="L", new_x=XPos.LEFT, new_y=YPos.NEXT)
        self.set_xy(MARGIN_MM, top + height + 3)

    def _count_lines(self, text: str, width: float) -> int:
        drawn = self.multi_cell(width, LINE_MM, text, dry_run=True, output="LINES")
        return len(drawn) if isinstance(drawn, list) else 1

    def draw_lines(self, lines: Iterable[str]) -> None:
        """Draw sentences."""
        self.set_font(SANS, "", BODY_PT)
        self.set_text_color(*INK)
        for line in lines:
            self.multi_cell(0, LINE_MM, line, align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT)
            self.ln(0.8)

    def draw_facts(self, facts: Sequence[Fact]) -> None:
        """Draw names and their values."""
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

    def draw_table(self, shown: Table, widths: tuple[float, ...] = ()) -> None:
        """Draw a table; nothing where it has no rows.

        Args:
            shown: The table.
            widths: Shares of the columns, () for those that fit their words.
        """
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
            col_widths=widths or _widths(shown),
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

    def clip(self, text: str, width: float, most: int = 1) -> list[str]:
        """Return a text as at most so many lines of a width (mm); what does not fit ends in "…"."""
        drawn = self.multi_cell(width, 3, text, align="L", dry_run=True, output="LINES")
        lines = [str(line) for line in drawn] if isinstance(drawn, list) else [text]
        if len(lines) <= most:
            return lines
        last = lines[most - 1].rstrip()
        while last and self.get_string_width(f"{last}…") > width - 2 * self.c_margin:
            last = last[:-1]
        return [*lines[: most - 1], f"{last.rstrip()}…"]

    def draw_picture(
        self, jpeg: bytes, size: tuple[int, int], box: tuple[float, float, float, float], alt: str
    ) -> None:
        """Draw a picture as large as it fits into a box.

        Args:
            jpeg: Its bytes; they are embedded as they are.
            size: Width and height in pixels.
            box: x, y, width, height in mm.
            alt: Alt text.
        """
        x, y, width, height = box
        self.set_fill_color(*SUNK)
        self.rect(x, y, width, height, style="F")
        share = min(width / size[0], height / size[1])
        w, h = size[0] * share, size[1] * share
        at = (x + (width - w) / 2, y + (height - h) / 2)
        self.image(io.BytesIO(jpeg), at[0], at[1], w, h, alt_text=alt)


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
