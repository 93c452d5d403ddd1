"""Look at the folders the agent lives on, with the rights of the account it will run as.

In:  data folder and sources. Out: `Finding`s. Next: `checkup` puts them with the others.
Root sees everything, and a service does not: where this is root and a service is installed, its
account looks, in a process of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from agent.cli.finding import Finding, Level
from agent.host.systemd_unit import shared_folders

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from agent.settings import Settings, Source

LITTLE_DISK_BYTES = 5_000_000_000
"""Our choice: below it a person should look before a disk that is full stops the intake."""

CLOCK_OFF_S = 60.0
"""Times of files are compared with each other, so a constant offset does no harm; a report's do."""

WINDOWS_PATH = 260
LONGEST_BELOW = 110
"""Characters that the longest path below the data folder adds to it."""

OF_THE_DISK = "lost+found"
"""Root's own, at the top of every ext4 disk: a data folder that is a disk of its own has it too."""

LOOKED_AT = 200


def examine_folders(settings: Settings, account: str | None) -> list[Finding]:
    """Look at data folder, back-up folder and sources.

    Args:
        settings: Of the lab.
        account: Whom the installed service runs as, or None.
    """

    def look() -> list[Finding]:
        return [
            *_data_folder("data folder", settings.store.folder),
            *(
                finding
                for setting, folder in shared_folders(settings).items()
                for finding in _shared_folder(setting, folder)
            ),
            *(finding for source in settings.sources for finding in _source(source)),
        ]

    if account and _may_become(account):
        return [
            Finding("account", "right", f"looked at as {account}."),
            *_as_account(account, look),
        ]
    if account and sys.platform == "win32":
        sentence = (
            f"the service runs as {account}, and this looked as {os.environ.get('USERNAME', 'you')}"
            ": whether that account sees the shares shows in agent status, once it runs."
        )
        return [Finding("account", "doubtful", sentence), *look()]
    return look()


def _may_become(account: str) -> bool:
    return hasattr(os, "fork") and os.geteuid() == 0 and account != "root"


def _as_account(account: str, look: Callable[[], list[Finding]]) -> list[Finding]:
    """Look in a child that has given up root for good."""
    import pwd  # POSIX alone

    try:
        user = pwd.getpwnam(account)
    except KeyError:
        return [Finding("account", "wrong", f"{account}: no such user; agent service install.")]
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.initgroups(account, user.pw_gid)
            os.setgid(user.pw_gid)
            os.setuid(user.pw_uid)
            said = [[f.check, f.level, f.sentence] for f in look()]
            os.write(writes, json.dumps(said).encode())
        finally:
            os._exit(0)
    os.close(writes)
    with os.fdopen(reads, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    if not answer:
        return [Finding("account", "wrong", f"{account}: cannot look at anything.")]
    return [Finding(*one) for one in json.loads(answer)]


def _probe(folder: Path) -> float:
    """Write a file and delete it; say how far its time is from this PC's, in seconds."""
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".") as probe:
        began_s = time.time()
        probe.write(b"probe")
        probe.flush()
        os.fsync(probe.fileno())
        return os.fstat(probe.fileno()).st_mtime - began_s


def _shared_folder(setting: str, folder: Path) -> Iterator[Finding]:
    if _is_mapped(folder):
        yield Finding(setting, "wrong", _mapped(folder))
        return
    if setting == "[backup] folder":
        with suppress(OSError):
            folder.mkdir(exist_ok=True)  # as the nightly one does
    if not folder.is_dir():
        yield Finding(
            setting,
            "wrong",
            f"{folder}: no such folder, or no right to see it; make it, or mount its share.",
        )
        return
    try:
        _probe(folder)
    except OSError as error:
        why = error.strerror or str(error)
        yield Finding(
            setting,
            "wrong",
            f"{folder}: cannot be written ({why}); give the account the right to change it.",
        )
        return
    yield Finding(setting, "right", f"{folder} can be written.")


def _data_folder(check: str, folder: Path) -> Iterator[Finding]:
    if _is_mapped(folder):
        yield Finding(check, "wrong", _mapped(folder))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        offset_s = _probe(folder)
    except OSError as error:
        why = error.strerror or str(error)
        yield Finding(
            check,
            "wrong",
            f"{folder}: cannot be written ({why}); give the account the right to change it.",
        )
        return
    others = [
        entry.name
        for entry in os.scandir(folder)
        if entry.name != OF_THE_DISK and not os.access(entry, os.W_OK)
    ]
    if others:
        yield Finding(
            check,
            "wrong",
            f"{folder}: {', '.join(sorted(others))} cannot be changed: made by another account? "
            "On Linux agent service install hands all of the folder to the service's.",
        )
        return
    yield Finding(check, "right", f"{folder} can be written.")
    if abs(offset_s) > CLOCK_OFF_S:
        yield Finding("clock", "doubtful", _clock(folder, offset_s))
    yield from _path_length(folder)
    free = shutil.disk_usage(folder).free
    level: Level = "right" if free >= LITTLE_DISK_BYTES else "doubtful"
    more = "" if level == "right" else " Make room, or set [retention] and agent prune."
    yield Finding("free disk", level, f"{free / 1e9:.1f} GB free at {folder}.{more}")


def _path_length(folder: Path) -> Iterator[Finding]:
    if sys.platform != "win32":
        return
    if len(str(folder)) + LONGEST_BELOW < WINDOWS_PATH or _long_paths():
        yield Finding("long paths", "right", "the data folder's paths stay short enough.")
        return
    yield Finding(
        "long paths",
        "wrong",
        f"{folder} is {len(str(folder))} characters long, and Windows ends paths at 260: choose a "
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


def _source(source: Source) -> Iterator[Finding]:
    check, folder = f"source {source.name}", source.folder
    if _is_mapped(folder):
        yield Finding(check, "wrong", _mapped(folder))
        return
    newest = None
    try:
        with os.scandir(folder) as entries:
            some = [entry for _, entry in zip(range(LOOKED_AT), entries, strict=False)]
        files = [entry for entry in some if entry.is_file(follow_symlinks=False)]
        if files:
            newest = max(entry.stat(follow_symlinks=False).st_mtime for entry in files)
            with open(files[0].path, "rb") as one:  # noqa: PTH123 - a path as the system gives it
                one.read(1)
    except FileNotFoundError:
        yield Finding(
            check,
            "wrong",
            f"{folder}: no such folder, or no right to see it; mount the share, or mend its path.",
        )
        return
    except OSError as error:
        yield Finding(
            check,
            "wrong",
            f"{folder}: cannot be read ({error.strerror}); give the account the right to read it.",
        )
        return
    seen = "can be read" if some else "can be listed, and is empty"
    yield Finding(check, "right", f"{folder} {seen}.")
    if newest is not None and newest - time.time() > CLOCK_OFF_S:
        yield Finding("clock", "doubtful", _clock(folder, newest - time.time()))


def _clock(folder: Path, offset_s: float) -> str:
    way = "ahead of" if offset_s > 0 else "behind"
    return (
        f"the clock of {folder} is {abs(offset_s):.0f} s {way} this PC's: have both follow one "
        "time server, or nights and times on pages are off by as much."
    )


def _is_mapped(folder: Path) -> bool:
    if sys.platform != "win32":
        return False
    from agent.host.windows import is_mapped_drive

    return is_mapped_drive(folder)


def _mapped(folder: Path) -> str:
    return (
        f"{folder.drive} is a mapped drive, which a service does not see; write its share as "
        r"\\server\share\folder (net use says which it is)."
    )
