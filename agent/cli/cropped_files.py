"""Read and crop the image files that a command names, in parallel."""

from __future__ import annotations

import os
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.console import out, print_json, progress, table
from agent.counts import format_count

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent.imaging import Crop
    from agent.imaging.pool import Outcome
    from agent.settings import Settings
    from agent.watch.listing import Listing

Files = Annotated[
    list[Path],
    # Typer's own conversion inspects the path, for ever where its share hangs.
    typer.Argument(help="Image files, or folders to search.", parser=Path, metavar="FILES"),
]

Json = Annotated[bool, typer.Option("--json", help="One JSON object per micrograph on stdout.")]

LISTING_S = 300.0
"""Longest time to list a folder: a hundred thousand files on a share take minutes."""

LONGEST_STEM = 180
"""Bytes of the file name in a picture's name; file systems allow 255, id and map follow."""


def iter_cropped(
    files: Sequence[Path], settings: Settings, *, but: Path | None, landmarks: bool = False
) -> Iterator[tuple[Path, Outcome]]:
    """Crop files in parallel and yield them in the given order.

    Args:
        files: Files and folders that the command names.
        settings: Settings of this call.
        but: Output folder, left out if it is inside a named folder.
        landmarks: Extract the landmarks of each crop as well.

    Raises:
        WrongUse: There is no image file.
    """
    from agent.errors import WrongUse
    from agent.imaging.pool import CropPool

    paths = list(_listed(files, but))
    if not paths:
        raise WrongUse(
            f"{', '.join(map(str, files))}: no image file found. Name files or folders with "
            "micrographs."
        )
    imaging = settings.imaging
    finished: dict[Path, Outcome] = {}
    with (
        CropPool(
            workers=min(imaging.workers or _cores(), max(1, len(paths))),
            time_limit_s=imaging.time_limit_s,
            memory_limit_mb=imaging.memory_limit_mb,
            max_megapixels=imaging.max_megapixels,
            um_per_px_range=imaging.um_per_px_range,
            sidecars=imaging.sidecars,
            keep_surface=imaging.surface_layer == "keep",
            landmarks=landmarks,
        ) as pool,
        progress("reading", len(paths)) as advance,
    ):
        order = iter(paths)
        next_path = next(order, None)
        for done, (path, outcome) in enumerate(pool.crop_all([(p, None) for p in paths]), 1):
            finished[path] = outcome
            while next_path in finished:
                yield next_path, finished.pop(next_path)
                next_path = next(order, None)
            advance(done, path.name)


def _cores() -> int:
    return os.cpu_count() or 1


def _listed(files: Sequence[Path], but: Path | None) -> Iterator[Path]:
    """Yield each file once; of a folder, the files that the watcher would process."""
    from agent.watch import locate

    yielded: set[Path] = set()
    for named in files:
        if is_folder(named):
            listed = [locate(named, relative) for relative in list_named(named, but).pictures]
        else:
            listed = [named]
        for path in listed:
            real = path.resolve() if path.is_symlink() else path  # a named link is intended
            if real not in yielded:
                yielded.add(real)
                yield real


def is_folder(named: Path) -> bool:
    """Return whether a folder has this name.

    Raises:
        OSError: It refuses, or its share hangs.
    """
    from agent import shares

    return shares.inspect(named, named.is_dir)


def list_named(folder: Path, but: Path | None) -> Listing:
    """List what is below a folder that a command names, in order of the names.

    Args:
        folder: The folder.
        but: Output folder, left out if it is inside.

    Raises:
        OSError: The folder cannot be listed, or its share hangs.
    """
    from agent import shares
    from agent.watch.file_types import to_text
    from agent.watch.listing import list_folder

    def touch() -> None:
        with os.scandir(folder) as entries:
            next(entries, None)

    shares.inspect(folder, touch)  # one that hangs is refused sooner than a large one is listed
    listing = shares.inspect(folder, lambda: list_folder(folder.absolute()), limit_s=LISTING_S)
    top, ours = folder.resolve(), but.resolve() if but else None
    inside = f"{to_text(ours.relative_to(top).as_posix())}/" if ours and top in ours.parents else ""
    listing.pictures = {
        relative: listing.pictures[relative]
        for relative in sorted(listing.pictures, key=lambda relative: relative.split("/"))
        if not (inside and relative.startswith(inside))
    }
    return listing


def describe_fault(error: Exception) -> tuple[str, str]:
    """Return the error code and the sentence for a file that cannot be used."""
    from agent.errors import FileCode, FileError

    if isinstance(error, FileError):
        return error.code.value, error.message
    if isinstance(error, OSError):
        reason = error.strerror or str(error)
        return FileCode.UNREADABLE.value, f"it cannot be opened: {reason}."
    return FileCode.CRASHED.value, f"{type(error).__name__}: {error}"


def report_refused(path: Path, error: Exception, *, as_json: bool) -> str:
    """Return a line for a file that cannot be used; print its JSON object if `as_json`."""
    code, message = describe_fault(error)
    if as_json:
        print_json({"file": str(path), "error": {"code": code, "message": message}})
    return f"{path}: {code}: {message}"


def print_outcomes(
    columns: Sequence[str], rows: Sequence[tuple[object, ...]], refused: Sequence[str]
) -> None:
    """Print the table of results, then each file that could not be used."""
    if rows:
        table(columns, rows)
    if refused:
        out.print(f"{format_count(len(refused), 'file')} not used:", markup=False)
    for sentence in refused:
        out.print(f"  {sentence}", markup=False)


def micrograph_title(crop: Crop, path: PurePath) -> str:
    """Return the file name with its page number."""
    return path.name + (f", page {crop.page + 1} of {crop.pages}" if crop.pages > 1 else "")


def picture_stem(crop: Crop, path: Path) -> str:
    """Return the name of a picture: file name with suffix, and id, since stems may repeat.

    A long name is cut; the id keeps it unique.
    """
    return f"{shorten_name(path.name)}.{crop.id}"


def shorten_name(name: str) -> str:
    """Return a name that leaves room for an extension."""
    while len(os.fsencode(name)) > LONGEST_STEM:
        name = name[:-1]
    return name


def make_folder(folder: Path | None, option: str) -> None:
    """Create the folder for pictures.

    Raises:
        WrongUse: The folder cannot be created.
    """
    from agent.errors import WrongUse

    try:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WrongUse(
            f"{option} {folder}: cannot create this folder ({error.strerror or error}). Name a "
            "folder that you may write to."
        ) from error


def write_picture(file: Path, content: bytes) -> None:
    """Write one picture.

    Raises:
        WrongUse: The file cannot be written.
    """
    from agent.errors import WrongUse

    try:
        file.write_bytes(content)
    except OSError as error:
        raise WrongUse(
            f"{file}: cannot be written ({error.strerror or error}). Free disk space, or name a "
            "folder that you may write to."
        ) from error
