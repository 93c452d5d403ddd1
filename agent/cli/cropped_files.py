"""Read the image files that a command names, in parallel."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.console import out, print_json, progress, table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent.imaging import Crop
    from agent.imaging.pool import Outcome
    from agent.settings import Settings

Files = Annotated[list[Path], typer.Argument(help="Files, or folders to look through.")]

Json = Annotated[bool, typer.Option("--json", help="One JSON object per micrograph on stdout.")]

LONGEST_STEM = 180
"""Bytes of a file's name in a picture's; file systems take 255, and id and map's name follow."""


def iter_cropped(
    files: Sequence[Path], settings: Settings, *, but: Path | None
) -> Iterator[tuple[Path, Outcome]]:
    """Crop files in parallel and give them in the order they were named.

    Args:
        files: As named.
        settings: Those of this call.
        but: A folder of our own pictures, left out where it lies in a folder that is named.

    Raises:
        WrongUse: There is nothing to read.
    """
    from agent.errors import WrongUse
    from agent.imaging.pool import CropPool

    paths = list(_listed(files, but))
    if not paths:
        raise WrongUse(
            f"{', '.join(map(str, files))}: no picture in it, by the names of its files; "
            "name the folder or the files that hold micrographs."
        )
    imaging = settings.imaging
    came: dict[Path, Outcome] = {}
    with (
        CropPool(
            workers=min(imaging.workers or _cores(), max(1, len(paths))),
            time_limit_s=imaging.time_limit_s,
            memory_limit_mb=imaging.memory_limit_mb,
            max_megapixels=imaging.max_megapixels,
            um_per_px_range=imaging.um_per_px_range,
            sidecars=imaging.sidecars,
        ) as pool,
        progress("reading", len(paths)) as advance,
    ):
        turn = iter(paths)
        next_path = next(turn, None)
        for done, (path, outcome) in enumerate(pool.crop_all([(p, None) for p in paths]), 1):
            came[path] = outcome
            while next_path in came:
                yield next_path, came.pop(next_path)
                next_path = next(turn, None)
            advance(done, path.name)


def _cores() -> int:
    return os.cpu_count() or 1


def _listed(files: Sequence[Path], but: Path | None) -> Iterator[Path]:
    """Give each file once; of a folder, what the watch would take for a picture."""
    seen: set[Path] = set()
    for named in files:
        for path in _pictures(named, but) if named.is_dir() else (named,):
            real = path.resolve() if path.is_symlink() else path  # a person names it: it is meant
            if real not in seen:
                seen.add(real)
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
        said = error.strerror or str(error)
        return FileCode.UNREADABLE.value, f"it cannot be opened: {said}."
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
        out.print(f"{len(refused)} not used:", markup=False)
    for sentence in refused:
        out.print(f"  {sentence}", markup=False)


def micrograph_title(crop: Crop, path: Path) -> str:
    """Return the file name with its page number."""
    return path.name + (f", page {crop.page + 1} of {crop.pages}" if crop.pages > 1 else "")


def picture_stem(crop: Crop, path: Path) -> str:
    """Name a picture after its file, suffix and id included: two files may share a stem.

    A name that leaves no room for more is cut; the id still tells two apart.
    """
    name = path.name
    while len(os.fsencode(name)) > LONGEST_STEM:
        name = name[:-1]
    return f"{name}.{crop.id}"


def make_folder(folder: Path | None, option: str) -> None:
    """Make the folder for pictures before anything is read. Raises `WrongUse`."""
    from agent.errors import WrongUse

    try:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WrongUse(
            f"{option} {folder}: this folder cannot be made ({error.strerror or error}); "
            "name one that you may write to."
        ) from error


def write_picture(file: Path, content: bytes) -> None:
    """Write one picture. Raises `WrongUse`, where the folder takes none."""
    from agent.errors import WrongUse

    try:
        file.write_bytes(content)
    except OSError as error:
        raise WrongUse(
            f"{file}: cannot be written ({error.strerror or error}); "
            "make room there, or name a folder that you may write to."
        ) from error
