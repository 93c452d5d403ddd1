"""`agent retrain`: train a candidate from collected labels and compare it."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli import console
from agent.cli.app import SAYS_NO, app, load_settings, open_store
from agent.cli.job_progress import run_to_end, silence_log
from agent.cli.options import (
    JsonOption,
)
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
        bool, typer.Option("--dry-run", help="Only say what would be learned from.")
    ] = False,
    why: Annotated[
        bool, typer.Option("--why", help="Say what every check of the gate found, in numbers.")
    ] = False,
    cancel: Annotated[
        bool, typer.Option("--cancel", help="End the one that goes on, whoever began it.")
    ] = False,
    pseudo_labels: Annotated[
        bool,
        typer.Option(
            "--pseudo-labels",
            help="An experiment: learn from the model's own sure answers too, where control "
            "samples say that they are right.",
        ),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Learn from collected labels; a gate says whether it is better. Promotes nothing.

    It is done in a process of low priority. Ctrl-C ends it; what networks have learned until then
    is taken up by the next one.
    """
    silence_log()
    settings = load_settings(context)
    with open_store(settings) as store:
        if cancel:
            _cancel(store)
            return
        if dry_run:
            _print_dry_run(settings, store, json)
            return
        outcome = _learned(settings, store, pseudo_labels=pseudo_labels)
    _print_outcome(outcome, why=why, json=json)


def _cancel(store: Store) -> None:
    from agent.service.data_folder import clock
    from agent.service.jobs.retrain import JOB

    if not store.cancel_jobs(JOB, by=os_user(), at=clock()):
        raise WrongUse("nothing is being learned now.")
    console.out.print("It ends within a few seconds; nothing was promoted.")


def _learned(settings: Settings, store: Store, *, pseudo_labels: bool) -> Outcome:
    from agent.retrain import Outcome
    from agent.service.jobs.retrain import learn, learning

    work = partial(learn, pseudo_labels=pseudo_labels)
    return run_to_end(learning(settings, store, by=os_user(), work=work), Outcome)


def _print_dry_run(settings: Settings, store: Store, json: bool) -> None:
    from agent.retrain import Cleaned, clean_labels
    from agent.service.jobs.retrain import lesson_of
    from model import read_training_labels

    lesson, wanted = lesson_of(settings, store), settings.retrain.min_new_labels
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
    if json:
        console.print_json(
            {
                "current": current,
                "codes": dict(collected.codes),
                "new_labels": new,
                "wanted": wanted,
                "left_out": dict(collected.left_out),
                "doubted": [asdict(one) for one in clean.doubts],
            }
        )
        return
    console.table(("structure code", "micrographs"), sorted(collected.codes.items()))
    console.out.print(
        f"{len(collected.examples)} labelled micrographs, {new} of them new or changed "
        f"since {current}; at least {wanted} such are wanted.",
        markup=False,
    )
    if said := clean.sentence():
        console.out.print(f"In doubt: {said}", markup=False)
    console.table(
        ("in doubt", "given", "perhaps", "why"),
        [(one.key[:16], one.code, one.likely, one.kind) for one in clean.doubts],
    )


def _print_outcome(outcome: Outcome, *, why: bool, json: bool) -> None:
    from agent.retrain import Gate

    if json:
        console.print_json(outcome_to_json(outcome))
    else:
        console.out.print(outcome.sentence, markup=False)
        if why:
            print_checks(outcome)
    if outcome.gate is not Gate.RECOMMENDED:
        raise typer.Exit(SAYS_NO)
    if not json:
        console.out.print(
            f"Recommended. To put it to work: agent models promote {outcome.candidate} "
            "--by NAME --reason TEXT",
            markup=False,
        )


def outcome_to_json(outcome: Outcome) -> dict[str, Any]:
    """Give how a retraining ended as a JSON document."""
    return {
        "gate": str(outcome.gate),
        "outcome": str(outcome.finding),
        "sentence": outcome.sentence,
        "candidate": outcome.candidate,
        "current": outcome.current,
        "numbers": outcome.numbers,
    }


def print_checks(outcome: Outcome) -> None:
    """Say what every check of the gate found."""
    console.table(
        ("check", "", "what was found"),
        [
            (one["name"].replace("_", " "), "" if one["passed"] else "no", one["sentence"])
            for one in outcome.numbers.get("checks", ())
        ],
    )
