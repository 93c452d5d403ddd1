"""Long and scheduled jobs."""

from datetime import datetime
from typing import Any, ClassVar

from sqlmodel import Field

from agent.store.tables import sites  # noqa: F401 - what foreign keys name
from agent.store.tables.base import (
    OfSite,
    Row,
    instant_column,
    json_column,
    site_column,
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
