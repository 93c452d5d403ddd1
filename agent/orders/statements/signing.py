"""Sign the PDF of a statement with the lab's certificate, as PAdES (ETSI EN 319 142).

The library is an extra of the package, `martensight[signatures]`. Without a usable certificate a
PDF stays unsigned and states that; nothing waits for it.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.errors import SetupError
from agent.orders.statements.statement_files import Unsigned

if TYPE_CHECKING:
    from datetime import datetime

    from agent.orders.statements.statement_files import Signer
    from agent.settings import StatementsSection

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
