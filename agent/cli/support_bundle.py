"""`agent support bundle`: logs, settings and state with pseudonyms for names."""

from __future__ import annotations

import os
import platform
import sys
from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli.app import app, find_settings_file, load_settings, open_store
from agent.cli.console import err, out
from agent.errors import AgentError, WrongUse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.settings import Settings

support = typer.Typer(
    name="support",
    help="Help from outside: logs for support, wheels for a PC without internet, licences.",
    no_args_is_help=True,
)
app.add_typer(support)

NEWEST_FILES = 200


def collect_documents(context: typer.Context, settings: Settings) -> dict[str, object]:
    """Return the documents of the bundle before names are replaced."""
    from agent.cli.doctor_checks import examine
    from agent.cli.settings_reference import list_settings
    from agent.host.licences import list_parts
    from agent.service.data_folder import clock
    from agent.service.status import build_status

    file = find_settings_file(context)
    return {
        "machine": _machine(),
        "settings": [
            {"setting": name, "value": value, "from": origin}
            for name, value, origin in list_settings(settings, file)
        ],
        "status": build_status(settings, now=clock(), open_store=lambda: open_store(settings)),
        "doctor": [asdict(finding) for finding in examine(settings, file)],
        "files": list(_files(settings)),
        "parts": [f"{part.name} {part.version}" for part in list_parts()],
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
    """Yield the number of files by state, then the newest failed files."""
    try:
        with open_store(settings) as store:
            fates = [fate.as_json() for fate in store.files.iter_status()]
    except AgentError as error:
        yield {"problem": str(error)}
        return
    yield dict(Counter(str(fate["state"]) for fate in fates))
    failed = [fate for fate in fates if fate["state"] in {"failed", "set_aside"}]
    yield from failed[-NEWEST_FILES:]


def iter_secret_words(settings: Settings) -> Iterator[str]:
    """Yield each word to replace: PCs, site, files, customers, and people who rate or measure."""
    yield platform.node()
    yield settings.site.name
    yield from settings.rollout.first
    for source in settings.sources:
        yield from source.folder.parts[1:]
        yield from source.fixed_process_data().values()
    try:
        with open_store(settings) as store:
            for fate in store.files.iter_status():
                yield from fate.paths
            for view in store.results.iter_all():
                yield from view.process_data.values()
                yield from (label.by for label in view.labels)
            yield from (agent.name for agent in store.agents.list_all())
            yield from (needle.by for needle in store.needle_measurements.iter_all())
    except AgentError:
        return  # without a database only words that look like names are replaced


@support.command("bundle")
def support_bundle(
    context: typer.Context,
    target: Annotated[
        Path | None,
        typer.Argument(help="The zip file, or a folder for it. Default: the current folder."),
    ] = None,
    picture: Annotated[
        list[Path] | None,
        typer.Option(
            help="Micrograph to include unchanged; repeatable. By default no image is included."
        ),
    ] = None,
) -> None:
    """Pack logs, settings and state for support: no secrets, no images, names as pseudonyms."""
    from agent.host.support_bundle import Pseudonyms, write

    settings = load_settings(context)
    at = datetime.now(UTC)
    file = target or Path.cwd()
    if file.is_dir() or file.suffix != ".zip":
        file.mkdir(parents=True, exist_ok=True)
        file = file / f"martensight-support-{at:%Y%m%dT%H%M%SZ}.zip"
    names = Pseudonyms(iter_secret_words(settings))
    logs = sorted((settings.store.folder / "logs").glob("*.log*"))
    journal = _journal()
    try:
        listed = write(
            file,
            documents=collect_documents(context, settings),
            logs=logs,
            journal=journal,
            pictures=picture or [],
            names=names,
        )
    except OSError as error:
        raise WrongUse(f"{file}: cannot be written ({error.strerror or error}).") from error
    for name in listed:
        out.print(f"  {name}", markup=False)
    if not logs and not journal:
        err.print(
            "The bundle has no log: none was written yet, or it is in the journal, which only root "
            "may read (sudo agent support bundle).",
            markup=False,
        )
    out.print(f"{file}: inspect it, then send it.", markup=False)
    out.print(
        f"{file.with_suffix('.names.csv')} lists the pseudonyms. Keep it; do not send it.",
        markup=False,
    )


def _journal() -> str:
    if sys.platform == "win32":
        return ""  # there the log is a file
    from agent.host.systemd import read_journal

    return read_journal()
