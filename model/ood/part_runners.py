"""Run the parts of the frozen network with the fastest engine on this CPU.

OpenVINO runs what was converted of a stored backbone once, without PyTorch.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Protocol

import numpy as np

from model.networks.stored_backbone import StoredBackbone
from model.runtime.conversion import Recipe
from model.runtime.engines import OpenVinoRunner

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from model.networks.architecture import EarlyPart
    from model.networks.backbones import Backbone
    from model.runtime.engines import Engine

    BorrowingRunner = Callable[
        [Sequence[NDArray[np.generic]]], AbstractContextManager[list[NDArray[np.float32]]]
    ]
    """Takes the inputs of a network; its maps are valid within the context."""


class FrozenBackbone(Protocol):
    """A backbone that is never fine-tuned: with its layers, or stored."""

    @property
    def arch(self) -> str:
        """One of `ARCHITECTURES`."""
        ...

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of the four feature maps, fine to coarse."""
        ...

    @property
    def weights_hash(self) -> str:
        """SHA-256 of its weights."""
        ...

    def early_parts(self) -> tuple[EarlyPart, ...]:
        """Return the first three stages as parts."""
        ...

    def __hash__(self) -> int:
        """Return a hash, by which a pass is shared."""
        ...

    def load(self) -> Backbone:
        """Return it with its layers, in eval mode."""
        ...


def build_batch_runner(
    backbone: FrozenBackbone, part: str, engine: Engine
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Return a function that computes the map of a whole batch.

    Args:
        backbone: The network.
        part: See `build_part`.
        engine: From `choose_engine`.
    """
    if engine.name == "openvino":
        return _compile(backbone, part, engine).run_batch
    import torch  # noqa: PLC0415 - the engine

    network, _ = build_part(backbone, part)

    @torch.inference_mode()
    def run(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        features: NDArray[np.float32] = network(torch.from_numpy(batch)).numpy()
        return features

    return run


def build_borrowing_runner(backbone: FrozenBackbone, part: str, engine: Engine) -> BorrowingRunner:
    """Return a function that lends the maps of one image; see `build_batch_runner`."""
    if engine.name == "openvino":
        return _compile(backbone, part, engine).borrow_maps
    import torch  # noqa: PLC0415 - the engine

    network, _ = build_part(backbone, part)

    @torch.inference_mode()
    def run(
        inputs: Sequence[NDArray[np.generic]],
    ) -> AbstractContextManager[list[NDArray[np.float32]]]:
        batch = (torch.from_numpy(np.ascontiguousarray(array[None])) for array in inputs)
        outputs = network(*batch)
        maps = outputs if isinstance(outputs, tuple) else (outputs,)
        return nullcontext([feature_map[0].numpy() for feature_map in maps])

    return run


def _compile(backbone: FrozenBackbone, part: str, engine: Engine) -> OpenVinoRunner:
    if isinstance(backbone, StoredBackbone):
        key = f"{part} of {backbone.arch} {backbone.weights_hash}"
        return OpenVinoRunner(Recipe(key, partial(build_part, backbone, part)), engine, None)
    network, example = build_part(backbone, part)
    return OpenVinoRunner(network, engine, None, example)


@lru_cache(maxsize=1)
def _load(backbone: StoredBackbone) -> Backbone:
    """Load the layers once for all parts."""
    return backbone.load()


def build_part(backbone: FrozenBackbone, part: str) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Build a part as a network of PyTorch in eval mode, and its example for a conversion.

    Args:
        backbone: The network.
        part: "part 0" and so on of its early parts; "join" for the map that joins two layers;
            "last" for its last stage.
    """
    import torch  # noqa: PLC0415 - builds layers

    from model.ood import networks  # noqa: PLC0415

    channels = backbone.channels
    if part == "join":
        maps = tuple(torch.zeros(1, channels[i], 16 // i, 16 // i) for i in (1, 2))
        return networks.Join((channels[1], channels[2])).eval(), maps
    loaded = _load(backbone) if isinstance(backbone, StoredBackbone) else backbone.load()
    if part == "last":
        return networks.LastStage(loaded).eval(), (torch.zeros(2, channels[2], 16, 16),)
    index = int(part.removeprefix("part "))
    early = backbone.early_parts()[index]
    side = 16 if early.stride > 1 else 64
    return networks.StagePart(loaded, index).eval(), (torch.zeros(1, early.channels, side, side),)
