"""`agent support`: logs for support, wheels for a PC without internet, licences."""

from __future__ import annotations

import json
import os
import platform
import sys
import uuid
from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli.app import app, find_settings_file, load_settings, open_store
from agent.cli.console import err, out, print_json, table
from agent.errors import AgentError, UsageError
from agent.host.distribution import LOCK, collect
from agent.terminal import format_count

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
    from agent.cli.reference import list_settings
    from agent.cli.start.doctor import examine
    from agent.host.distribution import list_parts
    from agent.service.data_folder import clock
    from agent.service.health.status import build_status

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
        raise UsageError(f"{file}: cannot be written ({error.strerror or error}).") from error
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


EXTRAS = "postgres,vendor,openvino,notify"


@support.command()
def wheels(
    folder: Annotated[Path, typer.Argument(help="Target folder, such as a USB stick or a share.")],
    package: Annotated[
        str, typer.Option(help="This program: its wheel, source folder or package name.")
    ] = "martensight",
    extras: Annotated[str, typer.Option(help="Comma-separated extras; may be empty.")] = EXTRAS,
    lock: Annotated[
        Path, typer.Option(help="File with versions and hashes. Default: the tested ones.")
    ] = LOCK,
    no_lock: Annotated[
        bool, typer.Option("--no-lock", help="Use the newest compatible versions.")
    ] = False,
) -> None:
    """Collect wheels for a PC without internet with the same system and Python version."""
    folder.mkdir(parents=True, exist_ok=True)
    collected = collect(folder, package, extras, None if no_lock else lock)
    size = sum(wheel.stat().st_size for wheel in collected) / 1e6
    out.print(f"{len(collected)} wheels, {size:.0f} MB, in {folder}", markup=False)
    out.print(
        f"on the other PC, in {folder}: "
        "pip install --no-index --require-hashes -r requirements.txt",
        markup=False,
    )


@support.command()
def licences(
    context: typer.Context,
    sbom: Annotated[
        Path | None, typer.Option(help="File for a CycloneDX 1.6 bill of materials.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """List all parts of the program with their licences, including network weights."""
    from agent.host.distribution import build_bill, list_parts
    from agent.retrain.bundle_registry import is_drawn, list_bundles

    bundles = list_bundles(load_settings(context).store.folder)
    drawn = frozenset(bundle.name for bundle in bundles if is_drawn(bundle))
    listed = list_parts((bundle.name for bundle in bundles), drawn=drawn)
    if sbom:
        document = build_bill(listed, at=datetime.now(UTC), serial=uuid.uuid4())
        sbom.write_text(json.dumps(document, indent=1, ensure_ascii=False), encoding="utf-8")
        err.print(f"{format_count(len(listed), 'part')} written to {sbom}", markup=False)
    if as_json:
        print_json([{"name": p.name, "version": p.version, "licence": p.licence} for p in listed])
    elif not sbom:
        table(("part", "version", "licence"), [(p.name, p.version, p.licence) for p in listed])
