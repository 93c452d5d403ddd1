"""Find and read the settings file; name the place, the key and what to write where it fails."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import permutations, product
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import SettingsError

from agent.errors import BadSettingsError, hide_passwords
from agent.settings.root import ENV_PREFIX, Objective, Settings, Source
from agent.settings.section import AddressMark, PathMark, Right, describe_toml_fault
from model import suggest_nearest

# --- the settings that are paths or network addresses, found in the settings model itself ---------


SOURCES = "sources"


@dataclass(frozen=True, slots=True)
class NamedPath:
    """A path in the settings.

    Attributes:
        section: Name of the section, "sources" for each source.
        key: Key in the section.
        value: The path as it is set.
        source: Name of the source, "" outside sources.
        default: Its default, None where it has none.
        right: What the service does with it.
    """

    section: str
    key: str
    value: Path | str
    source: str = ""
    default: Path | str | None = None
    right: Right = Right.READ

    @property
    def label(self) -> str:
        """Name of the setting for a sentence: "[web] key", or "source LOM-07"."""
        return f"source {self.source}" if self.source else f"[{self.section}] {self.key}"

    @property
    def path(self) -> Path:
        """The path itself."""
        return Path(self.value)

    @property
    def folder(self) -> Path:
        """The folder that the service writes into, for a path that it writes."""
        return self.path.parent if self.right is Right.APPEND else self.path

    def is_default(self, base: Path) -> bool:
        """Return whether an absolute path is the default of its setting.

        Args:
            base: Folder that a relative path starts from.
        """
        return self.default is not None and self.path == base / self.default

    def make_absolute(self, base: Path) -> Path | str:
        """Return the absolute path, of the type that the setting has.

        Args:
            base: Folder that a relative path starts from.
        """
        path = Path(os.path.normpath(base / self.path.expanduser()))
        return path if isinstance(self.value, Path) else str(path)


def iter_paths(settings: Settings) -> Iterator[NamedPath]:
    """Yield each path that is set or has a default, sources last."""
    for section in Settings.model_fields:
        if section != SOURCES:
            yield from _iter_set(section, getattr(settings, section))
    for source in settings.sources:
        yield from iter_source_paths(source)


def iter_source_paths(source: Source) -> Iterator[NamedPath]:
    """Yield each path of one source."""
    yield from _iter_set(SOURCES, source, source=source.name)


def is_path(field: FieldInfo) -> bool:
    """Return whether a setting is the path of a file or folder."""
    return field.annotation is Path or _find_mark(field) is not None


def _find_mark(field: FieldInfo) -> PathMark | None:
    return next((mark for mark in field.metadata if isinstance(mark, PathMark)), None)


def _iter_set(section: str, values: BaseModel, *, source: str = "") -> Iterator[NamedPath]:
    for key, field in type(values).model_fields.items():
        if is_path(field) and (value := getattr(values, key)):
            default = None if field.is_required() else field.default or None
            mark = _find_mark(field) or PathMark()
            yield NamedPath(section, key, value, source=source, default=default, right=mark.right)


# --- the settings that are addresses of the network, found in the settings model itself -----------


THIS_PC = frozenset({"127.0.0.1", "localhost", "::1"})
PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class NamedAddress:
    """An address in the settings that is in use.

    Attributes:
        section: Name of the section.
        key: Key in the section.
        host: Name or number of the PC, "" where the address does not hold it.
        port: Its port, 0 where the address does not hold it.
        is_served: The service listens there.
    """

    section: str
    key: str
    host: str
    port: int
    is_served: bool = False

    @property
    def label(self) -> str:
        """Name of the setting for a sentence: "[report] mail_server"."""
        return f"[{self.section}] {self.key}"

    @property
    def is_here(self) -> bool:
        """Whether no other PC is concerned."""
        return self.host in THIS_PC or self.host.startswith("/")


def iter_addresses(settings: Settings) -> Iterator[NamedAddress]:
    """Yield each address that the service connects to, or serves, with these settings."""
    for section in Settings.model_fields:
        if section == SOURCES:
            continue
        values = getattr(settings, section)
        for key, field in type(values).model_fields.items():
            mark = find_address_mark(field)
            if mark is None or (mark.used_with and not getattr(values, mark.used_with)):
                continue
            given = getattr(values, key)
            for text in given if isinstance(given, tuple) else (given or mark.default,):
                if text and (parsed := _parse(text, mark)):
                    yield NamedAddress(section, key, *parsed, is_served=mark.is_served)


def needs_network(settings: Settings) -> bool:
    """Return whether the settings need a connection to another PC, or from one."""
    return not all(address.is_here for address in iter_addresses(settings))


def find_address_mark(field: FieldInfo) -> AddressMark | None:
    """Return how a setting is marked as an address, None where it is none."""
    return next((mark for mark in field.metadata if isinstance(mark, AddressMark)), None)


def _parse(text: str, mark: AddressMark) -> tuple[str, int] | None:
    """Return host and port of an address, None where it is a file."""
    if mark.is_opaque:
        return "", 0
    if mark.is_served:
        return text, 0
    if "://" not in text:
        host, _, port = text.partition(":")
        return host, int(port or mark.port)
    parts = urlsplit(text)
    if parts.scheme == "sqlite":
        return None
    named = parse_qs(parts.query).get("host", [""])[0]  # how PostgreSQL names a socket's folder
    host = parts.hostname or named.partition(":")[0] or "localhost"
    return host, parts.port or PORTS.get(parts.scheme, mark.port)


# --- errors in the settings as sentences that name the place, the key and what to write -----------


_WANTED = {
    "missing": "this setting is required",
    "finite_number": "write an ordinary number",
    "path_type": "write a path in quotes",
    "string_type": "write text in quotes",
    "string_too_short": "must not be empty",
    "bool_type": "write true or false",
    "bool_parsing": "write true or false",
    "tuple_type": 'write a list, ["like", "this"]',
}
"""Kind of fault → what to write, where pydantic speaks to programmers."""


def describe_bad_json(error: SettingsError, environment: Mapping[str, str]) -> str:
    """Return which variable is no JSON, where it needs a list or a table."""
    section = next(iter(re.findall(r'field "(\w+)"', str(error))), "")
    names = [n for n in environment if n.upper().startswith(f"{ENV_PREFIX}{section}".upper())]
    example = '[{"name": "LOM-07", "folder": "/mnt/lom07/export"}]'
    if section != "sources":
        example = '["one", "two"] for a list, {"key": "value"} for a whole section'
    return f"environment: {' or '.join(sorted(names))}: not valid JSON; write {example}."


def describe_fault(
    error: ValidationError, file: Path | None, environment: Mapping[str, str]
) -> str:
    """Return the first fault that pydantic found as a sentence with its place and key."""
    errors = error.errors()
    first = errors[0]
    if first["type"] == "missing":  # a key misspelt is missing too: the misspelling says more
        near = (e for e in errors if e["type"] == "extra_forbidden" and _is_sibling(e, first))
        first = next(near, first)
    where = ".".join(str(part) for part in first["loc"])
    variable = f"{ENV_PREFIX}{'__'.join(str(part) for part in first['loc'][:2])}".upper()
    given = {name.upper() for name in environment}
    variable_used = next(
        (name for name in (variable, variable.split("__")[0]) if name in given), None
    )
    place = f"environment {variable_used}" if variable_used else str(file or "settings")
    if first["type"] == "extra_forbidden":
        return f"{place}: {_describe_unknown(first['loc'])}"
    wanted = _describe_expected(first["type"], first["msg"], where)
    actual = (
        ""
        if first["type"] == "missing" or where.endswith(".objectives")
        else f", found {_format_found(first['input'])}"
    )
    return f"{place}: {where}: {wanted}{actual}."


def _is_sibling(error: ErrorDetails, other: ErrorDetails) -> bool:
    return error["loc"][:-1] == other["loc"][:-1]


def _describe_expected(kind: str, message: str, where: str) -> str:
    """Return what a setting has to be, in the terms of the file, not of the parser."""
    if where == "sources" and kind == "tuple_type":
        return "write [[sources]] with two brackets, one block for each export folder"
    if kind.startswith("model_"):
        return f"it is a section: write [{where.partition('.')[0]}] on a line and its keys below"
    if kind.startswith("int_"):
        return "write a whole number"
    if kind in {"float_type", "float_parsing"}:
        return "write a number"
    if kind.startswith("date_"):
        return "write a date such as 2026-11-24"
    plain = message.removeprefix("Value error, ").replace("Input should be", "must be")
    return _WANTED.get(kind, plain.replace("Tuple should", "the list should"))


def _describe_unknown(where: tuple[int | str, ...]) -> str:
    """Return which setting does not exist, and its nearest, or that its value is fixed."""
    path, key = ".".join(map(str, where)), str(where[-1])
    names: list[str] = list(Settings.model_fields)
    kinds: dict[str, Any] = {name: f.annotation for name, f in Settings.model_fields.items()}
    kinds["sources"] = Source
    for part in where[:-1]:
        kind = kinds.get(str(part)) if not isinstance(part, int) else None
        if kind is not None:
            if key in kind.__class_vars__ and not key.startswith("_"):
                value = json.dumps(getattr(kind, key))
                return f"{path} is no setting: it is always {value}. Remove it."
            names = list(kind.model_fields)
            kinds = {"objectives": Objective} if kind is Source else {}
    return f"unknown setting {path}.{suggest_nearest(key, names)}"


def _format_found(value: object) -> str:
    """Return what was found, without the content of a table or the target of an address."""
    if isinstance(value, dict):
        return "a table"
    text = json.dumps(value, ensure_ascii=False, default=str)
    text = re.sub(r"(://)[^\s\"]+", r"\1…", hide_passwords(text))
    return text if len(text) <= 60 else f"{text[:57]}…"  # noqa: PLR2004 - a line's worth


# --- find and read the settings file --------------------------------------------------------------


FILE_NAME = "agent.toml"
UNFINISHED_MOVE = f"{FILE_NAME}.unfinished"
"""Name of the settings while `agent restore --to` runs; renaming them is its last step."""

LISTS = "[orders] lists"
"""A folder that the agent reads, and moves read files of."""

NOT_SETTINGS = {"AGENT_CONFIG", "AGENT_TOKEN"}


def find_file(given: str | None, environment: Mapping[str, str] = os.environ) -> Path | None:
    """Return the settings file: given, AGENT_CONFIG, ./agent.toml, or in the platform's folder.

    Raises:
        BadSettingsError: A named file does not exist, or a move into its folder did not finish.
    """
    for named, by in ((given, "--config"), (environment.get("AGENT_CONFIG"), "AGENT_CONFIG")):
        if named:
            path = Path(named).expanduser()
            refuse_unfinished_move(path if path.is_dir() else path.parent)
            if path.is_dir():
                raise BadSettingsError(f"{path} (from {by}) is a folder. Name {path / FILE_NAME}.")
            if not path.is_file():
                raise BadSettingsError(f"No such file: {path} (from {by}).")
            return path.absolute()
    usual = (Path.cwd() / FILE_NAME, platform_folder(environment) / FILE_NAME)
    for path in usual:
        refuse_unfinished_move(path.parent)
        if path.is_file():
            return path
    return None


def has_unfinished_move(folder: Path) -> bool:
    """Return whether `agent restore --to` into a folder began and did not finish."""
    return (folder / UNFINISHED_MOVE).is_file()


def refuse_unfinished_move(folder: Path) -> None:
    """Raise `BadSettingsError` if `agent restore --to` into a folder did not finish."""
    if has_unfinished_move(folder):
        raise BadSettingsError(
            f"The move of a lab into {folder.absolute()} did not finish. Repeat it: agent "
            f"restore FILE --to {folder.absolute()}"
        )


def platform_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of the service's settings on this platform."""
    if sys.platform == "win32":
        return Path(environment.get("PROGRAMDATA", r"C:\ProgramData")) / "Martensight"
    return Path("/etc/martensight")


def find_pc_name() -> str:
    """Return the name of this PC."""
    return platform.node() or "agent"


def read(file: Path | None, environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings; their paths are returned absolute, relative to the file's folder.

    Args:
        file: `agent.toml`, or None for defaults and environment alone.
        environment: Its `AGENT_…` variables override the file.

    Raises:
        BadSettingsError: Names the file, the key, what was found and what is expected.
    """
    _refuse_unknown_variables(environment)
    text = ""
    try:
        text = file.read_text(encoding="utf-8-sig") if file else ""
        given = tomllib.loads(text)
    except OSError as error:
        how = ". Run the command as root (sudo)" if isinstance(error, PermissionError) else ""
        raise BadSettingsError(
            f"{file}: cannot be read ({error.strerror or error}){how}."
        ) from error
    except UnicodeDecodeError as error:
        raise BadSettingsError(f"{file}: not valid TOML: {error}.") from error
    except tomllib.TOMLDecodeError as error:
        raise BadSettingsError(f"{file}: {describe_toml_fault(text, error)}") from error
    try:
        settings = Settings(**given)
    except ValidationError as error:
        raise BadSettingsError(describe_fault(error, file, environment)) from error
    except SettingsError as error:
        raise BadSettingsError(describe_bad_json(error, environment)) from error
    absolute = _with_absolute_paths(settings, file.parent if file else Path.cwd())
    absolute = absolute.read_from(file)
    _refuse_own_data(absolute, file)
    _refuse_overlap(absolute, file)
    _refuse_own_writing(absolute, file)
    return absolute


def _refuse_own_data(settings: Settings, file: Path | None) -> None:
    """Refuse a source that holds the data folder: each crop would count as a micrograph."""
    for source in settings.sources:
        if settings.store.folder.is_relative_to(source.folder):
            raise BadSettingsError(
                f"{file or 'settings'}: source {source.name}: {source.folder} contains the data "
                f"folder {settings.store.folder}, whose crops would be processed as micrographs. "
                "Name the export folder of the microscope, or change [store] folder."
            )


def _refuse_overlap(settings: Settings, file: Path | None) -> None:
    """Refuse a source inside another: a micrograph would belong to the one that lists it first."""
    for inner, outer in permutations(settings.sources, 2):
        if inner.folder.is_relative_to(outer.folder):
            raise BadSettingsError(
                f"{file or 'settings'}: source {inner.name}: {inner.folder} is inside the folder "
                f"of source {outer.name}, {outer.folder}, so both would process its micrographs. "
                "Use separate folders."
            )


def _refuse_own_writing(settings: Settings, file: Path | None) -> None:
    """Refuse a folder that the agent writes in one that it reads: it would read its own files."""
    set_paths = list(iter_paths(settings))
    read = [path for path in set_paths if path.source or path.label == LISTS]
    written = [path for path in set_paths if path.right is Right.WRITE]
    for inner, outer in product(written, read):
        if inner != outer and inner.path.is_relative_to(outer.path):
            raise BadSettingsError(
                f"{file or 'settings'}: {inner.label}: {inner.path} is inside {outer.label}, "
                f"{outer.path}, so the agent would read what it writes there. Use separate folders."
            )


def _with_absolute_paths(settings: Settings, base: Path) -> Settings:
    sections: dict[str, list[NamedPath]] = {}
    for named in iter_paths(settings):
        sections.setdefault(named.section, []).append(named)
    changed: dict[str, object] = {
        name: getattr(settings, name).model_copy(
            update={named.key: named.make_absolute(base) for named in paths}
        )
        for name, paths in sections.items()
        if name != SOURCES
    }
    changed[SOURCES] = tuple(
        source.model_copy(
            update={named.key: named.make_absolute(base) for named in iter_source_paths(source)}
        )
        for source in settings.sources
    )
    return settings.model_copy(update=changed)


def _refuse_unknown_variables(environment: Mapping[str, str]) -> None:
    known = {f"{ENV_PREFIX}{name}" for name in _variable_names()}
    for name in environment:
        upper = name.upper()
        if upper.startswith(ENV_PREFIX) and upper not in known | NOT_SETTINGS:
            raise BadSettingsError(
                f"environment: unknown setting {name}.{suggest_nearest(upper, known)}"
            )


def _variable_names() -> Iterator[str]:
    for section, field in Settings.model_fields.items():
        yield section.upper()
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            for key in kind.model_fields:
                yield f"{section}__{key}".upper()
