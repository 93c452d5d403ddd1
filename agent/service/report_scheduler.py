"""Write each night's report in time, or afterwards.

Missing nights are queried from the database, never remembered: a PC that slept, a job that ran
twice in the hour that autumn repeats, or one that crashed end with the same reports.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from agent.errors import AgentError
from agent.nightly import (
    missing_nights,
    missing_periods,
    night_settings,
    write_index,
    write_period,
    write_report,
)
from agent.nightly.facts.novelty_sampling import list_farthest
from agent.service.jobs.outbound import plan_notice
from agent.site_time import compute_night_period, night_of
from agent.store.sites.site_folders import reports_folder
from agent.triage import Reason
from model import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date, datetime

    from agent.archive import Archive
    from agent.nightly import NightSettings
    from agent.service.health.problems import Problems
    from agent.settings import Settings
    from agent.store import Store

log = structlog.get_logger()

NIGHT_EVERY_S = 15.0
LOOK_AGAIN_S = 1800.0


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
            self._night, self._again_s = night, time.monotonic() + LOOK_AGAIN_S
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
