"""Check the addresses of the settings, the page's certificate and the mail server."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from agent.cli.finding import DoctorResult

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.settings import NamedAddress, Settings

PATIENCE_S = 5.0
"""Time limit for a server of the lab to answer."""


def examine_network(settings: Settings) -> Iterator[DoctorResult]:
    """Try each address that is in use; nothing is sent but the login to the mail server."""
    from agent.settings import iter_addresses

    for address in iter_addresses(settings):
        if address.is_served:
            yield from _certificate(settings)
        elif address.port and not address.host.startswith("/"):
            finding = _reach(address)
            yield finding
            if address.key == "mail_server" and finding.level == "right":
                yield from _mail(settings)


def _reach(address: NamedAddress) -> DoctorResult:
    where = f"{address.host}:{address.port}"
    try:
        with socket.create_connection((address.host, address.port), timeout=PATIENCE_S):
            return DoctorResult(address.label, "right", f"{where} answers.")
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        sentence = f"{where} cannot be reached ({why}). Check the address and the firewall."
        return DoctorResult(address.label, "doubtful", sentence)


def _mail(settings: Settings) -> Iterator[DoctorResult]:
    from agent.delivery.mail import MailRefused, try_login
    from agent.service.jobs.delivery import get_mail_server

    try:
        try_login(get_mail_server(settings.report), timeout_s=PATIENCE_S)
    except MailRefused as fault:
        sentence = f"{settings.report.mail_server}: no report can be mailed ({fault})."
        yield DoctorResult("[report] mail_server", "wrong", sentence)


def _certificate(settings: Settings) -> Iterator[DoctorResult]:
    """Check that key and certificate of the page belong together and are valid today."""
    web = settings.web
    if not web.certificate:
        return
    try:
        _shake_hands(Path(web.certificate), Path(web.key or web.certificate))
    except (ssl.SSLError, OSError, ValueError) as error:
        why = getattr(error, "verify_message", "") or getattr(error, "reason", "") or str(error)
        sentence = f"{web.certificate}: no browser accepts it ({why}). Get a new certificate."
        yield DoctorResult("[web] certificate", "wrong", sentence)
    else:
        yield DoctorResult("[web] certificate", "right", f"{web.certificate} is valid.")


def _shake_hands(certificate: Path, key: Path) -> None:
    """Serve the certificate to a client that trusts it. Raises `ssl.SSLError` or `OSError`."""
    server, client = (
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER),
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
    )
    server.load_cert_chain(certificate, key, password="")
    client.load_verify_locations(certificate)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    both = (
        client.wrap_bio(to_client, to_server),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    done: set[int] = set()
    while len(done) < len(both):
        for number, side in enumerate(both):
            try:
                side.do_handshake()
                done.add(number)
            except ssl.SSLWantReadError:
                continue
