"""Take order lists out of their drop folder, in a thread of its own.

In:  CSV files. Out: orders, and a sentence for what a person has to mend. Next: `status`, pages.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from agent.errors import AgentError
from agent.night import taxonomy_in_force
from agent.orders.order_list import REFUSED, take_folder
from agent.orders.urgency import put_first
from agent.store import StoreFault
from model import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from agent.service.problems import Problems
    from agent.settings import Settings
    from agent.store import Store

log = structlog.get_logger()

EVERY_S = 5.0
REST_S = 2.0


def take_lists(
    settings: Settings, store: Store, *, at: datetime, rest_s: float = REST_S
) -> list[str]:
    """Take every list that lies there and is at rest; a sentence for each thing to be mended."""
    if not settings.orders.lists:
        return []
    folder = Path(settings.orders.lists)
    if not folder.is_dir():
        return [f"[orders] lists: {folder} is no folder that can be seen."]
    if not any(folder.glob("*.csv")):
        return []
    known = [subtype.name for subtype in taxonomy_in_force(settings, store).subtypes]
    taken = take_folder(store, folder, subtypes=known, at=at, rest_s=rest_s)
    for one in taken:
        log.info("orders.listed", list=one.name, changed=len(one.changed), broken=len(one.broken))
    if any(one.changed for one in taken):
        put_first(store, settings)
    return [said for one in taken for said in one.sentences]


class OrderLists(threading.Thread):
    """The thread that looks into the drop folder.

    Args:
        settings: Of the lab. store: open. now: says the time, aware UTC.
        problems: Where troubles are said; a broken list stays said while it lies in `refused/`.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        *,
        now: Callable[[], datetime],
        problems: Problems,
    ) -> None:
        super().__init__(name="orders", daemon=True)
        self._settings, self._store, self._now = settings, store, now
        self._problems, self._stopping = problems, threading.Event()

    def run(self) -> None:
        """Look, until told to stop; a fault costs time, never the thread."""
        while not self._stopping.is_set():
            try:
                said = take_lists(self._settings, self._store, at=self._now())
                self._say(said)
            except (AgentError, ModelError, StoreFault, OSError) as fault:
                self._problems.say("order lists", f"order lists: {fault}")
            except Exception as error:
                log.exception("orders.crashed")
                self._problems.say("order lists", f"order lists: {type(error).__name__}: {error}")
            self._stopping.wait(EVERY_S)

    def stop(self) -> None:
        """Ask it to stop."""
        self._stopping.set()

    def _say(self, said: list[str]) -> None:
        if said:
            more = f" (and {len(said) - 1} more)" if len(said) > 1 else ""
            self._problems.say("order lists", f"order list {said[0]}{more}")
            return
        folder = Path(self._settings.orders.lists) / REFUSED
        if not self._settings.orders.lists or not any(folder.glob("*.csv")):
            self._problems.say("order lists", "")
