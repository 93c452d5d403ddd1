"""`agent move`: set up a lab on this PC from a backup."""

from __future__ import annotations

import tomllib
import zipfile
import zlib
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated

import tomlkit
import typer

from agent.backup_file import list_members, require_plain_names
from agent.cli.app import SAYS_NO, app, open_store
from agent.cli.console import out, progress, table
from agent.counts import format_count
from agent.errors import WrongUse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.settings import Settings
    from agent.store import Store


@app.command()
def move(
    file: Annotated[
        Path, typer.Argument(help="Backup that `agent backup --pixels` wrote on the old PC.")
    ],
    folder: Annotated[
        Path, typer.Option("--to", help="Folder for agent.toml and the data folder.")
    ] = Path(),
    source: Annotated[
        list[str] | None,
        typer.Option(help="NAME=FOLDER: export folder of a source on this PC; repeatable."),
    ] = None,
) -> None:
    """Move a lab to this PC with its sources and history, then check the PC.

    Files that were processed before are not processed again.
    """
    from agent import settings as settings_room
    from agent.cli.doctor_checks import examine

    config = folder / settings_room.FILE_NAME
    if config.exists():
        raise WrongUse(
            f"{config} already exists and was not changed. Name another folder with --to."
        )
    written = _write_settings(file, folder, dict(_parse_pairs(source or [])))
    settings = settings_room.read(config.absolute())
    try:
        _require_empty(settings)
    except WrongUse:
        _delete_settings(written)
        raise
    for line in _list_outside_paths(settings, folder.absolute()):
        out.print(line, markup=False)
    made_at = None
    if settings.store.url:
        out.print("The database stays where it is; this PC uses it from now on.")
    else:
        made_at = _restore(file, settings)
    with open_store(settings) as store:
        if made_at:
            _resume(settings, store, made_at)
        for line in _compare_sources(settings, store):
            out.print(line, markup=False)
        store.audit_log.add(at=datetime.now(UTC), actor="agent", act="lab.moved", subject=file.name)
    findings = examine(settings, config.absolute())
    table(("", "check", "finding"), [(f.mark, f.check, f.sentence) for f in findings])
    out.print(
        f"next: agent --config {config.absolute()} service install; "
        "on the old PC: agent service uninstall.",
        markup=False,
    )
    if any(finding.level == "wrong" for finding in findings):
        raise typer.Exit(SAYS_NO)


def _parse_pairs(options: list[str]) -> list[tuple[str, str]]:
    for pair in options:
        if "=" not in pair:
            raise WrongUse(f"--source: write NAME=FOLDER instead of {pair!r}.")
    return [(pair.partition("=")[0], pair.partition("=")[2]) for pair in options]


def _write_settings(file: Path, folder: Path, moved: dict[str, str]) -> list[Path]:
    """Write the settings files of a backup to a folder, with the new source folders.

    Returns:
        The written files.

    Raises:
        WrongUse: The file is no backup, or a settings file already exists.
    """
    try:
        with zipfile.ZipFile(file) as packed:
            require_plain_names(file, list_members(packed))
            kept = {
                PurePosixPath(name).name: packed.read(name).decode("utf-8-sig")
                for name in packed.namelist()
                if name.startswith("settings/") and name.endswith(".toml")
            }
        main = next((name for name, text in kept.items() if "store" in tomllib.loads(text)), None)
    except (
        OSError,
        zipfile.BadZipFile,
        zlib.error,
        ValueError,
        RuntimeError,
        NotImplementedError,
    ) as error:
        raise WrongUse(f"{file}: not a readable backup ({error}).") from error
    main = "agent.toml" if "agent.toml" in kept else main
    if main is None:
        raise WrongUse(
            f"{file} contains no settings. Write agent.toml, then run agent restore FILE."
        )
    unknown = set(moved) - {s["name"] for s in tomllib.loads(kept[main]).get("sources", [])}
    if unknown:
        raise WrongUse(f"--source: the backup has no source {min(unknown)!r}.")
    kept["agent.toml"] = with_folders(kept.pop(main), moved)
    folder.mkdir(parents=True, exist_ok=True)
    if existing := [name for name in kept if (folder / name).exists()]:
        raise WrongUse(f"{folder / existing[0]} already exists and was not changed.")
    for name, text in kept.items():
        (folder / name).touch(mode=0o640)  # it may contain a database password
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in kept]


def with_folders(text: str, moved: Mapping[str, str]) -> str:
    """Return settings with new source folders; comments and other settings stay.

    Args:
        text: Content of a settings file.
        moved: Folder on this PC by source name.
    """
    document = tomlkit.parse(text)
    for source in document.get("sources", ()):
        if source.get("name") in moved:
            source["folder"] = moved[source["name"]]
    return tomlkit.dumps(document)


def _require_empty(settings: Settings) -> None:
    """Raise `WrongUse` if the data folder, which may be absolute, already contains a lab."""
    folder = settings.store.folder
    signs = [name for name in ("martensight.db", "crops", "originals") if (folder / name).exists()]
    if signs:
        raise WrongUse(
            f"{folder} already contains a lab ({', '.join(signs)}). Nothing was changed. Set "
            "[store] folder to an empty folder, or use agent restore."
        )


def _list_outside_paths(settings: Settings, folder: Path) -> list[str]:
    """Return a line for each path in the settings that is outside the new folder."""
    places: dict[str, Path | str | None] = {
        "[store] folder": settings.store.folder,
        "[model] taxonomy": settings.model.taxonomy,
        "[orders] specifications": settings.orders.specifications,
        "[orders] lists": settings.orders.lists,
        "[orders] outbox": settings.orders.outbox,
        "[backup] folder": settings.backup.folder,
        "[web] certificate": settings.web.certificate,
        "[web] key": settings.web.key,
        **{f"source {source.name}": source.folder for source in settings.sources},
    }
    lines = []
    for name, value in places.items():
        path = Path(value) if value else None
        if path and not path.is_relative_to(folder):
            state = "exists" if path.exists() else "does not exist"
            lines.append(f"{name} still points to {path}, which {state}")
    return lines


def _delete_settings(written: list[Path]) -> None:
    for file in written:
        file.unlink()


def _resume(settings: Settings, store: Store, made_at: datetime) -> None:
    """Compare the database with records outside it, as after a restore."""
    from agent.cli.restore import print_resumed
    from agent.service.resuming import resume

    print_resumed(*resume(settings, store, since=made_at, at=datetime.now(UTC)))


def _restore(file: Path, settings: Settings) -> datetime | None:
    from agent import maintenance
    from agent.service.data_folder import agent_name
    from agent.service.lock import RunLock
    from agent.store import store_url

    at = datetime.now(UTC)
    with RunLock(settings.store.folder, agent_name()), progress("move", 100) as advance:
        restored = maintenance.restore(
            file,
            url=store_url(settings.store.folder),
            folder=settings.store.folder,
            at=at,
            progress=lambda done, of, what: advance(done * 100 // max(of, 1), what),
        )
    out.print(
        f"{format_count(restored.files, 'file')} restored to {settings.store.folder}", markup=False
    )
    return restored.made_at


def _compare_sources(settings: Settings, store: Store) -> list[str]:
    """Return lines on known and new files of each source, and on missing crops."""
    from agent.archive import Archive
    from agent.watch.listing import list_folder

    lines = []
    for source in settings.sources:
        known = store.files.list_known(source.name)
        try:
            files = list_folder(source.folder).pictures
        except OSError as error:
            lines.append(f"source {source.name}: {source.folder}: {error.strerror or error}")
            continue
        new = sum(name not in known for name in files)
        lines.append(
            f"source {source.name}: {format_count(len(files), 'image')}, "
            f"{len(files) - new} already processed, {new} new"
        )
    archive = Archive(settings.store.folder)
    kept = [crop for crop in store.retention.iter_archived() if crop.pruned_at is None]
    missing = sum(not archive.crop_path(crop.sha256, crop.page).is_file() for crop in kept)
    if missing:
        lines.append(
            f"{missing} of {len(kept)} crops are missing. Copy crops, originals and reports from "
            "the old data folder, or repeat the backup with --pixels."
        )
    return lines
