"""`agent backup`: write a backup, restore one on trial, or copy the database."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.app import SAYS_NO, app, load_settings, open_store
from agent.cli.console import out, print_json, progress
from agent.errors import UsageError
from agent.files.shares import is_folder
from agent.terminal import format_count

if TYPE_CHECKING:
    from agent.settings import Settings
    from agent.store import Store

PER_MEGABYTE = 1_000_000


@app.command()
def backup(  # noqa: PLR0917 - each is an option of the command
    context: typer.Context,
    target: Annotated[
        Path | None,
        typer.Argument(help="The zip file, or a folder for it. Default: [backup] folder."),
    ] = None,
    pixels: Annotated[
        bool,
        typer.Option(
            "--pixels", help="Include crops, originals and reports; the file may be large."
        ),
    ] = False,
    is_trial: Annotated[
        bool,
        typer.Option(
            "--verify",
            help="Restore a backup on trial and compare it instead. Default: the newest backup.",
        ),
    ] = False,
    copy_to: Annotated[
        str,
        typer.Option(
            metavar="URL",
            help="Instead copy the database, all sites, into this empty one: "
            '"postgresql+psycopg://…" or "sqlite:////folder/martensight.db". Counts and hashes are '
            "compared; the database stays as it is. Stop the agents first.",
        ),
    ] = "",
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON document; with --verify or --copy-to.")
    ] = False,
) -> None:
    """Back up database, bundles, settings, reference images and inbox to one file.

    The agent may keep running.
    """
    from agent.backup import maintenance
    from agent.service.jobs.backup import seal_results, settings_files

    settings, at = load_settings(context), datetime.now(UTC)
    if copy_to:
        copy_database(settings, copy_to, json=as_json)
        return
    if is_trial:
        _verify_backup(settings, target, at, as_json=as_json)
        return
    with open_store(settings) as store, progress("back up", 100) as advance:
        seal_results(store, at=at)
        file = _backup_file(settings, store, _choose_target(settings, target), at)
        count = maintenance.back_up(
            store,
            settings.store.folder,
            file,
            settings_files=settings_files(settings),
            pixels=pixels,
            at=at,
            progress=lambda done, of, what: advance(done * 100 // max(of, 1), what),
        )
        store.audit_log.add(at=at, actor="agent", act="backup.made", subject=file.name)
    size = file.stat().st_size / PER_MEGABYTE
    out.print(f"{file}: {format_count(count, 'file')}, {size:.1f} MB", markup=False)


def _verify_backup(settings: Settings, target: Path | None, at: datetime, *, as_json: bool) -> None:
    from agent.service.jobs.backup import rehearse

    with open_store(settings) as store:
        file = _newest_backup(settings, store, target)
        result = rehearse(settings, store, file, at=at)
    if as_json:
        print_json(result.to_json())
    else:
        for line in (result.sentence, *result.faults[1:], *result.notes):
            out.print(line, markup=False)
    if result.faults:
        raise typer.Exit(SAYS_NO)


def _newest_backup(settings: Settings, store: Store, target: Path | None) -> Path:
    """Return the file to restore on trial: the named one, or the newest of this lab."""
    from agent.backup.facts import is_own, list_backups

    if target and target.is_file():
        return target
    folder = target or (Path(settings.backup.folder) if settings.backup.folder else None)
    if folder is None:
        raise UsageError("Name a backup, or set [backup] folder.")
    if not is_folder(folder):
        raise UsageError(f"No such file or folder: {folder}.")
    site, lab = settings.site.name, store.audit_log.get_first_hash()
    own = [entry for entry in list_backups(folder) if is_own(entry.facts, site=site, lab=lab)]
    if not own:
        raise UsageError(f"{folder} contains no backup of this lab. Name a file.")
    return own[-1].file


def _choose_target(settings: Settings, target: Path | None) -> Path:
    if target:
        return target
    if not settings.backup.folder:
        raise UsageError("Name a zip file or a folder for it: agent backup FOLDER.")
    return Path(settings.backup.folder)


def _backup_file(settings: Settings, store: Store, target: Path, at: datetime) -> Path:
    from agent.backup.facts import name_backup

    if target.is_dir() or not target.suffix:
        lab = store.audit_log.get_first_hash()
        return target / name_backup(settings.site.name, lab, at, is_automatic=False)
    if not target.parent.is_dir():
        raise UsageError(
            f"{target.parent}: no such folder, so no backup was written. Create it, or mount its "
            "share."
        )
    if target.exists():
        raise UsageError(f"{target} already exists and was not changed. Name another file.")
    return target


def copy_database(settings: Settings, to: str, *, json: bool) -> None:
    """Copy all sites of the database into an empty one, and compare counts and hashes.

    Args:
        settings: Of the lab.
        to: Address of the empty database.
        json: Print a document.
    """
    from agent.cli.operate.restore import list_stopped_sites
    from agent.service.data_folder import RunLock

    at = datetime.now(UTC)
    list_stopped_sites(settings, at, then="copy")
    with (
        RunLock.of(settings),
        open_store(settings, acts=False) as store,
        progress("copy", 100) as advance,
    ):
        tables, place = store.copy_to(
            to, at=at, progress=lambda done, of, what: advance(done * 100 // max(of, 1), what)
        )
    if json:
        held = {name: {"rows": d.rows, "sha256": d.sha256} for name, d in tables.items()}
        print_json({"to": place, "tables": held})
        return
    rows = sum(digest.rows for digest in tables.values())
    out.print(
        f"{format_count(rows, 'row')} of {format_count(len(tables), 'table')} copied to {place}: "
        "counts and hashes are the same. The next step: this address as [store] url of agent.toml "
        "on every PC, then agent doctor.",
        markup=False,
    )
