"""Draw how a bundle was trained and tested, as SVG that works alone or inside a page.

Confusion matrices are as in the paper: rows predicted, columns true, each cell with its count and
its share of the column. Nothing depends on the clock: the same facts, the same bytes.
"""

from __future__ import annotations

import io
import re
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.figure import Figure

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
    return _svg(figure, f"confusion {title}", f"{title}: rows predicted, columns true.")


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
    return _svg(figure, f"curves {title}", f"Training and validation loss of {title} per epoch.")


def _plain(text: str) -> str:
    """Escape a text so that matplotlib does not read it as a formula."""
    return text.replace("$", r"\$")


def _svg(figure: Figure, salt: str, description: str) -> str:
    import matplotlib as mpl  # noqa: PLC0415

    buffer = io.BytesIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt}), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a letter that matplotlib's font lacks stays a letter
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Title": description})
    text = buffer.getvalue().decode("utf-8")
    body = text[text.index("<svg") :]
    # Its style sheet would reach the whole page around it.
    return re.sub(r"<style[^>]*>.*?</style>", "", body, flags=re.DOTALL).strip() + "\n"
