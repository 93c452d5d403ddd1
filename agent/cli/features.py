"""`agent features`: what the frozen networks saw of each crop, kept next to the archive."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from agent.cli import console
from agent.cli.app import SAYS_NO, app, load_settings, open_store
from agent.cli.job_progress import run_to_end, silence_log
from agent.cli.options import JsonOption
from agent.cli.signing import os_user
from agent.counts import format_count

features = typer.Typer(
    help="Kept features: what the frozen networks saw of each crop.", no_args_is_help=True
)
app.add_typer(features, name="features")


@features.command("status")
def status(context: typer.Context, json: JsonOption = False) -> None:
    """Show how many micrographs have kept features, and how much room they take."""
    from agent.service.composition import open_features

    settings = load_settings(context)
    with open_store(settings) as store:
        folder = open_features(settings, store)
        kept = folder.measure()
        document = {
            "keep": settings.features.keep,
            "folder": str(folder.folder),
            "micrographs": sum(1 for _ in store.retention.iter_archived()),
            **kept.to_json(),
        }
    if json:
        console.print_json(document)
        return
    console.out.print(
        f"{format_count(kept.rows, 'row')} of {format_count(document['micrographs'], 'micrograph')}"
        f", {kept.size_bytes / 1e6:.1f} MB in {document['folder']}; "
        f"{kept.buffered / 1e6:.1f} MB of it are not in a shard yet",
        markup=False,
    )
    if kept.forms:
        console.table(
            ("form", "rows", "shards", "MB"),
            [
                (name, facts["rows"], facts["shards"], f"{facts['size_bytes'] / 1e6:.1f}")
                for name, facts in kept.forms.items()
            ],
        )


@features.command("fill")
def fill(
    context: typer.Context,
    *,
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most N micrographs, the newest first.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Make the features of archived micrographs that have none for the bundle in use.

    Runs with low priority. Ctrl-C stops it; the next run continues where it stopped.
    """
    from agent.retrain import Filled
    from agent.service.jobs.features import fill_in_child

    silence_log()
    settings = load_settings(context)
    with open_store(settings) as store:
        steps = fill_in_child(settings, store, by=os_user(), limit=limit)
        filled = run_to_end(steps, Filled)
    document = {
        "made": filled.made,
        "known": filled.known,
        "lost": filled.lost,
        "unreadable": filled.unreadable,
        "rest": filled.rest,
    }
    if json:
        console.print_json(document)
        return
    console.out.print(
        f"Features of {format_count(filled.made, 'micrograph')} made, {filled.known} had theirs.",
        markup=False,
    )
    _print_rest(document)


def _print_rest(document: dict[str, Any]) -> None:
    if document["lost"]:
        console.out.print(f"{document['lost']} have no archived crop.")
    if document["unreadable"]:
        console.out.print(f"{document['unreadable']} have a damaged crop: agent verify names them.")
    if document["rest"]:
        console.out.print(f"{document['rest']} are left. Run agent features fill again.")


@features.command("verify")
def verify(
    context: typer.Context,
    *,
    repair: Annotated[
        bool, typer.Option("--repair", help="Delete what cannot be used; fill makes it again.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Compare every shard of kept features with its hash. Exit code 3 if one cannot be used."""
    from agent.service.composition import open_features

    settings = load_settings(context)
    with open_store(settings) as store:
        folder = open_features(settings, store)
        faults = list(folder.iter_faults())
        for fault in faults if repair else ():
            folder.discard(fault)
    if json:
        console.print_json(
            {
                "sound": not faults,
                "repaired": repair,
                "faults": [
                    {"shard": fault.shard, "rows": fault.rows, "fault": fault.sentence}
                    for fault in faults
                ],
            }
        )
    else:
        for fault in faults:
            console.out.print(fault.sentence, markup=False)
        console.out.print(_summarise(len(faults), repair=repair))
    if faults and not repair:
        raise typer.Exit(SAYS_NO)


def _summarise(faults: int, *, repair: bool) -> str:
    if not faults:
        return "Every shard is what was written."
    if repair:
        return f"{format_count(faults, 'shard')} deleted. Make the rows again: agent features fill"
    return (
        f"{format_count(faults, 'fault')}. Nothing is lost: agent features verify --repair, then "
        "agent features fill"
    )
