"""RFC 3161 time stamps of the end of the audit log: proof by a third party that it was there.

Each is a pair of files next to each other: the anchor as JSON, and the authority's answer (DER)
over exactly these bytes, so that `openssl ts -verify` needs nothing of ours.
"""

from __future__ import annotations

import hashlib
import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING

from agent.errors import SetupError
from agent.evidence.anchors import Anchor
from agent.files.whole_file import write_whole

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from cryptography.x509 import Certificate
    from rfc3161_client import TimeStampResponse

EXTRA = "martensight[timestamps]"
FOLDER = "timestamps"
STAMPED = "trail.timestamped"
"""Act of the audit log: its end was stamped; the subject is the file of the answer."""
ANSWER_S = 20.0
"""An authority that takes longer is tried again at the next round."""
LARGEST_BYTES = 1_000_000
FAR = timedelta(hours=1)
"""Clocks of PC and authority that differ by more are a note."""
QUERY = "application/timestamp-query"


class TimestampError(SetupError):
    """No usable time stamp could be had; it is tried again."""


@dataclass(frozen=True, slots=True)
class Timestamped:
    """An end of the audit log with its time stamp.

    Attributes:
        anchor: The end, whose time is the authority's.
        file: The authority's answer.
        fault: A sentence where the answer does not prove it, else "".
        note: A sentence where something could not be checked, else "".
    """

    anchor: Anchor
    file: Path
    fault: str = ""
    note: str = ""


def request_timestamp(url: str, anchor: Anchor, folder: Path, certificates: Path | None) -> Path:
    """Request a time stamp of an anchor, store both files, and return that of the answer.

    Args:
        url: Of the time-stamp authority, http or https.
        anchor: The end of the audit log.
        folder: Where the pair is kept.
        certificates: Of the authority (PEM); None: the signature is not checked.

    Raises:
        TimestampError: The authority gives none, or one that is not of this anchor.
    """
    require_library()
    from rfc3161_client import HashAlgorithm, TimestampRequestBuilder  # noqa: PLC0415 - an extra

    message = json.dumps(anchor.to_json(), ensure_ascii=False, sort_keys=True).encode()
    query = TimestampRequestBuilder().data(message).hash_algorithm(HashAlgorithm.SHA256).build()
    answer = _send(url, query.as_bytes())
    name = f"trail-{anchor.number:09d}-{anchor.sha256[:16]}"
    kept = folder / f"{name}.tsr"
    response = _decode(answer)
    fault = _find_fault(response, message, certificates) if response else "it cannot be read"
    if not fault and response and response.tst_info.nonce != query.nonce:
        fault = "it answers another request"
    if fault:
        raise TimestampError(f"{url}: the time stamp is not used: {fault}.")
    try:
        write_whole({folder / f"{name}.json": message, kept: answer})
    except OSError as error:
        raise TimestampError(f"{folder}: cannot be written ({error.strerror or error}).") from error
    return kept


def find_setup_fault(url: str, certificates: Path | None) -> str:
    """Return why no time stamp can be had or checked with these settings, "" where all is well."""
    try:
        _require_address(url)
        require_library()
    except TimestampError as error:
        return str(error)
    if certificates is None:
        return ""
    try:
        is_empty = not any(_load(certificates))
    except OSError as error:
        reason = error.strerror or str(error)
        return f"[trail] timestamp_certificates: {certificates} cannot be read ({reason})."
    except ValueError:
        is_empty = True
    return f"[trail] timestamp_certificates: {certificates} is no PEM file." if is_empty else ""


def require_library() -> None:
    """Raise `TimestampError` where the extra is not installed."""
    if find_spec("rfc3161_client") is None:
        raise TimestampError(f"{EXTRA} is not installed: pip install '{EXTRA}'.")


def _require_address(url: str) -> None:
    if not url.startswith(("http://", "https://")):
        raise TimestampError(f"[trail] timestamp_url: {url} is no http or https address.")


def _send(url: str, query: bytes) -> bytes:
    _require_address(url)
    request = urllib.request.Request(url, query, {"Content-Type": QUERY})  # noqa: S310 - checked
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_S) as answer:  # noqa: S310 - checked
            content: bytes = answer.read(LARGEST_BYTES)
    except (OSError, ValueError, urllib.error.URLError) as error:
        raise TimestampError(f"{url}: gives no time stamp ({error}).") from error
    return content


def iter_timestamps(folder: Path, certificates: Path | None) -> Iterator[Timestamped]:
    """Yield every anchor that was time-stamped, each compared with the authority's answer.

    Args:
        folder: Where the pairs are kept.
        certificates: Of the authority (PEM), None: the signature is not checked.
    """
    for file in sorted(folder.glob("trail-*.json")):
        stamped = _read(file, certificates)
        if stamped is not None:
            yield stamped


def find_newest_at(folder: Path) -> datetime | None:
    """Return when the newest anchor was written that has a time stamp, aware UTC, or None."""
    for file in sorted(folder.glob("trail-*.tsr"), reverse=True):
        try:
            document = json.loads(file.with_suffix(".json").read_bytes())
        except (OSError, ValueError, RecursionError):
            continue
        if anchor := Anchor.from_json(document, place=file.name):
            return anchor.at
    return None


def hash_file(file: Path) -> str:
    """Return the SHA-256 of a small file."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _read(file: Path, certificates: Path | None) -> Timestamped | None:
    token = file.with_suffix(".tsr")
    try:
        message = file.read_bytes()
        answer = token.read_bytes() if token.exists() else b""
        anchor = Anchor.from_json(json.loads(message), place=token.name)
    except (OSError, ValueError, RecursionError):
        anchor, answer, message = None, b"", b""
    if anchor is None:
        nothing = Anchor(0, 0, "", datetime.min)  # noqa: DTZ901 - number 0 is compared with nothing
        return Timestamped(nothing, token, fault=f"{file.name}: cannot be read: it was changed")
    if not answer:
        return Timestamped(anchor, token, note=f"{token.name}: the time stamp is not there")
    if find_spec("rfc3161_client") is None:
        note = f"{token.name}: not checked, as {EXTRA} is not installed"
        return Timestamped(anchor, token, note=note)
    response = _decode(answer)
    fault = _find_fault(response, message, certificates) if response else "it cannot be read"
    if fault or response is None:
        return Timestamped(anchor, token, fault=f"{token.name}: proves nothing: {fault}")
    at = response.tst_info.gen_time
    return Timestamped(_at(anchor, at), token, note=_note(anchor, at, token, certificates))


def _at(anchor: Anchor, at: datetime) -> Anchor:
    proved = Anchor.from_json(anchor.to_json(), place=anchor.place, at=at)
    return proved or anchor


def _note(anchor: Anchor, at: datetime, token: Path, certificates: Path | None) -> str:
    if certificates is None:
        return (
            f"{token.name}: who signed it was not checked; set [trail] timestamp_certificates to "
            "the authority's root certificate"
        )
    if abs(at - anchor.at) > FAR:
        return (
            f"{token.name}: the authority's time is {at:%Y-%m-%d %H:%M} UTC, this PC's was "
            f"{anchor.at:%Y-%m-%d %H:%M} UTC"
        )
    return ""


def _decode(answer: bytes) -> TimeStampResponse | None:
    from rfc3161_client import decode_timestamp_response  # noqa: PLC0415 - an extra

    try:
        response = decode_timestamp_response(answer)
        _ = response.tst_info  # a refusal has none
    except ValueError:
        return None
    return response


def _find_fault(response: TimeStampResponse, message: bytes, certificates: Path | None) -> str:
    """Return why an answer does not prove a message, "" where it does."""
    from rfc3161_client import VerificationError, VerifierBuilder  # noqa: PLC0415 - an extra

    if response.tst_info.message_imprint.message != hashlib.sha256(message).digest():
        return "it is of something else than the end of the trail"
    if certificates is None:
        return ""
    try:
        roots, others = _load(certificates)
        builder = VerifierBuilder(roots=list(roots), intermediates=list(others))
        builder.build().verify_message(response, message)
    except (VerificationError, ValueError) as error:
        return f"its signature is not of {certificates.name} ({error})"
    except OSError as error:
        return f"{certificates} cannot be read ({error.strerror or error})"
    return ""


def _load(file: Path) -> tuple[Sequence[Certificate], Sequence[Certificate]]:
    """Return the root certificates of a PEM file, and the others. Raises `ValueError`."""
    from cryptography.x509 import load_pem_x509_certificates  # noqa: PLC0415 - an extra brings it

    every = load_pem_x509_certificates(file.read_bytes())
    roots = [certificate for certificate in every if certificate.issuer == certificate.subject]
    return (
        (roots, [certificate for certificate in every if certificate not in roots])
        if roots
        else (every, [])
    )
