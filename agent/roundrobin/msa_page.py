"""Build the report of a measurement-system analysis, as a page and as JSON.

"Met" is about what was counted; "shown" only where the exact bound of so few specimens holds too.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from agent.roundrobin.capability import (
    AtLimit,
    Measured,
    Rate,
    Scatter,
    format_source,
    still_needed,
)
from reports import Fact, Table, decimal, marked, ngettext
from reports import gettext as _

AT_LEAST, AT_MOST = marked("at least {bound}"), marked("at most {bound}")
RATES = {
    "effectiveness": marked("effectiveness"),
    "miss_rate": marked("miss rate"),
    "false_alarm_rate": marked("false-alarm rate"),
}
NOT_SHOWN_MISS = marked(
    "met, but not shown by {n} non-conforming specimens; {needed} without a miss would show it"
)
NOT_SHOWN_ALARM = marked(
    "met, but not shown by {n} conforming specimens; {needed} without a false alarm would show it"
)
SOURCES = {
    "specimen": marked("specimen"),
    "preparation": marked("preparation"),
    "operator": marked("operator"),
    "microscope": marked("microscope"),
    "re-imaging, and the rest": marked("re-imaging, and the rest"),
}
"""Sources of scatter, by their names in the JSON."""


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
            "inseparable": {name: why.in_english() for name, why in split.inseparable.items()},
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
) -> dict[str, Any]:
    """Return what the page of an analysis shows; `analysis_to_json` has the same values."""
    return {
        "site": site,
        "title": _("Measurement-system analysis {name}").format(name=name),
        "sentences": list(_sentences(gathered)),
        "headline": list(_headline(kept, split)),
        "images": (),
        "figures": list(_tables(gathered, kept, split, thresholds)),
        "method": list(_method(split, thresholds, scale_name)),
        "generated": generated,
    }


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
    yield _(
        "{specimens} specimens × {operators} operators × {microscopes} microscopes × "
        "{preparations} preparations × {images} images of each: {n} runs were measured, "
        "{missing} are missing."
    ).format(
        specimens=len({run.specimen for run in runs}),
        operators=len({run.operator for run in runs}),
        microscopes=len({run.microscope for run in runs}),
        preparations=len({run.preparation for run in runs}),
        images=len({run.image for run in runs}),
        n=len(runs),
        missing=len(gathered.missing),
    )
    if gathered.bundles:
        yield _("The codes are the stored live results of bundle {bundles}.").format(
            bundles=", ".join(gathered.bundles)
        )
    else:
        yield _("The codes are those that raters filled in.")
    yield from gathered.faults


def _headline(kept: Sequence[AtLimit], split: Scatter) -> Iterator[Fact]:
    for result in kept:
        missed = result.missed
        yield Fact(
            f"{result.subtype}, {result.limit.words}",
            _(
                "{count} of {n} non-conforming specimens missed at least once; at most {bound}"
            ).format(count=missed.count, n=missed.n, bound=_percent(missed.bound))
            if missed.n
            else _("no non-conforming specimen: misses cannot be estimated"),
        )
    share = _share_in_words(split)
    if split.categories is not None:
        share = _("{share}; groups that it distinguishes: {n}").format(
            share=share, n=split.categories
        )
    yield Fact(_("Share of the measuring system"), share)


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
        _("limit"),
        _("specimens right in every run"),
        _("runs that miss"),
        _("runs with a false alarm"),
        _("non-conforming specimens ever missed"),
    )
    rows = [
        (
            f"{result.subtype}, {result.limit.words}",
            _in_words(result.effectiveness, AT_LEAST),
            _in_words(result.miss, AT_MOST),
            _in_words(result.false_alarm, AT_MOST),
            _in_words(result.missed, AT_MOST),
        )
        for result in kept
    ]
    return Table(_("At each limit"), columns, tuple(rows))


def _claims(kept: Sequence[AtLimit], split: Scatter, thresholds: Thresholds) -> Table:
    columns = (_("what is required"), _("at least or at most"), _("found"))
    rows = []
    for result in kept:
        claim, of = _claim(result, thresholds), f"{result.subtype}, {result.limit.words}: "
        asked = (
            ("effectiveness", thresholds.effectiveness),
            ("miss_rate", thresholds.miss_rate),
            ("false_alarm_rate", thresholds.false_alarm_rate),
        )
        rows += [(of + _(RATES[word]), _percent(limit), claim[word]) for word, limit in asked]
    most = thresholds.study_share
    rows.append((_("measuring system in the scatter"), _percent(most), _compare_share(split, most)))
    return Table(_("Against what the lab requires"), columns, tuple(rows))


def _claim(result: AtLimit, thresholds: Thresholds) -> dict[str, str]:
    """Return whether each threshold is met, and whether so few specimens prove it."""
    return {
        "effectiveness": _compare_least(result.effectiveness, thresholds.effectiveness),
        "miss_rate": _compare_most(
            result.miss, result.missed, thresholds.miss_rate, NOT_SHOWN_MISS
        ),
        "false_alarm_rate": _compare_most(
            result.false_alarm,
            result.alarmed,
            thresholds.false_alarm_rate,
            NOT_SHOWN_ALARM,
        ),
    }


def _compare_least(rate: Rate, least: float) -> str:
    if rate.value is None or rate.bound is None:
        return _("not known: there is no specimen")
    if rate.value < least:
        return _("not met: {found}").format(found=_percent(rate.value))
    return _met(shown=rate.bound >= least)


def _compare_most(rate: Rate, specimens: Rate, most: float, not_shown: str) -> str:
    """Compare a rate of runs with its limit; specimens that ever had the fault are the proof."""
    if rate.value is None:
        return _("not known: there is no such specimen")
    if rate.value > most:
        return _("not met: {found}").format(found=_percent(rate.value))
    if specimens.bound is not None and specimens.bound <= most:
        return _("met, and shown")
    return _(not_shown).format(n=specimens.n, needed=still_needed(most))


def _compare_share(split: Scatter, most: float) -> str:
    if split.study_share is None:
        return _("not known")
    if split.study_share > most:
        return _("not met: {found}").format(found=_share_in_words(split))
    return _met(shown=split.share_high is not None and split.share_high <= most)


def _met(*, shown: bool) -> str:
    return _("met, and shown") if shown else _("met, but not shown: too few specimens")


def _sources(split: Scatter) -> Table:
    columns = (_("source"), _("variance"), "95 %", _("standard deviation"), _("of the whole"))
    rows = [
        (
            _name_source(source.name),
            decimal(source.variance, ".4f"),
            _range(source.low, source.high),
            decimal(source.variance**0.5, ".3f"),
            _percent(source.variance / split.total if split.total else None),
        )
        for source in split.sources
    ]
    rows += [
        (_name_source(name), "–", "–", "–", str(why)) for name, why in split.inseparable.items()
    ]
    share = _percent(split.measuring / split.total if split.total else None)
    spread = decimal(split.measuring**0.5, ".3f")
    rows.append((_("measuring system"), decimal(split.measuring, ".4f"), "–", spread, share))
    title = (
        _("Sources of the scatter of the places in the order of sizes (n = {n} runs)")
        if split.by_rank
        else _("Sources of the scatter of the size numbers (n = {n} runs)")
    ).format(n=split.n)
    if split.left_out:
        left_out = ngettext(
            "{n} run without a size of the true subtype is left out",
            "{n} runs without a size of the true subtype are left out",
            split.left_out,
        ).format(n=split.left_out)
        title = f"{title}; {left_out}"
    return Table(title, columns, tuple(rows))


def _specimens(measured: Sequence[Measured]) -> Table:
    rows = []
    for name in sorted({result.run.specimen for result in measured}, key=_natural):
        own = [result for result in measured if result.run.specimen == name]
        counts = Counter(result.said or _("none") for result in own)
        listed = ", ".join(f"{code} {n}" for code, n in counts.most_common())
        rows.append((name, own[0].true, str(len(own)), listed))
    columns = (_("specimen"), _("true code"), _("runs"), _("answers"))
    return Table(_("Specimen by specimen"), columns, tuple(rows))


def _natural(name: str) -> tuple[tuple[int, str], ...]:
    """Return a sort key that orders S2 before S10."""
    parts = re.split(r"(\d+)", name)
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in parts)


def _method(split: Scatter, thresholds: Thresholds, scale_name: str) -> Iterator[str]:
    yield _(
        "A miss: a non-conforming specimen is called conforming. A false alarm: a conforming one "
        "is not; another subtype, or no answer, is not “conforms”. Effectiveness: specimens that "
        "every run judged right. Bounds are exact, one-sided, at 95 % (Clopper and Pearson 1934)."
    )
    yield _(
        "Runs of one specimen are no independent trials, so a claim about misses rests on the "
        "number of non-conforming specimens, one about false alarms on that of conforming ones. "
        "The bound of a rate of runs counts specimens too: the shares of wrong runs of each are "
        "added up and rounded up to whole specimens."
    )
    yield (
        _(
            "Variances are computed by the place of each size in the order that the taxonomy "
            "lists, as not every size has a number."
        )
        if split.by_rank
        else _(
            "Variances are computed on the scale of the size numbers, a merged size as the mean "
            "of its numbers."
        )
    )
    yield _(
        "Variances are those of runs with the true subtype: quadratic forms set equal to their "
        "expectations (Rao 1971), in a complete plan the estimators of the analysis of variance; "
        "below zero is 0. Intervals: specimens drawn again 300 times. Share of the measuring "
        "system: its standard deviation in that of everything; groups that it distinguishes: 1.41 "
        "times that of the specimens over its own, rounded down."
    )
    yield _("Thresholds: [msa] of agent.toml. Their source: {source}.").format(
        source=thresholds.source
    )
    if scale_name:
        yield scale_name


def _in_words(rate: Rate, which: str) -> str:
    if not rate.n:
        return "–"
    bound = _(which).format(bound=_percent(rate.bound))
    if rate.specimens != rate.n:
        bound = _("{bound} by {n} specimens").format(bound=bound, n=rate.specimens)
    return _("{count} of {n} ({share}; {bound})").format(
        count=rate.count, n=rate.n, share=_percent(rate.value), bound=bound
    )


def _share_in_words(split: Scatter) -> str:
    if split.share_low is None or split.share_high is None:
        return _percent(split.study_share)
    low, high = 100 * split.share_low, 100 * split.share_high
    return f"{_percent(split.study_share)} ({_range(low, high, '.1f')})"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{decimal(100 * share, '.1f')} %"


def _range(low: float | None, high: float | None, form: str = ".4f") -> str:
    if low is None or high is None:
        return "–"
    return _("{low} to {high}").format(low=decimal(low, form), high=decimal(high, form))


def _name_source(name: str) -> str:
    """Return the name of a source of scatter in the language of the page."""
    return " × ".join(_(SOURCES.get(part, part)) for part in format_source(name).split(" × "))
