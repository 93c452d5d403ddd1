"""Run what is due: periodic jobs, each night's report, and the training of candidates.

What is due is queried from the database, never remembered: a PC that slept, a job that ran twice in
the hour that autumn repeats, or an agent that was stopped in the middle end with the same reports
and resume where they stopped. A share that hangs or a mail server that is unavailable delays the
thread of its job, and no other.

Uncertainty and OOD scores find what is hard for a model; ordinary fields far from every training
image improve it as much. So a night also suggests those for labelling, one of each specimen, since
its fields are alike, the farthest first.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import structlog

from agent.archive import Archive
from agent.delivery.mail import send_notice
from agent.errors import AgentError, UsageError
from agent.nightly import (
    NightSettings,
    missing_nights,
    missing_periods,
    night_settings,
    write_index,
    write_period,
    write_report,
)
from agent.retrain import Gate, Outcome
from agent.retrain.promotion import DAYS, SHADOW
from agent.service.health.problems import Problems
from agent.service.jobs.exchange import plan_notice
from agent.service.jobs.retrain import (
    JOB,
    SUGGEST,
    find_training_job,
    suggest_in_child,
    train_first_in_child,
    train_in_child,
)
from agent.service.jobs.shadow import find_waiting_candidate, has_news, judge_in_child
from agent.service.jobs.supervisor import JobCancelledError
from agent.settings import WEEKDAYS, Settings
from agent.site_time import compute_age, compute_night_period, night_of
from agent.store import Job, MicrographView, Store, StoreFaultError
from agent.store.sites.site_folders import reports_folder
from agent.triage import Handling, Reason
from model import ModelError
from reports import Message

log = structlog.get_logger()


class PeriodicThread(threading.Thread):
    """The thread of one periodic job.

    Args:
        name: Of the thread and of its problem.
        errand: The job; returns a problem for the operator, "" for none, None where the previous
            one is still valid.
        every_s: Seconds between two runs.
        problems: Where problems are reported.
    """

    def __init__(
        self,
        name: str,
        errand: Callable[[], Message | str | None],
        *,
        every_s: float,
        problems: Problems,
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._errand, self._every_s, self._problems = errand, every_s, problems
        self._stopping = threading.Event()

    def run(self) -> None:
        """Run the job until stopped; a fault costs time, never the thread."""
        while not self._stopping.is_set():
            self.run_round()
            self._stopping.wait(self._every_s)

    def run_round(self) -> None:
        """Run the job once, and report its problem."""
        problem: Message | str | None
        try:
            problem = self._errand()
        except (AgentError, ModelError, StoreFaultError, OSError) as fault:
            problem = f"{self.name}: {fault}"
        except Exception as error:
            log.exception("errand.crashed", errand=self.name)
            problem = f"{self.name}: {type(error).__name__}: {error}"
        if problem is not None:
            self._problems.say(self.name, problem)

    def stop(self) -> None:
        """Request that it stops."""
        self._stopping.set()


DISTANCE = "knn"
"""The companion score that is the cosine distance to the nearest reference image."""


def list_farthest(views: Iterable[MicrographView], most: int) -> list[str]:
    """Return the public ids of the micrographs farthest from the training images.

    Args:
        views: Of a night; those that are flagged or labelled are left out.
        most: How many at most.
    """
    best: dict[tuple[str, ...], tuple[float, str]] = {}
    for view in views:
        distance = view.result.strangeness.companions.get(DISTANCE)
        if distance is None or view.label is not None or view.result.handling != Handling.AUTOMATIC:
            continue
        process_data = view.process_data
        specimen = process_data.get("specimen")
        key = (process_data.get("order", ""), specimen) if specimen else (view.id,)
        best[key] = max(best.get(key, (float("-inf"), "")), (float(distance), view.id))
    ranked = sorted(best.values(), key=lambda scored: (-scored[0], scored[1]))
    return [public_id for _distance, public_id in ranked[:most]]


NIGHT_EVERY_S = 15.0
REPORT_AGAIN_S = 1800.0


class ReportScheduler:
    """The schedule of reports.

    Args:
        settings: Of the lab.
        store, archive: What is reported.
        now: Returns the time, aware UTC.
        problems: Where problems are reported.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        archive: Archive,
        *,
        now: Callable[[], datetime],
        problems: Problems,
    ) -> None:
        self._settings, self._store, self._archive = settings, store, archive
        self._now, self._problems = now, problems
        self._night: date | None = None
        self._again_s = 0.0

    def tend(self) -> None:
        """Catch up where the night is another one than before, and every half hour.

        A time that was waited for would be next year's where the clock was wrong for an evening.
        """
        night = night_of(self._now(), self._settings.night.at, self._settings.site.time_zone)
        if night != self._night or time.monotonic() >= self._again_s:
            self._night, self._again_s = night, time.monotonic() + REPORT_AGAIN_S
            self.catch_up()

    def catch_up(self) -> None:
        """Write every night that is over and has no report."""
        try:
            lab = night_settings(self._settings, self._store, now=self._now())
            folder = reports_folder(self._settings.store.folder, self._store)
            for night in missing_nights(self._store, folder, lab, now=self._now()):
                is_new = self._store.nightly_reports.find(night) is None
                written = write_report(
                    self._store,
                    self._archive,
                    folder,
                    night,
                    lab,
                    now=self._now(),
                    with_pdf=self._settings.report.is_delivered,
                )
                if is_new:
                    self._ask_for_diversity(night, lab)
                plan_notice(self._settings, self._store, self._archive, written, now=self._now())
            periods = missing_periods(self._store, folder, lab, now=self._now())
            for period in periods:
                write_period(self._store, folder, period, lab, now=self._now())
            if periods:
                write_index(self._store, folder, lab, now=self._now())
        except (AgentError, ModelError, OSError) as error:
            self._problems.say("night", f"the night's report could not be written: {error}")
            log.error("night.failed", reason=str(error))  # noqa: TRY400 - the sentence says it all
        except Exception as error:
            self._problems.say("night", f"the night's report crashed: {error}")
            log.exception("night.crashed")
            raise
        else:
            self._problems.say("night", "")

    def _ask_for_diversity(self, night: date, lab: NightSettings) -> None:
        most = self._settings.triage.diverse_per_night
        if not most:
            return
        after, until = compute_night_period(night, lab.at, lab.zone)
        picked = list_farthest(self._store.results.list_between(after, until), most)
        self._store.review_queue.add(picked, Reason.UNLIKE_TAUGHT, by="agent", at=self._now())
        log.info("micrographs.asked_again", night=night.isoformat(), n=len(picked))


TRAIN_AGAIN_S, SHADOW_AGAIN_S = 600.0, 3600.0
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
        except (
            UsageError,
            JobCancelledError,
        ) as ended:  # no bundle yet, the same runs by hand, or an act
            log.info("candidate.waits", job=what, reason=str(ended))
        except (AgentError, ModelError, StoreFaultError, OSError) as error:
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
