"""Search over every micrograph of a site, with counts of what the hits have in common.

Pages go on from the number of the last hit, so a later page costs what the first one does. Counts
are of the newest hits, at most `MOST_COUNTED`; one more is read, so that a cut is known.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import (
    Integer,
    Text,
    and_,
    case,
    cast,
    func,
    literal,
    literal_column,
    text,
    type_coerce,
    union_all,
)
from sqlalchemy import select as select_columns
from sqlalchemy import table as sql_table
from sqlmodel import Session, col

from agent.store.engine import Repository, is_sqlite, reading
from agent.store.results.micrograph_views import (
    MicrographView,
    is_current,
    of_micrographs,
    select_results,
    to_views,
)
from agent.store.search.search_terms import (
    FACETS,
    INDEXED_PREFIX,
    Match,
    SearchText,
    build_match,
    format_fts5,
    format_tsquery,
    hash_site,
    parse_search,
)
from agent.store.search.search_updates import WORDS
from agent.store.tables import MicrographRow, ResultRow, SearchEntry
from agent.store.work.file_states import chunks

MOST_COUNTED = 10_000
SAMPLED, DENSE = 2000, 0.05
"""Rows that are looked at first on PostgreSQL, and the share of hits from which it walks."""
PLANNER = ("enable_bitmapscan", "enable_seqscan", "enable_sort", "jit")
"""What `_plan_postgresql` sets."""
NEWEST = "newest"
"""Rows of the counts that are the newest hits."""
SORTS = (NEWEST, "oldest", "code", "unusual", "uncertain")
"""Sequences of the hits: by time, by code, the most unusual or the least certain answer first."""
OLDEST = SORTS[1]
MONTH = "month"
"""A facet that is no column: of the day in the site's time zone."""


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """What is searched for.

    Args:
        text: As typed.
        chosen: Facet → values, one of which a hit has to have.
        zone: Time zone of the site, in which days and months are read.
        sort: One of `SORTS`; but for those by time, the newest `MOST_COUNTED` hits are sorted.
    """

    text: str = ""
    chosen: Mapping[str, Sequence[str]] = field(default_factory=dict)
    zone: str = "UTC"
    sort: str = NEWEST


@dataclass(frozen=True, slots=True)
class SearchPage:
    """A page of hits, newest first unless another sequence is asked for.

    Args:
        micrographs: Those of this page.
        count: How many there are in all, at most `MOST_COUNTED`.
        is_cut: There are more than `count`.
        facets: Facet → value → how many of the newest `count` hits have it, most frequent first.
        next_before: With which the next page goes on; None: this is the last one.
    """

    micrographs: tuple[MicrographView, ...]
    count: int
    is_cut: bool
    facets: Mapping[str, Mapping[str, int]]
    next_before: int | None


class Search(Repository):
    """Repository of the search."""

    def find_page(
        self, query: SearchQuery, *, limit: int = 60, before: int | None = None
    ) -> SearchPage:
        """Return a page of hits with the counts of all of them.

        Args:
            query: What is searched for.
            limit: Micrographs of a page.
            before: `next_before` of the page before, None for the first page.
        """
        with reading(self._engine) as session:
            found = self._select(session, query)
            if found is None:
                return SearchPage((), 0, is_cut=False, facets={}, next_before=None)
            wanted, key = found
            newest_first = wanted.order_by(key.desc())
            hits, count, facets = self._count(session, newest_first, query.zone, newest=limit + 1)
            following = hits[limit - 1] if len(hits) > limit else None
            if query.sort == OLDEST:
                later = wanted if before is None else wanted.where(self._number() > before)
                hits = _list_numbers(session, later.order_by(key.asc()), limit + 1)
                following = hits[limit - 1] if len(hits) > limit else None
            elif query.sort != NEWEST:
                start = before or 0
                hits = _sort_hits(session, newest_first, query.sort)[start : start + limit + 1]
                following = start + limit if len(hits) > limit else None
            elif before is not None:
                later = newest_first.where(self._number() < before)
                hits = _list_numbers(session, later, limit + 1)
                following = hits[limit - 1] if len(hits) > limit else None
            self._reset_plan(session)
            return SearchPage(
                _load(session, hits[:limit]),
                min(count, MOST_COUNTED),
                is_cut=count > MOST_COUNTED,
                facets=facets,
                next_before=following,
            )

    def list_hits(self, query: SearchQuery, *, most: int) -> list[str] | None:
        """Return the public ids of all hits, the newest first; None where there are more."""
        with reading(self._engine) as session:
            found = self._select(session, query)
            if found is None:
                return []
            wanted, key = found
            hits = _list_numbers(session, wanted.order_by(key.desc()), most + 1)
            self._reset_plan(session)
            return None if len(hits) > most else _list_ids(session, hits)

    def iter_tables(self, public_ids: Sequence[str]) -> Iterator[list[MicrographView]]:
        """Yield these micrographs in batches; no transaction stays open.

        Their views lack the columns of `LEFT_OUT`, which are most of the cost of thousands.
        """
        for batch in chunks(public_ids):
            yield self._list(batch, is_lean=True)

    def list_micrographs(self, public_ids: Sequence[str]) -> list[MicrographView]:
        """Return the micrographs of these public ids that are here, in their sequence."""
        return self._list(public_ids, is_lean=False)

    def _list(self, public_ids: Sequence[str], *, is_lean: bool) -> list[MicrographView]:
        which = and_(is_current(), col(MicrographRow.public_id).in_(public_ids))
        with reading(self._engine) as session:
            rows = session.execute(select_results(which, is_lean=is_lean)).all()
            views = {view.id: view for view in to_views(session, rows)}
        return [views[public_id] for public_id in dict.fromkeys(public_ids) if public_id in views]

    def list_without_code(self, public_ids: Sequence[str]) -> list[str]:
        """Return those of these micrographs of which the search finds no code.

        Every micrograph whose answer is hidden is one of them.
        """
        query = (
            select_columns(col(MicrographRow.public_id))
            .join(
                SearchEntry, col(SearchEntry.micrograph_id) == col(MicrographRow.id), isouter=True
            )
            .where(
                col(MicrographRow.public_id).in_(list(public_ids)),
                func.coalesce(col(SearchEntry.code), "") == "",
            )
        )
        with reading(self._engine) as session:
            return list(session.execute(query).scalars())

    def list_facets(self, *, limit: int) -> Sequence[Any]:
        """Return what the map and the archive colour the newest micrographs by, newest first.

        Each row has a `public_id` and those columns of its `SearchEntry`.
        """
        query = (
            select_columns(
                col(MicrographRow.public_id),
                col(SearchEntry.taken_at),
                col(SearchEntry.source),
                col(SearchEntry.microscope),
                col(SearchEntry.reviewer),
                col(SearchEntry.code),
                col(SearchEntry.outcome),
            )
            .join(MicrographRow, col(MicrographRow.id) == col(SearchEntry.micrograph_id))
            .where(col(SearchEntry.site_id) == self._whose.site_id)
            .order_by(col(SearchEntry.micrograph_id).desc())
            .limit(limit)
        )
        with reading(self._engine) as session:
            return session.execute(query).all()

    @property
    def _is_sqlite(self) -> bool:
        return is_sqlite(self._engine)

    def _number(self) -> Any:
        """Return the column of the text search that numbers its rows."""
        name = "rowid" if self._is_sqlite else "micrograph_id"
        return literal_column(f"{WORDS}.{name}", Integer)

    def _select(self, session: Session, query: SearchQuery) -> Any:
        """Return the statement of all hits and what numbers them, or None where there are none."""
        found = parse_search(query.text)
        instants = _find_instants(found, query.chosen.get(MONTH, ()), query.zone)
        chosen = {
            name: [value for value in values if _is_storable(value)]
            for name, values in query.chosen.items()
            if name in FACETS and values
        }
        if found.is_void or instants is None or not all(chosen.values()):
            return None
        match = build_match(self._whose.site_id, found, chosen)
        number = self._number()
        wanted = (
            select_columns(
                col(SearchEntry.micrograph_id),
                col(SearchEntry.taken_at),
                *(getattr(SearchEntry, name) for name in FACETS),
            )
            .select_from(sql_table(WORDS))
            .join(SearchEntry, col(SearchEntry.micrograph_id) == number)
            .where(col(SearchEntry.site_id) == self._whose.site_id)
        )
        for name, values in chosen.items():  # a term is a hash, and this is exact
            wanted = wanted.where(col(getattr(SearchEntry, name)).in_(values))
        since, until = instants
        if since is not None and until is not None:
            ends = self._find_ends(session, since, until)
            if ends is None:
                return None
            taken_at = col(SearchEntry.taken_at)
            wanted = wanted.where(number.between(*ends), taken_at >= since, taken_at < until)
        if self._is_sqlite:
            match = self._keep_common_whole(session, match)
            return wanted.where(self._build_condition(match)), number
        in_order = since is not None or self._plan_postgresql(session, match)
        return wanted.where(self._build_condition(match)), number if in_order else number + 0

    def _plan_postgresql(self, session: Session, match: Match) -> bool:
        """Return whether to walk from the newest row on, instead of collecting hits by the index.

        PostgreSQL cannot know how many words begin with a text, and either way takes seconds where
        it suits the other one. So some rows, evenly spread, are looked at first; `+ 0` in the
        order then keeps it from walking. What is set here ends with `_reset_plan`.
        """
        numbers = text(f"SELECT min(micrograph_id), max(micrograph_id) FROM {WORDS}")  # noqa: S608 - names of ours
        first, last = session.execute(numbers).one()
        if first is None:
            return True
        step = max(1, (last - first) // SAMPLED)
        sample = list(range(first, last + 1, step))
        _set_plan(session, jit="off", enable_bitmapscan="off")
        among = select_columns(func.count()).select_from(sql_table(WORDS))
        # One array: two thousand parameters take longer to send than to find.
        is_sampled = text(f"{WORDS}.micrograph_id = ANY(:sample)").bindparams(sample=sample)
        among = among.where(is_sampled, self._build_condition(match))
        share = session.execute(among).scalar_one() / len(sample)
        if share >= DENSE:
            _set_plan(session, enable_seqscan="off", enable_sort="off")
            return True
        _set_plan(session, enable_seqscan="off", enable_bitmapscan="on")
        return False

    def _reset_plan(self, session: Session) -> None:
        """Reset PostgreSQL's settings: the plan of the text search reads other tables whole."""
        if not self._is_sqlite:
            _set_plan(session, **dict.fromkeys(PLANNER))

    def _build_condition(self, match: Match) -> Any:
        if self._is_sqlite:
            return text(f"{WORDS} MATCH :match").bindparams(match=format_fts5(match))
        # A literal, as a plan that PostgreSQL keeps for any text would suit none of them.
        quoted = format_tsquery(match).replace("'", "''")
        return text(f"{WORDS}.vector @@ '{quoted}'::tsquery".replace(":", r"\:"))

    def _keep_common_whole(self, session: Session, match: Match) -> Match:
        """Match a word whole that more micrographs have than are counted.

        SQLite collects every word that begins with a text before the first hit is found; for such
        a word that would be a large part of the table.
        """
        long = [word for word in match.words if len(word) > INDEXED_PREFIX]
        common = {word for word in long if self._is_common(session, word)}
        return replace(match, whole=frozenset(common))

    def _is_common(self, session: Session, word: str) -> bool:
        alone = Match((word,), ((hash_site(self._whose.site_id),),), frozenset({word}))
        number = self._number()
        hits = (
            select_columns(number.label("number"))
            .select_from(sql_table(WORDS))
            .where(self._build_condition(alone))
            .order_by(number.desc())
            .limit(MOST_COUNTED + 1)
            .subquery()
        )
        n: int = session.execute(select_columns(func.count()).select_from(hits)).scalar_one()
        return n > MOST_COUNTED

    def _count(
        self, session: Session, wanted: Any, zone: str, *, newest: int
    ) -> tuple[list[int], int, dict[str, dict[str, int]]]:
        """Return the newest hits, how many there are, and facet → value → hits, in one statement.

        Finding the hits takes longer than counting them, so it is done once.
        """
        hits = wanted.limit(MOST_COUNTED + 1).cte("hits")
        taken_at = hits.c.taken_at
        stamp = (
            type_coerce(taken_at, Text)
            if self._is_sqlite
            else func.to_char(func.timezone("UTC", taken_at), "YYYY-MM-DD HH24")
        )
        # A day of the middle is of its month in every time zone, so its hour need not be known.
        is_middle = func.substr(stamp, 9, 2).between("02", "27")
        hour = case((is_middle, func.substr(stamp, 1, 7)), else_=func.substr(stamp, 1, 13))
        counted = [(name, hits.c[name]) for name in FACETS] + [(MONTH, hour)]
        number = hits.c.micrograph_id
        first = select_columns(number).order_by(number.desc()).limit(newest).subquery()
        rows = session.execute(
            union_all(
                select_columns(
                    literal(NEWEST).label("facet"),
                    cast(first.c.micrograph_id, Text).label("value"),
                    literal(1).label("n"),
                ),
                *(
                    select_columns(
                        literal(name).label("facet"), value.label("value"), func.count().label("n")
                    )
                    .select_from(hits)
                    .group_by(value)
                    for name, value in counted
                ),
            )
        ).all()
        found: dict[str, Counter[str]] = {name: Counter() for name, _ in counted}
        for row in rows:
            if row.facet == NEWEST:
                continue
            value = _find_month(row.value, zone) if row.facet == MONTH else row.value
            found[row.facet][value] += row.n
        count = found[MONTH].total()
        shown = {
            name: {value: n for value, n in found[name].most_common() if value} for name in FACETS
        }
        shown[MONTH] = dict(sorted(found[MONTH].items(), reverse=True))
        numbers = sorted((int(row.value) for row in rows if row.facet == NEWEST), reverse=True)
        return numbers, count, shown

    def _find_ends(self, session: Session, since: datetime, until: datetime) -> Any:
        """Return the first and last number of a time, which the text search skips to, or None."""
        # Added to 0, as PostgreSQL would walk the primary key from both ends to the time.
        own = col(SearchEntry.micrograph_id)
        numbers = own if self._is_sqlite else own + 0
        query = select_columns(func.min(numbers), func.max(numbers)).where(
            col(SearchEntry.site_id) == self._whose.site_id,
            col(SearchEntry.taken_at) >= since,
            col(SearchEntry.taken_at) < until,
        )
        first, last = session.execute(query).one()
        return None if first is None else (first, last)


def _list_numbers(session: Session, wanted: Any, most: int) -> list[int]:
    number = wanted.with_only_columns(col(SearchEntry.micrograph_id)).limit(most)
    return list(session.execute(number).scalars())


def _list_ids(session: Session, numbers: Sequence[int]) -> list[str]:
    ids: dict[int | None, str] = {}
    for batch in chunks(numbers):
        query = select_columns(col(MicrographRow.id), col(MicrographRow.public_id))
        ids |= dict(session.execute(query.where(col(MicrographRow.id).in_(batch))).all())
    return [ids[number] for number in numbers if number in ids]


def _sort_hits(session: Session, newest_first: Any, sort: str) -> list[int]:
    """Return the newest hits by their codes, or by the answer; hidden and missing ones last."""
    hits = newest_first.limit(MOST_COUNTED).cte("hits")
    number, code = hits.c.micrograph_id, hits.c.code
    value = {"code": code, "unusual": col(ResultRow.p_value)}.get(sort, col(ResultRow.probability))
    query = (
        select_columns(number, case((code != "", value)).label("value"))
        .outerjoin(ResultRow, and_(col(ResultRow.micrograph_id) == number, is_current()))
        .select_from(hits)
        .order_by(number.desc())
    )
    rows = session.execute(query).all()
    key = _split_digits if sort == "code" else float
    known = sorted((row for row in rows if row.value is not None), key=lambda row: key(row.value))
    return [row.micrograph_id for row in (*known, *(row for row in rows if row.value is None))]


def _split_digits(code: str) -> list[tuple[int, str]]:
    """Return the key by which "G10" comes after "G9"."""
    return [(int(part or 0), "") if part.isdecimal() else (0, part) for part in _DIGITS.split(code)]


_DIGITS = re.compile(r"(\d+)")


def _set_plan(session: Session, **settings: str | None) -> None:
    """Set the planner of PostgreSQL for this transaction in one round trip; None: as it was."""
    values = {name: f"'{value}'" if value else "NULL" for name, value in settings.items()}
    calls = ", ".join(f"set_config('{name}', {value}, true)" for name, value in values.items())
    session.execute(text(f"SELECT {calls}"))


def _is_storable(value: str) -> bool:
    """Return whether a database can hold a text at all: no half of a letter pair, and no NUL."""
    return "\0" not in value and value.encode("utf-8", "ignore").decode() == value


def _load(session: Session, numbers: Sequence[int]) -> tuple[MicrographView, ...]:
    views = {row.m_id: view for row, view in of_micrographs(session, numbers)}
    return tuple(views[number] for number in numbers if number in views)


BEFORE_ALL, AFTER_ALL = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)


def _find_instants(
    found: SearchText, months: Sequence[str], zone: str
) -> tuple[datetime | None, datetime | None] | None:
    """Return the beginning and the end of the days that are searched, or None for no day.

    Of several months the time from the first to the last is taken.
    """
    days = [parse_search(month) for month in months]
    firsts = [day.first for day in days if day.first]
    lasts = [day.last for day in days if day.last]
    first = max(filter(None, [found.first, min(firsts, default=None)]), default=None)
    last = min(filter(None, [found.last, max(lasts, default=None)]), default=None)
    sinces = [_begin(first, zone)] if first else []
    untils = [_begin(last, zone, days=1)] if last else []
    sinces += [_localize(found.since, zone)] if found.since else []
    untils += [_localize(found.until, zone)] if found.until else []
    if not (sinces or untils):
        return (None, None)
    since, until = max(sinces, default=BEFORE_ALL), min(untils, default=AFTER_ALL)
    return (since, until) if since < until else None


def _localize(minute: datetime, zone: str) -> datetime:
    try:
        return minute.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    except OverflowError:  # the first and the last day of the calendar
        return BEFORE_ALL if minute.year < BEFORE_ALL.year else AFTER_ALL


def _begin(day: date, zone: str, *, days: int = 0) -> datetime:
    try:
        begun = datetime.combine(day + timedelta(days=days), time.min, ZoneInfo(zone))
        return begun.astimezone(UTC)
    except OverflowError:  # the first and the last day of the calendar
        return datetime(day.year, 1, 2, tzinfo=UTC)


def _find_month(text: str, zone: str) -> str:
    """Return the month at the site of a month, or of an hour in UTC such as "2026-11-30 22"."""
    if len(text) == len("2026-11"):
        return text
    at = datetime.strptime(text, "%Y-%m-%d %H").replace(tzinfo=UTC)
    return at.astimezone(ZoneInfo(zone)).strftime("%Y-%m")
