"""Unpack a back-up file: a zip whose manifest names the hash of everything in it.

The file is not trusted, so each fault of it is one sentence.
"""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from agent.errors import StoreError
from agent.evidence.anchors import MANIFEST

DATABASES = {"sqlite": "martensight.db", "postgresql": "martensight.pgdump"}
"""Kind of database → name of its copy."""
PIECE_BYTES = 1 << 20
_DEVICE = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])\s*(\..*)?", re.IGNORECASE
)
"""Names that Windows opens as a device, with any ending."""
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f<>:"|?*\\]')
"""Letters that Windows takes for a drive, a stream, a folder or a pattern."""


def unpack_database(backup: Path, scratch: Path) -> Path:
    """Unpack the copy of the database alone.

    Args:
        backup: What `safekeeping.back_up` wrote.
        scratch: An empty folder.

    Raises:
        StoreError: It is no backup, or is damaged.
    """
    unpack(backup, scratch, None, lambda _done, _of, _what: None, wanted=_is_database)
    return scratch / find_database(backup, [file.name for file in scratch.iterdir()])


def read_time(backup: Path) -> datetime | None:
    """Return when a back-up was made, aware UTC, or None where its manifest names no time."""
    try:
        with zipfile.ZipFile(backup) as packed:
            made_at = datetime.fromisoformat(json.loads(packed.read(MANIFEST))["made_at"])
    except (OSError, TypeError, *_NOT_WHOLE):
        return None
    return made_at if made_at.tzinfo else made_at.replace(tzinfo=UTC)


def hash_manifest(backup: Path) -> str:
    """Return the SHA-256 of a back-up's manifest, which names the hash of everything in it.

    Raises:
        StoreError: It cannot be read.
    """
    try:
        with zipfile.ZipFile(backup) as packed:
            return hashlib.sha256(packed.read(MANIFEST)).hexdigest()
    except (OSError, *_NOT_WHOLE) as error:
        raise StoreError(f"{backup}: cannot be read ({error}).") from error


def _is_database(name: str) -> bool:
    return name in DATABASES.values()


def is_plain_name(name: str) -> bool:
    """Return whether a name is a relative POSIX path of names that are ordinary on every system."""
    return all(
        part not in ("", ".", "..")
        and part == part.rstrip(" .")  # Windows drops them
        and not _FORBIDDEN.search(part)
        and not _DEVICE.fullmatch(part)
        for part in name.split("/")
    )


def find_database(backup: Path, names: Sequence[str]) -> str:
    """Return the name of the copy of the database. Raises `StoreError` where there is none."""
    databases = [name for name in names if _is_database(name)]
    if len(databases) != 1:
        raise StoreError(f"{backup}: not a whole backup of this program (no database in it).")
    return databases[0]


def unpack(
    backup: Path,
    scratch: Path,
    url: str | None,
    progress: Callable[[int, int, str], None],
    *,
    wanted: Callable[[str], bool] = lambda _name: True,
) -> list[str]:
    """Unpack a back-up and compare every hash.

    Args:
        backup: What `maintenance.back_up` wrote.
        scratch: An empty folder.
        url: Address of the database it is for, None: any.
        progress: Called with (done, total, what).
        wanted: Returns whether a name is unpacked.

    Returns:
        The names.

    Raises:
        StoreError: It is no backup, is damaged, or is of another kind of database.
    """
    try:
        with zipfile.ZipFile(backup) as packed:
            manifest = _Manifest.of(json.loads(packed.read(MANIFEST)))
            require_plain_names(backup, [*list_members(packed), *manifest.sha256])
            if url is not None:
                _refuse_another_kind(backup, manifest.kind, url)
            members = [member for member in manifest.sha256.items() if wanted(member[0])]
            for number, (name, expected) in enumerate(members, start=1):
                _take_out(packed, name, expected, scratch, backup)
                progress(number, len(members), name)
    except _NOT_WHOLE as error:
        raise StoreError(f"{backup}: not a whole backup of this program ({error}).") from error
    return [name for name, _ in members]


_NOT_WHOLE = (
    zipfile.BadZipFile,
    zlib.error,
    KeyError,
    ValueError,
    EOFError,
    RecursionError,  # a manifest of brackets alone
    RuntimeError,  # a member with a password
    NotImplementedError,  # a compression that Python lacks
)


@dataclass(frozen=True, slots=True)
class _Manifest:
    """Manifest of a back-up: its kind of database, and name → hash of each member."""

    kind: str
    sha256: dict[str, str]

    @classmethod
    def of(cls, document: object) -> _Manifest:
        """Read it. Raises `ValueError` where it is none of this program's."""
        kind = document.get("kind") if isinstance(document, dict) else None
        hashes = document.get("sha256") if isinstance(document, dict) else None
        if not isinstance(kind, str) or not isinstance(hashes, dict):
            raise ValueError("its manifest names no database")  # noqa: TRY004 - shown as one sentence
        if kind not in DATABASES:
            raise ValueError(f"its manifest names an unknown kind of database: {kind!r}")
        for name, expected in hashes.items():
            if not isinstance(expected, str):
                raise ValueError(f"its manifest holds an odd entry: {name!r}")  # noqa: TRY004
            if _is_database(name) and name != DATABASES[kind]:
                raise ValueError(f"its manifest names a {kind} database, and it holds {name}")
        return cls(kind, hashes)


def list_members(packed: zipfile.ZipFile) -> list[str]:
    """Return the names in a zip as they are written there; a folder's without its last stroke."""
    return [
        member.orig_filename.removesuffix("/") if member.is_dir() else member.orig_filename
        for member in packed.infolist()
    ]


def require_plain_names(backup: Path, names: Sequence[str]) -> None:
    """Raise `StoreError` for the first name that is none of `is_plain_name`."""
    odd = [name for name in names if not is_plain_name(name)]
    if odd:
        raise StoreError(
            f"{backup}: a name in it may lead out of the data folder: {odd[0]!r}; nothing was "
            "restored. Restore another backup."
        )


def _refuse_another_kind(backup: Path, kind: str, url: str) -> None:
    if not url.startswith(kind):
        raise StoreError(
            f"{backup}: holds a {kind} database, but store.url asks for another kind; "
            "restore it where such a database is set."
        )


def _take_out(
    packed: zipfile.ZipFile, name: str, expected: str, scratch: Path, backup: Path
) -> None:
    target = scratch / name
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with packed.open(name) as member, target.open("wb") as file:
        while piece := member.read(PIECE_BYTES):
            digest.update(piece)
            file.write(piece)
    if digest.hexdigest() != expected:
        raise StoreError(f"{backup}: {name} in it is damaged; nothing was restored.")
