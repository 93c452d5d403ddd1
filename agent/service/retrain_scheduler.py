"""Train and evaluate candidates when due, at low priority; nothing here promotes one.

What is due is queried from the database, never remembered: a PC that slept, or an agent that was
stopped in the middle, resumes where it stopped.
"""

from __future__ import annotations

from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import structlog

from agent.delivery.mail import send_notice
from agent.errors import AgentError, WrongUse
from agent.retrain import Gate, Outcome
from agent.retrain.promotion import DAYS, SHADOW
from agent.service.jobs.retrain import (
    JOB,
    find_training_job,
    train_first_in_child,
    train_in_child,
)
from agent.service.jobs.shadow import find_waiting_candidate, has_news, judge_in_child
from agent.service.jobs.suggest import SUGGEST, suggest_in_child
from agent.service.jobs.supervisor import Cancelled
from agent.settings import WEEKDAYS
from agent.site_time import compute_age
from agent.store import StoreFault
from model import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from agent.service.health.problems import Problems
    from agent.settings import Settings
    from agent.store import Job, Store

log = structlog.get_logger()

LOOK_AGAIN_S, SHADOW_AGAIN_S = 600.0, 3600.0
AFTER_A_FAILURE = timedelta(days=1)
BY = "agent"
NO_TRAINING = ("interrupted", "refused")
"""Outcomes of jobs that count as no training: the next one is due all the same."""
SCHEDULED = "retrain schedule"
"""Name of the row that records since when a schedule is set."""


class RetrainScheduler:
    """The schedule of training.

    Args:
        settings: Of the lab.
        store: Open.
        now: Returns the time, aware UTC.
        problems: Where problems are reported.
        should_stop: Asked while a child works; it then ends within seconds, and the next one
            resumes its checkpoint.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        *,
        now: Callable[[], datetime],
        problems: Problems,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._settings, self._store, self._now = settings, store, now
        self._problems, self._should_stop = problems, should_stop

    def look(self) -> None:
        """Train a candidate if one is due; a fault is reported, and the thread continues."""
        wanted = self._settings.retrain
        if not (wanted.schedule or wanted.start_at_new_labels):
            return
        with self._guarded("retrain"):
            if not self._is_due():
                return
            self._train(BY)

    def _train(self, by: str) -> None:
        steps = train_in_child(
            self._settings, self._store, by=by, now=self._now, should_stop=self._should_stop
        )
        for news in steps:
            if isinstance(news, Outcome):
                self._tell(news)

    def answer_requests(self) -> None:
        """Run the jobs that a page requested, each in its own child; a refusal is recorded."""
        jobs = self._store.jobs
        if asked := jobs.take_request(JOB, at=self._now()):
            with self._guarded("retrain"), self._recorded(JOB, asked):
                self._answer_training(asked)
        if asked := jobs.take_request(SHADOW, at=self._now()):
            with self._guarded("shadow"), self._recorded(SHADOW, asked):
                self._judge(asked.facts["bundle"], DAYS, by=str(asked.facts.get("by", "")))
        if asked := jobs.take_request(SUGGEST, at=self._now()):
            with self._guarded("suggest"), self._recorded(SUGGEST, asked):
                for _ in suggest_in_child(
                    self._settings,
                    self._store,
                    by=str(asked.facts.get("by", "")),
                    now=self._now,
                    should_stop=self._should_stop,
                ):
                    pass

    def _answer_training(self, asked: Job) -> None:
        by = str(asked.facts.get("by", ""))
        if self._store.promotions.find_current() is not None:
            self._train(by)
            return
        for _ in train_first_in_child(
            self._settings,
            self._store,
            by=by,
            folder=str(asked.facts.get("folder", "")),
            now=self._now,
            should_stop=self._should_stop,
        ):
            pass

    @contextmanager
    def _recorded(self, name: str, asked: Job) -> Iterator[None]:
        """Record why a job was refused before it began, for the page that requested it.

        A job that ended with the agent is requested again, so that the next one resumes it.
        """
        before = len(self._store.jobs.list_ended(name))
        try:
            yield
            ended = self._store.jobs.list_ended(name)
            if self._should_stop() and len(ended) > before and ended[-1].outcome == "interrupted":
                by = str(asked.facts.get("by", ""))
                self._store.jobs.request(name, by=by, at=self._now(), facts=asked.facts)
        except (AgentError, ModelError, OSError) as error:
            if len(self._store.jobs.list_ended(name)) == before:
                job = self._store.jobs.begin(name, at=self._now())
                facts = {"by": asked.facts.get("by", ""), "sentence": str(error)}
                self._store.jobs.end(job, "refused", at=self._now(), facts=facts)
            raise

    def shadow(self) -> None:
        """Judge the last days with a recommended candidate as well; no result changes."""
        days, now = self._settings.retrain.shadow_days, self._now()
        if not days:
            return
        with self._guarded("shadow"):
            bundle = find_waiting_candidate(self._store)
            since = now - timedelta(days=days)
            if bundle is None or not has_news(self._store, bundle, since=since, now=now):
                return
            self._judge(bundle, days, by=BY)

    def _judge(self, bundle: str, days: int, *, by: str) -> None:
        steps = judge_in_child(
            self._settings,
            self._store,
            bundle=bundle,
            role=SHADOW,
            days=days,
            by=by,
            now=self._now,
            should_stop=self._should_stop,
        )
        for _ in steps:
            pass

    @contextmanager
    def _guarded(self, what: str) -> Iterator[None]:
        try:
            yield
        except (WrongUse, Cancelled) as ended:  # no bundle yet, the same runs by hand, or an act
            log.info("candidate.waits", job=what, reason=str(ended))
        except (AgentError, ModelError, StoreFault, OSError) as error:
            self._problems.say(what, f"{what}: {error}")
            log.error("candidate.failed", job=what, reason=str(error))  # noqa: TRY400 - one sentence
        except Exception as error:
            self._problems.say(what, f"{what}: {type(error).__name__}: {error}")
            log.exception("candidate.crashed", job=what)
        else:
            self._problems.say(what, "")

    def _is_due(self) -> bool:
        wanted, ended = self._settings.retrain, self._store.jobs.list_ended(JOB)
        zone = ZoneInfo(self._settings.site.time_zone)
        if wanted.schedule and is_due(
            wanted.schedule,
            ended,
            set_at=self._set_at(wanted.schedule),
            now=self._now().astimezone(zone),
        ):
            return True
        if not wanted.start_at_new_labels or self._store.promotions.find_current() is None:
            return False
        if ended and is_too_soon(ended[-1], self._now()):
            return False
        lesson = find_training_job(self._settings, self._store)
        return has_enough_new(wanted.start_at_new_labels, lesson.new, lesson.manifest.name, ended)

    def _set_at(self, schedule: str) -> datetime:
        """Return when this schedule was first seen, whatever was restarted since."""
        recorded = self._store.jobs.list_ended(SCHEDULED)
        if recorded and recorded[-1].facts.get("schedule") == schedule and recorded[-1].started_at:
            return recorded[-1].started_at
        job = self._store.jobs.begin(SCHEDULED, at=self._now())
        self._store.jobs.end(job, "set", at=self._now(), facts={"schedule": schedule})
        return self._now()

    def _tell(self, outcome: Outcome) -> None:
        log.info("retrain.ended", gate=str(outcome.gate), candidate=outcome.candidate or None)
        if outcome.gate is Gate.NOT_ENOUGH_EVIDENCE:
            return
        send_notice(
            self._settings.notify.urls,
            title=f"{self._settings.site.name}: a candidate was trained",
            text=f"{outcome.sentence} It is not in use. For details: agent models list.",
        )


def is_due(schedule: str, ended: Sequence[Job], *, set_at: datetime, now: datetime) -> bool:
    """Return whether a candidate is due by the calendar.

    Args:
        schedule: As set: "sunday 02:00", "daily 02:00".
        ended: Trainings that have ended, oldest first; one that was interrupted does not count.
        set_at: When the schedule was set: nothing was due before.
        now: Aware, in the lab's own zone.
    """
    done = [
        job.started_at
        for job in ended
        if job.started_at
        and job.outcome not in NO_TRAINING
        and compute_age(job.started_at, now) is not None
    ]
    return last_due(schedule, now) > max(done, default=set_at)


def last_due(schedule: str, now: datetime) -> datetime:
    """Return when a schedule was last due, in the zone of `now`."""
    day, _, at = schedule.partition(" ")
    hour, minute = map(int, at.split(":"))
    last = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    back = 0 if day == "daily" else (now.weekday() - WEEKDAYS.index(day)) % 7
    last -= timedelta(days=back)
    return last if last <= now else last - timedelta(days=1 if day == "daily" else 7)


def is_too_soon(last: Job, now: datetime) -> bool:
    """Return whether a training that failed, or was cancelled, ended less than a day ago."""
    went_wrong = last.outcome in ("failed", "cancelled")
    age = compute_age(last.ended_at, now) if last.ended_at else None
    return went_wrong and age is not None and age < AFTER_A_FAILURE


def has_enough_new(wanted: int, new: int, current: str, ended: Sequence[Job]) -> bool:
    """Return whether enough was labelled since a candidate was last trained next to this bundle.

    Args:
        wanted: As set.
        new: Labels that are not in the training set of the bundle in use.
        current: The bundle in use.
        ended: Trainings that have ended, oldest first.
    """
    tried = [
        job.facts.get("new_labels") or 0
        for job in ended
        if job.facts.get("current") == current and job.outcome not in NO_TRAINING
    ]
    return new - max(tried, default=0) >= wanted
