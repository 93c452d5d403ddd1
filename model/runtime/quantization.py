"""Let a bundle's networks count in eight-bit integers, and say first what that costs.

In:  a bundle's networks, and fields. Out: `Eight`, kept beside the bundle. Next: `classify`.
On a processor with VNNI a ResNet is three times as quick so as in fp32. Ranges of activations are
taken from the bundle's validation images; the loss is measured on its test images, and a bundle
that would lose too much is not converted. Where an answer is closer than the measured difference,
`classify` asks again in fp32.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from model.errors import ModelError
from model.runtime.engines import fold_batch_norm
from model.statistics import max_loss_in_clusters

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from model.framing import Field, Framing
    from model.networks.encoder import Encoder
    from model.networks.schemes import Answer

ActivationRanges = dict[str, tuple[float, float]]
"""Convolution → smallest and largest value that it was given."""

MAY_LOSE = 0.01
"""Share of the test images that may be lost on balance."""

_LEVELS, _HALF = 255, 127


@dataclass(frozen=True, slots=True)
class Int8Calibration:
    """How a bundle counts in eight bits, and what it costs.

    Args:
        bundle: Its name.
        ranges: Network → its `Ranges`.
        n: Test images that it was measured on.
        again: Share of them that are so close that fp32 is asked again.
        same: Share of them that get the same code as in fp32, once that was done.
        lost: Share of them that is lost on balance, below 0 where some are won.
        most_lost: Its one-sided upper 95 % limit.
        difference: How far a probability lies from that in fp32, for 99 of 100 images at most.
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
        """Say what it costs."""
        return (
            f"in int8, probabilities of {self.n} test micrographs lie within {self.difference:.3f} "
            f"of those in fp32; {100 * self.again:.0f} % are closer than that and are asked again "
            f"in fp32; then {100 * self.same:.1f} % have the same code, and "
            f"{100 * self.lost:.1f} points are lost (at most {100 * self.most_lost:.1f}, 95 %)"
        )


def load_int8_calibration(bundle: Path) -> Int8Calibration:
    """Read how a bundle counts in eight bits.

    Raises:
        ModelError: It was not converted, or the file is no such.
    """
    try:
        document = json.loads(calibration_path(bundle).read_bytes())
        ranges = {
            eye: {name: (float(low), float(high)) for name, (low, high) in found.items()}
            for eye, found in document["ranges"].items()
        }
        eight = Int8Calibration(**{**document, "ranges": ranges})
    except FileNotFoundError as error:
        raise ModelError(
            f"The bundle {bundle.name} has not been converted to int8; do it with: agent models "
            f"int8 {bundle.name}, or set model.precision to auto."
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{calibration_path(bundle)} cannot be used ({error}); convert {bundle.name} again."
        ) from error
    if eight.bundle != bundle.name:
        raise ModelError(f"{calibration_path(bundle)} is of another bundle, {eight.bundle}.")
    return eight


def save_int8_calibration(eight: Int8Calibration, bundle: Path) -> Path:
    """Write how a bundle counts in eight bits beside it, whole or not at all."""
    place = calibration_path(bundle)
    place.parent.mkdir(parents=True, exist_ok=True)
    part = place.with_suffix(".part")
    part.write_text(json.dumps(asdict(eight), indent=1, sort_keys=True), encoding="utf-8")
    part.replace(place)
    return place


def calibration_path(bundle: Path) -> Path:
    """Say where it lies; the bundle itself is never changed."""
    return bundle.parent / ".int8" / f"{bundle.name}.json"


# ------------------------------------------------------------------ what it costs


def measure_int8(
    eight: Int8Calibration,
    exact: Sequence[Answer],
    low: Sequence[Answer],
    codes: Sequence[str],
    groups: Sequence[str] = (),
) -> Int8Calibration:
    """Say what the eight bits cost.

    Args:
        eight: The ranges.
        exact: What fp32 answers for each test image.
        low: What int8 answers.
        codes: Their true codes.
        groups: Their specimens, () where each image is one.
    """
    n = len(codes)
    apart = [_apart(a, b) for a, b in zip(exact, low, strict=True)]
    difference = float(np.quantile(apart, 0.99, method="higher"))  # the largest of few
    close = [one.margin < 2 * difference for one in low]
    was = [_code(one) for one in exact]
    now = [a if asked else _code(b) for a, b, asked in zip(was, low, close, strict=True)]
    told = list(zip(was, now, codes, strict=True))
    lost = sum(a == true != b for a, b, true in told)
    won = sum(b == true != a for a, b, true in told)
    return Int8Calibration(
        bundle=eight.bundle,
        ranges=eight.ranges,
        n=n,
        again=sum(close) / n,
        same=sum(a == b for a, b, _ in told) / n,
        lost=(lost - won) / n,
        most_lost=_most_lost(told, groups or list(map(str, range(n)))) or 0.0,
        difference=difference,
    )


def _most_lost(told: Sequence[tuple[str, str, str]], groups: Sequence[str]) -> float | None:
    by_group: dict[str, list[tuple[str, str, str]]] = defaultdict(list)
    for one, group in zip(told, groups, strict=True):
        by_group[group].append(one)
    some = list(by_group.values())
    return max_loss_in_clusters(
        [sum(a == true != b for a, b, true in own) for own in some],
        [sum(b == true != a for a, b, true in own) for own in some],
        [len(own) for own in some],
    )


def _code(answer: Answer) -> str:
    return "".join(answer.best)


def _apart(first: Answer, second: Answer) -> float:
    """Say how far two answers' probabilities lie apart; sizes count inside one subtype only."""
    pairs = [(first.subtype, second.subtype)]
    if first.best[0] == second.best[0]:
        pairs.append((first.sizes, second.sizes))
    return max(abs(share - b[name]) for a, b in pairs for name, share in a.items())


# ------------------------------------------------------------------ the networks


def observe_ranges(
    eye: Encoder, framing: Framing, fields: Iterable[Field]
) -> Iterator[ActivationRanges]:
    """See what every convolution of a network is given; the last one counts.

    Args:
        eye: The network, in eval mode.
        framing: How fields become frames.
        fields: Taught or validated on.

    Yields:
        After each field, the means of smallest and largest values until then.
    """
    ready = fold_batch_norm(eye)
    seen: dict[str, list[tuple[float, float]]] = {}

    def watched(name: str) -> Any:
        def look(_: nn.Module, given: tuple[Tensor, ...]) -> None:
            low, high = given[0].aminmax()
            seen.setdefault(name, []).append((float(low), float(high)))

        return look

    for name, module in _convolutions(ready).items():
        module.register_forward_pre_hook(watched(name))
    for field in fields:
        for frame in framing.frames(field):
            with torch.inference_mode():
                ready(torch.from_numpy(frame.pixels[None]))
        yield {
            name: (float(np.mean([a for a, _ in pairs])), float(np.mean([b for _, b in pairs])))
            for name, pairs in seen.items()
        }


def quantize(eye: Encoder, ranges: Mapping[str, tuple[float, float]]) -> Encoder:
    """Give the same network with every convolution's input and weights rounded to eight bits.

    An engine that sees the roundings multiplies integers instead. What lies behind the last map
    that is used has no range, and is left as it is.

    Source:
        Jacob et al. 2018, arXiv:1712.05877: one range per tensor of activations, one scale per
        output channel of weights, which stay symmetric.
    """
    ready = fold_batch_norm(eye)
    for name, conv in _convolutions(ready).items():
        if name not in ranges:
            continue
        path, _, leaf = name.rpartition(".")
        parametrize.register_parametrization(conv, "weight", _RoundedWeight(conv.weight))
        setattr(ready.get_submodule(path), leaf, nn.Sequential(_Rounded(*ranges[name]), conv))
    return ready


def _convolutions(eye: nn.Module) -> dict[str, nn.Conv2d]:
    return {name: one for name, one in eye.named_modules() if isinstance(one, nn.Conv2d)}


class _Rounded(nn.Module):
    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        low, high = min(low, 0.0), max(high, 0.0)  # zero stays zero: padding is zero
        self._scale = (high - low) / _LEVELS or 1.0
        self._zero = round(-low / self._scale)

    def forward(self, given: Tensor) -> Tensor:
        return torch.fake_quantize_per_tensor_affine(given, self._scale, self._zero, 0, _LEVELS)


class _RoundedWeight(nn.Module):
    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        scale = weight.detach().abs().amax(dim=(1, 2, 3)).clamp(min=1e-12) / _HALF
        self.register_buffer("scale", scale)
        self.register_buffer("zero", torch.zeros(len(scale), dtype=torch.int32))
        self.scale: Tensor
        self.zero: Tensor

    def forward(self, weight: Tensor) -> Tensor:
        return torch.fake_quantize_per_channel_affine(
            weight, self.scale, self.zero, 0, -_HALF, _HALF
        )
