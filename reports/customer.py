"""Render a customer's report by the lab's own template, or by the built-in one.

A lab's template runs in a sandbox: it can read the report, and nothing else of the program. It may
start with `{% extends "builtin/customer.html" %}` and replace single blocks.
"""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING

from jinja2 import ChoiceLoader, DictLoader, PackageLoader, PrefixLoader, StrictUndefined
from jinja2.exceptions import TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

from reports.environment import FILTERS, asset, report_policy
from reports.i18n import gettext, language, ngettext

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reports.content.statements import Letterhead, StatementPage

CUSTOMER_TEMPLATE = "customer.html"
STYLES = ("base.css", "report.css", "statement.css", "customer.css")
PNG = b"\x89PNG"


class TemplateFault(Exception):  # noqa: N818 - a finding
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
        TemplateFault: A template of the lab cannot be rendered.
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
        raise TemplateFault(f"{fault.name}, line {fault.lineno}: {fault.message}") from fault
    except Exception as fault:
        if not templates:
            raise
        line = _find_line(fault, templates)
        raise TemplateFault(f"{line}: {type(fault).__name__}: {fault}") from fault


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
