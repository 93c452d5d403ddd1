"""Compare the program's needle lengths with those that reviewers measured: pairs, statistics.

A comparison is a quality record: pages read it and run no network.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from agent.needles.measuring import to_grey
from agent.store import NewRecord
from model import Progress

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from numpy.typing import NDArray

    from agent.archive import Archive
    from agent.store import MicrographView, NeedleMeasurement, Record, Store
    from model.needles.field import FieldMeasurement
    from model.needles.needle_map import NeedleMapper


# --- Bland-Altman statistics of the program's needle lengths against people's ---------------------
# Errors of a length grow with it, so ratios are compared, on logarithms. Needles of one field are
# alike, so a field is the independent unit; the limits are for one needle of any field.
# Source: Bland and Altman 2007, "Agreement between methods of measurement with multiple
# observations per individual"; intervals by MOVER, Zou 2013, "Confidence interval estimation for
# the Bland-Altman limits of agreement with multiple observations per individual".


Z95 = 1.959963984540054
LEAST_FIELDS, LEAST_PAIRS = 3, 10
"""Fewer give no statistics at all."""


@dataclass(frozen=True, slots=True)
class LengthPair:
    """One needle, measured by a reviewer and by the program.

    Args:
        field: Public id of its micrograph.
        by: Who measured it.
        measured_um: Length by the reviewer.
        program_um: Length by the program.
        tips_agree: Both tips are at the same places.
    """

    field: str
    by: str
    measured_um: float
    program_um: float
    tips_agree: bool = True

    @property
    def log_ratio(self) -> float:
        """Logarithm of the program's length over the reviewer's."""
        return float(np.log(self.program_um / self.measured_um))


@dataclass(frozen=True, slots=True)
class Ratio:
    """A ratio of lengths, program over people, with its 95 % interval."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        """Return the three numbers by name."""
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True, slots=True)
class Agreement:
    """How the program's lengths agree with people's.

    Args:
        needles, fields, people: How many were compared.
        bias: Mean ratio.
        lower: Ratio that 2.5 % of the needles are below.
        upper: Ratio that 2.5 % of the needles are above.
        tips_agree: Needles of which both tips are at the same places.
    """

    needles: int
    fields: int
    people: int
    bias: Ratio
    lower: Ratio
    upper: Ratio
    tips_agree: int


@dataclass(frozen=True, slots=True)
class LengthTrend:
    """How the log ratio changes with the logarithm of the length.

    Args:
        slope: Change of the log ratio per unit of the log length; 0: the ratio is one number.
        low, high: Its 95 % interval.
        from_um, to_um: The measured lengths between their 5 % and 95 % quantiles.
    """

    slope: float
    low: float
    high: float
    from_um: float
    to_um: float

    @property
    def drift(self) -> float:
        """Factor by which the ratio changes from the shortest to the longest of these needles."""
        return float(np.exp(self.slope * np.log(self.to_um / self.from_um)))


def compute_agreement(pairs: Sequence[LengthPair]) -> Agreement | None:
    """Compute bias and limits of agreement; None for too few needles or fields."""
    groups = _group(pairs)
    n, fields = len(pairs), len(groups)
    if n < LEAST_PAIRS or fields < LEAST_FIELDS:
        return None
    means = np.array([group.mean() for group in groups])
    sizes = np.array([len(group) for group in groups])
    between = float(means.var(ddof=1))
    share = 1 - float((1 / sizes).mean())  # 1 - 1 / harmonic mean of the sizes
    within = (
        float(sum(((group - group.mean()) ** 2).sum() for group in groups) / (n - fields))
        if n > fields
        else 0.0
    )
    low_v, high_v = _bound_variance(between, share * within, fields, n)
    spread = np.sqrt(between + share * within)
    mean = float(means.mean())
    of_mean = _student(fields - 1) * np.sqrt(between / fields)
    near = np.hypot(of_mean, Z95 * (spread - np.sqrt(low_v)))  # towards the mean
    far = np.hypot(of_mean, Z95 * (np.sqrt(high_v) - spread))
    half = Z95 * spread
    return Agreement(
        needles=n,
        fields=fields,
        people=len({pair.by for pair in pairs}),
        bias=_to_ratio(mean, mean - of_mean, mean + of_mean),
        lower=_to_ratio(mean - half, mean - half - far, mean - half + near),
        upper=_to_ratio(mean + half, mean + half - near, mean + half + far),
        tips_agree=sum(pair.tips_agree for pair in pairs),
    )


def fit_trend(pairs: Sequence[LengthPair]) -> LengthTrend | None:
    """Fit how the log ratio depends on people's length, with an interval robust within fields.

    People's length is the abscissa and not the mean of both: it has the smaller error, and the mean
    would give a slope wherever the program scatters more than people do.

    Source:
        Liang and Zeger 1986, sandwich estimator, with the small-sample factor G / (G - 1).
    """
    if len(pairs) < LEAST_PAIRS:
        return None
    length = np.log([pair.measured_um for pair in pairs])
    ratio = np.array([pair.log_ratio for pair in pairs])
    x = length - length.mean()
    total = float(x @ x)
    fields = sorted({pair.field for pair in pairs})
    if total <= 0 or len(fields) < LEAST_FIELDS:
        return None
    slope = float(x @ ratio) / total
    score = x * (ratio - ratio.mean() - slope * x)
    number = np.searchsorted(fields, [pair.field for pair in pairs])
    sums = np.bincount(number, score)
    error = np.sqrt(len(fields) / (len(fields) - 1) * float(sums @ sums)) / total
    half = _student(len(fields) - 1) * float(error)
    low, high = np.exp(np.quantile(length, (0.05, 0.95)))
    return LengthTrend(slope, slope - half, slope + half, float(low), float(high))


def _group(pairs: Sequence[LengthPair]) -> list[NDArray[np.float64]]:
    groups: dict[str, list[float]] = {}
    for pair in pairs:
        groups.setdefault(pair.field, []).append(pair.log_ratio)
    return [np.array(group) for group in groups.values()]


def _bound_variance(
    between: float, within: float, fields: int, needles: int
) -> tuple[float, float]:
    """Return the 95 % interval of a sum of two estimated variances (MOVER)."""
    from scipy.stats import chi2  # noqa: PLC0415 - slow to import, and pages without data need none

    low = high = 0.0
    for part, freedom in ((between, fields - 1), (within, needles - fields)):
        if freedom < 1 or not part:
            continue
        low += (part * (1 - freedom / chi2.ppf(0.975, freedom))) ** 2
        high += (part * (freedom / chi2.ppf(0.025, freedom) - 1)) ** 2
    total = between + within
    return max(total - float(np.sqrt(low)), 0.0), total + float(np.sqrt(high))


def _student(freedom: int) -> float:
    from scipy.stats import t  # noqa: PLC0415 - as above

    return float(t.ppf(0.975, freedom))


def _to_ratio(*logs: float) -> Ratio:
    return Ratio(*(float(np.exp(value)) for value in logs))


# --- find the program's needle at the place of a needle that a reviewer measured ------------------
# Only the place is compared: the axes lie on each other and have the same direction. Tips are not
# a condition, since pairs with very different lengths would then be left out, and the limits of
# agreement would be too narrow.


LARGEST_ANGLE = np.deg2rad(20)
ACROSS_UM, ACROSS_SHARE = 1.5, 0.05
"""Largest distance of the shorter needle's tips from the axis of the longer one, in µm plus a share
of its length: a person clicks to about half a µm, and needles are a little curved."""
LEAST_OVERLAP = 0.5
"""Share of the shorter needle that lies along the longer one."""
LEAST_COMMON = 0.2
"""Common length over that of both together: any long line has some short needle lying on it."""
TIP_SHARE, TIP_UM = 0.15, 1.0
"""Tips agree within this share of the measured length, but at least within this distance."""


def find_counterpart(
    measured_um: NDArray[np.float64], program_um: NDArray[np.float64]
) -> int | None:
    """Find the program's needle at the place of a measured one.

    Args:
        measured_um: (2, 2) tips of the measured needle, (x, y) in µm.
        program_um: (n, 2, 2) tips of the program's needles in the same frame.

    Returns:
        Its number, or None where the program has none there. Of several the one that has the most
        in common with the measured one.
    """
    if not len(program_um):
        return None
    length, along = _measure_tips(measured_um[None])
    lengths, directions = _measure_tips(program_um)
    is_longer = lengths > length
    axis = np.where(is_longer[:, None], directions, along)
    origin = np.where(is_longer[:, None], program_um.mean(axis=1), measured_um.mean(axis=0))
    shorter = np.where(is_longer[:, None, None], measured_um, program_um)
    short, long = np.minimum(lengths, length), np.maximum(lengths, length)
    step = shorter - origin[:, None]
    across = np.abs(step[..., 0] * axis[:, None, 1] - step[..., 1] * axis[:, None, 0]).max(axis=1)
    place = (step * axis[:, None]).sum(axis=2)
    low, high = place.min(axis=1), place.max(axis=1)
    overlap = np.minimum(high, long / 2) - np.maximum(low, -long / 2)
    common = overlap / (short + long - overlap)
    turn = np.arccos(np.clip(np.abs(directions @ along[0]), 0, 1))
    is_there = (
        (turn < LARGEST_ANGLE)
        & (across < ACROSS_UM + ACROSS_SHARE * short)
        & (overlap > LEAST_OVERLAP * short)
        & (common > LEAST_COMMON)
    )
    if not is_there.any():
        return None
    return int(np.argmax(np.where(is_there, common - 0.1 * across / short, -np.inf)))


def do_tips_agree(measured_um: NDArray[np.float64], program_um: NDArray[np.float64]) -> bool:
    """Return whether both tips of two needles, (2, 2) each, are at the same places."""
    limit = max(TIP_SHARE * float(np.linalg.norm(measured_um[1] - measured_um[0])), TIP_UM)
    return any(
        float(np.linalg.norm(measured_um - tips, axis=1).max()) <= limit
        for tips in (program_um, program_um[::-1])
    )


def _measure_tips(tips: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return lengths (n,) and unit directions (n, 2)."""
    step = tips[:, 1] - tips[:, 0]
    length = np.linalg.norm(step, axis=1)
    return length, step / np.maximum(length, 1e-9)[:, None]


# --- run the program on the micrographs in which reviewers measured needles, and keep what it found


COMPARISON = "needle_comparison"
"""Kind of the records; each is a whole comparison."""
COLUMNS = (
    *("needle", "micrograph", "subtype", "microscope", "by"),
    *("measured_um", "place", "program_um", "tips_agree"),
)
TOGETHER = 200


class Place(StrEnum):
    """What the program has at the place of a measured needle."""

    MATCHED = "matched"
    UNMATCHED = "unmatched"
    NOT_MEASURED = "not_measured"
    """The program gives no lengths for this micrograph."""
    NO_PIXELS = "no_pixels"
    """The crop is not in the archive any more."""


@dataclass(frozen=True, slots=True)
class Compared:
    """A measured needle and what the program has at its place.

    Args:
        needle: Number of the measured needle.
        micrograph: Public id.
        subtype: By the valid label, else by the model; "" where neither names one.
        microscope: As `name_microscope` returns it.
        by: Who measured it.
        measured_um: Length by the reviewer, at the scale of the comparison.
        place: What the program has there.
        program_um: Its length by the program, None where it is not matched.
        tips_agree: Both tips are at the same places.
    """

    needle: int
    micrograph: str
    subtype: str
    microscope: str
    by: str
    measured_um: float
    place: Place
    program_um: float | None = None
    tips_agree: bool = False

    @property
    def pair(self) -> LengthPair | None:
        """Both lengths, or None where the program has none."""
        if self.program_um is None:
            return None
        return LengthPair(
            self.micrograph, self.by, self.measured_um, self.program_um, self.tips_agree
        )


def compare_needles(
    store: Store, archive: Archive, mapper: NeedleMapper, *, by: str, at: datetime
) -> Iterator[Progress[None] | int]:
    """Compare the valid measured needles with the program's, and record the result of all.

    A micrograph whose needles the latest comparison has, with this version of the program and at
    this scale, is not measured again.

    Args:
        store: Of the site.
        archive: Its crops.
        mapper: The needle network.
        by: Who requested it.
        at: Now, aware UTC.

    Yields:
        `Progress` for each micrograph, last the number of the record, of the latest one
        where it has all needles already; 0 where nothing was measured, or where another comparison
        was recorded during this one.
    """
    before = store.records.latest(COMPARISON, "")
    measured: dict[str, list[NeedleMeasurement]] = {}
    for needle in store.needle_measurements.list_valid():
        measured.setdefault(needle.micrograph, []).append(needle)
    known: dict[int, Compared] = {}
    if before is not None and before.facts["network"] == mapper.version:
        known = {row.needle: row for row in load_comparison(before)}
    compared: list[Compared] = []
    for done, view in enumerate(iter_views(store, [*measured]), start=1):
        kept = _keep_rows(view, measured[view.id], known)
        compared += kept or compare_micrograph(view, measured[view.id], archive, mapper)
        yield Progress("compare", done, len(measured))
    if not compared:
        yield 0
        return
    if before is not None and compared == [*known.values()]:
        yield before.id
        return
    new = NewRecord(COMPARISON, "", *_to_facts(compared, mapper.version))
    follows = before.id if before else 0
    numbers = store.records.add_together([new], by=by, at=at, follows=follows)
    yield numbers[0] if numbers else 0


def _keep_rows(
    view: MicrographView, measured: Sequence[NeedleMeasurement], known: Mapping[int, Compared]
) -> list[Compared]:
    """Return the rows of a micrograph's needles if a comparison has all of them, else none."""
    rows = [known[needle.id] for needle in measured if needle.id in known]
    if len(rows) < len(measured) or any(row.place is Place.NO_PIXELS for row in rows):
        return []
    is_same = all(
        math.isclose(
            math.dist(needle.start, needle.end) * (view.um_per_px or needle.um_per_px),
            row.measured_um,
            rel_tol=1e-3,
        )
        for needle, row in zip(measured, rows, strict=True)
    )
    return rows if is_same else []


def compare_micrograph(
    view: MicrographView,
    measured: Sequence[NeedleMeasurement],
    archive: Archive,
    mapper: NeedleMapper,
) -> list[Compared]:
    """Compare the needles measured on one micrograph with the program's."""
    field = _measure(view, archive, mapper)
    scale = view.um_per_px
    rows = []
    for needle in measured:
        um_per_px = scale or needle.um_per_px
        tips = np.array([needle.start, needle.end]) * um_per_px
        row = Compared(
            needle=needle.id,
            micrograph=view.id,
            subtype=get_subtype(view),
            microscope=name_microscope(view.process_data, view.source),
            by=needle.by,
            measured_um=float(np.linalg.norm(tips[1] - tips[0])),
            place=field if isinstance(field, Place) else Place.UNMATCHED,
        )
        rows.append(row if isinstance(field, Place) else _match(row, tips, field))
    return rows


def load_comparison(record: Record) -> list[Compared]:
    """Return the rows of a recorded comparison."""
    rows = (dict(zip(COLUMNS, row, strict=True)) for row in record.facts["rows"])
    return [Compared(**row | {"place": Place(row["place"])}) for row in rows]


def name_microscope(process_data: Mapping[str, str], source: str) -> str:
    """Return the microscope of a micrograph: as its process data names it, else its source."""
    return process_data.get("microscope", "") or source


def get_subtype(view: MicrographView) -> str:
    """Return the subtype of a micrograph: of its valid label, else of its result, "" for none."""
    label = view.label
    if label is not None and label.kind == "code" and label.code:
        return _read_subtype(label.code, view)
    return view.result.subtype or ""


def iter_views(store: Store, public_ids: Sequence[str]) -> Iterator[MicrographView]:
    """Yield micrographs by their public ids, some hundred per transaction."""
    for start in range(0, len(public_ids), TOGETHER):
        yield from store.search.list_micrographs(public_ids[start : start + TOGETHER])


def _read_subtype(code: str, view: MicrographView) -> str:
    """Return the subtype of a code: the model's if the code begins with it, else its letters."""
    known = [name for name in view.result.subtype_probabilities if code.startswith(name)]
    return max(known, key=len) if known else code.rstrip("0123456789-–")


def _measure(
    view: MicrographView, archive: Archive, mapper: NeedleMapper
) -> FieldMeasurement | Place:
    from model.needles.field import NeedleOutcome, measure_field  # noqa: PLC0415 - it loads PyTorch

    if view.um_per_px is None:
        return Place.NOT_MEASURED
    try:
        pixels, valid = archive.field(view.sha256, view.page)
    except (FileNotFoundError, ValueError):  # agent verify names one that was replaced
        return Place.NO_PIXELS
    field = measure_field(to_grey(pixels, valid), view.um_per_px, mapper)
    return field if field.outcome is NeedleOutcome.MEASURED else Place.NOT_MEASURED


def _match(row: Compared, tips: NDArray[np.float64], field: FieldMeasurement) -> Compared:
    found = find_counterpart(tips, field.needles.ends_um)
    if found is None:
        return row
    return replace(
        row,
        place=Place.MATCHED,
        program_um=float(field.needles.expected_um[found]),
        tips_agree=do_tips_agree(tips, field.needles.ends_um[found]),
    )


def _to_facts(compared: Sequence[Compared], network: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the facts of the record, and their part in the audit log."""
    counts = {place.value: sum(row.place is place for row in compared) for place in Place}
    short: dict[str, Any] = {"network": network, "counts": counts}
    rows = [[_plain(getattr(row, name)) for name in COLUMNS] for row in compared]
    return {**short, "rows": rows}, short


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    return value.value if isinstance(value, Place) else value
