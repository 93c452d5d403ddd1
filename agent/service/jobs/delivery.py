"""Deliver each nightly report by mail and to a share, at most once per night.

A mail is recorded as started when the server is ready to take it, and as sent when it has answered.
Where the agent was killed or the connection ended in between, nobody knows whether it arrived: it
is never sent again, and the status says so. A server that refuses, or that cannot be reached, is
asked again. Files on a share are written again until all of them are there; they have the same
bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path

import structlog

from agent.archive import Archive
from agent.delivery.mail import (
    Attachment,
    MailRefusedError,
    MailServer,
    MailUncertainError,
    build_message,
    send_mail,
)
from agent.files.whole_file import write_whole
from agent.nightly import NightFacts, build_digest, night_settings, write_report
from agent.nightly.facts.snapshot import from_text
from agent.settings import ReportSection, Settings
from agent.store import NewRecord, Record, Store
from agent.store.sites.site_folders import reports_folder
from reports import Message, join_messages, marked

log = structlog.get_logger()

DELIVERY_EVERY_S = 300.0
GIVEN_UP = timedelta(days=3)
"""A report of a night that ended earlier is no longer delivered."""
MAIL, SHARE = "report_mail", "report_share"
"""Kinds of records, by night."""
STARTED, SENT, REFUSED = "started", "sent", "refused"
MB = 1_000_000
_NOT_COPIED = marked("[report] share: night of {night}: {why}; it is tried again by itself.")
_MAIL_REFUSED = marked(
    "[report] mail_to: the mail of {night} was not accepted: {why}; it is tried again by itself."
)
_MAIL_UNCERTAIN = marked(
    "[report] mail_to: the mail of {night} may not have arrived: {why}. It is not sent again, "
    "so that no one gets it twice."
)
_SOME_REFUSED = marked("[report] mail_to: the server refused {names}. The others got the report.")


def get_mail_server(report: ReportSection) -> MailServer:
    """Return the mail server of the settings."""
    secret = report.mail_password_file
    return MailServer(
        report.mail_server,
        report.mail_security,
        report.mail_user,
        Path(secret) if secret else None,
    )


def deliver_reports(settings: Settings, store: Store, *, now: datetime) -> Message:
    """Deliver the reports that are due, oldest first; return what failed, empty for nothing.

    Args:
        settings: Of the lab.
        store: Open.
        now: Aware UTC.
    """
    if not settings.report.is_delivered:
        return Message("")
    faults: list[Message] = []
    for night in _list_due(store, now=now):
        delivery = _Delivery(settings, store, night, now)
        faults += [fault for fault in (delivery.copy(), delivery.mail()) if fault]
    return join_messages(faults)


def _list_due(store: Store, *, now: datetime) -> list[NightFacts]:
    """Return the frozen nights that ended in the last days and have a page, oldest first."""
    recent = [row.date for row in store.nightly_reports.list_all() if _is_recent(row.date, now)]
    rows = filter(None, (store.nightly_reports.find(night) for night in sorted(recent)))
    nights = [from_text(row.facts) for row in rows]
    return [facts for facts in nights if not facts.summary.planned and now - facts.until < GIVEN_UP]


def _is_recent(night: date, now: datetime) -> bool:
    return now.date() - night <= GIVEN_UP + timedelta(days=1)


class _Delivery:
    """The report of one night."""

    def __init__(self, settings: Settings, store: Store, facts: NightFacts, now: datetime) -> None:
        self._report, self._settings = settings.report, settings
        self._store, self._facts, self._now = store, facts, now
        self._night = facts.night.isoformat()
        self._folder = reports_folder(settings.store.folder, store)

    # --- share ---

    def copy(self) -> Message:
        """Copy the report to the share; return why it failed, else an empty message."""
        if not self._report.share:
            return Message("")
        row = self._store.nightly_reports.find(self._facts.night)
        revision = row.revision if row else 1
        last = self._store.records.latest(SHARE, self._night)
        if last and last.facts["revision"] >= revision:
            return Message("")
        share = Path(self._report.share)
        try:
            if not share.is_dir():
                raise FileNotFoundError(f"{share} cannot be seen")
            names = [self._copy(share, path) for path in self._list_files()]
            digest = "\n".join(build_digest(self._facts, str(share / f"{self._night}.html")))
            write_whole({share / f"{self._night}.txt": f"{digest}\n".encode()})
        except OSError as error:
            log.warning("report.not_copied", night=self._night, reason=str(error))
            return Message(_NOT_COPIED, {"night": self._night, "why": str(error)})
        facts = {"revision": revision}
        self._store.records.add(SHARE, self._night, by="agent", at=self._now, facts=facts)
        log.info("report.copied", night=self._night, files=len(names) + 1)
        return Message("")

    def _copy(self, share: Path, path: Path) -> str:
        target = share / path.relative_to(self._folder)
        write_whole({target: path.read_bytes()})
        return target.name

    def _list_files(self) -> list[Path]:
        """Return the files of the night, its first page last: it links to the others."""
        page, pdf = (self._folder / f"{self._night}.{kind}" for kind in ("html", "pdf"))
        if not (page.is_file() and pdf.is_file()):
            lab = night_settings(self._settings, self._store, now=self._now)
            archive = Archive.open(self._settings)
            write_report(
                self._store,
                archive,
                self._folder,
                self._facts.night,
                lab,
                now=self._now,
                with_pdf=True,
            )
        more = sorted((self._folder / self._night).glob("page-*.html"))
        data = [self._folder / f"{self._night}.{kind}" for kind in ("json", "csv")]
        return [*more, *(path for path in data if path.is_file()), pdf, page]

    # --- mail ---

    def mail(self) -> Message:
        """Mail the report, at most once; return why it failed or may have failed, else empty."""
        if not self._report.mail_to:
            return Message("")
        last = self._store.records.latest(MAIL, self._night)
        state = last.facts["state"] if last else ""
        if last and state == SENT:
            return _describe_refused(last.facts.get("refused", {}))
        if state == STARTED:
            return Message(
                _MAIL_UNCERTAIN,
                {"night": self._night, "why": Message(marked("its sending was interrupted"))},
            )
        try:
            return _describe_refused(self._send(last))
        except (MailRefusedError, OSError) as error:
            return self._report_refused(str(error))
        except MailUncertainError as error:
            log.warning("report.mail_uncertain", night=self._night, reason=str(error))
            return Message(_MAIL_UNCERTAIN, {"night": self._night, "why": str(error)})

    def _send(self, last: Record | None) -> dict[str, str]:
        message = build_message(
            sender=self._report.mail_from,
            recipients=self._report.mail_to,
            subject=f"{self._facts.site} {self._night}: {self._facts.summary.headline}",
            text=self._format_text(attachments := list(self._list_attachments())),
            message_id=self._build_message_id(),
            at=self._now,
            attachments=attachments,
        )
        server = get_mail_server(self._report)
        newest = [last.id if last else 0]

        def claim() -> bool:
            """Record that the mail starts; False where another agent did so before."""
            numbers = self._record(STARTED, follows=newest[0])
            newest[:] = numbers or newest
            return bool(numbers)

        try:
            refused = send_mail(server, message, before=claim)
        except MailRefusedError:
            if newest[0] != (last.id if last else 0):
                self._record(REFUSED, follows=newest[0])
            raise
        if newest[0] != (last.id if last else 0):
            self._record(SENT, follows=newest[0], refused=refused)
            log.info("report.mailed", night=self._night, recipients=len(self._report.mail_to))
        return refused

    def _record(
        self, state: str, *, follows: int, refused: Mapping[str, str] | None = None
    ) -> list[int]:
        """Record a state of the mail; its number, [] where another agent was faster."""
        facts = {"state": state} | ({"refused": dict(refused)} if refused else {})
        record = NewRecord(MAIL, self._night, facts)
        return self._store.records.add_together([record], by="agent", at=self._now, follows=follows)

    def _report_refused(self, reason: str) -> Message:
        log.warning("report.not_mailed", night=self._night, reason=reason)
        return Message(_MAIL_REFUSED, {"night": self._night, "why": reason})

    def _list_attachments(self) -> Iterator[Attachment]:
        """Yield PDF and page, as far as they fit."""
        room = self._report.mail_most_mb * MB
        *_more, pdf, page = self._list_files()
        for path, mime_type in ((pdf, "application/pdf"), (page, "text/html")):
            content = path.read_bytes()
            if len(content) <= room:
                room -= len(content)
                yield Attachment(path.name, mime_type, content)

    def _format_text(self, attachments: Sequence[Attachment]) -> str:
        address = self._facts.review_url
        path = self._folder / f"{self._night}.html"
        place = f"{address}/reports/{self._night}.html" if address else str(path)
        lines = list(build_digest(self._facts, place))
        if len(attachments) < 2:  # noqa: PLR2004 - PDF and page
            lines.append("")
            lines.append(self._name_left_out({a.name for a in attachments}))
        return "\n".join(lines) + "\n"

    def _name_left_out(self, attached: set[str]) -> str:
        left = [
            name for kind in ("pdf", "html") if (name := f"{self._night}.{kind}") not in attached
        ]
        return f"Not attached, larger than {self._report.mail_most_mb:g} MB: {', '.join(left)}"

    def _build_message_id(self) -> str:
        name = f"{self._store.audit_log.get_first_hash()}\n{self._facts.site}\n{self._night}"
        domain = self._report.mail_from.rpartition("@")[2]
        return f"<{hashlib.sha256(name.encode()).hexdigest()[:32]}@{domain}>"


def _describe_refused(refused: Mapping[str, str]) -> Message:
    if not refused:
        return Message("")
    names = "; ".join(f"{name}: {why}" for name, why in refused.items())
    return Message(_SOME_REFUSED, {"names": names})
