"""All bundles that a test run loads share what is compiled of equal networks.

An agent loads a bundle once in weeks; a test run loads the same few bundles in hundreds of tests
and commands, and would convert and compile the same networks each time: one to three seconds.
It replaces two private functions of `model.runtime`, since the product needs no such seam;
where one is renamed, the run ends at its start.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from torch import nn

ENGINES = "model.runtime.engines"
TORCH_RUNNER = "model.runtime.torch_runner"
THEIR_OWN = "tests/unit/model/runtime/"
"""Tests of the compiling itself: what they compile is not shared."""
SIZE = 24
"""Compiled networks that are kept; each has a few MB."""


def share_networks() -> None:
    """Share what is compiled of a network with equal ones from now on; nothing without PyTorch."""
    if ENGINES in sys.modules:
        _share(sys.modules[ENGINES])


def _share(engines: Any) -> None:
    runners, conversion = Kept(), sys.modules["model.runtime.conversion"]
    compile_model = engines.OpenVinoRunner.__init__

    def find_or_compile(
        runner: Any, network: nn.Module, engine: Any, cache: Any, example: tuple[Any, ...] = ()
    ) -> None:
        def compiled() -> Any:
            compile_model(runner, network, engine, cache, example)
            return runner

        is_own = _compiles_itself() or conversion._CHILD.get() is not None
        content = None if is_own else content_of(network)
        if content is None:
            compiled()
            return
        inputs = tuple((tuple(array.shape), array.dtype) for array in example)
        key = (content, engine, inputs, engines.get_network_threads(), cache)
        shared = runners.find_or_make(key, compiled)
        if shared is not runner:
            runner.__dict__.update(shared.__dict__)
            runner._request = shared._compiled.create_infer_request()
            engines._RUNNERS.add(runner)

    engines.OpenVinoRunner.__init__ = find_or_compile
    if TORCH_RUNNER in sys.modules:
        _share_graphs(sys.modules[TORCH_RUNNER])


def _share_graphs(torch_runner: Any) -> None:
    graphs, optimize = Kept(), torch_runner._optimize_for_cpu

    def find_or_optimize(encoder: nn.Module, *, low: bool) -> Any:
        content = None if _compiles_itself() else content_of(encoder)
        if content is None:
            return optimize(encoder, low=low)
        return graphs.find_or_make((content, low), lambda: optimize(encoder, low=low))

    torch_runner._optimize_for_cpu = find_or_optimize


def _compiles_itself() -> bool:
    return os.environ.get("PYTEST_CURRENT_TEST", "").startswith(THEIR_OWN)


class Kept:
    """What was made last, by what it was made of."""

    def __init__(self) -> None:
        self._made: OrderedDict[Hashable, Any] = OrderedDict()

    def find_or_make(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """Return what was made of the same, or make it."""
        if key not in self._made:
            self._made[key] = make()
        self._made.move_to_end(key)
        while len(self._made) > SIZE:
            self._made.popitem(last=False)
        return self._made[key]


def content_of(network: Any) -> str | None:
    """Hash all that a network's answer depends on: layers, weights, and constants.

    Args:
        network: A network, or a recipe, whose key is that already.

    Returns:
        None if a constant has no value that can be compared, such as a function.
    """
    if hasattr(network, "key"):
        return str(network.key)
    digest = hashlib.sha256(repr(network).encode())
    for name, tensor in network.state_dict().items():
        digest.update(name.encode())
        digest.update(_bytes_of(tensor))
    kept_by_torch = vars(sys.modules["torch"].nn.Module()).keys() - {"training"}
    for name, module in network.named_modules():
        kind = type(module)
        digest.update(f"{name} {kind.__module__}.{kind.__qualname__}".encode())
        for attribute in sorted(vars(module).keys() - kept_by_torch):
            value = vars(module)[attribute]
            content = _bytes_of(value) if hasattr(value, "numpy") else repr(value).encode()
            if b" at 0x" in content:
                return None
            digest.update(f"{attribute}=".encode() + content)
    return digest.hexdigest()


def _bytes_of(tensor: Any) -> bytes:
    array = tensor.detach().cpu().contiguous()
    shape = f"{array.dtype} {tuple(array.shape)} ".encode()
    return shape + array.flatten().view(sys.modules["torch"].uint8).numpy().tobytes()
