"""`agent datasets`: open sets of micrographs to try, and a manifest of what was downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agent.cli import console
from agent.cli.app import SOME_FAILED, app
from agent.counts import format_count
from agent.errors import WrongUse

datasets = typer.Typer(
    name="datasets",
    help="Open sets of micrographs that a lab can try; nothing is downloaded.",
    invoke_without_command=True,
)
app.add_typer(datasets)

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
UNCONFIRMED = "read it at the source"


@datasets.callback()
def _show_by_default(context: typer.Context, json: JsonOption = False) -> None:
    """List the sets where no command is named."""
    if context.invoked_subcommand is None:
        list_datasets(json=json)


@datasets.command("list")
def list_datasets(json: JsonOption = False) -> None:
    """List the open sets: licence, citation, DOI, number of images, and what each is good for."""
    from agent.cli.open_datasets import DATASETS

    if json:
        console.print_json([dataset.to_json() for dataset in DATASETS])
        return
    for dataset in DATASETS:
        console.out.print(f"\n{dataset.name}: {dataset.title}", markup=False)
        facts = (
            ("content", dataset.content),
            ("images", dataset.images or UNCONFIRMED),
            ("labels", dataset.labels),
            ("licence", dataset.licence or UNCONFIRMED),
            ("cite", dataset.citation),
            ("doi", dataset.doi or "none"),
            ("source", dataset.source),
            ("good for", dataset.good_for),
        )
        for name, text in facts:
            console.out.print(f"  {name:<9} {text}", markup=False)
    console.out.print(
        "\nDownload a set with a browser, then: agent datasets prepare NAME FOLDER", markup=False
    )


@datasets.command("prepare")
def prepare_dataset(
    name: Annotated[str, typer.Argument(help="Name of the set, as agent datasets lists it.")],
    folder: Annotated[Path, typer.Argument(help="The folder that it was unpacked into.")],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The manifest; labels.csv in the folder by default."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a manifest.")] = False,
    json: JsonOption = False,
) -> None:
    """Write a manifest with class, group and scale of each image, checked by count and hash."""
    from agent.cli.open_datasets import COLUMNS, MANIFEST, get_dataset, prepare
    from agent.csv_export import write_csv

    dataset = get_dataset(name)
    prepared = prepare(dataset, folder)
    file = out or folder / MANIFEST
    if file.exists() and not force:
        raise WrongUse(f"{file}: already there; name another with --out, or add --force.")
    try:
        with file.open("w", encoding="utf-8", newline="") as text:
            write_csv(text, COLUMNS, [image.to_row() for image in prepared.images])
    except OSError as error:
        raise WrongUse(
            f"{file}: cannot be written ({error.strerror or error}); name another with --out."
        ) from error
    groups = len({image.specimen for image in prepared.images if image.specimen})
    without_scale = sum(not image.um_per_px for image in prepared.images)
    if json:
        console.print_json(
            {
                "name": dataset.name,
                "manifest": str(file),
                "images": len(prepared.images),
                "codes": dict(prepared.codes),
                "groups": groups,
                "without_scale": without_scale,
                "hashed": prepared.hashed,
                "missing": list(prepared.missing),
                "changed": list(prepared.changed),
            }
        )
    else:
        console.table(("class", "images"), sorted(prepared.codes.items()))
        checked = f"{prepared.hashed} checked by their hash" if prepared.hashed else "no hash known"
        console.out.print(
            f"{format_count(len(prepared.images), 'image')} in {format_count(groups, 'group')}, "
            f"{without_scale} without a scale, "
            f"{checked}: {file}",
            markup=False,
        )
        for title, files in (
            ("listed and missing", prepared.missing),
            ("left out, other pixels", prepared.changed),
        ):
            if files:
                shown = ", ".join(files[:3]) + (" …" if len(files) > 3 else "")  # noqa: PLR2004
                console.out.print(f"{len(files)} {title}: {shown}", markup=False)
        console.out.print(
            f"next: agent init --taxonomy {file}, then: agent train {folder} --manifest {file}",
            markup=False,
        )
    if prepared.missing or prepared.changed:
        raise typer.Exit(SOME_FAILED)
