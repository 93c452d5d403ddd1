"""Draw a night's figures as inline SVG that fits into the page around it.

Text stays text in the page's own type, ink and lines have the page's colours (so a figure is
right in the dark and on paper), and nothing depends on the clock: the same facts, the same bytes.
"""

from __future__ import annotations

import io
import re
import warnings
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from reports.i18n import decimal
from reports.i18n import gettext as _

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from reports.content.night import ControlTrend, Counts


# Stand-ins that matplotlib carries through; the page's own colours take their place.
INK, LINE, AUTOMATIC, REVIEW, ALARM = "#010101", "#020202", "#030303", "#040404", "#050505"
PAGE_COLOURS = {
    INK: "var(--soft)",
    LINE: "var(--line)",
    AUTOMATIC: "var(--bar)",
    REVIEW: "var(--bar-review)",
    ALARM: "var(--problem)",
}
LONGEST_NAME = 14
LEAST_P_VALUES = 20
"""Fewer p-values make no readable profile."""


def codes_chart(codes: Sequence[Counts]) -> Markup:
    """Draw how many micrographs came per structure code, review hatched."""
    if not codes:
        return Markup()
    names = [_drawable(code) for code, _automatic, _review in codes]
    automatic, review = [c[1] for c in codes], [c[2] for c in codes]
    totals = [c[1] + c[2] for c in codes]
    figure, axes = _canvas(7.2, 0.62 + 0.3 * len(codes))
    rows = range(len(codes))
    axes.barh(rows, automatic, height=0.62, color=AUTOMATIC)
    axes.barh(rows, review, height=0.62, left=automatic, color=REVIEW, hatch="////", edgecolor=LINE)
    for row, total in enumerate(totals):
        axes.annotate(str(total), (total, row), (4, 0), textcoords="offset points", va="center")
    axes.set_yticks(rows, names)
    axes.invert_yaxis()
    _whole_numbers(axes, "x", max(totals))
    axes.set_xlabel(_("micrographs"))
    axes.grid(axis="x", color=LINE)
    return _svg(
        figure, "codes", _("Micrographs per structure code; the table next to it has the numbers.")
    )


def hours_chart(hours: Sequence[Counts]) -> Markup:
    """Draw how many micrographs came per hour, review hatched."""
    if not any(hour[1] + hour[2] for hour in hours):
        return Markup()
    figure, axes = _canvas(7.2, 2.1)
    at = list(range(len(hours)))
    automatic, review = [h[1] for h in hours], [h[2] for h in hours]
    axes.bar(at, automatic, width=0.78, color=AUTOMATIC)
    axes.bar(at, review, width=0.78, bottom=automatic, color=REVIEW, hatch="////", edgecolor=LINE)
    step = max(1, len(hours) // 8)
    axes.set_xticks(at[::step], [_drawable(hour[0]) for hour in hours][::step])
    _whole_numbers(axes, "y", max(h[1] + h[2] for h in hours))
    axes.set_ylabel(_("micrographs"))
    axes.grid(axis="y", color=LINE)
    return _svg(figure, "hours", _("Micrographs per hour of the night, local time."))


def strangeness_chart(p_values: Sequence[float], alpha: float) -> Markup:
    """Draw the profile of p-values: flat for ordinary ones, a heap at the left for unusual ones."""
    if len(p_values) < LEAST_P_VALUES:
        return Markup()
    figure, axes = _canvas(7.2, 2.1)
    edges = [step / 20 for step in range(21)]
    axes.hist(p_values, edges, color=AUTOMATIC, rwidth=0.9)
    axes.axhline(len(p_values) / 20, color=INK, linestyle=(0, (4, 3)), linewidth=1)
    axes.axvline(alpha, color=ALARM, linewidth=1.4)
    axes.set_xlim(0, 1)
    axes.set_xlabel(_("p-value (left: more unusual)"))
    axes.xaxis.set_major_formatter(lambda p, _at: decimal(p, ".1f"))
    axes.set_ylabel(_("micrographs"))
    axes.grid(axis="y", color=LINE)
    return _svg(
        figure,
        "strangeness",
        _(
            "Profile of {n} p-values; dashed: what known micrographs give; "
            "line: alarm level {alpha}."
        ).format(n=len(p_values), alpha=decimal(alpha, "g")),
    )


def control_chart(trend: ControlTrend) -> Markup:
    """Draw a measure over the nights, the usual value dashed, the limits drawn, alarms crossed."""
    if not trend.points:
        return Markup()
    figure, axes = _canvas(7.2, 1.9)
    at = list(range(len(trend.points)))
    values = [value for _label, value in trend.points]
    has_limits = trend.low < trend.high
    beyond = [x for x in at if has_limits and not trend.low <= values[x] <= trend.high]
    if has_limits:
        axes.axhline(trend.usual, color=INK, linestyle=(0, (4, 3)), linewidth=1)
        axes.axhline(trend.low, color=ALARM, linewidth=1.2)
        axes.axhline(trend.high, color=ALARM, linewidth=1.2)
    else:
        axes.set_xlim(-0.5, max(9.5, len(at) - 0.5))
    axes.plot(at, values, color=AUTOMATIC, marker="o", markersize=3, linewidth=1.2, clip_on=False)
    axes.plot(beyond, [values[x] for x in beyond], "x", color=ALARM, markersize=8)
    step = max(1, len(at) // 8)
    axes.set_xticks(at[::step], [_drawable(label) for label, _value in trend.points][::step])
    axes.yaxis.set_major_formatter(lambda value, _at: decimal(value, ".3g"))
    axes.grid(axis="y", color=LINE)
    name = "control-" + re.sub(r"[^a-z0-9]+", "-", trend.title.lower())
    text = (
        _("{title}, oldest first; dashed: usual; lines: limits.")
        if has_limits
        else _("{title}, oldest first; no limits yet.")
    )
    return _svg(figure, name, text.format(title=trend.title))


MOST_OF_A_CELL = 0.86
"""Diameter of the circle of all ratings of an image, as a share of a cell's side."""
CELL_PT = 24.0


def ratings_chart(images: Sequence[Any], codes: Sequence[str], raters: int) -> Markup:
    """Draw the ratings of each image, as in the paper's Figure 5.

    Right answers are circles, wrong ones squares of another colour, with an area in the ratio of
    their number; a frame marks the reference, a ring the majority's code, a cross the model's.

    Args:
        images: Results of the images, in the order of the columns.
        codes: In the order of the rows, from the bottom.
        raters: So many ratings make the largest circle.
    """
    if not images or not codes:
        return Markup()
    width, height = len(images) * CELL_PT / 72 + 0.8, len(codes) * CELL_PT / 72 + 0.75
    figure, axes = _canvas(width, height)
    side = CELL_PT * MOST_OF_A_CELL
    rows = {code: at for at, code in enumerate(codes)}
    for x, image in enumerate(images):
        if image.reference in rows:
            axes.add_patch(_frame(x, rows[image.reference]))
        for code, n in image.votes.items():
            right = code == image.reference
            area = side**2 * n / max(1, raters)
            colour = AUTOMATIC if right else REVIEW
            axes.scatter(x, rows[code], s=area, marker="o" if right else "s", color=colour)
        if image.majority in rows:
            axes.scatter(
                x, rows[image.majority], s=side**2, marker="o", facecolor="none", edgecolor=INK,
                linewidth=0.9, linestyle=(0, (2, 1.5)),
            )  # fmt: skip
        if image.model in rows:
            axes.scatter(x, rows[image.model], s=36, marker="x", color=ALARM, linewidth=1.6)
    axes.set_xticks(range(len(images)), [str(image.number) for image in images])
    axes.set_yticks(range(len(codes)), [_drawable(code) for code in codes])
    axes.set_xlim(-0.6, len(images) - 0.4)
    axes.set_ylim(-0.6, len(codes) - 0.4)
    axes.set_xlabel(_("micrograph"))
    axes.grid(color=LINE, linewidth=0.5)
    about = _(
        "Ratings of {images} micrographs by {raters} raters; the table below has the numbers."
    )
    return _svg(figure, "ratings", about.format(raters=raters, images=len(images)))


def _frame(x: float, y: float) -> Any:
    from matplotlib.patches import Rectangle  # noqa: PLC0415

    return Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, edgecolor=INK, linewidth=1.2)


def _canvas(width_in: float, height_in: float) -> tuple[Figure, Axes]:
    # Heavy, and no page of the review needs it. Without pyplot there is no state to share.
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(LINE)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    return figure, axes


def _drawable(name: str) -> str:
    # matplotlib measures with another font; the table next to the figure has the whole name.
    shown = "".join(
        letter if letter.isprintable() and letter < "\u0250" else "?" for letter in name
    )
    short = shown if len(shown) <= LONGEST_NAME else f"{shown[: LONGEST_NAME - 1]}…"
    return short.replace("$", r"\$")  # else two of them would begin a formula


def _whole_numbers(axes: Axes, which: str, largest: int) -> None:
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415

    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(MaxNLocator(6, integer=True))
    limit = (0, max(1, largest) * 1.12)
    axes.set_xlim(limit) if which == "x" else axes.set_ylim(limit)


def _svg(figure: Figure, name: str, description: str) -> Markup:
    import matplotlib as mpl  # noqa: PLC0415

    buffer = io.BytesIO()
    with mpl.rc_context(
        {
            "svg.fonttype": "none",
            "svg.hashsalt": name,
            "hatch.linewidth": 0.8,
        }
    ):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return Markup(_clean_svg(buffer.getvalue().decode("utf-8"), name, description))  # noqa: S704 - all text in it was escaped by matplotlib or below


def _clean_svg(svg: str, name: str, description: str) -> str:
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    # Its style sheet would reach the whole page.
    body = re.sub(r"<style[^>]*>.*?</style>", "", body, flags=re.DOTALL)
    body = re.sub(r"<!--.*?-->\s*", "", body, flags=re.DOTALL)
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r"url\(#", f"url(#{name}-", body)
    body = re.sub(r'href="#', f'href="#{name}-', body)
    body = re.sub(r"font:[^;\"]*;?|font-family:[^;\"]*;?|font-size:[^;\"]*;?", "", body)
    for stand_in, colour in PAGE_COLOURS.items():
        body = body.replace(stand_in, colour)
    box = re.findall(r'viewBox="([^"]*)"', body)[0]
    head = (
        f'<svg class="chart" role="img" aria-label="{escape(description)}" '
        f'viewBox="{box}" xmlns="http://www.w3.org/2000/svg" '
        'xmlns:xlink="http://www.w3.org/1999/xlink">'
    )
    return head + body[body.index(">") + 1 :].strip()


# --- draw how a bundle was trained and tested, as SVG that works alone or inside a page -----------
# Confusion matrices are as in the paper: rows predicted, columns true, each cell with its count
# and its share of the column. Nothing depends on the clock: the same facts, the same bytes.


_BLUE, _ORANGE, _INK = "#1d3a52", "#c8500a", "#222222"
_PALE_UP_TO = 0.55
"""Share of a column up to which dark ink is read on its colour."""


def confusion_svg(
    classes: Sequence[str],
    rows_predicted: Sequence[Sequence[int]],
    title: str,
    what: str = "structure code",
) -> str:
    """Draw a confusion matrix as in the paper's Figures 3 and 4.

    Args:
        classes: Structure codes, subtypes or sizes, in their order.
        rows_predicted: (k, k) counts, one row per predicted class, one column per true class.
        title: Above the matrix.
        what: What the classes are.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 - heavy, and no other page needs it

    side = 1.6 + 0.72 * max(3, len(classes))
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot()
    totals = [sum(row[at] for row in rows_predicted) for at in range(len(classes))]
    shares = [
        [count / total if total else 0.0 for count, total in zip(row, totals, strict=True)]
        for row in rows_predicted
    ]
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for y, row in enumerate(rows_predicted):
        for x, count in enumerate(row):
            if count:
                ink = _INK if shares[y][x] <= _PALE_UP_TO else "white"
                text = f"{count}\n{100 * shares[y][x]:.0f} %"
                axes.text(x, y, text, ha="center", va="center", color=ink, fontsize=9)
    classes, title = [_plain(name) for name in classes], _plain(title)
    names = [f"{name}\nn = {total}" for name, total in zip(classes, totals, strict=True)]
    axes.set_xticks(range(len(classes)), names, fontsize=9)
    axes.set_yticks(range(len(classes)), classes, fontsize=9)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.set_xlabel(f"true {what}")
    axes.set_ylabel(f"predicted {what}")
    axes.set_title(title, fontsize=11)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return _export_svg(figure, f"confusion {title}", f"{title}: rows predicted, columns true.")


def curves_svg(epochs: Sequence[Mapping[str, float]], title: str) -> str:
    """Draw the losses of one network's training, and which epoch was kept.

    Args:
        epochs: Each with "number", "loss", "validation_loss", "validation_accuracy" and "best".
        title: Above the curves.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 - as above
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415

    figure = Figure(figsize=(7.2, 3.0), layout="constrained")
    losses, right = figure.subplots(1, 2)
    numbers = [epoch["number"] for epoch in epochs]
    losses.plot(numbers, [e["loss"] for e in epochs], color=_BLUE, label="training")
    validation = [e["validation_loss"] for e in epochs]
    losses.plot(numbers, validation, color=_ORANGE, linestyle="--", label="validation")
    losses.set_ylabel("loss")
    losses.set_ylim(bottom=0)
    losses.legend(frameon=False)
    shares = [100 * e["validation_accuracy"] for e in epochs]
    right.plot(numbers, shares, color=_ORANGE, linestyle="--")
    right.set_ylabel("validation answers right, %")
    right.set_ylim(0, 101)
    kept = [epoch["number"] for epoch in epochs if epoch["best"]]
    for axes in (losses, right):
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
        if kept:
            axes.axvline(kept[-1], color=_INK, linewidth=0.8, linestyle=":")
    figure.suptitle(f"{_plain(title)} (dotted: the epoch that was kept)", fontsize=11)
    return _export_svg(
        figure, f"curves {title}", f"Training and validation loss of {title} per epoch."
    )


def _plain(text: str) -> str:
    """Escape a text so that matplotlib does not read it as a formula."""
    return text.replace("$", r"\$")


def _export_svg(figure: Figure, salt: str, description: str) -> str:
    import matplotlib as mpl  # noqa: PLC0415

    buffer = io.BytesIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt}), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a letter that matplotlib's font lacks stays a letter
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Title": description})
    text = buffer.getvalue().decode("utf-8")
    body = text[text.index("<svg") :]
    # Its style sheet would reach the whole page around it.
    return re.sub(r"<style[^>]*>.*?</style>", "", body, flags=re.DOTALL).strip() + "\n"
