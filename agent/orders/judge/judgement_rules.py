"""Rules that a specimen is judged by, and whether one structure code surely keeps or breaks them.

"Surely" is the point: a code that is not known, or that stands for two numbers of which one breaks
the limit, neither keeps nor breaks it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.orders.judge.limit import find_bound, find_mean_fault, read_limit
from agent.orders.specifications.class_texts import name_code, name_subtype
from agent.orders.specifications.specification import find_limit, find_size_fault
from model import TaxonomyError
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent.orders.facts.specimen_facts import Allowance
    from agent.orders.judge.limit import Bound, Limit
    from agent.orders.specifications.specification import Specification
    from model import Size, Taxonomy

MAX_FALSE_CONFORM = 0.02
"""Largest upper 95 % bound of a false "conforms" per specimen by the model alone."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Rules that a specimen is judged by.

    Args:
        specification: What is demanded.
        taxonomy: What a micrograph can be.
        material: Of the order.
        expected: Subtypes that the order says were made, () for unknown.
        allowances: The leads' permissions.
        max_false_conform: Largest upper 95 % bound of a false "conforms" by the model alone.
        second_look: A label at the limit counts only where a second reviewer confirms it.
    """

    specification: Specification
    taxonomy: Taxonomy
    material: str = ""
    expected: tuple[str, ...] = ()
    allowances: tuple[Allowance, ...] = ()
    max_false_conform: float = MAX_FALSE_CONFORM
    second_look: bool = False

    @property
    def fault(self) -> str:
        """Reason why the taxonomy cannot judge the specification, in one sentence; "" if it can."""
        wanted = self.specification
        fault = find_size_fault(wanted, self.taxonomy)
        if fault or self.by_worst:
            return fault
        return find_mean_fault(wanted.subtype, self.taxonomy)

    def limit_in(self, subtype: str) -> Limit | None:
        """Return the limit of a subtype, None where it has none."""
        return find_limit(self.specification, subtype, self.taxonomy)

    def limit_words(self, code: str | None) -> str:
        """Return the limit that a code is held against, in words; "" where it has none."""
        parsed = self.parsed(code) if code else None
        limit = self.limit_in(parsed[0]) if parsed else None
        return limit.words if limit else ""

    def bound_in(self, subtype: str) -> Bound | None:
        """Return the limit in the size order of a subtype, None where it names no size of it."""
        limit = self.limit_in(subtype)
        return find_bound(limit, self.taxonomy.subtype(subtype)) if limit else None

    def is_validated_by(self, allowance: Allowance, subtype: str) -> bool:
        """Return whether a permission is about the limit of a subtype, however both are written.

        Its record must have compared sizes in the order that is listed now; one that only one of
        both knows changes nothing. Records made before the listed order was the scale name no
        sizes. They compared numbers, which is right only where each size has whole numbers that
        rise from coarse to fine.
        """
        own = self.taxonomy.subtype(subtype)
        if allowance.subtype != subtype:
            return False
        if self.limit_in(subtype) is None:
            return not allowance.limit
        if allowance.sizes:
            listed = [size.name for size in own.sizes]
            compared = [name for name in allowance.sizes if name in listed]
            same_order = compared == [name for name in listed if name in allowance.sizes]
        else:
            numbers = [size.numbers.whole if size.numbers else None for size in own.sizes]
            same_order = not own.falls and None not in numbers
        if not same_order:
            return False
        try:
            validated = find_bound(read_limit(allowance.limit), own)
        except ValueError:
            return False
        if validated is None or validated != self.bound_in(subtype):
            return False
        return not allowance.sizes or own.sizes[validated.rank].name in allowance.sizes

    @property
    def by_worst(self) -> bool:
        """Whether the worst field decides, and not the mean of all."""
        return self.specification.specimen_rule == "worst_field"

    @property
    def ordered(self) -> str:
        """The subtypes that are allowed, in words."""
        return _(" or ").join(self.specification.subtype)

    def parsed(self, code: str) -> tuple[str, Size] | None:
        """Return a code's subtype and size, or None if the taxonomy does not know it."""
        try:
            subtype, name = self.taxonomy.parse(code)
        except TaxonomyError:
            return None
        return subtype, next(s for s in self.taxonomy.subtype(subtype).sizes if s.name == name)

    def is_of(self, code: str) -> bool:
        """Return whether a code surely has an allowed subtype."""
        parsed = self.parsed(code)
        return parsed is not None and parsed[0] in self.specification.subtype

    def keeps(self, code: str) -> bool:
        """Return whether a code surely keeps subtype and limit."""
        parsed = self.parsed(code)
        if parsed is None or parsed[0] not in self.specification.subtype:
            return False
        bound = self.bound_in(parsed[0])
        has_none = self.limit_in(parsed[0]) is None
        return has_none or (bound is not None and bound.keeps(parsed[1]))

    def breaks(self, code: str) -> bool:
        """Return whether a code surely breaks subtype or limit."""
        parsed = self.parsed(code)
        if parsed is None:
            return False
        if parsed[0] not in self.specification.subtype:
            return True
        bound = self.bound_in(parsed[0])
        return bound is not None and bound.breaks(parsed[1])

    def is_at_limit(self, code: str) -> bool:
        """Return whether a code keeps the limit and a neighbouring size does not."""
        return self.keeps(code) and self.is_next_to_limit(code)

    def is_next_to_limit(self, code: str) -> bool:
        """Return whether a code's size and a neighbouring one are on two sides of the limit."""
        parsed = self.parsed(code)
        if parsed is None or parsed[0] not in self.specification.subtype:
            return False
        if self.limit_in(parsed[0]) is None:
            return False
        sizes = self.taxonomy.subtype(parsed[0]).sizes
        place = sizes.index(parsed[1])
        sides = {
            self.keeps(self.taxonomy.code(parsed[0], size.name))
            for size in sizes[max(place - 1, 0) : place + 2]
        }
        return len(sides) > 1

    def name_code(self, code: str) -> str:
        """Return a code for a sentence in the current language."""
        return name_code(code, self.taxonomy)

    def unexpected(self, code: str | None) -> str:
        """Return that a code's subtype is not what was ordered, "" where it is or is not known."""
        parsed = self.parsed(code) if code else None
        wanted = self.expected or self.specification.subtype
        if parsed is None or parsed[0] in wanted:
            return ""
        return _("ordered {wanted}, looks like {subtype}: mix-up or heat treatment?").format(
            wanted=_(" or ").join(name_subtype(name, self.taxonomy) for name in wanted),
            subtype=name_subtype(parsed[0], self.taxonomy),
        )

    def either(self, codes: Iterable[str]) -> str:
        """Return codes as alternatives: "6 or 7" inside the subtype demanded, else "G7 or B7"."""
        several = tuple(dict.fromkeys(codes))
        parsed = [self.parsed(code) for code in several]
        subtypes = {size[0] if size else "" for size in parsed}
        if len(subtypes) == 1 and subtypes <= set(self.specification.subtype):
            return _(" or ").join(size[1].name or size[0] for size in parsed if size)
        return _(" or ").join(several)
