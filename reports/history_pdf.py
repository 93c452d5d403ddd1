"""Draw acts of the audit log as PDF, newest first, as the page of the history lists them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reports.content.components import Table
from reports.i18n import gettext as _
from reports.i18n import ngettext
from reports.pdf_page import PdfPage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

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
