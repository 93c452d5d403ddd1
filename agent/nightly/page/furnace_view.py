"""Describe the size numbers of the heat-treatment batches, per material and furnace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.nightly.spc.batch_chart import BASELINE_BATCHES, DECISION_SIGMA, LIMIT_SIGMA
from reports import ControlTrend, Tone, VerdictLine, decimal
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.nightly.facts.snapshot import NightFacts
    from agent.nightly.spc.batch_chart import BatchChart

LEAST_DRAWN = 2
"""Batches of a furnace that make a chart."""


def furnace_lines(facts: NightFacts) -> Iterator[VerdictLine]:
    """Yield a line for each furnace whose batches are beyond their limits tonight."""
    for chart in facts.charts.batch_charts:
        if chart.alarm:
            yield VerdictLine(Tone.ATTENTION, "1", _describe_alarm(chart), "#furnaces")


def furnace_trends(facts: NightFacts) -> Iterator[ControlTrend]:
    """Yield the individuals chart of each furnace, and its sums where there are limits."""
    for chart in facts.charts.batch_charts:
        if chart.batches < LEAST_DRAWN:
            continue
        tone = Tone.ATTENTION if chart.alarm else Tone.CALM
        reach = LIMIT_SIGMA * chart.sigma
        yield ControlTrend(
            title=_("Size number per batch, {furnace}").format(furnace=_name(chart)),
            text=_describe(chart),
            tone=tone,
            points=tuple((point.batch, point.size) for point in chart.points),
            usual=chart.usual,
            low=chart.usual - reach,
            high=chart.usual + reach,
        )
        if chart.sigma:
            yield ControlTrend(
                title=_("Cumulative deviation, {furnace}").format(furnace=_name(chart)),
                text=_("Below 0 is coarser than usual. Beyond a line the batches drift."),
                tone=tone,
                points=tuple((point.batch, point.cusum) for point in chart.points),
                usual=0.0,
                low=-DECISION_SIGMA * chart.sigma,
                high=DECISION_SIGMA * chart.sigma,
            )


def _name(chart: BatchChart) -> str:
    material = chart.material or _("unnamed material")
    return f"{material}, {chart.furnace}" if chart.furnace else material


def _describe(chart: BatchChart) -> str:
    if not chart.sigma:
        text = _("{n} of {of} batches that set the limits.")
        return text.format(n=chart.batches, of=BASELINE_BATCHES)
    usual = _("Usual: {usual}, by the first {n} batches.").format(
        usual=decimal(chart.usual, ".1f"), n=BASELINE_BATCHES
    )
    tonight = f"{_describe_alarm(chart)}." if chart.alarm else _("As usual.")
    return f"{tonight} {usual}"


def _describe_alarm(chart: BatchChart) -> str:
    last = chart.points[-1]
    is_coarser = last.cusum < 0 if chart.alarm == "cusum" else last.size < chart.usual
    text = {
        ("value", True): _("batch {batch} ({furnace}) is coarser than usual: size {size}, usual "
                           "{usual}"),
        ("value", False): _("batch {batch} ({furnace}) is finer than usual: size {size}, usual "
                            "{usual}"),
        ("cusum", True): _("batches drift coarser ({furnace}), the last is {batch}: size {size}, "
                           "usual {usual}"),
        ("cusum", False): _("batches drift finer ({furnace}), the last is {batch}: size {size}, "
                            "usual {usual}"),
    }[chart.alarm, is_coarser]  # fmt: skip
    return text.format(
        batch=last.batch,
        furnace=_name(chart),
        size=decimal(last.size, ".1f"),
        usual=decimal(chart.usual, ".1f"),
    )
