"""Teach a whole network, epoch by epoch, and stop when it no longer gets better.

In:  a `Lesson`. Out: an `Epoch` after each; the lesson's network and heads are then the best ones.
Next: `training`. After every epoch the state is kept aside, and every chance is drawn from seed,
epoch and image, so an interrupted training goes on as if nothing had happened.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from model.data.augmentation import augment
from model.errors import TrainingError
from model.networks.encoder import cell_weights, pool_features
from model.networks.linear_probe import (
    NEIGHBOUR_MASS,
    ProbeData,
    build_head,
    class_weights,
    fit_head,
)
from model.networks.schemes import SUBTYPE, soft_targets
from model.runtime.engines import has_bf16
from model.training.checkpoint import Checkpoint, Epoch
from model.training.distributed import SINGLE_PROCESS
from model.training.memory import bytes_per_pixel, free_bytes, is_out_of_memory, micro_batches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from model.data.dataset import Example
    from model.framing import Frame, Framing
    from model.networks.encoder import Encoder
    from model.networks.schemes import Head, Scheme
    from model.training.config import TrainingConfig
    from model.training.distributed import ProcessGroup

_KEPT_BYTES = 2_000_000_000
"""Frames of training images are kept in memory up to this."""

_AHEAD = 3
"""Batches that are made, image by image, before they are wanted."""

_HEAD_FASTER = 10.0
_WARM_SHARE = 0.05
_DECAY = 1e-4


@dataclass(slots=True)
class TrainingTask:
    """One network, what it is taught, and what became of it.

    Args:
        eye: The network; it is changed in place.
        name: What it is called in the bundle.
        heads: Names of the heads that look through it.
        scheme: What their classes are.
        framing: How fields become frames.
        train: What it learns from.
        validation: What chooses the best epoch.
        found: The heads, once it is taught.
        epochs: How every epoch went, those before an interruption too.
    """

    eye: Encoder
    name: str
    heads: tuple[str, ...]
    scheme: Scheme
    framing: Framing
    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    found: dict[str, Head] = field(default_factory=dict)
    epochs: list[Epoch] = field(default_factory=list)

    def asked(self, examples: Sequence[Example]) -> list[Example]:
        """Give the examples that at least one of the heads has a class for."""
        return [
            e
            for e in examples
            if any(self.scheme.target(head, e.code) is not None for head in self.heads)
        ]


def fine_tune(
    lesson: TrainingTask, plan: TrainingConfig, aside: Path, world: ProcessGroup = SINGLE_PROCESS
) -> Iterator[Epoch]:
    """Teach a lesson's network and heads together.

    Args:
        lesson: What to teach; its eye and found heads are the best ones when the last epoch is out.
        plan: How.
        aside: Folder for the state after each epoch; it is made, and taken up if it is there.
        world: The processes that teach this lesson together; they see the same folder.

    Raises:
        TrainingError: The loss is no number any more, the disk refused, or a GPU does not answer.
    """
    device = torch.device(_device(plan))
    try:
        yield from _train_epochs(lesson, plan, aside, world, device)
    except RuntimeError as error:  # what went wrong on a GPU is heard of anywhere after it
        if device.type == "cpu":
            raise
        raise TrainingError(
            f"The GPU {device} does not answer any more ({error}); start again, it goes on "
            "from the last epoch, or set model.device to cpu."
        ) from error


def _train_epochs(
    lesson: TrainingTask,
    plan: TrainingConfig,
    aside: Path,
    world: ProcessGroup,
    device: torch.device,
) -> Iterator[Epoch]:
    layers = nn.ModuleDict(
        {
            _key(n): nn.Linear(lesson.eye.channels, len(lesson.scheme.heads()[n]))
            for n in lesson.heads
        }
    )
    eye = lesson.eye.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    layers.to(device)
    train, validation = lesson.asked(lesson.train), lesson.asked(lesson.validation)
    shown = _FrameCache(lesson.framing)
    targets = _Targets(lesson, plan)
    desk = _TrainState(
        eye, layers, device, _low_precision(plan, device, eye.backbone.arch), shown, targets, world
    )
    order = _Sampler(train, targets, plan)
    steps = max(1, -(-len(order.pick(0)) // plan.batch))
    solver = torch.optim.AdamW(
        [
            {"params": eye.parameters(), "lr": plan.learning_rate},
            {"params": layers.parameters(), "lr": plan.learning_rate * _HEAD_FASTER},
        ],
        weight_decay=_DECAY,
        fused=True,
    )
    pace = _lr_schedule(plan, steps)
    rates = [group["lr"] for group in solver.param_groups]
    place = Checkpoint(aside, lesson.name, eye, layers, solver, writes=world.is_main)
    done, best, waited = place.restore(lesson.epochs)
    world.require_equal(str(done), "it does not see the state that the first one goes on from.")
    if not done and plan.start == "probe" and eye.backbone.pretrained:
        _probe(desk, lesson, train, plan)
    room = _MemoryBudget.on_cpu(eye) if device.type == "cpu" else None
    step, parts = done * steps, 1
    for number in range(done + 1, plan.epochs + 1):
        if waited >= plan.patience:
            break
        eye.train()
        losses = []
        for batch in _batches(order.pick(number), train, desk, plan, number):
            solver.zero_grad()
            parts = max(parts, room.parts(batch)) if room else parts
            loss, parts = _accumulate_gradients(desk, batch, parts)
            loss = _all_reduce_gradients(desk, loss)
            if not np.isfinite(loss):
                raise TrainingError(
                    f"The loss of {lesson.name} is no number any more after {number} epochs; "
                    "train with a smaller learning rate."
                )
            for group, rate in zip(solver.param_groups, rates, strict=True):
                group["lr"] = rate * pace(step)
            nn.utils.clip_grad_norm_([*eye.parameters(), *layers.parameters()], 5.0)
            solver.step()
            step += 1
            losses.append(loss)
        eye.eval()
        world.all_reduce_mean(b for b in eye.buffers() if b.is_floating_point())
        held_loss, accuracy = _validate(desk, validation)
        better = held_loss < best
        best, waited = (held_loss, 0) if better else (best, waited + 1)
        mean = float(np.mean(losses))
        lesson.epochs.append(Epoch(number, mean, held_loss, accuracy, better, parts))
        place.keep(lesson.epochs, best, waited)
        yield lesson.epochs[-1]
    place.restore_best()
    eye.eval()
    centre = _centre(desk, train)
    lesson.eye = eye.to("cpu")
    for name in lesson.heads:
        lesson.found[name] = _head(lesson, name, layers[_key(name)], centre)


# ------------------------------------------------------------------ what is shown, in which order


class _FrameCache:
    """Frames of examples, kept in memory while there is room."""

    def __init__(self, framing: Framing) -> None:
        self._framing = framing
        self._kept: dict[str, list[Frame]] = {}
        self._bytes = 0

    def frames(self, example: Example) -> list[Frame]:
        if example.key in self._kept:
            return self._kept[example.key]
        frames = self._framing.frames(example.load())
        size = sum(frame.pixels.nbytes + frame.valid.nbytes for frame in frames)
        if self._bytes + size <= _KEPT_BYTES:
            self._bytes += size
            self._kept[example.key] = frames
        return frames


class _Targets:
    """What each head should say of a code, as soft targets, and how much an image counts."""

    def __init__(self, lesson: TrainingTask, plan: TrainingConfig) -> None:
        self._scheme, self.heads = lesson.scheme, lesson.heads
        self._ordinal = plan.loss == "ordinal"
        self.weights: dict[str, NDArray[np.float64]] = {}
        for head in self.heads:
            found = [lesson.scheme.target(head, e.code) for e in lesson.train]
            asked = [target for target in found if target is not None]
            kind = plan.imbalance if plan.imbalance == "weighted" else "none"
            weights = class_weights(asked, kind) if asked else np.ones(0)
            missing = len(lesson.scheme.heads()[head]) - len(weights)
            self.weights[head] = np.pad(weights, (0, missing), constant_values=1.0)

    def of(self, head: str, codes: Sequence[str]) -> tuple[list[int], Tensor, Tensor]:
        """Give the rows a head is asked about, their (n, k) targets and their (n,) weights."""
        found = [self._scheme.target(head, code) for code in codes]
        rows = [row for row, target in enumerate(found) if target is not None]
        indices = [target for target in found if target is not None]
        classes = len(self._scheme.heads()[head])
        soft = soft_targets(
            indices,
            classes,
            neighbour=NEIGHBOUR_MASS if self._ordinal and head.startswith("size:") else 0.0,
            smoothing=0.05 if self._ordinal and head == SUBTYPE else 0.0,
        )
        counts = torch.from_numpy(self.weights[head][indices].astype(np.float32))
        return rows, torch.from_numpy(soft), counts


class _Sampler:
    """Which images an epoch shows: to each head as many as it has a class for, evenly by class.

    What several heads look through together is shown as much as a network of each head's own would
    be; every image then teaches all heads that have a class for it.
    """

    def __init__(
        self, examples: Sequence[Example], targets: _Targets, plan: TrainingConfig
    ) -> None:
        self._seed = plan.seed
        codes = [e.code for e in examples]
        self._heads: list[tuple[NDArray[np.intp], NDArray[np.float64]]] = []
        for head in targets.heads:
            rows, soft, _ = targets.of(head, codes)
            classes = soft.numpy().argmax(1)
            kind = plan.imbalance if plan.imbalance in ("oversample", "sqrt") else "none"
            weights = class_weights(list(classes), kind)[classes]
            self._heads.append((np.array(rows, np.intp), weights / weights.sum()))

    def pick(self, epoch: int) -> NDArray[np.intp]:
        rng = np.random.default_rng([self._seed, epoch, 1])
        return rng.permutation(
            np.concatenate([_evenly(rows, shares, rng) for rows, shares in self._heads])
        )


def _evenly(
    rows: NDArray[np.intp], shares: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.intp]:
    """Pick as many rows as there are, along their cumulated shares: no class is left to luck."""
    shuffled = rng.permutation(len(rows))
    edges = np.cumsum(shares[shuffled])
    at = np.searchsorted(edges, (np.arange(len(rows)) + rng.random()) / len(rows))
    return rows[shuffled[np.minimum(at, len(rows) - 1)]]


@dataclass(frozen=True, slots=True)
class _Batch:
    """What this process is shown of a batch.

    Args:
        pixels: (n, h, w, 3) uint8. valid: (n, h, w) bool.
        codes, counts: Of each image.
        of: Images of the whole batch, over all processes.
    """

    pixels: NDArray[np.uint8]
    valid: NDArray[np.bool_]
    codes: tuple[str, ...]
    counts: tuple[float, ...]
    of: int

    def only(self, rows: NDArray[np.intp]) -> _Batch:
        """Give some of its images."""
        return _Batch(
            self.pixels[rows],
            self.valid[rows],
            tuple(self.codes[row] for row in rows),
            tuple(self.counts[row] for row in rows),
            self.of,
        )


_Coming: TypeAlias = "tuple[int, list[Future[tuple[Frame, Example]]]]"
"""A batch that is being made: how many images it has over all processes, and this one's."""


def _batches(
    picked: NDArray[np.intp],
    examples: Sequence[Example],
    desk: _TrainState,
    plan: TrainingConfig,
    epoch: int,
) -> Iterator[_Batch]:
    """Give an epoch's batches, images of the next ones made while the network works on this one."""
    world = desk.world

    def made(place: int) -> tuple[Frame, Example]:
        example = examples[picked[place]]
        rng = np.random.default_rng([plan.seed, epoch, place, _number(example.key)])
        some = desk.shown.frames(example)
        frame = some[int(rng.integers(len(some)))]
        return augment(frame, rng, rotate=plan.rotate), example

    def begun(start: int, pool: ThreadPoolExecutor) -> _Coming:
        end = min(start + plan.batch, len(picked))
        own = range(start + world.rank, end, world.size)
        return end - start, [pool.submit(made, place) for place in own]

    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        coming: deque[_Coming] = deque()
        for start in range(0, len(picked), plan.batch):
            coming.append(begun(start, pool))
            if len(coming) > _AHEAD:
                yield _stack(*coming.popleft())
        while coming:
            yield _stack(*coming.popleft())


def _stack(of: int, coming: Sequence[Future[tuple[Frame, Example]]]) -> _Batch:
    """Stack frames of several shapes; what is added counts for nothing."""
    made = [one.result() for one in coming]
    frames = [frame for frame, _ in made]
    rows = max((frame.valid.shape[0] for frame in frames), default=0)
    columns = max((frame.valid.shape[1] for frame in frames), default=0)
    pixels = np.zeros((len(frames), rows, columns, 3), np.uint8)
    valid = np.zeros((len(frames), rows, columns), bool)
    for at, frame in enumerate(frames):
        h, w = frame.valid.shape
        around = ((0, rows - h), (0, columns - w))
        pixels[at] = np.pad(frame.pixels, (*around, (0, 0)), mode="symmetric")
        valid[at, :h, :w] = frame.valid
    codes = tuple(example.code for _, example in made)
    return _Batch(pixels, valid, codes, tuple(example.weight for _, example in made), of)


# ------------------------------------------------------------------ one step


@dataclass(frozen=True, slots=True)
class _TrainState:
    """What every step of a lesson works with."""

    eye: Encoder
    layers: nn.ModuleDict
    device: torch.device
    low: bool
    shown: _FrameCache
    targets: _Targets
    world: ProcessGroup


@dataclass(slots=True)
class _MemoryBudget:
    """The memory that a CPU has for a training step.

    Args:
        eye: The network.
        free: Bytes that were free before the training.
        per_pixel: Bytes that a step keeps by pixel; measured with the first batch.
    """

    eye: Encoder
    free: int
    per_pixel: float = 0.0

    @classmethod
    def on_cpu(cls, eye: Encoder) -> _MemoryBudget:
        """Return what is free now."""
        return cls(eye, free_bytes())

    def parts(self, batch: _Batch) -> int:
        """Return into how many micro-batches a batch goes."""
        if not batch.codes:
            return 1
        rows, columns = batch.valid.shape[1:]
        self.per_pixel = self.per_pixel or bytes_per_pixel(self.eye, rows, columns)
        return micro_batches(len(batch.codes), self.per_pixel * rows * columns, self.free)


def _accumulate_gradients(desk: _TrainState, batch: _Batch, parts: int) -> tuple[float, int]:
    """Add up the gradients of a batch; out of memory, it is halved and begun again.

    Args:
        desk: Its networks have no gradients yet.
        batch: What is shown.
        parts: In how many parts the batches before were taken.

    Returns:
        Its part of the whole batch's loss, and in how many parts it was taken.

    Raises:
        TrainingError: One image is too much already.
    """
    n = len(batch.codes)  # the last batch of an epoch can have fewer images than processes
    while n:
        total = _run_micro_batches(desk, batch, min(parts, n))
        if total is not None:
            return total, parts
        parts *= 2
    return 0.0, parts


def _run_micro_batches(desk: _TrainState, batch: _Batch, parts: int) -> float | None:
    """Add up the gradients of a batch in so many parts; None if there is no room for them.

    What did not fit is held by its error alone, so it is gone when this has returned.
    """
    try:
        total = 0.0
        for some in np.array_split(np.arange(len(batch.codes)), parts):
            loss = _loss(desk, batch.only(some)) * (len(some) / batch.of)
            loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        if parts == len(batch.codes):
            raise TrainingError(
                f"There is not enough memory on {desk.device} to train on one frame of "
                f"{batch.pixels.shape[1]} px; take a smaller --frame."
            ) from error
        desk.eye.zero_grad()
        desk.layers.zero_grad()
        return None
    return total


def _all_reduce_gradients(desk: _TrainState, loss: float) -> float:
    """Add up the gradients of all processes, and their parts of the loss.

    A head that no process was asked about keeps no gradient, as where one process teaches alone.
    """
    if desk.world.size == 1:
        return loss
    weights = [*desk.eye.parameters(), *desk.layers.parameters()]
    asked = torch.tensor([w.grad is not None for w in weights], device=desk.device).int()
    whole = torch.tensor([loss], device=desk.device)
    desk.world.all_reduce_sum([asked, whole])
    for weight, count in zip(weights, asked.tolist(), strict=True):
        if count and weight.grad is None:
            weight.grad = torch.zeros_like(weight)
    desk.world.all_reduce_sum(w.grad for w in weights if w.grad is not None)
    return float(whole)


def _loss(desk: _TrainState, batch: _Batch) -> Tensor:
    embedding = _embed(desk, batch.pixels, batch.valid)
    total = embedding.new_zeros(())
    for head in desk.targets.heads:
        rows, soft, weights = desk.targets.of(head, batch.codes)
        if not rows:
            continue
        logits = desk.layers[_key(head)](embedding[rows])
        counts = weights * torch.tensor([batch.counts[row] for row in rows])
        each = -(soft.to(desk.device) * torch.log_softmax(logits.float(), dim=1)).sum(1)
        total = total + (each * counts.to(desk.device)).sum() / len(batch.codes)
    return total


def _embed(desk: _TrainState, pixels: NDArray[np.uint8], valid: NDArray[np.bool_]) -> Tensor:
    given = torch.from_numpy(pixels).to(desk.device, non_blocking=True)
    steel = torch.from_numpy(valid).to(desk.device, non_blocking=True)
    with torch.autocast(desk.device.type, torch.bfloat16, enabled=desk.low):
        features = desk.eye(given)
    return pool_features(features.float(), cell_weights(steel, desk.eye.stride))


@torch.inference_mode()
def _validate(desk: _TrainState, examples: Sequence[Example]) -> tuple[float, float]:
    """Give the mean loss and the share of right answers on validation images."""
    world = desk.world
    told = torch.zeros(3, dtype=torch.float64)  # loss, right, asked
    for example in examples[world.rank :: world.size]:
        embedding = _whole(desk, desk.shown.frames(example))
        for head in desk.targets.heads:
            rows, soft, _ = desk.targets.of(head, [example.code])
            if not rows:
                continue
            shares = torch.log_softmax(desk.layers[_key(head)](embedding).float(), dim=1).cpu()
            right = shares[0].argmax() == soft[0].argmax()
            told += torch.stack([-(soft * shares).sum(), right, torch.ones(())]).double()
    world.all_reduce_sum([told])
    loss, right, asked = told.tolist()
    return (loss / asked, right / asked) if asked else (0.0, 0.0)


def _whole(desk: _TrainState, frames: Sequence[Frame]) -> Tensor:
    """Give the (1, c) embedding of a field over all its frames."""
    total, count = None, 0.0
    for frame in frames:
        one = _embed(desk, frame.pixels[None], frame.valid[None])
        steel = max(1.0, float(frame.valid.sum()))
        total = one * steel if total is None else total + one * steel
        count += steel
    if total is None:
        raise TrainingError("A field has no frame.")
    return total / count


@torch.inference_mode()
def _centre(desk: _TrainState, examples: Sequence[Example]) -> NDArray[np.float64]:
    seen = [_whole(desk, desk.shown.frames(e)).cpu().numpy()[0] for e in examples]
    return np.asarray(np.mean(seen, axis=0), dtype=np.float64)


def _probe(
    desk: _TrainState, lesson: TrainingTask, train: Sequence[Example], plan: TrainingConfig
) -> None:
    """Fit the heads on the untouched network and start from there.

    Source:
        Kumar et al. 2022, arXiv:2202.10054: random heads send wrong gradients into good features.
    """
    with torch.inference_mode():
        shown = [_whole(desk, desk.shown.frames(e)).cpu().numpy()[0] for e in train]
    seen = ProbeData(
        embeddings=np.stack(shown),
        images=np.arange(len(train)),
        codes=[e.code for e in train],
        counts=np.array([e.weight for e in train]),
    )
    for name in lesson.heads:
        head = fit_head(
            lesson.scheme,
            name,
            lesson.name,
            seen,
            imbalance=plan.imbalance,
            ordinal=plan.loss == "ordinal",
        ).head
        state = {
            "weight": torch.from_numpy(head.weight),
            "bias": torch.from_numpy(head.bias - head.weight @ head.centre),
        }
        desk.layers[_key(name)].load_state_dict(state)


def _head(lesson: TrainingTask, name: str, layer: nn.Module, centre: NDArray[np.float64]) -> Head:
    state = {
        key: tensor.detach().cpu().double().numpy() for key, tensor in layer.state_dict().items()
    }
    bias = state["bias"] + state["weight"] @ centre
    classes = lesson.scheme.heads()[name]
    return build_head(name, lesson.name, classes, (state["weight"], bias), centre)


def _lr_schedule(plan: TrainingConfig, steps: int) -> Callable[[int], float]:
    total, warm = max(1, plan.epochs * steps), max(1, int(_WARM_SHARE * plan.epochs * steps))

    def factor(step: int) -> float:
        if plan.schedule == "step":  # the paper's StepLR: a tenth after each third
            return float(0.1 ** (3 * step // total))
        if step < warm:
            return (step + 1) / warm
        return float(0.5 * (1 + np.cos(np.pi * min(1.0, (step - warm) / max(1, total - warm)))))

    return factor


def _device(plan: TrainingConfig) -> str:
    if plan.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return "cpu" if plan.device == "pytorch" else plan.device


def _low_precision(plan: TrainingConfig, device: torch.device, arch: str) -> bool:
    """Say whether to train in bf16: asked for, or it is faster here.

    A processor multiplies it in hardware, but not in depthwise convolutions: with AMX, a step of
    EfficientNet-Lite0 took 50 ms an image in bf16 and 44 ms in fp32, of ResNet-18 27 and 57 ms.
    """
    if plan.precision != "auto":
        return plan.precision == "bf16"
    return has_bf16(str(device)) and (device.type == "cuda" or arch.startswith("resnet"))


def _key(head: str) -> str:
    return head.replace(":", "_").replace(".", "_")


def _number(key: str) -> int:
    return int(hashlib.sha256(key.encode()).hexdigest()[:8], 16)
