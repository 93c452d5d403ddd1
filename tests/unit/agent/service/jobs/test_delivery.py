"""A night's report is mailed at most once and copied to a share; what failed is reported."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import timedelta

import pytest
from labs.lab import DAY, Lab, minutes
from servers.smtp import Post, serve
from structlog.testing import capture_logs

from agent.delivery import mail
from agent.errors import BadSettingsError
from agent.service.jobs.delivery import deliver_reports
from agent.service.schedule import ReportScheduler
from agent.settings import read
from agent.store import NewRecord

MORNING = DAY.replace(hour=23)
SECRET = "ein-geheimes-wort"  # noqa: S105 - nobody's


def deliver(settings, lab, *, at):
    """Deliver what is due; what failed, in English."""
    return deliver_reports(settings, lab.store, now=at).in_english()


@pytest.fixture
def lab(tmp_path):
    lab = Lab(tmp_path / "data")
    lab.compares_places = False
    lab.store.agents.record_start(at=DAY)
    for n in range(3):
        lab.take("G8", at=minutes(n), reasons=("uncertain",), order="4711", specimen="1")
    yield lab
    lab.store.close()


@contextmanager
def post_office(**given):
    yield from serve(Post(**given))


def settings_of(lab, report, name="agent.toml"):
    file = lab.folder.parent / name
    file.write_text(f'[store]\nfolder = "data"\n[report]\n{report}\n', encoding="utf-8")
    return read(file)


def mailing(lab, port, more=""):
    return settings_of(
        lab,
        'mail_to = ["lead@lab.example", "shift@lab.example"]\nmail_from = "agent@lab.example"\n'
        f'mail_server = "127.0.0.1:{port}"\nmail_security = "none"\n{more}',
    )


class Silent:
    def say(self, _subject, _sentence):
        return False


def report(lab, settings, at=MORNING):
    nights = ReportScheduler(settings, lab.store, lab.archive, now=lambda: at, problems=Silent())
    nights.catch_up()


def test_a_night_is_mailed_once_with_five_lines_its_page_and_its_pdf(lab):
    with post_office() as post:
        settings = mailing(lab, post.port)
        report(lab, settings)

        faults = [deliver(settings, lab, at=MORNING) for _ in range(3)]

    (message,) = post.messages
    text = message.get_body().get_content().strip().splitlines()
    names = [part.get_filename() for part in message.iter_attachments()]
    pdf, page = (part.get_content() for part in message.iter_attachments())
    assert faults == ["", "", ""]
    assert message["To"] == "lead@lab.example, shift@lab.example"
    assert "3 micrographs to review" in message["Subject"]
    assert len(text) == 5
    assert text[0] == "Plant 1, night of Tuesday 24 November 2026"
    assert text[3] == "3 micrographs, 3 to review, 0 files failed"
    assert names == ["2026-11-24.pdf", "2026-11-24.html"]
    assert pdf.startswith(b"%PDF-")
    assert page == (lab.reports / "2026-11-24.html").read_text("utf-8")


def test_what_a_server_refuses_is_reported_and_sent_when_it_accepts(lab):
    with post_office(refuses={"CONTENT": "451 try later"}) as post:
        settings = mailing(lab, post.port)
        report(lab, settings)
        with capture_logs() as logged:
            refused = deliver(settings, lab, at=MORNING)
        post.refuses.clear()
        accepted = deliver(settings, lab, at=MORNING)
        deliver(settings, lab, at=MORNING)

    assert "the mail of 2026-11-24 was not accepted: 451 try later" in refused
    assert [line["event"] for line in logged] == ["report.not_mailed"]
    assert accepted == ""
    assert len(post.messages) == 2  # the refused one, and the one that was taken
    assert post.messages[0]["Message-ID"] == post.messages[1]["Message-ID"]


def test_a_server_that_is_away_is_asked_again_and_leaves_no_record(lab):
    settings = mailing(lab, 9)
    report(lab, settings)

    away = deliver(settings, lab, at=MORNING)

    assert "was not accepted" in away
    assert "tried again" in away
    assert lab.store.records.all("report_mail") == []


@pytest.mark.parametrize("killed", [True, False])
def test_a_mail_whose_end_is_not_known_is_never_sent_again(lab, killed):
    with post_office(hangs_up=not killed) as post:
        settings = mailing(lab, post.port)
        report(lab, settings)
        if killed:  # right after it began, as the record of a killed agent has it
            begun = NewRecord("report_mail", "2026-11-24", {"state": "started"})
            lab.store.records.add_together([begun], by="agent", at=MORNING, follows=0)
        else:
            deliver(settings, lab, at=MORNING)
        post.hangs_up = False
        fault = deliver(settings, lab, at=MORNING)

    assert "may not have arrived" in fault
    assert "not sent again" in fault
    assert len(post.messages) == (0 if killed else 1)


def test_a_refused_recipient_is_named_and_the_others_get_the_report_once(lab):
    with post_office(refuses={"rcpt TO:<shift": "550 unknown"}) as post:
        settings = mailing(lab, post.port)
        report(lab, settings)

        faults = [deliver(settings, lab, at=MORNING) for _ in range(2)]

    assert len(post.messages) == 1
    assert all("shift@lab.example: 550 unknown" in fault for fault in faults)


def test_a_refused_login_names_no_password_in_status_or_log(lab):
    (lab.folder.parent / "word").write_text(f"{SECRET}\n", encoding="utf-8")
    more = 'mail_user = "agent"\nmail_password_file = "word"'
    with post_office(refuses={"AUTH": "535 no"}) as post:
        settings = mailing(lab, post.port, more)
        report(lab, settings)
        with capture_logs() as logged:
            fault = deliver(settings, lab, at=MORNING)
        post.refuses.clear()
        accepted = deliver(settings, lab, at=MORNING)

    assert "refused the login (535)" in fault
    assert accepted == ""
    assert SECRET not in f"{fault}{logged}{[r.facts for r in lab.store.records.all('report_mail')]}"


@pytest.mark.parametrize("password", ["schlüssel-9".encode(), SECRET.encode("utf-16")])
def test_a_password_that_cannot_be_sent_is_a_refusal_like_any_other(lab, password):
    (lab.folder.parent / "word").write_bytes(password)
    more = 'mail_user = "agent"\nmail_password_file = "word"'
    with post_office() as post:
        settings = mailing(lab, post.port, more)
        report(lab, settings)
        with capture_logs() as logged:
            said = deliver(settings, lab, at=MORNING)
        (lab.folder.parent / "word").write_bytes(b"\xef\xbb\xbf" + SECRET.encode())
        accepted = deliver(settings, lab, at=MORNING)

    assert "was not accepted" in said
    assert "ASCII" in said
    assert accepted == ""
    assert len(post.messages) == 1
    assert "schl" not in f"{said}{logged}"


def test_attachments_that_are_too_large_are_left_out_and_named(lab):
    with post_office() as post:
        settings = mailing(lab, post.port)
        report(lab, settings)
        for kind in ("pdf", "html"):
            with (lab.reports / f"2026-11-24.{kind}").open("ab") as file:
                file.write(bytes(10_000_001))
        deliver(settings, lab, at=MORNING)

    (message,) = post.messages
    assert list(message.iter_attachments()) == []
    assert "larger than 10 MB: 2026-11-24.pdf, 2026-11-24.html" in message.get_content()


def test_a_report_of_days_ago_is_no_longer_delivered(lab):
    with post_office() as post:
        settings = mailing(lab, post.port)
        report(lab, settings)
        deliver(settings, lab, at=MORNING + timedelta(days=4))

    assert post.messages == []


def test_a_share_gets_the_report_once_it_is_there(lab, tmp_path):
    share = tmp_path / "share"
    settings = settings_of(lab, 'share = "share"')
    report(lab, settings)

    away = deliver(settings, lab, at=MORNING)
    share.mkdir()
    there = deliver(settings, lab, at=MORNING)
    (share / "2026-11-24.html").unlink()  # the lab's own doing
    again = deliver(settings, lab, at=MORNING)

    assert "[report] share: night of 2026-11-24" in away
    assert (there, again) == ("", "")
    names = {path.name for path in share.iterdir()}
    assert names == {f"2026-11-24.{kind}" for kind in ("csv", "json", "pdf", "txt")}
    assert len((share / "2026-11-24.txt").read_text("utf-8").splitlines()) == 5


def test_a_new_revision_of_a_report_reaches_the_share_and_is_not_mailed_again(lab, tmp_path):
    (tmp_path / "share").mkdir()
    with post_office() as post:
        settings = mailing(lab, post.port, 'share = "share"')
        report(lab, settings)
        deliver(settings, lab, at=MORNING)
        facts = lab.store.nightly_reports.find(DAY.date()).facts
        lab.store.nightly_reports.freeze(DAY.date(), facts, at=MORNING, revision=2)
        (tmp_path / "share" / "2026-11-24.html").unlink()
        deliver(settings, lab, at=MORNING)

    assert (tmp_path / "share" / "2026-11-24.html").is_file()
    assert len(post.messages) == 1


@pytest.mark.parametrize(
    ("report", "wanted"),
    [
        ('mail_to = ["lead@lab.example"]', "mail_from and mail_server"),
        ('mail_from = "nobody"', "not a mail address"),
        ('mail_server = "a b"', "write NAME or NAME:PORT"),
    ],
)
def test_settings_that_cannot_send_are_refused_at_the_start(lab, report, wanted):
    with pytest.raises(BadSettingsError, match=wanted):
        settings_of(lab, report)


def test_a_subject_stays_on_one_line_whatever_the_site_is_called():
    message = mail.build_message(
        sender="a@b",
        recipients=["c@d"],
        subject="Plant 1\nBcc: x@y",
        text="",
        message_id="<1@b>",
        at=DAY,
    )

    assert message["Subject"] == "Plant 1 Bcc: x@y"
    assert message["Bcc"] is None
