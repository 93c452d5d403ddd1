"""Rows of rollouts: find them, begin one, refuse a promotion while one is running."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from agent.errors import UsageError
from agent.store.bundles.rollout_plan import HostState, Ring, RingRules, RolloutState, assign_rings
from agent.store.engine import AgentIdentity
from agent.store.evidence import audit_log
from agent.store.sites.sites import RETIRED
from agent.store.tables import AgentRow, Rollout, RolloutHost


def find_host(session: Session, whose: AgentIdentity, row: Rollout) -> RolloutHost | None:
    """Return the row of this PC in a rollout, or None before it joined."""
    query = select(RolloutHost).where(
        RolloutHost.site_id == whose.site_id,
        RolloutHost.rollout_id == row.id,
        RolloutHost.agent_id == whose.agent_id,
    )
    return session.exec(query).first()


def find_running(session: Session, whose: AgentIdentity, *, lock: bool = False) -> Rollout | None:
    """Return the running rollout of a site; with `lock` no one else changes it until the end."""
    query = select(Rollout).where(
        Rollout.site_id == whose.site_id, Rollout.state == RolloutState.RUNNING
    )
    return session.exec(query.with_for_update() if lock else query).first()


def find_latest(session: Session, whose: AgentIdentity, *, lock: bool = False) -> Rollout | None:
    """Return the newest rollout of a site, or None."""
    query = (
        select(Rollout)
        .where(Rollout.site_id == whose.site_id)
        .order_by(col(Rollout.id).desc())
        .limit(1)
    )
    return session.exec(query.with_for_update() if lock else query).first()


def require_none_running(session: Session, whose: AgentIdentity) -> None:
    """Raise `UsageError` during a rollout: of two changes, nobody knows which one differs."""
    if row := find_running(session, whose):
        raise UsageError(
            f"{row.bundle} is being rolled out in rings, and a site changes its bundle one "
            "at a time. Wait for its end, or stop it first: agent models rollout --stop."
        )


def begin(
    session: Session,
    whose: AgentIdentity,
    bundle: str,
    *,
    previous: str | None,
    rules: RingRules,
    by: str,
    reason: str,
    metrics: Mapping[str, Any],
    at: datetime,
    ring_at: datetime,
) -> Rollout:
    """Start a rollout with all PCs that ever ran an agent; its first ring takes the bundle now.

    Args:
        session: Of the act.
        whose: Of which site.
        bundle: Name of the bundle.
        previous: What is in use, or None.
        rules: Which PCs take it when.
        by: The lead who signed last.
        reason: Why.
        metrics: Metrics at the decision.
        at: Now, by the clock of the lead's PC.
        ring_at: Now, by the clock of the database.

    Raises:
        UsageError: A rollout is running, or none of the named PCs ever ran an agent.
    """
    require_none_running(session, whose)
    rings = assign_rings([row.name for row in list_agents(session, whose)], rules)
    if Ring.NAMED not in rings.values():
        named = ", ".join(rules.first) or "none"
        raise UsageError(
            f"Ring 1 has no PC ({named} named). Name PCs that run an agent, as in agent fleet: "
            'first = ["PC-1"] in [rollout] of agent.toml.'
        )
    row = Rollout(
        site_id=whose.site_id,
        bundle=bundle,
        previous=previous,
        state=RolloutState.RUNNING,
        rings=rules.to_json(),
        by=by,
        reason=reason,
        metrics=dict(metrics),
        started_at=at,
        step_at=ring_at,
    )
    session.add(row)
    try:
        session.flush()
    except IntegrityError as error:  # another lead started one at the same moment
        raise UsageError(
            "Another rollout was started at this moment. See agent models rollout."
        ) from error
    for agent in list_agents(session, whose):
        session.add(make_host(whose, row, agent.id, rings[agent.name]))
    note(
        session,
        whose,
        row,
        "rollout.started",
        by=by,
        at=at,
        facts={"reason": reason, "previous": previous, "metrics": dict(metrics), **rules.to_json()},
    )
    return row


def make_host(whose: AgentIdentity, rollout: Rollout, agent_id: int, ring: int) -> RolloutHost:
    """Return the row of a PC that has not answered yet."""
    return RolloutHost(
        site_id=whose.site_id,
        rollout_id=rollout.id,
        agent_id=agent_id,
        ring=ring,
        state=HostState.WAITING,
    )


def list_agents(session: Session, whose: AgentIdentity) -> list[AgentRow]:
    """Return the agents that ever ran as a service and are not retired, by name."""
    query = (
        select(AgentRow)
        .where(AgentRow.site_id == whose.site_id, col(AgentRow.started_at).is_not(None))
        .order_by(AgentRow.name)
    )
    return [agent for agent in session.exec(query) if RETIRED not in agent.facts]


def join_late(session: Session, whose: AgentIdentity, rollout: Rollout) -> None:
    """Add the PCs that first ran an agent after the rollout began, to its last ring."""
    for agent in _list_late(session, whose, rollout):
        session.add(make_host(whose, rollout, agent.id, Ring.ALL))
    session.flush()


def _list_late(session: Session, whose: AgentIdentity, rollout: Rollout) -> list[AgentRow]:
    query = select(RolloutHost.agent_id).where(
        RolloutHost.site_id == whose.site_id, RolloutHost.rollout_id == rollout.id
    )
    known = set(session.exec(query))
    return [agent for agent in list_agents(session, whose) if agent.id not in known]


def list_all_hosts(
    session: Session, whose: AgentIdentity, rollout: Rollout
) -> dict[str, RolloutHost]:
    """Return the PCs of a rollout by name, ring by ring, while it runs with later ones."""
    hosts = {name: host for host, name in list_hosts(session, whose, rollout.id)}
    if rollout.state == RolloutState.RUNNING:
        for agent in _list_late(session, whose, rollout):
            hosts[agent.name] = make_host(whose, rollout, agent.id, Ring.ALL)
    return dict(sorted(hosts.items(), key=lambda entry: (entry[1].ring, entry[0])))


def list_hosts(
    session: Session, whose: AgentIdentity, rollout_id: int
) -> list[tuple[RolloutHost, str]]:
    """Return the PCs of a rollout with their names, ring by ring."""
    query = (
        select(RolloutHost, AgentRow.name)
        .join(AgentRow, col(AgentRow.id) == col(RolloutHost.agent_id))
        .where(
            RolloutHost.site_id == whose.site_id,
            AgentRow.site_id == whose.site_id,
            RolloutHost.rollout_id == rollout_id,
        )
        .order_by(col(RolloutHost.ring), AgentRow.name)
    )
    return list(session.exec(query).all())


def note(
    session: Session,
    whose: AgentIdentity,
    row: Rollout,
    act: str,
    *,
    by: str,
    at: datetime,
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Record an act on a rollout in the audit log."""
    known = {"rollout": row.id, "attempt": row.attempt, "step": row.step, **(facts or {})}
    audit_log.append(
        session, whose.site_id, at=at, actor=by, act=act, subject=row.bundle, facts=known
    )
