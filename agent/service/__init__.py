"""The running agent: watches, worker, schedule, pages, heartbeat and signals.

workplace    what everything is made of, from the settings
watching     a thread per source      working      the thread that takes files
scheduling   the nights               status       how it all does, in one document
serving      the pages                daemon      all of it, until stopped
once         the same work, without staying
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agent.service.daemon import Agent
    from agent.service.once import Outcome, run_once
    from agent.service.serving import Pages
    from agent.service.status import status_of
    from agent.service.workplace import CurrentBundle, make_pipeline, make_pool, open_store

__all__ = [
    "Agent",
    "CurrentBundle",
    "Outcome",
    "Pages",
    "make_pipeline",
    "make_pool",
    "open_store",
    "run_once",
    "status_of",
]

_WHERE = {
    "Agent": "daemon",
    "CurrentBundle": "workplace",
    "Outcome": "once",
    "Pages": "serving",
    "make_pipeline": "workplace",
    "make_pool": "workplace",
    "open_store": "workplace",
    "run_once": "once",
    "status_of": "status",
}


def __getattr__(name: str) -> Any:
    # `agent status` must answer without waiting for PyTorch, and asks only its own module.
    from importlib import import_module  # noqa: PLC0415

    if name in _WHERE:
        return getattr(import_module(f"agent.service.{_WHERE[name]}"), name)
    raise AttributeError(name)
