"""Render pages as HTML with the one Jinja environment, which escapes everything.

A report is one file that loads nothing from the network: style and script are inside, and its
content policy enforces it. The review pages load the same style from their server.
"""

from __future__ import annotations

import base64
import hashlib
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import cache, partial
from importlib.resources import files
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from jinja2 import (
    ChoiceLoader,
    DictLoader,
    Environment,
    PackageLoader,
    PrefixLoader,
    StrictUndefined,
)
from jinja2.exceptions import TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from reports import charts
from reports.content.components import Letterhead, StatementPage
from reports.i18n import (
    account,
    day_and_time,
    decimal,
    gettext,
    language,
    marked,
    ngettext,
    percent,
    short_day,
    whole_date,
    with_seconds,
)
from reports.live_charts import share_chart
from reports.vocabulary import act_title, describe_decision, file_code, reason

ASSETS = (
    "base.css",
    "report.css",
    "report.js",
    "review.css",
    "review.js",
    "order.css",
    "order.js",
    "desk.css",
    "desk.js",
    "specification.js",
    "dashboard.css",
    "dashboard.js",
    "progress.js",
    "learning.css",
    "confirm.js",
    "trace.css",
    "look.css",
    "statement.css",
    "customer.css",
    "rate.css",
    "help.css",
    "setup.css",
    "rate.js",
    "viewer.css",
    "viewer_pane.js",
    "viewer_gestures.js",
    "viewer_bar.js",
    "viewer_light.js",
    "viewer_needles.js",
    "viewer_measure.js",
    "viewer_overlays.js",
    "viewer_compare.js",
    "viewer_keys.js",
    "viewer.js",
    "viewer_dialog.js",
    "search.js",
    "archive.css",
    "archive.js",
    "similar.css",
    "map.css",
    "map.js",
    "scale.css",
    "scale.js",
    "viewing.js",
    "keys.js",
    "saving.js",
    "onward.js",
    "icon.svg",
)
"""Everything a page may ask its server for."""


def render(template: str, /, **facts: object) -> str:
    """Render a page from its facts.

    Args:
        template: Its name, such as "night".
        facts: What the template shows, by the names that it uses; a class of `reports.content` as
            `page`.
    """
    if page := facts.get("page"):
        shared = ("site", "reviewer", "generated")
        facts = {name: getattr(page, name, "") for name in shared} | facts
    return _environment().get_template(f"{template}.html").render(**facts) + "\n"


def asset(name: str) -> bytes:
    """Return a style sheet, script or icon by its name.

    Raises:
        KeyError: There is none of that name.
    """
    if name not in ASSETS:
        raise KeyError(name)
    return files("reports").joinpath("assets", name).read_bytes()


def as_json(value: object) -> Markup:
    """Return JSON that is safe between the tags of a page: nothing in it can end its element."""
    return htmlsafe_json_dumps(value, separators=(",", ":"))


@cache
def report_policy() -> str:
    """Return the content policy of a report: no address at all, the one script by its hash."""
    digest = base64.b64encode(hashlib.sha256(_text("report.js").encode()).digest()).decode()
    return (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


@cache
def assets_version() -> str:
    """Return the version of style and script, by which a browser may cache them forever."""
    return hashlib.sha256(b"".join(asset(name) for name in ASSETS)).hexdigest()[:12]


def _text(name: str) -> str:
    return asset(name).decode("utf-8")


def _inline(*names: str) -> Markup:
    return Markup("".join(map(_text, names)))  # noqa: S704 - our own files


def _jpeg_uri(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


def _format_local(instant: datetime, zone: str) -> str:
    """Format an instant in a time zone, such as "24 Nov 02:14"."""
    return day_and_time(instant.astimezone(ZoneInfo(zone)))


def _format_local_full(instant: datetime, zone: str) -> str:
    """Format an instant in a time zone with its year and seconds."""
    return with_seconds(instant.astimezone(ZoneInfo(zone)))


def _join_sentences(parts: Iterable[str | None]) -> str:
    """Join what there is to sentences that each end with a full stop."""
    return " ".join(f"{part.rstrip('.')}." for part in parts if part)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
        extensions=["jinja2.ext.i18n"],
    )
    environment.install_gettext_callables(gettext, ngettext, newstyle=True)  # type: ignore[attr-defined] # the extension's
    environment.globals |= {
        "version": assets_version(),
        "language": language,
        "account": account,
        "decimal": decimal,
        "percent": percent,
        "as_json": as_json,
        "charts": charts,
        "share_chart": share_chart,
        "marked": marked,
        "inline": _inline,
        "policy": report_policy(),
        "style": _inline("base.css", "report.css"),
        "script": _inline("report.js"),
        "uri": _jpeg_uri,
    }
    environment.filters |= FILTERS
    return environment


FILTERS: Mapping[str, Callable[..., Any]] = {
    "local": _format_local,
    "local_full": _format_local_full,
    "file_code": file_code,
    "decision": describe_decision,
    "reason": lambda word: reason(word)[0],
    "act_title": act_title,
    "translated": gettext,
    "whole_date": whole_date,
    "short_day": short_day,
    "path": partial(quote, safe=""),
    "sentences": _join_sentences,
}
"""Filters of every template; the customer's report imports macros that use some."""


# --- render a customer's report by the lab's own template, or by the built-in one -----------------
# A lab's template runs in a sandbox: it can read the report, and nothing else of the program. It
# may start with `{% extends "builtin/customer.html" %}` and replace single blocks.


CUSTOMER_TEMPLATE = "customer.html"
STYLES = ("base.css", "report.css", "statement.css", "customer.css")
PNG = b"\x89PNG"


class TemplateFaultError(Exception):
    """A lab's template cannot be rendered; the message names line and reason."""


def render_customer(
    page: StatementPage, letterhead: Letterhead, templates: Mapping[str, str]
) -> str:
    """Render a customer's report as a self-contained page.

    Args:
        page: The statement, without evidence and history.
        letterhead: Of the lab.
        templates: The lab's templates by name; {} for the built-in layout.

    Raises:
        TemplateFaultError: A template of the lab cannot be rendered.
    """
    package = PackageLoader("reports")
    environment = ImmutableSandboxedEnvironment(
        loader=ChoiceLoader([DictLoader(templates), PrefixLoader({"builtin": package}), package]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    environment.install_gettext_callables(gettext, ngettext, newstyle=True)  # type: ignore[attr-defined] # the extension's
    environment.globals["language"] = language
    environment.filters |= FILTERS
    facts = {
        "page": page,
        "site": page.site,
        "generated": page.generated,
        "letterhead": letterhead,
        "uri": image_uri,
        "policy": report_policy(),
        "style": Markup("".join(asset(name).decode() for name in STYLES)),  # noqa: S704 - our own files
        "script": Markup(asset("report.js").decode()),  # noqa: S704 - likewise
    }
    try:
        return environment.get_template(CUSTOMER_TEMPLATE).render(**facts) + "\n"
    except TemplateSyntaxError as fault:
        raise TemplateFaultError(f"{fault.name}, line {fault.lineno}: {fault.message}") from fault
    except Exception as fault:
        if not templates:
            raise
        line = _find_line(fault, templates)
        raise TemplateFaultError(f"{line}: {type(fault).__name__}: {fault}") from fault


def image_uri(picture: bytes) -> str:
    """Return a PNG or JPEG as data URI."""
    kind = "png" if picture.startswith(PNG) else "jpeg"
    return f"data:image/{kind};base64,{b64encode(picture).decode()}"


def _find_line(fault: Exception, templates: Mapping[str, str]) -> str:
    """Return the innermost place in a lab's template where a fault was raised."""
    place, step = CUSTOMER_TEMPLATE, fault.__traceback__
    while step is not None:
        name = step.tb_frame.f_code.co_filename
        if name == "<template>" or name in templates:
            place = f"{CUSTOMER_TEMPLATE}, line {step.tb_lineno}"
        step = step.tb_next
    return place
