"""Micrographs, what bundles answered on them, and decisions of reviewers."""

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import Column, Index, Text, UniqueConstraint, text
from sqlmodel import Field

from agent.store.tables import intake, orders, sites  # noqa: F401 - what foreign keys name
from agent.store.tables.base import (
    Numbered,
    OfSite,
    false_column,
    instant_column,
    json_column,
    partial_index,
    text_column,
)


class MicrographRow(OfSite, Numbered, table=True):
    """One page or scene of one content, apart from any assessment of it.

    It belongs to one preparation of one specimen, or to none, and `unassigned` is the reason. Of a
    field that no longer counts `superseded` stores the reason and the author.
    """

    __tablename__: ClassVar[Any] = "micrograph"
    __table_args__: ClassVar[Any] = (
        UniqueConstraint("sha256", "page", "site_id"),
        UniqueConstraint("public_id", "site_id"),
        Index("ix_micrograph_site_id_order", "site_id", "order"),
        Index("ix_micrograph_taken_at", "taken_at"),
        partial_index(
            "ix_micrograph_unassigned",
            "site_id",
            "id",
            where="unassigned != ''",
        ),
    )

    public_id: str
    content_id: int = Field(foreign_key="content.id", index=True)
    source_id: int = Field(foreign_key="source.id")
    sha256: str
    page: int
    relative: str
    origin: str = "watch"
    taken_at: datetime = instant_column()
    width: int
    height: int
    format: str = ""
    um_per_px: float | None = None
    um_per_px_source: str | None = None
    recipe: str = ""
    crop_facts: dict[str, Any] = json_column()
    warnings: list[str] = json_column(empty=list)
    artefacts: dict[str, Any] = json_column()
    pruned_at: datetime | None = instant_column()
    specimen_id: int | None = Field(default=None, foreign_key="specimen.id", index=True)
    preparation_id: int | None = Field(default=None, foreign_key="preparation.id")
    unassigned: str = text_column()
    superseded: dict[str, Any] = json_column(filled=True)
    area_mm2: float | None = None
    plant: str = ""
    microscope: str = ""
    objective: str = ""
    order: str = ""
    heat: str = ""
    batch: str = ""
    specimen: str = ""
    preparation: str = ""
    field: str = ""
    material: str = ""
    etchant: str = ""
    magnification: str = ""
    operator: str = ""
    process_extra: dict[str, Any] = json_column()


class ResultRow(OfSite, Numbered, table=True):
    """A bundle's result on a micrograph, cut by one recipe; never overwritten.

    `current` marks the one a page shows. `review_rank` is its rank in the review queue, the
    most important reason first, and empty once it is decided or where no review is needed.
    `after_record` is the newest record when it was written, 0 for none: a sequence that no clock
    can change. Results older than the column have none. `filed` stores what it
    and its field were filed with (`agent.store.evidence.seals`), "" until filed again.
    """

    __tablename__: ClassVar[Any] = "result"
    __table_args__: ClassVar[Any] = (
        UniqueConstraint("micrograph_id", "bundle", "recipe"),
        partial_index(
            "uq_result_current",
            "micrograph_id",
            unique=True,
            where="current IS true",
            sqlite_where="current IS 1",
        ),
        partial_index(
            "ix_result_queue",
            "site_id",
            "review_rank",
            "done_at",
            where="review_rank IS NOT NULL",
        ),
        partial_index(
            "ix_result_night",
            "site_id",
            "done_at",
            where="current IS true AND origin = 'watch'",
            sqlite_where="current IS 1 AND origin = 'watch'",
        ),
    )

    micrograph_id: int = Field(foreign_key="micrograph.id")
    agent_id: int | None = Field(default=None, foreign_key="agent.id")
    bundle: str = ""
    recipe: str = ""
    role: str = "live"
    current: bool = True
    origin: str = "watch"
    done_at: datetime = instant_column()
    handling: str
    reasons: list[str] = json_column(empty=list)
    review_rank: int | None = None
    subtype: str | None = None
    subtype_probabilities: dict[str, float] = json_column()
    size: str | None = None
    size_min: int | None = None
    size_max: int | None = None
    size_probabilities: dict[str, float] = json_column()
    structure_code: str | None = None
    probability: float | None = None
    probabilities: dict[str, float] = json_column()
    prediction_set: list[str] = json_column(empty=list)
    coarser_share: dict[str, float] = json_column()
    p_value: float | None = None
    strangeness: dict[str, Any] = json_column()
    thresholds: dict[str, Any] = json_column()
    expected: dict[str, Any] = json_column(filled=True)
    engine: str = ""
    precision: str = ""
    after_record: int | None = None
    filed: str = Field(
        default="", sa_column=Column(Text, nullable=False, server_default=text("''"))
    )


class LabelRow(OfSite, Numbered, table=True):
    """A reviewer's decision; appended, never changed. An undo is a separate row.

    `after_record` is the newest record when it was written, as of a result.
    """

    __tablename__: ClassVar[Any] = "label"

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
