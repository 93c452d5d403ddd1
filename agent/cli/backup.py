"""Back up, restore, verify, check and prune: what keeps a lab's data safe for years."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.app import SAYS_NO, app, settings_of, store_of
from agent.cli.console import aside, console, print_json, progress
from agent.errors import WrongUse

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from agent.cli.console import Advance
    from agent.maintenance import Pruning
    from agent.orders.instrument_checks import Finding as ControlFinding
    from agent.orders.order_list import Taken
    from agent.orders.resumption import Beyond
    from agent.settings import Settings
    from agent.store import Store
    from agent.verification import Outside

MIGRATED = "trail.covered"
"""The act that a migration appends; a back-up of before does not hold it."""
ALIVE_S = 60.0  # a heartbeat comes every few seconds
DAYS_OF_A_YEAR = 365.25
LEFTOVER_AGE = timedelta(days=1)
PER_MEGABYTE = 1_000_000
LINES_EVERY = 1000
NOTHING_ELSE = "nothing else was compared: rows cannot be, before these values are put right"

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document.")]


@app.command()
def backup(
    context: typer.Context,
    target: Annotated[
        Path | None, typer.Argument(help="The zip file, or a folder for it; default: this one.")
    ] = None,
    pixels: Annotated[
        bool, typer.Option("--pixels", help="Crops, originals and reports too: may be large.")
    ] = False,
    is_trial: Annotated[
        bool,
        typer.Option(
            "--verify",
            help="Write none: restore one on trial, compare it, and report. Default: the newest.",
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON document; with --verify alone.")
    ] = False,
) -> None:
    """Write database, bundles, settings, reference images and inbox to one file, while running."""
    from agent import maintenance
    from agent.service.anchoring import seal
    from agent.service.jobs.backup import settings_files

    settings, at = settings_of(context), datetime.now(UTC)
    if is_trial:
        _verify_backup(settings, target, at, as_json=as_json)
        return
    with store_of(settings) as store, progress("back up", 100) as advance:
        seal(store, at=at)
        file = _backup_file(settings, store, target or Path.cwd(), at)
        count = maintenance.back_up(
            store,
            settings.store.folder,
            file,
            settings_files=settings_files(settings),
            pixels=pixels,
            at=at,
            progress=lambda done, of, what: advance(done * 100 // max(of, 1), what),
        )
        store.remember(at=at, actor="agent", act="backup.made", subject=file.name)
    size = file.stat().st_size / PER_MEGABYTE
    console.print(f"{file}: {count} files, {size:.1f} MB", markup=False)


def _verify_backup(settings: Settings, target: Path | None, at: datetime, *, as_json: bool) -> None:
    from agent.service.jobs.backup import rehearse

    with store_of(settings) as store:
        file = _newest_backup(settings, store, target)
        result = rehearse(settings, store, file, at=at)
    if as_json:
        print_json(result.to_json())
    else:
        for line in (result.sentence, *result.faults[1:], *result.notes):
            console.print(line, markup=False)
    if result.faults:
        raise typer.Exit(SAYS_NO)


def _newest_backup(settings: Settings, store: Store, target: Path | None) -> Path:
    """Return the file to restore on trial: the one that is named, or the lab's newest."""
    from agent.backup_facts import is_own, list_backups

    if target and target.is_file():
        return target
    folder = target or (Path(settings.backup.folder) if settings.backup.folder else None)
    if folder is None:
        raise WrongUse("name a back-up, or set [backup] folder.")
    if not folder.is_dir():
        raise WrongUse(f"{folder}: there is no such file or folder.")
    site, lab = settings.site.name, store.first_act()
    own = [one for one in list_backups(folder) if is_own(one.facts, site=site, lab=lab)]
    if not own:
        raise WrongUse(f"{folder}: no back-up of this lab is there; name a file.")
    return own[-1].file


def _backup_file(settings: Settings, store: Store, target: Path, at: datetime) -> Path:
    from agent.backup_facts import name_backup

    if target.is_dir() or not target.suffix:
        lab = store.first_act()
        return target / name_backup(settings.site.name, lab, at, is_automatic=False)
    if target.exists():
        raise WrongUse(f"{target}: already there, and is left as it is; name another file.")
    return target


@app.command()
def restore(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="What `agent backup` wrote.")],
    all_sites: Annotated[
        bool, typer.Option("--all-sites", help="Also the other sites of a shared database.")
    ] = False,
) -> None:
    """Put a backup in the place of what is there, which is kept beside. Stop the agent first."""
    from agent import maintenance
    from agent.service.data_folder import agent_name
    from agent.service.lock import RunLock
    from agent.service.resuming import resume
    from agent.store import store_url

    settings, at = settings_of(context), datetime.now(UTC)
    if not file.is_file():
        raise WrongUse(f"{file}: there is no such file.")
    _refuse_while_running(settings, at, all_sites=all_sites)
    # Held meanwhile: neither `agent run --once`, which has no heartbeat, nor a service that comes
    # back by itself may write into a database that is being replaced.
    with RunLock(settings.store.folder, agent_name()), progress("restore", 100) as advance:
        restored = maintenance.restore(
            file,
            url=store_url(settings.store.folder, settings.store.url),
            folder=settings.store.folder,
            at=at,
            progress=lambda done, of, what: advance(done * 100 // max(of, 1), what),
            site=settings.site.name,
        )
    with store_of(settings) as store:
        head = store.trail_head()
        facts = {"trail": head.number - (head.act == MIGRATED)}
        store.remember(at=at, actor="agent", act="backup.restored", subject=file.name, facts=facts)
        resumed = resume(settings, store, since=restored.made_at, at=at)
    console.print(f"{restored.files} files restored", markup=False)
    say_resumed(*resumed)
    if restored.before:
        console.print(f"the database that was here is now {restored.before}", markup=False)
    if restored.settings:
        console.print(f"the settings of that time: {restored.settings}", markup=False)


def say_resumed(beyond: list[Beyond], lists: list[Taken], waits: list[str]) -> None:
    """Print what is outside the database and not in the back-up."""
    for one in beyond:
        console.print(one.sentence, markup=False)
    if beyond:
        console.print("they go on above these numbers; enter again what was lost of them")
    for taken in lists:
        console.print(
            f"order list {taken.name} read again: {len(taken.changed)} orders new or changed",
            markup=False,
        )
    for sentence in waits:
        console.print(sentence, markup=False)


@app.command("begin-anew")
def begin_anew(
    context: typer.Context,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it is kept.")] = "",
) -> None:
    """Take the database that is there for this data folder's, though it is empty or another lab's.

    What is archived stays; what the lost database held of it is not known any more.
    """
    from agent.service.data_folder import agent_name
    from agent.service.lock import RunLock
    from agent.service.resuming import resume
    from agent.store import find_mark

    if not reason.strip():
        raise WrongUse("Give a reason with --reason TEXT: it is kept.")
    settings, at = settings_of(context), datetime.now(UTC)
    folder = settings.store.folder
    with RunLock(folder, agent_name()), _open_anew(settings) as store:
        facts = {
            "reason": reason,
            "first_act_before": find_mark(folder),
            "trail": store.trail_head().number,
        }
        store.remember(at=at, actor="agent", act="lab.begun_anew", facts=facts)
        resumed = resume(settings, store, since=None, at=at)
        store.take_as_own(folder)
        where = store.place
    console.print(f"{where} is the database of {folder} now", markup=False)
    say_resumed(*resumed)


def _open_anew(settings: Settings) -> Store:
    """Open a database that is not the lab's, or its own where that is older than what was sent.

    Raises:
        NothingToBegin: It is the lab's own, and the newest.
    """
    from agent.service.copies import find_overtaken
    from agent.store import NothingToBegin

    try:
        return store_of(settings, anew=True)
    except NothingToBegin:
        store = store_of(settings)
        if find_overtaken(settings, store):
            return store
        store.close()
        raise


def _refuse_while_running(settings: Settings, at: datetime, *, all_sites: bool) -> None:
    from agent.errors import BadStore

    try:
        with store_of(settings) as store:
            sites = store.over_all_sites().names()
            alive = [
                agent.name
                for agent in store.over_all_sites().agents()
                if agent.seen_at
                and not agent.facts.get("stopped")
                and (at - agent.seen_at).total_seconds() < ALIVE_S
            ]
    except BadStore:
        return  # what is there cannot be opened: that is why somebody restores
    if alive:
        raise WrongUse(
            f"an agent is running ({', '.join(alive)}); stop it, wait a minute, and restore then."
        )
    if len(sites) > 1 and not all_sites:
        raise WrongUse(
            f"The database holds {len(sites)} sites ({', '.join(sites)}). A restore puts all of "
            "them back to the time of the back-up. If that is meant: agent restore --all-sites FILE"
        )


@app.command()
def verify(
    context: typer.Context,
    anchor: Annotated[
        list[Path] | None,
        typer.Option(help="A file that holds ends of the trail, such as a log; may be repeated."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare pixels with their hashes, and rows and trail with each other. 3 if one was changed.

    The trail is also compared with reports, back-ups and the file of [trail] anchor.
    """
    from agent import maintenance
    from agent.archive import Archive
    from agent.verification import verify_trail

    settings = settings_of(context)
    with store_of(settings) as store, progress("verify", None) as advance:
        archive = Archive(settings.store.folder)
        faults, notes = store.unreadable_values(), [NOTHING_ELSE]
        if not faults:
            faults, notes = verify_trail(store, _outside(settings, store, anchor or ()))
            faults += maintenance.verify(store, archive, progress=_now_and_then(advance))
    if not as_json:
        for note in notes:
            console.print(f"note: {note}", markup=False)
    good = "everything is as it was archived, and the trail is whole"
    _answer(faults, good, as_json=as_json, more={"notes": notes})


def _outside(settings: Settings, store: Store, more: Iterable[Path]) -> Outside:
    """Return what is kept outside the database and says where the trail ended."""
    from agent.lab_context import reports_folder
    from agent.timestamps import FOLDER
    from agent.verification import Outside

    certificates = settings.trail.timestamp_certificates
    own = Path(settings.trail.anchor)
    files = [own] if settings.trail.anchor and own.exists() else []
    return Outside(
        reports=reports_folder(settings.store.folder, store),
        backups=Path(settings.backup.folder) if settings.backup.folder else None,
        files=(*files, *more),
        timestamps=settings.store.folder / FOLDER,
        certificates=Path(certificates) if certificates else None,
        site=settings.site.name,
    )


def _now_and_then(advance: Advance) -> Advance:
    """Move a bar with every micrograph, but write a line only with every thousandth."""

    def step(done: int, note: str = "") -> None:
        if aside.is_terminal or done % LINES_EVERY == 0:
            advance(done, note)

    return step


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

    settings = settings_of(context)
    with store_of(settings) as store:
        faults = list(maintenance.check(store, Archive(settings.store.folder)))
        found = _judged_references(settings, store) if references else []
    for one in found if not as_json else ():
        console.print(f"{'✓' if one.is_good else '✗'} {one.name}: {one.sentence}", markup=False)
    faults += [f"{one.name}: {one.sentence}" for one in found if not one.is_good]
    more = {"references": [[one.name, one.sentence, one.is_good] for one in found]}
    good = "the database is sound, and all that it names is there"
    _answer(faults, good, as_json=as_json, more=more)


def _judged_references(settings: Settings, store: Store) -> list[ControlFinding]:
    from agent.cli.signing import os_user
    from agent.cli.train import quiet
    from agent.service.composition import load_bundle
    from agent.service.jobs.instrument_check import check_instrument

    quiet()
    name = store.current_bundle()
    classifier = load_bundle(settings, name) if name else None
    return check_instrument(settings, store, classifier, by=os_user(), at=datetime.now(UTC))


def _answer(
    faults: list[str], good: str, *, as_json: bool, more: Mapping[str, object] | None = None
) -> None:
    if as_json:
        print_json({"sound": not faults, "faults": faults, **(more or {})})
    else:
        for fault in faults:
            console.print(fault, markup=False)
        console.print(f"{len(faults)} faults" if faults else good)
    if faults:
        raise typer.Exit(SAYS_NO)


@app.command()
def prune(
    context: typer.Context,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be deleted.")
    ] = False,
) -> None:
    """Delete pixels that nothing refers to, older than [retention] says; print what stays and why.

    What a statement, a label, a round robin, a check, a study or a hold refers to is evidence.
    """
    from agent import maintenance
    from agent.archive import Archive

    settings, at = settings_of(context), datetime.now(UTC)
    archive = Archive(settings.store.folder)
    befores = _befores(settings, at)
    with store_of(settings) as store:
        since = at - timedelta(days=DAYS_OF_A_YEAR * settings.retention.statements_years)
        plans = maintenance.plan(store, archive, befores=befores, statements_since=since)
        _say(plans, dry_run=dry_run, never=not befores)
        if dry_run:
            return
        with progress("prune", sum(len(one.files) for one in plans)) as advance:
            maintenance.prune(
                store, plans, at=at, progress=lambda done, _of, what: advance(done, what)
            )
    archive.sweep(before_s=(at - LEFTOVER_AGE).timestamp())


def _befores(settings: Settings, at: datetime) -> dict[str, datetime]:
    days = {
        "crops": settings.retention.crops_days,
        "originals": settings.retention.originals_days,
    }
    return {kind: at - timedelta(days=count) for kind, count in days.items() if count}


def _say(plans: Iterable[Pruning], *, dry_run: bool, never: bool) -> None:
    if never:
        console.print("[retention] keeps everything for good: nothing is deleted", markup=False)
    for one in plans:
        console.print(
            f"{'would delete' if dry_run else 'deleting'} {len(one.files)} files of "
            f"{len(one.ids)} micrographs ({one.kind}), {one.size_bytes / PER_MEGABYTE:.1f} MB"
        )
        for reason, count in one.kept.items():
            console.print(f"  {'would keep' if dry_run else 'keeping'} {count}: {reason}")
