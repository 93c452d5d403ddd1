"""Sites, agents and watched folders with their last known state, and queries over all sites.

`AllSites` is the one way past the site of a store, see `site_scope`, and it only reads.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

from sqlalchemy import Engine, or_, text
from sqlmodel import Session, col, func, select

from agent.site_time import CLOCKS_DIFFER
from agent.store.engine import (
    AgentIdentity,
    Repository,
    is_sqlite,
    reading,
    write_retrying,
    writing,
)
from agent.store.evidence import audit_log, quality_records
from agent.store.results.stored_facts import NOT_FROZEN
from agent.store.sites.site_scope import EVERY_SITE, bind
from agent.store.tables import AgentRow, ContentRow, SiteRow, SourceRow, TrailRow

if TYPE_CHECKING:  # a short command reads no tables of nights
    from agent.store.tables import NightRow, Record


@dataclass(frozen=True, slots=True)
class SourceHealth:
    """Last known state of a source.

    Args:
        name: Of the source.
        folder: Folder with the exported files.
        mode: How changes are detected.
        online: The folder could be listed.
        offline_since: Aware UTC, or None.
        last_scan_at: Time of the last complete listing, aware UTC, or None.
        found_by_scan: Number of files from listings, in total.
        found_by_event: Number of files from events, in total.
        problem: One sentence, "" if there is none.
    """

    name: str
    folder: str
    mode: str = ""
    online: bool = True
    offline_since: datetime | None = None
    last_scan_at: datetime | None = None
    found_by_scan: Annotated[int, NOT_FROZEN] = 0
    found_by_event: Annotated[int, NOT_FROZEN] = 0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class AgentSeen:
    """An agent, the time of its last heartbeat and the facts it sent."""

    site: str
    name: str
    first_started_at: datetime | None
    started_at: datetime | None
    seen_at: datetime | None
    facts: dict[str, Any]


SHARES_CHANGED = "site.shares_changed"
"""Act of the audit log: another setting of what the site shares; never one that changes nothing."""
RETIRED = "retired"
"""Key of an agent's facts: when it was taken off the lists; its next heartbeat ends that."""


def register(session: Session, site: str, agent: str) -> AgentIdentity:
    """Find or make the rows of this site and this agent, in a session of the site."""
    site_id = add_site(session, site)
    query = select(AgentRow).where(AgentRow.site_id == site_id, AgentRow.name == agent)
    program = session.exec(query).first()
    if program is None:
        program = AgentRow(site_id=site_id, name=agent)
        session.add(program)
        session.flush()
    return AgentIdentity(site_id=site_id, agent_id=program.id)


def find_site(session: Session, site: str) -> int | None:
    """Return the number of a site."""
    return session.exec(select(SiteRow.id).where(SiteRow.name == site)).first()


def add_site(session: Session, site: str) -> int:
    """Return the number of a site, which is added where it is not there."""
    if number := find_site(session, site):
        return number
    row = SiteRow(name=site)
    session.add(row)
    session.flush()
    return row.id


def shared(session: Session, whose: AgentIdentity) -> frozenset[str]:
    """Return what a site shares with others that share it too."""
    row = session.get_one(SiteRow, whose.site_id)
    shared_by_name = {"accounts": row.shares_accounts, "bundles": row.shares_bundles}
    return frozenset(name for name, is_shared in shared_by_name.items() if is_shared)


def note_shares(session: Session, whose: AgentIdentity, shares: Collection[str]) -> None:
    """Record what a site shares with others that share it too."""
    row = session.get_one(SiteRow, whose.site_id)
    row.shares_accounts, row.shares_bundles = "accounts" in shares, "bundles" in shares
    session.add(row)


def find_registered(session: Session, site: str, agent: str) -> AgentIdentity | None:
    """Find the rows of this site and this agent without writing anything."""
    site_id = find_site(session, site)
    query = select(AgentRow.id).where(AgentRow.site_id == site_id, AgentRow.name == agent)
    agent_id = session.exec(query).first() if site_id else None
    return AgentIdentity(site_id=site_id, agent_id=agent_id) if site_id and agent_id else None


def source_id(session: Session, whose: AgentIdentity, name: str, folder: str) -> int:
    """Find or make a source; a folder that moved is written down."""
    row = _source(session, whose, name)
    if row is None:
        row = SourceRow(site_id=whose.site_id, name=name, folder=folder)
        session.add(row)
        session.flush()
    elif row.folder != folder:
        row.folder = folder
        session.add(row)
    return row.id


def _source(session: Session, whose: AgentIdentity, name: str) -> SourceRow | None:
    query = select(SourceRow).where(SourceRow.site_id == whose.site_id, SourceRow.name == name)
    return session.exec(query).first()


OUTAGE = "outage"
"""Kind of the record of an outage of a source; its facts are "since" and "until"."""


READINGS = "readings"
"""Key of a source's facts: how its names were read, by each agent, and up to which content."""


def list_readings(row: SourceRow, content: int) -> list[tuple[str, Mapping[str, str]]]:
    """Return pattern and fixed process data by which names were read since a content was listed.

    The sequence is that of the contents, as a clock may be set back.
    """
    return [
        (str(known["pattern"]), dict(known["fixed"]))
        for known in row.facts.get(READINGS, ())
        if known["until"] is None or known["until"] >= content
    ]


CLOCK_SET = "clock_set"
"""Kind of the record that a clock was set between two contents of a source, which is its subject.

Its fact "steps" lists each with the number of the last content before it, and the times from and to
which it was set.
"""
STEP = timedelta(minutes=5)
"""What a time service sets at once is less."""
_NEAR_STEP = timedelta(days=1)


def note_clock_set_back(
    session: Session, whose: AgentIdentity, source_id: int, source: str, *, at: datetime
) -> None:
    """Record that a clock was set back since the newest content of a source, where it was.

    What came with a time that has not been yet came under a clock that had been ahead: before it no
    time passed for sure.
    """
    own = select(ContentRow.id, ContentRow.first_seen_at).where(ContentRow.source_id == source_id)
    newest = session.exec(own.order_by(col(ContentRow.id).desc()).limit(1)).first()
    if newest is None or newest[1] - at <= STEP:
        return
    if newest[1] - at <= CLOCKS_DIFFER and _has_several_agents(session, whose):
        return  # the clocks of two PCs, which would be set at each turn
    past = own.where(col(ContentRow.first_seen_at) <= at)
    last = session.exec(past.order_by(col(ContentRow.id).desc()).limit(1)).first()
    steps = [(newest[0], newest[1], at)]
    if last is not None:
        ahead = own.where(col(ContentRow.id) > last[0])
        begun = session.exec(ahead.order_by(col(ContentRow.id)).limit(1)).one()
        steps.insert(0, (last[0], last[1], begun[1]))
    _append_steps(session, whose, source, steps, at=at)


def _has_several_agents(session: Session, whose: AgentIdentity) -> bool:
    own = select(func.count(col(AgentRow.id))).where(AgentRow.site_id == whose.site_id)
    return session.exec(own).one() > 1


def _append_steps(
    session: Session,
    whose: AgentIdentity,
    source: str,
    steps: Iterable[tuple[int | None, datetime, datetime]],
    *,
    at: datetime,
) -> None:
    facts = {"steps": [[n, before.isoformat(), after.isoformat()] for n, before, after in steps]}
    quality_records.append(
        session, whose.site_id, CLOCK_SET, source, by="agent", at=at, facts=facts
    )


def find_steady_at(
    steps: Iterable[Record], source: str, content: int, at: datetime
) -> datetime | None:
    """Return when a content came by the clock as it was set since.

    Args:
        steps: Records of `CLOCK_SET`.
        source: Name of its source.
        content: Its number.
        at: When it came by the clock of that time, aware UTC.

    Returns:
        None where no clock of its source was set within a day.
    """
    near = [
        (int(number), datetime.fromisoformat(after) - datetime.fromisoformat(before))
        for step in steps
        if step.subject == source
        for number, before, after in step.facts["steps"]
        if any(abs(datetime.fromisoformat(moment) - at) <= _NEAR_STEP for moment in (before, after))
    ]
    if not near:
        return None
    return at + sum((by for number, by in near if number >= content), timedelta(0))


def _record(session: Session, whose: AgentIdentity, health: Iterable[SourceHealth]) -> None:
    """Record how each source was last seen; one that is back leaves a record of its outage."""
    for state in health:
        source_id(session, whose, state.name, state.folder)
        row = _source(session, whose, state.name)
        if row is not None:
            _record_outage(session, whose, row, state)
            row.mode, row.online, row.offline_since = state.mode, state.online, state.offline_since
            row.last_scan_at = state.last_scan_at
            row.facts = {**row.facts, "problem": state.problem}
            row.found_by_scan, row.found_by_event = state.found_by_scan, state.found_by_event
            session.add(row)


def _record_outage(
    session: Session, whose: AgentIdentity, row: SourceRow, now: SourceHealth
) -> None:
    since, back = row.offline_since, now.last_scan_at
    if since is None or not now.online or back is None or back < since:
        return
    facts = {"since": since.isoformat(), "until": back.isoformat()}
    quality_records.append(
        session, whose.site_id, OUTAGE, now.name, by="agent", at=back, facts=facts
    )


class Sources(Repository):
    """Repository of watched folders and their last known state."""

    def record(self, health: Iterable[SourceHealth]) -> None:
        """Record the state of sources; one that is back leaves a record of its outage."""
        states = list(health)
        write_retrying(self._engine, lambda session: _record(session, self._whose, states))

    def note_reading(
        self, name: str, folder: str, *, pattern: str, fixed: Mapping[str, str]
    ) -> None:
        """Record how this agent reads the names of a source, before it records a file of it.

        An edit of the settings, or a PC that does not know the source, then takes back no order
        that a listed name meant.

        Args:
            name: Of the source.
            folder: Of the source.
            pattern: Regular expression of its paths, or "".
            fixed: Process data of every file.
        """
        own = {
            "agent": self._whose.agent_id,
            "pattern": pattern,
            "fixed": dict(fixed),
            "until": None,
        }
        with reading(self._engine) as session:
            row = _source(session, self._whose, name)
            if row is not None and own in row.facts.get(READINGS, ()):
                return

        def write(session: Session) -> None:
            source_id(session, self._whose, name, folder)
            row = _source(session, self._whose, name)
            if row is None:
                return
            is_replaced = {"agent": self._whose.agent_id, "until": None}.items()
            newest = session.exec(select(func.max(ContentRow.id))).one() or 0
            before = [
                {**known, "until": newest} if is_replaced <= known.items() else known
                for known in row.facts.get(READINGS, ())
            ]
            row.facts = {**row.facts, READINGS: [*before, own]}
            session.add(row)

        write_retrying(self._engine, write)

    def note_clock_ahead(self, names: Iterable[str], by: timedelta, *, at: datetime) -> None:
        """Record that the clock of this PC was set ahead, as a running agent measured.

        Args:
            names: Of its sources.
            by: How far.
            at: Now, by the clock as it is set, aware UTC.
        """

        def write(session: Session) -> None:
            for name in names if by > STEP else ():
                row = _source(session, self._whose, name)
                before = select(func.max(ContentRow.id)).where(
                    ContentRow.source_id == (row.id if row else None),
                    col(ContentRow.first_seen_at) <= at - by / 2,
                )
                if number := session.exec(before).one():
                    step = (number, at - by, at)
                    _append_steps(session, self._whose, name, [step], at=at)

        write_retrying(self._engine, write)

    def list_clock_times(self, *, near: Sequence[datetime], apart: timedelta) -> list[datetime]:
        """Return from and to which times clocks were set, of the acts near some times."""
        with reading(self._engine) as session:
            records = quality_records.every(session, self._whose.site_id, CLOCK_SET)
        each = (
            [datetime.fromisoformat(m) for _number, *times in record.facts["steps"] for m in times]
            for record in records
        )
        return [
            moment
            for moments in each
            if any(abs(moment - at) <= apart for moment in moments for at in near)
            for moment in moments
        ]

    def list_readings(self, name: str, content: int) -> list[tuple[str, Mapping[str, str]]]:
        """Return how the names of a source were read since a content was listed."""
        with reading(self._engine) as session:
            row = _source(session, self._whose, name)
            return list_readings(row, content) if row else []

    def list_fixed_orders(self) -> dict[str, frozenset[str]]:
        """Return source → the orders that every file of it belonged to, now or earlier."""
        with reading(self._engine) as session:
            query = select(SourceRow).where(SourceRow.site_id == self._whose.site_id)
            return {
                row.name: frozenset(
                    str(known["fixed"]["order"])
                    for known in row.facts.get(READINGS, ())
                    if known["fixed"].get("order")
                )
                for row in session.exec(query)
            }

    def list_all(self) -> list[SourceHealth]:
        """Return the last known state of each source of this site."""
        with reading(self._engine) as session:
            query = (
                select(SourceRow)
                .where(SourceRow.site_id == self._whose.site_id)
                .order_by(SourceRow.name)
            )
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
                for row in session.exec(query)
            ]


class Agents(Repository):
    """Repository of the agents of this site."""

    def record_start(self, *, at: datetime) -> None:
        """Record that this agent started."""
        with writing(self._engine) as session:
            row = session.get_one(AgentRow, self._whose.agent_id)
            row.started_at = row.seen_at = at
            row.first_started_at = row.first_started_at or at
            session.add(row)

    def retire(self, name: str, *, by: str, reason: str, at: datetime) -> None:
        """Remove an agent from every list until it sends a heartbeat again; its acts stay.

        Args:
            name: Of its PC.
            by: Who does this.
            reason: Why.
            at: Now, aware UTC.
        """
        with writing(self._engine) as session:
            query = select(AgentRow).where(AgentRow.name == name)
            row = session.exec(query).one()
            row.facts = {"stopped": True, RETIRED: at.isoformat()}
            session.add(row)
            audit_log.append(
                session,
                self._whose.site_id,
                at=at,
                actor=by,
                act="agent.retired",
                subject=name,
                facts={"reason": reason},
            )

    def get_facts(self) -> dict[str, Any]:
        """Return the facts of this agent's last heartbeat."""
        with reading(self._engine) as session:
            return dict(session.get_one(AgentRow, self._whose.agent_id).facts)

    def record_heartbeat(self, facts: Mapping[str, Any], *, at: datetime) -> None:
        """Record that this agent is running, and the facts it sends."""
        with writing(self._engine) as session:
            row = session.get_one(AgentRow, self._whose.agent_id)
            row.seen_at, row.facts = at, dict(facts)
            session.add(row)

    def measure_clock_ahead_s(self, *, now: Callable[[], datetime]) -> float:
        """Return how far (s) this PC's clock is ahead of the database's; 0 with SQLite.

        Args:
            now: Returns the time of this PC, aware UTC.
        """
        with reading(self._engine) as session:
            if is_sqlite(self._engine):
                return 0.0
            session.execute(text("SELECT 1"))  # connected first: the next one takes a moment only
            before = now()
            there = session.execute(text("SELECT clock_timestamp()")).scalar_one()
            return float((before + (now() - before) / 2 - there).total_seconds())

    def list_all(self) -> list[AgentSeen]:
        """Return the agents of this site that ever used this store."""
        with reading(self._engine) as session:
            return list_agents(session)


def list_agents(session: Session) -> list[AgentSeen]:
    """Return the agents of the session's site, of all sites where it reads all; none is retired."""
    query = select(AgentRow, SiteRow.name).join(SiteRow).order_by(SiteRow.name, AgentRow.name)
    return [
        AgentSeen(site, row.name, row.first_started_at, row.started_at, row.seen_at, row.facts)
        for row, site in session.exec(query)
        if RETIRED not in row.facts
    ]


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
            return list_agents(session)

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
    from agent.store.tables import NightRow  # noqa: PLC0415

    whose = AgentIdentity(site.id, 0)
    night = session.exec(select(func.max(NightRow.date)).where(NightRow.site_id == site.id)).one()
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
