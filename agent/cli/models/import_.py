"""`agent import`: labelled micrographs from a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli import console
from agent.cli.app import SOME_FAILED, app, load_settings
from agent.cli.console import silence_log
from agent.cli.options import By, FolderArgument, JsonOption, ManifestOption, os_user, signed_store
from agent.terminal import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.labelled_import import ImportOutcome, UnusableFile
    from agent.settings import Settings
    from agent.store import Store

MANY_FILES = 20
"""Files from which another worker saves time. MEASURED: one takes 1.3 s of processor time to start,
a drawn micrograph of 800 × 600 px 0.2 s to read."""


def print_unusable(unusable: Sequence[UnusableFile]) -> None:
    """Print every file that could not be used, with the reason."""
    for file, sentence in unusable:
        line = visible(f"not used: {file}: {sentence}").replace("\n", "\\n")
        console.err.print(line, markup=False)


def import_labelled(
    settings: Settings,
    store: Store,
    folder: Path,
    manifest: Path | None,
    *,
    by: str = "",
    for_orders: bool = False,
    update: bool = False,
) -> ImportOutcome:
    """Import a labelled folder with a progress bar.

    Args:
        settings: Settings of the lab.
        store: Open store.
        folder: Folder with a sub-folder per structure code.
        manifest: CSV with labels, or None to use the sub-folders.
        by: Name that signs; "" for the operating-system user.
        for_orders: A lead's word that the labels count for fields of orders.
        update: Whether the manifest replaces data of micrographs imported earlier.
    """
    from agent import labelled_import
    from agent.orders.facts.order_policy import read_taxonomy
    from agent.service.composition import make_pipeline, make_pool
    from agent.service.data_folder import clock

    silence_log()
    taxonomy = read_taxonomy(settings, store, now=clock())
    listing = labelled_import.list_labelled(folder, taxonomy, manifest)
    outcome: ImportOutcome | None = None
    with (
        make_pool(settings, is_all=len(listing.files) >= MANY_FILES) as pool,
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
            for_orders=for_orders,
            update=update,
        ):
            if isinstance(step, labelled_import.ImportOutcome):
                outcome = step
            else:
                advance(step.done, step.note)
    if outcome is None:
        raise RuntimeError("the import ended without an outcome")
    return outcome


def print_imported(imported: ImportOutcome, *, updated: bool = False) -> None:
    """Print the result of an import, and every file that is unusable or has changed data."""
    total = sum(imported.codes.values())
    known = f" ({imported.unchanged} imported earlier)" if imported.unchanged else ""
    console.out.print(f"{total} labelled micrographs{known}:", markup=False)
    console.table(("structure code", "micrographs"), sorted(imported.codes.items()))
    print_unusable(imported.unusable)
    for file, sentence in imported.changed:
        console.err.print(
            f"{'changed' if updated else 'differs'}: {file}: {sentence}", markup=False
        )
    if imported.changed and not updated:
        console.err.print(
            f"{len(imported.changed)} micrographs were imported earlier with different data, which "
            "was kept. To replace it, run agent import with --update.",
            markup=False,
        )


@app.command("import")
def import_(  # noqa: PLR0917 - each is a word of the command
    context: typer.Context,
    folder: FolderArgument,
    manifest: ManifestOption = None,
    update: Annotated[
        bool,
        typer.Option(
            "--update",
            help="Replace the data of micrographs imported earlier, for example their specimen, by "
            "the manifest.",
        ),
    ] = False,
    for_orders: Annotated[
        bool,
        typer.Option(
            "--for-orders",
            help="Let the labels count for fields of orders that no reviewer labelled, all of them "
            "as one reviewer. Only a lead may.",
        ),
    ] = False,
    by: By = "",
    json: JsonOption = False,
) -> None:
    """Import labelled micrographs from a folder per structure code or from a CSV.

    Columns of the CSV: file (path below the folder) and code, or subtype and size; optional
    um_per_px (µm per pixel), criterion (mean or max), rater (a remark: who imports signs the
    labels). An imported label never replaces a reviewer's. Process data: plant, microscope,
    objective, order, heat, batch, specimen, preparation, field, material, etchant, magnification,
    operator. Other columns are kept. A split keeps all images of one specimen together, so name
    the specimen if it is known. Example:

    file,code,specimen,um_per_px

    g8/field_01.tif,G8,4711-1,0.1
    """
    settings = load_settings(context)
    with signed_store(context, settings, by) as (store, signer):
        if for_orders:
            from agent.cli.options import read_order_policy  # a plain import needs none
            from agent.orders.judge.permissions import require_lead

            require_lead(read_order_policy(settings, store), signer)
        imported = import_labelled(
            settings, store, folder, manifest, by=signer, for_orders=for_orders, update=update
        )
    if json:
        console.print_json(
            {
                "labelled": imported.labelled,
                "unchanged": imported.unchanged,
                "codes": dict(imported.codes),
                "unusable": [file._asdict() for file in imported.unusable],
                "changed": [file._asdict() for file in imported.changed],
            }
        )
    else:
        print_imported(imported, updated=update)
    if imported.unusable or (imported.changed and not update):
        raise typer.Exit(SOME_FAILED)
