"""Continue a comparison where a row or an act has a shape that this program never wrote.

Otherwise a forged value would end a comparison before the other changes are named.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from agent.store.evidence.audit_log import TrailEntry

ODD = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, RecursionError)
"""Exceptions raised by a value of another shape."""


def name_odd(what: str, sentences: Iterable[str]) -> Iterator[str]:
    """Yield sentences, and one more where the comparison that yields them cannot go on.

    Args:
        what: How the sentence calls what is compared.
        sentences: Of the comparison.
    """
    try:
        yield from sentences
    except ODD as error:
        yield (
            f"{what}: cannot be compared, as it holds what this program never wrote "
            f"({type(error).__name__}: {error}): it was changed"
        )


def sort_acts(entries: Iterable[TrailEntry], sort_in: Callable[[TrailEntry], None]) -> list[str]:
    """Process each act, and return a sentence for each that no version of this program wrote.

    Args:
        entries: Acts, oldest first.
        sort_in: Processes one act; raises one of `ODD` where its facts have another shape.
    """
    odd = []
    for entry in entries:
        try:
            sort_in(entry)
        except ODD as error:
            odd.append(
                f"trail: number {entry.id} ({entry.act}) holds what this program never wrote "
                f"({type(error).__name__}: {error})"
            )
    return odd
