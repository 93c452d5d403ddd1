"""Rules that a specimen is judged by: each structure code, and the mean size number.

"Surely" is the point: a code that is not known, or that stands for two numbers of which one breaks
the limit, neither keeps nor breaks it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from agent.orders.facts.places import SpecimenPlace, distinct_places
from agent.orders.facts.specimen_facts import Allowance, FieldFacts, SamePlace, SpecimenFacts
from agent.orders.judge.limit import (
    Bound,
    Limit,
    find_bound,
    find_mean_fault,
    format_limit,
    read_limit,
)
from agent.orders.specifications.class_texts import name_code, name_subtype
from agent.orders.specifications.specification import Specification, find_limit, find_size_fault
from agent.store import number_key
from model import Size, Taxonomy, TaxonomyError
from reports import decimal
from reports import gettext as _

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


def find_size_number(
    field: FieldFacts, rules: Rules, read: Callable[[Size], float | None]
) -> float | None:
    """Return the size number of a field, None where its code is not of the ordered subtype.

    Args:
        field: Its decided code counts before the model's.
        rules: With the specification.
        read: Size → number, such as the favourable end of its range.
    """
    code = field.decided.said if field.decided else field.code
    parsed = rules.parsed(code) if code else None
    if parsed is None or parsed[0] not in rules.specification.subtype:
        return None
    return read(parsed[1])


def find_extreme(
    numbers: Sequence[float | None], bound: Bound, *, is_favourable: bool
) -> float | None:
    """Return the number that keeps the limit best or worst, None where one is not known."""
    known = [number for number in numbers if number is not None]
    if len(known) < len(numbers):
        return None
    return max(known) if bound.wants_large == is_favourable else min(known)


def describe_mean(
    facts: SpecimenFacts, counted: Sequence[FieldFacts], rules: Rules
) -> Iterator[str]:
    """Yield that the mean of the fields may break the limit, by the rule `mean_of_fields`.

    The mean is over distinct places, in its least favourable reading. All places count, also more
    than the specification demands. Of several shots of one place the worst one represents it, so
    that shots of one fine place cannot dilute a coarse one; shots of one field number that are not
    shown to be one place count each where that is worse. The places that came first, as many as
    are demanded, keep the limit too: fields that are added until the mean keeps it prove nothing.
    They keep it by each record of what came first, since one clock alone can be set.
    """
    wanted, bound = rules.specification, rules.bound_in(rules.specification.subtype[0])
    if rules.by_worst or bound is None or not counted:
        return
    places = distinct_places(counted, facts.same_places)
    limit = format_limit(wanted.limit)
    each = [places, *list_first(places, wanted.fields)]
    means, capped = (
        [
            _compute_worst_mean(group, bound, rules, facts.same_places, is_capped=is_capped)
            for group in each
        ]
        for is_capped in (False, True)
    )
    mean, first_mean = means[0], find_extreme(means[1:], bound, is_favourable=False)
    worst_capped = find_extreme(capped, bound, is_favourable=False)
    if mean is None or first_mean is None or worst_capped is None:
        return  # the field itself says what is missing
    if not bound.admits(mean):
        yield _("the mean of {n} fields could be {mean}, {limit} is demanded").format(
            n=len(places), mean=format_mean(mean, bound), limit=limit
        )
    elif not bound.admits(first_mean):
        yield _(
            "the mean of the first {n} fields could be {mean}, {limit} is demanded; later fields "
            "do not change it: a lead prepares the specimen again (agent orders supersede "
            "--specimen)"
        ).format(
            n=len(each[means.index(first_mean, 1)]),
            mean=format_mean(first_mean, bound),
            limit=limit,
        )
    elif not bound.admits(worst_capped):
        yield _(
            "the mean keeps {limit} only by fields that the model alone puts beyond it: confirm "
            "them"
        ).format(limit=limit)


def list_first(places: Sequence[SpecimenPlace], n: int) -> list[list[SpecimenPlace]]:
    """Return the places that came first by each record of that: file times and field numbers.

    Those of one instant came together. Without a record of each field all came together.

    Args:
        places: Each came with the first of its fields.
        n: How many are demanded; at least so many where there are.
    """
    if len(places) <= n:
        return [list(places)]
    times = [
        [min(times) for times in zip(*(field.came_at for field in place.fields), strict=True)]
        for place in places
    ]
    records: list[Sequence[Any]] = [*zip(*times, strict=True)]
    if all(field.name for place in places for field in place.fields):
        records.append([min(map(_order_number, place.fields)) for place in places])
    return [
        [place for place, came in zip(places, record, strict=True) if came <= sorted(record)[n - 1]]
        for record in records
    ] or [list(places)]


def _order_number(field: FieldFacts) -> tuple[int, str]:
    """Return what sorts field numbers: "2" before "10", and "A2" before "A10"."""
    key = number_key(field.name)
    return len(key), key


def _compute_worst_mean(
    places: Sequence[SpecimenPlace],
    bound: Bound,
    rules: Rules,
    same: Sequence[SamePlace],
    *,
    is_capped: bool = False,
) -> float | None:
    """Return the least favourable mean of places, None where a size is not known.

    Args:
        places: Distinct ones; the fields of a place may share its number alone.
        bound: The limit.
        rules: With the specification.
        same: Pairs of fields that show one place.
        is_capped: A field that rests on the model alone counts as the limit where it is better: a
            validation counts breaks that the model missed, not sizes that it took for finer ones.
    """
    numbers: list[float] = []
    further: list[float] = []
    for place in places:
        each = [
            find_extreme(
                [_find_worst(field, bound, rules, is_capped=is_capped) for field in shown.fields],
                bound,
                is_favourable=False,
            )
            for shown in distinct_places(place.fields, same, by_number=False)
        ]
        known = sorted(number for number in each if number is not None)
        if len(known) < len(each):
            return None
        known = known if bound.wants_large else known[::-1]
        numbers.append(known[0])
        further += known[1:]
    for number in sorted(further, reverse=not bound.wants_large):
        mean = fmean(numbers)
        if (number < mean) if bound.wants_large else (number > mean):
            numbers.append(number)
    return fmean(numbers)


def describe_uncertainty(
    facts: SpecimenFacts, counted: Sequence[FieldFacts], rules: Rules
) -> Iterator[str]:
    """Yield the mean of a specimen with its standard uncertainty, once no field waits for review.

    Source:
        JCGM 100:2008, 4.2.3: the standard deviation of the places over the root of their number.
    """
    bound = rules.bound_in(rules.specification.subtype[0])
    if rules.by_worst or bound is None or any(field.awaits for field in counted):
        return
    places = distinct_places(counted, facts.same_places)
    each = [_compute_worst_mean([place], bound, rules, facts.same_places) for place in places]
    numbers = [number for number in each if number is not None]
    if len(numbers) < max(len(places), 2):
        return
    yield _("specimen {name}: mean {mean} of {n} places, standard uncertainty u = {u}").format(
        name=facts.name,
        mean=format_mean(fmean(numbers), bound),
        n=len(numbers),
        u=decimal(stdev(numbers) / math.sqrt(len(numbers)), ".2g"),
    )


def format_mean(mean: float, bound: Bound) -> str:
    """Return a mean with the digits of its limit."""
    return decimal(mean, ".1f" if isinstance(bound.number, int) else ".3g")


def _find_worst(field: FieldFacts, bound: Bound, rules: Rules, *, is_capped: bool) -> float | None:
    if field.decided:
        codes = [field.decided.said] if field.decided.kind == "code" else []
    else:
        codes = [*field.codes, *([field.code] if field.code else [])]
    parsed = [rules.parsed(code) for code in codes]
    worst = [
        bound.unfavourable(pair[1])
        for pair in parsed
        if pair and pair[0] in rules.specification.subtype
    ]
    numbers = [number for number in worst if number is not None]
    if not numbers or len(numbers) < len(parsed):
        return None
    if is_capped and not field.decided and bound.number is not None:
        numbers.append(bound.number)
    return min(numbers) if bound.wants_large else max(numbers)
