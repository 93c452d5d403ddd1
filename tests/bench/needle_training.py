"""Train the needle network on drawn fields.

Usage: python tests/bench/needle_training.py --seed 1 --out FOLDER

One thread, fixed seeds: the same command on the same processor and PyTorch gives the same weights.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import Parameter, functional

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from drawn.needles import DrawnField, draw_field
from drawn.needles.canvas import PIXEL_UM, degrade
from drawn.needles.generations import cut_texture, draw_generations
from drawn.needles.truth import NeedleTargets, measure_truth

from model.needles.needle_map import NeedleNetwork, normalize_contrast

Sample = tuple[NDArray[np.float32], NDArray[np.float32]]
Plane = NDArray[np.float32]


# --- loss of the needle network -------------------------------------------------------------------


MIDDLE_UM = 10.0
TARGET_CHANNELS = ("axis", "body", "near", "far", "cosine", "sine", "structure")


def stack_targets(field: DrawnField, targets: NeedleTargets) -> np.ndarray:
    """Stack the targets of one field: (7, h/2, w/2) float32, see `TARGET_CHANNELS`."""
    planes = [
        targets.axis,
        targets.body,
        np.log1p(targets.near_um),
        np.log1p(targets.far_um),
        targets.direction[0],
        targets.direction[1],
        field.has_needles[::2, ::2],
    ]
    return np.stack([np.asarray(plane, np.float32) for plane in planes])


@dataclass(frozen=True, slots=True)
class Losses:
    """Parts of the loss, each a mean over a batch."""

    axis: Tensor
    body: Tensor
    structure: Tensor
    tips: Tensor
    length: Tensor
    direction: Tensor

    @property
    def total(self) -> Tensor:
        """Weighted sum that is minimised."""
        maps = 2.0 * self.axis + 0.5 * self.body + 0.8 * self.structure
        return maps + 1.0 * self.tips + 0.5 * self.length + 0.5 * self.direction


def compute_losses(maps: Tensor, target: Tensor) -> Losses:
    """Compare the network's maps with the targets.

    Args:
        maps: (n, 8, r, c) float32, as `network.CHANNELS`.
        target: (n, 7, r, c) float32, as `TARGET_CHANNELS`.
    """
    axis, body, near, far, cosine, sine, structure = target.unbind(1)
    # Fields of long needles weigh more, not the long needles of a field: weights that depend on the
    # true length of a needle bias the prediction wherever it is uncertain.
    on_axes = body * (0.3 + 0.7 * axis)
    true_um = torch.expm1(near) + torch.expm1(far)
    mean_um = (on_axes * true_um).sum((1, 2)) / on_axes.sum((1, 2)).clamp(min=1)
    weight = on_axes * (mean_um / MIDDLE_UM).clamp(0.3, 6).sqrt()[:, None, None]
    weight = weight / weight.sum().clamp(min=1)
    hit = functional.binary_cross_entropy_with_logits(
        maps[:, 0], axis, pos_weight=torch.tensor(3.0)
    )
    tips = functional.smooth_l1_loss(maps[:, 1], near, reduction="none", beta=0.1)
    tips = tips + functional.smooth_l1_loss(maps[:, 2], far, reduction="none", beta=0.1)
    true_length = torch.log(torch.expm1(near) + torch.expm1(far) + 0.2)
    length = torch.log(_to_um(maps[:, 1]) + _to_um(maps[:, 2]) + 0.2)
    spread = maps[:, 6].clamp(-4, 1)
    laplace = (length - true_length).abs() * torch.exp(-spread) + spread
    turned = (maps[:, 3] - cosine).square() + (maps[:, 4] - sine).square()
    return Losses(
        axis=hit,
        body=functional.binary_cross_entropy_with_logits(maps[:, 7], body),
        structure=functional.binary_cross_entropy_with_logits(maps[:, 5], structure),
        tips=(tips * weight).sum(),
        length=(laplace * weight).sum(),
        direction=(turned * weight).sum(),
    )


def _to_um(log_distance: Tensor) -> Tensor:
    return torch.expm1(log_distance.clamp(0, 5.3))


# --- Muon: momentum whose update is orthogonalised, for the weights of convolutions ---------------
# Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"; the
# coefficients of the Newton-Schulz iteration are theirs.


ITERATIONS = 5
COEFFICIENTS = (3.4445, -4.7750, 2.0315)


class Muon(torch.optim.Optimizer):
    """Optimizer of weights with two or more dimensions, seen as (outputs, rest) matrices.

    Args:
        parameters: Weights of convolutions.
        lr: Spectral norm of an update of a square matrix.
        momentum: Decay of the momentum, Nesterov's form.
    """

    def __init__(
        self, parameters: Iterable[Parameter], lr: float = 0.02, momentum: float = 0.95
    ) -> None:
        super().__init__(list(parameters), {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update the weights from their gradients; `closure` is not used."""
        del closure
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(weight)
                momentum = state["momentum"]
                momentum.lerp_(weight.grad, 1 - group["momentum"])
                ahead = weight.grad.lerp(momentum, group["momentum"])
                matrix = ahead.reshape(len(weight), -1)
                update = _orthogonalize(matrix) * max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5
                weight.add_(update.reshape(weight.shape), alpha=-group["lr"])


def _orthogonalize(matrix: Tensor) -> Tensor:
    """Bring all singular values near 1."""
    a, b, c = COEFFICIENTS
    turned = matrix.shape[0] > matrix.shape[1]
    values: Tensor = matrix.T if turned else matrix
    values = values / (values.norm() + 1e-7)
    for _ in range(ITERATIONS):
        gram = values @ values.T
        values = a * values + (b * gram + c * gram @ gram) @ values
    result: Tensor = values.T if turned else values
    return result


WARM_UP_STEPS = 40
AVERAGING = 0.99
"""Decay of the moving average of the weights, which is what is saved."""


@dataclass(frozen=True, slots=True)
class NeedleTraining:
    """Settings of one training.

    Args:
        seed: Seed of weights and drawings.
        steps: Number of optimizer steps.
        flat: Share of the steps before the learning rate falls.
        stop: Step after which the training ends early, 0 is never.
        batch: Fields per step.
        new: Newly drawn fields per step; the others are turned copies of earlier ones.
        side: Side of a drawn field, px.
        rate: Largest learning rate of AdamW, for biases, normalisation and the last layer.
        convolution_rate: Largest learning rate of Muon, for the convolutions.
        kept: Drawn fields kept for reuse.
        bf16: Whether convolutions run in bfloat16.
        start: Weights to continue from, or "".
        generations: Share of fields by the program of `drawing.generations`.
        bare: Share of fields that are a real texture without needles.
        textures: Folder of real micrographs without needles, or "" for none.
    """

    seed: int = 1
    steps: int = 1000
    flat: float = 0.5
    stop: int = 0
    batch: int = 8
    new: int = 1
    side: int = 384
    rate: float = 4e-3
    convolution_rate: float = 0.06
    kept: int = 400
    bf16: bool = True
    start: str = ""
    generations: float = 0.0
    bare: float = 0.0
    textures: str = ""


def train(settings: NeedleTraining) -> Iterator[tuple[int, dict[str, float], NeedleNetwork]]:
    """Yield step, losses and the averaged network after every step."""
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    network = NeedleNetwork()
    if settings.start:
        network.load_state_dict(load_file(settings.start))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    averaged = copy.deepcopy(network)
    optimizers = _build_optimizers(network, settings)
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(each, lambda step: _get_rate(step, settings))
        for each in optimizers
    ]
    for step, (images, targets) in enumerate(_iter_batches(settings, rng), start=1):
        with torch.autocast("cpu", torch.bfloat16, enabled=settings.bf16):
            maps = network(images)
        losses = compute_losses(maps.float(), targets)
        network.zero_grad(set_to_none=True)
        losses.total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 2.0)
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
        _average(averaged, network, min(AVERAGING, step / (step + 10)))
        parts = {name: float(getattr(losses, name).detach()) for name in losses.__slots__}
        yield step, parts, averaged


def _build_optimizers(
    network: NeedleNetwork, settings: NeedleTraining
) -> list[torch.optim.Optimizer]:
    convolutions = [
        weight
        for name, weight in network.named_parameters()
        if weight.ndim == 4 and not name.startswith("head")
    ]
    chosen = {id(weight) for weight in convolutions}
    others = [weight for weight in network.parameters() if id(weight) not in chosen]
    return [
        Muon(convolutions, settings.convolution_rate),
        torch.optim.AdamW(others, lr=settings.rate, weight_decay=0.01),
    ]


def _get_rate(step: int, settings: NeedleTraining) -> float:
    left = (settings.steps - step) / settings.steps
    warm = min(1.0, (step + 1) / WARM_UP_STEPS)
    return warm * min(1.0, max(0.01, left / (1 - settings.flat)))


def _iter_batches(
    settings: NeedleTraining, rng: Generator
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    kept: deque[Sample] = deque(maxlen=settings.kept)
    textures = _load_textures(settings.textures)
    for _ in range(settings.stop or settings.steps):
        fresh = settings.batch if len(kept) < 4 * settings.batch else settings.new
        kept.extend(_draw_sample(rng, settings, textures) for _ in range(fresh))
        chosen = [*range(len(kept) - fresh, len(kept))]
        chosen += rng.integers(0, len(kept), settings.batch - fresh).tolist()
        turned = [_turn(kept[index], rng) for index in chosen]
        images = torch.from_numpy(np.stack([image for image, _ in turned])[:, None])
        targets = torch.from_numpy(np.stack([target for _, target in turned]))
        yield images.contiguous(memory_format=torch.channels_last), targets


def _load_textures(folder: str) -> list[Plane]:
    files = sorted(Path(folder).iterdir()) if folder else []
    return [np.asarray(Image.open(file).convert("L"), np.float32) for file in files]


def _draw_sample(rng: Generator, settings: NeedleTraining, textures: Sequence[Plane]) -> Sample:
    field = _draw_any(rng, settings, textures)
    _, targets = measure_truth(field.owner, field.axes, PIXEL_UM)
    return normalize_contrast(field.grey), stack_targets(field, targets)


def _draw_any(rng: Generator, settings: NeedleTraining, textures: Sequence[Plane]) -> DrawnField:
    side, kind = settings.side, rng.random()
    if kind < settings.generations:
        canvas = draw_generations(rng, side, textures)
        everywhere = np.ones((side, side), bool)
        return DrawnField(degrade(canvas.grey, rng), canvas.owner, canvas.axes, everywhere)
    if textures and kind < settings.generations + settings.bare:
        grey = 128 + rng.uniform(12, 45) * cut_texture(rng, side, textures)
        nothing = np.zeros((side, side), np.int32)
        image = degrade(np.clip(grey, 3, 250).astype(np.uint8), rng)
        return DrawnField(image, nothing, [], nothing > 0)
    return draw_field(rng, side)


def _turn(sample: Sample, rng: Generator) -> Sample:
    """Turn by quarters and mirror; the double angle changes sign accordingly."""
    image, target = sample
    quarters, mirrored = int(rng.integers(4)), bool(rng.integers(2))
    image, target = np.rot90(image, quarters), np.rot90(target, quarters, (1, 2)).copy()
    if quarters % 2:
        target[4:6] *= -1  # cosine and sine of twice the angle, a quarter turn later
    if mirrored:
        image, target = image[:, ::-1], target[:, :, ::-1].copy()
        target[5] *= -1
    sign = 1 if rng.random() < 0.85 else -1
    return np.ascontiguousarray(sign * image), target


def _average(averaged: NeedleNetwork, network: NeedleNetwork, decay: float) -> None:
    with torch.no_grad():
        for kept, new in zip(
            averaged.state_dict().values(), network.state_dict().values(), strict=True
        ):
            if kept.dtype.is_floating_point:
                kept.lerp_(new, 1 - decay)
            else:
                kept.copy_(new)


def save_weights(network: NeedleNetwork, settings: NeedleTraining, step: int, folder: Path) -> None:
    """Write `needles.safetensors` and its card, `needles.json`."""
    file = folder / "needles.safetensors"
    state = {name: value.contiguous() for name, value in network.state_dict().items()}
    save_file(state, str(file))
    card = asdict(settings) | {
        "start": hashlib.sha256(Path(settings.start).read_bytes()).hexdigest()
        if settings.start
        else "",
        "earlier": _read_earlier(settings.start),
        "finished_steps": step,
        "parameters": sum(value.numel() for value in network.parameters()),
        "pixel_um": PIXEL_UM,
        "torch": torch.__version__,
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "textures": _describe_textures(settings.textures),
        "trained_on": "drawn fields; no needle of steel",
    }
    (folder / "needles.json").write_text(json.dumps(card, indent=1) + "\n", "utf-8")


def _describe_textures(folder: str) -> str:
    """Return the number of textures and a hash of their contents, "" for none."""
    contents = [file.read_bytes() for file in sorted(Path(folder).iterdir())] if folder else []
    digest = hashlib.sha256(b"".join(contents)).hexdigest()
    return f"{len(contents)} pictures, SHA-256 {digest}" if contents else ""


def _read_earlier(start: str) -> dict[str, object] | None:
    """Return the card of the weights that a training continued, or None."""
    card = Path(start or "none").with_suffix(".json")
    if not start or not card.is_file():
        return None
    earlier: dict[str, object] = json.loads(card.read_text("utf-8"))
    return earlier


def main() -> None:
    """Run a training from the command line."""
    parser = argparse.ArgumentParser(prog="python tests/bench/needle_training.py")
    parser.add_argument("--out", type=Path, required=True)
    for name, default in asdict(NeedleTraining()).items():
        if isinstance(default, bool):
            parser.add_argument(f"--{name}", action=argparse.BooleanOptionalAction, default=default)
        else:
            parser.add_argument(f"--{name}", type=type(default), default=default)
    options = vars(parser.parse_args())
    folder: Path = options.pop("out")
    folder.mkdir(parents=True, exist_ok=True)
    settings = NeedleTraining(**options)
    torch.set_num_threads(1)
    recent: deque[dict[str, float]] = deque(maxlen=25)
    for step, losses, averaged in train(settings):
        recent.append(losses)
        if step % 25 == 0 or step == (settings.stop or settings.steps):
            means = {name: sum(part[name] for part in recent) / len(recent) for name in losses}
            print(step, {name: round(value, 3) for name, value in means.items()}, flush=True)
            save_weights(averaged, settings, step, folder)


if __name__ == "__main__":
    main()
