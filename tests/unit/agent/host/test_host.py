"""The service that is installed sees the sources, writes into its data folder, and comes back."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from folders import ROOT

from agent import settings
from agent.host import process_limits
from agent.host.file_ownership import hand_over, permit_account
from agent.host.systemd import (
    Machine,
    Manager,
    _permit_reading,
    compare_rights,
    inspect_machine,
    list_bound_folders,
    list_hidden_neighbours,
    render_unit,
)
from agent.host.windows import iter_rights

posix = pytest.mark.skipif(os.name == "nt", reason="systemd")
root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives folders away"
)
analyze = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def lab(folder: Path, text: str = "") -> tuple[Path, settings.Settings]:
    file = folder / "agent.toml"
    file.write_text(
        f'{text}\n[store]\nfolder = "/var/lib/martensight"\n'
        '[[sources]]\nname = "LOM-07"\nfolder = "/mnt/lom07/export"\n',
        encoding="utf-8",
    )
    return file, settings.read(file, {})


def machine(**given) -> Machine:
    return Machine(command=("/opt/martensight/bin/agent",), **given)


def unit(folder: Path, text: str = "", **given) -> str:
    file, read = lab(folder, text)
    return render_unit(file, read, machine(**given))


# --- what the service sees ----------------------------------------------------------------------


@posix
def test_a_source_on_the_pcs_own_disk_is_laid_in_alone() -> None:
    assert list_bound_folders([Path("/home/leica/export")], machine()) == [
        Path("/home/leica/export")
    ]


@posix
def test_a_share_is_shown_through_its_parent_so_that_it_is_seen_again_when_it_comes_back() -> None:
    pc = machine(mount_points=frozenset({Path("/"), Path("/mnt/lom07")}))

    assert list_bound_folders([Path("/mnt/lom07/export")], pc) == [Path("/mnt")]


@posix
def test_of_nested_shares_the_outer_ones_parent_is_shown() -> None:
    pc = machine(mount_points=frozenset({Path("/mnt/a"), Path("/mnt/a/b")}))

    assert list_bound_folders([Path("/mnt/a/b/export")], pc) == [Path("/mnt")]


@posix
def test_what_lies_beside_a_share_is_hidden() -> None:
    beside = (Path("/mnt/lom07"), Path("/mnt/payroll"))
    pc = machine(neighbours={Path("/mnt"): beside})

    hidden = list_hidden_neighbours([Path("/mnt")], pc, keep=[Path("/mnt/lom07/export")])

    assert hidden == [Path("/mnt/payroll")]


@posix
def test_a_source_that_is_not_there_yet_counts_as_a_share_that_will_come(tmp_path) -> None:
    _, read = lab(tmp_path)
    missing = Path("/mnt/nothing-is-mounted-here")
    source = read.sources[0].model_copy(update={"folder": missing / "export"})
    given = read.model_copy(update={"sources": (source,)})

    assert missing in inspect_machine(given).mount_points


@posix
def test_the_unit_lets_the_agent_write_into_its_data_folder_alone(tmp_path) -> None:
    text = unit(tmp_path)

    assert 'ReadWritePaths="/var/lib/martensight"\n' in text
    assert 'BindReadOnlyPaths="-/mnt/lom07/export"' in text
    assert "ProtectSystem=strict" in text
    assert "PrivateDevices=yes" in text


@posix
def test_a_folder_for_back_ups_can_be_written_too(tmp_path) -> None:
    text = unit(tmp_path, '[backup]\nfolder = "/mnt/nas/backups"')

    assert 'ReadWritePaths="/var/lib/martensight" "-/mnt/nas/backups"' in text
    assert 'BindPaths="-/mnt/nas/backups"' in text


@posix
def test_order_lists_and_results_go_in_and_out_of_folders_of_their_own(tmp_path) -> None:
    text = unit(tmp_path, '[orders]\nlists = "/srv/lims/lists"\noutbox = "/data/lims/in"\n')

    assert 'ReadWritePaths="/var/lib/martensight" "-/srv/lims/lists" "-/data/lims/in"\n' in text
    assert 'BindPaths="-/srv/lims/lists"\n' in text


@posix
def test_a_share_for_results_is_written_through_its_mount_point_whenever_it_is_there(
    tmp_path,
) -> None:
    text = unit(
        tmp_path,
        '[backup]\nfolder = "/mnt/nas/backups"\n[orders]\noutbox = "/mnt/nas/lims/in"\n',
        mount_points=frozenset({Path("/mnt/nas")}),
        neighbours={Path("/mnt"): (Path("/mnt/nas"), Path("/mnt/payroll"))},
    )

    assert 'ReadWritePaths="/var/lib/martensight" "-/mnt/nas"\n' in text
    assert 'BindReadOnlyPaths="-/mnt/lom07/export" "-/mnt"' in text
    assert 'InaccessiblePaths="-/mnt/payroll"' in text
    assert "\nBindPaths" not in text


@root
def test_a_folder_that_others_use_keeps_its_owner_and_they_are_told(tmp_path) -> None:
    theirs, empty = tmp_path / "theirs", tmp_path / "empty"
    (theirs / "inside").mkdir(parents=True)
    empty.mkdir()

    left = list(permit_account("[backup] folder", theirs, "nobody"))
    given = list(permit_account("[orders] outbox", empty, "nobody"))
    made = list(permit_account("[orders] lists", tmp_path / "made", "nobody"))
    away = list(permit_account("[orders] lists", tmp_path / "not" / "there", "nobody"))

    assert (theirs.stat().st_uid, (theirs / "inside").stat().st_uid) == (0, 0)
    assert "setfacl -m u:nobody:rwx" in left[0]
    assert {empty.owner(), (tmp_path / "made").owner()} == {"nobody"}
    assert (len(given), len(made)) == (1, 1)
    assert "is not there yet" in away[0]


@posix
def test_nothing_goes_out_unless_the_labs_settings_ask_for_it(tmp_path) -> None:
    file, read = lab(tmp_path)
    far = read.model_copy(
        update={"store": read.store.model_copy(update={"url": "postgresql+psycopg://db/x"})}
    )

    assert "IPAddressDeny=any" in render_unit(file, read, machine())
    assert "IPAddressDeny" not in render_unit(file, far, machine())


@posix
@analyze
@pytest.mark.parametrize("gpu", [False, True], ids=["cpu", "gpu"])
def test_systemd_finds_no_fault_in_the_unit_and_rates_it_2_or_better(tmp_path, gpu) -> None:
    file = tmp_path / "martensight.service"
    config, read = lab(tmp_path)
    given = read.model_copy(update={"notify": read.notify.model_copy(update={"urls": ("x://y",)})})
    pc = Machine(command=(sys.executable, "-m", "agent"), has_gpu=gpu)
    file.write_text(render_unit(config, given, pc, account="root"), encoding="utf-8")

    verified = subprocess.run(
        ["systemd-analyze", "verify", str(file)], capture_output=True, text=True, check=False
    )
    rated = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", str(file)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert "martensight.service:" not in verified.stderr, verified.stderr
    assert rated.returncode == 0, rated.stdout[-300:]


@posix
@analyze
def test_a_path_with_spaces_percents_and_quotes_reaches_the_command_whole(tmp_path) -> None:
    odd = tmp_path / 'a b%c"d$e'
    odd.mkdir()
    config, read = lab(odd)
    text = render_unit(config, read, machine(), account="root")

    (line,) = [one for one in text.splitlines() if one.startswith("ExecStart=")]

    assert r"a b%%c\"d$$e" in line
    assert line.endswith(" run")


@posix
def test_the_sample_beside_the_other_files_is_what_the_program_writes() -> None:
    sample = (ROOT / "deploy" / "martensight.service").read_text(encoding="utf-8")
    read = settings.Settings(
        store={"folder": "/var/lib/martensight"},
        sources=[{"name": "LOM-07", "folder": "/mnt/lom07/export"}],
    )
    pc = machine(mount_points=frozenset({Path("/mnt/lom07")}))

    assert sample.split("\n\n", 1)[1] == render_unit(Path("/etc/martensight/agent.toml"), read, pc)


# --- one classification of paths and addresses ---------------------------------------------------


def all_paths_at(folder: str) -> str:
    """Write settings in which every path is below a folder, each in one of its own."""
    text = ""
    for section, field in settings.Settings.model_fields.items():
        keys = getattr(field.annotation, "model_fields", {})
        named = [key for key, known in keys.items() if settings.is_path(known)]
        if named and section != "store":
            text += f"[{section}]\n"
            text += "".join(f'{key} = "{folder}/{section}-{key}/file"\n' for key in named)
    return text


def bound(text: str, key: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.startswith(f"{key}=")]
    return [word.strip('"').removeprefix("-") for word in line.partition("=")[2].split()]


@posix
def test_whatever_the_settings_name_the_unit_permits_and_no_more(tmp_path) -> None:
    text = unit(tmp_path, all_paths_at("/srv"))
    _, read = lab(tmp_path, all_paths_at("/srv"))

    seen = bound(text, "BindReadOnlyPaths")
    written = bound(text, "ReadWritePaths")

    for named in settings.iter_paths(read):
        if named.source or named.path == read.store.folder:
            continue
        if named.right is settings.Right.READ:
            assert str(named.path.parent) in seen, named.label
            assert str(named.path.parent) not in written, named.label
        else:
            assert str(named.folder) in written, named.label
    assert "/srv/trail-anchor" in written
    assert "/srv/web-key" in seen


@posix
def test_a_certificate_in_a_home_shows_no_home(tmp_path) -> None:
    text = unit(tmp_path, '[web]\ncertificate = "/root/lab.pem"\nkey = "/home/ada/lab.key"\n')

    assert bound(text, "BindReadOnlyPaths")[1:] == ["/root/lab.pem", "/home/ada/lab.key"]


@posix
def test_a_key_in_a_home_that_is_not_there_yet_is_no_share_that_will_come(tmp_path) -> None:
    file, read = lab(tmp_path, '[web]\nkey = "/home/no-one-here/lab.key"\n')

    text = render_unit(file, read, inspect_machine(read))

    assert "/home/no-one-here/lab.key" in bound(text, "BindReadOnlyPaths")
    assert "/home/no-one-here" not in bound(text, "BindReadOnlyPaths")


NETWORKS = [
    ('[trail]\ntimestamp_url = "https://tsa.example/tsr"', True),
    ('[notify]\nurls = ["json://lims.lab.local/x"]', True),
    ('[report]\nmail_to = ["a@lab.de"]\nmail_from = "b@lab.de"\nmail_server = "mail"', True),
    ('[report]\nmail_server = "mail"', False),
    ('[web]\nhost = "0.0.0.0"', True),
    ('[web]\nhost = "::1"', False),
]


@posix
def test_the_network_is_open_where_an_address_in_use_asks_for_it(tmp_path) -> None:
    for text, goes_out in NETWORKS:
        assert ("IPAddressDeny" not in unit(tmp_path, text)) is goes_out, text


@posix
@pytest.mark.parametrize(
    ("url", "goes_out"),
    [
        ("sqlite:////data/lab.db", False),
        ("postgresql+psycopg://lab@localhost/lab", False),
        ("postgresql+psycopg:///lab?host=/run/postgresql", False),
        ("postgresql+psycopg://lab@db:5433/lab", True),
        ("postgresql+psycopg:///lab?host=db", True),
    ],
)
def test_a_database_on_this_pc_opens_no_network(tmp_path, url, goes_out) -> None:
    file, read = lab(tmp_path)
    given = read.model_copy(update={"store": read.store.model_copy(update={"url": url})})

    assert ("IPAddressDeny" not in render_unit(file, given, machine())) is goes_out


def test_each_setting_that_sounds_like_an_address_is_marked_as_one() -> None:
    sounding, marked = set(), set()
    for section, field in settings.Settings.model_fields.items():
        for key, known in getattr(field.annotation, "model_fields", {}).items():
            if any(word in key for word in ("url", "server", "endpoint", "host")):
                sounding.add(f"{section}.{key}")
            if settings.find_address_mark(known):
                marked.add(f"{section}.{key}")

    assert marked == sounding


@posix
def test_a_unit_of_other_settings_is_named_with_what_it_forbids(tmp_path) -> None:
    before = unit(tmp_path)
    after = unit(
        tmp_path,
        '[trail]\nanchor = "/srv/it/anchor.jsonl"\ntimestamp_url = "https://tsa.example"\n'
        '[web]\nkey = "/srv/keys/page.pem"\n',
    )

    assert compare_rights(before, after) == "/srv/it, /srv/keys, the network"
    assert compare_rights(after, before) == ""
    assert compare_rights(after, after) == ""
    other = before.replace("/opt/martensight/bin/agent", "/opt/other/bin/agent")
    assert compare_rights(other, after) == ""


# --- what is said to systemd --------------------------------------------------------------------


def test_a_service_manager_is_spoken_to_only_where_there_is_one(monkeypatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)

    Manager().say("READY=1")


@posix
def test_a_service_manager_hears_that_the_agent_is_ready(monkeypatch, tmp_path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(str(tmp_path / "notify"))
        line.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))

        Manager().say("READY=1")

        assert line.recv(64) == b"READY=1"


# --- its share of the PC ------------------------------------------------------------------------


def test_the_agent_takes_half_the_cores_and_at_least_two() -> None:
    for wished, there, taken in (
        (0, 16, 8),
        (0, 4, 2),
        (0, 2, 2),
        (0, 1, 1),
        (3, 16, 3),
        (9, 4, 4),
    ):
        assert process_limits.count_cores(wished, there) == taken, wished


def test_what_the_agent_starts_is_kept_to_the_same_cores() -> None:
    script = (
        "import os, subprocess, sys; from agent.host.process_limits import keep_to_share; "
        "n = keep_to_share(1); "
        "code = 'import os; print(len(os.sched_getaffinity(0)))'; "
        "print(n, subprocess.check_output([sys.executable, '-c', code], text=True))"
    )
    if not hasattr(os, "sched_getaffinity"):
        pytest.skip("this system cannot be asked")

    said = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert said.stdout.split() == ["1", "1"]


def test_on_windows_the_account_may_read_its_settings_and_write_its_folders(tmp_path) -> None:
    file, read = lab(tmp_path, '[orders]\noutbox = "/data/lims/in"')

    told = {folder: (may, rule[1]) for may, folder, rule in iter_rights("LAB\\name$", file, read)}

    assert told[tmp_path] == ("read", "LAB\\name$:(OI)(NP)RX")
    assert told[read.store.folder] == ("write", "LAB\\name$:(OI)(CI)M")
    assert told[Path(read.orders.outbox)][0] == "write"


def test_on_windows_the_account_may_use_every_path_of_the_settings(tmp_path) -> None:
    file, read = lab(tmp_path, all_paths_at("/srv"))

    told = {path: may for may, path, _ in iter_rights("LAB\\name$", file, read)}

    for named in settings.iter_paths(read):
        if not named.source:
            may = "read" if named.right is settings.Right.READ else "write"
            assert told[named.folder] == may, named.label


# --- who may read what --------------------------------------------------------------------------


@root
def test_settings_and_data_are_the_accounts_and_not_every_users(tmp_path) -> None:
    config, data = tmp_path / "agent.toml", tmp_path / "lab" / "data"
    config.write_text("[store]\n", encoding="utf-8")
    config.chmod(0o644)

    said = [*_permit_reading(config, "nobody"), *hand_over(data, "nobody")]

    assert stat.S_IMODE(config.stat().st_mode) == 0o640
    assert config.owner() == "root"
    assert config.stat().st_gid == data.stat().st_gid
    assert (data.owner(), data.stat().st_mode & stat.S_IRWXO) == ("nobody", 0)
    assert "it may hold a password" in said[0]
    assert list(_permit_reading(config, "nobody")) == []
