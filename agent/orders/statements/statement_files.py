"""Make the files of a statement: its document, a page and a PDF, named by its hash.

The files are made of the frozen document and archived thumbnails alone, so that they show the same
whenever they are made. They are written before the rows that name them; killed in between, the next
round writes them again. A file that is there with other bytes, such as one from after the back-up
that was restored, is kept aside: a customer may have it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

import reports
from agent.errors import SetupError
from agent.files import pictures
from agent.files.whole_file import write_whole
from agent.objects import ObjectsUnavailable
from agent.orders.statements.statement_page import build_statement_page
from agent.store import StatementFile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.archive import Archive
    from agent.store import FrozenStatement, Store

PDF, PAGE, JSON = "pdf", "html", "json"


class Signer(Protocol):
    """Signs PDFs; see `signing`."""

    @property
    def note(self) -> str:
        """Why nothing can be signed, "" where it can."""
        ...

    @property
    def subject(self) -> str:
        """Subject of the certificate."""
        ...

    def sign(self, pdf: bytes, *, site: str) -> bytes:
        """Return the signed PDF."""
        ...


@dataclass(frozen=True, slots=True)
class Unsigned:
    """No certificate: PDFs stay unsigned, and `note` says why, "" where none is wanted."""

    note: str = ""
    subject: str = ""

    def sign(self, pdf: bytes, *, site: str) -> bytes:  # noqa: ARG002 - a signer's
        """Return the PDF as it is."""
        return pdf


def write_files(
    store: Store,
    archive: Archive,
    statement: FrozenStatement,
    *,
    language: reports.Language,
    signer: Signer,
    now: datetime,
) -> bool:
    """Write document, page and PDF of a statement, and then the rows that name them.

    Args:
        store: Open.
        archive: Where thumbnails come from and the files go.
        statement: Which.
        language: Of page and PDF.
        signer: Signs the PDF.
        now: Aware UTC.

    Returns:
        False where another agent wrote them just before.

    Raises:
        ObjectsUnavailable: A thumbnail is only in the object storage, which does not answer.
        OSError: The data folder cannot be written.
    """
    contents = render_files(store, archive, statement, language=language)
    site = store.statements.document(statement.sha256)["site"]
    contents[PDF], signed_by, note = _sign(signer, contents[PDF], site=site)
    for kind, content in contents.items():
        archive.keep_statement_aside(statement.sha256, kind, content)
    write_whole({archive.statement_path(statement.sha256, k): v for k, v in contents.items()})
    rows = [
        StatementFile(
            kind=kind,
            language=language if kind != JSON else "",
            sha256=hashlib.sha256(content).hexdigest(),
            size_bytes=len(content),
            at=now,
            signed_by=signed_by if kind == PDF else "",
            note=note if kind == PDF else "",
        )
        for kind, content in contents.items()
    ]
    return store.statements.add_files(statement, rows)


def _sign(signer: Signer, pdf: bytes, *, site: str) -> tuple[bytes, str, str]:
    """Return the PDF, by whom it is signed, and why it is not, "" where it is."""
    if signer.note:
        return pdf, "", signer.note
    try:
        return signer.sign(pdf, site=site), signer.subject, ""
    except SetupError as fault:
        return pdf, "", str(fault)


def read_files(
    store: Store, archive: Archive, statement: FrozenStatement, *, language: reports.Language
) -> dict[str, bytes]:
    """Return kind → content of the files that were kept of a statement; new, unsigned ones else.

    A statement from before the order was first final has no files of its own. A file that was
    changed on the disk is not returned: `agent verify` names it.
    """
    kept = {}
    for file in store.statements.files(statement.sha256):
        path = archive.find_statement_file(statement.sha256, file.kind, file.sha256)
        try:
            content = archive.read(path)
        except OSError:
            continue
        if hashlib.sha256(content).hexdigest() == file.sha256:
            kept[file.kind] = content
    if {PDF, PAGE, JSON} <= kept.keys():
        return kept
    return render_files(store, archive, statement, language=language) | kept


def render_files(
    store: Store, archive: Archive, statement: FrozenStatement, *, language: reports.Language
) -> dict[str, bytes]:
    """Return kind → content of the files of a statement, the PDF unsigned."""
    text = store.statements.text(statement.sha256).encode()
    whole = store.statements.document(statement.sha256)
    with reports.speaking(language):
        page = build_statement_page(
            whole, statement.sha256, lambda one: load_thumbnail(archive, one)
        )
        pdf = reports.render_statement_pdf(page, text, at=datetime.fromisoformat(whole["at"]))
        return {JSON: text, PAGE: reports.render("statement", page=page).encode(), PDF: pdf}


def load_thumbnail(archive: Archive, field: Mapping[str, Any]) -> tuple[bytes, int, int] | None:
    """Return JPEG, width and height of the archived thumbnail of a field.

    Returns:
        None where it was pruned or holds other bytes than those that the statement names.

    Raises:
        ObjectsUnavailable: It is only in the object storage, which does not answer.
    """
    try:
        jpeg = archive.read(archive.thumbnail_path(field["sha256"], field["page"]))
    except ObjectsUnavailable:  # a statement that lacks its pictures must not be kept as whole
        raise
    except OSError:
        return None
    named = field["files"].get("thumb")
    if named and hashlib.sha256(jpeg).hexdigest() != named:
        return None
    height, width = pictures.decode(jpeg).shape[:2]
    return jpeg, width, height
