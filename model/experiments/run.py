"""Repeat the paper's experiments on a lab's own images.

In:  `Example`s and a `Plan`. Out: a `Result` for every row of Tables 2 and 3, of the comparisons
and of our own schemes. Next: `tables`. Every row is trained on the same splits and tested on the
same images, so two rows are compared image by image; what is trained is kept, so an interrupted
run goes on.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from model.data.dataset import validate_examples
from model.data.splits import folds, split
from model.errors import ModelError
from model.evaluation.evaluate import Case, Evaluation, evaluate
from model.experiments.tables import Result
from model.framing import Field, resample
from model.inference.classifier import COMPILED, Classifier
from model.training.train import alarm_note, train

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from model.data.dataset import Example
    from model.ood.detector import OodDetector
    from model.taxonomy import Taxonomy
    from model.training.config import TrainingConfig
    from model.training.train import Progress

QUICK_PX, QUICK_EPOCHS, QUICK_IMAGES = 160, 5, 24
"""Longest side of a field, epochs, and images of a code in a quick run."""

_ORDINARY = 60


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
    plan: TrainingConfig


def rows(base: TrainingConfig) -> tuple[Row, ...]:
    """List what is trained: the paper's six, its two comparisons, and ours.

    Args:
        base: Epochs, batch, frame, seed, weights and taxonomy of every row.
    """

    def plan(**changes: Any) -> TrainingConfig:
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


@dataclass(frozen=True, slots=True)
class Part:
    """One training of a row: on one split, or with one fold left out.

    Args:
        name: Said while it is trained, "" where a row is trained once.
        number: Which of the splits it belongs to, from 0.
        seed: Of everything that is drawn by chance.
        sides: Keys per side, or None: the split of the seed.
    """

    name: str
    number: int
    seed: int
    sides: Mapping[str, Sequence[str]] | None


def quicken(base: TrainingConfig) -> TrainingConfig:
    """Give what a quick run makes of a plan."""
    return replace(base, frame_px=QUICK_PX, epochs=min(base.epochs, QUICK_EPOCHS))


def run(
    examples: Sequence[Example],
    base: TrainingConfig,
    folder: Path,
    *,
    quick: bool = False,
    only: Callable[[Row], bool] | None = None,
    fold_count: int = 0,
    splits: int = 1,
    recipe: str,
    now: datetime,
) -> Iterator[tuple[str, Progress] | Result]:
    """Train and test every row; yields named progress and, at the end of each row, its `Result`.

    Args:
        examples: Every labelled micrograph.
        base: As for `rows`.
        folder: Where what was found is kept; what is there is not trained again.
        quick: Few, small images and epochs, to see that everything works; no figures for steel.
        only: Which rows to train; None: all.
        fold_count: Leave every image out once, in so many folds, instead of testing on a fifth.
        splits: Do everything on so many splits; the first is what the tables are about.
        recipe: Version of the crop recipe.
        now: Aware UTC.
    """
    usable, taxonomy, _ = validate_examples(examples, base.taxonomy, mixed_groups=base.mixed_groups)
    if quick:
        usable, base = [_shrunk(example) for example in _few(usable)], quicken(base)
    labels = [quick, recipe, taxonomy.as_json(), sorted((e.key, e.code, e.group) for e in usable)]
    ordinary: list[OodDetector] = []
    for row in rows(base):
        if only is not None and not only(row):
            continue
        found: dict[int, list[Case]] = {}
        notes: dict[str, None] = {}
        for part in _parts(usable, base, fold_count, splits):
            plan = replace(row.plan, seed=part.seed)
            place = folder / f"{_slug(row.name)}-{_digest(plan, part, labels)}.json"
            if not place.is_file():
                steps = train(
                    usable,
                    plan,
                    folder,
                    kept=part.sides,
                    known=fit_once(ordinary, row),
                    recipe=recipe,
                    now=now,
                )
                bundle = None
                for step in steps:
                    bundle = step.bundle or bundle
                    yield f"{row.table}, {row.name}{part.name}", step
                if bundle is None:
                    raise ModelError("training ended without a bundle")
                _keep(plan, bundle, usable, place, ordinary[0])
            cases, noted = _kept(place)
            found.setdefault(part.number, []).extend(cases)
            notes |= dict.fromkeys(noted)
        yield _result(row, taxonomy, found, tuple(notes))


def _parts(
    examples: Sequence[Example], base: TrainingConfig, fold_count: int, splits: int
) -> Iterator[Part]:
    """Say what a row is trained on, time after time."""
    for number in range(splits):
        seed = base.seed + number
        of_split = f", split {number + 1} of {splits}" if splits > 1 else ""
        if not fold_count:
            yield Part(of_split, number, seed, None)
            continue
        for at, (rest, held) in enumerate(folds(examples, fold_count, seed=seed)):
            sides = split(rest, shares=(0.8, 0.2, 0.0), seed=seed).keys()
            sides["test"] = tuple(example.key for example in held)
            yield Part(f"{of_split}, fold {at + 1} of {fold_count}", number, seed, sides)


def _result(
    row: Row, taxonomy: Taxonomy, found: Mapping[int, Sequence[Case]], notes: tuple[str, ...]
) -> Result:
    """Count what was said of the test images of a row's splits."""
    shares = [sum(case.right for case in cases) / len(cases) for cases in found.values()]
    first = Evaluation(row.name, taxonomy, tuple(found[0]), 0, row.plan.alpha, {})
    return Result(
        row.table,
        row.name,
        {case.key: case.right for case in first.cases},
        first.as_json(),
        tuple(shares) if len(shares) > 1 else (),
        notes,
    )


# ------------------------------------------------------------------ keeping


def _keep(
    plan: TrainingConfig, bundle: Path, examples: Sequence[Example], place: Path, known: OodDetector
) -> None:
    """Test a bundle on its split's test images, write what it said, drop the bundle."""
    classifier = Classifier.load(bundle, device=plan.device)
    test = set(classifier.manifest.split["test"])
    evaluation = evaluate(classifier, [e for e in examples if e.key in test])
    part = place.with_suffix(".part")
    about_alarms = alarm_note(known, plan.alpha)  # no table is about them
    kept = {
        "cases": [asdict(case) for case in evaluation.cases],
        "notes": [said for said in classifier.manifest.facts["notes"] if said != about_alarms],
    }
    part.write_text(json.dumps(kept), encoding="utf-8")
    part.replace(place)
    shutil.rmtree(bundle)
    shutil.rmtree(bundle.parent / COMPILED, ignore_errors=True)  # tens of megabytes per network


def _kept(place: Path) -> tuple[list[Case], list[str]]:
    """Read what a row's bundle said, and what was noted while it was taught, once kept without."""
    told = json.loads(place.read_bytes())
    cases, notes = (told, []) if isinstance(told, list) else (told["cases"], told["notes"])
    tuples = ("prediction_set", "nearest")
    return [
        Case(**{**c, **{name: tuple(c.get(name, ())) for name in tuples}}) for c in cases
    ], notes


def fit_once(ordinary: list[OodDetector], row: Row) -> Callable[[Sequence[Example]], OodDetector]:
    """Learn what is ordinary once for all rows, from a few images: no table is about it."""
    from model.ood.fit import fit_detector as learn_ordinary  # noqa: PLC0415 - seconds of import

    taxonomy = row.plan.taxonomy

    def learn(examples: Sequence[Example]) -> OodDetector:
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
        small = resample(field, (max(1, round(height * factor)), max(1, round(width * factor))))
        um_per_px = field.um_per_px / factor if field.um_per_px else None
        return Field(small.pixels, small.valid, um_per_px)

    return replace(example, load=load)


def _few(examples: Sequence[Example]) -> list[Example]:
    """Take the first images of every code."""
    seen: Counter[str] = Counter()
    taken = []
    for example in sorted(examples, key=lambda e: e.key):
        seen[example.code] += 1
        if seen[example.code] <= QUICK_IMAGES:
            taken.append(example)
    return taken


def _digest(plan: TrainingConfig, part: Part, labels: Sequence[object]) -> str:
    """Name what is trained on what, so that what is kept is taken up only by the same."""
    sides = part.sides and sorted(part.sides["test"])
    told = json.dumps([plan.as_json(), sides, labels], default=str)
    return hashlib.sha256(told.encode()).hexdigest()[:10]


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name.lower()).strip("-")


def _tile(frame_px: int) -> int:
    return max(64, frame_px // 4)
