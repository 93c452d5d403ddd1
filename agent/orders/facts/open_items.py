"""Files and fields that may belong to an order and are in none of its specimens yet."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING

from agent.orders.facts.places import list_same_places
from agent.orders.facts.possible_fields import load_named
from agent.orders.lims.lost_conformity import RestoreLosses
from agent.store import (
    NOT_A_FILE,
    OVERWRITTEN,
    VANISHED,
    NamedOrder,
    State,
    letters_key,
    number_key,
)
from agent.watch import Provenance
from reports import gettext as _
from reports import marked

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from agent.orders.judge.assessed import OrderPolicy
    from agent.store import (
        FileFate,
        KnownPlaces,
        OrderClaim,
        OrderView,
        SpecimenView,
        Store,
        Unassigned,
    )


def list_alike(store: Store) -> dict[str, tuple[str, ...]]:
    """Return what alike numbers have in common → the numbers, where there are several.

    A lab that means every spelling as an order (`[orders] exact_numbers`) has none.
    """
    if store.exact_numbers:
        return {}
    return _group_alike(order.number for order in store.order_changes.ages())


def find_alike(store: Store, number: str) -> dict[str, tuple[str, ...]]:
    """Return the entry of `list_alike` that concerns a number; {} where no other is alike."""
    if store.exact_numbers:
        return {}
    key = letters_key(number)
    alike = _group_alike(store.order_changes.list_alike(number))
    return {key: alike[key]} if key in alike else {}


def _group_alike(numbers: Iterable[str]) -> dict[str, tuple[str, ...]]:
    by_plain_number: dict[str, list[str]] = defaultdict(list)
    for number in numbers:
        by_plain_number[letters_key(number)].append(number)
    return {key: tuple(sorted(own)) for key, own in by_plain_number.items() if len(own) > 1}


def describe_alike(number: str, alike: Mapping[str, Iterable[str]]) -> Iterator[str]:
    """Yield which other orders have a number that differs only in hyphens, slashes or dots.

    Args:
        number: Of the order.
        alike: From `list_alike`.
    """
    for other in alike.get(letters_key(number), ()):
        if number_key(other) != number_key(number):
            yield _(
                "order {other} differs in hyphens, slashes or dots alone: if it is this one, a "
                "lead assigns its micrographs (agent orders assign)"
            ).format(other=other)


def describe_specimens(
    listed: Iterable[str], named: Iterable[str], *, exact: bool
) -> Iterator[str]:
    """Yield which specimens an order list spells differently from the files.

    Args:
        listed: Specimens of the order list.
        named: Specimens of the files.
        exact: Whether the lab counts every spelling as a separate specimen.
    """
    there = sorted(named)
    for specimen in listed:
        if specimen in there:
            continue
        for name in there:
            if number_key(name) != number_key(specimen):
                continue
            if exact:
                yield _(
                    "the order list says specimen {listed}, the files {named}: [orders] "
                    "exact_numbers takes them for two"
                ).format(listed=specimen, named=name)
            else:
                yield _(
                    "the order list says specimen {listed}, the files {named}: they are taken "
                    "for one"
                ).format(listed=specimen, named=name)


ORIGINS = {
    "path": marked("its path"),
    "note": marked("the note next to it"),
    "sender": marked("its sender"),
    "copy": marked("a copy of it"),
    "moved": marked("its earlier place"),
}
"""Origin of a claim → in words."""


def describe_claims(claims: Sequence[OrderClaim], unassigned: Collection[str]) -> Iterator[str]:
    """Yield the claims that a lead has to settle before the order can conform.

    Args:
        claims: On the order.
        unassigned: Public ids of micrographs that are named anyway, as they belong to no specimen.
    """
    for claim in claims:
        if claim.settled_by or claim.id in unassigned:
            continue
        where = (
            _("it belongs to order {order} now").format(order=claim.order)
            if claim.order
            else _("it belongs to no specimen")
        )
        yield _(
            "micrograph {id} is named for specimen {specimen} by {origin}, and {where}: a lead "
            "decides (agent orders assign)"
        ).format(
            id=claim.id,
            specimen=claim.specimen or "?",
            origin=_(ORIGINS[claim.origin]),
            where=where,
        )


def describe_settled(claims: Sequence[OrderClaim]) -> Iterator[str]:
    """Yield which micrographs a lead assigned although something else named another place."""
    for claim in claims:
        if claim.settled_by:
            yield _(
                "micrograph {id} was named for specimen {specimen} by {origin}; {who} assigned it: "
                "{reason}"
            ).format(
                id=claim.id,
                specimen=claim.specimen or "?",
                origin=_(ORIGINS[claim.origin]),
                who=claim.settled_by,
                reason=claim.settled_reason,
            )


WAITING = (State.SETTLING, State.QUEUED, State.PROCESSING, State.FAILED)
"""States of a file that may still become a field."""

LOST = (State.SET_ASIDE,)


@dataclass(frozen=True, slots=True)
class OpenItems:
    """Files and fields outside the rows of orders; read once where many orders are assessed.

    Args:
        waiting: Files that may still become a field.
        lost: Files that could not be used.
        unassigned: Fields that belong to no specimen.
        named_lost: Order → contents of lost files that a note or a sender named it for.
        alike: Orders whose numbers are alike, see `list_alike`.
        outside: What is known of orders outside a restored database.
    """

    waiting: tuple[FileFate, ...] = ()
    lost: tuple[FileFate, ...] = ()
    unassigned: tuple[Unassigned, ...] = ()
    named_lost: Mapping[str, frozenset[int]] = field(default_factory=lambda: MappingProxyType({}))
    alike: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    outside: RestoreLosses = field(default_factory=RestoreLosses)

    @classmethod
    def of(cls, store: Store) -> OpenItems:
        """Read them from the database."""
        return cls(
            *_read_files(store),
            tuple(store.orders.unassigned()),
            load_named(store),
            list_alike(store),
            RestoreLosses.of(store),
        )

    @classmethod
    def of_new_files(cls, store: Store, *, after: int) -> OpenItems:
        """Read only the files whose contents have a higher number than `after`."""
        return cls(*_read_files(store, after=after))

    @classmethod
    def of_order(cls, store: Store, number: str, sources: Mapping[str, Provenance]) -> OpenItems:
        """Read what may belong to one order, for as much of the database as names it.

        Args:
            store: Open.
            number: Of the order.
            sources: Source → what its paths say.
        """
        key = partial(number_key, exact=store.exact_numbers)
        named = load_named(store)
        fixed = {name: {source.fixed.get("order", "")} for name, source in sources.items()}
        for name, orders in store.sources.list_fixed_orders().items():
            fixed.setdefault(name, set()).update(orders)
        naming = NamedOrder(
            number,
            sources=frozenset(
                name for name, orders in fixed.items() if key(number) in map(key, orders)
            ),
            contents=_list_named_contents(named, number, key),
        )
        return cls(
            *_read_files(store, naming),
            tuple(store.orders.unassigned(number)),
            named,
            find_alike(store, number),
            RestoreLosses.of(store),
        )


def _read_files(
    store: Store, naming: NamedOrder | None = None, *, after: int = 0
) -> tuple[tuple[FileFate, ...], tuple[FileFate, ...]]:
    """Return the files that wait, and those that could not be used."""
    fates = tuple(store.files.iter_status((*WAITING, *LOST), naming=naming, after=after))
    lost = (fate for fate in fates if fate.state in LOST)
    unread = (
        fate
        for code in (VANISHED, OVERWRITTEN, NOT_A_FILE)
        for fate in store.files.iter_status(State.IGNORED, code=code, naming=naming, after=after)
    )
    return tuple(fate for fate in fates if fate.state in WAITING), (*lost, *unread)


def _list_named_contents(
    named: Mapping[str, frozenset[int]], number: str, key: Callable[[str], str]
) -> frozenset[int]:
    """Return the contents of lost files that a note or a sender named an order for."""
    return frozenset(
        content
        for order, contents in named.items()
        if key(order) == key(number)
        for content in contents
    )


def iter_named_files(
    fates: Iterable[FileFate],
    number: str,
    sources: Mapping[str, Provenance],
    key: Callable[[str], str],
) -> Iterator[tuple[FileFate, str]]:
    """Yield the files of which any name, also an earlier one, names an order, and its specimen."""
    for fate in fates:
        for keys in _iter_named_places(fate, sources):
            if key(keys.get("order", "")) == key(number):
                yield fate, keys.get("specimen", "")
                break


def iter_lost(
    open_items: OpenItems, number: str, sources: Mapping[str, Provenance], key: Callable[[str], str]
) -> Iterator[FileFate]:
    """Yield the files that could not be used and that a path, a note or a sender names."""
    by_name = {
        fate.id for fate, _specimen in iter_named_files(open_items.lost, number, sources, key)
    }
    named = _list_named_contents(open_items.named_lost, number, key)
    yield from (fate for fate in open_items.lost if fate.id in by_name | named)


def is_renamed(
    fate: FileFate,
    open_items: OpenItems,
    sources: Mapping[str, Provenance],
    key: Callable[[str], str],
) -> bool:
    """Return whether a file that no one saw was listed again, named for the same specimen.

    One that a note or a sender names is not: the note may not have been moved with it.
    """
    is_named = any(fate.id in contents for contents in open_items.named_lost.values())
    if fate.renamed_to is None or is_named:
        return False
    later = (place for own in _read_name(fate, *fate.renamed_to, sources) for place in own)
    before, after = (
        {(key(place.get("order", "")), key(place.get("specimen", ""))) for place in places}
        for places in (_iter_named_places(fate, sources), later)
    )
    return bool(after) and before == after


def find_replaced(lost: Iterable[FileFate], waiting: Iterable[FileFate]) -> set[int]:
    """Return the files that were replaced before they were read, by one that waits to be read."""
    previous = {fate.id: fate.previous for fate in lost if fate.code == OVERWRITTEN}
    replaced: set[int] = set()
    for fate in waiting:
        before = fate.previous
        while before in previous and before not in replaced:
            replaced.add(before)
            before = previous[before]
    return replaced


def gave_field(
    fate: FileFate,
    view: OrderView,
    places: KnownPlaces,
    sources: Mapping[str, Provenance],
    key: Callable[[str], str],
) -> bool:
    """Return whether a later version of a file gave the order each field that its names state.

    A picture of another field settles nothing, be it a copy or saved again: the lost picture is
    still not known.
    """
    if not fate.read_again:
        return False
    given = {
        (key(specimen.name), number): fate.read_again[sha256]
        for specimen in view.specimens
        for number, sha256 in _iter_own_places(specimen, places)
        if sha256 in fate.read_again
    }

    def fits(place: Mapping[str, str]) -> bool:
        specimen, named = key(place.get("specimen", "")), number_key(place.get("field", ""))
        return any(
            specimen in {"", own} and (named == field or not named) and (named or is_own)
            for (own, field), is_own in given.items()
        )

    stated = [
        [place for place in places if key(place.get("order", "")) == key(view.number)]
        for places in _iter_stated_places(fate, sources)
    ]
    unnamed: list[Mapping[str, str]] = [{}]
    named = [places for places in stated if places]
    return bool(given) and all(any(map(fits, places)) for places in named or [unnamed])


def _iter_own_places(specimen: SpecimenView, places: KnownPlaces) -> Iterator[tuple[str, str]]:
    """Yield number and hash of the fields of which no field of another number shows the place."""
    fields = {
        field.view.id: (number_key(field.view.process_data.get("field", "")), field.view.sha256)
        for prepared in specimen.preparations
        for field in prepared.fields
    }
    shared = {
        member
        for pair in list_same_places(specimen, places)
        if pair.is_same and len({fields[member][0] for member in pair.ids if member in fields}) > 1
        for member in pair.ids
    }
    yield from (field for member, field in fields.items() if member not in shared)


def iter_named_orders(open_items: OpenItems, policy: OrderPolicy) -> Iterator[str]:
    """Yield the orders that waiting and lost files name."""
    for fate in (*open_items.waiting, *open_items.lost):
        for keys in _iter_named_places(fate, policy.sources):
            yield keys.get("order", "")
    yield from open_items.named_lost


def _iter_named_places(
    fate: FileFate, sources: Mapping[str, Provenance]
) -> Iterator[Mapping[str, str]]:
    for places in _iter_stated_places(fate, sources):
        yield from places


def _iter_stated_places(
    fate: FileFate, sources: Mapping[str, Provenance]
) -> Iterator[Sequence[Mapping[str, str]]]:
    """Yield what the sender, each note and each name of a file states; a name may have two ways."""
    if fate.sent_with.get("order"):
        yield (fate.sent_with,)
    for order, specimen in fate.noted.items():
        yield ({"order": order, "specimen": specimen},)
    for name, relative in fate.seen_as:
        yield from _read_name(fate, name, relative, sources)


def _read_name(
    fate: FileFate, name: str, relative: str, sources: Mapping[str, Provenance]
) -> Iterator[Sequence[Mapping[str, str]]]:
    """Yield what a name means: by the settings, and by those under which it was listed.

    Where they differ each counts: an edit of the settings takes no order's claim to a file back.
    """
    today = sources.get(name)
    if today is not None:
        yield (*today.named_places(relative), *today.whole_places(relative))
    for pattern, fixed in fate.read_as.get(name, ()):
        if today is None or pattern != today.pattern or fixed != today.fixed:
            before = Provenance(fixed=fixed, pattern=pattern)
            yield (*before.named_places(relative), *before.whole_places(relative))


def is_unwatched(fate: FileFate, sources: Collection[str]) -> bool:
    """Return whether a file waits in a watched folder that the settings of this PC do not name."""
    return fate.state in WAITING and fate.source not in sources and fate.source in fate.read_as
