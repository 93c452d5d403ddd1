# ruff: noqa: PLR2004 - pixels and shares of a text height
"""Read the label of a micron bar: its text, and the length it states.

A wrong length is worse than none: only lengths usual on bars count, and a decimal point must be
visible in the pixels as well as read.
"""

from __future__ import annotations

import functools
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from agent.imaging.readers.channels import largest

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DETECTOR_PX = 640  # limit of the detector; larger pictures are reduced to it
_DETECTOR_AREA_PX = 100_000  # run time is proportional to area: about 60 ms on one core
_MIN_SCORE = 0.6
_EVEN_PAPER = 12.0  # grey values that JPEG spreads around one colour
_NICE = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.5, 8.0)  # × 10ⁿ: usual bar lengths
_UM = {"µm": 1.0, "nm": 1e-3, "mm": 1e3, "in": 25400.0, "mil": 25.4}
# OCR readings of "µm": both code points, similar letters at small size, a missing leg.
_MICRO = r"(?:[µμuúùûüūyjpνvƒwWH]\s?y?[mnrhM]{1,2}|[µμ]|microns?|micrometers?|micrometres?)"
_UNIT = rf"(?P<unit>{_MICRO}|nm|mm|inches|inch|in|mils?)"
_NUMBER = r"(?P<number>\d+(?:[.,]\d+)?)"
# OCR readings of texture before a number, without letters that name a measurement (d, L, R).
_TEXTURE = r"(?:[AEFGHJKMNTUVWY\u4e00-\u9fff]{1,2}(?=\d))?"
_ALONE = re.compile(rf"^[|\-–—_\[\]<>←→\s]*{_TEXTURE}{_NUMBER}\s*{_UNIT}[|\-–—_\[\]<>←→.\s]*$")
# A unit with a letter misread or missing: needs another reading with the whole unit.
_DOUBTFUL = re.compile(rf"^[|\-–—_\[\]<>←→\s]*{_NUMBER}\s?[^\W\d_]{{0,2}}[mn][|\-–—_\[\].\s]*$")
# A number with an unread digit: "/5 µm" was 75 or 15, which another reading may resolve;
# "d = 13.47 µm" is a measurement, not a label.
_SPOILT = re.compile(r"^[^\w=:]*\d*[^\w=:]\d*\s?[µμ]m[^\w=:]*$")
_AMONG = re.compile(rf"(?<![\w.,=/]){_NUMBER}\s?{_UNIT}(?![\w=/])")
_NAMES_A_BAR = re.compile(
    r"((scale\s?)?bar|scale|balken|ma(ß|ss|b)stab|[ée]chelle|escala)\s*[=:]?\s*$", re.IGNORECASE
)
_LOOKALIKE = str.maketrans({"O": "0", "o": "0", "Q": "0", "l": "1", "I": "1", "S": "5", "B": "8"})
_DIGITS = re.compile(r"^[|\-–—_\s]*([0-9OoQlISB][0-9OoQlISB.,]*)(?=\s*\D)")
_ZERO_BEFORE_UNIT = re.compile(r"(?<=\d)U{1,2}(?=\s?[µμ]m)")  # a zero with its top missing


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


@dataclass(frozen=True, slots=True)
class Length:
    """A length as a label states it.

    Args:
        um: In µm; None where number and unit are present but not read reliably.
        words: Number and unit in their usual form: "2.5 µm"; "" with um None.
        start: Start as a share of the words; 0 when alone.
        end: End as a share of the words; 1 when alone.
        number: The number without its unit.
    """

    um: float | None
    words: str
    start: float
    end: float
    number: float = 0.0


def parse_length(words: str) -> Length | None:
    """Parse "20 µm", "2,5um" or "500 nm".

    Args:
        words: Only a number and a unit, with or without dashes around them.

    Returns:
        The length, or None if the words state no length usual on a bar.
    """
    match = _ALONE.match(_repair_digits(_repair_points(words)))
    return _build_length(match, 0.0, 1.0) if match else None


def parse_lengths(words: str) -> list[Length]:
    """Parse every separate length in a line: "15.0kV 8.0mm x1.00k 50.0um".

    Args:
        words: Text of one line.

    Returns:
        Lengths in reading order, without those claimed by a name before them ("WD = 8 mm").
    """
    alone = parse_length(words)
    if alone is not None:
        return [alone]
    words = _repair_points(words)
    lengths = []
    for match in _AMONG.finditer(words):
        count = len(words)
        named = _NAMES_A_BAR.search(words[: match.start()])
        start = match.start() if named is None else named.start()
        length = _build_length(match, start / count, match.end() / count)
        if length is not None and (named or not _has_name(words[: match.start()])):
            lengths.append(length)
    return lengths


def _repair_points(words: str) -> str:
    return re.sub(r"(?<=\d)[/:·](?=\d)", ".", words.strip())


def _build_length(match: re.Match[str], start: float, end: float) -> Length | None:
    unit = _parse_unit(match["unit"])
    value = float(match["number"].replace(",", "."))
    lost_point = re.match(r"0\d", match["number"]) is not None  # "02 mm" was "0,2 mm"
    other_unit = unit == "µm" and value > 1000  # "5000 nm" or "5 mm": "5000 µm" is never written
    if lost_point or other_unit or not _is_nice(value):
        return None
    return Length(value * _UM[unit], f"{value:g} {unit}", start, end, value)


def _parse_half_read(words: str) -> Length | None:
    """Parse a number usual on bars whose unit or decimal point was not clearly read.

    A number with a missing digit is returned as 0, which contradicts every other reading.
    """
    match = _DOUBTFUL.match(_repair_digits(_repair_points(words)))
    if match is None:
        return Length(None, "", 0.0, 1.0) if _SPOILT.match(words) else None
    number = match["number"].replace(",", ".")
    lost_point = re.match(r"0\d", number) is not None and "." not in number
    value = float(f"0.{number[1:]}" if lost_point else number)
    return Length(None, "", 0.0, 1.0, value) if _is_nice(value) else None


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


def detect_rows(ink: NDArray[np.bool_]) -> list[tuple[int, int, int, int]]:
    """Detect rows of letters in a mask; faster than `detect_texts` on a clean mask.

    Args:
        ink: (h, w) bool, True where there is ink.

    Returns:
        Boxes (x0, y0, x1, y1); empty where the mask holds too much to be text.
    """
    _, _, stats, _ = cv2.connectedComponentsWithStats(ink.astype(np.uint8), connectivity=8)
    x, y, w, h, area = (stats[1:, i] for i in range(5))
    letters = (h <= 80) & (w <= 3 * h + 8) & (w <= 110) & (area >= 2)
    if letters.sum() > 150:
        letters &= area >= 6  # noise is smaller than any point
    if letters.sum() > 150:
        return []
    boxes = np.stack([x, y, x + w, y + h], axis=1)[letters]
    boxes = boxes[~_frames(boxes)]
    boxes = boxes[np.argsort(boxes[:, 0])]
    rows: list[list[int]] = []
    for box in boxes.tolist():
        row = next((row for row in rows if _continues(row, box)), None)
        if row is None:
            rows.append([*box, 1])
        else:
            row[:4] = (
                min(row[0], box[0]),
                min(row[1], box[1]),
                max(row[2], box[2]),
                max(row[3], box[3]),
            )
            row[4] += 1
    return [
        (x0, y0, x1, y1)
        for x0, y0, x1, y1, letters_in in rows
        if 7 <= y1 - y0 <= 90
        and x1 - x0 >= 1.1 * (y1 - y0)
        and 2 <= letters_in <= 40
        and not _cut_off(ink, (x0, y0, x1, y1))
    ]


def _frames(boxes: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Return which boxes contain two others or more: frames around words, not letters."""
    low, high = boxes[:, None, :2], boxes[:, None, 2:]
    contains = (low < boxes[None, :, :2]).all(axis=2) & (high > boxes[None, :, 2:]).all(axis=2)
    return np.asarray(contains.sum(axis=1) >= 2)


def extend_to_lost_digits(
    picture: NDArray[np.uint8], box: tuple[int, int, int, int]
) -> tuple[int, int, int, int]:
    """Return the box widened to the left while ink continues there: "150" is not "50".

    Args:
        picture: (h, w, 3) uint8, RGB.
        box: Box of the words, pixels of the picture.

    Returns:
        The box including what precedes it at letter distance.
    """
    x0, y0, x1, y1 = box
    high = y1 - y0
    start = max(0, x0 - 3 * high)
    if start == x0:
        return box
    before, known = (picture[y0:y1, a:b].astype(np.int16) for a, b in ((start, x0), (x0, x1)))
    paper = np.median(known.reshape(-1, 3), axis=0)
    off = largest(np.abs(known - paper))
    ink = np.median(known[off >= np.percentile(off, 92)], axis=0)
    contrast = float(np.abs(ink - paper).max())
    like_ink = (largest(np.abs(before - ink)) < 0.5 * contrast).mean(axis=0)
    like_paper = (largest(np.abs(before - paper)) < _paper_room(off, contrast)).mean(axis=0)
    left = sure = x0
    bare = 0  # columns without paper: more of them than a letter's stem has are its end
    for x in range(x0 - 1, start - 1, -1):
        bare = bare + 1 if like_paper[x - start] < 0.2 else 0
        if bare > 0.3 * high:
            return (sure, y0, x1, y1)
        if not bare:
            sure = left
        if like_ink[x - start] > 0.08:
            left = x
        elif left - x > 0.45 * high:
            break
    return (left, y0, x1, y1)


def _paper_room(off: NDArray[Any], contrast: float) -> float:
    """Return by how much a colour may differ from the paper of words and still be of it.

    A plate is even, so texture beyond its end is not it, however dark; what the words are written
    on without a plate is as uneven as the specimen.

    Args:
        off: (h, w), difference from the paper inside the box of the words, grey values.
        contrast: Of the ink to the paper, grey values.
    """
    widest = 0.3 * contrast
    spread = float(np.percentile(off[off < widest], 75)) if (off < widest).any() else widest
    return min(widest, max(_EVEN_PAPER, 3 * spread))


def _cut_off(ink: NDArray[np.bool_], box: tuple[int, int, int, int]) -> bool:
    """Return whether ink that was not detected as a letter precedes a row: "150" is not "50"."""
    x0, y0, _, y1 = box
    before = ink[y0:y1, max(0, x0 - round(0.9 * (y1 - y0))) : x0]
    return bool(before.size) and float(before.any(axis=1).mean()) > 0.5


def _continues(row: list[int], box: list[int]) -> bool:
    """Return whether a letter, or a comma below the line, continues a row of letters."""
    tall, high = row[3] - row[1], box[3] - box[1]
    if box[0] - row[2] > 1.3 * max(tall, high):
        return False
    if high < 0.45 * tall:
        return row[1] <= (box[1] + box[3]) / 2 <= row[3] + 0.3 * tall
    shared = min(row[3], box[3]) - max(row[1], box[1])
    return shared >= 0.5 * min(tall, high)


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
        agree has `um` None.
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
    return [Length(None, "", 0.0, 1.0)] if alone and len(stated) > 1 else []


def _find_agreement(readings: list[list[Length]]) -> list[Length] | None:
    """Return the lengths that all of at least two readings state; one must include the unit."""
    sure = [lengths for lengths in readings if all(length.um is not None for length in lengths)]
    if len(readings) < 2 or not sure:
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
    half = _parse_half_read(words.words)
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


def _repair_digits(words: str) -> str:
    """Return words with letters in the place of a number replaced by the digits they resemble."""
    words = _ZERO_BEFORE_UNIT.sub(lambda zero: "0" * len(zero[0]), words)
    match = _DIGITS.match(words)
    if match is None:
        return words
    start, end = match.span(1)
    return words[:start] + words[start:end].translate(_LOOKALIKE) + words[end:]


def _has_name(before: str) -> bool:
    """Return whether the words before a length name it: an aperture, a distance."""
    near = before.rstrip()[-14:]
    named = r"([=:]|size|wd|hfw|field|width|dist\.?|\bpa\s?\d?|\bpb\s?\d?|aperture|spot)$"
    return re.search(named, near, re.IGNORECASE) is not None


def _parse_unit(words: str) -> str:
    words = words.lower().replace(" ", "")
    if words in ("nm", "mm"):
        return words
    if words.startswith("in"):
        return "in"
    if words.startswith("mil"):
        return "mil"
    return "µm"


def _is_nice(value: float) -> bool:
    if value <= 0:
        return False
    mantissa = value / 10 ** np.floor(np.log10(value) + 1e-9)
    return any(abs(mantissa - nice) < 1e-6 for nice in _NICE)


@functools.cache
def _engine() -> Any:
    """Return the OCR engine of this process, created on first use."""
    _disable_telemetry()
    from rapidocr import RapidOCR  # noqa: PLC0415 - 0.3 s that images without a bar need not pay

    return RapidOCR(
        params={
            "Global.log_level": "error",
            "Global.use_cls": False,
            "Det.limit_side_len": _DETECTOR_PX,
            "Det.limit_type": "max",
            "EngineConfig.onnxruntime.intra_op_num_threads": 1,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        }
    )


def _disable_telemetry() -> None:
    """Disable the telemetry of ONNX Runtime, which is on by default since 1.29.

    Except on Windows the variable alone disables it, if set before the first session
    (microsoft/onnxruntime pull request 27379); on Windows a call stops event collection.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime  # noqa: PLC0415 - slow to import

    onnxruntime.disable_telemetry_events()
