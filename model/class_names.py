"""Names and texts of classes: spelled, compared as people write them, joined to codes.

Names are kept in Unicode's composed form (NFC): a folder from a Mac spells "ü" as two letters.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

from model.errors import TaxonomyError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


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


# --- texts of a taxonomy in English and German, and the keys that its file may have ---------------


TEXTS = ("look_for", "scale", "criterion")
"""Optional texts: what carries a decision, the name of the scale, the name of the criterion."""
_TOP = ("look_for", "look_for_de", "scale", "scale_de", "criterion", "criterion_de")
KEYS = {
    "": ("name", "subtypes_per_specimen", "separator", "size", "subtype", *_TOP),
    "[[size]]": ("name", "title", "title_de", "look_for", "look_for_de", "min", "max"),
    "[[subtype]]": ("name", "title", "title_de", "sizes", "untrained", *_TOP),
}
"""Table of `taxonomy.toml` → the keys that it may have."""


@dataclass(frozen=True, slots=True)
class Wording:
    """One text in the languages that a lab wrote it in; "" where it did not."""

    en: str = ""
    de: str = ""

    def choose(self, language: str) -> str:
        """Return the text in a language, else in the other one."""
        return (self.de or self.en) if language == "de" else (self.en or self.de)


NO_WORDING = Wording()


def read_wording(entry: Mapping[str, object], key: str, default: Wording = NO_WORDING) -> Wording:
    """Return the text of `key` and `key_de` of an entry, each by itself or by default."""
    if not {key, f"{key}_de"} & entry.keys():
        return default
    return Wording(str(entry.get(key, "")), str(entry.get(f"{key}_de", "")))


def wording_as_json(key: str, wording: Wording) -> dict[str, str]:
    """Return a text as keys of an entry; nothing where there is none."""
    written = {key: wording.en, f"{key}_de": wording.de}
    return {name: text for name, text in written.items() if text}


def require_known_keys(document: Mapping[str, object]) -> None:
    """Check the keys of a lab's file.

    Raises:
        TaxonomyError: One is unknown; the nearest known one is named.
    """
    _require_known("", document)
    for table in ("size", "subtype"):
        entries = document.get(table, [])
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, dict):
                _require_known(f"[[{table}]]", entry)


def _require_known(table: str, entry: Mapping[str, object]) -> None:
    known = KEYS[table]
    for key in entry:
        if key in known:
            continue
        where = f"{table} {entry.get('name', '')!r}: " if table else ""
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}."
        raise TaxonomyError(f"{where}unknown key {key!r}; {hint}")
