"""Import order lists from their drop folder: a periodic job of the service."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from agent.files.shares import inspect, is_folder
from agent.orders import BadSpecification
from agent.orders.facts.order_list import REFUSED, import_lists
from agent.orders.facts.order_policy import note_specifications, prioritise_urgent, read_taxonomy
from agent.service.folder.copies import settle_lists

if TYPE_CHECKING:
    from datetime import datetime

    from agent.settings import Settings
    from agent.store import Store

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
    except BadSpecification as error:
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
