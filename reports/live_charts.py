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
