"""A backbone in the file of a bundle, which is loaded only where its layers are needed.

OpenVINO serves from what was converted of it, see `model.runtime.conversion`; then nothing needs
PyTorch.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from safetensors.numpy import load_file

from model.networks.architecture import CHANNELS, EarlyPart, list_early_parts

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from model.networks.backbones import Backbone


@dataclass(frozen=True, slots=True)
class StoredBackbone:
    """A backbone by its file; equal to others of the same architecture and weights.

    Args:
        arch: One of `ARCHITECTURES`.
        weights_hash: SHA-256 of its weights, see `hash_arrays`.
        file: State dict as safetensors.
    """

    arch: str
    weights_hash: str
    file: Path = field(compare=False)

    @classmethod
    def read(cls, arch: str, file: Path) -> StoredBackbone:
        """Read which weights a file has.

        Raises:
            OSError: The file cannot be read.
            SafetensorError: It is no such file.
        """
        return cls(arch, hash_arrays(load_file(file)), file)

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of the four feature maps, fine to coarse."""
        return CHANNELS[self.arch]

    def early_parts(self) -> tuple[EarlyPart, ...]:
        """Return the first three stages as parts."""
        return list_early_parts(self.arch, self.channels)

    def load(self) -> Backbone:
        """Load its layers, in eval mode.

        Raises:
            BundleError: The file has other weights by now.
        """
        from model.networks.backbones import load_stored  # noqa: PLC0415 - PyTorch

        return load_stored(self.arch, self.file, self.weights_hash)


def hash_arrays(arrays: Mapping[str, NDArray[np.generic]]) -> str:
    """Return what `hash_state_dict` returns of the same tensors."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name}{tuple(array.shape)}torch.{array.dtype}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
