"""Names and texts of classes as people write them, codes, and the order of sizes.

Names are kept in Unicode's composed form (NFC): a folder from a Mac spells "ü" as two letters.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from itertools import combinations, pairwise
from typing import NamedTuple

from model.errors import TaxonomyError

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


def find_nearest(written: str, known: Iterable[str], *, cutoff: float = 0.5) -> str | None:
    """Return the known name that is most like a misspelt one, whatever its case.

    Args:
        written: As the user wrote it.
        known: The existing names.
        cutoff: Least likeness, 0 to 1; below it the name is another one, not a slip.
    """
    by_folded = {name.casefold(): name for name in known}
    near = difflib.get_close_matches(written.casefold(), by_folded, n=1, cutoff=cutoff)
    return by_folded[near[0]] if near else None


def suggest_nearest(written: str, known: Iterable[str]) -> str:
    """Return " Did you mean G8?", the end of a message, or "" where no name is alike."""
    near = find_nearest(written, known)
    return f" Did you mean {near}?" if near else ""


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
        raise TaxonomyError(
            f"{where}unknown key {key!r}; known are {', '.join(known)}."
            f"{suggest_nearest(key, known)}"
        )


# --- order of the sizes of a taxonomy, with checks that its lists do not contradict each other ----
# The listed order, coarse to fine, is the scale. Numbers only add where a limit can lie inside a
# merged size, and how to compute a mean; therefore they must follow the list, rising or falling.


_JOINTS = re.compile(r"\s*[-\u2010-\u2015\u2212/_]\s*")
_NUMBERS = re.compile(r"\d+(?:[.,]\d+)?(?:-\d+(?:[.,]\d+)?)*")


class Numbers(NamedTuple):
    """Smallest and largest number that a size covers; equal unless sizes are merged."""

    lower: float
    upper: float

    @property
    def whole(self) -> tuple[int, int] | None:
        """Both as integers, or None if one of them is not a whole number."""
        if isinstance(self.lower, int) and isinstance(self.upper, int):
            return self.lower, self.upper
        return None

    def __str__(self) -> str:
        """Format as "7" or "9 to 10"."""
        return f"{self.lower}" if self.lower == self.upper else f"{self.lower} to {self.upper}"


@dataclass(frozen=True, slots=True)
class SizeList:
    """The sizes of one subtype, coarse to fine.

    Args:
        subtype: Its name.
        sizes: Name and numbers of each size; None for a size without numbers.
    """

    subtype: str
    sizes: tuple[tuple[str, Numbers | None], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the sizes, in their order."""
        return tuple(name for name, _ in self.sizes)

    @property
    def numbered(self) -> dict[str, Numbers]:
        """Numbers of the sizes that have them, by name, in their order."""
        return {name: numbers for name, numbers in self.sizes if numbers is not None}


def parse_numbers(name: str) -> Numbers | None:
    """Parse a name that consists of numbers only; return None for any other name.

    Args:
        name: "7", "0.5", "0,5" or a range such as "9-10". "stage 2" is not a number, and neither
            is "00", which grain-size scales distinguish from "0".

    Returns:
        Whole numbers as int, others as float.
    """
    written = _JOINTS.sub("-", name.strip())
    if not _NUMBERS.fullmatch(written):
        return None
    parts = written.split("-")
    if any(set(part) == {"0"} and len(part) > 1 for part in parts):
        return None
    numbers = [int(part) if part.isdecimal() else float(part.replace(",", ".")) for part in parts]
    return Numbers(min(numbers), max(numbers))


def find_falling(lists: Sequence[SizeList]) -> tuple[bool, ...]:
    """Check every list against its numbers and the other lists, and find its direction.

    Args:
        lists: One per subtype.

    Returns:
        Per list, whether its numbers fall from coarse to fine, as lengths in µm do. A list with
        fewer than two numbers takes the direction of the lists that share a size with it, or else
        counts as rising.

    Raises:
        TaxonomyError: Two entries contradict each other; the message names both.
    """
    for size_list in lists:
        _require_distinct(size_list)
    directions = [_is_falling(size_list) for size_list in lists]
    for first, second in combinations(lists, 2):
        _require_same_order(first, second)
    _require_one_direction(lists, directions)
    return tuple(bool(falls) for falls in directions)


def merge_lists(lists: Sequence[SizeList], falling: Sequence[bool]) -> tuple[str, ...]:
    """Return every size once, coarse to fine across all subtypes.

    If all sizes have numbers, they are sorted by number, which preserves the order of every list.
    If not, the order is a topological sort of the lists.

    Args:
        lists: One per subtype.
        falling: As `find_falling` returns it.

    Raises:
        TaxonomyError: Several lists together order sizes in a circle.
    """
    named = [size_list for size_list in lists if any(size_list.names)]
    directions = {
        falls for size_list, falls in zip(lists, falling, strict=True) if any(size_list.names)
    }
    numbers = {name: own for size_list in named for name, own in size_list.numbered.items()}
    unsized = ("",) if len(named) < len(lists) else ()
    all_numbered = all(size_list.names == tuple(size_list.numbered) for size_list in named)
    if len(directions) == 1 and all_numbered:
        sign = -1 if directions == {True} else 1
        by_number = sorted(numbers, key=lambda name: tuple(sign * n for n in numbers[name]))
        return (*unsized, *by_number)
    sorter: TopologicalSorter[str] = TopologicalSorter()
    for size_list in named:
        for name in size_list.names:
            sorter.add(name)
        for coarse, fine in pairwise(size_list.names):
            sorter.add(fine, coarse)
    try:
        return (*unsized, *sorter.static_order())
    except CycleError as error:
        circle = ", ".join(repr(name) for name in error.args[1])
        raise TaxonomyError(
            f"The sizes {circle} are listed in a circle by several subtypes; "
            "list them coarse to fine in the same order everywhere."
        ) from error


def _require_distinct(size_list: SizeList) -> None:
    for (name, own), (other, others) in combinations(size_list.sizes, 2):
        if name == other:
            raise TaxonomyError(
                f"Subtype {size_list.subtype} lists the size {name!r} twice; name each size once."
            )
        if own is None or others is None or not _overlap(own, others):
            continue
        raise TaxonomyError(
            f"Subtype {size_list.subtype}: the sizes {name!r} ({own}) and {other!r} ({others}) "
            "overlap; change their names, min or max so that each number belongs to one size."
        )


def _overlap(first: Numbers, second: Numbers) -> bool:
    """Return whether two sizes share a number; classes such as 5-10 and 10-20 may touch."""
    low, high = max(first.lower, second.lower), min(first.upper, second.upper)
    touching = low == high and first.lower < first.upper and second.lower < second.upper
    return low <= high and not touching


def _is_falling(size_list: SizeList) -> bool | None:
    """Return whether the numbers fall along the list, or None if fewer than two sizes have any."""
    first: tuple[str, str] | None = None
    falls = None
    for (coarse, own), (fine, others) in pairwise(size_list.numbered.items()):
        pair_falls = others < own
        if falls is None:
            falls, first = pair_falls, (coarse, fine)
        elif pair_falls != falls and first:
            words = ("fall", "rise") if pair_falls else ("rise", "fall")
            raise TaxonomyError(
                f"Subtype {size_list.subtype}: the numbers {words[0]} from size {coarse!r} ({own}) "
                f"to {fine!r} ({others}), but {words[1]} from {first[0]!r} to {first[1]!r}; list "
                "the sizes coarse to fine, or correct min and max."
            )
    return falls


def _require_same_order(first: SizeList, second: SizeList) -> None:
    shared = [name for name in first.names if name in second.names]
    for coarse, fine in pairwise(shared):
        if second.names.index(coarse) > second.names.index(fine):
            raise TaxonomyError(
                f"Subtype {first.subtype} lists the size {coarse!r} before {fine!r}, subtype "
                f"{second.subtype} the other way round; list both coarse to fine."
            )


def _require_one_direction(lists: Sequence[SizeList], directions: list[bool | None]) -> None:
    """Check that lists with a common numbered size all rise or all fall.

    Args:
        lists: One per subtype.
        directions: Whether each list falls; entries that are None are filled from the others.
    """
    shared = [
        (first, second, name)
        for first, second in combinations(range(len(lists)), 2)
        for name in lists[first].numbered
        if name in lists[second].numbered
    ]
    for _ in lists:  # a direction propagates by one list per round, at least
        for first, second, name in shared:
            if directions[first] is None:
                directions[first] = directions[second]
            elif directions[second] is None:
                directions[second] = directions[first]
            elif directions[first] != directions[second]:
                words = [
                    f"subtype {lists[at].subtype}, whose numbers "
                    f"{'fall' if directions[at] else 'rise'}"
                    for at in (first, second)
                ]
                raise TaxonomyError(
                    f"The size {name!r} belongs to {words[0]}, and to {words[1]} from coarse to "
                    "fine; use a [[size]] of another name for one of them."
                )
