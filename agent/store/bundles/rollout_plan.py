"""Decisions of a rollout: which PC runs which bundle, whether answers agree, what comes next.

Nothing here reads or writes. A PC takes the new bundle only if its ring has been reached and its
own answers to the reference images agreed, so one that differs never judges a micrograph with it.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import asdict, dataclass
from datetime import timedelta
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Any

from agent.site_time import compute_age
from reports import Message, marked

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime

    from agent.store.tables import Rollout, RolloutHost

BY_AGENT = "agent"
"""Who stopped a rollout because answers differed."""
OF_PERSON = "agent (person)"
"""Who stopped a rollout where the person has the name of the agents, as an account may have."""
TOLERANCE = 0.01
"""Largest difference of a probability between two PCs. The engines of a bundle, bfloat16 and int8
too, move a logit by up to 0.004, and so a probability by less."""

CODES_DIFFER = marked("{image}: structure code {found}, {wanted} on {pc}")
PROBABILITY_DIFFERS = marked("{image}: probability {found}, {wanted} on {pc}")
PRECISION_DIFFERS = marked("{image}: computed in {found}, in {wanted} on {pc}")
NO_NUMBER = marked("{image}: the probability is no number")
IMAGES_MISSING = marked("{pc}: {n} of {of} reference images of {before} were not judged")
NO_COMMON_IMAGE = marked("no reference image of {pc} could be judged")
OTHER_PROMOTED = marked("another bundle was promoted during the rollout: {bundle}")
RESTORED = marked("a backup was restored that was made during the rollout")
ON_PC = marked("{pc}: {why}")


class Ring(IntEnum):
    """Rings: the named PCs, a share of the others, and the rest."""

    NAMED = 1
    SHARE = 2
    ALL = 3


class RolloutState(StrEnum):
    """State of a rollout."""

    RUNNING = "running"
    STOPPED = "stopped"
    DONE = "done"


class HostState(StrEnum):
    """What a PC answered with the new bundle; missing: its folder lacks the bundle."""

    WAITING = "waiting"
    AGREED = "agreed"
    DIFFERS = "differs"
    REFUSED = "refused"
    MISSING = "missing"


BAD = (HostState.DIFFERS, HostState.REFUSED)
"""Answers that stop a rollout."""


@dataclass(frozen=True, slots=True)
class RingRules:
    """Which PCs take a bundle when.

    Args:
        first: Names of the PCs of ring 1.
        share: Share of the other PCs that make up ring 2, 0 to 1; at least one PC.
        wait_minutes: How long each ring lasts at least.
        absent_minutes: A PC without a heartbeat for so long is not waited for.
        tolerance: Largest difference of a probability between two PCs.
    """

    first: tuple[str, ...]
    share: float = 0.1
    wait_minutes: float = 60.0
    absent_minutes: float = 10.0
    tolerance: float = TOLERANCE

    def to_json(self) -> dict[str, Any]:
        """Return them as stored."""
        return {**asdict(self), "first": list(self.first)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> RingRules:
        """Return rules as stored."""
        return cls(**{**document, "first": tuple(document["first"])})


@dataclass(frozen=True, slots=True)
class RolloutTicket:
    """The permission to try the bundle of a rollout on one PC.

    Args:
        rollout_id: Number of the rollout.
        attempt: Its attempt; an answer of an earlier one is refused.
    """

    rollout_id: int
    attempt: int


@dataclass(frozen=True, slots=True)
class WantedBundle:
    """The bundle that a PC is to run.

    Args:
        name: Of the bundle, or None for none.
        ticket: Of the rollout that it belongs to, None where it is the promoted bundle.
    """

    name: str | None
    ticket: RolloutTicket | None = None


@dataclass(frozen=True, slots=True)
class AnswerComparison:
    """Comparison of a PC's answers with those of the first PC.

    Args:
        n: Number of reference crops that both judged.
        same_codes: Number of those with the same code.
        max_difference: Largest difference of a probability, None where none was compared.
        message: The first difference; empty where they agree.
    """

    n: int
    same_codes: int
    max_difference: float | None
    message: Message


class Next(StrEnum):
    """What a rollout does next."""

    WAIT = "wait"
    ADVANCE = "advance"
    FINISH = "finish"
    STOP = "stop"


def assign_rings(names: Collection[str], rules: RingRules) -> dict[str, Ring]:
    """Return the ring of each PC.

    Ring 2 are the PCs whose names have the smallest hashes, so that it is the same ones each time.

    Args:
        names: PCs of the site.
        rules: Of the rollout.
    """
    named = {name.casefold() for name in rules.first}
    others = sorted(
        (name for name in names if name.casefold() not in named),
        key=lambda name: hashlib.sha256(name.casefold().encode()).digest(),
    )
    n_share = min(len(others), max(1, math.ceil(rules.share * len(others) - 1e-9)))
    share = frozenset(others[:n_share])
    return {
        name: Ring.NAMED if name.casefold() in named else Ring.SHARE if name in share else Ring.ALL
        for name in names
    }


def find_wanted(current: str | None, rollout: Rollout | None, ring: int) -> WantedBundle:
    """Return the bundle that a PC is to run.

    Args:
        current: The promoted bundle, or None.
        rollout: The site's newest rollout, or None.
        ring: The PC's ring.
    """
    if (
        rollout is None
        or rollout.state != RolloutState.RUNNING
        or rollout.previous != current
        or ring > rollout.step
    ):
        return WantedBundle(current)
    return WantedBundle(rollout.bundle, RolloutTicket(rollout.id, rollout.attempt))


def compare_answers(
    before: Mapping[str, Mapping[str, Any]],
    answers: Mapping[str, Mapping[str, Any]],
    *,
    tolerance: float,
    pc: str,
    before_pc: str,
) -> AnswerComparison:
    """Compare two PCs' answers to the reference images.

    Args:
        before: Crop → the first PC's answer: "image", "code" and "probability"; "precision" where
            the settings name one that all PCs have to compute in.
        answers: The same of the PC that is compared.
        tolerance: Largest difference of a probability.
        pc: Name of the PC that is compared.
        before_pc: Name of the first PC.
    """
    common = sorted(before.keys() & answers.keys())
    messages: list[Message] = []
    same, largest = 0, None
    for crop in common:
        was, found = before[crop], answers[crop]
        facts = {"image": str(found["image"]), "pc": before_pc}
        if found["code"] != was["code"]:
            codes = {"found": str(found["code"]), "wanted": str(was["code"])}
            messages.append(Message(CODES_DIFFER, facts | codes))
            continue
        same += 1
        precisions = {"found": found.get("precision", ""), "wanted": was.get("precision", "")}
        if all(precisions.values()) and len(set(precisions.values())) > 1:
            messages.append(Message(PRECISION_DIFFERS, facts | precisions))
        if not _has_number(found):
            messages.append(Message(NO_NUMBER, {"image": str(found["image"])}))
            continue
        difference = abs(float(found["probability"]) - float(was["probability"]))
        largest = difference if largest is None else max(largest, difference)
        if not difference <= tolerance:
            values = {"found": f"{found['probability']:.4f}", "wanted": f"{was['probability']:.4f}"}
            messages.append(Message(PROBABILITY_DIFFERS, facts | values))
    if not common:
        messages.append(Message(NO_COMMON_IMAGE, {"pc": pc}))
    elif missing := len(before) - len(common):
        facts = {"pc": pc, "n": str(missing), "of": str(len(before)), "before": before_pc}
        messages.append(Message(IMAGES_MISSING, facts))
    return AnswerComparison(len(common), same, largest, messages[0] if messages else Message(""))


def have_numbers(answers: Mapping[str, Mapping[str, Any]]) -> bool:
    """Return whether all probabilities are numbers, so that others can be compared with them."""
    return all(_has_number(answer) for answer in answers.values())


def _has_number(answer: Mapping[str, Any]) -> bool:
    return math.isfinite(float(answer["probability"]))


def is_absent(seen_at: datetime | None, rules: RingRules, *, now: datetime) -> bool:
    """Return whether a PC is off, so that a rollout does not wait for it.

    Args:
        seen_at: Its last heartbeat by the clock of the database, None where it stopped.
        rules: Of the rollout.
        now: By the clock of the database.
    """
    age = compute_age(seen_at, now) if seen_at else None
    return age is None or age > timedelta(minutes=rules.absent_minutes)


def decide_next(
    rollout: Rollout,
    hosts: Mapping[str, RolloutHost],
    *,
    seen: Mapping[str, datetime],
    current: str | None,
    now: datetime,
) -> tuple[Next, Message]:
    """Return what a running rollout does next, and why it stops where it does.

    A ring ends when its time is over and every PC of it that is on agrees. At least one PC has to
    agree: rings of PCs that are off prove nothing.

    Args:
        rollout: Running.
        hosts: Its PCs by name.
        seen: PC → its last heartbeat by the clock of the database; without those that stopped.
        current: The promoted bundle, or None.
        now: By the clock of the database, aware UTC.
    """
    if current != rollout.previous:
        return Next.STOP, Message(OTHER_PROMOTED, {"bundle": current or "-"})
    for name, host in hosts.items():
        if host.state in BAD:
            return Next.STOP, Message(ON_PC, {"pc": name, "why": host.message})
    rules = rollout.rules
    due = {name: host for name, host in hosts.items() if host.ring <= rollout.step}
    waits = any(
        host.state != HostState.AGREED and not is_absent(seen.get(name), rules, now=now)
        for name, host in due.items()
    )
    proved = any(host.state == HostState.AGREED for host in due.values())
    age = compute_age(rollout.step_at, now)
    is_early = age is not None and age < timedelta(minutes=rules.wait_minutes)
    if waits or not proved or is_early:
        return Next.WAIT, Message("")
    later = any(host.ring > rollout.step for host in hosts.values())
    return Next.ADVANCE if later else Next.FINISH, Message("")


def find_next_step(rollout: Rollout, hosts: Mapping[str, RolloutHost]) -> int:
    """Return the next ring that has PCs."""
    return min(host.ring for host in hosts.values() if host.ring > rollout.step)
