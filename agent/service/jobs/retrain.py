"""Train a candidate, or suggest what to label next, in a child of low priority.

Nothing here promotes. A lab without a bundle trains its first one the same way, which is in use at
once: there is nothing to compare it with.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from agent.archive import Archive
from agent.errors import AgentError, UsageError
from agent.orders.facts.order_policy import software, taxonomy_in_force
from agent.retrain import Outcome, PseudoLabelled
from agent.retrain.bundle_registry import delete_leftovers, get_bundle, get_bundles_folder
from agent.service.composition import build_demands, collect_labels, load_bundle, open_store
from agent.service.data_folder import Lock, TrainingLock, clock, get_feature_cache
from agent.service.jobs.supervisor import run_supervised
from agent.settings.root import RECIPE
from model import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from agent.retrain import Collected, Suggestion
    from agent.settings import Settings
    from agent.store import MicrographView, Store
    from model import Manifest, TrainingConfig


JOB = "retrain"
ROOM_BYTES = 1_000_000_000
"""Disk and memory that stay free during a training."""
HELD_BYTES = 1_500_000_000
"""Memory of the process and its frozen networks; 1.3 GB were measured while the quick plan was
trained on 30 drawn fields of 1994 px.
"""


class NoRoomError(AgentError):
    """There is too little disk or memory to teach a bundle."""


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """A training that is due.

    Args:
        current: Folder of the bundle in use.
        manifest: Of that bundle.
        plan: How the next one is trained.
        collected: The labels.
    """

    current: Path
    manifest: Manifest
    plan: TrainingConfig
    collected: Collected

    @property
    def new(self) -> int:
        """Number of labels outside the training set of the bundle in use: new and changed ones."""
        from model import read_training_labels  # noqa: PLC0415 - brings PyTorch; a lab may start without

        return len(self.collected.news_to(self.manifest, read_training_labels(self.current)))


def find_training_job(settings: Settings, store: Store) -> TrainingJob:
    """Return the training that is due. Raises `UsageError` where there is no bundle yet."""
    from agent.retrain import get_training_config  # noqa: PLC0415 - brings PyTorch; a lab may start without
    from model import read_manifest  # noqa: PLC0415

    current = get_bundle_in_use(settings, store)
    manifest = read_manifest(current)
    plan = get_training_config(manifest, epochs=settings.retrain.epochs)
    own = taxonomy_in_force(settings, store)  # what a specimen may have is the lab's to say
    plan = replace(
        plan,
        taxonomy=replace(plan.taxonomy, several_subtypes=own.several_subtypes),
        bf16=settings.model.precision == "bf16",
    )
    collected = collect_labels(settings, store, manifest.taxonomy, group_by=plan.group_by)
    return TrainingJob(current, manifest, plan, collected)


def get_bundle_in_use(settings: Settings, store: Store) -> Path:
    """Return the folder of the bundle in use. Raises `UsageError` where there is none yet."""
    name = store.promotions.find_current()
    if name is None:
        raise UsageError(
            "There is no bundle yet. Train the first one: agent train, or the page Training."
        )
    return get_bundle(settings.store.folder, name)


def train_candidate(
    settings: Settings, *, pseudo_labels: bool = False
) -> Iterator[Progress[None] | Outcome]:
    """Train a candidate and compare it with the bundle in use: the job of the child.

    Args:
        settings: Of the lab.
        pseudo_labels: Whether the model's own answers are trained on too, if they are audited.

    Yields:
        `Progress`, last an `Outcome`.
    """
    from agent.retrain import retrain, save_record  # noqa: PLC0415 - the child's alone

    bundles = get_bundles_folder(settings.store.folder)
    delete_leftovers(settings.store.folder)
    with open_store(settings) as store:
        lesson = find_training_job(settings, store)
        views = list(store.results.iter_all()) if pseudo_labels else []
    pseudo: PseudoLabelled | None = None
    for step in _pseudo_labelled(settings, lesson, views) if pseudo_labels else ():
        if isinstance(step, PseudoLabelled):
            pseudo = step
        else:
            yield step
    now = clock()
    for news in retrain(
        lesson.collected,
        current=lesson.current,
        plan=lesson.plan,
        bundles=bundles,
        min_new=settings.retrain.min_new_labels,
        now=now,
        demands=build_demands(settings, lesson.plan.taxonomy, now=now),
        leave_out_doubted=settings.retrain.leave_out_doubted,
        pseudo=pseudo,
        features=get_feature_cache(settings),
    ):
        if isinstance(news, Outcome):
            with open_store(settings) as store:
                if news.candidate:
                    save_record(bundles / news.candidate)
                    write_card(settings, store, news.candidate)
                _send_back(store, lesson.collected, news)
        yield news


# --- the first bundle ---------------------------------------------------------------------------


def read_lab_config(settings: Settings, store: Store) -> dict[str, Any]:
    """Return the settings that every training of a lab shares."""
    return {
        "taxonomy": taxonomy_in_force(settings, store),
        "alpha": settings.strangeness.alpha,
        "device": settings.model.device,
        "bf16": settings.model.precision == "bf16",
    }


def find_lack(settings: Settings) -> str:
    """Return what this PC lacks to train ResNet-18 in hours, or ""."""
    from model import TrainingConfig, choose_engine, has_weights  # noqa: PLC0415

    if not choose_engine(settings.model.device).on_gpu:
        return "This PC has no GPU"
    arch = TrainingConfig().arch
    if not has_weights(arch):
        return (
            f"This PC has no ImageNet weights of {arch} (agent models weights {arch} "
            "downloads them)"
        )
    return ""


def train_first(settings: Settings, *, folder: str, by: str) -> Iterator[Progress[None] | str]:
    """Train the first bundle of a lab: the job of the child.

    Args:
        settings: Of the lab.
        folder: Labelled folder that is imported first; "" for the labels so far.
        by: Who started it, and so signs the labels.

    Yields:
        `Progress`, last the name of the bundle.

    Raises:
        UsageError: There is no labelled micrograph, or too few for the bundle to serve.
    """
    from agent.retrain import save_record  # noqa: PLC0415 - the child's alone
    from agent.service.composition import load_bundle  # noqa: PLC0415
    from model import ModelError, TrainingConfig, quick_config, train  # noqa: PLC0415

    with open_store(settings) as store:
        if folder:
            yield from _import(settings, store, Path(folder), by=by)
        lab = read_lab_config(settings, store)
        plan = quick_config(**lab) if find_lack(settings) else TrainingConfig(**lab)
        collected = collect_labels(settings, store, plan.taxonomy, group_by=plan.group_by)
    if not collected.examples:
        raise UsageError("There are no labelled micrographs yet. Label some, or name a folder.")
    delete_leftovers(settings.store.folder)
    bundle: Path | None = None
    for step in train(
        collected.for_training(None),
        plan,
        get_bundles_folder(settings.store.folder),
        kept=collected.sides(None),
        tested_only=collected.control,
        features=get_feature_cache(settings),
        recipe=RECIPE,
        now=clock(),
    ):
        bundle = step.result or bundle
        yield Progress(step.stage, step.done, step.total, step.note)
    if bundle is None:
        raise RuntimeError("training ended without a bundle")
    save_record(bundle)
    try:
        load_bundle(settings, bundle.name)  # one that cannot serve would send all to review
    except ModelError as error:
        raise UsageError(f"The first bundle was trained and cannot serve: {error}") from error
    yield bundle.name


def _import(settings: Settings, store: Store, folder: Path, *, by: str) -> Iterator[Progress[None]]:
    """Import a labelled folder with a pool of this process's own."""
    from agent import labelled_import  # noqa: PLC0415
    from agent.orders.facts.order_policy import read_taxonomy  # noqa: PLC0415
    from agent.service.composition import make_pipeline, make_pool  # noqa: PLC0415

    taxonomy = read_taxonomy(settings, store, now=clock())
    listing = labelled_import.list_labelled_folder(folder, taxonomy)
    with make_pool(settings) as pool:
        pipeline = make_pipeline(
            settings,
            store=store,
            pool=pool,
            classifier=None,
            sources={listing.source: labelled_import.ManifestProvenance()},
        )
        for step in labelled_import.import_folder(
            listing, store=store, pipeline=pipeline, now=clock, by=by
        ):
            if isinstance(step, Progress):
                yield step


def train_first_in_child(
    settings: Settings,
    store: Store,
    *,
    by: str,
    folder: str,
    now: Callable[[], datetime],
    should_stop: Callable[[], bool],
) -> Iterator[object]:
    """Train the first bundle in a child, and use it; see `run_supervised`.

    Raises:
        UsageError: A bundle is in use already, or one is being trained.
        NoRoomError: There is too little disk or memory.
        ChildEndedError: It failed.
        JobCancelledError: Its end was requested.
    """
    if store.promotions.find_current() is not None:
        raise UsageError("A bundle is in use already. Train a candidate instead.")
    bundles = get_bundles_folder(settings.store.folder)
    bundles.mkdir(parents=True, exist_ok=True)
    refuse_without_room(bundles)
    for news in run_supervised(
        partial(train_first, folder=folder, by=by),
        settings,
        store,
        name=JOB,
        lock=TrainingLock(settings.store.folder),
        by=by,
        now=now,
        ending=lambda name: (
            "done",
            {"sentence": f"{name} is the first bundle and in use.", "candidate": name},
        ),
        should_stop=should_stop,
    ):
        if isinstance(news, str):
            use_first(store, get_bundle(settings.store.folder, news), by=by, at=now())
            write_card(settings, store, news)
        yield news


def use_first(store: Store, bundle: Path, *, by: str, at: datetime) -> bool:
    """Use a bundle if the lab has none in use; return whether it had none."""
    from model import read_manifest  # noqa: PLC0415

    if store.promotions.find_current() is not None:
        return False
    metrics = read_manifest(bundle).metrics
    store.promotions.promote(bundle.name, by=by, reason="first bundle", at=at, metrics=metrics)
    return True


# --- a candidate --------------------------------------------------------------------------------


def _pseudo_labelled(
    settings: Settings, lesson: TrainingJob, views: Sequence[MicrographView]
) -> Iterator[Progress[None] | PseudoLabelled]:
    from agent.retrain import select_pseudo_labels  # noqa: PLC0415

    classifier = load_bundle(settings, lesson.manifest.name)
    archive = Archive.open(settings)
    labelled, group_by = lesson.collected.examples, lesson.plan.group_by
    return select_pseudo_labels(views, labelled, classifier, archive, group_by=group_by)


def _send_back(store: Store, collected: Collected, outcome: Outcome) -> None:
    """Send suspect labels to a second review."""
    from agent.retrain import send_back  # noqa: PLC0415
    from model import LabelIssue  # noqa: PLC0415

    doubted = [LabelIssue(**issue) for issue in outcome.numbers.get("doubted", ())]
    send_back(store, collected, doubted, by="agent retrain", at=clock())


def write_card(settings: Settings, store: Store, name: str) -> Path:
    """Write a bundle's model card with its current facts and return the path of the page."""
    from agent.retrain import save_card  # noqa: PLC0415

    at = f"{clock():%Y-%m-%d %H:%M} UTC with {software()}"
    bundle = get_bundle(settings.store.folder, name)
    page, _ = save_card(
        bundle,
        store.promotions.list_all(),
        site=settings.site.name,
        at=at,
        language=settings.report.language,
    )
    return page


def train_in_child(
    settings: Settings,
    store: Store,
    *,
    by: str,
    now: Callable[[], datetime] = clock,
    work: Callable[[Settings], Iterator[object]] = train_candidate,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[object]:
    """Train in a child; it changes neither the bundle in use nor the running agent.

    Args:
        settings: Of the lab.
        store: Open.
        by: Who started it.
        now: Returns the time, aware UTC.
        work: The job of the child.
        should_stop: As in `run_supervised`.

    Yields:
        `Progress`, last an `Outcome`, which is in the audit log.

    Raises:
        UsageError: There is no bundle yet, or another one is being trained.
        NoRoomError: There is too little disk or memory.
        ChildEndedError: It failed.
        JobCancelledError: Its end was requested.
    """
    current = get_bundle_in_use(settings, store)
    refuse_without_room(current)
    lock = TrainingLock(settings.store.folder)
    for news in run_supervised(
        work,
        settings,
        store,
        name=JOB,
        lock=lock,
        by=by,
        now=now,
        ending=_ending,
        should_stop=should_stop,
    ):
        if isinstance(news, Outcome):
            facts = {"gate": str(news.gate), "sentence": news.sentence}
            store.audit_log.add(
                at=now(), actor=by, act="model.candidate", subject=news.candidate, facts=facts
            )
        yield news


def _ending(outcome: Outcome) -> tuple[str, dict[str, Any]]:
    return str(outcome.gate), {
        "sentence": outcome.sentence,
        "candidate": outcome.candidate,
        "current": outcome.current,
        "new_labels": outcome.numbers.get("new_labels"),
    }


def refuse_without_room(
    current: Path,
    *,
    disk_free: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
    memory_free: Callable[[], int] = lambda: int(psutil.virtual_memory().available),
) -> None:
    """Refuse to begin a training for which there is too little disk or memory.

    Args:
        current: Folder of the bundle in use: the next one is as large.
        disk_free: Returns how many bytes are free on the disk of a folder.
        memory_free: Returns how many bytes of memory are free.

    Raises:
        NoRoomError: Names what is there, what is needed, and what to do.
    """
    size = sum(path.stat().st_size for path in current.glob("*.safetensors"))
    disk, memory = _estimate_need(size, is_frozen=_is_frozen(current))
    if (free := disk_free(current)) < disk:
        raise NoRoomError(
            f"{current.parent}: training a bundle needs {_gb(disk)} of disk, {_gb(free)} are "
            "free; make room and try again."
        )
    if (free := memory_free()) < memory:
        raise NoRoomError(
            f"Training a bundle needs {_gb(memory)} of memory, {_gb(free)} are free. Close other "
            "programs, or train on another PC and add the bundle: agent models add."
        )


def _estimate_need(bundle_bytes: int, *, is_frozen: bool) -> tuple[int, int]:
    """Return how much disk and memory a training takes, in bytes.

    Networks that are trained whole are checkpointed three times over (the best, the last, and the
    state of the optimizer, twice their size) and are in memory as often.
    """
    times = 1 if is_frozen else 5
    return ROOM_BYTES + (times + 1) * bundle_bytes, HELD_BYTES + times * bundle_bytes


def _is_frozen(bundle: Path) -> bool:
    if not (bundle / "bundle.json").is_file():  # the first one: most PCs train heads alone
        return True
    facts = json.loads((bundle / "bundle.json").read_bytes()).get("facts", {})
    return bool(facts.get("plan", {}).get("frozen"))


def _gb(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.1f} GB"


SUGGEST = "suggest"
SUGGESTED = 24
GAIN = 0.02
"""Gain of accuracy, a share, for which the number of further labels is estimated."""


def suggest_next(settings: Settings) -> Iterator[Progress[None] | Suggestion]:
    """Choose what to label next: the work of the child."""
    from agent.retrain import suggest  # noqa: PLC0415 - the child's alone

    with open_store(settings) as store:
        lesson, waiting = find_training_job(settings, store), store.review_queue.list_micrographs()
    classifier = load_bundle(settings, lesson.manifest.name)
    archive = Archive.open(settings)
    yield from suggest(waiting, lesson.collected, classifier, archive, n=SUGGESTED)


def suggest_in_child(
    settings: Settings,
    store: Store,
    *,
    by: str,
    now: Callable[[], datetime],
    should_stop: Callable[[], bool],
) -> Iterator[object]:
    """Choose what to label next in a child; see `run_supervised`."""
    lock = Lock(settings.store.folder / "suggest.lock", "Suggestions are being made already{who}.")
    yield from run_supervised(
        suggest_next,
        settings,
        store,
        name=SUGGEST,
        lock=lock,
        by=by,
        now=now,
        ending=suggestion_to_facts,
        should_stop=should_stop,
    )


def suggestion_to_facts(suggestion: Suggestion) -> tuple[str, dict[str, Any]]:
    """Return the outcome of the job, and the suggestion as JSON values."""
    curve = suggestion.curve
    more, low, high = curve.until(GAIN) if curve else (None, None, None)
    return "done", {
        "ids": [view.id for view in suggestion.views],
        "labelled": dict(suggestion.labelled),
        "recall": {code: recall.as_json() for code, recall in suggestion.recalls.items()},
        "gain": GAIN,
        "more_labels": {"value": more, "low": low, "high": high},
        "curve": curve.as_json() if curve else None,
    }
