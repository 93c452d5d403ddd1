"""`agent restore --accept database`: accept a database as this data folder's."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from agent.cli.app import open_store
from agent.cli.console import out

if TYPE_CHECKING:
    from agent.settings import Settings
    from agent.store import Store


def accept_database(settings: Settings, reason: str) -> None:
    """Accept the present database for the data folder's, even an empty one or another lab's.

    Archived files stay. Facts that only the lost database contained are not recovered.
    """
    from agent.cli.restore import print_resumed
    from agent.evidence.anchors import Anchor, write_note
    from agent.service.lock import RunLock
    from agent.service.resuming import resume
    from agent.store import BEGUN_ANEW, find_mark

    at = datetime.now(UTC)
    folder = settings.store.folder
    with RunLock.of(settings), _open_anew(settings) as store:
        facts = {
            "reason": reason,
            "first_act_before": find_mark(folder),
            "trail": store.audit_log.get_head().number,
        }
        store.audit_log.add(at=at, actor="agent", act=BEGUN_ANEW, facts=facts)
        end = Anchor.of(store.audit_log.get_head(), at=at)
        write_note(folder, end, more=Path(settings.trail.anchor) if settings.trail.anchor else None)
        resumed = resume(settings, store, since=None, at=at)
        store.take_as_own(folder)
        where = store.place
    out.print(f"{where} is now the database of {folder}", markup=False)
    print_resumed(*resumed)


def _open_anew(settings: Settings) -> Store:
    """Open a database of another lab, or the lab's own if it is older than sent documents.

    Raises:
        NothingToBegin: It is the newest database of this lab.
    """
    from agent.service.copies import find_overtaken
    from agent.store import NothingToBegin

    try:
        return open_store(settings, anew=True)
    except NothingToBegin:
        store = open_store(settings)
        if find_overtaken(settings, store, now=datetime.now(UTC)):
            return store
        store.close()
        raise
