"""Check the instrument at the start and every day: reference images must repeat their answers.

A bundle that this PC never checked is not made to wait for a pause: without a check, no answer of
the model counts for an order.
"""

from __future__ import annotations

from datetime import timedelta
from importlib.metadata import version
from time import monotonic
from typing import TYPE_CHECKING

import structlog

from agent.errors import OutOfResources
from agent.orders.instrument_checks import (
    CONTROL,
    JudgedImage,
    ReferenceCheck,
    check_references,
    describe_failure,
    iter_judged_images,
    record_check,
)
from agent.service.data_folder import agent_name
from agent.service.jobs.reference_crops import cropping_apart
from agent.web import INBOX_SOURCE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from agent.orders.reference_images import ReferenceFile
    from agent.service.problems import Problems
    from agent.settings import Settings
    from agent.store import Record, Store
    from model import Classifier

log = structlog.get_logger()

EVERY = timedelta(hours=24)
AGAIN = timedelta(minutes=15)  # after a failed one, until the operator has mended it
LOOKS_EVERY_S = 60.0
IDLE_S = 20.0  # so long no file has waited before the worker checks
AT_LATEST_S = 3600.0  # however much there is to do

FIRST_AFTER_S = 60.0
"""After so long without a pause a bundle that was never checked here is checked between rounds."""
PART_S = 5.0
"""After so long such a check gives way to the next round."""
MOST_SHARE = 0.05
"""Largest share of the time that it takes."""


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
            sources=_list_sources(settings),
            by=by,
            at=at,
        )


def is_due(store: Store, classifier: Classifier | None, *, at: datetime) -> bool:
    """Return whether the last check is too old, or of another bundle or version."""
    last = _find_last(store, classifier)
    return last is None or at - last.at >= (EVERY if last.facts.get("passed") else AGAIN)


def _find_last(store: Store, classifier: Classifier | None) -> Record | None:
    """Return this PC's last check if it is of this bundle and version."""
    last = store.records.latest(CONTROL, agent_name())
    now = (classifier.name if classifier else "", version("martensight"))
    if last is None or (last.facts.get("bundle"), last.facts.get("software")) != now:
        return None
    return last


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
    return _log_failure(results)


class InstrumentCheck:
    """Runs the check when due, between two batches.

    Args:
        settings: Of the lab.
        store: Open.
        now: Returns the time, aware UTC.
        problems: Where a failed check is reported.
        steady: Seconds of a clock that no one sets.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        *,
        now: Callable[[], datetime],
        problems: Problems,
        steady: Callable[[], float] = monotonic,
    ) -> None:
        self._settings, self._store, self._now, self._problems = settings, store, now, problems
        self._steady = steady
        self._busy_s = self._began_s = steady()
        self._looks_s = self._part_s = 0.0
        self._bundle = ""
        """The bundle that is checked in parts."""
        self.judged: dict[ReferenceFile, JudgedImage] = {}
        """What it was checked with so far."""

    def after_round(self, files: int, classifier: Classifier | None) -> None:
        """Check if it is due and no file waits; called by the worker after each batch.

        A bundle that was never checked here is checked in parts where files keep coming.
        """
        now_s = self._steady()
        if files:
            self._busy_s = now_s
        waited_s = now_s - self._began_s
        if now_s - self._busy_s > IDLE_S or waited_s > AT_LATEST_S:
            if now_s < self._looks_s:
                return
            self._looks_s = now_s + LOOKS_EVERY_S
            failure = check_when_due(self._settings, self._store, classifier, at=self._now())
        elif waited_s > FIRST_AFTER_S and now_s >= self._part_s:
            self._part_s = now_s + LOOKS_EVERY_S
            if _find_last(self._store, classifier) is not None:
                return
            failure = self._check_part(classifier)
            ended_s = self._steady()
            self._part_s = max(self._part_s, ended_s + (ended_s - now_s) / MOST_SHARE)
        else:
            return
        if failure is None:
            return
        self._began_s, self.judged = self._steady(), {}
        problem = f"control check: {failure}; results are held (agent check)" if failure else ""
        self._problems.say("control check", problem)

    def _check_part(self, classifier: Classifier | None) -> str | None:
        """Judge the next reference images; what failed once all are, None before."""
        bundle = classifier.name if classifier else ""
        if self._bundle != bundle:
            self._bundle, self.judged = bundle, {}
        images: list[JudgedImage] = []
        ends_s = self._steady() + PART_S
        try:
            with cropping_apart(self._settings) as crops:
                for image in iter_judged_images(
                    self._store,
                    self._settings.store.folder,
                    crops=crops,
                    classifier=classifier,
                    known=self.judged,
                ):
                    images.append(image)
                    if image.file not in self.judged:
                        self.judged[image.file] = image
                        if self._steady() > ends_s:
                            return None
        except OutOfResources as short:
            log.warning("instrument.waits", reason=str(short))
            return None
        results = record_check(
            self._store,
            images,
            bundle=bundle,
            software=version("martensight"),
            where=agent_name(),
            sources=_list_sources(self._settings),
            by="agent",
            at=self._now(),
        )
        return _log_failure(results)


def _list_sources(settings: Settings) -> list[str]:
    """Return the sources that this PC reads; a failed check holds their results."""
    return [*(source.name for source in settings.sources), INBOX_SOURCE]


def _log_failure(results: Sequence[ReferenceCheck]) -> str:
    """Log the result of a check; return what failed in one sentence, "" where nothing did."""
    failure = describe_failure(results)
    log.info("instrument.checked", passed=not failure, reason=failure or None)
    return failure
