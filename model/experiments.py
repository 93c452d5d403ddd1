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
from model.intervals import mcnemar
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
    """Compare two rows image by image: how often only one was right, and the exact p-value."""
    common = first.right.keys() & second.right.keys()
    only_first = sum(first.right[k] and not second.right[k] for k in common)
    only_second = sum(second.right[k] and not first.right[k] for k in common)
    return {
        "n": len(common),
        "only_first": only_first,
        "only_second": only_second,
        "p": mcnemar(only_first, only_second),
    }


def as_markdown(results: Sequence[Result]) -> str:
    """Write the tables and matrices as a page that can be read as it is."""
    parts = ["# Experiments", ""]
    for table in dict.fromkeys(result.table for result in results):
        own = [result for result in results if result.table == table]
        parts += [f"## {table.capitalize()}", "", *_accuracies(own), ""]
    stages = [r for r in results if r.table == "table 2" and "2S" in r.name and "fw" not in r.name]
    if stages:
        parts += ["## Table 3: accuracy per stage", "", *_per_stage(stages), ""]
    for result in results:
        if result.name in ("ResNet-18 global", "ResNet-18 2S"):
            figure = "3" if "global" in result.name else "4"
            parts += [f"## Figure {figure}: {result.name}", "", *_matrix(result), ""]
    if pairs := _pairs(results):
        parts += ["## Pairs of rows, image by image", "", *_tests(pairs), ""]
    return "\n".join(parts)


# ------------------------------------------------------------------ writing


def _accuracies(results: Sequence[Result]) -> list[str]:
    lines = [
        "| row | right | accuracy | 95 % | macro-F1 | within one size | paper |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for result in results:
        numbers = result.numbers
        accuracy = numbers["accuracy"]
        paper = PAPER_TABLE_2.get(result.name) if result.table == "table 2" else None
        lines.append(
            f"| {result.name} | {sum(result.right.values())} of {numbers['n']} "
            f"| {_percent(accuracy['value'])} "
            f"| {_percent(accuracy['low'])} to {_percent(accuracy['high'])} "
            f"| {_percent(numbers['macro_f1']['value'])} "
            f"| {_percent(numbers['within_one_size']['value'])} "
            f"| {_percent(paper) if paper else ''} |"
        )
    return lines


def _per_stage(results: Sequence[Result]) -> list[str]:
    subtypes = list(results[0].numbers["per_stage"]["size"])
    lines = [
        "| row | subtype | " + " | ".join(f"size {s}" for s in subtypes) + " |",
        "| --- |" + " --- |" * (len(subtypes) + 1),
    ]
    for result in results:
        stages = result.numbers["per_stage"]
        shares = [stages["subtype"], *(stages["size"][s] for s in subtypes)]
        cells = [
            f"{_percent(s['value'])} ({_percent(s['low'])} to {_percent(s['high'])})"
            for s in shares
        ]
        lines.append(f"| {result.name} | " + " | ".join(cells) + " |")
    return lines


def _matrix(result: Result) -> list[str]:
    """Write a confusion matrix as the paper does: rows predicted, columns true, column per cent."""
    codes = result.numbers["confusion"]["codes"]
    counts = np.array(result.numbers["confusion"]["rows_predicted"])
    totals = counts.sum(axis=0)
    lines = [
        "| predicted \\ true | " + " | ".join(codes) + " |",
        "| --- |" + " --- |" * len(codes),
    ]
    for code, row in zip(codes, counts, strict=True):
        cells = [
            f"{n} ({100 * n / total:.0f} %)" if n else "0"
            for n, total in zip(row, totals, strict=True)
        ]
        lines.append(f"| {code} | " + " | ".join(cells) + " |")
    return lines


def _tests(pairs: Sequence[tuple[Result, Result]]) -> list[str]:
    lines = [
        "| first | second | only first right | only second right | McNemar p |",
        "| --- | --- | --- | --- | --- |",
    ]
    for first, second in pairs:
        found = compared(first, second)
        lines.append(
            f"| {first.name} | {second.name} | {found['only_first']} | {found['only_second']} "
            f"| {found['p']:.3f} |"
        )
    return lines


def _pairs(results: Sequence[Result]) -> list[tuple[Result, Result]]:
    """Pair global with two-stage of one network, and every other row with the two-stage one."""
    by_name = {result.name: result for result in results}
    paired = [
        (by_name[name], by_name[name.replace("global", "2S")])
        for name in by_name
        if "global" in name and name.replace("global", "2S") in by_name
    ]
    reference = by_name.get("ResNet-18 2S")
    if reference is not None:
        paired += [(reference, result) for result in results if result.table != "table 2"]
    return paired


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
