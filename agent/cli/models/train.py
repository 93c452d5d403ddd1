"""`agent train` and `agent retrain`."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli import console
from agent.cli.app import SAYS_NO, SOME_FAILED, app, load_settings, open_store
from agent.cli.console import run_to_end, show_progress, silence_log
from agent.cli.models.evaluation_text import (
    explain_last_verdict,
    format_lacking,
    format_share,
    outcome_to_json,
)
from agent.cli.models.import_ import import_labelled, print_imported
from agent.cli.options import (
    By,
    EpochsOption,
    FrameOption,
    GroupOption,
    JsonOption,
    ManifestOption,
    SeedOption,
    os_user,
    sign,
)
from agent.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from agent.labelled_import import ImportOutcome
    from agent.retrain import Collected, Outcome
    from agent.settings import Settings
    from agent.store import Store
    from model import Example, ProcessGroup, Progress, TrainingConfig

PARTICULAR = {"arch", "subtype_arch", "size_arch", "framing", "frame_px", "weights", "epochs"}
"""Options that switch the quick configuration off."""


def grouping_config(column: str) -> dict[str, Any]:
    """Return the configuration for a grouping column; any but the specimen mixes subtypes."""
    return {"group_by": column, "mixed_groups": True} if column else {}


def grouping_column(option: str) -> str:
    """Return the grouping column; "" for the specimen, which is the default."""
    return "" if option == "specimen" else option


def drop_none(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that have a value."""
    return {name: value for name, value in options.items() if value is not None}


def make_plan(settings: Settings, store: Store, asked: dict[str, Any]) -> TrainingConfig:
    """Build the training configuration from the options, else from what this PC can do."""
    from agent.service.jobs.retrain import find_lack, read_lab_config
    from model import TrainingConfig, quick_config

    weights = asked.get("weights")
    if weights is not None and not weights.is_file():
        raise UsageError(f"--weights: no such file: {weights}.")
    scheme = asked.get("scheme", "two-stage")
    if scheme != "two-stage" and {"subtype_arch", "size_arch"} & asked.keys():
        raise UsageError(
            f"--subtype-arch and --size-arch need two networks; {scheme} has one. Use --arch."
        )
    lab = read_lab_config(settings, store)
    lacks = "" if PARTICULAR & asked.keys() else find_lack(settings)
    if not lacks:
        plan = TrainingConfig(**lab, **asked)
        console.err.print(format_plan(plan), markup=False)
        return plan
    console.err.print(
        f"{lacks}: using the quick configuration (frozen EfficientNet-Lite0, fields at 0.25 µm per "
        "pixel). For the configuration of the paper: --arch resnet18 --framing mirror.",
        markup=False,
    )
    return quick_config(**lab, **asked)


def format_plan(plan: TrainingConfig) -> str:
    """Return the configuration in one line, printed before a long training."""
    archs = dict.fromkeys(plan.arch_of(head) for head in ("subtype", "size:"))
    return (
        f"{plan.scheme}, {' and '.join(archs)}, "
        f"{'heads alone' if plan.frozen else f'whole, at most {plan.epochs} epochs'}; "
        f"{plan.framing} at {plan.frame_px} px."
    )


SIDES = ("train", "validate", "test")


@app.command()
def train(
    context: typer.Context,
    folder: Annotated[
        Path | None,
        typer.Argument(
            help="Labelled folder to import first. Default: labels in the database only."
        ),
    ] = None,
    *,
    manifest: ManifestOption = None,
    scheme: Annotated[str, typer.Option(help="two-stage, global or multi-head.")] = "two-stage",
    arch: Annotated[
        str | None, typer.Option(help="resnet18, resnet50 or efficientnet-lite0.")
    ] = None,
    subtype_arch: Annotated[
        str | None, typer.Option(help="Architecture of the subtype network; two-stage only.")
    ] = None,
    size_arch: Annotated[
        str | None, typer.Option(help="Architecture of the size networks; two-stage only.")
    ] = None,
    frozen: Annotated[bool, typer.Option("--frozen", help="Train only the heads.")] = False,
    framing: Annotated[
        str | None,
        typer.Option(
            help="mirror: pad or crop to the frame, as in the paper. resize: scale to the frame. "
            "tile: average many frames. scale: resample to one pixel size in µm. "
            "native: keep the pixels."
        ),
    ] = None,
    frame: FrameOption = None,
    epochs: EpochsOption = None,
    imbalance: Annotated[
        str | None,
        typer.Option(
            help="Weight of rare codes: oversample, weighted, sqrt, none, or auto (by "
            "cross-validation)."
        ),
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option(
            help="ce (cross-entropy), or ordinal: soft labels between neighbouring sizes. ordinal "
            "is not available with global."
        ),
    ] = None,
    group_by: GroupOption = "",
    without: Annotated[
        str,
        typer.Option(
            metavar="CODES", help="Comma-separated structure codes to leave out of this training."
        ),
    ] = "",
    seed: SeedOption = 0,
    weights: Annotated[
        Path | None, typer.Option(help="File with ImageNet weights (.pth or .safetensors).")
    ] = None,
    by: By = "",
    as_json: JsonOption = False,
) -> None:
    """Train a model bundle; the first bundle of a lab is promoted at once.

    By default the agent trains ResNet-18. Without a GPU this takes hours or days at 1994 px.
    If this PC has no GPU or no ImageNet weights of ResNet-18 (agent models weights resnet18), the
    agent trains only heads on EfficientNet-Lite0, which takes minutes. The options --arch,
    --framing, --frame, --epochs and --weights switch this quick configuration off.

    On several GPUs: torchrun --nproc-per-node 4 -m agent train, with the same options.
    """
    settings = load_settings(context)
    options: dict[str, Any] = {
        "arch": arch,
        "subtype_arch": subtype_arch,
        "size_arch": size_arch,
        "framing": framing,
        "frame_px": frame,
        "epochs": epochs,
        "weights": weights,
        "frozen": frozen or None,
        "imbalance": imbalance,
        "loss": loss,
        "without": tuple(code.strip() for code in without.split(",") if code.strip()) or None,
        **grouping_config(grouping_column(group_by)),
    }
    from agent.retrain import save_record
    from agent.retrain.bundle_registry import delete_leftovers
    from agent.service.data_folder import TrainingLock
    from agent.service.jobs.retrain import write_card
    from model import init_process_group, read_manifest

    plan_of = partial(make_plan, asked={"scheme": scheme, "seed": seed, **drop_none(options)})
    silence = console.silenced(stderr=False) if as_json else nullcontext()
    with init_process_group(settings.model.device) as world, silence:
        if not world.is_main:
            join_training(settings, plan_of, world)
            return
        with open_store(settings) as opened:
            signs = folder is not None or opened.promotions.find_current() is None
            leads = settings.orders.leads
            store, by = sign(context, opened, by, leads=leads) if signs else (opened, by)
            imported = import_labelled(settings, store, folder, manifest, by=by) if folder else None
            if imported:
                print_imported(imported)
                require_labelled(imported, folder)
            with TrainingLock(settings.store.folder):
                delete_leftovers(settings.store.folder)
                world.barrier()
                bundle = train_bundle(settings, store, plan_of(settings, store), world)
            print_notes(bundle)
            promote_first(store, bundle, by=by)
            record, card = save_record(bundle), write_card(settings, store, bundle.name)
            in_use = store.promotions.find_current() == bundle.name
        console.out.print(f"training record: {record}", markup=False)
        console.out.print(f"model card: {card}", markup=False)
    if as_json:
        trained = read_manifest(bundle)
        console.print_json(
            {
                "bundle": bundle.name,
                "in_use": in_use,
                "metrics": trained.metrics,
                "notes": list(trained.facts.get("notes", ())),
                "record": str(record),
                "card": str(card),
            }
        )
    if imported and imported.unusable:
        raise typer.Exit(SOME_FAILED)


def require_labelled(imported: ImportOutcome, folder: Path | None) -> None:
    """Refuse to train on the labels of before where a folder brings none.

    Raises:
        UsageError: No micrograph of the folder has a label.
    """
    if not imported.codes:
        raise UsageError(
            f"{folder}: no labelled micrograph, so nothing was trained. Name the folder that holds "
            "one sub-folder per structure code, or leave it out to train on the labels so far."
        )


def train_bundle(
    settings: Settings, store: Store, plan: TrainingConfig, world: ProcessGroup | None = None
) -> Path:
    """Train a bundle from all labelled micrographs, with progress bars."""
    bundle: Path | None = None
    for step in show_progress(iter_training(settings, store, plan, world)):
        bundle = step.result or bundle
    if bundle is None:
        raise RuntimeError("training ended without a bundle")
    return bundle


def join_training(
    settings: Settings, plan_of: Callable[[Settings, Store], TrainingConfig], world: ProcessGroup
) -> None:
    """Run this process's share of the training; print and write nothing."""
    world.barrier()  # until the main process has imported
    with console.silenced(), open_store(settings) as store:
        for _ in iter_training(settings, store, plan_of(settings, store), world):
            pass


def iter_training(
    settings: Settings, store: Store, plan: TrainingConfig, world: ProcessGroup | None
) -> Iterator[Progress[Path]]:
    """Train from all labelled micrographs and yield the progress.

    Test images of the bundle in use stay test images, so that both bundles can be compared.
    """
    from agent.retrain.bundle_registry import get_bundle, get_bundles_folder
    from agent.service.composition import collect_labels
    from agent.service.data_folder import clock, get_feature_cache
    from agent.settings.root import RECIPE
    from model import SINGLE_PROCESS, read_manifest
    from model import train as train_model

    collected = collect_labels(settings, store, plan.taxonomy, group_by=plan.group_by)
    print_left_out(collected)
    if not collected.examples:
        raise UsageError(
            "There are no labelled micrographs yet. Name a labelled folder: agent train FOLDER."
        )
    print_groups(collected.examples, plan.group_by, collected.columns)
    current = store.promotions.find_current()
    manifest = read_manifest(get_bundle(settings.store.folder, current)) if current else None
    return train_model(
        collected.for_training(manifest),
        plan,
        get_bundles_folder(settings.store.folder),
        kept=collected.sides(manifest),
        tested_only=collected.control,
        processes=world or SINGLE_PROCESS,
        features=get_feature_cache(settings),
        recipe=RECIPE,
        now=clock(),
    )


def print_left_out(collected: Collected) -> None:
    """Print how many labelled micrographs training leaves out and why, and what the rest lacks."""
    from agent.retrain import list_gaps

    for reason, count in collected.left_out.items():
        console.err.print(f"left out: {count} labelled micrographs: {reason}", markup=False)
    for sentence in list_gaps(collected):
        console.err.print(sentence, markup=False)


def print_groups(examples: Sequence[Example], column: str, known: Mapping[str, int]) -> None:
    """Print how many groups a column makes.

    Args:
        examples: Labelled micrographs.
        column: Column that groups them; "" prints nothing.
        known: Number of micrographs that have a value, by column.

    Raises:
        UsageError: There are fewer than three groups, so a split is impossible.
    """
    if not column:
        return
    if not known.get(column):
        columns = ", ".join(sorted(known)) or "none"
        raise UsageError(
            f"--group-by {column}: no labelled micrograph has this column. Columns: {columns}."
        )
    groups = {example.group for example in examples}
    if len(groups) < len(SIDES):
        raise UsageError(
            f"--group-by {column}: the labelled micrographs form {len(groups)} groups; at least "
            f"{len(SIDES)} are needed, one each to train, validate and test."
        )
    lacking = len(examples) - known[column]
    rest = f"; {lacking} micrographs without it are grouped by specimen" if lacking > 0 else ""
    console.err.print(f"{len(groups)} groups by {column}, each on one side{rest}", markup=False)


def print_notes(bundle: Path) -> None:
    """Print the notes of a training below the bars, such as codes left out."""
    from model import read_manifest

    for sentence in read_manifest(bundle).facts.get("notes", ()):
        console.err.print(f"note: {sentence}", markup=False)


def promote_first(store: Store, bundle: Path, *, by: str = "") -> None:
    """Print the accuracy of a bundle; promote it if it is the first one."""
    from agent.service.data_folder import clock
    from agent.service.jobs.retrain import use_first
    from model import read_manifest

    metrics = read_manifest(bundle).metrics
    console.out.print(f"bundle {bundle.name}: {format_accuracy(metrics)}", markup=False)
    by = by or os_user()
    if use_first(store, bundle, by=by, at=clock()):
        console.out.print(
            f"It is the first bundle and is in use now (recorded as promoted by {by}).",
            markup=False,
        )
        return
    console.out.print(
        f"It is a candidate. To promote it: agent models promote {bundle.name} "
        "--by NAME --reason TEXT",
        markup=False,
    )


def format_accuracy(metrics: dict[str, Any]) -> str:
    """Return the accuracy of a bundle on its test images, with interval."""
    if not metrics.get("n"):
        return "not tested"
    accuracy = format_share(metrics["accuracy"], metrics["n"])
    lacking = format_lacking(metrics)
    return f"{accuracy} structure codes right on its test images" + (
        f"; not tested: {lacking}" if lacking else ""
    )


@app.command()
def retrain(
    context: typer.Context,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print the training set; train nothing.")
    ] = False,
    why: Annotated[
        bool,
        typer.Option(
            "--why", help="Explain how the last retraining ended, check by check; starts none."
        ),
    ] = False,
    cancel: Annotated[
        bool,
        typer.Option("--cancel", help="Stop the running retraining, whichever user started it."),
    ] = False,
    pseudo_labels: Annotated[
        bool,
        typer.Option(
            "--pseudo-labels",
            help="Experimental: also train on confident predictions, if control samples confirm "
            "them.",
        ),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Train a candidate from the collected labels and compare it with the bundle in use.

    A gate recommends the candidate or not; a lead promotes it. The training runs with low
    priority. Ctrl-C stops it; the next run resumes from the last checkpoint.
    """
    from agent.service.jobs.retrain import find_training_job

    silence_log()
    settings = load_settings(context)
    with open_store(settings) as store:
        if cancel:
            _cancel(store)
            return
        if why:
            explain_last_verdict(settings, store, json=json)
            return
        if dry_run:
            _print_dry_run(settings, store, json)
            return
        print_left_out(find_training_job(settings, store).collected)
        outcome = _retrain(settings, store, pseudo_labels=pseudo_labels)
    _print_outcome(outcome, json=json)


def _cancel(store: Store) -> None:
    from agent.service.data_folder import clock
    from agent.service.jobs.retrain import JOB

    if not store.jobs.cancel(JOB, by=os_user(), at=clock()):
        raise UsageError("No retraining is running.")
    console.out.print("The retraining stops within a few seconds. Nothing was promoted.")


def _retrain(settings: Settings, store: Store, *, pseudo_labels: bool) -> Outcome:
    from agent.retrain import Outcome
    from agent.service.jobs.retrain import train_candidate, train_in_child

    work = partial(train_candidate, pseudo_labels=pseudo_labels)
    return run_to_end(train_in_child(settings, store, by=os_user(), work=work), Outcome)


def _print_dry_run(settings: Settings, store: Store, json: bool) -> None:
    from agent.retrain import Cleaned, clean_labels
    from agent.service.jobs.retrain import find_training_job
    from model import read_training_labels

    lesson, wanted = find_training_job(settings, store), settings.retrain.min_new_labels
    print_left_out(lesson.collected)
    clean = run_to_end(
        clean_labels(
            lesson.collected,
            lesson.current,
            leave_out=settings.retrain.leave_out_doubted,
            alpha=settings.strangeness.alpha,
            several_subtypes=lesson.plan.taxonomy.several_subtypes,
        ),
        Cleaned,
    )
    collected, current = clean.collected, lesson.manifest.name
    new = len(collected.news_to(lesson.manifest, read_training_labels(lesson.current)))
    known = {example.key: example for example in lesson.collected.examples}
    if json:
        console.print_json(
            {
                "current": current,
                "codes": dict(collected.codes),
                "new_labels": new,
                "wanted": wanted,
                "left_out": dict(collected.left_out),
                "doubted": [
                    asdict(issue) | {"file": known[issue.key].file} for issue in clean.doubts
                ],
            }
        )
        return
    console.table(("structure code", "micrographs"), sorted(collected.codes.items()))
    console.out.print(
        f"{len(collected.examples)} labelled micrographs, {new} of them new or changed "
        f"since {current}; a retraining needs at least {wanted}.",
        markup=False,
    )
    if sentence := clean.sentence():
        console.out.print(f"Suspect labels: {sentence}", markup=False)
    console.table(
        ("suspect label", "given", "likely", "reason", "right of this code"),
        [
            (
                known[issue.key].label,
                issue.code,
                issue.likely,
                issue.kind,
                f"{issue.right} of {issue.of}" if issue.of else "",
            )
            for issue in clean.doubts
        ],
    )


def _print_outcome(outcome: Outcome, *, json: bool) -> None:
    from agent.retrain import Gate

    if json:
        console.print_json(outcome_to_json(outcome))
    else:
        console.out.print(outcome.sentence, markup=False)
        if outcome.numbers.get("checks"):
            console.err.print("Each check: agent retrain --why", markup=False)
    if outcome.gate is not Gate.RECOMMENDED:
        raise typer.Exit(SAYS_NO)
    if not json:
        console.out.print(
            f"Recommended. To promote it: agent models promote {outcome.candidate} "
            "--by NAME --reason TEXT",
            markup=False,
        )
