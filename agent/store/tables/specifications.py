"""Specifications, and specimens that two orders claim."""

from datetime import date, datetime
from typing import Any, ClassVar

from sqlalchemy import Index, UniqueConstraint
from sqlmodel import Field

from agent.store.tables import micrographs, orders  # noqa: F401 - what foreign keys name
from agent.store.tables.base import (
    OfSite,
    Row,
    instant_column,
    json_column,
    site_column,
    text_column,
)


class SpecificationRow(OfSite, Row, table=True):
    """A specification limit; a change is a new version."""

    __tablename__: ClassVar[Any] = "specification"
    __table_args__: ClassVar[Any] = (UniqueConstraint("name", "version", "site_id"),)

    id: int | None = Field(default=None, primary_key=True)
    site_id: int = site_column()
    name: str
    version: int = 1
    valid_from: date
    approved_by: str = ""
    sha256: str = ""
    entry: dict[str, Any] = json_column()
    seen_at: datetime = instant_column()


class OrderClaimRow(OfSite, Row, table=True):
    """An order that a micrograph was named for and does not belong to.

    It was named by the path, a note, a sender, a copy, or an earlier assignment. The order is
    undecided until a lead settles the claim.
    """

    __tablename__: ClassVar[Any] = "order_claim"
    __table_args__: ClassVar[Any] = (
        UniqueConstraint("micrograph_id", "order_id", "specimen"),
        Index("ix_order_claim_order_id", "order_id"),
    )

    id: int | None = Field(default=None, primary_key=True)
    site_id: int = site_column()
    micrograph_id: int = Field(foreign_key="micrograph.id")
    order_id: int = Field(foreign_key="order.id")
    specimen: str = text_column()
    origin: str = text_column()
    file: str = text_column()
    at: datetime = instant_column()
    settled_by: str = text_column()
    settled_reason: str = text_column()
    settled_at: datetime | None = instant_column()
