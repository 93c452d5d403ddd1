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


def iter_reference_crops(
    folder: Path, crops: Callable[[Path], Sequence[Crop] | BaseException], *, skip: int = 0
) -> Iterator[tuple[str, Sequence[Crop] | BaseException]]:
    """Yield each reference image's file name with its crops, or with why it cannot be read.

    Args:
        folder: The data folder; its `reference/` holds the lab's own images.
        crops: Reads and crops one file.
        skip: Number of images that are left out, from the first one.

    Raises:
        OutOfResources: An image cannot be read for want of files or memory.
    """
    with as_file(files("agent.orders") / SHIPPED) as shipped:
        paths = (*_list_pictures(shipped), *_list_pictures(folder / LAB_FOLDER))
        for path in paths[skip:]:
            outcome = crops(path)
            if isinstance(outcome, BaseException) and is_out_of_resources(outcome):
                raise OutOfResources(f"{path.name}: {outcome}")
            yield path.name, outcome


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
    for image, outcome in iter_reference_crops(folder, crops):
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
