"""Facts of nightly reports as JSON text, stored once and never changed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from sqlmodel import Session, col, func, select

from agent.store.engine import AgentIdentity, Repository, reading, writing
from agent.store.evidence.acts import append_act
from agent.store.tables import NightRow

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
    query = select(NightRow).where(
        NightRow.site_id == whose.site_id, NightRow.date == night, NightRow.revision == revision
    )
    row = session.exec(query).first()
    if row is None:
        row = NightRow(
            site_id=whose.site_id, date=night, revision=revision, facts=facts_json, frozen_at=at
        )
        append_act(session, "night.reported", row)
    return row


def find_latest(session: Session, whose: AgentIdentity, night: date) -> NightRow | None:
    """Return a night's newest revision, or None."""
    query = (
        select(NightRow)
        .where(NightRow.site_id == whose.site_id, NightRow.date == night)
        .order_by(col(NightRow.revision).desc())
        .limit(1)
    )
    return session.exec(query).first()


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
            head = func.substr(NightRow.facts, 1, HEAD_LETTERS)
            query = (
                select(col(NightRow.date), col(NightRow.revision), head, col(NightRow.frozen_at))
                .add_columns(col(NightRow.id))
                .where(col(NightRow.site_id) == self._whose.site_id)
                .order_by(col(NightRow.date).desc(), col(NightRow.revision))
            )
            newest = {row[0]: NightHead(*row) for row in session.execute(query)}
            return list(newest.values())
