"""Speak with systemd: ready, alive, stopping; and install the unit.

In:  the running agent's words. Out: messages on systemd's socket. Next: systemd.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from agent.errors import WrongUse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.settings import Settings

UNIT = "martensight.service"
FOLDER = Path("/etc/systemd/system")
USER = "martensight"


def has_journal() -> bool:
    """Say whether our stderr goes to systemd's journal, which keeps the log itself."""
    return "JOURNAL_STREAM" in os.environ


class Manager:
    """The line to systemd, or to nobody where it did not start us."""

    def __init__(self) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET", "")

    def say(self, message: str) -> None:
        """Send one message; a line that is down is no reason to stop."""
        if not self._address or not hasattr(socket, "AF_UNIX"):
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
                line.sendto(message.encode(), address)
        except OSError:
            return


class Systemd:
    """The service as systemd keeps it."""

    def install(self, config: Path | None, settings: Settings) -> Iterator[str]:
        """Write the unit, and have it start with the PC.

        Raises:
            WrongUse: No settings file is there, or this is not root.
        """
        if config is None:
            raise WrongUse("a service needs a settings file: write one with agent init DIR.")
        text = unit_for(config, settings)
        _need_user(settings.store.folder)
        try:
            (FOLDER / UNIT).write_text(text, encoding="utf-8")
        except OSError as error:
            raise WrongUse(
                f"{FOLDER / UNIT}: cannot be written ({error.strerror}); run this as root."
            ) from error
        yield f"wrote {FOLDER / UNIT}"
        yield from _systemctl("daemon-reload")
        yield from _systemctl("enable", UNIT)
        yield "start it with: agent service start"

    def uninstall(self) -> Iterator[str]:
        """Stop it and remove the unit."""
        yield from _systemctl("disable", "--now", UNIT)
        try:
            (FOLDER / UNIT).unlink(missing_ok=True)
        except OSError as error:
            raise WrongUse(
                f"{FOLDER / UNIT}: cannot be removed ({error.strerror}); run this as root."
            ) from error
        yield from _systemctl("daemon-reload")
        yield f"removed {FOLDER / UNIT}"

    def start(self) -> Iterator[str]:
        """Start it."""
        yield from _systemctl("start", UNIT)

    def stop(self) -> Iterator[str]:
        """Stop it."""
        yield from _systemctl("stop", UNIT)

    def status(self) -> Iterator[str]:
        """Say what systemd knows of it."""
        yield from _systemctl("status", "--no-pager", UNIT, may_fail=True)


def _need_user(folder: Path) -> None:
    import pwd  # noqa: PLC0415 - POSIX alone

    try:
        pwd.getpwnam(USER)
    except KeyError as error:
        raise WrongUse(
            f"the service runs as the user {USER}, who does not exist yet: "
            f"useradd --system {USER} && chown -R {USER}: {folder}"
        ) from error


def unit_for(config: Path, settings: Settings) -> str:
    """Write the unit for one settings file, hardened, with only the data folder writable."""
    command = Path(sys.executable).with_name("agent")
    program = str(command) if command.is_file() else f"{sys.executable} -m agent"
    folder = settings.store.folder
    return _TEMPLATE.format(
        program=program, config=config, folder=folder, reads=" ".join(
            f'"-{source.folder}"' for source in settings.sources
        ) or '"-/mnt"',
    )  # fmt: skip


def _systemctl(*arguments: str, may_fail: bool = False) -> Iterator[str]:
    program = shutil.which("systemctl")
    if program is None:
        raise WrongUse("systemctl: not found; this PC does not run systemd.")
    done = subprocess.run(  # noqa: S603 - our own words
        [program, *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode and not may_fail:
        raise WrongUse(f"systemctl {' '.join(arguments)}: {done.stderr.strip()}")
    yield from done.stdout.splitlines()


_TEMPLATE = """\
[Unit]
Description=Martensight: quality control of hardened-steel micrographs
After=network-online.target remote-fs.target time-sync.target
Wants=network-online.target

[Service]
Type=notify
NotifyAccess=main
ExecStart={program} --config "{config}" run
WorkingDirectory={folder}
Restart=on-failure
RestartSec=5
WatchdogSec=120
TimeoutStartSec=300
TimeoutStopSec=30
Nice=5
IOSchedulingClass=best-effort
IOSchedulingPriority=6
User=martensight
Group=martensight

# It reads the sources, and writes into its data folder alone.
ProtectSystem=strict
ReadWritePaths="{folder}"
ReadOnlyPaths={reads}
ProtectHome=read-only
PrivateTmp=yes
PrivateDevices=no
DeviceAllow=char-nvidia* rw
DevicePolicy=closed
NoNewPrivileges=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
ProtectProc=invisible
ProcSubset=all
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
RemoveIPC=yes
CapabilityBoundingSet=
AmbientCapabilities=
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
UMask=0027

[Install]
WantedBy=multi-user.target
"""
