"""Quality records and promotions."""

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import Index
from sqlmodel import Field

from agent.store.tables.base import OfGroup, OfSite, Row, instant_column, json_column, site_column


class RecordRow(OfSite, Row, table=True):
    """Something the lab has to be able to show later: appended, never changed.

    `kind` is "validation", "automatic", "control", "reference", "hold_release", "scale_check",
    "order_list", "statement", "outbox", "outbox_files", "outbox_written", "round_robin",
    "msa_plan", "msa", "specifications", "taxonomy", "bundle_taxonomy", "scale_given", "language",
    "class_proposal", "class_proposal_closed", "needle_comparison", "needle_calibration",
    "anchor_file" or "alarm_acknowledged";
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
