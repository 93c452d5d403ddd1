"""Know the sites, the agents and their export folders, and how each was last seen.

In:  what the watch and the service report. Out: `SourceHealth`, `AgentSeen`. Next: `agent status`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlmodel import col, select

from agent.store import records
from agent.store.numbers import number_key
from agent.store.tables import AgentRow, SiteRow, SourceRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from sqlmodel import Session


@dataclass(frozen=True, slots=True)
class Whose:
    """On whose behalf the store is asked: the rows of this site and this agent."""

    site_id: int
    agent_id: int
    exact_numbers: bool = False

    def key(self, number: str) -> str:
        """Return what all spellings of an order's number have in common at this site."""
        return number_key(number, exact=self.exact_numbers)


@dataclass(frozen=True, slots=True)
class SourceHealth:
    """How a source was last seen.

    Args:
        name: Of the source. folder: where it exports to. mode: how news is heard.
        online: Whether its folder could be listed. offline_since: since when not.
        last_scan_at: When it was last listed whole.
        found_by_scan, found_by_event: How many files each way brought, ever.
        problem: One sentence, "" if all is well.
    """

    name: str
    folder: str
    mode: str = ""
    online: bool = True
    offline_since: datetime | None = None
    last_scan_at: datetime | None = None
    found_by_scan: int = 0
    found_by_event: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class AgentSeen:
    """When an agent was last heard of, and what it said of itself."""

    site: str
    name: str
    first_started_at: datetime | None
    started_at: datetime | None
    seen_at: datetime | None
    facts: dict[str, Any]


def register(session: Session, site: str, agent: str) -> Whose:
    """Find or make the rows of this site and this agent."""
    place = session.exec(select(SiteRow).where(SiteRow.name == site)).first()
    if place is None:
        place = SiteRow(name=site)
        session.add(place)
        session.flush()
    asked = select(AgentRow).where(AgentRow.site_id == place.id, AgentRow.name == agent)
    program = session.exec(asked).first()
    if program is None:
        program = AgentRow(site_id=place.id or 0, name=agent)
        session.add(program)
        session.flush()
    return Whose(site_id=place.id or 0, agent_id=program.id or 0)


def registered(session: Session, site: str, agent: str) -> Whose | None:
    """Find the rows of this site and this agent without writing anything."""
    asked = (
        select(SiteRow.id, AgentRow.id)
        .join(AgentRow, col(AgentRow.site_id) == col(SiteRow.id))
        .where(SiteRow.name == site, AgentRow.name == agent)
    )
    found = session.exec(asked).first()
    return Whose(site_id=found[0] or 0, agent_id=found[1] or 0) if found else None


def source_id(session: Session, whose: Whose, name: str, folder: str) -> int:
    """Find or make a source; a folder that moved is written down."""
    row = _source(session, whose, name)
    if row is None:
        row = SourceRow(site_id=whose.site_id, name=name, folder=folder)
        session.add(row)
        session.flush()
    elif row.folder != folder:
        row.folder = folder
        session.add(row)
    return row.id or 0


def _source(session: Session, whose: Whose, name: str) -> SourceRow | None:
    asked = select(SourceRow).where(SourceRow.site_id == whose.site_id, SourceRow.name == name)
    return session.exec(asked).first()


OUTAGE = "outage"
"""Kind of the record that a source was away; its facts say "since" and "until"."""


def seen(session: Session, whose: Whose, health: Iterable[SourceHealth]) -> None:
    """Write down how each source was last seen; one that is back leaves a record of its outage."""
    for said in health:
        source_id(session, whose, said.name, said.folder)
        row = _source(session, whose, said.name)
        if row is not None:
            _record_outage(session, whose, row, said)
            row.mode, row.online, row.offline_since = said.mode, said.online, said.offline_since
            row.last_scan_at, row.facts = said.last_scan_at, {"problem": said.problem}
            row.found_by_scan, row.found_by_event = said.found_by_scan, said.found_by_event
            session.add(row)


def _record_outage(session: Session, whose: Whose, row: SourceRow, now: SourceHealth) -> None:
    since, back = row.offline_since, now.last_scan_at
    if since is None or not now.online or back is None or back < since:
        return
    facts = {"since": since.isoformat(), "until": back.isoformat()}
    records.append(session, whose.site_id, OUTAGE, now.name, by="agent", at=back, facts=facts)


def health(session: Session, whose: Whose) -> list[SourceHealth]:
    """Say how each source of this site was last seen."""
    asked = select(SourceRow).where(SourceRow.site_id == whose.site_id).order_by(SourceRow.name)
    return [
        SourceHealth(
            row.name,
            row.folder,
            row.mode,
            row.online,
            row.offline_since,
            row.last_scan_at,
            row.found_by_scan,
            row.found_by_event,
            str(row.facts.get("problem", "")),
        )
        for row in session.exec(asked)
    ]


def started(session: Session, whose: Whose, *, at: datetime) -> None:
    """Write down that this agent started."""
    row = session.get_one(AgentRow, whose.agent_id)
    row.started_at = row.seen_at = at
    row.first_started_at = row.first_started_at or at
    session.add(row)


def heartbeat(session: Session, whose: Whose, facts: Mapping[str, Any], *, at: datetime) -> None:
    """Write down that this agent lives, and what it says of itself."""
    row = session.get_one(AgentRow, whose.agent_id)
    row.seen_at, row.facts = at, dict(facts)
    session.add(row)


def agents(session: Session) -> list[AgentSeen]:
    """Say every agent that ever used this store."""
    asked = select(AgentRow, SiteRow.name).join(SiteRow).order_by(SiteRow.name, AgentRow.name)
    return [
        AgentSeen(site, row.name, row.first_started_at, row.started_at, row.seen_at, row.facts)
        for row, site in session.exec(asked)
    ]
