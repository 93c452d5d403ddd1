"""Commands that learn: import, train, retrain, reprocess.

Each is a thin story: settings, store and pool are opened, a room's generator runs under a
progress bar, and the end is said in a few lines or as one JSON document.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypeVar

import typer

import agent.cli.models  # noqa: F401 - `agent models` belongs to this group
from agent.cli import console
from agent.cli.app import SAYS_NO, SOME_FAILED, app, settings_of, store_of
from agent.cli.evaluation_text import share
from agent.cli.retrain_verdict import explain_last_verdict, outcome_json
from agent.cli.signing import os_user, sign, signed_store
from agent.errors import WrongUse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from agent.labelled_import import ImportOutcome, UnusableFile
    from agent.retrain import Collected, Outcome, Role
    from agent.settings import Settings
    from agent.store import Store
    from model import Example, ProcessGroup, Progress, TrainingConfig

SIDES = ("train", "validate", "test")

FolderArgument = Annotated[
    Path,
    typer.Argument(help="A folder per structure code, named as `agent taxonomy show` lists them."),
]
ManifestOption = Annotated[
    Path | None,
    typer.Option(
        help="CSV with file and code (or subtype and size), instead of folders; its other columns: "
        "agent import --help."
    ),
]
GroupOption = Annotated[
    str,
    typer.Option(
        "--group-by",
        metavar="COLUMN",
        help="What is never on two sides of a split: order, plant, microscope, or any column of "
        "the manifest; without it the specimen.",
    ),
]
FrameOption = Annotated[
    int | None, typer.Option(min=32, help="Side of a frame in pixels, 1994 by default.")
]
EpochsOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="At most so many passes over the images, 40 by default; heads alone need none.",
    ),
]
SeedOption = Annotated[int, typer.Option(help="Of everything drawn by chance, the split too.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


class Progressing(Protocol):
    """Something that says how far it is."""

    @property
    def stage(self) -> str:
        """What is being done."""

    @property
    def done(self) -> int:
        """How much of it is done."""

    @property
    def total(self) -> int:
        """How much there is to do."""

    @property
    def note(self) -> str:
        """A few words beside the bar."""


P = TypeVar("P", bound=Progressing)
E = TypeVar("E")


def shown(steps: Iterable[P]) -> Iterator[P]:
    """Show a bar per stage while a long job goes on; every step is passed through."""
    with ExitStack() as stack:
        bar, advance = ("", 0), None
        for step in steps:
            if bar != (step.stage, step.total) or advance is None:
                stack.pop_all().close()
                bar = step.stage, step.total
                advance = stack.enter_context(
                    console.progress(titled(step.stage), step.total or None)
                )
            advance(step.done, step.note)
            yield step


def titled(stage: str) -> str:
    """Say in words what is being done; an experiment's row stands before it."""
    row, colon, what = stage.rpartition(": ")
    return row + colon + (TITLES.get(what) or what.replace("size:", "Learning sizes of "))


def end_of(steps: Iterable[Any], kind: type[E]) -> E:
    """Show bars while a long job goes on, and give what it ends with."""
    ended: list[E] = []

    def going() -> Iterator[Any]:
        for step in steps:
            if isinstance(step, kind):
                ended.append(step)
            else:
                yield step

    for _ in shown(going()):
        pass
    return ended[-1]


TITLES = {
    "labels": "Labels",
    "images": "Looking at images",
    "subtype": "Learning subtypes",
    "shared": "Learning structure codes",
    "calibration": "Calibrating probabilities",
    "strangeness": "Learning what is ordinary",
    "evaluation": "Testing",
    "leakage": "Looking for places that were learned from",
    "comparison": "Comparing",
    "hygiene": "Looking at the labels",
    "pool": "Looking at what waits",
    "pseudo": "Turning what the model is sure of",
    "reprocess": "Judging again",
    "bundle": "Bundle",
}


# --- import -------------------------------------------------------------------------------------


@app.command("import")
def import_(
    context: typer.Context,
    folder: FolderArgument,
    manifest: ManifestOption = None,
    update: Annotated[
        bool,
        typer.Option(
            "--update",
            help="Replace what is known of micrographs that were imported before, such as their "
            "specimen, by what the manifest says.",
        ),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Import labelled micrographs: a folder per structure code, or a CSV.

    Columns of the CSV: file (path below the folder) and code, or subtype and size; optional
    um_per_px (µm per pixel), criterion (mean or max), rater. Process data: plant, microscope,
    objective, order, heat, batch, specimen, preparation, field, material, etchant, magnification,
    operator. Other columns are kept. Images of one specimen are never on two sides of a split, so
    name the specimen where it is known. The first lines of such a file:

    file,code,specimen,um_per_px

    g8/field_01.tif,G8,4711-1,0.1
    """
    settings = settings_of(context)
    with signed_store(context, settings, "") as (store, by):
        imported = take_in(settings, store, folder, manifest, by=by, update=update)
    if json:
        console.print_json(
            {
                "labelled": imported.labelled,
                "unchanged": imported.unchanged,
                "codes": dict(imported.codes),
                "unusable": [one._asdict() for one in imported.unusable],
                "changed": [one._asdict() for one in imported.changed],
            }
        )
    else:
        say_imported(imported, updated=update)
    if imported.unusable or (imported.changed and not update):
        raise typer.Exit(SOME_FAILED)


def take_in(
    settings: Settings,
    store: Store,
    folder: Path,
    manifest: Path | None,
    *,
    by: str = "",
    update: bool = False,
) -> ImportOutcome:
    """Import a labelled folder under a progress bar; `by` signs, "": the system's user."""
    from agent import labelled_import  # noqa: PLC0415
    from agent.lab_context import read_taxonomy  # noqa: PLC0415
    from agent.service.composition import make_pipeline, make_pool  # noqa: PLC0415
    from agent.service.data_folder import clock  # noqa: PLC0415

    quiet()
    taxonomy = read_taxonomy(settings, store, now=clock())
    listing = labelled_import.list_labelled(folder, taxonomy, manifest)
    ended: ImportOutcome | None = None
    with (
        make_pool(settings) as pool,
        console.progress(f"Importing {folder.name}", len(listing.files)) as advance,
    ):
        pipeline = make_pipeline(
            settings,
            store=store,
            pool=pool,
            classifier=None,
            sources={listing.source: labelled_import.ManifestProvenance()},
        )
        for step in labelled_import.import_folder(
            listing,
            store=store,
            pipeline=pipeline,
            now=clock,
            by=by or os_user(),
            update=update,
        ):
            if isinstance(step, labelled_import.ImportOutcome):
                ended = step
            else:
                advance(step.done, step.note)
    if ended is None:
        raise RuntimeError("the import ended without saying how")
    return ended


def say_imported(imported: ImportOutcome, *, updated: bool = False) -> None:
    """Print how an import ended, and every file that could not be used or is described anew."""
    total = sum(imported.codes.values())
    known = f" ({imported.unchanged} were known already)" if imported.unchanged else ""
    console.console.print(f"{total} labelled micrographs{known}:", markup=False)
    console.table(("structure code", "micrographs"), sorted(imported.codes.items()))
    say_unusable(imported.unusable)
    for file, sentence in imported.changed:
        console.aside.print(
            f"{'changed' if updated else 'differs'}: {file}: {sentence}", markup=False
        )
    if imported.changed and not updated:
        console.aside.print(
            f"{len(imported.changed)} micrographs were imported before with other data, which were "
            "kept. To replace them: agent import with --update.",
            markup=False,
        )


def say_unusable(unusable: Sequence[UnusableFile]) -> None:
    """Name every file that could not be used, and why."""
    for file, sentence in unusable:
        console.aside.print(f"not used: {file}: {sentence}", markup=False)


def quiet() -> None:
    """Keep the rooms' events off a person's terminal, warnings apart."""
    from agent import log  # noqa: PLC0415

    log.set_up(level="error")


# --- train --------------------------------------------------------------------------------------


@app.command()
def train(
    context: typer.Context,
    folder: Annotated[
        Path | None,
        typer.Argument(help="Labelled folder to import first; without it, what is labelled."),
    ] = None,
    *,
    manifest: ManifestOption = None,
    scheme: Annotated[str, typer.Option(help="two-stage, global or multi-head.")] = "two-stage",
    arch: Annotated[
        str | None, typer.Option(help="resnet18, resnet50 or efficientnet-lite0.")
    ] = None,
    subtype_arch: Annotated[
        str | None, typer.Option(help="Of the subtype network of two-stage alone.")
    ] = None,
    size_arch: Annotated[
        str | None, typer.Option(help="Of the size networks of two-stage alone.")
    ] = None,
    frozen: Annotated[bool, typer.Option("--frozen", help="Learn only the heads.")] = False,
    framing: Annotated[
        str | None,
        typer.Option(
            help="mirror: padded or cut to the frame, as in the paper; resize: to the frame; tile: "
            "many frames, averaged; scale: to one size of pixels in µm."
        ),
    ] = None,
    frame: FrameOption = None,
    epochs: EpochsOption = None,
    imbalance: Annotated[
        str | None,
        typer.Option(help="How rare codes count: oversample, weighted, sqrt or none."),
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option(
            help="ce, or ordinal: some doubt between neighbouring sizes (not with global)."
        ),
    ] = None,
    group_by: GroupOption = "",
    without: Annotated[
        str,
        typer.Option(
            metavar="CODES", help="Comma-separated structure codes that are not taught this time."
        ),
    ] = "",
    seed: SeedOption = 0,
    weights: Annotated[
        Path | None, typer.Option(help="A file with ImageNet weights (.pth or .safetensors).")
    ] = None,
) -> None:
    """Teach a bundle; the very first one is also put to work.

    Without a GPU, or without ImageNet weights of ResNet-18 (agent weights resnet18), and as long as
    none of --arch, --framing, --frame, --epochs or --weights is given, only heads on
    EfficientNet-Lite0 are taught: minutes. Else ResNet-18 is taught whole by default, which without
    a GPU takes hours or days at 1994 px.

    On several GPUs: torchrun --nproc-per-node 4 -m agent train, then as without.
    """
    settings = settings_of(context)
    asked: dict[str, Any] = {
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
        "without": tuple(one.strip() for one in without.split(",") if one.strip()) or None,
        **grouped_by(column_of(group_by)),
    }
    from agent.bundle_registry import delete_leftovers  # noqa: PLC0415
    from agent.retrain import save_record  # noqa: PLC0415
    from agent.service.jobs.retrain import write_card  # noqa: PLC0415
    from agent.service.lock import TrainingLock  # noqa: PLC0415
    from model import init_process_group  # noqa: PLC0415

    plan_of = partial(make_plan, asked={"scheme": scheme, "seed": seed, **given(asked)})
    with init_process_group(settings.model.device) as world:
        if not world.is_main:
            help_teach(settings, plan_of, world)
            return
        with store_of(settings) as opened:
            signs = folder is not None or opened.promotions.find_current() is None
            store, by = sign(context, opened, "") if signs else (opened, "")
            imported = take_in(settings, store, folder, manifest, by=by) if folder else None
            if imported:
                say_imported(imported)
            with TrainingLock(settings.store.folder):
                delete_leftovers(settings.store.folder)
                world.barrier()
                bundle = teach(settings, store, plan_of(settings, store), world)
            say_notes(bundle)
            put_to_work(store, bundle, by=by)
            record, card = save_record(bundle), write_card(settings, store, bundle.name)
    console.console.print(f"how it was taught and tested: {record}", markup=False)
    console.console.print(f"model card: {card}", markup=False)
    if imported and imported.unusable:
        raise typer.Exit(SOME_FAILED)


def grouped_by(column: str) -> dict[str, Any]:
    """Say what a plan is told of a column that groups; any but the specimen mixes subtypes."""
    return {"group_by": column, "mixed_groups": True} if column else {}


def column_of(asked: str) -> str:
    """Say which column groups: the specimen is what groups anyway, as one of its order."""
    return "" if asked == "specimen" else asked


def given(asked: dict[str, Any]) -> dict[str, Any]:
    """Keep the options that somebody gave."""
    return {name: value for name, value in asked.items() if value is not None}


PARTICULAR = {"arch", "subtype_arch", "size_arch", "framing", "frame_px", "weights", "epochs"}
"""Whoever asks for one of these has a plan of their own."""


def make_plan(settings: Settings, store: Store, asked: dict[str, Any]) -> TrainingConfig:
    """Say how to teach: as asked, else as this PC can."""
    from model import TrainingConfig, quick_config  # noqa: PLC0415

    weights = asked.get("weights")
    if weights is not None and not weights.is_file():
        raise WrongUse(f"--weights {weights}: there is no such file.")
    scheme = asked.get("scheme", "two-stage")
    if scheme != "two-stage" and {"subtype_arch", "size_arch"} & asked.keys():
        raise WrongUse(
            f"--subtype-arch and --size-arch are for two networks; {scheme} has one: --arch."
        )
    held = of_this_lab(settings, store)
    lacks = "" if PARTICULAR & asked.keys() else _lacks(settings)
    if not lacks:
        plan = TrainingConfig(**held, **asked)
        console.aside.print(plan_in_words(plan), markup=False)
        return plan
    console.aside.print(
        f"{lacks}: the quick plan is taken (EfficientNet-Lite0 as it comes, every field at "
        "0.2 µm per pixel). For the paper's: --arch resnet18 --framing mirror.",
        markup=False,
    )
    return quick_config(**held, **asked)


def of_this_lab(settings: Settings, store: Store) -> dict[str, Any]:
    """Give what every plan of a lab has in common."""
    from agent.lab_context import taxonomy_in_force  # noqa: PLC0415

    return {
        "taxonomy": taxonomy_in_force(settings, store),
        "alpha": settings.strangeness.alpha,
        "device": settings.model.device,
    }


def _lacks(settings: Settings) -> str:
    """Say what this PC lacks to teach the paper's network well and in hours, or ""."""
    from model import TrainingConfig, choose_engine, has_weights  # noqa: PLC0415

    if not choose_engine(settings.model.device).on_gpu:
        return "No GPU here"
    arch = TrainingConfig().arch
    if not has_weights(arch):
        return f"No ImageNet weights of {arch} here (agent weights {arch} fetches them)"
    return ""


def plan_in_words(plan: TrainingConfig) -> str:
    """Say in a line how will be taught, so that nobody waits a day for what was not meant."""
    archs = dict.fromkeys(plan.arch_of(head) for head in ("subtype", "size:"))
    return (
        f"{plan.scheme}, {' and '.join(archs)}, "
        f"{'heads alone' if plan.frozen else f'whole, at most {plan.epochs} epochs'}; "
        f"{plan.framing} at {plan.frame_px} px."
    )


def teach(
    settings: Settings, store: Store, plan: TrainingConfig, world: ProcessGroup | None = None
) -> Path:
    """Teach a bundle from everything that is labelled, under progress bars."""
    bundle: Path | None = None
    for step in shown(teaching(settings, store, plan, world)):
        bundle = step.result or bundle
    if bundle is None:
        raise RuntimeError("training ended without a bundle")
    return bundle


def help_teach(
    settings: Settings, plan_of: Callable[[Settings, Store], TrainingConfig], world: ProcessGroup
) -> None:
    """Do this process's share of what the first one teaches; say and write nothing."""
    world.barrier()  # until the first one has imported
    with console.hushed(), store_of(settings) as store:
        for _ in teaching(settings, store, plan_of(settings, store), world):
            pass


def teaching(
    settings: Settings, store: Store, plan: TrainingConfig, world: ProcessGroup | None
) -> Iterator[Progress[Path]]:
    """Teach from everything that is labelled, step by step.

    Test images of the bundle at work stay test images, so that the two can be compared.
    """
    from agent.bundle_registry import get_bundle, get_bundles_folder  # noqa: PLC0415
    from agent.imaging.crop import RECIPE  # noqa: PLC0415
    from agent.service.composition import collect_labels  # noqa: PLC0415
    from agent.service.data_folder import clock  # noqa: PLC0415
    from model import SINGLE_PROCESS, read_manifest  # noqa: PLC0415
    from model import train as teach_bundle  # noqa: PLC0415

    collected = collect_labels(settings, store, plan.taxonomy, group_by=plan.group_by)
    say_collected(collected)
    if not collected.examples:
        raise WrongUse("nothing is labelled yet; name a labelled folder: agent train FOLDER.")
    say_groups(collected.examples, plan.group_by, collected.columns)
    current = store.promotions.find_current()
    manifest = read_manifest(get_bundle(settings.store.folder, current)) if current else None
    return teach_bundle(
        collected.for_training(manifest),
        plan,
        get_bundles_folder(settings.store.folder),
        kept=collected.sides(manifest),
        processes=world or SINGLE_PROCESS,
        recipe=RECIPE,
        now=clock(),
    )


def say_collected(collected: Collected) -> None:
    """Print what is left out of training and why, and what the rest lacks."""
    from agent.retrain import list_gaps  # noqa: PLC0415

    for reason, count in collected.left_out.items():
        console.aside.print(f"left out: {count} labelled micrographs: {reason}", markup=False)
    for sentence in list_gaps(collected):
        console.aside.print(sentence, markup=False)


def say_groups(examples: Sequence[Example], column: str, known: Mapping[str, int]) -> None:
    """Say how many groups a column makes; with fewer than three there is nothing to split.

    Args:
        examples: Labelled micrographs.
        column: What groups them; "" says nothing.
        known: Column → how many micrographs have it.
    """
    if not column:
        return
    if not known.get(column):
        there = ", ".join(sorted(known)) or "none"
        raise WrongUse(
            f"--group-by {column}: no labelled micrograph has it; columns there are: {there}."
        )
    groups = {example.group for example in examples}
    if len(groups) < len(SIDES):
        raise WrongUse(
            f"--group-by {column}: all labelled micrographs are of {len(groups)} groups; at least "
            f"{len(SIDES)} are needed, one each to train, validate and test."
        )
    lacking = len(examples) - known[column]
    beside = f"; {lacking} micrographs without it are grouped by specimen" if lacking > 0 else ""
    console.aside.print(f"{len(groups)} groups by {column}, each on one side{beside}", markup=False)


def say_notes(bundle: Path) -> None:
    """Say again, below the bars, what was noted on the way: codes left out, a test too easy."""
    from model import read_manifest  # noqa: PLC0415

    for sentence in read_manifest(bundle).facts.get("notes", ()):
        console.aside.print(f"note: {sentence}", markup=False)


def put_to_work(store: Store, bundle: Path, *, by: str = "") -> None:
    """Say how good a bundle is; the very first one is put to work."""
    from agent.service.data_folder import clock  # noqa: PLC0415
    from model import read_manifest  # noqa: PLC0415

    metrics = read_manifest(bundle).metrics
    console.console.print(f"bundle {bundle.name}: {accuracy_of(metrics)}", markup=False)
    if store.promotions.find_current() is not None:
        console.console.print(
            f"It is a candidate. To put it to work: agent models promote {bundle.name} "
            "--by NAME --reason TEXT",
            markup=False,
        )
        return
    by = by or os_user()
    store.promotions.promote(bundle.name, by=by, reason="first bundle", at=clock(), metrics=metrics)
    console.console.print(
        f"It is the first bundle, so it is at work from now on (recorded as promoted by {by}).",
        markup=False,
    )


def accuracy_of(metrics: dict[str, Any]) -> str:
    """Say a bundle's accuracy on its own test images in a few words."""
    if not metrics.get("n"):
        return "not tested"
    return f"{share(metrics['accuracy'], metrics['n'])} structure codes right on its test images"


# --- retrain ------------------------------------------------------------------------------------


@app.command()
def retrain(
    context: typer.Context,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be learned from.")
    ] = False,
    why: Annotated[
        bool,
        typer.Option(
            "--why", help="Explain how the last retraining ended, check by check; starts none."
        ),
    ] = False,
    cancel: Annotated[
        bool, typer.Option("--cancel", help="End the one that goes on, whoever began it.")
    ] = False,
    pseudo_labels: Annotated[
        bool,
        typer.Option(
            "--pseudo-labels",
            help="An experiment: learn from the model's own sure answers too, where control "
            "samples say that they are right.",
        ),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Learn from collected labels; a gate says whether it is better. Promotes nothing.

    It is done in a process of low priority. Ctrl-C ends it; what networks have learned until then
    is taken up by the next one.
    """
    quiet()
    settings = settings_of(context)
    with store_of(settings) as store:
        if cancel:
            _cancel(store)
            return
        if why:
            explain_last_verdict(settings, store, json=json)
            return
        if dry_run:
            _say_dry_run(settings, store, json)
            return
        say_collected(_collected(settings, store))
        outcome = _learned(settings, store, pseudo_labels=pseudo_labels)
    _say_outcome(outcome, json=json)


def _cancel(store: Store) -> None:
    from agent.service.data_folder import clock  # noqa: PLC0415
    from agent.service.jobs.retrain import JOB  # noqa: PLC0415

    if not store.jobs.cancel(JOB, by=os_user(), at=clock()):
        raise WrongUse("nothing is being learned now.")
    console.console.print("It ends within a few seconds; nothing was promoted.")


def _collected(settings: Settings, store: Store) -> Collected:
    from agent.service.jobs.retrain import find_training_job  # noqa: PLC0415

    return find_training_job(settings, store).collected


def _learned(settings: Settings, store: Store, *, pseudo_labels: bool) -> Outcome:
    from agent.retrain import Outcome  # noqa: PLC0415
    from agent.service.jobs.retrain import train_candidate, train_in_child  # noqa: PLC0415

    work = partial(train_candidate, pseudo_labels=pseudo_labels)
    return end_of(train_in_child(settings, store, by=os_user(), work=work), Outcome)


def _say_dry_run(settings: Settings, store: Store, json: bool) -> None:
    from agent.retrain import Cleaned, clean_labels  # noqa: PLC0415
    from agent.service.jobs.retrain import find_training_job  # noqa: PLC0415
    from model import read_training_labels  # noqa: PLC0415

    lesson, wanted = find_training_job(settings, store), settings.retrain.min_new_labels
    say_collected(lesson.collected)
    clean = end_of(
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
    if json:
        console.print_json(
            {
                "current": current,
                "codes": dict(collected.codes),
                "new_labels": new,
                "wanted": wanted,
                "left_out": dict(collected.left_out),
                "doubted": [asdict(one) for one in clean.doubts],
            }
        )
        return
    console.table(("structure code", "micrographs"), sorted(collected.codes.items()))
    console.console.print(
        f"{len(collected.examples)} labelled micrographs, {new} of them new or changed "
        f"since {current}; at least {wanted} such are wanted.",
        markup=False,
    )
    if said := clean.sentence():
        console.console.print(f"In doubt: {said}", markup=False)
    console.table(
        ("in doubt", "given", "perhaps", "why"),
        [(one.key[:16], one.code, one.likely, one.kind) for one in clean.doubts],
    )


def _say_outcome(outcome: Outcome, *, json: bool) -> None:
    from agent.retrain import Gate  # noqa: PLC0415

    if json:
        console.print_json(outcome_json(outcome))
    else:
        console.console.print(outcome.sentence, markup=False)
        console.aside.print("Each check: agent retrain --why", markup=False)
    if outcome.gate is not Gate.RECOMMENDED:
        raise typer.Exit(SAYS_NO)
    if not json:
        console.console.print(
            f"Recommended. To put it to work: agent models promote {outcome.candidate} "
            "--by NAME --reason TEXT",
            markup=False,
        )


# --- reprocess ----------------------------------------------------------------------------------


@app.command()
def reprocess(
    context: typer.Context,
    bundle: Annotated[str, typer.Option(help="Name of the bundle to judge with.")],
    *,
    shadow: Annotated[
        bool, typer.Option("--shadow", help="As a candidate beside the bundle at work.")
    ] = False,
    days: Annotated[
        int | None, typer.Option(min=1, help="Only what came in the last so many days.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Judge what is archived with another bundle; its answers stand beside the old ones.

    With --shadow they are shown as flips in the report, and before a promotion. It is done in a
    process of low priority; what Ctrl-C cuts short is taken up by the next one.
    """
    from agent.retrain import Again  # noqa: PLC0415
    from agent.service.jobs.shadow import judge_in_child  # noqa: PLC0415

    quiet()
    settings = settings_of(context)
    role: Role = "shadow" if shadow else "reprocess"
    with store_of(settings) as store:
        steps = judge_in_child(settings, store, bundle=bundle, role=role, days=days, by=os_user())
        again = end_of(steps, Again)
    _say_again(again, bundle, json)


def _say_again(again: Any, bundle: str, json: bool) -> None:
    flips = [
        {"before": before, "now": now, "n": n} for (before, now), n in sorted(again.flips.items())
    ]
    if json:
        console.print_json(
            {
                "bundle": bundle,
                "judged": again.judged,
                "known": again.known,
                "lost": again.lost,
                "flagged": again.flagged,
                "flips": flips,
            }
        )
        return
    lost = f", {again.lost} have no crop any more" if again.lost else ""
    console.console.print(
        f"{again.judged} micrographs judged with {bundle}, {again.known} were before{lost}; "
        f"{again.flagged} are strange to it.",
        markup=False,
    )
    if flips:
        console.table(("before", "now", "micrographs"), [tuple(flip.values()) for flip in flips])
