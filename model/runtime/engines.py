"""Inference engines: selection of OpenVINO or PyTorch, and the runner of OpenVINO.

CPU runners process one image at a time, so results do not depend on the batch. The precision is
always passed to OpenVINO explicitly, because its default differs between processors. Nothing here
loads PyTorch for OpenVINO in fp32 on a PC without a GPU.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple, Protocol
from weakref import WeakSet

import numpy as np
import psutil

from model import image_quality
from model.errors import ModelError
from model.runtime.conversion import Recipe, convert, import_openvino

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from numpy.typing import NDArray
    from torch import Tensor, nn


# --- set the number of threads of a network on a processor, apart from PyTorch's own --------------
# MEASURED, training heads on 191 images of 800 x 600 px on two cores: two threads of PyTorch cost
# a fifth more processor time, since most of its steps are small; a network's are not.


_COUNT: ContextVar[int] = ContextVar("network_threads", default=0)


def get_network_threads() -> int:
    """Return the number of threads that compute one image: PyTorch's, unless another is set.

    Where nothing has loaded PyTorch: what it would choose, one per core or `OMP_NUM_THREADS`.
    """
    if chosen := _COUNT.get():
        return chosen
    if "torch" in sys.modules:
        return int(sys.modules["torch"].get_num_threads())
    wanted = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if wanted.isdecimal() and int(wanted):
        return int(wanted)
    cores = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if sys.platform == "linux" else cores
    return max(1, min(cores, usable))


@contextmanager
def use_network_threads(count: int) -> Iterator[None]:
    """Compute images with so many threads, by networks that are compiled in this context.

    The results are the same to the bit.

    Args:
        count: At least 1.
    """
    before = _COUNT.set(count)
    try:
        yield
    finally:
        _COUNT.reset(before)


# --- inference engines: selection of OpenVINO or PyTorch, and the runner of OpenVINO --------------


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


def choose_engine(device: str, precision: str = "auto", archs: Collection[str] = ()) -> Engine:
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
        device = "cuda" if precision != "int8" and has_gpu() else "cpu"
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


def has_gpu() -> bool:
    """Return whether PyTorch can use a GPU; it is loaded only where there is a driver of one."""
    if "torch" not in sys.modules and not _has_gpu_driver():
        return False
    import torch  # noqa: PLC0415 - most PCs have no GPU and do without

    return bool(torch.cuda.is_available())


def _has_gpu_driver() -> bool:
    if os.name == "nt":
        return Path(os.environ.get("SYSTEMROOT", r"C:\Windows"), "System32", "nvcuda.dll").exists()
    return any(Path("/dev", name).exists() for name in ("nvidiactl", "nvmap", "dxg", "kfd"))


def _choose_gpu_precision(device: str, precision: str) -> str:
    import torch  # noqa: PLC0415 - runs on the GPU

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
    import torch  # noqa: PLC0415 - only where bf16 may be chosen

    if device.startswith("cuda"):
        return torch.cuda.get_device_capability(device) >= (8, 0)
    check = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return bool(check is not None and check())


def has_bf16_convolutions() -> bool:
    """Return whether OpenVINO is installed and this CPU convolves bf16 in hardware.

    AVX-512 BF16 suffices, which makes EfficientNet-Lite0 1.7 times as fast; the matrices of
    `has_bf16` need AMX. Elsewhere OpenVINO would emulate bf16, or compute in fp32 and not say so.
    """
    import torch  # noqa: PLC0415 - only where bf16 may be chosen

    check = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return import_openvino() is not None and (has_bf16() or bool(check is not None and check()))


class OpenVinoRunner:
    """OpenVINO on the CPU, compiled once for images of every shape.

    MEASURED with EfficientNet-Lite0 and ResNet-18 in fp32 and bf16: results are bit for bit those
    of a model compiled for one shape, at the same speed; a new shape costs a few hundredths of a
    second.

    Args:
        network: The network, or its recipe, which has an example.
        engine: From `choose_engine`.
        cache: Folder for compiled models, or None.
        example: A batch of one of everything that the network takes, of two if the size of the
            batch is free; (): it takes images.
    """

    def __init__(
        self,
        network: nn.Module | Recipe,
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
    """Release the memory that is kept for the next image, most of it by OpenVINO.

    MEASURED, a process that classified 1216 × 1600 px: 856 MB before, 461 MB after, and 0.13 s more
    processor time for the next image.
    """
    for runner in list(_RUNNERS):
        runner.release_memory()
    image_quality.release_memory()
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
