"""`agent begin-anew`: accept a database as this data folder's."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.app import app, load_settings, open_store
from agent.cli.console import out
from agent.cli.restore import print_resumed
from agent.errors import WrongUse

if TYPE_CHECKING:
    from agent.settings import Settings
    from agent.store import Store


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
    settings, at = load_settings(context), datetime.now(UTC)
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
    out.print(f"{where} is the database of {folder} now", markup=False)
    print_resumed(*resumed)


def _open_anew(settings: Settings) -> Store:
    """Open a database that is not the lab's, or its own where that is older than what was sent.

    Raises:
        NothingToBegin: It is the lab's own, and the newest.
    """
    from agent.service.copies import find_overtaken
    from agent.store import NothingToBegin

    try:
        return open_store(settings, anew=True)
    except NothingToBegin:
        store = open_store(settings)
        if find_overtaken(settings, store):
            return store
        store.close()
        raise
