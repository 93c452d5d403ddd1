"""`agent import`: labelled micrographs from a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli import console
from agent.cli.app import SOME_FAILED, app, load_settings
from agent.cli.job_progress import silence_log
from agent.cli.options import (
    FolderArgument,
    JsonOption,
    ManifestOption,
)
from agent.cli.signing import os_user, signed_store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.labelled_import import ImportOutcome, Unusable
    from agent.settings import Settings
    from agent.store import Store


def print_unusable(unusable: Sequence[Unusable]) -> None:
    """Name every file that could not be used, and why."""
    for file, sentence in unusable:
        console.err.print(f"not used: {file}: {sentence}", markup=False)


def import_labelled(
    settings: Settings,
    store: Store,
    folder: Path,
    manifest: Path | None,
    *,
    by: str = "",
    update: bool = False,
) -> ImportOutcome:
    """Import a labelled folder under a progress bar; `by` signs, "": the system's user."""
    from agent import labelled_import
    from agent.lab_context import read_taxonomy
    from agent.service.composition import make_pipeline, make_pool
    from agent.service.data_folder import clock

    silence_log()
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


def print_imported(imported: ImportOutcome, *, updated: bool = False) -> None:
    """Print how an import ended, and every file that could not be used or is described anew."""
    total = sum(imported.codes.values())
    known = f" ({imported.unchanged} were known already)" if imported.unchanged else ""
    console.out.print(f"{total} labelled micrographs{known}:", markup=False)
    console.table(("structure code", "micrographs"), sorted(imported.codes.items()))
    print_unusable(imported.unusable)
    for file, sentence in imported.changed:
        console.err.print(
            f"{'changed' if updated else 'differs'}: {file}: {sentence}", markup=False
        )
    if imported.changed and not updated:
        console.err.print(
            f"{len(imported.changed)} micrographs were imported before with other data, which were "
            "kept. To replace them: agent import with --update.",
            markup=False,
        )


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
    settings = load_settings(context)
    with signed_store(context, settings, "") as (store, by):
        imported = import_labelled(settings, store, folder, manifest, by=by, update=update)
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
        print_imported(imported, updated=update)
    if imported.unusable or (imported.changed and not update):
        raise typer.Exit(SOME_FAILED)
