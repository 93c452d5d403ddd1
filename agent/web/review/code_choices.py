"""Choices of structure codes, each with its key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.orders.specifications.class_texts import choose_title, label_of
from reports import Choice, SubtypeChoice, number_keys, size_keys
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from model import Size, Subtype, Taxonomy

COMMAND_LETTERS = frozenset("acfhjklnorstuvwz")
"""Keys of the pages that press no code; B and M are a subtype's where one has that letter."""


def list_subtypes(taxonomy: Taxonomy, suggested: str | None) -> Iterator[SubtypeChoice]:
    """Yield the subtypes with their sizes, coarse to fine.

    Args:
        taxonomy: The classes.
        suggested: The model's answer, None where it is hidden or there is none.
    """
    known = taxonomy.subtypes
    letters = _list_letters([entry.name for entry in known])
    for row, letter, subtype in zip(number_keys(len(known)), letters, known, strict=True):
        # A subtype with a single size is decided by its own key.
        keys = list_size_keys(subtype.sizes) if len(subtype.sizes) > 1 else ("",)
        sizes = tuple(
            Choice(
                value=f"code:{subtype.code(size.name)}",
                text=label_of(size) or choose_title(subtype),
                words=choose_title(size)
                + (
                    _(" (known, but not in the training data yet)")
                    if size.name in subtype.untrained
                    else ""
                ),
                key=key,
                taught=size.name not in subtype.untrained,
                suggested=subtype.code(size.name) == suggested,
            )
            for key, size in zip(keys, subtype.sizes, strict=True)
        )
        yield SubtypeChoice(subtype.name, _title(subtype), row, sizes, letter)


def list_size_keys(sizes: Sequence[Size]) -> tuple[str, ...]:
    """Return the keys of sizes: the digits of their lowest number where all have one."""
    return size_keys([size.numbers.lower if size.numbers else None for size in sizes])


def _list_letters(names: Sequence[str]) -> list[str]:
    """Return the first letter of each name as its key, "" where another key has it already."""
    first = [name[:1].casefold() for name in names]
    return [
        letter
        if letter.isascii()
        and letter.isalpha()
        and letter not in COMMAND_LETTERS
        and first.count(letter) == 1
        else ""
        for letter in first
    ]


def _title(subtype: Subtype) -> str:
    """Return the title of a subtype, "" where it only repeats the name."""
    title = choose_title(subtype)
    return title if title != subtype.name else ""
