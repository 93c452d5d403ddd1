"""The objects that all pages and the API work on, and what they remember for open pages.

Figures of the dashboard are cached, so that many open pages cost the database as much as one. A
lease names the reviewer who has a micrograph open. It is no lock: it never refuses a decision, and
`decisions.decide` detects a conflict. It is in this server's memory and expires.

A decision counts as blind only where the page had not shown the answer before. The record is in
this server's memory: after a restart, an answer that was seen and then hidden counts as unseen.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import partial
from secrets import token_bytes, token_hex
from threading import Event
from typing import TYPE_CHECKING, Any

from agent.orders import Specifications
from agent.orders.judge.assessed import OrderPolicy
from agent.retrain.label_use import LEARNS_FROM
from agent.store import RingRules
from agent.store.numbers import person_key
from agent.web.orders.order_board import OrderBoard
from reports import marked

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from pathlib import Path

    from agent.archive import Archive
    from agent.features import SimilarIndex
    from agent.nightly.facts.order_status import Instrument
    from agent.orders.instruments.instrument_holds import Holds
    from agent.orders.specifications.taxonomy_changes import TaxonomyUse
    from agent.settings import Settings
    from agent.store import MicrographView, Store
    from agent.watch import Calibration
    from agent.web.archive.uploads import Inbox
    from agent.web.review.chart_plates import Chart
    from model import Taxonomy
    from reports import Language


FAST = timedelta(seconds=3)
SLOW = timedelta(seconds=30)


class Timed:
    """A value that is read again once it is older than its interval. Thread-safe.

    Args:
        interval: How old it may be.
    """

    def __init__(self, interval: timedelta) -> None:
        self._lock, self._interval = threading.Lock(), interval
        self._value: Any = None
        self._read_at: datetime | None = None
        self._process, self._changes = token_hex(4), 0

    @property
    def version(self) -> str:
        """A word that is another one after each change of the value, and in each process."""
        return f"{self._process}-{self._changes}"

    def is_due(self, now: datetime) -> bool:
        """Return whether the value is older than its interval, or of a later time."""
        return self._read_at is None or not timedelta(0) <= now - self._read_at < self._interval

    def get(self, read: Callable[[], Any], *, now: datetime) -> tuple[Any, str]:
        """Return the value and its version, read again where it is due."""
        with self._lock:
            return self._get(read, now), self.version

    def refresh(self, read: Callable[[], Any], *, now: datetime) -> None:
        """Read the value where it is due; return at once where another thread reads it."""
        if self._lock.acquire(blocking=False):
            try:
                self._get(read, now)
            finally:
                self._lock.release()

    def _get(self, read: Callable[[], Any], now: datetime) -> Any:
        if self.is_due(now):
            value = read()
            if value != self._value:
                self._changes += 1
            self._value, self._read_at = value, now
        return self._value


class Days:
    """Counts of days that are over: each day is counted once."""

    def __init__(self) -> None:
        self._counts: dict[date, dict[str, int]] = {}

    def get(
        self, days: Sequence[date], count: Callable[[date], dict[str, int]]
    ) -> list[dict[str, int]]:
        """Return the counts of days; only those that are not known are counted, others dropped."""
        known = self._counts
        self._counts = {day: known[day] if day in known else count(day) for day in days}
        return list(self._counts.values())


class FiguresCache(Timed):
    """The figures of the dashboard as they were last read.

    Attributes:
        slow: Those that take longer to read.
        days: Codes per day.
    """

    def __init__(self) -> None:
        super().__init__(FAST)
        self.slow = Timed(SLOW)
        self.days = Days()


LEASE = timedelta(minutes=5)


class Leases:
    """Open micrographs by reviewer: one, or the fields of one order. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, tuple[frozenset[str], datetime]] = {}

    def take(self, public_id: str, who: str, *, at: datetime) -> str:
        """Open a micrograph; what the reviewer had open before is released.

        Args:
            public_id: Id of the micrograph.
            who: The reviewer.
            at: When, aware UTC.

        Returns:
            Who else has it open, "" for no one; then they keep it.
        """
        with self._lock:
            self._open.pop(who, None)
            other = self._others(who, at).get(public_id, "")
            if who and not other:
                self._open[who] = frozenset({public_id}), at + LEASE
            return other

    def take_all(self, public_ids: Collection[str], who: str, *, at: datetime) -> dict[str, str]:
        """Open the fields of an order; what the reviewer had open before is released.

        Args:
            public_ids: Ids of the fields.
            who: The reviewer.
            at: When, aware UTC.

        Returns:
            Public id → who else has it open; they keep it.
        """
        with self._lock:
            self._open.pop(who, None)
            theirs = self._others(who, at)
            free = frozenset(public_ids) - theirs.keys()
            if who and free:
                self._open[who] = free, at + LEASE
            return {public_id: theirs[public_id] for public_id in public_ids if public_id in theirs}

    def leave(self, who: str) -> None:
        """Release what a reviewer has open."""
        with self._lock:
            self._open.pop(who, None)

    def others(self, who: str, *, at: datetime) -> dict[str, str]:
        """Return what other reviewers have open: public id → name."""
        with self._lock:
            return self._others(who, at)

    def _others(self, who: str, at: datetime) -> dict[str, str]:
        self._open = {name: held for name, held in self._open.items() if held[1] > at}
        return {
            public_id: name
            for name, (held, _) in self._open.items()
            if name != who
            for public_id in held
        }


MOST = 50_000
"""Pages that are remembered, the newest; a reviewer opens some hundred a day."""


class ShownAnswers:
    """Results that pages have shown, by reviewer, however the name is spelled. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shown: OrderedDict[tuple[str, int], None] = OrderedDict()

    def add(self, who: str, result: int) -> None:
        """Record that a page has shown a result; `who` is "" before a name was entered."""
        with self._lock:
            self._shown[person_key(who), result] = None
            self._shown.move_to_end((person_key(who), result))
            while len(self._shown) > MOST:
                self._shown.popitem(last=False)

    def has(self, who: str, result: int) -> bool:
        """Return whether a page has shown a result to a reviewer, or to one without a name."""
        with self._lock:
            return any((key, result) in self._shown for key in (person_key(who), ""))


ID = re.compile(r"[0-9a-f]{16}(-p[1-9][0-9]{0,4})?")
LONGEST_NAME = 80
UNKNOWN_ORDER = marked("Unknown order")


@dataclass(frozen=True, slots=True)
class TaxonomySetup:
    """Where the lab's classes are written, and what depends on them.

    Args:
        file: The taxonomy.toml.
        is_named: The settings name this file, so that it applies once it is written.
        load_use: Returns what depends on the classes.
    """

    file: Path
    is_named: bool
    load_use: Callable[[], TaxonomyUse]


@dataclass(frozen=True, slots=True)
class LearningSetup:
    """What a lab requires of a new bundle.

    Args:
        promoters: How many leads sign.
        min_new_labels: With fewer new labels no candidate is trained.
        language: Of a model card.
        names_leads: The settings name leads, so that they alone sign where there are no accounts.
        rings: In which the PCs of the site take a bundle that is rolled out.
        names_taxonomy: The settings name the taxonomy, so that no bundle brings another one.
    """

    promoters: int = 1
    min_new_labels: int = 20
    language: Language = "en"
    names_leads: bool = False
    rings: RingRules = field(default_factory=lambda: RingRules(()))
    names_taxonomy: bool = False


@dataclass(frozen=True, slots=True)
class WebContext:
    """Everything that the pages and the API work on.

    Args:
        store: Open.
        archive: The pixels.
        reports: Folder of the nightly reports.
        site: Name of the site.
        zone: Time zone of the site.
        taxonomy: Returns the taxonomy that applies now.
        now: Returns the time, aware UTC.
        status: Returns what `agent status --json` prints.
        inbox: Receives files that programs send; None where this process receives none.
        lab: Returns the lab's order policy; None: there is none.
        similar: Finds micrographs that look alike; None where no features are kept.
        measures: File of the numbers that the agent counts; None where no agent runs.
        taxonomy_setup: Where the classes are written; None where there are no settings.
        settings_file: The `agent.toml`; None where there is none.
        specifications: File of the specifications; None where there are no settings.
        is_outdated: Returns whether settings differ from those that this process runs with.
        restart: Requests a restart of the agent; None where none runs with this process.
        start_id: Of this process, so that a page notices that another one answers.
        leases: Which reviewer has which micrograph open.
        board: The orders as they were last read.
        form_key: Signs what a form lists, as long as this process runs.
        holds: Returns the holds on instruments' results; None where they are not known.
        hasten: Puts the files of urgent orders first; None where the sources are not known.
        measures_needles: Reviewers may measure needles: not in a lab of other classes without them.
        learns_from: Which labels are trained on, as `[retrain] learns_from`.
        shown: Which answers each reviewer's page has shown.
        objectives: Source name → its table of objectives.
        customer_templates: Folder of the layout of customers' reports, None for the built-in one.
        um_per_px_range: Smallest and largest plausible µm per pixel.
        correction_reasons: Reasons to choose from where the model's answer is corrected, () for
            the built-in ones; None where no reason is required.
        chart: The lab's chart plates; None where it has none.
        look_s: How long (s) a field is in view until it counts as seen.
        learning: What the lab requires of a new bundle.
        figures: What the dashboard shows, as it was last read.
        instruments: Returns the state of the checks of each source; None where it is not known.
        stream_s: How long (s) the dashboard's stream of events stays open; a browser opens the
            next one by itself.
        closing: Set when the server stops, so that its streams end.
    """

    store: Store
    archive: Archive
    reports: Path
    site: str
    zone: str
    taxonomy: Callable[[], Taxonomy]
    now: Callable[[], datetime]
    status: Callable[[], dict[str, Any]]
    inbox: Inbox | None = None
    lab: Callable[[], OrderPolicy] | None = None
    measures: Path | None = None
    similar: SimilarIndex | None = None
    taxonomy_setup: TaxonomySetup | None = None
    settings_file: Path | None = None
    specifications: Path | None = None
    is_outdated: Callable[[Settings], bool] = lambda _settings: False
    restart: Callable[[], None] | None = None
    start_id: str = field(default_factory=partial(token_hex, 8))
    leases: Leases = field(default_factory=Leases)
    board: OrderBoard = field(default_factory=OrderBoard)
    form_key: bytes = field(default_factory=partial(token_bytes, 32), repr=False)
    holds: Callable[[], Holds] | None = None
    hasten: Callable[[], int] | None = None
    measures_needles: bool = True
    learns_from: tuple[str, ...] = LEARNS_FROM
    shown: ShownAnswers = field(default_factory=ShownAnswers)
    objectives: Mapping[str, tuple[Calibration, ...]] = field(default_factory=dict)
    customer_templates: Path | None = None
    um_per_px_range: tuple[float, float] = (0.0005, 5.0)
    chart: Chart | None = None
    look_s: float = 1.0
    correction_reasons: tuple[str, ...] | None = None
    learning: LearningSetup = field(default_factory=LearningSetup)
    figures: FiguresCache = field(default_factory=FiguresCache)
    instruments: Callable[[], Sequence[Instrument]] | None = None
    stream_s: float = 300.0
    closing: Event = field(default_factory=Event)


class UnknownMicrographError(Exception):
    """There is no such micrograph."""


def find(web: WebContext, public_id: str) -> MicrographView:
    """Return the micrograph with a public id.

    Raises:
        UnknownMicrographError: There is none.
    """
    view = web.store.results.find(public_id) if ID.fullmatch(public_id) else None
    if view is None:
        raise UnknownMicrographError(public_id)
    return view


def read_database_time(web: WebContext) -> datetime:
    """Return the time by the clock of the database, which all PCs share."""
    ahead_s = web.store.agents.measure_clock_ahead_s(now=web.now)
    return web.now() - timedelta(seconds=ahead_s)


def order_rules(web: WebContext) -> OrderPolicy:
    """Return the lab's order policy; an empty one where there are no settings."""
    return web.lab() if web.lab else OrderPolicy(Specifications(), web.taxonomy())
