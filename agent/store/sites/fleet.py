"""State of every PC of a database, from the heartbeats that the agents record.

A heartbeat carries a few facts of its PC, so a list of 200 PCs is one query.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from agent.site_time import compute_age
from agent.store import AgentSeen, Rollout, RolloutHost, is_absent

KEY = "fleet"
"""Key of these facts in a heartbeat."""
SILENT_AFTER_S = 60.0
"""A heartbeat comes every few seconds."""
CLOCK_TOLERANCE_S = 30.0
"""Beyond it times of different PCs no longer sort; a time server keeps PCs within a second."""
LOW_DISK_SHARE = 0.1
COMPARED = ("version", "bundle", "recipe", "settings")
"""What all running PCs of a site have in common."""


class PcState(StrEnum):
    """State of a PC's agent."""

    RUNNING = "running"
    STOPPED = "stopped"
    SILENT = "silent"


@dataclass(frozen=True, slots=True)
class FleetMember:
    """A PC with its agent.

    Args:
        site: Name of its site.
        name: Name of the PC.
        state: As in `PcState`: silent is one that neither stopped nor recorded a heartbeat.
        started_at: Last start, aware UTC, or None.
        seen_at: Last heartbeat, aware UTC, or None.
        version: Of the program, "" where unknown.
        bundle: Bundle in use, "" for none.
        recipe: Crop recipe of the program.
        settings: Hash of the settings that change answers, "" where unknown.
        queue: Files that wait at its site; None where unknown.
        failed_checks: Control checks that failed; None where unknown.
        problems: Number of problems that the agent reports.
        clock_ahead_s: How far its clock is ahead of the database's, seconds; None where unknown.
        free_bytes: Free bytes on the disk of the data folder, or None.
        total_bytes: Size of this disk in bytes, or None.
        remarks: What differs or needs an operator: "silent", "clock", "disk", "checks",
            "other_version", "other_bundle", "other_recipe", "other_settings".
    """

    site: str
    name: str
    state: PcState
    started_at: datetime | None
    seen_at: datetime | None
    version: str = ""
    bundle: str = ""
    recipe: str = ""
    settings: str = ""
    queue: int | None = None
    failed_checks: int | None = None
    problems: int = 0
    clock_ahead_s: float | None = None
    free_bytes: int | None = None
    total_bytes: int | None = None
    remarks: tuple[str, ...] = ()


def describe_pc(
    status: Mapping[str, Any],
    *,
    bundle: str,
    settings: str,
    recipe: str,
    clock_ahead_s: float,
) -> dict[str, Any]:
    """Return the facts of this PC that a heartbeat carries.

    Args:
        status: As `agent status --json` prints it.
        bundle: The bundle that this PC has loaded, "" for none.
        settings: Hash of the settings that change answers.
        recipe: Crop recipe of this program.
        clock_ahead_s: How far this PC's clock is ahead of the database's, seconds.
    """
    counts, disk = status.get("states") or {}, status.get("disk") or {}
    return {
        "version": status.get("version") or "",
        "bundle": bundle,
        "settings": settings,
        "recipe": recipe,
        "queue": sum(counts.get(state, 0) for state in ("queued", "settling", "processing")),
        "failed_checks": len(status.get("affected_orders") or ()),
        "clock_ahead_s": round(clock_ahead_s, 1),
        "free_bytes": disk.get("free_bytes"),
        "total_bytes": disk.get("total_bytes"),
    }


def list_members(
    agents: Iterable[AgentSeen],
    *,
    now: datetime,
    wanted: Mapping[str, str] | None = None,
) -> list[FleetMember]:
    """Return every PC that ever ran an agent, by site and name.

    Args:
        agents: As the database lists them; a PC that only ran commands is left out.
        now: Aware UTC, by the clock of the database.
        wanted: PC → the bundle that it is to run during a rollout; None: that of most PCs.
    """
    members = [
        _build_member(agent, now) for agent in agents if agent.started_at or agent.facts.get(KEY)
    ]
    return [
        replace(
            member,
            remarks=tuple(_find_remarks(member, members, wanted or {})),
        )
        for member in members
    ]


def list_seen(agents: Iterable[AgentSeen]) -> dict[str, datetime]:
    """Return PC → its last heartbeat by the clock of the database; without those that stopped."""
    return {
        agent.name: seen_at
        for agent in agents
        if (seen_at := find_heartbeat(agent)) and not agent.facts.get("stopped")
    }


def find_heartbeat(agent: AgentSeen) -> datetime | None:
    """Return when a PC was last heard of by the clock of the database, or None."""
    return agent.seen_at - timedelta(seconds=_get_ahead_s(agent)) if agent.seen_at else None


def is_alive(agent: AgentSeen, *, now: datetime) -> bool:
    """Return whether a PC's agent runs; `now` is by the clock of the database."""
    seen_at = None if agent.facts.get("stopped") else find_heartbeat(agent)
    age = compute_age(seen_at, now) if seen_at else None
    return age is not None and age.total_seconds() <= SILENT_AFTER_S


def _build_member(agent: AgentSeen, now: datetime) -> FleetMember:
    facts = agent.facts.get(KEY)
    known = facts if isinstance(facts, dict) else {}
    return FleetMember(
        site=agent.site,
        name=agent.name,
        state=_get_state(agent, now),
        started_at=agent.started_at,
        seen_at=agent.seen_at,
        version=str(known.get("version") or ""),
        bundle=str(known.get("bundle") or ""),
        recipe=str(known.get("recipe") or ""),
        settings=str(known.get("settings") or ""),
        queue=known.get("queue"),
        failed_checks=known.get("failed_checks"),
        problems=len(agent.facts.get("problems") or ()),
        clock_ahead_s=known.get("clock_ahead_s"),
        free_bytes=known.get("free_bytes"),
        total_bytes=known.get("total_bytes"),
    )


def _get_state(agent: AgentSeen, now: datetime) -> PcState:
    if agent.facts.get("stopped"):
        return PcState.STOPPED
    return PcState.RUNNING if is_alive(agent, now=now) else PcState.SILENT


def _get_ahead_s(agent: AgentSeen) -> float:
    """Return how far (s) the clock is ahead that a PC's last heartbeat was stored by."""
    known = agent.facts.get(KEY)
    return float(known.get("clock_ahead_s") or 0.0) if isinstance(known, dict) else 0.0


def _find_remarks(
    member: FleetMember,
    members: Sequence[FleetMember],
    wanted: Mapping[str, str],
) -> list[str]:
    if member.state is PcState.STOPPED:
        return []
    remarks = ["silent"] if member.state is PcState.SILENT else []
    if member.clock_ahead_s is not None and abs(member.clock_ahead_s) > CLOCK_TOLERANCE_S:
        remarks.append("clock")
    if member.total_bytes and (member.free_bytes or 0) < LOW_DISK_SHARE * member.total_bytes:
        remarks.append("disk")
    if member.failed_checks:
        remarks.append("checks")
    running = [m for m in members if m.site == member.site and m.state is PcState.RUNNING]
    differs = {name: _is_other(member, running, name) for name in COMPARED}
    if member.name in wanted and member.state is PcState.RUNNING:
        differs["bundle"] = member.bundle != wanted[member.name]
    return remarks + [f"other_{name}" for name in COMPARED if differs[name]]


def _is_other(member: FleetMember, running: Sequence[FleetMember], name: str) -> bool:
    counts = Counter(getattr(m, name) for m in running)
    if len(counts) < 2 or member.state is not PcState.RUNNING:  # noqa: PLR2004 - two differ
        return False
    usual = max(counts, key=lambda value: (counts[value], value))
    return bool(getattr(member, name) != usual)


def to_json(member: FleetMember) -> dict[str, Any]:
    """Return a PC as `agent fleet --json` prints it."""
    document = asdict(member)
    for name in ("started_at", "seen_at"):
        at = document[name]
        document[name] = at.isoformat() if at else None
    return {**document, "state": str(member.state), "remarks": list(member.remarks)}


def rollout_to_json(
    rollout: Rollout,
    hosts: Mapping[str, RolloutHost],
    *,
    seen: Mapping[str, datetime],
    now: datetime,
) -> dict[str, Any]:
    """Return a rollout with its PCs as `agent models rollout --json` prints it.

    Args:
        rollout: The rollout.
        hosts: Its PCs by name.
        seen: As `list_seen` returns it.
        now: By the clock of the database, aware UTC.
    """
    pcs = [
        {
            "name": name,
            "ring": host.ring,
            "state": host.state,
            "absent": is_absent(seen.get(name), rollout.rules, now=now),
            "judged_at": host.judged_at.isoformat() if host.judged_at else None,
            "n": host.n,
            "same_codes": host.same_codes,
            "max_difference": host.max_difference,
            "message": host.message.in_english(),
        }
        for name, host in hosts.items()
    ]
    return {
        "bundle": rollout.bundle,
        "previous": rollout.previous,
        "state": rollout.state,
        "ring": rollout.step,
        "attempt": rollout.attempt,
        "by": rollout.by,
        "reason": rollout.reason,
        "started_at": rollout.started_at.isoformat(),
        "ring_at": rollout.step_at.isoformat(),
        "ended_at": rollout.ended_at.isoformat() if rollout.ended_at else None,
        "stopped_by": rollout.stopped_by,
        "why": rollout.why.in_english(),
        "first_pc": rollout.baseline_host,
        "rings": rollout.rules.to_json(),
        "pcs": pcs,
    }
