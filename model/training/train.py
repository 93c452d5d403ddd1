"""Teach a bundle from labelled micrographs.

In:  `Example`s and a `Plan`. Out: `Progress`, the last one with the finished bundle's folder.
Next: `classify`. Training is a generator, so that the caller shows progress and may stop between
two steps; what was learned until then is kept aside and taken up by the next call with the same
examples and plan. Until the last step nothing that others can see has changed.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from model.bundle import BundleContents, write_bundle
from model.calibration import fit_conformal_level, fit_temperature
from model.data.augmentation import augment
from model.data.dataset import fingerprint, validate_examples
from model.data.near_duplicates import format_leak_warning, iter_overlaps
from model.data.splits import Split, folds, split
from model.errors import ModelError, TrainingError
from model.evaluation.evaluate import Case, Evaluation, OodFlag, iter_cases, iter_flags, not_taught
from model.inference.classifier import Classifier
from model.inference.feature_extractor import FeatureExtractor
from model.inference.saliency import compute_evidence, compute_evidence_limit
from model.networks.backbones import load_backbone
from model.networks.encoder import Encoder
from model.networks.linear_probe import ProbeData, fit_head
from model.networks.schemes import CODE, SUBTYPE, Head, Scheme, softmax
from model.ood.fit import iter_fit_detector
from model.ood.nearest_neighbor import SEEN_BY_CLASSIFIER
from model.runtime.engines import choose_engine
from model.training.dataset_summary import DatasetSummary
from model.training.distributed import SINGLE_PROCESS
from model.training.fine_tuning import TrainingTask, fine_tune

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from numpy.typing import NDArray

    from model.data.dataset import Example
    from model.inference.feature_extractor import FieldFeatures
    from model.ood.detector import OodDetector
    from model.taxonomy import Taxonomy
    from model.training.config import TrainingConfig
    from model.training.distributed import ProcessGroup


_FOLDS = 5
"""Parts that are left out in turn where no side of the split is needed to choose an epoch."""

_Blind = dict[str, "NDArray[np.float64]"]
"""Head → (images, k) logits of images that it was not taught on; NaN where nobody could say."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far training is.

    Args:
        stage: "labels", "images", "subtype", "size:G", "calibration", "strangeness", "evaluation",
            "leakage" or "bundle".
        done: Steps done of this stage.
        total: Steps of this stage; it may end earlier.
        note: A sentence for a person, or "".
        bundle: The finished bundle's folder, with the last one only.
    """

    stage: str
    done: int
    total: int
    note: str = ""
    bundle: Path | None = None


def train(
    examples: Sequence[Example],
    plan: TrainingConfig,
    folder: Path,
    *,
    test_keys: frozenset[str] | None = None,
    kept: Mapping[str, Sequence[str]] | None = None,
    known: Callable[[Sequence[Example]], OodDetector] | None = None,
    world: ProcessGroup = SINGLE_PROCESS,
    recipe: str,
    now: datetime,
) -> Iterator[Progress]:
    """Teach a bundle; every step is a `Progress`, the last one names the bundle's folder.

    Args:
        examples: Every labelled micrograph; which of them are tested on is decided here.
        plan: How.
        folder: The folder of bundles. Only when all is done, a new bundle appears in it.
        test_keys: Micrographs that were tested on before and stay so, with their specimens.
        kept: Sides of an earlier split to be kept, per side; `test_keys` is the short form.
        known: Learns what is ordinary from the examples that were learned from; None: `taught`
            does, with the frozen network of the installation.
        world: The processes that teach whole networks together. Only the first one makes the
            bundle; the others end with the last network.
        recipe: Version of the crop recipe of the examples.
        now: Aware UTC, for the name and the record.

    Raises:
        TrainingError: The examples cannot be trained on as they are.
        WeightsError: The weights do not fit.
        BundleError: The bundle could not be written.
    """
    offered = examples
    examples, taxonomy, notes = validate_examples(
        offered, plan.taxonomy, mixed_groups=plan.mixed_groups
    )
    untaught = not_taught(offered, plan.taxonomy)
    asked_of, plan = plan.taxonomy, replace(plan, taxonomy=taxonomy)
    kept = kept if kept is not None else {"test": tuple(test_keys or ())}
    sides = split(examples, shares=plan.shares, kept=kept, seed=plan.seed)
    _enough(sides, taxonomy, plan.group_by, frozenset(kept.get("test", ())))
    _require_equal_plans(plan, sides, world)
    yield from _labels(notes, sides, len(examples))
    survey = DatasetSummary(sides)
    for done in survey.look():
        yield Progress("labels", done, len(examples))
    framing, scope, doubled = survey.framing(plan), survey.scope(), survey.doubled()
    if sentence := format_leak_warning(doubled):
        notes.append(sentence)
        yield Progress("labels", len(examples), len(examples), sentence)
    scheme = Scheme(plan.scheme, taxonomy)
    eyes: dict[str, Encoder] = {}
    heads: dict[str, Head] = {}
    blind: _Blind = {}
    history: list[dict[str, Any]] = []
    aside = folder / f".training-{_digest(plan, sides)}"
    for name, (arch, asked) in _train_encoders(plan, scheme).items():
        torch.manual_seed(_seed(plan, name))
        network, sentence = load_backbone(arch, plan.weights_of(arch))
        yield Progress("images", 0, len(sides.train), sentence)
        if sentence not in notes:
            notes.append(sentence)
        eye = Encoder(network, plan.taps_of(arch))
        lesson = TrainingTask(
            eye=eye,
            name=name,
            scheme=scheme,
            heads=asked,
            framing=framing,
            train=sides.train,
            validation=sides.validation,
        )
        if plan.frozen:
            yield from _fit_frozen(lesson, plan, heads, blind)
        else:
            for epoch in fine_tune(lesson, plan, aside, world):
                yield Progress(name, epoch.number, plan.epochs, epoch.sentence())
            history += [{"eye": name, **epoch.as_json()} for epoch in lesson.epochs]
            heads.update(lesson.found)
        eyes[name] = eye.eval().requires_grad_(False)  # noqa: FBT003 - torch's own signature
    if not world.is_main:
        return
    engine = choose_engine(plan.device)
    gaze = FeatureExtractor(framing, eyes, engine, heads=heads.values())
    said, limits, seen = yield from _extract_features(sides.validation, scheme, heads, gaze)
    doubted = (*sides.train, *sides.validation) if blind else sides.validation
    heads, level = _calibrate(doubted, scheme, heads, blind or said)
    ordinary = yield from _fit_ood((*sides.train, *sides.validation), taxonomy, known)
    notes += yield from _alarm_rate(ordinary, plan.alpha)
    classifier = Classifier(
        name="",
        scheme=scheme,
        framing=framing,
        conformal_level=level,
        encoders=eyes,
        heads=heads,
        detector=ordinary,
        engine=engine,
        alpha=plan.alpha,
        validation_embeddings=seen,
    )
    evaluation = yield from _evaluate(classifier, sides.test, untaught)
    notes += yield from _seen_before(evaluation, sides, doubled)
    bundle = write_bundle(
        BundleContents(
            recipe=recipe,
            created_at=now,
            scheme=scheme,
            framing=framing,
            conformal_level=level,
            validated=scope,
            metrics=evaluation.as_json(),
            split=sides.keys(),
            facts={
                "plan": plan.as_json(),
                "taxonomy": asked_of.as_json(),
                "notes": notes,
                "history": history,
                "evidence_limits": limits,
                "engine": engine.label,
                "versions": _versions(),
                "data": _digest(plan, sides),
                "data_set": _data_set(sides),
                "strangeness": ordinary.summary(),
            },
            encoders=eyes,
            heads=heads,
            ood_tensors=ordinary.tensors() | {SEEN_BY_CLASSIFIER: seen},
            ood_facts=ordinary.facts(),
        ),
        folder,
    )
    _remove_checkpoints(aside)
    yield Progress(
        "bundle",
        1,
        1,
        f"{bundle.name}: {evaluation.correct} of {evaluation.n} test micrographs right.",
        bundle,
    )


# ------------------------------------------------------------------ steps


def _labels(notes: Sequence[str], sides: Split, n: int) -> Iterator[Progress]:
    """Say what is left out, and how the rest is split."""
    split_as = (
        f"{len(sides.train)} micrographs to train, {len(sides.validation)} to validate, "
        f"{len(sides.test)} to test."
    )
    yield from (Progress("labels", n, n, said) for said in (*notes, split_as))


def _enough(sides: Split, taxonomy: Taxonomy, group_by: str, tested: frozenset[str]) -> None:
    """Refuse a split that leaves a code nowhere to be learned from."""
    for side, examples in (("train", sides.train), ("validate", sides.validation)):
        counts = Counter(e.code for e in examples)
        if lacking := [code for code in taxonomy.trained_codes if not counts[code]]:
            if side == "validate" and len(lacking) < len(taxonomy.trained_codes):
                continue  # calibrating without a rare code is possible
            raise TrainingError(
                f"No micrograph of {lacking[0]} is left to {side}: "
                f"{_why_none(lacking[0], sides, group_by, tested)}"
            )


def _why_none(code: str, sides: Split, group_by: str, tested: frozenset[str]) -> str:
    """Say why a code is tested on alone, and what can be done."""
    groups = f"groups by {group_by}" if group_by else "specimens"
    held = {e.group for e in sides.test if e.key in tested}
    own = [e.group for e in sides.test if e.code == code]
    left = any(e.code == code for e in (*sides.train, *sides.validation))
    if own and not left and held.issuperset(own):
        return (
            f"all are of {groups} with images that were tested on before, and what was tested on "
            f"stays a test; label images of other {groups}, or group them as they were grouped "
            "when the bundle at work was taught."
        )
    return (
        f"its images are of too few {groups}; label images of more, or list it as untrained in "
        "the file that [model] taxonomy names."
    )


def _require_equal_plans(plan: TrainingConfig, sides: Split, world: ProcessGroup) -> None:
    """Refuse what several processes cannot teach together."""
    if world.size == 1:
        return
    if plan.frozen:
        raise TrainingError(
            "The heads of a frozen network are taught by one process: start without torchrun, or "
            "teach the whole network (--arch resnet18, without --frozen)."
        )
    if plan.device.startswith("cuda:"):
        raise TrainingError(
            f"The device {plan.device} is one GPU and there are {world.size} processes; set "
            "model.device to auto, and every process takes its own."
        )
    if plan.batch < world.size:
        raise TrainingError(
            f"A step shows {plan.batch} images and there are {world.size} processes; give torchrun "
            f"--nproc-per-node {plan.batch} or less."
        )
    world.require_equal(
        _digest(plan, sides),
        "it would teach something else than the first one; start the same command on the same "
        "labels everywhere.",
    )


def _train_encoders(plan: TrainingConfig, scheme: Scheme) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Name the networks, with their architecture and their heads; frozen ones are shared."""
    if not plan.frozen:
        return {name: (plan.arch_of(heads[0]), heads) for name, heads in scheme.encoders().items()}
    by_arch: dict[str, list[str]] = {}
    for head in scheme.heads():
        by_arch.setdefault(plan.arch_of(head), []).append(head)
    return {f"frozen {arch}": (arch, tuple(heads)) for arch, heads in by_arch.items()}


def _fit_frozen(
    lesson: TrainingTask, plan: TrainingConfig, heads: dict[str, Head], blind: _Blind
) -> Iterator[Progress]:
    """Look once at every image, in several views, then fit each head on what was seen.

    Nothing is chosen by the validation images here, so they are learned from like the others; what
    is said of each image without it stands in `blind`.
    """
    gaze = FeatureExtractor(lesson.framing, {lesson.name: lesson.eye}, choose_engine(plan.device))
    examples = (*lesson.train, *lesson.validation)
    views: list[NDArray[np.float32]] = []
    for done, example in enumerate(examples):
        views.append(_views(example, gaze, lesson.name, plan))
        yield Progress("images", done + 1, len(examples))
    seen = ProbeData(
        embeddings=np.concatenate(views),
        images=np.repeat(np.arange(len(examples)), [len(rows) for rows in views]),
        codes=[e.code for e in examples],
        counts=np.array([e.weight for e in examples]),
        folds=_folds_of(examples, plan.seed),
    )
    for done, name in enumerate(lesson.heads):
        taught = fit_head(
            lesson.scheme,
            name,
            lesson.name,
            seen,
            imbalance=plan.imbalance,
            ordinal=plan.loss == "ordinal",
        )
        heads[name], blind[name] = taught.head, taught.out_of_fold_logits
        yield Progress(name, done + 1, len(lesson.heads))


def _folds_of(examples: Sequence[Example], seed: int) -> NDArray[np.intp]:
    """Say with which fold each example is left out; a specimen is left out whole."""
    fold_of = {
        example.key: fold
        for fold, (_, held) in enumerate(folds(examples, _FOLDS, seed=seed))
        for example in held
    }
    return np.array([fold_of[example.key] for example in examples], dtype=np.intp)


def _views(
    example: Example, gaze: FeatureExtractor, eye: str, plan: TrainingConfig
) -> NDArray[np.float32]:
    """Give (views, c) embeddings of one example: as it is, and otherwise."""
    (plain,) = gaze.frames([example.load()])
    rng = np.random.default_rng(_seed(plan, example.key))
    shown = [plain] + [
        [gaze.to_device(augment(one.frame, rng, rotate=plan.rotate)) for one in plain]
        for _ in range(plan.views - 1)
    ]
    return np.stack([sight.embedding for sight in gaze.extract(eye, shown)])


def _extract_features(
    examples: Sequence[Example], scheme: Scheme, heads: Mapping[str, Head], gaze: FeatureExtractor
) -> Generator[Progress, None, tuple[_Blind, dict[str, float], NDArray[np.float32]]]:
    """Look at images that no network was taught on.

    Returns:
        Logits of every head, the scale of the maps, and what the first stage's network saw, (n, c).
    """
    looked: dict[str, list[NDArray[np.float32]]] = defaultdict(list)
    shown = _Shown(scheme, heads)
    for done, example in enumerate(examples):
        framed = gaze.frames([example.load()])
        for eye in gaze.encoders:
            (sight,) = gaze.extract(eye, framed)
            looked[eye].append(sight.embedding)
            shown.see(example.code, eye, sight)
        yield Progress("calibration", done + 1, len(examples))
    seen = {eye: np.stack(rows) for eye, rows in looked.items()}
    logits = {name: head.logits(seen[head.encoder]) for name, head in heads.items() if seen}
    first = heads[scheme.first_stage()[0]]
    return (
        logits,
        shown.limits(),
        seen.get(first.encoder, np.zeros((0, first.weight.shape[1]), "f4")),
    )


def _calibrate(
    examples: Sequence[Example], scheme: Scheme, heads: Mapping[str, Head], logits: _Blind
) -> tuple[dict[str, Head], float]:
    """Fit a temperature per head, then the level of prediction sets, on what was said blindly."""
    cooled = {}
    for name, head in heads.items():
        targets = [scheme.target(name, example.code) for example in examples]
        told = ~np.isnan(logits[name]).any(axis=1) if name in logits else np.zeros(0, bool)
        rows = [row for row in np.flatnonzero(told) if targets[row] is not None]
        said = logits[name][rows] if rows else np.zeros((0, len(head.classes)))
        cooled[name] = head.with_temperature(
            fit_temperature(said, np.array([targets[row] for row in rows], dtype=np.intp))
        )
    sizes, true = [], []
    for row, example in enumerate(examples):
        own = {name: said[row] for name, said in logits.items()}
        if any(np.isnan(said).any() for said in own.values()):
            continue
        shares = {name: softmax(said / cooled[name].temperature) for name, said in own.items()}
        answer = scheme.combine(shares)
        subtype, size = scheme.taxonomy.parse(example.code)
        sizes.append(answer.sizes)
        true.append(size if answer.best[0] == subtype else None)
    return cooled, fit_conformal_level(sizes, true)


class _Shown:
    """What maps of validation images show, so that every image gets the same scale."""

    def __init__(self, scheme: Scheme, heads: Mapping[str, Head]) -> None:
        self._scheme, self._heads = scheme, heads
        self._values: dict[str, list[NDArray[np.float32]]] = {"subtype": [], "size": []}

    def see(self, code: str, eye: str, sight: FieldFeatures) -> None:
        """Take up the evidence for what the heads of one network answer."""
        for name, head in self._heads.items():
            if head.encoder != eye or self._scheme.target(name, code) is None:
                continue
            best = int(head.logits(sight.embedding[None])[0].argmax())
            maps = zip(sight.by_cell[name], sight.weights, strict=True)
            values = [
                compute_evidence(by_cell, head, best)[weights > 0] for by_cell, weights in maps
            ]
            for stage in self._stages(name):
                self._values[stage] += values

    def limits(self) -> dict[str, float]:
        """Give the evidence that gets the full colour, per stage."""
        return {stage: compute_evidence_limit(values) for stage, values in self._values.items()}

    def _stages(self, head: str) -> tuple[str, ...]:
        if head == CODE:
            return ("subtype", "size")
        return ("subtype",) if head == SUBTYPE else ("size",)


def _fit_ood(
    examples: Sequence[Example],
    taxonomy: Taxonomy,
    known: Callable[[Sequence[Example]], OodDetector] | None,
) -> Generator[Progress, None, OodDetector]:
    """Learn what is ordinary, or take what somebody else learned of it."""
    if known is not None:
        yield Progress("strangeness", len(examples), len(examples))
        return known(examples)
    for step in iter_fit_detector(examples, subtype_of=lambda code: taxonomy.parse(code)[0]):
        yield Progress("strangeness", step.done, step.total)
        if step.known is not None:
            return step.known
    raise TrainingError("Strangeness was not learned: there was nothing to learn it from.")


def alarm_note(known: OodDetector, alpha: float) -> str:
    """Say what an alarm rate lacks with so few known images, or ""; no training ends over it."""
    try:
        return known.require(alpha)
    except ModelError as error:
        return str(error)


def _alarm_rate(known: OodDetector, alpha: float) -> Generator[Progress, None, list[str]]:
    said = alarm_note(known, alpha)
    if said:
        yield Progress("strangeness", len(known), len(known), said)
    return [said] if said else []


def _evaluate(
    classifier: Classifier, test: Sequence[Example], untaught: Mapping[str, Sequence[Example]]
) -> Generator[Progress, None, Evaluation]:
    """Look at the test images, and at those of codes that were not taught: they must be flagged."""
    total = len(test) + sum(map(len, untaught.values()))
    cases: list[Case] = []
    for case in iter_cases(classifier, test):
        cases.append(case)
        yield Progress("evaluation", len(cases), total)
    strange: dict[str, tuple[OodFlag, ...]] = {}
    done = len(cases)
    for kind, examples in untaught.items():
        alarms = []
        for alarm in iter_flags(classifier, examples):
            alarms.append(alarm)
            yield Progress("evaluation", done := done + 1, total)
        strange[kind] = tuple(alarms)
    return Evaluation("", classifier.taxonomy, tuple(cases), 0, classifier.alpha, strange)


def _seen_before(
    evaluation: Evaluation, sides: Split, copies: Collection[tuple[str, str]]
) -> Generator[Progress, None, list[str]]:
    """Say which more test images show a place that was learned from, turned or cropped."""
    learned = {example.key: example for example in (*sides.train, *sides.validation)}
    tested = {example.key: example for example in sides.test}
    pairs: list[tuple[str, str]] = []
    n = len(tested)
    for done, found in enumerate(iter_overlaps(evaluation.cases, tested, learned), 1):
        pairs += [pair for pair in found if pair not in copies]
        yield Progress("leakage", done, n)
    if said := format_leak_warning(pairs):
        yield Progress("leakage", n, n, said)
    return [said] if said else []


# ------------------------------------------------------------------ the record


def _digest(plan: TrainingConfig, sides: Split) -> str:
    """Name what is learned from what, so that an interrupted training is taken up."""
    plan_json = plan.as_json() | {"taxonomy": plan.taxonomy.as_json(), "epochs": 0}
    labels = sorted((e.key, e.code, e.weight) for e in sides.train + sides.validation)
    return hashlib.sha256(json.dumps([plan_json, labels], sort_keys=True).encode()).hexdigest()[:12]


def _data_set(sides: Split) -> dict[str, Any]:
    """Name what was learned from and what was tested on, and say what labels they carry."""
    learned = sides.train + sides.validation
    return {
        "all": fingerprint(learned + sides.test),
        "learned": fingerprint(learned),
        "test": fingerprint(sides.test),
        "codes": dict(Counter(e.code for e in learned + sides.test)),
        "criteria": dict(Counter(e.criterion for e in learned + sides.test)),
        "counting_less": sorted(e.key for e in learned if e.weight < 1),
    }


def _seed(plan: TrainingConfig, what: str) -> int:
    return int(hashlib.sha256(f"{plan.seed}:{what}".encode()).hexdigest()[:8], 16)


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - once a training

    found = {"python": platform.python_version()}
    for name in ("martensight", "torch", "torchvision", "numpy", "safetensors", "openvino"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _remove_checkpoints(aside: Path) -> None:
    import shutil  # noqa: PLC0415 - once a training

    shutil.rmtree(aside, ignore_errors=True)
