"""Settings versions in rings: this PC tries the version that it is to apply, and applies it.

A version is applied by a restart of the agent between two batches, so each micrograph is judged
with one version from its beginning to its end.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from agent.errors import AgentError, OutOfResources, is_out_of_resources
from agent.lab_context import apply_version
from agent.service.composition import load_bundle
from agent.service.data_folder import clock
from agent.service.database_clock import DatabaseClock
from agent.service.jobs.rollout import RingTrial
from agent.settings import find_pc_name, remove_applied, save_applied
from agent.store import StoreFault
from model import ModelError
from reports import Message, marked

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from agent.settings import Settings
    from agent.store import RolloutTicket, SettingsVersion, Store

log = structlog.get_logger()

TRIED_AGAIN_S = 30.0
NOT_APPLIED = marked(
    "settings version {version} cannot be used here, the earlier settings go on: {why}"
)
REFUSED = marked("settings version {version} cannot be used here: {why}")


class SettingsFollower:
    """Finds which settings version this PC is to apply, tries it and writes it down.

    Args:
        settings: In effect, with or without a version.
        store: Names the wanted version.
        pc: Name of this PC.
        now: Returns the time of this PC, aware UTC.
        steady: A clock that cannot be set, in seconds.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        *,
        pc: str = "",
        now: Callable[[], datetime] = clock,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._store, self._now = settings, store, now
        self._pc, self._steady = pc or find_pc_name(), steady
        self._clock = DatabaseClock(store, now=now)
        self._try_again_s = self._apply_again_s = 0.0
        self._noted = settings.version
        """Version that the next start applies."""
        self.problem: Message | str = ""
        """That the version in use cannot be applied here, "" for none."""

    def align(self) -> bool:
        """Write down the version that this PC is to apply, without trying another one.

        Returns:
            Whether it is another one than is in effect, so that the agent has to start again.
        """
        try:
            return self._apply(self._store.settings_versions.find_wanted().applied)
        except StoreFault:  # the database is unavailable: what is in effect goes on
            return False

    def refresh(self) -> bool:
        """Try the version of a rollout whose ring this PC is in, and do the same as `align`.

        Call it between two batches.
        """
        try:
            wanted = self._store.settings_versions.find_wanted()
            if wanted.tried and wanted.ticket and not wanted.is_agreed:
                if self._steady() >= self._try_again_s:
                    self._try(wanted.tried, wanted.ticket)
                wanted = self._store.settings_versions.find_wanted()
            return self._apply(wanted.applied)
        except StoreFault:
            return False

    def _apply(self, wanted: SettingsVersion | None) -> bool:
        version = wanted.version if wanted else ""
        is_in_effect = version == self._settings.version
        if version == self._noted:
            if is_in_effect:
                self.problem = ""
            return not is_in_effect
        if self._steady() < self._apply_again_s:
            return False
        try:
            self._write(wanted)
        except (AgentError, ModelError, OSError) as error:
            self._apply_again_s = self._steady() + TRIED_AGAIN_S
            self.problem = Message(NOT_APPLIED, {"version": version or "-", "why": str(error)})
            return False
        log.info("settings.applied", version=version, instead_of=self._noted)
        self._noted, self.problem = version, ""
        return not is_in_effect

    def _write(self, wanted: SettingsVersion | None) -> None:
        data = self._settings.store.folder
        if wanted is None:
            remove_applied(data, self._pc)
            return
        apply_version(self._settings, wanted)
        save_applied(data, self._pc, wanted.content)

    def _try(self, version: SettingsVersion, ticket: RolloutTicket) -> None:
        """Judge the reference images with a version, and record the answers."""
        try:
            settings = apply_version(self._settings, version)
            bundle = self._store.rollouts.find_wanted().name
            classifier = load_bundle(settings, bundle or "")  # one was in use at the start
            RingTrial(settings, self._store, now=self._now).judge(ticket, classifier)
        except (AgentError, ModelError, OSError, MemoryError) as error:
            if isinstance(error, StoreFault):
                raise
            if isinstance(error, OutOfResources) or is_out_of_resources(error):
                self._try_again_s = self._steady() + TRIED_AGAIN_S
                log.warning("settings.put_off", version=version.version, reason=str(error))
                return
            why = Message(REFUSED, {"version": version.version, "why": str(error)})
            self._store.rollouts.record_failure(ticket, why, is_missing=False, at=self._clock())
            log.error("settings.refused", version=version.version, reason=str(error))  # noqa: TRY400 - one sentence
