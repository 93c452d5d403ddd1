"""Facts of nights."""

from datetime import date, datetime
from typing import Any, ClassVar

from sqlalchemy import Column, Text, UniqueConstraint
from sqlmodel import Field

from agent.store.tables.base import Numbered, OfSite, instant_column


class NightRow(OfSite, Numbered, table=True):
    """Facts of one night as first written, byte for byte; a refresh is a new revision."""

    __tablename__: ClassVar[Any] = "night"
    __table_args__: ClassVar[Any] = (UniqueConstraint("site_id", "date", "revision"),)

    date: date
    revision: int = 1
    facts: str = Field(sa_column=Column(Text, nullable=False))  # text: byte for byte the same
    frozen_at: datetime = instant_column()
