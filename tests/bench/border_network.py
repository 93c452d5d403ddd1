"""Train the network of `agent/imaging/specimen/border_network.py` on composites of development.

    python tests/bench/border_network.py ../shared/data --out FOLDER [--quick]

Textures and mounts of the split "development" whose names are held out (`is_held`) are not used:
how its map is combined with the tables was chosen on them. One thread; about 95 minutes of
processor time where it has bf16. What it writes, `border.safetensors`, goes into the package by
hand, after `composites.py` and `imaging.py` were run.

The weights in the package are not repeated to the bit: the first two parts were trained before two
pictures left the split, and the learning rate of the last two fell by elapsed time.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from collections.abc import Iterator

from border_fields import COLUMNS, NO_LABEL, ROWS, draw_sample
from needle_training import Muon

from agent.imaging.specimen.border_network import CELL_PX, CLASSES

WIDTHS = (40, 64, 96, 112)
"""Channels at 1/2, 1/4, 1/8 and 1/16 of the cells' resolution."""
FIELDS = (range(24), range(1000, 1650), range(2000, 2650), range(3000, 3650))
VARIED = (range(10_000, 11_200),)
HARD = (range(20_000, 21_200), range(22_000, 23_200))
"""Seeds of the fields of the weights in the package."""
BATCH, QUICK = 8, 16
WARM_UP = 40
WIDE = "c16"
"""The block with the widest context, which only the last two parts of the training change."""


@dataclass(frozen=True)
class Phase:
    """A part of the training; it starts from the averaged weights of the one before.

    Args:
        seed: Of weights, order and alterations.
        fields: Seeds of its fields.
        steps: Number of optimizer steps.
        flat: Share of the steps before the learning rate falls.
        rate: Largest learning rate of AdamW, for biases, normalisation and the last layer.
        kernel_rate: Largest learning rate of Muon, for the convolutions.
        weights: What a cell of each class counts.
        repeats: How often an epoch has a field with each class; the largest counts.
        strips: Share of the fields cut so that at most a thin strip of mount remains.
        whole: What the decision whether there is a mount at all counts.
        averaging: Decay of the moving average of the weights.
        wide: `WIDE` is trained too.
    """

    seed: int
    fields: tuple[range, ...]
    steps: int
    flat: float
    rate: float
    kernel_rate: float
    weights: tuple[float, ...]
    repeats: tuple[int, ...] = (1,) * len(CLASSES)
    strips: float = 0.0
    whole: float = 0.1
    averaging: float = 0.985
    wide: bool = False


PHASES = (
    Phase(1, FIELDS, 1100, 0.35, 0.003, 0.035, (1.0, 1.5, 1.5, 1.2, 1.5)),
    Phase(2, FIELDS, 400, 0.1, 0.002, 0.02, (1.0, 1.5, 4.0, 2.0, 4.0)),
    Phase(
        3, FIELDS + VARIED, 2078, 0.4, 0.002, 0.02, (1.0, 1.5, 3.0, 2.0, 3.0),
        repeats=(1, 1, 3, 2, 2), strips=0.15, whole=0.3, averaging=0.995, wide=True,
    ),
    Phase(
        4, FIELDS + VARIED + HARD, 7599, 0.4, 0.002, 0.02, (1.0, 1.5, 3.0, 2.0, 3.0),
        repeats=(1, 1, 3, 2, 2), strips=0.15, whole=0.3, averaging=0.995, wide=True,
    ),
)  # fmt: skip


# -------------------------------------------------------------------------------------- network


class Block(nn.Module):
    """Two 3 × 3 convolutions and a shortcut."""

    def __init__(self, width: int, dilation: int = 1) -> None:
        super().__init__()
        self.a = _convolution(width, width)
        self.b = _convolution(width, width, dilation=dilation)

    def forward(self, values: Tensor) -> Tensor:
        return functional.relu(values + self.b(functional.relu(self.a(values))))


class BorderNetwork(nn.Module):
    """(n, 1, 4 h, 4 w) grey and (n, 1, h, w) usable to (n, 5, h, w) logits and (n) of a mount."""

    def __init__(self) -> None:
        super().__init__()
        half, quarter, eighth, deepest = WIDTHS
        self.unshuffle = nn.PixelUnshuffle(CELL_PX)
        self.patch = _convolution(CELL_PX**2 + 1, 32, kernel=1)
        self.stem, self.b2 = _convolution(32, half, stride=2), Block(half)
        self.d4, self.b4 = _convolution(half, quarter, stride=2), Block(quarter)
        self.d8, self.b8 = _convolution(quarter, eighth, stride=2), Block(eighth, 2)
        self.d16, self.b16 = _convolution(eighth, deepest, stride=2), Block(deepest, 2)
        self.glob = nn.Linear(deepest, deepest)
        self.m8, self.u8 = _convolution(deepest + eighth, eighth, kernel=1), Block(eighth)
        self.m4, self.u4 = _convolution(eighth + quarter, quarter, kernel=1), Block(quarter)
        self.m2, self.u2 = _convolution(quarter + half, half, kernel=1), Block(half)
        self.head = nn.Conv2d(half, len(CLASSES) * 4, 1)
        self.any = nn.Linear(2 * deepest, 1)  # helps the training; the product does not use it
        self.c16 = Block(deepest, 4)
        nn.init.zeros_(self.c16.b[1].weight)  # changes nothing before it is trained

    def forward(self, grey: Tensor, usable: Tensor) -> tuple[Tensor, Tensor]:
        relu = functional.relu
        cells = relu(self.patch(torch.cat([self.unshuffle(grey), usable], 1)))
        half = self.b2(relu(self.stem(cells)))
        quarter = self.b4(relu(self.d4(half)))
        eighth = self.b8(relu(self.d8(quarter)))
        deepest = self.b16(relu(self.d16(eighth)))
        deepest = self.c16(deepest)
        deepest = relu(deepest + self.glob(deepest.mean((2, 3)))[:, :, None, None])
        mount = self.any(torch.cat([deepest.mean((2, 3)), deepest.amax((2, 3))], 1))[:, 0]
        eighth = self.u8(relu(self.m8(_join(deepest, eighth))))
        quarter = self.u4(relu(self.m4(_join(eighth, quarter))))
        half = self.u2(relu(self.m2(_join(quarter, half))))
        return functional.pixel_shuffle(self.head(half), 2), mount


def _convolution(
    inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1, dilation: int = 1
) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(
            inputs, outputs, kernel, stride=stride, padding=dilation * (kernel // 2),
            dilation=dilation, bias=False,
        ),
        nn.BatchNorm2d(outputs),
    )  # fmt: skip


def _join(coarse: Tensor, fine: Tensor) -> Tensor:
    larger = functional.interpolate(coarse, scale_factor=2.0, mode="nearest")
    return torch.cat([larger, fine], 1)


def pack(network: BorderNetwork) -> dict[str, np.ndarray]:
    """Return the weights as the product reads them, normalisation included."""
    packed: dict[str, np.ndarray] = {}
    for name in ("patch", "stem", "d4", "d8", "d16", "m8", "m4", "m2"):
        _pack(packed, name, *getattr(network, name))
    for name in ("b2", "b4", "b8", "b16", "c16", "u8", "u4", "u2"):
        for part in "ab":
            _pack(packed, f"{name}.{part}", *getattr(getattr(network, name), part))
    _pack(packed, "glob", network.glob)
    _pack(packed, "head", network.head)
    return packed


def _pack(
    packed: dict[str, np.ndarray],
    name: str,
    layer: nn.Conv2d | nn.Linear,
    norm: nn.BatchNorm2d | None = None,
) -> None:
    weight = (
        layer.weight.detach().double().reshape(*layer.weight.shape, *[1] * (4 - layer.weight.ndim))
    )
    bias = torch.zeros(len(weight)) if layer.bias is None else layer.bias.detach()
    bias = bias.double()
    if norm is not None:
        scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
        weight = weight * scale[:, None, None, None]
        bias = (bias - norm.running_mean.double()) * scale + norm.bias.double()
    outputs, inputs, side, _ = weight.shape
    kernel = weight.permute(2, 3, 1, 0).reshape(side * side, inputs, outputs).detach().numpy()
    packed[name] = np.ascontiguousarray(kernel, np.float16)  # files are written in memory order
    packed[f"{name}.bias"] = bias.detach().numpy().astype(np.float32)


# ------------------------------------------------------------------------------------- training


def augment(
    grey: np.ndarray, labels: np.ndarray, rng: np.random.Generator, *, strips: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return an altered field, its usable cells and its labels."""
    if strips and rng.random() < strips:
        grey, labels = _cut_strip(grey, labels, rng)
    if rng.random() < 0.5:
        grey, labels = grey[:, ::-1], labels[:, ::-1]
    if rng.random() < 0.5:
        grey, labels = grey[::-1], labels[::-1]
    if rng.random() < 0.3:
        grey, labels = _enlarge(grey, labels, rng)
    grey, labels = np.ascontiguousarray(grey), np.ascontiguousarray(labels)
    tones = np.arange(256) / 255
    if rng.random() < 0.7:
        tones = tones ** np.exp(rng.uniform(-0.4, 0.4))
        tones = (tones - 0.5) * np.exp(rng.uniform(-0.5, 0.25)) + 0.5 + rng.uniform(-0.15, 0.15)
    if rng.random() < 0.15 and not np.isin(labels, (2, 3)).any():
        tones = 1 - tones
    image = np.clip(((tones * 255 - 128) / 64).astype(np.float32), -2, 127 / 64)[grey]
    if rng.random() < 0.15:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 1.8))
    if rng.random() < 0.3:
        noise = rng.uniform(0, 8) / 64 * rng.standard_normal(image.shape, np.float32)
        image += noise.astype(np.float32)
    usable = (labels != NO_LABEL).astype(np.float32)
    if rng.random() < 0.2:
        place = _place_graphics(rng)
        usable[place], labels[place] = 0, NO_LABEL
    return image * usable.repeat(CELL_PX, 0).repeat(CELL_PX, 1), usable, labels


def _cut_strip(
    grey: np.ndarray, labels: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return a part with little mount, if one of several parts has that; it may have none."""
    cut = grey, labels
    for _ in range(6):
        part = _enlarge(grey, labels, rng)
        share = float((part[1] == 1).mean())
        if share < 0.07:
            cut = part
            if share:
                break
    return cut


def _enlarge(
    grey: np.ndarray, labels: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    share = rng.uniform(0.55, 1)
    high, wide = int(ROWS * share), int(COLUMNS * share)
    y, x = int(rng.integers(ROWS - high + 1)), int(rng.integers(COLUMNS - wide + 1))
    part = np.ascontiguousarray(labels[y : y + high, x : x + wide])
    rows, columns = (
        slice(CELL_PX * first, CELL_PX * (first + count)) for first, count in ((y, high), (x, wide))
    )
    return (
        cv2.resize(np.ascontiguousarray(grey[rows, columns]), grey.shape[::-1]),
        cv2.resize(part, labels.shape[::-1], interpolation=cv2.INTER_NEAREST),
    )


def _place_graphics(rng: np.random.Generator) -> tuple[slice, slice]:
    """Return where an info band or the plate of a bar is."""
    if rng.random() < 0.5:
        return slice(ROWS - int(rng.integers(6, 20)), ROWS), slice(0, COLUMNS)
    high, wide = int(rng.integers(6, 25)), int(rng.integers(15, 60))
    y, x = int(rng.integers(ROWS - high)), int(rng.integers(COLUMNS - wide))
    return slice(y, y + high), slice(x, x + wide)


def _iter_batches(
    fields: list[tuple[np.ndarray, np.ndarray]], phase: Phase
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    rng = np.random.default_rng(phase.seed)
    order: list[int] = []
    picks = _repeat(fields, phase.repeats)
    for _ in range(phase.steps):
        if len(order) < BATCH:
            order = rng.permutation(picks).tolist()
        chosen = [augment(*fields[order.pop()], rng, strips=phase.strips) for _ in range(BATCH)]
        images, usable, labels = (np.stack(each) for each in zip(*chosen, strict=True))
        yield (
            torch.from_numpy(images)[:, None],
            torch.from_numpy(usable)[:, None],
            torch.from_numpy(labels.astype(np.int64)),
        )


def _repeat(fields: list[tuple[np.ndarray, np.ndarray]], repeats: tuple[int, ...]) -> list[int]:
    """Return the places of the fields of an epoch."""
    return [
        place
        for place, (_, labels) in enumerate(fields)
        for _ in range(max(times for index, times in enumerate(repeats) if (labels == index).any()))
    ]


def train(
    network: BorderNetwork, fields: list[tuple[np.ndarray, np.ndarray]], phase: Phase
) -> BorderNetwork:
    """Train a network; return the moving average of its weights."""
    average = copy.deepcopy(network)
    trained = {
        name: weight
        for name, weight in network.named_parameters()
        if phase.wide or not name.startswith(WIDE)
    }
    kernels = [
        weight
        for name, weight in trained.items()
        if weight.ndim == 4 and not name.startswith("head")
    ]
    chosen = {id(weight) for weight in kernels}
    others = [weight for weight in trained.values() if id(weight) not in chosen]
    optimizers = [
        Muon(kernels, phase.kernel_rate),
        torch.optim.AdamW(others, lr=phase.rate, weight_decay=0.01),
    ]

    def get_rate(step: int) -> float:
        left = (phase.steps - step) / phase.steps
        return min(1.0, (step + 1) / WARM_UP) * min(1.0, max(0.01, left / (1 - phase.flat)))

    schedules = [torch.optim.lr_scheduler.LambdaLR(each, get_rate) for each in optimizers]
    weight = torch.tensor(phase.weights)
    losses: list[float] = []
    network.train()
    for step, (images, usable, labels) in enumerate(_iter_batches(fields, phase)):
        with torch.autocast("cpu", torch.bfloat16):
            logits, mount = network(images, usable)
        has_mount = (labels == 1).flatten(1).any(1).float()
        cells = functional.cross_entropy(
            logits.float(), labels, weight=weight, ignore_index=NO_LABEL, reduction="none"
        )
        any_mount = functional.binary_cross_entropy_with_logits(mount.float(), has_mount)
        loss = cells.mean() + phase.whole * any_mount
        network.zero_grad()
        loss.backward()
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
        _average(average, network, min(phase.averaging, step / (step + 20)))
        losses.append(float(loss.detach()))
        if step % 50 == 49:
            print(f"{step + 1:5d} {np.mean(losses[-50:]):.3f} {time.process_time():.0f} s")
    return average


def _average(average: BorderNetwork, network: BorderNetwork, decay: float) -> None:
    with torch.no_grad():
        for kept, new in zip(
            average.state_dict().values(), network.state_dict().values(), strict=True
        ):
            if kept.dtype.is_floating_point:
                kept.lerp_(new, 1 - decay)
            else:
                kept.copy_(new)


def main() -> None:
    """Draw, train and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="few fields and steps: it runs")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    fields: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    torch.manual_seed(PHASES[0].seed)
    network = BorderNetwork().to(memory_format=torch.channels_last)
    for phase in PHASES:
        seeds = [seed for part in phase.fields for seed in part]
        seeds = seeds[:: len(seeds) // QUICK] if options.quick else seeds
        for seed in seeds:
            if seed not in fields:
                fields[seed] = draw_sample(seed, options.folder)
        steps = QUICK if options.quick else phase.steps
        network = train(network, [fields[seed] for seed in seeds], replace(phase, steps=steps))
    packed, path = pack(network.eval()), options.out / "border.safetensors"
    save_file(packed, path)
    if any((packed[name] != weights).any() for name, weights in load_file(path).items()):
        raise SystemExit(f"{path}: not what was trained")


if __name__ == "__main__":
    main()
