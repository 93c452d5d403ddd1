"""Notify systemd (ready, alive, stopping), and install the agent as its service.

`systemd_unit` writes the unit; here it is installed, with its account.
"""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import agent
from agent.errors import UsageError
from agent.files.shares import is_folder
from agent.host.file_ownership import hand_over, permit_account
from agent.settings import Right, Settings, iter_paths, needs_network

# --- write the systemd unit of one settings file: its account sees the sources and little else ----
# Homes and shares are hidden behind empty file systems, and what is needed is bind-mounted into
# them. A share that may be unmounted and mounted again is shown through the folder of its mount
# point: bound alone it would stay the mount that it was when the service started.


UNIT = "martensight.service"
ACCOUNT = "martensight"
HIDDEN = ("/home", "/root", "/run/user", "/mnt", "/media", "/srv")
"""Places of users' files and shares. Not ProtectHome: it would leave /root closed to the account,
and with it a program or an export below it.
"""

PRIVATE = ("/tmp", "/var/tmp")  # noqa: S108 - PrivateTmp hides them too
HOMES = (Path("/home"), Path("/root"))
"""Never shown whole."""

WATCHDOG_S = 120
"""Heartbeats are sent every 5 s, and only while the work moves on; a slow disk has time enough."""

START_S, STOP_S = 300, 20
"""A large database is migrated at the start; the agent itself ends within 10 s."""


@dataclass(frozen=True, slots=True)
class Machine:
    """Facts of this PC that the unit depends on.

    Args:
        command: What starts the agent, as words.
        program: Folders the program is read from.
        mount_points: Where file systems are, or may be, mounted.
        neighbours: Returns what else is in the folder of a path.
        has_gpu: Whether NVIDIA's devices are there.
    """

    command: tuple[str, ...]
    program: tuple[Path, ...] = ()
    mount_points: frozenset[Path] = frozenset()
    neighbours: dict[Path, tuple[Path, ...]] = field(default_factory=dict)
    has_gpu: bool = False


def inspect_machine(settings: Settings) -> Machine:
    """Return the facts of this PC."""
    folders = [
        *(source.folder for source in settings.sources),
        *list_shared_folders(settings).values(),
        *_list_read(settings),
    ]
    alone = {path for path in _list_read(settings) if _is_home(path.parent)}
    away = (_first_missing(path) for path in folders if path not in alone and not is_folder(path))
    mounts = frozenset({*_mounted("/proc/self/mounts"), *_mounted("/etc/fstab"), *away})
    parents = {mount.parent for folder in folders for mount in _mount_of(folder, mounts)}
    return Machine(
        command=_command(),
        program=tuple(dict.fromkeys(map(Path, (sys.prefix, sys.base_prefix, _package())))),
        mount_points=mounts,
        neighbours={parent: _inside(parent) for parent in parents},
        has_gpu=Path("/dev/nvidiactl").exists(),
    )


def _command() -> tuple[str, ...]:
    script = Path(sys.executable).with_name("agent")
    return (str(script),) if script.is_file() else (sys.executable, "-m", "agent")


def _package() -> str:
    return str(Path(agent.__file__).resolve().parents[1])


def _mounted(table: str) -> Iterator[Path]:
    try:
        lines = Path(table).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        words = line.split()
        if len(words) > 1 and not words[0].startswith("#") and words[1].startswith("/"):
            yield Path(words[1].replace("\\040", " "))


def _first_missing(folder: Path) -> Path:
    """Return what has to be mounted, or made, before a folder exists."""
    return next(parent for parent in (*reversed(folder.parents), folder) if not is_folder(parent))


def _inside(folder: Path) -> tuple[Path, ...]:
    try:
        return tuple(sorted(folder.iterdir()))
    except OSError:
        return ()


# --- what is shown, and what is not -------------------------------------------------------------


def _is_hidden(path: Path) -> bool:
    return any(path.is_relative_to(top) for top in (*HIDDEN, *PRIVATE))


def _mount_of(folder: Path, mounts: frozenset[Path]) -> Iterator[Path]:
    """Yield the share of a hidden folder, if one is or may be mounted above it."""
    tops = {Path(top) for top in (*HIDDEN, *PRIVATE)}
    above = (parent for parent in (*reversed(folder.parents), folder) if parent in mounts)
    hidden = [mount for mount in above if _is_hidden(mount) and mount not in tops]
    yield from (place for place in hidden[:1] if place.parent not in HOMES)


def list_bound_folders(folders: Iterable[Path], machine: Machine) -> list[Path]:
    """Return which folders are bound into the hidden places, so that each source is always seen."""
    needed: dict[Path, None] = {}
    for folder in folders:
        mounts = list(_mount_of(folder, machine.mount_points))
        if mounts:
            needed[mounts[0].parent] = None
        elif _is_hidden(folder):
            needed[folder] = None
    return list(needed)


def list_hidden_neighbours(
    folders: Sequence[Path], machine: Machine, keep: Sequence[Path]
) -> list[Path]:
    """Return which neighbours, shown with a share's parent, have to be hidden again."""
    return [
        neighbour
        for folder in folders
        for neighbour in machine.neighbours.get(folder, ())
        if not any(
            kept.is_relative_to(neighbour) or neighbour.is_relative_to(kept) for kept in keep
        )
    ]


# --- the text -----------------------------------------------------------------------------------


def render_unit(
    config: Path, settings: Settings, machine: Machine, *, account: str = ACCOUNT
) -> str:
    """Write the unit for one settings file: what it permits is what the settings name."""
    data, shared = settings.store.folder, list(list_shared_folders(settings).values())
    sources = [source.folder for source in settings.sources]
    # A share that is away must not keep the service from starting, so its folders may be missing;
    # one that comes back is seen and written through its mount point.
    mounted = {
        folder: mount for folder in shared for mount in _mount_of(folder, machine.mount_points)
    }
    alone = [folder for folder in shared if _is_hidden(folder) and folder not in mounted]
    writable = [str(data), *(f"-{mounted.get(folder, folder)}" for folder in shared)]
    read = [path for path in _list_read(settings) if not path.is_relative_to(config.parent)]
    visible = list_bound_folders([*sources, *mounted, *read], machine)
    keep = [*sources, data, *shared, *read, config.parent]
    beside = list_hidden_neighbours(visible, machine, keep=keep)
    program = [folder for folder in machine.program if _is_hidden(folder)]
    readable = [*visible, *program, *(f for f in (config.parent,) if _is_hidden(f))]
    return _TEMPLATE.format(
        command=" ".join(_word(word) for word in (*machine.command, "--config", str(config))),
        account=account,
        folder=_escaped(settings.store.folder),
        watchdog_s=WATCHDOG_S,
        start_s=START_S,
        stop_s=STOP_S,
        writable=_paths(dict.fromkeys(writable)),
        laid_in="".join(
            f"{key}={_paths(paths)}\n"
            for key, paths in (
                ("BindReadOnlyPaths", [f"-{path}" for path in dict.fromkeys(readable)]),
                (
                    "BindPaths",
                    [*([str(data)] if _is_hidden(data) else ()), *(f"-{path}" for path in alone)],
                ),
                ("InaccessiblePaths", [f"-{path}" for path in beside]),
            )
            if paths
        ),
        hidden=" ".join(f"{top}:ro,mode=755" for top in HIDDEN if Path(top) not in visible),
        devices=_GPU if machine.has_gpu and settings.model.device != "cpu" else _NO_DEVICES,
        network="" if needs_network(settings) else _ALONE,
    )


def list_shared_folders(settings: Settings) -> dict[str, Path]:
    """Return the folders that the agent writes to, by setting; not the data folder."""
    return {
        named.label: named.folder
        for named in iter_paths(settings)
        if named.right is not Right.READ and named.path != settings.store.folder
    }


def list_read_paths(settings: Settings) -> dict[str, Path]:
    """Return the files and folders that the agent reads, by setting; not the sources."""
    return {
        named.label: named.path
        for named in iter_paths(settings)
        if named.right is Right.READ and not named.source
    }


def _list_read(settings: Settings) -> list[Path]:
    """Return what has to be seen for that: a file's folder, since a renewed file is another one.

    A file that is in a user's home is seen alone.
    """
    paths = list_read_paths(settings).values()
    return [path if is_folder(path) or _is_home(path.parent) else path.parent for path in paths]


def _is_home(folder: Path) -> bool:
    return folder in HOMES or folder.parent in HOMES or str(folder) in HIDDEN


def _word(word: str) -> str:
    escaped = _escaped(word).replace("$", "$$")
    return f'"{escaped}"' if any(character in word for character in " \"'") else escaped


def _escaped(path: Path | str) -> str:
    # systemd reads % as a specifier, and a backslash as the begin of an escape.
    return str(path).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")


def _paths(paths: Iterable[Path | str]) -> str:
    return " ".join(f'"{_escaped(path).replace(":", chr(92) * 2 + ":")}"' for path in paths)


_GPU = """\
PrivateDevices=no
DevicePolicy=closed
DeviceAllow=char-nvidia rw
DeviceAllow=char-nvidia-uvm rw
DeviceAllow=char-nvidia-caps r
"""

_NO_DEVICES = "PrivateDevices=yes\n"

_ALONE = """\
# Database, page and notices are this PC's own: nothing goes out, and nothing comes in.
IPAddressDeny=any
IPAddressAllow=localhost
"""

_TEMPLATE = """\
[Unit]
Description=Martensight: quality control of hardened-steel micrographs
After=network-online.target remote-fs.target time-sync.target
Wants=network-online.target

[Service]
Type=notify
NotifyAccess=main
ExecStart={command} run
WorkingDirectory={folder}
User={account}
Group={account}
UMask=0027
SyslogIdentifier=martensight
Environment=MPLCONFIGDIR=/tmp/matplotlib XDG_CACHE_HOME=/tmp/cache
# Pictures come and go in every size: without these glibc keeps more and more of their memory.
Environment=MALLOC_ARENA_MAX=2 MALLOC_MMAP_THRESHOLD_=262144

# It comes back whatever ends it: sooner at first, and every five minutes where a set-up is wrong.
Restart=on-failure
RestartSec=5
RestartSteps=5
RestartMaxDelaySec=300
WatchdogSec={watchdog_s}
TimeoutStartSec={start_s}
# The agent is told to stop, not the processes that read for it: the file in hand is finished.
KillMode=mixed
TimeoutStopSec={stop_s}
# One reading process that takes too much memory is no reason to stop all.
OOMPolicy=continue
LimitCORE=0
# Watched folders, workers, the database and each connection to the page need some.
LimitNOFILE=65536
Nice=5
IOSchedulingClass=best-effort
IOSchedulingPriority=6

# It sees the sources; it writes into its data folder, and where back-ups, lists and results go.
ProtectSystem=strict
ReadWritePaths={writable}
TemporaryFileSystem={hidden}
{laid_in}PrivateTmp=yes
{devices}{network}NoNewPrivileges=yes
PrivateUsers=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
ProtectProc=invisible
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
RemoveIPC=yes
KeyringMode=private
CapabilityBoundingSet=
AmbientCapabilities=
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"""


# --- notify systemd (ready, alive, stopping), and install the agent as its service ----------------


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

    def extend_start(self, status: str) -> None:
        """Extend the time until it has to be ready; to be repeated within that time.

        Args:
            status: What takes so long.

        Source:
            sd_notify(3), EXTEND_TIMEOUT_USEC.
        """
        self.say(f"EXTEND_TIMEOUT_USEC={EXTENDED_S * 1_000_000}\nSTATUS={status}", wait_s=0)


class Systemd:
    """The service in systemd. Needs root, except for `status`."""

    def install(
        self, config: Path | None, settings: Settings, *, account: str = ""
    ) -> Iterator[str]:
        """Make the account and the data folder, write the unit, and have it start with the PC.

        Raises:
            UsageError: No settings file is there, this is not root, or the account is unknown.
        """
        if config is None:
            raise UsageError("a service needs a settings file: write one with agent init DIR.")
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
            raise UsageError(f"the service is not installed: there is no {FOLDER / UNIT}.")
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
        raise UsageError("only root may change services: sudo agent --config FILE service …")


def _make_account(name: str, home: Path, *, make: bool) -> Iterator[str]:
    import pwd  # noqa: PLC0415 - POSIX alone

    try:
        pwd.getpwnam(name)
    except KeyError as error:
        if not make:
            raise UsageError(f"--account {name}: there is no such user on this PC.") from error
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
        raise UsageError(f"{file}: cannot be written ({error.strerror}).") from error


def _systemctl(*arguments: str, may_fail: bool = False) -> Iterator[str]:
    if shutil.which("systemctl") is None:
        raise UsageError("systemctl: not found; this PC does not run systemd.")
    yield from _run("systemctl", *arguments, may_fail=may_fail)


def _run(program: str, *arguments: str, may_fail: bool = False) -> list[str]:
    path = shutil.which(program)
    if path is None:
        raise UsageError(f"{program}: not found on this PC.")
    done = subprocess.run(  # noqa: S603 - our own words
        [path, *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode and not may_fail:
        output = (done.stderr or done.stdout).strip()
        raise UsageError(f"{program} {' '.join(arguments)}: {output}")
    return [*done.stdout.splitlines(), *(done.stderr.splitlines() if may_fail else ())]
