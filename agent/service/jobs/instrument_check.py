"""Check the instrument at the start and every day: reference images must repeat their answers.

A bundle that this PC never checked is not made to wait for a pause: without a check, no answer of
the model counts for an order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from functools import cache
from importlib.metadata import version
from pathlib import Path
from time import monotonic

import structlog

from agent.backup.maintenance import INBOX_SOURCE
from agent.errors import OutOfResourcesError
from agent.imaging import Crop, CropPool, is_worker_killed
from agent.orders.instruments.instrument_checks import (
    CONTROL,
    CheckOrigin,
    JudgedImage,
    ReferenceCheck,
    ReferenceFile,
    check_references,
    describe_failure,
    iter_judged_images,
    record_check,
)
from agent.service.composition import make_pool
from agent.service.data_folder import agent_name
from agent.service.health.problems import Problems
from agent.settings import Settings
from agent.site_time import compute_age
from agent.store import Record, Store
from model import Classifier


@contextmanager
def cropping_apart(settings: Settings) -> Iterator[Callable[[Path], list[Crop] | Exception]]:
    """Yield a function that reads and crops one file in a child, or returns why it cannot.

    The child starts with the first file and ends with the block. MEASURED: reading one label leaves
    62 MB in its process.

    A child that the system kills, most often for want of memory, is no fault of the image: what it
    read is `OutOfResourcesError`.

    Args:
        settings: Of the lab.
    """
    with ExitStack() as stack:

        @cache
        def start() -> CropPool:
            return stack.enter_context(make_pool(settings, workers=1, has_landmarks=False))

        def read_and_crop(path: Path) -> list[Crop] | Exception:
            try:
                ((_path, outcome),) = start().crop_all([(path, None)])
            except OSError as error:  # no file or memory left to start it with
                return error
            if isinstance(outcome, Exception) and is_worker_killed(outcome):
                return OutOfResourcesError(str(outcome))
            return outcome

        yield read_and_crop


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
SHORT_S = 600.0
"""After so long a check is tried again that lacked memory or file handles."""


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
            origin=_describe_origin(settings, by=by, at=at),
        )


def is_due(store: Store, classifier: Classifier | None, *, at: datetime) -> bool:
    """Return whether the last check is too old, or of another bundle or version."""
    last = _find_last(store, classifier)
    age = compute_age(last.at, at) if last else None
    return last is None or age is None or age >= (EVERY if last.facts.get("passed") else AGAIN)


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
    except OutOfResourcesError as short:
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

        Where files keep coming it is done in parts: of a bundle that was never checked here soon,
        else after an hour.
        """
        now_s = self._steady()
        if files:
            self._busy_s = now_s
        is_idle = now_s - self._busy_s > IDLE_S
        waited_s = now_s - self._began_s
        if now_s < (self._looks_s if is_idle else self._part_s):
            return
        if is_idle:
            self._looks_s = now_s + LOOKS_EVERY_S
        elif waited_s > FIRST_AFTER_S:
            self._part_s = now_s + LOOKS_EVERY_S
        else:
            return
        if is_idle or waited_s > AT_LATEST_S:
            is_wanted = is_due(self._store, classifier, at=self._now())
        else:
            is_wanted = _find_last(self._store, classifier) is None
        if is_wanted:
            self._check(classifier, for_s=math.inf if is_idle else PART_S)
            if not is_idle:
                ended_s = self._steady()
                self._part_s = max(self._part_s, ended_s + (ended_s - now_s) / MOST_SHARE)

    def _check(self, classifier: Classifier | None, *, for_s: float) -> None:
        """Judge the next reference images; report what failed once all are judged.

        Args:
            classifier: The bundle in use, or None.
            for_s: Time after which the rest is left for the next call, in seconds.
        """
        try:
            failure = self._judge(classifier, for_s=for_s)
        except OutOfResourcesError as short:
            log.warning("instrument.waits", reason=str(short))
            self._problems.say("control check waits", f"control check: not done: {short}")
            self._looks_s = self._part_s = self._steady() + SHORT_S
            return
        if failure is None:
            return
        self._began_s, self.judged = self._steady(), {}
        problem = (
            f"control check: {failure}; results are held (agent verify --installation)"
            if failure
            else ""
        )
        self._problems.say("control check", problem)
        self._problems.say("control check waits", "")

    def _judge(self, classifier: Classifier | None, *, for_s: float) -> str | None:
        """Judge the next reference images; what failed once all are, None before.

        Raises:
            OutOfResourcesError: An image cannot be read for want of files or memory.
        """
        bundle = classifier.name if classifier else ""
        if self._bundle != bundle:
            self._bundle, self.judged = bundle, {}
        images: list[JudgedImage] = []
        ends_s = self._steady() + for_s
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
        origin = _describe_origin(self._settings, by="agent", at=self._now())
        results = record_check(self._store, images, bundle=bundle, origin=origin)
        return _log_failure(results)


def _describe_origin(settings: Settings, *, by: str, at: datetime) -> CheckOrigin:
    """Return this PC and who started a check of it."""
    sources = [*(source.name for source in settings.sources), INBOX_SOURCE]
    return CheckOrigin(version("martensight"), agent_name(), sources, by, at)


def _log_failure(results: Sequence[ReferenceCheck]) -> str:
    """Log the result of a check; return what failed in one sentence, "" where nothing did."""
    failure = describe_failure(results)
    log.info("instrument.checked", passed=not failure, reason=failure or None)
    return failure
