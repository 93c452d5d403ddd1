"""Read and crop the image files that a command names, in parallel."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.console import out, print_json, progress, table
from agent.counts import format_count

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent.imaging import Crop
    from agent.imaging.pool import Outcome
    from agent.settings import Settings

Files = Annotated[list[Path], typer.Argument(help="Image files, or folders to search.")]

Json = Annotated[bool, typer.Option("--json", help="One JSON object per micrograph on stdout.")]

LONGEST_STEM = 180
"""Bytes of the file name in a picture's name; file systems allow 255, id and map follow."""


def iter_cropped(
    files: Sequence[Path], settings: Settings, *, but: Path | None
) -> Iterator[tuple[Path, Outcome]]:
    """Crop files in parallel and yield them in the given order.

    Args:
        files: Files and folders that the command names.
        settings: Settings of this call.
        but: Output folder, left out if it is inside a named folder.

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
    yielded: set[Path] = set()
    for named in files:
        for path in _pictures(named, but) if named.is_dir() else (named,):
            real = path.resolve() if path.is_symlink() else path  # a named link is intended
            if real not in yielded:
                yielded.add(real)
                yield real


def _pictures(folder: Path, but: Path | None) -> Iterator[Path]:
    from agent.watch.file_types import Kind, classify_name

    top, ours = folder.resolve(), but.resolve() if but else None
    inside = folder / ours.relative_to(top) if ours and top in ours.parents else None
    for path in sorted(folder.rglob("*")):
        if inside and path.is_relative_to(inside):
            continue
        if classify_name(path.relative_to(folder).as_posix()) is Kind.PICTURE and path.is_file():
            yield path


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


def micrograph_title(crop: Crop, path: Path) -> str:
    """Return the file name with its page number."""
    return path.name + (f", page {crop.page + 1} of {crop.pages}" if crop.pages > 1 else "")


def picture_stem(crop: Crop, path: Path) -> str:
    """Return the name of a picture: file name with suffix, and id, since stems may repeat.

    A long name is cut; the id keeps it unique.
    """
    name = path.name
    while len(os.fsencode(name)) > LONGEST_STEM:
        name = name[:-1]
    return f"{name}.{crop.id}"


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
