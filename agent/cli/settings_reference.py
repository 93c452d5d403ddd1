"""Render settings: a commented agent.toml, and all values in effect with their origin.

Both are generated from `Settings`, so they cannot become stale.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from agent.errors import hide_passwords
from agent.settings import ENV_PREFIX, PROCESS_KEYS, Settings, Source

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

LINE_LENGTH = 100

HEAD = """\
# Settings of Martensight. Every line that starts with "# " and contains a "=" shows a default:
# remove the "# " to change it. An unknown key is an error that names the nearest key.
# `agent settings` prints the values in effect and their origin; `agent doctor` checks them.
# One value for one PC can come from the environment: AGENT_STORE__FOLDER=…
"""

SOURCE_EXAMPLE = """\
# One block for each microscope's export folder. The agent only reads the folder.
# [[sources]]
# name = "LOM-07"
# folder = "/mnt/lom07/export"      # on Windows '\\\\server\\share\\export', in single quotes
"""

PROCESS_EXAMPLE = """\
# Process data that holds for every file of this source, such as:
# plant = "Plant 1"
# microscope = "LOM-07"
# The keys: {keys}.
"""

OBJECTIVE_EXAMPLE = """\
# [[sources.objectives]]            # independent evidence for the scale
# name = "50x"                      # as it appears in the process data
# um_per_px = 0.1103                # measured with a stage micrometer, µm per pixel
# camera, width, height, certificate, valid_from: where one objective has several
"""

PATTERN_EXAMPLE = "(?P<order>\\\\d+)_(?P<specimen>\\\\d+)_(?P<field>\\\\d+)_.*"


def render_toml() -> str:
    """Return a complete agent.toml with the default and description of every key."""
    return "\n".join([HEAD, *(_section(name) for name in Settings.model_fields)])


def _section(name: str) -> str:
    if name == "sources":
        return _sources()
    kind = Settings.model_fields[name].annotation
    assert isinstance(kind, type)  # noqa: S101 - every other field of Settings is a section
    assert issubclass(kind, BaseModel)  # noqa: S101
    return f"[{name}]\n" + "".join(_lines(kind, set()))


def _sources() -> str:
    elsewhere = {"name", "folder", "objectives", *PROCESS_KEYS}
    process = PROCESS_EXAMPLE.format(keys=", ".join(PROCESS_KEYS))
    return SOURCE_EXAMPLE + "".join(_lines(Source, elsewhere)) + process + OBJECTIVE_EXAMPLE


def _lines(kind: type[BaseModel], without: set[str]) -> Iterator[str]:
    for key, field in kind.model_fields.items():
        if key not in without:
            value = f'"{PATTERN_EXAMPLE}"' if key == "pattern" else format_toml(field.default)
            yield _line(f"# {key} = {value}", field.description or "")


def _line(setting: str, description: str) -> str:
    if len(setting) + len(description) > LINE_LENGTH:
        return f"# ({description})\n{setting}\n"
    return f"{setting:<35} # {description}\n"


def format_toml(value: object) -> str:
    """Return a value as TOML writes it; None as an empty string."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, tuple):
        return "[" + ", ".join(format_toml(item) for item in value) + "]"
    if hasattr(value, "strftime"):
        return f'"{value:%H:%M}"'
    if isinstance(value, PurePath):
        value = value.as_posix()
    text = json.dumps("" if value is None else value, ensure_ascii=False)
    return text.replace("\x7f", "\\u007f")  # JSON allows it as it is, TOML does not


def list_settings(
    settings: Settings, file: Path | None, environment: Mapping[str, str] = os.environ
) -> list[tuple[str, str, str]]:
    """List every setting as (name, value, origin): "environment", "file" or "default"."""
    written = tomllib.loads(file.read_text(encoding="utf-8-sig")) if file else {}
    upper = {name.upper() for name in environment}
    rows = []
    for name, value in _flat(settings):
        variable = ENV_PREFIX + name.replace(".", "__").upper()
        section = f"{ENV_PREFIX}{name.split('.')[0].split('[')[0]}".upper()
        if variable in upper or section in upper:
            origin = "environment"
        else:
            origin = "file" if _written(written, name) else "default"
        rows.append((name, _without_secrets(name, format_toml(value)), origin))
    return rows


def _flat(settings: Settings) -> Iterator[tuple[str, object]]:
    for section in Settings.model_fields:
        value = getattr(settings, section)
        if section == "sources":
            for index, source in enumerate(value):
                yield from (
                    (f"sources[{index}].{key}", getattr(source, key))
                    for key in Source.model_fields
                    if key != "objectives"
                )
        else:
            yield from (
                (f"{section}.{key}", getattr(value, key)) for key in type(value).model_fields
            )


def _written(document: Any, name: str) -> bool:
    for part in re.findall(r"\w+", name):
        if isinstance(document, list):
            document = document[int(part)] if int(part) < len(document) else {}
        elif part in document:
            document = document[part]
        else:
            return False
    return True


def _without_secrets(name: str, text: str) -> str:
    # A notice address is a secret: it is enough to send messages there.
    if name == "notify.urls":
        return re.sub(r"(://)[^\s\"]+", r"\1…", text)
    return hide_passwords(text)
