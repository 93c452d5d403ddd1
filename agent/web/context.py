"""The objects that all pages and the API work on."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from secrets import token_bytes, token_hex
from threading import Event
from typing import TYPE_CHECKING, Any

from agent.orders import Specifications
from agent.orders.judge.assessed import OrderPolicy
from agent.retrain.label_use import LEARNS_FROM
from agent.store import RingRules
from agent.web.dashboard.figures_cache import FiguresCache
from agent.web.orders.order_board import OrderBoard
from agent.web.review.leases import Leases
from agent.web.review.shown_answers import ShownAnswers
from reports import marked

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
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
class Desk:
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


class Unknown(Exception):  # noqa: N818 - it is a finding, not a fault
    """There is no such micrograph."""


def find(desk: Desk, public_id: str) -> MicrographView:
    """Return the micrograph with a public id.

    Raises:
        Unknown: There is none.
    """
    view = desk.store.results.find(public_id) if ID.fullmatch(public_id) else None
    if view is None:
        raise Unknown(public_id)
    return view


def read_database_time(desk: Desk) -> datetime:
    """Return the time by the clock of the database, which all PCs share."""
    ahead_s = desk.store.agents.measure_clock_ahead_s(now=desk.now)
    return desk.now() - timedelta(seconds=ahead_s)


def order_rules(desk: Desk) -> OrderPolicy:
    """Return the lab's order policy; an empty one where there are no settings."""
    return desk.lab() if desk.lab else OrderPolicy(Specifications(), desk.taxonomy())
