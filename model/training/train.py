"""Train a bundle from labelled micrographs.

Training is a generator, so that the caller shows progress and may stop between two steps; the next
call with the same examples and configuration resumes from the last checkpoint. Nothing visible to
others changes until the last step.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from model.bundle import BundleContents, Manifest, TestedHeads, write_bundle
from model.calibration import SetLevels
from model.data.dataset import Example
from model.data.feature_cache import FeatureCache
from model.data.near_duplicates import format_leak_warning
from model.framing import Framing
from model.inference.classifier import Classifier
from model.inference.feature_extractor import FieldExtractor
from model.networks.backbones import Encoder, load_backbone
from model.networks.schemes import Head, Scheme
from model.ood.detector import OodDetector, collect_facts, list_tensors
from model.ood.fit import ReferenceFeatures
from model.ood.nearest_neighbor import SEEN_BY_CLASSIFIER
from model.progress import Progress
from model.runtime.engines import Engine
from model.training.assessment import (
    evaluate_test_set,
    find_leaks,
    fit_ood_detector,
    fit_reduced_detector,
    report_alarm_rate,
)
from model.training.config import TrainingConfig, TrainingTask
from model.training.distributed import SINGLE_PROCESS, ProcessGroup
from model.training.fine_tuning import fine_tune
from model.training.heads import (
    EVIDENCE_IMAGES,
    HeadLogits,
    build_cross_validation,
    build_extractor,
    build_shared_features,
    calibrate_heads,
    extract_features,
    fit_linear_probes,
)
from model.training.plan import (
    DatasetSummary,
    TrainingPlan,
    derive_seed,
    hash_inputs,
    iter_split_notes,
    require_distributable,
)


def train(
    examples: Sequence[Example],
    config: TrainingConfig,
    folder: Path,
    *,
    test_keys: frozenset[str] | None = None,
    kept: Mapping[str, Sequence[str]] | None = None,
    tested_only: Collection[str] = (),
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
        tested_only: Keys of micrographs that are tested on and never learned from, such as control
            samples. From its other test images a frozen network's heads learn after the test.
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
    kept = kept if kept is not None else {"test": tuple(test_keys or ())}
    plan = TrainingPlan.build(examples, config, kept, tested_only)
    require_distributable(plan.config, plan.sides, processes)
    yield from iter_split_notes(plan.notes, plan.sides, plan.n)
    summary = DatasetSummary(plan.sides)
    for done in summary.scan():
        yield Progress("labels", done, plan.n)
    framing, copies = summary.build_framing(plan.config), summary.find_copies()
    if sentence := summary.describe_pixels(plan.config):
        plan.notes.append(sentence)
        yield Progress("labels", plan.n, plan.n, sentence)
    yield from _note_copies(copies, plan)
    networks = _Networks()
    checkpoint_folder = folder / f".training-{hash_inputs(plan.config, plan.sides)}"
    yield from _train_networks(
        plan,
        framing,
        networks,
        checkpoint_folder=checkpoint_folder,
        processes=processes,
        features=features,
        shares_pass=fit_detector is None,
    )
    if not processes.is_main:
        return
    extractor, framing = build_extractor(
        plan.config, framing, networks.encoders, networks.heads, networks.shared
    )
    calibration = yield from _calibrate(plan, networks, extractor)
    detector, notes = yield from fit_ood_detector(
        plan.learned,
        plan.scheme.taxonomy,
        fit_detector,
        features,
        networks.shared,
        is_native=summary.keeps_pixels(plan.config),
    )
    plan.notes.extend(notes)
    plan.notes.extend((yield from report_alarm_rate(detector, plan.config.alpha)))
    classifier = _build_classifier(plan, framing, networks, calibration, detector)
    embeddings: dict[str, NDArray[np.float32]] = {}
    evaluation = yield from evaluate_test_set(
        classifier, plan.sides.test, plan.untrained, embeddings
    )
    for task in networks.tasks if networks.shared else ():
        task.plain.update(embeddings)
    plan.notes.extend((yield from find_leaks(evaluation, plan.sides, copies)))
    final = yield from _refit(plan, networks, calibration, features)
    reduced = yield from fit_reduced_detector(
        plan.learned,
        plan.scheme.taxonomy,
        features,
        networks.shared if plan.config.bf16 else None,
    )
    bundle = write_bundle(
        BundleContents(
            manifest=Manifest(
                name="",
                created_at=now,
                recipe=recipe,
                taxonomy=plan.scheme.taxonomy,
                scheme=plan.scheme.kind,
                framing=framing,
                set_levels=final.set_levels,
                validated=summary.build_scope(),
                metrics=evaluation.as_json(),
                split=plan.sides.keys(),
                facts=plan.describe()
                | {
                    "history": networks.history,
                    "evidence_limits": calibration.evidence_limits,
                    "engine": calibration.engine.label,
                    "strangeness": detector.summary()
                    | {"precisions": ["fp32", *(["bf16"] if reduced else [])]},
                    "cross_validation": final.cross_validation,
                },
                files={},
                field_embedding=networks.shared.extractor.embedding.name if networks.shared else "",
            ),
            encoders=networks.encoders,
            heads=final.heads,
            ood_tensors=list_tensors(detector, reduced)
            | {SEEN_BY_CLASSIFIER: calibration.embeddings},
            ood_facts=collect_facts(detector, reduced),
            tested=final.tested,
        ),
        folder,
    )
    shutil.rmtree(checkpoint_folder, ignore_errors=True)
    yield Progress(
        "bundle",
        1,
        1,
        f"{bundle.name}: {evaluation.correct} of {evaluation.n} test micrographs right.",
        bundle,
    )


# ------------------------------------------------------------------ steps


def _note_copies(copies: Sequence[tuple[str, str]], plan: TrainingPlan) -> Iterator[Progress[Path]]:
    """Yield a warning if test images are near-duplicates of training images."""
    if sentence := format_leak_warning(copies, plan.sides.examples):
        plan.notes.append(sentence)
        yield Progress("labels", plan.n, plan.n, sentence)


@dataclass(slots=True)
class _Networks:
    """Networks and heads, filled one network at a time.

    Args:
        encoders: Encoders by name.
        heads: Heads by name, not calibrated yet.
        out_of_fold_logits: Of training and validation images, with a frozen network.
        history: One record per epoch, with fine-tuning.
        tasks: What each network was trained on, with the embeddings by a frozen one.
        shared: Features that heads and OOD check share, or None.
    """

    encoders: dict[str, Encoder] = field(default_factory=dict)
    heads: dict[str, Head] = field(default_factory=dict)
    out_of_fold_logits: HeadLogits = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    tasks: list[TrainingTask] = field(default_factory=list)
    shared: ReferenceFeatures | None = None


def _train_networks(
    plan: TrainingPlan,
    framing: Framing,
    networks: _Networks,
    *,
    checkpoint_folder: Path,
    processes: ProcessGroup,
    features: FeatureCache | None,
    shares_pass: bool,
) -> Iterator[Progress[Path]]:
    """Train every network with its heads into `networks`."""
    config = plan.config
    for name, (arch, head_names) in _list_networks(config, plan.scheme).items():
        torch.manual_seed(derive_seed(config, name))
        network, sentence = load_backbone(arch, config.weights_of(arch))
        yield Progress("images", 0, len(plan.sides.train), sentence)
        if sentence not in plan.notes:
            plan.notes.append(sentence)
        encoder = Encoder(network, config.taps_of(arch))
        task = TrainingTask(
            encoder=encoder,
            name=name,
            scheme=plan.scheme,
            heads=head_names,
            framing=framing,
            train=plan.sides.train,
            validation=plan.sides.validation,
        )
        if config.frozen:
            networks.shared = build_shared_features(task, config, features) if shares_pass else None
            networks.out_of_fold_logits |= yield from fit_linear_probes(
                task, plan.learned, config, features, networks.shared
            )
        else:
            for epoch in fine_tune(task, config, checkpoint_folder, processes):
                yield Progress(name, epoch.number, config.epochs, epoch.sentence())
        networks.history += [{"eye": name, **epoch.as_json()} for epoch in task.epochs]
        networks.heads.update(task.fitted_heads)
        networks.tasks.append(task)
        networks.encoders[name] = encoder.eval().requires_grad_(False)  # noqa: FBT003 - torch's own signature


@dataclass(frozen=True, slots=True)
class _Calibration:
    """Calibrated heads, and what of the validation images a bundle keeps.

    Args:
        heads: Heads by name, with temperatures.
        set_levels: How unlikely a class of a prediction set may be.
        evidence_limits: Evidence that is drawn in full colour, per stage.
        embeddings: (n, c) float32 of the validation images, by the first stage's network.
        engine: Computed the features.
    """

    heads: dict[str, Head]
    set_levels: SetLevels
    evidence_limits: dict[str, float]
    embeddings: NDArray[np.float32]
    engine: Engine


def _calibrate(
    plan: TrainingPlan, networks: _Networks, extractor: FieldExtractor
) -> Generator[Progress[Path], None, _Calibration]:
    """Calibrate the heads on images that they were not fitted on."""
    out_of_fold = networks.out_of_fold_logits
    validation = plan.sides.validation
    logits, evidence_limits, embeddings = yield from extract_features(
        validation[:: max(1, len(validation) // EVIDENCE_IMAGES)] if out_of_fold else validation,
        plan.scheme,
        networks.heads,
        extractor,
    )
    if out_of_fold and validation:
        encoder = networks.heads[plan.scheme.first_stage()[0]].encoder
        (views,) = (task.views for task in networks.tasks if task.name == encoder)
        embeddings = np.stack([views[example.key][0] for example in validation])
    heads, levels = calibrate_heads(
        plan.learned if out_of_fold else plan.sides.validation,
        plan.scheme,
        networks.heads,
        out_of_fold or logits,
    )
    return _Calibration(heads, levels, evidence_limits, embeddings, extractor.engine)


def _build_classifier(
    plan: TrainingPlan,
    framing: Framing,
    networks: _Networks,
    calibration: _Calibration,
    detector: OodDetector,
) -> Classifier:
    """Build the classifier that is tested, before anything is written."""
    return Classifier(
        name="",
        scheme=plan.scheme,
        framing=framing,
        set_levels=calibration.set_levels,
        encoders=networks.encoders,
        heads=calibration.heads,
        detector=detector,
        engine=calibration.engine,
        alpha=plan.config.alpha,
        validation_embeddings=calibration.embeddings,
        shares_pass=networks.shared is not None,
    )


@dataclass(frozen=True, slots=True)
class _FinalHeads:
    """The heads for service.

    Args:
        heads: Heads by name.
        set_levels: How unlikely a class of their prediction sets may be.
        cross_validation: Out-of-fold estimate over everything they learned from; {} without one.
        tested: The heads that were tested, if these learned from more; else None.
    """

    heads: dict[str, Head]
    set_levels: SetLevels
    cross_validation: dict[str, Any]
    tested: TestedHeads | None


def _refit(
    plan: TrainingPlan,
    networks: _Networks,
    calibration: _Calibration,
    features: FeatureCache | None,
) -> Generator[Progress[Path], None, _FinalHeads]:
    """Fit a frozen network's heads to the test images too, when those have been tested on."""
    heads, levels = calibration.heads, calibration.set_levels
    examples, logits = plan.learned, networks.out_of_fold_logits
    tested: TestedHeads | None = None
    if not logits:
        return _FinalHeads(heads, levels, {}, None)
    if plan.learned_after_test:
        tested = TestedHeads(heads, levels, {e.key: e.code for e in plan.learned_after_test})
        examples, logits = (*plan.learned, *plan.learned_after_test), {}
        refitted: dict[str, Head] = {}
        for task in networks.tasks:
            logits |= yield from fit_linear_probes(
                task, examples, plan.config, features, networks.shared
            )
            refitted.update(task.fitted_heads)
        heads, levels = calibrate_heads(examples, plan.scheme, refitted, logits)
    estimate = build_cross_validation(examples, plan.scheme, heads, logits, seed=plan.config.seed)
    return _FinalHeads(heads, levels, estimate, tested)


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
