"""Make the files of a statement, named by its hash: its document, a page, and a PDF that is signed.

The files are made of the frozen document and archived thumbnails alone, so that they show the same
whenever they are made. They are written before the rows that name them; killed in between, the next
round writes them again. A file that is there with other bytes, such as one from after the back-up
that was restored, is kept aside: a customer may have it.

The PDF is signed with the lab's certificate, as PAdES (ETSI EN 319 142), by the extra
`martensight[signatures]`. Without a usable certificate it stays unsigned and states that; nothing
waits for it.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from dataclasses import dataclass
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import reports
from agent.errors import SetupError
from agent.files import pictures
from agent.files.whole_file import write_whole
from agent.objects import ObjectsUnavailableError
from agent.orders.statements.statement_page import build_statement_page
from agent.store import StatementFile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.archive import Archive
    from agent.settings import StatementsSection
    from agent.store import FrozenStatement, Store


PDF, PAGE, JSON = "pdf", "html", "json"


class Signer(Protocol):
    """Signs PDFs with the certificate of a lab."""

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
        ObjectsUnavailableError: A thumbnail is only in the object storage, which does not answer.
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
            statement_id=statement.id,
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
        ObjectsUnavailableError: It is only in the object storage, which does not answer.
    """
    try:
        jpeg = archive.read(archive.thumbnail_path(field["sha256"], field["page"]))
    except ObjectsUnavailableError:  # a statement that lacks its pictures must not be kept as whole
        raise
    except OSError:
        return None
    named = field["files"].get("thumb")
    if named and hashlib.sha256(jpeg).hexdigest() != named:
        return None
    height, width = pictures.decode(jpeg).shape[:2]
    return jpeg, width, height


EXTRA = "martensight[signatures]"
FIELD = "Statement"


@dataclass(frozen=True, slots=True)
class CertificateState:
    """State of the lab's certificate.

    Attributes:
        subject: Whom it names.
        not_after: End of its validity, aware UTC, or None where it cannot be read.
        fault: Why it cannot sign, with what to do; "" where it can.
    """

    subject: str = ""
    not_after: datetime | None = None
    fault: str = ""


@dataclass(frozen=True, slots=True)
class CertificateSigner:
    """Signs with a certificate and its key.

    Attributes:
        subject: Whom the certificate names.
        signer: Of the library.
        note: Always "": it can sign.
    """

    subject: str
    signer: Any
    note: str = ""

    def sign(self, pdf: bytes, *, site: str) -> bytes:
        """Return the PDF with an invisible signature over all of it.

        The time in it is this PC's; it is no time stamp of a third party.

        Args:
            pdf: Whole.
            site: Where it was signed.

        Raises:
            SetupError: The library refuses.
        """
        from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter  # noqa: PLC0415
        from pyhanko.sign import signers  # noqa: PLC0415
        from pyhanko.sign.fields import SigSeedSubFilter  # noqa: PLC0415
        from pyhanko.sign.general import SigningError  # noqa: PLC0415

        metadata = signers.PdfSignatureMetadata(
            field_name=FIELD,
            md_algorithm="sha256",
            location=site,
            subfilter=SigSeedSubFilter.PADES,
        )
        signing = signers.PdfSigner(metadata, self.signer)
        try:
            signed = signing.sign_pdf(IncrementalPdfFileWriter(io.BytesIO(pdf)))
        except SigningError as error:
            raise SetupError(f"statements stay unsigned: {error}") from error
        return bytes(signed.getvalue())


def find_signer(settings: StatementsSection, *, now: datetime) -> Signer:
    """Return what signs, or `Unsigned` with the reason where a certificate cannot be used."""
    if not settings.certificate:
        return Unsigned()
    try:
        subject, signer = _load(settings, now)[1:]
    except SetupError as fault:
        return Unsigned(f"statements stay unsigned: {fault}")
    return CertificateSigner(subject, signer)


def read_certificate(settings: StatementsSection, *, now: datetime) -> CertificateState:
    """Return whom the certificate names, until when it holds, or why it cannot sign."""
    try:
        ends, subject, _ = _load(settings, now)
    except SetupError as fault:
        return CertificateState(fault=str(fault))
    return CertificateState(subject, ends)


def _load(settings: StatementsSection, now: datetime) -> tuple[datetime, str, Any]:
    """Return end of validity, subject and signer.

    Raises:
        SetupError: It cannot sign; what to do.
    """
    if find_spec("pyhanko") is None:
        raise SetupError(f"{EXTRA} is not installed: pip install '{EXTRA}'.")
    from cryptography.hazmat.primitives.serialization import pkcs12  # noqa: PLC0415

    # pyhanko asks for DSA too, which no certificate here uses
    warnings.filterwarnings("ignore", "DSA is deprecated")
    from pyhanko.sign import signers  # noqa: PLC0415

    where = f"[statements] certificate {settings.certificate}"
    content, passphrase = _read(settings)
    try:
        key_store = pkcs12.load_pkcs12(content, passphrase)
    except ValueError as error:
        raise SetupError(
            f"{where}: no PKCS #12 file, or another passphrase; check passphrase_file."
        ) from error
    if key_store.cert is None or key_store.key is None:
        raise SetupError(f"{where}: it holds no certificate with its private key.")
    certificate = key_store.cert.certificate
    starts, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now > ends:
        raise SetupError(f"{where}: it expired on {ends:%Y-%m-%d}; put a new one there.")
    if now < starts:
        raise SetupError(f"{where}: it is not valid before {starts:%Y-%m-%d}.")
    signer = signers.SimpleSigner.load_pkcs12_data(content, other_certs=[], passphrase=passphrase)
    return ends, certificate.subject.rfc4514_string(), signer


def _read(settings: StatementsSection) -> tuple[bytes, bytes | None]:
    """Return the certificate's bytes and its passphrase. Raises `SetupError`."""
    try:
        passphrase = (
            Path(settings.passphrase_file).read_text("utf-8").strip().encode()
            if settings.passphrase_file
            else None
        )
        return Path(settings.certificate).read_bytes(), passphrase
    except (OSError, UnicodeDecodeError) as error:
        where = getattr(error, "filename", None) or settings.passphrase_file
        reason = getattr(error, "strerror", None) or error
        raise SetupError(f"[statements] {where}: cannot be read ({reason}).") from error
