"""Accounts of people and programs."""

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import UniqueConstraint
from sqlmodel import Field

from agent.store.tables.base import OfGroup, Row, instant_column, site_column


class AccountRow(OfGroup, Row, table=True):
    """An account of a person with a password, or of a program with a token.

    `hashed` is an argon2 hash of a person's password, or the sha256 of a program's token. Log-ins
    that began before `logins_since` are over, at every site that shares the account.
    """

    __tablename__: ClassVar[Any] = "account"
    __table_args__: ClassVar[Any] = (UniqueConstraint("name", "site_id"),)

    id: int | None = Field(default=None, primary_key=True)
    site_id: int = site_column()
    name: str
    kind: str
    role: str
    hashed: str
    created_at: datetime = instant_column()
    disabled_at: datetime | None = instant_column()
    failures: int = 0
    locked_until: datetime | None = instant_column()
    logins_since: datetime | None = instant_column()
