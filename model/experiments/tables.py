"""Format experiment results: the paper's tables and figures, ours, and paired tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from model.statistics import max_loss, mcnemar

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
"""The paper's best row; every other row is compared with it."""

LEAST_P = 0.001
"""Smaller p-values are not distinguished."""

COMPARED_WITH = {"framing": "mirror", "imbalance": "oversampling"}
"""Table of a comparison → label of the paper's best row in it."""


@dataclass(frozen=True, slots=True)
class RowResult:
    """Result of one row.

    Args:
        table: As in `ExperimentRow`.
        name: As in `ExperimentRow`.
        right: Key of a test image → whether its code is correct.
        numbers: `Evaluation.as_json()`.
        again: Accuracy on every split, the first one first, where there are several.
        notes: Notes of the training, such as missing weights or an easy test set.
    """

    table: str
    name: str
    right: dict[str, bool]
    numbers: dict[str, Any]
    again: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def accuracy(self) -> float:
        """Share of the test images with the correct code."""
        return float(np.mean(list(self.right.values())))


def as_json(results: Sequence[RowResult]) -> dict[str, Any]:
    """Return all results as JSON, with paired tests between related rows."""
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
            {"first": first.name, "second": second.name, **compare_results(first, second)}
            for first, second in _list_pairs(results)
        ],
    }


def compare_results(first: RowResult, second: RowResult) -> dict[str, Any]:
    """Compare two rows image by image.

    Returns:
        "n", the counts "only_first" and "only_second" correct, McNemar's exact p-value "p", the
        "gain" of the second as a share of the images, and "most_lost", the one-sided upper 95 %
        limit of its loss.
    """
    common = first.right.keys() & second.right.keys()
    only_first = sum(first.right[key] and not second.right[key] for key in common)
    only_second = sum(second.right[key] and not first.right[key] for key in common)
    return {
        "n": len(common),
        "only_first": only_first,
        "only_second": only_second,
        "p": mcnemar(only_first, only_second),
        "gain": (only_second - only_first) / len(common) if common else None,
        "most_lost": max_loss(only_first, only_second, len(common)),
    }


@dataclass(frozen=True, slots=True)
class ResultTable:
    """One table of the page, every cell as formatted text.

    Args:
        title: The paper's title where the table is from the paper.
        columns: Column headers.
        rows: One tuple of cells per row.
        result: The row whose confusion matrix this is, or None.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    result: RowResult | None = None


def build_tables(results: Sequence[RowResult]) -> list[ResultTable]:
    """Build the paper's tables and figures, ours, and the paired tests."""
    reference = [result for result in results if result.name == REFERENCE]
    tables = [
        _build_accuracy_table(
            table,
            (reference if table in COMPARED_WITH else [])
            + [result for result in results if result.table == table],
        )
        for table in dict.fromkeys(result.table for result in results)
    ]
    stages = [
        result
        for result in results
        if result.table == "table 2" and "2S" in result.name and "fw" not in result.name
    ]
    if stages:
        tables.append(_build_stage_table(stages))
    tables += [
        _build_confusion_table(result)
        for result in results
        if result.name in ("ResNet-18 global", "ResNet-18 2S")
    ]
    if pairs := _list_pairs(results):
        tables.append(_build_pair_table(pairs))
    if any(result.again for result in results):
        tables.append(_build_split_table([result for result in results if result.again]))
    return tables


def as_markdown(results: Sequence[RowResult], sentences: Sequence[str] = ()) -> str:
    """Format the tables and matrices as a Markdown page.

    Args:
        results: Results of the rows.
        sentences: Introduction.
    """
    parts = ["# Experiments", "", *(line for sentence in sentences for line in (sentence, ""))]
    for table in build_tables(results):
        lines = [table.columns, ("---",) * len(table.columns), *table.rows]
        parts += [f"## {table.title}", "", *("| " + " | ".join(line) + " |" for line in lines), ""]
    return "\n".join(parts)


# ------------------------------------------------------------------ tables


def _build_accuracy_table(table: str, results: Sequence[RowResult]) -> ResultTable:
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
                _format_interval(numbers["accuracy"]),
                _format_interval(numbers["macro_f1"]),
                _format_interval(numbers["within_one_size"]),
                _format_percent(paper) if paper else "",
            )[: len(columns)]
        )
    return ResultTable(table.capitalize(), tuple(columns), tuple(rows))


def _build_stage_table(results: Sequence[RowResult]) -> ResultTable:
    subtypes = list(results[0].numbers["per_stage"]["size"])
    rows = []
    for result in results:
        stages = result.numbers["per_stage"]
        shares = [stages["subtype"], *(stages["size"][subtype] for subtype in subtypes)]
        rows.append((result.name, *map(_format_interval, shares)))
    columns = ("row", "subtype", *(f"size {subtype}" for subtype in subtypes))
    return ResultTable("Table 3: accuracy per stage (95 %)", columns, tuple(rows))


def _build_confusion_table(result: RowResult) -> ResultTable:
    """Build a confusion matrix as in the paper: rows predicted, columns true, % of the column."""
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
    return ResultTable(f"Figure {figure}: {result.name}", columns, tuple(rows), result)


def _build_pair_table(pairs: Sequence[tuple[RowResult, RowResult]]) -> ResultTable:
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
        comparison = compare_results(first, second)
        rows.append(
            (
                first.name,
                second.name,
                str(comparison["only_first"]),
                str(comparison["only_second"]),
                f"{comparison['p']:.3f}" if comparison["p"] >= LEAST_P else f"< {LEAST_P}",
                _format_points(comparison["gain"]),
                _format_points(comparison["most_lost"]),
            )
        )
    title = "Pairs of rows: images that only one has right, and what the second gains by them"
    return ResultTable(title, columns, tuple(rows))


def _build_split_table(results: Sequence[RowResult]) -> ResultTable:
    """Build a table of the variation of the accuracy over splits."""
    columns = ("row", "splits", "mean", "standard deviation", "lowest", "highest")
    rows = [
        (
            result.name,
            str(len(result.again)),
            _format_percent(float(np.mean(result.again))),
            f"{100 * np.std(result.again, ddof=1):.1f} points",
            _format_percent(min(result.again)),
            _format_percent(max(result.again)),
        )
        for result in results
    ]
    return ResultTable("Accuracy on other splits of the same images", columns, tuple(rows))


def _list_pairs(results: Sequence[RowResult]) -> list[tuple[RowResult, RowResult]]:
    """Return pairs of the schemes of a network, and of every other row with the reference."""
    by_name = {result.name: result for result in results}
    pairs = [
        (by_name[name], by_name[name.replace("global", "2S")])
        for name in by_name
        if "global" in name and name.replace("global", "2S") in by_name
    ]
    frozen = [
        by_name.get(f"EfficientNet-Lite0 {kind} (fw), scale") for kind in ("2S", "multi-head")
    ]
    if frozen[0] is not None and frozen[1] is not None:
        pairs.append((frozen[0], frozen[1]))
    reference = by_name.get(REFERENCE)
    if reference is not None:
        pairs += [(reference, result) for result in results if result.table != "table 2"]
    return pairs


def _format_interval(share: Mapping[str, float | None]) -> str:
    value, low, high = share["value"], share["low"], share["high"]
    if value is None or low is None or high is None:
        return "–"
    return f"{_format_percent(value)} ({100 * low:.1f} to {_format_percent(high)})"


def _format_points(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:+.1f} points"


def _format_percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"
