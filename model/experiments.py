"""Repeat the paper's experiments on a lab's own images, with intervals.

In:  `Example`s and a `Plan`. Out: the rows of Tables 2 and 3 and the matrices of Figures 3 and 4.
Next: `agent experiments` prints them. Every row is trained on the same split and tested on the
same images, so two rows are compared image by image (McNemar); a finished row is kept, so an
interrupted run goes on with the next one.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from model.classify import Classifier
from model.dataset import accepted
from model.errors import ModelError
from model.frame import Field, resampled
from model.intervals import mcnemar, most_lost
from model.metrics import evaluate
from model.training import train

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from model.dataset import Example
    from model.plan import Plan
    from model.strangeness import Known
    from model.training import Progress

QUICK_PX = 320
"""Longest side of a field in a quick run."""

_ORDINARY = 60

PAPER_TABLE_2 = {
    "ResNet-18 global (fw)": 0.7608,
    "ResNet-18 2S (fw)": 0.8006,
    "ResNet-18 global": 0.9018,
    "ResNet-18 2S": 0.9049,
    "ResNet-50 global": 0.8773,
    "ResNet-50 2S": 0.8898,
}
"""Accuracy on 326 test images of steel; Durmaz et al. 2023, arXiv 2306.00797, Table 2."""


@dataclass(frozen=True, slots=True)
class Row:
    """One configuration of a table.

    Args:
        table: "table 2", "framing", "imbalance" or "ours".
        name: As in the paper where it is the paper's.
        plan: How it is taught.
    """

    table: str
    name: str
    plan: Plan


@dataclass(frozen=True, slots=True)
class Result:
    """How one row did.

    Args:
        table, name: As in `Row`.
        right: Test image → whether its code was right.
        numbers: `Evaluation.as_json()`.
    """

    table: str
    name: str
    right: dict[str, bool]
    numbers: dict[str, Any]

    @property
    def accuracy(self) -> float:
        """Share of the test images with the right code."""
        return float(np.mean(list(self.right.values())))


def rows(base: Plan) -> tuple[Row, ...]:
    """List what is trained: the paper's six, its two comparisons, and ours.

    Args:
        base: Epochs, batch, frame, seed, weights and taxonomy of every row.
    """

    def plan(**changes: Any) -> Plan:
        return replace(base, **changes)

    as_paper = plan(framing="mirror", schedule="step", start="random")
    paper = [
        Row(
            "table 2",
            f"ResNet-{depth} {'2S' if scheme == 'two-stage' else 'global'}{' (fw)' * frozen}",
            replace(as_paper, arch=f"resnet{depth}", scheme=scheme, frozen=frozen),
        )
        for depth, frozen in ((18, True), (18, False), (50, False))
        for scheme in ("global", "two-stage")
    ]
    two_stage = replace(as_paper, arch="resnet18", scheme="two-stage", frozen=False)
    compared = [
        Row("framing", "resize", replace(two_stage, framing="resize")),
        Row("framing", "tile", replace(two_stage, framing="tile", frame_px=_tile(base.frame_px))),
        Row("framing", "scale", replace(two_stage, framing="scale")),
        Row("imbalance", "weighted cross-entropy", replace(two_stage, imbalance="weighted")),
        Row("imbalance", "square root", replace(two_stage, imbalance="sqrt")),
    ]
    lite = plan(arch="efficientnet-lite0", frozen=True, framing="scale", weights=None)
    ours = [
        Row("ours", "ResNet-18 multi-head", replace(two_stage, scheme="multi-head")),
        Row(
            "ours",
            "ResNet-18 multi-head, ordinal, scale, our schedule",
            plan(
                arch="resnet18",
                scheme="multi-head",
                frozen=False,
                loss="ordinal",
                framing="scale",
                schedule="cosine",
                start="probe",
            ),
        ),
        Row(
            "ours",
            "ResNet-50 subtype, ResNet-18 sizes",
            replace(two_stage, subtype_arch="resnet50", size_arch="resnet18"),
        ),
        Row("ours", "EfficientNet-Lite0 2S (fw), scale", lite),
        Row("ours", "EfficientNet-Lite0 global (fw), scale", replace(lite, scheme="global")),
        Row(
            "ours", "EfficientNet-Lite0 multi-head (fw), scale", replace(lite, scheme="multi-head")
        ),
    ]
    return (*paper, *compared, *ours)


def run(
    examples: Sequence[Example],
    base: Plan,
    folder: Path,
    *,
    quick: bool = False,
    only: Callable[[Row], bool] | None = None,
    recipe: str,
    now: datetime,
) -> Iterator[tuple[Row, Progress] | Result]:
    """Train and test every row; yields progress and, at the end of each row, its `Result`.

    Args:
        examples: Every labelled micrograph.
        base: As for `rows`.
        folder: Where results are kept; a row that has one there is not trained again.
        quick: Shrink every field to 320 px, to see that everything works; no figures for steel.
        only: Which rows to train; None: all.
        recipe: Version of the crop recipe.
        now: Aware UTC.
    """
    if quick:
        examples = [_shrunk(example) for example in examples]
        base = replace(base, frame_px=QUICK_PX)
    usable, _, _ = accepted(examples, base.taxonomy, mixed_groups=base.mixed_groups)
    ordinary: list[Known] = []
    for row in rows(base):
        if only is not None and not only(row):
            continue
        place = folder / f"{_slug(row.name)}-{_digest(row, usable)}.json"
        if not place.is_file():
            bundle = None
            for step in train(
                usable, row.plan, folder, known=_once(ordinary, row), recipe=recipe, now=now
            ):
                bundle = step.bundle or bundle
                yield row, step
            if bundle is None:
                raise ModelError("training ended without a bundle")
            _keep(row, bundle, usable, place)
        document = json.loads(place.read_bytes())
        yield Result(row.table, row.name, document["right"], document["numbers"])


def as_json(results: Sequence[Result]) -> dict[str, Any]:
    """Give everything that was found, with paired tests between neighbouring rows."""
    return {
        "rows": [
            {
                "table": result.table,
                "name": result.name,
                "paper": PAPER_TABLE_2.get(result.name) if result.table == "table 2" else None,
                **result.numbers,
            }
            for result in results
        ],
        "pairs": [
            {"first": a.name, "second": b.name, **compared(a, b)} for a, b in _pairs(results)
        ],
    }


def compared(first: Result, second: Result) -> dict[str, Any]:
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
        "most_lost": most_lost(only_first, only_second, len(common)),
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
    found = [
        _accuracies(table, [result for result in results if result.table == table])
        for table in dict.fromkeys(result.table for result in results)
    ]
    stages = [r for r in results if r.table == "table 2" and "2S" in r.name and "fw" not in r.name]
    if stages:
        found.append(_per_stage(stages))
    found += [_matrix(r) for r in results if r.name in ("ResNet-18 global", "ResNet-18 2S")]
    if pairs := _pairs(results):
        found.append(_tests(pairs))
    return found


def as_markdown(results: Sequence[Result]) -> str:
    """Write the tables and matrices as a page that can be read as it is."""
    parts = ["# Experiments", ""]
    for table in tables(results):
        lines = [table.columns, ("---",) * len(table.columns), *table.rows]
        parts += [f"## {table.title}", "", *("| " + " | ".join(line) + " |" for line in lines), ""]
    return "\n".join(parts)


# ------------------------------------------------------------------ writing


def _accuracies(table: str, results: Sequence[Result]) -> Table:
    columns = ("row", "right", "accuracy", "95 %", "macro-F1", "within one size", "paper")
    rows = []
    for result in results:
        numbers = result.numbers
        accuracy = numbers["accuracy"]
        paper = PAPER_TABLE_2.get(result.name) if result.table == "table 2" else None
        rows.append(
            (
                result.name,
                f"{sum(result.right.values())} of {numbers['n']}",
                _percent(accuracy["value"]),
                f"{_percent(accuracy['low'])} to {_percent(accuracy['high'])}",
                _percent(numbers["macro_f1"]["value"]),
                _percent(numbers["within_one_size"]["value"]),
                _percent(paper) if paper else "",
            )
        )
    return Table(table.capitalize(), columns, tuple(rows))


def _per_stage(results: Sequence[Result]) -> Table:
    subtypes = list(results[0].numbers["per_stage"]["size"])
    rows = []
    for result in results:
        stages = result.numbers["per_stage"]
        shares = [stages["subtype"], *(stages["size"][s] for s in subtypes)]
        cells = [
            f"{_percent(s['value'])} ({_percent(s['low'])} to {_percent(s['high'])})"
            for s in shares
        ]
        rows.append((result.name, *cells))
    columns = ("row", "subtype", *(f"size {s}" for s in subtypes))
    return Table("Table 3: accuracy per stage", columns, tuple(rows))


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
        "only first right",
        "only second right",
        "McNemar p",
        "second against first",
        "loses at most (95 %)",
    )
    rows = []
    for first, second in pairs:
        found = compared(first, second)
        rows.append(
            (
                first.name,
                second.name,
                str(found["only_first"]),
                str(found["only_second"]),
                f"{found['p']:.3f}",
                _points(found["gain"]),
                _points(found["most_lost"]),
            )
        )
    return Table("Pairs of rows, image by image", columns, tuple(rows))


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
    reference = by_name.get("ResNet-18 2S")
    if reference is not None:
        paired += [(reference, result) for result in results if result.table != "table 2"]
    return paired


def _points(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:+.1f} points"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


# ------------------------------------------------------------------ keeping


def _keep(row: Row, bundle: Path, examples: Sequence[Example], place: Path) -> None:
    """Test a row's bundle on the split's test images, write the result, drop the bundle."""
    classifier = Classifier.load(bundle, device=row.plan.device)
    test = set(classifier.manifest.split["test"])
    evaluation = evaluate(classifier, [e for e in examples if e.key in test])
    document = {
        "right": {case.key: case.right for case in evaluation.cases},
        "numbers": {**evaluation.as_json(), "bundle": row.name},
    }
    part = place.with_suffix(".part")
    part.write_text(json.dumps(document), encoding="utf-8")
    part.replace(place)
    shutil.rmtree(bundle)


def _once(ordinary: list[Known], row: Row) -> Callable[[Sequence[Example]], Known]:
    """Learn what is ordinary once for all rows, from a few images: no table is about it."""
    from model.taught import learn as learn_ordinary  # noqa: PLC0415 - seconds of import

    taxonomy = row.plan.taxonomy

    def learn(examples: Sequence[Example]) -> Known:
        if not ordinary:
            some = examples[:: max(1, len(examples) // _ORDINARY)]
            ordinary.append(learn_ordinary(some, subtype_of=lambda code: taxonomy.parse(code)[0]))
        return ordinary[0]

    return learn


def _shrunk(example: Example) -> Example:
    def load() -> Field:
        field = example.load()
        height, width = field.valid.shape
        factor = QUICK_PX / max(height, width)
        if factor >= 1:
            return field
        small = resampled(field, (max(1, round(height * factor)), max(1, round(width * factor))))
        um_per_px = field.um_per_px / factor if field.um_per_px else None
        return Field(small.pixels, small.valid, um_per_px)

    return replace(example, load=load)


def _digest(row: Row, examples: Sequence[Example]) -> str:
    plan = {
        name: str(getattr(row.plan, name))
        for name in row.plan.__dataclass_fields__
        if name != "taxonomy"
    }
    labels = sorted((e.key, e.code) for e in examples)
    return hashlib.sha256(json.dumps([plan, labels]).encode()).hexdigest()[:10]


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name.lower()).strip("-")


def _tile(frame_px: int) -> int:
    return max(64, frame_px // 4)
