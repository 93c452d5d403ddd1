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
    bundle: Annotated[str, typer.Option(help="Name of the bundle to judge with.")],
    *,
    shadow: Annotated[
        bool, typer.Option("--shadow", help="As a candidate beside the bundle at work.")
    ] = False,
    days: Annotated[
        int | None, typer.Option(min=1, help="Only what came in the last so many days.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Judge what is archived with another bundle; its answers stand beside the old ones.

    With --shadow they are shown as flips in the report, and before a promotion. It is done in a
    process of low priority; what Ctrl-C cuts short is taken up by the next one.
    """
    from agent.retrain import Again
    from agent.service.jobs.shadow import judging_again

    silence_log()
    settings = load_settings(context)
    role: Role = "shadow" if shadow else "reprocess"
    with open_store(settings) as store:
        steps = judging_again(settings, store, bundle=bundle, role=role, days=days, by=os_user())
        again = run_to_end(steps, Again)
    _print_reprocessed(again, bundle, json)


def _print_reprocessed(again: Any, bundle: str, json: bool) -> None:
    flips = [
        {"before": before, "now": now, "n": n} for (before, now), n in sorted(again.flips.items())
    ]
    if json:
        console.print_json(
            {
                "bundle": bundle,
                "judged": again.judged,
                "known": again.known,
                "lost": again.lost,
                "flagged": again.flagged,
                "flips": flips,
            }
        )
        return
    lost = f", {again.lost} have no crop any more" if again.lost else ""
    console.out.print(
        f"{again.judged} micrographs judged with {bundle}, {again.known} were before{lost}; "
        f"{again.flagged} are strange to it.",
        markup=False,
    )
    if flips:
        console.table(("before", "now", "micrographs"), [tuple(flip.values()) for flip in flips])
