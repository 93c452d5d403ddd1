"""Build the report that a customer gets of an order: its frozen statement in the lab's layout.

Everything comes from the frozen document and the archived pixels that it names, never from the
order as it is now. The lab's folder may hold a logo, an address, closing lines and a template.
"""

from __future__ import annotations

import hashlib
import sys
from datetime import datetime
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

import psutil
from pebble import ProcessExpired, ProcessPool

import reports
from agent.errors import SetupError, UsageError
from agent.files import pictures
from agent.objects import ObjectsUnavailableError
from agent.orders.facts.specimen_facts import Conformity
from agent.orders.lims.lost_conformity import RestoreLosses
from agent.orders.statements.statement_files import load_thumbnail
from agent.orders.statements.statement_page import build_statement_page
from reports import CUSTOMER_TEMPLATE, Letterhead, TemplateFaultError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from agent.archive import Archive
    from agent.store import FrozenStatement, Store
    from reports import StatementPage

PICTURE_PX = 900
QUALITY = 80
HTML, PDF = "html", "pdf"
LOGOS = ("logo.png", "logo.jpg")
ADDRESS, CLOSING = "address.txt", "closing.txt"
LARGEST_BYTES = 5_000_000
"""Of a file in the lab's folder."""
TIME_LIMIT_S, MEMORY_LIMIT_MB = 30.0, 1000
"""Of a lab's template, which renders in a process of its own."""


def find_statement(store: Store, order: str, number: int | None = None) -> FrozenStatement:
    """Return a statement of an order, the newest one by default.

    Args:
        store: Open.
        order: Number of the order.
        number: Of the statement.

    Raises:
        UsageError: The order has no such statement, or a restored back-up lost a worse one.
    """
    made = store.statements.all(order)
    if not made:
        if store.orders.order(order) is None:
            raise UsageError(f"Unknown order {order!r}. Run `agent orders list`.")
        raise UsageError(
            f"Order {order} has no statement yet, so there is nothing to report to a customer. The "
            "agent freezes one when the order changes. See what is missing: agent orders show "
            f"{order}."
        )
    wanted = [entry for entry in made if number in (None, entry.number)]
    if not wanted:
        numbers = ", ".join(str(entry.number) for entry in made)
        raise UsageError(f"Order {order} has no statement {number}; there are: {numbers}.")
    word = wanted[-1].conformity
    why, _loss = RestoreLosses.of(store).hold(store, order, word)
    if why and word == Conformity.CONFORMS:
        raise UsageError(f"Statement {wanted[-1].number} of order {order} is not reported: {why}.")
    return wanted[-1]


def render_customer_report(
    store: Store,
    archive: Archive,
    statement: FrozenStatement,
    *,
    language: reports.Language,
    folder: Path | None = None,
    time_limit_s: float = TIME_LIMIT_S,
) -> dict[str, bytes]:
    """Render the report of a statement as HTML and PDF.

    Args:
        store: Open.
        archive: Has the pictures.
        statement: Which.
        language: Of the report.
        folder: With the lab's logo, address, closing lines and template; None: the built-in layout.
        time_limit_s: Time limit of the lab's template, in seconds.

    Returns:
        "html" and "pdf" → content.

    Raises:
        SetupError: A file of the lab's folder cannot be used.
    """
    whole = store.statements.document(statement.sha256)
    letterhead, templates = load_layout(folder, language)
    with reports.speaking(language):
        page = build_statement_page(
            whole, statement.sha256, lambda field: load_picture(archive, field), is_brief=True
        )
        try:
            if templates:
                html = _render_limited(page, letterhead, templates, time_limit_s)
            else:
                html = reports.render_customer(page, letterhead, templates)
        except TemplateFaultError as fault:
            raise SetupError(
                f"[report] customer_templates: {folder} / {fault}. Correct it, or remove "
                f"{CUSTOMER_TEMPLATE} there to use the built-in layout."
            ) from fault
        document = store.statements.text(statement.sha256).encode()
        at = datetime.fromisoformat(whole["at"])
        pdf = reports.render_customer_pdf(page, letterhead, document, at=at)
    return {HTML: html.encode(), PDF: pdf}


def _render_limited(
    page: StatementPage,
    letterhead: Letterhead,
    templates: Mapping[str, str],
    time_limit_s: float,
) -> str:
    """Render the lab's template in a process with limits. Raises `TemplateFaultError`."""
    with ProcessPool(max_workers=1, context=get_context("spawn")) as pool:
        try:
            rendering = pool.schedule(
                _render_in_child,
                args=(page, letterhead, templates, reports.language()),
                timeout=time_limit_s,
            )
            return rendering.result()
        except TimeoutError as fault:
            raise TemplateFaultError(
                f"{CUSTOMER_TEMPLATE}: rendering it took longer than {time_limit_s:g} s"
            ) from fault
        except ProcessExpired as fault:
            raise TemplateFaultError(
                f"{CUSTOMER_TEMPLATE}: its process died (exit code {fault.exitcode}); a template "
                f"has {MEMORY_LIMIT_MB} MB of memory"
            ) from fault
        finally:
            pool.stop()  # type: ignore[no-untyped-call]  # pebble has no annotation here


def _render_in_child(
    page: StatementPage,
    letterhead: Letterhead,
    templates: Mapping[str, str],
    language: reports.Language,
) -> str:
    if sys.platform != "win32":  # Windows limits the time alone
        import resource  # noqa: PLC0415 - POSIX alone

        limit = psutil.Process().memory_info().vms + MEMORY_LIMIT_MB * 1_000_000
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    with reports.speaking(language):
        return reports.render_customer(page, letterhead, templates)


def load_layout(
    folder: Path | None, language: reports.Language
) -> tuple[Letterhead, dict[str, str]]:
    """Load the lab's letterhead and templates.

    A text in the report's language, such as `closing.de.txt`, goes before the one without.

    Raises:
        SetupError: The folder or a file in it cannot be read, or the logo is no picture.
    """
    if folder is None:
        return Letterhead(), {}
    if not folder.is_dir():
        raise SetupError(
            f"[report] customer_templates: {folder} is no folder. Create it, or leave the setting "
            'empty ("") for the built-in layout.'
        )
    logo = next((content for name in LOGOS if (content := _read(folder / name))), b"")
    if logo:
        _require_picture(folder, logo)
    letterhead = Letterhead(
        logo=logo,
        address=_read_lines(folder, ADDRESS, language),
        closing=_read_lines(folder, CLOSING, language),
    )
    templates = {path.name: _decode(path) for path in sorted(folder.glob("*.html"))}
    return letterhead, templates if CUSTOMER_TEMPLATE in templates else {}


def load_picture(archive: Archive, field: Mapping[str, Any]) -> tuple[bytes, int, int] | None:
    """Return JPEG, width and height of a field's crop with a scale bar.

    Only pixels that the statement names are shown: the archived crop if it has the hash of the
    statement, else the thumbnail, which has no scale bar; None where both are gone.

    Raises:
        ObjectsUnavailableError: It is only in the object storage, which does not answer.
    """
    try:
        encoded = archive.read(archive.crop_path(field["sha256"], field["page"]))
        named = field["files"].get("crop")
        if named and hashlib.sha256(encoded).hexdigest() != named:
            return load_thumbnail(archive, field)
        full = pictures.decode(encoded)
    except ObjectsUnavailableError:  # a customer would get a report without its pictures
        raise
    except (OSError, ValueError):
        return load_thumbnail(archive, field)
    shown = pictures.fit_within(full, PICTURE_PX)
    if field["um_per_px"]:
        scale = field["um_per_px"] * full.shape[1] / shown.shape[1]
        shown = pictures.draw_scale_bar(shown, scale)
    height, width = shown.shape[:2]
    return pictures.encode_jpeg(shown, quality=QUALITY), width, height


def _read_lines(folder: Path, name: str, language: reports.Language) -> tuple[str, ...]:
    stem, _, end = name.partition(".")
    for path in (folder / f"{stem}.{language}.{end}", folder / name):
        if text := _decode(path).strip():
            return tuple(line.rstrip() for line in text.splitlines())
    return ()


def _decode(path: Path) -> str:
    try:
        return _read(path).decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        raise SetupError(f"[report] customer_templates: {path} is not UTF-8 text.") from fault


def _read(path: Path) -> bytes:
    """Return a file's content, b"" where there is none."""
    try:
        if not path.is_file():
            return b""
        content = path.read_bytes()
    except OSError as fault:
        reason = fault.strerror or fault
        raise SetupError(f"[report] customer_templates: {path}: {reason}.") from fault
    if len(content) > LARGEST_BYTES:
        raise SetupError(
            f"[report] customer_templates: {path} is larger than {LARGEST_BYTES // 10**6} MB."
        )
    return content


def _require_picture(folder: Path, logo: bytes) -> None:
    try:
        pictures.decode(logo)
    except ValueError as fault:
        raise SetupError(
            f"[report] customer_templates: the logo in {folder} is no PNG or JPEG picture."
        ) from fault
