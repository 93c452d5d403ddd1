"""Draw small figures of a live page as inline SVG: in microseconds, without matplotlib."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from markupsafe import Markup, escape

from reports.content.components import NeedleBar, NeedlePlot
from reports.i18n import decimal
from reports.i18n import gettext as _

WIDTH, HEIGHT = 100.0, 12.0


def share_chart(
    share: float,
    *,
    usual: float | None,
    low: float | None,
    high: float | None,
    largest: float,
    alt: str,
) -> Markup:
    """Draw a share as a bar, the usual range as a band behind it, the usual share as a line.

    Args:
        share: In [0, 1].
        usual: The usual share, or None where it is not known.
        low: Smallest usual share of a day.
        high: Largest usual share of a day.
        largest: The share at the right edge; the rows of a table have the same.
        alt: The text alternative.
    """

    def x(value: float) -> float:
        return round(WIDTH * min(1.0, value / largest), 2) if largest > 0 else 0.0

    parts = []
    if usual is not None and low is not None and high is not None:
        width = max(0.8, x(high) - x(low))
        parts.append(f'<rect class="range" x="{x(low)}" width="{width}" height="{HEIGHT}"/>')
    parts.append(f'<rect class="share" y="3" width="{x(share)}" height="6"/>')
    if usual is not None:
        parts.append(f'<rect class="usual" x="{max(0.0, x(usual) - 0.5)}" width="1" height="12"/>')
    return Markup(  # noqa: S704 - numbers of ours and an escaped text
        f'<svg class="share-chart" role="img" aria-label="{escape(alt)}" '
        f'viewBox="0 0 {WIDTH:g} {HEIGHT:g}" preserveAspectRatio="none">{"".join(parts)}</svg>'
    )


CURVE_WIDTH, CURVE_HEIGHT, LEFT, BOTTOM = 340.0, 150.0, 34.0, 24.0


def learning_curve_chart(points: Sequence[Sequence[tuple[int, float]]], alt: str) -> Markup:
    """Draw error rates over the number of training images: each repeat a dot, their mean a line.

    Args:
        points: Per repeat, pairs of training images and error rate in [0, 1].
        alt: The text alternative.
    """
    flat = [(n, error) for repeat in points for n, error in repeat]
    if not flat:
        return Markup()
    most_n = max(n for n, _error in flat)
    most = max(0.05, *(error for _n, error in flat))

    def place(n: float, error: float) -> tuple[float, float]:
        x = LEFT + (CURVE_WIDTH - LEFT - 8) * n / most_n
        y = CURVE_HEIGHT - BOTTOM - (CURVE_HEIGHT - BOTTOM - 10) * error / most
        return round(x, 1), round(y, 1)

    dots = "".join(
        '<circle class="repeat" cx="{}" cy="{}" r="2.2"/>'.format(*place(n, error))
        for n, error in flat
    )
    steps = [list(step) for step in zip(*points, strict=False)]
    means = [
        place(sum(n for n, _e in step) / len(step), sum(e for _n, e in step) / len(step))
        for step in steps
    ]
    line = " ".join(f"{x},{y}" for x, y in means)
    marks = "".join(f'<circle class="dot" cx="{x}" cy="{y}" r="3"/>' for x, y in means)
    base = CURVE_HEIGHT - BOTTOM
    axes = (
        f'<path class="axis" d="M{LEFT} 6V{base}H{CURVE_WIDTH - 4}" fill="none"/>'
        f'<text x="{LEFT - 4}" y="{base}" text-anchor="end">0</text>'
        f'<text x="{LEFT - 4}" y="14" text-anchor="end">{100 * most:.0f} %</text>'
        f'<text x="{LEFT + 6}" y="14">{escape(_("wrong answers"))}</text>'
        f'<text x="{CURVE_WIDTH - 6}" y="{base + 14}" text-anchor="end">'
        f"{escape(_('{n} labelled images').format(n=most_n))}</text>"
    )
    return Markup(  # noqa: S704 - numbers of ours and an escaped text
        f'<svg role="img" aria-label="{escape(alt)}" '
        f'viewBox="0 0 {CURVE_WIDTH:g} {CURVE_HEIGHT:g}">{axes}{dots}'
        f'<polyline class="mean" points="{line}"/>{marks}</svg>'
    )


STEP_HEIGHT, FOOT, TOP = 118.0, 30.0, 8.0
FEWEST_STEPS, MOST_LABELS = 8, 7


def counts_chart(points: Sequence[tuple[str, int, int]], *, most: int, alt: str) -> Markup:
    """Draw how many came in each step as bars, the part of them that was sent to review hatched.

    Args:
        points: Label, number, and part of it, oldest first.
        most: The number at the top; the charts of a page have the same.
        alt: The text alternative.
    """
    base, width = STEP_HEIGHT - FOOT, _step_width(len(points))
    parts = []
    for number, (label, n, part) in enumerate(points):
        x, high, low = _x(number, width), _y(n, most), _y(part, most)
        bar = round(width * 0.7, 2)
        title = f"<title>{escape(label)}: {n} ({part})</title>"
        parts.append(
            f'<g>{title}<rect class="all" x="{round(x - bar / 2, 2)}" y="{high}" width="{bar}" '
            f'height="{round(base - high, 2)}"/><rect class="part" x="{round(x - bar / 2, 2)}" '
            f'y="{low}" width="{bar}" height="{round(base - low, 2)}"/></g>'
        )
    return _steps_svg(parts, [label for label, _n, _part in points], str(most), alt)


def shares_chart(
    points: Sequence[tuple[str, int, int, float, float]], *, is_joined: bool, alt: str
) -> Markup:
    """Draw a share in each step as a dot with its interval, and the number it is of.

    Args:
        points: Label, number, of how many, lower and upper end of the share's interval; steps
            without any are left out.
        is_joined: The points follow one another and are joined by a line.
        alt: The text alternative.
    """
    if not any(n for _label, _k, n, _low, _high in points):
        return Markup()
    top = min(1.0, max(0.02, 1.3 * max(k / n for _label, k, n, _l, _h in points if n)))
    width, parts, line = _step_width(len(points)), [], []
    every = -(-len(points) // MOST_LABELS)
    for number, (label, k, n, low, high) in enumerate(points):
        if n:
            x, y = _x(number, width), _y(k / n, top)
            line.append(f"{x},{y}")
            of = f'<text class="of" x="{x}" y="{STEP_HEIGHT - 3}" text-anchor="middle">{n}</text>'
            title = f"{label}: {k} / {n} ({100 * low:.0f}–{100 * high:.0f} %)"
            parts.append(
                f'<g><title>{escape(title)}</title><path class="interval" '
                f'd="M{x} {_y(low, top)}V{_y(high, top)}"/><circle class="dot" cx="{x}" cy="{y}" '
                f'r="2.6"/>{of if number % every == 0 else ""}</g>'
            )
    if is_joined:
        parts.insert(0, f'<polyline class="mean" points="{" ".join(line)}"/>')
    return _steps_svg(parts, [point[0] for point in points], f"{100 * top:.0f} %", alt)


LONGEST_LABEL = 9


def _shorten(label: str) -> Markup:
    return escape(label if len(label) <= LONGEST_LABEL else f"{label[: LONGEST_LABEL - 1]}…")


def _step_width(n: int) -> float:
    return (CURVE_WIDTH - LEFT - 8) / max(FEWEST_STEPS, n)


def _x(number: int, width: float) -> float:
    return round(LEFT + width * (number + 0.5), 2)


def _y(value: float, most: float) -> float:
    room = STEP_HEIGHT - FOOT - TOP
    return round(STEP_HEIGHT - FOOT - room * min(1.0, value / most if most else 0.0), 2)


def _steps_svg(parts: Sequence[str], labels: Sequence[str], top: str, alt: str) -> Markup:
    base, width = STEP_HEIGHT - FOOT, _step_width(len(labels))
    every = -(-len(labels) // MOST_LABELS)
    marks = "".join(
        f'<text x="{_x(number, width)}" y="{base + 13}" text-anchor="middle">'
        f"{_shorten(label)}</text>"
        for number, label in enumerate(labels)
        if number % every == 0
    )
    axes = (
        f'<path class="axis" d="M{LEFT} {TOP}V{base}H{CURVE_WIDTH - 4}" fill="none"/>'
        f'<text x="{LEFT - 4}" y="{base}" text-anchor="end">0</text>'
        f'<text x="{LEFT - 4}" y="{TOP + 6}" text-anchor="end">{escape(top)}</text>{marks}'
    )
    return Markup(  # noqa: S704 - numbers of ours and escaped texts
        f'<svg class="steps" role="img" aria-label="{escape(alt)}" '
        f'viewBox="0 0 {CURVE_WIDTH:g} {STEP_HEIGHT:g}">{axes}{"".join(parts)}</svg>'
    )


# --- draw needle lengths as inline SVG on a logarithmic axis in µm --------------------------------
# Ink and lines have the page's colours; the same numbers give the same bytes.


NEEDLES_WIDTH, NAMES, RIGHT = 640.0, 128.0, 12.0
ROW, AXIS = 24.0, 34.0
SHORTEST_UM, LEAST_END_UM = 3.0, 40.0
TICKS_UM = (3, 5, 10, 20, 30, 50, 100, 200)
HISTOGRAM_HEIGHT = 150.0
NEEDLES_TOP = 22.0
LONGEST_FIELD_NAME = 18


def needle_fields_chart(bars: Sequence[NeedleBar], limit_um: float | None) -> Markup:
    """Draw fields next to each other: L50 to L90 as a bar, L99 as a tick, the longest as a dot.

    Args:
        bars: The fields, and all together last.
        limit_um: A limit of L90, a dashed line; None for none.

    Returns:
        Empty where no field was measured.
    """
    lengths = [bar.longest or bar.l99 or bar.l90 or 0.0 for bar in bars if bar.is_measured]
    if not lengths:
        return Markup()
    scale = _Scale(max(*lengths, limit_um or 0.0, LEAST_END_UM))
    height = NEEDLES_TOP + ROW * len(bars) + AXIS
    base = NEEDLES_TOP + ROW * len(bars)
    parts = [*_draw_axis(scale, NEEDLES_TOP, base)]
    for number, bar in enumerate(bars):
        parts += _draw_bar(bar, scale, NEEDLES_TOP + ROW * number)
    if limit_um is not None:
        parts.append(
            _draw_mark(scale.place(limit_um), NEEDLES_TOP, base, "var(--problem)", dashed=True)
        )
        parts.append(_text(scale.place(limit_um), NEEDLES_TOP - 8, _format_um(limit_um), "middle"))
    about = _(
        "Needle lengths per field on a logarithmic axis; the table next to it has the numbers."
    )
    return _wrap(parts, height, about)


def needle_lengths_chart(
    edges_um: Sequence[float],
    shares: Sequence[float],
    marks: Sequence[tuple[str, float]],
    limit_um: float | None,
) -> Markup:
    """Draw how the area of the needles is distributed over their lengths.

    Args:
        edges_um: Edges of the bins, one more than `shares`.
        shares: Share of the needles' area in each bin.
        marks: Names and places of vertical lines, such as ("L90", 21.5).
        limit_um: A limit of L90, a dashed line; None for none.

    Returns:
        Empty where nothing was measured.
    """
    largest = max(shares, default=0.0)
    if largest <= 0:
        return Markup()
    last = max(end for end, share in zip(edges_um[1:], shares, strict=True) if share > 0)
    scale = _Scale(max(last, limit_um or 0.0, LEAST_END_UM), left=20.0)
    base = NEEDLES_TOP + HISTOGRAM_HEIGHT
    parts = [*_draw_axis(scale, NEEDLES_TOP, base)]
    for start, end, share in zip(edges_um, edges_um[1:], shares, strict=False):
        if share > 0:
            x, tall = scale.place(start), HISTOGRAM_HEIGHT * share / largest
            parts.append(
                f'<rect x="{x:.1f}" y="{base - tall:.1f}" height="{tall:.1f}" '
                f'width="{max(scale.place(end) - x - 0.6, 0.6):.1f}" fill="var(--bar)"/>'
            )
    for name, um in marks:
        parts.append(_draw_mark(scale.place(um), NEEDLES_TOP, base, "var(--ink)"))
        parts.append(_text(scale.place(um), NEEDLES_TOP - 8, name, "middle"))
    if limit_um is not None:
        parts.append(
            _draw_mark(scale.place(limit_um), NEEDLES_TOP, base, "var(--problem)", dashed=True)
        )
        parts.append(
            _text(scale.place(limit_um) + 4, NEEDLES_TOP + 12, _format_um(limit_um), "start")
        )
    about = _("Share of the needles' area per length; lines: {marks}.").format(
        marks=", ".join(f"{name} {_format_um(um)}" for name, um in marks)
    )
    return _wrap(parts, base + AXIS, about)


class _Scale:
    """A logarithmic axis from the shortest counted needle on."""

    def __init__(self, end_um: float, left: float = NAMES) -> None:
        self.left, self._end = left, end_um * 1.1

    def place(self, um: float) -> float:
        """Return the x of a length."""
        inside = min(max(um, SHORTEST_UM), self._end)
        share = math.log(inside / SHORTEST_UM) / math.log(self._end / SHORTEST_UM)
        return self.left + (NEEDLES_WIDTH - RIGHT - self.left) * share

    def ticks(self) -> Iterator[int]:
        """Yield the lengths that are named."""
        yield from (um for um in TICKS_UM if um <= self._end)


def _draw_axis(scale: _Scale, top: float, base: float) -> Iterator[str]:
    for um in scale.ticks():
        x = scale.place(um)
        yield _draw_mark(x, top, base, "var(--line)")
        yield _text(x, base + 14, str(um), "middle")
    yield (
        f'<path d="M{scale.left:.1f} {base:.1f}H{NEEDLES_WIDTH - RIGHT:.1f}" stroke="var(--soft)" '
        'fill="none"/>'
    )
    yield _text(NEEDLES_WIDTH - RIGHT, base + 28, _("length, µm"), "end")


def _draw_bar(bar: NeedleBar, scale: _Scale, top: float) -> Iterator[str]:
    middle = top + ROW / 2
    yield _text(0, middle + 4, _shorten_name(bar.name), "start")
    if not bar.is_measured:
        yield _text(scale.left + 6, middle + 4, _("not measured"), "start")
        return
    start, end = scale.place(bar.l50 or 0.0), scale.place(bar.l90 or 0.0)
    yield (
        f'<rect x="{start:.1f}" y="{middle - 6:.1f}" width="{max(end - start, 1):.1f}" '
        'height="12" rx="2" fill="var(--bar)"/>'
    )
    if bar.low is not None and bar.high is not None:
        yield (
            f'<path d="M{scale.place(bar.low):.1f} {middle:.1f}H{scale.place(bar.high):.1f}" '
            'stroke="var(--ink)" stroke-width="2.5" fill="none"/>'
        )
    if bar.l99 is not None:
        yield _draw_mark(scale.place(bar.l99), middle - 6, middle + 6, "var(--ink)")
    if bar.longest is not None:
        yield (
            f'<circle cx="{scale.place(bar.longest):.1f}" cy="{middle:.1f}" r="3.2" '
            'fill="none" stroke="var(--ink)" stroke-width="1.4"/>'
        )


def _draw_mark(x: float, top: float, base: float, colour: str, *, dashed: bool = False) -> str:
    dash = ' stroke-dasharray="4 3"' if dashed else ""
    return (
        f'<path d="M{x:.1f} {top:.1f}V{base:.1f}" stroke="{colour}" stroke-width="1.4" '
        f'fill="none"{dash}/>'
    )


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="12" '
        f'fill="var(--soft)">{escape(words)}</text>'
    )


def _format_um(um: float) -> str:
    return _("{um} µm").format(um=decimal(um, ".3g"))


def _shorten_name(name: str) -> str:
    return name if len(name) <= LONGEST_FIELD_NAME else f"{name[: LONGEST_FIELD_NAME - 1]}…"


def _wrap(parts: Sequence[str], height: float, about: str) -> Markup:
    return Markup(  # noqa: S704 - numbers of ours and escaped texts
        f'<svg class="chart needles" role="img" aria-label="{escape(about)}" '
        f'viewBox="0 0 {NEEDLES_WIDTH:g} {height:g}" xmlns="http://www.w3.org/2000/svg">'
        f"{''.join(parts)}</svg>"
    )


# --- draw needle lengths of the program against people's, as inline SVG without matplotlib --------


PLOT_WIDTH, PLOT_HEIGHT = 640.0, 300.0
PLOT_LEFT, PLOT_RIGHT, PLOT_TOP, PLOT_BOTTOM = 46.0, 132.0, 22.0, 40.0
STEPS = (1, 2, 5)
RATIOS = (0.1, 0.2, 0.25, 0.33, 0.5, 0.67, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 10.0)
LEAST_GAP = 15.0
"""Smallest distance of two labels, in units of the drawing."""


class _PlotScale:
    """Logarithmic axes of a plot."""

    def __init__(self, plot: NeedlePlot) -> None:
        lengths = [length for length, _ratio, _agree in plot.points]
        ratios = [ratio for _length, ratio, _agree in plot.points]
        ratios += [*plot.lower, *plot.upper, 0.8, 1.25]
        self.low, self.high = min(lengths) / 1.1, max(lengths) * 1.1
        self.bottom, self.top = min(ratios) / 1.08, max(ratios) * 1.08

    def x(self, length_um: float) -> float:
        share = math.log(length_um / self.low) / math.log(self.high / self.low)
        return PLOT_LEFT + share * (PLOT_WIDTH - PLOT_LEFT - PLOT_RIGHT)

    def y(self, ratio: float) -> float:
        share = math.log(ratio / self.bottom) / math.log(self.top / self.bottom)
        return PLOT_HEIGHT - PLOT_BOTTOM - share * (PLOT_HEIGHT - PLOT_TOP - PLOT_BOTTOM)


def agreement_chart(plot: NeedlePlot) -> Markup:
    """Draw ratios over lengths, the mean ratio and both limits with their 95 % intervals."""
    scale = _PlotScale(plot)
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
        f'viewBox="0 0 {PLOT_WIDTH:g} {PLOT_HEIGHT:g}">{"".join(parts)}</svg>'
    )


def _draw_axes(scale: _PlotScale) -> Iterable[str]:
    floor, right = PLOT_HEIGHT - PLOT_BOTTOM, PLOT_WIDTH - PLOT_RIGHT
    yield f'<path class="axis" d="M{PLOT_LEFT:g} {PLOT_TOP:g}V{floor:g}H{right:g}"/>'
    for length in _list_steps(scale.low, scale.high):
        x = scale.x(length)
        yield f'<path class="axis" d="M{x:.1f} {floor:g}v4"/>'
        yield _plot_text(x, floor + 16, decimal(length, "g"), "middle")
    for ratio in RATIOS:
        if scale.bottom <= ratio <= scale.top:
            y = scale.y(ratio)
            kind = "even" if ratio == 1 else "grid"
            yield f'<path class="{kind}" d="M{PLOT_LEFT:g} {y:.1f}H{right:g}"/>'
            yield _plot_text(PLOT_LEFT - 6, y + 4, decimal(ratio, "g"), "end")
    middle = (PLOT_LEFT + right) / 2
    yield _plot_text(4, PLOT_TOP - 9, _("program / people"), "start")
    yield _plot_text(middle, PLOT_HEIGHT - 5, _("mean of both lengths, µm"), "middle")


def _draw_band(scale: _PlotScale, kind: str, value: float, low: float, high: float) -> str:
    top, height = scale.y(high), scale.y(low) - scale.y(high)
    width, right = PLOT_WIDTH - PLOT_LEFT - PLOT_RIGHT, PLOT_WIDTH - PLOT_RIGHT
    return (
        f'<rect class="band {kind}" x="{PLOT_LEFT:g}" y="{top:.1f}" width="{width:g}" '
        f'height="{height:.1f}"/>'
        f'<path class="{kind}" d="M{PLOT_LEFT:g} {scale.y(value):.1f}H{right:g}"/>'
    )


def _draw_labels(scale: _PlotScale, plot: NeedlePlot) -> Iterable[str]:
    texts = (
        (plot.upper[0], _("upper limit {ratio}")),
        (plot.bias[0], _("mean {ratio}")),
        (plot.lower[0], _("lower limit {ratio}")),
    )
    last = -LEAST_GAP
    for ratio, text in texts:
        last = max(scale.y(ratio) + 4, last + LEAST_GAP)
        yield _plot_text(
            PLOT_WIDTH - PLOT_RIGHT + 8, last, text.format(ratio=decimal(ratio, ".2f")), "start"
        )


def _list_steps(low: float, high: float) -> Iterable[float]:
    power = math.floor(math.log10(low))
    for exponent in range(power, math.ceil(math.log10(high)) + 1):
        for step in STEPS:
            length = step * 10.0**exponent
            if low <= length <= high:
                yield length


def _plot_text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
