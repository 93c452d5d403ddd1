"""Run a network on this machine's best engine, with the same answer for the same picture.

In:  an `Eye` and frames of one shape. Out: a `Glimpse` of each. Next: `gaze`.
On a CPU OpenVINO answers, one picture at a time, so a batch cannot change an answer; its
precision is always said explicitly, since its own default differs between processors. Without
OpenVINO PyTorch answers, and on a GPU too (`gpu`).
"""

from __future__ import annotations

import copy
import logging
import os
import re
import sys
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

import numpy as np
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from model.errors import ModelError
from model.networks.schemes import logits_by_cell

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from model.networks.encoder import Encoder
    from model.networks.schemes import HeadLayer

_CONVERTING = Lock()

_NOTHING_KEPT = {"CPU_RUNTIME_CACHE_CAPACITY": "0"}
"""OpenVINO keeps what it prepared for 5000 layers of the shapes it has seen, about 2 MB a shape.
Crops come in every size, so a service would grow for weeks. Measured, EfficientNet-Lite0, after 100
shapes: 659 MB, without it 432 MB and as fast, also where two shapes alternate."""


@dataclass(frozen=True, slots=True)
class Engine:
    """What runs networks here.

    Args:
        name: "openvino" or "pytorch".
        device: "cpu", "cuda" or "cuda:1".
        precision: "fp32", "bf16" or "int8".
    """

    name: str
    device: str
    precision: str

    @property
    def label(self) -> str:
        """What is stored with a result, such as "openvino cpu"."""
        return f"{self.name} {self.device}"

    @property
    def on_gpu(self) -> bool:
        """Whether it is a GPU."""
        return self.device.startswith("cuda")


class FrameFeatures(NamedTuple):
    """What a network saw of one picture.

    Args:
        total: (c,) float64, its features summed over all cells, each as much as it counts.
        by_cell: (k, rows, columns) float32, the logits that every cell would have as a field of its
            own, of all heads that look through it.
    """

    total: NDArray[np.float64]
    by_cell: NDArray[np.float32]


class Runner(Protocol):
    """Runs one network."""

    def look(
        self, pictures: Sequence[Tensor], weights: Sequence[NDArray[np.float32]]
    ) -> list[FrameFeatures]:
        """Look at pictures of one shape.

        Args:
            pictures: (h, w, 3) uint8 each, RGB, sides multiples of 32, where the network runs.
            weights: (rows, columns) float32 each: how much its cells count.
        """
        ...


def choose_engine(
    device: str = "auto", precision: str = "auto", archs: Collection[str] = ()
) -> Engine:
    """Say which engine, device and precision will be used here.

    Args:
        device: "auto", "cpu", "cuda" or "cuda:N"; "pytorch" is the CPU without OpenVINO.
        precision: "auto", "fp32", "bf16" or "int8", which only OpenVINO on a CPU counts in.
        archs: What will run. On a processor with bf16 in hardware "auto" takes it for ResNets,
            which become two to four times faster and differ by less than 0.02; for the others it
            stays with fp32: EfficientNet-Lite0 differs by up to 0.05 (measured). On a GPU it takes
            bf16 where that is in hardware.

    Raises:
        ModelError: The device is not there, or the precision is unknown.
    """
    if precision not in ("auto", "fp32", "bf16", "int8"):
        raise ModelError(f"There is no precision {precision!r}; known are auto, fp32, bf16, int8.")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() and precision != "int8" else "cpu"
    if precision == "int8" and (device != "cpu" or _openvino() is None):
        raise ModelError(
            f"int8 needs OpenVINO on a CPU, not device {device!r}; install it with "
            "pip install 'martensight[openvino]' and set model.device to cpu, or set "
            "model.precision to auto."
        )
    if device == "pytorch":
        return Engine("pytorch", "cpu", _for_cpu(precision, archs))
    if re.fullmatch(r"cuda(:\d+)?", device):
        return Engine("pytorch", device, _for_gpu(device, precision))
    if device != "cpu":
        raise ModelError(
            f"There is no device {device!r}; known are auto, cpu, pytorch, cuda, cuda:N."
        )
    name = "openvino" if _openvino() is not None else "pytorch"
    return Engine(name, "cpu", _for_cpu(precision, archs))


def _for_gpu(device: str, precision: str) -> str:
    if not torch.cuda.is_available():
        raise ModelError(f"There is no GPU for device {device!r} here; set device to auto.")
    count, number = torch.cuda.device_count(), torch.device(device).index
    if number is not None and number >= count:
        raise ModelError(
            f"There is no device {device!r} here: GPUs are counted from cuda:0 to cuda:{count - 1}."
        )
    if precision != "auto":
        return precision
    return "bf16" if has_bf16(device) else "fp32"


def _for_cpu(precision: str, archs: Collection[str]) -> str:
    if precision != "auto":
        return precision
    pays = bool(archs) and all(arch.startswith("resnet") for arch in archs)
    return "bf16" if pays and has_bf16() else "fp32"


def has_bf16(device: str = "cpu") -> bool:
    """Say whether bf16 matrices are multiplied in hardware there.

    A processor does with AMX, a GPU from Ampere on (compute capability 8); PyTorch imitates bf16 on
    older ones, and calls that supported.
    """
    if device.startswith("cuda"):
        return torch.cuda.get_device_capability(device) >= (8, 0)
    check = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return bool(check is not None and check())


def build_runner(
    eye: Encoder, engine: Engine, cache: Path | None = None
) -> TorchRunner | OpenVinoRunner:
    """Make a network ready to run on a CPU.

    Args:
        eye: The network, in eval mode.
        engine: From `choose_engine`.
        cache: Folder for OpenVINO's compiled form, or None; it may be deleted at any time.
    """
    if engine.name == "openvino":
        return OpenVinoRunner(eye, engine, cache)
    return TorchRunner(eye, engine)


class SequentialRunner:
    """A CPU's way: one picture after the other, so that company changes no answer."""

    def __init__(self, network: TorchRunner | OpenVinoRunner, layer: HeadLayer) -> None:
        self.network, self._layer = network, layer

    def look(
        self, pictures: Sequence[Tensor], weights: Sequence[NDArray[np.float32]]
    ) -> list[FrameFeatures]:
        """Look at pictures of one shape."""
        return [
            self._seen(one.numpy(), weight) for one, weight in zip(pictures, weights, strict=True)
        ]

    def _seen(self, picture: NDArray[np.uint8], weight: NDArray[np.float32]) -> FrameFeatures:
        (features,) = self.network.features(picture[None])
        total = np.einsum("chw,hw->c", features, weight, dtype=np.float64)
        return FrameFeatures(total, logits_by_cell(features, self._layer))


class TorchRunner:
    """PyTorch on a CPU."""

    def __init__(self, eye: Encoder, engine: Engine) -> None:
        self._low = engine.precision == "bf16"
        self._eye = _on_cpu(eye, low=self._low)

    @torch.inference_mode()
    def features(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Give the feature maps, one picture at a time.

        Args:
            pixels: (n, h, w, 3) uint8, RGB, sides multiples of 32.

        Returns:
            (n, c, rows, columns) float32.
        """
        with torch.autocast("cpu", torch.bfloat16, enabled=self._low):
            maps = [self._eye(torch.from_numpy(np.ascontiguousarray(one[None]))) for one in pixels]
        found: NDArray[np.float32] = torch.cat(maps).float().numpy()
        return found


def _on_cpu(eye: Encoder, *, low: bool) -> Callable[[Tensor], Tensor]:
    """Make a network quick on a CPU: norms folded into convolutions, then bf16 or one frozen graph.

    Against eager PyTorch on one core: EfficientNet-Lite0 in fp32 1.8 times as fast, ResNet-18 in
    bf16 2.7 times (measured at 640 × 480 px).
    """
    ready = fold_batch_norm(eye)
    if low:
        ready.backbone.to(torch.bfloat16)
        ready.backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return ready
    example = torch.zeros(1, 64, 64, 3, dtype=torch.uint8)
    with _CONVERTING, warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # torch deprecates tracing, and has nothing as quick yet
        traced = torch.jit.trace(ready, example)  # type: ignore[no-untyped-call]
        graph = torch.jit.optimize_for_inference(torch.jit.freeze(traced))
    return cast("Callable[[Tensor], Tensor]", graph)


def fold_batch_norm(eye: Encoder) -> Encoder:
    """Copy a network to the CPU, every batch norm folded into the convolution right before it."""
    ready = copy.deepcopy(eye).cpu().eval().requires_grad_(False)  # noqa: FBT003 - torch's own signature
    for parent in ready.modules():
        before = ""
        for name, child in list(parent.named_children()):
            if before and isinstance(child, nn.BatchNorm2d):
                conv = getattr(parent, before)
                setattr(parent, before, fuse_conv_bn_eval(conv, child))
                setattr(parent, name, nn.Identity())
            before = name if isinstance(child, nn.Conv2d) else ""
    return ready


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
            "INFERENCE_PRECISION_HINT": "bf16" if engine.precision == "bf16" else "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        }
        model = _convert_to_openvino(eye)
        try:
            compiled = core.compile_model(model, "CPU", {**hints, **_NOTHING_KEPT})
        except RuntimeError:  # the name is no promise of OpenVINO's: a version may not know it
            compiled = core.compile_model(model, "CPU", hints)
        self._request = compiled.create_infer_request()
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


def _convert_to_openvino(eye: nn.Module) -> Any:
    openvino = _openvino()
    example = torch.zeros(1, 64, 64, 3, dtype=torch.uint8)
    with _CONVERTING, _root_logger_kept(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates the tracing that OpenVINO relies on
        model = openvino.convert_model(eye.cpu().eval(), example_input=example)
    model.reshape([1, -1, -1, 3])
    return model


@contextmanager
def _root_logger_kept() -> Iterator[None]:
    """Put the root logger back as it was: OpenVINO sets its level, and leaves it so when it raises.

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


def _openvino() -> Any:
    """Import OpenVINO without its telemetry, which sends an event on import; None if absent."""
    if "openvino" not in sys.modules:
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino  # noqa: PLC0415 - optional, and slow to import
    except ImportError:
        return None
    return openvino
