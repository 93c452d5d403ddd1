"""`agent restore`: put a backup in place, or accept a loss or a database."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.app import app, load_settings, open_store
from agent.cli.console import out, progress
from agent.cli.options import By, Reason, require_lead, signed_store
from agent.errors import UsageError
from agent.terminal import format_count

if TYPE_CHECKING:
    from agent.backup.maintenance import Restored
    from agent.orders.facts.order_list import OrderListResult
    from agent.orders.lims.resumption import Beyond, SentRevision
    from agent.settings import Settings
    from agent.store import Store


@dataclass(frozen=True, slots=True)
class _Replaced:
    """What a database holds before another is put in its place.

    Attributes:
        end: Number of the newest act, 0 where it is not known.
        stated: What the newest statement of each order states.
        fault: Why it does not tell everything that is lost with it, "" where it does.
    """

    end: int = 0
    stated: tuple[SentRevision, ...] = ()
    fault: str = ""


@app.command()
def restore(
    context: typer.Context,
    file: Annotated[
        Path | None, typer.Argument(help="Backup that `agent backup` wrote.", show_default=False)
    ] = None,
    *,
    all_sites: Annotated[
        bool, typer.Option("--all-sites", help="Restore all sites of a shared database.")
    ] = False,
    to: Annotated[
        Path | None,
        typer.Option(
            "--to",
            metavar="DIR",
            help="Move a lab to this PC: new folder for agent.toml and the data folder. Files that "
            "were processed are not processed again.",
        ),
    ] = None,
    source: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FOLDER",
            help="With --to the export folder of a source on this PC; repeatable.",
        ),
    ] = None,
    accept: Annotated[
        str,
        typer.Option(
            metavar="NUMBER|database",
            help="Accept the loss of a restore, as a lead, which ends its warning; or the present "
            "database for this data folder, even an empty one or one of another lab.",
        ),
    ] = "",
    by: By = "",
    reason: Reason = "",
) -> None:
    """Restore a backup. Existing data is kept under another name. Stop the agent first.

    The acts that the backup lacks are a warning of status, doctor, verify and report until a lead
    accepts the loss with --accept.
    """
    if accept:
        _accept(context, accept, by=by, reason=reason)
    elif file is None:
        raise UsageError("Name the zip file that agent backup wrote.")
    elif to or source:
        from agent.cli.operate.move import move

        move(file, to or Path(), source or [])
    else:
        _restore(load_settings(context), file, all_sites=all_sites)


def put_in_place(settings: Settings, file: Path, *, at: datetime) -> Restored:
    """Put the database and the files of a backup in place, in a lab's folder or in a new one.

    Args:
        settings: Of the lab; the caller holds its lock.
        file: The backup.
        at: Now, aware UTC.
    """
    from agent.backup import maintenance
    from agent.store import store_url

    with progress("restore", 100) as advance:
        return maintenance.restore(
            file,
            url=store_url(settings.store.folder, settings.store.url),
            folder=settings.store.folder,
            at=at,
            progress=lambda done, of, what: advance(done * 100 // max(of, 1), what),
            site=settings.site.name,
        )


def _restore(settings: Settings, file: Path, *, all_sites: bool) -> None:
    """Put a backup in the place of the database and the files that it contains."""
    from agent.service.copies import resume
    from agent.service.data_folder import RunLock

    at = datetime.now(UTC)
    if file.is_dir():
        raise UsageError(f"{file} is a folder. Name the zip file that agent backup wrote.")
    if not file.is_file():
        raise UsageError(f"No such file: {file}.")
    sites = list_stopped_sites(settings, at, then="restore")
    if len(sites) > 1 and not all_sites:
        raise UsageError(
            f"The database contains {len(sites)} sites ({', '.join(sites)}). A restore sets all of "
            "them back to the time of the backup. To do this: agent restore --all-sites FILE"
        )
    replaced = _read_replaced(settings)
    # The lock stops `agent run --once`, which has no heartbeat, and a restarted service from
    # writing to a database that is being replaced.
    with RunLock.of(settings):
        restored = put_in_place(settings, file, at=at)
    with open_store(settings) as store:
        shares = _list_shares(store)
    unknown = _Replaced(fault="it did not open, or did not hold this site")
    replaced = dict.fromkeys(shares, unknown) | replaced
    losses = [
        _record(_settings_of(settings, site, own), file, replaced[site], at)
        for site, own in shares.items()
    ]
    others = {
        site: _settings_of(settings, site, own)
        for site, own in shares.items()
        if site != settings.site.name
    }
    _adopt_others(others, replaced, since=restored.made_at, at=at)
    with open_store(settings) as store:
        stated = replaced.get(settings.site.name, _Replaced()).stated
        resumed = resume(settings, store, since=restored.made_at, at=at, replaced=stated)
    stopped = [site for site, own in shares.items() if _stop_rollout(settings, site, own, at)]
    out.print(f"{format_count(restored.files, 'file')} restored", markup=False)
    print_resumed(*resumed)
    for sentence in losses:
        out.print(sentence, markup=False)
    for site, before in replaced.items():
        if before.fault:
            out.print(
                f"{site}: the database that was replaced does not tell all that is lost with it: "
                f"{before.fault}",
                markup=False,
            )
    for site in stopped:
        out.print(
            f"{site}: the rollout that ran during the backup is stopped. To go on: agent models "
            "rollout --continue",
            markup=False,
        )
    if restored.before:
        out.print(f"the previous database is now {restored.before}", markup=False)
    if restored.settings:
        out.print(f"settings from the backup: {restored.settings}", markup=False)


def _adopt_others(
    others: dict[str, Settings],
    replaced: dict[str, _Replaced],
    *,
    since: datetime | None,
    at: datetime,
) -> None:
    """Hold what other sites of the database lost, as far as this PC knows it."""
    from agent.service.copies import adopt_local

    for site, other in others.items():
        with open_store(other) as store:
            adopt_local(other, store, since=since, at=at, replaced=replaced[site].stated)


def _record(own: Settings, file: Path, replaced: _Replaced, at: datetime) -> str:
    """Record the restore in the audit log of a site and outside it; return what was lost.

    Args:
        own: Settings of the site.
        file: The back-up.
        replaced: What was there before the restore.
        at: Now, aware UTC.
    """
    from agent.backup.file import hash_manifest
    from agent.cli.operate.verify import read_outside
    from agent.evidence import anchors
    from agent.evidence.anchors import Anchor
    from agent.service.copies import list_presence_anchors
    from agent.store import RESTORED

    with open_store(own, acts=False) as store:  # no statement before the note confirms the act
        kept, sha256 = store.audit_log.get_end()
        outside = [*read_outside(own, store).iter_anchors(), *list_presence_anchors(own, store)]
        known = [anchor for anchor in outside if anchor.site in {"", store.site}]
        facts = {
            "trail": kept,
            "sha256": sha256 if kept else "",
            "until": max([replaced.end, *(anchor.number for anchor in known), kept]),
            "manifest_sha256": hash_manifest(file),
            "is_named": not replaced.fault,
            "ends": [[one.number, one.sha256] for one in known if one.at > at],  # a wrong clock
        }
        store.audit_log.add(at=at, actor="agent", act=RESTORED, subject=file.name, facts=facts)
        end = Anchor.of(store.audit_log.get_head(), at=at)
        more = Path(own.trail.anchor) if own.trail.anchor else None
        anchors.write_note(own.store.folder, end, more=more)
        return anchors.list_losses(store)[-1].sentence


def _accept(context: typer.Context, what: str, *, by: str, reason: str) -> None:
    """Accept a database, or record that a lead knows what a restore lost."""
    from agent.evidence.anchors import Anchor, list_losses, write_note
    from agent.service.statements import StatementKeeper
    from agent.store import ACCEPTED, RESTORED

    if not reason.strip():
        raise UsageError("Add a reason with --reason TEXT. It is recorded.")
    settings = load_settings(context)
    if what == "database":
        accept_database(settings, reason)
        return
    if not what.isdecimal():
        raise UsageError(f"--accept: write the number of a restore, or database, not {what!r}.")
    number = int(what)
    with signed_store(context, settings, by) as (store, signer):
        require_lead(settings, store, signer)
        loss = next((loss for loss in list_losses(store) if loss.number == number), None)
        if loss is None:
            raise UsageError(
                f"Act {number} is no restore whose loss is to be accepted. See agent verify."
            )
        facts = {"act": number, "reason": reason, "trail": loss.kept, "until": loss.until}
        at = datetime.now(UTC)
        keeper = StatementKeeper(settings, store)
        store.after_each_act(lambda: None)  # no statement before the note confirms the act
        store.audit_log.add(at=at, actor=signer, act=ACCEPTED, subject=loss.backup, facts=facts)
        if loss.act != RESTORED:  # no command confirmed it before
            signed = store.audit_log.list_replacements()[-1]
            end = Anchor(signed.id, signed.id, signed.sha256, at, signer, ACCEPTED, loss.backup)
            more = Path(settings.trail.anchor) if settings.trail.anchor else None
            write_note(settings.store.folder, end, more=more)
        keeper.after_act()
    out.print(f"{signer} accepts what was lost on {loss.at:%Y-%m-%d %H:%M} UTC.", markup=False)


def _list_shares(store: Store) -> dict[str, tuple[str, ...]]:
    """Return each site of the database with what it shares with others."""
    sites = store.over_all_sites()
    sharing = {what: sites.sharing(what) for what in ("accounts", "bundles")}
    return {
        name: tuple(what for what, names in sharing.items() if name in names)
        for name in sites.names()
    }


def _stop_rollout(settings: Settings, site: str, shares: tuple[str, ...], at: datetime) -> bool:
    """Stop the rollout that runs in a restored backup; return whether there was one."""
    with open_store(_settings_of(settings, site, shares)) as store:
        return store.rollouts.stop_restored(at=at)


def _settings_of(settings: Settings, site: str, shares: tuple[str, ...]) -> Settings:
    own = settings.site.model_copy(update={"name": site, "shares": shares})
    return settings.model_copy(update={"site": own})


def print_resumed(beyond: list[Beyond], lists: list[OrderListResult], pending: list[str]) -> None:
    """Print what exists outside the database but not in the backup."""
    for series in beyond:
        out.print(series.sentence, markup=False)
    if beyond:
        out.print("Numbering continues above these numbers. Enter lost orders again.")
    for order_list in lists:
        out.print(
            f"order list {order_list.name} read again: "
            f"{format_count(len(order_list.changed), 'order')} new or changed",
            markup=False,
        )
    for sentence in pending:
        out.print(sentence, markup=False)


def list_stopped_sites(settings: Settings, at: datetime, *, then: str) -> list[str]:
    """Return the sites of a database that no agent uses; none where it does not open.

    Args:
        settings: Settings of the lab.
        at: Aware UTC.
        then: What the operator does after the agent has stopped.

    Raises:
        UsageError: An agent of any site is running.
    """
    from agent.errors import StoreError
    from agent.service.health.database_clock import DatabaseClock
    from agent.store.sites.fleet import is_alive

    try:
        with open_store(settings) as store:
            now = DatabaseClock(store, now=lambda: at)()
            sites = store.over_all_sites().names()
            alive = [
                agent.name for agent in store.over_all_sites().agents() if is_alive(agent, now=now)
            ]
    except StoreError:
        return []  # a damaged database is the reason for a restore
    if alive:
        raise UsageError(
            f"An agent is running ({', '.join(alive)}). Stop it, wait a minute, then {then}."
        )
    return sites


def _read_replaced(settings: Settings) -> dict[str, _Replaced]:
    """Return site → what its database holds before another is put in its place."""
    from agent.errors import StoreError
    from agent.store import StoreFaultError

    replaced: dict[str, _Replaced] = {}
    try:
        with open_store(settings) as store:
            shares = _list_shares(store)
        for site, own in shares.items():
            replaced[site] = _read_site(_settings_of(settings, site, own))
    except (StoreError, StoreFaultError) as fault:  # a damaged database is the reason for a restore
        replaced.setdefault(settings.site.name, _Replaced(fault=str(fault)))
    return replaced


def _read_site(settings: Settings) -> _Replaced:
    """Return what a site's database states; what was left to freeze is frozen first."""
    from agent.cli.operate.verify import read_outside
    from agent.errors import AgentError
    from agent.evidence import anchors
    from agent.orders.lims.lost_conformity import iter_stated
    from agent.service.jobs.exchange import find_position
    from agent.service.statements import StatementKeeper
    from agent.store import StoreFaultError

    with open_store(settings) as store:
        end = store.audit_log.get_head().number
        try:
            checks = anchors.check(store, read_outside(settings, store).iter_anchors())
            problems = store.audit_log.find_problems()
            faults = [*checks.faults, *problems, *store.statements.problems()]
            if not faults:
                position = find_position(settings, store)
                StatementKeeper(settings, store, position=position).freeze_touched()
            stated = tuple(iter_stated(store))
        except (AgentError, StoreFaultError, OSError, ValueError) as fault:
            return _Replaced(end, fault=str(fault))
    return _Replaced(end, stated, faults[0] if faults else "")


def accept_database(settings: Settings, reason: str) -> None:
    """Accept the present database for the data folder's, even an empty one or another lab's.

    Archived files stay. Facts that only the lost database contained are not recovered. What the
    lab's own database lost is recorded, and a lead accepts it by its number.

    Raises:
        NothingToBeginError: It is the newest database of this lab.
    """
    from agent.evidence.anchors import Anchor, list_losses, write_note
    from agent.service.copies import record_older, resume
    from agent.service.data_folder import RunLock
    from agent.store import BEGUN_ANEW, NothingToBeginError, find_mark

    at = datetime.now(UTC)
    folder = settings.store.folder
    with RunLock.of(settings):
        try:
            opened = open_store(settings, accepts_other=True, acts=False)
        except NothingToBeginError:
            with open_store(settings) as store:
                older = record_older(settings, store, now=at)
            if not older:
                raise
            out.print(older, markup=False)
            return
        with opened as store:
            facts = {
                "reason": reason,
                "first_act_before": find_mark(folder),
                "trail": store.audit_log.get_head().number,
                "is_named": False,
            }
            store.audit_log.add(at=at, actor="agent", act=BEGUN_ANEW, facts=facts)
            end = Anchor.of(store.audit_log.get_head(), at=at)
            more = Path(settings.trail.anchor) if settings.trail.anchor else None
            write_note(folder, end, more=more)
            resumed = resume(settings, store, since=None, at=at)
            store.take_as_own(folder)
            where, lost = store.place, list_losses(store)[-1].sentence
    out.print(f"{where} is now the database of {folder}", markup=False)
    print_resumed(*resumed)
    out.print(lost, markup=False)
