"""Spell the names of classes, compare them as people write them, and join them to codes.

Names are kept in Unicode's composed form (NFC): a folder from a Mac spells "ü" as two letters.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

from model.errors import TaxonomyError

if TYPE_CHECKING:
    from collections.abc import Iterable

LONGEST_NAME = 40
"""Letters of a subtype's or size's name; more of them break a page and a column."""
SEPARATOR = " "
"""What joins a subtype and a size that would run together, as in "spheroidite coarse"."""
LEAST_WORD = 3
"""Letters from which a name is a word: "graphite 12" is two, while "G8" and "B9-10" are codes."""

_HYPHENS = re.compile(r"(?<!\d)-|-(?!\d)")
_DASHES = re.compile(r"[\u2010-\u2015\u2212/_]")


def compose_name(written: str) -> str:
    """Return a name in Unicode's composed form, without spaces at its ends."""
    return unicodedata.normalize("NFC", written).strip()


def fold_name(written: str) -> str:
    """Return what a name is compared by: "9–10", "9 - 10" and "9_10" are one.

    Case, spaces, the kind of dash, the form of an accent and unseen letters, such as marks of
    direction, make no difference.
    """
    seen = "".join(c for c in written if unicodedata.category(c) != "Cf")
    spelled = unicodedata.normalize("NFC", _DASHES.sub("-", seen))
    return unicodedata.normalize("NFC", "".join(spelled.split()).casefold())


def drop_hyphens(folded: str) -> str:
    """Return a folded name without hyphens, but those between digits, as in "9-10"."""
    return _HYPHENS.sub("", folded)


def join_code(subtype: str, size: str, separator: str) -> str:
    """Join the names of a subtype and a size to a structure code: "G8", "spheroidite coarse".

    Args:
        subtype: Its name.
        size: Its name, "" where the subtype has no sizes.
        separator: Between two letters, two digits, or a word and a digit, which would run together.
    """
    is_word = len(subtype) >= LEAST_WORD and subtype[-1].isalpha()
    glued = (subtype and size) and (
        (subtype[-1].isalpha() and size[0].isalpha())
        or ((subtype[-1].isdecimal() or is_word) and size[0].isdecimal())
    )
    return f"{subtype}{separator if glued else ''}{size}"


def require_name(kind: str, name: str) -> None:
    """Check that a name can be shown.

    Raises:
        TaxonomyError: It is too long, or has letters that cannot be shown.
    """
    if len(name) > LONGEST_NAME:
        raise TaxonomyError(
            f"{kind} {name!r} has {len(name)} letters, at most {LONGEST_NAME} fit on a page; "
            "shorten the name and write the long form as its title."
        )
    if any(unicodedata.category(letter) in {"Cc", "Cs", "Cn"} for letter in name):
        raise TaxonomyError(
            f"{kind} {name!r} has letters that cannot be shown; type the name again."
        )


def require_distinct(kind: str, names: Iterable[str]) -> None:
    """Check that no two names are the same to a reader.

    Raises:
        TaxonomyError: Two are; both are named.
    """
    known: dict[str, str] = {}
    for name in names:
        folded = drop_hyphens(fold_name(name))
        if folded in known:
            raise TaxonomyError(
                f"{kind} {known[folded]!r} and {name!r} are written alike (case, spaces, hyphens "
                "and accents do not tell names apart); rename one."
            )
        known[folded] = name
