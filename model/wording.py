"""Texts of a taxonomy in English and German, and the keys that its file may have."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from model.errors import TaxonomyError

if TYPE_CHECKING:
    from collections.abc import Mapping

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
