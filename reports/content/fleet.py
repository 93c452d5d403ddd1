"""What the page of the PCs shows, in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reports.content.components import Fact, Link, Tone
    from reports.content.learning import SignForm


@dataclass(frozen=True, slots=True)
class PcLine:
    """A PC with its agent, in words.

    Args:
        site: Name of its site.
        name: Name of the PC.
        tone: Of its state.
        state: Its state in words.
        seen: Last heartbeat.
        version: Of the program.
        bundle: In use.
        recipe: Of the crops.
        queue: Files that wait.
        clock: How far its clock is ahead.
        disk: Free on the disk of the data folder.
        remarks: What differs or needs an operator.
    """

    site: str
    name: str
    tone: Tone
    state: str
    seen: str
    version: str
    bundle: str
    recipe: str
    queue: str
    clock: str
    disk: str
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RolloutPc:
    """A PC in a rollout, in words.

    Args:
        name: Name of the PC.
        ring: Its ring.
        tone: Of its answers, None where its ring was not reached.
        verdict: Whether its answers to the reference images agree.
        wanted: The bundle that it is to run now, "" for none.
        in_use: The bundle that it has loaded.
        same_codes: How many reference crops got the same structure code.
        difference: Largest difference of a probability.
        message: What differs or is missing.
    """

    name: str
    ring: str
    tone: Tone | None
    verdict: str
    wanted: str
    in_use: str
    same_codes: str
    difference: str
    message: str


@dataclass(frozen=True, slots=True)
class RolloutView:
    """A bundle that the PCs of a site take in rings.

    Args:
        title: Which one.
        state: Its state in words.
        tone: Of its state.
        why: Why it was stopped, "" where it was not.
        facts: Ring, counts, signature, times.
        pcs: Ring by ring.
        stop: Text of the button that stops it, "" for none.
        sign: The form that continues a stopped one; None where not permitted.
        refreshes: The page loads itself again.
    """

    title: str
    state: str
    tone: Tone
    why: str
    facts: tuple[Fact, ...]
    pcs: tuple[RolloutPc, ...]
    stop: str
    sign: SignForm | None
    refreshes: bool


@dataclass(frozen=True, slots=True)
class FleetPage:
    """Every PC that ever ran an agent.

    Args:
        site: The lab's name.
        reviewer: Who reads the page, "" where unknown.
        headline: How many PCs run, and how many need an operator.
        pcs: By site and name.
        other: The same page of all sites, or of this one alone; None where not permitted.
        rollout: The newest rollout of this site, None before the first.
        start: The form that starts one; None where not permitted.
        bundles: Names of the bundles to choose from in this form.
        message: What an act has led to, "" for nothing.
        is_refused: The act was refused.
    """

    site: str
    reviewer: str
    headline: str
    pcs: tuple[PcLine, ...]
    other: Link | None = None
    rollout: RolloutView | None = None
    start: SignForm | None = None
    bundles: tuple[str, ...] = ()
    message: str = ""
    is_refused: bool = False
