"""Make the web application of one lab from its settings.

In:  `Settings`, store, archive. Out: a FastAPI application. Next: uvicorn.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

from agent.errors import BadSettings
from agent.night import taxonomy_in_force
from agent.web.app import create_app
from agent.web.desk import Desk

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from fastapi import FastAPI

    from agent.archive import Archive
    from agent.settings import Settings
    from agent.store import Store


def app_of(
    settings: Settings,
    *,
    store: Store,
    archive: Archive,
    now: Callable[[], datetime],
    status: Callable[[], dict[str, Any]],
    submit: Callable[[str, bytes, dict[str, str]], dict[str, Any]] | None = None,
) -> FastAPI:
    """Make the application that `[web]` describes.

    Args:
        settings: Of the lab.
        store: Open; it stays open as long as the application runs.
        archive: The pixels.
        now: Says the time, aware UTC.
        status: Says what `agent status --json` does.
        submit: Takes a file in (name, bytes, process data); None where this process takes none.

    Raises:
        BadSettings: `[web] host` is reachable from other PCs, which needs accounts.
    """
    refuse_strangers(settings.web.host)
    desk = Desk(
        store=store,
        archive=archive,
        reports=settings.store.folder / "reports",
        site=settings.site.name,
        zone=settings.site.time_zone,
        taxonomy=lambda: taxonomy_in_force(settings, store),
        now=now,
        status=status,
        submit=submit,
    )
    return create_app(desk, hosts=(settings.web.host,))


def refuse_strangers(host: str) -> None:
    """Refuse an address that other PCs reach, as long as there are no accounts.

    Raises:
        BadSettings: Says what to write instead.
    """
    if host == "localhost":
        return
    try:
        if ipaddress.ip_address(host).is_loopback:
            return
    except ValueError:
        pass
    raise BadSettings(
        f"[web] host: {host} can be reached from other PCs, and the review page has no accounts; "
        'write host = "127.0.0.1".'
    )
