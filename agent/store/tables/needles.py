"""Measurements of needles."""

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import UniqueConstraint
from sqlmodel import Field

from agent.store.tables import micrographs  # noqa: F401 - what foreign keys name
from agent.store.tables.base import (
    OfSite,
    Row,
    instant_column,
    json_column,
    site_column,
    text_column,
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
