"""Reference images: those of the program and the lab's own, read, cropped and judged."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.resources import as_file, files
from typing import TYPE_CHECKING, Any

from agent.errors import OutOfResources, is_out_of_resources
from reports import Message, marked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from agent.imaging import Crop
    from model import Classifier

SHIPPED = "reference"
LAB_FOLDER = "reference"
"""Folder below the data folder with reference images of the lab."""
PICTURES = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp")

UNREADABLE = marked("{image}: cannot be read: {why}")


@dataclass(frozen=True, slots=True)
class JudgedReferences:
    """Answers of one bundle on one PC to the reference images.

    Args:
        answers: Crop → "image", "code" and "probability".
        fault: The first image that cannot be read; empty for none.
    """

    answers: dict[str, dict[str, Any]]
    fault: Message = field(default_factory=lambda: Message(""))


@dataclass(frozen=True, slots=True)
class ReferenceFile:
    """A version of a reference image.

    Args:
        path: Where it is.
        size_bytes: Its size; 0 where the file is gone again.
        modified_ns: When it was written, likewise.
    """

    path: Path
    size_bytes: int
    modified_ns: int


def iter_reference_files(folder: Path) -> Iterator[ReferenceFile]:
    """Yield the reference images of the program, then those of the lab.

    Args:
        folder: The data folder; its `reference/` holds the lab's own images.
    """
    with as_file(files("agent.orders") / SHIPPED) as shipped:
        for path in (*_list_pictures(shipped), *_list_pictures(folder / LAB_FOLDER)):
            try:
                facts = path.stat()
            except OSError:  # reading it says what is wrong
                yield ReferenceFile(path, 0, 0)
            else:
                yield ReferenceFile(path, facts.st_size, facts.st_mtime_ns)


def crop_reference(
    file: ReferenceFile, crops: Callable[[Path], Sequence[Crop] | BaseException]
) -> Sequence[Crop] | BaseException:
    """Return the crops of a reference image, or why it cannot be read.

    Args:
        file: The image.
        crops: Reads and crops one file.

    Raises:
        OutOfResources: It cannot be read for want of files or memory.
    """
    outcome = crops(file.path)
    if isinstance(outcome, BaseException) and is_out_of_resources(outcome):
        raise OutOfResources(f"{file.path.name}: {outcome}")
    return outcome


def judge_references(
    folder: Path,
    *,
    crops: Callable[[Path], Sequence[Crop] | BaseException],
    classifier: Classifier,
) -> JudgedReferences:
    """Judge every reference image; the answers of two PCs are compared, so nothing is stored.

    Args:
        folder: The data folder.
        crops: Reads and crops one file.
        classifier: The bundle.

    Raises:
        OutOfResources: An image cannot be read for want of files or memory.
    """
    answers: dict[str, dict[str, Any]] = {}
    fault = Message("")
    for file in iter_reference_files(folder):
        image, outcome = file.path.name, crop_reference(file, crops)
        if isinstance(outcome, BaseException):
            fault = fault or Message(UNREADABLE, {"image": image, "why": str(outcome)})
            continue
        for crop in outcome:
            answer = build_answer(crop, classifier)
            known = {name: answer[name] for name in ("code", "probability")}
            answers[crop.id] = {"image": image, **known}
    return JudgedReferences(answers, fault)


def build_answer(crop: Crop, classifier: Classifier | None) -> dict[str, Any]:
    """Return the scale of a crop and what a bundle answers about it."""
    answer: dict[str, Any] = {"um_per_px": crop.um_per_px}
    if classifier is None:
        return answer
    from model import Field  # noqa: PLC0415 - PyTorch takes seconds

    (prediction,) = classifier.classify([Field(crop.pixels, crop.valid, crop.um_per_px)])
    return answer | {
        "code": prediction.structure_code,
        "probability": float(prediction.probability),
        "p_value": float(prediction.strangeness.p_value),
        "flagged": bool(prediction.strangeness.flagged),
    }


def _list_pictures(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES)
