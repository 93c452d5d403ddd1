"""Draft of a taxonomy, before it is checked, and the text of a checked one as a file.

A draft keeps what the entries of an earlier taxonomy state beyond names and titles, so that a
rewritten file loses no text and no range of numbers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from model.class_names import (
    SEPARATOR,
    TEXTS,
    compose_name,
    fold_name,
    parse_numbers,
    require_distinct,
    wording_as_json,
)
from model.errors import TaxonomyError
from model.taxonomy import Size, Subtype, Taxonomy, taxonomy_from

_COARSE_TO_FINE = (
    ("very coarse", "extra coarse", "sehr grob"),
    ("coarse", "large", "grob", "groß", "gross"),
    ("medium coarse", "mittelgrob"),
    ("medium", "mittel"),
    ("medium fine", "mittelfein"),
    ("fine", "small", "fein", "klein"),
    ("very fine", "extra fine", "sehr fein"),
    ("ultrafine", "ultra fine", "ultrafein"),
)
_RANKS = {
    fold_name(word): rank for rank, words in enumerate(_COARSE_TO_FINE) for word in words
}  # folded without spaces
_SIZE_WORDS = sorted((w for words in _COARSE_TO_FINE for w in words), key=len, reverse=True)
_WORD_END = re.compile(
    r"(.*?\w)[ _-]+("
    + "|".join(re.escape(word).replace(r"\ ", "[ _-]") for word in _SIZE_WORDS)
    + ")",
    re.IGNORECASE,
)
_NUMBER = r"\d+(?:[.,]\d+)?(?:\s*[-\u2013]\s*\d+(?:[.,]\d+)?)?"
_NUMBER_AFTER_GAP = re.compile(rf"(.*[^\W_].*?)[ _]+({_NUMBER})")
_NUMBER_END = re.compile(rf"(.*?[^\W\d_])[ _-]?({_NUMBER})")


@dataclass(frozen=True, slots=True)
class SubtypeDraft:
    """A subtype as typed: its name, titles, and the names of its sizes, coarse to fine."""

    name: str
    sizes: tuple[str, ...] = ()
    title: str = ""
    title_de: str = ""


@dataclass(frozen=True, slots=True)
class TaxonomyDraft:
    """Classes as typed or suggested; nothing of it is checked.

    Attributes:
        name: The lab's name for the taxonomy.
        subtypes: In display order.
        size_titles: Name of a size → its title in English and in German, "" where none is given.
        several_subtypes: A specimen may have several of the subtypes.
    """

    name: str
    subtypes: tuple[SubtypeDraft, ...]
    size_titles: tuple[tuple[str, tuple[str, str]], ...] = ()
    several_subtypes: bool = False

    @property
    def sizes(self) -> tuple[str, ...]:
        """Every size that a subtype lists, once, in order of appearance."""
        return tuple(dict.fromkeys(size for subtype in self.subtypes for size in subtype.sizes))

    def build(self, base: Taxonomy | None = None) -> Taxonomy:
        """Return the taxonomy that it describes.

        Args:
            base: An earlier taxonomy; texts, stated numbers and untrained sizes of entries of the
                same name are kept.

        Raises:
            TaxonomyError: It is inconsistent; the message names the entry.
        """
        document: dict[str, object] = {
            "name": self.name.strip() or "unnamed",
            "separator": SEPARATOR,
            "size": [self._size_to_json(name, base) for name in self.sizes],
            "subtype": [_subtype_to_json(subtype, base) for subtype in self.subtypes],
        }
        if self.several_subtypes:
            document["subtypes_per_specimen"] = "several"
        return taxonomy_from(document)

    def _size_to_json(self, name: str, base: Taxonomy | None) -> dict[str, object]:
        title, title_de = dict(self.size_titles).get(name, ("", ""))
        entry: dict[str, object] = {"name": name} | _titles(title, title_de)
        known = next((size for size in base.sizes if size.name == name), None) if base else None
        if known is None:
            return entry
        if known.stated and known.numbers:
            entry |= {"min": known.numbers.lower, "max": known.numbers.upper, "stated": True}
        return entry | wording_as_json("look_for", known.look_for)


def draft_from_taxonomy(taxonomy: Taxonomy) -> TaxonomyDraft:
    """Return the draft that builds a taxonomy again, with the taxonomy itself as its base."""
    return TaxonomyDraft(
        name=taxonomy.name,
        subtypes=tuple(
            SubtypeDraft(
                name=subtype.name,
                sizes=tuple(size.name for size in subtype.sizes if size.name),
                title=subtype.title if subtype.title != subtype.name else "",
                title_de=subtype.title_de,
            )
            for subtype in taxonomy.subtypes
        ),
        size_titles=tuple(
            (size.name, (size.title if size.title != size.name else "", size.title_de))
            for size in taxonomy.sizes
            if size.name
        ),
        several_subtypes=taxonomy.several_subtypes,
    )


def propose_draft(names: Iterable[str], *, name: str = "") -> TaxonomyDraft:
    """Return the subtypes and sizes that the names of classes suggest.

    A number or a word such as "coarse" at the end is a size where at least two names share what
    precedes it: "G7" and "G8", "lath coarse" and "lath fine". Every proposed taxonomy parses each
    of the names; where the sizes contradict each other, each name is a subtype without sizes.

    Args:
        names: Names of folders, or codes.
        name: The lab's name for the taxonomy.

    Raises:
        TaxonomyError: There is no name, or two are written alike.
    """
    plain = [composed for entry in names if (composed := compose_name(entry))]
    if not plain:
        raise TaxonomyError("No class is named; at least one is needed.")
    require_distinct("The classes", dict.fromkeys(plain))
    proposed = TaxonomyDraft(name, _split_names(plain))
    try:
        taxonomy = proposed.build()
        for entry in plain:
            taxonomy.parse(entry)
    except TaxonomyError:
        proposed = TaxonomyDraft(name, tuple(SubtypeDraft(entry) for entry in dict.fromkeys(plain)))
        proposed.build()
    return proposed


def has_several_subtypes(taxonomy: Taxonomy, specimens: Iterable[Iterable[str]]) -> bool:
    """Return whether a specimen has codes of several subtypes.

    Args:
        taxonomy: Parses the codes.
        specimens: The codes of each specimen.
    """
    return any(len({taxonomy.parse(code)[0] for code in codes}) > 1 for codes in specimens)


def _split_names(names: Sequence[str]) -> tuple[SubtypeDraft, ...]:
    """Return the subtypes, each with its sizes in the order that numbers or words suggest."""
    parts = {name: _split(name) for name in dict.fromkeys(names)}
    heads: dict[str, set[str]] = {}
    for subtype, size in parts.values():
        heads.setdefault(fold_name(subtype), set()).add(size)
    subtypes: dict[str, tuple[str, list[str]]] = {}
    for name, (subtype, size) in parts.items():
        if not size or len(heads[fold_name(subtype)]) < 2:  # noqa: PLR2004 - a scale has two
            subtypes.setdefault(fold_name(name), (name, []))
        else:
            subtypes.setdefault(fold_name(subtype), (subtype, []))[1].append(size)
    return tuple(SubtypeDraft(name, tuple(_sort(sizes))) for name, sizes in subtypes.values())


def _split(name: str) -> tuple[str, str]:
    """Return subtype and size of a name; "" as the size where none is recognised."""
    for pattern in (_WORD_END, _NUMBER_AFTER_GAP, _NUMBER_END):
        if match := pattern.fullmatch(name):
            return match[1].strip(" _-"), match[2]
    return name, ""


def _sort(sizes: Sequence[str]) -> list[str]:
    """Return sizes coarse to fine: chart numbers rise, decimals (lengths) fall, words are known."""
    numbers = {size: parse_numbers(size) for size in sizes}
    if all(numbers.values()):
        falls = any(number and number.whole is None for number in numbers.values())
        return sorted(sizes, key=lambda size: numbers[size] or (0, 0), reverse=falls)
    last = len(_COARSE_TO_FINE)
    return sorted(sizes, key=lambda size: _RANKS.get(fold_name(size.replace("_", " ")), last))


def _subtype_to_json(draft: SubtypeDraft, base: Taxonomy | None) -> Mapping[str, object]:
    entry: dict[str, object] = {"name": draft.name, "sizes": list(draft.sizes)}
    entry |= _titles(draft.title, draft.title_de)
    known = (
        next((subtype for subtype in base.subtypes if subtype.name == draft.name), None)
        if base
        else None
    )
    if known is None:
        return entry
    for key in TEXTS:
        entry |= wording_as_json(key, getattr(known, key))
    return entry | {"untrained": [size for size in draft.sizes if size in known.untrained]}


def _titles(title: str, title_de: str) -> dict[str, object]:
    written = {"title": title.strip(), "title_de": title_de.strip()}
    return {key: text for key, text in written.items() if text}


# --- format a taxonomy as the text of a `taxonomy.toml`; `load_taxonomy` reads the same classes ---


_HEAD = """\
# The lab's classes. A subtype lists its sizes coarse to fine; this order is the scale.
# Check a change before it counts: agent spec taxonomy FILE
"""


def format_taxonomy(taxonomy: Taxonomy) -> str:
    """Return the TOML text of a taxonomy, with every text and number that the lab wrote."""
    separator = next((s.separator for s in taxonomy.subtypes if s.separator), SEPARATOR)
    top: dict[str, object] = {"name": taxonomy.name}
    if taxonomy.several_subtypes:
        top["subtypes_per_specimen"] = "several"
    if separator != SEPARATOR:
        top["separator"] = separator
    tables = [
        *(("[[size]]", _size(size)) for size in taxonomy.sizes if size.name),
        *(("[[subtype]]", _subtype(subtype)) for subtype in taxonomy.subtypes),
    ]
    parts = [_HEAD + _format_keys(top)]
    parts += [f"{head}\n{_format_keys(entry)}" for head, entry in tables]
    return "\n".join(parts)


def _size(size: Size) -> dict[str, object]:
    entry: dict[str, object] = {"name": size.name}
    if size.title != size.name:
        entry["title"] = size.title
    if size.title_de:
        entry["title_de"] = size.title_de
    if size.stated and size.numbers:
        entry |= {"min": size.numbers.lower, "max": size.numbers.upper}
    return entry | wording_as_json("look_for", size.look_for)


def _subtype(subtype: Subtype) -> dict[str, object]:
    entry: dict[str, object] = {"name": subtype.name}
    if subtype.title != subtype.name:
        entry["title"] = subtype.title
    if subtype.title_de:
        entry["title_de"] = subtype.title_de
    if subtype.has_sizes:
        names = [size.name for size in subtype.sizes]
        entry["sizes"] = names
        if subtype.untrained:
            entry["untrained"] = [name for name in names if name in subtype.untrained]
    for key in TEXTS:
        entry |= wording_as_json(key, getattr(subtype, key))
    return entry


def _format_keys(entry: Mapping[str, object]) -> str:
    return "".join(_lines(entry))


def _lines(entry: Mapping[str, object]) -> Iterator[str]:
    for key, value in entry.items():
        # A JSON text is a TOML text, but for DEL, which TOML wants escaped.
        written = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        yield f"{key} = {written}\n"
