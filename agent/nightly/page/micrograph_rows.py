"""Build rows of micrographs for other programs, without what a reviewer must not know yet.

A report is read before the micrographs in it are reviewed, and leads to each of them. The integers
`size_min` and `size_max` are next to the code, since a spreadsheet reads "9-10" as a date.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC

import reports
from agent.files.csv_export import format_csv
from agent.needles import LongNeedle, NeedleField, NeedleHistogram
from agent.needles.field import LATHS
from agent.nightly.facts.snapshot import NightFacts
from agent.orders.judge.permissions import is_hidden
from agent.settings import PROCESS_COLUMNS
from agent.site_time import local
from agent.store import NEEDLES_MESSAGE, MicrographView, Store, StoredStrangeness
from reports import FieldNeedles, Picture, decimal, marked, needle_lengths_chart, ngettext
from reports import gettext as _

KEPT_BINS = 40
"""Bins of a report's histogram; the store has 160."""
CHECK_NOTE = marked("Dashed: length or tips are probably wrong. Check each line in the picture.")


def add_needles(store: Store, views: Sequence[MicrographView]) -> list[MicrographView]:
    """Return micrographs with the needles that were measured with their results.

    Of the histogram as many bins are kept as a report draws.
    """
    stored = store.needle_fields.list_of([view.result.id for view in views])
    return [
        replace(view, needles=_shorten(stored[view.result.id]))
        if view.result.id in stored
        else view
        for view in views
    ]


def _shorten(needles: NeedleField | None) -> NeedleField | None:
    if needles is None or needles.histogram is None:
        return needles
    return replace(needles, histogram=needles.histogram.join_bins(KEPT_BINS))


def _compute_shares(
    histogram: NeedleHistogram,
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the edges of a histogram's bins, µm, and the share of the needles' area in each."""
    ratio = histogram.longest_um / histogram.shortest_um
    areas = [0.0] * histogram.bins
    for number, area in enumerate(histogram.by_area, start=histogram.first):
        areas[min(number, histogram.bins - 1)] += area
    total = sum(areas) or 1.0
    edges = (
        round(histogram.shortest_um * ratio ** (n / histogram.bins), 3)
        for n in range(histogram.bins + 1)
    )
    return tuple(edges), tuple(round(area / total, 4) for area in areas)


def describe_needles(needles: NeedleField) -> str:
    """Return the lengths in a line, or why there are none."""
    if needles.reason == LATHS:
        return _("Lath martensite: not measured.")
    if needles.l90_um is None:
        why = str(needles.reason_message)
        return _("Needles not measured: {why}.").format(why=why)
    lengths = ", ".join(
        _("{name} {value} µm").format(name=name, value=decimal(um, ".1f"))
        for name, um in _list_quantiles(needles)
    )
    counted = ngettext("{n} complete needle", "{n} complete needles", needles.needles)
    return f"{lengths} ({counted.format(n=needles.needles)})"


def _list_quantiles(needles: NeedleField) -> list[tuple[str, float]]:
    named = (("L50", needles.l50_um), ("L90", needles.l90_um), ("L99", needles.l99_um))
    return [(name, um) for name, um in named if um is not None]


def build_field_needles(
    needles: NeedleField,
    draw: Callable[[LongNeedle], Picture | None],
    *,
    status: str,
    limit_um: float | None,
) -> FieldNeedles:
    """Build the needles of a card.

    Args:
        needles: Of the micrograph.
        draw: Draws one needle over a part of the crop; None where there are no pixels.
        status: Whether the lengths are calibrated, in words.
        limit_um: A limit of L90, or None.
    """
    edges, shares = _compute_shares(needles.histogram) if needles.histogram else ((), ())
    drawn = ((needle.length_um, draw(needle)) for needle in needles.longest)
    pictures = tuple(
        (_("{um} µm").format(um=decimal(length_um, ".1f")), picture)
        for length_um, picture in drawn
        if picture
    )
    return FieldNeedles(
        status=status,
        summary=describe_needles(needles),
        chart=needle_lengths_chart(edges, shares, _list_quantiles(needles), limit_um),
        longest=pictures,
        note=_(CHECK_NOTE) if pictures else "",
    )


def is_hidden_in_report(micrograph: MicrographView) -> bool:
    """Return whether a report hides the answers about a micrograph.

    Where two reviewers disagree too: a report is for more readers than the third reviewer.
    """
    return is_hidden(micrograph) or micrograph.disagreed


def hide_answer(micrograph: MicrographView) -> MicrographView:
    """Return a micrograph as a report shows it: a hidden one without answers and strangeness.

    Its reasons stay, as on the review page.
    """
    if not is_hidden_in_report(micrograph):
        return micrograph
    result = micrograph.result
    strangeness = StoredStrangeness(
        is_flagged=result.strangeness.is_flagged, defects=result.strangeness.defects
    )
    hidden = replace(
        result,
        subtype=None,
        subtype_probabilities={},
        size=None,
        size_min=None,
        size_max=None,
        size_probabilities={},
        structure_code=None,
        probability=None,
        probabilities={},
        prediction_set=(),
        coarser_share={},
        strangeness=strangeness,
        expected={
            name: value for name, value in result.expected.items() if name != NEEDLES_MESSAGE
        },
    )
    return replace(micrograph, label=None, labels=(), votes=(), result=hidden, needles=None)


NEEDLE_COLUMNS = (
    "needles_status",
    "needles_calibration",
    "needles",
    "needle_l50_um",
    "needle_l90_um",
    "needle_l99_um",
    "needle_longest_um",
)
"""Needle lengths, a trial; empty where nothing was to be measured."""
_NO_NEEDLES: dict[str, object] = dict.fromkeys(NEEDLE_COLUMNS)
NOT_CALIBRATED = "not calibrated here"

COLUMNS = (
    "id",
    "sha256",
    "page",
    "file",
    "source",
    "done_at",
    "done_local",
    "structure_code",
    "subtype",
    "size",
    "size_min",
    "size_max",
    "probability",
    "prediction_set",
    "p_value",
    "strange",
    "handling",
    "reasons",
    "um_per_px",
    "um_per_px_source",
    "warnings",
    "bundle",
    "engine",
    "precision",
    "decision",
    "decided_by",
    "decided_at",
    *PROCESS_COLUMNS,
    *NEEDLE_COLUMNS,
)

IN_THE_PAGE = tuple(name for name in COLUMNS if name not in ("sha256", "page", "done_local"))
"""The first two follow from the public id, the third from `done_at`."""
MOST_IN_THE_PAGE = 10_000


def build_record(micrograph: MicrographView, zone: str) -> dict[str, object]:
    """Return one micrograph as a row: column → value, None where there is none.

    Args:
        micrograph: The micrograph.
        zone: Time zone of the site, for the column `done_local`.
    """
    result = micrograph.result
    decision = micrograph.label
    return {
        "id": micrograph.id,
        "sha256": micrograph.sha256,
        "page": micrograph.page,
        "file": micrograph.path,
        "source": micrograph.source,
        "done_at": result.done_at.astimezone(UTC).isoformat(timespec="seconds"),
        "done_local": local(result.done_at, zone),
        "structure_code": result.structure_code,
        "subtype": result.subtype,
        "size": result.size,
        "size_min": result.size_min,
        "size_max": result.size_max,
        "probability": result.probability,
        "prediction_set": "|".join(result.prediction_set),
        "p_value": result.strangeness.p_value,
        "strange": result.strangeness.is_flagged,
        "handling": result.handling,
        "reasons": "|".join(result.reasons),
        "um_per_px": micrograph.um_per_px,
        "um_per_px_source": micrograph.um_per_px_source,
        "warnings": "|".join(_list_warnings(micrograph)),
        "bundle": result.bundle,
        "engine": result.engine,
        "precision": result.precision,
        "decision": reports.describe_decision(decision) if decision else None,
        "decided_by": decision.by if decision else None,
        "decided_at": decision.at.astimezone(UTC).isoformat(timespec="seconds")
        if decision
        else None,
        **micrograph.process_data,
        **_build_needles(micrograph.needles),
    }


def _list_warnings(micrograph: MicrographView) -> tuple[str, ...]:
    defects = (f"input_defect:{defect}" for defect in micrograph.result.strangeness.defects)
    return (*micrograph.warnings, *defects)


def _build_needles(needles: NeedleField | None) -> Mapping[str, object]:
    if needles is None:
        return _NO_NEEDLES
    is_measured = needles.l90_um is not None
    return {
        "needles_status": needles.reason or needles.status.value,
        "needles_calibration": needles.calibration or NOT_CALIBRATED,
        "needles": needles.needles if is_measured else None,
        "needle_l50_um": needles.l50_um,
        "needle_l90_um": needles.l90_um,
        "needle_l99_um": needles.l99_um,
        "needle_longest_um": needles.maximum_um,
    }


def records_to_csv(records: Iterable[Mapping[str, object]]) -> str:
    """Return rows of `build_record` as CSV that a spreadsheet neither runs nor misreads."""
    return format_csv(COLUMNS, records)


def night_to_json(facts: NightFacts) -> dict[str, object]:
    """Return a night as its page carries it for programs: JSON, in English, in few bytes."""
    shown = facts.micrographs[:MOST_IN_THE_PAGE]
    with reports.speaking("en"):
        records = [build_record(hide_answer(micrograph), facts.zone) for micrograph in shown]
    return {
        "site": facts.site,
        "night": facts.night.isoformat(),
        "after": facts.after.astimezone(UTC).isoformat(),
        "until": facts.until.astimezone(UTC).isoformat(),
        "taken": facts.summary.taken,
        "review": facts.summary.review,
        "unusable": [
            [file.path, file.source, file.state, file.known_code] for file in facts.unusable
        ],
        "micrographs": compact_records(records),
        "left_out": len(facts.micrographs) - len(shown),
    }


def compact_records(records: Sequence[Mapping[str, object]]) -> dict[str, object]:
    """Return rows of `build_record` in few bytes.

    Returns:
        `same`: column → the value that all rows have, where they have one.
        `columns` and `rows`: the columns that differ, and their values.
    """
    columns = {name: [record.get(name) for record in records] for name in IN_THE_PAGE}
    differing = [
        name for name, values in columns.items() if any(value != values[0] for value in values)
    ]
    same = {name: values[0] for name, values in columns.items() if values and name not in differing}
    return {
        "same": {name: value for name, value in same.items() if value is not None},
        "columns": differing,
        "rows": list(zip(*(columns[name] for name in differing), strict=True)),
    }
