"""The doctor names what would stop the agent here, as the service's account, and the remedy."""

from __future__ import annotations

import os
import pwd
import socket
import stat
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from agent import settings
from agent.cli.doctor_checks import examine
from agent.cli.doctor_folders import examine_folders
from agent.host.file_ownership import restore_owner

if TYPE_CHECKING:
    from pathlib import Path

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
