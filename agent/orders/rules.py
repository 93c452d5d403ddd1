"""Say what a specimen is held against, and whether one structure code surely keeps or breaks it.

In:  a specification, a taxonomy, what the leads allow. Out: `Rules`. Next: `conformity`.
"Surely" is the point: a code that is not known, or that stands for two numbers of which one
breaks the limit, neither keeps nor breaks it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from model import TaxonomyError
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent.orders.facts import Allowance
    from agent.orders.limit import Limit
    from agent.orders.specification import Specification
    from model import Size, Taxonomy

MAX_FALSE_CONFORM = 0.02
"""Largest upper 95 % bound of a false "conforms" per specimen that lets the model alone say so."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Everything a specimen is held against.

    Args:
        specification: What is demanded. taxonomy: what a micrograph can be.
        material: Of the order. expected: subtypes that the order says were made, () for unknown.
        allowances: What the leads have switched on.
        max_false_conform: Largest upper 95 % bound of a false "conforms" by the model alone.
    """

    specification: Specification
    taxonomy: Taxonomy
    material: str = ""
    expected: tuple[str, ...] = ()
    allowances: tuple[Allowance, ...] = ()
    max_false_conform: float = MAX_FALSE_CONFORM

    @property
    def bound(self) -> Limit | None:
        """The limit, or None where only the subtype is demanded."""
        return self.specification.bound

    @property
    def by_worst(self) -> bool:
        """Whether the worst field decides, and not the mean of all."""
        return self.specification.specimen_rule == "worst_field"

    @property
    def ordered(self) -> str:
        """The subtypes that are allowed, in words."""
        return _(" or ").join(self.specification.subtype)

    def parsed(self, code: str) -> tuple[str, Size] | None:
        """Say a code's subtype and size, or None if the taxonomy does not know it."""
        try:
            subtype, name = self.taxonomy.parse(code)
        except TaxonomyError:
            return None
        return subtype, next(s for s in self.taxonomy.subtype(subtype).sizes if s.name == name)

    def is_of(self, code: str) -> bool:
        """Say whether a code surely has an allowed subtype."""
        found = self.parsed(code)
        return found is not None and found[0] in self.specification.subtype

    def keeps(self, code: str) -> bool:
        """Say whether a code surely keeps subtype and limit."""
        found = self.parsed(code)
        if found is None or found[0] not in self.specification.subtype:
            return False
        return self.bound is None or self.bound.keeps(found[1])

    def breaks(self, code: str) -> bool:
        """Say whether a code surely breaks subtype or limit."""
        found = self.parsed(code)
        if found is None:
            return False
        if found[0] not in self.specification.subtype:
            return True
        return self.bound is not None and self.bound.breaks(found[1])

    def unexpected(self, code: str | None) -> str:
        """Say that a code's subtype is not what was ordered, "" where it is or is not known."""
        found = self.parsed(code) if code else None
        wanted = self.expected or self.specification.subtype
        if found is None or found[0] in wanted:
            return ""
        return _("ordered {wanted}, looks like {subtype}: mix-up or heat treatment?").format(
            wanted=_(" or ").join(wanted), subtype=found[0]
        )

    def either(self, codes: Iterable[str]) -> str:
        """Say codes as alternatives: "6 or 7" inside one subtype, else "G7 or B7"."""
        several = tuple(dict.fromkeys(codes))
        found = [self.parsed(code) for code in several]
        if None not in found and len({one[0] for one in found if one}) == 1:
            return _(" or ").join(one[1].name or one[0] for one in found if one)
        return _(" or ").join(several)
