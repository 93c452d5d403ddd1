"""Send mail by SMTP, and notices of a night's report to the addresses of the lab.

A message may be sent at most once. So the caller records it right before its content is handed
over, and never sends it again where no answer came after that.
"""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from pathlib import Path

import structlog

from agent.errors import BadSettingsError

TIMEOUT_S = 60.0
UNSENDABLE = (
    "mail_password_file is not UTF-8 text, or mail_user or the password has letters beyond ASCII, "
    "which an SMTP login cannot send"
)
PORTS = {"starttls": 587, "tls": 465, "none": 25}


class MailRefusedError(Exception):
    """The message was not accepted; it may be sent again."""


class MailUncertainError(Exception):
    """The connection ended before the server answered; the message may have been accepted."""


@dataclass(frozen=True, slots=True)
class MailServer:
    """An SMTP server.

    Attributes:
        address: "name" or "name:port".
        security: "starttls", "tls" or "none".
        user: Name to log in, "" for no login.
        password_file: File with the password, None for no login.
    """

    address: str
    security: str
    user: str = ""
    password_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file of a message: its name, MIME type and content."""

    name: str
    mime_type: str
    content: bytes


def build_message(
    *,
    sender: str,
    recipients: Sequence[str],
    subject: str,
    text: str,
    message_id: str,
    at: datetime,
    attachments: Sequence[Attachment] = (),
) -> EmailMessage:
    """Build a message of plain text with attachments.

    Args:
        sender: Address.
        recipients: Addresses.
        subject: One line.
        text: Plain text.
        message_id: In angle brackets, the same for the same message.
        at: Date of the message, aware.
        attachments: In order.
    """
    message = EmailMessage()
    message["From"], message["To"] = sender, ", ".join(recipients)
    message["Subject"], message["Date"] = " ".join(subject.split()), at
    message["Message-ID"] = message_id
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(text)
    for attachment in attachments:
        main, _, sub = attachment.mime_type.partition("/")
        message.add_attachment(
            attachment.content,
            maintype=main,
            subtype=sub,
            filename=attachment.name,
            params={"charset": "utf-8"} if main == "text" else None,
        )
    return message


def send_mail(
    server: MailServer, message: EmailMessage, *, before: Callable[[], bool]
) -> dict[str, str]:
    """Send a message.

    Args:
        server: Where to.
        message: With sender and recipients.
        before: Called once the server is ready to take it; False: it is not sent.

    Returns:
        Recipient → why the server refused it, {} where all were accepted.

    Raises:
        MailRefusedError: The message was not accepted.
        MailUncertainError: No answer came after the message.
    """
    try:
        client = _connect(server)
    except UnicodeError:
        raise MailRefusedError(UNSENDABLE) from None  # the cause holds the password
    except (OSError, smtplib.SMTPException) as error:
        raise MailRefusedError(_describe(error)) from error
    try:
        if not before():
            return {}
        refused = client.send_message(message)
    except (
        smtplib.SMTPRecipientsRefused,
        smtplib.SMTPSenderRefused,
        smtplib.SMTPDataError,
        smtplib.SMTPNotSupportedError,
    ) as error:
        raise MailRefusedError(_describe(error)) from error
    except (OSError, smtplib.SMTPException) as error:
        raise MailUncertainError(_describe(error)) from error
    finally:
        _close(client)
    return {name: _answer(*reason) for name, reason in refused.items()}


def try_login(server: MailServer, *, timeout_s: float) -> None:
    """Connect and log in as for a message, and send none. Raises `MailRefusedError`."""
    try:
        _close(_connect(server, timeout_s=timeout_s))
    except UnicodeError:
        raise MailRefusedError(UNSENDABLE) from None  # the cause holds the password
    except (OSError, smtplib.SMTPException) as error:
        raise MailRefusedError(_describe(error)) from error


def _connect(server: MailServer, *, timeout_s: float = TIMEOUT_S) -> smtplib.SMTP:
    host, _, port = server.address.partition(":")
    number = int(port) if port else PORTS[server.security]
    context = ssl.create_default_context()
    client = (
        smtplib.SMTP_SSL(host, number, timeout=timeout_s, context=context)
        if server.security == "tls"
        else smtplib.SMTP(host, number, timeout=timeout_s)
    )
    try:
        client.ehlo()
        if server.security == "starttls":
            client.starttls(context=context)
            client.ehlo()
        if server.user and server.password_file:
            client.login(server.user, server.password_file.read_text("utf-8-sig").strip())
    except BaseException:
        client.close()
        raise
    return client


def _close(client: smtplib.SMTP) -> None:
    try:
        client.quit()
    except (OSError, smtplib.SMTPException):
        client.close()


def _describe(error: Exception) -> str:
    """Return what went wrong, without what was sent: a login holds the password."""
    if isinstance(error, smtplib.SMTPAuthenticationError):
        return f"the server refused the login ({error.smtp_code})"
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return "; ".join(f"{name}: {_answer(*why)}" for name, why in error.recipients.items())
    if isinstance(error, smtplib.SMTPResponseException):
        return _answer(error.smtp_code, error.smtp_error)
    return str(error) or type(error).__name__


def _answer(code: int, text: bytes | str) -> str:
    shown = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return f"{code} {' '.join(shown.split())}"


# --- send a notice of a night's report by the addresses that the lab has set; off by default ------
# A failing notice never stops the work.


log = structlog.get_logger()


def check(urls: Sequence[str]) -> None:
    """Refuse addresses that cannot be used, at the start and not in the night.

    Raises:
        BadSettingsError: The extra is not installed, or an address is of no kind that Apprise
            knows.
    """
    if not urls:
        return
    try:
        from apprise import Apprise  # noqa: PLC0415 - optional
    except ImportError as error:
        raise BadSettingsError(
            "notify.urls: needs the notify extra: pip install 'martensight[notify]'."
        ) from error
    for number, url in enumerate(urls, start=1):
        if not Apprise().add(url):  # the address itself may hold a password, so it is not shown
            raise BadSettingsError(
                f"notify.urls: address {number} is of no kind that Apprise knows."
            )


def send_notice(
    urls: Sequence[str], *, title: str, text: str, pictures: Sequence[Path] = ()
) -> bool:
    """Send one notice to every address and return whether all of them accepted it.

    Args:
        urls: Apprise addresses.
        title: Of the notice.
        text: Plain text.
        pictures: Files that go with it, where an address can carry any.
    """
    if not urls:
        return True
    from apprise import Apprise  # noqa: PLC0415

    sender = Apprise()
    for url in urls:
        sender.add(url)
    took = bool(
        sender.notify(title=title, body=text, attach=[str(path) for path in pictures] or None)
    )
    if took:
        log.info("notice.sent", addresses=len(urls))
    else:
        log.warning("notice.failed", addresses=len(urls))
    return took
