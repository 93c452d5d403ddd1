"""`agent restore --to`: set up a lab on this PC from a backup."""

from __future__ import annotations

import json
import os
import shutil
import tomllib
import zipfile
import zlib
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Self

import tomlkit
import typer

from agent.cli.app import SAYS_NO, open_store
from agent.cli.console import err, out, table
from agent.errors import StoreError, UsageError
from agent.settings import FILE_NAME, UNFINISHED_MOVE, Settings
from agent.terminal import format_count

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from collections.abc import Set as AbstractSet

    from agent.store import Store

LIST_NAME = "agent-move.json"
OF_DATABASE = ("martensight.db*", ".martensight.db*", "database.json*", ".database.json*")
OF_RESTORE = (".restore-*", "settings-of-backup-*", "agent*.lock", "agent.presence", ".martensight")


@dataclass(slots=True)
class LaidDown:
    """Files that a move writes into a folder and into a data folder.

    Attributes:
        folder: Folder of the settings.
        is_new: The move made the folder.
        settings: Names of the settings files, as they are called during the move.
        data: The data folder, "" before it is known.
        is_data_new: The move made the data folder.
        members: Files of the backup that the data folder did not hold before.
        kept: Files of a database or restore that the data folder held before.
    """

    folder: str
    is_new: bool
    settings: tuple[str, ...]
    data: str = ""
    is_data_new: bool = False
    members: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()

    @classmethod
    def begin(cls, folder: Path, names: Iterable[str]) -> Self:
        """Make the folder and write the list of settings files into it.

        Raises:
            StoreError: The folder cannot be written.
        """
        laid = cls(str(folder), not folder.exists(), tuple(names))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            laid._write()
        except OSError as error:
            raise StoreError(f"{folder}: cannot be written ({error.strerror or error}).") from error
        return laid

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Return what a move into a folder that did not finish laid down.

        Raises:
            StoreError: Its list is missing or damaged.
        """
        file = folder / LIST_NAME
        try:
            laid = cls(**json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise StoreError(
                f"{file}: cannot be read ({error}), so the unfinished move cannot be undone. "
                f"Delete {folder / UNFINISHED_MOVE} and the files next to it, or name another "
                "folder with --to."
            ) from error
        laid.folder = str(folder)
        return laid

    def write_settings(self, texts: Mapping[str, str]) -> Path:
        """Write the settings files, `agent.toml` under another name; return the latter.

        Raises:
            StoreError: A file cannot be written.
        """
        folder = Path(self.folder)
        try:
            for name in sorted(self.settings, key=lambda name: name != UNFINISHED_MOVE):
                text = texts[FILE_NAME if name == UNFINISHED_MOVE else name]
                (folder / name).touch(mode=0o640)  # it may contain a database password
                (folder / name).write_text(text, encoding="utf-8")
        except OSError as error:
            raise StoreError(f"{folder}: cannot be written ({error.strerror or error}).") from error
        return folder / UNFINISHED_MOVE

    def add_data(self, data: Path, names: Iterable[str]) -> None:
        """Note the data folder and the files of the backup, before any of them is written.

        Raises:
            StoreError: The list cannot be written.
        """
        self.data = str(data)
        try:
            self.is_data_new = not data.exists()
            self.members = tuple(name for name in names if not (data / name).exists())
            self.kept = tuple(path.name for path in _iter_own(data))
            self._write()
        except OSError as error:
            raise StoreError(f"{data}: cannot be written ({error.strerror or error}).") from error

    def finish(self) -> Path:
        """Rename the settings, which completes the lab; return the settings file."""
        folder = Path(self.folder)
        (folder / UNFINISHED_MOVE).replace(folder / FILE_NAME)
        (folder / LIST_NAME).unlink(missing_ok=True)
        return folder / FILE_NAME

    def undo(self) -> None:
        """Remove what the move wrote; what was there before, or is not its own, stays.

        Raises:
            StoreError: A file cannot be removed; the move can be repeated or undone again.
        """
        folder = Path(self.folder)
        try:
            if self.data and (folder / UNFINISHED_MOVE).is_file():
                self._undo_data(Path(self.data))
            for name in self.settings:
                if name != UNFINISHED_MOVE:
                    (folder / PurePosixPath(name).name).unlink(missing_ok=True)
            (folder / UNFINISHED_MOVE).unlink(missing_ok=True)
            (folder / LIST_NAME).unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(
                f"{error.filename or folder}: cannot be removed ({error.strerror or error})."
            ) from error
        if self.is_new:
            _remove_if_empty(folder)

    def _undo_data(self, data: Path) -> None:
        inside = [PurePosixPath(name) for name in self.members]
        inside = [name for name in inside if not name.is_absolute() and ".." not in name.parts]
        for name in inside:
            (data / name).unlink(missing_ok=True)
        for path in list(_iter_own(data)):
            if path.name in self.kept:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        above = {parent for name in inside for parent in name.parents if parent.parts}
        for parent in sorted(above, key=lambda name: len(name.parts), reverse=True):
            _remove_if_empty(data / parent)
        if self.is_data_new:
            _remove_if_empty(data)

    def _write(self) -> None:
        from agent.files.whole_file import write_whole

        text = json.dumps(asdict(self), ensure_ascii=False)
        write_whole({Path(self.folder) / LIST_NAME: text.encode()})


def _iter_own(data: Path) -> Iterator[Path]:
    for pattern in (*OF_DATABASE, *OF_RESTORE):
        yield from data.glob(pattern)


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def move(file: Path, folder: Path, sources: list[str]) -> None:
    """Set up a lab on this PC with its sources and history, then check the PC.

    Files that were processed before are not processed again.

    Args:
        file: Backup that `agent backup --pixels` wrote on the old PC.
        folder: For agent.toml and the data folder.
        sources: NAME=FOLDER each: the export folder of a source on this PC.
    """
    from agent import settings as settings_room
    from agent.cli.start.doctor import examine

    folder = Path(os.path.normpath(folder.absolute()))
    config = folder / settings_room.FILE_NAME
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file. Name a folder with --to.")
    if config.exists():
        raise UsageError(
            f"{config} already exists and was not changed. Name another folder with --to."
        )
    moved = dict(_parse_pairs(sources))
    texts = _read_settings(file, moved)
    if settings_room.has_unfinished_move(folder):
        _undo_unfinished(folder)
    if existing := [name for name in texts if (folder / name).exists()]:
        raise UsageError(f"{folder / existing[0]} already exists and was not changed.")
    names = [settings_room.UNFINISHED_MOVE, *(name for name in texts if name != config.name)]

    laid = LaidDown.begin(folder, names)
    try:
        settings = settings_room.read(laid.write_settings(texts))
        _require_empty(settings)
        _lay_data(file, settings, laid)
        laid.finish()
    except BaseException:
        _give_up(laid)
        raise
    settings = settings_room.read(config)
    for line in list_paths_elsewhere(settings, folder, given=set(moved)):
        out.print(line, markup=False)
    findings = examine(settings, config)
    table(("", "check", "finding"), [(f.mark, f.check, f.sentence) for f in findings])
    out.print(
        f'next: agent --config "{config}" service install; on the old PC: agent service uninstall.',
        markup=False,
    )
    if any(finding.level == "wrong" for finding in findings):
        raise typer.Exit(SAYS_NO)


def _parse_pairs(options: list[str]) -> list[tuple[str, str]]:
    for pair in options:
        if "=" not in pair:
            raise UsageError(f"--source: write NAME=FOLDER instead of {pair!r}.")
    return [(pair.partition("=")[0], pair.partition("=")[2]) for pair in options]


def _undo_unfinished(folder: Path) -> None:
    """Undo an earlier move that was killed. Raises `UsageError` while it still runs."""
    from agent.service.data_folder import Lock

    earlier = LaidDown.read(folder)
    for file in Path(earlier.data).glob("agent*.lock") if earlier.data else ():
        with Lock(file, "The earlier move, or an agent, is still running{who}."):
            pass
    earlier.undo()
    out.print(
        f"An earlier move into {folder} did not finish; what it had written was removed.",
        markup=False,
    )


def _give_up(laid: LaidDown) -> None:
    """Undo a move that failed, and print what became of the folder."""
    try:
        laid.undo()
    except StoreError as fault:
        err.print(f"The move did not finish: {fault} Repeat the move.", markup=False)
    else:
        err.print(
            f"The move did not finish; what it had written into {laid.folder} was removed.",
            markup=False,
        )


def _lay_data(file: Path, settings: Settings, laid: LaidDown) -> None:
    """Restore the data, and compare it with what is outside it; no agent or move may do so too."""
    from agent.cli.operate.restore import print_resumed, put_in_place
    from agent.service.copies import resume
    from agent.service.data_folder import RunLock

    made_at, at = None, datetime.now(UTC)
    laid.add_data(settings.store.folder, [] if settings.store.url else _list_members(file))
    with RunLock.of(settings):
        if settings.store.url:
            out.print("The database stays where it is; this PC uses it from now on.")
        else:
            restored = put_in_place(settings, file, at=at)
            made_at = restored.made_at
            out.print(
                f"{format_count(restored.files, 'file')} restored to {settings.store.folder}",
                markup=False,
            )
        with open_store(settings, acts=False) as store:
            if made_at:
                print_resumed(*resume(settings, store, since=made_at, at=at))
            for line in _compare_sources(settings, store):
                out.print(line, markup=False)
            store.audit_log.add(at=at, actor="agent", act="lab.moved", subject=file.name)


def _list_members(file: Path) -> list[str]:
    """Return the files of a backup that a restore puts into the data folder."""
    from agent.backup.maintenance import ALWAYS, PIXELS

    with zipfile.ZipFile(file) as packed:
        rooms = {*ALWAYS, *PIXELS}
        return [name for name in packed.namelist() if name.partition("/")[0] in rooms]


def _read_settings(file: Path, moved: dict[str, str]) -> dict[str, str]:
    """Return name → text of the settings files of a backup, with the new source folders.

    Raises:
        UsageError: The file is no backup, or contains no such source.
    """
    from agent.backup.file import list_members, require_plain_names

    try:
        with zipfile.ZipFile(file) as packed:
            require_plain_names(file, list_members(packed))
            kept = {
                PurePosixPath(name).name: packed.read(name).decode("utf-8-sig")
                for name in packed.namelist()
                if name.startswith("settings/") and name.endswith(".toml")
            }
        main = next((name for name, text in kept.items() if "store" in tomllib.loads(text)), None)
    except (
        OSError,
        zipfile.BadZipFile,
        zlib.error,
        ValueError,
        RuntimeError,
        NotImplementedError,
    ) as error:
        raise UsageError(f"{file}: not a readable backup ({error}).") from error
    main = "agent.toml" if "agent.toml" in kept else main
    if main is None:
        raise UsageError(
            f"{file} contains no settings. Write agent.toml, then run agent restore FILE."
        )
    unknown = set(moved) - {s["name"] for s in tomllib.loads(kept[main]).get("sources", [])}
    if unknown:
        raise UsageError(f"--source: the backup has no source {min(unknown)!r}.")
    kept["agent.toml"] = with_folders(kept.pop(main), moved)
    return kept


def with_folders(text: str, moved: Mapping[str, str]) -> str:
    """Return settings with new source folders; comments and other settings stay.

    Args:
        text: Content of a settings file.
        moved: Folder on this PC by source name.
    """
    document = tomlkit.parse(text)
    for source in document.get("sources", ()):
        if source.get("name") in moved:
            source["folder"] = moved[source["name"]]
    return tomlkit.dumps(document)


def _require_empty(settings: Settings) -> None:
    """Raise `UsageError` if the data folder, which may be absolute, already contains a lab."""
    folder = settings.store.folder
    signs = [name for name in ("martensight.db", "crops", "originals") if (folder / name).exists()]
    if signs:
        raise UsageError(
            f"{folder} already contains a lab ({', '.join(signs)}). Nothing was changed. Set "
            "[store] folder to an empty folder, or use agent restore."
        )


def list_paths_elsewhere(settings: Settings, folder: Path, *, given: AbstractSet[str]) -> list[str]:
    """Return a line for each path that is outside the new folder, or did not come along.

    Args:
        settings: Of the moved lab, with absolute paths.
        folder: Folder of the settings, absolute.
        given: Names of the sources whose folder was named for this PC.
    """
    lines = []
    from agent.settings import iter_paths

    for named in iter_paths(settings):
        if named.source in given:
            continue
        exists, is_inside = named.path.exists(), named.path.is_relative_to(folder)
        if not is_inside or (named.source and not exists):
            state = "exists" if exists else "does not exist"
            lines.append(f"{named.label} still points to {named.path}, which {state}")
        elif not exists and not named.is_default(folder):
            lines.append(
                f"{named.label} is missing: {named.path} did not come along. Copy or create it."
            )
    return lines


def _compare_sources(settings: Settings, store: Store) -> list[str]:
    """Return lines on known and new files of each source, and on missing crops."""
    from agent.archive import Archive
    from agent.watch.listing import list_folder

    lines = []
    for source in settings.sources:
        known = store.files.list_known(source.name)
        try:
            files = list_folder(source.folder).pictures
        except OSError as error:
            lines.append(f"source {source.name}: {source.folder}: {error.strerror or error}")
            continue
        new = sum(name not in known for name in files)
        lines.append(
            f"source {source.name}: {format_count(len(files), 'image')}, "
            f"{len(files) - new} already processed, {new} new"
        )
    archive = Archive.open(settings)
    kept = [crop for crop in store.retention.iter_archived() if crop.pruned_at is None]
    missing = sum(not archive.has_crop(crop.sha256, crop.page) for crop in kept)
    if missing:
        lines.append(
            f"{missing} of {len(kept)} crops are missing. Copy crops, originals and reports from "
            "the old data folder, or repeat the backup with --pixels."
        )
    return lines
