"""Check database, backups, time stamps and statement certificate."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from agent.cli.app import open_store
from agent.cli.finding import DoctorResult, Level
from agent.errors import AgentError
from agent.shares import inspect
from agent.site_time import compute_age

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.settings import Settings

EXPIRES_SOON_DAYS = 45


def examine_backups(settings: Settings) -> Iterator[DoctorResult]:
    """Check the backups of this lab and list those of other labs in the same folder."""
    from agent.backup.facts import find_broken_backups
    from agent.service.own_backups import describe_overdue, list_of_others, list_past
    from agent.store import find_first_act

    if not settings.backup.folder:
        yield DoctorResult(
            "back-up", "doubtful", "none is made. Set [backup] folder, preferably on another disk."
        )
        return
    now = datetime.now(UTC)
    own = list_past(settings, now=now)
    late = " ".join(describe_overdue(settings, now))
    find = partial(
        find_broken_backups,
        Path(settings.backup.folder),
        site=settings.site.name,
        lab=find_first_act(settings.store.folder, settings.site.name),
    )
    try:
        broken = inspect(settings.backup.folder, find)
    except OSError:
        return  # the check of the folder reports it
    if broken.faults:
        yield DoctorResult("back-up", "wrong", f"{'; '.join(broken.faults)}.")
    if broken.remarks:
        yield DoctorResult("back-up", "doubtful", f"{'; '.join(broken.remarks)}.")
    if late:
        yield DoctorResult("back-up", "wrong", f"{late} See backup.failed in the log.")
    elif not broken.faults:
        last = f"last backup {own[-1].facts.made_at:%Y-%m-%d %H:%M} UTC" if own else ""
        sentence = f"{settings.backup.folder}: {last or 'the first one is due tonight'}."
        yield DoctorResult("back-up", "right", sentence)
    taxonomy = Path(settings.model.taxonomy).name if settings.model.taxonomy else ""
    if own and taxonomy and f"settings/{taxonomy}" not in own[-1].facts.names:
        sentence = f"{own[-1].file.name} lacks {taxonomy}, the taxonomy of the orders."
        yield DoctorResult("back-up", "doubtful", f"{sentence} Make a new backup: agent backup.")
    yield from _check_trial(settings, now) if own else ()
    for other in list_of_others(settings):
        same = other.facts.site == settings.site.name
        sentence = (
            f"{settings.backup.folder} also contains backups of {other.facts.site}, the last of "
            f"{other.facts.made_at:%Y-%m-%d %H:%M} UTC"
        )
        more = ", another lab with the same name. Change [site] name of one of them."
        level: Level = "doubtful" if same else "right"
        yield DoctorResult("back-up", level, sentence + (more if same else "."))


def _check_trial(settings: Settings, now: datetime) -> Iterator[DoctorResult]:
    from agent.service.jobs import backup

    try:
        with open_store(settings) as store:
            last = backup.find_last_drill(store)
            fault = backup.describe_drill(store)
    except AgentError:
        return
    every = backup.EVERY.get(settings.backup.verify)
    age = compute_age(last.at, now) if last else None
    if fault:
        yield DoctorResult("restore on trial", "wrong", fault)
    elif last is None or age is None or (every and age > 2 * every):
        when = f"last one {last.at:%Y-%m-%d}" if last else "none yet"
        yield DoctorResult("restore on trial", "doubtful", f"{when}. Run agent backup --verify.")
    else:
        yield DoctorResult(
            "restore on trial", "right", f"{last.subject} on {last.at:%Y-%m-%d}: passed."
        )


def examine_certificate(settings: Settings) -> Iterator[DoctorResult]:
    """Check the certificate that signs statements, if one is set."""
    from agent.orders.signing import read_certificate

    if not settings.statements.certificate:
        return
    now = datetime.now(UTC)
    state = read_certificate(settings.statements, now=now)
    if state.fault or state.not_after is None:
        sentence = f"{state.fault} Statements are frozen without signature."
        yield DoctorResult("statements", "wrong", sentence)
        return
    days = (state.not_after - now).days
    level: Level = "doubtful" if days < EXPIRES_SOON_DAYS else "right"
    more = ". Get a new certificate." if level == "doubtful" else "."
    sentence = f"signed as {state.subject}, until {state.not_after:%Y-%m-%d} ({days} days){more}"
    yield DoctorResult("statements", level, sentence)


def examine_database(settings: Settings) -> Iterator[DoctorResult]:
    """Check that the database opens with the schema of this program, and can be backed up."""
    try:
        with open_store(settings) as store:
            kind, fault = store.kind, store.checks.find_dump_fault()
    except AgentError as error:
        yield DoctorResult("database", "wrong", str(error))
        return
    yield DoctorResult("database", "right", "opens, and its schema matches this version.")
    if fault:
        level: Level = "wrong" if settings.backup.folder else "doubtful"
        sentence = f"{fault}. Install the client programs of the server's version."
        yield DoctorResult("pg_dump", level, sentence)
    elif kind == "postgresql":
        yield DoctorResult("pg_dump", "right", "is installed and not older than the server.")


def examine_evidence(settings: Settings) -> Iterator[DoctorResult]:
    """Check that the database refuses to change evidence, and that none was lost unnoticed."""
    from agent.evidence.anchors import list_losses

    try:
        with open_store(settings) as store:
            missing, rewritable, kind, losses = (
                store.checks.find_missing_guards(),
                store.checks.find_rewritable_tables(),
                store.kind,
                list_losses(store),
            )
    except AgentError:
        return
    if missing:
        yield DoctorResult(
            "evidence",
            "wrong",
            f"the database lacks {len(missing)} guards ({missing[0]}). Run any agent command as "
            "the owner of the tables, which restores them, then agent verify.",
        )
    elif rewritable:
        yield DoctorResult(
            "evidence",
            "doubtful",
            "guarded by triggers, but this PostgreSQL user owns the tables and could drop the "
            "triggers. Give the agent a separate user (OPERATIONS, Evidence).",
        )
    else:
        own = "; the agent's PostgreSQL user cannot change it" if kind == "postgresql" else ""
        yield DoctorResult("evidence", "right", f"guarded by triggers{own}.")
    for loss in losses:
        yield DoctorResult("trail", "wrong", f"{loss.sentence}.")
    yield from _timestamps(settings)
    if not settings.trail.anchor and not settings.backup.folder:
        yield DoctorResult(
            "trail",
            "doubtful",
            "the head of the audit log is stored on this PC only. Set [trail] anchor or [backup] "
            "folder, preferably on a share.",
        )


def _timestamps(settings: Settings) -> Iterator[DoctorResult]:
    from agent.evidence import timestamps

    url, certificates = settings.trail.timestamp_url, settings.trail.timestamp_certificates
    if not url:
        return
    if fault := timestamps.find_setup_fault(url, Path(certificates) if certificates else None):
        yield DoctorResult("time stamps", "wrong", fault)
        return
    last = timestamps.find_newest_at(settings.store.folder / timestamps.FOLDER)
    when = f"last one {last:%Y-%m-%d %H:%M} UTC" if last else "none yet"
    yield DoctorResult("time stamps", "right" if last else "doubtful", f"{url}: {when}.")


def examine_copies(settings: Settings) -> Iterator[DoctorResult]:
    """Check that no other copy of the lab runs and that the database is the newest."""
    from agent.service.copies import check_start

    try:
        with open_store(settings) as store:
            result = check_start(settings, store, now=datetime.now(UTC))
    except AgentError:
        return
    if result.refusal:
        yield DoctorResult("copies", "wrong", result.refusal)
    elif result.warnings:
        yield DoctorResult("copies", "doubtful", result.warnings[0])
    else:
        yield DoctorResult("copies", "right", "this is the newest known database of this lab.")
