"""Compare structure codes and needle lengths with limits such as "7 or finer" and "L90 <= 25 µm".

A limit names a size of the taxonomy, or a number inside one. A finer size is listed later in its
subtype; digits in a name decide nothing. A size that stands for several numbers ("9-10") keeps a
limit only if all of them do: half a size conforms to nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from model import Size, Subtype, Taxonomy, TaxonomyError, parse_numbers
from reports import decimal
from reports import gettext as _

_WRITTEN = re.compile(r"(.+?)\s+or\s+(finer|coarser)", re.IGNORECASE)
ROUNDING = 1e-9
"""A mean of decimal sizes may miss its limit by this much of binary rounding."""


class Direction(StrEnum):
    """Which side of a limit is allowed."""

    FINER = "finer"
    COARSER = "coarser"


_WORDS: Mapping[Direction, Callable[[], str]] = {
    Direction.FINER: lambda: _("{number} or finer"),
    Direction.COARSER: lambda: _("{number} or coarser"),
}


@dataclass(frozen=True, slots=True)
class Limit:
    """A size and the side of it that is allowed, as written; `find_bound` places it in a subtype.

    Args:
        size: Name of the size that is still allowed, or a number inside one.
        direction: On which side of it the others are.
    """

    size: str
    direction: Direction

    def __str__(self) -> str:
        """Return it as written."""
        return f"{self.size} or {self.direction}"

    @property
    def words(self) -> str:
        """The limit in the language of the page: "7 or finer"."""
        return _WORDS[self.direction]().format(number=self.size)


@dataclass(frozen=True, slots=True)
class Bound:
    """A limit in the size order of one subtype.

    Args:
        subtype: Whose sizes are compared.
        rank: Place of the last allowed size in the listed order.
        direction: On which side of it the others are.
        is_cut: Only a part of that size is allowed, so that no one can tell whether it conforms.
        number: The last allowed number, or None where the size has no numbers.
    """

    subtype: Subtype
    rank: int
    direction: Direction
    is_cut: bool = False
    number: float | None = None

    def keeps(self, size: Size) -> bool:
        """Return whether a size surely keeps the limit."""
        beyond = self._beyond(size)
        return beyond > 0 or (beyond == 0 and not self.is_cut)

    def breaks(self, size: Size) -> bool:
        """Return whether a size surely breaks the limit."""
        return self._beyond(size) < 0

    def _beyond(self, size: Size) -> int:
        """Return how many sizes a size is on the allowed side of the last allowed one."""
        steps = self.subtype.rank(size.name) - self.rank
        return steps if self.direction is Direction.FINER else -steps

    def favourable(self, size: Size) -> float | None:
        """Return the number of a size that keeps the limit best, None where it has none."""
        return _end(self.subtype, size, finer=self.direction is Direction.FINER)

    def unfavourable(self, size: Size) -> float | None:
        """Return the number of a size that keeps the limit worst, None where it has none."""
        return _end(self.subtype, size, finer=self.direction is Direction.COARSER)

    def admits(self, mean: float) -> bool:
        """Return whether a mean of size numbers keeps the limit; never where sizes have none."""
        if self.number is None:
            return False
        above = mean - self.number
        return (above if self.wants_large else -above) >= -ROUNDING

    @property
    def wants_large(self) -> bool:
        """Whether larger numbers keep the limit: of lengths in µm those of "or coarser"."""
        return (self.direction is Direction.FINER) != self.subtype.falls


def read_limit(text: str) -> Limit:
    """Parse "7 or finer", "9-10 or finer", "mittel grob or coarser".

    Raises:
        ValueError: It is none; the message shows how one is written.
    """
    match = _WRITTEN.fullmatch(" ".join(text.split()))
    if match is None:
        raise ValueError(f'a limit is written "7 or finer" or "8 or coarser", found {text!r}')
    return Limit(match.group(1), Direction(match.group(2).casefold()))


def format_limit(text: str) -> str:
    """Return a limit as written in the language of the page; what is none as it is."""
    try:
        return read_limit(text).words
    except ValueError:
        return text


def limit_at(subtype: Subtype, size: Size, direction: Direction) -> Limit:
    """Return the limit whose last allowed size is `size`; a merged one is called by its number.

    So "9-10" gives "9 or finer" and "10 or coarser", as validation records name them.
    """
    by_name = Limit(size.name, direction)
    number = _end(subtype, size, finer=direction is Direction.COARSER)
    if number is None or size.stated:
        return by_name
    by_number = Limit(str(number), direction)
    same = find_bound(by_number, subtype) == find_bound(by_name, subtype)
    return by_number if same else by_name


def find_bound(limit: Limit, subtype: Subtype) -> Bound | None:
    """Place a limit in the size order of a subtype.

    Args:
        limit: As written. A range of numbers that is no size of its own, such as "9-10" where 9
            and 10 are two sizes, allows both.
        subtype: Whose sizes are compared.

    Returns:
        None where it names no size, or a number that two sizes share.
    """
    inside = limit.direction is Direction.COARSER  # the end of a size next to what breaks it
    if named := subtype.find_size(limit.size):
        number = _end(subtype, named, finer=inside)
        return Bound(subtype, subtype.rank(named.name), limit.direction, number=number)
    numbers = parse_numbers(limit.size)
    if numbers is None or not all(len(_list_sizes_with(subtype, value)) == 1 for value in numbers):
        return None
    number = numbers.upper if inside != subtype.falls else numbers.lower
    (size,) = _list_sizes_with(subtype, number)
    return Bound(
        subtype,
        subtype.rank(size.name),
        limit.direction,
        is_cut=number != _end(subtype, size, finer=inside),
        number=number,
    )


def _list_sizes_with(subtype: Subtype, number: float) -> list[Size]:
    return [
        size
        for size in subtype.sizes
        if size.numbers and size.numbers.lower <= number <= size.numbers.upper
    ]


def _end(subtype: Subtype, size: Size, *, finer: bool) -> float | None:
    """Return the number at the finer or the coarser end of a size."""
    if size.numbers is None:
        return None
    return size.numbers.upper if finer != subtype.falls else size.numbers.lower


def has_sizes(subtype: Subtype) -> bool:
    """Return whether the codes of a subtype have a size, which a limit can be about."""
    return any(size.name for size in subtype.sizes)


def find_limit_fault(limit: Limit, subtypes: Sequence[str], taxonomy: Taxonomy) -> str:
    """Return why a limit cannot be judged in a taxonomy, in one sentence; "" if it can.

    Args:
        limit: The limit.
        subtypes: Those that are allowed; one without sizes needs no limit next to one with sizes.
        taxonomy: What a micrograph can be.
    """
    try:
        known = [taxonomy.subtype(name) for name in subtypes]
    except TaxonomyError as error:
        return str(error).rstrip(".")
    sized = [subtype for subtype in known if has_sizes(subtype)] or known
    return next(filter(None, (_find_fault(limit, subtype) for subtype in sized)), "")


def _find_fault(limit: Limit, subtype: Subtype) -> str:
    known = ", ".join(size.name for size in subtype.sizes)
    if not known:
        sentence = _("subtype {name} has no sizes, so no limit applies to it")
        return sentence.format(name=subtype.name)
    bound = find_bound(limit, subtype)
    if bound is None:
        numbers = parse_numbers(limit.size)
        for number in numbers or ():
            if len(sharing := _list_sizes_with(subtype, number)) > 1:
                sentence = _("{number} belongs to the sizes {sizes} of subtype {name}; name one")
                names = _(" and ").join(size.name for size in sharing)
                return sentence.format(number=number, sizes=names, name=subtype.name)
        sentence = _("subtype {name} has no size {number}; known are {known}")
        return sentence.format(name=subtype.name, number=limit.size, known=known)
    if bound.is_cut:
        return _(
            '"{limit}" cuts the size {size} of subtype {name} in two, which cannot be '
            "distinguished; known are {known}"
        ).format(
            limit=limit.words,
            size=subtype.sizes[bound.rank].name,
            name=subtype.name,
            known=known,
        )
    return ""


def find_mean_fault(subtypes: Sequence[str], taxonomy: Taxonomy) -> str:
    """Return why the mean of several fields cannot be judged, in one sentence; "" if it can.

    A mean needs numbers on one scale. Of named sizes only the order is known: a mean of their
    places would say that "medium" is as far from "coarse" as from "fine".

    Args:
        subtypes: Those that are allowed, each known to the taxonomy.
        taxonomy: What a micrograph can be.
    """
    allowed = [taxonomy.subtype(name) for name in subtypes]
    for subtype in allowed:
        without = [size.name for size in subtype.sizes if size.numbers is None]
        if without:
            return _(
                "mean_of_fields needs a number for each size; of subtype {name} these have none: "
                "{sizes}. Demand worst_field, or give them min and max in the taxonomy"
            ).format(name=subtype.name, sizes=", ".join(without))
    if len({subtype.falls for subtype in allowed}) > 1:
        return _(
            "mean_of_fields needs one scale, but the numbers of subtypes {names} do not rise or "
            "fall alike; write one specification for each"
        ).format(names=_(" and ").join(subtypes))
    return ""


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
