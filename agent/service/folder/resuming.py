"""Compare a database that was put back with what is outside it, as soon as that can be seen.

A share that is unavailable is compared when it is back; until then no revision is recorded and no
taken list is read again.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from agent.files.shares import is_folder
from agent.orders.facts.order_list import OrderListResult, import_list, list_taken_since
from agent.orders.facts.order_policy import read_taxonomy
from agent.orders.lims.resumption import (
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

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from agent.settings import Settings
    from agent.store import Store


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
    begin_resumption(store, since=since, at=at)
    local = [
        *open_sent_revisions(settings, store, data_alone=True).iter_all(),
        *iter_statement_files(settings.store.folder),
        *replaced,
    ]
    beyond = list_beyond(store, _select_relevant(local, store))
    adopt(store, beyond, at=at)
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
