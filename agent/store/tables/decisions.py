"""Labels, quality records, promotions and frozen statements."""

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import (
    Column,
    Index,
    Text,
    UniqueConstraint,
)
from sqlmodel import Field

from agent.store.tables.base import (
    OfGroup,
    OfSite,
    Row,
    false_column,
    instant_column,
    json_column,
    site_column,
    text_column,
)


class LabelRow(OfSite, Row, table=True):
    """A reviewer's decision; appended, never changed. An undo is a separate row.

    `after_record` is the newest record when it was written, as of a result.
    """

    __tablename__: ClassVar[Any] = "label"

    id: int | None = Field(default=None, primary_key=True)
    site_id: int = site_column()
    micrograph_id: int = Field(foreign_key="micrograph.id", index=True)
    result_id: int | None = Field(default=None, foreign_key="result.id")
    kind: str
    code: str | None = None
    strange_kind: str | None = None
    why: str | None = None
    criterion: str = "unrecorded"
    unsure: bool = false_column()
    comment: str = ""
    by: str
    decided_at: datetime = instant_column(index=True)
    viewing_s: float | None = None
    blind: bool = False
    bulk: bool = False
    origin: str = "review"
    supersedes: int | None = Field(default=None, foreign_key="label.id")
    after_record: int | None = None


class RecordRow(OfSite, Row, table=True):
    """Something the lab has to be able to show later: appended, never changed.

    `kind` is "validation", "automatic", "control", "reference", "hold_release", "scale_check",
    "order_list", "statement", "outbox", "outbox_files", "outbox_written", "round_robin",
    "msa_plan", "msa", "specifications", "taxonomy", "bundle_taxonomy", "scale_given", "language",
    "class_proposal", "class_proposal_closed", "needle_comparison" or "needle_calibration";
    `subject` what it is about, such as a material, a source, an order, a campaign, a micrograph,
    an account or a PC.
    """

    __tablename__: ClassVar[Any] = "record"
    __table_args__: ClassVar[Any] = (
        Index("ix_record_subject", "site_id", "kind", "subject", "id"),
    )

    id: int | None = Field(default=None, primary_key=True)
    site_id: int = site_column()
    kind: str
    subject: str = ""
    by: str = ""
    at: datetime = instant_column()
    facts: dict[str, Any] = json_column()


class StatementRow(OfSite, Row, table=True):
    """A statement of conformity, made when the conformity of an order changed; never changed."""

    __tablename__: ClassVar[Any] = "statement"
    __table_args__: ClassVar[Any] = (
        UniqueConstraint("order_id", "number"),
        UniqueConstraint("sha256", "site_id"),
    )

    id: int | None = Field(default=None, primary_key=True)
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


class StatementFileRow(OfSite, Row, table=True):
    """A file made from a statement, such as its PDF: appended, never changed.

    `signed_by` is the subject of the certificate, "" for an unsigned file; `note` is the reason.
    """

    __tablename__: ClassVar[Any] = "statement_file"
    __table_args__: ClassVar[Any] = (UniqueConstraint("statement_id", "kind"),)

    id: int | None = Field(default=None, primary_key=True)
    site_id: int = site_column()
    statement_id: int = Field(foreign_key="statement.id")
    kind: str
    language: str
    sha256: str
    size_bytes: int
    signed_by: str = text_column()
    note: str = text_column()
    at: datetime = instant_column()


class PromotionRow(OfGroup, Row, table=True):
    """A promotion of a bundle by a lead; the newest row is valid."""

    __tablename__: ClassVar[Any] = "promotion"

    id: int | None = Field(default=None, primary_key=True)
    site_id: int = site_column()
    bundle: str
    by: str
    reason: str
    promoted_at: datetime = instant_column()
    metrics: dict[str, Any] = json_column()
