"""Terms of the search: how texts are split, how a search text is read, how both are matched.

The same split serves both databases and both sides, so that a word is found as it was stored.
Terms with a mark are hashes of a whole value; a person cannot type one.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta

MARK = "="
LONGEST_TERM = 48
MOST_TERMS = 400
"""Terms of one micrograph; comments beyond them are not searched."""
LONGEST_TEXT = 300
"""Letters of a search text that are read."""
MOST_WORDS = 12
SHORTEST_PREFIX = 2
"""A word of fewer letters is matched whole: too many words begin with one letter."""
INDEXED_PREFIX = 4
"""Beginnings of up to so many letters are in the index; longer ones are collected from words."""
NAMED = ("order", "heat", "specimen", "code", "reviewer", "source", "microscope", "material")
"""Names before a colon, such as `order:4711`, which search a whole value of one column."""
SINCE, UNTIL = "since", "until"
"""Names before a day, or a minute such as `since:2026-11-27T13:05`, at the site."""
FACETS = ("code", "outcome", "source", "microscope", "reviewer")
"""Columns of an entry whose values a search may be narrowed to."""

_SPLIT = re.compile(r"[\W_]+")
_PIECE = re.compile(r'(?:(\w+):)?(?:"([^"]*)"|(\S+))')
_DAY = re.compile(r"(\d{4})-(\d\d)(?:-(\d\d))?")
_MINUTE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d")
_DECEMBER = 12


@dataclass(frozen=True, slots=True)
class SearchText:
    """A search text as it was read.

    Attributes:
        words: Beginnings of words that all have to be there.
        named: (name, value) pairs, such as ("order", "4711").
        first: First day, None for no limit.
        last: Last day, None for no limit.
        since: First minute, in the time of the site without a zone, None for no limit.
        until: The minute before which they were taken, None for no limit.
        is_void: A text was given and nothing of it can be searched.
    """

    words: tuple[str, ...] = ()
    named: tuple[tuple[str, str], ...] = ()
    first: date | None = None
    last: date | None = None
    is_void: bool = False
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Match:
    """What a database matches.

    Attributes:
        words: All have to be there, each as the beginning of a word.
        groups: One of each has to be there.
        whole: Words that are matched whole, as very many micrographs have them.
    """

    words: tuple[str, ...]
    groups: tuple[tuple[str, ...], ...] = ()
    whole: frozenset[str] = frozenset()

    def is_beginning(self, word: str) -> bool:
        """Return whether longer words that begin like a word match too."""
        return len(word) >= SHORTEST_PREFIX and word not in self.whole


def split_terms(text: str) -> list[str]:
    """Return the words of a text: without accents and case, split where no letter or digit is."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return [word[:LONGEST_TERM] for word in _SPLIT.split(plain.casefold()) if word]


def hash_value(name: str, value: str) -> str:
    """Return the term of a whole value of one column, such as of the order 4711."""
    key = f"{name} {' '.join(split_terms(value)) or value}"
    return MARK + hashlib.blake2s(key.encode("utf-8", "replace"), digest_size=6).hexdigest()


def hash_site(site_id: int) -> str:
    """Return the term that every entry of a site has."""
    return f"{MARK}s{site_id}"


def join_terms(site_id: int, texts: Iterable[str], named: Mapping[str, Iterable[str]]) -> str:
    """Return what is stored of a micrograph: its words and the terms of its whole values.

    Args:
        site_id: Of the micrograph.
        texts: Names, values and comments.
        named: Name → values, of `NAMED` and `FACETS`.
    """
    whole = (hash_value(name, value) for name, values in named.items() for value in values if value)
    terms = dict.fromkeys((hash_site(site_id), *whole))
    for word in _iter_words(texts):
        if len(terms) >= MOST_TERMS:
            break
        terms[word] = None
    return " ".join(terms)


def _iter_words(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        yield from split_terms(text)


def parse_search(text: str) -> SearchText:
    """Read what a person typed: words, `name:value`, "a quoted text", days, months and ranges."""
    words: dict[str, None] = {}
    named: list[tuple[str, str]] = []
    first: date | None = None
    last: date | None = None
    minutes: dict[str, datetime] = {}
    for name, quoted, bare in _PIECE.findall(text[:LONGEST_TEXT]):
        value = quoted or bare
        if name.casefold() in NAMED and value:
            named.append((name.casefold(), value))
        elif name.casefold() in {SINCE, UNTIL} and (minute := _parse_minute(bare)):
            minutes[name.casefold()] = minute
        elif name.casefold() in {SINCE, UNTIL} and (days := _parse_days(bare)):
            if name.casefold() == SINCE:
                first = max(days[0], first) if first else days[0]
            else:
                last = min(days[1], last) if last else days[1]
        elif not name and (days := _parse_days(bare)):
            first = max(days[0], first) if first else days[0]
            last = min(days[1], last) if last else days[1]
        else:
            words |= dict.fromkeys(split_terms(f"{name} {value}"))
    kept = tuple(words)[:MOST_WORDS]
    is_void = bool(text.strip()) and not (kept or named or first or last or minutes)
    return SearchText(
        kept,
        tuple(named[:MOST_WORDS]),
        first,
        last,
        is_void,
        since=minutes.get(SINCE),
        until=minutes.get(UNTIL),
    )


def _parse_minute(text: str) -> datetime | None:
    """Return the minute "2026-11-27T13:05", None for another text."""
    try:
        return datetime.fromisoformat(text) if _MINUTE.fullmatch(text) else None
    except ValueError:
        return None


def _parse_days(text: str) -> tuple[date, date] | None:
    """Return the first and the last day of "2026-11" or "2026-11-27", None for another text."""
    match = _DAY.fullmatch(text)
    if match is None:
        return None
    try:
        if match[3]:
            day = date.fromisoformat(text)
            return day, day
        year, month = int(match[1]), int(match[2])
        first = date(year, month, 1)
        after = date(year + month // _DECEMBER, month % _DECEMBER + 1, 1)
    except ValueError:
        return None
    return first, after - timedelta(days=1)


def build_match(
    site_id: int, found: SearchText, chosen: Mapping[str, Iterable[str]] | None
) -> Match:
    """Return what to match in the entries of a site.

    Args:
        site_id: Of the site.
        found: The search text.
        chosen: Facet → values, one of which an entry has to have.
    """
    groups: list[tuple[str, ...]] = [(hash_site(site_id),)]
    groups += [(hash_value(name, value),) for name, value in found.named]
    for name, values in (chosen or {}).items():
        if terms := tuple(hash_value(name, value) for value in values):
            groups.append(terms)
    return Match(found.words, tuple(groups))


def format_fts5(match: Match) -> str:
    """Return a match in the language of SQLite's FTS5; terms have no character that it reads."""
    words = [f'"{word}"{" *" if match.is_beginning(word) else ""}' for word in match.words]
    return " AND ".join([*(_join(group, '"', " OR ") for group in match.groups), *words])


def format_tsquery(match: Match) -> str:
    """Return a match in the language of PostgreSQL's `tsquery`."""
    words = [f"'{word}'{':*' if match.is_beginning(word) else ''}" for word in match.words]
    return " & ".join([*(_join(group, "'", " | ") for group in match.groups), *words])


def _join(terms: Iterable[str], quote: str, between: str) -> str:
    return f"({between.join(f'{quote}{term}{quote}' for term in terms)})"
