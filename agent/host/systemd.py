"""Notify systemd (ready, alive, stopping), and install the agent as its service.

`systemd_unit` writes the unit; here it is installed, with its account.
"""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from agent.errors import WrongUse
from agent.host.file_ownership import hand_over, permit_account
from agent.host.systemd_unit import ACCOUNT, UNIT, inspect_machine, list_shared_folders, render_unit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.settings import Settings

FOLDER = Path("/etc/systemd/system")
JOURNAL_LINES = 20_000
EXTENDED_S = 120
"""Time (s) that an upgrade requests each time; it requests it every ten seconds."""
LONGEST_SEND_S = 5.0
"""A message waits this long for a manager that does not read; then it is dropped."""


def has_journal() -> bool:
    """Return whether our stderr goes to systemd's journal, which keeps the log itself."""
    return "JOURNAL_STREAM" in os.environ


class Manager:
    """Connection to systemd; does nothing where systemd did not start this process."""

    def __init__(self) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET", "")

    def say(self, message: str, *, wait_s: float = LONGEST_SEND_S) -> None:
        """Send one message; a line that is down, or that nothing reads, is no reason to stop.

        Args:
            message: As sd_notify(3) describes it.
            wait_s: How long to wait while the manager's queue is full, in seconds.
        """
        if not self._address or not hasattr(socket, "AF_UNIX"):
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
                line.settimeout(wait_s)
                line.sendto(message.encode(), address)
        except OSError:
            return

    def extend_start(self, status: str, *, by_s: int = EXTENDED_S) -> None:
        """Extend the time until it has to be ready; to be repeated within that time.

        Args:
            status: What takes so long.
            by_s: Seconds from now on.

        Source:
            sd_notify(3), EXTEND_TIMEOUT_USEC.
        """
        self.say(f"EXTEND_TIMEOUT_USEC={by_s * 1_000_000}\nSTATUS={status}", wait_s=0)


class Systemd:
    """The service in systemd. Needs root, except for `status`."""

    def install(
        self, config: Path | None, settings: Settings, *, account: str = ""
    ) -> Iterator[str]:
        """Make the account and the data folder, write the unit, and have it start with the PC.

        Raises:
            WrongUse: No settings file is there, this is not root, or the account is unknown.
        """
        if config is None:
            raise WrongUse("a service needs a settings file: write one with agent init DIR.")
        _refuse_others()
        name = account or ACCOUNT
        yield from _make_account(name, settings.store.folder, make=not account)
        yield from hand_over(settings.store.folder, name)
        for setting, folder in list_shared_folders(settings).items():
            yield from permit_account(setting, folder, name)
        yield from _permit_reading(config, name)
        text = render_unit(config, settings, inspect_machine(settings), account=name)
        _write(FOLDER / UNIT, text)
        yield f"wrote {FOLDER / UNIT}"
        yield from _systemctl("daemon-reload")
        yield from _systemctl("enable", "--quiet", UNIT)
        yield "it starts with this PC; now: agent service start"

    def uninstall(self) -> Iterator[str]:
        """Stop it and remove the unit; data, settings and account stay."""
        _refuse_others()
        if not (FOLDER / UNIT).is_file():
            raise WrongUse(f"the service is not installed: there is no {FOLDER / UNIT}.")
        yield from _systemctl("disable", "--now", "--quiet", UNIT)
        (FOLDER / UNIT).unlink(missing_ok=True)
        yield from _systemctl("daemon-reload")
        yield f"removed {FOLDER / UNIT}; data, settings and the account stay."

    def start(self) -> Iterator[str]:
        """Start it, and wait until it watches its sources."""
        _refuse_others()
        yield from _systemctl("start", UNIT)
        yield "it runs; its log: journalctl -u martensight -f"

    def stop(self) -> Iterator[str]:
        """Stop it; the current file is finished."""
        _refuse_others()
        yield from _systemctl("stop", UNIT)
        yield "it is stopped."

    def status(self) -> Iterator[str]:
        """Yield systemd's state of it."""
        yield from _systemctl("status", "--no-pager", "--lines=5", UNIT, may_fail=True)


def read_journal() -> str:
    """Return the end of the service's log in the journal; "" where there is none."""
    program = shutil.which("journalctl")
    if program is None:
        return ""
    command = [program, "--unit", UNIT, "--lines", str(JOURNAL_LINES), "--output", "cat", "--quiet"]
    done = subprocess.run(  # noqa: S603 - our own words
        [*command, "--no-pager"], capture_output=True, check=False
    )
    return done.stdout.decode("utf-8", errors="replace") if done.returncode == 0 else ""


def find_service_account() -> str | None:
    """Return the account of the installed service; None where none is installed."""
    try:
        lines = (FOLDER / UNIT).read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((line.removeprefix("User=") for line in lines if line.startswith("User=")), None)


PERMITS = ("ReadWritePaths", "BindReadOnlyPaths", "BindPaths")
DENIES = "IPAddressDeny=any"


def find_missing_rights(config: Path, settings: Settings, account: str) -> str:
    """Return what the settings ask for and the installed unit forbids, "" for nothing.

    Of a unit for another settings file nothing is known.
    """
    try:
        installed = (FOLDER / UNIT).read_text(encoding="utf-8")
    except OSError:
        return ""
    wanted = render_unit(config, settings, inspect_machine(settings), account=account)
    return compare_rights(installed, wanted)


def compare_rights(installed: str, wanted: str) -> str:
    """Return what a unit permits that another one forbids, "" for nothing."""
    before, after = _read_lines(installed), _read_lines(wanted)
    if before.get("ExecStart") != after.get("ExecStart"):
        return ""
    missing = [
        path.strip('"').removeprefix("-")
        for key in PERMITS
        for path in after.get(key, "").split(" ")
        if path and path not in before.get(key, "").split(" ")
    ]
    if DENIES in installed.splitlines() and DENIES not in wanted.splitlines():
        missing.append("the network")
    return ", ".join(dict.fromkeys(missing))


def _read_lines(unit: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in unit.splitlines() if "=" in line)


def _refuse_others() -> None:
    if os.geteuid() != 0:
        raise WrongUse("only root may change services: sudo agent --config FILE service …")


def _make_account(name: str, home: Path, *, make: bool) -> Iterator[str]:
    import pwd  # noqa: PLC0415 - POSIX alone

    try:
        pwd.getpwnam(name)
    except KeyError as error:
        if not make:
            raise WrongUse(f"--account {name}: there is no such user on this PC.") from error
        _run(
            "useradd", "--system", "--user-group", "--no-create-home",
            "--home-dir", str(home), "--shell", "/usr/sbin/nologin", name,
        )  # fmt: skip
        yield f"made the user {name}, who cannot log in"


def _permit_reading(config: Path, name: str) -> Iterator[str]:
    """Permit the account's group alone to read the settings: they may hold a password."""
    import pwd  # noqa: PLC0415 - POSIX alone

    status, user = config.stat(), pwd.getpwnam(name)
    mode = (stat.S_IMODE(status.st_mode) | stat.S_IRGRP) & ~stat.S_IRWXO
    if (status.st_gid, stat.S_IMODE(status.st_mode)) == (user.pw_gid, mode):
        return
    os.chown(config, -1, user.pw_gid)
    config.chmod(mode)
    yield f"{config} can be read by its owner and by {name} alone now: it may hold a password"


def _write(file: Path, text: str) -> None:
    part = file.with_name(f".{file.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(file)
    except OSError as error:
        raise WrongUse(f"{file}: cannot be written ({error.strerror}).") from error


def _systemctl(*arguments: str, may_fail: bool = False) -> Iterator[str]:
    if shutil.which("systemctl") is None:
        raise WrongUse("systemctl: not found; this PC does not run systemd.")
    yield from _run("systemctl", *arguments, may_fail=may_fail)


def _run(program: str, *arguments: str, may_fail: bool = False) -> list[str]:
    path = shutil.which(program)
    if path is None:
        raise WrongUse(f"{program}: not found on this PC.")
    done = subprocess.run(  # noqa: S603 - our own words
        [path, *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode and not may_fail:
        output = (done.stderr or done.stdout).strip()
        raise WrongUse(f"{program} {' '.join(arguments)}: {output}")
    return [*done.stdout.splitlines(), *(done.stderr.splitlines() if may_fail else ())]
