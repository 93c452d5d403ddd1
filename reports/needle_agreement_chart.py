"""Draw needle lengths of the program against people's, as inline SVG without matplotlib."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

from reports.i18n import decimal
from reports.i18n import gettext as _

if TYPE_CHECKING:
    from collections.abc import Iterable

    from reports.content.needles import NeedlePlot

WIDTH, HEIGHT = 640.0, 300.0
LEFT, RIGHT, TOP, BOTTOM = 46.0, 132.0, 22.0, 40.0
STEPS = (1, 2, 5)
RATIOS = (0.1, 0.2, 0.25, 0.33, 0.5, 0.67, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 10.0)
LEAST_GAP = 15.0
"""Smallest distance of two labels, in units of the drawing."""


class _Scale:
    """Logarithmic axes of a plot."""

    def __init__(self, plot: NeedlePlot) -> None:
        lengths = [length for length, _ratio, _agree in plot.points]
        ratios = [ratio for _length, ratio, _agree in plot.points]
        ratios += [*plot.lower, *plot.upper, 0.8, 1.25]
        self.low, self.high = min(lengths) / 1.1, max(lengths) * 1.1
        self.bottom, self.top = min(ratios) / 1.08, max(ratios) * 1.08

    def x(self, length_um: float) -> float:
        share = math.log(length_um / self.low) / math.log(self.high / self.low)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, ratio: float) -> float:
        share = math.log(ratio / self.bottom) / math.log(self.top / self.bottom)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def agreement_chart(plot: NeedlePlot) -> Markup:
    """Draw ratios over lengths, the mean ratio and both limits with their 95 % intervals."""
    scale = _Scale(plot)
    parts = [*_draw_axes(scale)]
    lines = (("bias", plot.bias), ("limit", plot.lower), ("limit", plot.upper))
    for kind, (value, low, high) in lines:
        parts.append(_draw_band(scale, kind, value, low, high))
    parts += (
        f'<circle class="{"pair" if agree else "pair apart"}" cx="{scale.x(length):.1f}" '
        f'cy="{scale.y(ratio):.1f}" r="2.6"/>'
        for length, ratio, agree in plot.points
    )
    parts += _draw_labels(scale, plot)
    about = _(
        "Program over people for {n} needles: mean ratio {bias}, 95 % of the needles between {low} "
        "and {high}."
    ).format(
        n=len(plot.points),
        bias=decimal(plot.bias[0], ".2f"),
        low=decimal(plot.lower[0], ".2f"),
        high=decimal(plot.upper[0], ".2f"),
    )
    return Markup(  # noqa: S704 - numbers of ours and escaped texts
        f'<svg class="agreement" role="img" aria-label="{escape(about)}" '
        f'viewBox="0 0 {WIDTH:g} {HEIGHT:g}">{"".join(parts)}</svg>'
    )


def _draw_axes(scale: _Scale) -> Iterable[str]:
    floor, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    yield f'<path class="axis" d="M{LEFT:g} {TOP:g}V{floor:g}H{right:g}"/>'
    for length in _list_steps(scale.low, scale.high):
        x = scale.x(length)
        yield f'<path class="axis" d="M{x:.1f} {floor:g}v4"/>'
        yield _text(x, floor + 16, decimal(length, "g"), "middle")
    for ratio in RATIOS:
        if scale.bottom <= ratio <= scale.top:
            y = scale.y(ratio)
            kind = "even" if ratio == 1 else "grid"
            yield f'<path class="{kind}" d="M{LEFT:g} {y:.1f}H{right:g}"/>'
            yield _text(LEFT - 6, y + 4, decimal(ratio, "g"), "end")
    middle = (LEFT + right) / 2
    yield _text(4, TOP - 9, _("program / people"), "start")
    yield _text(middle, HEIGHT - 5, _("mean of both lengths, µm"), "middle")


def _draw_band(scale: _Scale, kind: str, value: float, low: float, high: float) -> str:
    top, height = scale.y(high), scale.y(low) - scale.y(high)
    width, right = WIDTH - LEFT - RIGHT, WIDTH - RIGHT
    return (
        f'<rect class="band {kind}" x="{LEFT:g}" y="{top:.1f}" width="{width:g}" '
        f'height="{height:.1f}"/>'
        f'<path class="{kind}" d="M{LEFT:g} {scale.y(value):.1f}H{right:g}"/>'
    )


def _draw_labels(scale: _Scale, plot: NeedlePlot) -> Iterable[str]:
    texts = (
        (plot.upper[0], _("upper limit {ratio}")),
        (plot.bias[0], _("mean {ratio}")),
        (plot.lower[0], _("lower limit {ratio}")),
    )
    last = -LEAST_GAP
    for ratio, text in texts:
        last = max(scale.y(ratio) + 4, last + LEAST_GAP)
        yield _text(WIDTH - RIGHT + 8, last, text.format(ratio=decimal(ratio, ".2f")), "start")


def _list_steps(low: float, high: float) -> Iterable[float]:
    power = math.floor(math.log10(low))
    for exponent in range(power, math.ceil(math.log10(high)) + 1):
        for step in STEPS:
            length = step * 10.0**exponent
            if low <= length <= high:
                yield length


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
