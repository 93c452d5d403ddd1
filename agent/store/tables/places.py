"""Places that micrographs show, and measurements of needles."""

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import Index, LargeBinary, UniqueConstraint
from sqlmodel import Field

from agent.store.tables import micrographs  # noqa: F401 - what foreign keys name
from agent.store.tables.base import (
    Numbered,
    OfMicrograph,
    OfSite,
    instant_column,
    json_column,
    partial_index,
    text_column,
)


class PlaceRow(OfSite, OfMicrograph, table=True):
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

    landmarks: bytes | None = Field(default=None, sa_type=LargeBinary)
    compared_at: datetime | None = instant_column()


class SamePlaceRow(OfSite, Numbered, table=True):
    """Two micrographs that show the same place, and a lead's decision about them.

    `verdict` is "" (open), "different" (they show two places) or "belongs": then `belongs_id` is
    the micrograph that counts for the place.
    """

    __tablename__: ClassVar[Any] = "same_place"
    __table_args__: ClassVar[Any] = (UniqueConstraint("micrograph_id", "other_id"),)

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


class NeedleMeasurementRow(OfSite, Numbered, table=True):
    """A needle that a reviewer measured by its two tips; appended, withdrawn but never changed.

    The tips are px of the crop; `um_per_px` is the scale with which `length_um` was computed.
    """

    __tablename__: ClassVar[Any] = "needle_measurement"

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


class NeedleFieldRow(OfSite, Numbered, table=True):
    """The needles of a micrograph, measured with one of its results; never changed.

    `facts` is `agent.needles.NeedleField` as its `to_document` returns it.
    """

    __tablename__: ClassVar[Any] = "needle_field"
    __table_args__: ClassVar[Any] = (UniqueConstraint("result_id"),)

    result_id: int = Field(foreign_key="result.id")
    facts: dict[str, Any] = json_column()
