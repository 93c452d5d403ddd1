"""Static int8 quantisation of a bundle's networks, and the measurement of its accuracy loss.

On a CPU with VNNI a ResNet in int8 is three times as fast as in fp32. Activation ranges come from
the bundle's validation images; the loss is measured on its test images. A prediction whose margin
is below twice the measured difference is recomputed in fp32.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from model.errors import ModelError
from model.framing import Field, Framing
from model.networks.backbones import Encoder
from model.networks.schemes import FieldPrediction
from model.runtime.torch_runner import fold_batch_norm
from model.statistics import max_loss_in_clusters

ActivationRanges = dict[str, tuple[float, float]]
"""Name of a convolution → smallest and largest value of its input."""

MAY_LOSE = 0.01
"""Largest accepted net loss of accuracy, as a share of the test images."""

_ACTIVATION_MAX, _WEIGHT_MAX = 255, 127
"""Activations are quantised to unsigned, weights to symmetric signed eight-bit integers."""


@dataclass(frozen=True, slots=True)
class Int8Calibration:
    """Activation ranges of a bundle, and the measured effect of int8.

    Its field names are keys of the stored JSON file.

    Args:
        bundle: Name of the bundle.
        ranges: Name of an encoder → its activation ranges.
        n: Number of test images of the measurement.
        again: Share of them with a margin so small that fp32 recomputes them.
        same: Share of them with the same code as in fp32 after the recomputation.
        lost: Net loss of accuracy as a share of the test images; negative is a gain.
        most_lost: One-sided upper 95 % limit of `lost`.
        difference: 99th percentile of the largest change of a probability against fp32.
    """

    bundle: str
    ranges: dict[str, ActivationRanges]
    n: int = 0
    again: float = 0.0
    same: float = 1.0
    lost: float = 0.0
    most_lost: float = 1.0
    difference: float = 0.0

    def sentence(self) -> str:
        """Format the measured effect as a sentence fragment."""
        return (
            f"in int8, probabilities of {self.n} test micrographs lie within {self.difference:.3f} "
            f"of those in fp32; {100 * self.again:.0f} % are closer than that and are asked again "
            f"in fp32; then {100 * self.same:.1f} % have the same code, and "
            f"{100 * self.lost:.1f} points are lost (at most {100 * self.most_lost:.1f}, 95 %)"
        )


def load_int8_calibration(bundle: Path) -> Int8Calibration:
    """Load the int8 calibration of a bundle.

    Args:
        bundle: The bundle's folder.

    Raises:
        ModelError: The bundle was not converted, or the file is invalid.
    """
    try:
        document = json.loads(calibration_path(bundle).read_bytes())
        ranges = {
            encoder: {name: (float(low), float(high)) for name, (low, high) in layers.items()}
            for encoder, layers in document["ranges"].items()
        }
        calibration = Int8Calibration(**{**document, "ranges": ranges})
    except FileNotFoundError as error:
        raise ModelError(
            f"The bundle {bundle.name} has not been converted to int8; do it with: agent models "
            f"int8 {bundle.name}, or set model.precision to auto."
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{calibration_path(bundle)} cannot be used ({error}); convert {bundle.name} again."
        ) from error
    if calibration.bundle != bundle.name:
        raise ModelError(f"{calibration_path(bundle)} is of another bundle, {calibration.bundle}.")
    return calibration


def save_int8_calibration(calibration: Int8Calibration, bundle: Path) -> Path:
    """Write the int8 calibration of a bundle atomically; return its path."""
    path = calibration_path(bundle)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(asdict(calibration), indent=1, sort_keys=True), encoding="utf-8")
    part.replace(path)
    return path


def calibration_path(bundle: Path) -> Path:
    """Return the path of the calibration, outside the bundle, which is never changed."""
    return bundle.parent / ".int8" / f"{bundle.name}.json"


# ------------------------------------------------------------------ accuracy loss


def measure_int8(
    calibration: Int8Calibration,
    exact: Sequence[FieldPrediction],
    low: Sequence[FieldPrediction],
    codes: Sequence[str],
    groups: Sequence[str] = (),
) -> Int8Calibration:
    """Compute the accuracy loss of int8 against fp32 on labelled test images.

    Args:
        calibration: Holds the bundle's name and the activation ranges.
        exact: Predictions in fp32, one per test image.
        low: Predictions in int8.
        codes: True structure codes.
        groups: Specimens of the images; () if each image is a specimen.

    Returns:
        The calibration with all figures filled in.
    """
    n = len(codes)
    changes = [_compute_change(a, b) for a, b in zip(exact, low, strict=True)]
    # With few images the quantile must not fall below the largest change.
    difference = float(np.quantile(changes, 0.99, method="higher"))
    is_close = [answer.margin < 2 * difference for answer in low]
    before = [_best_code(answer) for answer in exact]
    after = [
        a if close else _best_code(b) for a, b, close in zip(before, low, is_close, strict=True)
    ]
    cases = list(zip(before, after, codes, strict=True))
    lost = sum(a == true != b for a, b, true in cases)
    won = sum(b == true != a for a, b, true in cases)
    return Int8Calibration(
        bundle=calibration.bundle,
        ranges=calibration.ranges,
        n=n,
        again=sum(is_close) / n,
        same=sum(a == b for a, b, _ in cases) / n,
        lost=(lost - won) / n,
        most_lost=_compute_max_loss(cases, groups or list(map(str, range(n)))) or 0.0,
        difference=difference,
    )


def _compute_max_loss(cases: Sequence[tuple[str, str, str]], groups: Sequence[str]) -> float | None:
    """Compute the upper limit of the loss over (code before, code after, true code)."""
    by_group: dict[str, list[tuple[str, str, str]]] = defaultdict(list)
    for case, group in zip(cases, groups, strict=True):
        by_group[group].append(case)
    clusters = list(by_group.values())
    return max_loss_in_clusters(
        [sum(a == true != b for a, b, true in cluster) for cluster in clusters],
        [sum(b == true != a for a, b, true in cluster) for cluster in clusters],
        [len(cluster) for cluster in clusters],
    )


def _best_code(answer: FieldPrediction) -> str:
    return "".join(answer.best)


def _compute_change(first: FieldPrediction, second: FieldPrediction) -> float:
    """Compute the largest change of a probability; sizes are compared within one subtype only."""
    pairs = [(first.subtype, second.subtype)]
    if first.best[0] == second.best[0]:
        pairs.append((first.sizes, second.sizes))
    return max(abs(probability - b[name]) for a, b in pairs for name, probability in a.items())


# ------------------------------------------------------------------ quantisation


def observe_ranges(
    encoder: Encoder, framing: Framing, fields: Iterable[Field]
) -> Iterator[ActivationRanges]:
    """Yield the activation ranges of every convolution, more precise with each field.

    Args:
        encoder: The network, in eval mode.
        framing: Turns fields into frames.
        fields: Calibration images, from the training or validation set.

    Yields:
        After each field, the mean of the minima and the mean of the maxima so far; use the last.
    """
    ready = fold_batch_norm(encoder)
    observed: dict[str, list[tuple[float, float]]] = {}

    def make_hook(name: str) -> Any:
        def record_range(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            low, high = inputs[0].aminmax()
            observed.setdefault(name, []).append((float(low), float(high)))

        return record_range

    for name, module in _list_convolutions(ready).items():
        module.register_forward_pre_hook(make_hook(name))
    for field in fields:
        for frame in framing.frames(field):
            with torch.inference_mode():
                ready(torch.from_numpy(frame.pixels[None]))
        yield {
            name: (float(np.mean([a for a, _ in pairs])), float(np.mean([b for _, b in pairs])))
            for name, pairs in observed.items()
        }


def quantize(encoder: Encoder, ranges: Mapping[str, tuple[float, float]]) -> Encoder:
    """Insert fake quantisation of inputs and weights into a copy of an encoder.

    OpenVINO recognises the fake quantisation and runs those convolutions in integers. Convolutions
    without a range are left in fp32: they follow the last tapped feature map.

    Source:
        Jacob et al. 2018, arXiv:1712.05877: one range per tensor of activations, one scale per
        output channel of weights, which stay symmetric.
    """
    ready = fold_batch_norm(encoder)
    for name, conv in _list_convolutions(ready).items():
        if name not in ranges:
            continue
        path, _, leaf = name.rpartition(".")
        parametrize.register_parametrization(conv, "weight", _FakeQuantizedWeight(conv.weight))
        quantized_input = _FakeQuantizedInput(*ranges[name])
        setattr(ready.get_submodule(path), leaf, nn.Sequential(quantized_input, conv))
    return ready


def _list_convolutions(network: nn.Module) -> dict[str, nn.Conv2d]:
    return {
        name: module for name, module in network.named_modules() if isinstance(module, nn.Conv2d)
    }


class _FakeQuantizedInput(nn.Module):
    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        low, high = min(low, 0.0), max(high, 0.0)  # padding must stay exactly 0
        self._scale = (high - low) / _ACTIVATION_MAX or 1.0
        self._zero = round(-low / self._scale)

    def forward(self, x: Tensor) -> Tensor:
        return torch.fake_quantize_per_tensor_affine(x, self._scale, self._zero, 0, _ACTIVATION_MAX)


class _FakeQuantizedWeight(nn.Module):
    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        scale = weight.detach().abs().amax(dim=(1, 2, 3)).clamp(min=1e-12) / _WEIGHT_MAX
        self.register_buffer("scale", scale)
        self.register_buffer("zero", torch.zeros(len(scale), dtype=torch.int32))
        self.scale: Tensor
        self.zero: Tensor

    def forward(self, weight: Tensor) -> Tensor:
        return torch.fake_quantize_per_channel_affine(
            weight, self.scale, self.zero, 0, -_WEIGHT_MAX, _WEIGHT_MAX
        )
