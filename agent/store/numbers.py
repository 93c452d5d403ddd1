"""Compare numbers that people type: orders, specimens, fields."""

from __future__ import annotations

import unicodedata

UNSEEN = ("Cc", "Cf")
"""Unicode categories of characters that nobody sees: control characters, joiners, marks."""


def number_key(number: str, *, exact: bool = False) -> str:
    """Return what two spellings of one number have in common.

    Case, spaces, leading zeros and what cannot be seen do not count: "2611A", "02611a" and
    "2611 A" are one number.

    Args:
        number: As typed, or as a path names it.
        exact: Every spelling is a number of its own, for labs that mean it so.
    """
    if exact:
        return number
    spelled = unicodedata.normalize("NFKC", number).casefold()
    plain = "".join(
        letter
        for letter in spelled
        if not letter.isspace() and unicodedata.category(letter) not in UNSEEN
    )
    return plain.lstrip("0") or plain[-1:]
