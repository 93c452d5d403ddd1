"""Rollouts in rings: this PC tries the bundle that it is to take, and moves the rings on.

A bundle is used only after its answers to the reference images agreed with those of the first PC.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from agent.orders.instruments.instrument_checks import judge_references
from agent.service.folder.data_folder import bundles_folder, clock
from agent.service.health.database_clock import DatabaseClock
from agent.service.jobs.reference_crops import cropping_apart
from agent.store import BY_AGENT, RolloutState
from agent.store.sites.fleet import list_seen
from reports import Message, marked

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from agent.settings import Settings
    from agent.store import Rollout, RolloutTicket, Store
    from model import Classifier

log = structlog.get_logger()

ROLLOUT_EVERY_S = 5.0
ON_EVERY_PC = "bf16"
"""Precision that a PC without it replaces by fp32, so that PCs would compute differently."""
MISSING = marked("the bundle is not in {folder}: copy it there (agent models add)")
DAMAGED = marked("the bundle cannot be loaded: {why}")
STOPPED = marked(
    "the rollout of {bundle} was stopped: {why}. Every PC is back on what was in use; see agent "
    "models rollout."
)


class RingTrial:
    """Tries the bundle of a rollout on this PC.

    Args:
        settings: Of the lab.
        store: Where the answers are recorded.
        now: Returns the time of this PC, aware UTC.
    """

    def __init__(
        self, settings: Settings, store: Store, *, now: Callable[[], datetime] = clock
    ) -> None:
        self._settings, self._store = settings, store
        self._clock = DatabaseClock(store, now=now)

    def judge(self, ticket: RolloutTicket, classifier: Classifier) -> bool:
        """Judge the reference images, record the answers, return whether this PC takes the bundle.

        Raises:
            OutOfResources: An image cannot be read for want of files or memory.
            StoreFault: The database is away.
        """
        with cropping_apart(self._settings) as crops:
            judged = judge_references(
                self._settings.store.folder, crops=crops, classifier=classifier
            )
        answers = judged.answers
        if self._settings.model.precision == ON_EVERY_PC:
            known = {"precision": classifier.engine.precision}
            answers = {crop: answer | known for crop, answer in answers.items()}
        agrees = self._store.rollouts.record_answers(
            ticket, answers, fault=judged.fault or None, at=self._clock()
        )
        log.info("rollout.judged", bundle=classifier.name, agrees=agrees, n=len(judged.answers))
        return agrees

    def report_failure(self, ticket: RolloutTicket, name: str, reason: str) -> Message:
        """Record and return why this PC cannot load the bundle; one that is damaged stops all."""
        folder = bundles_folder(self._settings)
        is_missing = not (folder / name / "bundle.json").is_file()
        message = (
            Message(MISSING, {"folder": str(folder)})
            if is_missing
            else Message(DAMAGED, {"why": reason})
        )
        self._store.rollouts.record_failure(
            ticket, message, is_missing=is_missing, at=self._clock()
        )
        log.error("rollout.failed", bundle=name, reason=reason, missing=is_missing)
        return message


class RolloutLeader:
    """Moves the running rollout on; every agent does it, and one of them succeeds.

    Args:
        store: Open.
        now: Returns the time of this PC, aware UTC.
    """

    def __init__(self, store: Store, *, now: Callable[[], datetime]) -> None:
        self._store, self._clock = store, DatabaseClock(store, now=now)

    def tend(self) -> Message | str:
        """Move on what is due, and return the problem: that answers differed, "" for none."""
        rollout = self._store.rollouts.find_latest()
        if rollout is not None and rollout.state is RolloutState.RUNNING:
            seen = list_seen(self._store.agents.list_all())
            if moved := self._store.rollouts.advance(seen, at=self._clock()):
                log.info("rollout.moved", bundle=moved.bundle, state=moved.state, step=moved.step)
                rollout = moved
        return describe_stop(rollout) or ""


def describe_stop(rollout: Rollout | None) -> Message | None:
    """Return that a rollout was stopped by an agent, until a person acts on it; None otherwise."""
    if rollout is None or rollout.state is not RolloutState.STOPPED or not rollout.why:
        return None
    if rollout.stopped_by != BY_AGENT:
        return None
    return Message(STOPPED, {"bundle": rollout.bundle, "why": rollout.why})
