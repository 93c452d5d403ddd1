"""Build the report of a measurement-system analysis, as a page and as JSON.

"Met" is about what was counted; "shown" only where the exact bound of so few specimens holds too.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent.roundrobin.capability import format_source, still_needed
from reports import Fact, StudyReport, Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent.roundrobin.capability import AtLimit, Measured, Rate, Scatter


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What the lab requires of its measuring system; shares in [0, 1].

    Args:
        effectiveness: At least.
        miss_rate, false_alarm_rate, study_share: At most.
        source: Where they come from, printed in the report.
    """

    effectiveness: float
    miss_rate: float
    false_alarm_rate: float
    study_share: float
    source: str


@dataclass(frozen=True, slots=True)
class Gathered:
    """The runs' codes of a plan.

    Args:
        measured: One per run that has an image or a code.
        missing: Numbers of the runs that have none.
        faults: One sentence per image that belongs to no run, or to another specimen's.
        bundles: Whose answers they are; () where raters filled codes in.
    """

    measured: tuple[Measured, ...]
    missing: tuple[int, ...]
    faults: tuple[str, ...]
    bundles: tuple[str, ...]


def analysis_to_json(
    name: str,
    gathered: Gathered,
    kept: Sequence[AtLimit],
    split: Scatter,
    thresholds: Thresholds,
) -> dict[str, Any]:
    """Return every result as JSON values."""
    return {
        "plan": name,
        "runs": len(gathered.measured),
        "missing": list(gathered.missing),
        "faults": list(gathered.faults),
        "bundles": list(gathered.bundles),
        "specimens": len({result.run.specimen for result in gathered.measured}),
        "limits": {
            f"{limit.subtype} {limit.limit}": {
                "effectiveness": _rate_json(limit.effectiveness),
                "miss_rate": _rate_json(limit.miss),
                "false_alarm_rate": _rate_json(limit.false_alarm),
                "non_conforming_specimens": _rate_json(limit.missed),
                "conforming_specimens": _rate_json(limit.alarmed),
                "claim": _claim(limit, thresholds),
            }
            for limit in kept
        },
        "scatter": {
            "n": split.n,
            "left_out": split.left_out,
            "variance": {
                source.name: {"value": source.variance, "low": source.low, "high": source.high}
                for source in split.sources
            },
            "inseparable": dict(split.inseparable),
            "study_share": split.study_share,
            "study_share_low": split.share_low,
            "study_share_high": split.share_high,
            "categories": split.categories,
            "by_rank": split.by_rank,
        },
        "thresholds": {
            "effectiveness_min": thresholds.effectiveness,
            "miss_rate_max": thresholds.miss_rate,
            "false_alarm_max": thresholds.false_alarm_rate,
            "study_share_max": thresholds.study_share,
            "source": thresholds.source,
        },
    }


def build_report(
    name: str,
    gathered: Gathered,
    kept: Sequence[AtLimit],
    split: Scatter,
    thresholds: Thresholds,
    *,
    site: str,
    generated: str,
    scale_name: str = "",
) -> StudyReport:
    """Build the page of an analysis; `analysis_to_json` has the same values."""
    return StudyReport(
        site=site,
        title=f"Measurement-system analysis {name}",
        sentences=tuple(_sentences(gathered)),
        headline=tuple(_headline(kept, split)),
        images=(),
        codes=(),
        raters=0,
        tables=tuple(_tables(gathered, kept, split, thresholds)),
        method=tuple(_method(split, thresholds, scale_name)),
        generated=generated,
    )


def _rate_json(rate: Rate) -> dict[str, float | int | None]:
    return {
        "count": rate.count,
        "n": rate.n,
        "value": rate.value,
        "bound95": rate.bound,
        "bound_specimens": rate.specimens,
    }


def _sentences(gathered: Gathered) -> Iterator[str]:
    runs = [result.run for result in gathered.measured]
    counts = {
        "specimens": len({run.specimen for run in runs}),
        "operators": len({run.operator for run in runs}),
        "microscopes": len({run.microscope for run in runs}),
        "preparations": len({run.preparation for run in runs}),
        "images of each": len({run.image for run in runs}),
    }
    crossed = " × ".join(f"{n} {what}" for what, n in counts.items())
    yield f"{crossed}: {len(runs)} runs were measured, {len(gathered.missing)} are missing."
    if gathered.bundles:
        yield f"The codes are the stored live results of bundle {', '.join(gathered.bundles)}."
    else:
        yield "The codes are those that people filled in."
    yield from gathered.faults


def _headline(kept: Sequence[AtLimit], split: Scatter) -> Iterator[Fact]:
    for result in kept:
        missed = result.missed
        yield Fact(
            f"{result.subtype}, {result.limit}",
            f"{missed.count} of {missed.n} non-conforming specimens missed at least once; "
            f"at most {_percent(missed.bound)}"
            if missed.n
            else "no non-conforming specimen: nothing can be said of misses",
        )
    groups = "" if split.categories is None else f"; groups that it tells apart: {split.categories}"
    yield Fact("Share of the measuring system", _share_in_words(split) + groups)


def _tables(
    gathered: Gathered, kept: Sequence[AtLimit], split: Scatter, thresholds: Thresholds
) -> Iterator[Table]:
    if kept:
        yield _rates(kept)
        yield _claims(kept, split, thresholds)
    yield _sources(split)
    yield _specimens(gathered.measured)


def _rates(kept: Sequence[AtLimit]) -> Table:
    columns = (
        "limit",
        "specimens right in every run",
        "runs that miss",
        "runs with a false alarm",
        "non-conforming specimens ever missed",
    )
    rows = [
        (
            f"{result.subtype}, {result.limit}",
            _in_words(result.effectiveness, "at least"),
            _in_words(result.miss, "at most"),
            _in_words(result.false_alarm, "at most"),
            _in_words(result.missed, "at most"),
        )
        for result in kept
    ]
    return Table("At each limit", columns, tuple(rows))


def _claims(kept: Sequence[AtLimit], split: Scatter, thresholds: Thresholds) -> Table:
    columns = ("what is asked for", "at least or at most", "found")
    rows = []
    for result in kept:
        claim, of = _claim(result, thresholds), f"{result.subtype}, {result.limit}: "
        asked = (
            ("effectiveness", thresholds.effectiveness),
            ("miss_rate", thresholds.miss_rate),
            ("false_alarm_rate", thresholds.false_alarm_rate),
        )
        rows += [
            (of + word.replace("_", " "), _percent(limit), claim[word]) for word, limit in asked
        ]
    most = thresholds.study_share
    rows.append(("measuring system in the scatter", _percent(most), _compare_share(split, most)))
    return Table("Against what the lab asks for", columns, tuple(rows))


def _claim(result: AtLimit, thresholds: Thresholds) -> dict[str, str]:
    """Return whether each threshold is met, and whether so few specimens prove it."""
    return {
        "effectiveness": _compare_least(result.effectiveness, thresholds.effectiveness),
        "miss_rate": _compare_most(
            result.miss, result.missed, thresholds.miss_rate, "non-conforming", "a miss"
        ),
        "false_alarm_rate": _compare_most(
            result.false_alarm,
            result.alarmed,
            thresholds.false_alarm_rate,
            "conforming",
            "a false alarm",
        ),
    }


def _compare_least(rate: Rate, least: float) -> str:
    if rate.value is None or rate.bound is None:
        return "cannot be said: there is no specimen"
    if rate.value < least:
        return f"not met: {_percent(rate.value)}"
    return _met(shown=rate.bound >= least)


def _compare_most(rate: Rate, specimens: Rate, most: float, kind: str, fault: str) -> str:
    """Compare a rate of runs with its limit; specimens that ever had the fault are the proof."""
    if rate.value is None:
        return "cannot be said: there is no such specimen"
    if rate.value > most:
        return f"not met: {_percent(rate.value)}"
    if specimens.bound is not None and specimens.bound <= most:
        return "met, and shown"
    return (
        f"met, but not shown by {specimens.n} {kind} specimens; "
        f"{still_needed(most)} without {fault} would show it"
    )


def _compare_share(split: Scatter, most: float) -> str:
    if split.study_share is None:
        return "cannot be said"
    if split.study_share > most:
        return f"not met: {_share_in_words(split)}"
    return _met(shown=split.share_high is not None and split.share_high <= most)


def _met(*, shown: bool) -> str:
    return "met, and shown" if shown else "met, but not shown: too few specimens"


def _sources(split: Scatter) -> Table:
    columns = ("source", "variance", "95 %", "standard deviation", "of the whole")
    rows = [
        (
            format_source(source.name),
            f"{source.variance:.4f}",
            "–" if source.low is None else f"{source.low:.4f} to {source.high:.4f}",
            f"{source.variance**0.5:.3f}",
            _percent(source.variance / split.total if split.total else None),
        )
        for source in split.sources
    ]
    rows += [(name, "–", "–", "–", why) for name, why in split.inseparable.items()]
    share = _percent(split.measuring / split.total if split.total else None)
    spread = f"{split.measuring**0.5:.3f}"
    rows.append(("measuring system", f"{split.measuring:.4f}", "–", spread, share))
    scale = "places in the order of sizes" if split.by_rank else "size numbers"
    title = f"Where the scatter of the {scale} comes from (n = {split.n} runs"
    if split.left_out:
        title += f"; {split.left_out} without a size of the true subtype are left out"
    return Table(title + ")", columns, tuple(rows))


def _specimens(measured: Sequence[Measured]) -> Table:
    rows = []
    for name in sorted({result.run.specimen for result in measured}, key=_natural):
        own = [result for result in measured if result.run.specimen == name]
        counts = Counter(result.said or "none" for result in own)
        listed = ", ".join(f"{code} {n}" for code, n in counts.most_common())
        rows.append((name, own[0].true, str(len(own)), listed))
    return Table("Specimen by specimen", ("specimen", "true code", "runs", "said"), tuple(rows))


def _natural(name: str) -> tuple[tuple[int, str], ...]:
    """Return a sort key that orders S2 before S10."""
    parts = re.split(r"(\d+)", name)
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in parts)


def _method(split: Scatter, thresholds: Thresholds, scale_name: str) -> Iterator[str]:
    yield (
        "A miss: a non-conforming specimen is called conforming. A false alarm: a conforming one "
        "is not; another subtype, or no answer, is not “conforms”. Effectiveness: specimens that "
        "every run judged right. Bounds are exact, one-sided, at 95 % (Clopper and Pearson 1934)."
    )
    yield (
        "Runs of one specimen are no independent trials, so a claim about misses rests on the "
        "number of non-conforming specimens, one about false alarms on that of conforming ones. "
        "The bound of a rate of runs counts specimens too: the shares of wrong runs of each are "
        "added up and rounded up to whole specimens."
    )
    scale = (
        "by the place of each size in the order that the taxonomy lists, as not every size has a "
        "number"
        if split.by_rank
        else "on the scale of the size numbers, a merged size as the mean of its numbers"
    )
    yield (
        f"Variances {scale}, of runs with the true subtype: "
        "quadratic forms set equal to their expectations (Rao 1971), in a complete plan the "
        "estimators of the analysis of variance; below zero is 0. Intervals: specimens drawn again "
        "300 times. Share of the measuring system: its standard deviation in that of everything; "
        "groups that it tells apart: 1.41 times that of the specimens over its own, rounded down."
    )
    yield f"Thresholds: [msa] of agent.toml. Their source: {thresholds.source}."
    if scale_name:
        yield scale_name


def _in_words(rate: Rate, which: str) -> str:
    if not rate.n:
        return "–"
    over = "" if rate.specimens == rate.n else f" by {rate.specimens} specimens"
    details = f"{_percent(rate.value)}; {which} {_percent(rate.bound)}{over}"
    return f"{rate.count} of {rate.n} ({details})"


def _share_in_words(split: Scatter) -> str:
    if split.share_low is None or split.share_high is None:
        return _percent(split.study_share)
    low, high = 100 * split.share_low, 100 * split.share_high
    return f"{_percent(split.study_share)} ({low:.1f} to {high:.1f})"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"
