"""All web applications of a test run share what FastAPI computes for a route.

The agent builds its application once; a test run builds it hundreds of times, always with the same
hundred routes. Reading their signatures and compiling their types took a quarter of the processor
time of the tests of pages.
"""

from __future__ import annotations

import inspect
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from fastapi import routing
from fastapi.datastructures import DefaultPlaceholder

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

COMPUTE = getattr(routing, "_populate_api_route_state", None)
"""What FastAPI itself computes for each route; None in a version that does it elsewhere."""
APPLICATION = "dependency_overrides_provider"
"""The argument that names the application: it differs, and nothing is computed from it."""


def share_routes() -> None:
    """Share what the first route computed with those of the same function, path and options."""
    shared: dict[Hashable, SimpleNamespace] = {}

    def find_or_compute(
        route: Any, path: str, endpoint: Callable[..., Any], **options: Any
    ) -> None:
        key = _find_key(path, endpoint, options)
        state = shared.get(key) if key is not None else None
        if state is None:
            state = SimpleNamespace()
            COMPUTE(state, path, endpoint, **options)
            if key is not None and _asks_no_application(state.dependant):
                shared[key] = state
        for name, value in vars(state).items():
            setattr(route, name, value)
        route.endpoint = endpoint
        route.dependant = replace(state.dependant, call=endpoint)
        setattr(route, APPLICATION, options.get(APPLICATION))

    if COMPUTE is not None:
        routing._populate_api_route_state = find_or_compute


def _asks_no_application(dependant: Any) -> bool:
    """Return whether all that is called before the function is of a module.

    A function inside a function may be that of one application.
    """
    return all(
        "<locals>" not in getattr(asked.call, "__qualname__", "<locals>")
        and _asks_no_application(asked)
        for asked in dependant.dependencies
    )


def _find_key(
    path: str, endpoint: Callable[..., Any], options: dict[str, Any]
) -> tuple[Hashable, ...] | None:
    """Return what two routes have in common that are alike; None if that cannot be told.

    Functions inside a function are alike if they have the same code and the same defaults.
    """
    function = inspect.unwrap(endpoint)
    code = getattr(function, "__code__", None), getattr(endpoint, "__code__", None)
    defaults = getattr(function, "__defaults__", None), getattr(function, "__kwdefaults__", None)
    if None in code or " at 0x" in repr(defaults):
        return None
    said = [pair for pair in options.items() if pair[0] != APPLICATION]
    return path, *code, repr(defaults), *((name, _hashable(given)) for name, given in said)


def _hashable(given: Any) -> Hashable:
    if isinstance(given, DefaultPlaceholder):
        return "default", given.value
    try:
        hash(given)
    except TypeError:
        return repr(given)
    return given
