"""`agent verify`: compare the archive with its hashes, and check the installation."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.app import SAYS_NO, app, load_settings, open_store
from agent.cli.console import Advance, err, out, print_json, progress
from agent.files.shares import inspect
from agent.terminal import format_count

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from agent.backup.verification import Outside
    from agent.orders.instruments.instrument_checks import ReferenceCheck as ControlFinding
    from agent.orders.judge.assessed import OrderPolicy
    from agent.settings import Settings
    from agent.store import Store

LINES_EVERY = 1000
NOTHING_ELSE = "nothing else was compared: rows cannot be compared until these values are corrected"
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document.")]


@app.command()
def verify(
    context: typer.Context,
    anchor: Annotated[
        list[Path] | None,
        typer.Option(help="File with heads of the audit log, such as a log file; repeatable."),
    ] = None,
    installation: Annotated[
        bool,
        typer.Option(
            "--installation",
            help="Check the installation instead: database, archive, image reading and model "
            "answers. Run this after a change of PC, driver or version.",
        ),
    ] = False,
    references: Annotated[
        bool,
        typer.Option(
            help="With --installation: the shipped reference images, and those in reference/ of "
            "the data folder, must give their stored answers."
        ),
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Compare archived pixels with their hashes, and rows with the audit log.

    The audit log is also compared with reports, backups and the file in [trail] anchor. Exit code 3
    if anything was changed or differs.
    """
    settings = load_settings(context)
    if installation:
        check_installation(settings, references=references, as_json=as_json)
        return
    from agent.archive import Archive
    from agent.backup import maintenance
    from agent.backup.verification import verify_trail

    with open_store(settings) as store, progress("verify", None) as advance:
        archive = Archive.open(settings)
        faults, notes = store.checks.find_unreadable_values(), [NOTHING_ELSE]
        if not faults:
            outside = read_outside(settings, store, anchor or ())
            policy, unread = _read_policy(settings, store)
            faults, notes = verify_trail(store, outside, policy=policy)
            notes += unread
            faults += maintenance.verify(store, archive, progress=_print_thousands(advance))
            notes += _list_feature_notes(settings, store)
    if not as_json:
        for note in notes:
            out.print(f"note: {note}", markup=False)
    good = "no archived file has changed, and the audit log is complete"
    print_faults(faults, good, as_json=as_json, more={"notes": notes})


def _read_policy(settings: Settings, store: Store) -> tuple[OrderPolicy | None, list[str]]:
    """Return the lab's policy of orders, or None and a note where it cannot be read."""
    from agent.cli.options import read_order_policy
    from agent.errors import SetupError

    try:
        return read_order_policy(settings, store, is_noted=False), []
    except SetupError as error:
        return None, [f"no statement was assessed again: {error}"]


def _list_feature_notes(settings: Settings, store: Store) -> list[str]:
    """Return a note where kept features are lost: they are no evidence, and can be made again."""
    from agent.service.composition import open_features

    faults = list(open_features(settings, store).iter_faults())
    if not faults:
        return []
    shards = format_count(len(faults), "shard")
    remedy = "Run: agent models features --verify --repair, then agent models features --fill"
    return [f"{shards} of kept features cannot be used ({faults[0].sentence}). {remedy}"]


def read_outside(settings: Settings, store: Store, more: Iterable[Path] = ()) -> Outside:
    """Return the records outside the database that contain heads of the audit log."""
    from agent.backup.verification import Outside
    from agent.evidence.timestamps import FOLDER
    from agent.store.sites.site_folders import reports_folder

    certificates = settings.trail.timestamp_certificates
    own = Path(settings.trail.anchor)
    files = [own] if settings.trail.anchor and inspect(own.parent, own.exists) else []
    return Outside(
        reports=reports_folder(settings.store.folder, store),
        data=settings.store.folder,
        backups=Path(settings.backup.folder) if settings.backup.folder else None,
        files=(*files, *more),
        timestamps=settings.store.folder / FOLDER,
        certificates=Path(certificates) if certificates else None,
        site=settings.site.name,
    )


def _print_thousands(advance: Advance) -> Advance:
    """Advance a bar per micrograph, but print plain lines per thousand only."""

    def step(done: int, note: str = "") -> None:
        if err.is_terminal or done % LINES_EVERY == 0:
            advance(done, note)

    return step


def print_faults(
    faults: list[str], good: str, *, as_json: bool, more: Mapping[str, object] | None
) -> None:
    """Print faults, or `good` if there are none; exit with code 3 if there is one."""
    if as_json:
        print_json({"sound": not faults, "faults": faults, **(more or {})})
    else:
        for fault in faults:
            out.print(fault, markup=False)
        out.print(format_count(len(faults), "fault") if faults else good)
    if faults:
        raise typer.Exit(SAYS_NO)


def check_installation(settings: Settings, *, references: bool, as_json: bool) -> None:
    """Print whether database and archive are whole and reference images give their answers."""
    from agent.archive import Archive
    from agent.backup import maintenance

    with open_store(settings) as store:
        faults = list(maintenance.check(store, Archive.open(settings)))
        results = _check_references(settings, store) if references else []
    for result in results if not as_json else ():
        mark = "✓" if result.is_good else "✗"
        out.print(f"{mark} {result.name}: {result.sentence}", markup=False)
    faults += [f"{result.name}: {result.sentence}" for result in results if not result.is_good]
    more = {"references": [[r.name, r.sentence, r.is_good] for r in results]}
    good = "the database is sound, and all files that it names exist"
    print_faults(faults, good, as_json=as_json, more=more)


def _check_references(settings: Settings, store: Store) -> list[ControlFinding]:
    from agent.cli.console import silence_log
    from agent.cli.options import os_user
    from agent.service.composition import load_bundle
    from agent.service.jobs.instrument_check import check_instrument

    silence_log()
    name = store.rollouts.find_wanted().name
    classifier = load_bundle(settings, name) if name else None
    return check_instrument(settings, store, classifier, by=os_user(), at=datetime.now(UTC))
