"""Draw small figures of a live page as inline SVG: in microseconds, without matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING

from markupsafe import Markup, escape

from reports.i18n import gettext as _

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    points: Sequence[tuple[str, int, int, float, float]], *, is_joined: bool = True, alt: str
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
