"""Change `agent.toml`: comments and order stay, and only a file that can be read replaces it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import tomlkit
from tomlkit import TOMLDocument
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import Array

from agent.errors import BadSettingsError
from agent.settings.loading import read
from agent.settings.root import Settings
from model.durable_file import write_durably


def write_values(file: Path, values: Mapping[str, Mapping[str, str]]) -> Settings:
    """Set values in `agent.toml` and return the settings that it now gives.

    Args:
        file: The `agent.toml`.
        values: Section → key → value; "sources" adds one source with these keys, or changes the
            one of its name.

    Raises:
        BadSettingsError: The file cannot be read or written, or a value is refused; nothing
            changed.
    """
    fresh = file.with_name(f".{file.name}.new")
    lines = _format_lines(values)
    try:
        text = _change(file.read_text(encoding="utf-8-sig"), values)
        write_durably(fresh, text.encode())
        fresh.chmod(file.stat().st_mode & 0o777)  # it may hold a database password
        settings = read(fresh).read_from(file)
        _require_in_effect(settings, values)
        fresh.replace(file)
    except BadSettingsError as error:
        raise BadSettingsError(str(error).replace(str(fresh), str(file))) from error
    except (TOMLKitError, UnicodeDecodeError) as error:
        raise BadSettingsError(
            f"{file}: not valid TOML: {error}. Mend it, then try again."
        ) from error
    except OSError as error:
        raise BadSettingsError(
            f"{file}: cannot be written ({error.strerror or error}). Give the agent's account the "
            f"right to write there, or write it yourself: {lines}"
        ) from error
    finally:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)
    return settings


def _change(text: str, values: Mapping[str, Mapping[str, str]]) -> str:
    document = tomlkit.parse(text)
    for section, keys in values.items():
        if section == "sources":
            named = [own for own in document.get(section, ()) if own.get("name") == keys["name"]]
            if named:
                named[0].update(keys)
            else:
                append_entry(document, section, keys)
            continue
        if section not in document:
            document.append(section, tomlkit.table())
        for key, value in keys.items():
            document[section][key] = value
    return tomlkit.dumps(document)


def append_entry(document: TOMLDocument, section: str, keys: Mapping[str, object]) -> None:
    """Append an entry to a list of tables, in the style of those that are there."""
    there = document.get(section)
    if isinstance(there, Array):
        inline = tomlkit.inline_table()
        inline.update(keys)
        there.append(inline)
        return
    entry = tomlkit.table()
    entry.update(keys)
    entry.add(tomlkit.nl())
    if there is None:
        document.add(tomlkit.nl())
        document.append(section, tomlkit.aot())
    document[section].append(entry)


def _require_in_effect(settings: Settings, values: Mapping[str, Mapping[str, str]]) -> None:
    """Raise `BadSettingsError` where the environment overrides what is written."""
    for section, keys in values.items():
        if section == "sources":
            if all(source.name != keys["name"] for source in settings.sources):
                raise BadSettingsError("AGENT_SOURCES in the environment overrides agent.toml.")
            continue
        part, base = getattr(settings, section), settings.file.parent if settings.file else Path()
        for key, value in keys.items():
            path = os.path.normpath(base / Path(value).expanduser())  # paths are made absolute
            if str(getattr(part, key)) not in {value, path}:
                raise BadSettingsError(
                    f"AGENT_{section.upper()}__{key.upper()} in the environment overrides "
                    "agent.toml."
                )


def _format_lines(values: Mapping[str, Mapping[str, str]]) -> str:
    """Return the values as one line of TOML each, for a person to write."""
    return " ".join(
        f"{'[[sources]]' if section == 'sources' else f'[{section}]'} "
        + ", ".join(f"{key} = {tomlkit.item(value).as_string()}" for key, value in keys.items())
        for section, keys in values.items()
    )
