"""Repeat the paper's experiments on a lab's own images.

Every row is trained on the same splits and tested on the same images, so rows are compared image by
image. Results are saved per training, so an interrupted run resumes.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from model.data.dataset import Example, folds, split, validate_examples
from model.errors import ModelError
from model.evaluation.evaluation import Case, Evaluation, evaluate
from model.experiments.tables import RowResult
from model.framing import Field, resample
from model.inference.classifier import COMPILED, CONVERTED, Classifier
from model.ood.detector import OodDetector
from model.progress import Progress
from model.taxonomy import Taxonomy
from model.training.assessment import format_alarm_note
from model.training.config import TrainingConfig
from model.training.train import train

QUICK_PX, QUICK_EPOCHS, QUICK_IMAGES = 160, 5, 24
"""Longest side of a field in px, epochs, and images per code in a quick run."""

_DETECTOR_IMAGES = 60


@dataclass(frozen=True, slots=True)
class ExperimentRow:
    """One configuration of a table.

    Args:
        table: "table 2", "framing", "imbalance" or "ours".
        name: The paper's name where the row is from the paper.
        config: The training configuration.
    """

    table: str
    name: str
    config: TrainingConfig


def list_rows(base: TrainingConfig) -> tuple[ExperimentRow, ...]:
    """Return the configurations: the paper's six, its two comparisons, and ours.

    Args:
        base: Epochs, batch, frame, seed, weights and taxonomy of every row.
    """

    def derive(**changes: Any) -> TrainingConfig:
        return replace(base, **changes)

    as_paper = derive(framing="mirror", schedule="step", start="random")
    paper = [
        ExperimentRow(
            "table 2",
            f"ResNet-{depth} {'2S' if scheme == 'two-stage' else 'global'}{' (fw)' * frozen}",
            replace(as_paper, arch=f"resnet{depth}", scheme=scheme, frozen=frozen),
        )
        for depth, frozen in ((18, True), (18, False), (50, False))
        for scheme in ("global", "two-stage")
    ]
    two_stage = replace(as_paper, arch="resnet18", scheme="two-stage", frozen=False)
    compared = [
        ExperimentRow("framing", "resize", replace(two_stage, framing="resize")),
        ExperimentRow(
            "framing", "tile", replace(two_stage, framing="tile", frame_px=_tile_px(base.frame_px))
        ),
        ExperimentRow("framing", "scale", replace(two_stage, framing="scale")),
        ExperimentRow(
            "imbalance", "weighted cross-entropy", replace(two_stage, imbalance="weighted")
        ),
        ExperimentRow("imbalance", "square root", replace(two_stage, imbalance="sqrt")),
    ]
    lite = derive(arch="efficientnet-lite0", frozen=True, framing="scale", weights=None)
    ours = [
        ExperimentRow("ours", "ResNet-18 multi-head", replace(two_stage, scheme="multi-head")),
        ExperimentRow(
            "ours",
            "ResNet-18 multi-head, ordinal, scale, our schedule",
            derive(
                arch="resnet18",
                scheme="multi-head",
                frozen=False,
                loss="ordinal",
                framing="scale",
                schedule="cosine",
                start="probe",
            ),
        ),
        ExperimentRow(
            "ours",
            "ResNet-50 subtype, ResNet-18 sizes",
            replace(two_stage, subtype_arch="resnet50", size_arch="resnet18"),
        ),
        ExperimentRow("ours", "EfficientNet-Lite0 2S (fw), scale", lite),
        ExperimentRow(
            "ours", "EfficientNet-Lite0 global (fw), scale", replace(lite, scheme="global")
        ),
        ExperimentRow(
            "ours", "EfficientNet-Lite0 multi-head (fw), scale", replace(lite, scheme="multi-head")
        ),
    ]
    return (*paper, *compared, *ours)


@dataclass(frozen=True, slots=True)
class Run:
    """One training of a row: on one split, or with one fold left out.

    Args:
        name: Suffix of the row's name in the progress, "" where a row is trained once.
        number: Index of the split, from 0.
        seed: Of every random draw.
        sides: Keys per side, or None: the split that the seed gives.
    """

    name: str
    number: int
    seed: int
    sides: Mapping[str, Sequence[str]] | None


def build_quick_config(base: TrainingConfig) -> TrainingConfig:
    """Return the configuration of a quick run."""
    return replace(base, frame_px=QUICK_PX, epochs=min(base.epochs, QUICK_EPOCHS))


def run(
    examples: Sequence[Example],
    base: TrainingConfig,
    folder: Path,
    *,
    quick: bool = False,
    only: Callable[[ExperimentRow], bool] | None = None,
    fold_count: int = 0,
    splits: int = 1,
    recipe: str,
    now: datetime,
) -> Iterator[tuple[str, Progress[Path]] | RowResult]:
    """Train and test every row.

    Args:
        examples: Every labelled micrograph.
        base: As for `list_rows`.
        folder: Folder of the saved results; a training whose result is there is skipped.
        quick: Few, small images and few epochs, to test the procedure; no valid figures.
        only: Selects the rows; None: all.
        fold_count: Number of folds of a cross-validation; 0: test on a fifth of the images.
        splits: Number of splits; the tables show the first.
        recipe: Version of the crop recipe.
        now: Aware UTC.

    Yields:
        Name of the training with its progress, and the `RowResult` at the end of each row.
    """
    usable, taxonomy, _ = validate_examples(examples, base.taxonomy, mixed_groups=base.mixed_groups)
    if quick:
        usable, base = (
            [_downscale(example) for example in _select_few(usable)],
            build_quick_config(base),
        )
    inputs = [
        quick,
        recipe,
        taxonomy.as_json(),
        sorted((example.key, example.code, example.group) for example in usable),
    ]
    detectors: list[OodDetector] = []
    for row in list_rows(base):
        if only is not None and not only(row):
            continue
        cases_by_split: dict[int, list[Case]] = {}
        notes: dict[str, None] = {}
        for training in _iter_runs(usable, base, fold_count, splits):
            config = replace(row.config, seed=training.seed)
            file = folder / f"{_slug(row.name)}-{_hash_inputs(config, training, inputs)}.json"
            if not file.is_file():
                steps = train(
                    usable,
                    config,
                    folder,
                    kept=training.sides,
                    tested_only=[example.key for example in usable],
                    fit_detector=build_cached_fit(detectors, row),
                    recipe=recipe,
                    now=now,
                )
                bundle = None
                for progress in steps:
                    bundle = progress.result or bundle
                    yield f"{row.table}, {row.name}{training.name}", progress
                if bundle is None:
                    raise ModelError("training ended without a bundle")
                _save_result(config, bundle, usable, file, detectors[0])
            cases, training_notes = _load_result(file)
            cases_by_split.setdefault(training.number, []).extend(cases)
            notes |= dict.fromkeys(training_notes)
        yield _build_result(row, taxonomy, cases_by_split, tuple(notes))


def _iter_runs(
    examples: Sequence[Example], base: TrainingConfig, fold_count: int, splits: int
) -> Iterator[Run]:
    """Yield the trainings of a row."""
    for number in range(splits):
        seed = base.seed + number
        suffix = f", split {number + 1} of {splits}" if splits > 1 else ""
        if not fold_count:
            yield Run(suffix, number, seed, None)
            continue
        for fold, (rest, left_out) in enumerate(folds(examples, fold_count, seed=seed)):
            sides = split(rest, shares=(0.8, 0.2, 0.0), seed=seed).keys()
            sides["test"] = tuple(example.key for example in left_out)
            yield Run(f"{suffix}, fold {fold + 1} of {fold_count}", number, seed, sides)


def _build_result(
    row: ExperimentRow,
    taxonomy: Taxonomy,
    cases_by_split: Mapping[int, Sequence[Case]],
    notes: tuple[str, ...],
) -> RowResult:
    """Compute the result of a row from the cases of its splits."""
    accuracies = [
        sum(case.right for case in cases) / len(cases) for cases in cases_by_split.values()
    ]
    evaluation = Evaluation(row.name, taxonomy, tuple(cases_by_split[0]), 0, row.config.alpha, {})
    return RowResult(
        row.table,
        row.name,
        {case.key: case.right for case in evaluation.cases},
        evaluation.as_json(),
        tuple(accuracies) if len(accuracies) > 1 else (),
        notes,
    )


# ------------------------------------------------------------------ storage


def _save_result(
    config: TrainingConfig,
    bundle: Path,
    examples: Sequence[Example],
    file: Path,
    detector: OodDetector,
) -> None:
    """Test a bundle on its split's test images, save the cases, and delete the bundle."""
    classifier = Classifier.load(bundle, device=config.device, as_tested=True)
    test = set(classifier.manifest.split["test"])
    evaluation = evaluate(classifier, [example for example in examples if example.key in test])
    temporary = file.with_suffix(".part")
    alarm_note = format_alarm_note(detector, config.alpha)  # no table shows them
    document = {
        "cases": [asdict(case) for case in evaluation.cases],
        "notes": [note for note in classifier.manifest.facts["notes"] if note != alarm_note],
    }
    temporary.write_text(json.dumps(document), encoding="utf-8")
    temporary.replace(file)
    shutil.rmtree(bundle)
    for name in (COMPILED, CONVERTED):  # tens of megabytes per network
        shutil.rmtree(bundle.parent / name, ignore_errors=True)


def _load_result(file: Path) -> tuple[list[Case], list[str]]:
    """Load cases and notes; older files hold the cases only."""
    document = json.loads(file.read_bytes())
    cases, notes = (
        (document, []) if isinstance(document, list) else (document["cases"], document["notes"])
    )
    tuples = ("prediction_set", "nearest")
    return [
        Case(**{**case, **{name: tuple(case.get(name, ())) for name in tuples}}) for case in cases
    ], notes


def build_cached_fit(
    detectors: list[OodDetector], row: ExperimentRow
) -> Callable[[Sequence[Example]], OodDetector]:
    """Return a function that fits an OOD detector once for all rows; no table depends on it."""
    from model.ood.fit import fit_detector  # noqa: PLC0415 - seconds of import

    taxonomy = row.config.taxonomy

    def fit(examples: Sequence[Example]) -> OodDetector:
        if not detectors:
            subset = examples[:: max(1, len(examples) // _DETECTOR_IMAGES)]
            detectors.append(fit_detector(subset, subtype_of=lambda code: taxonomy.parse(code)[0]))
        return detectors[0]

    return fit


def _downscale(example: Example) -> Example:
    def load() -> Field:
        field = example.load()
        height, width = field.valid.shape
        factor = QUICK_PX / max(height, width)
        if factor >= 1:
            return field
        small = resample(field, (max(1, round(height * factor)), max(1, round(width * factor))))
        um_per_px = field.um_per_px / factor if field.um_per_px else None
        return Field(small.pixels, small.valid, um_per_px)

    return replace(example, load=load)


def _select_few(examples: Sequence[Example]) -> list[Example]:
    """Return the first images of every code."""
    counts: Counter[str] = Counter()
    selected = []
    for example in sorted(examples, key=lambda example: example.key):
        counts[example.code] += 1
        if counts[example.code] <= QUICK_IMAGES:
            selected.append(example)
    return selected


def _hash_inputs(config: TrainingConfig, training: Run, labels: Sequence[object]) -> str:
    """Hash configuration, split and labels: a saved result is reused only for the same."""
    sides = training.sides and sorted(training.sides["test"])
    text = json.dumps([config.as_json(), sides, labels], default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name.lower()).strip("-")


def _tile_px(frame_px: int) -> int:
    return max(64, frame_px // 4)
