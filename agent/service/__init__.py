"""The running agent: watches, worker, schedule, pages, heartbeat and signals.

composition       everything from the settings    worker            processes files
source_thread     a thread per source             report_scheduler  the nights
active_bundle     what this PC judges with
web_server        the pages                       status            the state in one document
daemon            all of it, until stopped        single_run        the same work, once
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agent.service.active_bundle import CurrentBundle
    from agent.service.composition import make_pipeline, make_pool, open_store
    from agent.service.daemon import Agent
    from agent.service.single_run import RunOutcome, run_once
    from agent.service.status import build_status
    from agent.service.web_server import Pages

__all__ = [
    "Agent",
    "CurrentBundle",
    "Pages",
    "RunOutcome",
    "build_status",
    "make_pipeline",
    "make_pool",
    "open_store",
    "run_once",
]

_WHERE = {
    "Agent": "daemon",
    "CurrentBundle": "active_bundle",
    "RunOutcome": "single_run",
    "Pages": "web_server",
    "make_pipeline": "composition",
    "make_pool": "composition",
    "open_store": "composition",
    "run_once": "single_run",
    "build_status": "status",
}


def __getattr__(name: str) -> Any:
    # `agent status` must answer without waiting for PyTorch, and asks only its own module.
    from importlib import import_module  # noqa: PLC0415

    if name in _WHERE:
        return getattr(import_module(f"agent.service.{_WHERE[name]}"), name)
    raise AttributeError(name)
