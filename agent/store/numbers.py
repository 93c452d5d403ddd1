"""Compare numbers that people type: orders, specimens, fields."""

from __future__ import annotations

import unicodedata


def number_key(number: str, *, exact: bool = False) -> str:
    """Return what two spellings of one number have in common.

    Case, spaces and leading zeros do not count: "2611A", "02611a" and "2611 A" are one number.

    Args:
        number: As typed, or as a path names it.
        exact: Every spelling is a number of its own, for labs that mean it so.
    """
    if exact:
        return number
    plain = "".join(unicodedata.normalize("NFKC", number).split()).casefold()
    return plain.lstrip("0") or plain[-1:]
