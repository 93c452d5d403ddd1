"""Run a network on a GPU, so that it waits for nothing but itself.

In:  pictures that lie on the GPU already. Out: a `Glimpse` each. Next: `gaze`.
A micrograph is large: counting in bf16, a GPU is about as long busy with it as one core is with
framing and copying it. So `uploader` brings pictures from several threads, through pinned memory
and on a stream of its own, while the GPU counts; every network looks at the same copy; and back
come the few numbers that answer and maps are made of, not the feature maps. Two threads look in
turn: each hands over all its work in one piece and waits for its own alone, so the GPU has the
other's to go on with while one is thought about. At such sizes a network is some sixty launches for
several milliseconds, so graphs of launches, which are bound to one shape, are not kept.
"""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import torch

from model.errors import GpuError
from model.runtime.engines import FrameFeatures, fold_batch_norm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from model.networks.encoder import Encoder
    from model.networks.schemes import HeadLayer
    from model.runtime.engines import Engine

BATCH = 8
"""Pictures that are looked at at once, if they are small enough for `AT_ONCE_PX`."""

AT_ONCE_PX = 1 << 24
"""Pixels that are looked at at once: four frames of 1994 px. By the tiles of its convolutions that
fills the largest GPU of today (reckoned, not measured); more would only make the last batch of a
subtype, which is filled up, dearer."""

_HANDING_OVER = Lock()
"""Whoever holds it hands work to the GPU; work of two threads would else be mixed, and both would
wait until all of it is done."""


def uploader(device: str) -> Callable[[NDArray[np.uint8]], Tensor]:
    """Give what brings pictures to a GPU; it may be called from several threads.

    Returns:
        Takes (h, w, 3) uint8 and gives them as they lie on the GPU, ready for any stream.
    """
    where = torch.device(device)
    try:
        beside = torch.cuda.Stream(where) if where.type == "cuda" else None  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        raise _lost(where, error) from error

    def upload(pixels: NDArray[np.uint8]) -> Tensor:
        try:
            with torch.cuda.stream(beside):
                there = _sent(pixels, where)
                _mark(where)()  # this thread waits, the GPU does not
        except torch.OutOfMemoryError as error:
            raise _full(where, pixels.shape) from error
        except RuntimeError as error:
            raise _lost(where, error) from error
        return there

    return upload


class GpuRunner:
    """PyTorch on a GPU, in batches of one size for each shape, so that company changes no answer.

    Args:
        eye: The network, in eval mode; it is copied.
        engine: From `choose_engine`.
        layer: The heads that look through it.

    Raises:
        GpuError: It does not take the network.
    """

    def __init__(self, eye: Encoder, engine: Engine, layer: HeadLayer) -> None:
        self._low = engine.precision == "bf16"
        ready = fold_batch_norm(eye)
        if self._low:
            ready.backbone.to(torch.bfloat16)
        else:  # for the whole process: in a batch alone, other threads would see it come and go
            torch.backends.cudnn.allow_tf32 = False  # which is no fp32: it has 10 bits, not 23
        ready.backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        try:
            self._eye: Callable[[Tensor], Tensor] = ready.to(engine.device)
            self._weight = torch.from_numpy(layer.weight).to(engine.device)
            self._offset = torch.from_numpy(layer.offset[:, None]).to(engine.device)
        except RuntimeError as error:
            raise _lost(torch.device(engine.device), error) from error
        self._device = self._weight.device  # with its number: threads differ in what "cuda" is
        self._at_once_px = AT_ONCE_PX

    @torch.inference_mode()
    def look(
        self, pictures: Sequence[Tensor], weights: Sequence[NDArray[np.float32]]
    ) -> list[FrameFeatures]:
        """Look at pictures of one shape; out of memory, the batch is halved.

        Raises:
            GpuError: The GPU does not answer any more, or has no room for one picture.
        """
        try:
            with _HANDING_OVER:
                counts = _sent(np.stack(weights), self._device).unbind()
                seen = list(self._in_batches(pictures, counts))
                back = [[one.to("cpu", non_blocking=True) for one in both] for both in seen]
                arrived = _mark(self._device)
            arrived()
        except torch.OutOfMemoryError as error:
            raise _full(self._device, pictures[0].shape) from error
        except RuntimeError as error:  # what went wrong on a GPU is heard of when it is waited for
            raise _lost(self._device, error) from error
        found = ((total.numpy(), by_cell.numpy()) for total, by_cell in back)
        return [FrameFeatures(*one) for batch in found for one in zip(*batch, strict=True)]

    def _in_batches(
        self, pictures: Sequence[Tensor], counts: Sequence[Tensor]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        start = 0
        while start < len(pictures):
            batch = _batch(pictures[0], self._at_once_px)
            some = range(start, min(start + batch, len(pictures)))
            seen = self._tried(pictures, counts, some, batch)
            if seen is None:
                self._at_once_px = batch // 2 * _pixels(pictures[0])
                torch.cuda.empty_cache()
                continue
            yield seen[0][: len(some)], seen[1][: len(some)]
            start += batch

    def _tried(
        self, pictures: Sequence[Tensor], counts: Sequence[Tensor], some: range, batch: int
    ) -> tuple[Tensor, Tensor] | None:
        """Look at a batch; None if there is no room for so many.

        What did not fit is held by its error alone, so it is gone when this has returned.
        """
        try:
            return self._seen(pictures, counts, some, batch)
        except torch.OutOfMemoryError:
            if batch == 1:
                raise
        return None

    def _seen(
        self, pictures: Sequence[Tensor], counts: Sequence[Tensor], some: range, batch: int
    ) -> tuple[Tensor, Tensor]:
        """Look at a batch, filled up with its last picture.

        Returns:
            (batch, c) and (batch, k, rows, columns), as in `Glimpse`.
        """
        filled = [*some, *[some[-1]] * (batch - len(some))]
        given = torch.stack([pictures[at] for at in filled])
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._low):
            maps = self._eye(given)
        flat = maps.flatten(2).double()  # (batch, c, cells)
        by_cell = (self._weight @ flat + self._offset).float()
        count = torch.stack([counts[at] for at in filled])
        total = flat @ count.flatten(1).double().unsqueeze(2)
        return total.squeeze(2), by_cell.reshape(*by_cell.shape[:2], *maps.shape[2:])


def _pixels(picture: Tensor) -> int:
    return picture.shape[0] * picture.shape[1]


def _batch(picture: Tensor, at_once_px: int) -> int:
    """Say how many pictures of a shape are looked at at once."""
    return max(1, min(BATCH, at_once_px // _pixels(picture)))


def _sent(array: NDArray[np.generic], device: torch.device) -> Tensor:
    """Send an array to a device without waiting for what that is doing."""
    here = torch.from_numpy(array)
    return here.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else here


def _mark(device: torch.device) -> Callable[[], None]:
    """Give what waits until all that was handed over so far is done; the processor is free then."""
    if device.type != "cuda":
        return lambda: None
    done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
    done.record(torch.cuda.current_stream(device))
    return done.synchronize


def _full(device: torch.device, shape: Sequence[int]) -> GpuError:
    return GpuError(
        f"The GPU {device} has no room for one picture of {shape[1]} × {shape[0]} px; end what "
        "else runs on it, or set model.device to cpu."
    )


def _lost(device: torch.device, error: RuntimeError) -> GpuError:
    return GpuError(
        f"The GPU {device} does not answer any more ({error}); start the agent again, or set "
        "model.device to cpu."
    )
