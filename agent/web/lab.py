"""Make the web application of one lab from its settings.

In:  `Settings`, store, archive. Out: a FastAPI application. Next: uvicorn.
"""

from __future__ import annotations

import ipaddress
import platform
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from agent.errors import BadSettings
from agent.night import reports_folder, taxonomy_in_force
from agent.orders.instrument_holds import holds_of
from agent.orders.lab import lab_of
from agent.web.app import create_app
from agent.web.desk import Desk
from agent.web.metrics import MEASURES

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from fastapi import FastAPI

    from agent.archive import Archive
    from agent.settings import Settings, Web
    from agent.store import Accounts, Store
    from agent.web.inbox import Inbox


def app_of(
    settings: Settings,
    *,
    store: Store,
    archive: Archive,
    now: Callable[[], datetime],
    status: Callable[[], dict[str, Any]],
    inbox: Inbox | None = None,
) -> FastAPI:
    """Make the application that `[web]` describes.

    Args:
        settings: Of the lab.
        store: Open; it stays open as long as the application runs.
        archive: The pixels.
        now: Says the time, aware UTC.
        status: Says what `agent status --json` does.
        inbox: Takes in files that programs send; None where this process takes none.

    Raises:
        BadSettings: `[web] host` can be reached from other PCs, and there are no accounts.
    """
    refuse_strangers(settings.web, store.accounts)
    desk = Desk(
        store=store,
        archive=archive,
        reports=reports_folder(settings.store.folder, store),
        site=settings.site.name,
        zone=settings.site.time_zone,
        taxonomy=lambda: taxonomy_in_force(settings, store),
        now=now,
        status=status,
        inbox=inbox,
        measures=settings.store.folder / MEASURES,
        lab=lambda: lab_of(
            settings,
            store,
            taxonomy_in_force(settings, store),
            now=now(),
            held=holds_of(settings, store),
        ),
    )
    hosts = (settings.web.host, platform.node(), *settings.web.names)
    return create_app(
        desk,
        hosts=hosts,
        idle=timedelta(minutes=settings.web.lock_after_min),
        requests=settings.web.requests,
        language=settings.report.language,
    )


def refuse_strangers(web: Web, known: Accounts) -> None:
    """Refuse an address that other PCs reach, as long as nobody has to log in.

    Raises:
        BadSettings: Says what to do instead.
    """
    if not is_this_pc_alone(web.host) and not known.are_there():
        raise BadSettings(
            f"[web] host: {web.host} can be reached from other PCs, and there are no accounts; "
            'make one with agent users add NAME --role admin, or write host = "127.0.0.1".'
        )


def is_this_pc_alone(host: str) -> bool:
    """Say whether an address can only be reached from this PC."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
