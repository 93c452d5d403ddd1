"""Say which bundle is the current one: the one a person promoted last.

In:  a person's act. Out: `Promotion`s, newest first. Next: the service takes the bundle up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlmodel import col, select

from agent.errors import WrongUse
from agent.store import trail
from agent.store.tables import PromotionRow

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlmodel import Session

    from agent.store.sources import Whose


@dataclass(frozen=True, slots=True)
class Promotion:
    """One person's act.

    Args:
        bundle: Name of the bundle. by: who. reason: why. promoted_at: when, aware UTC.
        metrics: The numbers the decision was taken on.
    """

    bundle: str
    by: str
    reason: str
    promoted_at: datetime
    metrics: dict[str, Any]


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
    if not by.strip():
        raise WrongUse("a promotion is a person's act: say who with --by NAME.")
    if not reason.strip():
        raise WrongUse("a promotion needs a reason: say why with --reason TEXT.")
    session.add(
        PromotionRow(
            site_id=whose.site_id,
            bundle=bundle,
            by=by,
            reason=reason,
            promoted_at=at,
            metrics=dict(metrics),
        )
    )
    trail.append(
        session,
        whose.site_id,
        at=at,
        actor=by,
        act="model.promoted",
        subject=bundle,
        facts={"reason": reason, "metrics": dict(metrics)},
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
