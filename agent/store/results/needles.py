"""Needles of micrographs: measured by the program with a result, and by reviewers with two tips."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, col, select

from agent.errors import UsageError
from agent.needles import NeedleField
from agent.store.engine import Repository, reading, writing
from agent.store.evidence.acts import append_act
from agent.store.people.labels import micrograph_of
from agent.store.tables import MicrographRow, NeedleFieldRow, NeedleMeasurementRow
from agent.store.work.file_states import chunks

MEASURED, WITHDRAWN = "needle.measured", "needle.withdrawn"
"""Acts of the audit log."""
SHORTEST_PX = 3.0
"""Two marks closer than this are a double click, not a needle."""
TIPS = ("start_x", "start_y", "end_x", "end_y")


@dataclass(frozen=True, slots=True)
class NewNeedle:
    """A needle as a reviewer marks it.

    Args:
        start: One tip, (x, y) in px of the crop.
        end: The other tip.
        um_per_px: Scale of the micrograph.
    """

    start: tuple[float, float]
    end: tuple[float, float]
    um_per_px: float

    @property
    def length_px(self) -> float:
        """Distance of the tips in px."""
        return math.dist(self.start, self.end)


@dataclass(frozen=True, slots=True)
class NeedleMeasurement(NewNeedle):
    """A measured needle as stored.

    Args:
        id: Its number.
        micrograph: Public id of the micrograph.
        length_um: Its length in µm.
        by: Who measured it.
        at: Aware UTC.
        withdrawn_by: Who withdrew it, "" while it is valid.
        withdrawn_at: Aware UTC, or None.
    """

    id: int
    micrograph: str
    length_um: float
    by: str
    at: datetime
    withdrawn_by: str = ""
    withdrawn_at: datetime | None = None


class NeedleMeasurements(Repository):
    """Repository of needles that reviewers measured."""

    def add(self, public_id: str, needle: NewNeedle, *, by: str, at: datetime) -> int:
        """Append a measured needle; return its number.

        One that this person measured with the very same tips is returned: a request that was sent
        again, since its answer was lost, is no other needle.

        Raises:
            UsageError: There is no such micrograph, no name, or the tips are no needle.
        """
        _refuse_malformed(needle, by)
        with writing(self._engine) as session:
            micrograph = micrograph_of(session, public_id, alone=True)
            if known := self._find_same(session, micrograph.id, needle, by):
                return known
            row = NeedleMeasurementRow(
                micrograph_id=micrograph.id,
                start_x=needle.start[0],
                start_y=needle.start[1],
                end_x=needle.end[0],
                end_y=needle.end[1],
                um_per_px=needle.um_per_px,
                length_um=needle.length_px * needle.um_per_px,
                by=by,
                at=at,
            )
            append_act(session, MEASURED, row, names={"micrograph_id": public_id})
            return row.id

    def withdraw(self, public_id: str, measurement_id: int, *, by: str, at: datetime) -> bool:
        """Withdraw a measured needle; it is kept and used no more.

        Returns:
            Whether it was valid before.

        Raises:
            UsageError: The micrograph has no needle of this number, or no name was given.
        """
        if not by.strip():
            raise UsageError("a measured needle needs the name of who withdraws it.")
        with writing(self._engine) as session:
            micrograph = micrograph_of(session, public_id, alone=True)
            row = session.exec(
                select(NeedleMeasurementRow).where(
                    NeedleMeasurementRow.site_id == self._whose.site_id,
                    NeedleMeasurementRow.micrograph_id == micrograph.id,
                    NeedleMeasurementRow.id == measurement_id,
                )
            ).first()
            if row is None:
                raise UsageError(f"{public_id}: it has no measured needle {measurement_id}.")
            if row.withdrawn_by:
                return False
            row.withdrawn_by, row.withdrawn_at = by, at
            names = {"micrograph_id": public_id}
            append_act(session, WITHDRAWN, row, names=names, more={"of": row.by})
            return True

    def list_of(self, public_id: str) -> list[NeedleMeasurement]:
        """Return the needles measured on a micrograph, withdrawn ones too, oldest first."""
        return list(self._read(public_id))

    def list_valid(self) -> list[NeedleMeasurement]:
        """Return all measured needles of the site but the withdrawn ones, oldest first."""
        return [needle for needle in self._read() if not needle.withdrawn_by]

    def iter_all(self) -> Iterator[NeedleMeasurement]:
        """Yield all measured needles of the site, withdrawn ones too, oldest first."""
        yield from self._read()

    def _find_same(
        self, session: Session, micrograph_id: int, needle: NewNeedle, by: str
    ) -> int | None:
        (start_x, start_y), (end_x, end_y) = needle.start, needle.end
        query = select(NeedleMeasurementRow.id).where(
            NeedleMeasurementRow.site_id == self._whose.site_id,
            NeedleMeasurementRow.micrograph_id == micrograph_id,
            NeedleMeasurementRow.by == by,
            NeedleMeasurementRow.withdrawn_by == "",
            NeedleMeasurementRow.start_x == start_x,
            NeedleMeasurementRow.start_y == start_y,
            NeedleMeasurementRow.end_x == end_x,
            NeedleMeasurementRow.end_y == end_y,
            NeedleMeasurementRow.um_per_px == needle.um_per_px,
        )
        return session.exec(query).first()

    def _read(self, public_id: str | None = None) -> list[NeedleMeasurement]:
        query = (
            select(NeedleMeasurementRow, MicrographRow.public_id)
            .join(MicrographRow, col(MicrographRow.id) == col(NeedleMeasurementRow.micrograph_id))
            .where(NeedleMeasurementRow.site_id == self._whose.site_id)
            .order_by(col(NeedleMeasurementRow.id))
        )
        if public_id is not None:
            query = query.where(MicrographRow.public_id == public_id)
        with reading(self._engine) as session:
            return [_to_measurement(row, of) for row, of in session.exec(query)]


def _refuse_malformed(needle: NewNeedle, by: str) -> None:
    if not by.strip():
        raise UsageError("a measured needle needs the name of who measures it.")
    if not all(math.isfinite(value) for value in (*needle.start, *needle.end)):
        raise UsageError("a tip of a needle is two finite numbers, in px of the crop.")
    if needle.length_px < SHORTEST_PX:
        raise UsageError(f"the tips of a needle are at least {SHORTEST_PX:g} px apart.")
    if not 0 < needle.um_per_px < math.inf:
        raise UsageError("a needle is measured where the scale is known.")


def _to_measurement(row: NeedleMeasurementRow, public_id: str) -> NeedleMeasurement:
    return NeedleMeasurement(
        id=row.id,
        micrograph=public_id,
        start=(row.start_x, row.start_y),
        end=(row.end_x, row.end_y),
        um_per_px=row.um_per_px,
        length_um=row.length_um,
        by=row.by,
        at=row.at,
        withdrawn_by=row.withdrawn_by,
        withdrawn_at=row.withdrawn_at,
    )


class NeedleFields(Repository):
    """Repository of measured needles; they are written with their result."""

    def list_of(self, result_ids: Sequence[int]) -> dict[int, NeedleField]:
        """Return the needles of results, by the number of the result.

        Results without a row are left out: nothing was to be measured with them.
        """
        found: dict[int, NeedleField] = {}
        with reading(self._engine) as session:
            for batch in chunks(list(result_ids)):
                query = select(NeedleFieldRow).where(
                    NeedleFieldRow.site_id == self._whose.site_id,
                    col(NeedleFieldRow.result_id).in_(batch),
                )
                for row in session.exec(query):
                    found[row.result_id] = NeedleField.from_document(row.facts)
        return found
