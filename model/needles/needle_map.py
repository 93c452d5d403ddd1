"""Run the needle network over a micrograph."""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from scipy.ndimage import uniform_filter
from torch import Tensor, nn
from torch.nn import functional

from model.errors import WeightsError
from model.needles.version import read_card, read_version

# --- the network that maps a micrograph at 0.2 µm per px to needle axes, directions and lengths ---
# A U-Net with four levels. Its maps have one cell per 2 × 2 px. The distances to the two tips are
# predicted as the nearer and the farther one: both are the same after turning or mirroring, so no
# direction along the axis has to be chosen.


WIDTHS = (16, 32, 64, 96)
"""Channels at 1/2, 1/4, 1/8 and 1/16 of the input's resolution."""
STRIDE = 16
"""The sides of the input are multiples of this."""
CHANNELS = ("axis", "near", "far", "cosine", "sine", "structure", "spread", "body")
"""Output channels: logit of the axis; log(1 + µm) to the nearer and farther tip; double angle;
logit of "there are needles"; log of the relative error of the length; logit of a needle's body."""


class Block(nn.Module):
    """Two 3 × 3 convolutions and a shortcut."""

    def __init__(self, width: int, dilation: int = 1) -> None:
        super().__init__()
        self.first = _convolution(width, width)
        self.second = _convolution(width, width, dilation=dilation)

    def forward(self, values: Tensor) -> Tensor:
        """Return values of the same shape, (n, c, h, w)."""
        inner: Tensor = self.second(functional.relu(self.first(values), inplace=True))
        return functional.relu(values + inner, inplace=True)


class NeedleNetwork(nn.Module):
    """(n, 1, h, w) normalised grey to (n, 8, h/2, w/2), see `CHANNELS`; sides multiples of 16."""

    def __init__(self) -> None:
        super().__init__()
        half, quarter, eighth, deepest = WIDTHS
        self.unshuffle = nn.PixelUnshuffle(2)
        self.stem = nn.Sequential(_convolution(4, half), nn.ReLU(inplace=True), Block(half))
        self.down4 = _down(half, quarter, (1, 1))
        self.down8 = _down(quarter, eighth, (1, 2))
        self.down16 = _down(eighth, deepest, (2, 4))
        self.merge8, self.up8 = _merge(deepest + eighth, eighth), Block(eighth)
        self.merge4, self.up4 = _merge(eighth + quarter, quarter), Block(quarter)
        self.merge2, self.up2 = _merge(quarter + half, half), Block(half)
        self.head = nn.Conv2d(half, len(CHANNELS), 1)

    def forward(self, image: Tensor) -> Tensor:
        """Return the maps of a batch."""
        half = self.stem(self.unshuffle(image))
        quarter = self.down4(half)
        eighth = self.down8(quarter)
        deepest = self.down16(eighth)
        eighth = self.up8(self.merge8(_join(deepest, eighth)))
        quarter = self.up4(self.merge4(_join(eighth, quarter)))
        half = self.up2(self.merge2(_join(quarter, half)))
        maps: Tensor = self.head(half)
        return maps


def _convolution(inputs: int, outputs: int, *, stride: int = 1, dilation: int = 1) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(
            inputs,
            outputs,
            3,
            stride=stride,
            padding=dilation,
            dilation=dilation,
            bias=False,
        ),
        nn.BatchNorm2d(outputs),
    )


def _down(inputs: int, outputs: int, dilations: tuple[int, ...]) -> nn.Module:
    step = _convolution(inputs, outputs, stride=2)
    return nn.Sequential(step, nn.ReLU(inplace=True), *(Block(outputs, d) for d in dilations))


def _merge(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


def _join(coarse: Tensor, fine: Tensor) -> Tensor:
    larger = functional.interpolate(coarse, scale_factor=2.0, mode="nearest")
    return torch.cat([larger, fine], dim=1)


# --- bring a micrograph to the scale and the contrast on which the needle network was trained -----


WINDOW_PX = 255
"""Side of the square whose mean and standard deviation become 0 and 1, 51 µm."""
SMALLEST_DEVIATION = 1.0
"""Grey levels; below it a field is empty and its noise is not amplified further."""


def normalize_contrast(grey: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
    """Subtract the local mean and divide by the local standard deviation.

    Args:
        grey: (h, w), 0 to 255.

    Returns:
        (h, w) float32, no unit.
    """
    values = grey.astype(np.float32)
    mean = uniform_filter(values, WINDOW_PX, mode="reflect")
    deviation = uniform_filter((values - mean) ** 2, WINDOW_PX, mode="reflect")
    # the running sum leaves a flat picture a little below 0
    scaled = (values - mean) / np.sqrt(np.maximum(deviation, SMALLEST_DEVIATION**2))
    return np.asarray(np.clip(scaled, -6, 6), np.float32)


# --- run the needle network over a micrograph -----------------------------------------------------


PIXEL_UM = 0.2
"""Scale of the network's input, µm per px."""
WEIGHTS = Path(__file__).with_name("needles.safetensors")


@dataclass(frozen=True, slots=True)
class NeedleMap:
    """What the network sees, one value per cell of 0.4 µm.

    Args:
        axis: (r, c) float32, probability that a needle's axis is there.
        body: (r, c) float32, probability that the cell belongs to a needle.
        structure: (r, c) float32, probability that there is a needle structure at all.
        near_um: (r, c) float32, distance along the axis to the nearer tip.
        far_um: (r, c) float32, distance along the axis to the farther tip.
        angle: (r, c) float32, direction of the axis in (-π/2, π/2], radians.
        log_error: (r, c) float32, log of the expected relative error of the length.
        cell_um: Side of a cell, µm.
    """

    axis: NDArray[np.float32]
    body: NDArray[np.float32]
    structure: NDArray[np.float32]
    near_um: NDArray[np.float32]
    far_um: NDArray[np.float32]
    angle: NDArray[np.float32]
    log_error: NDArray[np.float32]
    cell_um: float = 2 * PIXEL_UM


class NeedleMapper:
    """The needle network, ready for inference on a CPU.

    Args:
        engine: "openvino" or "pytorch".
        weights: Weights; those of the package by default.

    Raises:
        WeightsError: The weights differ from their card.
    """

    def __init__(self, engine: str = "pytorch", weights: Path = WEIGHTS) -> None:
        self.version = _verify(weights)
        network = NeedleNetwork()
        network.load_state_dict(load_file(weights))
        network.eval().requires_grad_(requires_grad=False)
        self.engine = engine
        self._run = _compile_openvino(network) if engine == "openvino" else _wrap_torch(network)

    def map(self, grey: NDArray[np.uint8], pixel_um: float) -> NeedleMap:
        """Compute the needle map of a micrograph.

        Args:
            grey: (h, w) uint8.
            pixel_um: Its scale, µm per px.
        """
        image = normalize_contrast(resample(grey, pixel_um))
        height, width = image.shape
        padded = np.pad(image, ((0, -height % STRIDE), (0, -width % STRIDE)), mode="symmetric")
        maps = self._run(np.ascontiguousarray(padded[None, None]))[0]
        rows, columns = height // 2, width // 2
        return build_map(maps[:, :rows, :columns])


def resample(grey: NDArray[np.uint8], pixel_um: float) -> NDArray[np.float32]:
    """Resample a micrograph to 0.2 µm per px, with a low-pass filter where it becomes smaller."""
    factor = pixel_um / PIXEL_UM
    size = [max(2, round(side * factor)) for side in grey.shape]
    if size == list(grey.shape):
        return grey.astype(np.float32)
    values = torch.from_numpy(np.ascontiguousarray(grey, np.float32))[None, None]
    smaller = functional.interpolate(
        values, size=size, mode="bilinear" if factor < 1 else "bicubic", antialias=factor < 1
    )
    resampled: NDArray[np.float32] = smaller[0, 0].numpy()
    return resampled


def build_map(maps: NDArray[np.float32]) -> NeedleMap:
    """Convert the network's output, (8, r, c) float32, to physical values."""
    axis, near, far, cosine, sine, structure, spread, body = maps
    return NeedleMap(
        axis=_sigmoid(axis),
        body=_sigmoid(body),
        structure=_sigmoid(structure),
        near_um=np.expm1(np.clip(near, 0, 5.3)),
        far_um=np.expm1(np.clip(far, 0, 5.3)),
        angle=np.arctan2(sine, cosine) / 2,
        log_error=np.clip(spread, -4, 1),
    )


def _sigmoid(logit: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(1 / (1 + np.exp(-np.clip(logit, -30, 30))), np.float32)


def _verify(weights: Path) -> str:
    """Return the version of weights that are what their card says."""
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    card = weights.with_suffix(".json")
    if digest != read_card(card)["sha256"]:
        raise WeightsError(
            f"{weights}: the content differs from its card. Install the package again."
        )
    return read_version(card)


def _wrap_torch(network: NeedleNetwork) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.inference_mode()
    def run(image: NDArray[np.float32]) -> NDArray[np.float32]:
        batch = torch.from_numpy(image).contiguous(memory_format=torch.channels_last)
        maps: NDArray[np.float32] = network(batch).numpy()
        return maps

    return run


def _compile_openvino(
    network: NeedleNetwork,
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    import openvino  # noqa: PLC0415 - optional, and slow to import

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates the tracing that OpenVINO relies on
        level = logging.getLogger().level
        try:
            model = openvino.convert_model(network, example_input=torch.zeros(1, 1, 64, 64))
        finally:
            logging.getLogger().setLevel(level)  # the conversion changes it, also where it fails
    model.reshape([1, 1, -1, -1])
    hints = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    request = openvino.Core().compile_model(model, "CPU", hints).create_infer_request()
    lock = Lock()

    def run(image: NDArray[np.float32]) -> NDArray[np.float32]:
        with lock:
            return np.array(request.infer({0: image})[0])

    return run
