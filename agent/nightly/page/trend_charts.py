"""Build the charts of unusual and doubtful specimens, and the lines of those that alarm."""

from __future__ import annotations

from typing import TYPE_CHECKING

import reports
from agent.nightly.spc.p_chart import BASELINE_NIGHTS, BASELINE_SPECIMENS
from model import wilson
from reports import Tone, VerdictLine, decimal, percent
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.nightly.facts.snapshot import NightFacts
    from agent.nightly.spc.p_chart import Point, Trend


def trend_lines(facts: NightFacts) -> Iterator[VerdictLine]:
    """Yield the trends that alarm."""
    for trend in facts.charts.trends:
        if trend.alarm:
            yield VerdictLine(Tone.ATTENTION, str(trend.points[-1].bad), _alarm(trend), "#trends")


def _alarm(trend: Trend) -> str:
    usual, last = percent(trend.usual_bad / trend.usual_n), trend.points[-1]
    if trend.alarm == "night":
        text = _("of {n} specimens of {material} are {measure}: more than usual ({usual})")
    else:
        text = _(
            "of {n} specimens of {material} are {measure}, and {run} nights in a row were above "
            "the usual {usual}"
        )
    return text.format(
        n=last.n, material=_material(trend), measure=_measure(trend), usual=usual, run=trend.run
    )


def _material(trend: Trend) -> str:
    return trend.material or _("unnamed material")


def _measure(trend: Trend) -> str:
    return {"strange": _("unusual"), "doubtful": _("uncertain")}[trend.measure]


def build_trend(trend: Trend) -> reports.ShareTrend:
    """Build the chart of one trend, with its text."""
    titles = {
        "strange": _("Unusual specimens, {material}"),
        "doubtful": _("Uncertain specimens, {material}"),
    }
    title = titles[trend.measure].format(material=_material(trend))
    if not trend.points:
        return reports.ShareTrend(
            title,
            _(
                "{n} of {of} nights that set the limits; limits are drawn from then on, with at "
                "least {specimens} specimens."
            ).format(n=trend.nights, of=BASELINE_NIGHTS, specimens=BASELINE_SPECIMENS),
            Tone.CALM,
            tuple(_gathered(point) for point in trend.gathered),
            0.0,
        )
    usual = trend.usual_bad / trend.usual_n
    alarm = _alarm(trend) if trend.alarm else ""
    text = f"{trend.points[-1].bad} {alarm}." if alarm else _("As usual.")
    return reports.ShareTrend(
        title,
        _(
            "{text} Usual: {bad} of {n} ({share}), by the first nights under bundle {bundle}."
        ).format(
            text=text,
            bad=trend.usual_bad,
            n=trend.usual_n,
            share=percent(usual),
            bundle=trend.bundle,
        )
        + _limits_in_words(trend),
        Tone.ATTENTION if trend.alarm else Tone.CALM,
        tuple(
            reports.TrendPoint(reports.short_day(p.night), p.n, p.bad, p.limit)
            for p in trend.points
        ),
        usual,
    )


def _gathered(point: Point) -> reports.TrendPoint:
    sure = wilson(point.bad, point.n)
    return reports.TrendPoint(
        reports.short_day(point.night), point.n, point.bad, None, sure.low or 0.0, sure.high or 1.0
    )


def _limits_in_words(trend: Trend) -> str:
    """Return how the limits were computed; "" for a report from before this was stored."""
    if trend.spread is None:
        return ""
    text = _(
        "Limits: binomial, with nights that differ (log rate: standard deviation {spread}, fitted "
        "to the first nights)."
    )
    return " " + text.format(spread=decimal(trend.spread, ".2f"))
