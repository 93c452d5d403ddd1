"""The bundle that this PC judges with: the promoted one, or that of a rollout whose turn it is."""

from __future__ import annotations

import time
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from agent.errors import OutOfResources, is_out_of_resources
from agent.retrain.bundle_registry import list_previous_bundles
from agent.service.composition import build_policy, load_bundle
from agent.service.folder.data_folder import clock
from agent.service.jobs.rollout import RingTrial
from agent.store import REFUSED, StoreFault
from model import ModelError
from reports import Message, marked

if TYPE_CHECKING:
    from agent.settings import Settings
    from agent.store import RolloutTicket, Store
    from agent.triage import Policy
    from model import Classifier

log = structlog.get_logger()

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
        with suppress(StoreFault):  # the database is away: what serves goes on
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
        except (ModelError, OSError, MemoryError, OutOfResources) as error:
            self._fail_to_try(name, ticket, error)
            return
        if is_taken:
            self._ticket, self.name, self.classifier, self.problem = ticket, name, classifier, ""
            log.info("bundle.taken_up", bundle=name, attempt=ticket.attempt)
        else:
            self._follow(self.store.promotions.find_current())

    def _fail_to_try(self, name: str, ticket: RolloutTicket, error: BaseException) -> None:
        """Record why the bundle of a rollout is not used here; the promoted one is."""
        is_short = isinstance(error, OutOfResources) or is_out_of_resources(error)
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
