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
from agent.cli.reprocess_acts import cancel_jobs, pause_jobs, print_jobs, resume_jobs
from agent.cli.signing import os_user
from agent.errors import WrongUse

if TYPE_CHECKING:
    from agent.retrain import Role
    from agent.settings import Settings
    from agent.store import Store


@app.command()
def reprocess(
    context: typer.Context,
    bundle: Annotated[str, typer.Option(help="Name of the bundle to evaluate.")] = "",
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
    queue: Annotated[
        bool,
        typer.Option(
            "--queue", help="Only make the units; running agents do them while they are idle."
        ),
    ] = False,
    ray: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help='Judge on a Ray cluster, "auto": the one of this PC. Linux, extra ray.',
        ),
    ] = "",
    list_: Annotated[
        bool, typer.Option("--list", help="Show the progress of all jobs and start none.")
    ] = False,
    pause: Annotated[bool, typer.Option("--pause", help="Pause the unfinished jobs.")] = False,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Resume paused jobs and units that were set aside."),
    ] = False,
    cancel: Annotated[
        bool, typer.Option("--cancel", help="Cancel the unfinished jobs; stored answers stay.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Evaluate archived micrographs with another bundle; earlier answers are kept.

    With --shadow the report and the promotion show the answers that differ. The evaluation runs
    with low priority, in units that all running agents of the site share. Ctrl-C pauses it; the
    next run continues where it stopped. --pause, --resume and --cancel are about the jobs of
    --bundle, without it about all.
    """
    if from_features:
        if shadow or queue or days is not None or not bundle:
            raise WrongUse(
                "--from-features compares everything with --bundle and stores nothing: leave out "
                "the other options."
            )
        _compare_history(context, bundle, json=json)
        return
    silence_log()
    settings = load_settings(context)
    acts = {"list": list_, "pause": pause, "resume": resume, "cancel": cancel}
    chosen = [f"--{name}" for name, is_chosen in acts.items() if is_chosen]
    if len(chosen) > 1 or (not chosen and not bundle):
        raise WrongUse(
            f"{' and '.join(chosen)}: choose one." if chosen else "--bundle: name a bundle."
        )
    if not chosen:
        settings = load_settings(context)
    with open_store(settings) as store:
        if list_:
            print_jobs(store, bundle, json=json)
        elif pause:
            pause_jobs(store, bundle, json=json)
        elif resume:
            resume_jobs(store, bundle, json=json)
        elif cancel:
            cancel_jobs(store, bundle, json=json)
        else:
            role: Role = "shadow" if shadow else "reprocess"
            if ray:
                _reprocess_on_ray(settings, store, bundle, role, days=days, ray=ray, json=json)
            else:
                _reprocess(settings, store, bundle, role, days=days, queue=queue, json=json)


def _reprocess(
    settings: Settings,
    store: Store,
    bundle: str,
    role: Role,
    *,
    days: int | None,
    queue: bool,
    json: bool,
) -> None:
    from agent.retrain import Again
    from agent.service.jobs.shadow import judge_in_child

    if queue:
        _queue(settings, store, bundle, role, days=days, json=json)
        return
    steps = judge_in_child(settings, store, bundle=bundle, role=role, days=days, by=os_user())
    _print_reprocessed(run_to_end(steps, Again), bundle, json)


def _reprocess_on_ray(
    settings: Settings,
    store: Store,
    bundle: str,
    role: Role,
    *,
    days: int | None,
    ray: str,
    json: bool,
) -> None:
    from agent.retrain import Again
    from agent.service.jobs.ray_workers import judge_on_ray

    steps = judge_on_ray(
        settings, store, address=ray, bundle=bundle, role=role, days=days, by=os_user()
    )
    _print_reprocessed(run_to_end(steps, Again), bundle, json)


def _queue(
    settings: Settings, store: Store, bundle: str, role: Role, *, days: int | None, json: bool
) -> None:
    from agent.bundle_registry import get_bundle
    from agent.service.data_folder import clock
    from agent.service.jobs.unit_pulling import request_job

    get_bundle(settings.store.folder, bundle)
    job = request_job(store, bundle=bundle, role=role, days=days, by=os_user(), now=clock)
    while store.work_jobs.divide(job.id, unit=settings.work.unit, at=clock()):
        pass
    print_jobs(store, bundle, json=json)


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
            f"{bundle} has separate networks: its codes need the images. Run: agent reprocess "
            f"--bundle {bundle}",
            markup=False,
        )
    console.out.print(
        f"{found.scored} micrographs evaluated with {bundle} from kept features; {found.without} "
        f"have none (agent features fill). {found.flagged_whole} are unusual as a whole. Local "
        "strangeness is not evaluated again: earlier bundles flagged "
        f"{found.flagged_local_before}.",
        markup=False,
    )
    if found.close:
        console.out.print(f"{found.close} are too close to call without the image.", markup=False)
    if document["flips"]:
        rows = [(flip["before"], flip["now"], flip["n"]) for flip in document["flips"]]
        console.table(("before", "now", "micrographs"), rows)


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
                "unreadable": outcome.unreadable,
                "set_aside": outcome.set_aside,
                "waiting": outcome.waiting,
                "waits_for": list(outcome.waits_for),
                "state": outcome.state,
            }
        )
        return
    lost = f", {outcome.lost} have no archived crop" if outcome.lost else ""
    console.out.print(
        f"{outcome.judged} micrographs evaluated with {bundle}, {outcome.known} evaluated "
        f"earlier{lost}; {outcome.flagged} flagged as unusual.",
        markup=False,
    )
    _print_unfinished(outcome)
    if flips:
        console.table(("before", "now", "micrographs"), [tuple(flip.values()) for flip in flips])


def _print_unfinished(outcome: Any) -> None:
    if outcome.unreadable:
        console.err.print(
            f"{outcome.unreadable} archived crops cannot be read. Run agent verify.", markup=False
        )
    if outcome.set_aside:
        console.err.print(
            f"{outcome.set_aside} micrographs are in units that failed and were set aside. For the "
            "reasons: agent reprocess --list",
            markup=False,
        )
    if outcome.waiting:
        places = ", ".join(outcome.waits_for)
        why = f"their crops are on {places}" if places else f"the job is {outcome.state}"
        console.err.print(
            f"{outcome.waiting} micrographs are not evaluated yet: {why}.", markup=False
        )
