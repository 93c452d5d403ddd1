"""Checks of the doctor that need the database, a connection or the other PCs of a site."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from agent.cli.app import open_store
from agent.errors import AgentError
from agent.files.shares import inspect
from agent.site_time import compute_age

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.settings import NamedAddress, Settings
    from agent.store import Store

Level = Literal["right", "doubtful", "wrong"]


@dataclass(frozen=True, slots=True)
class DoctorResult:
    """Result of one check.

    Attributes:
        check: Name of the check.
        level: "wrong" stops the agent, "doubtful" may stop it later.
        sentence: The result and, if needed, the remedy.
    """

    check: str
    level: Level
    sentence: str

    @property
    def mark(self) -> str:
        """Symbol of the level in a table."""
        return {"right": "✓", "doubtful": "?", "wrong": "✗"}[self.level]


PATIENCE_S = 5.0
"""Time limit for a server of the lab to answer."""


def examine_network(settings: Settings) -> Iterator[DoctorResult]:
    """Try each address that is in use; nothing is sent but the login to the mail server."""
    from agent.settings import iter_addresses

    for address in iter_addresses(settings):
        if address.is_served:
            yield from _certificate(settings)
        elif address.port and not address.host.startswith("/"):
            finding = _reach(address)
            yield finding
            if address.key == "mail_server" and finding.level == "right":
                yield from _mail(settings)


def _reach(address: NamedAddress) -> DoctorResult:
    where = f"{address.host}:{address.port}"
    try:
        with socket.create_connection((address.host, address.port), timeout=PATIENCE_S):
            return DoctorResult(address.label, "right", f"{where} answers.")
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        sentence = f"{where} cannot be reached ({why}). Check the address and the firewall."
        return DoctorResult(address.label, "doubtful", sentence)


def _mail(settings: Settings) -> Iterator[DoctorResult]:
    from agent.delivery.mail import MailRefusedError, try_login
    from agent.service.jobs.delivery import get_mail_server

    try:
        try_login(get_mail_server(settings.report), timeout_s=PATIENCE_S)
    except MailRefusedError as fault:
        sentence = f"{settings.report.mail_server}: no report can be mailed ({fault})."
        yield DoctorResult("[report] mail_server", "wrong", sentence)


def _certificate(settings: Settings) -> Iterator[DoctorResult]:
    """Check that key and certificate of the page belong together and are valid today."""
    web = settings.web
    if not web.certificate:
        return
    try:
        _shake_hands(Path(web.certificate), Path(web.key or web.certificate))
    except (ssl.SSLError, OSError, ValueError) as error:
        why = getattr(error, "verify_message", "") or getattr(error, "reason", "") or str(error)
        sentence = f"{web.certificate}: no browser accepts it ({why}). Get a new certificate."
        yield DoctorResult("[web] certificate", "wrong", sentence)
    else:
        yield DoctorResult("[web] certificate", "right", f"{web.certificate} is valid.")


def _shake_hands(certificate: Path, key: Path) -> None:
    """Serve the certificate to a client that trusts it. Raises `ssl.SSLError` or `OSError`."""
    server, client = (
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER),
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
    )
    server.load_cert_chain(certificate, key, password="")
    client.load_verify_locations(certificate)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    both = (
        client.wrap_bio(to_client, to_server),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    done: set[int] = set()
    while len(done) < len(both):
        for number, side in enumerate(both):
            try:
                side.do_handshake()
                done.add(number)
            except ssl.SSLWantReadError:
                continue


EXPIRES_SOON_DAYS = 45


def examine_backups(settings: Settings) -> Iterator[DoctorResult]:
    """Check the backups of this lab and list those of other labs in the same folder."""
    from agent.backup.facts import find_broken_backups
    from agent.service.health.share_facts import describe_overdue, list_of_others, list_past
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
        broken, other_broken = inspect(settings.backup.folder, find)
    except OSError:
        return  # the check of the folder reports it
    if broken:
        yield DoctorResult("back-up", "wrong", f"{'; '.join(broken)}.")
    if other_broken:
        yield DoctorResult("back-up", "doubtful", f"{'; '.join(other_broken)}.")
    if late:
        yield DoctorResult("back-up", "wrong", f"{late} See backup.failed in the log.")
    elif not broken:
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
    from agent.orders.statements.statement_files import read_certificate

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
            "triggers. Give the agent a separate user (guide, Evidence).",
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


TWO = 2
"""Smallest number of sites that share a database."""


def examine_sites(settings: Settings) -> Iterator[DoctorResult]:
    """Yield the findings; none if one PC runs, and there is one site that shares nothing."""
    from agent.service.health.share_facts import describe_renamed

    try:
        with open_store(settings) as store:
            if renamed := describe_renamed(settings, store):
                yield DoctorResult("site name", "wrong", renamed)
            yield from _check_pcs(store)
            names = store.over_all_sites().names()
            if len(names) < TWO and not settings.site.shares:
                return
            yield _check_separation(store, len(names))
            yield from _check_sharing(settings, store)
    except AgentError:
        return  # the check `database` reports it


def _check_pcs(store: Store) -> Iterator[DoctorResult]:
    """Compare version, bundle, crop recipe and settings of the PCs that run at this site."""
    from agent.cli.start.status import REMARKS
    from agent.service.data_folder import clock
    from agent.service.health.database_clock import DatabaseClock
    from agent.store.sites.fleet import PcState, list_members

    members = list_members(
        store.agents.list_all(),
        now=DatabaseClock(store, now=clock)(),
        wanted=store.rollouts.list_wanted(),
    )
    running = [member for member in members if member.state is PcState.RUNNING]
    if len(running) < TWO:
        return
    differing = [
        f"{member.name} has {', '.join(others)}"
        for member in running
        if (others := [REMARKS[name] for name in member.remarks if name.startswith("other_")])
    ]
    if differing:
        sentence = f"{'; '.join(differing)} than most PCs of this site. Compare agent settings."
        yield DoctorResult("PCs", "doubtful", sentence)
    else:
        yield DoctorResult("PCs", "right", f"{len(running)} PCs run with the same settings.")


def _check_separation(store: Store, n: int) -> DoctorResult:
    if bare := store.checks.find_unscoped_tables():
        return DoctorResult(
            "sites",
            "wrong",
            f"PostgreSQL does not separate the rows of {len(bare)} tables ({bare[0]}, …) by site. "
            "Run any agent command as the owner of the tables; it restores the policies.",
        )
    if store.checks.is_exempt_from_policies():
        return DoctorResult(
            "sites",
            "doubtful",
            "this PostgreSQL user is a superuser or has BYPASSRLS, so row-level security does not "
            "apply. Only the program separates the sites (guide, page fleet: Several sites).",
        )
    by = " and row-level security separate" if store.kind == "postgresql" else " separates"
    return DoctorResult("sites", "right", f"{n} sites share the database; the program{by} them.")


def _check_sharing(settings: Settings, store: Store) -> Iterator[DoctorResult]:
    shared = " and ".join(settings.site.shares) or "nothing"
    yield DoctorResult("shared", "right", f"{settings.site.name} shares {shared} ([site] shares).")
    for what in settings.site.shares:
        if len(store.over_all_sites().sharing(what)) < TWO:
            yield DoctorResult(
                "shared",
                "doubtful",
                f'no other site has "{what}" in [site] shares, so it is not shared.',
            )
    if store.accounts.are_there() and not store.accounts.every():
        yield DoctorResult(
            "shared",
            "doubtful",
            "a login is required, but this site has no account. Add one (agent users add), or add "
            '"accounts" to [site] shares here and at the site that has accounts.',
        )
