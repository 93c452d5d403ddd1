"""A customer can check a statement alone: PDF/A-3, its document attached, signed by the lab."""

from __future__ import annotations

import hashlib
import io
import json
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import NameOID
from fastapi.testclient import TestClient
from labs.lab import DAY, HOME, web_of
from labs.ordering import AT, BUNDLE
from labs.statements import NOW, alter, freeze, label, take, write
from pyhanko.keys import load_cert_from_pemder
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.validation import validate_pdf_signature
from pyhanko_certvalidator import ValidationContext
from servers.databases import tamper
from servers.object_storage import (
    connect,
    make_bucket,
    make_older,
    open_pc,
    serve,
    write_credentials,
)

from agent.backup.maintenance import verify, verify_statement_files
from agent.backup.verification import Outside, verify_trail
from agent.objects import ObjectsUnavailableError
from agent.orders.judge.assessment import Position
from agent.orders.statements.customer_report import find_statement, render_customer_report
from agent.orders.statements.statement_files import (
    Unsigned,
    find_signer,
    read_certificate,
    read_files,
    write_files,
)
from agent.service.statements import StatementKeeper
from agent.settings import StatementsSection, read
from agent.store import Entry
from agent.web import create_app

SEEN = "This page has shown it to you before."


def conforming(lab):
    label(lab, take(lab))
    (sha256,) = freeze(lab)
    return sha256


def make_certificate(folder, *, days=365, start=None, passphrase=b"secret"):
    """Make a self-signed certificate with its key, as PKCS #12."""
    start = start or DAY - timedelta(days=30)
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Lab of Plant 1")])
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=True,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=days))
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
    how = serialization.BestAvailableEncryption(passphrase)
    packed = pkcs12.serialize_key_and_certificates(b"lab", key, certificate, None, how)
    (folder / "lab.p12").write_bytes(packed)
    (folder / "lab.pass").write_bytes(passphrase + b"\n")
    (folder / "lab.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return StatementsSection(
        certificate=str(folder / "lab.p12"), passphrase_file=str(folder / "lab.pass")
    )


# --- the files ----------------------------------------------------------------------------------


def test_the_files_of_a_final_statement_are_written_once_and_named_by_its_hash(lab):
    take(lab, order="4712")
    freeze(lab, "4712")  # undecided: nothing that a customer is given
    sha256 = conforming(lab)

    done, again = write(lab), write(lab)

    files = {file.kind: file for file in lab.store.statements.files(sha256)}
    held = {kind: lab.archive.statement_path(sha256, kind).read_bytes() for kind in files}
    assert ([one.sha256 for one in done], again) == ([sha256], [])
    assert {k: hashlib.sha256(v).hexdigest() for k, v in held.items()} == {
        kind: one.sha256 for kind, one in files.items()
    }
    assert hashlib.sha256(held["json"]).hexdigest() == sha256
    assert lab.store.statements.problems() == []
    assert list(verify_statement_files(lab.store, lab.archive)) == []


def test_a_kill_between_the_files_and_their_rows_is_made_good(lab):
    sha256 = conforming(lab)
    write(lab)
    before = {one: lab.archive.statement_path(sha256, one).read_bytes() for one in ("html", "json")}
    alter(lab, "DELETE FROM statement_file")

    write(lab)

    after = {one: lab.archive.statement_path(sha256, one).read_bytes() for one in ("html", "json")}
    assert after == before
    assert lab.store.statements.problems() == []
    assert list(verify_statement_files(lab.store, lab.archive)) == []


def test_the_files_are_the_same_bytes_whenever_they_are_made(lab):
    sha256 = conforming(lab)
    write(lab)
    before = lab.archive.statement_path(sha256, "pdf").read_bytes()
    lab.archive.statement_path(sha256, "pdf").unlink()
    alter(lab, "DELETE FROM statement_file")

    write(lab)

    assert lab.archive.statement_path(sha256, "pdf").read_bytes() == before


def test_no_file_is_written_over_and_a_later_back_up_finds_its_own_again(lab):
    sha256 = conforming(lab)
    write(lab)
    pdf = lab.archive.statement_path(sha256, "pdf")
    signed = pdf.read_bytes() + b"signed"  # the lab had a certificate then
    pdf.write_bytes(signed)
    alter(lab, "DELETE FROM statement_file")  # a back-up from before it was written is restored

    write(lab)

    assert lab.store.statements.problems() == []
    assert list(verify_statement_files(lab.store, lab.archive)) == []
    assert pdf.read_bytes() != signed
    was = hashlib.sha256(signed).hexdigest()
    later = "UPDATE statement_file SET sha256 = '{}' WHERE kind = 'pdf'"
    alter(lab, later.format(was))  # the later back-up is restored
    (frozen,) = lab.store.statements.all("4711")
    assert lab.archive.damage_of_statement(sha256, "pdf", was) == []
    assert read_files(lab.store, lab.archive, frozen, language="en")["pdf"] == signed


def test_a_changed_or_missing_file_is_found(lab):
    sha256 = conforming(lab)
    write(lab)
    pdf, page = (lab.archive.statement_path(sha256, kind) for kind in ("pdf", "html"))
    pdf.write_bytes(pdf.read_bytes().replace(b"%%EOF", b"%%EOX"))
    page.unlink()

    found = list(verify_statement_files(lab.store, lab.archive))

    (frozen,) = lab.store.statements.all("4711")
    handed_out = read_files(lab.store, lab.archive, frozen, language="en")
    assert not any(b"%%EOX" in content for content in handed_out.values())
    assert handed_out.keys() == {"pdf", "html", "json"}
    assert sorted(one.partition(": ")[2].split(" (")[0] for one in found) == [
        "missing",
        "not what was archived",
    ]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("UPDATE statement_file SET sha256 = 'x' WHERE kind = 'pdf'", "sha256 was"),
        (
            "UPDATE statement_file SET signed_by = 'Eve' WHERE kind = 'pdf'",
            "signed_by was '' (trail number",
        ),
        (
            "DELETE FROM statement_file WHERE kind = 'html'",
            "(statement.filed by agent, trail number",
        ),
    ],
)
def test_a_file_whose_row_was_changed_is_named_by_the_audit_log(lab, change, sentence):
    conforming(lab)
    write(lab)
    assert lab.store.statements.problems() == []

    tamper(f"sqlite:///{lab.folder / 'martensight.db'}", change)

    (fault,) = lab.store.statements.problems()
    assert sentence in fault


def test_verify_names_a_changed_row_of_a_file_once(lab):
    conforming(lab)
    write(lab)
    tamper(
        f"sqlite:///{lab.folder / 'martensight.db'}",
        "UPDATE statement_file SET signed_by = 'Eve' WHERE kind = 'pdf'",
    )

    found, _ = verify_trail(lab.store, Outside(lab.reports))
    found += verify(lab.store, lab.archive, progress=lambda *_: None)

    (fault,) = found
    assert "signed_by was '' (trail number" in fault


def test_a_page_shows_what_the_document_holds_in_the_language_of_the_lab(lab):
    public_id = take(lab)
    label(lab, public_id, "G7", by="<Eve>")
    (sha256,) = freeze(lab)
    write(lab, language="de")

    page = lab.archive.statement_path(sha256, "html").read_text("utf-8")

    assert "Der Auftrag entspricht nicht" in page
    assert "Konformitätsaussage, Auftrag 4711" in page
    assert "&lt;Eve&gt;" in page
    assert "<Eve>" not in page
    assert page.count("data:image/jpeg;base64,") == 1
    assert sha256 in page


def test_a_picture_that_is_not_the_one_that_was_judged_is_left_out(lab):
    public_id = take(lab)
    label(lab, public_id)
    view = lab.store.results.find(public_id)
    lab.archive.thumbnail_path(view.sha256, 0).unlink()
    (sha256,) = freeze(lab)

    write(lab)

    assert "data:image" not in lab.archive.statement_path(sha256, "html").read_text("utf-8")


# --- the PDF ------------------------------------------------------------------------------------


def pdf_of(lab, sha256):
    return PdfFileReader(io.BytesIO(lab.archive.statement_path(sha256, "pdf").read_bytes()))


def test_the_pdf_declares_pdf_a_3_and_keeps_what_that_asks_for(lab):
    sha256 = conforming(lab)
    write(lab)

    pdf = pdf_of(lab, sha256)

    root = pdf.root
    xmp = root["/Metadata"].data.decode()
    (intent,) = root["/OutputIntents"]
    fonts = [
        font.get_object()["/DescendantFonts"][0].get_object()["/FontDescriptor"].get_object()
        for page in root["/Pages"]["/Kids"]
        for font in page.get_object()["/Resources"]["/Font"].values()
    ]
    assert "<pdfaid:part>3</pdfaid:part>" in xmp
    assert "<pdfaid:conformance>B</pdfaid:conformance>" in xmp
    assert intent["/S"] == "/GTS_PDFA1"
    assert len(intent["/DestOutputProfile"].data) > 1000
    assert fonts
    assert all("/FontFile2" in font for font in fonts)
    assert not pdf.encrypted
    assert root["/Lang"] == "en"


def test_the_document_is_attached_byte_for_byte(lab):
    sha256 = conforming(lab)
    write(lab)

    root = pdf_of(lab, sha256).root

    associated = root["/AF"][0]
    assert associated["/AFRelationship"] == "/Source"
    assert associated["/UF"] == "statement.json"
    assert root["/Names"]["/EmbeddedFiles"]["/Names"][0] == "statement.json"
    attached = associated["/EF"]["/F"].data
    assert hashlib.sha256(attached).hexdigest() == sha256
    assert json.loads(attached)["order"] == "4711"


def test_a_letter_that_the_font_lacks_stays_in_the_document(lab):
    lab.store.orders.take_list([Entry("4711", customer="宝钢 Σ")], "list", by="PPS", at=DAY)
    sha256 = conforming(lab)

    write(lab)

    attached = json.loads(pdf_of(lab, sha256).root["/AF"][0]["/EF"]["/F"].data)
    assert attached["document"]["customer"] == "宝钢 Σ"


# --- the signature ------------------------------------------------------------------------------


def validate(content, folder):
    root = load_cert_from_pemder(str(folder / "lab.pem"))
    context = ValidationContext(trust_roots=[root], allow_fetching=False)
    (signature,) = PdfFileReader(io.BytesIO(content)).embedded_signatures
    return validate_pdf_signature(signature, context)


def test_a_signed_statement_is_valid_and_one_changed_byte_breaks_it(lab, tmp_path):
    settings = make_certificate(tmp_path, days=36_500)
    sha256 = conforming(lab)
    signer = find_signer(settings, now=NOW)

    write(lab, signer=signer)

    signed = lab.archive.statement_path(sha256, "pdf").read_bytes()
    (file,) = [one for one in lab.store.statements.files(sha256) if one.kind == "pdf"]
    place = signed.index(b"stream") + 60
    changed = signed[:place] + bytes([signed[place] ^ 1]) + signed[place + 1 :]
    whole = validate(signed, tmp_path)
    assert (whole.intact, whole.valid, whole.trusted) == (True, True, True)
    assert whole.coverage.name == "ENTIRE_FILE"
    assert file.signed_by == "CN=Lab of Plant 1"
    assert not validate(changed, tmp_path).intact


def test_a_signed_pdf_still_declares_pdf_a_3_and_holds_the_document(lab, tmp_path):
    sha256 = conforming(lab)
    write(lab, signer=find_signer(make_certificate(tmp_path), now=NOW))

    root = pdf_of(lab, sha256).root

    attached = root["/AF"][0]["/EF"]["/F"].data
    assert b'pdfaid:part="3"' in root["/Metadata"].data
    assert b'pdfaid:conformance="B"' in root["/Metadata"].data
    assert hashlib.sha256(attached).hexdigest() == sha256


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda folder: (folder / "lab.p12").unlink(), "cannot be read"),
        (lambda folder: (folder / "lab.p12").write_bytes(b"no"), "no PKCS #12 file"),
        (lambda folder: (folder / "lab.pass").write_text("other"), "another passphrase"),
        (lambda folder: make_certificate(folder, days=1), "it expired on 2026-10-26"),
        (
            lambda folder: make_certificate(folder, start=DAY + timedelta(days=9)),
            "it is not valid before 2026-12-03",
        ),
    ],
)
def test_without_a_usable_certificate_a_statement_is_frozen_unsigned_and_says_so(
    lab, tmp_path, spoil, sentence
):
    settings = make_certificate(tmp_path)
    spoil(tmp_path)
    sha256 = conforming(lab)

    write(lab, signer=find_signer(settings, now=NOW))

    (file,) = [one for one in lab.store.statements.files(sha256) if one.kind == "pdf"]
    assert file.signed_by == ""
    assert file.note.startswith("statements stay unsigned: [statements] ")
    assert sentence in file.note
    assert sentence in read_certificate(settings, now=NOW).fault
    assert list(pdf_of(lab, sha256).embedded_signatures) == []


def test_a_missing_certificate_is_said_by_status_and_doctor(ordering):
    with (ordering.folder / "agent.toml").open("a", encoding="utf-8") as file:
        file.write('\n[statements]\ncertificate = "lab.p12"\n')
    keeper = StatementKeeper(read(ordering.folder / "agent.toml"), ordering.store, now=lambda: AT)

    said = keeper.tend()
    ordering.agent("orders", "list")  # takes the log lines out of what the next command prints
    ordering.agent("doctor", "--json")

    (found,) = [check for check in json.loads(ordering.out) if check["check"] == "statements"]
    assert said.startswith("statements stay unsigned: [statements] ")
    assert str(ordering.folder / "lab.p12") in said
    assert found["level"] == "wrong"
    assert "Statements are frozen without signature." in found["sentence"]


# --- commands and pages -------------------------------------------------------------------------


def state(ordering, code, *, at):
    """Let a reviewer decide, and the agent freeze."""
    for view in ordering.store.results.iter_all():
        label(ordering.lab, view.id, code, at=at)
    keeper = StatementKeeper(
        read(ordering.folder / "agent.toml"),
        ordering.store,
        now=lambda: at,
        position=Position(0, 0),
    )
    keeper.tend()


def stated_twice(ordering):
    for field in (1, 2, 3):
        ordering.take(field)
    ordering.check()
    state(ordering, "G8", at=AT)
    state(ordering, "G7", at=AT + timedelta(days=2))
    ordering.agent("orders", "list")  # takes the log lines out of what the next command prints


def test_the_command_says_what_was_stated_on_a_day(ordering):
    stated_twice(ordering)

    early = ordering.agent("orders", "show", "4711", "--as-of", "2026-11-23"), ordering.err
    first = ordering.agent("orders", "show", "4711", "--as-of", "2026-11-25", "--json")
    then = json.loads(ordering.out)
    ordering.agent("orders", "show", "4711", "--as-of", "2026-11-26T09:00")

    assert early[0] == 2
    assert "Order 4711 had no statement until 2026-11-23 23:59" in early[1]
    assert first == 0
    assert then["statement"]["conformity"] == "conforms"
    assert (
        hashlib.sha256(ordering.store.statements.text(then["sha256"]).encode()).hexdigest()
        == then["sha256"]
    )
    assert "Order 4711: does not conform" in ordering.out
    assert "statement 2 of 2026-11-26 09:00" in ordering.out


def test_an_auditor_reads_what_is_behind_an_earlier_statement(ordering):
    ordering.promote()
    fields = [ordering.take(field, um_per_px=0.2) for field in (1, 2, 3)]
    ordering.check()
    state(ordering, "G8", at=AT)
    state(ordering, "G7", at=AT + timedelta(days=2))
    micrograph = ordering.store.results.find(fields[0])
    ordering.agent("orders", "show", "4711", "--as-of", "2026-11-24")
    shown = ordering.out

    for words in (
        "Field: 01/1, At: 24 Nov 2026 09:00, By: Ada, Decision: G8",
        f"File: 4711_01_1.tif, SHA-256 of the file: {micrograph.sha256}",
        "µm per pixel: 0.2, from the file's metadata",
        f"Bundle: {BUNDLE}, Hash of its manifest: ",
        "Promoted: 24 Nov 2026 09:00 by Ada: first",
        "Specification: ring-a, version 1",
        "Approved by: R. Stahl",
        "Recorded: 24 Nov 2026 09:00 by agent",
        "limit: 8 or finer",
        'Highest risk of a false "conforms" for the model alone: 2 %',
        "On: PC, Result: good",
        "PDF: unsigned",
    ):
        assert words in shown
    assert "G7" not in shown


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("4711", "--as-of", "yesterday"), "--as-of: write a day such as 2026-11-24"),
        (("1", "--as-of", "2026-11-25"), "Unknown order '1'"),
    ],
)
def test_a_day_or_an_order_that_is_none_is_said(ordering, words, sentence):
    ordering.take(1)

    assert ordering.agent("orders", "show", *words) == 2
    assert sentence in ordering.err


def test_statements_are_listed_and_written_for_a_customer(ordering):
    stated_twice(ordering)

    ordering.agent("orders", "statements", "4711", ordering.folder / "out", "--json")

    listed = json.loads(ordering.out)
    names = sorted(path.name for path in (ordering.folder / "out").iterdir())
    assert [one["conformity"] for one in listed] == ["conforms", "does_not_conform"]
    assert listed[1]["previous"] == listed[0]["sha256"]
    assert {file["kind"] for file in listed[0]["files"]} == {"pdf", "html", "json"}
    assert names == [f"4711-{n}.{kind}" for n in (1, 2) for kind in ("html", "json", "pdf")]
    document = (ordering.folder / "out" / "4711-1.json").read_bytes()
    assert hashlib.sha256(document).hexdigest() == listed[0]["sha256"]


def test_a_command_freezes_what_its_act_changes(ordering):
    ids = [ordering.take(field) for field in (1, 2, 3)]
    ordering.check()
    state(ordering, "G8", at=AT)

    ordering.agent("review", "label", ids[0], "G7", "--by", "R. Stahl", "--comment", "coarse")

    said = [statement.conformity for statement in ordering.store.statements.all("4711")]
    assert said == ["conforms", "does_not_conform"]


def test_the_page_of_an_order_leads_to_its_statement(ordering):
    stated_twice(ordering)
    newest = ordering.store.statements.all("4711")[-1]
    browser = ordering.browser()

    page = browser.get("/order/4711").text
    pdf = browser.get(f"/statements/{newest.sha256}.pdf")
    document = browser.get(f"/statements/{newest.sha256}.json")

    assert f'href="/statements/{newest.sha256}.pdf"' in page
    assert pdf.headers["content-type"] == "application/pdf"
    assert pdf.content.startswith(b"%PDF-1.7")
    assert hashlib.sha256(document.content).hexdigest() == newest.sha256
    assert browser.get("/statements/0.pdf").status_code == 404
    assert browser.get(f"/statements/{newest.sha256}.exe").status_code == 404


def test_a_decision_on_the_page_is_frozen_before_the_answer_comes(ordering):
    ids = [ordering.take(field) for field in (1, 2, 3)]
    ordering.check()
    state(ordering, "G8", at=AT)
    keeper = StatementKeeper(read(ordering.folder / "agent.toml"), ordering.store, now=lambda: AT)
    keeper.listen()

    answer = ordering.browser().post(
        f"/api/v1/micrographs/{ids[0]}/decisions", json={"by": "Bob", "code": "G7", "comment": "x"}
    )

    assert answer.status_code == 201, answer.text
    said = [statement.conformity for statement in ordering.store.statements.all("4711")]
    assert said[0] == "conforms"
    assert len(said) == 2


def test_no_statement_is_kept_without_its_pictures_while_the_object_storage_is_away(lab, tmp_path):
    sha256 = conforming(lab)
    (statement,) = lab.store.statements.lacking("pdf", 20)
    with serve() as endpoint:
        make_bucket(endpoint, "statements")
        credentials = write_credentials(tmp_path)
        there, away = (
            open_pc(lab.folder, connect(address, "s3://statements/lab", credentials))
            for address in (endpoint, "http://127.0.0.1:9")
        )
        make_older(lab.folder)
        there.mirror.run_round(cache_bytes=1)
        kept = {"language": "en", "signer": Unsigned(), "now": NOW}

        with pytest.raises(ObjectsUnavailableError):
            write_files(lab.store, away, statement, **kept)
        with pytest.raises(ObjectsUnavailableError):
            render_customer_report(
                lab.store, away, find_statement(lab.store, "4711"), language="en"
            )

        assert lab.store.statements.files(sha256) == []
        assert write_files(lab.store, there, statement, **kept)
        page = read_files(lab.store, there, statement, language="en")["html"]
        assert b"data:image/jpeg" in page


def test_a_run_ends_where_files_of_statements_wait_for_the_object_storage(ordering, monkeypatch):
    for field in (1, 2, 3):
        ordering.take(field)
    ordering.check()
    for view in ordering.store.results.iter_all():
        label(ordering.lab, view.id, "G8", at=AT)
        ordering.lab.archive.thumbnail_path(view.sha256, view.page).unlink()  # only there
    monkeypatch.setenv("AGENT_STORE__OBJECTS", "s3://statements/lab")
    monkeypatch.setenv("AGENT_STORE__OBJECTS_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "lab")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    keeper = StatementKeeper(
        read(ordering.folder / "agent.toml"),
        ordering.store,
        now=lambda: AT,
        position=Position(0, 0),
    )

    said = keeper.finish()

    assert said.startswith("files of statements: s3://statements/lab does not answer")
    assert [each.conformity for each in ordering.store.statements.all("4711")] == ["conforms"]
    assert len(ordering.store.statements.lacking("pdf", 20)) == 1


@pytest.mark.parametrize("read_it", ["pdf", "json", "customer", "api"])
def test_who_reads_a_statement_decides_none_of_its_fields_blind(lab, read_it):
    hidden = take(lab, reasons=("control_sample",))
    freeze(lab)
    (statement,) = lab.store.statements.all("4711")
    address = {
        "customer": "/order/4711/report.html",
        "api": "/api/v1/orders/4711/report.pdf",
    }.get(read_it, f"/statements/{statement.sha256}.{read_it}")

    with TestClient(create_app(web_of(lab)), base_url=HOME) as browser:
        browser.post("/review/name", data={"by": "Rita"})
        before = browser.get(f"/review/{hidden}").text
        assert browser.get(address).status_code == 200
        after = browser.get(f"/review/{hidden}").text
        said = {"by": "Rita", "code": "G8"}
        browser.post(f"/api/v1/micrographs/{hidden}/decisions", json=said)

    assert SEEN not in before
    assert SEEN in after
    (decided,) = lab.store.results.find(hidden).labels
    assert not decided.blind
