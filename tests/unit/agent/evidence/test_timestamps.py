"""An authority proves when the trail ended as it did; one that fails holds nothing up."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from labs.lab import DAY
from labs.shell import Shell
from labs.stored_trail import chain_again
from servers.databases import tamper
from structlog.testing import capture_logs

from agent.service.jobs.backup import stamp_when_due
from agent.settings import read
from agent.store import Decision, Store

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
SETTINGS = """
[ tsa ]
default_tsa = own
[ own ]
serial = serial
signer_digest = sha256
default_policy = 1.2.3.4
digests = sha256, sha384, sha512
ess_cert_id_alg = sha256
[ req ]
distinguished_name = name
[ name ]
[ root ]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[ stamp ]
extendedKeyUsage = critical, timeStamping
keyUsage = critical, digitalSignature
authorityKeyIdentifier = keyid
"""


def run(folder: Path, *words: str) -> bytes:
    ended = subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)
    return ended.stdout


def key(folder: Path, name: str, *more: str) -> None:
    run(
        folder, "req", "-newkey", "rsa:2048", "-nodes", "-config", "tsa.conf", "-subj",
        f"/CN={name}", "-keyout", f"{name}.key", *more,
    )  # fmt: skip


class Authority:
    """A time-stamp authority of openssl behind a small server.

    Args:
        folder: Where its keys are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.answer = folder, b""
        (folder / "tsa.conf").write_text(SETTINGS, encoding="utf-8")
        (folder / "serial").write_text("01", encoding="utf-8")
        key(folder, "root", "-x509", "-days", "3650", "-extensions", "root", "-out", "root.pem")
        key(folder, "stamp", "-out", "stamp.csr")
        run(
            folder, "x509", "-req", "-in", "stamp.csr", "-CA", "root.pem", "-CAkey", "root.key",
            "-days", "3650", "-extfile", "tsa.conf", "-extensions", "stamp", "-out", "stamp.pem",
        )  # fmt: skip

    @property
    def certificates(self) -> Path:
        return self.folder / "root.pem"

    def sign(self, query: bytes) -> bytes:
        (self.folder / "query.tsq").write_bytes(query)
        return run(
            self.folder, "ts", "-reply", "-config", "tsa.conf", "-section", "own", "-queryfile",
            "query.tsq", "-signer", "stamp.pem", "-inkey", "stamp.key",
        )  # fmt: skip


@pytest.fixture(scope="module")
def keys(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def url(keys) -> Iterator[str]:
    """Serve the authority; where `keys.answer` is set, that is what it says."""

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = self.rfile.read(int(self.headers["Content-Length"]))
            answer = keys.answer or keys.sign(query)
            self.send_response(200)
            self.send_header("Content-Type", "application/timestamp-reply")
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    keys.answer = b""
    server = HTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def shell(tmp_path, capsys, url, keys) -> Shell:
    made = Shell(tmp_path, capsys)
    made.write(
        "agent.toml",
        f'[site]\nname = "Plant 1"\n[trail]\ntimestamp_url = "{url}"\n'
        f'timestamp_certificates = "{keys.certificates.as_posix()}"\n',
    )
    public_id = made.lab.take("G8", order="4711", specimen="1")
    made.lab.store.labels.decide(public_id, Decision("code", "Leo", code="G8"), at=DAY)
    return made


def now() -> datetime:
    """Return the authority's time: its clock is the system's."""
    return datetime.now(UTC)


def stamp(shell: Shell, at: datetime | None = None) -> str | None:
    settings = read(shell.folder / "agent.toml", {})
    with Store.open(address_of(shell), site="Plant 1", agent="PC") as store:
        return stamp_when_due(settings, store, at=at or now())


def address_of(shell: Shell) -> str:
    return f"sqlite:///{shell.lab.folder / 'martensight.db'}"


def files(shell: Shell) -> list[Path]:
    return sorted((shell.lab.folder / "timestamps").glob("*.tsr"))


def test_the_end_of_the_trail_is_stamped_once_a_night_and_verified(shell, keys) -> None:
    head = shell.lab.store.audit_log.get_head()

    assert stamp(shell) == ""
    assert stamp(shell) is None
    assert stamp(shell, now() + timedelta(days=1)) == ""

    first = files(shell)[0]
    assert json.loads(first.with_suffix(".json").read_bytes())["sha256"] == head.sha256
    assert len(files(shell)) == 2
    (act, _) = shell.lab.store.audit_log.iter_acts("trail.timestamped")
    assert (act.subject, act.facts["number"]) == (first.name, head.number)
    said = run(
        keys.folder, "ts", "-verify", "-in", str(first), "-data",
        str(first.with_suffix(".json")), "-CAfile", "root.pem",
    )  # fmt: skip
    assert b"OK" in said
    code, said = shell.agent("verify")
    assert code == 0
    assert "the authority's time is" in said  # of the second, as the clock was a day ahead


def test_a_trail_that_was_computed_again_is_named_by_the_time_stamp(shell) -> None:
    stamp(shell)
    tamper(address_of(shell), "UPDATE trail SET actor = 'Eve' WHERE act = 'label.given'")
    chain_again(address_of(shell))

    code, said = shell.agent("verify")

    assert code == 3
    assert f"({files(shell)[0].name}): an act after number" in said


def test_an_anchor_that_was_written_again_is_not_what_was_stamped(shell) -> None:
    stamp(shell)
    anchor = files(shell)[0].with_suffix(".json")
    document = json.loads(anchor.read_bytes()) | {"sha256": "0" * 64}
    anchor.write_text(json.dumps(document), encoding="utf-8")

    code, said = shell.agent("verify")

    assert code == 3
    assert "proves nothing: it is of something else than the end of the trail" in said


def test_a_stamp_of_another_authority_is_none(shell, keys, tmp_path) -> None:
    stamp(shell)
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other")
    text = (shell.folder / "agent.toml").read_text(encoding="utf-8")
    named = text.replace(keys.certificates.as_posix(), other.certificates.as_posix())
    shell.write("agent.toml", named)

    code, said = shell.agent("verify")

    assert code == 3
    assert "its signature is not of root.pem" in said


def test_a_time_stamp_that_was_replaced_or_deleted_is_named(shell) -> None:
    stamp(shell)
    stamp(shell, now() + timedelta(days=1))
    first, second = files(shell)
    first.write_bytes(second.read_bytes())
    second.unlink()

    code, said = shell.agent("verify")

    assert code == 3
    assert f"{first.name}: it was changed after it was made (trail number" in said
    assert f"{second.name}: the time stamp is not there" in said


def test_without_certificates_it_is_said_that_nobody_checked_who_signed(shell, url) -> None:
    shell.write("agent.toml", f'[site]\nname = "Plant 1"\n[trail]\ntimestamp_url = "{url}"\n')
    assert stamp(shell) == ""

    code, said = shell.agent("verify")

    assert code == 0
    assert "who signed it was not checked; set [trail] timestamp_certificates" in said


@pytest.mark.parametrize("answer", ["nothing", "of another request"])
def test_a_useless_answer_is_a_logged_fault_and_nothing_is_kept(shell, keys, answer) -> None:
    if answer == "nothing":
        keys.answer = b"\x30\x00"
    else:
        stamp(shell)
        keys.answer = files(shell)[0].read_bytes()
        files(shell)[0].unlink()

    with capture_logs() as logged:
        said = stamp(shell)

    assert said.startswith("[trail] timestamp_url: ")
    assert "the time stamp is not used" in said
    assert [one["event"] for one in logged] == ["timestamp.failed"]
    assert files(shell) == []


def test_an_authority_that_is_away_is_a_logged_fault(shell) -> None:
    shell.write("agent.toml", '[trail]\ntimestamp_url = "http://127.0.0.1:9/"\n')

    assert "gives no time stamp" in stamp(shell)
    assert shell.lab.store.audit_log.get_head().act != "trail.timestamped"


def test_no_authority_is_asked_where_none_is_set(shell) -> None:
    shell.write("agent.toml", '[site]\nname = "Plant 1"\n')

    assert stamp(shell) is None
    assert files(shell) == []


@pytest.mark.parametrize(
    ("trail", "sentence"),
    [
        ('timestamp_url = "ftp://x"', "ftp://x is no http or https address"),
        ('timestamp_url = "{url}"\ntimestamp_certificates = "none.pem"', "none.pem cannot be read"),
        ('timestamp_url = "{url}"\ntimestamp_certificates = "agent.toml"', "is no PEM file"),
        ('timestamp_url = "{url}"', "none yet"),
    ],
)
def test_the_doctor_names_what_is_wrong_with_the_settings(shell, url, trail, sentence) -> None:
    text = trail.replace("{url}", url)
    shell.write("agent.toml", f'[site]\nname = "Plant 1"\n[trail]\n{text}\n')

    assert sentence in " ".join(shell.agent("doctor")[1].replace("│", " ").split())
