"""What is exchanged with other systems: order lists come in, results and notices go out.

What is pending is queried from the database and recorded when done, so that nothing is forgotten
when the PC is switched off, and nothing is sent twice that was accepted.
"""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from agent.delivery.mail import send_notice
from agent.files.shares import inspect, is_folder
from agent.files.whole_file import write_whole
from agent.orders import SpecificationError
from agent.orders.facts.open_items import OpenItems
from agent.orders.facts.order_list import REFUSED, import_lists
from agent.orders.facts.order_policy import note_specifications, prioritise_urgent, read_taxonomy
from agent.orders.judge.assessment import Position, begin, list_due
from agent.orders.lims import outbox
from agent.orders.lims.lost_conformity import describe_unnamed, find_unnamed
from agent.orders.statements.freezing import freeze_orders
from agent.service.copies import record_older, settle_lists, settle_outbox
from agent.service.health.share_facts import describe_renamed
from agent.service.statements import make_issuer, make_lab
from agent.terminal import format_count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.archive import Archive
    from agent.nightly import Written
    from agent.settings import Settings
    from agent.store import Record, Store


log = structlog.get_logger()

LISTS_EVERY_S = 5.0
REST_S = 2.0


def take_lists(
    settings: Settings, store: Store, *, at: datetime, rest_s: float = REST_S
) -> list[str]:
    """Import every list that is complete; return a sentence for each fault."""
    if not settings.orders.lists:
        return []
    folder = Path(settings.orders.lists)
    if not is_folder(folder):
        return [f"[orders] lists: {folder} is no folder that can be seen."]
    for result in settle_lists(settings, store, at=at):
        log.info("orders.listed_again", list=result.name, changed=len(result.changed))
    if not any(folder.glob("*.csv")):
        return []
    known = [subtype.name for subtype in read_taxonomy(settings, store, now=at).subtypes]
    _note_specifications(settings, store, at=at)
    taken = import_lists(store, folder, subtypes=known, at=at, rest_s=rest_s)
    for result in taken:
        log.info(
            "orders.listed",
            list=result.name,
            changed=len(result.changed),
            broken=len(result.broken),
        )
    if any(result.changed for result in taken):
        prioritise_urgent(store, settings)
    return [sentence for result in taken for sentence in result.sentences]


def _note_specifications(settings: Settings, store: Store, *, at: datetime) -> None:
    """Record the valid specifications before a list releases orders; skip a broken file."""
    try:
        note_specifications(settings, store, now=at)
    except SpecificationError as error:
        log.error("specifications.refused", reason=str(error))  # noqa: TRY400 - one sentence


def tend_lists(settings: Settings, store: Store, *, at: datetime) -> str | None:
    """Import the lists and return the first fault in a sentence, "" where there is none.

    None where no list was imported and a broken one is still in `refused/`.
    """
    if sentences := take_lists(settings, store, at=at):
        more = f" (and {len(sentences) - 1} more)" if len(sentences) > 1 else ""
        return f"order list {sentences[0]}{more}"
    if not settings.orders.lists:
        return ""
    folder = Path(settings.orders.lists)
    is_refused = inspect(folder, lambda: any((folder / REFUSED).glob("*.csv")))
    return None if is_refused else ""


OUTBOX_EVERY_S = 120.0
NOTICES_EVERY_S = 60.0
NOTICE, SENT = "notice", "notice_sent"
GIVEN_UP = timedelta(days=3)
"""A notice that was not accepted for so long is dropped."""
MOST_PICTURES = 5
OUTBOX_MEMO = "outbox.json"
"""File next to the database: where the last round of examining orders ended."""


def fill_outbox(settings: Settings, store: Store, *, now: datetime) -> str:
    """Freeze statements of orders that changed, and write what a LIMS does not have yet.

    Returns:
        A sentence where something cannot be written, else "".
    """
    lab = make_lab(settings, store, now=now)
    site = outbox.OutboxFormat(settings.site.name, settings.orders.outbox_formats)
    position = find_position(settings, store)
    issuer = make_issuer(settings)
    away = describe_renamed(settings, store)
    if away:
        log.warning("outbox.site_renamed", sentence=away)
    elif settings.orders.outbox:
        away = _settle(settings, store, now=now)
    if settings.orders.outbox and not away:
        position = outbox.record_revisions(
            store, lab, site, now=now, position=position, issuer=issuer
        )
    else:
        due, position = list_due(store, lab, OpenItems.of(store), position=position, now=now)
        freeze_orders(store, lab, issuer, due, now=now)
    _keep_position(settings.store.folder / OUTBOX_MEMO, position)
    if away or not settings.orders.outbox:
        return away
    folder, data = Path(settings.orders.outbox), settings.store.folder
    try:
        written = outbox.write_pending(store, lab, site, folder, now=now, data=data)
    except OSError as error:
        return f"[orders] outbox: {error}; it is tried again by itself."
    if written.names:
        log.info("outbox.filled", files=len(written.names))
    if written.faults:
        waiting = format_count(len(written.faults), "order waits", "orders wait")
        return f"[orders] outbox: {waiting}, {written.faults[0]}; it is tried again by itself."
    return ""


def _settle(settings: Settings, store: Store, *, now: datetime) -> str:
    """Compare a database that was put back with the outbox; why nothing may be sent, or ""."""
    record_older(settings, store, now=now, presences_alone=True)
    if number := find_unnamed(store):
        return f"[orders] outbox: {describe_unnamed(number)}; until then no revision is sent."
    try:
        for gap in settle_outbox(settings, store, at=now):
            log.warning("outbox.is_beyond", order=gap.sent.order, sentence=gap.sentence)
    except OSError as error:
        return (
            f"[orders] outbox: {error}; since a back-up was restored, no revision is sent before "
            "both were compared."
        )
    return ""


def find_position(settings: Settings, store: Store) -> Position:
    """Return where the last round ended, where none is known the position of now."""
    return _position(settings.store.folder / OUTBOX_MEMO) or begin(store)


def _position(memo: Path) -> Position | None:
    try:
        return Position.from_json(json.loads(memo.read_text("utf-8")))
    except (OSError, ValueError):
        return None


def _keep_position(memo: Path, position: Position) -> None:
    """Write it next to the database; a full disk is no matter, as the sweep then begins again."""
    with suppress(OSError):
        write_whole({memo: json.dumps(position.to_json()).encode()})


def plan_notice(
    settings: Settings, store: Store, archive: Archive, written: Written, *, now: datetime
) -> None:
    """Record that a notice of a night is due; `send_notices` sends it."""
    if not settings.notify.urls or written.summary.planned:
        return
    lines = [written.summary.headline, *written.lines, str(written.path)]
    thumbnails = [archive.thumbnail_path(*key) for key in written.flagged[:MOST_PICTURES]]
    facts = {
        "title": f"{settings.site.name}, night of {written.summary.night}",
        "text": "\n".join(lines),
        "pictures": [str(path) for path in thumbnails] if settings.notify.pictures else [],
    }
    subject = written.summary.night.isoformat()
    store.records.add(NOTICE, subject, by="agent", at=now, facts=facts)


def send_notices(settings: Settings, store: Store, *, now: datetime) -> str:
    """Send the notices that are due, oldest first; return a sentence where one was not accepted."""
    if not settings.notify.urls:
        return ""
    failed = ""
    for notice in _list_due(store.records.all(NOTICE), store.records.all(SENT), now=now):
        pictures = [path for path in map(Path, notice.facts["pictures"]) if path.is_file()]
        facts = notice.facts
        if send_notice(
            settings.notify.urls, title=facts["title"], text=facts["text"], pictures=pictures
        ):
            store.records.add(SENT, notice.subject, by="agent", at=now, facts={"notice": notice.id})
        else:
            failed = f"the notice of {notice.subject} was not taken; it is tried again by itself."
    return failed


def _list_due(planned: Sequence[Record], sent: Sequence[Record], *, now: datetime) -> list[Record]:
    done = {record.facts["notice"] for record in sent}
    return [record for record in planned if record.id not in done and now - record.at <= GIVEN_UP]
