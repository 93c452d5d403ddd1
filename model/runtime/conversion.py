"""Convert networks from PyTorch to OpenVINO, here or in a child process, and keep them.

A conversion traces the network, which imports PyTorch: 200 to 250 MB that a process never returns.
A service therefore converts in a child that ends, once: what is converted is kept.
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import os
import signal
import stat
import sys
import tempfile
import warnings
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import get_context
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from model.durable_file import write_durably

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn


# --- keep converted networks, so that a process that serves never loads PyTorch -------------------
# A kept network is data that OpenVINO reads, never code. It is found by the hash of all that it
# depends on, and used only if its content has the SHA-256 that was recorded when it was made; else
# it is made again.


CONVERTER: Final = 1
"""Version of our conversion; increase it where one release converts a network differently than
before. Each release converts again."""

_PRIVATE_FOLDER = 0o700
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_SUFFIXES = (".json", ".xml", ".bin")

_UNUSED_S = 90 * 86_400.0
"""Seconds after which a network that no process has loaded is removed: its bundle is gone, or
another release converts it. One that is needed again is made again."""


@dataclass(frozen=True, slots=True)
class ConvertedFolder:
    """Folder of converted networks: structure, weights and a record of both for each.

    Args:
        path: The folder.
    """

    path: Path

    def find(self, key: str, versions: str) -> tuple[bytes, bytes] | None:
        """Return structure and weights of a network; None if they are missing or damaged.

        Args:
            key: All that the network depends on.
            versions: Of OpenVINO and of this program.
        """
        name = _compute_name(key, versions)
        if not _is_private(self.path):
            return None
        try:
            if not all((self.path / f"{name}{suffix}").is_file() for suffix in _SUFFIXES):
                return None  # a pipe would never end
            record = json.loads((self.path / f"{name}.json").read_bytes())
            structure = (self.path / f"{name}.xml").read_bytes()
            weights = (self.path / f"{name}.bin").read_bytes()
            is_kept = record == _build_record(key, versions, structure, weights)
        except (OSError, ValueError, RecursionError):
            return None
        if not is_kept:
            return None
        with suppress(OSError):  # the folder may be read-only
            os.utime(self.path / f"{name}.json")
        return structure, weights

    def keep(self, key: str, versions: str, structure: bytes, weights: bytes) -> None:
        """Write a network for its owner alone, and remove what has not been used for long.

        Nothing is written where the folder cannot be.
        """
        name = _compute_name(key, versions)
        record = json.dumps(_build_record(key, versions, structure, weights), indent=1)
        with suppress(OSError):
            self.path.mkdir(mode=_PRIVATE_FOLDER, parents=True, exist_ok=True)
            if not _is_private(self.path):
                return
            # The record is the last: a network without one is not used.
            self._replace(f"{name}.xml", structure)
            self._replace(f"{name}.bin", weights)
            self._replace(f"{name}.json", record.encode())
            self._remove_unused((self.path / f"{name}.json").stat().st_mtime - _UNUSED_S)

    def _remove_unused(self, oldest: float) -> None:
        """Remove networks and parts of files that were last used before an instant of the disk."""
        for file in (*self.path.glob("*.json"), *self.path.glob(".*.part")):
            with suppress(OSError):  # another process removed it, or Windows holds it open
                if file.stat().st_mtime >= oldest:
                    continue
                file.unlink(missing_ok=True)  # a network without its record is not used
                if file.suffix == ".json":
                    for suffix in _SUFFIXES[1:]:
                        file.with_suffix(suffix).unlink(missing_ok=True)
        for file in (*self.path.glob("*.xml"), *self.path.glob("*.bin")):
            with suppress(OSError):
                if not file.with_suffix(".json").exists() and file.stat().st_mtime < oldest:
                    file.unlink(missing_ok=True)

    def _replace(self, name: str, content: bytes) -> None:
        part = self.path / f".{name}.{os.getpid()}-{uuid4().hex[:8]}.part"
        try:
            part.touch(mode=0o600)
            write_durably(part, content)
            part.replace(self.path / name)
        finally:
            part.unlink(missing_ok=True)


def _is_private(folder: Path) -> bool:
    """Return whether nobody but this account and root can write into a folder, on POSIX.

    What is in it decides answers, and no manifest of a bundle covers it.
    """
    if os.name == "nt":  # the service's set-up sets the permissions
        return True
    try:
        status = folder.lstat()
    except OSError:
        return False
    is_own = status.st_uid in (0, os.geteuid())
    return stat.S_ISDIR(status.st_mode) and is_own and not status.st_mode & _OTHERS_WRITE


def _compute_name(key: str, versions: str) -> str:
    return hashlib.sha256(json.dumps([CONVERTER, versions, key]).encode()).hexdigest()[:32]


def _build_record(key: str, versions: str, structure: bytes, weights: bytes) -> dict[str, object]:
    return {
        "converter": CONVERTER,
        "versions": versions,
        "network": key,
        "structure_sha256": hashlib.sha256(structure).hexdigest(),
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }


# --- convert networks from PyTorch to OpenVINO, in this process or in a child ---------------------


CONVERSION_LOCK = Lock()
"""Held during conversion, which changes process-wide warning filters and the root logger."""

_KILL = getattr(signal, "SIGKILL", signal.SIGTERM)
"""A child that was stopped or waits for a disk ends by nothing less. Windows has one kind."""

_ANSWERS_S = 120.0
"""How long a child is waited for; it takes a few seconds, more on a busy PC."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A network that is built only where it has to be converted.

    Args:
        key: All that the converted network depends on, but OpenVINO.
        build: Builds the network and its example; can be sent to a process. It imports PyTorch.
    """

    key: str
    build: Callable[[], tuple[nn.Module, tuple[Tensor, ...]]]


def convert(network: nn.Module | Recipe, example: tuple[Tensor, ...] = ()) -> Any:
    """Convert a network, with free rows and columns; inside `converting_apart` in a child.

    Inside `keeping_converted` what was converted of a recipe is kept, and read the next time.

    Args:
        network: The network, or its recipe.
        example: A batch of one of everything that the network takes, of two if the size of the
            batch is free; (): it takes images, or is a recipe.

    Returns:
        An OpenVINO model.
    """
    if isinstance(network, Recipe):
        return _read_or_convert(network)
    import torch  # noqa: PLC0415 - a network is one of PyTorch

    network = network.cpu().eval()
    example = example or (torch.zeros(1, 64, 64, 3, dtype=torch.uint8),)
    child = _CHILD.get()
    packed = child.call(_convert_packed, *_pack(network, example)) if child else None
    return _convert_here(network, example) if packed is None else _read(*packed)


def _read_or_convert(recipe: Recipe) -> Any:
    kept, versions = _KEPT.get(), name_versions()
    converted = kept.find(recipe.key, versions) if kept else None
    if converted is not None:
        with suppress(RuntimeError):  # OpenVINO refuses it: it is made again
            return _read(*converted)
    child = _CHILD.get()
    converted = child.call(_convert_recipe, recipe) if child else None
    if converted is None:
        network, example = recipe.build()
        model = _convert_here(network.eval(), example)
        try:
            converted = _serialize(model)
        except (OSError, RuntimeError):  # the disk of temporary files is full
            return model
    if kept:
        kept.keep(recipe.key, versions, *converted)
    return _read(*converted)


def name_versions() -> str:
    """Return the versions of OpenVINO and of this program, which decide how a network converts."""
    try:
        program = version("martensight")
    except PackageNotFoundError:  # the sources alone
        program = "unknown"
    return f"openvino {import_openvino().__version__}, martensight {program}"


def _read(structure: bytes, weights: bytes) -> Any:
    return import_openvino().Core().read_model(structure, weights)


@contextmanager
def keeping_converted(folder: Path) -> Iterator[None]:
    """Keep the networks of recipes that are converted within the block, and read kept ones.

    Args:
        folder: It is created where needed, and may be deleted at any time.
    """
    token = _KEPT.set(ConvertedFolder(folder))
    try:
        yield
    finally:
        _KEPT.reset(token)


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
    """Process that converts networks, started for the first one; after a failure it gets none."""

    def __init__(self) -> None:
        self._pool = ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn"))
        self._number: Future[int] | None = None
        self._failed = False

    def call(
        self, function: Callable[..., tuple[bytes, bytes]], *values: object
    ) -> tuple[bytes, bytes] | None:
        """Return what a function converts in the child, or None if the child cannot."""
        if self._failed:
            return None
        # AssertionError: this process may have no children; RuntimeError: the child has ended.
        with suppress(OSError, AssertionError, RuntimeError):
            self._number = self._number or self._pool.submit(os.getpid)
            converted = self._pool.submit(function, *values)
            if converted.exception(_ANSWERS_S) is None:
                return converted.result()
        self._failed = True
        return None

    def close(self) -> None:
        """End the process, also one that does not answer."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self._failed and self._number is not None and self._number.done():
            with suppress(OSError, RuntimeError):  # it may have ended, or never have started
                os.kill(self._number.result(), _KILL)


_CHILD: ContextVar[_Child | None] = ContextVar("child", default=None)
_KEPT: ContextVar[ConvertedFolder | None] = ContextVar("kept", default=None)


def _pack(
    network: nn.Module, example: tuple[Tensor, ...]
) -> tuple[nn.Module, bytes, list[NDArray[np.generic]]]:
    """Return a network without numbers, its numbers, and the example, for another process.

    PyTorch would move tensors that it sends to shared memory, also those of this process.
    """
    import safetensors.torch  # noqa: PLC0415 - PyTorch

    numbers = {name: tensor.detach().clone() for name, tensor in _iter_tensors(network)}
    empty = copy.deepcopy(network).to("meta")
    return empty, safetensors.torch.save(numbers), [array.numpy() for array in example]


def _convert_packed(
    network: nn.Module, numbers: bytes, example: Sequence[NDArray[np.generic]]
) -> tuple[bytes, bytes]:
    """Convert a packed network; in the child.

    Returns:
        Structure and weights of the OpenVINO model.
    """
    import safetensors.torch  # noqa: PLC0415 - PyTorch
    import torch  # noqa: PLC0415
    from torch import nn  # noqa: PLC0415

    loaded = safetensors.torch.load(numbers)
    for name, empty in list(_iter_tensors(network)):
        module, _, leaf = name.rpartition(".")
        tensor = loaded[name]
        is_parameter = isinstance(empty, nn.Parameter)
        setattr(
            network.get_submodule(module),
            leaf,
            nn.Parameter(tensor, requires_grad=False) if is_parameter else tensor,
        )
    return _serialize(_convert_here(network, tuple(torch.from_numpy(a) for a in example)))


def _convert_recipe(recipe: Recipe) -> tuple[bytes, bytes]:
    """Build and convert a network; in the child, where there is one."""
    network, example = recipe.build()
    return _serialize(_convert_here(network.eval(), example))


def _serialize(model: Any) -> tuple[bytes, bytes]:
    """Return structure and weights of an OpenVINO model."""
    with tempfile.TemporaryDirectory() as folder:
        structure, weights = Path(folder, "model.xml"), Path(folder, "model.bin")
        import_openvino().serialize(model, str(structure), str(weights))
        return structure.read_bytes(), weights.read_bytes()


def _iter_tensors(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield parameters and buffers by name, also those that a state dictionary leaves out."""
    yield from network.named_parameters(remove_duplicate=False)
    yield from network.named_buffers(remove_duplicate=False)


def _convert_here(network: nn.Module, example: tuple[Tensor, ...]) -> Any:
    import torch  # noqa: PLC0415 - a network is one of PyTorch

    with CONVERSION_LOCK, _preserve_root_logger(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates the tracing that OpenVINO relies on
        # OpenVINO would have the trace checked: that imports SymPy, 50 MB and most of the time.
        traced = torch.jit.trace(  # type: ignore[no-untyped-call]
            network, example, strict=False, check_trace=False
        )
        model = import_openvino().convert_model(traced, example_input=example)
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
