"""What a move lays down, kept in a file so that one that did not finish can be undone.

The settings are laid down under another name first and get their own name as the last step: until
then no command accepts the folder. A move that was killed is undone by the next one.
"""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Self

from agent.errors import BadStore
from agent.settings import FILE_NAME, UNFINISHED_MOVE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

LIST_NAME = "agent-move.json"
OF_DATABASE = ("martensight.db*", ".martensight.db*", "database.json*", ".database.json*")
OF_RESTORE = (".restore-*", "settings-of-backup-*", "agent*.lock", "agent.presence")


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
            BadStore: The folder cannot be written.
        """
        laid = cls(str(folder), not folder.exists(), tuple(names))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            laid._write()
        except OSError as error:
            raise BadStore(f"{folder}: cannot be written ({error.strerror or error}).") from error
        return laid

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Return what a move into a folder that did not finish laid down.

        Raises:
            BadStore: Its list is missing or damaged.
        """
        file = folder / LIST_NAME
        try:
            laid = cls(**json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise BadStore(
                f"{file}: cannot be read ({error}), so the unfinished move cannot be undone. "
                f"Delete {folder / UNFINISHED_MOVE} and the files next to it, or name another "
                "folder with --to."
            ) from error
        laid.folder = str(folder)
        return laid

    def write_settings(self, texts: Mapping[str, str]) -> Path:
        """Write the settings files, `agent.toml` under another name; return the latter.

        Raises:
            BadStore: A file cannot be written.
        """
        folder = Path(self.folder)
        try:
            for name in sorted(self.settings, key=lambda name: name != UNFINISHED_MOVE):
                text = texts[FILE_NAME if name == UNFINISHED_MOVE else name]
                (folder / name).touch(mode=0o640)  # it may contain a database password
                (folder / name).write_text(text, encoding="utf-8")
        except OSError as error:
            raise BadStore(f"{folder}: cannot be written ({error.strerror or error}).") from error
        return folder / UNFINISHED_MOVE

    def add_data(self, data: Path, names: Iterable[str]) -> None:
        """Note the data folder and the files of the backup, before any of them is written.

        Raises:
            BadStore: The list cannot be written.
        """
        self.data = str(data)
        try:
            self.is_data_new = not data.exists()
            self.members = tuple(name for name in names if not (data / name).exists())
            self.kept = tuple(path.name for path in _iter_own(data))
            self._write()
        except OSError as error:
            raise BadStore(f"{data}: cannot be written ({error.strerror or error}).") from error

    def finish(self) -> Path:
        """Rename the settings, which completes the lab; return the settings file."""
        folder = Path(self.folder)
        (folder / UNFINISHED_MOVE).replace(folder / FILE_NAME)
        (folder / LIST_NAME).unlink(missing_ok=True)
        return folder / FILE_NAME

    def undo(self) -> None:
        """Remove what the move wrote; what was there before, or is not its own, stays.

        Raises:
            BadStore: A file cannot be removed; the move can be repeated or undone again.
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
            raise BadStore(
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
        from agent.whole_file import write_whole

        text = json.dumps(asdict(self), ensure_ascii=False)
        write_whole({Path(self.folder) / LIST_NAME: text.encode()})


def _iter_own(data: Path) -> Iterator[Path]:
    for pattern in (*OF_DATABASE, *OF_RESTORE):
        yield from data.glob(pattern)


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()
