"""Write each night's report in time, or afterwards.

Missing nights are queried from the database, never remembered: a PC that slept, a job that ran
twice in the hour that autumn repeats, or one that crashed end with the same reports.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

from agent.errors import AgentError
from agent.nightly import (
    missing_nights,
    missing_periods,
    night_settings,
    write_index,
    write_period,
    write_report,
)
from agent.nightly.novelty_sampling import list_farthest
from agent.service.jobs.outbound import plan_notice
from agent.site_folders import reports_folder
from agent.site_time import compute_night_period
from agent.triage import Reason
from model import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date, datetime

    from agent.archive import Archive
    from agent.nightly import NightSettings
    from agent.service.problems import Problems
    from agent.settings import Settings
    from agent.store import Store

log = structlog.get_logger()

ALWAYS: dict[str, Any] = {"misfire_grace_time": None, "coalesce": True, "max_instances": 1}
"""A job that is late still runs: APScheduler would drop it after one second."""
LOOK_AGAIN_S = 1800


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
        self._scheduler = BackgroundScheduler(timezone=settings.site.time_zone)

    def start(self) -> None:
        """Begin; what was missed is written at once."""
        at, zone = self._settings.night.at, self._settings.site.time_zone
        daily = CronTrigger(hour=at.hour, minute=at.minute, timezone=zone)
        self._scheduler.add_job(self.catch_up, daily, id="night", **ALWAYS)
        again = IntervalTrigger(seconds=LOOK_AGAIN_S)
        self._scheduler.add_job(
            self.catch_up, again, id="catch up", next_run_time=self._now(), **ALWAYS
        )
        self._scheduler.start()

    def stop(self) -> None:
        """Stop; a report in progress is finished, whole or not at all."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)

    def next_at(self) -> datetime | None:
        """Return when the next report is due, aware."""
        job = self._scheduler.get_job("night") if self._scheduler.running else None
        at: datetime | None = job.next_run_time if job else None
        return at

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
