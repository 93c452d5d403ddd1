"""Run a network on a GPU, so that it waits for nothing but itself.

In:  pictures that lie on the GPU already. Out: a `Glimpse` each. Next: `gaze`.
A micrograph is large: counting in bf16, a GPU is as long busy with it as one core is with copying
it once. So `upload` is called from several threads, through pinned memory and on a stream of its
own, while the GPU counts; every network looks at the same copy; and back come the few numbers that
answer and maps are made of, not the feature maps. At such sizes a network is some sixty launches
for tens of milliseconds, so graphs of launches, which are bound to one shape, are not kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from model.errors import ModelError
from model.runtime import Glimpse, folded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from model.network import Eye
    from model.runtime import Engine
    from model.saliency import Layer

BATCH = 8
"""Pictures that are looked at at once; as many as the service judges together."""


def uploader(device: str) -> Callable[[NDArray[np.uint8]], Tensor]:
    """Give what brings pictures to a GPU; it may be called from several threads.

    Returns:
        Takes (h, w, 3) uint8 and gives them as they lie on the GPU, ready for any stream.
    """
    beside = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def upload(pixels: NDArray[np.uint8]) -> Tensor:
        try:
            pinned = torch.from_numpy(pixels).pin_memory()
            with torch.cuda.stream(beside):
                there = pinned.to(device, non_blocking=True)
                arrived = beside.record_event()
            arrived.synchronize()  # this thread waits, the GPU does not
        except RuntimeError as error:
            raise _lost(device, error) from error
        return there

    return upload


class GpuRunner:
    """PyTorch on a GPU, in batches of one fixed size, so that company changes no answer.

    Args:
        eye: The network, in eval mode; it is copied.
        engine: From `choose_engine`.
        layer: The heads that look through it.
    """

    def __init__(self, eye: Eye, engine: Engine, layer: Layer) -> None:
        self._device = torch.device(engine.device)
        self._low = engine.precision == "bf16"
        ready = folded(eye)
        if self._low:
            ready.backbone.to(torch.bfloat16)
        ready.backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._eye: Callable[[Tensor], Tensor] = ready.to(self._device)
        self._weight = torch.from_numpy(layer.weight).to(self._device)
        self._offset = torch.from_numpy(layer.offset).to(self._device)
        self._batch = BATCH

    @torch.inference_mode()
    def look(
        self, pictures: Sequence[Tensor], weights: Sequence[NDArray[np.float32]]
    ) -> list[Glimpse]:
        """Look at pictures of one shape; out of memory, the batch is halved.

        Raises:
            ModelError: The GPU does not answer any more, or has no room for one picture.
        """
        try:
            # Both ends wait for the GPU: nothing is copied between them.
            counts = torch.from_numpy(np.stack(weights)).to(self._device)
            seen = self._in_batches(pictures, counts)
            return [Glimpse(total.cpu().numpy(), cells.cpu().numpy()) for total, cells in seen]
        except torch.OutOfMemoryError as error:
            raise ModelError(
                f"The GPU {self._device} has no room for one picture of {pictures[0].shape[1]} × "
                f"{pictures[0].shape[0]} px; end what else runs on it, or set model.device to cpu."
            ) from error
        except RuntimeError as error:  # what went wrong on a GPU is heard of when it is waited for
            raise _lost(str(self._device), error) from error

    def _in_batches(
        self, pictures: Sequence[Tensor], counts: Tensor
    ) -> list[tuple[Tensor, Tensor]]:
        found: list[tuple[Tensor, Tensor]] = []
        while len(found) < len(pictures):
            some = slice(len(found), len(found) + self._batch)
            try:
                found += self._seen(pictures[some], counts[some])
            except torch.OutOfMemoryError:
                if self._batch == 1:
                    raise
                self._batch //= 2
                torch.cuda.empty_cache()
        return found

    def _seen(self, pictures: Sequence[Tensor], counts: Tensor) -> list[tuple[Tensor, Tensor]]:
        given = torch.stack([*pictures, *[pictures[-1]] * (self._batch - len(pictures))])
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._low):
            maps = self._eye(given)[: len(pictures)]
        return [self._judged(one, count) for one, count in zip(maps, counts, strict=True)]

    def _judged(self, features: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
        flat = features.flatten(1).double()  # (c, cells)
        by_cell = (self._weight @ flat + self._offset[:, None]).float()
        total = flat @ count.flatten().double()
        return total, by_cell.view(len(by_cell), *features.shape[1:])


def _lost(device: str, error: RuntimeError) -> ModelError:
    return ModelError(
        f"The GPU {device} does not answer any more ({error}); start the agent again, or set "
        "model.device to cpu."
    )
