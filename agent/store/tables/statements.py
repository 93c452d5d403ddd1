"""Specifications, specimens that two orders claim, and frozen statements with their files."""

from datetime import date, datetime
from typing import Any, ClassVar

from sqlalchemy import Column, Index, Text, UniqueConstraint
from sqlmodel import Field

from agent.store.tables import micrographs, orders  # noqa: F401 - what foreign keys name
from agent.store.tables.base import (
    Numbered,
    OfSite,
    instant_column,
    json_column,
    site_column,
    text_column,
)


class SpecificationRow(OfSite, Numbered, table=True):
    """A specification limit; a change is a new version."""

    __tablename__: ClassVar[Any] = "specification"
    __table_args__: ClassVar[Any] = (UniqueConstraint("name", "version", "site_id"),)

    name: str
    version: int = 1
    valid_from: date
    approved_by: str = ""
    sha256: str = ""
    entry: dict[str, Any] = json_column()
    seen_at: datetime = instant_column()


class OrderClaimRow(OfSite, Numbered, table=True):
    """An order that a micrograph was named for and does not belong to.

    It was named by the path, a note, a sender, a copy, or an earlier assignment. The order is
    undecided until a lead settles the claim.
    """

    __tablename__: ClassVar[Any] = "order_claim"
    __table_args__: ClassVar[Any] = (
        UniqueConstraint("micrograph_id", "order_id", "specimen"),
        Index("ix_order_claim_order_id", "order_id"),
    )

    micrograph_id: int = Field(foreign_key="micrograph.id")
    order_id: int = Field(foreign_key="order.id")
    specimen: str = text_column()
    origin: str = text_column()
    file: str = text_column()
    at: datetime = instant_column()
    settled_by: str = text_column()
    settled_reason: str = text_column()
    settled_at: datetime | None = instant_column()


class StatementRow(OfSite, Numbered, table=True):
    """A statement of conformity, made when the conformity of an order changed; never changed."""

    __tablename__: ClassVar[Any] = "statement"
    __table_args__: ClassVar[Any] = (
        UniqueConstraint("order_id", "number"),
        UniqueConstraint("sha256", "site_id"),
    )

    site_id: int = site_column(index=True)
    order_id: int = Field(foreign_key="order.id")
    number: int
    sha256: str
    previous_sha256: str = text_column()
    conformity: str
    state: str
    final: bool
    at: datetime = instant_column()
    document: str = Field(sa_column=Column(Text, nullable=False))  # text: it is what was hashed


class StatementFile(OfSite, Numbered, table=True):
    """A file made from a statement, such as its PDF: appended, never changed.

    `signed_by` is the subject of the certificate, "" for an unsigned file; `note` is the reason.
    """

    __tablename__: ClassVar[Any] = "statement_file"
    __table_args__: ClassVar[Any] = (UniqueConstraint("statement_id", "kind"),)

    statement_id: int = Field(foreign_key="statement.id")
    kind: str
    language: str
    sha256: str
    size_bytes: int
    signed_by: str = text_column()
    note: str = text_column()
    at: datetime = instant_column()
