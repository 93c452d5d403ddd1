"""Orders, their specimens and preparations."""

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import Index, UniqueConstraint
from sqlmodel import Field

from agent.store.tables.base import Numbered, OfSite, instant_column, json_column, text_column


class OrderRow(OfSite, Numbered, table=True):
    """A customer's order; `legal_hold` excludes all of it from pruning.

    `key` is what all spellings of its number have in common (`agent.store.numbers`).
    """

    __tablename__: ClassVar[Any] = "order"
    __table_args__: ClassVar[Any] = (
        UniqueConstraint("site_id", "number"),
        Index("uq_order_site_id_key", "site_id", "key", unique=True),
    )

    number: str
    key: str = text_column()
    customer: str = ""
    product: str = ""
    material: str = ""
    urgent: bool = False
    legal_hold: bool = False
    first_seen_at: datetime | None = instant_column()
    facts: dict[str, Any] = json_column()


class SpecimenRow(OfSite, Numbered, table=True):
    """A physical mounted piece. `bundle` judges all of it: set by its first field, then fixed."""

    __tablename__: ClassVar[Any] = "specimen"
    __table_args__: ClassVar[Any] = (UniqueConstraint("site_id", "order_id", "name"),)

    order_id: int | None = Field(default=None, foreign_key="order.id", index=True)
    name: str
    heat: str = ""
    batch: str = ""
    material: str = ""
    bundle: str | None = None
    first_seen_at: datetime | None = instant_column()
    facts: dict[str, Any] = json_column()


class PreparationRow(OfSite, Numbered, table=True):
    """A grinding, polishing and etching of a specimen; a repeat is a new row."""

    __tablename__: ClassVar[Any] = "preparation"
    __table_args__: ClassVar[Any] = (UniqueConstraint("specimen_id", "name"),)

    specimen_id: int = Field(foreign_key="specimen.id")
    name: str
    etchant: str = ""
    first_seen_at: datetime | None = instant_column()
    replaces: int | None = Field(default=None, foreign_key="preparation.id")
    facts: dict[str, Any] = json_column()
