"""Crop labelled files without storing a result, for training and evaluation."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

from agent.errors import BadStore, FileError
from agent.labelled_import.manifest import SCALE, Labelled, UnusableFile
from agent.objects import ObjectsUnavailable
from agent.watch import locate
from model import Example

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from agent.archive import Archive
    from agent.imaging import Crop
    from agent.imaging.pool import CropPool
    from model import Field

SLICES = ("plant", "microscope", "magnification", "material")


def get_key(sha256: str, page: int) -> str:
    """Return a micrograph's key among examples: its content hash, and the page from the second on.

    Bundles identify their training images by it, so it never changes.
    """
    return sha256 if page == 0 else f"{sha256}-p{page + 1}"


def get_group(sha256: str, process_data: Mapping[str, str], by: str = "") -> str:
    """Return what must stay on one side of a split: order and specimen if known, else the content.

    Args:
        sha256: The content.
        process_data: Of the micrograph.
        by: A column that decides instead, where the micrograph has it; "" for none.
    """
    if by and process_data.get(by):
        return process_data[by]
    order, specimen = process_data.get("order", ""), process_data.get("specimen", "")
    return f"{order}/{specimen}" if specimen else sha256


def get_slices(process_data: Mapping[str, str]) -> dict[str, str]:
    """Return the columns by which an evaluation is split, where they are known."""
    return {name: process_data[name] for name in SLICES if process_data.get(name)}


class Cropped(NamedTuple):
    """One file after reading and cropping, stored in a temporary archive."""

    file: Labelled
    examples: tuple[Example, ...]
    unusable: UnusableFile | None


def iter_cropped(
    folder: Path,
    files: Sequence[Labelled],
    *,
    pool: CropPool,
    archive: Archive,
    learned: frozenset[str] = frozenset(),
    group_by: str = "",
    name_copy: Callable[[Example, str, int], Example] = lambda example, _sha256, _page: example,
) -> Iterator[Cropped]:
    """Read and crop labelled files as the pipeline does, without storing any result.

    Args:
        folder: The labelled folder.
        files: Which of its files.
        pool: Worker processes.
        archive: Where the crops are stored until they are evaluated.
        learned: Keys of the bundle's training images; those files are counted, not cropped.
        group_by: As in `get_group`.
        name_copy: Returns an example with the key of the image that its file is a copy of.

    Yields:
        One per file, in order of completion.
    """
    by_path: dict[Path, Labelled] = {}
    for file in files:
        path = locate(folder, file.relative)
        key = _hash(path) if learned else ""
        if key in learned:
            yield Cropped(file, (Example(key, file.code, key, _never_loaded),), None)
        else:
            by_path[path] = file
    jobs = [(path, _settings_scale(file)) for path, file in by_path.items()]
    for path, outcome in pool.crop_all(jobs):
        file = by_path[path]
        if isinstance(outcome, Exception):
            sentence = (
                f"{outcome.code}: {outcome}" if isinstance(outcome, FileError) else f"{outcome}"
            )
            yield Cropped(file, (), UnusableFile(file.relative, sentence))
        else:
            examples = (
                name_copy(_example(file, crop, archive, group_by), crop.sha256, crop.page)
                for crop in outcome
            )
            yield Cropped(file, tuple(examples), None)


def _hash(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""  # the pool reports what is wrong with it


def _never_loaded() -> Field:
    raise LookupError("what a bundle learned from is left out of its evaluation")


def _settings_scale(file: Labelled) -> float | None:
    scale = file.process_data.get(SCALE)
    return float(scale) if scale else None


def _example(file: Labelled, crop: Crop, archive: Archive, group_by: str) -> Example:
    archive.keep(crop)
    key = get_key(crop.sha256, crop.page)
    return Example(
        key=key,
        code=file.code,
        group=get_group(crop.sha256, file.process_data, group_by),
        load=make_loader(
            archive,
            crop.sha256,
            crop.page,
            crop.um_per_px,
            file.process_data.get("microscope", ""),
        ),
        criterion=file.criterion,
        slices=get_slices(file.process_data),
        file=file.relative,
    )


def make_loader(
    archive: Archive, sha256: str, page: int, um_per_px: float | None, microscope: str = ""
) -> Callable[[], Field]:
    """Return a function that loads an archived crop as a field.

    It raises `BadStore` if the crop cannot be read, and `ObjectsUnavailable` if the object storage
    does not answer.
    """

    def load() -> Field:
        from model import Field  # noqa: PLC0415 - PyTorch takes seconds

        try:
            pixels, valid = archive.field(sha256, page)
        except ObjectsUnavailable:  # the crop is not lost: the caller tries again
            raise
        except (OSError, ValueError) as error:
            raise BadStore(
                f"the archived crop of micrograph {sha256[:16]} cannot be read ({error}); "
                "agent verify names what is damaged, agent import of the file mends it."
            ) from error
        return Field(pixels, valid, um_per_px, microscope)

    return load
