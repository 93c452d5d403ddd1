"""Name what a micrograph can be: subtypes, the sizes inside each, and the codes they make.

In:  a `taxonomy.toml`. Out: a `Taxonomy`. Next: `dataset`, `train`, `classify`.
Classes are data, not code: a lab with other steels writes another file, and the bundle keeps it.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from model.class_names import (
    SEPARATOR,
    compose_name,
    fold_name,
    join_code,
    require_distinct,
    require_name,
)
from model.errors import TaxonomyError
from model.size_order import Numbers, SizeList, find_falling, merge_lists, parse_numbers
from model.wording import (
    NO_WORDING,
    TEXTS,
    Wording,
    read_wording,
    require_known_keys,
    wording_as_json,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

_SPECIMENS = {"one": False, "several": True}
"""What `subtypes_per_specimen` may be, and whether a specimen may then have several."""


@dataclass(frozen=True, slots=True)
class Size:
    """One size, such as a needle-length number, a merged pair of them, or a name.

    Which of two sizes is finer is decided by the order of `Subtype.sizes`, never by its name.

    Args:
        name: As written in a structure code, such as "9-10"; "" where a subtype has no sizes.
        numbers: The smallest and the largest number that it stands for, or None.
        title: What a reviewer reads.
        stated: The numbers were written down as min and max, and are not those of the name.
        title_de: The same in German, "" where the lab wrote none.
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
    """One microstructure subtype and its sizes.

    Args:
        name: As written in a structure code, such as "G".
        title: What a reviewer reads.
        sizes: Its sizes, coarse to fine; this order is the scale.
        untrained: Names of sizes that are known but not taught.
        falls: The numbers of its sizes fall from coarse to fine, as lengths in µm do.
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
        """Return the place of a size in the listed order; 0 is the coarsest.

        Raises:
            TaxonomyError: The subtype has no size of that name.
        """
        for rank, known in enumerate(self.sizes):
            if known.name == size:
                return rank
        names = _listed(known.name for known in self.sizes)
        raise TaxonomyError(f"Subtype {self.name} has no size {size!r}; known are {names}.")

    def find_size(self, written: str) -> Size | None:
        """Return the size of a name as people write it, or None: "9–10" and "9 - 10" are one."""
        wanted = fold_name(written)
        exact = [size for size in self.sizes if size.name == written]
        alike = [size for size in self.sizes if size.name and fold_name(size.name) == wanted]
        return next(iter((*exact, *alike)), None)

    @property
    def trained_sizes(self) -> tuple[Size, ...]:
        """The sizes that are taught, coarse to fine."""
        return tuple(size for size in self.sizes if size.name not in self.untrained)


@dataclass(frozen=True, slots=True)
class Taxonomy:
    """Everything a micrograph can be called.

    Args:
        name: What the lab calls this set of classes.
        subtypes: In the order in which they are shown.
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
        """The structure codes that are taught, in the order of `codes`."""
        return tuple(s.code(size.name) for s in self.subtypes for size in s.trained_sizes)

    def subtype(self, name: str) -> Subtype:
        """Find a subtype by its name.

        Raises:
            TaxonomyError: There is none of that name.
        """
        for subtype in self.subtypes:
            if subtype.name == name:
                return subtype
        raise TaxonomyError(
            f"There is no subtype {name!r}; known are {_listed(s.name for s in self.subtypes)}."
        )

    def code(self, subtype: str, size: str) -> str:
        """Join a subtype and one of its sizes to a structure code.

        Raises:
            TaxonomyError: The subtype has no such size.
        """
        known = self.subtype(subtype)
        known.rank(size)
        return known.code(size)

    def parse(self, code: str) -> tuple[str, str]:
        """Split a structure code as people write it: "G9-10", "g 9–10" and "G9_10" are one code.

        Returns:
            The subtype's name and the size's name.

        Raises:
            TaxonomyError: No such code; the message names the nearest one.
        """
        parts = {s.code(z.name): (s.name, z.name) for s in self.subtypes for z in s.sizes}
        if code in parts:
            return parts[code]
        written = {fold_name("-".join(both)): known for known, both in parts.items()}
        written |= {fold_name(known): known for known in parts}  # as in "spheroidite_coarse"
        if (known := written.get(fold_name(code))) is not None:
            return parts[known]
        near = difflib.get_close_matches(code, parts, n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise TaxonomyError(
            f"{code!r} is no structure code of the taxonomy {self.name!r} "
            f"({', '.join(parts)}).{hint}"
        )

    @property
    def sizes(self) -> tuple[Size, ...]:
        """Every size once, coarse to fine, whatever the subtype."""
        known = {size.name: size for subtype in self.subtypes for size in subtype.sizes}
        lists, falling = _size_lists(self.subtypes), [s.falls for s in self.subtypes]
        return tuple(known[name] for name in merge_lists(lists, falling))

    def size_bounds(self, size: str) -> tuple[int | None, int | None]:
        """Return which whole numbers a size covers: "9-10" gives (9, 10).

        Returns:
            The smallest and the largest, both None where the size has no whole numbers.

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
        """Mark every code outside `codes` as untrained; nothing else changes."""
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
        """Give the taxonomy in the form of its file, for a bundle."""
        sizes = {size.name: size for s in self.subtypes for size in s.sizes}
        separator = next((s.separator for s in self.subtypes if s.separator), "")
        return {
            "name": self.name,
            **({"subtypes_per_specimen": "several"} if self.several_subtypes else {}),
            **({"separator": separator} if separator else {}),
            "size": [_size_as_json(size) for size in sizes.values()],
            "subtype": [_subtype_as_json(subtype) for subtype in self.subtypes],
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
    """Give the taxonomy of Durmaz et al. 2023, arXiv 2306.00797: B, G, M; sizes 5 to 9-10."""
    return _from_file(files("model").joinpath("taxonomy.toml").read_text("utf-8"))


def load_taxonomy(path: Path) -> Taxonomy:
    """Read a lab's own `taxonomy.toml`.

    Raises:
        TaxonomyError: It cannot be read, or does not hold together; the message names the entry.
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
    """Build a taxonomy from TOML, where every min and max was written by the lab."""
    document = {"separator": SEPARATOR, **tomllib.loads(text)}
    require_known_keys(document)
    sizes = [
        {"stated": True, **entry} if {"min", "max"} & entry.keys() else entry
        for entry in _tables(document, "size")
    ]
    return taxonomy_from({**document, "size": sizes})


def taxonomy_from(document: Mapping[str, object]) -> Taxonomy:
    """Build a taxonomy from its document; the inverse of `Taxonomy.as_json`.

    Bundles made before the listed order was the scale hold a min and max of every size, read out
    of the digits in its name; where the name is no number, those are left out.

    Raises:
        TaxonomyError: An entry is missing, doubled or unknown, or two contradict each other.
    """
    sizes: dict[str, Size] = {}
    for size in map(_size, _tables(document, "size")):
        if size.name in sizes:
            raise TaxonomyError(f"Two [[size]] are called {size.name!r}; remove or rename one.")
        sizes[size.name] = size
    subtypes = [_subtype(entry, sizes, document) for entry in _tables(document, "subtype")]
    if not subtypes:
        raise TaxonomyError("It names no [[subtype]]; at least one is needed.")
    lists = _size_lists(subtypes)
    falling = find_falling(lists)
    merge_lists(lists, falling)  # refuses lists that order sizes in a circle
    require_distinct("The subtypes", [one.name for one in subtypes])
    for one in subtypes:
        require_distinct(f"Subtype {one.name}: the sizes", [size.name for size in one.sizes])
    taxonomy = Taxonomy(
        name=str(document.get("name", "unnamed")),
        subtypes=tuple(
            replace(one, falls=falls) for one, falls in zip(subtypes, falling, strict=True)
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
        SizeList(one.name, tuple((size.name, size.numbers) for size in one.sizes))
        for one in subtypes
    ]


def _size(entry: Mapping[str, object]) -> Size:
    name = compose_name(str(entry.get("name", "")))
    require_name("Size", name)
    own = parse_numbers(name)
    size = Size(
        name,
        own,
        str(entry.get("title", name)),
        title_de=str(entry.get("title_de", "")),
        look_for=read_wording(entry, "look_for"),
    )
    if not {"min", "max"} & entry.keys() or _is_guessed(name, own, entry):
        return size
    lower = entry.get("min", own.lower if own else None)
    upper = entry.get("max", own.upper if own else None)
    if type(lower) is not int or type(upper) is not int or lower > upper:
        raise TaxonomyError(f"Size {name!r}: min and max must be whole numbers, min first.")
    if own and (own.lower < lower or upper < own.upper):
        raise TaxonomyError(
            f"Size {name!r}: its name is outside min {lower} and max {upper}; correct one of them."
        )
    numbers = Numbers(lower, upper)
    return replace(size, numbers=numbers, stated=own is None or own.whole != numbers)


def _is_guessed(name: str, own: Numbers | None, entry: Mapping[str, object]) -> bool:
    """Return whether an older bundle read min and max out of the digits of a name."""
    digits = [int(number) for number in re.findall(r"\d+", name)] or [0]
    is_number = own is not None and own.whole is not None
    same = (entry.get("min"), entry.get("max")) == (min(digits), max(digits))
    return same and not is_number and not entry.get("stated")


def _size_as_json(size: Size) -> dict[str, object]:
    whole = size.numbers.whole if size.numbers else None
    bounds = {"min": whole[0], "max": whole[1]} if whole else {}
    stated = {"stated": True} if size.stated else {}
    texts = wording_as_json("title", size.titles) | wording_as_json("look_for", size.look_for)
    return {"name": size.name, "title": size.title, **texts, **bounds, **stated}


def _subtype_as_json(subtype: Subtype) -> dict[str, object]:
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


def _subtype(
    entry: Mapping[str, object], sizes: Mapping[str, Size], document: Mapping[str, object]
) -> Subtype:
    """Build a subtype; texts and separator that it lacks are those of the whole document."""
    name = compose_name(str(entry.get("name", "")))
    if not name:
        raise TaxonomyError("A [[subtype]] has no name.")
    require_name("Subtype", name)
    wanted, untrained = _names(entry, "sizes"), _names(entry, "untrained")
    if unknown := [size for size in wanted if size not in sizes]:
        raise TaxonomyError(f"Subtype {name}: no [[size]] is called {_listed(unknown)}.")
    if unknown := [size for size in untrained if size not in wanted]:
        raise TaxonomyError(f"Subtype {name}: untrained names {_listed(unknown)}, not in sizes.")
    separator = str(document.get("separator", ""))
    glued = any(join_code(name, size, separator) != name + size for size in wanted)
    texts = {key: read_wording(entry, key, read_wording(document, key)) for key in TEXTS}
    return Subtype(
        name=name,
        title=str(entry.get("title", name)),
        sizes=tuple(sizes[size] for size in wanted) or (Size("", None, ""),),
        untrained=frozenset(untrained),
        separator=separator if glued else "",
        title_de=str(entry.get("title_de", "")),
        look_for=texts["look_for"],
        scale=texts["scale"],
        criterion=texts["criterion"],
    )


def _tables(document: Mapping[str, object], key: str) -> list[Mapping[str, object]]:
    entries = document.get(key, [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise TaxonomyError(f"[[{key}]] must be a list of tables.")
    return entries


def _names(entry: Mapping[str, object], key: str) -> list[str]:
    names = entry.get(key, [])
    if not isinstance(names, list):
        raise TaxonomyError(f"Subtype {entry.get('name')}: {key} must be a list of names.")
    return [compose_name(str(name)) for name in names]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names) or "none"
