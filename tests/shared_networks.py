"""All bundles that a test run loads share what is compiled of equal networks.

An agent loads a bundle once in weeks; a test run loads the same few bundles in hundreds of tests
and commands, and would convert and compile the same networks each time: one to three seconds.
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
THEIR_OWN = "tests/unit/model/runtime/"
"""Tests of the compiling itself: what they compile is shared with nobody."""
SIZE = 24
"""Compiled networks that are kept; each has a few MB."""


def share_networks() -> None:
    """Share what is compiled of a network with equal ones from now on; nothing without PyTorch."""
    if ENGINES in sys.modules:
        _share(sys.modules[ENGINES])


def _share(engines: Any) -> None:
    runners, graphs, conversion = Kept(), Kept(), sys.modules["model.runtime.conversion"]
    compile_model, optimize = engines.OpenVinoRunner.__init__, engines._optimize_for_cpu

    def find_or_compile(
        runner: Any, network: nn.Module, engine: Any, cache: Any, example: tuple[Any, ...] = ()
    ) -> None:
        def compiled() -> Any:
            compile_model(runner, network, engine, cache, example)
            return runner

        if _compiles_itself() or conversion._CHILD.get() is not None:
            compiled()
            return
        sizes = tuple(tuple(array.shape) for array in example)
        key = (content_of(network), engine, sizes, engines.torch.get_num_threads(), cache)
        found = runners.find_or_make(key, compiled)
        if found is not runner:
            runner.__dict__.update(found.__dict__)
            runner._request = found._compiled.create_infer_request()
            engines._RUNNERS.add(runner)

    def find_or_optimize(encoder: nn.Module, *, low: bool) -> Any:
        if _compiles_itself():
            return optimize(encoder, low=low)
        return graphs.find_or_make((content_of(encoder), low), lambda: optimize(encoder, low=low))

    engines.OpenVinoRunner.__init__ = find_or_compile
    engines._optimize_for_cpu = find_or_optimize


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


def content_of(network: nn.Module) -> str:
    """Hash all that a network's answer depends on: layers, weights, and plain attributes."""
    digest = hashlib.sha256(repr(network).encode())
    for name, tensor in network.state_dict().items():
        digest.update(name.encode())
        digest.update(_bytes_of(tensor))
    for name, module in network.named_modules():
        digest.update(f"{name} {type(module).__qualname__}".encode())
        for attribute, value in sorted(vars(module).items()):
            if not attribute.startswith("_"):
                digest.update(f"{attribute}=".encode())
                held = _bytes_of(value) if hasattr(value, "numpy") else repr(value).encode()
                digest.update(held)
    return digest.hexdigest()


def _bytes_of(tensor: Any) -> bytes:
    array = tensor.detach().cpu().contiguous()
    shape = f"{array.dtype} {tuple(array.shape)} ".encode()
    return shape + array.flatten().view(sys.modules["torch"].uint8).numpy().tobytes()
