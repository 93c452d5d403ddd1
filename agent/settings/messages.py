"""Errors in the settings as sentences that name the place, the key and what to write."""

from __future__ import annotations

import difflib
import json
import re
from typing import TYPE_CHECKING, Any

from agent.errors import hide_passwords
from agent.settings.root import ENV_PREFIX, Settings
from agent.settings.sources import Objective, Source

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails
    from pydantic_settings import SettingsError

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
        return f"{place}: {_describe_unknown(first['loc'])}."
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
                return f"{path} is no setting: it is always {value}. Remove it"
            names = list(kind.model_fields)
            kinds = {"objectives": Objective} if kind is Source else {}
    close = difflib.get_close_matches(key, names, 1, cutoff=0.0)
    return f"unknown setting {path}" + (f"; the nearest is {close[0]}" if close else "")


def _format_found(value: object) -> str:
    """Return what was found, without the content of a table or the target of an address."""
    if isinstance(value, dict):
        return "a table"
    text = json.dumps(value, ensure_ascii=False, default=str)
    text = re.sub(r"(://)[^\s\"]+", r"\1…", hide_passwords(text))
    return text if len(text) <= 60 else f"{text[:57]}…"  # noqa: PLR2004 - a line's worth
