"""Promotions of model bundles and their signatures; the bundle promoted last is in use.

Where a lab requires two signatures, the first lead proposes, and nothing changes until another
lead signs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from sqlmodel import Session, col, select

from agent.errors import UsageError
from agent.store.bundles.rollout_plan import RingRules
from agent.store.bundles.rollout_rows import begin, require_none_running
from agent.store.engine import AgentIdentity, Repository, reading, writing
from agent.store.evidence import audit_log, quality_records
from agent.store.evidence.acts import append_act
from agent.store.numbers import person_key
from agent.store.tables import PromotionRow

REFUSED = "bundle_refused"
"""Kind of the record that a promoted bundle could not be loaded; its facts are the "reason",
the bundle that "serves" instead, and the message ("said")."""
PROPOSED = "promotion_proposed"
"""Kind of the record of a first signature; it is valid until the next promotion of any bundle."""
DECISION = "decision"
"""Key of a promotion's metrics: signatures, with what the leads were shown."""
RINGS = "rings"
"""Key of what a lead was shown: the rings, where the lead signs for a rollout."""


@dataclass(frozen=True, slots=True)
class Signature:
    """A lead's signature for a bundle.

    Args:
        by: Name of the lead.
        reason: Why.
        at: Aware UTC.
        shown: What the lead saw: how many orders would change, and its hash.

    Raises:
        UsageError: The name or the reason is missing.
    """

    by: str
    reason: str
    at: datetime
    shown: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _refuse_empty(self.by, self.reason)

    def as_json(self) -> dict[str, Any]:
        """Return it as stored."""
        return asdict(self) | {"at": self.at.isoformat()}


@dataclass(frozen=True, slots=True)
class Promotion:
    """A promotion of a bundle.

    Args:
        bundle: Name of the bundle.
        by: Who signed last.
        reason: Why.
        promoted_at: Aware UTC.
        metrics: Metrics at the decision; signatures are under `DECISION`.
    """

    bundle: str
    by: str
    reason: str
    promoted_at: datetime
    metrics: dict[str, Any]

    @property
    def signatures(self) -> list[dict[str, Any]]:
        """All signatures, the first one first."""
        return list(self.metrics.get(DECISION, {}).get("signatures", []))


def _sign(
    session: Session,
    whose: AgentIdentity,
    bundle: str,
    signature: Signature,
    *,
    metrics: Mapping[str, Any],
    promoters: int,
    instead_of: str | None,
    rings: RingRules | None,
    ring_at: datetime | None,
) -> bool:
    """Sign for a bundle; it is promoted, or rolled out, once there are enough signatures.

    Args:
        session: Of the act.
        whose: Of which site.
        bundle: Its name.
        signature: Who signs, why, and what they were shown.
        metrics: Metrics at the decision.
        promoters: Required number of signatures, 1 or 2.
        instead_of: The bundle in use that the signer compared it with, None for none.
        rings: The PCs take it in these rings; None: all at once.
        ring_at: Now by the clock of the database, from which ring 1 lasts; None: as the signature.

    Returns:
        Whether it is in use now, or its rollout runs; else another lead has to sign.

    Raises:
        UsageError: The same lead signs twice, another bundle was promoted in between, or a rollout
            is running.
    """
    require_none_running(session, whose)
    if (now := find_current_bundle(session)) != instead_of:
        raise UsageError(
            f"{now} was promoted in between, but the comparison shown was with "
            f"{instead_of or 'no bundle'}. Compare again, and sign again if {bundle} is still "
            "wanted."
        )
    signed = [signature]
    if promoters > 1:
        audit_log.require_person(session, bundle)
        before = _list_signatures(session, whose, bundle)
        others = [earlier for earlier in before if not _is_same(earlier.by, signature.by)]
        if before and not others:
            raise UsageError(
                f"{before[-1].by} has proposed {bundle} already; a second person has to sign "
                "(retrain.promoters = 2)."
            )
        if others:
            _refuse_other_rings(bundle, others[-1], rings)
        if not others:
            facts = signature.as_json()
            at, by = signature.at, signature.by
            quality_records.append(
                session, whose.site_id, PROPOSED, bundle, by=by, at=at, facts=facts
            )
            return False
        signed = [others[-1], signature]
    signed_metrics = {
        **metrics,
        DECISION: {"signatures": [earlier.as_json() for earlier in signed]},
    }
    by, reason, at = signature.by, signature.reason, signature.at
    if rings is None:
        promote_bundle(session, whose, bundle, by=by, reason=reason, at=at, metrics=signed_metrics)
    else:
        begin(
            session,
            whose,
            bundle,
            previous=now,
            rules=rings,
            by=by,
            reason=reason,
            metrics=signed_metrics,
            at=at,
            ring_at=ring_at or at,
        )
    return True


def _refuse_other_rings(bundle: str, first: Signature, rings: RingRules | None) -> None:
    """Refuse a second signature for other rings than the first one is for."""
    signed = first.shown.get(RINGS)
    if signed and rings is None:
        raise UsageError(
            f"{first.by} signed for a rollout of {bundle} in rings. Sign for the same: "
            f"agent models promote --rings {bundle}."
        )
    if signed and rings is not None and signed != rings.to_json():
        own = rings.to_json()
        differing = ", ".join(
            f"{name} = {own[name]} instead of {signed.get(name)}"
            for name in own
            if own[name] != signed.get(name)
        )
        raise UsageError(
            f"{first.by} signed for other rings of {bundle} ({differing}). Sign for the same, or "
            "both sign again."
        )


def _list_signatures(session: Session, whose: AgentIdentity, bundle: str) -> list[Signature]:
    """Return the signatures for a bundle since the last promotion, oldest first."""
    last = select(PromotionRow.promoted_at).order_by(col(PromotionRow.id).desc()).limit(1)
    since = session.exec(last).first()
    return [
        Signature(
            record.by, str(record.facts.get("reason", "")), record.at, record.facts.get("shown", {})
        )
        for record in quality_records.every(session, whose.site_id, PROPOSED, bundle)
        if since is None or record.at > since
    ]


def _is_same(first: str, second: str) -> bool:
    return person_key(first) == person_key(second)


def _refuse_empty(by: str, reason: str) -> None:
    if not by.strip():
        raise UsageError("A promotion needs a name: --by NAME.")
    if not reason.strip():
        raise UsageError("A promotion needs a reason: --reason TEXT.")


def promote_bundle(
    session: Session,
    whose: AgentIdentity,
    bundle: str,
    *,
    by: str,
    reason: str,
    at: datetime,
    metrics: Mapping[str, Any],
) -> None:
    """Make a bundle the current one, from now on.

    Raises:
        UsageError: Nobody is named, or no reason is given.
    """
    _refuse_empty(by, reason)
    row = PromotionRow(
        site_id=whose.site_id,
        bundle=bundle,
        by=by,
        reason=reason,
        promoted_at=at,
        metrics=dict(metrics),
    )
    append_act(session, "model.promoted", row)


def find_current_bundle(session: Session) -> str | None:
    """Return the name of the bundle in use, or None before the first promotion."""
    query = select(PromotionRow.bundle).order_by(col(PromotionRow.id).desc()).limit(1)
    return session.exec(query).first()


class Promotions(Repository):
    """Repository of promotions of model bundles."""

    def promote(
        self, name: str, *, by: str, reason: str, at: datetime, metrics: Mapping[str, Any]
    ) -> None:
        """Promote a bundle; it is in use from now on.

        Raises:
            UsageError: The name of the lead or the reason is missing, or a rollout is running.
        """
        with writing(self._engine) as session:
            require_none_running(session, self._whose)
            promote_bundle(session, self._whose, name, by=by, reason=reason, at=at, metrics=metrics)

    def sign(
        self,
        name: str,
        signature: Signature,
        *,
        metrics: Mapping[str, Any],
        promoters: int,
        instead_of: str | None,
        rings: RingRules | None = None,
        ring_at: datetime | None = None,
    ) -> bool:
        """Sign for a bundle; it is promoted, or rolled out, once there are enough signatures.

        Args:
            name: Of the bundle.
            signature: Who signs, why, and what they were shown.
            metrics: Metrics at the decision.
            promoters: Required number of signatures, 1 or 2.
            instead_of: The bundle in use that the signer compared it with, None for none.
            rings: The PCs take it in these rings; None: all at once.
            ring_at: Now by the clock of the database, from which ring 1 lasts; None: as the
                signature, which is by the clock of the lead's PC.

        Returns:
            Whether it is in use now, or its rollout runs; else another lead has to sign.

        Raises:
            UsageError: The same lead signs twice, another bundle was promoted in between, or a
                rollout is running.
        """
        with writing(self._engine) as session:
            return _sign(
                session,
                self._whose,
                name,
                signature,
                metrics=metrics,
                promoters=promoters,
                instead_of=instead_of,
                rings=rings,
                ring_at=ring_at,
            )

    def list_signatures(self, name: str) -> list[Signature]:
        """Return the signatures for a bundle since the last promotion, oldest first."""
        with reading(self._engine) as session:
            return _list_signatures(session, self._whose, name)

    def find_current(self) -> str | None:
        """Return the name of the bundle in use, or None before the first promotion."""
        with reading(self._engine) as session:
            return find_current_bundle(session)

    def list_all(self) -> list[Promotion]:
        """Return all promotions, newest first."""
        with reading(self._engine) as session:
            query = select(PromotionRow).order_by(col(PromotionRow.id).desc())
            return [
                Promotion(row.bundle, row.by, row.reason, row.promoted_at, row.metrics)
                for row in session.exec(query)
            ]
