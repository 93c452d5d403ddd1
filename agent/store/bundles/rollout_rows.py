"""Rows of rollouts: find them, begin one, refuse a promotion while one is running."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from agent.errors import WrongUse
from agent.store.bundles.rollout_plan import (
    HostState,
    Ring,
    RingRules,
    Rollout,
    RolloutHost,
    RolloutState,
    assign_rings,
)
from agent.store.evidence import audit_log
from agent.store.sites.sites import RETIRED
from agent.store.tables import AgentRow, RolloutHostRow, RolloutRow
from reports import read_message

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from typing import Any

    from agent.store.engine import AgentIdentity


def find_host(session: Session, whose: AgentIdentity, row: RolloutRow) -> RolloutHostRow | None:
    """Return the row of this PC in a rollout, or None before it joined."""
    query = select(RolloutHostRow).where(
        RolloutHostRow.site_id == whose.site_id,
        RolloutHostRow.rollout_id == row.id,
        RolloutHostRow.agent_id == whose.agent_id,
    )
    return session.exec(query).first()


def find_running(
    session: Session, whose: AgentIdentity, *, lock: bool = False
) -> RolloutRow | None:
    """Return the running rollout of a site; with `lock` no one else changes it until the end."""
    query = select(RolloutRow).where(
        RolloutRow.site_id == whose.site_id, RolloutRow.state == RolloutState.RUNNING
    )
    return session.exec(query.with_for_update() if lock else query).first()


def find_latest(session: Session, whose: AgentIdentity, *, lock: bool = False) -> RolloutRow | None:
    """Return the newest rollout of a site, or None."""
    query = (
        select(RolloutRow)
        .where(RolloutRow.site_id == whose.site_id)
        .order_by(col(RolloutRow.id).desc())
        .limit(1)
    )
    return session.exec(query.with_for_update() if lock else query).first()


def require_none_running(session: Session, whose: AgentIdentity) -> None:
    """Raise `WrongUse` during a rollout: of two changes at once no one knows which one differs."""
    if row := find_running(session, whose):
        raise WrongUse(
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
) -> RolloutRow:
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
        WrongUse: A rollout is running, or none of the named PCs ever ran an agent.
    """
    require_none_running(session, whose)
    rings = assign_rings([row.name for row in list_agents(session, whose)], rules)
    if Ring.NAMED not in rings.values():
        named = ", ".join(rules.first) or "none"
        raise WrongUse(
            f"Ring 1 has no PC ({named} named). Name PCs that run an agent, as in agent fleet: "
            'first = ["PC-1"] in [rollout] of agent.toml.'
        )
    row = RolloutRow(
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
        raise WrongUse(
            "Another rollout was started at this moment. See agent models rollout."
        ) from error
    for agent in list_agents(session, whose):
        session.add(make_host(whose, row, agent.id or 0, rings[agent.name]))
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


def make_host(
    whose: AgentIdentity, rollout: RolloutRow, agent_id: int, ring: int
) -> RolloutHostRow:
    """Return the row of a PC that has not answered yet."""
    return RolloutHostRow(
        site_id=whose.site_id,
        rollout_id=rollout.id or 0,
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


def join_late(session: Session, whose: AgentIdentity, rollout: RolloutRow) -> None:
    """Add the PCs that first ran an agent after the rollout began, to its last ring."""
    for agent in _list_late(session, whose, rollout):
        session.add(make_host(whose, rollout, agent.id or 0, Ring.ALL))
    session.flush()


def _list_late(session: Session, whose: AgentIdentity, rollout: RolloutRow) -> list[AgentRow]:
    query = select(RolloutHostRow.agent_id).where(
        RolloutHostRow.site_id == whose.site_id, RolloutHostRow.rollout_id == rollout.id
    )
    known = set(session.exec(query))
    return [agent for agent in list_agents(session, whose) if agent.id not in known]


def list_all_hosts(
    session: Session, whose: AgentIdentity, rollout: RolloutRow
) -> list[RolloutHost]:
    """Return the PCs of a rollout ring by ring, while it runs with those that came later."""
    hosts = [to_host(row, name) for row, name in list_hosts(session, whose, rollout.id or 0)]
    if rollout.state == RolloutState.RUNNING:
        late = _list_late(session, whose, rollout)
        hosts += [RolloutHost(agent.name, Ring.ALL) for agent in late]
    return sorted(hosts, key=lambda host: (host.ring, host.name))


def list_hosts(
    session: Session, whose: AgentIdentity, rollout_id: int
) -> list[tuple[RolloutHostRow, str]]:
    """Return the PCs of a rollout with their names, ring by ring."""
    query = (
        select(RolloutHostRow, AgentRow.name)
        .join(AgentRow, col(AgentRow.id) == col(RolloutHostRow.agent_id))
        .where(
            RolloutHostRow.site_id == whose.site_id,
            AgentRow.site_id == whose.site_id,
            RolloutHostRow.rollout_id == rollout_id,
        )
        .order_by(col(RolloutHostRow.ring), AgentRow.name)
    )
    return list(session.exec(query).all())


def note(
    session: Session,
    whose: AgentIdentity,
    row: RolloutRow,
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


def to_rollout(row: RolloutRow) -> Rollout:
    """Return a row as a value."""
    return Rollout(
        id=row.id or 0,
        attempt=row.attempt,
        bundle=row.bundle,
        previous=row.previous,
        state=RolloutState(row.state),
        step=row.step,
        rules=RingRules.from_json(row.rings),
        by=row.by,
        reason=row.reason,
        baseline_host=row.baseline_host,
        started_at=row.started_at,
        step_at=row.step_at,
        ended_at=row.ended_at,
        stopped_by=row.stopped_by,
        why=read_message(row.why, ""),
    )


def to_host(row: RolloutHostRow, name: str) -> RolloutHost:
    """Return a row as a value."""
    return RolloutHost(
        name=name,
        ring=row.ring,
        state=HostState(row.state),
        judged_at=row.judged_at,
        n=row.n,
        same_codes=row.same_codes,
        max_difference=row.max_difference,
        message=read_message(row.message, ""),
    )
