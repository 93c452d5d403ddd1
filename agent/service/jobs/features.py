"""Kept features: compact them, find lost shards, fill them up every night, score history with them.

What takes PyTorch runs in a child of low priority.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import structlog

from agent.archive import Archive
from agent.errors import UsageError
from agent.features import ShardFault, tend_folder
from agent.retrain import Filled, Rescoring, fill_features, rescore
from agent.retrain.bundle_registry import get_bundle
from agent.service.composition import load_bundle, open_features, open_store
from agent.service.data_folder import Lock, agent_name, clock
from agent.service.jobs.supervisor import run_in_child, run_supervised
from agent.settings import Settings
from agent.store import Store
from model import Progress

log = structlog.get_logger()

FILL, RESCORE = "features", "rescore"
"""Names of the jobs."""
TEND_EVERY_S = 900.0
CHECK_S = 20.0
LOOK_EVERY_S = 1.0
ABANDONED_AFTER = timedelta(hours=1)


def fill(
    settings: Settings, *, bundle: str, limit: int | None, minutes: float | None
) -> Iterator[Progress[None] | Filled]:
    """Make missing features: the work of the child."""
    ends_s = time.monotonic() + 60 * minutes if minutes is not None else float("inf")
    classifier = load_bundle(settings, bundle)
    with open_store(settings) as store:
        yield from fill_features(
            store,
            Archive.open(settings),
            open_features(settings, store),
            classifier,
            limit=limit,
            is_enough=lambda: time.monotonic() > ends_s,
        )


def fill_in_child(
    settings: Settings,
    store: Store,
    *,
    by: str,
    limit: int | None = None,
    minutes: float | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[object]:
    """Make the features that are missing for the bundle in use, in a child.

    Args:
        settings: Of the lab.
        store: Open.
        by: Who started it.
        limit: How many micrographs at most, None: all.
        minutes: How long at most, None: until all are made.
        should_stop: As in `run_supervised`.

    Yields:
        `Progress`, last a `Filled`.

    Raises:
        UsageError: There is no bundle, or features are being made already.
        ChildEndedError: It failed.
    """
    bundle = store.promotions.find_current()
    if bundle is None:
        raise UsageError("No bundle is in use yet, so no features can be made: run agent train.")
    yield from run_supervised(
        partial(fill, bundle=bundle, limit=limit, minutes=minutes),
        settings,
        store,
        name=FILL,
        lock=Lock(
            settings.store.folder / "features.lock",
            "Features are being made already{who}; agent status says how far that is.",
        ),
        by=by,
        now=clock,
        ending=_end_of_fill,
        should_stop=should_stop,
    )


def _end_of_fill(filled: Filled) -> tuple[str, dict[str, Any]]:
    return "done", {"made": filled.made, "rest": filled.rest, "lost": filled.lost}


def score_history(settings: Settings, *, bundle: str) -> Iterator[Progress[None] | Rescoring]:
    """Score all history with another bundle: the work of the child."""
    classifier = load_bundle(settings, bundle)
    with open_store(settings) as store:
        features = open_features(settings, store)
        features.compact()
        yield from rescore(store, features, classifier)


def score_in_child(
    settings: Settings,
    store: Store,
    *,
    bundle: str,
    by: str,
) -> Iterator[object]:
    """Score all history with another bundle from kept features, in a child; nothing is stored.

    Yields:
        `Progress`, last a `Rescoring`.

    Raises:
        UnusableBundleError: There is none of this name.
        UsageError: History is being scored already.
        ChildEndedError: It failed.
    """
    get_bundle(settings.store.folder, bundle)
    yield from run_supervised(
        partial(score_history, bundle=bundle),
        settings,
        store,
        name=RESCORE,
        lock=Lock(
            settings.store.folder / "rescore.lock",
            "History is being scored already{who}; agent status says how far that is.",
        ),
        by=by,
        now=clock,
        ending=lambda found: ("done", {"bundle": bundle, "judged": found.scored}),
    )


class FeatureKeeper:
    """Periodic job: compacts kept features, deletes what is damaged, and fills up once a night.

    Each shard is compared with its hash once after the start, a few at a time. Shards are read and
    written in a child: MEASURED, Parquet takes 31 MB that a process keeps.

    Args:
        settings: Of the lab.
        store: Open.
        now: Returns the time, aware UTC.
        should_stop: True ends a filling.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        *,
        now: Callable[[], datetime],
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._settings, self._store, self._now = settings, store, now
        self._should_stop = should_stop
        self._folder = open_features(settings, store)

    def tend(self) -> str:
        """Do what is due; return a problem for the operator, "" for none."""
        if not self._settings.features.keep:
            return ""
        self._folder.sweep(before_s=(self._now() - ABANDONED_AFTER).timestamp())
        if self._folder.needs_tending() and (problem := self._tend_in_child()):
            return problem
        if self._store.promotions.find_current() and is_fill_due(
            self._settings, self._store, now=self._now()
        ):
            self._fill()
        return ""

    def _tend_in_child(self) -> str:
        """Write shards and compare them; return a problem for the operator, "" for none."""
        work = partial(
            tend_folder,
            folder=self._folder.folder,
            writer=agent_name(),
            compared=self._folder.compared,
            check_s=CHECK_S,
        )
        for news in run_in_child(work, self._settings, look_every_s=LOOK_EVERY_S):
            if isinstance(news, str):
                return f"features: cannot be written ({news}); they are made again"
            if isinstance(news, ShardFault):
                log.warning("features.damaged", shard=news.shard[:16], reason=news.sentence)
            if isinstance(news, dict):
                self._folder.skip_compared(news)
            if self._should_stop():
                break
        return ""

    def _fill(self) -> None:
        with suppress(UsageError):  # another agent of this data folder does it
            for _ in fill_in_child(
                self._settings,
                self._store,
                by="agent",
                minutes=self._settings.features.fill_minutes,
                should_stop=self._should_stop,
            ):
                pass


def is_fill_due(settings: Settings, store: Store, *, now: datetime) -> bool:
    """Return whether the nightly filling is due and has not begun since it was."""
    local = now.astimezone(ZoneInfo(settings.site.time_zone))
    hour, minute = map(int, settings.features.fill_at.split(":"))
    due = local.replace(hour=hour, minute=minute, second=0, microsecond=0)
    if not due <= local < due + timedelta(minutes=settings.features.fill_minutes):
        return False
    begun = [job.started_at for job in store.jobs.list_ended(FILL) if job.started_at]
    return not begun or max(begun) < due
