"""Show the review page and answer programs, over HTTP alone: HTML comes from `reports`.

In:  a `Desk` (store, archive, taxonomy). Out: a FastAPI application. Next: a reviewer's browser.
"""

from __future__ import annotations

from agent.web.app import create_app
from agent.web.desk import Desk

__all__ = ["Desk", "create_app"]
