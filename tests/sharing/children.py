"""The children of a test process share what their imports cost.

An agent starts such a child a few times a day; a test run starts one for each command that trains
or judges again, and each imports for three seconds before its job, and one that renders a template
of the lab's for one second. Here a server imports once, and children fork from it. It replaces a
function in three modules, since the product needs no such seam: its children come from a new
process, as on Windows.
"""

from __future__ import annotations

import multiprocessing
import os

IMPORTED = (
    "agent.orders.statements.customer_report",
    "agent.service.jobs.features",
    "agent.service.jobs.retrain",
    "agent.service.jobs.shadow",
    "model.runtime.conversion",
    "model.runtime.engines",
    "model.training.train",
    "torch",
)
"""What the children import before their job; another name costs time, and nothing else."""


def share_imports_of_children() -> None:
    """Fork children that train, judge, convert or render from a server that has their imports."""
    if "forkserver" not in multiprocessing.get_all_start_methods():  # Windows
        return
    from multiprocessing import forkserver  # noqa: PLC0415 - not on Windows

    from agent.orders.statements import customer_report  # noqa: PLC0415 - a fast run does without
    from agent.service.jobs import supervisor  # noqa: PLC0415
    from model.runtime import conversion  # noqa: PLC0415

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(IMPORTED))

    def get_context(_method: str) -> multiprocessing.context.BaseContext:
        # The server keeps the environment in which it starts, so that of a test must not be it.
        of_a_test = {name: value for name, value in os.environ.items() if name.startswith("AGENT_")}
        for name in of_a_test:
            del os.environ[name]
        forkserver.ensure_running()
        os.environ.update(of_a_test)
        return context

    for module in (customer_report, supervisor, conversion):
        module.get_context = get_context
