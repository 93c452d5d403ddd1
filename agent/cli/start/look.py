"""`agent look`: what a folder of micrographs is like, without labels, settings or database."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.app import DONE, SOME_FAILED, app, load_settings, now_utc
from agent.cli.console import out, print_json
from agent.cli.grade.classify import (
    Files,
    Json,
    is_folder,
    iter_cropped,
    list_named,
    make_folder,
    micrograph_title,
    picture_stem,
    print_outcomes,
    report_refused,
    shorten_name,
    write_picture,
)
from agent.errors import UsageError
from agent.terminal import format_count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.cli.start.folder_overview import FolderOverview
    from agent.imaging import Crop
    from agent.settings import Settings

WRITTEN_EVERY_S = 5.0
"""Our choice: as often the page loads itself again while files are read."""


@app.command("look")
def look(
    context: typer.Context,
    files: Files,
    *,
    as_json: Json = False,
    overlay: Annotated[
        Path | None, typer.Option(help="Folder for pictures of the detected scale bar and crop.")
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option(
            "--out", help="HTML page to write, outside the folder. Default: look-FOLDER.html here."
        ),
    ] = None,
    most: Annotated[
        int,
        typer.Option(min=1, help="Most files to read for the page; of more, a sample is read."),
    ] = 1000,
) -> None:
    """Show what a folder of micrographs is like, in one page; with --json print it per micrograph.

    No model, labels, settings or database are needed. Nothing is written into the folder.
    """
    settings = load_settings(context)
    make_folder(overlay, "--overlay")
    refused = (
        _print_json(files, settings, overlay)
        if as_json
        else _write_page(files, settings, overlay, page=page, most=most)
    )
    raise typer.Exit(SOME_FAILED if refused else DONE)


def _print_json(files: Sequence[Path], settings: Settings, overlay: Path | None) -> list[str]:
    """Print one object per micrograph or refused file; return the refused files in words."""
    from agent.imaging.crop import crop_to_json  # heavy imports inside commands

    refused: list[str] = []
    for path, outcome in iter_cropped(files, settings, but=overlay):
        if not isinstance(outcome, list):
            refused.append(report_refused(path, outcome, as_json=True))
            continue
        for crop in outcome:
            print_json({"file": str(path)} | crop_to_json(crop))
            _draw(crop, path, overlay)
    return refused


def _write_page(
    files: Sequence[Path], settings: Settings, overlay: Path | None, *, page: Path | None, most: int
) -> list[str]:
    """Write the page again and again while files are read; return the refused files in words."""
    from agent.cli.start.folder_overview import FolderOverview, choose_evenly
    from agent.watch import locate
    from agent.watch.listing import Listing

    folder = files[0].absolute() if len(files) == 1 and is_folder(files[0]) else None
    if folder:
        listing = list_named(folder, overlay)
        paths = {locate(folder, relative): relative for relative in listing.pictures}
    else:
        paths = {path: str(path) for path in files}
        listing = Listing(pictures=dict.fromkeys(paths.values(), (0, 0, 0)))
        if not any(path.exists() for path in files):
            raise UsageError(f"{', '.join(map(str, files))}: no such file or folder.")
    file = _choose_page(page, files)
    overview = FolderOverview(listing, min(most, len(paths)))
    chosen = choose_evenly(list(paths), most)
    refused: list[str] = []
    is_done, written_at = False, -WRITTEN_EVERY_S
    try:
        for path, outcome in iter_cropped(chosen or files, settings, but=overlay, landmarks=True):
            if isinstance(outcome, list):
                for crop in outcome:
                    _draw(crop, path, overlay)
            else:
                refused.append(report_refused(path, outcome, as_json=False))
            overview.add(paths.get(path, str(path)), outcome)
            if time.monotonic() - written_at >= WRITTEN_EVERY_S:
                _save(overview, folder, settings, file, state="reading")
                if written_at < 0:
                    out.print(f"page, to be opened now: {file}", markup=False, soft_wrap=True)
                written_at = time.monotonic()
        is_done = True
    finally:
        if overview.read:
            _save(overview, folder, settings, file, state="done" if is_done else "stopped")
    print_outcomes((), (), refused)
    read = format_count(len(overview.seen), "micrograph")
    out.print(
        f"{read} in {format_count(overview.read, 'file')}: {file}", markup=False, soft_wrap=True
    )
    return refused


def _choose_page(named: Path | None, files: Sequence[Path]) -> Path:
    """Return the path of the page.

    Raises:
        UsageError: It is inside a folder that is only read, or is no HTML file.
    """
    folders = [path.resolve() for path in files if path.is_dir()]

    def is_inside(place: Path) -> bool:
        resolved = place.resolve()
        return any(folder in (resolved, *resolved.parents) for folder in folders)

    if named is None:
        name = f"look-{shorten_name(files[0].resolve().name) or 'folder'}.html"
        places = [place for place in (Path.cwd(), Path.home()) if not is_inside(place)]
        if not places:
            raise UsageError(f"{files[0]} is only read. Name a page outside it: --out PAGE.html")
        return places[0] / name
    if named.suffix.lower() not in (".html", ".htm") or named.is_dir():
        raise UsageError(f"--out {named}: name an HTML page, such as look.html.")
    if is_inside(named):
        raise UsageError(f"--out {named}: this folder is only read. Name a page outside it.")
    return named.absolute()


def _save(
    overview: FolderOverview, folder: Path | None, settings: Settings, file: Path, *, state: str
) -> None:
    """Write the page.

    Raises:
        UsageError: It cannot be written.
    """
    from agent.cli.start.folder_overview import propose_source
    from agent.files.whole_file import write_whole
    from agent.watch.listing import to_text
    from reports import render, speaking, with_seconds

    crops = [(seen.path, seen.crop) for seen in overview.seen]
    with speaking(settings.report.language):
        html = render(
            "look",
            **overview.build_page(),
            site=to_text(folder.name if folder else file.stem),
            folder=to_text(str(folder or "")),
            state=state,
            every_s=round(WRITTEN_EVERY_S),
            generated=with_seconds(now_utc().astimezone()),
            proposal=propose_source(folder, overview.paths, crops) if folder else None,
        )
    try:
        write_whole({file: html.encode()})
    except OSError as error:
        raise UsageError(
            f"{file}: cannot be written ({error.strerror or error}). Free disk space, or name "
            "another page: --out PAGE.html"
        ) from error


def _draw(crop: Crop, path: Path, folder: Path | None) -> None:
    from agent.files.pictures import encode_jpeg
    from agent.imaging.overlay import render_overlay

    if folder is not None:
        picture = render_overlay(crop, micrograph_title(crop, path))
        write_picture(folder / f"{picture_stem(crop, path)}.jpg", encode_jpeg(picture, quality=90))
