"""Compare typed numbers and names: orders, specimens, fields, people; look-alikes are equal.

An invisible letter, a digit of another script or a Cyrillic "А" for a Latin "A" must not make two
orders of one, nor two reviewers.
"""

from __future__ import annotations

import unicodedata

_CYRILLIC = (
    "\u0430\u0432\u0435\u043a\u043c\u043d\u043e\u0440\u0441\u0442\u0443\u0445\u0456\u0458\u0455"
)
_GREEK = "\u03b1\u03b2\u03b5\u03b6\u03b7\u03b9\u03ba\u03bc\u03bd\u03bf\u03c1\u03c4\u03c5\u03c7"
_OTHERS = "\u0131\u2044\u2215\u2212"  # dotless i, fraction and division slash, minus
_LATIN = str.maketrans(_CYRILLIC + _GREEK + _OTHERS, "abekmhopctyxijsabezhikmnoptyxi//-")
"""Letters whose capital looks like a Latin one, after case folding → that one.

Source:
    Unicode Technical Standard 39, confusables.txt: the pairs that a lab's fonts do not tell apart.
"""
_UNSEEN = ("Cf", "Cc", "Mn", "Me")


def fold_letters(text: str) -> str:
    """Return a text without what is not seen of it: case, script, width, marks that no letter has.

    Args:
        text: As typed, or as a path names it.
    """
    if text.isascii() and text.isprintable():  # nearly all numbers, in a thirtieth of the time
        return text.lower()
    folded = unicodedata.normalize("NFKC", text).casefold()
    folded = unicodedata.normalize("NFKC", folded).translate(_LATIN)
    return "".join(map(_plain, folded))


def _plain(letter: str) -> str:
    category = unicodedata.category(letter)
    if category == "Nd":
        return str(unicodedata.decimal(letter))
    if category == "Pd":
        return "-"
    return "" if category in _UNSEEN and not letter.isspace() else letter


def person_key(name: str) -> str:
    """Return what two spellings of a reviewer's name have in common.

    Case, blanks and punctuation do not count: "R. Stahl" and "r stahl" are the same reviewer.

    Args:
        name: As typed.
    """
    letters = "".join(letter for letter in fold_letters(name) if letter.isalnum())
    return letters or name.strip()


_ALIKE = str.maketrans("1i|0", "lllo")
"""Letters and digits that look alike in most fonts, a capital I among them, once folded."""


def account_key(name: str) -> str:
    """Return what all names have in common that a reader takes for one account.

    Args:
        name: Of an account.
    """
    return person_key(fold_letters(name).translate(_ALIKE))


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
