"""Inference engines: selection of OpenVINO or PyTorch, and the runners for a CPU.

CPU runners process one image at a time, so results do not depend on the batch. The precision is
always passed to OpenVINO explicitly, because its default differs between processors.
"""

from __future__ import annotations

import copy
import ctypes
import os
import re
import sys
import warnings
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast
from weakref import WeakKeyDictionary, WeakSet

import numpy as np
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from model.errors import ModelError
from model.networks.backbones import hash_state_dict
from model.networks.schemes import logits_by_cell
from model.runtime.conversion import CONVERSION_LOCK, convert, import_openvino
from model.runtime.threads import get_network_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from model.networks.encoder import Encoder
    from model.networks.schemes import HeadLayer

_COMPILED: WeakKeyDictionary[Encoder, tuple[object, TorchRunner | OpenVinoRunner]] = (
    WeakKeyDictionary()
)
"""What was last compiled of each encoder, and from which engine, threads and weights."""

_RUNNERS: WeakSet[OpenVinoRunner] = WeakSet()
"""Every runner of this process."""

_NO_RUNTIME_CACHE = {"CPU_RUNTIME_CACHE_CAPACITY": "0"}
"""Disables OpenVINO's cache of 5000 prepared layers, about 2 MB per input shape. Crops have any
shape, so the memory of a service would grow for weeks. MEASURED, EfficientNet-Lite0 after 100
shapes: 659 MB with the cache, 432 MB without it, as fast, also for two alternating shapes."""


@dataclass(frozen=True, slots=True)
class Engine:
    """The library, device and precision that run the networks.

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
        """Name and device as stored with a result, such as "openvino cpu"."""
        return f"{self.name} {self.device}"

    @property
    def on_gpu(self) -> bool:
        """Whether the device is a GPU."""
        return self.device.startswith("cuda")


class FrameFeatures(NamedTuple):
    """Output of one encoder and its heads for one frame.

    Args:
        total: (c,) float64, weighted sum of the features over all cells.
        by_cell: (k, rows, columns) float32, logits of every cell for all heads of the encoder.
    """

    total: NDArray[np.float64]
    by_cell: NDArray[np.float32]


class Runner(Protocol):
    """One encoder with its heads, ready for inference."""

    def extract(
        self, images: Sequence[Tensor], weights: Sequence[NDArray[np.float32]]
    ) -> list[FrameFeatures]:
        """Extract the features of images of one shape.

        Args:
            images: (h, w, 3) uint8 each, RGB, sides multiples of 32, on the encoder's device.
            weights: (rows, columns) float32 each, weight of each cell in [0, 1].
        """
        ...


def choose_engine(
    device: str = "auto", precision: str = "auto", archs: Collection[str] = ()
) -> Engine:
    """Choose the engine, device and precision for this machine.

    "auto" selects bf16 only where the hardware has it: on any such GPU, on a CPU for ResNets alone.
    MEASURED on a CPU: ResNets become two to four times faster and probabilities differ by less than
    0.02; those of EfficientNet-Lite0 differ by up to 0.05.

    Args:
        device: "auto", "cpu", "cuda" or "cuda:N"; "pytorch" is the CPU without OpenVINO.
        precision: "auto", "fp32", "bf16" or "int8"; "int8" requires OpenVINO on a CPU.
        archs: Architectures that will run.

    Raises:
        ModelError: The device does not exist, or the precision is unknown or not available on it.
    """
    if precision not in ("auto", "fp32", "bf16", "int8"):
        raise ModelError(f"There is no precision {precision!r}; known are auto, fp32, bf16, int8.")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() and precision != "int8" else "cpu"
    if precision == "int8" and (device != "cpu" or import_openvino() is None):
        raise ModelError(
            f"int8 needs OpenVINO on a CPU, not device {device!r}; install it with "
            "pip install 'martensight[openvino]' and set model.device to cpu, or set "
            "model.precision to auto."
        )
    if device == "pytorch":
        return Engine("pytorch", "cpu", _choose_cpu_precision(precision, archs))
    if re.fullmatch(r"cuda(:\d+)?", device):
        return Engine("pytorch", device, _choose_gpu_precision(device, precision))
    if device != "cpu":
        raise ModelError(
            f"There is no device {device!r}; known are auto, cpu, pytorch, cuda, cuda:N."
        )
    name = "openvino" if import_openvino() is not None else "pytorch"
    return Engine(name, "cpu", _choose_cpu_precision(precision, archs))


def _choose_gpu_precision(device: str, precision: str) -> str:
    if not torch.cuda.is_available():
        raise ModelError(f"There is no GPU for device {device!r} here; set device to auto.")
    count, index = torch.cuda.device_count(), torch.device(device).index
    if index is not None and index >= count:
        raise ModelError(
            f"There is no device {device!r} here: GPUs are counted from cuda:0 to cuda:{count - 1}."
        )
    if precision != "auto":
        return precision
    return "bf16" if has_bf16(device) else "fp32"


def _choose_cpu_precision(precision: str, archs: Collection[str]) -> str:
    if precision != "auto":
        return precision
    is_resnet = bool(archs) and all(arch.startswith("resnet") for arch in archs)
    return "bf16" if is_resnet and has_bf16() else "fp32"


def has_bf16(device: str = "cpu") -> bool:
    """Return whether a device multiplies bf16 matrices in hardware.

    CPUs do with AMX, GPUs from Ampere on (compute capability 8). `torch.cuda.is_bf16_supported`
    cannot be used: it is also true where PyTorch emulates bf16.
    """
    if device.startswith("cuda"):
        return torch.cuda.get_device_capability(device) >= (8, 0)
    check = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return bool(check is not None and check())


def has_bf16_convolutions() -> bool:
    """Return whether OpenVINO is installed and this CPU convolves bf16 in hardware.

    AVX-512 BF16 suffices, which makes EfficientNet-Lite0 1.7 times as fast; the matrices of
    `has_bf16` need AMX. Elsewhere OpenVINO would emulate bf16, or compute in fp32 and not say so.
    """
    check = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return import_openvino() is not None and (has_bf16() or bool(check is not None and check()))


def build_runner(
    encoder: Encoder, engine: Engine, cache: Path | None = None
) -> TorchRunner | OpenVinoRunner:
    """Compile an encoder for a CPU, or return what was compiled of it if nothing has changed.

    Training compiles the same frozen encoder for its heads, their calibration and the evaluation;
    converting it takes seconds.

    Args:
        encoder: The network, in eval mode.
        engine: From `choose_engine`.
        cache: Folder for OpenVINO's compiled models, or None; it may be deleted at any time.
    """
    made_for = (engine, get_network_threads(), hash_state_dict(encoder.state_dict()))
    if encoder in _COMPILED and _COMPILED[encoder][0] == made_for:
        return _COMPILED[encoder][1]
    runner = (
        OpenVinoRunner(encoder, engine, cache)
        if engine.name == "openvino"
        else TorchRunner(encoder, engine)
    )
    _COMPILED[encoder] = (made_for, runner)
    return runner


class SequentialRunner:
    """Runner for a CPU: one image after the other, so results do not depend on the batch."""

    def __init__(self, network: TorchRunner | OpenVinoRunner, layer: HeadLayer) -> None:
        self.network, self._layer = network, layer

    def extract(
        self, images: Sequence[Tensor], weights: Sequence[NDArray[np.float32]]
    ) -> list[FrameFeatures]:
        """Extract the features of images of one shape."""
        return [
            self._extract_frame(image.numpy(), weight)
            for image, weight in zip(images, weights, strict=True)
        ]

    def _extract_frame(
        self, image: NDArray[np.uint8], weight: NDArray[np.float32]
    ) -> FrameFeatures:
        (features,) = self.network.features(image[None])  # (c, rows, columns)
        flat = torch.from_numpy(features).flatten(1).double()  # (c, cells)
        total = flat @ torch.from_numpy(weight).flatten().double()
        return FrameFeatures(total.numpy(), logits_by_cell(features, self._layer))


class TorchRunner:
    """PyTorch on a CPU."""

    def __init__(self, encoder: Encoder, engine: Engine) -> None:
        self._low = engine.precision == "bf16"
        self._encoder = _optimize_for_cpu(encoder, low=self._low)

    @torch.inference_mode()
    def features(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Compute feature maps, one image at a time.

        Args:
            pixels: (n, h, w, 3) uint8, RGB, sides multiples of 32.

        Returns:
            (n, c, rows, columns) float32.
        """
        with torch.autocast("cpu", torch.bfloat16, enabled=self._low):
            maps = [
                self._encoder(torch.from_numpy(np.ascontiguousarray(image[None])))
                for image in pixels
            ]
        features: NDArray[np.float32] = torch.cat(maps).float().numpy()
        return features


def _optimize_for_cpu(encoder: Encoder, *, low: bool) -> Callable[[Tensor], Tensor]:
    """Fold batch norms into convolutions, then convert to bf16 (`low`) or to a frozen graph.

    MEASURED against eager PyTorch on one core at 640 × 480 px: EfficientNet-Lite0 in fp32 1.8 times
    as fast, ResNet-18 in bf16 2.7 times.
    """
    ready = fold_batch_norm(encoder)
    if low:
        ready.backbone.to(torch.bfloat16)
        ready.backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return ready
    example = torch.zeros(1, 64, 64, 3, dtype=torch.uint8)
    with CONVERSION_LOCK, warnings.catch_warnings(), torch.inference_mode():
        # Tracing is deprecated; torch has no equally fast replacement yet.
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(ready, example)  # type: ignore[no-untyped-call]
        graph = torch.jit.optimize_for_inference(torch.jit.freeze(traced))
    return cast("Callable[[Tensor], Tensor]", graph)


def fold_batch_norm(encoder: Encoder) -> Encoder:
    """Copy an encoder to the CPU with every batch norm folded into the preceding convolution."""
    ready = copy.deepcopy(encoder).cpu().eval().requires_grad_(False)  # noqa: FBT003 - torch's own signature
    for parent in ready.modules():
        conv_name = ""  # of the child right before this one, if it is a convolution
        for name, child in list(parent.named_children()):
            if conv_name and isinstance(child, nn.BatchNorm2d):
                conv = getattr(parent, conv_name)
                setattr(parent, conv_name, fuse_conv_bn_eval(conv, child))
                setattr(parent, name, nn.Identity())
            conv_name = name if isinstance(child, nn.Conv2d) else ""
    return ready


class OpenVinoRunner:
    """OpenVINO on the CPU, compiled once for images of every shape.

    MEASURED with EfficientNet-Lite0 and ResNet-18 in fp32 and bf16: results are bit for bit those
    of a model compiled for one shape, at the same speed; a new shape costs a few hundredths of a
    second.

    Args:
        network: The network.
        engine: From `choose_engine`.
        cache: Folder for compiled models, or None.
        example: A batch of one of everything that the network takes, of two if the size of the
            batch is free; (): it takes images.
    """

    def __init__(
        self,
        network: nn.Module,
        engine: Engine,
        cache: Path | None,
        example: tuple[Tensor, ...] = (),
    ) -> None:
        core = import_openvino().Core()
        if cache is not None and _is_writable(cache):
            core.set_property({"CACHE_DIR": str(cache)})
        hints = {
            "INFERENCE_PRECISION_HINT": "bf16" if engine.precision == "bf16" else "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": get_network_threads(),
        }
        model = convert(network, example)
        try:
            compiled = core.compile_model(model, "CPU", {**hints, **_NO_RUNTIME_CACHE})
        except RuntimeError:  # the property's name is not guaranteed; a version may not know it
            compiled = core.compile_model(model, "CPU", hints)
        self._compiled, self._request = compiled, compiled.create_infer_request()
        self._lock = Lock()
        _RUNNERS.add(self)

    def release_memory(self) -> None:
        """Release the memory of activations; the next image allocates it again."""
        release = getattr(self._compiled, "release_memory", None)  # OpenVINO before 2025 has none
        if release is not None:
            with self._lock:
                self._request = None  # it holds the last image and its maps
                release()
                self._request = self._compiled.create_infer_request()

    def features(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Compute feature maps of (n, h, w, 3) uint8 images, one image at a time."""
        with self._lock:
            maps = [np.array(self._request.infer({0: image[None]})[0]) for image in pixels]
        return np.concatenate(maps, axis=0)

    def maps(self, *inputs: NDArray[np.generic]) -> list[NDArray[np.float32]]:
        """Compute all output maps of one image, without the batch dimension.

        Args:
            inputs: (h, w, 3) uint8, or whatever the example consists of, without the batch.
        """
        with self.borrow_maps(inputs) as maps:
            return [np.array(own) for own in maps]

    @contextmanager
    def borrow_maps(
        self, inputs: Sequence[NDArray[np.generic]]
    ) -> Iterator[list[NDArray[np.float32]]]:
        """Compute all output maps of one image, without a copy: they are valid within the block.

        Args:
            inputs: As for `maps`.
        """
        with self._lock:
            outputs = self._request.infer(
                {i: np.ascontiguousarray(array[None]) for i, array in enumerate(inputs)},
                share_inputs=True,
                share_outputs=True,
            )
            yield [outputs[index][0] for index in range(len(outputs))]

    def run_batch(self, batch: NDArray[np.floating]) -> NDArray[np.float32]:
        """Compute the output of a whole batch at once.

        Args:
            batch: (n, …), of the type of the example of two that the network was built with.

        Returns:
            (n, …) float32.
        """
        with self._lock:
            outputs = self._request.infer(
                {0: np.ascontiguousarray(batch)}, share_inputs=True, share_outputs=True
            )
            return np.array(outputs[0])


def release_memory() -> None:
    """Release the memory that OpenVINO keeps for the largest image so far, of all networks.

    MEASURED, a process that classified 1216 × 1600 px: 856 MB before, 461 MB after, and 0.13 s more
    processor time for the next image.
    """
    for runner in list(_RUNNERS):
        runner.release_memory()
    if sys.platform == "linux":
        # MEASURED: of 485 MB glibc would keep 143 that nothing uses. Another libc has no such call.
        with suppress(AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


def _is_writable(folder: Path) -> bool:
    """Return whether compiled models can be cached in a folder; it is created if missing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)
