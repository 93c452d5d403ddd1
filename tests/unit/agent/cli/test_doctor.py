"""The doctor names what would stop the agent here, as the service's account, and the remedy."""

from __future__ import annotations

import os
import pwd
import socket
import stat
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from labs.lab import Lab, web_of
from servers.databases import migrated
from servers.pages import served
from servers.smtp import Post, serve

from agent import settings
from agent.cli.start.doctor import examine
from agent.cli.start.doctor_folders import examine_folders
from agent.cli.start.doctor_records import examine_network, examine_sites
from agent.host.file_ownership import restore_owner
from agent.service.composition import hash_settings, open_store
from agent.service.health.share_facts import gather_share_facts
from agent.store import Store, store_url
from agent.store.sites.fleet import KEY

root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can look as another account")


@pytest.fixture
def lab(tmp_path) -> Path:
    (tmp_path / "export").mkdir()
    file = tmp_path / "agent.toml"
    file.write_text(
        '[web]\nport = 0\n[[sources]]\nname = "LOM-07"\nfolder = "export"\n', encoding="utf-8"
    )
    return file


def let_through(folder: Path) -> None:
    """Let another account come as far as this folder of pytest's; bits are added, none taken.

    Temporary folders lie in /dev/shm, where PostgreSQL of the tests keeps its memory: it could not
    be started again in a folder that only root may write.
    """
    for one in (folder, *folder.parents):
        one.chmod(stat.S_IMODE(one.stat().st_mode) | 0o055)


def levels(findings) -> dict[str, str]:
    return {finding.check: finding.level for finding in findings}


def sentences(findings) -> dict[str, str]:
    return {finding.check: finding.sentence for finding in findings}


def test_a_pc_that_is_ready_has_nothing_wrong(lab) -> None:
    found = levels(examine(settings.read(lab, {}), lab))

    assert [check for check, level in found.items() if level == "wrong"] == []
    assert {"data folder", "source LOM-07", "database", "back-up", "inotify", "compute"} <= set(
        found
    )


@root
def test_root_looks_with_the_eyes_of_the_services_account(lab, tmp_path) -> None:
    let_through(tmp_path)
    (tmp_path / "export" / "a.tif").write_bytes(b"x")
    (tmp_path / "export").chmod(0o700)
    (tmp_path / "data").mkdir(mode=0o755)
    read = settings.read(lab, {})

    as_root = levels(examine_folders(read, None))
    as_nobody = levels(examine_folders(read, pwd.getpwnam("nobody").pw_name))

    assert (as_root["source LOM-07"], as_root["data folder"]) == ("right", "right")
    assert (as_nobody["source LOM-07"], as_nobody["data folder"]) == ("wrong", "wrong")
    assert os.geteuid() == 0


@root
def test_a_database_that_the_service_may_not_change_is_wrong(lab, tmp_path) -> None:
    nobody = pwd.getpwnam("nobody")
    let_through(tmp_path)
    (tmp_path / "data").mkdir()
    os.chown(tmp_path / "data", nobody.pw_uid, nobody.pw_gid)
    (tmp_path / "data" / "martensight.db").touch(mode=0o644)

    found = examine_folders(settings.read(lab, {}), nobody.pw_name)

    assert levels(found)["data folder"] == "wrong"
    assert "martensight.db cannot be changed" in sentences(found)["data folder"]


@root
def test_a_data_folder_that_is_a_disk_of_its_own_is_right(lab, tmp_path) -> None:
    nobody = pwd.getpwnam("nobody")
    let_through(tmp_path)
    (tmp_path / "data" / "lost+found").mkdir(parents=True, mode=0o700)
    os.chown(tmp_path / "data", nobody.pw_uid, nobody.pw_gid)

    found = examine_folders(settings.read(lab, {}), nobody.pw_name)

    assert levels(found)["data folder"] == "right"


@root
def test_what_root_makes_in_the_services_folder_is_left_to_the_service(lab, tmp_path) -> None:
    nobody, data = pwd.getpwnam("nobody"), tmp_path / "data"
    data.mkdir()
    os.chown(data, nobody.pw_uid, nobody.pw_gid)
    for words in (("status",), ("report",)):
        command = [sys.executable, "-m", "agent", "--config", str(lab), *words]
        subprocess.run(command, check=True, capture_output=True)

    made = {path.relative_to(data).as_posix(): path.lstat().st_uid for path in data.rglob("*")}

    assert {"martensight.db", "reports/index.html"} <= made.keys()
    assert set(made.values()) == {nobody.pw_uid}


@root
def test_a_link_in_the_services_folder_leads_root_nowhere(tmp_path) -> None:
    nobody, data, other = pwd.getpwnam("nobody"), tmp_path / "data", tmp_path / "other"
    for folder in (data, other):
        folder.mkdir()
        (folder / "file").touch()
    os.chown(data, nobody.pw_uid, nobody.pw_gid)
    (data / "link").symlink_to(other / "file")
    (data / "folder").symlink_to(other)

    restore_owner([data, tmp_path / "not there"], since_s=0.0)

    owners = {p.name: p.lstat().st_uid for p in data.iterdir()}
    assert owners == dict.fromkeys(("file", "link", "folder"), nobody.pw_uid)
    assert [other.stat().st_uid, (other / "file").stat().st_uid] == [0, 0]


def test_a_share_whose_clock_is_ahead_is_told_by_how_much(lab, tmp_path) -> None:
    file = tmp_path / "export" / "a.tif"
    file.write_bytes(b"x")
    ahead = time.time() + 3600
    os.utime(file, (ahead, ahead))

    found = sentences(examine_folders(settings.read(lab, {}), None))

    assert "ahead of this PC's" in found["clock"]
    assert "one time server" in found["clock"]


def test_a_port_that_another_program_has_is_wrong(lab) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        lab.write_text(lab.read_text().replace("port = 0", f"port = {port}"), encoding="utf-8")

        found = levels(examine(settings.read(lab, {}), lab))

    assert found["review page"] == "wrong"


def test_a_page_for_others_without_accounts_is_wrong(lab) -> None:
    text = lab.read_text().replace("[web]", '[web]\nhost = "0.0.0.0"')
    lab.write_text(text, encoding="utf-8")

    found = {one.check: one for one in examine(settings.read(lab, {}), lab)}

    assert found["review page"].level == "wrong"
    assert "accounts" in found["review page"].sentence


def test_a_gpu_that_is_asked_for_and_not_there_is_wrong(lab) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    lab.write_text(lab.read_text() + '[model]\ndevice = "cuda"\n', encoding="utf-8")

    assert levels(examine(settings.read(lab, {}), lab))["compute"] == "wrong"


@pytest.mark.slow
def test_a_bundle_that_is_not_computed_in_bf16_as_set_is_doubtful(taught_lab) -> None:
    file = taught_lab.folder / "agent.toml"
    given = settings.read(file, {})
    low = given.model_copy(
        update={"model": given.model.model_copy(update={"precision": "bf16"})}  # trained without
    )

    by_default, found = (
        {one.check: one for one in examine(setting, file)}["bundle"] for setting in (given, low)
    )

    assert by_default.level == "right"
    assert found.level == "doubtful"
    assert "is computed in fp32 here, not in bf16" in found.sentence


# --- every path and address of the settings ------------------------------------------------------


def found_with(lab: Path, text: str) -> dict[str, tuple[str, str]]:
    """Return what the doctor finds with further settings, as check → level and sentence."""
    file = lab.with_name("more.toml")
    file.write_text(lab.read_text("utf-8").replace("[[sources]]", f"{text}\n[[sources]]"), "utf-8")
    found = examine_folders(settings.read(file, {}), None)
    return {finding.check: (finding.level, finding.sentence) for finding in found}


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ("[report] mail_password_file", '[report]\nmail_password_file = "secret"'),
        ("[trail] anchor", '[trail]\nanchor = "no-share/anchor.jsonl"'),
        ("[review] chart", '[review]\nchart = "chart"'),
        ("[report] share", '[report]\nshare = "share"'),
    ],
)
def test_a_path_of_the_settings_that_is_not_there_is_wrong(lab, setting, text) -> None:
    level, sentence = found_with(lab, text)[setting]

    assert level == "wrong"
    assert "no such" in sentence


def test_specifications_that_a_lab_never_had_are_no_fault(lab) -> None:
    level, sentence = found_with(lab, "")["[orders] specifications"]

    assert (level, sentence) == (
        "right",
        f"none: no order has a limit. To set limits, write {lab.parent / 'specifications.toml'}.",
    )


def test_a_path_of_the_settings_that_is_there_is_right(lab, tmp_path) -> None:
    for name in ("secret", "anchor.jsonl"):
        (tmp_path / name).write_text("", encoding="utf-8")

    found = found_with(
        lab, '[trail]\nanchor = "anchor.jsonl"\n[report]\nmail_password_file = "secret"\n'
    )

    assert found["[trail] anchor"] == ("right", f"{tmp_path / 'anchor.jsonl'} can be appended to.")
    assert found["[report] mail_password_file"][0] == "right"


@root
def test_a_file_that_the_service_may_not_read_or_append_to_is_wrong(lab, tmp_path) -> None:
    let_through(tmp_path)
    for name in ("key.pem", "anchor.jsonl"):
        (tmp_path / name).touch(mode=0o600)
    text = '[trail]\nanchor = "anchor.jsonl"\n[web]\nport = 0\nkey = "key.pem"\n'
    file = lab.with_name("more.toml")
    file.write_text(lab.read_text("utf-8").replace("[web]\nport = 0\n", text), encoding="utf-8")

    found = levels(examine_folders(settings.read(file, {}), "nobody"))

    assert (found["[web] key"], found["[trail] anchor"]) == ("wrong", "wrong")


mail_server = contextmanager(serve)
MAIL = '[report]\nmail_to = ["a@lab.de"]\nmail_from = "b@lab.de"\nmail_security = "none"\n'


def test_a_mail_server_is_tried_with_its_login(lab, tmp_path) -> None:
    (tmp_path / "secret").write_text("word", encoding="utf-8")
    login = 'mail_user = "lab"\nmail_password_file = "secret"\n'
    with mail_server(Post()) as good:
        right = found_with(lab, f'{MAIL}{login}mail_server = "127.0.0.1:{good.port}"\n')
    with mail_server(Post(refuses={"AUTH": "535 no"})) as closed:
        wrong = found_with(lab, f'{MAIL}{login}mail_server = "127.0.0.1:{closed.port}"\n')
    away = found_with(lab, f'{MAIL}mail_server = "127.0.0.1:{good.port}"\n')

    setting = "[report] mail_server"
    assert right[setting] == ("right", f"127.0.0.1:{good.port} answers.")
    assert "the server refused the login (535)" in wrong[setting][1]
    assert (wrong[setting][0], away[setting][0]) == ("wrong", "doubtful")
    assert "cannot be reached" in away[setting][1]
    assert good.messages == []


def certificate(folder: Path, name: str, days: int) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    whose = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "lab-pc")])
    begins_at = datetime.now(UTC) - timedelta(days=10)
    made = (
        x509.CertificateBuilder(whose, whose, key.public_key(), x509.random_serial_number())
        .not_valid_before(begins_at)
        .not_valid_after(begins_at + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / f"{name}.pem").write_bytes(made.public_bytes(pem))
    private = serialization.PrivateFormat.TraditionalOpenSSL
    plain = serialization.NoEncryption()
    (folder / f"{name}.key").write_bytes(key.private_bytes(pem, private, plain))


@pytest.mark.parametrize(
    ("files", "level", "sentence"),
    [
        (("good", "good"), "right", "is valid"),
        (("old", "old"), "wrong", "certificate has expired"),
        (("good", "old"), "wrong", "no browser accepts it"),
        (("good", "none"), "wrong", "no browser accepts it"),
    ],
)
def test_the_certificate_of_the_page_is_tried_with_its_key(
    lab, tmp_path, files, level, sentence
) -> None:
    certificate(tmp_path, "good", 30)
    certificate(tmp_path, "old", 5)
    text = f'[web]\nport = 0\ncertificate = "{files[0]}.pem"\nkey = "{files[1]}.key"\n'
    lab.write_text(lab.read_text("utf-8").replace("[web]\nport = 0\n", text), encoding="utf-8")

    found = [f for f in examine_network(settings.read(lab, {})) if f.check == "[web] certificate"]

    assert [f.level for f in found] == [level]
    assert sentence in found[0].sentence


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        (None, "pg_dump is not installed"),
        ("echo 'pg_dump (PostgreSQL) 9.6.1'", "is of version 9 and refuses the server"),
        ("echo 'pg_dump (PostgreSQL) 99.1'", ""),
    ],
)
def test_pg_dump_is_looked_for_with_its_version(
    request, tmp_path, monkeypatch, script, sentence
) -> None:
    (tmp_path / "bin").mkdir()
    if script:
        (tmp_path / "bin/pg_dump").write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        (tmp_path / "bin/pg_dump").chmod(0o755)
    with Store.open(migrated("postgresql", request, tmp_path), site="Plant 1", agent="PC") as store:
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))
        fault = store.checks.find_dump_fault()

    assert sentence in fault
    assert bool(fault) is bool(sentence)


@pytest.mark.parametrize(
    ("hashes", "level", "sentence"),
    [
        (("1", "1", "2"), "doubtful", "PC-3 has other settings than most PCs of this site"),
        (("1", "1", "1"), "right", "3 PCs run with the same settings"),
    ],
)
def test_the_settings_of_the_pcs_that_run_at_a_site_are_compared(
    lab, hashes, level, sentence
) -> None:
    read, now = settings.read(lab, {}), datetime.now(UTC)
    for number, known in enumerate(hashes, 1):
        url = store_url(read.store.folder)
        with Store.open(url, site=read.site.name, agent=f"PC-{number}") as store:
            store.agents.record_start(at=now)
            store.agents.record_heartbeat({KEY: {"version": "1", "settings": known}}, at=now)

    (found,) = [finding for finding in examine_sites(read) if finding.check == "PCs"]

    assert found.level == level
    assert sentence in found.sentence


def test_pcs_with_other_specifications_have_other_settings(lab) -> None:
    read = settings.read(lab, {})
    with open_store(read) as store:
        hashes = []
        for limit in ("7", "8", "7"):
            entry = ("ring-a", datetime.now(UTC).date(), "R. Stahl", limit * 64, {"limit": limit})
            store.specifications.note([entry], zone="UTC", at=datetime.now(UTC))
            hashes.append(hash_settings(read, store))

    assert hashes[0] == hashes[2] != hashes[1]


def test_specifications_that_are_gone_are_named_until_the_lab_says_that_it_needs_none(lab) -> None:
    read, file = settings.read(lab, {}), lab.parent / "specifications.toml"
    entry = ("ring-a", datetime.now(UTC).date(), "R. Stahl", "7" * 64, {"limit": "7"})

    def named() -> list[bool]:
        doctor = sentences(examine(read, lab))["taxonomy"]
        with open_store(read) as store:
            told = gather_share_facts(read, store, now=datetime.now(UTC)).problems
        return [f"{file} is not there" in doctor, any(f"{file} is not" in one for one in told)]

    before = named()
    with open_store(read) as store:
        store.specifications.note([entry], zone="UTC", at=datetime.now(UTC))
        store.specifications.note([], zone="UTC", at=datetime.now(UTC))
    gone = named()
    file.touch()

    assert (before, gone, named()) == ([False] * 2, [True] * 2, [False] * 2)


def test_the_labs_own_page_is_not_another_program(lab, tmp_path):
    own = Lab(tmp_path / "pages")
    with served(web_of(own)) as address, socket.create_server(("127.0.0.1", 0)) as other:
        found = []
        for port in (address.rpartition(":")[2], other.getsockname()[1]):
            text = lab.read_text(encoding="utf-8").replace("port = 0", f"port = {port}")
            lab.write_text(text, encoding="utf-8")
            found.append(levels(examine(settings.read(lab, {}), lab))["review page"])
            lab.write_text(text.replace(f"port = {port}", "port = 0"), encoding="utf-8")
    own.store.close()

    assert found == ["right", "wrong"]
