# ruff: noqa: PLR2004 - pixels, grey values and shares, measured on real bars, explained in place
"""Parse the length that a label states.

A wrong length is worse than none: only lengths usual on bars count.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

_NICE = (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 7.5, 8.0)  # × 10ⁿ: usual bar lengths
_WITH_POINT = 1.25  # × 10ⁿ: usual where its point is read ("12.5 µm"); "125 µm" may have lost it
_MOST_UM = 1000  # above, few write a length in µm
_UM = {"µm": 1.0, "nm": 1e-3, "mm": 1e3, "in": 25400.0, "mil": 25.4}
# OCR readings of "µm": both code points, similar letters at small size, a missing leg.
_MICRO = (
    r"(?:[µμuúùûüūyjpνvƒwWH]\s?y?[mnrhM]{1,2}|[µμ]|U\s?M"
    r"|(?i:microns?|micrometers?|micrometres?|mkm)|мкм)"
)
_CLEAR = re.compile(r"[µμuúùûü]|U\s?M|(?i:micr|mkm)|мкм")
_SURE = re.compile(r"[µμ]m|(?i:micr|mkm)|мкм")  # no reading of "nm" or "mm"
_UNIT = rf"(?P<unit>{_MICRO}|nm|mm|inches|inch|in|mils?)"
_NUMBER = r"(?P<number>\d+(?:[.,]\d+)?)"
# OCR readings of texture before a number, without letters that name a measurement (d, L, R) or
# are a half of a fraction: "½" is read as "Y2".
_TEXTURE = r"(?:[AEFGHJKMNTUW\u4e00-\u9fff]{1,2}(?=\d))?"
# OCR readings of texture between a number and its unit: no point there can be a decimal one.
_BETWEEN = r"(?:\s*[.,·*°'’-]?\s*)"
_ALONE = re.compile(
    rf"^[|\-–—_\[\]<>←→'’=\s]*{_TEXTURE}{_NUMBER}{_BETWEEN}{_UNIT}[|\-–—_\[\]<>←→.\s]*$"
)
# A unit with a letter misread or missing: needs another reading with the whole unit.
_DOUBTFUL = re.compile(
    rf"^[|\-–—_\[\]<>←→'’\s]*{_NUMBER}{_BETWEEN}[^\W\d_]{{0,2}}[mn][|\-–—_\[\].\s]*$"
)
# A length with something after it: "25μm1". It supports or contradicts another reading.
_FOLLOWED = re.compile(rf"^\W*{_NUMBER}\s?{_UNIT}\W*\w{{1,2}}\W*$")
# A number with an unread digit: "/5 µm" was 75 or 15, which another reading may resolve;
# "d = 13.47 µm" is a measurement, not a label.
_SPOILT = re.compile(r"^[^\w=:]*\d*[^\w=:]\d*\s?[µμ]m[^\w=:]*$")
# "1/2 mm", "½ mm", "2 x 5 µm", "10 / 20 µm", "1,000 µm": which of two numbers, or what of both, is
# not known, and a point read otherwise is not told from them. A date or a magnification before the
# number, and a tick with its line ("1-10 µm"), is no number of the label.
_JOINT = r"(?:\s*(?:[/⁄∕|\\×xX*±~÷_+'’–—-]+|\.\.+)\s*|\s+)"
_ANY_UNIT = _UNIT.replace("P<unit>", ":")
_PLAIN = r"\d+(?:[.,]\d+)?"
_OF_TWO = re.compile(
    rf"(?<![\w.,/:])(?<![xX×]\s)(?!1\s?[–—-]+\d){_PLAIN}{_JOINT}{_PLAIN}\s*{_ANY_UNIT}"
    rf"|[½¼¾⅓⅔⅛]\s*{_ANY_UNIT}"
    rf"|\d\s*{_ANY_UNIT}\s*(?:[/⁄∕±=]\s*\d|[×xX*]\s*\d{{1,2}}(?![\d.,k]))"
    rf"|\d\s*[×xX*]\s*\d+\s*{_ANY_UNIT}"
    rf"|(?<![\d.,])[1-9]\d{{0,2}}[.,]000\s*{_ANY_UNIT}"
)
_AMONG = re.compile(rf"(?<![\w.,=/]){_NUMBER}\s?{_UNIT}(?![\w=/])")
_NAMES_A_BAR = re.compile(
    r"((scale\s?)?bar|scale|balken|ma(ß|ss|b)stab|[ée]chelle|escala)\s*[=:]?\s*$", re.IGNORECASE
)
_LOOKALIKE = str.maketrans({"O": "0", "o": "0", "Q": "0", "l": "1", "I": "1", "S": "5", "B": "8"})
_DIGITS = re.compile(r"^[|\-–—_\s]*([0-9OoQlISB][0-9OoQlISB.,]*)(?=\s*\D)")
_ZERO_BEFORE_UNIT = re.compile(r"(?<=\d)U{1,2}(?=\s?[µμ]m)")  # a zero with its top missing


@dataclass(frozen=True, slots=True)
class Length:
    """A length as a label states it.

    Args:
        um: In µm; None where number and unit are present but not read reliably.
        words: Number and unit in their usual form: "2.5 µm"; "" with um None.
        start: Start as a share of the words; 0 when alone.
        end: End as a share of the words; 1 when alone.
        number: The number without its unit.
        clear: Its unit was read as it is written; "pm" is read where µm or nm stands.
    """

    um: float | None
    words: str
    start: float
    end: float
    number: float = 0.0
    clear: bool = True


def parse_length(words: str) -> Length | None:
    """Parse "20 µm", "2,5um" or "500 nm".

    Args:
        words: Only a number and a unit, with or without dashes around them.

    Returns:
        The length, or None if the words state no length usual on a bar.
    """
    match = _ALONE.match(_repair_digits(_repair_points(words)))
    return _build_length(match, 0.0, 1.0) if match and not states_two_numbers(words) else None


def parse_lengths(words: str) -> list[Length]:
    """Parse every separate length in a line: "15.0kV 8.0mm x1.00k 50.0um".

    Args:
        words: Text of one line.

    Returns:
        Lengths in reading order, without those claimed by a name before them ("WD = 8 mm").
    """
    if states_two_numbers(words):
        return []
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
    return re.sub(r"(?<=\d)·(?=\d)", ".", words.strip())


def _build_length(match: re.Match[str], start: float, end: float) -> Length | None:
    unit = _parse_unit(match["unit"])
    value = float(match["number"].replace(",", "."))
    lost_point = re.match(r"0\d", match["number"]) is not None  # "02 mm" was "0,2 mm"
    # "5000 um" may be "5000 nm" misread.
    other_unit = unit == "µm" and value > _MOST_UM and _SURE.match(match["unit"]) is None
    other_unit = other_unit or (unit == "µm" and value > 10 * _MOST_UM)
    if lost_point or other_unit or not _is_nice(value):
        return None
    clear = unit != "µm" or _CLEAR.match(match["unit"]) is not None
    return Length(value * _UM[unit], f"{value:g} {unit}", start, end, value, clear)


def parse_named_length(words: str) -> Length | None:
    """Parse the length after a word that names a bar, such as "Bar = 20 µm"; None without it."""
    first = re.search(r"\d", words)
    if first is None or _NAMES_A_BAR.search(words[: first.start()]) is None:
        return None
    return parse_length(words[first.start() :])


def parse_half_read(words: str) -> Length | None:
    """Parse a number usual on bars whose unit or decimal point was not clearly read.

    A number with a missing digit, and one of two numbers, is returned as 0, which contradicts every
    other reading.
    """
    if states_two_numbers(words):
        return Length(None, "", 0.0, 1.0)
    repaired = re.sub(r"(?<=\d):(?=\d)", ".", _repair_digits(_repair_points(words)))
    repaired = re.sub(r"^\s*[.,](?=\d)", "0.", repaired)
    match = _DOUBTFUL.match(repaired) or _FOLLOWED.match(repaired)
    if match is None:
        return Length(None, "", 0.0, 1.0) if _SPOILT.match(words) else None
    number = match["number"].replace(",", ".")
    lost_point = re.match(r"0\d", number) is not None and "." not in number
    value = float(f"0.{number[1:]}" if lost_point else number)
    return Length(None, "", 0.0, 1.0, value) if _is_nice(value) else None


def states_two_numbers(words: str) -> bool:
    """Return whether words are a fraction, a product, a range or two readings: "2 x 5 µm"."""
    return _OF_TWO.search(words) is not None


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


def may_lack_digit(number: float) -> bool:
    """Return whether a usual number ends with this one: "50" may be of "150", "20" of none."""
    tens = 10 ** np.floor(np.log10(number) + 1 + 1e-9)
    return any(_is_nice(first * tens + number) for first in range(1, 10))


def has_more_digits(words: str, number: float) -> bool:
    """Return whether words state a number that ends with this one: "1400" with "400"."""
    read = re.search(r"\d+", words)
    whole = str(int(number))
    return read is not None and len(read[0]) > len(whole) and read[0].endswith(whole)


def _is_nice(value: float) -> bool:
    if value <= 0:
        return False
    mantissa = value / 10 ** np.floor(np.log10(value) + 1e-9)
    usual = _NICE if value == int(value) else (*_NICE, _WITH_POINT)
    return any(abs(mantissa - nice) < 1e-6 for nice in usual)
