"""Serve the review pages and the API over HTTP; the HTML comes from `reports`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agent.web.access import is_this_pc_alone, refuse_strangers
    from agent.web.app import create_app
    from agent.web.context import Desk
    from agent.web.factory import app_of
    from agent.web.uploads import SOURCE as INBOX_SOURCE
    from agent.web.uploads import Inbox

__all__ = [
    "INBOX_SOURCE",
    "Desk",
    "Inbox",
    "app_of",
    "create_app",
    "is_this_pc_alone",
    "refuse_strangers",
]

_WHERE = {
    "INBOX_SOURCE": ("uploads", "SOURCE"),
    "Desk": ("context", "Desk"),
    "Inbox": ("uploads", "Inbox"),
    "app_of": ("factory", "app_of"),
    "create_app": ("app", "create_app"),
    "is_this_pc_alone": ("access", "is_this_pc_alone"),
    "refuse_strangers": ("access", "refuse_strangers"),
}


def __getattr__(name: str) -> Any:
    # The agent uses names of this package; only the process that serves pages loads FastAPI.
    from importlib import import_module  # noqa: PLC0415

    if name in _WHERE:
        module, called = _WHERE[name]
        return getattr(import_module(f"agent.web.{module}"), called)
    raise AttributeError(name)
