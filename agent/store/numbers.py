"""Compare typed numbers: orders, specimens, fields."""

from __future__ import annotations

from agent.store.spelling import fold_letters

_AROUND = ".,;:#"
"""Punctuation around a number that is no part of it."""


def letters_key(number: str) -> str:
    """Return what numbers have in common that differ in hyphens, slashes, dots or the like.

    They are two orders, as a lab may mean it so: "47-11" and "4711". It may be a slip as well.

    Args:
        number: As typed.
    """
    letters = "".join(letter for letter in number_key(number) if letter.isalnum())
    return letters.lstrip("0") or letters[-1:]


def number_key(number: str, *, exact: bool = False) -> str:
    """Return what two spellings of one number have in common.

    Case, spaces, leading zeros, unseen letters, digits and letters of another script, and
    punctuation around it do not count: "2611A", "02611a", "2611 A" and "2611A." are one number.

    Args:
        number: As typed, or as a path names it.
        exact: Each spelling is a separate number, for labs that use them that way.
    """
    if exact:
        return number
    plain = "".join(fold_letters(number).split())
    plain = plain.strip(_AROUND) or plain
    return plain.lstrip("0") or plain[-1:]
