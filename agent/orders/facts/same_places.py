"""Turn pairs of micrographs that show one place into facts of a specimen and of its fields."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.orders.facts.specimen_facts import ONE_PLACE, SamePlace
from agent.store.results.places import BELONGS, DIFFERENT
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from agent.store import KnownPlaces, MicrographView, PlacePair, SpecimenView
    from agent.store.results.places import PlaceSide


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
