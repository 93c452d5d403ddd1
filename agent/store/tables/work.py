"""Scheduled jobs, work jobs and their units."""

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import Index
from sqlmodel import Field

from agent.store.tables import sites  # noqa: F401 - what foreign keys name
from agent.store.tables.base import (
    OfSite,
    Row,
    false_column,
    instant_column,
    json_column,
    site_column,
    text_column,
)


class JobRow(OfSite, Row, table=True):
    """A long or scheduled piece of work: what it was for, and how it ended."""

    __tablename__: ClassVar[Any] = "job"

    id: int | None = Field(default=None, primary_key=True)
    site_id: int = site_column()
    agent_id: int | None = Field(default=None, foreign_key="agent.id")
    name: str = Field(index=True)
    due_at: datetime | None = instant_column()
    started_at: datetime | None = instant_column()
    ended_at: datetime | None = instant_column()
    outcome: str = ""
    facts: dict[str, Any] = json_column()


class WorkJobRow(OfSite, Row, table=True):
    """A request to judge archived micrographs with a bundle; agents do it in units.

    `since` limits it to watched micrographs stored after it. Its micrographs are divided from the
    newest to the oldest: `divided_to` is the oldest one so far, and `is_divided` is set at the end.
    `counts` are those of its units that were at their end and are deleted.
    """

    __tablename__: ClassVar[Any] = "work_job"
    __table_args__: ClassVar[Any] = (Index("ix_work_job_site_id_state", "site_id", "state"),)

    id: int | None = Field(default=None, primary_key=True)
    site_id: int = site_column()
    bundle: str
    role: str
    days: int | None = None
    since: datetime | None = instant_column()
    state: str
    by: str
    acted_by: str = text_column()
    created_at: datetime = instant_column()
    ended_at: datetime | None = instant_column()
    divided_to: int | None = None
    is_divided: bool = false_column()
    known: int = 0
    total: int = 0
    counts: dict[str, Any] = json_column()


class WorkUnitRow(OfSite, Row, table=True):
    """Micrographs of one source, from `first_id` to `last_id`, that one agent judges at a time.

    `home_id` is the agent that archived their crops. `attempt` only ever grows: a worker whose
    lease was taken over has an older one. `due_at` is when a waiting unit may be claimed and when
    the lease of a claimed one ends; no index holds it, so that renewing a lease moves no index
    entry. `done_to` is the last micrograph that is finished.
    """

    __tablename__: ClassVar[Any] = "work_unit"
    __table_args__: ClassVar[Any] = (
        Index("ix_work_unit_job_id_state_home_id_id", "job_id", "state", "home_id", "id"),
        {"sqlite_autoincrement": True},  # a number is never given twice: claims remember it
    )

    id: int | None = Field(default=None, primary_key=True)
    site_id: int = site_column()
    job_id: int = Field(foreign_key="work_job.id")
    source_id: int = Field(foreign_key="source.id")
    home_id: int | None = Field(default=None, foreign_key="agent.id")
    first_id: int
    last_id: int
    n: int
    state: str
    attempt: int = 0
    failures: int = 0
    agent_id: int | None = Field(default=None, foreign_key="agent.id")
    due_at: datetime = instant_column()
    done_to: int = 0
    judged: int = 0
    known: int = 0
    lost: int = 0
    unreadable: int = 0
    flagged: int = 0
    flips: dict[str, int] = json_column()
    reason: str = text_column()
    ended_at: datetime | None = instant_column()
