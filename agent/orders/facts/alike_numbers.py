"""Find orders whose numbers differ only in hyphens, slashes or dots: one of them may be a slip."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from agent.store import letters_key, number_key
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from agent.store import Store


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
