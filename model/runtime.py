"""Run a network on this machine's best engine, with the same answer for the same picture.

In:  an `Eye` and frames of one shape. Out: its feature maps, float32. Next: `classify`, `train`.
On a CPU OpenVINO answers, one picture at a time, so a batch cannot change an answer; its
precision is always said explicitly, since its own default differs between processors. Without
OpenVINO, and on a GPU, PyTorch answers.
"""

from __future__ import annotations

import os
import sys
import warnings
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from model.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import nn

    from model.network import Eye

_GPU_BATCH = 16

_CONVERTING = Lock()


@dataclass(frozen=True, slots=True)
class Engine:
    """What runs networks here.

    Args:
        name: "openvino" or "pytorch".
        device: "cpu", "cuda" or "cuda:1".
        precision: "fp32" or "bf16".
    """

    name: str
    device: str
    precision: str

    @property
    def label(self) -> str:
        """What is stored with a result, such as "openvino cpu"."""
        return f"{self.name} {self.device}"


class Runner(Protocol):
    """Runs one network."""

    def features(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Give the feature maps of a batch of frames.

        Args:
            pixels: (n, h, w, 3) uint8, RGB, sides multiples of 32.

        Returns:
            (n, c, rows, columns) float32.
        """
        ...


def choose_engine(
    device: str = "auto", precision: str = "auto", archs: Collection[str] = ()
) -> Engine:
    """Say which engine, device and precision will be used here.

    Args:
        device: "auto", "cpu", "cuda" or "cuda:N"; "pytorch" is the CPU without OpenVINO.
        precision: "auto", "fp32" or "bf16".
        archs: What will run. On a processor with bf16 in hardware "auto" takes it for ResNets,
            which become four times faster and differ by less than 0.02; for the others it stays
            with fp32: EfficientNet-Lite0 gains nothing and differs by up to 0.05 (measured).

    Raises:
        ModelError: The device is not there, or the precision is unknown.
    """
    if precision not in ("auto", "fp32", "bf16"):
        raise ModelError(f"There is no precision {precision!r}; known are auto, fp32, bf16.")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "pytorch":
        return Engine("pytorch", "cpu", "fp32" if precision == "auto" else precision)
    if device.startswith("cuda"):
        if not torch.cuda.is_available():
            raise ModelError(f"There is no GPU for device {device!r} here; set device to auto.")
        return Engine("pytorch", device, "bf16" if precision == "auto" else precision)
    if device != "cpu":
        raise ModelError(
            f"There is no device {device!r}; known are auto, cpu, pytorch, cuda, cuda:N."
        )
    name = "openvino" if _openvino() is not None else "pytorch"
    if precision == "auto":
        pays = bool(archs) and all(arch.startswith("resnet") for arch in archs)
        precision = "bf16" if pays and name == "openvino" and multiplies_bf16() else "fp32"
    return Engine(name, "cpu", precision)


def multiplies_bf16() -> bool:
    """Say whether this processor multiplies bf16 matrices in hardware (AMX)."""
    check = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return bool(check is not None and check())


def runner(eye: Eye, engine: Engine, cache: Path | None = None) -> Runner:
    """Make a network ready to run.

    Args:
        eye: The network, in eval mode.
        engine: From `choose_engine`.
        cache: Folder for OpenVINO's compiled form, or None; it may be deleted at any time.
    """
    if engine.name == "openvino":
        return OpenVinoRunner(eye, engine, cache)
    return TorchRunner(eye, engine)


class TorchRunner:
    """PyTorch; on a CPU one picture at a time, on a GPU in batches of one fixed size."""

    def __init__(self, eye: Eye, engine: Engine) -> None:
        self._engine = engine
        self._eye = eye.to(engine.device).eval()
        self._eye.backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._batch = 1 if engine.device == "cpu" else _GPU_BATCH

    def features(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Give the feature maps of a batch; out of memory, the batch is halved."""
        parts, start = [], 0
        while start < len(pixels):
            try:
                parts.append(self._run(pixels[start : start + self._batch]))
            except torch.OutOfMemoryError:
                if self._batch == 1:
                    raise
                self._batch //= 2
                torch.cuda.empty_cache()
            else:
                start += len(parts[-1])
        return np.concatenate(parts)

    @torch.inference_mode()
    def _run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        short = self._batch - len(pixels)
        batch = np.concatenate([pixels, np.repeat(pixels[-1:], short, axis=0)]) if short else pixels
        kind = "cuda" if self._engine.device.startswith("cuda") else "cpu"
        given = torch.from_numpy(np.ascontiguousarray(batch)).to(self._engine.device)
        with torch.autocast(kind, torch.bfloat16, enabled=self._engine.precision == "bf16"):
            features = self._eye(given)
        found: NDArray[np.float32] = features[: len(pixels)].float().cpu().numpy()
        return found


class OpenVinoRunner:
    """OpenVINO on the CPU, compiled once for pictures of every shape.

    Its answer for a shape is bit for bit that of a form compiled for that shape alone, and as fast
    (measured: EfficientNet-Lite0 and ResNet-18, fp32 and bf16); a new shape costs a few hundredths
    of a second.
    """

    def __init__(self, eye: nn.Module, engine: Engine, cache: Path | None) -> None:
        core = _openvino().Core()
        if cache is not None and _writable(cache):
            core.set_property({"CACHE_DIR": str(cache)})
        hints = {
            "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[engine.precision],
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        }
        self._request = core.compile_model(_converted(eye), "CPU", hints).create_infer_request()
        self._lock = Lock()

    def features(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Give the feature maps, one picture at a time."""
        with self._lock:
            found = [np.array(self._request.infer({0: one[None]})[0]) for one in pixels]
        return np.concatenate(found, axis=0)

    def maps(self, picture: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """Give every map that the network gives of one picture, (h, w, 3), without its batch."""
        with self._lock:
            found = self._request.infer({0: picture[None]})
            return [np.array(found[index][0]) for index in range(len(found))]


def _writable(folder: Path) -> bool:
    """Say whether compiled forms can be kept there; without it every start compiles again."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


def _converted(eye: nn.Module) -> Any:
    openvino = _openvino()
    example = torch.zeros(1, 64, 64, 3, dtype=torch.uint8)
    with _CONVERTING, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates the tracing that OpenVINO relies on
        model = openvino.convert_model(eye.cpu().eval(), example_input=example)
    model.reshape([1, -1, -1, 3])
    return model


def _openvino() -> Any:
    """Import OpenVINO without its telemetry, which sends an event on import; None if absent."""
    if "openvino" not in sys.modules:
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino  # noqa: PLC0415 - optional, and slow to import
    except ImportError:
        return None
    return openvino
