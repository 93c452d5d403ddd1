"""`agent experiments`: the paper's tables and figures for a lab's own labelled micrographs.

In:  a labelled folder. Out: one page, `experiments.html`, with the same as Markdown and JSON beside
it. Nothing at work is changed; what was trained already is taken up.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli import console
from agent.cli.app import SOME_FAILED, app, load_settings, open_store
from agent.cli.evaluate import Crops
from agent.cli.import_ import print_unusable
from agent.cli.job_progress import show_progress, silence_log
from agent.cli.options import (
    EpochsOption,
    FolderArgument,
    FrameOption,
    GroupOption,
    JsonOption,
    ManifestOption,
    SeedOption,
)
from agent.cli.train import print_groups
from agent.cli.training_plan import drop_none, grouping_column, grouping_config
from agent.errors import WrongUse

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from agent.settings import Settings
    from model import Example, TrainingConfig
    from model.experiments.tables import Result

FOLDER = "experiments"


@app.command()
def experiments(
    context: typer.Context,
    folder: FolderArgument,
    *,
    manifest: ManifestOption = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Few small images: to see that it works, not for figures."),
    ] = False,
    rows: Annotated[str, typer.Option(help="Only rows whose name contains this.")] = "",
    folds: Annotated[
        int,
        typer.Option(min=0, help="Leave every image out once, in so many folds; 0: one test set."),
    ] = 0,
    splits: Annotated[
        int, typer.Option(min=1, help="Do everything on so many splits of the images.")
    ] = 1,
    group_by: GroupOption = "",
    epochs: EpochsOption = None,
    frame: FrameOption = None,
    seed: SeedOption = 0,
    weights: Annotated[Path | None, typer.Option(help="A file with ImageNet weights.")] = None,
    json: JsonOption = False,
) -> None:
    """Repeat the paper's Tables 2, 3 and Figures 3, 4 on labelled micrographs. Takes hours."""
    from agent import labelled_import
    from agent.lab_context import taxonomy_in_force
    from agent.service.data_folder import clock
    from model import TrainingConfig
    from model.experiments.run import list_rows  # PyTorch takes seconds

    silence_log()
    settings, group_by = load_settings(context), grouping_column(group_by)
    if weights is not None and not weights.is_file():
        raise WrongUse(f"--weights {weights}: there is no such file.")
    if folds == 1:
        raise WrongUse("--folds 1 leaves nothing to learn from; take at least 2, or 0 for none.")
    with open_store(settings) as store:
        taxonomy = taxonomy_in_force(settings, store)
    listing = labelled_import.list_labelled(folder, taxonomy, manifest)
    unusable = list(listing.unusable)
    asked = {"epochs": epochs, "frame_px": frame, "weights": weights, **grouping_config(group_by)}
    names = [row.name for row in list_rows(TrainingConfig(taxonomy=taxonomy))]
    if not any(rows.casefold() in name.casefold() for name in names):
        raise WrongUse(f"--rows {rows}: no row is called so; there are: {', '.join(names)}.")
    base = TrainingConfig(
        taxonomy=taxonomy, seed=seed, device=settings.model.device, **drop_none(asked)
    )
    place = settings.store.folder / FOLDER
    crops = Crops(settings, place / "crops", frozenset(), group_by)
    with crops.pool:
        examples = crops.of(listing.folder, listing.files, f"Cropping {folder.name}", unusable)
    known = Counter(
        name for one in listing.files for name, value in one.process_data.items() if value
    )
    print_groups(examples, group_by, known)
    results: list[Result] = []
    asked_for = {
        "quick": quick,
        "only": lambda row: rows.casefold() in row.name.casefold(),
        "fold_count": folds,
        "splits": splits,
    }
    for _ in show_progress(
        _steps(examples, base, place, results, now=clock(), asked_for=asked_for)
    ):
        pass
    sentences = about(folder, results, base, asked_for)
    page = write_page(settings, place, results, sentences, clock(), json=json)
    if not json:
        console.echo(str(page))
    print_unusable(unusable)
    if unusable:
        raise typer.Exit(SOME_FAILED)


def _steps(
    examples: Sequence[Example],
    base: TrainingConfig,
    place: Path,
    results: list[Result],
    *,
    now: datetime,
    asked_for: dict[str, Any],
) -> Iterator[Any]:
    """Train row after row, naming each for the bars; put finished rows into `results`."""
    from agent.imaging.crop import RECIPE
    from agent.retrain import Step
    from model.experiments.run import run  # PyTorch takes seconds

    for one in run(examples, base, place, recipe=RECIPE, now=now, **asked_for):
        if isinstance(one, tuple):
            name, step = one
            yield Step(f"{name}: {step.stage}", step.done, step.total, step.note)
        else:
            results.append(one)


def about(
    folder: Path, results: Sequence[Result], base: TrainingConfig, asked_for: dict[str, Any]
) -> tuple[str, ...]:
    """Say what has to be known before the numbers are read."""
    from model.experiments.run import build_quick_config  # PyTorch takes seconds

    plan = build_quick_config(base) if asked_for["quick"] else base
    n = len(results[0].right)
    tested = (
        f"Micrographs from {folder.name}. Every row is tested on the same {n} images, which "
        f"it has not learned from; one image is {100 / n:.1f} points."
    )
    read = (
        "Intervals are at 95 %. Two rows whose McNemar p is above 0.05 have not been told apart, "
        "whichever has more images right. The column 'paper' is what Durmaz et al. 2023 had on "
        "326 images of their own."
    )
    together = f"Images of one {base.group_by or 'specimen'} are never on two sides."
    told = [tested, read, together]
    if asked_for["fold_count"]:
        told.append(f"Each image was left out once, in {asked_for['fold_count']} folds.")
    if asked_for["quick"]:
        told.insert(
            0,
            "A quick run: few, small images and hardly any epochs. It shows that everything works "
            "and says nothing of how good the schemes are.",
        )
    told.append(f"At most {plan.epochs} epochs, frames of {plan.frame_px} px, seed {plan.seed}.")
    return (*told, *dict.fromkeys(note for result in results for note in result.notes))


def write_page(
    settings: Settings,
    place: Path,
    results: Sequence[Result],
    sentences: Sequence[str],
    now: datetime,
    *,
    json: bool = False,
) -> Path:
    """Write what was found as a page, as Markdown and as JSON, and print one of the latter.

    Returns:
        The page.
    """
    from agent.archive import write_whole
    from agent.site_time import local_full
    from model.experiments.tables import as_json, as_markdown, build_tables  # PyTorch takes seconds
    from reports import Experiments, render_experiments

    text = as_markdown(results, sentences)
    document = {"about": list(sentences), **as_json(results)}
    page = Experiments(
        site=settings.site.name,
        title="Experiments",
        sentences=tuple(sentences),
        tables=tuple(_drawn(table) for table in build_tables(results)),
        generated=local_full(now, settings.site.time_zone),
    )
    path = place / "experiments.html"
    write_whole(
        {
            path: render_experiments(page).encode(),
            path.with_suffix(".md"): text.encode(),
            path.with_suffix(".json"): _encoded(document),
        }
    )
    if json:
        console.print_json(document)
    else:
        console.out.print(text, markup=False)
    return path


def _drawn(table: Any) -> Any:
    """Give a table as the page has it, a confusion matrix with its figure."""
    from reports import Table, confusion_svg  # matplotlib takes seconds

    chart = ""
    if table.result is not None:
        found = table.result.numbers["confusion"]
        chart = confusion_svg(found["codes"], found["rows_predicted"], table.result.name)
    return Table(table.title, table.columns, table.rows, chart)


def _encoded(document: object) -> bytes:
    import json

    return json.dumps(document, indent=1, ensure_ascii=False).encode()
