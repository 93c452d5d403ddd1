"""The scale of a field: the measurement that proves it, and one that a reviewer enters.

A measurement proves a field that was taken after it, with the same objective of the same microscope
or source, and whose scale is within 2 % of it. Where pictures of the field's size were measured,
those alone count: another size is another camera mode. The newest one counts, also where an older
one would fit better: something was changed at the microscope since. A field between one that is no
longer valid and the next one is proved where both agree with it.

A scale comes from an objective of the source's table, or from a line drawn over the scale bar and
the length printed at it. Where two reviewers judge the micrograph, both have to enter it.
"""

from __future__ import annotations

import calendar
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any

from agent.errors import UsageError
from agent.orders.specifications.specification import is_same_name
from agent.settings import objective_key
from agent.store import GIVEN, MicrographView, Record, Store, find_given, is_by_program, voter_of
from agent.watch import Calibration
from reports import decimal
from reports import gettext as _

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
    """Finds the measurement behind a field's scale, and a file that contradicts it.

    Args:
        measurements: All of them.
        valid_months: How long one proves a scale; 0: for ever, and an untraced scale is only noted.
        late: Micrograph → newest record of the kind `LATE_SCALE`.
    """

    def __init__(
        self,
        measurements: Sequence[ScaleMeasurement],
        valid_months: int = 0,
        late: Mapping[str, Record] = MappingProxyType({}),
    ) -> None:
        self._late = late
        self._measurements = sorted(
            measurements, key=lambda measured: (measured.at, measured.record)
        )
        self._months = valid_months

    def find(self, view: MicrographView) -> ScaleMeasurement | None:
        """Return the measurement that proves a field's scale, or None."""
        if self._doubt(view):
            return None
        newest = self._newest(view)
        return self._find_later(view) if newest and self._is_over(newest, view) else newest

    def hold(self, view: MicrographView) -> str:
        """Return why a field is held for its scale, "" where it is not."""
        late = describe_late(self._late.get(view.id), view)
        return late or (self._doubt(view) if self._months else "")

    def notes(self, view: MicrographView) -> Iterator[str]:
        """Yield what a statement mentions of a scale that is not traced."""
        if not self._months and (doubt := self._doubt(view)):
            yield doubt

    def _newest(self, view: MicrographView) -> ScaleMeasurement | None:
        taken_at = view.taken_at or view.result.done_at
        before = (measured for measured in self._measurements if measured.at <= taken_at)
        return next(reversed(_select_own(before, view)), None)

    def _find_later(self, view: MicrographView) -> ScaleMeasurement | None:
        """Return the first measurement after a field if it agrees with its scale, else None."""
        taken_at = view.taken_at or view.result.done_at
        after = _select_own((own for own in self._measurements if own.at > taken_at), view)
        return after[0] if after and _agrees(after[0], view) else None

    def _is_over(self, measurement: ScaleMeasurement, view: MicrographView) -> bool:
        """Return whether a measurement was no longer valid when a field was taken."""
        taken_at = view.taken_at or view.result.done_at
        return bool(self._months) and add_months(measurement.at, self._months) < taken_at

    def _doubt(self, view: MicrographView) -> str:
        measurement = self._newest(view)
        if measurement is None or view.um_per_px is None:
            return _("scale not traced to a stage micrometer")
        words = {"at": f"{measurement.at:%Y-%m-%d}", "um": decimal(measurement.um_per_px, ".4g")}
        if not _agrees(measurement, view):
            return _(
                "scale not traced to a stage micrometer: the measurement of {at} gave {um} µm per "
                "pixel"
            ).format(**words)
        if self._is_over(measurement, view) and self._find_later(view) is None:
            return _(
                "scale not traced to a stage micrometer: the measurement of {at} is no longer "
                "valid; one that agrees now proves the scale in between (agent scale check)"
            ).format(**words)
        return ""


def _select_own(
    measurements: Iterable[ScaleMeasurement], view: MicrographView
) -> list[ScaleMeasurement]:
    """Return those of a field's objective; of its picture size where any is."""
    mine = [measurement for measurement in measurements if measurement.is_of(view)]
    size = (view.width, view.height)
    return [measurement for measurement in mine if measurement.size == size] or mine


def _agrees(measurement: ScaleMeasurement, view: MicrographView) -> bool:
    return (
        view.um_per_px is not None and abs(view.um_per_px / measurement.um_per_px - 1) <= TOLERANCE
    )


LATE_SCALE = "scale_late"
"""Kind of record: a file next to a judged picture gives another scale; its subject is the
micrograph."""
AGREEMENT = 0.05
"""Scales of two sources that differ by a larger share contradict each other, as in reading."""


def note_late_scales(
    store: Store, view: MicrographView, scales: Iterable[float], name: str, *, at: datetime
) -> None:
    """Record the scales of a file that came after its picture was judged, if none knew them.

    Args:
        store: Open.
        view: The micrograph.
        scales: That the files next to it give now, µm per pixel.
        name: Of the file that came.
        at: Now, aware UTC.
    """
    known = [um for _source, um in view.crop_facts.scales]
    known += [view.um_per_px] if view.um_per_px else []
    for um in scales:
        if all(abs(um / other - 1) > AGREEMENT for other in known):
            facts = {"um_per_px": um, "file": name}
            store.records.add_once(LATE_SCALE, view.id, by="agent", at=at, facts=facts, after="")


def describe_late(late: Record | None, view: MicrographView) -> str:
    """Return why a late scale holds a micrograph, "" where a reviewer entered a scale since."""
    if late is None or find_given(view.result.thresholds).get("record", 0) > late.id:
        return ""
    return _(
        "the file {file}, which came later, gives {um} µm per pixel: a reviewer enters the scale "
        "at the review page"
    ).format(file=late.facts["file"], um=decimal(late.facts["um_per_px"], ".4g"))


def load_measurements(store: Store) -> list[ScaleMeasurement]:
    """Return every recorded measurement, oldest first."""
    return [ScaleMeasurement.from_record(record) for record in store.records.all(SCALE_CHECK)]


def add_months(at: datetime, months: int) -> datetime:
    """Return the same day so many months later, the last of the month where there is none."""
    years, month = divmod(at.month - 1 + months, 12)
    year, month = at.year + years, month + 1
    return at.replace(year=year, month=month, day=min(at.day, calendar.monthrange(year, month)[1]))


SHORTEST_LINE_PX = 20.0
"""A line is drawn to half a pixel at each end; below it the scale is off by more than 5 %."""


@dataclass(frozen=True, slots=True)
class ScaleProposal:
    """A scale that a reviewer gives, and how.

    Args:
        um_per_px: µm per pixel of the file.
        facts: How it was given, as JSON has it.
    """

    um_per_px: float
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class GivenScale:
    """A scale that holds, since as many reviewers gave it as are asked.

    Args:
        um_per_px: µm per pixel of the file.
        by: Who gave it.
        record: Number of the record that settled it.
    """

    um_per_px: float
    by: tuple[str, ...]
    record: int

    def to_json(self) -> dict[str, Any]:
        """Return it as a result's thresholds hold it."""
        return {"um_per_px": self.um_per_px, "by": list(self.by), "record": self.record}


def propose_from_objective(
    objectives: Sequence[Calibration], name: str, size: tuple[int, int]
) -> ScaleProposal:
    """Return the scale of an objective in the source's table.

    Args:
        objectives: Those of the table that can hold for the micrograph, the newest first.
        name: Which.
        size: Width and height of the micrograph, px.

    Raises:
        UsageError: The table has no such objective for this size.
    """
    for entry in objectives:
        fits = entry.width in (None, size[0]) and entry.height in (None, size[1])
        if entry.name == name and fits:
            return ScaleProposal(entry.um_per_px, {"how": "objective", "objective": name})
    raise UsageError(
        _(
            "The table of objectives has no {name!r} for {width} × {height} px. Choose another, or "
            "draw a line over the scale bar."
        ).format(name=name, width=size[0], height=size[1])
    )


def propose_from_line(
    start: tuple[float, float], end: tuple[float, float], length_um: float, size: tuple[int, int]
) -> ScaleProposal:
    """Compute the scale from a line over the scale bar and the length printed at it.

    Args:
        start: Of the line, x and y in pixels of the file.
        end: Of the line.
        length_um: The printed length, µm.
        size: Width and height of the micrograph, px.

    Raises:
        UsageError: The line is too short or leaves the micrograph, or the length is none.
    """
    if not all(map(math.isfinite, (*start, *end))) or not all(
        0 <= x <= size[0] and 0 <= y <= size[1] for x, y in (start, end)
    ):
        raise UsageError(_("The line leaves the micrograph. Draw it over the scale bar."))
    length_px = math.dist(start, end)
    if length_px < SHORTEST_LINE_PX:
        raise UsageError(
            _("The line is {px} px long. Draw at least {least} px, from tick to tick.").format(
                px=decimal(length_px, ".3g"), least=f"{SHORTEST_LINE_PX:g}"
            )
        )
    if not (math.isfinite(length_um) and length_um > 0):
        raise UsageError(_("Type the length that is printed at the scale bar, such as 50, in µm."))
    return ScaleProposal(
        length_um / length_px,
        {
            "how": "line",
            "length_um": length_um,
            "line": [[round(x, 1), round(y, 1)] for x, y in (start, end)],
        },
    )


def propose_from_number(um_per_px: float) -> ScaleProposal:
    """Return a scale that is typed as µm per pixel."""
    return ScaleProposal(um_per_px, {"how": "number"})


def give_scale(
    store: Store,
    view: MicrographView,
    proposal: ScaleProposal,
    *,
    plausible: tuple[float, float],
    by: str,
    at: datetime,
) -> GivenScale | None:
    """Record the scale that a reviewer gives.

    Args:
        store: Open.
        view: The micrograph.
        proposal: The scale.
        plausible: Smallest and largest µm per pixel, as `[imaging] um_per_px_range`.
        by: Who gives it.
        at: Now, aware UTC.

    Returns:
        The scale that holds now; None where a second reviewer has to give it too.

    Raises:
        UsageError: The scale is implausible, or no one is named.
    """
    low, high = plausible
    if not by.strip():
        raise UsageError(_("A scale needs the name of who gives it."))
    if not low <= proposal.um_per_px <= high:
        raise UsageError(
            _(
                "{um} µm per pixel is implausible: it has to be between {low} and {high}. Check "
                "the length and its unit."
            ).format(
                um=decimal(proposal.um_per_px, ".4g"),
                low=decimal(low, "g"),
                high=decimal(high, "g"),
            )
        )
    facts = {
        "um_per_px": proposal.um_per_px,
        **proposal.facts,
        "sha256": view.sha256,
        "page": view.page,
        "result": view.result.id,
    }
    store.records.add(GIVEN, view.id, by=by.strip(), at=at, facts=facts)
    return find_settled(store, view)


def find_settled(store: Store, view: MicrographView) -> GivenScale | None:
    """Return the scale that reviewers gave a micrograph, or None."""
    return settle(store.records.all(GIVEN, view.id), two=view.asks_two)


def settle(records: Iterable[Record], *, two: bool) -> GivenScale | None:
    """Return the scale that holds.

    Args:
        records: Of the kind `GIVEN` about one micrograph, oldest first.
        two: Two reviewers have to give it, to within 2 %; no program is one.
    """
    settled: GivenScale | None = None
    newest: dict[str, Record] = {}
    for record in records:
        if two and is_by_program(record.by):
            continue
        um_per_px = float(record.facts["um_per_px"])
        newest[voter_of(record.by)] = record
        same = [
            scale.by
            for scale in newest.values()
            if abs(float(scale.facts["um_per_px"]) / um_per_px - 1) <= TOLERANCE
        ]
        if not two:
            settled = GivenScale(um_per_px, (record.by,), record.id)
        elif len(same) > 1:
            settled = GivenScale(um_per_px, tuple(same), record.id)
    return settled


def describe_state(store: Store, view: MicrographView) -> str:
    """Return what is recorded of a scale and not yet judged with, in a sentence; "" for nothing."""
    records = store.records.all(GIVEN, view.id)
    late = store.records.latest(LATE_SCALE, view.id)
    if not records or (late and late.id > records[-1].id):
        return describe_late(late, view)
    settled = settle(records, two=view.asks_two)
    if settled is None:
        return _("{who} gave a scale. A second reviewer has to give it too, to within 2 %.").format(
            who=_(" and ").join(dict.fromkeys(record.by for record in records))
        )
    if find_given(view.result.thresholds).get("record") == settled.record:
        return ""
    return _(
        "{who} gave the scale {um} µm per pixel. The agent judges the micrograph again with it."
    ).format(who=_(" and ").join(settled.by), um=decimal(settled.um_per_px, ".4g"))


def describe_givers(thresholds: dict[str, Any]) -> str:
    """Return who gave the scale that a result was judged with, "" where the file did."""
    return _(" and ").join(find_given(thresholds).get("by", ()))
