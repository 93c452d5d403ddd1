"""The audit trail."""

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import Column, Text, UniqueConstraint
from sqlmodel import Field

from agent.store.tables.base import OfSite, Row, instant_column, site_column


class TrailRow(OfSite, Row, table=True):
    """An act in the audit log, chained to the one before by hash."""

    __tablename__: ClassVar[Any] = "trail"
    __table_args__: ClassVar[Any] = (
        # a chain of a site never forks, even with several agents
        UniqueConstraint("previous_sha256", "site_id"),
        {"sqlite_autoincrement": True},
    )

    id: int | None = Field(default=None, primary_key=True)
    site_id: int = site_column()
    at: datetime = instant_column(index=True)
    actor: str
    act: str
    subject: str = ""
    facts: str = Field(sa_column=Column(Text, nullable=False))  # text: it is what was hashed
    previous_sha256: str
    sha256: str = Field(unique=True)
