"""PCs of one site, each with its own connection, that a rollout reaches ring by ring."""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from agent.store import Store

if TYPE_CHECKING:
    from contextlib import ExitStack

AT = datetime(2026, 11, 24, 21, 0, tzinfo=UTC)
RIGHT = {"g8": {"image": "g8.tif", "code": "G8", "probability": 0.91}}


def late(minutes: float) -> datetime:
    """Return the instant so many minutes after `AT`."""
    return AT + timedelta(minutes=minutes)


class RingedPcs(ABC):
    """PCs that were started, on a site with a first bundle; each kind of rollout adds `refresh`."""

    def __init__(self, stack: ExitStack, address: str, names: tuple[str, ...], bundle: str) -> None:
        self.stores = {
            name: stack.enter_context(Store.open(address, site="Plant 1", agent=name))
            for name in names
        }
        for store in self.stores.values():
            store.agents.record_start(at=AT)
        self.one = next(iter(self.stores.values()))
        self.one.promotions.promote(bundle, by="Lea", reason="first", at=AT, metrics={})

    @abstractmethod
    def refresh(self, name: str, answers: dict[str, Any] = RIGHT, at: datetime = AT) -> None:
        """Do what an agent does between two batches."""

    def refresh_all(self, at: datetime = AT) -> None:
        """Let each PC do that once."""
        for name in self.stores:
            self.refresh(name, at=at)

    def ring(self, most: int) -> set[str]:
        """Return the PCs of the rings up to this one."""
        rollout = self.one.rollouts.find_latest()
        hosts = self.one.rollouts.list_hosts(rollout.id)
        return {host.name for host in hosts if host.ring <= most}
