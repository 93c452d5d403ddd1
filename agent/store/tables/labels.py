"""Decisions of reviewers."""

from datetime import datetime
from typing import Any, ClassVar

from sqlmodel import Field

from agent.store.tables import micrographs  # noqa: F401 - what foreign keys name
from agent.store.tables.base import OfSite, Row, false_column, instant_column, site_column


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
