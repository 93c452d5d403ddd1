"""`agent check`: the installation check."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.app import app, load_settings, open_store
from agent.cli.console import out
from agent.cli.verify import AsJson, print_faults

if TYPE_CHECKING:
    from agent.orders.instrument_checks import Finding as ControlFinding
    from agent.settings import Settings
    from agent.store import Store


@app.command()
def check(
    context: typer.Context,
    as_json: AsJson = False,
    references: Annotated[
        bool, typer.Option(help="Whether the reference images are judged too.")
    ] = True,
) -> None:
    """Check database, reading and judging: the installation check. 3 if anything is not as it was.

    Shipped reference images, and those in the data folder's reference/, have to give their stored
    answers; run it after a change of PC, driver or version.
    """
    from agent import maintenance
    from agent.archive import Archive

    settings = load_settings(context)
    with open_store(settings) as store:
        faults = list(maintenance.check(store, Archive(settings.store.folder)))
        found = _judged_references(settings, store) if references else []
    for one in found if not as_json else ():
        out.print(f"{'✓' if one.is_good else '✗'} {one.name}: {one.sentence}", markup=False)
    faults += [f"{one.name}: {one.sentence}" for one in found if not one.is_good]
    more = {"references": [[one.name, one.sentence, one.is_good] for one in found]}
    good = "the database is sound, and all that it names is there"
    print_faults(faults, good, as_json=as_json, more=more)


def _judged_references(settings: Settings, store: Store) -> list[ControlFinding]:
    from agent.cli.job_progress import silence_log
    from agent.cli.signing import os_user
    from agent.service.composition import load_bundle
    from agent.service.jobs.instrument_check import check_instrument

    silence_log()
    name = store.current_bundle()
    classifier = load_bundle(settings, name) if name else None
    return check_instrument(settings, store, classifier, by=os_user(), at=datetime.now(UTC))
