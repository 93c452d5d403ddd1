"""Base of the repositories, and whose rows they read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.store.numbers import number_key
from agent.store.sites import site_scope

if TYPE_CHECKING:
    from sqlalchemy import Engine


@dataclass(frozen=True, slots=True)
class AgentIdentity:
    """Identity of a store: its site and its agent."""

    site_id: int
    agent_id: int
    exact_numbers: bool = False

    def key(self, number: str) -> str:
        """Return what all spellings of an order's number have in common at this site."""
        return number_key(number, exact=self.exact_numbers)


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
