"""`agent models reprocess`: evaluate archived micrographs with another bundle."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli import console
from agent.cli.app import load_settings, open_store
from agent.cli.job_progress import run_to_end, silence_log
from agent.cli.models import models
from agent.cli.options import (
    JsonOption,
)
from agent.cli.signing import os_user
from agent.errors import WrongUse

if TYPE_CHECKING:
    from agent.retrain import Again, Role
    from agent.settings import Settings
    from agent.store import Store


@models.command()
def reprocess(
    context: typer.Context,
    bundle: Annotated[str, typer.Option(help="Name of the bundle to evaluate.")],
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
            raise WrongUse(
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
    from agent.service.jobs.ray_workers import judge_on_ray
    from agent.service.jobs.shadow import judge_in_child

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
