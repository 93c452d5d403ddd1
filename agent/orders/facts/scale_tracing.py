"""Trace the scale of a field to the stage-micrometer measurement that proves it.

A measurement proves a field that was taken after it, with the same objective of the same microscope
or source, and whose scale is within 2 % of it. Where pictures of the field's size were measured,
those alone count: another size is another camera mode. The newest one counts, also where an older
one would fit better: something was changed at the microscope since.
"""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent.orders.specifications.specification import is_same_name
from agent.settings import objective_key
from reports import decimal
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from agent.store import MicrographView, Record, Store

SCALE_CHECK = "scale_check"
"""Kind of record; its subject is the microscope, or the source where none is named."""
TOLERANCE = 0.02
"""Relative difference of two scales that agree; `agent scale check` has the same."""


@dataclass(frozen=True, slots=True)
class ScaleMeasurement:
    """A measured stage micrometer.

    Args:
        record: Number of its record.
        at: When it was recorded, aware UTC.
        by: Who measured.
        microscope, source: Of the picture, "" where not named.
        objective: As it was written.
        um_per_px: µm per pixel.
        uncertainty: Relative, k = 2.
        size: Width and height in pixels.
        certificate: Of the stage micrometer, "" for none.
    """

    record: int
    at: datetime
    by: str
    microscope: str
    source: str
    objective: str
    um_per_px: float
    uncertainty: float
    size: tuple[int, int]
    certificate: str

    @classmethod
    def from_record(cls, record: Record) -> ScaleMeasurement:
        """Parse a record of the kind `SCALE_CHECK`."""
        facts = record.facts
        return cls(
            record=record.id,
            at=record.at,
            by=record.by,
            microscope=facts["microscope"],
            source=facts["source"],
            objective=facts["objective"],
            um_per_px=float(facts["um_per_px"]),
            uncertainty=float(facts["uncertainty"]),
            size=(int(facts["width"]), int(facts["height"])),
            certificate=facts["certificate"],
        )

    def to_json(self) -> dict[str, Any]:
        """Return what a field's statement names, as `scale_traced_to`."""
        return {
            "record": self.record,
            "at": self.at.isoformat(),
            "certificate": self.certificate or None,
        }

    def is_of(self, view: MicrographView) -> bool:
        """Return whether it measured the objective and the microscope or source of a field."""
        keys = view.process_data
        objective = keys.get("objective") or keys.get("magnification") or ""
        microscope = keys.get("microscope", "")
        here = (
            is_same_name(self.microscope, microscope) if self.microscope and microscope else False
        )
        here = here or (bool(self.source) and self.source == view.source)
        return here and objective_key(objective) == objective_key(self.objective)


class ScaleTracing:
    """Finds the measurement behind a field's scale.

    Args:
        measurements: All of them.
        valid_months: How long one proves a scale; 0: for ever, and an untraced scale is only noted.
    """

    def __init__(self, measurements: Sequence[ScaleMeasurement], valid_months: int = 0) -> None:
        self._measurements = sorted(
            measurements, key=lambda measured: (measured.at, measured.record)
        )
        self._months = valid_months

    def find(self, view: MicrographView) -> ScaleMeasurement | None:
        """Return the measurement that proves a field's scale, or None."""
        return None if self._doubt(view) else self._newest(view)

    def hold(self, view: MicrographView) -> str:
        """Return why a field is held for its scale, "" where it is not."""
        return self._doubt(view) if self._months else ""

    def notes(self, view: MicrographView) -> Iterator[str]:
        """Yield what a statement mentions of a scale that is not traced."""
        if not self._months and (doubt := self._doubt(view)):
            yield doubt

    def _newest(self, view: MicrographView) -> ScaleMeasurement | None:
        taken_at = view.taken_at or view.result.done_at
        mine = [
            measurement
            for measurement in self._measurements
            if measurement.at <= taken_at and measurement.is_of(view)
        ]
        of_size = [
            measurement for measurement in mine if measurement.size == (view.width, view.height)
        ]
        known = of_size or mine
        return known[-1] if known else None

    def _doubt(self, view: MicrographView) -> str:
        measurement = self._newest(view)
        if measurement is None or view.um_per_px is None:
            return _("scale not traced to a stage micrometer")
        words = {"at": f"{measurement.at:%Y-%m-%d}", "um": decimal(measurement.um_per_px, ".4g")}
        if abs(view.um_per_px / measurement.um_per_px - 1) > TOLERANCE:
            return _(
                "scale not traced to a stage micrometer: the measurement of {at} gave {um} µm per "
                "pixel"
            ).format(**words)
        taken_at = view.taken_at or view.result.done_at
        if self._months and add_months(measurement.at, self._months) < taken_at:
            return _(
                "scale not traced to a stage micrometer: the measurement of {at} is no longer valid"
            ).format(**words)
        return ""


def load_measurements(store: Store) -> list[ScaleMeasurement]:
    """Return every recorded measurement, oldest first."""
    return [ScaleMeasurement.from_record(record) for record in store.records.all(SCALE_CHECK)]


def add_months(at: datetime, months: int) -> datetime:
    """Return the same day so many months later, the last of the month where there is none."""
    years, month = divmod(at.month - 1 + months, 12)
    year, month = at.year + years, month + 1
    return at.replace(year=year, month=month, day=min(at.day, calendar.monthrange(year, month)[1]))
