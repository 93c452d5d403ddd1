"""Count places instead of micrographs: those that show one place prove it once.

Fields and area are counted over distinct places. A place that a field of another specimen shows too
proves nothing until a lead has decided where it belongs.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from agent.orders.facts.specimen_facts import ONE_PLACE, FieldFacts, SamePlace, SpecimenFacts
from agent.store.numbers import number_key
from agent.store.results.places import BELONGS, DIFFERENT, PlaceSide
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from agent.store import KnownPlaces, MicrographView, PlacePair, SpecimenView


MOSTLY = 0.5
"""A micrograph of which others show this share together, or more, shows no place of its own."""


@dataclass(frozen=True, slots=True)
class SpecimenPlace:
    """One place of a specimen.

    Attributes:
        fields: The micrographs that show it or carry the same field number, in their order.
        area_mm2: Area that they show together, at least; 0 without a scale.
    """

    fields: tuple[FieldFacts, ...]
    area_mm2: float


def distinct_places(
    counted: Sequence[FieldFacts], same: Sequence[SamePlace], *, by_number: bool = True
) -> list[SpecimenPlace]:
    """Return the distinct places that fields show, in the order of the fields.

    Args:
        counted: The fields that count.
        same: Pairs that overlap; see `_one_place`.
        by_number: Whether fields of one number are one place.
    """
    group: dict[str, set[str]] = {field.id: {field.id} for field in counted}
    numbers: dict[str, str] = {}
    for field in counted:
        if field.name and by_number:
            _unite(group, field.id, numbers.setdefault(number_key(field.name), field.id))
    for pair in _one_place(same, group):
        _unite(group, *sorted(pair.ids))
    unique = {id(members): members for members in (group[field.id] for field in counted)}
    return [
        SpecimenPlace(fields, _union_mm2(fields, same))
        for members in unique.values()
        if (fields := tuple(field for field in counted if field.id in members))
    ]


def _one_place(same: Sequence[SamePlace], here: Collection[str]) -> Iterator[SamePlace]:
    """Yield the pairs that are counted once: fields that touch at an edge are two places."""
    pairs = [pair for pair in same if pair.ids <= set(here)]
    shown = dict.fromkeys(here, 0.0)
    for pair in pairs:
        for member in pair.ids:
            shown[member] += pair.share
    for pair in pairs:
        if pair.share >= ONE_PLACE or max(shown[member] for member in pair.ids) >= MOSTLY:
            yield pair


def sum_area_mm2(places: Sequence[SpecimenPlace], same: Sequence[SamePlace]) -> float:
    """Return a lower bound of the area that places show together, in mm²."""
    where = {field.id: n for n, place in enumerate(places) for field in place.fields}
    common = sum(
        pair.area_mm2 or 0.0
        for pair in same
        if pair.ids <= where.keys() and len({where[member] for member in pair.ids}) > 1
    )
    return max(sum(place.area_mm2 for place in places) - common, 0.0)


def _unite(group: dict[str, set[str]], first: str, other: str) -> None:
    both = group[first] | group[other]
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
    for area, other in combinations(areas, 2):
        for pair in same:
            if pair.ids == {area, other}:
                smaller = min(areas[area], areas[other])
                common += smaller if pair.area_mm2 is None else min(pair.area_mm2, smaller)
                break
    return max(sum(areas.values()) - common, *areas.values())


def describe_same_places(facts: SpecimenFacts, counted: Iterable[FieldFacts]) -> Iterator[str]:
    """Yield which fields of a specimen overlap, by how much, and what is counted once."""
    codes = {field.id: _get_code(field) for field in counted}
    here = codes.keys()
    once = [pair.ids for pair in _one_place(facts.same_places, here)]
    for pair in facts.same_places:
        if pair.ids <= here:
            says = (
                _("{field} and {other} show one place ({share} of the smaller one): counted once")
                if pair.ids in once
                else _(
                    "{field} and {other} overlap by {share} of the smaller one: that area is "
                    "counted once"
                )
            )
            field, other = _name_with_codes(pair, codes)
            yield says.format(field=field, other=other, share=f"{pair.share:.0%}")


def _get_code(field: FieldFacts) -> str:
    if field.decided is None:
        return field.code or ""
    return field.decided.said if field.decided.kind == "code" else ""


def _name_with_codes(pair: SamePlace, codes: Mapping[str, str]) -> tuple[str, str]:
    """Return both fields of a pair, each with its code where these differ: one may be wrong."""
    (own,) = pair.ids - {pair.other_id}
    one, other = codes[own], codes[pair.other_id]
    if one == other or not (one and other):
        return pair.field, pair.other
    return f"{pair.field} ({one})", f"{pair.other} ({other})"


def describe_same_numbers(counted: Iterable[FieldFacts]) -> Iterator[str]:
    """Yield which micrographs carry one field number, such as the pages of one file."""
    numbers: dict[str, list[FieldFacts]] = {}
    for field in counted:
        if field.name:
            numbers.setdefault(number_key(field.name), []).append(field)
    for fields in numbers.values():
        if len(fields) > 1:
            yield _("{n} micrographs carry the field number {name}: counted once").format(
                n=len(fields), name=fields[0].name
            )


def describe_elsewhere(field: FieldFacts) -> Iterator[str]:
    """Yield what keeps a field's place from proving anything."""
    if not field.is_compared:
        yield _("{field} is not yet compared with the other micrographs").format(field=field.called)
    for pair in field.elsewhere:
        yield _(
            "{field} shows the place of {other} ({share} of the smaller one): a lead decides "
            "(agent orders same-place)"
        ).format(field=field.called, other=pair.other, share=f"{pair.share:.0%}")


def list_same_places(view: SpecimenView, places: KnownPlaces) -> Iterator[SamePlace]:
    """Yield the pairs of a specimen's own fields that show one place."""
    own = {field.view.id for prepared in view.preparations for field in prepared.fields}
    for pair in places.pairs:
        if pair.verdict != DIFFERENT and {pair.one.id, pair.other.id} <= own:
            first, second = sorted((pair.one, pair.other), key=lambda side: (side.field, side.id))
            yield _fact(first.field or first.id, _called(second), second.id, pair)


def list_elsewhere(
    view: MicrographView, own: Collection[str], places: KnownPlaces
) -> Iterator[SamePlace]:
    """Yield the micrographs of other specimens that show a field's place.

    Both sides are in doubt, as nothing tells which of them is the copy: a lead names the one that
    keeps the place, or decides that they show two. A micrograph that names no order proves nothing,
    nor does one that was imported later; one that was imported before may be the source, and one
    that names another order may become a field of it.

    Args:
        view: The field's micrograph.
        own: Public ids of all fields of its specimen.
        places: The stored places.
    """
    own_order = view.process_data.get("order", "")
    for pair in places.pairs:
        if view.id not in {pair.one.id, pair.other.id} or pair.share < ONE_PLACE:
            continue
        other = pair.other if view.id == pair.one.id else pair.one
        is_settled = pair.verdict == DIFFERENT or (
            pair.verdict == BELONGS and pair.belongs == view.id
        )
        is_later = other is pair.one
        names_another = other.origin != "import" and other.named not in {"", own_order}
        is_harmless = (
            not other.order and not names_another and (other.origin != "import" or is_later)
        )
        if other.id not in own and not is_settled and not is_harmless:
            field = view.process_data.get("field", "")
            yield _fact(field or view.id, _called_elsewhere(other), other.id, pair)


def describe_decisions(own: Collection[str], places: KnownPlaces) -> Iterator[str]:
    """Yield what leads decided about the places of some micrographs.

    Args:
        own: Their public ids.
        places: What is known of places.
    """
    for pair in places.pairs:
        mine, other = (pair.one, pair.other) if pair.one.id in own else (pair.other, pair.one)
        if not pair.verdict or mine.id not in own:
            continue
        says = (
            _("{field} and {other} show different places, decided by {who}: {reason}")
            if pair.verdict == DIFFERENT
            else _("{field} keeps the place that {other} shows too, decided by {who}: {reason}")
            if pair.belongs == mine.id
            else _("{other} keeps the place that {field} shows too, decided by {who}: {reason}")
        )
        yield says.format(
            field=_called(mine),
            other=_called_elsewhere(other),
            who=pair.by,
            reason=pair.reason,
        )


def _fact(field: str, other: str, other_id: str, pair: PlacePair) -> SamePlace:
    return SamePlace(
        field=_("field {name}").format(name=field),
        other=other,
        share=pair.share,
        area_mm2=pair.area_mm2,
        ids=frozenset({pair.one.id, pair.other.id}),
        other_id=other_id,
    )


def _called(side: PlaceSide) -> str:
    return _("field {name}").format(name=side.field or side.id)


def _called_elsewhere(side: PlaceSide) -> str:
    if side.site:
        return _("the micrograph {id} of another site").format(id=side.id)
    if side.order:
        return _("field {name} of order {order}, specimen {specimen}").format(
            name=side.field or side.id, order=side.order, specimen=side.specimen
        )
    if side.origin != "import" and side.named:
        return _("the micrograph {id}, which names order {order}").format(
            id=side.id, order=side.named
        )
    return _("the imported micrograph {id}").format(id=side.id)
