"""Gather what a support bundle is made of: state, settings, findings, and the words to hide."""

from __future__ import annotations

import os
import platform
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from agent.cli.app import settings_file_of, store_of
from agent.errors import AgentError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import typer

    from agent.settings import Settings

NEWEST_FILES = 200


def documents(context: typer.Context, settings: Settings) -> dict[str, object]:
    """Say everything that is put in, before names are replaced."""
    from agent.cli.doctor import examine
    from agent.cli.settings_reference import in_effect
    from agent.host.licences import parts
    from agent.service.data_folder import clock
    from agent.service.status import status_of

    file = settings_file_of(context)
    return {
        "machine": _machine(),
        "settings": [
            {"setting": name, "value": value, "from": origin}
            for name, value, origin in in_effect(settings, file)
        ],
        "status": status_of(settings, now=clock(), open_store=lambda: store_of(settings)),
        "doctor": [asdict(finding) for finding in examine(settings, file)],
        "files": list(_files(settings)),
        "parts": [f"{part.name} {part.version}" for part in parts()],
    }


def _machine() -> dict[str, Any]:
    import psutil

    return {
        "system": platform.platform(),
        "python": platform.python_version(),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "memory_mb": psutil.virtual_memory().total // 1_000_000,
    }


def _files(settings: Settings) -> Iterator[dict[str, Any]]:
    """Give how many files stand where, and the newest that went wrong."""
    try:
        with store_of(settings) as store:
            fates = [fate.as_json() for fate in store.files()]
    except AgentError as error:
        yield {"problem": str(error)}
        return
    yield dict(Counter(str(fate["state"]) for fate in fates))
    wrong = [fate for fate in fates if fate["state"] in {"failed", "set_aside"}]
    yield from wrong[-NEWEST_FILES:]


def words(settings: Settings) -> Iterator[str]:
    """Say every word that must not be seen: the PC, the site, files, and whose parts they show."""
    yield platform.node()
    yield settings.site.name
    for source in settings.sources:
        yield from source.folder.parts[1:]
        yield from source.fixed_process_data().values()
    try:
        with store_of(settings) as store:
            for fate in store.files():
                yield from fate.paths
            for view in store.micrographs():
                yield from view.process_data.values()
                yield from (label.by for label in view.labels)
    except AgentError:
        return  # without a database its names are only hidden where they look like names
