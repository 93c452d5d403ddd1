"""Back up a lab's data, restore it, verify the archive, and prune what is no longer needed.

A backup is a zip file that names the hash of everything in it; it is made while the agent runs.
Pixels are only in it when requested: they are content-addressed, so any copying tool keeps them.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import stat
import tempfile
import zipfile
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from agent.backup.file import PIECE_BYTES, find_database, is_plain_name, read_time, unpack
from agent.errors import StoreError
from agent.evidence import anchors
from agent.evidence.anchors import MANIFEST, Anchor
from agent.files.whole_file import PART
from agent.objects import LONG_AGO, SHOWN_STILL
from agent.site_time import compute_age
from agent.store import State, examine_copy, mark_restored, put_back, sites_in

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Mapping, Sequence

    from agent.archive import Archive
    from agent.store import Kept, KeptFor, Store

LEFTOVERS = (".backup-*", ".examine-*", ".martensight-*.zip.part")
LEFTOVER_AGE = timedelta(hours=12)
ALWAYS = ("bundles", "reference", "inbox", "timestamps", anchors.NOTES)
PIXELS = ("crops", "originals", "reports", "statements")
"""Folders of the data folder that a backup holds on request."""
MAY_CHANGE = ("reference", "inbox")
"""Folders whose files have names that may be used again: a restore keeps existing ones."""

INBOX_SOURCE = "api"
"""Name of the source that sent files belong to; the pipeline has to claim its files too."""
UPLOADED = re.compile(r"[0-9a-f]{16}(?=-)")
"""Beginning of the name of a file in the inbox: that of the hash of its content."""
MADE_AGAIN = (".compiled", ".converted", ".parts")
"""Folders that no backup holds: they are made again where they are missing."""

KINDS = ("crops", "originals")
DAYS_OF_A_YEAR = 365.25


# --- backup -------------------------------------------------------------------------------------


def back_up(
    store: Store,
    folder: Path,
    target: Path,
    *,
    settings_files: Sequence[Path],
    pixels: bool,
    at: datetime,
    progress: Callable[[int, int, str], None],
    is_automatic: bool = False,
) -> int:
    """Write one file that holds the database, bundles, settings, reference images and inbox.

    Args:
        store: The database, which may be in use.
        folder: The data folder.
        target: The zip file to write; whole or not there at all.
        settings_files: Are included where they exist.
        pixels: Include crops, originals, reports and files of statements.
        at: Now, aware UTC.
        progress: Called with (done, total, what).
        is_automatic: The service made it; the newest few of these are kept.

    Returns:
        How many files are in it.

    Raises:
        StoreError: It cannot be written.
    """
    part = target.with_name(f".{target.name}.part")
    _make_folder(target.parent)
    try:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".backup-") as scratch:
            copied = Path(scratch) / store.backup.file_name
            about = _about(store, at)  # before the copy, which then reaches at least so far
            counts = store.backup.write(
                copied, progress=lambda done, of: progress(done, of, "database")
            )
            about |= {"counts": counts, "automatic": is_automatic}
            refused = _list_refused(store)
            members = _members(folder, settings_files, refused, pixels=pixels)
            files = [(copied, copied.name), *members]
            _require_plain_names(files)
            part.touch()
            part.chmod(part.stat().st_mode & ~stat.S_IRWXO)  # settings and accounts are in it
            _zip(part, files, about, progress)
        part.replace(target)
    except OSError as error:
        reason = error.strerror or str(error)
        if error.filename in map(str, settings_files):
            raise StoreError(
                f"{error.filename}: cannot be read ({reason}), so no backup was written. Give the "
                "account read permission, or mount its share."
            ) from error
        raise StoreError(f"{target}: cannot be written ({reason}).") from error
    finally:
        part.unlink(missing_ok=True)
    return len(files)


def remove_leftovers(folder: Path, *, at: datetime) -> list[str]:
    """Delete what a killed back-up left in its folder; return the names.

    What is younger than `LEFTOVER_AGE` may be of a back-up that is being written.

    Args:
        folder: Of the back-ups, which other labs may use.
        at: Now, aware UTC.
    """
    removed = []
    for path in (path for pattern in LEFTOVERS for path in folder.glob(pattern)):
        with suppress(OSError):
            changed_at = datetime.fromtimestamp(path.stat().st_mtime, UTC)
            age = compute_age(changed_at, at)
            if age is None or age < LEFTOVER_AGE:
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
            removed.append(path.name)
    return removed


def _make_folder(folder: Path) -> None:
    """Make the folder of back-ups; the one above it has to be there.

    A share that is not mounted lacks its folders: made here, they would fill the system disk.
    """
    try:
        folder.mkdir(exist_ok=True)
    except FileNotFoundError as error:
        raise StoreError(
            f"{folder.parent}: no such folder, so no backup was written. Create it, or mount its "
            "share."
        ) from error
    except OSError as error:
        raise StoreError(f"{folder}: cannot be written ({error.strerror or error}).") from error


def _about(store: Store, at: datetime) -> dict[str, Any]:
    head = Anchor.of(store.audit_log.get_head(), at=at)
    return {
        "program": "martensight",
        "kind": store.kind,
        "site": store.site,
        "lab": store.audit_log.get_first_hash(),
        "made_at": at.isoformat(),
        anchors.KEY: head.to_json(),
    }


def _list_refused(store: Store) -> frozenset[str]:
    """Return the names below the data folder of sent files that could not be used."""
    refused = store.files.iter_status((State.SET_ASIDE, State.IGNORED), INBOX_SOURCE)
    return frozenset(
        f"inbox/{relative}"
        for fate in refused
        for source, relative in fate.seen_as
        if source == INBOX_SOURCE
    )


def _members(
    folder: Path, settings_files: Sequence[Path], refused: Container[str], *, pixels: bool
) -> Iterator[tuple[Path, str]]:
    names: set[str] = set()
    for file in settings_files:
        if file.is_file() and file.name not in names:
            names.add(file.name)
            yield file, f"settings/{file.name}"
    for room in (*ALWAYS, *(PIXELS if pixels else ())):
        for file in sorted((folder / room).rglob("*")):
            name = file.relative_to(folder)
            is_left_out = name.as_posix() in refused or any(
                part.endswith(PART) or part in MADE_AGAIN for part in name.parts
            )
            if file.is_file() and not (is_left_out or is_archived_upload(folder, name)):
                yield file, name.as_posix()


def is_archived_upload(folder: Path, name: Path) -> bool:
    """Return whether a file that a program sent is kept among the originals too.

    Args:
        folder: The data folder.
        name: Path below it; the inbox names a file by the hash of its content.
    """
    if name.parts[0] != "inbox" or not (named := UPLOADED.match(name.name)):
        return False
    start = named.group()
    return any((folder / "originals" / start[:2]).glob(f"{start}*"))


def _require_plain_names(files: Sequence[tuple[Path, str]]) -> None:
    """Raise `StoreError` for the first name that a restore would refuse."""
    if odd := [file for file, name in files if not is_plain_name(name)]:
        raise StoreError(
            f"{odd[0]}: no backup can hold this name, which not every system can restore. "
            "Rename it."
        )


def _zip(
    part: Path,
    files: Sequence[tuple[Path, str]],
    about: dict[str, Any],
    progress: Callable[[int, int, str], None],
) -> None:
    hashes: dict[str, str] = {}
    with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
        for number, (file, name) in enumerate(files, start=1):
            try:
                hashes[name] = _add(packed, file, name)
            except FileNotFoundError:
                continue  # pruned or promoted away while we went through the folder
            progress(number, len(files), name)
        packed.writestr(MANIFEST, json.dumps({**about, "sha256": hashes}, indent=1))


def _add(packed: zipfile.ZipFile, file: Path, name: str) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as opened, packed.open(name, "w", force_zip64=True) as member:
        while piece := _read_piece(opened):
            digest.update(piece)
            member.write(piece)
    return digest.hexdigest()


def _read_piece(opened: BinaryIO) -> bytes:
    try:
        return opened.read(PIECE_BYTES)
    except OSError as error:  # which names no file, so that the back-up would be blamed
        raise OSError(error.errno, error.strerror, opened.name) from error


def examine(backup: Path) -> None:
    """Unpack a back-up in a scratch folder next to it, as a restore would; nothing is restored.

    Raises:
        StoreError: A hash in it is wrong, or its database is not sound.
    """
    try:
        with tempfile.TemporaryDirectory(dir=backup.parent, prefix=".examine-") as scratch:
            names = unpack(backup, Path(scratch), None, lambda _done, _of, _what: None)
            database = find_database(backup, names)
            examine_copy(Path(scratch) / database)
    except OSError as error:
        raise StoreError(f"{backup}: cannot be tried ({error.strerror or error}).") from error


# --- restore ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Restored:
    """Result of a restore.

    Args:
        files: How many files were restored.
        before: Where the previous database is now, or None.
        settings: Where the settings of that time were put, for the operator to compare, or None.
        made_at: When the back-up was made, aware UTC, None where it does not say.
    """

    files: int
    before: Path | None
    settings: Path | None
    made_at: datetime | None = None


def restore(
    backup: Path,
    *,
    url: str,
    folder: Path,
    at: datetime,
    progress: Callable[[int, int, str], None],
    site: str = "",
) -> Restored:
    """Restore a backup. Existing data is kept; no process may use it during this time.

    The whole file is unpacked and its hashes are compared before anything is touched. The previous
    database is kept next to it; the current settings are never replaced.

    Args:
        backup: What `back_up` wrote.
        url: Address of the database.
        folder: The data folder.
        at: Now, aware UTC; names what is kept.
        progress: Called with (done, total, what).
        site: The lab's own; a back-up without it is refused, since no page would show its content.

    Raises:
        StoreError: It is no backup, is damaged, or cannot be restored.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stamp = _free_stamp(folder, at)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".restore-") as scratch:
            names = unpack(backup, Path(scratch), url, progress)
            database = find_database(backup, names)
            if site:
                _refuse_another_site(backup, sites_in(Path(scratch) / database), site)
            aside = folder / f"{database}.before-restore-{stamp}"
            before = put_back(url, Path(scratch) / database, aside=aside)
            mark_restored(url, folder)
            settings = _put_files_back(Path(scratch), folder, stamp)
    except OSError as error:
        raise StoreError(f"{backup}: cannot be restored ({error.strerror or error}).") from error
    return Restored(len(names), before, settings, read_time(backup))


def _free_stamp(folder: Path, at: datetime) -> str:
    """Return a time for the names of what is kept; a second restore in a second gets another."""
    while any(folder.glob(f"*-{(stamp := at.strftime('%Y%m%dT%H%M%SZ'))}*")):
        at += timedelta(seconds=1)
    return stamp


def _refuse_another_site(backup: Path, sites: Sequence[str], site: str) -> None:
    if sites and site not in sites:
        named = " and ".join(repr(name) for name in sites)
        raise StoreError(
            f"{backup}: holds the site {named}, and [site] name is {site!r}, which would see "
            f"nothing of it. Set [site] name = {json.dumps(sites[0], ensure_ascii=False)} and "
            "restore again; nothing was changed."
        )


def _put_files_back(scratch: Path, folder: Path, stamp: str) -> Path | None:
    for room in (*ALWAYS, *PIXELS):
        if (scratch / room).is_dir():
            # Bundles and pixels never change under their names, so those there may be replaced.
            copy = _copy_missing if room in MAY_CHANGE else shutil.copy2
            shutil.copytree(scratch / room, folder / room, dirs_exist_ok=True, copy_function=copy)
    if not (scratch / "settings").is_dir():
        return None
    settings = folder / f"settings-of-backup-{stamp}"
    shutil.copytree(scratch / "settings", settings)
    settings.chmod(stat.S_IMODE(settings.stat().st_mode) & ~stat.S_IRWXO)
    return settings


def _copy_missing(source: str, target: str) -> str:
    return target if Path(target).exists() else str(shutil.copy2(source, target))


# --- verify and check ---------------------------------------------------------------------------


def verify(
    store: Store, archive: Archive, *, progress: Callable[[int, str], None]
) -> Iterator[str]:
    """Compare everything that is archived with its hashes.

    Args:
        store: Names what is archived.
        archive: Holds it.
        progress: Called with (micrographs done, what).

    Yields:
        One sentence per fault.
    """
    yield from verify_statement_files(store, archive)
    for number, row in enumerate(store.retention.iter_archived(), start=1):
        yield from _damage(archive, row)
        progress(number, row.id)


def verify_statement_files(store: Store, archive: Archive) -> Iterator[str]:
    """Yield a sentence for each file of a statement that is missing or not what was archived."""
    for sha256, file in store.statements.every_file():
        yield from archive.damage_of_statement(sha256, file.kind, file.sha256)


def verify_some(
    store: Store, archive: Archive, *, after: int, is_enough: Callable[[], bool]
) -> tuple[int, list[str]]:
    """Compare a part of what is archived with its hashes: the part behind the last one.

    Args:
        store: Names what is archived.
        archive: Holds it.
        after: What this returned the last time; 0 begins again.
        is_enough: Called after each micrograph.

    Returns:
        Where to continue, 0 where the end was reached; and a sentence per fault.
    """
    faults: list[str] = []
    for row in store.retention.iter_archived(after=after):
        faults += _damage(archive, row)
        if is_enough():
            return row.number, faults
    return 0, faults


def _damage(archive: Archive, row: Kept) -> Iterator[str]:
    if row.pruned_at is None:
        yield from archive.damage(row.sha256, row.page, _hashes(row))
    if row.has_original and row.page == 0:
        yield from archive.damage_of_original(row.sha256)


def _hashes(row: Kept) -> dict[str, str]:
    return {kind: value for kind, value in row.artefacts.items() if isinstance(value, str)}


def check(store: Store, archive: Archive) -> Iterator[str]:
    """Check that the database is sound, and that the pixels its rows name are there.

    Yields:
        One sentence per fault.
    """
    yield from store.checks.find_problems(thorough=True)
    for row in store.retention.iter_archived():
        path = archive.crop_path(row.sha256, row.page)
        if row.pruned_at is None and not archive.has(path):
            yield f"{path}: missing, though micrograph {row.id} names it"


# --- prune --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pruning:
    """What may be deleted.

    Args:
        kind: "crops" or "originals".
        ids: Of the micrographs.
        files: What would be deleted.
        size_bytes: Of these files.
        kept: Reason → how many that are old enough stay for it.
    """

    kind: str
    ids: tuple[str, ...]
    files: tuple[Path, ...]
    size_bytes: int
    kept: Mapping[KeptFor, int] = field(default_factory=dict)


def compute_statements_start(years: float, *, now: datetime) -> datetime:
    """Return since when a statement protects what it names.

    Args:
        years: [retention] statements_years.
        now: Aware UTC.
    """
    return now - timedelta(days=DAYS_OF_A_YEAR * years)


def plan(
    store: Store,
    archive: Archive,
    *,
    befores: dict[str, datetime],
    statements_since: datetime = LONG_AGO,
) -> list[Pruning]:
    """Return what may be deleted; nothing is.

    Args:
        store: Knows what is needed.
        archive: Holds the pixels.
        befores: "crops" and "originals" → only what was taken before; an absent kind is kept.
        statements_since: What a statement of this time or later names is evidence.
    """
    plans = []
    for kind in KINDS:
        if kind in befores:
            retention = store.retention.plan(
                kind, before=befores[kind], statements_since=statements_since
            )
            files = tuple(
                dict.fromkeys(
                    file for row in retention.prunable for file in _files(archive, row, kind)
                )
            )
            size = sum(map(archive.measure, files))
            ids = tuple(row.id for row in retention.prunable)
            plans.append(Pruning(kind, ids, files, size, retention.kept))
    return plans


def _files(archive: Archive, row: Kept, kind: str) -> Iterator[Path]:
    if kind == "originals":
        if path := archive.original_path(row.sha256):
            yield path
        return
    for path in archive.of(row.sha256, row.page):
        if not path.name.endswith(SHOWN_STILL):
            yield path


def prune(
    store: Store,
    archive: Archive,
    plans: Sequence[Pruning],
    *,
    at: datetime,
    progress: Callable[[int, int, str], None],
) -> None:
    """Delete what was planned and record it.

    Files are deleted before the row records that: after a kill in between, the next run finds them.
    """
    total = sum(len(pruning.files) for pruning in plans)
    done = 0
    for pruning in plans:
        for file in pruning.files:
            archive.delete(file)
            done += 1
            progress(done, total, pruning.kind)
        if pruning.ids:
            store.retention.mark_pruned(pruning.ids, pruning.kind, at=at)
