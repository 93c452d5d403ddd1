"""`agent retrain`: train a candidate from collected labels and compare it."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli import console
from agent.cli.app import SAYS_NO, app, load_settings, open_store
from agent.cli.job_progress import run_to_end, silence_log
from agent.cli.options import (
    JsonOption,
)
from agent.cli.retrain_verdict import explain_last_verdict, outcome_to_json
from agent.cli.signing import os_user
from agent.cli.train import print_left_out
from agent.errors import WrongUse

if TYPE_CHECKING:
    from agent.retrain import Outcome
    from agent.settings import Settings
    from agent.store import Store


@app.command()
def retrain(
    context: typer.Context,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print the training set; train nothing.")
    ] = False,
    why: Annotated[
        bool,
        typer.Option(
            "--why", help="Explain how the last retraining ended, check by check; starts none."
        ),
    ] = False,
    cancel: Annotated[
        bool,
        typer.Option("--cancel", help="Stop the running retraining, whichever user started it."),
    ] = False,
    pseudo_labels: Annotated[
        bool,
        typer.Option(
            "--pseudo-labels",
            help="Experimental: also train on confident predictions, if control samples confirm "
            "them.",
        ),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Train a candidate from the collected labels and compare it with the bundle in use.

    A gate recommends the candidate or not; a lead promotes it. The training runs with low
    priority. Ctrl-C stops it; the next run resumes from the last checkpoint.
    """
    from agent.service.jobs.retrain import find_training_job

    silence_log()
    settings = load_settings(context)
    with open_store(settings) as store:
        if cancel:
            _cancel(store)
            return
        if why:
            explain_last_verdict(settings, store, json=json)
            return
        if dry_run:
            _print_dry_run(settings, store, json)
            return
        print_left_out(find_training_job(settings, store).collected)
        outcome = _retrain(settings, store, pseudo_labels=pseudo_labels)
    _print_outcome(outcome, json=json)


def _cancel(store: Store) -> None:
    from agent.service.data_folder import clock
    from agent.service.jobs.retrain import JOB

    if not store.jobs.cancel(JOB, by=os_user(), at=clock()):
        raise WrongUse("No retraining is running.")
    console.out.print("The retraining stops within a few seconds. Nothing was promoted.")


def _retrain(settings: Settings, store: Store, *, pseudo_labels: bool) -> Outcome:
    from agent.retrain import Outcome
    from agent.service.jobs.retrain import train_candidate, train_in_child

    work = partial(train_candidate, pseudo_labels=pseudo_labels)
    return run_to_end(train_in_child(settings, store, by=os_user(), work=work), Outcome)


def _print_dry_run(settings: Settings, store: Store, json: bool) -> None:
    from agent.retrain import Cleaned, clean_labels
    from agent.service.jobs.retrain import find_training_job
    from model import read_training_labels

    lesson, wanted = find_training_job(settings, store), settings.retrain.min_new_labels
    print_left_out(lesson.collected)
    clean = run_to_end(
        clean_labels(
            lesson.collected,
            lesson.current,
            leave_out=settings.retrain.leave_out_doubted,
            alpha=settings.strangeness.alpha,
            several_subtypes=lesson.plan.taxonomy.several_subtypes,
        ),
        Cleaned,
    )
    collected, current = clean.collected, lesson.manifest.name
    new = len(collected.news_to(lesson.manifest, read_training_labels(lesson.current)))
    known = {example.key: example for example in lesson.collected.examples}
    if json:
        console.print_json(
            {
                "current": current,
                "codes": dict(collected.codes),
                "new_labels": new,
                "wanted": wanted,
                "left_out": dict(collected.left_out),
                "doubted": [
                    asdict(issue) | {"file": known[issue.key].file} for issue in clean.doubts
                ],
            }
        )
        return
    console.table(("structure code", "micrographs"), sorted(collected.codes.items()))
    console.out.print(
        f"{len(collected.examples)} labelled micrographs, {new} of them new or changed "
        f"since {current}; a retraining needs at least {wanted}.",
        markup=False,
    )
    if sentence := clean.sentence():
        console.out.print(f"Suspect labels: {sentence}", markup=False)
    console.table(
        ("suspect label", "given", "likely", "reason", "right of this code"),
        [
            (
                known[issue.key].label,
                issue.code,
                issue.likely,
                issue.kind,
                f"{issue.right} of {issue.of}" if issue.of else "",
            )
            for issue in clean.doubts
        ],
    )


def _print_outcome(outcome: Outcome, *, json: bool) -> None:
    from agent.retrain import Gate

    if json:
        console.print_json(outcome_to_json(outcome))
    else:
        console.out.print(outcome.sentence, markup=False)
        if outcome.numbers.get("checks"):
            console.err.print("Each check: agent retrain --why", markup=False)
    if outcome.gate is not Gate.RECOMMENDED:
        raise typer.Exit(SAYS_NO)
    if not json:
        console.out.print(
            f"Recommended. To promote it: agent models promote {outcome.candidate} "
            "--by NAME --reason TEXT",
            markup=False,
        )
