"""Base of the repositories."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.store import site_scope

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from agent.store.sources import AgentIdentity


class Repository:
    """Rows of one subject at one site; each public method is one transaction.

    Args:
        engine: At this program's schema, bound to the site.
        whose: The site and the agent that use it.
    """

    def __init__(self, engine: Engine, whose: AgentIdentity) -> None:
        self._engine, self._whose = engine, whose

    @property
    def _all_sites(self) -> Engine:
        return site_scope.bind(self._engine, site_scope.EVERY_SITE)
