"""`agent reprocess`: evaluate archived micrographs with another bundle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli import console
from agent.cli.app import app, load_settings, open_store
from agent.cli.job_progress import run_to_end, silence_log
from agent.cli.options import (
    JsonOption,
)
from agent.cli.signing import os_user

if TYPE_CHECKING:
    from agent.retrain import Role


@app.command()
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
    json: JsonOption = False,
) -> None:
    """Evaluate archived micrographs with another bundle; earlier answers are kept.

    With --shadow the report and the promotion show the answers that differ. The evaluation runs
    with low priority. Ctrl-C stops it; the next run continues where it stopped.
    """
    from agent.retrain import Again
    from agent.service.jobs.shadow import judge_in_child

    silence_log()
    settings = load_settings(context)
    role: Role = "shadow" if shadow else "reprocess"
    with open_store(settings) as store:
        steps = judge_in_child(settings, store, bundle=bundle, role=role, days=days, by=os_user())
        outcome = run_to_end(steps, Again)
    _print_reprocessed(outcome, bundle, json)


def _print_reprocessed(outcome: Any, bundle: str, json: bool) -> None:
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
            }
        )
        return
    lost = f", {outcome.lost} have no archived crop" if outcome.lost else ""
    console.out.print(
        f"{outcome.judged} micrographs evaluated with {bundle}, {outcome.known} evaluated "
        f"earlier{lost}; {outcome.flagged} flagged as unusual.",
        markup=False,
    )
    if flips:
        console.table(("before", "now", "micrographs"), [tuple(flip.values()) for flip in flips])
