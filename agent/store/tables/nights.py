"""Facts of nights."""

from datetime import date, datetime
from typing import Any, ClassVar

from sqlalchemy import Column, Text, UniqueConstraint
from sqlmodel import Field

from agent.store.tables.base import OfSite, Row, instant_column, number_column, site_column


class NightRow_(OfSite, Row, table=True):  # noqa: N801 - `NightRow` is the noun that leaves the store
    """Facts of one night as first written; a refresh is a new revision."""

    __tablename__: ClassVar[Any] = "night"
    __table_args__: ClassVar[Any] = (UniqueConstraint("site_id", "date", "revision"),)

    id: int = number_column()
    site_id: int = site_column()
    date: date
    revision: int = 1
    facts: str = Field(sa_column=Column(Text, nullable=False))  # text: byte for byte the same
    frozen_at: datetime = instant_column()
