"""`agent models experiments`: the paper's tables and figures for a lab's labelled micrographs.

Writes `experiments.html`, with the same content as Markdown and JSON. Networks trained in an
earlier run are loaded, not trained again.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli import console
from agent.cli.app import DONE, SOME_FAILED, load_settings, open_store
from agent.cli.console import show_progress, silence_log
from agent.cli.models.bundles import models
from agent.cli.models.evaluate import Crops
from agent.cli.models.import_ import print_unusable
from agent.cli.models.train import drop_none, grouping_column, grouping_config, print_groups
from agent.cli.options import (
    EpochsOption,
    FolderArgument,
    FrameOption,
    GroupOption,
    JsonOption,
    ManifestOption,
    SeedOption,
)
from agent.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from agent.settings import Settings
    from model import Example, Taxonomy, TrainingConfig
    from model.experiments.tables import RowResult

FOLDER = "experiments"


@models.command()
def experiments(
    context: typer.Context,
    folder: FolderArgument,
    *,
    manifest: ManifestOption = None,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick", help="Use few, small images: a test that everything runs, not for results."
        ),
    ] = False,
    rows: Annotated[str, typer.Option(help="Only rows whose name contains this text.")] = "",
    folds: Annotated[
        int,
        typer.Option(min=0, help="Number of cross-validation folds; 0: one test set."),
    ] = 0,
    splits: Annotated[
        int, typer.Option(min=1, help="Number of different splits of the images.")
    ] = 1,
    group_by: GroupOption = "",
    epochs: EpochsOption = None,
    frame: FrameOption = None,
    seed: SeedOption = 0,
    weights: Annotated[Path | None, typer.Option(help="File with ImageNet weights.")] = None,
    cross_microscope: Annotated[
        bool,
        typer.Option(
            "--cross-microscope",
            help="Measure specimens, and microscopes, that no training saw. The manifest needs "
            "the columns specimen and microscope.",
        ),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Repeat Tables 2 and 3 and Figures 3 and 4 of the paper on labelled micrographs.

    This takes hours.
    """
    from agent import labelled_import
    from agent.orders.facts.order_policy import taxonomy_in_force
    from agent.service.data_folder import clock
    from model import TrainingConfig
    from model.experiments.run import list_rows  # PyTorch takes seconds

    silence_log()
    settings, group_by = load_settings(context), grouping_column(group_by)
    if weights is not None and not weights.is_file():
        raise UsageError(f"--weights: no such file: {weights}.")
    if folds == 1:
        raise UsageError(
            "--folds 1 leaves no training images. Use at least 2, or 0 for one test set."
        )
    with open_store(settings) as store:
        taxonomy = taxonomy_in_force(settings, store)
    listing = labelled_import.list_labelled(folder, taxonomy, manifest)
    unusable = list(listing.unusable)
    options = {"epochs": epochs, "frame_px": frame, "weights": weights, **grouping_config(group_by)}
    names = [row.name for row in list_rows(TrainingConfig(taxonomy=taxonomy))]
    if not any(rows.casefold() in name.casefold() for name in names):
        raise UsageError(f"--rows {rows}: no row has this name. Rows: {', '.join(names)}.")
    base = TrainingConfig(
        taxonomy=taxonomy, seed=seed, device=settings.model.device, **drop_none(options)
    )
    target = settings.store.folder / FOLDER
    crops = Crops(settings, target / "crops", frozenset(), group_by)
    with crops.pool:
        examples = crops.of(listing.folder, listing.files, f"Cropping {folder.name}", unusable)
    known = Counter(
        name for file in listing.files for name, value in file.process_data.items() if value
    )
    print_groups(examples, group_by, known)
    if cross_microscope:
        _measure_microscopes(examples, taxonomy, seed, json=json)
        print_unusable(unusable)
        raise typer.Exit(SOME_FAILED if unusable else DONE)
    results: list[RowResult] = []
    request = {
        "quick": quick,
        "only": lambda row: rows.casefold() in row.name.casefold(),
        "fold_count": folds,
        "splits": splits,
    }
    for _ in show_progress(_steps(examples, base, target, results, now=clock(), request=request)):
        pass
    sentences = about(folder, results, base, request)
    page = write_page(settings, target, results, sentences, clock(), json=json)
    if not json:
        console.echo(str(page))
    print_unusable(unusable)
    if unusable:
        raise typer.Exit(SOME_FAILED)


def _measure_microscopes(
    examples: Sequence[Example], taxonomy: Taxonomy, seed: int, *, json: bool
) -> None:
    """Measure microscopes that no training saw, and print a row for each."""
    from model import Progress
    from model.experiments.across_microscopes import AcrossResult, measure_across, spread

    results: list[AcrossResult] = []

    def iter_steps() -> Iterator[Any]:
        steps = measure_across(examples, taxonomy, seed=seed)
        while True:
            try:
                step = next(steps)
            except StopIteration as ended:
                results.append(ended.value)
                return
            yield Progress(step.stage, step.done, step.total, step.note)

    for _ in show_progress(iter_steps()):
        pass
    (result,) = results
    if json:
        facts = {"images": result.images, "specimens": result.specimens}
        console.print_json({**facts, "rows": [row.as_json() for row in result.rows]})
        return
    console.table(
        ("held out", "tested", "right", "macro-F1", "logistic regression", "stated by others"),
        [
            (
                row.protocol,
                row.tested,
                *(
                    f"{sum(values) / len(values):.3f} ± {spread(values):.3f}"
                    for values in (row.ours, row.ours_f1, row.peer)
                ),
                row.stated_by_others,
            )
            for row in result.rows
        ],
    )
    console.out.print(
        f"{result.images} micrographs of {result.specimens} specimens; each repeat holds out "
        "another fifth of the specimens, and a microscope together with them. What others state "
        "is of the set three-microscopes (agent models datasets), not of these micrographs.",
        markup=False,
    )


def _steps(
    examples: Sequence[Example],
    base: TrainingConfig,
    target: Path,
    results: list[RowResult],
    *,
    now: datetime,
    request: dict[str, Any],
) -> Iterator[Any]:
    """Yield the progress of each row; append finished rows to `results`."""
    from agent.settings.root import RECIPE
    from model import Progress
    from model.experiments.run import run  # PyTorch takes seconds

    for event in run(examples, base, target, recipe=RECIPE, now=now, **request):
        if isinstance(event, tuple):
            name, step = event
            yield Progress(f"{name}: {step.stage}", step.done, step.total, step.note)
        else:
            results.append(event)


def about(
    folder: Path, results: Sequence[RowResult], base: TrainingConfig, request: dict[str, Any]
) -> tuple[str, ...]:
    """Return the sentences that explain how the numbers were obtained."""
    from model.experiments.run import build_quick_config  # PyTorch takes seconds

    plan = build_quick_config(base) if request["quick"] else base
    n = len(results[0].right)
    tested = (
        f"Micrographs from {folder.name}. Every row is tested on the same {n} images, which are "
        f"not in its training set; one image is {100 / n:.1f} points."
    )
    read = (
        "Intervals are at 95 %. Two rows with a McNemar p above 0.05 do not differ significantly. "
        "The column 'paper' shows the results of Durmaz et al. 2023 on their 326 images."
    )
    together = f"A split keeps all images of one {base.group_by or 'specimen'} together."
    sentences = [tested, read, together]
    if request["fold_count"]:
        sentences.append(f"Each image was left out once, in {request['fold_count']} folds.")
    if request["quick"]:
        sentences.insert(
            0,
            "Quick run with few, small images and few epochs. It tests that everything runs; its "
            "numbers do not rank the schemes.",
        )
    sentences.append(
        f"At most {plan.epochs} epochs, frames of {plan.frame_px} px, seed {plan.seed}."
    )
    return (*sentences, *dict.fromkeys(note for result in results for note in result.notes))


def write_page(
    settings: Settings,
    target: Path,
    results: Sequence[RowResult],
    sentences: Sequence[str],
    now: datetime,
    *,
    json: bool,
) -> Path:
    """Write the results as a page, Markdown and JSON; print Markdown or JSON.

    Returns:
        The page.
    """
    from agent.files.whole_file import write_whole
    from agent.site_time import local_full
    from model.experiments.tables import as_json, as_markdown, build_tables  # PyTorch takes seconds
    from reports import render

    text = as_markdown(results, sentences)
    document = {"about": list(sentences), **as_json(results)}
    page = render(
        "experiments",
        site=settings.site.name,
        sentences=sentences,
        found=[_build_table(table) for table in build_tables(results)],
        generated=local_full(now, settings.site.time_zone),
    )
    path = target / "experiments.html"
    write_whole(
        {
            path: page.encode(),
            path.with_suffix(".md"): text.encode(),
            path.with_suffix(".json"): _encode(document),
        }
    )
    if json:
        console.print_json(document)
    else:
        console.out.print(text, markup=False)
    return path


def _build_table(table: Any) -> Any:
    """Return a table of the page, a confusion matrix with its figure."""
    from reports import Table, confusion_svg  # matplotlib takes seconds

    chart = ""
    if table.result is not None:
        confusion = table.result.numbers["confusion"]
        chart = confusion_svg(confusion["codes"], confusion["rows_predicted"], table.result.name)
    return Table(table.title, table.columns, table.rows, chart)


def _encode(document: object) -> bytes:
    import json

    return json.dumps(document, indent=1, ensure_ascii=False).encode()


@models.command()
def weights(
    arch: Annotated[str, typer.Argument(help="Architecture: resnet18 or resnet50.")],
) -> None:
    """Download the ImageNet weights of a network from the PyTorch server.

    No other command downloads weights. Later trainings use them. EfficientNet-Lite0, the network
    for PCs without a GPU, is installed with its weights.
    """
    from model import fetch_weights  # PyTorch takes seconds

    console.err.print(f"downloading the weights of {arch} …", markup=False)
    path = fetch_weights(arch, progress=console.err.is_terminal)
    megabytes = path.stat().st_size / 1e6
    console.out.print(f"{arch}: ImageNet weights, {megabytes:.0f} MB, in {path}", markup=False)
