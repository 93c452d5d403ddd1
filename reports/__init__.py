"""Martensight's pages: facts in, HTML out. No disk, database, clock or network."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from reports.i18n import (
    LANGUAGES,
    Language,
    addressing,
    day_and_time,
    decimal,
    gettext,
    integer,
    language,
    marked,
    month_and_year,
    ngettext,
    percent,
    short_day,
    speaking,
    statement_date,
    statement_time,
    whole_date,
    with_seconds,
)
from reports.messages import (
    Message,
    compose_ood_message,
    join_messages,
    read_message,
    shorten_ood_message,
)
from reports.vocabulary import (
    CORRECTION_WHYS,
    CRITERIA,
    MODEL_CORRECTION_WHYS,
    REASONS,
    STRANGE_KINDS,
    UNUSABLE_WHYS,
    act_name,
    act_title,
    criterion,
    describe_decision,
    describe_defect,
    doubt,
    file_code,
    reason,
    strange_kind,
    unusable_why,
)

if TYPE_CHECKING:
    from reports.night_pdf import render_night_pdf
    from reports.pages import *  # noqa: F403 - its `__all__` is exported here too
    from reports.statement_pdf import render_customer_pdf, render_history_pdf, render_statement_pdf

_LAZY = {
    "render_customer_pdf": "reports.statement_pdf",
    "render_history_pdf": "reports.statement_pdf",
    "render_night_pdf": "reports.night_pdf",
    "render_statement_pdf": "reports.statement_pdf",
}
"""Name → its module; loaded when first used, since the library of PDFs takes half a second."""


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    pages = import_module("reports.pages")  # a tenth of a second that most commands need not spend
    if name not in pages.__all__:
        raise AttributeError(f"module 'reports' has no attribute {name!r}")
    value = globals()[name] = getattr(pages, name)
    return value


__all__ = [
    "CORRECTION_WHYS",
    "CRITERIA",
    "LANGUAGES",
    "MODEL_CORRECTION_WHYS",
    "REASONS",
    "STRANGE_KINDS",
    "UNUSABLE_WHYS",
    "Language",
    "Message",
    "act_name",
    "act_title",
    "addressing",
    "compose_ood_message",
    "criterion",
    "day_and_time",
    "decimal",
    "describe_decision",
    "describe_defect",
    "doubt",
    "file_code",
    "gettext",
    "integer",
    "join_messages",
    "language",
    "marked",
    "month_and_year",
    "ngettext",
    "percent",
    "read_message",
    "reason",
    "render_customer_pdf",
    "render_history_pdf",
    "render_night_pdf",
    "render_statement_pdf",
    "short_day",
    "shorten_ood_message",
    "speaking",
    "statement_date",
    "statement_time",
    "strange_kind",
    "unusable_why",
    "whole_date",
    "with_seconds",
]
