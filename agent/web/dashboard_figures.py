"""Figures of the dashboard: today so far, what needs a decision, and how the lab is.

Counts of files and results are read every few seconds, as long as a page is open. What takes longer
(orders, agreement, instruments, the agent's status) is read less often.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from agent.nightly.facts.order_status import Instrument
from agent.nightly.facts.reviewer_agreement import WINDOW, agreement
from agent.nightly.page.night_charts import find_open_alarms
from agent.orders import SpecificationError
from agent.retrain.bundle_registry import list_bundles
from agent.store import ResultCount, State
from agent.triage import Reason
from agent.web.context import WebContext, order_rules
from agent.web.orders.order_board import SWEPT
from agent.web.schemas import CodeToday, SourceToday

HOUR = timedelta(hours=1)
USUAL_DAYS = 28
"""Days before today that the usual share of a code is computed from."""
LEAST_DAYS = 5
"""Fewer days with micrographs make no usual share."""
NEWEST_BUNDLES = 10
"""Bundles, the newest ones, of which it is read whether they wait for a signature."""
WAITING = (State.SETTLING, State.QUEUED, State.PROCESSING)


@dataclass(frozen=True, slots=True)
class SlowFigures:
    """What is read less often.

    Args:
        orders: Column of the order desk → orders.
        unassigned: Fields that belong to no specimen.
        disagreed: Micrographs that two reviewers answered differently.
        blind_n: Decisions of the last 90 days that were taken without the model's answer in view.
        blind_same: Of these, those with the model's code.
        instruments: State of the checks of each source.
        usual: Structure code → (share, smallest, largest share of a day).
        usual_days: Days that these shares rest on.
        status: As `agent status --json`.
        proposed: Bundles that a lead proposed and another has to sign.
        has_accounts: The lab has accounts.
        orders_fault: Why the orders cannot be read, or "".
        alarms: Measures with an alarm that a lead has to acknowledge.
    """

    orders: Mapping[str, int] = field(default_factory=dict)
    unassigned: int = 0
    disagreed: int = 0
    blind_n: int = 0
    blind_same: int = 0
    instruments: Sequence[Instrument] = ()
    usual: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)
    usual_days: int = 0
    status: Mapping[str, Any] = field(default_factory=dict)
    proposed: tuple[str, ...] = ()
    has_accounts: bool = False
    orders_fault: str = ""
    alarms: int = 0


@dataclass(frozen=True, slots=True)
class Figures:
    """Everything that the dashboard shows.

    Args:
        day: Today, on the site's calendar.
        read_at: When it was read, aware UTC.
        sources: Every source of the site.
        today: Micrographs processed since midnight.
        review: Of these, those for which a review was requested.
        reviewed: Of these, those that were reviewed.
        codes: Structure codes, the most frequent first.
        waiting: Micrographs that wait for a review, of any day.
        reasons: Reason → how many of these.
        slow: What is read less often.
    """

    day: date
    read_at: datetime = field(compare=False)
    sources: tuple[SourceToday, ...]
    today: int
    review: int
    reviewed: int
    codes: tuple[CodeToday, ...]
    waiting: int
    reasons: Mapping[Reason, int]
    slow: SlowFigures

    @property
    def is_empty(self) -> bool:
        """Whether no file ever came."""
        return not any(source.last_file for source in self.sources)


def get_figures(web: WebContext) -> tuple[Figures, str]:
    """Return the figures and their version, read again where they are older than their interval."""
    return web.figures.get(partial(read_figures, web), now=web.now())


def read_figures(web: WebContext) -> Figures:
    """Read the figures; those that take long only where they are older than their interval."""
    now = web.now()
    slow, _version = web.figures.slow.get(partial(_read_slow, web, now), now=now)
    return _build(web, slow, now)


def _read_slow(web: WebContext, now: datetime) -> SlowFigures:
    live = web.store.live_figures
    labelled = web.store.labelled_micrographs.list_blind_since(now - WINDOW)
    blind = agreement(labelled, until=now)
    usual, days = _read_usual(web, now)
    slow = SlowFigures(
        unassigned=live.count_unassigned(),
        disagreed=live.count_disagreed(),
        blind_n=blind.blind_n,
        blind_same=blind.blind_same,
        instruments=tuple(web.instruments()) if web.instruments else (),
        usual=usual,
        usual_days=days,
        status=web.status(),
        proposed=tuple(_list_proposed(web)),
        has_accounts=web.store.accounts.are_there(),
        alarms=len({group.measure for group in find_open_alarms(web.store)[1]}),
    )
    try:
        board = web.board.look(web.store, lambda: order_rules(web), now=now, swept=SWEPT)
    except SpecificationError as error:
        return replace(slow, orders_fault=str(error))
    counts: dict[str, int] = {}
    for order in board.orders:
        counts[order.state] = counts.get(order.state, 0) + 1
    return replace(slow, orders=counts)


def _read_usual(
    web: WebContext, now: datetime
) -> tuple[dict[str, tuple[float, float, float]], int]:
    """Return code → usual share with its range, and the days that it rests on."""
    today = now.astimezone(ZoneInfo(web.zone)).date()
    days = [today - timedelta(days=back) for back in range(1, USUAL_DAYS + 1)]
    live = web.store.live_figures

    def count(day: date) -> dict[str, int]:
        end = start_of(day + timedelta(days=1), web.zone)
        return live.count_codes(start_of(day, web.zone), end)

    counts = web.figures.days.get(days, count)
    return compute_usual([found for found in counts if found])


def _list_proposed(web: WebContext) -> Iterable[str]:
    """Yield the bundles that a lead proposed and another has to sign."""
    promotions = web.store.promotions
    current = promotions.find_current()
    for folder in list_bundles(web.archive.folder)[-NEWEST_BUNDLES:]:
        if folder.name != current and promotions.list_signatures(folder.name):
            yield folder.name


def start_of(day: date, zone: str) -> datetime:
    """Return the midnight at which a day begins on a site's calendar, aware UTC."""
    midnight = datetime.combine(day, time(), ZoneInfo(zone))
    return midnight.astimezone(ZoneInfo("UTC"))


def compute_usual(
    days: Sequence[Mapping[str, int]],
) -> tuple[dict[str, tuple[float, float, float]], int]:
    """Return code → pooled share, smallest and largest share of a day; and the number of days.

    Args:
        days: Per day with micrographs: code → how many.
    """
    if len(days) < LEAST_DAYS:
        return {}, len(days)
    totals = [sum(counts.values()) for counts in days]
    usual = {}
    for code in sorted({code for counts in days for code in counts}):
        shares = [counts.get(code, 0) / n for counts, n in zip(days, totals, strict=True)]
        pooled = sum(counts.get(code, 0) for counts in days) / sum(totals)
        usual[code] = (pooled, min(shares), max(shares))
    return usual, len(days)


def _build(web: WebContext, slow: SlowFigures, now: datetime) -> Figures:
    live, day = web.store.live_figures, now.astimezone(ZoneInfo(web.zone)).date()
    results = live.count_results(start_of(day, web.zone), now, recent_after=now - HOUR)
    last, files = live.list_last_files(), live.count_open_files()
    return Figures(
        day=day,
        read_at=now,
        sources=tuple(_list_sources(slow.status, results, last, files)),
        today=sum(row.n for row in results),
        review=sum(row.review for row in results),
        reviewed=sum(row.review - row.waiting for row in results),
        codes=tuple(_list_codes(results, slow.usual)),
        waiting=web.store.review_queue.count(),
        reasons=live.count_waiting_by_reason(),
        slow=slow,
    )


def _list_sources(
    status: Mapping[str, Any],
    results: Sequence[ResultCount],
    last: Mapping[str, tuple[str, datetime]],
    files: Mapping[tuple[str, str], int],
) -> Iterable[SourceToday]:
    told = {source["name"]: source for source in status.get("sources", ())}
    for name in dict.fromkeys([*told, *last]):
        own = [row for row in results if row.source == name]
        path, seen_at = last.get(name, (None, None))
        yield SourceToday(
            name=name,
            online=bool(told.get(name, {}).get("online", True)),
            today=sum(row.n for row in own),
            last_hour=sum(row.recent for row in own),
            last_file=path and path.rsplit("/", 1)[-1],
            last_at=seen_at,
            waiting=sum(files.get((name, state), 0) for state in WAITING),
            failed=files.get((name, State.FAILED), 0),
            set_aside=files.get((name, State.SET_ASIDE), 0),
        )


def _list_codes(
    results: Sequence[ResultCount], usual: Mapping[str, tuple[float, float, float]]
) -> Iterable[CodeToday]:
    counts: dict[str, int] = {}
    for row in results:
        if row.code:
            counts[row.code] = counts.get(row.code, 0) + row.n
    total = sum(counts.values())
    for code in sorted({*counts, *usual}, key=lambda code: (-counts.get(code, 0), code)):
        n = counts.get(code, 0)
        pooled, low, high = usual.get(code, (0.0, 0.0, 0.0)) if usual else (None, None, None)
        share = n / total if total else 0.0
        yield CodeToday(code=code, n=n, share=share, usual=pooled, low=low, high=high)
