"""Order the sizes of a taxonomy and refuse lists that contradict each other.

The listed order, coarse to fine, is the scale. Numbers only add where a limit may lie inside a
merged size, and what a mean is; so they have to follow the list, rising or falling.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from itertools import combinations, pairwise
from typing import TYPE_CHECKING, NamedTuple

from model.errors import TaxonomyError

if TYPE_CHECKING:
    from collections.abc import Sequence

_DASHES = re.compile(r"\s*[-\u2010-\u2015\u2212/_]\s*")
_NUMBERS = re.compile(r"\d+(?:[.,]\d+)?(?:-\d+(?:[.,]\d+)?)*")


class Numbers(NamedTuple):
    """The smallest and the largest number that a size stands for; equal unless merged."""

    lower: float
    upper: float

    @property
    def whole(self) -> tuple[int, int] | None:
        """Both as integers, or None where one of them is no whole number."""
        if isinstance(self.lower, int) and isinstance(self.upper, int):
            return self.lower, self.upper
        return None

    def __str__(self) -> str:
        """Format as "7" or "9 to 10"."""
        return f"{self.lower}" if self.lower == self.upper else f"{self.lower} to {self.upper}"


@dataclass(frozen=True, slots=True)
class SizeList:
    """The sizes of one subtype, coarse to fine.

    Args:
        subtype: Its name.
        sizes: Name and numbers, None where a size has none.
    """

    subtype: str
    sizes: tuple[tuple[str, Numbers | None], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names alone, in their order."""
        return tuple(name for name, _ in self.sizes)

    @property
    def numbered(self) -> dict[str, Numbers]:
        """The sizes that have numbers, in their order."""
        return {name: numbers for name, numbers in self.sizes if numbers is not None}


def parse_numbers(name: str) -> Numbers | None:
    """Return the numbers that a name is made of, or None if it holds anything else.

    Args:
        name: "7", "0.5", "0,5" or a range such as "9-10". "stage 2" is no number, and neither is
            "00", which a grain-size scale tells from "0".

    Returns:
        Whole numbers as int, others as float.
    """
    written = _DASHES.sub("-", name.strip())
    if not _NUMBERS.fullmatch(written):
        return None
    parts = written.split("-")
    if any(set(part) == {"0"} and len(part) > 1 for part in parts):
        return None
    found = [int(part) if part.isdecimal() else float(part.replace(",", ".")) for part in parts]
    return Numbers(min(found), max(found))


def find_falling(lists: Sequence[SizeList]) -> tuple[bool, ...]:
    """Check every list against its numbers and the other lists.

    Args:
        lists: One per subtype.

    Returns:
        Per list, whether its numbers fall from coarse to fine, as lengths in µm do. One that
        cannot tell goes by the lists that share a size with it; else they count as rising.

    Raises:
        TaxonomyError: Two entries contradict each other; both are named.
    """
    for one in lists:
        _require_distinct(one)
    known = [_falls(one) for one in lists]
    for one, other in combinations(lists, 2):
        _require_same_order(one, other)
    _require_one_direction(lists, known)
    return tuple(bool(falls) for falls in known)


def merge_lists(lists: Sequence[SizeList], falling: Sequence[bool]) -> tuple[str, ...]:
    """Return every size once, coarse to fine, whatever the subtype.

    Sizes that all have numbers are ordered by them, which keeps the order of every list; else a
    size comes after those that some list has before it.

    Args:
        lists: One per subtype.
        falling: As `find_falling` returns it.

    Raises:
        TaxonomyError: Several lists together order sizes in a circle.
    """
    named = [one for one in lists if any(one.names)]
    directions = {falls for one, falls in zip(lists, falling, strict=True) if any(one.names)}
    numbers = {name: own for one in named for name, own in one.numbered.items()}
    unsized = ("",) if len(named) < len(lists) else ()
    if len(directions) == 1 and all(one.names == tuple(one.numbered) for one in named):
        sign = -1 if directions == {True} else 1
        by_number = sorted(numbers, key=lambda name: tuple(sign * n for n in numbers[name]))
        return (*unsized, *by_number)
    sorter: TopologicalSorter[str] = TopologicalSorter()
    for one in named:
        for name in one.names:
            sorter.add(name)
        for coarse, fine in pairwise(one.names):
            sorter.add(fine, coarse)
    try:
        return (*unsized, *sorter.static_order())
    except CycleError as error:
        circle = ", ".join(repr(name) for name in error.args[1])
        raise TaxonomyError(
            f"The sizes {circle} are listed in a circle by several subtypes; "
            "list them coarse to fine in the same order everywhere."
        ) from error


def _require_distinct(one: SizeList) -> None:
    for (name, own), (other, others) in combinations(one.sizes, 2):
        if name == other:
            raise TaxonomyError(
                f"Subtype {one.subtype} lists the size {name!r} twice; name each size once."
            )
        if own is None or others is None or not _overlap(own, others):
            continue
        raise TaxonomyError(
            f"Subtype {one.subtype}: the sizes {name!r} ({own}) and {other!r} ({others}) "
            "overlap; change their names, min or max so that each number belongs to one size."
        )


def _overlap(one: Numbers, other: Numbers) -> bool:
    """Return whether two sizes share a number; classes such as 5-10 and 10-20 may touch."""
    low, high = max(one.lower, other.lower), min(one.upper, other.upper)
    touching = low == high and one.lower < one.upper and other.lower < other.upper
    return low <= high and not touching


def _falls(one: SizeList) -> bool | None:
    """Return whether the numbers fall along the list, None where fewer than two tell."""
    first: tuple[str, str] | None = None
    falls = None
    for (coarse, own), (fine, others) in pairwise(one.numbered.items()):
        here = others < own
        if falls is None:
            falls, first = here, (coarse, fine)
        elif here != falls and first:
            words = ("fall", "rise") if here else ("rise", "fall")
            raise TaxonomyError(
                f"Subtype {one.subtype}: the numbers {words[0]} from size {coarse!r} ({own}) to "
                f"{fine!r} ({others}), but {words[1]} from {first[0]!r} to {first[1]!r}; list "
                "the sizes coarse to fine, or correct min and max."
            )
    return falls


def _require_same_order(one: SizeList, other: SizeList) -> None:
    shared = [name for name in one.names if name in other.names]
    for coarse, fine in pairwise(shared):
        if other.names.index(coarse) > other.names.index(fine):
            raise TaxonomyError(
                f"Subtype {one.subtype} lists the size {coarse!r} before {fine!r}, subtype "
                f"{other.subtype} the other way round; list both coarse to fine."
            )


def _require_one_direction(lists: Sequence[SizeList], known: list[bool | None]) -> None:
    """Check that lists which share a size with numbers rise or fall alike; fill what is open."""
    shared = [
        (one, other, name)
        for one, other in combinations(range(len(lists)), 2)
        for name in lists[one].numbered
        if name in lists[other].numbered
    ]
    for _ in lists:  # a direction reaches the farthest list after so many rounds
        for one, other, name in shared:
            if known[one] is None:
                known[one] = known[other]
            elif known[other] is None:
                known[other] = known[one]
            elif known[one] != known[other]:
                words = [
                    f"subtype {lists[at].subtype}, whose numbers {'fall' if known[at] else 'rise'}"
                    for at in (one, other)
                ]
                raise TaxonomyError(
                    f"The size {name!r} belongs to {words[0]}, and to {words[1]} from coarse to "
                    "fine; use a [[size]] of another name for one of them."
                )
