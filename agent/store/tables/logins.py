"""Logins of accounts."""

from datetime import datetime
from typing import Any, ClassVar

from sqlmodel import Field

from agent.store.tables import records  # noqa: F401 - what foreign keys name
from agent.store.tables.base import Numbered, OfSite, instant_column


class Login(OfSite, Numbered, table=True):
    """A log-in session of a browser; `sha256` is of its cookie."""

    __tablename__: ClassVar[Any] = "login"

    sha256: str = Field(unique=True)
    account_id: int = Field(foreign_key="account.id", index=True)
    began_at: datetime = instant_column()
    seen_at: datetime = instant_column()
    ended_at: datetime | None = instant_column()
