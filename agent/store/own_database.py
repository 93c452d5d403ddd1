"""Check whether a database belongs to the data folder that it is opened for.

A lab's first act never changes, so its hash, stored in the data folder, distinguishes the lab's
database from an emptied one and from another lab's.
"""

from __future__ import annotations

import json
import os
import re
import stat
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, inspect, text
from sqlmodel import Session

from agent.errors import StoreError
from agent.store import engine as engines
from agent.store.evidence import audit_log
from agent.store.sites.site_scope import EVERY_SITE, bind

MARK = "database.json"
"""File of the data folder: hash of the first act, and of the first act of each site opened here."""
SHA256 = re.compile("[0-9a-f]{64}")
ARCHIVED = ("crops", "originals")
WHAT_TO_DO = (
    "Put the lab's database back (agent restore FILE, or the right store.url). Where this one is "
    "meant: agent restore --accept database --reason TEXT"
)


class NothingToBeginError(StoreError):
    """The database is the folder's own."""


def require_own(engine: Engine, folder: Path) -> None:
    """Refuse an emptied database, and another lab's, next to a lab's archive.

    Args:
        engine: The database, not yet migrated.
        folder: The data folder.

    Raises:
        StoreError: It is not the database of this folder; the message names the next step.
    """
    if sentence := _find_refusal(engine, folder):
        raise StoreError(f"{engines.place(engine)}: {sentence}. {WHAT_TO_DO}")


def require_lost(engine: Engine, folder: Path) -> None:
    """Refuse a new start where the database is the folder's own.

    Args:
        engine: The database, not yet migrated.
        folder: The data folder.

    Raises:
        NothingToBeginError: It is.
    """
    if not _find_refusal(engine, folder):
        raise NothingToBeginError(
            f"{engines.place(engine)} is already the database of {folder}. Nothing was changed."
        )


def _find_refusal(engine: Engine, folder: Path) -> str:
    """Return why a database is not the folder's own, "" where it is."""
    mark = find_mark(folder)
    with engines.opening(engine):
        first = _find_first(engine)
        if first is None and (mark or _has_archive(folder)):
            return (
                f"the database is empty, but {folder} holds what a lab has archived; every file "
                "would be read again, and no account would hold"
            )
        if mark and first is not None and first != mark:
            return (
                "the database of another lab, or one that was emptied: its first act is not the "
                f"one that {folder / MARK} holds"
            )
        if not mark and first == "" and _had_acts(engine):
            return "every act of its trail was deleted, so no account holds"
        if not mark and first is not None and _is_strange(engine, folder):
            return (
                "the database of another lab: it does not know the images in "
                f"{folder / ARCHIVED[0]}"
            )
    return ""


def keep_mark(engine: Engine, folder: Path, site: str) -> None:
    """Write the hash of the first act into the data folder, once there is one, and of the site's.

    Where the folder cannot be written, the next opening does it: what only reads goes on.
    """
    if not find_mark(folder) or not find_first_act(folder, site):
        with suppress(StoreError):
            renew_mark(engine, folder, site)


def renew_mark(engine: Engine, folder: Path, site: str = "") -> None:
    """Write the hashes of the first acts, if there are any, over those in the data folder.

    Args:
        engine: The database.
        folder: The data folder.
        site: Name of a site that is opened for this folder.
    """
    with engines.reading(bind(engine, EVERY_SITE)) as session:
        first = audit_log.first_sha256(session)
        acts = audit_log.list_first_acts(session)
    opened = {name: acts[name] for name in (*list_opened_sites(folder), site) if name in acts}
    if first and (find_mark(folder), _read_sites(folder)) != (first, opened):
        _write(folder, first, opened)


def mark_restored(url: str, folder: Path) -> None:
    """Write the mark of a database that was just restored: it is the folder's.

    Args:
        url: Address of the database.
        folder: The data folder.
    """
    engine = engines.make_engine(url)
    try:
        with engines.opening(engine):
            if _find_first(engine):
                renew_mark(engine, folder)
            else:
                (folder / MARK).unlink(missing_ok=True)
    finally:
        engine.dispose()


def find_mark(folder: Path) -> str:
    """Return the hash in the folder, "" where there is none or it is no hash."""
    return _require_hash(_read(folder).get("first_act"))


def find_first_act(folder: Path, site: str) -> str:
    """Return the hash of a site's first act, "" where the folder does not hold it.

    Sites that share a database have one each; `find_mark` returns the one of all of them.
    """
    return _require_hash(_read_sites(folder).get(site))


def list_opened_sites(folder: Path) -> list[str]:
    """Return the names of the sites that the database was opened as for this folder."""
    return list(_read_sites(folder))


def _read_sites(folder: Path) -> dict[str, Any]:
    sites = _read(folder).get("sites")
    return sites if isinstance(sites, dict) else {}


def _require_hash(mark: object) -> str:
    return mark if isinstance(mark, str) and SHA256.fullmatch(mark) else ""


def _read(folder: Path) -> dict[str, Any]:
    try:
        document = json.loads((folder / MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def make_private(folder: Path) -> None:
    """Close a data folder to the other users of the PC: accounts and customers are in it.

    POSIX alone; on Windows the service's set-up sets the permissions. A folder of another user is
    left as it is, and `agent doctor` reports it.
    """
    if sys.platform == "win32":
        return
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        status = folder.stat()
        if status.st_mode & stat.S_IRWXO and status.st_uid == os.geteuid():
            folder.chmod(stat.S_IMODE(status.st_mode) & ~stat.S_IRWXO)


def _write(folder: Path, first: str, of_sites: Mapping[str, str]) -> None:
    file = folder / MARK
    part = folder / f".{MARK}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        document = {"first_act": first, "sites": dict(of_sites)}
        part.write_text(json.dumps(document, ensure_ascii=False) + "\n", encoding="utf-8")
        part.replace(file)
    except OSError as error:
        raise StoreError(f"{file}: cannot be written ({error.strerror or error}).") from error


def _find_first(engine: Engine) -> str | None:
    """Return the hash of the first act, "" where there is none; None where all is empty."""
    file = engines.sqlite_file(engine.url) if engines.is_sqlite(engine) else None
    if file and (not file.exists() or not file.stat().st_size):
        return None
    with bind(engine, EVERY_SITE).connect() as connection:
        if not inspect(connection).has_table("trail"):
            return None
        with Session(connection) as session:
            first = audit_log.first_sha256(session)
        has_site = connection.execute(text("SELECT 1 FROM site LIMIT 1")).first() is not None
    return first if first or has_site else None


def _had_acts(engine: Engine) -> bool:
    """Return whether SQLite ever assigned a number to an act; PostgreSQL does not record that."""
    if not engines.is_sqlite(engine):
        return False
    with engine.connect() as connection, Session(connection) as session:
        return audit_log.last_number(session) > 0


def _is_strange(engine: Engine, folder: Path) -> bool:
    """Return whether a database has micrographs, but not one of those whose crops are archived.

    For folders without a mark: restored, or with the mark removed.
    """
    archived = {path.name[:64] for path in (folder / ARCHIVED[0]).glob("??/*") if path.is_file()}
    if not archived:
        return False
    with bind(engine, EVERY_SITE).connect() as connection:
        if not inspect(connection).has_table("micrograph"):
            return False
        known = connection.execute(text("SELECT sha256 FROM micrograph"))
        hashes = [sha256 for (sha256,) in known]
    return bool(hashes) and archived.isdisjoint(hashes)


def _has_archive(folder: Path) -> bool:
    return any(path.is_file() for name in ARCHIVED for path in (folder / name).rglob("*"))
