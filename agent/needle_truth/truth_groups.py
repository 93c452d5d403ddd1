"""Measured needles per subtype and microscope: how many there are, and how the program agrees."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.needle_truth.agreement import Agreement, LengthTrend, compute_agreement, fit_trend
from agent.needle_truth.comparison import (
    COMPARISON,
    Place,
    get_subtype,
    iter_views,
    load_comparison,
    name_microscope,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from agent.needle_truth.agreement import LengthPair
    from agent.needle_truth.comparison import Compared
    from agent.store import MicrographView, NeedleMeasurement, Record, Store

WANTED_NEEDLES, WANTED_FIELDS = 10, 10
"""Needles of a field, and such fields, that a calibration needs."""
NEWEST = 500
"""So many micrographs, the newest, are looked through for fields to measure."""
COARSEST_UM = 0.35
"""µm per px; coarser micrographs are not measured, as `model.needles.field`."""


@dataclass(frozen=True, slots=True)
class TruthGroup:
    """The measured needles of one subtype on one microscope.

    Args:
        subtype: "" where neither a label nor the model names one.
        microscope: As `name_microscope` returns it.
        needles: Valid measured needles.
        fields: Micrographs that have any.
        full_fields: Micrographs in which one person measured at least 10.
        people: Who measured.
        new: Needles that no comparison has yet.
        counts: What the program has at their places.
        pairs: Both lengths of the matched needles.
        agreement: Bland-Altman statistics; None for too few.
        trend: How the ratio depends on the length; None for too few.
        comparison: Number of the record of the comparison, 0 for none.
        network: Version of the network in it.
    """

    subtype: str
    microscope: str
    needles: int
    fields: int
    full_fields: int
    people: tuple[str, ...]
    new: int
    counts: dict[Place, int]
    pairs: tuple[LengthPair, ...]
    agreement: Agreement | None
    trend: LengthTrend | None
    comparison: int
    network: str

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
    shown = [facets.id for facets in store.search.list_facets(limit=NEWEST) if facets.code]
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
