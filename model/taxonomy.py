"""Taxonomy: subtypes, their sizes, and the structure codes formed of both.

Classes are data, not code: a lab with other steels writes its own `taxonomy.toml`, and every bundle
stores a copy.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path

from model.class_names import (
    NO_WORDING,
    SEPARATOR,
    TEXTS,
    Numbers,
    SizeList,
    Wording,
    compose_name,
    find_falling,
    fold_name,
    join_code,
    merge_lists,
    parse_numbers,
    read_wording,
    require_distinct,
    require_known_keys,
    require_name,
    suggest_nearest,
    wording_as_json,
)
from model.errors import TaxonomyError

_SPECIMENS = {"one": False, "several": True}
"""What `subtypes_per_specimen` may be, and whether a specimen may then have several."""


@dataclass(frozen=True, slots=True)
class Size:
    """A size: a needle-length number, a merged pair of numbers, or a name.

    The order of `Subtype.sizes` alone determines which of two sizes is finer, never the name.

    Args:
        name: As written in a structure code, such as "9-10"; "" for a subtype without sizes.
        numbers: Smallest and largest number that the size covers, or None.
        title: Name that reviewers read.
        stated: Whether the numbers come from `min` and `max` and differ from those of the name.
        title_de: The title in German, "" where the lab wrote none.
        look_for: What in the picture carries this size, in a sentence.
    """

    name: str
    numbers: Numbers | None
    title: str
    stated: bool = False
    title_de: str = ""
    look_for: Wording = NO_WORDING

    @property
    def titles(self) -> Wording:
        """Its title in every language."""
        return Wording(self.title, self.title_de)


@dataclass(frozen=True, slots=True)
class Subtype:
    """A microstructure subtype and its sizes.

    Args:
        name: As written in a structure code, such as "G".
        title: Name that reviewers read.
        sizes: Its sizes, coarse to fine; this order is the scale.
        untrained: Names of sizes that models are not trained on.
        falls: Whether the numbers of its sizes fall from coarse to fine, as lengths in µm do.
        separator: What joins it with a size that would run together with its name.
        title_de: The title in German, "" where the lab wrote none.
        look_for: What in the picture carries this subtype, in a sentence.
        scale: Name of the scale of its sizes.
        criterion: Name of what decides a size.
    """

    name: str
    title: str
    sizes: tuple[Size, ...]
    untrained: frozenset[str]
    falls: bool = False
    separator: str = ""
    title_de: str = ""
    look_for: Wording = NO_WORDING
    scale: Wording = NO_WORDING
    criterion: Wording = NO_WORDING

    @property
    def titles(self) -> Wording:
        """Its title in every language."""
        return Wording(self.title, self.title_de)

    @property
    def has_sizes(self) -> bool:
        """Whether it has sizes, so that a code of it names one."""
        return any(size.name for size in self.sizes)

    def code(self, size: str) -> str:
        """Join it with the name of one of its sizes to a structure code."""
        return join_code(self.name, size, self.separator)

    def rank(self, size: str) -> int:
        """Return the rank of a size in the listed order; 0 is the coarsest.

        Raises:
            TaxonomyError: The subtype has no size of that name.
        """
        for rank, known in enumerate(self.sizes):
            if known.name == size:
                return rank
        names = _format_names(known.name for known in self.sizes)
        raise TaxonomyError(f"Subtype {self.name} has no size {size!r}; known are {names}.")

    def find_size(self, written: str) -> Size | None:
        """Return the size of a name in any spelling, or None: "9–10" and "9 - 10" are equal."""
        folded = fold_name(written)
        exact = [size for size in self.sizes if size.name == written]
        equal = [size for size in self.sizes if size.name and fold_name(size.name) == folded]
        return next(iter((*exact, *equal)), None)

    @property
    def trained_sizes(self) -> tuple[Size, ...]:
        """The sizes that models are trained on, coarse to fine."""
        return tuple(size for size in self.sizes if size.name not in self.untrained)


@dataclass(frozen=True, slots=True)
class Taxonomy:
    """A lab's set of classes for micrographs.

    Args:
        name: The lab's name for this taxonomy.
        subtypes: In display order.
        several_subtypes: A specimen may have several of them, as constituents of one structure.
    """

    name: str
    subtypes: tuple[Subtype, ...]
    several_subtypes: bool = False

    @property
    def codes(self) -> tuple[str, ...]:
        """Every structure code, subtype by subtype, coarse to fine."""
        return tuple(s.code(size.name) for s in self.subtypes for size in s.sizes)

    @property
    def trained_codes(self) -> tuple[str, ...]:
        """The structure codes that models are trained on, in the order of `codes`."""
        return tuple(s.code(size.name) for s in self.subtypes for size in s.trained_sizes)

    def subtype(self, name: str) -> Subtype:
        """Return the subtype of a name.

        Raises:
            TaxonomyError: There is no subtype of that name.
        """
        for subtype in self.subtypes:
            if subtype.name == name:
                return subtype
        raise TaxonomyError(
            f"There is no subtype {name!r}; known are "
            f"{_format_names(s.name for s in self.subtypes)}."
            f"{suggest_nearest(name, (s.name for s in self.subtypes))}"
        )

    def code(self, subtype: str, size: str) -> str:
        """Format a subtype and one of its sizes as a structure code.

        Raises:
            TaxonomyError: The subtype has no such size.
        """
        known = self.subtype(subtype)
        known.rank(size)
        return known.code(size)

    def parse(self, code: str) -> tuple[str, str]:
        """Parse a structure code in any spelling: "G9-10", "g 9–10" and "G9_10" are equal.

        Returns:
            The name of the subtype and the name of the size.

        Raises:
            TaxonomyError: The code is unknown; the message suggests the most similar one.
        """
        parts = {s.code(z.name): (s.name, z.name) for s in self.subtypes for z in s.sizes}
        if code in parts:
            return parts[code]
        by_spelling = {fold_name("-".join(both)): known for known, both in parts.items()}
        by_spelling |= {fold_name(known): known for known in parts}  # as in "spheroidite_coarse"
        if (known := by_spelling.get(fold_name(code))) is not None:
            return parts[known]
        raise TaxonomyError(
            f"{code!r} is no structure code of the taxonomy {self.name!r} "
            f"({', '.join(parts)}).{suggest_nearest(code, parts)}"
        )

    @property
    def sizes(self) -> tuple[Size, ...]:
        """Every size once, coarse to fine across all subtypes."""
        known = {size.name: size for subtype in self.subtypes for size in subtype.sizes}
        lists, falling = _size_lists(self.subtypes), [s.falls for s in self.subtypes]
        return tuple(known[name] for name in merge_lists(lists, falling))

    def size_bounds(self, size: str) -> tuple[int | None, int | None]:
        """Return the whole numbers that a size covers, such as (9, 10) for "9-10".

        Returns:
            The smallest and the largest, both None if the size has no whole numbers.

        Raises:
            TaxonomyError: No subtype has this size.
        """
        for subtype in self.subtypes:
            for known in subtype.sizes:
                if known.name == size:
                    whole = known.numbers.whole if known.numbers else None
                    return whole or (None, None)
        raise TaxonomyError(f"No subtype of the taxonomy {self.name!r} has a size {size!r}.")

    def restricted_to(self, codes: frozenset[str]) -> Taxonomy:
        """Return a copy in which every code outside `codes` is marked as untrained."""
        return replace(
            self,
            subtypes=tuple(
                replace(
                    s,
                    untrained=s.untrained
                    | {size.name for size in s.sizes if s.code(size.name) not in codes},
                )
                for s in self.subtypes
            ),
        )

    def as_json(self) -> dict[str, object]:
        """Return the taxonomy as a JSON document with the structure of its TOML file."""
        sizes = {size.name: size for s in self.subtypes for size in s.sizes}
        separator = next((s.separator for s in self.subtypes if s.separator), "")
        return {
            "name": self.name,
            **({"subtypes_per_specimen": "several"} if self.several_subtypes else {}),
            **({"separator": separator} if separator else {}),
            "size": [_size_to_json(size) for size in sizes.values()],
            "subtype": [_subtype_to_json(subtype) for subtype in self.subtypes],
        }

    def without_texts(self) -> Taxonomy:
        """Return the same classes without the texts that decide nothing, titles apart."""
        return replace(
            self,
            subtypes=tuple(
                replace(
                    s,
                    sizes=tuple(replace(z, look_for=NO_WORDING, title_de="") for z in s.sizes),
                    title_de="",
                    look_for=NO_WORDING,
                    scale=NO_WORDING,
                    criterion=NO_WORDING,
                )
                for s in self.subtypes
            ),
        )


@cache
def default_taxonomy() -> Taxonomy:
    """Return the taxonomy of Durmaz et al. 2023, arXiv:2306.00797: B, G, M; sizes 5 to 9-10."""
    return _from_file(files("model").joinpath("taxonomy.toml").read_text("utf-8"))


def load_taxonomy(path: Path) -> Taxonomy:
    """Load a lab's `taxonomy.toml`.

    Raises:
        TaxonomyError: The file cannot be read, or is inconsistent; the message names the entry.
    """
    try:
        return _from_file(path.read_text("utf-8"))
    except OSError as error:
        raise TaxonomyError(f"The taxonomy {path} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TaxonomyError(f"The taxonomy {path} is not valid TOML: {error}.") from error
    except TaxonomyError as error:
        raise TaxonomyError(f"The taxonomy {path}: {error}") from error


def _from_file(text: str) -> Taxonomy:
    """Build a taxonomy from TOML text.

    Every `min` and `max` in a file was written by the lab; those in a bundle can be derived.
    """
    document = {"separator": SEPARATOR, **tomllib.loads(text)}
    require_known_keys(document)
    sizes = [
        {"stated": True, **entry} if {"min", "max"} & entry.keys() else entry
        for entry in _get_tables(document, "size")
    ]
    return taxonomy_from({**document, "size": sizes})


def taxonomy_from(document: Mapping[str, object]) -> Taxonomy:
    """Build a taxonomy from its document; the inverse of `Taxonomy.as_json`.

    Bundles of early versions store a `min` and `max` of every size that were derived from the
    digits in its name; they are ignored if the name is not a number.

    Raises:
        TaxonomyError: An entry is missing, duplicated or unknown, or two contradict each other.
    """
    sizes: dict[str, Size] = {}
    for size in map(_parse_size, _get_tables(document, "size")):
        if size.name in sizes:
            raise TaxonomyError(f"Two [[size]] are called {size.name!r}; remove or rename one.")
        sizes[size.name] = size
    subtypes = [
        _parse_subtype(entry, sizes, document) for entry in _get_tables(document, "subtype")
    ]
    if not subtypes:
        raise TaxonomyError("It names no [[subtype]]; at least one is needed.")
    lists = _size_lists(subtypes)
    falling = find_falling(lists)
    merge_lists(lists, falling)  # raises if the lists order sizes in a circle
    require_distinct("The subtypes", [subtype.name for subtype in subtypes])
    for subtype in subtypes:
        require_distinct(
            f"Subtype {subtype.name}: the sizes", [size.name for size in subtype.sizes]
        )
    taxonomy = Taxonomy(
        name=str(document.get("name", "unnamed")),
        subtypes=tuple(
            replace(subtype, falls=falls) for subtype, falls in zip(subtypes, falling, strict=True)
        ),
        several_subtypes=_several_subtypes(document),
    )
    require_distinct("The structure codes", taxonomy.codes)
    return taxonomy


def _several_subtypes(document: Mapping[str, object]) -> bool:
    said = document.get("subtypes_per_specimen", "one")
    if said not in _SPECIMENS:
        raise TaxonomyError(
            f"subtypes_per_specimen is {said!r}; write 'one', or 'several' where a specimen may "
            "have more than one."
        )
    return _SPECIMENS[str(said)]


def _size_lists(subtypes: Iterable[Subtype]) -> list[SizeList]:
    return [
        SizeList(subtype.name, tuple((size.name, size.numbers) for size in subtype.sizes))
        for subtype in subtypes
    ]


def _parse_size(entry: Mapping[str, object]) -> Size:
    name = compose_name(str(entry.get("name", "")))
    require_name("Size", name)
    from_name = parse_numbers(name)
    size = Size(
        name,
        from_name,
        str(entry.get("title", name)),
        title_de=str(entry.get("title_de", "")),
        look_for=read_wording(entry, "look_for"),
    )
    if not {"min", "max"} & entry.keys() or _is_derived(name, from_name, entry):
        return size
    lower = entry.get("min", from_name.lower if from_name else None)
    upper = entry.get("max", from_name.upper if from_name else None)
    if type(lower) is not int or type(upper) is not int or lower > upper:
        raise TaxonomyError(f"Size {name!r}: min and max must be whole numbers, min first.")
    if from_name and (from_name.lower < lower or upper < from_name.upper):
        raise TaxonomyError(
            f"Size {name!r}: its name is outside min {lower} and max {upper}; correct one of them."
        )
    numbers = Numbers(lower, upper)
    return replace(size, numbers=numbers, stated=from_name is None or from_name.whole != numbers)


def _is_derived(name: str, from_name: Numbers | None, entry: Mapping[str, object]) -> bool:
    """Return whether an early version derived min and max from the digits of a name."""
    digits = [int(number) for number in re.findall(r"\d+", name)] or [0]
    is_number = from_name is not None and from_name.whole is not None
    same = (entry.get("min"), entry.get("max")) == (min(digits), max(digits))
    return same and not is_number and not entry.get("stated")


def _size_to_json(size: Size) -> dict[str, object]:
    whole = size.numbers.whole if size.numbers else None
    bounds = {"min": whole[0], "max": whole[1]} if whole else {}
    stated = {"stated": True} if size.stated else {}
    texts = wording_as_json("title", size.titles) | wording_as_json("look_for", size.look_for)
    return {"name": size.name, "title": size.title, **texts, **bounds, **stated}


def _subtype_to_json(subtype: Subtype) -> dict[str, object]:
    names = [size.name for size in subtype.sizes]
    texts = {"title": subtype.titles} | {key: getattr(subtype, key) for key in TEXTS}
    return {
        "name": subtype.name,
        "title": subtype.title,
        **{
            k: text
            for key, wording in texts.items()
            for k, text in wording_as_json(key, wording).items()
        },
        "sizes": names,
        "untrained": [name for name in names if name in subtype.untrained],
    }


def _parse_subtype(
    entry: Mapping[str, object], sizes: Mapping[str, Size], document: Mapping[str, object]
) -> Subtype:
    """Build a subtype; texts and separator that it lacks are those of the whole document."""
    name = compose_name(str(entry.get("name", "")))
    if not name:
        raise TaxonomyError("A [[subtype]] has no name.")
    require_name("Subtype", name)
    listed, untrained = _get_names(entry, "sizes"), _get_names(entry, "untrained")
    if unknown := [size for size in listed if size not in sizes]:
        raise TaxonomyError(f"Subtype {name}: no [[size]] is called {_format_names(unknown)}.")
    if unknown := [size for size in untrained if size not in listed]:
        raise TaxonomyError(
            f"Subtype {name}: untrained names {_format_names(unknown)}, not in sizes."
        )
    separator = str(document.get("separator", ""))
    glued = any(join_code(name, size, separator) != name + size for size in listed)
    texts = {key: read_wording(entry, key, read_wording(document, key)) for key in TEXTS}
    return Subtype(
        name=name,
        title=str(entry.get("title", name)),
        sizes=tuple(sizes[size] for size in listed) or (Size("", None, ""),),
        untrained=frozenset(untrained),
        separator=separator if glued else "",
        title_de=str(entry.get("title_de", "")),
        look_for=texts["look_for"],
        scale=texts["scale"],
        criterion=texts["criterion"],
    )


def _get_tables(document: Mapping[str, object], key: str) -> list[Mapping[str, object]]:
    entries = document.get(key, [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise TaxonomyError(f"[[{key}]] must be a list of tables.")
    return entries


def _get_names(entry: Mapping[str, object], key: str) -> list[str]:
    names = entry.get(key, [])
    if not isinstance(names, list):
        raise TaxonomyError(f"Subtype {entry.get('name')}: {key} must be a list of names.")
    return [compose_name(str(name)) for name in names]


def _format_names(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names) or "none"
