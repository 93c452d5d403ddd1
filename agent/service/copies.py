"""Find out whether a database is the newest and only one of its lab, and settle what was put back.

A copy of a data folder that is started on a second PC, or a disk that was set back to a snapshot,
would send revisions again and forget labels. Evidence is outside the database: the ends of the
audit log in reports, back-ups and the file of anchors, the notes of sent revisions, the files of
statements, and a presence that each agent writes into the data folder after each act, and as long
as it runs into the folders that it shares with others. A presence is written after the commit: it
may be behind the database, and one that is ahead proves that acts were lost.

A share that is unavailable is compared when it is back; until then no revision is recorded and no
taken list is read again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from agent.errors import StoreError
from agent.evidence import anchors
from agent.evidence.anchors import Anchor, LostActs
from agent.files import shares
from agent.files.shares import is_folder
from agent.orders.facts.order_list import OrderListResult, import_list, list_taken_since
from agent.orders.facts.order_policy import read_taxonomy
from agent.orders.lims.resumption import (
    IN_OUTBOX,
    LISTS,
    OUTBOX,
    Beyond,
    SentRevision,
    SentRevisions,
    adopt,
    begin_resumption,
    find_resumption,
    iter_statement_files,
    list_beyond,
    settle,
)
from agent.service.data_folder import Presence, agent_name
from agent.service.health.share_facts import list_past
from agent.settings import Settings
from agent.site_time import compute_age
from agent.store import BEGUN_ANEW, FOUND_OLDER, Store
from agent.store.sites.site_folders import reports_folder


def open_sent_revisions(
    settings: Settings, store: Store, *, data_alone: bool = False
) -> SentRevisions:
    """Return the notes of what was sent, of this lab."""
    outbox = settings.orders.outbox
    return SentRevisions(
        settings.site.name,
        data=settings.store.folder,
        outbox=Path(outbox) if outbox and not data_alone else None,
        exact_numbers=store.exact_numbers,
    )


def iter_own(sent: Iterable[SentRevision], store: Store) -> Iterator[SentRevision]:
    """Yield what this lab sent: two labs of one name may share an outbox."""
    lab = store.audit_log.get_first_hash()
    return (revision for revision in sent if revision.lab in {"", lab})


def resume(
    settings: Settings,
    store: Store,
    *,
    since: datetime | None,
    at: datetime,
    replaced: Iterable[SentRevision] = (),
) -> tuple[list[Beyond], list[OrderListResult], list[str]]:
    """Compare a database that was put back with what is outside it.

    Args:
        settings: Of the lab.
        store: The database that was put back.
        since: When its back-up was made, None where that is not known.
        at: Now, aware UTC.
        replaced: What the database stated that was replaced.

    Returns:
        The orders of which more was given out, the lists that were read again, and a sentence for
        each folder that cannot be seen now.
    """
    beyond = adopt_local(settings, store, since=since, at=at, replaced=replaced)
    waits: list[str] = []
    try:
        beyond += settle_outbox(settings, store, at=at)
        waits += _describe_notes(open_sent_revisions(settings, store), settings)
    except OSError as error:
        waits.append(
            f"[orders] outbox: {error}; no revision is sent before it was compared with the "
            "database, which the service does by itself"
        )
    lists: list[OrderListResult] = []
    try:
        lists = settle_lists(settings, store, at=at)
    except OSError as error:
        waits.append(f"[orders] lists: {error}; taken lists are read again by the service")
    return beyond, lists, waits


def adopt_local(
    settings: Settings,
    store: Store,
    *,
    since: datetime | None,
    at: datetime,
    replaced: Iterable[SentRevision],
) -> list[Beyond]:
    """Compare a database that was put back with what this PC holds; as `resume`, without folders.

    Of another site of the database that is all this PC knows: its own agent compares the folders
    of its settings, and until then no order of it conforms.
    """
    begin_resumption(store, since=since, at=at)
    local = [
        *open_sent_revisions(settings, store, data_alone=True).iter_all(),
        *iter_statement_files(settings.store.folder, store),
        *replaced,
    ]
    beyond = list_beyond(store, _select_relevant(local, store))
    adopt(store, beyond, at=at)
    return beyond


def _describe_notes(notes: SentRevisions, settings: Settings) -> Iterator[str]:
    """Yield which notes of sent revisions cannot be read, or that there is none.

    Raises:
        OSError: The outbox cannot be seen.
    """
    if not settings.orders.outbox:
        return
    unreadable = list(notes.iter_unreadable())
    yield from (f"[orders] outbox: {sentence}; its order is held." for sentence in unreadable)
    if not unreadable and next(notes.iter_all(), None) is None:
        yield (
            f"[orders] outbox: no record of what was sent was found in {settings.store.folder} or "
            f"{settings.orders.outbox}: if the LIMS holds later revisions than this back-up, their "
            "numbers would be used again."
        )


def settle_outbox(settings: Settings, store: Store, *, at: datetime) -> list[Beyond]:
    """Note what the LIMS holds beyond a database that was put back; nothing where none was.

    Raises:
        OSError: The outbox cannot be seen.
    """
    if find_resumption(store, OUTBOX).is_settled:
        return []
    beyond = list_beyond(
        store, _select_relevant(open_sent_revisions(settings, store).iter_all(), store)
    )
    adopt(store, beyond, at=at)
    settle(store, OUTBOX, at=at)
    return beyond


def _select_relevant(sent: Iterable[SentRevision], store: Store) -> Iterable[SentRevision]:
    """Return what is to be compared: also what another database sent, if this one was accepted."""
    is_restored = find_resumption(store, OUTBOX).since is not None
    return iter_own(sent, store) if is_restored else sent


def settle_lists(settings: Settings, store: Store, *, at: datetime) -> list[OrderListResult]:
    """Read the order lists again that were taken after the back-up was made.

    Raises:
        OSError: The drop folder cannot be seen.
    """
    resumption = find_resumption(store, LISTS)
    if resumption.is_settled:
        return []
    taken = []
    if settings.orders.lists:
        folder = Path(settings.orders.lists)
        if not is_folder(folder):
            raise FileNotFoundError(f"{folder} is no folder that can be seen")
        known = [subtype.name for subtype in read_taxonomy(settings, store, now=at).subtypes]
        for path in list_taken_since(folder, resumption.since):
            result = import_list(store, path, subtypes=known, by="order list", at=at)
            taken.append(result)
    settle(store, LISTS, at=at)
    return taken


PRESENCE_EVERY_S = 300.0
FRESH = timedelta(minutes=15)
"""A presence that is older is of an agent that was switched off."""
LAST_REPORTS = 3
TAIL_BYTES = 65536


# --- before work begins -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StartCheck:
    """Result of the check before work begins.

    Attributes:
        refusal: Why work must not begin, "" where it may.
        warnings: What the operator should check, a sentence each.
    """

    refusal: str = ""
    warnings: tuple[str, ...] = ()


def check_start(settings: Settings, store: Store, *, now: datetime) -> StartCheck:
    """Compare a database with what is kept outside it; record what it lost.

    Args:
        settings: Of the lab.
        store: Open.
        now: Aware UTC.
    """
    twin = _find_twin(settings, store, now=now)
    if twin and settings.orders.outbox:
        return StartCheck(twin)
    older = record_older(settings, store, now=now)
    ahead = [] if twin else _iter_ahead(settings, store, now=now)
    return StartCheck(warnings=tuple(filter(None, (twin, older, *ahead))))


def require_newest(settings: Settings, store: Store, *, now: datetime) -> tuple[str, ...]:
    """Return what the operator should check.

    Raises:
        StoreError: Work must not begin: another copy of the lab's data runs.
    """
    check = check_start(settings, store, now=now)
    if check.refusal:
        raise StoreError(check.refusal)
    return check.warnings


# --- an older database ----------------------------------------------------------------------------


def record_older(
    settings: Settings, store: Store, *, now: datetime, presences_alone: bool = False
) -> str:
    """Record that the database lacks what is known outside, and return that; "" for nothing.

    From then on the same holds as after a back-up was restored of which the replaced database
    told nothing: an order of which more was given out is undecided, and none conforms or is sent
    before a lead accepts the loss.

    Args:
        settings: Of the lab.
        store: Open.
        now: Aware UTC.
        presences_alone: Compare only the presences; else everything that is kept outside.
    """
    if _RECORDING.get():  # its own acts call it again before it is done
        return ""
    token = _RECORDING.set(True)
    try:
        return _record_older(settings, store, now=now, presences_alone=presences_alone)
    finally:
        _RECORDING.reset(token)


_RECORDING: ContextVar[bool] = ContextVar("recording an older database", default=False)


def _record_older(settings: Settings, store: Store, *, now: datetime, presences_alone: bool) -> str:
    if recorded := _find_recorded(store):
        return recorded.sentence
    known = list_presence_anchors(settings, store)
    if not presences_alone:
        known += _iter_anchors(settings, store, now=now)
    missing = _list_missing(settings, store, known)
    beyond = [] if presences_alone else _list_beyond(settings, store)
    if not missing and not beyond:
        return ""
    number, sha256 = store.audit_log.get_end()
    numbers = [anchor.number for anchor in missing]
    facts = {
        "trail": min([number, *(lost - 1 for lost in numbers)]),
        "end": number,
        "sha256": sha256,
        "until": max(numbers, default=0),
        "is_named": False,
        "ends": [[anchor.number, anchor.sha256] for anchor in missing],
    }
    proof = missing[0].place if missing else beyond[0].sentence
    # What is outside first: the act has every order stated again, and its numbers go on above.
    resume(settings, store, since=store.audit_log.get_head().at, at=now)
    store.audit_log.add(at=now, actor="agent", act=FOUND_OLDER, subject=proof, facts=facts)
    found = _find_recorded(store)
    return found.sentence if found else ""


def _find_recorded(store: Store) -> LostActs | None:
    """Return what is recorded as lost already and holds every order, or None."""
    held = (BEGUN_ANEW, FOUND_OLDER)
    return next((loss for loss in anchors.list_losses(store) if loss.act in held), None)


def _list_missing(settings: Settings, store: Store, known: Iterable[Anchor]) -> list[Anchor]:
    """Return the ends that the database lacks and that no restore explains, the highest first."""
    notes: list[Anchor] = []
    with suppress(StoreError):
        notes += anchors.iter_notes(settings.store.folder)
    missing = anchors.check(store, (*known, *notes)).unexplained
    return sorted(missing, key=lambda anchor: anchor.number, reverse=True)


def _list_beyond(settings: Settings, store: Store) -> list[Beyond]:
    """Return the orders of which revisions or statements are outside that the database lacks."""
    if not find_resumption(store, OUTBOX).is_settled:
        return []  # it is compared as a part of what was restored
    local = open_sent_revisions(settings, store, data_alone=True)
    given_out = [*local.iter_all(), *iter_statement_files(settings.store.folder, store)]
    if settings.orders.outbox:
        sent = open_sent_revisions(settings, store)
        with suppress(OSError):  # it is compared when it is back, before anything is sent
            given_out += shares.inspect(settings.orders.outbox, lambda: list(sent.iter_all()))
    return list_beyond(store, iter_own(given_out, store))


def _iter_anchors(settings: Settings, store: Store, *, now: datetime) -> Iterator[Anchor]:
    """Yield the newest ends of the audit log that are kept outside the database."""
    reports = reports_folder(settings.store.folder, store)
    yield from anchors.iter_reports(reports, last=LAST_REPORTS)
    for backup in list_past(settings, now=now, lab=store.audit_log.get_first_hash())[-1:]:
        with suppress(OSError):
            find = partial(anchors.find_in_backup, backup.file)
            if anchor := shares.inspect(settings.backup.folder, find):
                yield anchor
    if settings.trail.anchor:
        file = Path(settings.trail.anchor)
        with suppress(OSError):
            yield from shares.inspect(file.parent, lambda: list(_iter_tail(file)))


def list_presence_anchors(settings: Settings, store: Store) -> list[Anchor]:
    """Return the ends of the audit log in the presences of the lab."""
    return [
        Anchor(
            presence.number,
            presence.number,
            presence.sha256,
            datetime.fromisoformat(presence.at),
            place=f"{file} of {presence.pc}",
        )
        for file, presence in _iter_presences(settings, store, own=True)
    ]


def _iter_tail(file: Path) -> Iterator[Anchor]:
    """Yield the newest anchors of a file, which grows for years."""
    with suppress(OSError), file.open("rb") as opened:
        opened.seek(0, 2)
        opened.seek(max(opened.tell() - TAIL_BYTES, 0))
        for number, line in enumerate(opened.read().splitlines()):
            if anchor := anchors.parse_line(line, file, number):
                yield anchor


# --- presences ----------------------------------------------------------------------------------


def _places(settings: Settings, lab: str) -> Iterator[Path]:
    """Yield where the presence of a lab is kept: in each shared folder that can be seen."""
    for folder in (settings.orders.outbox, settings.backup.folder):
        if folder and shares.is_folder(folder):
            yield Path(folder) / IN_OUTBOX / f"lab-{lab[:12]}.presence"


def _own_place(settings: Settings, lab: str) -> Path:
    """Return where the presence of a lab is kept next to its database."""
    return settings.store.folder / IN_OUTBOX / f"lab-{lab[:12]}.presence"


def _iter_presences(
    settings: Settings, store: Store, *, own: bool = False
) -> Iterator[tuple[Path, Presence]]:
    """Yield the presences of the lab in shared folders; `own`: and that in the data folder."""
    lab = store.audit_log.get_first_hash()
    if not lab:
        return
    for file in (*_places(settings, lab), *([_own_place(settings, lab)] if own else [])):
        presence = _read(file)
        if presence and presence.at and presence.lab == lab:
            yield file, presence


def _read(file: Path) -> Presence | None:
    with suppress(OSError):
        return shares.inspect(_get_share(file), lambda: Presence.read(file))
    return None


def _get_share(file: Path) -> Path:
    """Return the folder in the settings that a presence is kept in."""
    return file.parent.parent


def _find_twin(settings: Settings, store: Store, *, now: datetime) -> str:
    """Return which other copy of the same SQLite database runs at this time, "" for none."""
    for file, presence in _iter_presences(settings, store):
        if not _is_here(settings, presence) and _is_running(presence, now):
            return _describe_twin(file, presence)
    return ""


def _iter_ahead(settings: Settings, store: Store, *, now: datetime) -> Iterator[str]:
    """Yield each presence of another PC that is dated in the future, so that it proves nothing."""
    for file, presence in _iter_presences(settings, store):
        is_other = presence.kind == "sqlite" and not _is_here(settings, presence)
        if is_other and not presence.is_stopped and _get_age(presence, now) is None:
            yield (
                f"{file}: {presence.pc} wrote it at {presence.at[:16].replace('T', ' ')} UTC, in "
                "the future, so it does not count. Make sure that the agent on "
                f"{presence.pc} is stopped, and correct the clocks of both PCs."
            )


def _get_age(presence: Presence, now: datetime) -> timedelta | None:
    return compute_age(datetime.fromisoformat(presence.at), now)


def _is_running(presence: Presence, now: datetime) -> bool:
    age = _get_age(presence, now)
    is_fresh = age is not None and age < FRESH
    return presence.kind == "sqlite" and is_fresh and not presence.is_stopped


def _is_here(settings: Settings, presence: Presence) -> bool:
    """Return whether a presence is of this data folder, such as of an agent that crashed."""
    own = Presence.of(settings.store.folder, agent_name())
    is_same = presence.pc == own.pc or bool(presence.inode and presence.inode == own.inode)
    return presence.folder == own.folder and is_same


def _describe_twin(file: Path, presence: Presence) -> str:
    return (
        f"Another copy of this lab's data runs on {presence.pc} ({presence.folder}, seen "
        f"{presence.at[:16].replace('T', ' ')} UTC in {file.parent.parent}). Stop one of the "
        f"two for good; after a PC that died, wait {FRESH.seconds // 60} minutes."
    )


def write_presence(
    settings: Settings,
    store: Store,
    *,
    now: datetime,
    is_stopped: bool = False,
    written: dict[Path, str] | None = None,
) -> str:
    """Write that this agent runs, or stopped; a sentence where another copy runs too, else "".

    Args:
        settings: Of the lab.
        store: Open.
        now: Aware UTC.
        is_stopped: It ends.
        written: What this process wrote last into each place, to be kept between calls: what is
            there instead was written by a clone of the PC, which has its name and folder.
    """
    lab = store.audit_log.get_first_hash()
    if not lab:
        return ""
    twin = "" if is_stopped else _find_twin(settings, store, now=now)
    older = record_older(settings, store, now=now, presences_alone=True)
    known = {} if written is None else written
    for file in _places(settings, lab):
        other = _read(file)
        # Whatever its clock says: it was written since this agent wrote here.
        is_alive = other is not None and other.kind == "sqlite" and not other.is_stopped
        if file in known and other and is_alive and other.at != known[file]:
            twin = twin or _describe_twin(file, other)
        if not twin or file in known:  # else it is left there, so that the other one is named
            with suppress(OSError):
                if _write_end(settings, store, file, now=now, is_stopped=is_stopped):
                    known[file] = now.isoformat()
    keep_end(settings, store, now=now)
    return twin or older


def keep_end(settings: Settings, store: Store, *, now: datetime) -> bool:
    """Write where the audit log ends into the data folder; one that is full is no matter.

    Args:
        settings: Of the lab.
        store: Open, directly after an act.
        now: Aware UTC.

    Returns:
        False where another end is there of acts that the database lacks.
    """
    lab = store.audit_log.get_first_hash()
    with suppress(OSError):
        return not lab or _write_end(settings, store, _own_place(settings, lab), now=now)
    return True


def lacks_kept_end(settings: Settings, store: Store) -> bool:
    """Return whether the end in the data folder is one of acts that the database lacks."""
    lab = store.audit_log.get_first_hash()
    file = _own_place(settings, lab)
    there = Presence.read(file) if lab else None
    return bool(there and there.lab == lab and _is_ahead(settings, store, there, file))


def _write_end(
    settings: Settings, store: Store, file: Path, *, now: datetime, is_stopped: bool = False
) -> bool:
    """Write a presence; False where one of acts that the database lacks was left as it is.

    Several processes, and with PostgreSQL several PCs, write one file. Each reads the database
    again after it wrote, so that whoever writes last has written the newest end.

    Raises:
        OSError: The folder cannot be written.
    """
    lab = store.audit_log.get_first_hash()
    last = (-1, "")
    while (end := store.audit_log.get_end()) != last:
        # The data folder was written a moment ago, so it does not hang: no thread watches over it.
        is_own = _get_share(file) == settings.store.folder
        there = Presence.read(file) if is_own else _read(file)
        if there and there.lab == lab and _is_ahead(settings, store, there, file):
            return False
        presence = replace(
            Presence.of(settings.store.folder, agent_name()),
            lab=lab,
            kind=store.kind,
            number=end[0],
            sha256=end[1],
            at=now.isoformat(),
            is_stopped=is_stopped,
        )
        if is_own:
            presence.write(file)
        else:
            shares.inspect(_get_share(file), partial(presence.write, file))
        last = end
    return True


def _is_ahead(settings: Settings, store: Store, presence: Presence, file: Path) -> bool:
    """Return whether a presence is of acts that the database lacks and nobody accepted."""
    held = store.audit_log.get_hashes([presence.number]).get(presence.number)
    if held == presence.sha256 or not presence.at:
        return False
    at = datetime.fromisoformat(presence.at)
    end = Anchor(presence.number, presence.number, presence.sha256, at, place=str(file))
    return bool(_list_missing(settings, store, [end]))
