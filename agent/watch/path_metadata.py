"""Derive process data and scale of a micrograph from its source and path, before it is opened."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from types import MappingProxyType

from agent.settings import objective_key


@dataclass(frozen=True, slots=True)
class Calibration:
    """One calibrated objective: an independent scale.

    Args:
        name: As in the process data, such as "50x".
        um_per_px: µm per pixel, measured with a stage micrometer.
        width: Image width in pixels for which it is valid, or None for any.
        height: Image height in pixels for which it is valid, or None for any.
        valid_from: First day of validity, or None.
    """

    name: str
    um_per_px: float
    width: int | None = None
    height: int | None = None
    valid_from: date | None = None


@dataclass(frozen=True, slots=True)
class Provenance:
    """Data common to all files of one source.

    Args:
        fixed: Process data of every file.
        pattern: Regular expression with named groups, searched in the relative path, or "".
        objectives: The table of calibrated objectives.
    """

    fixed: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    pattern: str = ""
    objectives: tuple[Calibration, ...] = ()

    def process_data(self, relative: str) -> dict[str, str]:
        """Return the process data of one file; the path overrides the fixed values."""
        return self._read(self._search(relative))

    def named_places(self, relative: str) -> Iterator[dict[str, str]]:
        """Yield the matches of the pattern in the path, and in the file name where they differ.

        The pattern is searched, so a folder that resembles a name matches first, and a match may
        begin or end within a number: then the whole number is a place too.

        Args:
            relative: The path below the source.
        """
        path = relative.replace("\\", "/")
        match = self._search(path)
        whole, uncut = self._read(match), _find_uncut(match) if match else {}
        name = self._read(self._search(path.rpartition("/")[2]))
        yield whole
        if name and any(whole.get(key, value) != value for key, value in name.items()):
            yield name
        if uncut:
            yield {**whole, **uncut}

    def whole_places(self, relative: str) -> Iterator[dict[str, str]]:
        """Yield the places of a path by the longer words that the order may have been cut out of.

        A pattern that is not anchored finds 4711 in "A4711" and 11 in "47 11". Many labs put a word
        or a date before the number, so such a word counts only where it is the number of an order.

        Args:
            relative: The path below the source.
        """
        path = relative.replace("\\", "/")
        for text in dict.fromkeys((path, path.rpartition("/")[2])):
            match = self._search(text)
            for number in _iter_whole(match) if match else ():
                yield {**self._read(match), "order": number}

    def _search(self, text: str) -> re.Match[str] | None:
        return re.search(self.pattern, text) if self.pattern else None

    def _read(self, match: re.Match[str] | None) -> dict[str, str]:
        groups = {k: v.strip() for k, v in match.groupdict().items() if v} if match else {}
        return {**self.fixed, **groups}

    def um_per_px(
        self,
        process_data: Mapping[str, str],
        *,
        on: date,
        size: tuple[int, int] | None = None,
    ) -> float | None:
        """Return the scale in the table of objectives, or None where missing or ambiguous.

        Args:
            process_data: Its `objective`, else its `magnification`, names the entry.
            on: The day; the newest entry valid on it counts.
            size: (width, height) of the image in pixels, or None if unknown.
        """
        entries = list(self._matching(process_data, on, size))
        newest = max(
            (entry.valid_from.toordinal() if entry.valid_from else 0 for entry in entries),
            default=0,
        )
        scales = {
            entry.um_per_px
            for entry in entries
            if (entry.valid_from.toordinal() if entry.valid_from else 0) == newest
        }
        return scales.pop() if len(scales) == 1 else None

    def _matching(
        self, process_data: Mapping[str, str], on: date, size: tuple[int, int] | None
    ) -> Iterator[Calibration]:
        name = objective_key(
            process_data.get("objective") or process_data.get("magnification") or ""
        )
        for entry in self.objectives:
            fits = size is None or (
                entry.width in (None, size[0]) and entry.height in (None, size[1])
            )
            begun = entry.valid_from is None or entry.valid_from <= on
            if name and objective_key(entry.name) == name and fits and begun:
                yield entry


def _iter_whole(match: re.Match[str]) -> Iterator[str]:
    """Yield the texts around the group of the order, from a word's begin to a word's end."""
    first, last = match.span("order") if "order" in match.groupdict() else (-1, -1)
    if first < 0:
        return
    text, others = match.string, [match.span(name) for name in match.groupdict() if name != "order"]
    begin = max(text.rfind("/", 0, first) + 1, *(end for _at, end in others if end <= first), 0)
    file_end = max(text.rfind("."), last) if "/" not in text[last:] else text.index("/", last)
    end = min([file_end, *(at for at, _end in others if at >= last)])
    words = [word.span() for word in _WORD.finditer(text, begin, end)]
    starts = [at for at, _end in words if at < first][-_MOST_WORDS:]
    ends = [at for _begin, at in words if at > last][:_MOST_WORDS]
    for start in (first, *starts):
        for stop in (last, *ends):
            if (start, stop) != (first, last):
                yield text[start:stop]


_WORD = re.compile(r"[^\W_]+")
_MOST_WORDS = 4
_INVISIBLE = frozenset({"Cc", "Cf", "Cn"})
"""Unicode categories of what no one sees in a name, so that a number goes on behind it."""
_FILLERS = frozenset(
    "\u034f\u115f\u1160\u2007\u2009\u200a\u202f\u2800\u3164\uffa0"
    "\ufe00\ufe01\ufe02\ufe03\ufe04\ufe05\ufe06\ufe07\ufe08\ufe09\ufe0a\ufe0b\ufe0c\ufe0d\ufe0e\ufe0f"
)
"""Fillers, variation selectors, and the narrow blanks that group the digits of one number."""


def _find_uncut(match: re.Match[str]) -> dict[str, str]:
    """Return the groups at an end of a match that go on beyond it, as the whole number.

    A digit next to a digit belongs to its number; so does what is behind an invisible character.
    A letter or a blank does not: many labs put a word or a date before the number.
    """
    (start, end), text = match.span(), match.string
    before, after = text[:start][::-1], text[end:]
    if not any(map(_may_go_on, (before[:1], after[:1]))):
        return {}
    uncut: dict[str, str] = {}
    for name, value in match.groupdict().items():
        if not value:
            continue
        first, last = match.span(name)
        longer = _trace(before, value[0])[::-1] if first == start else ""
        longer += value
        longer += _trace(after, value[-1]) if last == end else ""
        if longer != value:
            uncut[name] = longer
    return uncut


def _trace(text: str, edge: str) -> str:
    """Return the letters and digits at the beginning of a text that go on from an edge."""
    run, is_hidden = "", False
    for letter in text:
        if _is_invisible(letter):
            is_hidden = True
        elif (letter.isdigit() and edge.isdigit()) or (letter.isalnum() and is_hidden):
            run += letter
        else:
            break
    return run


def _may_go_on(character: str) -> bool:
    return character.isdigit() or (character != "" and _is_invisible(character))


def _is_invisible(character: str) -> bool:
    return character in _FILLERS or unicodedata.category(character) in _INVISIBLE


_BETWEEN = re.compile(r"([_\-. /]+)")
_MAGNIFIED = re.compile(r"\d+(?:,\d+)?[x×]", re.IGNORECASE)
_DATE = re.compile(r"(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])")
_COUNTED = re.compile(r"([^\d]*)\d+")
_MAGNIFICATIONS = frozenset("25 50 100 200 250 400 500 630 800 1000 1500 2000 2500 5000".split())  # noqa: SIM905
_LEAST_NAMES, _MOST_MAGNIFICATIONS = 3, 6
_LEAST_SHARE = 0.6
"""Share of the names that must be built alike, or no pattern is proposed."""
_ORDER = re.compile(r".*\d{4}")
"""An order number has at least four digits; a shorter first part numbers specimens."""
_ORDER_NUMBER = re.compile(r"(?!(?:19|20)\d\d$)\d{4,7}")
"""The order of each file so far: neither a year nor a day."""
_NUMBER = re.compile(r"\d{1,3}")


def propose_pattern(names: Sequence[str]) -> str:
    """Return a pattern for `Provenance` that reads most of these file names, "" for none.

    A guess: what varies is named in the order that labs write it, order, specimen and field; a
    magnification is recognised by its value.

    Args:
        names: File names with their extension; with folders where these give process data.
    """
    parts = [_BETWEEN.split(name.rpartition(".")[0] or name) for name in names]
    built = Counter(tuple(part[1::2]) for part in parts)
    if not built:
        return ""
    between, count = built.most_common(1)[0]
    if count < max(_LEAST_NAMES, _LEAST_SHARE * len(names)):
        return ""
    columns = list(zip(*(part[::2] for part in parts if tuple(part[1::2]) == between), strict=True))
    titles = _name_columns(columns)
    if not titles:
        return ""
    texts = [_write_column(values, titles.get(at, "")) for at, values in enumerate(columns)]
    joined = "".join(text + re.escape(gap) for text, gap in zip(texts, (*between, ""), strict=True))
    return rf"(?:^|/){joined}\.[^./]+$"


def _name_columns(columns: Sequence[Sequence[str]]) -> dict[int, str]:
    """Return the process data that each column gives; a column that has none is left out."""
    titles: dict[int, str] = {}
    varied: list[int] = []
    for at, values in enumerate(columns):
        distinct = set(values)
        if all(map(_MAGNIFIED.fullmatch, distinct)) or (
            1 < len(distinct) <= _MOST_MAGNIFICATIONS and distinct <= _MAGNIFICATIONS
        ):
            titles[at] = "magnification"
        elif len(distinct) > 1 and not all(map(_DATE.fullmatch, distinct)):
            varied.append(at)
    if varied and not any(map(str.isdecimal, "".join(columns[varied[-1]]))):
        varied.pop()  # words, such as a remark
    varied = sorted({*varied, *_find_steady(columns, varied)})
    if len(varied) == 1:
        titles[varied[0]] = "field"
    elif varied:
        has_order = len(varied) > 2 or all(map(_ORDER.match, columns[varied[0]]))  # noqa: PLR2004
        first = ("order", "specimen") if has_order and len(varied) > 2 else ("order",)  # noqa: PLR2004
        titles |= dict(zip(varied, first if has_order else ("specimen",), strict=False))
        titles[varied[-1]] = "field"
    return titles


def _find_steady(columns: Sequence[Sequence[str]], varied: Sequence[int]) -> Iterator[int]:
    """Yield the columns of order and specimen where all files so far are of one."""
    if not varied:
        return
    order = next((at for at in range(varied[0]) if _is_steady(columns[at], _ORDER_NUMBER)), None)
    if all(map(_ORDER.match, columns[varied[0]])):
        order = varied[0]
    elif order is not None:
        yield order
    if order is not None and len({order, *varied}) == 2:  # noqa: PLR2004 - order and field
        between = range(order + 1, varied[-1])
        yield from [at for at in between if _is_steady(columns[at], _NUMBER)][:1]


def _is_steady(values: Sequence[str], pattern: re.Pattern[str]) -> bool:
    return len(set(values)) == 1 and pattern.fullmatch(values[0]) is not None


def _write_column(values: Sequence[str], title: str) -> str:
    """Return the part of a pattern that matches a column, in a group of its title if it has one."""
    distinct = set(values)
    if len(distinct) == 1 and not title:
        return r"\d+" if values[0].isdecimal() else re.escape(values[0])
    counted = [_COUNTED.fullmatch(value) for value in distinct]
    heads = {match[1] for match in counted if match}
    if title == "magnification":
        head, kind = "", r"\d+(?:,\d+)?[x×X]?"
    elif all(counted) and len(heads) == 1:
        head, kind = re.escape(heads.pop()), r"\d+"
    else:
        head, kind = "", r"[^_\-. /]+"
    if title == "field":
        return f"{head}(?P<{title}>{kind})"  # "image12" is field 12, "Q1" is specimen Q1
    return f"(?P<{title}>{head}{kind})" if title else f"{head}{kind}"
