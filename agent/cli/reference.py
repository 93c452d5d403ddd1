"""Render the commented agent.toml, and the guide's reference pages of commands and settings.

Run `python -m agent.cli.reference` in the source tree after a command, an option or a setting has
changed. `tests/unit/reports/test_guide.py` fails while a page is stale.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import tomllib
from collections.abc import Iterable, Iterator
from importlib.resources import files
from pathlib import Path, PurePath
from typing import Any

from pydantic import BaseModel
from typer.models import CommandInfo, TyperInfo

from agent.cli.app import GROUPS, app
from agent.cli.examples import EXAMPLES, add_examples, iter_commands
from agent.errors import hide_passwords
from agent.settings import ENV_PREFIX, PROCESS_KEYS, Objective, Settings, Source

COMMANDS_HEAD = """\
# Commands

Every command answers `--help`. Each command that prints facts takes `--json` and then prints one
JSON document. `agent --install-completion` lets bash, zsh, fish and PowerShell complete commands,
order numbers, names of bundles and structure codes.
`--config FILE`, before the command, names the `agent.toml` to use. Without it the agent reads
`AGENT_CONFIG`, then `agent.toml` in the current folder, then the folder of the service.

| exit code | meaning |
| --- | --- |
| 0 | done |
| 1 | some files could not be used; each is named |
| 2 | wrong use or wrong set-up |
| 3 | a gate or a verification refuses |

This page is generated from the program.
"""

SETTINGS_HEAD = """\
# Settings

All settings are in `agent.toml`. `agent init` writes that file with every default as a comment.
An unknown key is an error that names the nearest key. `agent settings` lists the values in effect
and their origin; `agent doctor` checks them.

One value for one PC can come from the environment: `AGENT_SECTION__KEY`, for example
`AGENT_STORE__FOLDER`. The environment overrides the file.

This page is generated from the program.
"""


def render_commands() -> str:
    """Return the Markdown page of all commands, one section per command or group."""
    for group in GROUPS:
        importlib.import_module(f"agent.cli.{group}")
    add_examples(app)
    return "\n".join([COMMANDS_HEAD, *_commands(list_commands())])


def list_commands() -> dict[str, Any]:
    """Return every command by the words that lead to it, in the order of `agent --help`."""
    from typer.main import get_command  # only the generator and its tests need it

    for group in GROUPS:
        importlib.import_module(f"agent.cli.{group}")
    root: Any = get_command(app)
    commands = {}
    for path in _sort_paths():
        command = root
        for word in path.split():
            command = command.commands[word]
        commands[path] = command
    return commands


def _sort_paths() -> list[str]:
    """Return the words of every command by `GROUPS`, whichever module was imported first."""
    places = {path: _find_place(command) for path, command in iter_commands(app)}
    first: dict[str, int] = {}
    for path, place in places.items():
        group = path.rpartition(" ")[0]
        first[group] = min(place, first.get(group, place))

    def key(path: str) -> tuple[bool, int, int]:
        group = path.rpartition(" ")[0]
        return bool(group), first[group] if group else 0, places[path]

    return sorted(places, key=key)


def _find_place(command: CommandInfo | TyperInfo) -> int:
    module = getattr(command.callback, "__module__", "").removeprefix("agent.cli.")
    return GROUPS.index(module) if module in GROUPS else len(GROUPS)


def render_settings() -> str:
    """Return the Markdown page of all settings, one section per section of `agent.toml`."""
    return "\n".join([SETTINGS_HEAD, *_sections()])


def write_pages(folder: Path) -> list[Path]:
    """Write both reference pages.

    Args:
        folder: The guide's folder.

    Returns:
        The files that were written.
    """
    pages = {"commands.md": render_commands(), "settings.md": render_settings()}
    for name, text in pages.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    return [folder / name for name in pages]


def _commands(commands: dict[str, Any]) -> Iterator[str]:
    for path, command in commands.items():
        yield f"## agent {path}\n"
        yield f"{_one_line(command.help or '')}\n"
        rows = [_parameter(item) for item in command.params if not getattr(item, "hidden", False)]
        if rows:
            yield _table(("parameter", "meaning", "default"), rows)
        if path in EXAMPLES:
            yield f"```sh\n{EXAMPLES[path]}\n```\n"


def _parameter(parameter: Any) -> tuple[str, str, str]:
    is_argument = parameter.param_type_name == "argument"
    value = (parameter.metavar or parameter.name.upper()).strip("[]")
    if is_argument:
        name = f"`{value}`"
    elif parameter.is_flag:
        name = ", ".join(f"`{option}`" for option in (*parameter.opts, *parameter.secondary_opts))
    else:
        name = f"`{parameter.opts[-1]} {value}`"
    needed = " Required." if parameter.required else ""
    return name, _one_line(parameter.help or "") + needed, _default_of(parameter.default)


def _default_of(value: object) -> str:
    if value is None or value is False or value == "":
        return ""
    if isinstance(value, PurePath):
        return "" if value.is_absolute() else f"`{value.as_posix()}`"
    return f"`{str(value).lower() if value is True else value}`"


def _sections() -> Iterator[str]:
    for name, field in Settings.model_fields.items():
        if name == "sources":
            yield from _sources()
            continue
        kind = field.annotation
        assert isinstance(kind, type)  # noqa: S101 - every other field of Settings is a section
        assert issubclass(kind, BaseModel)  # noqa: S101
        yield f"## [{name}]\n"
        yield _keys(kind, f"{ENV_PREFIX}{name}__".upper())


def _sources() -> Iterator[str]:
    yield "## [[sources]]\n"
    yield "One block for each folder that a microscope exports to. The agent only reads it.\n"
    yield _keys(Source, "", without={"objectives", *PROCESS_KEYS})
    columns = ", ".join(f"`{column}`" for column in PROCESS_KEYS)
    yield f"Process data that holds for every file of the source may be set too: {columns}.\n"
    yield "## [[sources.objectives]]\n"
    yield "Measured pixel sizes, as independent evidence for the scale.\n"
    yield _keys(Objective, "")


def _keys(kind: type[BaseModel], prefix: str, without: Iterable[str] = ()) -> str:
    hidden = set(without)
    rows = []
    for key, field in kind.model_fields.items():
        if key not in hidden:
            default = "required" if field.is_required() else _setting_default(field.default)
            rows.append((f"`{key}`", _one_line(field.description or ""), default))
    variables = f"Environment: `{prefix}KEY`.\n" if prefix else ""
    return _table(("key", "meaning", "default"), rows) + ("\n" + variables if variables else "")


def _setting_default(value: object) -> str:
    return "" if value is None else f"`{format_toml(value)}`"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    cells = [[cell.replace("|", r"\|") for cell in line] for line in lines]
    return "".join(f"| {' | '.join(line)} |\n".replace("|  |", "| |") for line in cells)


def _one_line(text: str) -> str:
    """Return a help text as one line in which nothing is markup by accident."""
    line = " ".join(text.replace("\b", " ").split())
    return "`".join(
        part if number % 2 else part.replace("*", r"\*").replace("_", r"\_").replace("<", "&lt;")
        for number, part in enumerate(line.split("`"))
    )


# --- agent.toml

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
        return _render_sources()
    kind = Settings.model_fields[name].annotation
    assert isinstance(kind, type)  # noqa: S101 - every other field of Settings is a section
    assert issubclass(kind, BaseModel)  # noqa: S101
    return f"[{name}]\n" + "".join(_lines(kind, set()))


def _render_sources() -> str:
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


def list_settings(settings: Settings, file: Path | None) -> list[tuple[str, str, str]]:
    """List every setting as (name, value, origin): "environment", "file" or "default"."""
    written = tomllib.loads(file.read_text(encoding="utf-8-sig")) if file else {}
    upper = {name.upper() for name in os.environ}
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


if __name__ == "__main__":
    for path in write_pages(Path(str(files("reports").joinpath("guide")))):
        print(path)  # noqa: T201 - a tool of the source tree
