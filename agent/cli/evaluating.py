"""Commands that measure: `agent evaluate` and `agent experiments`; neither changes what is at work.

Labelled micrographs are cropped as the service crops them; the end is said to people limits first,
or as one JSON document.
"""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli import say
from agent.cli.app import SOME_FAILED, app, settings_of, store_of
from agent.cli.learning import (
    FolderArgument,
    JsonOption,
    ManifestOption,
    given,
    quiet,
    say_unusable,
    shown,
)
from agent.cli.leaving_out import show_left_out
from agent.cli.record import say_evaluation, write_figures
from agent.errors import WrongUse

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent.labelled_folder import Labelled, Unusable
    from agent.settings import Settings
    from agent.store import Store
    from model import Evaluation, Example


@app.command()
def evaluate(
    context: typer.Context,
    folder: FolderArgument,
    *,
    manifest: ManifestOption = None,
    bundle: Annotated[
        str | None, typer.Option(help="Name of a bundle, else the one at work.")
    ] = None,
    strange: Annotated[
        Path | None, typer.Option(help="Folder with a sub-folder per strange kind.")
    ] = None,
    leave_out: Annotated[
        list[str] | None,
        typer.Option(
            help="Instead: learn what is ordinary without this structure code, and say whether its "
            'micrographs are called strange. May be repeated; "every" takes all codes in turn.'
        ),
    ] = None,
    figures: Annotated[
        Path | None, typer.Option(help="Folder for the confusion matrix as SVG.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Say how good a bundle is on labelled micrographs; nothing at work is changed."""
    settings = settings_of(context)
    if leave_out:
        show_left_out(settings, folder, manifest, leave_out, json=json)
        return
    with store_of(settings) as store:
        evaluation, unusable = look_at(
            settings, store, folder, manifest=manifest, bundle=bundle, strange=strange
        )
    if json:
        say.print_json(evaluation.as_json())
    else:
        say_evaluation(evaluation.as_json())
    if figures:
        title = f"{evaluation.as_json()['bundle']} on {folder.name}"
        for file in write_figures(figures, evaluation.as_json(), title):
            say.aside.print(str(file), markup=False)
    say_unusable(unusable)
    if unusable:
        raise typer.Exit(SOME_FAILED)


def look_at(
    settings: Settings,
    store: Store,
    folder: Path,
    *,
    manifest: Path | None,
    bundle: str | None,
    strange: Path | None,
) -> tuple[Evaluation, list[Unusable]]:
    """Evaluate a bundle on a labelled folder, and on strange ones, under progress bars."""
    from agent import labelled_folder  # noqa: PLC0415
    from agent.retrain import bundle_named  # noqa: PLC0415
    from agent.service.workplace import load_bundle  # noqa: PLC0415
    from model import evaluate as evaluate_bundle  # noqa: PLC0415

    quiet()
    name = bundle or store.current_bundle()
    if name is None:
        raise WrongUse("there is no bundle yet; teach one: agent train FOLDER.")
    bundle_named(settings.store.folder, name)
    classifier = load_bundle(settings, name)
    listing = labelled_folder.look(folder, classifier.taxonomy, manifest)
    kinds = labelled_folder.strange_kinds(strange) if strange else {}
    unusable = list(listing.unusable)
    with passing_archive(settings, classifier.learned_from) as crops:
        examples = crops.of(listing.folder, listing.files, f"Cropping {folder.name}", unusable)
        odd = {
            kind: crops.of(strange.absolute(), files, f"Cropping {kind}", unusable)
            for kind, files in kinds.items()
            if strange
        }
        with say.progress(f"Judging with {name}", len(examples)) as advance:
            evaluation = evaluate_bundle(
                classifier,
                examples,
                strange=odd,
                progress=lambda done, total: advance(done, f"of {total}"),
            )
    return evaluation, unusable


class _Crops:
    """Crops files into an archive that passes away."""

    def __init__(self, settings: Settings, folder: Path, learned: frozenset[str]) -> None:
        from agent.archive import Archive  # noqa: PLC0415
        from agent.service.workplace import make_pool  # noqa: PLC0415

        self.archive, self.pool = Archive(folder), make_pool(settings)
        self._learned = learned

    def of(
        self, folder: Path, files: Sequence[Labelled], title: str, unusable: list[Unusable]
    ) -> list[Example]:
        """Crop files; what cannot be used is appended to `unusable`."""
        from agent.labelled_folder import cropped  # noqa: PLC0415

        examples: list[Example] = []
        with say.progress(title, len(files)) as advance:
            found = cropped(
                folder, files, pool=self.pool, archive=self.archive, learned=self._learned
            )
            for done, one in enumerate(found, 1):
                examples += one.examples
                if one.unusable:
                    unusable.append(one.unusable)
                advance(done)
        return examples


@contextmanager
def passing_archive(settings: Settings, learned: frozenset[str]) -> Iterator[_Crops]:
    """Keep crops as long as they are looked at."""
    with tempfile.TemporaryDirectory(prefix="martensight-") as folder:
        crops = _Crops(settings, Path(folder), learned)
        with crops.pool:
            yield crops


# --- experiments --------------------------------------------------------------------------------


@app.command()
def experiments(
    context: typer.Context,
    folder: FolderArgument,
    *,
    manifest: ManifestOption = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Small fields: to see that it works, not for figures.")
    ] = False,
    epochs: Annotated[int | None, typer.Option(min=1)] = None,
    frame: Annotated[int | None, typer.Option(min=32, help="Side of a frame in pixels.")] = None,
    seed: Annotated[int, typer.Option()] = 0,
    weights: Annotated[Path | None, typer.Option(help="A file with ImageNet weights.")] = None,
    json: JsonOption = False,
) -> None:
    """Repeat the paper's Tables 2, 3 and Figures 3, 4 on labelled micrographs. Takes hours."""
    from agent import labelled_folder  # noqa: PLC0415
    from agent.archive import write_whole  # noqa: PLC0415
    from agent.imaging.crop import RECIPE  # noqa: PLC0415
    from agent.night.lab import taxonomy_in_force  # noqa: PLC0415
    from agent.service.place import clock  # noqa: PLC0415
    from model import Plan  # noqa: PLC0415
    from model import experiments as room  # noqa: PLC0415

    quiet()
    settings = settings_of(context)
    if weights is not None and not weights.is_file():
        raise WrongUse(f"--weights {weights}: there is no such file.")
    with store_of(settings) as store:
        taxonomy = taxonomy_in_force(settings, store)
    listing = labelled_folder.look(folder, taxonomy, manifest)
    unusable = list(listing.unusable)
    asked = {"epochs": epochs, "frame_px": frame, "weights": weights}
    base = Plan(taxonomy=taxonomy, seed=seed, device=settings.model.device, **given(asked))
    place = settings.store.folder / "experiments"
    crops = _Crops(settings, place / "crops", frozenset())
    with crops.pool:
        examples = crops.of(listing.folder, listing.files, f"Cropping {folder.name}", unusable)
    results: list[Any] = []
    found = room.run(examples, base, place, quick=quick, recipe=RECIPE, now=clock())
    for _ in shown(_rows_and_results(found, results)):
        pass
    text = room.as_markdown(results)
    document = room.as_json(results)
    page = place / "experiments.md"
    write_whole({page: text.encode(), page.with_suffix(".json"): _encoded(document)})
    if json:
        say.print_json(document)
    else:
        say.console.print(text, markup=False)
        typer.echo(str(page))
    say_unusable(unusable)
    if unusable:
        raise typer.Exit(SOME_FAILED)


def _encoded(document: object) -> bytes:
    import json  # noqa: PLC0415

    return json.dumps(document, indent=1, ensure_ascii=False).encode()


def _rows_and_results(found: Iterator[Any], results: list[Any]) -> Iterator[Any]:
    """Name each row's stages for the bars; put finished rows into `results`."""
    from agent.retrain import Step  # noqa: PLC0415

    for one in found:
        if isinstance(one, tuple):
            row, progress = one
            stage = f"{row.table}, {row.name}: {progress.stage}"
            yield Step(stage, progress.done, progress.total, progress.note)
        else:
            results.append(one)
