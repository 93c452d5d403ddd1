"""Run encoders one image at a time on a CPU, or kept busy on a GPU."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Lock
from typing import cast
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from model.errors import GpuError
from model.networks.backbones import Encoder, hash_state_dict
from model.networks.schemes import HeadLayer, logits_by_cell
from model.runtime.conversion import CONVERSION_LOCK
from model.runtime.engines import Engine, FrameFeatures, OpenVinoRunner, get_network_threads

_COMPILED: WeakKeyDictionary[Encoder, tuple[object, TorchRunner | OpenVinoRunner]] = (
    WeakKeyDictionary()
)
"""What was last compiled of each encoder, and from which engine, threads and weights."""


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


# --- inference of one network on a GPU, kept busy by asynchronous copies and launches -------------
# A GPU in bf16 needs about as long for a large micrograph as one CPU core needs to frame and copy
# it. Therefore several threads upload images through pinned memory on a separate stream, all
# networks share one device copy, and only embeddings and per-cell logits are copied back, not
# feature maps. Two threads submit work in turn, each in one piece under a lock, and each waits
# only for its own event, so the GPU runs one thread's batch while the other thread evaluates its
# results. CUDA graphs are not used: a graph is bound to one input shape, crops have many, and the
# about 60 kernel launches of a network cost little next to the several milliseconds it takes.


MAX_BATCH = 8
"""Images per batch, if they are small enough for `MAX_BATCH_PX`."""

MAX_BATCH_PX = 1 << 24
"""Pixels per batch: four frames of 1994 px. Estimated from the tiles of the convolutions, not
measured, to fill the largest GPU of today; a larger batch would only add padding to the last batch
of a subtype."""

_SUBMIT_LOCK = Lock()
"""Held while work is submitted to the GPU. Interleaved submissions of two threads would make both
wait for the work of both."""


def build_uploader(device: str) -> Callable[[NDArray[np.uint8]], Tensor]:
    """Build a thread-safe function that copies an image to a GPU.

    Returns:
        Function from (h, w, 3) uint8 to the same on the GPU, ready for any stream.

    Raises:
        GpuError: The GPU does not respond.
    """
    target = torch.device(device)
    try:
        stream = torch.cuda.Stream(target) if target.type == "cuda" else None  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        raise _unavailable_error(target, error) from error

    def upload(pixels: NDArray[np.uint8]) -> Tensor:
        try:
            with torch.cuda.stream(stream):
                uploaded = _copy_to_device(pixels, target)
                _record_event(target)()  # blocks this thread, not the GPU
        except torch.OutOfMemoryError as error:
            raise _memory_error(target, pixels.shape) from error
        except RuntimeError as error:
            raise _unavailable_error(target, error) from error
        return uploaded

    return upload


class GpuRunner:
    """PyTorch on a GPU, with one fixed batch size per image shape.

    The last batch is padded, so that the results of an image do not depend on the others.

    Args:
        encoder: The network, in eval mode; it is copied.
        engine: From `choose_engine`.
        layer: The heads of the encoder.

    Raises:
        GpuError: The GPU does not respond or has no room for the network.
    """

    def __init__(self, encoder: Encoder, engine: Engine, layer: HeadLayer) -> None:
        self._low = engine.precision == "bf16"
        ready = fold_batch_norm(encoder)
        if self._low:
            ready.backbone.to(torch.bfloat16)
        else:
            # TF32 has a mantissa of 10 bits, not 23. Set for the whole process: other threads
            # would see a temporary setting come and go.
            torch.backends.cudnn.allow_tf32 = False
        ready.backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        try:
            self._encoder: Callable[[Tensor], Tensor] = ready.to(engine.device)
            self._weight = torch.from_numpy(layer.weight).to(engine.device)
            self._offset = torch.from_numpy(layer.offset[:, None]).to(engine.device)
        except RuntimeError as error:
            raise _unavailable_error(torch.device(engine.device), error) from error
        self._device = self._weight.device  # with its index: plain "cuda" depends on the thread
        self._batch_px = MAX_BATCH_PX

    @torch.inference_mode()
    def extract(
        self, images: Sequence[Tensor], weights: Sequence[NDArray[np.float32]]
    ) -> list[FrameFeatures]:
        """Extract the features of images of one shape; on CUDA OOM, halve the batch.

        Args:
            images: (h, w, 3) uint8 each, on the GPU.
            weights: (rows, columns) float32 each, weight of each cell.

        Raises:
            GpuError: The GPU does not respond, or has no room for a single image.
        """
        try:
            with _SUBMIT_LOCK:
                cell_weights = _copy_to_device(np.stack(weights), self._device).unbind()
                batches = list(self._iter_batches(images, cell_weights))
                copies = [[t.to("cpu", non_blocking=True) for t in batch] for batch in batches]
                wait = _record_event(self._device)
            wait()
        except torch.OutOfMemoryError as error:
            raise _memory_error(self._device, images[0].shape) from error
        except RuntimeError as error:  # CUDA errors surface at synchronisation
            raise _unavailable_error(self._device, error) from error
        arrays = ((total.numpy(), by_cell.numpy()) for total, by_cell in copies)
        return [FrameFeatures(*row) for batch in arrays for row in zip(*batch, strict=True)]

    def _iter_batches(
        self, images: Sequence[Tensor], cell_weights: Sequence[Tensor]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        start = 0
        while start < len(images):
            batch = _batch_size(images[0], self._batch_px)
            indices = range(start, min(start + batch, len(images)))
            outputs = self._try_batch(images, cell_weights, indices, batch)
            if outputs is None:
                self._batch_px = batch // 2 * _count_pixels(images[0])
                torch.cuda.empty_cache()
                continue
            yield outputs[0][: len(indices)], outputs[1][: len(indices)]
            start += batch

    def _try_batch(
        self, images: Sequence[Tensor], cell_weights: Sequence[Tensor], indices: range, batch: int
    ) -> tuple[Tensor, Tensor] | None:
        """Run a batch; return None if it does not fit into memory.

        Must remain a function: the traceback of the error refers to the tensors that did not fit,
        and they are freed only when this frame is gone.
        """
        try:
            return self._run_batch(images, cell_weights, indices, batch)
        except torch.OutOfMemoryError:
            if batch == 1:
                raise
        return None

    def _run_batch(
        self, images: Sequence[Tensor], cell_weights: Sequence[Tensor], indices: range, batch: int
    ) -> tuple[Tensor, Tensor]:
        """Run a batch, padded to `batch` images by repeating the last one.

        Returns:
            (batch, c) and (batch, k, rows, columns), as in `FrameFeatures`.
        """
        padded = [*indices, *[indices[-1]] * (batch - len(indices))]
        pixels = torch.stack([images[at] for at in padded])
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._low):
            maps = self._encoder(pixels)  # (batch, c, rows, columns)
        flat = maps.flatten(2).double()  # (batch, c, cells)
        by_cell = (self._weight @ flat + self._offset).float()  # (batch, k, cells)
        weight = torch.stack([cell_weights[at] for at in padded])
        total = flat @ weight.flatten(1).double().unsqueeze(2)  # (batch, c, 1)
        return total.squeeze(2), by_cell.reshape(*by_cell.shape[:2], *maps.shape[2:])


def _count_pixels(image: Tensor) -> int:
    return image.shape[0] * image.shape[1]


def _batch_size(image: Tensor, batch_px: int) -> int:
    """Return the number of images of a shape per batch."""
    return max(1, min(MAX_BATCH, batch_px // _count_pixels(image)))


def _copy_to_device(array: NDArray[np.generic], device: torch.device) -> Tensor:
    """Copy an array to a device asynchronously, through pinned memory."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def _record_event(device: torch.device) -> Callable[[], None]:
    """Record an event on the current stream; return a function that waits for it.

    The event blocks instead of spinning, so the CPU is free during the wait.
    """
    if device.type != "cuda":
        return lambda: None
    event = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
    event.record(torch.cuda.current_stream(device))
    return event.synchronize


def _memory_error(device: torch.device, shape: Sequence[int]) -> GpuError:
    return GpuError(
        f"The GPU {device} has no room for one picture of {shape[1]} × {shape[0]} px; end what "
        "else runs on it, or set model.device to cpu."
    )


def _unavailable_error(device: torch.device, error: RuntimeError) -> GpuError:
    return GpuError(
        f"The GPU {device} does not answer any more ({error}); start the agent again, or set "
        "model.device to cpu."
    )
