"""The audit log, quality records, promotions and accounts."""

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import Column, Index, Text, UniqueConstraint
from sqlmodel import Field

from agent.store.tables.base import Numbered, OfGroup, OfSite, instant_column, json_column


class TrailRow(OfSite, Numbered, table=True):
    """An act in the audit log, chained to the one before by hash."""

    __tablename__: ClassVar[Any] = "trail"
    __table_args__: ClassVar[Any] = (
        # a chain of a site never forks, even with several agents
        UniqueConstraint("previous_sha256", "site_id"),
        {"sqlite_autoincrement": True},
    )

    at: datetime = instant_column(index=True)
    actor: str
    act: str
    subject: str = ""
    facts: str = Field(sa_column=Column(Text, nullable=False))  # text: it is what was hashed
    previous_sha256: str
    sha256: str = Field(unique=True)


class Record(OfSite, Numbered, table=True):
    """Something the lab has to be able to show later: appended, never changed.

    `kind` is "validation", "automatic", "control", "reference", "hold_release", "scale_check",
    "order_list", "statement", "outbox", "outbox_files", "outbox_written", "round_robin",
    "msa_plan", "msa", "specifications", "order_demands", "taxonomy", "bundle_taxonomy",
    "scale_given", "language", "class_proposal", "class_proposal_closed", "needle_comparison",
    "needle_calibration", "anchor_file", "scale_late" or "alarm_acknowledged";
    `subject` what it is about, such as a material, a source, an order, a campaign, a micrograph,
    an account or a PC; `by` its author.
    """

    __tablename__: ClassVar[Any] = "record"
    __table_args__: ClassVar[Any] = (
        Index("ix_record_subject", "site_id", "kind", "subject", "id"),
    )

    kind: str
    subject: str = ""
    by: str = ""
    at: datetime = instant_column()
    facts: dict[str, Any] = json_column()


class PromotionRow(OfGroup, Numbered, table=True):
    """A promotion of a bundle by a lead; the newest row is valid."""

    __tablename__: ClassVar[Any] = "promotion"

    bundle: str
    by: str
    reason: str
    promoted_at: datetime = instant_column()
    metrics: dict[str, Any] = json_column()


class Account(OfGroup, Numbered, table=True):
    """An account of a person with a password, or of a program with a token.

    `hashed` is an argon2 hash of a person's password, or the sha256 of a program's token. Log-ins
    that began before `logins_since` are over, at every site that shares the account.
    """

    __tablename__: ClassVar[Any] = "account"
    __table_args__: ClassVar[Any] = (UniqueConstraint("name", "site_id"),)

    name: str
    kind: str
    role: str
    hashed: str
    created_at: datetime = instant_column()
    disabled_at: datetime | None = instant_column()
    failures: int = 0
    locked_until: datetime | None = instant_column()
    logins_since: datetime | None = instant_column()
