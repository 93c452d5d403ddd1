"""`agent models reprocess` and `features`: archived micrographs evaluated again."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli import console
from agent.cli.app import SAYS_NO, load_settings, open_store
from agent.cli.console import run_to_end, silence_log
from agent.cli.models.bundles import models
from agent.cli.options import JsonOption, complete_bundles, os_user
from agent.errors import UsageError
from agent.terminal import format_count

if TYPE_CHECKING:
    from agent.retrain import Again, Role
    from agent.settings import Settings
    from agent.store import Store


@models.command()
def reprocess(
    context: typer.Context,
    bundle: Annotated[
        str, typer.Option(help="Name of the bundle to evaluate.", autocompletion=complete_bundles)
    ],
    *,
    shadow: Annotated[
        bool,
        typer.Option(
            "--shadow",
            help="Record the answers as a candidate's; the bundle in use keeps deciding.",
        ),
    ] = False,
    days: Annotated[
        int | None, typer.Option(min=1, help="Only micrographs of the last N days.")
    ] = None,
    from_features: Annotated[
        bool,
        typer.Option(
            "--from-features",
            help="Compare all history from kept features: minutes, no image is read, no answer is "
            "stored, local strangeness is not evaluated.",
        ),
    ] = False,
    ray: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help='Judge on a Ray cluster, "auto": the one of this PC. Linux, extra ray.',
        ),
    ] = "",
    json: JsonOption = False,
) -> None:
    """Evaluate archived micrographs with another bundle; earlier answers are kept.

    With --shadow the report and the promotion show the answers that differ. The evaluation runs
    with low priority on this PC, or with --ray on a cluster. The next run continues one that was
    interrupted.
    """
    if from_features:
        if shadow or ray or days is not None:
            raise UsageError(
                "--from-features compares everything with --bundle and stores nothing: leave out "
                "the other options."
            )
        _compare_history(context, bundle, json=json)
        return
    silence_log()
    settings = load_settings(context)
    with open_store(settings) as store:
        role: Role = "shadow" if shadow else "reprocess"
        _print_reprocessed(
            _reprocess(settings, store, bundle, role, days=days, ray=ray), bundle, json=json
        )


def _reprocess(
    settings: Settings, store: Store, bundle: str, role: Role, *, days: int | None, ray: str
) -> Again:
    from agent.retrain import Again
    from agent.service.jobs.shadow import judge_in_child, judge_on_ray

    act = partial(judge_on_ray, address=ray) if ray else judge_in_child
    steps = act(settings, store, bundle=bundle, role=role, days=days, by=os_user())
    return run_to_end(steps, Again)


def _compare_history(context: typer.Context, bundle: str, *, json: bool) -> None:
    from agent.retrain import Rescoring
    from agent.service.jobs.features import score_in_child

    silence_log()
    settings = load_settings(context)
    with open_store(settings) as store:
        found = run_to_end(score_in_child(settings, store, bundle=bundle, by=os_user()), Rescoring)
    document = found.to_json()
    if json:
        console.print_json(document)
        return
    if not found.scores_codes:
        console.out.print(
            f"{bundle} has separate networks: its codes need the images. Run: agent models "
            f"reprocess --bundle {bundle}",
            markup=False,
        )
    console.out.print(
        f"{found.scored} micrographs evaluated with {bundle} from kept features; {found.without} "
        f"have none (agent models features --fill). {found.flagged_whole} are unusual as a "
        "whole. Local strangeness is not evaluated again: earlier bundles flagged "
        f"{found.flagged_local_before}.",
        markup=False,
    )
    if found.close:
        console.out.print(f"{found.close} are too close to call without the image.", markup=False)
    if document["flips"]:
        rows = [(flip["before"], flip["now"], flip["n"]) for flip in document["flips"]]
        console.table(("before", "now", "micrographs"), rows)


def _print_reprocessed(outcome: Again, bundle: str, *, json: bool) -> None:
    flips = [
        {"before": before, "now": now, "n": n} for (before, now), n in sorted(outcome.flips.items())
    ]
    if json:
        console.print_json(
            {
                "bundle": bundle,
                "judged": outcome.judged,
                "known": outcome.known,
                "lost": outcome.lost,
                "flagged": outcome.flagged,
                "flips": flips,
                "unreadable": outcome.unreadable,
            }
        )
        return
    lost = f", {outcome.lost} have no archived crop" if outcome.lost else ""
    console.out.print(
        f"{outcome.judged} micrographs evaluated with {bundle}, {outcome.known} evaluated "
        f"earlier{lost}; {outcome.flagged} flagged as unusual.",
        markup=False,
    )
    if outcome.unreadable:
        console.err.print(
            f"{outcome.unreadable} archived crops cannot be read. Run agent verify.", markup=False
        )
    if flips:
        console.table(("before", "now", "micrographs"), [tuple(flip.values()) for flip in flips])


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
        raise UsageError("Use either --fill or --verify.")
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
