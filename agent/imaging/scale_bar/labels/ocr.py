# ruff: noqa: PLR2004 - pixels, grey values and shares, measured on real bars, explained in place
"""Read the words of a label, at least twice.

A wrong length is worse than none: two readings must agree.
"""

from __future__ import annotations

import functools
import os
import re
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.imaging.scale_bar.labels.lengths import (
    Length,
    has_more_digits,
    parse_half_read,
    parse_length,
    parse_lengths,
    parse_named_length,
    states_two_numbers,
)
from agent.imaging.scale_bar.labels.letters import FAR_BEFORE

_DETECTOR_PX = 640  # limit of the detector; larger pictures are reduced to it
_DETECTOR_AREA_PX = 100_000  # run time is proportional to area: about 60 ms on one core
_MIN_SCORE = 0.6
_UNUSUAL_SCORE = 0.8  # of a number that no program writes on a bar
_OF_A_LINE = " -–—_"  # as the half of a line before its words is read
_OF_A_DIVISION = re.compile(r"(?<![a-z])(d[i1l]v|scale ?part|teilstrich|skt)", re.IGNORECASE)
_NAMED_BEFORE, _AFTER = 5.0, 3.5  # of the words' height, where "1 div =" or "/ div" stands
_FACTOR_BEFORE = 3.0  # of the height of words: a number and a sign of multiplication
_BEFORE = 0.75  # of the height of words: a digit and the gap after it


@dataclass(frozen=True, slots=True)
class Text:
    """Words in a picture.

    Args:
        words: Text as read.
        score: OCR confidence, in [0, 1].
        box: (x0, y0, x1, y1), pixels of the picture.
    """

    words: str
    score: float
    box: tuple[int, int, int, int]


def detect_texts(picture: NDArray[np.uint8]) -> list[tuple[int, int, int, int]]:
    """Detect text.

    Args:
        picture: (h, w, 3) uint8, RGB.

    Returns:
        Boxes (x0, y0, x1, y1), pixels of the picture.
    """
    height, width = picture.shape[:2]
    factor = min(
        2.0, _DETECTOR_PX / max(height, width), (_DETECTOR_AREA_PX / (height * width)) ** 0.5
    )
    enlarged = _resize(picture, factor)
    out = _engine()(enlarged[:, :, ::-1], use_det=True, use_cls=False, use_rec=False)
    if out.boxes is None:
        return []
    boxes = []
    for corners in np.asarray(out.boxes, dtype=float) / factor:
        (x0, y0), (x1, y1) = corners.min(axis=0), corners.max(axis=0)
        boxes.append(
            (
                max(0, int(np.floor(x0))),
                max(0, int(np.floor(y0))),
                min(width, int(np.ceil(x1))),
                min(height, int(np.ceil(y1))),
            )
        )
    return _join([box for box in boxes if box[2] - box[0] > 3 and box[3] - box[1] > 3])


def _join(boxes: list[tuple[int, int, int, int]]) -> list[tuple[int, int, int, int]]:
    """Return boxes with a number and its unit joined where they were detected separately."""
    joined: list[tuple[int, int, int, int]] = []
    for x0, y0, x1, y1 in sorted(boxes):
        for i, (a0, b0, a1, b1) in enumerate(joined):
            high = min(y1 - y0, b1 - b0)
            if min(y1, b1) - max(y0, b0) > 0.6 * high and x0 - a1 < 0.7 * high:
                joined[i] = (a0, min(y0, b0), max(a1, x1), max(y1, b1))
                break
        else:
            joined.append((x0, y0, x1, y1))
    return joined


def read_lengths(pictures: list[NDArray[np.uint8]], box: tuple[int, int, int, int]) -> list[Length]:
    """Read the lengths in a box at least twice; return them only if the readings agree.

    Args:
        pictures: (h, w, 3) uint8, RGB: one or two renderings of the same place.
        box: Box of the words, pixels of the pictures.

    Returns:
        The lengths, empty where the words state none. A single length on which no two readings
        agree has `um` None, and its number where they agree on that.
    """
    views = [(pictures[0], 1.0), (pictures[-1], 0.7 if len(pictures) == 1 else 1.0)]
    stated: list[tuple[NDArray[np.uint8], list[Length]]] = []
    for picture, zoom in views:
        lengths_read = _read_once(picture, box, zoom)
        stated += [(picture, lengths_read)] if lengths_read else []
        if not stated and len(pictures) == 1:
            return []
    agreed = _find_agreement([lengths for _, lengths in stated])
    if stated and agreed is None:  # a third reading has to say the same as one of them
        picture, _ = stated[0]
        third = _read_once(picture, box, 0.85)
        stated += [(picture, third)] if third else []
        agreed = _find_agreement([lengths for _, lengths in stated])
    if agreed is not None:
        return agreed
    alone = all(
        (length.start, length.end) == (0.0, 1.0) for _, lengths in stated for length in lengths
    )
    if not alone or len(stated) < 2:
        return []
    numbers = {length.number for _, lengths in stated for length in lengths}
    return [Length(None, "", 0.0, 1.0, numbers.pop() if len(numbers) == 1 else 0.0)]


def read_cuts(
    picture: NDArray[np.uint8], boxes: list[tuple[int, int, int, int]]
) -> tuple[Length, tuple[int, int, int, int]] | None:
    """Return the length that two of several boxes of the same words state, and the first of them.

    None where they state none, or where another box contradicts them.
    """
    readings: list[tuple[Length, tuple[int, int, int, int]]] = []
    for box in boxes:
        text = read_words(picture, box)
        length = (parse_length(text.words) or parse_half_read(text.words)) if text else None
        if length is None:
            continue
        if any(
            length.number != other.number or None is not length.um != other.um is not None
            for other, _ in readings
        ):
            return None
        readings.append((length, box))
        whole = [reading for reading in readings if reading[0].um is not None]
        if len(readings) > 1 and any(read.clear for read, _ in whole):
            return whole[0]
    return None


def confirms_length(
    picture: NDArray[np.uint8], box: tuple[int, int, int, int], um: float, *, left: int
) -> bool:
    """Return whether words state the same length when what precedes them is read too.

    A digit that their box lost would be read then; texture is not.

    Args:
        picture: (h, w, 3) uint8, RGB.
        box: Box of the words, pixels of the picture.
        um: The length that was read in the box.
        left: First column that can hold a digit.
    """
    picture, (x0, y0, x1, y1) = _cut_before(picture, box, left)
    wider = (max(0, x0 - round(_BEFORE * (y1 - y0))), y0, x1, y1)
    for zoom in (1.0, 0.85):
        text = read_words(picture, wider, zoom)
        words = text.words.lstrip(_OF_A_LINE) if text else ""
        length = parse_length(words) if words[:1].isdigit() else parse_named_length(words)
        if length is None or length.um != um:
            return False
    return True


def adds_digit(
    picture: NDArray[np.uint8], box: tuple[int, int, int, int], *, number: float, left: int
) -> bool:
    """Return whether words with what precedes them clearly state a usual length of more digits.

    Args:
        picture: (h, w, 3) uint8, RGB.
        box: Box of the words, pixels of the picture.
        number: The number that was read in the box, without the unit: "12" is not "2".
        left: First column that can hold a digit.
    """
    picture, (x0, y0, x1, y1) = _cut_before(picture, box, left)
    text = read_words(picture, (max(0, x0 - round(_BEFORE * (y1 - y0))), y0, x1, y1))
    if text is None or text.score < _UNUSUAL_SCORE or parse_length(text.words) is None:
        return False
    return has_more_digits(text.words, number)


def is_one_of_two(picture: NDArray[np.uint8], box: tuple[int, int, int, int], *, left: int) -> bool:
    """Return whether words are the second of two numbers with what precedes them: "4 x 25 µm".

    Args:
        picture: (h, w, 3) uint8, RGB.
        box: Box of the words, pixels of the picture.
        left: First column that can hold a digit.
    """
    picture, (x0, y0, x1, y1) = _cut_before(picture, box, left)
    text = read_words(picture, (max(0, x0 - round(_FACTOR_BEFORE * (y1 - y0))), y0, x1, y1))
    return text is not None and states_two_numbers(text.words)


def states_a_division(picture: NDArray[np.uint8], box: tuple[int, int, int, int]) -> bool:
    """Return whether words with what stands next to them are of one division: "1 div = 10 µm".

    Args:
        picture: (h, w, 3) uint8, RGB.
        box: Box of the words, pixels of the picture.
    """
    x0, y0, x1, y1 = box
    high = y1 - y0
    right = min(picture.shape[1], x1 + round(_AFTER * high))
    for left in (max(0, x0 - round(_NAMED_BEFORE * high)), x0):
        text = read_words(picture, (left, y0, right, y1), 1.0)
        if text is not None and _OF_A_DIVISION.search(text.words):
            return True
    return False


def contradicts_length(
    picture: NDArray[np.uint8],
    box: tuple[int, int, int, int],
    um: float,
    *,
    number: float,
    left: int,
) -> bool:
    """Return whether words with what precedes them state another length: "2.5" is not "5".

    A number with more digits need not be a usual one, but has to be read twice.

    Args:
        picture: (h, w, 3) uint8, RGB.
        box: Box of the words, pixels of the picture.
        um: The length that was read in the box.
        number: Its number, without the unit.
        left: First column that can hold a digit.
    """
    picture, (x0, y0, x1, y1) = _cut_before(picture, box, left)
    wider = max(0, x0 - round(FAR_BEFORE * (y1 - y0)))
    if x0 - wider <= 0.3 * (y1 - y0):
        return False
    for zoom in (1.0, 0.85):
        text = read_words(picture, (wider, y0, x1, y1), zoom)
        length = parse_length(text.words) if text else None
        if length is not None and length.um != um:
            return True
        if text is None or text.score < _UNUSUAL_SCORE:
            return False
        if not has_more_digits(text.words, number):
            return False
    return True


def _cut_before(
    picture: NDArray[np.uint8], box: tuple[int, int, int, int], left: int
) -> tuple[NDArray[np.uint8], tuple[int, int, int, int]]:
    """Return a picture and a box in it without the columns before `left`.

    The reader is shown a margin around a box, in which a tick or texture would be a digit.
    """
    left = min(left, box[0])
    return picture[:, left:], (box[0] - left, box[1], box[2] - left, box[3])


def _find_agreement(readings: list[list[Length]]) -> list[Length] | None:
    """Return the lengths that all of at least two readings state; one must include the unit."""
    sure = [lengths for lengths in readings if all(length.um is not None for length in lengths)]
    if len(readings) < 2 or not sure:
        return None
    if not any(length.clear for lengths in sure for length in lengths):
        return None
    numbers = {tuple(length.number for length in lengths) for lengths in readings}
    units = {tuple(length.um for length in lengths) for lengths in sure}
    return sure[0] if len(numbers) == len(units) == 1 else None


def _read_once(
    picture: NDArray[np.uint8], box: tuple[int, int, int, int], zoom: float
) -> list[Length]:
    words = read_words(picture, box, zoom)
    if words is None:
        return []
    half = parse_half_read(words.words)
    return parse_lengths(words.words) or ([half] if half else [])


def read_words(
    picture: NDArray[np.uint8], box: tuple[int, int, int, int], zoom: float = 1.0
) -> Text | None:
    """Read the words in a box.

    Args:
        picture: (h, w, 3) uint8, RGB.
        box: Box of the words, pixels of the picture.
        zoom: Below 1, words are rendered smaller with more room around them.

    Returns:
        The words, or None if OCR reads none.
    """
    x0, y0, x1, y1 = box
    by = max(1, round((0.08 + 0.5 * (1 - zoom)) * (y1 - y0)))
    line = picture[max(0, y0 - by) : y1 + by, max(0, x0 - 2 * by) : x1 + 2 * by]
    factor = 48 / max(1, line.shape[0])  # the height that the reader was trained on
    enlarged = _resize(line, factor)
    out = _engine()(enlarged[:, :, ::-1], use_det=False, use_cls=False, use_rec=True)
    if not out.txts or out.scores[0] < _MIN_SCORE:
        return None
    return Text(words=str(out.txts[0]), score=float(out.scores[0]), box=box)


def _resize(picture: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    size = (
        max(1, round(picture.shape[1] * factor)),
        max(1, round(picture.shape[0] * factor)),
    )
    return np.ascontiguousarray(cv2.resize(picture, size, interpolation=how))


@functools.cache
def _engine() -> Any:
    """Return the OCR engine of this process, created on first use."""
    _disable_telemetry()
    return _import_engine()(
        params={
            "Global.log_level": "error",
            "Global.use_cls": False,
            "Det.limit_side_len": _DETECTOR_PX,
            "Det.limit_type": "max",
            "EngineConfig.onnxruntime.intra_op_num_threads": 1,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        }
    )


def _import_engine() -> Any:
    """Return the class of the OCR engine, with its list of models parsed once.

    Two of its modules parse it when they are imported, 85 KB of YAML: 0.14 s each of the processor
    time that a worker takes to its first file.
    """
    from omegaconf import OmegaConf  # noqa: PLC0415 - only with the engine, which brings it

    load = OmegaConf.load
    OmegaConf.load = staticmethod(functools.cache(load))  # type: ignore[method-assign]  # for now
    try:
        from rapidocr import RapidOCR  # noqa: PLC0415 - images without a bar need not pay for it
    finally:
        OmegaConf.load = staticmethod(load)  # type: ignore[method-assign]
    return RapidOCR


def _disable_telemetry() -> None:
    """Disable the telemetry of ONNX Runtime, which is on by default since 1.29.

    Except on Windows the variable alone disables it, if set before the first session
    (microsoft/onnxruntime pull request 27379); on Windows a call stops event collection.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime  # noqa: PLC0415 - slow to import

    onnxruntime.disable_telemetry_events()
