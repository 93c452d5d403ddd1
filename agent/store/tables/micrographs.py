"""Micrographs, their places, and what bundles answered on them."""

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import (
    Column,
    Index,
    Integer,
    LargeBinary,
    Text,
    UniqueConstraint,
    text,
)
from sqlmodel import Field

from agent.store.tables.base import (
    OfSite,
    Row,
    instant_column,
    json_column,
    partial_index,
    site_column,
    text_column,
)


class MicrographRow(OfSite, Row, table=True):
    """One page or scene of one content, apart from any assessment of it.

    It belongs to one preparation of one specimen, or to none, and `unassigned` is the reason. Of a
    field that no longer counts `superseded` stores the reason and the author.
    """

    __tablename__: ClassVar[Any] = "micrograph"
    __table_args__: ClassVar[Any] = (
        UniqueConstraint("sha256", "page", "site_id"),
        UniqueConstraint("public_id", "site_id"),
        Index("ix_micrograph_site_id_order", "site_id", "order"),
        partial_index(
            "ix_micrograph_unassigned",
            "site_id",
            "id",
            where="unassigned != ''",
        ),
    )

    id: int | None = Field(default=None, primary_key=True)
    public_id: str
    content_id: int = Field(foreign_key="content.id", index=True)
    site_id: int = site_column()
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


class PlaceRow(OfSite, Row, table=True):
    """Landmarks of a micrograph; `compared_at` is empty until it was compared.

    A micrograph without a row was recorded before places were compared.
    """

    __tablename__: ClassVar[Any] = "place"
    __table_args__: ClassVar[Any] = (
        Index("ix_place_site_id", "site_id", "micrograph_id"),
        partial_index(
            "ix_place_pending",
            "site_id",
            "micrograph_id",
            where="compared_at IS NULL",
        ),
    )

    micrograph_id: int | None = Field(
        default=None, primary_key=True, foreign_key="micrograph.id", sa_type=Integer
    )
    site_id: int = site_column()
    landmarks: bytes | None = Field(default=None, sa_type=LargeBinary)
    compared_at: datetime | None = instant_column()


class SamePlaceRow(OfSite, Row, table=True):
    """Two micrographs that show the same place, and a lead's decision about them.

    `verdict` is "" (open), "different" (they show two places) or "belongs": then `belongs_id` is
    the micrograph that counts for the place.
    """

    __tablename__: ClassVar[Any] = "same_place"
    __table_args__: ClassVar[Any] = (UniqueConstraint("micrograph_id", "other_id"),)

    id: int | None = Field(default=None, primary_key=True)
    site_id: int = site_column()
    micrograph_id: int = Field(foreign_key="micrograph.id")
    other_id: int = Field(foreign_key="micrograph.id", index=True)
    share: float
    area_px: float
    facts: dict[str, Any] = json_column()
    found_at: datetime = instant_column()
    verdict: str = text_column()
    belongs_id: int | None = Field(default=None, foreign_key="micrograph.id")
    by: str = text_column()
    reason: str = text_column()
    decided_at: datetime | None = instant_column()


class ResultRow(OfSite, Row, table=True):
    """A bundle's result on a micrograph, cut by one recipe; never overwritten.

    `current` marks the one a page shows. `review_rank` is its rank in the review queue, the
    most important reason first, and empty once it is decided or where no review is needed.
    `after_record` is the newest record when it was written, 0 for none: a sequence that no clock
    can change. Results older than the column have none. `filed` stores what it
    and its field were filed with (`agent.store.filing`), "" until an older one is filed again.
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

    id: int | None = Field(default=None, primary_key=True)
    micrograph_id: int = Field(foreign_key="micrograph.id")
    site_id: int = site_column()
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


class NeedleMeasurementRow(OfSite, Row, table=True):
    """A needle that a reviewer measured by its two tips; appended, withdrawn but never changed.

    The tips are px of the crop; `um_per_px` is the scale with which `length_um` was computed.
    """

    __tablename__: ClassVar[Any] = "needle_measurement"

    id: int | None = Field(default=None, primary_key=True)
    site_id: int = site_column()
    micrograph_id: int = Field(foreign_key="micrograph.id", index=True)
    start_x: float
    start_y: float
    end_x: float
    end_y: float
    um_per_px: float
    length_um: float
    by: str
    at: datetime = instant_column()
    withdrawn_by: str = text_column()
    withdrawn_at: datetime | None = instant_column()


class MeasurementRow(OfSite, Row, table=True):
    """A number measured on a micrograph, with its unit."""

    __tablename__: ClassVar[Any] = "measurement"
    __table_args__: ClassVar[Any] = (UniqueConstraint("micrograph_id", "result_id", "name"),)

    id: int | None = Field(default=None, primary_key=True)
    site_id: int = site_column()
    micrograph_id: int = Field(foreign_key="micrograph.id", index=True)
    result_id: int | None = Field(default=None, foreign_key="result.id")
    name: str
    value: float
    unit: str = ""


class NeedleFieldRow(OfSite, Row, table=True):
    """The needles of a micrograph, measured with one of its results; never changed.

    The columns are those of `agent.needles.NeedleField`. `calibration` is None where the site has
    none. Lengths are None where `status` is "not_measured"; `reason` then has the cause.
    """

    __tablename__: ClassVar[Any] = "needle_field"
    __table_args__: ClassVar[Any] = (UniqueConstraint("result_id"),)

    id: int | None = Field(default=None, primary_key=True)
    site_id: int = site_column()
    result_id: int = Field(foreign_key="result.id")
    status: str
    reason: str = ""
    network: str = ""
    calibration: str | None = None
    pixel_um: float | None = None
    area_um2: float | None = None
    structure_share: float | None = None
    measured_share: float | None = None
    needles: int = 0
    l50_um: float | None = None
    l90_um: float | None = None
    l99_um: float | None = None
    l50_number_um: float | None = None
    l90_number_um: float | None = None
    l99_number_um: float | None = None
    maximum_um: float | None = None
    anisotropy: float | None = None
    heterogeneity: float | None = None
    intercept_um: float | None = None
    expected_l50_um: float | None = None
    expected_error: float | None = None
    longest: list[dict[str, Any]] = json_column(empty=list)
    orientation: list[float] = json_column(empty=list)
    histogram: dict[str, Any] = json_column()
