"""`agent models datasets`: open sets of micrographs to try, and the manifest of one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agent.cli import console
from agent.cli.app import SOME_FAILED
from agent.cli.models import models
from agent.cli.options import JsonOption
from agent.counts import format_count
from agent.errors import WrongUse

UNCONFIRMED = "read it at the source"


@models.command()
def datasets(
    name: Annotated[
        str, typer.Argument(help="Name of the set. Without one the sets are listed.")
    ] = "",
    folder: Annotated[
        Path | None, typer.Argument(help="The folder that the set was unpacked into.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The manifest; labels.csv in the folder by default."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a manifest.")] = False,
    json: JsonOption = False,
) -> None:
    """List open sets of micrographs to try, or write the manifest of one; downloads nothing.

    The list has licence, citation, DOI, number of images, and what each set is good for. A manifest
    has class, group and scale of each image, checked by count and hash.
    """
    if not name:
        _list_datasets(json=json)
        return
    if folder is None:
        raise WrongUse("Name the folder that the set was unpacked into.")
    _prepare(name, folder, out=out, force=force, json=json)


def _list_datasets(*, json: bool) -> None:
    """Print the open sets."""
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
        for title, text in facts:
            console.out.print(f"  {title:<9} {text}", markup=False)
    console.out.print(
        "\nDownload a set with a browser, then: agent models datasets NAME FOLDER", markup=False
    )


def _prepare(name: str, folder: Path, *, out: Path | None, force: bool, json: bool) -> None:
    """Write the manifest of a set, and print what it has."""
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
