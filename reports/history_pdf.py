"""Draw acts of the audit log as PDF, newest first, as the page of the history lists them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports.content.components import Table
from reports.i18n import gettext as _
from reports.i18n import ngettext
from reports.pdf_page import PdfPage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from reports.content.archive import HistoryPage

LONGEST_FACTS, LONGEST_NAME = 600, 120
WIDTHS = (8.0, 17.0, 16.0, 17.0, 20.0, 38.0)


def render_history_pdf(page: HistoryPage, *, at: datetime, generated: str, sha256: str) -> bytes:
    """Draw acts.

    Args:
        page: Which acts, and what they were searched for.
        at: When they were read, aware; the PDF's own date.
        generated: The same time at the site.
        sha256: Hash of the newest act of the audit log then, which chains all acts before it.

    Returns:
        A whole PDF, the same bytes whenever it is drawn from the same content.
    """
    foot = _("Read {at}; hash of the newest act of the audit log above").format(at=generated)
    paper = PdfPage(page.site, _("History"), foot, code=sha256)
    paper.set_creation_date(at)
    paper.set_title(f"{page.site}, {_('History')}")
    paper.add_page()
    paper.draw_title(_("History"), " · ".join(_describe(page)))
    if page.problem:
        paper.draw_lines([page.problem])
    columns = (_("No."), _("Time"), _("Name"), _("Act"), _("Object"), _("Facts"))
    rows = tuple(
        (
            str(row.number),
            row.at,
            _clip(row.who, LONGEST_NAME),
            row.words or row.act,
            _clip(row.subject, LONGEST_NAME),
            _clip(row.facts, LONGEST_FACTS),
        )
        for row in page.rows
    )
    paper.draw_table(Table("", columns, rows), WIDTHS)
    if page.next_href:
        paper.draw_lines([_("Older acts are not in this file; the CSV has them.")])
    return bytes(paper.output())


def _clip(text: str, most: int) -> str:
    """Return a text that a row of one page has room for; the CSV has all of it."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _describe(page: HistoryPage) -> Iterator[str]:
    """Yield how many acts there are and what they were searched for."""
    n = len(page.rows)
    yield ngettext("{n} act", "{n} acts", n).format(n=n)
    asked = (
        (_("Acts"), dict(page.kinds)[page.kind] if page.kind else ""),
        (_("Name"), page.who),
        (_("Object"), page.subject),
        (_("Facts"), page.facts),
        (_("From"), page.first),
        (_("To"), page.last),
    )
    yield from (f"{name}: {value}" for name, value in asked if value)
