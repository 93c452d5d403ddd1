"""Orders, specimens, preparations, specifications and claims on them."""

from datetime import date, datetime
from typing import Any, ClassVar

from sqlalchemy import (
    Index,
    UniqueConstraint,
)
from sqlmodel import Field

from agent.store.tables.base import (
    OfSite,
    Row,
    instant_column,
    json_column,
    site_column,
    text_column,
)


class OrderRow(OfSite, Row, table=True):
    """A customer's order; `legal_hold` excludes all of it from pruning.

    `key` is what all spellings of its number have in common (`agent.store.numbers`).
    """

    __tablename__: ClassVar[Any] = "order"
    __table_args__: ClassVar[Any] = (
        UniqueConstraint("site_id", "number"),
        Index("uq_order_site_id_key", "site_id", "key", unique=True),
    )

    id: int | None = Field(default=None, primary_key=True)
    site_id: int = site_column()
    number: str
    key: str = text_column()
    customer: str = ""
    product: str = ""
    material: str = ""
    urgent: bool = False
    legal_hold: bool = False
    first_seen_at: datetime | None = instant_column()
    facts: dict[str, Any] = json_column()


class SpecimenRow(OfSite, Row, table=True):
    """A physical mounted piece. `bundle` judges all of it: set by its first field, then fixed."""

    __tablename__: ClassVar[Any] = "specimen"
    __table_args__: ClassVar[Any] = (UniqueConstraint("site_id", "order_id", "name"),)

    id: int | None = Field(default=None, primary_key=True)
    site_id: int = site_column()
    order_id: int | None = Field(default=None, foreign_key="order.id", index=True)
    name: str
    heat: str = ""
    batch: str = ""
    material: str = ""
    bundle: str | None = None
    first_seen_at: datetime | None = instant_column()
    facts: dict[str, Any] = json_column()


class PreparationRow(OfSite, Row, table=True):
    """A grinding, polishing and etching of a specimen; a repeat is a new row."""

    __tablename__: ClassVar[Any] = "preparation"
    __table_args__: ClassVar[Any] = (UniqueConstraint("specimen_id", "name"),)

    id: int | None = Field(default=None, primary_key=True)
    site_id: int = site_column()
    specimen_id: int = Field(foreign_key="specimen.id")
    name: str
    etchant: str = ""
    first_seen_at: datetime | None = instant_column()
    replaces: int | None = Field(default=None, foreign_key="preparation.id")
    facts: dict[str, Any] = json_column()


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
