"""Say what experiments found: the paper's tables and figures, ours, and the paired tests.

In:  `Result`s of rows that were tested on the same images. Out: tables whose every cell is as it
is read, Markdown, JSON. Next: `agent experiments` writes them, as a page too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from model.statistics import max_loss, mcnemar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PAPER_TABLE_2 = {
    "ResNet-18 global (fw)": 0.7608,
    "ResNet-18 2S (fw)": 0.8006,
    "ResNet-18 global": 0.9018,
    "ResNet-18 2S": 0.9049,
    "ResNet-50 global": 0.8773,
    "ResNet-50 2S": 0.8898,
}
"""Accuracy on 326 test images of steel; Durmaz et al. 2023, arXiv 2306.00797, Table 2."""


REFERENCE = "ResNet-18 2S"
"""The paper's best row, with which every other one is compared."""

LEAST_P = 0.001
"""Smaller chances are not told apart."""

COMPARED_WITH = {"framing": "mirror", "imbalance": "oversampling"}
"""Table of a comparison → what the paper's best row is in it."""


@dataclass(frozen=True, slots=True)
class Result:
    """How one row did.

    Args:
        table, name: As in `Row`.
        right: Test image → whether its code was right.
        numbers: `Evaluation.as_json()`.
        again: The accuracy on every split, this one first, where there are several.
        notes: What was noted while it was taught: weights that were not at hand, a test too easy.
    """

    table: str
    name: str
    right: dict[str, bool]
    numbers: dict[str, Any]
    again: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def accuracy(self) -> float:
        """Share of the test images with the right code."""
        return float(np.mean(list(self.right.values())))


def as_json(results: Sequence[Result]) -> dict[str, Any]:
    """Give everything that was found, with paired tests between neighbouring rows."""
    return {
        "rows": [
            {
                "table": result.table,
                "name": result.name,
                "paper": PAPER_TABLE_2.get(result.name) if result.table == "table 2" else None,
                "accuracy_per_split": list(result.again),
                "notes": list(result.notes),
                **result.numbers,
            }
            for result in results
        ],
        "pairs": [
            {"first": a.name, "second": b.name, **compare_results(a, b)} for a, b in _pairs(results)
        ],
    }


def compare_results(first: Result, second: Result) -> dict[str, Any]:
    """Compare two rows image by image.

    Returns:
        "n", how often "only_first" and "only_second" was right, the exact p-value "p" of McNemar,
        the "gain" of the second in shares of the images, and "most_lost", the one-sided upper 95 %
        limit of what it loses.
    """
    common = first.right.keys() & second.right.keys()
    only_first = sum(first.right[k] and not second.right[k] for k in common)
    only_second = sum(second.right[k] and not first.right[k] for k in common)
    return {
        "n": len(common),
        "only_first": only_first,
        "only_second": only_second,
        "p": mcnemar(only_first, only_second),
        "gain": (only_second - only_first) / len(common) if common else None,
        "most_lost": max_loss(only_first, only_second, len(common)),
    }


@dataclass(frozen=True, slots=True)
class Table:
    """What one table of the page says, every cell as it is read.

    Args:
        title: As in the paper where it is the paper's.
        columns: What stands above each column.
        rows: One tuple of cells per row.
        result: The row whose confusion matrix this is, or None.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    result: Result | None = None


def tables(results: Sequence[Result]) -> list[Table]:
    """Say everything that was found: the paper's tables and figures, ours, and the paired tests."""
    reference = [result for result in results if result.name == REFERENCE]
    found = [
        _accuracies(
            table,
            (reference if table in COMPARED_WITH else [])
            + [result for result in results if result.table == table],
        )
        for table in dict.fromkeys(result.table for result in results)
    ]
    stages = [r for r in results if r.table == "table 2" and "2S" in r.name and "fw" not in r.name]
    if stages:
        found.append(_per_stage(stages))
    found += [_matrix(r) for r in results if r.name in ("ResNet-18 global", "ResNet-18 2S")]
    if pairs := _pairs(results):
        found.append(_tests(pairs))
    if any(result.again for result in results):
        found.append(_repeated([result for result in results if result.again]))
    return found


def as_markdown(results: Sequence[Result], sentences: Sequence[str] = ()) -> str:
    """Write the tables and matrices as a page that can be read as it is.

    Args:
        results: What was found.
        sentences: What has to be known before the numbers are read.
    """
    parts = ["# Experiments", "", *(line for said in sentences for line in (said, ""))]
    for table in tables(results):
        lines = [table.columns, ("---",) * len(table.columns), *table.rows]
        parts += [f"## {table.title}", "", *("| " + " | ".join(line) + " |" for line in lines), ""]
    return "\n".join(parts)


# ------------------------------------------------------------------ writing


def _accuracies(table: str, results: Sequence[Result]) -> Table:
    columns = ["row", "right", "accuracy (95 %)", "macro-F1 (95 %)", "within one size (95 %)"]
    columns += ["paper"] * any(result.table == table == "table 2" for result in results)
    rows = []
    for result in results:
        numbers = result.numbers
        paper = PAPER_TABLE_2.get(result.name) if result.table == "table 2" else None
        rows.append(
            (
                result.name if result.table == table else f"{COMPARED_WITH[table]} ({REFERENCE})",
                f"{sum(result.right.values())} of {numbers['n']}",
                _with_interval(numbers["accuracy"]),
                _with_interval(numbers["macro_f1"]),
                _with_interval(numbers["within_one_size"]),
                _percent(paper) if paper else "",
            )[: len(columns)]
        )
    return Table(table.capitalize(), tuple(columns), tuple(rows))


def _per_stage(results: Sequence[Result]) -> Table:
    subtypes = list(results[0].numbers["per_stage"]["size"])
    rows = []
    for result in results:
        stages = result.numbers["per_stage"]
        shares = [stages["subtype"], *(stages["size"][s] for s in subtypes)]
        rows.append((result.name, *map(_with_interval, shares)))
    columns = ("row", "subtype", *(f"size {s}" for s in subtypes))
    return Table("Table 3: accuracy per stage (95 %)", columns, tuple(rows))


def _matrix(result: Result) -> Table:
    """Write a confusion matrix as the paper does: rows predicted, columns true, column per cent."""
    codes = result.numbers["confusion"]["codes"]
    counts = np.array(result.numbers["confusion"]["rows_predicted"])
    totals = counts.sum(axis=0)
    rows = []
    for code, row in zip(codes, counts, strict=True):
        cells = [
            f"{n} ({100 * n / total:.0f} %)" if n else "0"
            for n, total in zip(row, totals, strict=True)
        ]
        rows.append((code, *cells))
    figure = "3" if "global" in result.name else "4"
    columns = ("predicted \\ true", *codes)
    return Table(f"Figure {figure}: {result.name}", columns, tuple(rows), result)


def _tests(pairs: Sequence[tuple[Result, Result]]) -> Table:
    columns = (
        "first",
        "second",
        "only first",
        "only second",
        "McNemar p",
        "gain",
        "loses at most (95 %)",
    )
    rows = []
    for first, second in pairs:
        found = compare_results(first, second)
        rows.append(
            (
                first.name,
                second.name,
                str(found["only_first"]),
                str(found["only_second"]),
                f"{found['p']:.3f}" if found["p"] >= LEAST_P else f"< {LEAST_P}",
                _points(found["gain"]),
                _points(found["most_lost"]),
            )
        )
    title = "Pairs of rows: images that only one has right, and what the second gains by them"
    return Table(title, columns, tuple(rows))


def _repeated(results: Sequence[Result]) -> Table:
    """Say how much of a row's accuracy is the luck of the split."""
    columns = ("row", "splits", "mean", "standard deviation", "lowest", "highest")
    rows = [
        (
            result.name,
            str(len(result.again)),
            _percent(float(np.mean(result.again))),
            f"{100 * np.std(result.again, ddof=1):.1f} points",
            _percent(min(result.again)),
            _percent(max(result.again)),
        )
        for result in results
    ]
    return Table("Accuracy on other splits of the same images", columns, tuple(rows))


def _pairs(results: Sequence[Result]) -> list[tuple[Result, Result]]:
    """Pair the schemes of one network, and every other row with the two-stage ResNet-18."""
    by_name = {result.name: result for result in results}
    paired = [
        (by_name[name], by_name[name.replace("global", "2S")])
        for name in by_name
        if "global" in name and name.replace("global", "2S") in by_name
    ]
    lite = [by_name.get(f"EfficientNet-Lite0 {kind} (fw), scale") for kind in ("2S", "multi-head")]
    if lite[0] is not None and lite[1] is not None:
        paired.append((lite[0], lite[1]))
    reference = by_name.get(REFERENCE)
    if reference is not None:
        paired += [(reference, result) for result in results if result.table != "table 2"]
    return paired


def _with_interval(share: Mapping[str, float | None]) -> str:
    value, low, high = share["value"], share["low"], share["high"]
    if value is None or low is None or high is None:
        return "–"
    return f"{_percent(value)} ({100 * low:.1f} to {_percent(high)})"


def _points(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:+.1f} points"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"
