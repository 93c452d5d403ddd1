"""Count places instead of micrographs: two that show one place prove it once.

Fields and area are counted over distinct places. A place that a field of another specimen shows too
proves nothing until a lead has decided where it belongs.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from agent.orders.facts import ONE_PLACE
from agent.store.numbers import number_key
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from agent.orders.facts import FieldFacts, SamePlace, SpecimenFacts


@dataclass(frozen=True, slots=True)
class Place:
    """One place of a specimen.

    Attributes:
        fields: The micrographs that show it or carry the same field number, in their order.
        area_mm2: Area that they show together, at least; 0 without a scale.
    """

    fields: tuple[FieldFacts, ...]
    area_mm2: float


def distinct_places(counted: Sequence[FieldFacts], same: Sequence[SamePlace]) -> list[Place]:
    """Return the distinct places that fields show, in the order of the fields.

    Args:
        counted: The fields that count.
        same: Pairs that overlap; from `ONE_PLACE` on they are one place.
    """
    return [
        Place(fields, _union_mm2(fields, same))
        for fields in _group(counted, [pair for pair in same if pair.share >= ONE_PLACE])
    ]


def compute_area_mm2(counted: Sequence[FieldFacts], same: Sequence[SamePlace]) -> float:
    """Return the area that fields show together, at least; what overlaps counts once.

    Args:
        counted: The fields that count.
        same: Pairs that overlap, by however little.
    """
    return sum(_union_mm2(fields, same) for fields in _group(counted, same))


def _group(
    counted: Sequence[FieldFacts], same: Iterable[SamePlace]
) -> list[tuple[FieldFacts, ...]]:
    """Return fields in groups whose members share a number or are such a pair."""
    group: dict[str, set[str]] = {field.id: {field.id} for field in counted}
    numbers: dict[str, str] = {}
    for field in counted:
        if field.name:
            _unite(group, field.id, numbers.setdefault(number_key(field.name), field.id))
    for pair in same:
        one, other = sorted(pair.ids)
        if one in group and other in group:
            _unite(group, one, other)
    unique = {id(members): members for members in (group[field.id] for field in counted)}
    return [tuple(field for field in counted if field.id in members) for members in unique.values()]


def _unite(group: dict[str, set[str]], one: str, other: str) -> None:
    both = group[one] | group[other]
    for member in both:
        group[member] = both


def _union_mm2(fields: Sequence[FieldFacts], same: Sequence[SamePlace]) -> float:
    """Return a lower bound of the area that fields show together.

    Of shots with one field number the largest stands for all. The sum of areas less every pair's
    common area never exceeds the union (Bonferroni's inequality).
    """
    largest: dict[str, FieldFacts] = {}
    for field in fields:
        key = number_key(field.name) if field.name else field.id
        if key not in largest or (field.area_mm2 or 0) > (largest[key].area_mm2 or 0):
            largest[key] = field
    areas = {field.id: field.area_mm2 or 0.0 for field in largest.values()}
    common = 0.0
    for one, other in combinations(areas, 2):
        for pair in same:
            if pair.ids == {one, other}:
                smaller = min(areas[one], areas[other])
                common += smaller if pair.area_mm2 is None else min(pair.area_mm2, smaller)
                break
    return max(sum(areas.values()) - common, *areas.values())


def describe_same_places(facts: SpecimenFacts, counted: Iterable[FieldFacts]) -> Iterator[str]:
    """Yield which fields of a specimen overlap, by how much, and what is counted once."""
    here = {field.id for field in counted}
    for pair in facts.same_places:
        if pair.ids <= here:
            says = (
                _("{field} and {other} show one place ({share} of the smaller one): counted once")
                if pair.share >= ONE_PLACE
                else _(
                    "{field} and {other} overlap by {share} of the smaller one: that area is "
                    "counted once"
                )
            )
            yield says.format(field=pair.field, other=pair.other, share=f"{pair.share:.0%}")


def describe_elsewhere(field: FieldFacts) -> Iterator[str]:
    """Yield what keeps a field's place from proving anything."""
    if not field.is_compared:
        yield _("{field} is not yet compared with the other micrographs").format(field=field.called)
    for pair in field.elsewhere:
        yield _(
            "{field} shows the place of {other} ({share} of the smaller one): a lead decides "
            "(agent orders same-place)"
        ).format(field=field.called, other=pair.other, share=f"{pair.share:.0%}")
