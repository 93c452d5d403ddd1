"""Queries over all sites of a database: the one way past the site, and read-only.

Everything else in this package is bound to one site, see `site_scope`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import or_
from sqlmodel import col, func, select

from agent.store.engine import reading
from agent.store.repository import AgentIdentity
from agent.store.sites import sources
from agent.store.sites.site_scope import EVERY_SITE, bind
from agent.store.tables import AgentRow, SiteRow, SourceRow, TrailRow

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Engine
    from sqlmodel import Session

    from agent.store.results.nightly_reports import NightRow
    from agent.store.sites.sources import AgentSeen


@dataclass(frozen=True, slots=True)
class SiteSeen:
    """State of a site.

    Args:
        name: Of the site.
        newest: Facts of its newest reported night, or None.
        waiting: Number of micrographs that wait for review now.
        waits_since: Time of the oldest one, aware UTC, or None.
        offline: Names of its sources that cannot be reached.
        seen_at: Last heartbeat of its agents, aware UTC, or None.
    """

    name: str
    newest: NightRow | None
    waiting: int
    waits_since: datetime | None
    offline: tuple[str, ...]
    seen_at: datetime | None


class AllSites:
    """Repository of all sites of a database; the engine refuses to write.

    Args:
        engine: At this program's schema.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = bind(engine, EVERY_SITE)

    def sites(self) -> list[SiteSeen]:
        """Return the state of each site, by its name."""
        with reading(self._engine) as session:
            rows = session.exec(select(SiteRow).order_by(col(SiteRow.name))).all()
            return [_build_site(session, row) for row in rows]

    def agents(self) -> list[AgentSeen]:
        """Return every agent of every site that ever used the database."""
        with reading(self._engine) as session:
            return sources.list_agents(session)

    def names(self) -> list[str]:
        """Return the names of the sites that have a source or an act; a mistyped name has none."""
        acted = select(TrailRow.id).where(TrailRow.site_id == SiteRow.id).exists()
        watched = select(SourceRow.id).where(SourceRow.site_id == SiteRow.id).exists()
        query = select(SiteRow.name).where(or_(acted, watched)).order_by(col(SiteRow.name))
        with reading(self._engine) as session:
            return list(session.exec(query))

    def sharing(self, what: str) -> list[str]:
        """Return the names of the sites that share "accounts" or "bundles"."""
        column = {"accounts": SiteRow.shares_accounts, "bundles": SiteRow.shares_bundles}[what]
        query = select(SiteRow.name).where(col(column).is_(True)).order_by(col(SiteRow.name))
        with reading(self._engine) as session:
            return list(session.exec(query))


def _build_site(session: Session, site: SiteRow) -> SiteSeen:
    from agent.store.people import review_queue  # noqa: PLC0415 - short commands need neither
    from agent.store.results import nightly_reports  # noqa: PLC0415 - short commands need neither
    from agent.store.tables import NightRow_  # noqa: PLC0415

    whose = AgentIdentity(site.id or 0, 0)
    night = session.exec(select(func.max(NightRow_.date)).where(NightRow_.site_id == site.id)).one()
    waiting, since = review_queue.count_waiting(session, whose)
    offline = select(SourceRow.name).where(
        SourceRow.site_id == site.id, col(SourceRow.online).is_(False)
    )
    seen_at = select(func.max(col(AgentRow.seen_at))).where(AgentRow.site_id == site.id)
    return SiteSeen(
        name=site.name,
        newest=nightly_reports.find_latest(session, whose, night) if night else None,
        waiting=waiting,
        waits_since=since,
        offline=tuple(sorted(session.exec(offline))),
        seen_at=session.exec(seen_at).one(),
    )


def name_of(session: Session, whose: AgentIdentity) -> str:
    """Return the name of this site."""
    return session.exec(select(SiteRow.name).where(SiteRow.id == whose.site_id)).one()
