"""Facts of nightly reports as JSON text, stored once and never changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlmodel import Session, col, func, select

from agent.store.engine import AgentIdentity, Repository, reading, writing
from agent.store.evidence.acts import append_act
from agent.store.tables import NightRow_ as Stored

if TYPE_CHECKING:
    from datetime import date, datetime


@dataclass(frozen=True, slots=True)
class NightRow:
    """Frozen facts of one night.

    Args:
        date: The night.
        revision: 1, and one more for each refresh.
        facts_json: Unchanged, byte for byte.
        frozen_at: Aware UTC.
    """

    date: date
    revision: int
    facts_json: str
    frozen_at: datetime


HEAD_LETTERS = 16_384
"""Letters of a night's facts that a list of nights reads: the summary is at the top."""


@dataclass(frozen=True, slots=True)
class NightHead:
    """A night in a list.

    Args:
        date: The night.
        revision: Its newest revision.
        head: The first `HEAD_LETTERS` of its facts.
        frozen_at: Aware UTC.
        number: Of that revision, in the order in which they were frozen.
    """

    date: date
    revision: int
    head: str
    frozen_at: datetime
    number: int


def _freeze(
    session: Session,
    whose: AgentIdentity,
    night: date,
    facts_json: str,
    *,
    at: datetime,
    revision: int,
) -> NightRow:
    """Store a night's facts; an existing revision is returned unchanged."""
    query = select(Stored).where(
        Stored.site_id == whose.site_id, Stored.date == night, Stored.revision == revision
    )
    row = session.exec(query).first()
    if row is None:
        row = Stored(
            site_id=whose.site_id, date=night, revision=revision, facts=facts_json, frozen_at=at
        )
        append_act(session, "night.reported", row)
    return _to_night(row)


def find_latest(session: Session, whose: AgentIdentity, night: date) -> NightRow | None:
    """Return a night's newest revision, or None."""
    query = (
        select(Stored)
        .where(Stored.site_id == whose.site_id, Stored.date == night)
        .order_by(col(Stored.revision).desc())
        .limit(1)
    )
    row = session.exec(query).first()
    return _to_night(row) if row else None


class NightlyReports(Repository):
    """Repository of frozen facts of nightly reports."""

    def freeze(self, date: date, facts_json: str, *, at: datetime, revision: int = 1) -> NightRow:
        """Store a night's facts; an existing revision is returned unchanged."""
        with writing(self._engine) as session:
            return _freeze(session, self._whose, date, facts_json, at=at, revision=revision)

    def find(self, date: date) -> NightRow | None:
        """Return a night's newest revision, or None."""
        with reading(self._engine) as session:
            return find_latest(session, self._whose, date)

    def list_all(self) -> list[NightHead]:
        """Return the newest revision of each night, newest night first, without its facts."""
        with reading(self._engine) as session:
            head = func.substr(Stored.facts, 1, HEAD_LETTERS)
            query = (
                select(col(Stored.date), col(Stored.revision), head, col(Stored.frozen_at))
                .add_columns(col(Stored.id))
                .where(col(Stored.site_id) == self._whose.site_id)
                .order_by(col(Stored.date).desc(), col(Stored.revision))
            )
            newest = {row[0]: NightHead(*row) for row in session.execute(query)}
            return list(newest.values())


def _to_night(row: Stored) -> NightRow:
    return NightRow(row.date, row.revision, row.facts, row.frozen_at)
