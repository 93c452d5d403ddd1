"""Say how every site that shares this database stands, for the one page of all of them.

In:  the database. Out: a `SiteSeen` a site. Next: `night`, which lays them side by side.
Everything else in this room asks about one site alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlmodel import col, func, select

from agent.store import nights, results
from agent.store.sources import Whose
from agent.store.tables import AgentRow, NightRow_, SiteRow, SourceRow

if TYPE_CHECKING:
    from datetime import datetime

    from sqlmodel import Session

    from agent.store.nights import NightRow


@dataclass(frozen=True, slots=True)
class SiteSeen:
    """One site.

    Args:
        name: Of the site. newest: facts of its newest reported night, None where there is none.
        waiting: Micrographs that wait for a person now. waits_since: the oldest one's time.
        offline: Names of its sources that cannot be reached.
        seen_at: When the last of its agents was heard of.
    """

    name: str
    newest: NightRow | None
    waiting: int
    waits_since: datetime | None
    offline: tuple[str, ...]
    seen_at: datetime | None


def every(session: Session) -> list[SiteSeen]:
    """Say every site, by its name."""
    sites = session.exec(select(SiteRow).order_by(col(SiteRow.name))).all()
    return [_seen(session, site) for site in sites]


def _seen(session: Session, site: SiteRow) -> SiteSeen:
    whose = Whose(site.id or 0, 0)
    night = session.exec(select(func.max(NightRow_.date)).where(NightRow_.site_id == site.id)).one()
    waiting, since = results.waiting(session, whose)
    offline = select(SourceRow.name).where(
        SourceRow.site_id == site.id, col(SourceRow.online).is_(False)
    )
    seen_at = select(func.max(col(AgentRow.seen_at))).where(AgentRow.site_id == site.id)
    return SiteSeen(
        name=site.name,
        newest=nights.latest(session, whose, night) if night else None,
        waiting=waiting,
        waits_since=since,
        offline=tuple(sorted(session.exec(offline))),
        seen_at=session.exec(seen_at).one(),
    )


def name_of(session: Session, whose: Whose) -> str:
    """Return the name of the site that asks."""
    return session.exec(select(SiteRow.name).where(SiteRow.id == whose.site_id)).one()
