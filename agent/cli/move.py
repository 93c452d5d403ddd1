"""Bring a lab to another PC, and this program to a PC without internet; say what it is made of."""

from __future__ import annotations

import tomllib
import zipfile
import zlib
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated

import tomlkit
import typer

from agent.cli.app import SAYS_NO, app, open_store
from agent.cli.console import out, progress, table
from agent.errors import WrongUse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.settings import Settings
    from agent.store import Store


@app.command()
def move(
    file: Annotated[Path, typer.Argument(help="What `agent backup --pixels` wrote on the old PC.")],
    folder: Annotated[
        Path, typer.Option("--to", help="Where agent.toml goes, and the data folder with it.")
    ] = Path(),
    source: Annotated[
        list[str] | None,
        typer.Option(help="NAME=FOLDER: where a source's export folder is on this PC."),
    ] = None,
) -> None:
    """Bring a lab to this PC: same sources, same history, nothing taken again; then check it."""
    from agent import settings as settings_room
    from agent.cli.doctor_checks import examine

    config = folder / settings_room.FILE_NAME
    if config.exists():
        raise WrongUse(f"{config}: already there, and is left as it is; name another --to.")
    laid = _lay_settings(file, folder, dict(_pairs(source or [])))
    settings = settings_room.read(config.absolute())
    try:
        _refuse_occupied(settings)
    except WrongUse:
        _take_settings_away(laid)
        raise
    for line in _elsewhere(settings, folder.absolute()):
        out.print(line, markup=False)
    made_at = None
    if settings.store.url:
        out.print("the database stays where it is; this PC asks it from now on.")
    else:
        made_at = _put_back(file, settings)
    with open_store(settings) as store:
        if made_at:
            _resume(settings, store, made_at)
        for line in _compared(settings, store):
            out.print(line, markup=False)
        store.remember(at=datetime.now(UTC), actor="agent", act="lab.moved", subject=file.name)
    findings = examine(settings, config.absolute())
    table(("", "check", "finding"), [(f.mark, f.check, f.sentence) for f in findings])
    out.print(
        f"next: agent --config {config.absolute()} service install; "
        "on the old PC: agent service uninstall.",
        markup=False,
    )
    if any(finding.level == "wrong" for finding in findings):
        raise typer.Exit(SAYS_NO)


def _pairs(given: list[str]) -> list[tuple[str, str]]:
    for one in given:
        if "=" not in one:
            raise WrongUse(f"--source: write it as NAME=FOLDER; found {one!r}.")
    return [(one.partition("=")[0], one.partition("=")[2]) for one in given]


def _lay_settings(file: Path, folder: Path, moved: dict[str, str]) -> list[Path]:
    """Write the back-up's settings files into a folder, with the sources' new places.

    Returns:
        The files.

    Raises:
        WrongUse: It is no back-up, or one of the files is there already.
    """
    try:
        with zipfile.ZipFile(file) as packed:
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
        raise WrongUse(f"{file}: not a back-up that can be read ({error}).") from error
    main = "agent.toml" if "agent.toml" in kept else main
    if main is None:
        raise WrongUse(f"{file}: holds no settings; write agent.toml, then: agent restore FILE")
    unknown = set(moved) - {s["name"] for s in tomllib.loads(kept[main]).get("sources", [])}
    if unknown:
        raise WrongUse(f"--source: the back-up knows no source called {min(unknown)!r}.")
    kept["agent.toml"] = with_folders(kept.pop(main), moved)
    folder.mkdir(parents=True, exist_ok=True)
    if there := [name for name in kept if (folder / name).exists()]:
        raise WrongUse(f"{folder / there[0]}: already there, and is left as it is.")
    for name, text in kept.items():
        (folder / name).touch(mode=0o640)  # a database's password may stand in it
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in kept]


def with_folders(text: str, moved: Mapping[str, str]) -> str:
    """Return settings with other folders for some sources; comments and all else stay.

    Args:
        text: Of a settings file.
        moved: Name of a source → its folder on this PC.
    """
    document = tomlkit.parse(text)
    for source in document.get("sources", ()):
        if source.get("name") in moved:
            source["folder"] = moved[source["name"]]
    return tomlkit.dumps(document)


def _refuse_occupied(settings: Settings) -> None:
    """Refuse a data folder in which a lab lives already: the settings may name an absolute one."""
    folder = settings.store.folder
    signs = [name for name in ("martensight.db", "crops", "originals") if (folder / name).exists()]
    if signs:
        raise WrongUse(
            f"{folder}: a lab is there already ({', '.join(signs)}); nothing was changed. Set "
            "[store] folder to an empty one, or use agent restore to put a back-up in its place."
        )


def _elsewhere(settings: Settings, folder: Path) -> list[str]:
    """Name each folder and file of the settings that lies outside the lab's new place."""
    places: dict[str, Path | str | None] = {
        "[store] folder": settings.store.folder,
        "[model] taxonomy": settings.model.taxonomy,
        "[orders] specifications": settings.orders.specifications,
        "[orders] lists": settings.orders.lists,
        "[orders] outbox": settings.orders.outbox,
        "[backup] folder": settings.backup.folder,
        "[web] certificate": settings.web.certificate,
        "[web] key": settings.web.key,
        **{f"source {one.name}": one.folder for one in settings.sources},
    }
    lines = []
    for name, place in places.items():
        path = Path(place) if place else None
        if path and not path.is_relative_to(folder):
            there = "is there" if path.exists() else "is not there"
            lines.append(f"{name} still points to {path}, which {there}")
    return lines


def _take_settings_away(laid: list[Path]) -> None:
    for file in laid:
        file.unlink()


def _resume(settings: Settings, store: Store, made_at: datetime) -> None:
    """Compare the database with what is outside it, as after a restore: the back-up may be old."""
    from agent.cli.restore import print_resumed
    from agent.service.resuming import resume

    print_resumed(*resume(settings, store, since=made_at, at=datetime.now(UTC)))


def _put_back(file: Path, settings: Settings) -> datetime | None:
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
    out.print(f"{restored.files} files put into {settings.store.folder}", markup=False)
    return restored.made_at


def _compared(settings: Settings, store: Store) -> list[str]:
    """Say for each source how many of its files are known already, and what pixels are missing."""
    from agent.archive import Archive
    from agent.watch.listing import list_folder

    lines = []
    for source in settings.sources:
        known = store.known(source.name)
        try:
            there = list_folder(source.folder).pictures
        except OSError as error:
            lines.append(f"source {source.name}: {source.folder}: {error.strerror or error}")
            continue
        new = sum(name not in known for name in there)
        lines.append(
            f"source {source.name}: {len(there)} pictures there, {len(there) - new} known by "
            f"name, {new} new"
        )
    archive = Archive(settings.store.folder)
    kept = [one for one in store.kept() if one.pruned_at is None]
    missing = sum(not archive.crop_path(one.sha256, one.page).is_file() for one in kept)
    if missing:
        lines.append(
            f"{missing} of {len(kept)} crops are not here: copy the old data folder's crops, "
            "originals and reports, or back up with --pixels."
        )
    return lines
