"""Restore the service's ownership of its folders after root worked there.

The service can write its database only if root left none of its own files. POSIX alone.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from agent.errors import UsageError

ROOT = 0


def hand_over(folder: Path, name: str) -> Iterator[str]:
    """Make a folder the account's own, with all that is in it; links are not followed.

    Raises:
        UsageError: The folder cannot be made, or is one that belongs to the system.
    """
    import pwd  # noqa: PLC0415 - POSIX alone

    user = pwd.getpwnam(name)
    if len(folder.parts) < 3:  # noqa: PLR2004 - "/" and one name: /var, /srv, …
        raise UsageError(f"{folder}: belongs to the system; name a folder inside it.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(stat.S_IMODE(folder.stat().st_mode) & ~stat.S_IRWXO)  # accounts, customers
        given = _change_owner(
            folder, user.pw_uid, user.pw_gid, of=lambda owner: owner != user.pw_uid
        )
    except OSError as error:
        raise UsageError(f"{folder}: cannot be handed to {name} ({error.strerror}).") from error
    if given:
        yield f"{folder} belongs to {name} now"


def permit_account(setting: str, folder: Path, name: str) -> Iterator[str]:
    """Permit the account to write into a folder that others may use; its content is unchanged.

    Only an empty folder of root's own changes its owner, or a new one: on a share, or among other
    users' files, its owner decides.
    """
    import pwd  # noqa: PLC0415 - POSIX alone

    user = pwd.getpwnam(name)
    try:
        if not folder.exists() and folder.parent.is_dir() and len(folder.parts) >= 3:  # noqa: PLR2004 - as above
            folder.mkdir()
        status = folder.stat()
        if status.st_uid == user.pw_uid:
            return
        if status.st_uid == ROOT and not any(folder.iterdir()):
            os.chown(folder, user.pw_uid, user.pw_gid)
            yield f"{folder} belongs to {name} now"
            return
    except FileNotFoundError:
        yield f"{setting}: {folder} is not there yet; once it is, {name} has to be let write there."
        return
    except OSError as error:
        yield f"{setting}: {folder} is left as it is ({error.strerror}); let {name} write there."
        return
    yield (
        f"{setting}: {folder} belongs to others and is left as it is; if they do not let {name} "
        f"write there yet: setfacl -m u:{name}:rwx {folder}"
    )


def restore_owner(folders: Iterable[Path], *, since_s: float) -> None:
    """Change files that root made in a folder to the folder's owner.

    Args:
        folders: Where the agent writes; one that cannot be changed is left, `agent doctor` reports
            it.
        since_s: When root began, seconds since the epoch; a folder in which nothing was made since
            then is not searched, as an archive holds a million files.
    """
    if os.geteuid() != ROOT:
        return
    for folder in folders:
        with suppress(OSError):  # no such folder, or a share where root may do nothing
            owner = folder.stat()
            if owner.st_uid != ROOT:
                _change_owner(
                    folder, owner.st_uid, owner.st_gid, of=lambda uid: uid == ROOT, since_s=since_s
                )


def _change_owner(
    folder: Path, user: int, group: int, *, of: Callable[[int], bool], since_s: float = 0.0
) -> int:
    """Change the owner of a folder and its content where it is another; return how many changed.

    Names are resolved in the folder that was opened, so that no one who may write there can
    redirect root elsewhere by replacing a folder with a link during this time.
    """
    given = 0
    for _, folders, files, opened in os.fwalk(folder):
        status = os.fstat(opened)
        if of(status.st_uid):
            os.fchown(opened, user, group)
            given += 1
        if status.st_mtime < since_s:
            continue
        for name in (*folders, *files):
            with suppress(FileNotFoundError):  # a part that was renamed, a file that was pruned
                if of(os.stat(name, dir_fd=opened, follow_symlinks=False).st_uid):
                    os.chown(name, user, group, dir_fd=opened, follow_symlinks=False)
                    given += 1
    return given
