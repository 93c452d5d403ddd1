"""Keep the settings version that a PC applies in its data folder, so that every command sees it.

PCs may share a data folder, so each has a separate file. The texts of the version's files are in a
folder of the version's name; they are written before the file that names them.
"""

from __future__ import annotations

import json
import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent.errors import BadSettings
from agent.settings.shared_settings import FILES, compute_version
from agent.whole_file import write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FOLDER = "settings"
"""Folder below the data folder."""


@dataclass(frozen=True, slots=True)
class AppliedVersion:
    """The version that a PC applies over its file.

    Args:
        version: Its name.
        content: Its values and texts.
    """

    version: str
    content: dict[str, Any]


def find_applied(data: Path, pc: str) -> AppliedVersion | None:
    """Return the version that a PC applies, None for none.

    Args:
        data: The data folder.
        pc: Name of the PC.

    Raises:
        BadSettings: The file is damaged.
    """
    file = _get_file(data, pc)
    if not file.is_file():
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        applied = AppliedVersion(compute_version(content["content"]), content["content"])
        is_whole = applied.version == content["version"] and all(
            get_files_folder(data, applied.version).joinpath(FILES[name]).read_text("utf-8") == text
            for name, text in applied.content["files"].items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadSettings(f"{file}: damaged ({error}). {_REMEDY}") from error
    if not is_whole:
        raise BadSettings(f"{file}: changed by hand or damaged. {_REMEDY}")
    return applied


_REMEDY = "Delete it and start agent run, which writes it again from the database."


def save_applied(data: Path, pc: str, content: Mapping[str, Any]) -> None:
    """Write the version that a PC applies from its next start on."""
    version = write_files(data, content)
    text = json.dumps({"version": version, "content": content}, ensure_ascii=False, indent=1)
    write_whole({_get_file(data, pc): text.encode()})


def remove_applied(data: Path, pc: str) -> None:
    """Remove the version of a PC: from its next start on it applies none."""
    _get_file(data, pc).unlink(missing_ok=True)


def write_files(data: Path, content: Mapping[str, Any]) -> str:
    """Write the texts of a version's files, and return the version's name."""
    version = compute_version(content)
    folder = get_files_folder(data, version)
    texts = {folder / FILES[name]: text.encode() for name, text in content["files"].items()}
    wanting = {
        path: text
        for path, text in texts.items()
        if not path.is_file() or path.read_bytes() != text
    }
    write_whole(wanting)
    return version


def get_files_folder(data: Path, version: str) -> Path:
    """Return the folder of the texts of a version's files."""
    return data / FOLDER / version


def find_pc_name() -> str:
    """Return the name of this PC."""
    return platform.node() or "agent"


def _get_file(data: Path, pc: str) -> Path:
    return data / FOLDER / f"{pc}.json"
