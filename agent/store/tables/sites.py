"""Sites, agents and the sources that they watch."""

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import UniqueConstraint
from sqlmodel import Field

from agent.store.tables.base import (
    OfSite,
    Row,
    false_column,
    instant_column,
    json_column,
    site_column,
)


class SiteRow(Row, table=True):
    """A plant; several may share one database.

    `shares_accounts` and `shares_bundles` are its setting `site.shares`: rows of sites that share
    them are valid at each. `needs_accounts`: it shared the accounts of others when they were
    separated, so a log-in is required, although it has no account.
    """

    __tablename__: ClassVar[Any] = "site"

    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(unique=True)
    shares_accounts: bool = false_column()
    shares_bundles: bool = false_column()
    needs_accounts: bool = false_column()


class AgentRow(OfSite, Row, table=True):
    """A running program on one PC; `seen_at` is its heartbeat, `started_at` its last start."""

    __tablename__: ClassVar[Any] = "agent"
    __table_args__: ClassVar[Any] = (UniqueConstraint("site_id", "name"),)

    id: int | None = Field(default=None, primary_key=True)
    site_id: int = site_column()
    name: str
    first_started_at: datetime | None = instant_column()
    started_at: datetime | None = instant_column()
    seen_at: datetime | None = instant_column()
    facts: dict[str, Any] = json_column()


class SourceRow(OfSite, Row, table=True):
    """A microscope's export folder."""

    __tablename__: ClassVar[Any] = "source"
    __table_args__: ClassVar[Any] = (UniqueConstraint("site_id", "name"),)

    id: int | None = Field(default=None, primary_key=True)
    site_id: int = site_column()
    name: str
    folder: str
    mode: str = ""
    online: bool = True
    offline_since: datetime | None = instant_column()
    last_scan_at: datetime | None = instant_column()
    found_by_scan: int = 0
    found_by_event: int = 0
    facts: dict[str, Any] = json_column()
