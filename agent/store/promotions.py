"""Say which bundle is the current one: the one a person promoted last.

In:  people's signatures. Out: `Promotion`s, newest first. Next: the service takes the bundle up.
Where a lab asks for two people, the first one proposes, and nothing changes until another signs.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from sqlmodel import col, select

from agent.errors import WrongUse
from agent.store import audit_log, quality_records
from agent.store.spelling import person_key
from agent.store.tables import PromotionRow

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlmodel import Session

    from agent.store.sources import Whose

REFUSED = "bundle_refused"
"""Kind of the record that a promoted bundle could not be loaded; its facts give the "reason", who
"serves" instead, and what was "said" of it."""
PROPOSED = "promotion_proposed"
"""Kind of the record of a first signature; it holds until the next promotion of any bundle."""
DECISION = "decision"
"""Under this key of a promotion's metrics stands who signed, and what they were shown."""


@dataclass(frozen=True, slots=True)
class Signature:
    """One person's yes to a bundle.

    Args:
        by: Who. reason: why. at: when, aware UTC.
        shown: What they had before them: how many orders would change, and its hash.

    Raises:
        WrongUse: Nobody is named, or no reason is given.
    """

    by: str
    reason: str
    at: datetime
    shown: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _refuse_empty(self.by, self.reason)

    def as_json(self) -> dict[str, Any]:
        """Say it as it is written down."""
        return asdict(self) | {"at": self.at.isoformat()}


@dataclass(frozen=True, slots=True)
class Promotion:
    """The act that put a bundle to work.

    Args:
        bundle: Name of the bundle. by: who signed last. reason: why.
        promoted_at: When, aware UTC.
        metrics: The numbers the decision was taken on; who signed stands under `DECISION`.
    """

    bundle: str
    by: str
    reason: str
    promoted_at: datetime
    metrics: dict[str, Any]

    @property
    def signatures(self) -> list[dict[str, Any]]:
        """Everybody who signed, the first one first."""
        return list(self.metrics.get(DECISION, {}).get("signatures", []))


def sign(
    session: Session,
    whose: Whose,
    bundle: str,
    signature: Signature,
    *,
    metrics: Mapping[str, Any],
    promoters: int,
    instead_of: str | None,
) -> bool:
    """Sign for a bundle; it is put to work once enough people have.

    Args:
        session: Of the act.
        whose: Of which site.
        bundle: Its name.
        signature: Who signs, why, and what they were shown.
        metrics: The numbers the decision is taken on.
        promoters: How many people it takes, 1 or 2.
        instead_of: The bundle at work that the signer was shown it beside, None for none.

    Returns:
        Whether it is at work now; else another person has to sign.

    Raises:
        WrongUse: The same person signs twice, or another bundle was put to work meanwhile.
    """
    if (now := current(session)) != instead_of:
        raise WrongUse(
            f"{now} was promoted in between, but the comparison shown was with "
            f"{instead_of or 'no bundle'}. Compare again, and sign again if {bundle} is still "
            "wanted."
        )
    signed = [signature]
    if promoters > 1:
        before = proposals(session, whose, bundle)
        others = [one for one in before if not _is_same(one.by, signature.by)]
        if before and not others:
            raise WrongUse(
                f"{before[-1].by} has proposed {bundle} already; a second person has to sign "
                "(retrain.promoters = 2)."
            )
        if not others:
            facts = signature.as_json()
            at, by = signature.at, signature.by
            quality_records.append(
                session, whose.site_id, PROPOSED, bundle, by=by, at=at, facts=facts
            )
            return False
        signed = [others[-1], signature]
    told = {**metrics, DECISION: {"signatures": [one.as_json() for one in signed]}}
    promote(
        session,
        whose,
        bundle,
        by=signature.by,
        reason=signature.reason,
        at=signature.at,
        metrics=told,
    )
    return True


def proposals(session: Session, whose: Whose, bundle: str) -> list[Signature]:
    """Say who has signed for a bundle since one was last put to work, oldest first."""
    last = select(PromotionRow.promoted_at).order_by(col(PromotionRow.id).desc()).limit(1)
    since = session.exec(last).first()
    return [
        Signature(one.by, str(one.facts.get("reason", "")), one.at, one.facts.get("shown", {}))
        for one in quality_records.every(session, whose.site_id, PROPOSED, bundle)
        if since is None or one.at > since
    ]


def _is_same(one: str, other: str) -> bool:
    return person_key(one) == person_key(other)


def _refuse_empty(by: str, reason: str) -> None:
    if not by.strip():
        raise WrongUse("A promotion needs a name: --by NAME.")
    if not reason.strip():
        raise WrongUse("A promotion needs a reason: --reason TEXT.")


def promote(
    session: Session,
    whose: Whose,
    bundle: str,
    *,
    by: str,
    reason: str,
    at: datetime,
    metrics: Mapping[str, Any],
) -> None:
    """Make a bundle the current one, from now on.

    Raises:
        WrongUse: Nobody is named, or no reason is given.
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
    session.add(row)
    session.flush()
    audit_log.append(
        session,
        whose.site_id,
        at=at,
        actor=by,
        act="model.promoted",
        subject=bundle,
        facts={"promotion": row.id, "reason": reason, "metrics": dict(metrics)},
    )


def current(session: Session) -> str | None:
    """Say the current bundle's name, or None before the first promotion."""
    asked = select(PromotionRow.bundle).order_by(col(PromotionRow.id).desc()).limit(1)
    return session.exec(asked).first()


def every(session: Session) -> list[Promotion]:
    """Say every promotion, newest first."""
    asked = select(PromotionRow).order_by(col(PromotionRow.id).desc())
    return [
        Promotion(row.bundle, row.by, row.reason, row.promoted_at, row.metrics)
        for row in session.exec(asked)
    ]
