"""Say whether a structure code keeps a limit such as "7 or finer"; sizes are size numbers.

In:  the text of a limit, a taxonomy. Out: a `Limit`. Next: `specification`, `conformity`.
A larger number is a finer needle. A size that stands for two numbers ("9-10") keeps a limit only
if both do: half a size conforms to nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import reports
from model import TaxonomyError
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Sequence

    from model import Size, Taxonomy

_WRITTEN = re.compile(r"(\d+)(?:\s*[-–]\s*(\d+))?\s+or\s+(finer|coarser)")


class Direction(StrEnum):
    """Which side of a limit is allowed."""

    FINER = "finer"
    COARSER = "coarser"


@dataclass(frozen=True, slots=True)
class Limit:
    """A size number and the side of it that is allowed.

    Args:
        number: The size number that is still allowed.
        direction: On which side of it the others are.
    """

    number: int
    direction: Direction

    def __str__(self) -> str:
        return f"{self.number} or {self.direction}"

    def keeps(self, size: Size) -> bool:
        """Say whether every number that a size stands for keeps the limit."""
        if self.direction is Direction.FINER:
            return size.lower >= self.number
        return size.upper <= self.number

    def breaks(self, size: Size) -> bool:
        """Say whether no number that a size stands for keeps the limit."""
        if self.direction is Direction.FINER:
            return size.upper < self.number
        return size.lower > self.number

    def favourable(self, size: Size) -> int:
        """Say the number of a size that keeps the limit best."""
        return size.upper if self.direction is Direction.FINER else size.lower

    def unfavourable(self, size: Size) -> int:
        """Say the number of a size that keeps the limit worst."""
        return size.lower if self.direction is Direction.FINER else size.upper

    def admits(self, number: float) -> bool:
        """Say whether a number, such as a mean, keeps the limit."""
        if self.direction is Direction.FINER:
            return number >= self.number
        return number <= self.number


def read_limit(text: str) -> Limit:
    """Read "7 or finer", "8 or coarser", "9-10 or finer".

    Raises:
        ValueError: It is none; the message shows how one is written.
    """
    found = _WRITTEN.fullmatch(" ".join(text.casefold().split()))
    if found is None:
        raise ValueError(f'a limit is written "7 or finer" or "8 or coarser", found {text!r}')
    numbers = [int(one) for one in found.groups()[:2] if one]
    direction = Direction(found.group(3))
    allowed = min(numbers) if direction is Direction.FINER else max(numbers)
    return Limit(allowed, direction)


def fault_of(limit: Limit, subtypes: Sequence[str], taxonomy: Taxonomy) -> str:
    """Say why a limit cannot be judged in a taxonomy, in one sentence; "" if it can.

    Args:
        limit: The limit.
        subtypes: Those that are allowed.
        taxonomy: What a micrograph can be.
    """
    for name in subtypes:
        try:
            subtype = taxonomy.subtype(name)
        except TaxonomyError as error:
            return str(error).rstrip(".")
        known = ", ".join(size.name for size in subtype.sizes)
        inside = [size for size in subtype.sizes if size.lower <= limit.number <= size.upper]
        if not inside:
            said = _("subtype {name} has no size {number}; known are {known}")
            return said.format(name=name, number=limit.number, known=known)
        if not (limit.keeps(inside[0]) or limit.breaks(inside[0])):
            return _(
                '"{limit}" cuts the size {size} of subtype {name} in two, which nobody can tell '
                "apart; known are {known}"
            ).format(limit=reports.retold(str(limit)), size=inside[0].name, name=name, known=known)
    return ""
