"""Show the review page and answer programs, over HTTP alone: HTML comes from `reports`.

In:  a lab's settings, store and archive. Out: a FastAPI application. Next: a reviewer's browser.
"""

from __future__ import annotations

from agent.web.app import create_app
from agent.web.desk import Desk
from agent.web.inbox import SOURCE as INBOX_SOURCE
from agent.web.inbox import Inbox
from agent.web.lab import app_of, is_this_pc_alone, refuse_strangers

__all__ = [
    "INBOX_SOURCE",
    "Desk",
    "Inbox",
    "app_of",
    "create_app",
    "is_this_pc_alone",
    "refuse_strangers",
]
