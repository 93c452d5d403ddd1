"""Rollouts in rings: each PC reports its answers, and any agent moves the rings on.

One bundle is rolled out at a time at a site. An agent that moves a rollout on holds the lock of its
row and decides again under it, so that two that do it at once count as one. A stop needs no
signature and holds from each PC's next batch on.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlmodel import Session, col, select

from agent.errors import UsageError
from agent.store.bundles import rollout_rows
from agent.store.bundles.promotions import DECISION, Signature, find_current_bundle, promote_bundle
from agent.store.bundles.rollout_plan import (
    BY_AGENT,
    OF_PERSON,
    ON_PC,
    RESTORED,
    HostState,
    Next,
    Ring,
    RolloutState,
    RolloutTicket,
    WantedBundle,
    compare_answers,
    decide_next,
    find_next_step,
    find_wanted,
    have_numbers,
)
from agent.store.engine import Repository, reading, writing
from agent.store.tables import AgentRow, PromotionRow, Rollout, RolloutHost
from reports import Message

ROLLOUT = "rollout"
"""Key of a promotion's metrics: number of the rollout that ended with it."""


class Rollouts(Repository):
    """Repository of rollouts; the agent's own PC is the one of the store."""

    def find_latest(self) -> Rollout | None:
        """Return the newest rollout of the site, or None before the first."""
        with reading(self._engine) as session:
            return rollout_rows.find_latest(session, self._whose)

    def list_hosts(self, rollout_id: int) -> dict[str, RolloutHost]:
        """Return the PCs of a rollout by name, ring by ring."""
        with reading(self._engine) as session:
            row = session.get(Rollout, rollout_id)
            return rollout_rows.list_all_hosts(session, self._whose, row) if row else {}

    def list_wanted(self) -> dict[str, str]:
        """Return PC → the bundle that it is to run while a rollout is running; else nothing."""
        with reading(self._engine) as session:
            row = rollout_rows.find_running(session, self._whose)
            if row is None:
                return {}
            current = find_current_bundle(session)
            return {
                name: find_wanted(current, row, host.ring).name or ""
                for name, host in rollout_rows.list_all_hosts(session, self._whose, row).items()
            }

    # --- of this PC -------------------------------------------------------------------------------

    def find_wanted(self) -> WantedBundle:
        """Return the bundle that this PC is to run: the promoted one, or that of its ring."""
        with reading(self._engine) as session:
            current = find_current_bundle(session)
            row = rollout_rows.find_running(session, self._whose)
            if row is None:
                return WantedBundle(current)
            host = rollout_rows.find_host(session, self._whose, row)
            return find_wanted(current, row, host.ring if host else Ring.ALL)

    def is_withdrawn(self, bundle: str) -> bool:
        """Return whether this PC may not judge with a bundle.

        That is one that was rolled out and not promoted since, unless this PC agreed in a rollout
        that is running. A promotion before the rollout does not count: the bundle was taken back.
        """
        with reading(self._engine) as session:
            query = select(Rollout).where(
                Rollout.site_id == self._whose.site_id, Rollout.bundle == bundle
            )
            last = session.exec(query.order_by(col(Rollout.id).desc()).limit(1)).first()
            if last is None or last.state == RolloutState.DONE:
                return False
            current = find_current_bundle(session)
            promoted = select(PromotionRow.id).where(
                PromotionRow.bundle == bundle, col(PromotionRow.promoted_at) >= last.step_at
            )
            if bundle == current or session.exec(promoted.limit(1)).first() is not None:
                return False
            row = rollout_rows.find_running(session, self._whose)
            host = (
                rollout_rows.find_host(session, self._whose, row)
                if row and row.bundle == bundle
                else None
            )
            if row is None or host is None or host.state != HostState.AGREED:
                return True
            return find_wanted(current, row, host.ring).name != bundle

    def record_answers(
        self,
        ticket: RolloutTicket,
        answers: Mapping[str, Mapping[str, Any]],
        *,
        fault: Message | None = None,
        at: datetime,
    ) -> bool:
        """Record this PC's answers to the reference images; the first that differs stops all PCs.

        Args:
            ticket: The permission to try the bundle.
            answers: Crop → "image", "code" and "probability".
            fault: A reference image that could not be judged; None for none.
            at: Now, by the clock of the database.

        Returns:
            Whether this PC takes the bundle.
        """
        with writing(self._engine) as session:
            found = self._open(session, ticket)
            if found is None:
                return False
            row, host = found
            name = session.get_one(AgentRow, self._whose.agent_id).name
            if not row.baseline and not fault and have_numbers(answers):
                row.baseline = {crop: dict(answer) for crop, answer in answers.items()}
                row.baseline_host = name
            agreement = compare_answers(
                row.baseline or answers,
                answers,
                tolerance=row.rules.tolerance,
                pc=name,
                before_pc=row.baseline_host or name,
            )
            message = fault or agreement.message
            host.state = HostState.DIFFERS if message else HostState.AGREED
            host.judged_at, host.n, host.same_codes = at, agreement.n, agreement.same_codes
            host.max_difference, host.message = agreement.max_difference, message
            session.add(host)
            if message:
                why = Message(ON_PC, {"pc": name, "why": message})
                self._stop(session, row, by=BY_AGENT, why=why, at=at)
            session.add(row)
            return not message

    def record_failure(
        self, ticket: RolloutTicket, message: Message, *, is_missing: bool, at: datetime
    ) -> None:
        """Record that this PC cannot load the bundle; a missing one is waited for.

        Args:
            ticket: The permission to try the bundle.
            message: Why.
            is_missing: The folder of bundles lacks it. Otherwise it is damaged, and all PCs stop.
            at: Now, by the clock of the database.
        """
        with writing(self._engine) as session:
            found = self._open(session, ticket)
            if found is None:
                return
            row, host = found
            host.state = HostState.MISSING if is_missing else HostState.REFUSED
            host.judged_at, host.message = at, message
            session.add(host)
            if not is_missing:
                name = session.get_one(AgentRow, self._whose.agent_id).name
                why = Message(ON_PC, {"pc": name, "why": message})
                self._stop(session, row, by=BY_AGENT, why=why, at=at)

    # --- of all PCs -------------------------------------------------------------------------------

    def advance(self, seen: Mapping[str, datetime], *, at: datetime) -> Rollout | None:
        """Move the running rollout on, if it is time; any agent does it, and one of them succeeds.

        Args:
            seen: PC → its last heartbeat by the clock of the database; without those that stopped.
            at: Now, by the clock of the database.

        Returns:
            The rollout where this call changed it, else None.
        """
        with reading(self._engine) as session:
            row = rollout_rows.find_running(session, self._whose)
            if row is None or self._decide(session, row, seen, at)[0] is Next.WAIT:
                return None
        with writing(self._engine) as session:
            row = rollout_rows.find_running(session, self._whose, lock=True)
            if row is None:
                return None
            decision, why = self._decide(session, row, seen, at)
            if decision is Next.WAIT:
                return None
            rollout_rows.join_late(session, self._whose, row)
            if decision is Next.STOP:
                self._stop(session, row, by=BY_AGENT, why=why, at=at)
            elif decision is Next.FINISH:
                self._finish(session, row, at)
            else:
                hosts = rollout_rows.list_all_hosts(session, self._whose, row)
                row.step = find_next_step(row, hosts)
                row.step_at = at
                self._note(session, row, "rollout.advanced", by=BY_AGENT, at=at)
            session.add(row)
            session.flush()
            return row

    def stop(self, *, by: str, at: datetime) -> bool:
        """Stop the running rollout: every PC goes back to the promoted bundle.

        One that the agents stopped is acknowledged, so that it is no problem any more.

        Returns:
            Whether there was anything to stop.
        """
        by = OF_PERSON if by == BY_AGENT else by
        with writing(self._engine) as session:
            row = rollout_rows.find_latest(session, self._whose, lock=True)
            if row is None or row.state == RolloutState.DONE:
                return False
            if row.state == RolloutState.RUNNING:
                self._stop(session, row, by=by, why=Message(""), at=at)
                return True
            if row.stopped_by != BY_AGENT:
                return False
            row.stopped_by = by
            session.add(row)
            self._note(session, row, "rollout.acknowledged", by=by, at=at)
            return True

    def stop_restored(self, *, at: datetime) -> bool:
        """Stop a rollout that runs in a restored backup, since it may have been stopped after it.

        Returns:
            Whether one was running.
        """
        with writing(self._engine) as session:
            row = rollout_rows.find_running(session, self._whose, lock=True)
            if row is not None:
                self._stop(session, row, by=BY_AGENT, why=Message(RESTORED), at=at)
            return row is not None

    def resume(self, signature: Signature, *, ring_at: datetime | None = None) -> Rollout:
        """Continue the stopped rollout at ring 1, as every PC has gone back to the promoted bundle.

        Args:
            signature: Of a lead.
            ring_at: Now by the clock of the database, from which ring 1 lasts; None: as the
                signature, which is by the clock of the lead's PC.

        Raises:
            UsageError: None is stopped, or another bundle was promoted since.
        """
        with writing(self._engine) as session:
            row = rollout_rows.find_latest(session, self._whose, lock=True)
            if row is None or row.state != RolloutState.STOPPED:
                raise UsageError(
                    "No rollout is stopped. To start one: agent models promote NAME --rings."
                )
            current = find_current_bundle(session)
            if current != row.previous:
                raise UsageError(
                    f"{current} was promoted since. Start again: agent models promote --rings "
                    f"{row.bundle}."
                )
            row.state, row.attempt, row.step = RolloutState.RUNNING, row.attempt + 1, 1
            row.by, row.reason = signature.by, signature.reason
            row.stopped_by, row.why = "", Message("")
            row.baseline, row.baseline_host = {}, ""
            row.step_at, row.ended_at = ring_at or signature.at, None
            decision = row.metrics.get(DECISION, {})
            signed = [*decision.get("signatures", []), signature.as_json()]
            row.metrics = {**row.metrics, DECISION: {**decision, "signatures": signed}}
            session.add(row)
            for host, _name in rollout_rows.list_hosts(session, self._whose, row.id):
                host.state, host.judged_at, host.message = HostState.WAITING, None, Message("")
                host.n, host.same_codes, host.max_difference = 0, 0, None
                session.add(host)
            facts = {"reason": signature.reason}
            self._note(
                session, row, "rollout.continued", by=signature.by, at=signature.at, facts=facts
            )
            session.flush()
            return row

    def _decide(
        self, session: Session, row: Rollout, seen: Mapping[str, datetime], at: datetime
    ) -> tuple[Next, Message]:
        return decide_next(
            row,
            rollout_rows.list_all_hosts(session, self._whose, row),
            seen=seen,
            current=find_current_bundle(session),
            now=at,
        )

    def _finish(self, session: Session, row: Rollout, at: datetime) -> None:
        row.state, row.ended_at = RolloutState.DONE, at
        session.add(row)
        session.flush()
        self._note(session, row, "rollout.finished", by=BY_AGENT, at=at)
        promote_bundle(
            session,
            self._whose,
            row.bundle,
            by=row.by,
            reason=row.reason,
            at=at,
            metrics={**row.metrics, ROLLOUT: row.id},
        )

    def _stop(self, session: Session, row: Rollout, *, by: str, why: Message, at: datetime) -> None:
        row.state, row.ended_at = RolloutState.STOPPED, at
        row.stopped_by, row.why = by, why
        session.add(row)
        facts = {"why": why.in_english()} if why else {}
        self._note(session, row, "rollout.stopped", by=by, at=at, facts=facts)

    def _open(self, session: Session, ticket: RolloutTicket) -> tuple[Rollout, RolloutHost] | None:
        """Return the rollout and this PC's row, where the ticket is valid, both locked."""
        row = rollout_rows.find_running(session, self._whose, lock=True)
        if row is None or (row.id, row.attempt) != (ticket.rollout_id, ticket.attempt):
            return None
        host = rollout_rows.find_host(session, self._whose, row)
        ring = host.ring if host else Ring.ALL
        current = find_current_bundle(session)
        wanted = find_wanted(current, row, ring)
        if wanted.ticket is None:
            return None
        return row, host or rollout_rows.make_host(self._whose, row, self._whose.agent_id, ring)

    def _note(
        self,
        session: Session,
        row: Rollout,
        act: str,
        *,
        by: str,
        at: datetime,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        rollout_rows.note(session, self._whose, row, act, by=by, at=at, facts=facts)
