"""Convert networks from PyTorch to OpenVINO, in this process or in a child.

A conversion traces the network, which imports SymPy and much of PyTorch: 80 to 100 MB that a
process never returns. A service therefore converts in a child that ends.
"""

from __future__ import annotations

import logging
import pickle  # noqa: TID251 - between two processes of ours, never at rest
import sys
import tempfile
import warnings
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from multiprocessing import get_context
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

    from torch import Tensor, nn

CONVERSION_LOCK = Lock()
"""Held during conversion, which changes process-wide warning filters and the root logger."""

_IMAGES = (torch.zeros(1, 64, 64, 3, dtype=torch.uint8),)
_ANSWERS_S = 120.0
"""How long a child is waited for; it takes a few seconds, more on a busy PC."""
_ENDS_S = 3.0
_UNPICKLABLE = (pickle.PicklingError, AttributeError, TypeError)
"""What pickle raises for a network that cannot be sent to a process."""


def convert(network: nn.Module, example: tuple[Tensor, ...] = ()) -> Any:
    """Convert a network, with free rows and columns; inside `converting_apart` in a child.

    Args:
        network: The network.
        example: A batch of one of everything that the network takes, of two if the size of the
            batch is free; (): it takes images.

    Returns:
        An OpenVINO model.
    """
    network, example = network.cpu().eval(), example or _IMAGES
    child = _CHILD.get()
    model = child.convert(network, example) if child else None
    return _convert_here(network, example) if model is None else model


@contextmanager
def converting_apart() -> Iterator[None]:
    """Convert networks within the block in a child process, which ends with the block.

    Where no child can be started, networks are converted in this process.
    """
    child = _Child()
    token = _CHILD.set(child)
    try:
        yield
    finally:
        _CHILD.reset(token)
        child.close()


class _Child:
    """Process that converts networks, started for the first one."""

    def __init__(self) -> None:
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None
        self._failed = False

    def convert(self, network: nn.Module, example: tuple[Tensor, ...]) -> Any | None:
        """Return the converted network, or None if the child cannot convert it."""
        if self._failed:
            return None
        self._failed = True
        # RuntimeError is OpenVINO's, AssertionError that of a process that may have no children.
        with suppress(OSError, EOFError, RuntimeError, AssertionError, *_UNPICKLABLE):
            pipe = self._pipe or self._start()
            pipe.send_bytes(pickle.dumps((network, example)))
            if pipe.poll(_ANSWERS_S):
                structure, weights = pipe.recv_bytes(), pipe.recv_bytes()
                model = import_openvino().Core().read_model(structure, weights)
                self._failed = False
                return model
        return None

    def _start(self) -> Connection:
        context = get_context("spawn")
        self._pipe, child_end = context.Pipe()
        self._process = context.Process(target=_serve, args=(child_end,), name="convert")
        self._process.start()
        child_end.close()
        return self._pipe

    def close(self) -> None:
        """End the process."""
        if self._pipe is not None:
            self._pipe.close()
        if self._process is not None and self._process.pid is not None:
            self._process.join(_ENDS_S)
            self._process.kill()
            self._process.join(_ENDS_S)


_CHILD: ContextVar[_Child | None] = ContextVar("child", default=None)


def _serve(pipe: Connection) -> None:
    """Convert what the pipe brings until it is closed; in the child."""
    with suppress(EOFError, OSError, KeyboardInterrupt):
        while True:
            network, example = pickle.loads(pipe.recv_bytes())  # noqa: S301 - from our parent
            with tempfile.TemporaryDirectory() as folder:
                structure, weights = Path(folder, "model.xml"), Path(folder, "model.bin")
                model = _convert_here(network, example)
                import_openvino().serialize(model, str(structure), str(weights))
                del model
                pipe.send_bytes(structure.read_bytes())
                pipe.send_bytes(weights.read_bytes())


def _convert_here(network: nn.Module, example: tuple[Tensor, ...]) -> Any:
    with CONVERSION_LOCK, _preserve_root_logger(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates the tracing that OpenVINO relies on
        model = import_openvino().convert_model(network, example_input=example)
    model.reshape({index: _free_sides(array) for index, array in enumerate(example)})
    return model


def _free_sides(example: Tensor) -> list[int]:
    """Return a shape whose rows and columns are free: (1, h, w, 3) or (1, c, rows, columns).

    So is the size of the batch where the example has more than one.
    """
    shape = list(example.shape)
    shape[0] = shape[0] if shape[0] == 1 else -1
    if len(shape) == 4:  # noqa: PLR2004 - an image or a map
        first = 1 if shape[3] == 3 else 2  # noqa: PLR2004 - colours
        shape[first : first + 2] = [-1, -1]
    return shape


@contextmanager
def _preserve_root_logger() -> Iterator[None]:
    """Restore the root logger: OpenVINO sets its level, and does not reset it when it raises.

    Source:
        openvino 2026.4, tools/ovc/convert_impl.py, init_logger("ERROR").
    """
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    try:
        yield
    finally:
        root.setLevel(level)
        root.handlers[:] = handlers


def import_openvino() -> Any:
    """Import OpenVINO without its telemetry, which sends an event on import.

    Returns:
        The module, or None if it is not installed.
    """
    if "openvino" not in sys.modules:
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino  # noqa: PLC0415 - optional, and slow to import
    except ImportError:
        return None
    return openvino
