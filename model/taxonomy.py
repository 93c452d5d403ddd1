"""Name what a micrograph can be: subtypes, the sizes inside each, and the codes they make.

In:  a `taxonomy.toml`. Out: a `Taxonomy`. Next: `dataset`, `train`, `classify`.
Classes are data, not code: a lab with other steels writes another file, and the bundle keeps it.
"""

from __future__ import annotations

import difflib
import re
import tomllib
import unicodedata
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from model.errors import TaxonomyError
from model.size_order import Numbers, SizeList, find_falling, merge_lists, parse_numbers

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

_DASHES = re.compile(r"[\u2010-\u2015\u2212/_]")


@dataclass(frozen=True, slots=True)
class Size:
    """One size, such as a needle-length number, a merged pair of them, or a name.

    Which of two sizes is finer is decided by the order of `Subtype.sizes`, never by its name.

    Args:
        name: As written in a structure code, such as "9-10"; "" where a subtype has no sizes.
        numbers: The smallest and the largest number that it stands for, or None.
        title: What a reviewer reads.
        stated: The numbers were written down as min and max, and are not those of the name.
    """

    name: str
    numbers: Numbers | None
    title: str
    stated: bool = False


@dataclass(frozen=True, slots=True)
class Subtype:
    """One microstructure subtype and its sizes.

    Args:
        name: As written in a structure code, such as "G".
        title: What a reviewer reads.
        sizes: Its sizes, coarse to fine; this order is the scale.
        untrained: Names of sizes that are known but not taught.
        falls: The numbers of its sizes fall from coarse to fine, as lengths in µm do.
    """

    name: str
    title: str
    sizes: tuple[Size, ...]
    untrained: frozenset[str]
    falls: bool = False

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
        wanted = _normal(written)
        exact = [size for size in self.sizes if size.name == written]
        alike = [size for size in self.sizes if size.name and _normal(size.name) == wanted]
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
    """

    name: str
    subtypes: tuple[Subtype, ...]

    @property
    def codes(self) -> tuple[str, ...]:
        """Every structure code, subtype by subtype, coarse to fine."""
        return tuple(s.name + size.name for s in self.subtypes for size in s.sizes)

    @property
    def trained_codes(self) -> tuple[str, ...]:
        """The structure codes that are taught, in the order of `codes`."""
        return tuple(s.name + size.name for s in self.subtypes for size in s.trained_sizes)

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
        self.subtype(subtype).rank(size)
        return subtype + size

    def parse(self, code: str) -> tuple[str, str]:
        """Split a structure code as people write it: "G9-10", "g 9–10" and "G9_10" are one code.

        Returns:
            The subtype's name and the size's name.

        Raises:
            TaxonomyError: No such code; the message names the nearest one.
        """
        parts = {s.name + z.name: (s.name, z.name) for s in self.subtypes for z in s.sizes}
        if code in parts:
            return parts[code]
        written = {_normal(known): known for known in parts}
        if (known := written.get(_normal(code))) is not None:
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
        return Taxonomy(
            name=self.name,
            subtypes=tuple(
                replace(
                    s,
                    untrained=s.untrained
                    | {size.name for size in s.sizes if s.name + size.name not in codes},
                )
                for s in self.subtypes
            ),
        )

    def as_json(self) -> dict[str, object]:
        """Give the taxonomy in the form of its file, for a bundle."""
        sizes = {size.name: size for s in self.subtypes for size in s.sizes}
        return {
            "name": self.name,
            "size": [_size_as_json(size) for size in sizes.values()],
            "subtype": [
                {
                    "name": s.name,
                    "title": s.title,
                    "sizes": [z.name for z in s.sizes],
                    "untrained": [z.name for z in s.sizes if z.name in s.untrained],
                }
                for s in self.subtypes
            ],
        }


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
    document = tomllib.loads(text)
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
    subtypes = [_subtype(entry, sizes) for entry in _tables(document, "subtype")]
    if not subtypes:
        raise TaxonomyError("It names no [[subtype]]; at least one is needed.")
    lists = _size_lists(subtypes)
    falling = find_falling(lists)
    merge_lists(lists, falling)  # refuses lists that order sizes in a circle
    taxonomy = Taxonomy(
        name=str(document.get("name", "unnamed")),
        subtypes=tuple(
            replace(one, falls=falls) for one, falls in zip(subtypes, falling, strict=True)
        ),
    )
    spelled = [_normal(code) for code in taxonomy.codes]
    if doubled := sorted(
        {c for c, s in zip(taxonomy.codes, spelled, strict=True) if spelled.count(s) > 1}
    ):
        raise TaxonomyError(f"These structure codes are not unique: {', '.join(doubled)}.")
    return taxonomy


def _size_lists(subtypes: Iterable[Subtype]) -> list[SizeList]:
    return [
        SizeList(one.name, tuple((size.name, size.numbers) for size in one.sizes))
        for one in subtypes
    ]


def _size(entry: Mapping[str, object]) -> Size:
    name = str(entry.get("name", ""))
    title, own = str(entry.get("title", name)), parse_numbers(name)
    if not {"min", "max"} & entry.keys() or _is_guessed(name, own, entry):
        return Size(name, own, title)
    lower = entry.get("min", own.lower if own else None)
    upper = entry.get("max", own.upper if own else None)
    if type(lower) is not int or type(upper) is not int or lower > upper:
        raise TaxonomyError(f"Size {name!r}: min and max must be whole numbers, min first.")
    if own and (own.lower < lower or upper < own.upper):
        raise TaxonomyError(
            f"Size {name!r}: its name is outside min {lower} and max {upper}; correct one of them."
        )
    numbers = Numbers(lower, upper)
    return Size(name, numbers, title, stated=own is None or own.whole != numbers)


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
    return {"name": size.name, "title": size.title, **bounds, **stated}


def _subtype(entry: Mapping[str, object], sizes: Mapping[str, Size]) -> Subtype:
    name = str(entry.get("name", ""))
    if not name:
        raise TaxonomyError("A [[subtype]] has no name.")
    wanted, untrained = _names(entry, "sizes"), _names(entry, "untrained")
    if unknown := [size for size in wanted if size not in sizes]:
        raise TaxonomyError(f"Subtype {name}: no [[size]] is called {_listed(unknown)}.")
    if unknown := [size for size in untrained if size not in wanted]:
        raise TaxonomyError(f"Subtype {name}: untrained names {_listed(unknown)}, not in sizes.")
    return Subtype(
        name=name,
        title=str(entry.get("title", name)),
        sizes=tuple(sizes[size] for size in wanted) or (Size("", None, ""),),
        untrained=frozenset(untrained),
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
    return [str(name) for name in names]


def _normal(code: str) -> str:
    spelled = unicodedata.normalize("NFC", _DASHES.sub("-", code))
    return "".join(spelled.split()).casefold()


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names) or "none"
