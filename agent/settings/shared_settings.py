"""Class every setting: shared, with one value on all PCs of a site, or local to a PC.

A version of the settings holds the shared ones, and the text of two files that settings name. A
test fails where a new setting is not classed here.
"""

from __future__ import annotations

import hashlib
import json
from datetime import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from agent.errors import BadSettings
from agent.settings.messages import describe_fault

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from agent.settings.root import Settings

FILES = {"model.taxonomy": "taxonomy.toml", "orders.specifications": "specifications.toml"}
"""Settings that name a file whose text is shared → its name in the folder of a version."""

SHARED: dict[str, tuple[str, ...]] = {
    "site": ("time_zone",),
    "imaging": ("max_megapixels", "um_per_px_range", "sidecars", "surface_layer"),
    "model": ("precision",),
    "strangeness": ("alpha",),
    "triage": ("min_probability", "control_share", "diverse_per_night", "double_share"),
    "night": ("at", "free_days"),
    "report": ("language",),
    "web": ("lock_after_min",),
    "archive": ("originals",),
    "features": ("keep",),
    "retention": ("crops_days", "originals_days", "statements_years"),
    "review": ("reason_on_correction", "correction_reasons"),
    "retrain": (
        "shadow_days",
        "promoters",
        "epochs",
        "min_new_labels",
        "learns_from",
        "leave_out_doubted",
        "max_loss_points",
        "min_accuracy",
        "min_recall",
        "may_flip_back",
        "max_slowdown",
    ),
    "needles": ("enabled", "l90_of_size_8_um", "size_tolerance"),
    "rollout": ("share", "wait_minutes", "absent_minutes", "tolerance"),
    "orders": (
        "outbox_formats",
        "leads",
        "second_look_at_limit",
        "max_false_conform",
        "control",
        "control_every_h",
        "scale_valid_months",
    ),
    "msa": (
        "effectiveness_min",
        "miss_rate_max",
        "false_alarm_max",
        "study_share_max",
        "source",
    ),
}
"""Section → its settings that have one value on all PCs of a site."""

LOCAL: dict[str, tuple[str, ...]] = {
    # The database is opened with name, shares and exact_numbers before a version can be read.
    "site": ("name", "change_reason", "shares"),
    "store": (
        "folder",
        "url",
        "connections",
        "objects",
        "objects_endpoint",
        "objects_credentials",
        "objects_certificate",
        "objects_cache_gb",
    ),
    "imaging": ("workers", "time_limit_s", "memory_limit_mb"),
    "model": ("device", "batch"),
    "report": (
        "customer_templates",
        "share",
        "mail_to",
        "mail_from",
        "mail_server",
        "mail_security",
        "mail_user",
        "mail_password_file",
        "mail_most_mb",
    ),
    "web": (
        "host",
        "port",
        "names",
        "certificate",
        "key",
        "proxies",
        "connections",
        "requests",
        "uploads",
        "header_s",
        "idle_s",
    ),
    "features": ("fill_at", "fill_minutes", "search_rows"),
    "review": ("chart",),
    "retrain": ("schedule", "start_at_new_labels", "feature_cache_mb"),
    "work": ("pull", "hours", "max_load", "unit"),
    "rollout": ("first",),
    "notify": ("urls", "pictures"),
    "log": ("level",),
    "orders": ("lists", "outbox", "exact_numbers"),
    "backup": ("folder", "keep", "verify"),
    "trail": ("anchor", "timestamp_url", "timestamp_certificates"),
    "service": ("cores",),
    "statements": ("certificate", "passphrase_file"),
}
"""Section → its settings that belong to one PC: paths, hosts, credentials, limits of the PC."""

MOST_CHARACTERS = 1_000_000
"""Of the text of a file; a specification has about 300."""

VERSION_PREFIX = "settings-"
"""Start of the name of each version; no bundle is called so."""


def collect_shared(settings: Settings) -> dict[str, Any]:
    """Return the content of a version: the shared settings of a PC, and the texts of the files.

    A file that is not there is left out, and each PC keeps its own.

    Raises:
        BadSettings: A file cannot be read.
    """
    values = {
        section: {key: _to_json(getattr(getattr(settings, section), key)) for key in keys}
        for section, keys in SHARED.items()
    }
    return {"settings": values, "files": dict(_iter_files(settings))}


def compute_version(content: Mapping[str, Any]) -> str:
    """Return the name of a version, which its content determines."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return VERSION_PREFIX + hashlib.sha256(text.encode()).hexdigest()[:12]


def iter_values(content: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield each setting of a version as (name, value); of a file its text."""
    for section, values in content["settings"].items():
        for key, value in values.items():
            yield f"{section}.{key}", value
    yield from content["files"].items()


def overlay(settings: Settings, content: Mapping[str, Any], folder: Path) -> Settings:
    """Return a PC's settings with the values of a version over them.

    Args:
        settings: Of the PC alone.
        content: Of the version.
        folder: Where the texts of its files are, as `write_files` writes them.

    Raises:
        BadSettings: The program does not know a part of the content, or a value is not valid in it.
    """
    _require_known(content)
    named: dict[str, Path | str] = {name: folder / FILES[name] for name in content["files"]}
    if "model.taxonomy" not in named:
        named["model.taxonomy"] = ""  # the taxonomy of the bundle, on all PCs
    changed: dict[str, Any] = {}
    for section in dict.fromkeys([*content["settings"], *(name.split(".")[0] for name in FILES)]):
        own = getattr(settings, section)
        values = dict(content["settings"].get(section, {}))
        if foreign := sorted(values.keys() - set(SHARED.get(section, ()))):
            raise BadSettings(
                f"settings version: {section}.{foreign[0]} is no shared setting of this program. "
                "Update the program on all PCs first."
            )
        files = {
            key: str(path) if section == "model" else path
            for (at, _, key), path in ((name.partition("."), path) for name, path in named.items())
            if at == section
        }
        try:
            changed[section] = type(own).model_validate({**dict(own), **values, **files})
        except ValidationError as error:
            raise BadSettings(
                f"settings version: {section}: {describe_fault(error, None, {})}"
            ) from error
    return settings.model_copy(update=changed)


def _require_known(content: Mapping[str, Any]) -> None:
    """Refuse content that this program would not apply completely, as that of a later program."""
    values, files = content.get("settings"), content.get("files")
    if not isinstance(values, dict) or not isinstance(files, dict):
        raise BadSettings("settings version: its content is damaged. See agent check.")
    for section, keys in values.items():
        if section not in SHARED:
            raise BadSettings(f"settings version: unknown section {section}. Update this program.")
        if not isinstance(keys, dict):
            raise BadSettings(f"settings version: section {section} is damaged. See agent check.")
    for name, text in files.items():
        if name not in FILES:
            raise BadSettings(
                f"settings version: {name} is no shared file of this program. "
                "Update the program on all PCs first."
            )
        if not isinstance(text, str):
            raise BadSettings(f"settings version: the text of {name} is damaged. See agent check.")


def _to_json(value: object) -> Any:
    if isinstance(value, time):
        return f"{value:%H:%M}"
    return [_to_json(item) for item in value] if isinstance(value, tuple) else value


def _iter_files(settings: Settings) -> Iterator[tuple[str, str]]:
    for name in FILES:
        section, _, key = name.partition(".")
        given = getattr(getattr(settings, section), key)
        if not given:
            continue
        try:
            text = _read_text(given)
        except FileNotFoundError:
            if section == "model":
                raise BadSettings(f"{name}: no such file: {given}.") from None
        except (OSError, UnicodeDecodeError) as error:
            raise BadSettings(f"{name}: {given} cannot be read ({error}).") from error
        else:
            if len(text) > MOST_CHARACTERS:
                raise BadSettings(
                    f"{name}: {given} has {len(text)} characters; a settings version holds at "
                    f"most {MOST_CHARACTERS}, as every agent reads it each round."
                )
            yield name, text


def list_overridden(settings: Settings) -> list[str]:
    """Return the settings of file and environment that the settings version overrides."""
    own = settings.own
    if own is settings:
        return []
    names = [
        f"{section}.{key}"
        for section, keys in SHARED.items()
        for key in keys
        if key in getattr(own, section).model_fields_set
        and getattr(getattr(own, section), key) != getattr(getattr(settings, section), key)
    ]
    return names + [name for name in FILES if _has_other_text(name, own, settings)]


def _has_other_text(name: str, own: Settings, settings: Settings) -> bool:
    section, _, key = name.partition(".")
    before, after = (getattr(getattr(each, section), key) for each in (own, settings))
    if not before or before == after:
        return False
    try:
        return not after or _read_text(before) != _read_text(after)
    except (OSError, UnicodeDecodeError):
        return False


def _read_text(file: Path | str) -> str:
    """Read a file without the mark and the line ends that an editor of Windows writes."""
    return Path(file).read_text(encoding="utf-8-sig")
