"""Check the instrument at the start and every day: reference images must repeat their answers."""

from __future__ import annotations

from datetime import timedelta
from importlib.metadata import version
from time import monotonic
from typing import TYPE_CHECKING

import structlog

from agent.errors import OutOfResources
from agent.orders.instrument_checks import (
    CONTROL,
    ReferenceCheck,
    check_references,
    describe_failure,
)
from agent.service.data_folder import agent_name
from agent.service.jobs.reference_crops import cropping_apart
from agent.web import INBOX_SOURCE

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from agent.service.problems import Problems
    from agent.settings import Settings
    from agent.store import Store
    from model import Classifier

log = structlog.get_logger()

EVERY = timedelta(hours=24)
AGAIN = timedelta(minutes=15)  # after a failed one, until the operator has mended it
LOOKS_EVERY_S = 60.0
IDLE_S = 20.0  # so long no file has waited before the worker checks
AT_LATEST_S = 3600.0  # however much there is to do


def check_instrument(
    settings: Settings, store: Store, classifier: Classifier | None, *, by: str, at: datetime
) -> list[ReferenceCheck]:
    """Check now; the record is kept."""
    with cropping_apart(settings) as crops:
        return check_references(
            store,
            settings.store.folder,
            crops=crops,
            classifier=classifier,
            software=version("martensight"),
            where=agent_name(),
            sources=[*(source.name for source in settings.sources), INBOX_SOURCE],
            by=by,
            at=at,
        )


def is_due(store: Store, classifier: Classifier | None, *, at: datetime) -> bool:
    """Return whether the last check is too old, or of another bundle or version."""
    last = store.records.latest(CONTROL, agent_name())
    now = (classifier.name if classifier else "", version("martensight"))
    if last is None or (last.facts.get("bundle"), last.facts.get("software")) != now:
        return True
    return at - last.at >= (EVERY if last.facts.get("passed") else AGAIN)


def check_when_due(
    settings: Settings, store: Store, classifier: Classifier | None, *, at: datetime
) -> str | None:
    """Check if it is due; what failed in one sentence, "" where nothing did, None: not checked."""
    if not is_due(store, classifier, at=at):
        return None
    try:
        results = check_instrument(settings, store, classifier, by="agent", at=at)
    except OutOfResources as short:
        log.warning("instrument.waits", reason=str(short))
        return None
    failure = describe_failure(results)
    log.info("instrument.checked", passed=not failure, reason=failure or None)
    return failure


class InstrumentCheck:
    """Runs the check when due, between two batches.

    Args:
        settings: Of the lab.
        store: Open.
        now: Returns the time, aware UTC.
        problems: Where a failed check is reported.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        *,
        now: Callable[[], datetime],
        problems: Problems,
    ) -> None:
        self._settings, self._store, self._now, self._problems = settings, store, now, problems
        self._busy_s = self._began_s = monotonic()
        self._looks_s = 0.0

    def after_round(self, files: int, classifier: Classifier | None) -> None:
        """Check if it is due and no file waits; called by the worker after each batch."""
        now_s = monotonic()
        if files:
            self._busy_s = now_s
        idle = now_s - self._busy_s > IDLE_S or now_s - self._began_s > AT_LATEST_S
        if not idle or now_s < self._looks_s:
            return
        self._looks_s = now_s + LOOKS_EVERY_S
        failure = check_when_due(self._settings, self._store, classifier, at=self._now())
        if failure is None:
            return
        self._began_s = monotonic()
        problem = f"control check: {failure}; results are held (agent check)" if failure else ""
        self._problems.say("control check", problem)
