"""Train a bundle from labelled micrographs.

Training is a generator, so that the caller shows progress and may stop between two steps; the next
call with the same examples and configuration resumes from the last checkpoint. Nothing visible to
others changes until the last step.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections import Counter, defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from model.bundle import BundleContents, write_bundle
from model.calibration import fit_conformal_level, fit_temperature
from model.data.augmentation import VERSION as AUGMENTATION
from model.data.augmentation import augment
from model.data.dataset import fingerprint, validate_examples
from model.data.near_duplicates import format_leak_warning, iter_overlaps
from model.data.splits import SIDES, Split, folds, split
from model.errors import ModelError, TrainingError
from model.evaluation.evaluate import Evaluation, group_untrained, iter_cases, iter_flags
from model.inference.classifier import Classifier
from model.inference.feature_extractor import FeatureExtractor
from model.inference.saliency import compute_evidence, compute_evidence_limit
from model.inference.shared_pass import SharedPassExtractor
from model.networks.backbones import frozen_lite0, hash_state_dict, load_backbone
from model.networks.encoder import Encoder
from model.networks.field_embedding import STAGE_3_MEAN
from model.networks.linear_probe import ProbeData, fit_head
from model.networks.schemes import CODE, SUBTYPE, Head, Scheme, softmax
from model.ood.features import build_ood_extractor
from model.ood.fit import iter_fit_detector
from model.ood.frozen_pass import UM_PER_PX, is_frozen_lite0
from model.ood.nearest_neighbor import SEEN_BY_CLASSIFIER
from model.ood.reference_features import ReferenceFeatures
from model.progress import Progress
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
    from model.data.feature_cache import FeatureCache
    from model.evaluation.cases import Case, OodFlag
    from model.framing import Field, Framing
    from model.inference.feature_extractor import FieldExtractor, FieldFeatures
    from model.ood.detector import OodDetector
    from model.taxonomy import Taxonomy
    from model.training.config import TrainingConfig
    from model.training.distributed import ProcessGroup


_FOLDS = 5
"""Folds of the cross-validation that replaces the validation set with a frozen backbone."""

_HeadLogits = dict[str, "NDArray[np.float64]"]
"""Head → (images, k) logits of images that it was not fitted on; NaN where there are none."""


def train(
    examples: Sequence[Example],
    config: TrainingConfig,
    folder: Path,
    *,
    test_keys: frozenset[str] | None = None,
    kept: Mapping[str, Sequence[str]] | None = None,
    fit_detector: Callable[[Sequence[Example]], OodDetector] | None = None,
    processes: ProcessGroup = SINGLE_PROCESS,
    features: FeatureCache | None = None,
    recipe: str,
    now: datetime,
) -> Iterator[Progress[Path]]:
    """Train a bundle and yield progress; the last item has the bundle's folder as its result.

    Stages are "labels", "images", the name of each network or head, "calibration", "strangeness",
    "evaluation", "leakage" and "bundle"; a stage may end before its total.

    Args:
        examples: Every labelled micrograph; the split is decided here.
        config: The training configuration.
        folder: Folder of the bundles. The new bundle appears in it when it is complete.
        test_keys: Keys of earlier test micrographs; they and their specimens stay in the test set.
        kept: Keys per side of an earlier split to keep; `test_keys` is the short form.
        fit_detector: Fits the OOD detector to the training and validation examples; None:
            `iter_fit_detector`, with the frozen network of the installation.
        processes: Processes that fine-tune networks together. Only the first one writes the bundle;
            the others end after the last network.
        features: Keeps what the frozen networks compute of a crop for the next training, or None.
        recipe: Version of the crop recipe of the examples.
        now: Aware UTC, for the bundle's name and record.

    Raises:
        TrainingError: The examples cannot be used for training as they are.
        WeightsError: The weights do not fit the network.
        BundleError: The bundle could not be written.
    """
    labelled = examples
    examples, taxonomy, notes = validate_examples(
        labelled, wanted := _leave_out(config), mixed_groups=config.mixed_groups
    )
    untrained = group_untrained(labelled, wanted)
    given_taxonomy, config = config.taxonomy, replace(config, taxonomy=taxonomy)
    kept = kept if kept is not None else {"test": tuple(test_keys or ())}
    sides = split(examples, shares=config.shares, kept=kept, seed=config.seed)
    _require_every_code(sides, taxonomy, config.group_by, frozenset(kept.get("test", ())))
    _require_distributable(config, sides, processes)
    yield from _report_split(notes, sides, len(examples))
    summary = DatasetSummary(sides)
    for done in summary.scan():
        yield Progress("labels", done, len(examples))
    framing, scope, copies = (
        summary.build_framing(config),
        summary.build_scope(),
        summary.find_copies(),
    )
    if sentence := format_leak_warning(copies):
        notes.append(sentence)
        yield Progress("labels", len(examples), len(examples), sentence)
    scheme = Scheme(config.scheme, taxonomy)
    encoders: dict[str, Encoder] = {}
    heads: dict[str, Head] = {}
    out_of_fold_logits: _HeadLogits = {}
    history: list[dict[str, Any]] = []
    shared: ReferenceFeatures | None = None
    checkpoint_folder = folder / f".training-{_hash_inputs(config, sides)}"
    for name, (arch, head_names) in _list_networks(config, scheme).items():
        torch.manual_seed(_seed(config, name))
        network, sentence = load_backbone(arch, config.weights_of(arch))
        yield Progress("images", 0, len(sides.train), sentence)
        notes += [] if sentence in notes else [sentence]
        encoder = Encoder(network, config.taps_of(arch))
        task = TrainingTask(
            encoder=encoder,
            name=name,
            scheme=scheme,
            heads=head_names,
            framing=framing,
            train=sides.train,
            validation=sides.validation,
        )
        if config.frozen:
            shared = None if fit_detector else _build_shared_features(task, features)
            yield from _fit_linear_probes(
                task, config, heads, out_of_fold_logits, (features, shared)
            )
        else:
            for epoch in fine_tune(task, config, checkpoint_folder, processes):
                yield Progress(name, epoch.number, config.epochs, epoch.sentence())
            history += [{"eye": name, **epoch.as_json()} for epoch in task.epochs]
            heads.update(task.fitted_heads)
        encoders[name] = encoder.eval().requires_grad_(False)  # noqa: FBT003 - torch's own signature
    if not processes.is_main:
        return
    extractor, framing = _build_extractor(config, framing, encoders, heads, shared)
    val_logits, evidence_limits, val_embeddings = yield from _extract_features(
        sides.validation, scheme, heads, extractor
    )
    calibration_examples = (
        (*sides.train, *sides.validation) if out_of_fold_logits else sides.validation
    )
    heads, level = _calibrate(calibration_examples, scheme, heads, out_of_fold_logits or val_logits)
    detector = yield from _fit_ood(
        (*sides.train, *sides.validation), taxonomy, fit_detector, features, shared
    )
    notes += yield from _report_alarm_rate(detector, config.alpha)
    classifier = Classifier(
        name="",
        scheme=scheme,
        framing=framing,
        conformal_level=level,
        encoders=encoders,
        heads=heads,
        detector=detector,
        engine=extractor.engine,
        alpha=config.alpha,
        validation_embeddings=val_embeddings,
        shares_pass=shared is not None,
    )
    evaluation = yield from _evaluate(classifier, sides.test, untrained)
    notes += yield from _find_leaks(evaluation, sides, copies)
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
                "plan": config.as_json(),
                "taxonomy": given_taxonomy.as_json(),
                "notes": notes,
                "history": history,
                "evidence_limits": evidence_limits,
                "engine": extractor.engine.label,
                "versions": _list_versions(),
                "data": _hash_inputs(config, sides),
                "data_set": _describe_data(sides),
                "strangeness": detector.summary(),
            },
            encoders=encoders,
            heads=heads,
            ood_tensors=detector.tensors() | {SEEN_BY_CLASSIFIER: val_embeddings},
            ood_facts=detector.facts(),
            field_embedding=shared.extractor.embedding.name if shared else "",
        ),
        folder,
    )
    _remove_checkpoints(checkpoint_folder)
    yield Progress(
        "bundle",
        1,
        1,
        f"{bundle.name}: {evaluation.correct} of {evaluation.n} test micrographs right.",
        bundle,
    )


# ------------------------------------------------------------------ steps


def _report_split(notes: Sequence[str], sides: Split, total: int) -> Iterator[Progress[Path]]:
    """Yield the notes on the labels, and the sizes of the split."""
    sizes = (
        f"{len(sides.train)} micrographs to train, {len(sides.validation)} to validate, "
        f"{len(sides.test)} to test."
    )
    yield from (Progress("labels", total, total, note) for note in (*notes, sizes))


def _leave_out(config: TrainingConfig) -> Taxonomy:
    """Return the taxonomy in which the codes of `config.without` are not trained.

    Raises:
        TaxonomyError: A code is not in the taxonomy.
    """
    given = config.taxonomy
    left_out = {given.code(*given.parse(code)) for code in config.without}
    return given.restricted_to(frozenset(given.trained_codes) - left_out) if left_out else given


def _require_every_code(
    sides: Split, taxonomy: Taxonomy, group_by: str, tested: frozenset[str]
) -> None:
    """Raise if a code is missing from the training or validation set."""
    for side, examples in (("train", sides.train), ("validate", sides.validation)):
        counts = Counter(example.code for example in examples)
        if lacking := [code for code in taxonomy.trained_codes if not counts[code]]:
            if side == "validate" and len(lacking) < len(taxonomy.trained_codes):
                continue  # calibrating without a rare code is possible
            raise TrainingError(_explain_missing_codes(lacking, side, sides, group_by, tested))


def _explain_missing_codes(
    lacking: Sequence[str], side: str, sides: Split, group_by: str, tested: frozenset[str]
) -> str:
    """Return why codes have no image on a side, and what can be done."""
    groups = f"groups by {group_by}" if group_by else "specimens"
    one = f"group by {group_by}" if group_by else "specimen"
    everything = (*sides.train, *sides.validation, *sides.test)
    code = lacking[0]
    own = {e.group for e in everything if e.code == code}
    held = {e.group for e in sides.test if e.key in tested}
    if own and held.issuperset(own):
        return (
            f"No micrograph of {code} is left to {side}: all are of {groups} with images that were "
            "tested on before, and what was tested on stays a test; label images of other "
            f"{groups}, or group them as they were grouped when the bundle at work was taught."
        )
    way_out = (
        f"Label micrographs of more {groups}, or train without: "
        f"agent train --without {','.join(lacking)!r}."
    )
    if len(own) >= len(SIDES):
        return (
            f"No micrograph of {code} is left to {side}: its {len(own)} {groups} hold other codes "
            f"too, and were needed to {'test' if side == 'train' else 'train'} those. {way_out}"
        )
    few = f"one {one} only" if len(own) == 1 else f"{len(own)} {groups} only"
    return (
        f"Code {code} has micrographs of {few}; at least {len(SIDES)} are needed, one each to "
        f"train, validate and test. {way_out}"
    )


def _require_distributable(config: TrainingConfig, sides: Split, processes: ProcessGroup) -> None:
    """Raise if the processes cannot train this configuration together."""
    if processes.size == 1:
        return
    if config.frozen:
        raise TrainingError(
            "The heads of a frozen network are trained by one process. Start without torchrun, or "
            "train the whole network (--arch resnet18, without --frozen)."
        )
    if config.device.startswith("cuda:"):
        raise TrainingError(
            f"The device {config.device} is one GPU and there are {processes.size} processes; set "
            "model.device to auto, and every process takes its own."
        )
    if config.batch < processes.size:
        raise TrainingError(
            f"A step shows {config.batch} images and there are {processes.size} processes; give "
            f"torchrun --nproc-per-node {config.batch} or less."
        )
    processes.require_equal(
        _hash_inputs(config, sides),
        "it would teach something else than the first one; start the same command on the same "
        "labels everywhere.",
    )


def _list_networks(
    config: TrainingConfig, scheme: Scheme
) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return network → architecture and heads; a frozen network is shared by all heads."""
    if not config.frozen:
        return {
            name: (config.arch_of(heads[0]), heads) for name, heads in scheme.encoders().items()
        }
    by_arch: dict[str, list[str]] = {}
    for head in scheme.heads():
        by_arch.setdefault(config.arch_of(head), []).append(head)
    return {f"frozen {arch}": (arch, tuple(heads)) for arch, heads in by_arch.items()}


def _build_shared_features(
    task: TrainingTask, cache: FeatureCache | None
) -> ReferenceFeatures | None:
    """Return the features that heads and OOD check share; None if their passes differ."""
    if (
        task.framing.kind != "scale"
        or task.framing.um_per_px != UM_PER_PX
        or not is_frozen_lite0(task.encoder.backbone)
        or task.encoder.taps != STAGE_3_MEAN.stages
        or len(task.heads) != len(task.scheme.heads())
    ):
        return None
    extractor = build_ood_extractor(frozen_lite0(), "fp32", task.framing.usual_um_per_px)
    return ReferenceFeatures((*task.train, *task.validation), extractor, cache)


def _build_extractor(
    config: TrainingConfig,
    framing: Framing,
    encoders: Mapping[str, Encoder],
    heads: Mapping[str, Head],
    shared: ReferenceFeatures | None,
) -> tuple[FieldExtractor, Framing]:
    """Return the extractor for the fitted heads, and the framing of its input."""
    if shared is None:
        engine = choose_engine(config.device)
        return FeatureExtractor(framing, encoders, engine, heads=heads.values()), framing
    (name,) = encoders
    extractor = SharedPassExtractor(shared.extractor, name, heads.values())
    return extractor, shared.extractor.frozen_pass.framing


def _fit_linear_probes(
    task: TrainingTask,
    config: TrainingConfig,
    heads: dict[str, Head],
    out_of_fold_logits: _HeadLogits,
    kept: tuple[FeatureCache | None, ReferenceFeatures | None],
) -> Iterator[Progress[Path]]:
    """Embed every image once, in several augmented views, then fit each head to the embeddings.

    No choice depends on the validation images here, so they are trained on too;
    `out_of_fold_logits` receives the logits of each image from heads fitted without its specimen.
    """
    cache, shared = kept
    extractor: FieldExtractor
    if shared is None:
        engine = choose_engine(config.device)
        extractor = FeatureExtractor(task.framing, {task.name: task.encoder}, engine)
        made_by = (
            f"views {AUGMENTATION} {task.encoder.backbone.arch} {task.encoder.taps} {engine} "
            f"{hash_state_dict(task.encoder.state_dict())}"
        )
    else:
        extractor = SharedPassExtractor(shared.extractor, task.name)
        made_by = f"views {AUGMENTATION} {shared.extractor.made_by}"
    examples = (*task.train, *task.validation)
    views: list[NDArray[np.float32]] = []
    for done, example in enumerate(examples):
        rows = _embed_views(example, extractor, task, config, (cache, made_by, shared))
        views.append(rows)
        yield Progress("images", done + 1, len(examples))
    data = ProbeData(
        embeddings=np.concatenate(views),
        images=np.repeat(np.arange(len(examples)), [len(rows) for rows in views]),
        codes=[example.code for example in examples],
        counts=np.array([example.weight for example in examples]),
        folds=_assign_folds(examples, config.seed),
    )
    for done, name in enumerate(task.heads):
        probe = fit_head(
            task.scheme,
            name,
            task.name,
            data,
            imbalance=config.imbalance,
            ordinal=config.loss == "ordinal",
        )
        heads[name], out_of_fold_logits[name] = probe.head, probe.out_of_fold_logits
        yield Progress(name, done + 1, len(task.heads))


def _assign_folds(examples: Sequence[Example], seed: int) -> NDArray[np.intp]:
    """Return the cross-validation fold of each example; specimens are left out whole."""
    fold_of = {
        example.key: fold
        for fold, (_, left_out) in enumerate(folds(examples, _FOLDS, seed=seed))
        for example in left_out
    }
    return np.array([fold_of[example.key] for example in examples], dtype=np.intp)


def _embed_views(
    example: Example,
    extractor: FieldExtractor,
    task: TrainingTask,
    config: TrainingConfig,
    kept: tuple[FeatureCache | None, str, ReferenceFeatures | None],
) -> NDArray[np.float32]:
    """Return the (views, c) embeddings of one example; the first view is not augmented.

    Args:
        example: The example.
        extractor: Has the encoder.
        task: Has its name and the framing.
        config: The training configuration.
        kept: The cache, what the embeddings depend on besides example and configuration, and the
            features that the first view is taken from, if there are any.
    """
    cache, made_by, shared = kept
    if shared is not None:
        plain = shared.get_embedding(example.key)[None]
        if config.views == 1:
            return plain
        others = _embed_views(example, extractor, task, config, (cache, made_by, None))
        return np.concatenate([plain, others])
    field = example.load()

    def compute() -> dict[str, NDArray[np.float32]]:
        return {"views": _compute_views(example.key, field, extractor, task.name, config)}

    if cache is None:
        return compute()["views"]
    # The usual pixel size is a median of the examples: it must not renew fields with a scale.
    usual = 0.0 if field.um_per_px else task.framing.usual_um_per_px
    options = (
        f"{made_by} {replace(task.framing, usual_um_per_px=usual)} views {config.views} "
        f"rotate {config.rotate} seed {_seed(config, example.key)}"
    )
    return np.asarray(cache.get_or_compute(field, options, compute)["views"], np.float32)


def _compute_views(
    key: str, field: Field, extractor: FieldExtractor, encoder: str, config: TrainingConfig
) -> NDArray[np.float32]:
    """Return the embeddings of a field's views; an extractor of a shared pass has the first one."""
    (plain,) = extractor.frames([field])
    rng = np.random.default_rng(_seed(config, key))
    views = [] if isinstance(extractor, SharedPassExtractor) else [plain]
    views += [
        [
            extractor.to_device(augment(device_frame.frame, rng, rotate=config.rotate))
            for device_frame in plain
        ]
        for _ in range(config.views - 1)
    ]
    return np.stack([features.embedding for features in extractor.extract(encoder, views)])


def _extract_features(
    examples: Sequence[Example],
    scheme: Scheme,
    heads: Mapping[str, Head],
    extractor: FieldExtractor,
) -> Generator[Progress[Path], None, tuple[_HeadLogits, dict[str, float], NDArray[np.float32]]]:
    """Extract features of images that no network was trained on.

    Returns:
        Logits of every head, the scale of the evidence maps, and the first stage's embeddings
        (n, c).
    """
    by_encoder: dict[str, list[NDArray[np.float32]]] = defaultdict(list)
    scale = _EvidenceScale(scheme, heads)
    for done, example in enumerate(examples):
        frames = extractor.frames([example.load()])
        for encoder in extractor.encoders:
            (features,) = extractor.extract(encoder, frames)
            by_encoder[encoder].append(features.embedding)
            scale.add(example.code, encoder, features)
        yield Progress("calibration", done + 1, len(examples))
    embeddings = {encoder: np.stack(rows) for encoder, rows in by_encoder.items()}
    logits = {
        name: head.logits(embeddings[head.encoder]) for name, head in heads.items() if embeddings
    }
    first = heads[scheme.first_stage()[0]]
    return (
        logits,
        scale.limits(),
        embeddings.get(first.encoder, np.zeros((0, first.weight.shape[1]), "f4")),
    )


def _calibrate(
    examples: Sequence[Example], scheme: Scheme, heads: Mapping[str, Head], logits: _HeadLogits
) -> tuple[dict[str, Head], float]:
    """Fit a temperature per head and the level of prediction sets to out-of-sample logits."""
    calibrated = {}
    for name, head in heads.items():
        targets = [scheme.target(name, example.code) for example in examples]
        has_logits = ~np.isnan(logits[name]).any(axis=1) if name in logits else np.zeros(0, bool)
        rows = [row for row in np.flatnonzero(has_logits) if targets[row] is not None]
        head_logits = logits[name][rows] if rows else np.zeros((0, len(head.classes)))
        calibrated[name] = head.with_temperature(
            fit_temperature(head_logits, np.array([targets[row] for row in rows], dtype=np.intp))
        )
    sizes, true_sizes = [], []
    for row, example in enumerate(examples):
        row_logits = {name: head_logits[row] for name, head_logits in logits.items()}
        if any(np.isnan(head_logits).any() for head_logits in row_logits.values()):
            continue
        shares = {
            name: softmax(head_logits / calibrated[name].temperature)
            for name, head_logits in row_logits.items()
        }
        combined = scheme.combine(shares)
        subtype, size = scheme.taxonomy.parse(example.code)
        sizes.append(combined.sizes)
        true_sizes.append(size if combined.best[0] == subtype else None)
    return calibrated, fit_conformal_level(sizes, true_sizes)


class _EvidenceScale:
    """Evidence of validation images, from which the maps of all images get one scale."""

    def __init__(self, scheme: Scheme, heads: Mapping[str, Head]) -> None:
        self._scheme, self._heads = scheme, heads
        self._values: dict[str, list[NDArray[np.float32]]] = {"subtype": [], "size": []}

    def add(self, code: str, encoder: str, features: FieldFeatures) -> None:
        """Add the evidence for the predicted class of each head of one network."""
        for name, head in self._heads.items():
            if head.encoder != encoder or self._scheme.target(name, code) is None:
                continue
            best = int(head.logits(features.embedding[None])[0].argmax())
            cells = zip(features.by_cell[name], features.weights, strict=True)
            values = [
                compute_evidence(by_cell, head, best)[weights > 0] for by_cell, weights in cells
            ]
            for stage in self._stages(name):
                self._values[stage] += values

    def limits(self) -> dict[str, float]:
        """Return the evidence that is drawn in full colour, per stage."""
        return {stage: compute_evidence_limit(values) for stage, values in self._values.items()}

    def _stages(self, head: str) -> tuple[str, ...]:
        if head == CODE:
            return ("subtype", "size")
        return ("subtype",) if head == SUBTYPE else ("size",)


def _fit_ood(
    examples: Sequence[Example],
    taxonomy: Taxonomy,
    fit_detector: Callable[[Sequence[Example]], OodDetector] | None,
    cache: FeatureCache | None,
    shared: ReferenceFeatures | None,
) -> Generator[Progress[Path], None, OodDetector]:
    """Fit the OOD detector, or call the given function."""
    if fit_detector is not None:
        yield Progress("strangeness", len(examples), len(examples))
        return fit_detector(examples)
    for progress in iter_fit_detector(
        examples,
        subtype_of=lambda code: taxonomy.parse(code)[0],
        cache=cache,
        features=shared,
    ):
        yield Progress("strangeness", progress.done, progress.total)
        if progress.result is not None:
            return progress.result
    raise TrainingError("Strangeness was not learned: there was nothing to learn it from.")


def format_alarm_note(detector: OodDetector, alpha: float) -> str:
    """Return what is uncertain about an alarm rate, or ""; it never ends a training."""
    try:
        return detector.require(alpha)
    except ModelError as error:
        return str(error)


def _report_alarm_rate(
    detector: OodDetector, alpha: float
) -> Generator[Progress[Path], None, list[str]]:
    note = format_alarm_note(detector, alpha)
    if note:
        yield Progress("strangeness", len(detector), len(detector), note)
    return [note] if note else []


def _evaluate(
    classifier: Classifier, test: Sequence[Example], untrained: Mapping[str, Sequence[Example]]
) -> Generator[Progress[Path], None, Evaluation]:
    """Evaluate the test images, and the images of untrained codes, which must be flagged."""
    total = len(test) + sum(map(len, untrained.values()))
    cases: list[Case] = []
    for case in iter_cases(classifier, test):
        cases.append(case)
        yield Progress("evaluation", len(cases), total)
    unusual: dict[str, tuple[OodFlag, ...]] = {}
    done = len(cases)
    for kind, examples in untrained.items():
        flags = []
        for flag in iter_flags(classifier, examples):
            flags.append(flag)
            yield Progress("evaluation", done := done + 1, total)
        unusual[kind] = tuple(flags)
    return Evaluation("", classifier.taxonomy, tuple(cases), 0, classifier.alpha, unusual)


def _find_leaks(
    evaluation: Evaluation, sides: Split, known_copies: Collection[tuple[str, str]]
) -> Generator[Progress[Path], None, list[str]]:
    """Find test images that show a place of a training image rotated or cropped."""
    trained = {example.key: example for example in (*sides.train, *sides.validation)}
    tested = {example.key: example for example in sides.test}
    pairs: list[tuple[str, str]] = []
    n = len(tested)
    for done, overlaps in enumerate(iter_overlaps(evaluation.cases, tested, trained), 1):
        pairs += [pair for pair in overlaps if pair not in known_copies]
        yield Progress("leakage", done, n)
    if note := format_leak_warning(pairs):
        yield Progress("leakage", n, n, note)
    return [note] if note else []


# ------------------------------------------------------------------ the record


def _hash_inputs(config: TrainingConfig, sides: Split) -> str:
    """Hash configuration and labels: an interrupted training is resumed only with the same."""
    options = config.as_json() | {"taxonomy": config.taxonomy.as_json(), "epochs": 0}
    labels = sorted(
        (example.key, example.code, example.weight) for example in sides.train + sides.validation
    )
    return hashlib.sha256(json.dumps([options, labels], sort_keys=True).encode()).hexdigest()[:12]


def _describe_data(sides: Split) -> dict[str, Any]:
    """Return fingerprints and label counts of the training and test examples."""
    trained = sides.train + sides.validation
    return {
        "all": fingerprint(trained + sides.test),
        "learned": fingerprint(trained),
        "test": fingerprint(sides.test),
        "codes": dict(Counter(example.code for example in trained + sides.test)),
        "criteria": dict(Counter(example.criterion for example in trained + sides.test)),
        "counting_less": sorted(example.key for example in trained if example.weight < 1),
    }


def _seed(config: TrainingConfig, name: str) -> int:
    return int(hashlib.sha256(f"{config.seed}:{name}".encode()).hexdigest()[:8], 16)


def _list_versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - once a training

    versions = {"python": platform.python_version()}
    for name in ("martensight", "torch", "torchvision", "numpy", "safetensors", "openvino"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def _remove_checkpoints(folder: Path) -> None:
    import shutil  # noqa: PLC0415 - once a training

    shutil.rmtree(folder, ignore_errors=True)
