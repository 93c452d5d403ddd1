"""Limits of needle lengths in a specification, such as "L90 <= 25 µm" and "100 mm²: 45 µm"."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from reports import decimal
from reports import gettext as _

_NUMBER = r"([0-9]+(?:\.[0-9]+)?)"
_MICROMETRES = "(?:\u00b5m|\u03bcm|um)"  # both signs for micro
_LIMIT = re.compile(rf"(L50|L90|L99)\s*(?:<=|≤)\s*{_NUMBER}\s*{_MICROMETRES}", re.IGNORECASE)
_LONGEST = re.compile(rf"{_NUMBER}\s*mm(?:²|2)\s*:\s*(?:<=|≤)?\s*{_NUMBER}\s*{_MICROMETRES}")


@dataclass(frozen=True, slots=True)
class NeedleLimit:
    """The largest allowed length of a quantile.

    Args:
        quantile: "L50", "L90" or "L99", weighted by area.
        most_um: Largest allowed length.
    """

    quantile: str
    most_um: float

    @property
    def words(self) -> str:
        """The limit for a reader: "L90 of the needles at most 25 µm"."""
        return _("{name} of the needles at most {most} µm").format(
            name=self.quantile, most=decimal(self.most_um, "g")
        )


@dataclass(frozen=True, slots=True)
class LongestLimit:
    """The largest allowed length of the longest needle in an area.

    Args:
        area_mm2: The area, of which the fields show a part.
        most_um: Largest allowed length.
    """

    area_mm2: float
    most_um: float

    @property
    def words(self) -> str:
        """The limit for a reader: "longest needle in 100 mm² at most 45 µm"."""
        return _("longest needle in {area} mm² at most {most} µm").format(
            area=decimal(self.area_mm2, "g"), most=decimal(self.most_um, "g")
        )


def read_needle_limit(text: str) -> NeedleLimit:
    """Parse "L90 <= 25 µm".

    Raises:
        ValueError: It is none; the message shows how one is written.
    """
    match = _LIMIT.fullmatch(text.strip())
    if match is None or not _is_length(match[2]):
        raise ValueError(
            f'a needle limit is written "L90 <= 25 µm", with L50, L90 or L99, found {text!r}'
        )
    return NeedleLimit(match[1].upper(), float(match[2]))


def read_longest_limit(text: str) -> LongestLimit:
    """Parse "100 mm²: 45 µm".

    Raises:
        ValueError: It is none; the message shows how one is written.
    """
    match = _LONGEST.fullmatch(text.strip())
    if match is None or not (_is_length(match[1]) and _is_length(match[2])):
        raise ValueError(
            f'the longest needle in an area is limited by "100 mm²: 45 µm", found {text!r}'
        )
    return LongestLimit(float(match[1]), float(match[2]))


def _is_length(text: str) -> bool:
    return 0 < float(text) < math.inf  # hundreds of digits are infinite
