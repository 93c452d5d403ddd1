"""A site's calibration of needle lengths: one ratio per subtype and microscope, on logarithms.

`corrected length = program's length / ratio`. A ratio is the simplest correction that a person can
check by hand. Where it changes with the length it is refused, as one number would then be wrong
for short and for long needles. Each calibration is a quality record with a version, and is valid
for the version of the program it was made with.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent.errors import AgentError
from agent.needle_truth.comparison import (
    COMPARISON,
    Agreement,
    Compared,
    LengthPair,
    LengthTrend,
    Place,
    Ratio,
    compute_agreement,
    fit_trend,
    get_subtype,
    iter_views,
    load_comparison,
    name_microscope,
)
from model.needles.version import read_version
from reports import decimal, ngettext
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from datetime import datetime

    from agent.store import MicrographView, NeedleMeasurement, Record, Store


# --- measured needles per subtype and microscope: how many there are, and how the program agrees


WANTED_NEEDLES, WANTED_FIELDS = 10, 10
"""Needles of a field, and such fields, that a calibration needs."""
NEWEST = 500
"""So many micrographs, the newest, are looked through for fields to measure."""
COARSEST_UM = 0.35
"""µm per px; coarser micrographs are not measured, as `model.needles.field`."""


@dataclass(frozen=True, slots=True)
class NeedleSample:
    """How many needles reviewers measured of one subtype on one microscope.

    Args:
        subtype: "" where neither a label nor the model names one.
        microscope: As `name_microscope` returns it.
        needles: Valid measured needles.
        fields: Micrographs that have any.
        comparison: Number of the record of the comparison with the program, 0 for none.
        network: Version of the network in it.
    """

    subtype: str
    microscope: str
    needles: int
    fields: int
    comparison: int
    network: str


@dataclass(frozen=True, slots=True)
class TruthGroup(NeedleSample):
    """The measured needles of one subtype on one microscope, and what the program has there.

    Args:
        full_fields: Micrographs in which one person measured at least 10.
        people: Who measured.
        new: Needles that no comparison has yet.
        counts: What the program has at their places.
        pairs: Both lengths of the matched needles.
        agreement: Bland-Altman statistics; None for too few.
        trend: How the ratio depends on the length; None for too few.
    """

    full_fields: int
    people: tuple[str, ...]
    new: int
    counts: dict[Place, int]
    pairs: tuple[LengthPair, ...]
    agreement: Agreement | None
    trend: LengthTrend | None

    @property
    def missing_fields(self) -> int:
        """How many fields with 10 needles are still needed."""
        return max(WANTED_FIELDS - self.full_fields, 0)

    @property
    def missing_needles(self) -> int:
        """How many needles are still needed for all wanted fields."""
        return (
            WANTED_FIELDS * WANTED_NEEDLES - min(self.full_fields, WANTED_FIELDS) * WANTED_NEEDLES
        )

    @property
    def matched_share(self) -> float:
        """Share of the measured needles, where the program measures, that it has."""
        total = self.counts[Place.MATCHED] + self.counts[Place.UNMATCHED]
        return self.counts[Place.MATCHED] / total if total else 0.0


def list_measurable(
    store: Store, has_crop: Callable[[MicrographView], bool]
) -> dict[tuple[str, str], list[MicrographView]]:
    """Return (subtype, microscope) → fields in which needles can be measured, the newest first.

    Fields whose answer is hidden until a reviewer decides are left out: the subtype would tell it.

    Args:
        store: Of the site.
        has_crop: Returns whether the pixels of a micrograph are kept.
    """
    shown = [facets.public_id for facets in store.search.list_facets(limit=NEWEST) if facets.code]
    found: dict[tuple[str, str], list[MicrographView]] = defaultdict(list)
    for view in iter_views(store, shown):
        subtype = get_subtype(view)
        is_fine = view.um_per_px is not None and view.um_per_px <= COARSEST_UM
        if subtype and is_fine and has_crop(view):
            found[subtype, name_microscope(view.process_data, view.source)].append(view)
    return dict(sorted(found.items()))


def choose_field(
    store: Store, fields: Sequence[MicrographView], by: str, *, skipped: Collection[str] = ()
) -> MicrographView | None:
    """Return the field in which a person measures needles next, None where none is left.

    One that this person has begun comes first. Then the one whose L50 by the program is farthest,
    by rank, from those that are complete, of another specimen if there is one. So ten fields are
    spread over all lengths.

    Args:
        store: Of the site.
        fields: Of one subtype on one microscope.
        by: Who measures.
        skipped: Public ids of fields that are left out.
    """
    counts = Counter(
        (needle.micrograph, needle.by) for needle in store.needle_measurements.list_valid()
    )
    full = {field for (field, _by), count in counts.items() if count >= WANTED_NEEDLES}
    stored = store.needle_fields.list_of([view.result.id for view in fields])
    lengths = {number: own.l50_um for number, own in stored.items() if own.l50_um is not None}
    usable = [view for view in fields if view.result.id in lengths] or list(fields)
    usable.sort(key=lambda view: (lengths.get(view.result.id, 0.0), view.id))
    ranks = {view.id: rank for rank, view in enumerate(usable)}
    done = [ranks[view.id] for view in usable if view.id in full]
    seen = {_name_specimen(view) for view in usable if view.id in full}

    def rate(view: MicrographView) -> tuple[bool, bool, float]:
        rank = ranks[view.id]
        from_middle = -abs(rank - (len(usable) - 1) / 2)
        away = min((abs(rank - other) for other in done), default=from_middle)
        return counts[view.id, by] > 0, _name_specimen(view) not in seen, away

    left = [view for view in usable if view.id not in full and view.id not in skipped]
    return max(left, key=rate, default=None)


def _name_specimen(view: MicrographView) -> tuple[str, str]:
    named = view.process_data.get("order", ""), view.process_data.get("specimen", "")
    return named if any(named) else (view.id, "")


def load_groups(store: Store) -> list[TruthGroup]:
    """Return the measured needles per subtype and microscope, with the newest comparison."""
    measured = {needle.id: needle for needle in store.needle_measurements.list_valid()}
    ids = list(dict.fromkeys(needle.micrograph for needle in measured.values()))
    keys = {
        view.id: (get_subtype(view), name_microscope(view.process_data, view.source))
        for view in iter_views(store, ids)
    }
    groups: dict[tuple[str, str], list[NeedleMeasurement]] = defaultdict(list)
    for needle in measured.values():
        groups[keys[needle.micrograph]].append(needle)
    record = store.records.latest(COMPARISON, "")
    compared = {row.needle: row for row in load_comparison(record)} if record else {}
    return [_build(key, groups[key], compared, record) for key in sorted(groups)]


def _build(
    key: tuple[str, str],
    needles: list[NeedleMeasurement],
    compared: dict[int, Compared],
    record: Record | None,
) -> TruthGroup:
    rows = [compared[needle.id] for needle in needles if needle.id in compared]
    pairs = tuple(row.pair for row in rows if row.pair is not None)
    per_person = Counter((needle.micrograph, needle.by) for needle in needles)
    full = {field for (field, _by), count in per_person.items() if count >= WANTED_NEEDLES}
    return TruthGroup(
        subtype=key[0],
        microscope=key[1],
        needles=len(needles),
        fields=len({needle.micrograph for needle in needles}),
        full_fields=len(full),
        people=tuple(sorted({needle.by for needle in needles})),
        new=len(needles) - len(rows),
        counts={place: sum(row.place is place for row in rows) for place in Place},
        pairs=pairs,
        agreement=compute_agreement(pairs),
        trend=fit_trend(pairs),
        comparison=record.id if record else 0,
        network=str(record.facts["network"]) if record else "",
    )


# --- a site's calibration of needle lengths: one ratio per subtype and microscope, on logarithms


CALIBRATION = "needle_calibration"
"""Kind of the records; the subject is `get_subject`."""
LEAST_MATCHED_SHARE = 0.5
"""With fewer measured needles found, the others would not be like those that were."""
LARGEST_DRIFT = 1.05
"""Largest change of the ratio from short to long needles that is not refused."""


class CalibrationRefusedError(AgentError):
    """A calibration cannot be made; nothing was recorded."""


@dataclass(frozen=True, slots=True)
class NeedleCalibration(NeedleSample):
    """The calibration of needle lengths for one subtype on one microscope.

    Args:
        version: Such as "G/LOM-07 2": what a result names.
        ratio: Program over people; lengths are divided by it.
        lower, upper: Limits of agreement of single needles, before the correction.
        people: How many measured.
        from_um, to_um: Range of the measured lengths, 5 % to 95 %.
        record: Its own number, 0 before it is recorded.
        by: Who made it.
        at: When, aware UTC, or None before it is recorded.
    """

    version: str
    ratio: Ratio
    lower: Ratio
    upper: Ratio
    people: int
    from_um: float
    to_um: float
    record: int = 0
    by: str = ""
    at: datetime | None = None

    def correct(self, length_um: float) -> float:
        """Return a length of the program, in µm, as people would measure it."""
        return length_um / self.ratio.value

    def to_json(self) -> dict[str, Any]:
        """Return it as results and records have it."""
        return {
            "version": self.version,
            "subtype": self.subtype,
            "microscope": self.microscope,
            "ratio": self.ratio.to_json(),
            "lower": self.lower.to_json(),
            "upper": self.upper.to_json(),
            "needles": self.needles,
            "fields": self.fields,
            "people": self.people,
            "from_um": self.from_um,
            "to_um": self.to_um,
            "network": self.network,
            "comparison": self.comparison,
        }


def needle_calibration(
    store: Store, subtype: str, microscope: str, *, network: str = ""
) -> NeedleCalibration | None:
    """Return the valid calibration of this site, or None: values are "not calibrated here".

    Args:
        store: Of the site.
        subtype: Of the result, such as "G".
        microscope: As `name_microscope` returns it.
        network: `NeedleMapper.version` of the program that measures; "" for this one's.
    """
    record = store.records.latest(CALIBRATION, get_subject(subtype, microscope))
    if record is None or record.facts.get("withdrawn"):
        return None
    if record.facts["network"] != (network or read_version()):
        return None
    return _read(record)


def list_calibrations(store: Store) -> list[NeedleCalibration]:
    """Return all recorded calibrations of this site, replaced ones too, oldest first."""
    records = store.records.all(CALIBRATION)
    return [_read(record) for record in records if not record.facts.get("withdrawn")]


def find_refusal(group: TruthGroup) -> str:
    """Return why a group cannot be calibrated, in a sentence, "" where it can."""
    if not group.subtype:
        return _("These micrographs have no subtype: review them first.")
    if group.missing_fields:
        return ngettext(
            "{n} field with {needles} measured needles is missing.",
            "{n} fields with {needles} measured needles are missing.",
            group.missing_fields,
        ).format(n=group.missing_fields, needles=WANTED_NEEDLES)
    if not group.comparison or group.new or group.network != read_version():
        return _(
            "{n} needles are not compared with this version of the program: run "
            "agent needles compare."
        ).format(n=group.new or group.needles)
    return _find_bad_agreement(group)


def _find_bad_agreement(group: TruthGroup) -> str:
    if group.matched_share < LEAST_MATCHED_SHARE or group.agreement is None or group.trend is None:
        return _(
            "The program has {share} % of the measured needles; at least {least} % are needed."
        ).format(
            share=decimal(100 * group.matched_share, ".0f"), least=round(100 * LEAST_MATCHED_SHARE)
        )
    if group.agreement.fields < WANTED_FIELDS:
        return _("The program has measured needles in {n} of {wanted} fields only.").format(
            n=group.agreement.fields, wanted=WANTED_FIELDS
        )
    trend = group.trend
    is_certain = trend.low > 0 or trend.high < 0
    if is_certain and not 1 / LARGEST_DRIFT <= trend.drift <= LARGEST_DRIFT:
        return _(
            "The ratio depends on the length: it changes by a factor of {drift} from {low} to "
            "{high} µm, so one number would be wrong."
        ).format(
            drift=decimal(trend.drift, ".2f"),
            low=decimal(trend.from_um, ".1f"),
            high=decimal(trend.to_um, ".1f"),
        )
    return ""


def fit_calibration(group: TruthGroup, *, version: str = "") -> NeedleCalibration:
    """Fit the calibration of a group.

    Raises:
        CalibrationRefusedError: There is too little, or one ratio does not describe it.
    """
    if reason := find_refusal(group):
        raise CalibrationRefusedError(reason)
    agreement, trend = group.agreement, group.trend
    assert agreement is not None  # noqa: S101 - `find_refusal` has refused it
    assert trend is not None  # noqa: S101 - as above
    return NeedleCalibration(
        version=version,
        subtype=group.subtype,
        microscope=group.microscope,
        ratio=agreement.bias,
        lower=agreement.lower,
        upper=agreement.upper,
        needles=agreement.needles,
        fields=agreement.fields,
        people=agreement.people,
        from_um=trend.from_um,
        to_um=trend.to_um,
        network=group.network,
        comparison=group.comparison,
    )


def calibrate(
    store: Store, group: TruthGroup, *, by: str, reason: str, at: datetime
) -> NeedleCalibration:
    """Fit and record the calibration of a group; it replaces an earlier one.

    Raises:
        CalibrationRefusedError: As `fit_calibration`.
    """
    subject = get_subject(group.subtype, group.microscope)
    number = 1 + len(store.records.all(CALIBRATION, subject))
    fitted = fit_calibration(group, version=f"{subject} {number}")
    facts = {**fitted.to_json(), "reason": reason}
    store.records.add(CALIBRATION, subject, by=by, at=at, facts=facts)
    recorded = store.records.latest(CALIBRATION, subject)
    assert recorded is not None  # noqa: S101 - it was just added
    return _read(recorded)


def withdraw_calibration(
    store: Store, subtype: str, microscope: str, *, by: str, reason: str, at: datetime
) -> bool:
    """Withdraw the calibration of a subtype and microscope; return whether there was one."""
    subject = get_subject(subtype, microscope)
    record = store.records.latest(CALIBRATION, subject)
    if record is None or record.facts.get("withdrawn"):
        return False
    facts = {"withdrawn": True, "version": record.facts["version"], "reason": reason}
    store.records.add(CALIBRATION, subject, by=by, at=at, facts=facts)
    return True


def get_subject(subtype: str, microscope: str) -> str:
    """Return the subject of a calibration's records."""
    return f"{subtype}/{microscope}"


def _read(record: Record) -> NeedleCalibration:
    facts = record.facts
    values = {
        name: facts[name]
        for name in (
            *("version", "subtype", "microscope", "needles", "fields", "people"),
            *("from_um", "to_um", "network", "comparison"),
        )
    }
    return NeedleCalibration(
        **values,
        ratio=Ratio(**facts["ratio"]),
        lower=Ratio(**facts["lower"]),
        upper=Ratio(**facts["upper"]),
        record=record.id,
        by=record.by,
        at=record.at,
    )
