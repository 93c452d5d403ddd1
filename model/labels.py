"""Name what a micrograph can be: subtypes, the sizes inside each, and the codes they make.

In:  a `taxonomy.toml`. Out: a `Taxonomy`. Next: `dataset`, `train`, `classify`.
Classes are data, not code: a lab with other steels writes another file, and the bundle keeps it.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from model.errors import TaxonomyError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

_DASHES = re.compile(r"[\u2010-\u2015\u2212/_]")


@dataclass(frozen=True, slots=True)
class Size:
    """One needle-length size number, or a merged pair of them.

    Args:
        name: As written in a structure code, such as "9-10"; "" where a subtype has no sizes.
        lower: Its smallest size number. upper: its largest; equal unless merged.
        title: What a reviewer reads.
    """

    name: str
    lower: int
    upper: int
    title: str


@dataclass(frozen=True, slots=True)
class Subtype:
    """One microstructure subtype and its sizes.

    Args:
        name: As written in a structure code, such as "G".
        title: What a reviewer reads.
        sizes: Its sizes, coarse to fine.
        untrained: Names of sizes that are known but not taught.
    """

    name: str
    title: str
    sizes: tuple[Size, ...]
    untrained: frozenset[str]

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
        if size in {known.name for known in self.subtype(subtype).sizes}:
            return subtype + size
        raise TaxonomyError(
            f"Subtype {subtype} has no size {size!r}; known are "
            f"{_listed(s.name for s in self.subtype(subtype).sizes)}."
        )

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

    def size_bounds(self, size: str) -> tuple[int, int]:
        """Say which size numbers a size covers: "9-10" gives (9, 10).

        Raises:
            TaxonomyError: No subtype has this size.
        """
        for subtype in self.subtypes:
            for known in subtype.sizes:
                if known.name == size:
                    return known.lower, known.upper
        raise TaxonomyError(f"No subtype of the taxonomy {self.name!r} has a size {size!r}.")

    def restricted_to(self, codes: frozenset[str]) -> Taxonomy:
        """Mark every code outside `codes` as untrained; nothing else changes."""
        return Taxonomy(
            name=self.name,
            subtypes=tuple(
                Subtype(
                    name=s.name,
                    title=s.title,
                    sizes=s.sizes,
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
            "size": [
                {"name": z.name, "title": z.title, "min": z.lower, "max": z.upper}
                for z in sizes.values()
            ],
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
    return taxonomy_from(tomllib.loads(files("model").joinpath("taxonomy.toml").read_text("utf-8")))


def load_taxonomy(path: Path) -> Taxonomy:
    """Read a lab's own `taxonomy.toml`.

    Raises:
        TaxonomyError: It cannot be read, or does not hold together; the message names the entry.
    """
    try:
        return taxonomy_from(tomllib.loads(path.read_text("utf-8")))
    except OSError as error:
        raise TaxonomyError(f"The taxonomy {path} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TaxonomyError(f"The taxonomy {path} is not valid TOML: {error}.") from error
    except TaxonomyError as error:
        raise TaxonomyError(f"The taxonomy {path}: {error}") from error


def taxonomy_from(document: Mapping[str, object]) -> Taxonomy:
    """Build a taxonomy from its document; the inverse of `Taxonomy.as_json`.

    Raises:
        TaxonomyError: An entry is missing, doubled or unknown.
    """
    sizes = {size.name: size for size in map(_size, _tables(document, "size"))}
    subtypes = tuple(_subtype(entry, sizes) for entry in _tables(document, "subtype"))
    if not subtypes:
        raise TaxonomyError("It names no [[subtype]]; at least one is needed.")
    taxonomy = Taxonomy(name=str(document.get("name", "unnamed")), subtypes=subtypes)
    spelled = [_normal(code) for code in taxonomy.codes]
    if doubled := sorted(
        {c for c, s in zip(taxonomy.codes, spelled, strict=True) if spelled.count(s) > 1}
    ):
        raise TaxonomyError(f"These structure codes are not unique: {', '.join(doubled)}.")
    return taxonomy


def _size(entry: Mapping[str, object]) -> Size:
    name = str(entry.get("name", ""))
    numbers = [int(number) for number in re.findall(r"\d+", name)] or [0]
    lower, upper = entry.get("min", min(numbers)), entry.get("max", max(numbers))
    if not isinstance(lower, int) or not isinstance(upper, int) or lower > upper:
        raise TaxonomyError(f"Size {name!r}: min and max must be whole numbers, min first.")
    return Size(name, lower, upper, str(entry.get("title", name)))


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
        sizes=tuple(sizes[size] for size in wanted) or (Size("", 0, 0, ""),),
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
    return "".join(_DASHES.sub("-", code).split()).casefold()


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names) or "none"
