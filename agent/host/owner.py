"""Keep what lies in the service's folders the service's own, whoever works there.

In:  folders that the agent writes to. Out: nothing; files change their owner. Next: the service,
which may write its database only if root did not leave one of its own. POSIX alone.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from agent.errors import WrongUse

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

ROOT = 0


def hand_over(folder: Path, name: str) -> Iterator[str]:
    """Make a folder the account's own, with all that is in it; links are not followed.

    Raises:
        WrongUse: The folder cannot be made, or is one that belongs to the system.
    """
    import pwd  # noqa: PLC0415 - POSIX alone

    user = pwd.getpwnam(name)
    if len(folder.parts) < 3:  # noqa: PLR2004 - "/" and one name: /var, /srv, …
        raise WrongUse(f"{folder}: belongs to the system; name a folder inside it.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        others = [one for one in _below(folder) if os.lstat(one).st_uid != user.pw_uid]
        _give(others, user.pw_uid, user.pw_gid)
    except OSError as error:
        raise WrongUse(f"{folder}: cannot be handed to {name} ({error.strerror}).") from error
    if others:
        yield f"{folder} belongs to {name} now"


def leave_to_owner(folders: Iterable[Path], *, since_s: float) -> None:
    """Give what root made in somebody else's folders to whom the folder belongs.

    Args:
        folders: Where the agent writes.
        since_s: When root began, seconds since the epoch; a folder in which nothing was made since
            then is not looked into, as an archive holds a million files.
    """
    if os.geteuid() != ROOT:
        return
    for folder in folders:
        if not folder.is_dir():
            continue
        owner = folder.stat()
        if owner.st_uid != ROOT:
            made = [one for one in _below(folder, since_s) if os.lstat(one).st_uid == ROOT]
            _give(made, owner.st_uid, owner.st_gid)


def _below(folder: Path, since_s: float = 0.0) -> Iterator[str]:
    """Name a folder and what is in it, of folders that changed since then."""
    yield str(folder)
    for root, folders, files in os.walk(folder):
        if os.lstat(root).st_mtime >= since_s:
            yield from (os.path.join(root, name) for name in (*folders, *files))  # noqa: PTH118


def _give(paths: Iterable[str], user: int, group: int) -> None:
    for path in paths:
        os.chown(path, user, group, follow_symlinks=False)
