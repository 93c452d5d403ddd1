"""Check every path and address of the settings with the rights of the service account.

Root may read everything, the service may not. If root runs the check and a service is installed, a
child process with the account of the service does it.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from agent.cli.start.doctor_records import DoctorResult, Level, examine_network
from agent.files.shares import inspect, is_file
from agent.host.systemd import list_read_paths
from agent.settings import NamedPath, Right, Settings, Source, iter_paths

LITTLE_DISK_BYTES = 5_000_000_000
"""Our choice: an operator has time to act before a full disk stops processing."""

CLOCK_OFF_S = 60.0
"""File times are compared with each other; a larger offset falsifies times in reports."""

WINDOWS_PATH = 260
LONGEST_BELOW = 110
"""Characters of the longest path below the data folder."""

OF_THE_DISK = "lost+found"
"""Folder of root at the top of every ext4 disk, also if the disk is the data folder."""

SAMPLE_SIZE = 200
MAY_BE_MISSING = frozenset({"[orders] specifications"})
"""Without it no order has limits, which many labs begin with."""


def examine_folders(settings: Settings, account: str | None) -> list[DoctorResult]:
    """Check the data folder, each other path and each address of the settings, and the sources.

    Args:
        settings: Settings of the lab.
        account: Account of the installed service, or None.
    """

    def check() -> list[DoctorResult]:
        return [
            *_data_folder(settings.store.folder),
            *(
                finding
                for named in iter_paths(settings)
                if named.right is not Right.READ and named.path != settings.store.folder
                for finding in _written_path(named)
            ),
            *(
                finding
                for setting, path in list_read_paths(settings).items()
                for finding in _read_path(setting, path)
            ),
            *(finding for source in settings.sources for finding in _source(source)),
            *examine_network(settings),
        ]

    if account and (hasattr(os, "fork") and os.geteuid() == 0 and account != "root"):
        return [
            DoctorResult("account", "right", f"checked as {account}."),
            *_as_account(account, check),
        ]
    if account and sys.platform == "win32":
        sentence = (
            f"the service runs as {account}, but this check ran as "
            f"{os.environ.get('USERNAME', 'you')}. After the start agent status shows whether the "
            "service can read the shares."
        )
        return [DoctorResult("account", "doubtful", sentence), *check()]
    return check()


def _as_account(account: str, check: Callable[[], list[DoctorResult]]) -> list[DoctorResult]:
    """Run the checks in a child process that has dropped root rights."""
    import pwd  # POSIX alone

    try:
        user = pwd.getpwnam(account)
    except KeyError:
        return [
            DoctorResult("account", "wrong", f"{account}: no such user. Run agent service install.")
        ]
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.initgroups(account, user.pw_gid)
            os.setgid(user.pw_gid)
            os.setuid(user.pw_uid)
            rows = [[f.check, f.level, f.sentence] for f in check()]
            os.write(writes, json.dumps(rows).encode())
        finally:
            os._exit(0)
    os.close(writes)
    with os.fdopen(reads, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    if not answer:
        return [DoctorResult("account", "wrong", f"the checks did not run as {account}.")]
    return [DoctorResult(*row) for row in json.loads(answer)]


def _probe(folder: Path) -> float:
    """Return the offset of a new file's time from this PC's clock, in seconds."""
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".") as probe:
        began_s = time.time()
        probe.write(b"probe")
        probe.flush()
        os.fsync(probe.fileno())
        return os.fstat(probe.fileno()).st_mtime - began_s


def _written_path(named: NamedPath) -> Iterator[DoctorResult]:
    if named.right is Right.APPEND and is_file(named.path):  # others' folder, the agent's file
        try:
            inspect(named.path, lambda: named.path.open("ab").close())
        except OSError as error:
            yield DoctorResult(named.label, "wrong", _explain(named.path, "not writable", error))
        else:
            yield DoctorResult(named.label, "right", f"{named.path} can be appended to.")
        return
    yield from _shared_folder(named.label, named.folder)


def _read_path(setting: str, path: Path) -> Iterator[DoctorResult]:
    if _is_mapped(path):
        yield DoctorResult(setting, "wrong", _mapped(path))
        return
    try:
        inspect(path, lambda: _read_some(path))
    except FileNotFoundError:
        if setting in MAY_BE_MISSING:
            sentence = f"none: no order has a limit. To set limits, write {path}."
            yield DoctorResult(setting, "right", sentence)
            return
        sentence = f"{path}: no such file, or no permission to its folder."
        yield DoctorResult(setting, "wrong", sentence)
    except OSError as error:
        yield DoctorResult(setting, "wrong", _explain(path, "not readable", error))
    else:
        yield DoctorResult(setting, "right", f"{path} is readable.")


def _read_some(path: Path) -> None:
    if path.is_dir():
        with os.scandir(path):
            return
    with path.open("rb") as file:
        file.read(1)


def _explain(path: Path, fault: str, error: OSError) -> str:
    right = "write" if fault == "not writable" else "read"
    why = error.strerror or str(error)
    return f"{path}: {fault} ({why}). Give the account {right} permission."


def _shared_folder(setting: str, folder: Path) -> Iterator[DoctorResult]:
    if _is_mapped(folder):
        yield DoctorResult(setting, "wrong", _mapped(folder))
        return
    if setting == "[backup] folder":
        with suppress(OSError):  # as the nightly one does
            inspect(folder, lambda: folder.mkdir(exist_ok=True))
    try:
        inspect(folder, lambda: _probe(folder))
    except (FileNotFoundError, NotADirectoryError):
        yield DoctorResult(
            setting,
            "wrong",
            f"{folder}: no such folder, or no permission. Create it, or mount its share.",
        )
        return
    except OSError as error:
        why = error.strerror or str(error)
        yield DoctorResult(
            setting,
            "wrong",
            f"{folder}: not writable ({why}). Give the account write permission.",
        )
        return
    yield DoctorResult(setting, "right", f"{folder} is writable.")


def _data_folder(folder: Path) -> Iterator[DoctorResult]:
    if _is_mapped(folder):
        yield DoctorResult("data folder", "wrong", _mapped(folder))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        offset_s = _probe(folder)
    except OSError as error:
        why = error.strerror or str(error)
        yield DoctorResult(
            "data folder",
            "wrong",
            f"{folder}: not writable ({why}). Give the account write permission.",
        )
        return
    others = [
        entry.name
        for entry in os.scandir(folder)
        if entry.name != OF_THE_DISK and not os.access(entry, os.W_OK)
    ]
    if others:
        yield DoctorResult(
            "data folder",
            "wrong",
            f"{folder}: {', '.join(sorted(others))} cannot be changed, probably because another "
            "account owns it. On Linux run agent service install.",
        )
        return
    yield DoctorResult("data folder", "right", f"{folder} is writable.")
    if abs(offset_s) > CLOCK_OFF_S:
        yield DoctorResult("clock", "doubtful", _clock(folder, offset_s))
    yield from _path_length(folder)
    free = shutil.disk_usage(folder).free
    level: Level = "right" if free >= LITTLE_DISK_BYTES else "doubtful"
    more = (
        ""
        if level == "right"
        else " Free disk space, or set [retention] and run agent files prune."
    )
    yield DoctorResult("free disk", level, f"{free / 1e9:.1f} GB free at {folder}.{more}")


def _path_length(folder: Path) -> Iterator[DoctorResult]:
    if sys.platform != "win32":
        return
    if len(str(folder)) + LONGEST_BELOW < WINDOWS_PATH or _long_paths():
        yield DoctorResult("long paths", "right", "the paths of the data folder are short enough.")
        return
    yield DoctorResult(
        "long paths",
        "wrong",
        f"{folder} has {len(str(folder))} characters, and Windows limits paths to 260. Choose a "
        "shorter folder, or set LongPathsEnabled to 1 under "
        r"HKLM\SYSTEM\CurrentControlSet\Control\FileSystem.",
    )


def _long_paths() -> bool:
    import winreg  # Windows alone

    place = r"SYSTEM\CurrentControlSet\Control\FileSystem"
    try:
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, place) as key:  # type: ignore[attr-defined, unused-ignore]
            return bool(winreg.QueryValueEx(key, "LongPathsEnabled")[0])  # type: ignore[attr-defined, unused-ignore]
    except OSError:
        return False


def _source(source: Source) -> Iterator[DoctorResult]:
    check, folder = f"source {source.name}", source.folder
    if _is_mapped(folder):
        yield DoctorResult(check, "wrong", _mapped(folder))
        return
    try:
        is_empty, newest = inspect(folder, lambda: _sample(folder))
    except FileNotFoundError:
        yield DoctorResult(
            check,
            "wrong",
            f"{folder}: no such folder, or no permission. Mount the share, or correct the path.",
        )
        return
    except OSError as error:
        yield DoctorResult(
            check,
            "wrong",
            f"{folder}: not readable ({error.strerror}). Give the account read permission.",
        )
        return
    state = "is empty" if is_empty else "is readable"
    yield DoctorResult(check, "right", f"{folder} {state}.")
    if newest is not None and newest - time.time() > CLOCK_OFF_S:
        yield DoctorResult("clock", "doubtful", _clock(folder, newest - time.time()))


def _sample(folder: Path) -> tuple[bool, float | None]:
    """Return whether a source is empty, and the newest time of its first files; read of one."""
    with os.scandir(folder) as entries:
        sample = [entry for _, entry in zip(range(SAMPLE_SIZE), entries, strict=False)]
    files = [entry for entry in sample if entry.is_file(follow_symlinks=False)]
    if not files:
        return not sample, None
    with open(files[0].path, "rb") as file:  # noqa: PTH123 - a path as the system returns it
        file.read(1)
    return False, max(entry.stat(follow_symlinks=False).st_mtime for entry in files)


def _clock(folder: Path, offset_s: float) -> str:
    direction = "ahead of" if offset_s > 0 else "behind"
    return (
        f"the clock of {folder} is {abs(offset_s):.0f} s {direction} this PC's clock. Synchronise "
        "both with one time server; otherwise times in reports are wrong by this amount."
    )


def _is_mapped(folder: Path) -> bool:
    if sys.platform != "win32":
        return False
    from agent.host.windows import is_mapped_drive

    return is_mapped_drive(folder)


def _mapped(folder: Path) -> str:
    return (
        f"{folder.drive} is a mapped drive, which a service cannot use. Write its share as "
        r"\\server\share\folder; net use lists it."
    )
