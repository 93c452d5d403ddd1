"""`agent models features`: what the frozen networks saw of each crop, kept next to the archive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli import console
from agent.cli.app import SAYS_NO, load_settings, open_store
from agent.cli.job_progress import run_to_end, silence_log
from agent.cli.models import models
from agent.cli.options import JsonOption
from agent.cli.signing import os_user
from agent.counts import format_count
from agent.errors import WrongUse

if TYPE_CHECKING:
    from agent.settings import Settings


@models.command()
def features(
    context: typer.Context,
    *,
    fill: Annotated[
        bool,
        typer.Option(
            "--fill",
            help="Make the features of archived micrographs that have none for the bundle in use. "
            "Ctrl-C stops it; the next run continues.",
        ),
    ] = False,
    limit: Annotated[
        int | None, typer.Option(min=1, help="With --fill at most N micrographs, the newest first.")
    ] = None,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            help="Compare every shard with its hash. Exit code 3 if one cannot be used.",
        ),
    ] = False,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="With --verify delete what cannot be used; --fill makes it."),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Show how many micrographs have kept features, and their size on disk; make or check them."""
    if fill and (verify or repair):
        raise WrongUse("Use either --fill or --verify.")
    settings = load_settings(context)
    if fill:
        _fill(settings, limit=limit, json=json)
    elif verify or repair:
        _verify(settings, repair=repair, json=json)
    else:
        _show(settings, json=json)


def _show(settings: Settings, *, json: bool) -> None:
    """Print how many micrographs have kept features."""
    from agent.service.composition import open_features

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


def _fill(settings: Settings, *, limit: int | None, json: bool) -> None:
    """Make features with low priority, and print how many."""
    from agent.retrain import Filled
    from agent.service.jobs.features import fill_in_child

    silence_log()
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
        console.out.print(f"{document['rest']} are left. Run agent models features --fill again.")


def _verify(settings: Settings, *, repair: bool, json: bool) -> None:
    """Compare every shard of kept features with its hash."""
    from agent.service.composition import open_features

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
        return (
            f"{format_count(faults, 'shard')} deleted. Make the rows again: agent models "
            "features --fill"
        )
    return (
        f"{format_count(faults, 'fault')}. Nothing is lost: agent models features --verify "
        "--repair, then agent models features --fill"
    )
