"""`agent verify --installation`: the installation check."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from agent.cli.app import open_store
from agent.cli.console import out
from agent.cli.verify import print_faults

if TYPE_CHECKING:
    from agent.orders.instrument_checks import ReferenceCheck as ControlFinding
    from agent.settings import Settings
    from agent.store import Store


def check_installation(settings: Settings, *, references: bool, as_json: bool) -> None:
    """Print whether database and archive are whole and reference images give their answers."""
    from agent import maintenance
    from agent.archive import Archive

    with open_store(settings) as store:
        faults = list(maintenance.check(store, Archive.open(settings.store)))
        results = _check_references(settings, store) if references else []
    for result in results if not as_json else ():
        mark = "✓" if result.is_good else "✗"
        out.print(f"{mark} {result.name}: {result.sentence}", markup=False)
    faults += [f"{result.name}: {result.sentence}" for result in results if not result.is_good]
    more = {"references": [[r.name, r.sentence, r.is_good] for r in results]}
    good = "the database is sound, and all files that it names exist"
    print_faults(faults, good, as_json=as_json, more=more)


def _check_references(settings: Settings, store: Store) -> list[ControlFinding]:
    from agent.cli.job_progress import silence_log
    from agent.cli.signing import os_user
    from agent.service.composition import load_bundle
    from agent.service.jobs.instrument_check import check_instrument

    silence_log()
    name = store.rollouts.find_wanted().name
    classifier = load_bundle(settings, name) if name else None
    return check_instrument(settings, store, classifier, by=os_user(), at=datetime.now(UTC))
