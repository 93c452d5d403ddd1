"""Check the instrument with reference images and control specimens.

The first check of a bundle stores its answers; every later one has to repeat them, on this PC, with
this driver and version: so it checks the installation as well.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from importlib.resources import as_file, files
from statistics import median
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from agent.errors import OutOfResourcesError, is_out_of_resources
from reports import Message, decimal, marked
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from zoneinfo import ZoneInfo

    import numpy as np
    from numpy.typing import NDArray

    from agent.imaging import Crop
    from agent.store import MicrographView, Record, Store
    from model import Classifier


SHIPPED = "reference"
LAB_FOLDER = "reference"
"""Folder below the data folder with reference images of the lab."""
PICTURES = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp")

UNREADABLE = marked("{image}: cannot be read: {why}")


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
        OutOfResourcesError: It cannot be read for want of files or memory.
    """
    outcome = crops(file.path)
    if isinstance(outcome, BaseException) and is_out_of_resources(outcome):
        raise OutOfResourcesError(f"{file.path.name}: {outcome}")
    return outcome


def judge_references(
    folder: Path,
    *,
    crops: Callable[[Path], Sequence[Crop] | BaseException],
    classifier: Classifier,
) -> tuple[dict[str, dict[str, Any]], Message]:
    """Judge every reference image; the answers of two PCs are compared, so nothing is stored.

    Args:
        folder: The data folder.
        crops: Reads and crops one file.
        classifier: The bundle.

    Returns:
        Public id → its image, structure code and probability; and the first image that cannot be
        read with the reason, empty for none.

    Raises:
        OutOfResourcesError: An image cannot be read for want of files or memory.
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
    return answers, fault


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


CONTROL, REFERENCE = "control", "reference"
SCALE_TOLERANCE = 0.02
PROBABILITY_TOLERANCE = 0.05
P_TOLERANCE = 0.1
BRIGHTNESS_TOLERANCE = 0.15
FOCUS_TOLERANCE = 0.35
GOOD_FOR = timedelta(hours=26)  # checks are daily, and a busy agent may put one off for an hour
LEARNT_FROM = 3  # control micrographs of a source before its own median is held against it


class Suspicion(StrEnum):
    """Part of the system that a failed check puts in doubt; part of a control record, as `doubts`.

    A reference image is a file, so an answer on it that changed is the model's. A wrong scale, and
    every fault of a control specimen, which is imaged again, is the instrument's: it affects what a
    reviewer sees as well.
    """

    MODEL = "model"
    INSTRUMENT = "instrument"


@dataclass(frozen=True, slots=True)
class ReferenceCheck:
    """Result of the check of one reference image.

    Args:
        name: Of the image.
        sentence: The result in words.
        is_good: The answer is the stored one.
        doubts: What is in doubt where it is not.
    """

    name: str
    sentence: str
    is_good: bool
    doubts: tuple[Suspicion, ...] = ()


# --- reference images ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class JudgedImage:
    """A reference image that was read and judged.

    Args:
        file: The version of it.
        results: Of its crops, or that it cannot be read.
        answers: Public id of a crop → the answer.
    """

    file: ReferenceFile
    results: tuple[ReferenceCheck, ...]
    answers: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CheckOrigin:
    """Where a check was made, and by whom.

    Args:
        software: Version of the program.
        where: Name of the PC.
        sources: Names of the sources that this PC reads; a failed check holds their results.
        by: Who started the check.
        at: When, aware UTC.
    """

    software: str
    where: str
    sources: Sequence[str]
    by: str
    at: datetime


def check_references(
    store: Store,
    folder: Path,
    *,
    crops: Callable[[Path], Sequence[Crop] | BaseException],
    classifier: Classifier | None,
    origin: CheckOrigin,
) -> list[ReferenceCheck]:
    """Read, crop and judge every reference image, and compare the answers with the stored ones.

    Args:
        store: Where answers and records are stored.
        folder: The data folder; its `reference/` holds the lab's own images.
        crops: Reads and crops one file.
        classifier: The bundle in use, or None.
        origin: Where and by whom.

    Returns:
        A result per image; a record of kind "control" is stored either way.

    Raises:
        OutOfResourcesError: An image cannot be read for want of files or memory; nothing is stored.
    """
    images = list(iter_judged_images(store, folder, crops=crops, classifier=classifier))
    bundle = classifier.name if classifier else ""
    return record_check(store, images, bundle=bundle, origin=origin)


def iter_judged_images(
    store: Store,
    folder: Path,
    *,
    crops: Callable[[Path], Sequence[Crop] | BaseException],
    classifier: Classifier | None,
    known: Mapping[ReferenceFile, JudgedImage] = MappingProxyType({}),
) -> Iterator[JudgedImage]:
    """Yield each reference image, judged and compared with the stored answers.

    Args:
        store: Where answers are stored.
        folder: The data folder; its `reference/` holds the lab's own images.
        crops: Reads and crops one file.
        classifier: The bundle in use, or None.
        known: Those that were judged before; they are yielded as they are.

    Raises:
        OutOfResourcesError: An image cannot be read for want of files or memory.
    """
    before = _load_answers(store, classifier.name if classifier else "")
    expected = json.loads((files("agent.orders") / SHIPPED / "expected.json").read_text("utf-8"))
    for file in iter_reference_files(folder):
        if file in known:
            yield known[file]
            continue
        name, outcome = file.path.name, crop_reference(file, crops)
        if isinstance(outcome, BaseException):
            sentence = f"cannot be read: {outcome}"
            unread = ReferenceCheck(name, sentence, is_good=False, doubts=(Suspicion.INSTRUMENT,))
            yield JudgedImage(file, (unread,), {})
            continue
        answers = {crop.id: build_answer(crop, classifier) for crop in outcome}
        results = (
            _compare(name, crop, answers[crop.id], before.get(crop.id), expected.get(name))
            for crop in outcome
        )
        yield JudgedImage(file, tuple(results), answers)


def record_check(
    store: Store,
    images: Sequence[JudgedImage],
    *,
    bundle: str,
    origin: CheckOrigin,
) -> list[ReferenceCheck]:
    """Store a check of all reference images, and their answers where they are new and good.

    Args:
        store: Where answers and records are stored.
        images: All of them, judged.
        bundle: Name of the bundle that judged them, "" for none.
        origin: Where and by whom.

    Returns:
        A result per image.
    """
    before = _load_answers(store, bundle)
    results = [result for image in images for result in image.results]
    answers = {crop: answer for image in images for crop, answer in image.answers.items()}
    passed = bool(results) and all(result.is_good for result in results)
    if passed and answers.keys() - before.keys():
        kept = {"answers": {**before, **answers}}
        store.records.add(REFERENCE, bundle, by=origin.by, at=origin.at, facts=kept)
    facts = {
        "passed": passed,
        "bundle": bundle,
        "software": origin.software,
        "sources": list(origin.sources),
        "findings": [[result.name, result.sentence, result.is_good] for result in results],
        "doubts": sorted({doubt for result in results for doubt in result.doubts}),
    }
    store.records.add(CONTROL, origin.where, by=origin.by, at=origin.at, facts=facts)
    return results


def _load_answers(store: Store, bundle: str) -> Mapping[str, Any]:
    """Return the stored answers of a bundle, public id of a crop → answer."""
    stored = store.records.latest(REFERENCE, bundle)
    answers: Mapping[str, Any] = stored.facts["answers"] if stored else {}
    return answers


def _compare(
    name: str,
    crop: Crop,
    answer: Mapping[str, Any],
    before: Mapping[str, Any] | None,
    truth: Mapping[str, float] | None,
) -> ReferenceCheck:
    of_scale = [*_compare_with_truth(crop, truth), *_compare_scale(answer, before)]
    of_model = list(_compare_with_before(answer, before))
    faults = [*of_scale, *of_model]
    news = "" if before is not None else "; answers kept for later checks"
    words = "; ".join(faults) or f"{answer.get('code') or 'read and cropped'}{news}"
    doubts = [Suspicion.INSTRUMENT] if of_scale else []
    doubts += [Suspicion.MODEL] if of_model else []
    return ReferenceCheck(name, words, is_good=not faults, doubts=tuple(doubts))


def _compare_with_truth(crop: Crop, truth: Mapping[str, float] | None) -> Iterator[str]:
    """A shipped image has a known scale, in its metadata and burnt in as a micron bar."""
    if truth is None:
        return
    if crop.um_per_px is None:
        yield "no scale was read"
    elif abs(crop.um_per_px / truth["um_per_px"] - 1) > SCALE_TOLERANCE:
        yield f"scale {crop.um_per_px:.4g} µm per pixel, {truth['um_per_px']:g} is right"
    if crop.micron_bar is None or crop.micron_bar.um != truth["bar_um"]:
        label = crop.micron_bar.label if crop.micron_bar else "none"
        yield f"micron bar read as {label}, {truth['bar_um']:g} µm is right"


def _compare_scale(answer: Mapping[str, Any], before: Mapping[str, Any] | None) -> Iterator[str]:
    known, new = (before or {}).get("um_per_px"), answer["um_per_px"]
    if known and (not new or abs(new / known - 1) > SCALE_TOLERANCE):
        yield f"scale {new or 'none'} µm per pixel, {known:.4g} was stored"


def _compare_with_before(
    answer: Mapping[str, Any], before: Mapping[str, Any] | None
) -> Iterator[str]:
    if before is None:
        return
    if answer.get("code") != before.get("code"):
        yield f"structure code {answer.get('code')}, {before.get('code')} was stored"
        return
    for name, tolerance in (("probability", PROBABILITY_TOLERANCE), ("p_value", P_TOLERANCE)):
        if name in before and abs(answer[name] - before[name]) > tolerance:
            yield f"{name} {answer[name]:.3f}, {before[name]:.3f} was stored"


def describe_failure(results: Sequence[ReferenceCheck]) -> str:
    """Return what failed in one sentence, "" where nothing did."""
    bad = [result for result in results if not result.is_good]
    return f"reference image {bad[0].name}: {bad[0].sentence}" if bad else ""


# --- control specimens --------------------------------------------------------------------------


def measure_image(pixels: NDArray[np.uint8], valid: NDArray[np.bool_]) -> dict[str, float]:
    """Measure brightness and focus, which change with the lamp and the stage.

    Args:
        pixels: (h, w, 3) uint8 RGB.
        valid: (h, w) bool.

    Returns:
        `brightness`: mean grey of the steel, 0 to 255. `focus`: mean squared difference of
        neighbouring pixels over the squared mean, no unit; larger is sharper.
    """
    import numpy as np  # noqa: PLC0415 - commands that only read checks start without it

    grey = pixels.astype(np.float64).mean(axis=2)
    mean = float(grey[valid].mean()) if valid.any() else 0.0
    both = valid[:, 1:] & valid[:, :-1]
    steps = np.diff(grey, axis=1)[both]
    sharp = float((steps**2).mean()) / max(mean, 1.0) ** 2 if steps.size else 0.0
    return {"brightness": round(mean, 2), "focus": round(sharp, 6)}


@dataclass(frozen=True, slots=True)
class ControlPoint:
    """One micrograph of a control specimen.

    Args:
        id: Public id.
        source: Of which microscope.
        at: When it was discovered, aware UTC.
        number: As in `MicrographView`: an order that no clock can change.
        code: The model's.
        p_value: Of its out-of-distribution score.
        brightness, focus: See `measure_image`.
        faults: Differences from the first ones, () where there are none.
    """

    id: str
    source: str
    at: datetime
    code: str
    p_value: float | None
    brightness: float | None
    focus: float | None
    faults: tuple[str, ...]
    number: int = 0


def list_control_points(store: Store, orders: Sequence[str]) -> dict[str, list[ControlPoint]]:
    """Return source → its control specimen's micrographs, compared with the first ones.

    The code has to be the one a reviewer gave the specimen, or the first one without a reviewer's;
    brightness and focus have to stay near the median of the first three.
    """
    views = sorted(
        (
            field.view
            for number in orders
            if (order := store.orders.order(number))
            for specimen in order.specimens
            for prepared in specimen.preparations
            for field in prepared.fields
        ),
        key=lambda view: view.number,
    )
    by_source: dict[str, list[MicrographView]] = {}
    for view in views:
        by_source.setdefault(view.source, []).append(view)
    return {source: _build_points(shown) for source, shown in sorted(by_source.items())}


def _build_points(views: Sequence[MicrographView]) -> list[ControlPoint]:
    labelled = [view.label.code for view in views if view.label and view.label.code]
    wanted = labelled[0] if labelled else (views[0].result.structure_code or "")
    usual = {
        name: median(values)
        for name in ("brightness", "focus")
        if len(values := [v for view in views[:LEARNT_FROM] if (v := _get_number(view, name))])
        == LEARNT_FROM
    }
    return [_build_point(view, wanted, usual) for view in views]


def _get_number(view: MicrographView, name: str) -> float | None:
    measured_values = view.process_extra.get(CONTROL)
    value = measured_values.get(name) if isinstance(measured_values, dict) else None
    return float(value) if isinstance(value, int | float) else None


def _build_point(view: MicrographView, wanted: str, usual: Mapping[str, float]) -> ControlPoint:
    result = view.result
    faults = []
    if result.structure_code and wanted and result.structure_code != wanted:
        faults.append(
            _("structure code {found}, expected {wanted}").format(
                found=result.structure_code, wanted=wanted
            )
        )
    if result.strangeness.is_flagged:
        faults.append(_("unusual"))
    for name, tolerance in (("brightness", BRIGHTNESS_TOLERANCE), ("focus", FOCUS_TOLERANCE)):
        value = _get_number(view, name)
        if value is not None and name in usual and abs(value / usual[name] - 1) > tolerance:
            called = {"brightness": _("brightness"), "focus": _("focus")}[name]
            faults.append(
                _("{name} {value}, {usual} is usual").format(
                    name=called, value=decimal(value, ".3g"), usual=decimal(usual[name], ".3g")
                )
            )
    p_value = result.strangeness.p_value
    return ControlPoint(
        id=view.id,
        source=view.source,
        at=view.taken_at or result.done_at,
        code=result.structure_code or "",
        p_value=float(p_value) if p_value is not None else None,
        brightness=_get_number(view, "brightness"),
        focus=_get_number(view, "focus"),
        faults=tuple(faults),
        number=view.number,
    )


# --- which checks concern a result -------------------------------------------------------------


def list_checks_of_day(
    checks: Sequence[Record], view: MicrographView, zone: ZoneInfo
) -> list[Record]:
    """Return the checks that concern a result: those of its day, and the last one before it."""
    mine = list_checks(checks, view.source)
    before = [record for record in mine if record.at <= view.result.done_at][-1:]
    day = view.result.done_at.astimezone(zone).date()
    return [
        record for record in mine if record in before or record.at.astimezone(zone).date() == day
    ]


def list_checks(checks: Sequence[Record], source: str) -> list[Record]:
    """Return the checks of PCs that read a source."""
    return [record for record in checks if source in record.facts.get("sources", ())]
