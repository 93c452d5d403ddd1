"""The bundle that this PC judges with, and its part in a rollout.

A bundle is used only after its answers to the reference images agreed with those of the first PC.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from agent.errors import OutOfResourcesError, is_out_of_resources
from agent.orders.instruments.instrument_checks import judge_references
from agent.retrain.bundle_registry import list_previous_bundles
from agent.service.composition import build_policy, load_bundle
from agent.service.data_folder import bundles_folder, clock
from agent.service.health.database_clock import DatabaseClock
from agent.service.jobs.instrument_check import cropping_apart
from agent.settings import Settings
from agent.store import (
    BY_AGENT,
    REFUSED,
    Rollout,
    RolloutState,
    RolloutTicket,
    Store,
    StoreFaultError,
)
from agent.store.sites.fleet import list_seen
from agent.triage import Policy
from model import Classifier, ModelError
from reports import Message, marked

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
    """

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings, self._store = settings, store
        self._clock = DatabaseClock(store, now=clock)

    def judge(self, ticket: RolloutTicket, classifier: Classifier) -> bool:
        """Judge the reference images, record the answers, return whether this PC takes the bundle.

        Raises:
            OutOfResourcesError: An image cannot be read for want of files or memory.
            StoreFaultError: The database is away.
        """
        with cropping_apart(self._settings) as crops:
            judged, fault = judge_references(
                self._settings.store.folder, crops=crops, classifier=classifier
            )
        answers = judged
        if self._settings.model.precision == ON_EVERY_PC:
            known = {"precision": classifier.engine.precision}
            answers = {crop: answer | known for crop, answer in answers.items()}
        agrees = self._store.rollouts.record_answers(
            ticket, answers, fault=fault or None, at=self._clock()
        )
        log.info("rollout.judged", bundle=classifier.name, agrees=agrees, n=len(judged))
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
        if rollout is not None and rollout.state == RolloutState.RUNNING:
            seen = list_seen(self._store.agents.list_all())
            if moved := self._store.rollouts.advance(seen, at=self._clock()):
                log.info("rollout.moved", bundle=moved.bundle, state=moved.state, step=moved.step)
                rollout = moved
        return describe_stop(rollout) or ""


def describe_stop(rollout: Rollout | None) -> Message | None:
    """Return that a rollout was stopped by an agent, until a person acts on it; None otherwise."""
    if rollout is None or rollout.state != RolloutState.STOPPED or not rollout.why:
        return None
    if rollout.stopped_by != BY_AGENT:
        return None
    return Message(STOPPED, {"bundle": rollout.bundle, "why": rollout.why})


_SERVES_EARLIER = marked("bundle {name} cannot be loaded; {earlier} serves instead: {why}")
_SERVES_NONE = marked("bundle {name} cannot be loaded; every micrograph goes to review: {why}")
SOON_S = 5.0
"""How soon a bundle is tried again that could not be read for want of files or memory."""
TRY_AGAIN_S, TRIED_AGAIN_S = 300.0, 30.0
"""How soon a bundle that could not be loaded is tried again, and how soon that of a rollout: the
operator may restore it."""


@dataclass
class CurrentBundle:
    """The bundle that was promoted last, loaded, and loaded again when another is promoted.

    Where it cannot be loaded the previous one is used, and a problem is reported.

    Args:
        settings: Of the lab.
        store: Names the current bundle.
        converts_apart: Whether networks are converted in a child process, which takes a few seconds
            longer and saves 100 MB as long as this process lives.
    """

    settings: Settings
    store: Store
    converts_apart: bool = False
    name: str | None = None
    classifier: Classifier | None = None
    problem: Message | str = ""
    trial: RingTrial | None = None
    """Tries the bundle of a rollout; None: one of these settings."""
    waits_for: str = ""
    """What has to pass before anything is judged, "" where nothing: a bundle that is there and
    cannot be read for want of files or memory."""
    _refused: str | None = field(default=None, repr=False)
    _again_s: float = field(default=0.0, repr=False)
    _ticket: RolloutTicket | None = field(default=None, repr=False)
    _try_again_s: float = field(default=0.0, repr=False)

    def refresh(self) -> bool:
        """Find which bundle is current, and load it if it is another.

        Returns:
            Whether there is another classifier now.
        """
        before = self.classifier
        with suppress(StoreFaultError):  # the database is away: what serves goes on
            wanted = self.store.rollouts.find_wanted()
            if wanted.name is None or wanted.ticket is None:
                self._ticket = None
                self._follow(wanted.name)
            elif (wanted.ticket, wanted.name) != (self._ticket, self.name):  # a restored number
                self._try(wanted.name, wanted.ticket)
        return self.classifier is not before

    @property
    def trouble(self) -> str:
        """Why its classifier runs degraded, or ""."""
        return self.classifier.degraded_reason if self.classifier else ""

    def release_memory(self) -> None:
        """Release the memory that its networks keep for the next micrograph."""
        if self.classifier is not None:
            from model import release_memory  # noqa: PLC0415 - loaded with the classifier

            release_memory()

    def policy(self) -> Policy:
        """Return the triage policy that goes with it."""
        return build_policy(self.settings, self.classifier, self.store)

    def _try(self, name: str, ticket: RolloutTicket) -> None:
        """Load the bundle of a rollout, and use it if the reference images agree."""
        if time.monotonic() < self._try_again_s:
            return
        try:
            own = self.classifier if self.name == name else None
            classifier = own or self._load(name)
            is_taken = self._get_trial().judge(ticket, classifier)
        except (ModelError, OSError, MemoryError, OutOfResourcesError) as error:
            self._fail_to_try(name, ticket, error)
            return
        if is_taken:
            self._ticket, self.name, self.classifier, self.problem = ticket, name, classifier, ""
            log.info("bundle.taken_up", bundle=name, attempt=ticket.attempt)
        else:
            self._follow(self.store.promotions.find_current())

    def _fail_to_try(self, name: str, ticket: RolloutTicket, error: BaseException) -> None:
        """Record why the bundle of a rollout is not used here; the promoted one is."""
        is_short = isinstance(error, OutOfResourcesError) or is_out_of_resources(error)
        self._try_again_s = time.monotonic() + (SOON_S if is_short else TRIED_AGAIN_S)
        why = str(error) if is_short else self._get_trial().report_failure(ticket, name, str(error))
        self._follow(self.store.promotions.find_current())
        known = {"name": name, "earlier": self.name or "", "why": why}
        self.problem = Message(_SERVES_EARLIER if self.name else _SERVES_NONE, known)

    def _get_trial(self) -> RingTrial:
        self.trial = self.trial or RingTrial(self.settings, self.store)
        return self.trial

    def _follow(self, current: str | None) -> None:
        if current == self.name:
            self.problem, self._refused = "", None
        elif current is None:
            self.name = self.classifier = None
        elif self.waits_for or current != self._refused or time.monotonic() >= self._again_s:
            self._take_up(current)

    def _take_up(self, name: str) -> None:
        self.waits_for = ""
        try:
            self._serve(name)
        except (ModelError, OSError, MemoryError) as error:
            if is_out_of_resources(error):
                self._put_off(name, str(error))
                return
            if self.classifier is None:
                self._serve_one_before(name)
            if not self.waits_for:
                self._refuse(name, str(error))
        else:
            self.problem, self._refused = "", None

    def _put_off(self, name: str, reason: str) -> None:
        """Record that a bundle cannot be read for now, which proves nothing about the bundle."""
        self.problem = f"bundle {name} cannot be read for now and is tried again: {reason}"
        self._refused, self._again_s = name, time.monotonic() + SOON_S
        if self.classifier is None:
            self.waits_for = str(self.problem)

    def _serve(self, name: str) -> None:
        self.classifier = self._load(name)
        self.name = name
        log.info("bundle.taken_up", bundle=name)

    def _load(self, name: str) -> Classifier:
        from model import converting_apart  # noqa: PLC0415 - PyTorch takes seconds

        with converting_apart() if self.converts_apart else nullcontext():
            return load_bundle(self.settings, name)

    def _serve_one_before(self, name: str) -> None:
        """Use the newest bundle that was in use before and can be loaded, if there is one."""
        for earlier in list_previous_bundles(self.store.promotions.list_all()):
            if earlier == name:
                continue
            try:
                return self._serve(earlier)
            except (ModelError, OSError, MemoryError) as error:
                if is_out_of_resources(error):
                    return self._put_off(earlier, str(error))
                log.error("bundle.refused", bundle=earlier, reason=str(error))  # noqa: TRY400 - one sentence
        return None

    def _refuse(self, name: str, reason: str) -> None:
        known = {"name": name, "earlier": self.name or "", "why": reason}
        self.problem = Message(_SERVES_EARLIER if self.name else _SERVES_NONE, known)
        self._again_s = time.monotonic() + TRY_AGAIN_S
        if self._refused == name:
            return
        log.error("bundle.refused", bundle=name, reason=reason, serves=self.name)
        facts = {
            "reason": reason,
            "serves": self.name,
            "said": self.problem.in_english(),
            "message": self.problem.to_json(),
        }
        self.store.records.add(REFUSED, name, by="agent", at=clock(), facts=facts)
        self._refused = name
