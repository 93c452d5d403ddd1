"""Draw small figures of a live page as inline SVG: in microseconds, without matplotlib."""

from __future__ import annotations

from markupsafe import Markup, escape

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
