"""Teach a whole network, epoch by epoch, and stop when it no longer gets better.

In:  a `Lesson`. Out: an `Epoch` after each; the lesson's network and heads are then the best ones.
Next: `training`. After every epoch the state is kept aside, and every chance is drawn from seed,
epoch and image, so an interrupted training goes on as if nothing had happened.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from model.errors import TrainingError
from model.frame import augmented
from model.heads import NEIGHBOUR_DOUBT, Seen, class_weights, fit_head, head_from
from model.network import cells, fingerprint, pooled
from model.runtime import multiplies_bf16
from model.scheme import SUBTYPE, soft_targets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from model.dataset import Example
    from model.frame import Frame, Framing
    from model.network import Eye
    from model.plan import Plan
    from model.scheme import Head, Scheme

_KEPT_BYTES = 2_000_000_000
"""Frames of training images are kept in memory up to this."""

_HEAD_FASTER = 10.0
_WARM_SHARE = 0.05
_DECAY = 1e-4


@dataclass(slots=True)
class Lesson:
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

    eye: Eye
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


@dataclass(frozen=True, slots=True)
class Epoch:
    """How one pass over the training images went.

    Args:
        number: Counted from 1.
        loss: Mean training loss.
        validation_loss: Mean over the validation images, without augmentation.
        validation_accuracy: Share of right answers of all heads there.
        best: Whether it is the best so far.
    """

    number: int
    loss: float
    validation_loss: float
    validation_accuracy: float
    best: bool

    def as_json(self) -> dict[str, Any]:
        """Give it for the record."""
        return asdict(self)

    def sentence(self) -> str:
        """Say it for a progress bar."""
        return (
            f"loss {self.loss:.3f}, validation {self.validation_loss:.3f}, "
            f"{100 * self.validation_accuracy:.0f} % right"
        )


def fit_whole(lesson: Lesson, plan: Plan, aside: Path) -> Iterator[Epoch]:
    """Teach a lesson's network and heads together.

    Args:
        lesson: What to teach; its eye and found heads are the best ones when the last epoch is out.
        plan: How.
        aside: Folder for the state after each epoch; it is made, and taken up if it is there.

    Raises:
        TrainingError: The loss is no number any more, or the disk refused.
    """
    device = torch.device(_device(plan))
    layers = nn.ModuleDict(
        {
            _key(n): nn.Linear(lesson.eye.channels, len(lesson.scheme.heads()[n]))
            for n in lesson.heads
        }
    )
    eye = lesson.eye.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    layers.to(device)
    train, validation = lesson.asked(lesson.train), lesson.asked(lesson.validation)
    shown = _Shown(lesson.framing)
    targets = _Targets(lesson, plan)
    desk = _Desk(eye, layers, device, _low(plan, device), shown, targets)
    order = _Order(train, targets, plan)
    steps = max(1, -(-len(order.pick(0)) // plan.batch))
    solver = torch.optim.AdamW(
        [
            {"params": eye.parameters(), "lr": plan.learning_rate},
            {"params": layers.parameters(), "lr": plan.learning_rate * _HEAD_FASTER},
        ],
        weight_decay=_DECAY,
        fused=True,
    )
    pace = _pace(plan, steps)
    rates = [group["lr"] for group in solver.param_groups]
    place = _Place(aside, lesson.name, eye, layers, solver)
    done, best, waited = place.take_up(lesson.epochs)
    if not done and plan.start == "probe":
        _probe(desk, lesson, train, plan)
    step = done * steps
    for number in range(done + 1, plan.epochs + 1):
        if waited >= plan.patience:
            break
        eye.train()
        losses = []
        for batch in _batches(order.pick(number), train, shown, plan, number):
            loss = _loss(desk, batch)
            if not torch.isfinite(loss):
                raise TrainingError(
                    f"The loss of {lesson.name} is no number any more after {number} epochs; "
                    "train with a smaller learning rate."
                )
            for group, rate in zip(solver.param_groups, rates, strict=True):
                group["lr"] = rate * pace(step)
            solver.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_([*eye.parameters(), *layers.parameters()], 5.0)
            solver.step()
            step += 1
            losses.append(float(loss.detach()))
        eye.eval()
        held_loss, accuracy = _checked(desk, validation)
        better = held_loss < best
        best, waited = (held_loss, 0) if better else (best, waited + 1)
        lesson.epochs.append(Epoch(number, float(np.mean(losses)), held_loss, accuracy, better))
        place.keep(lesson.epochs, best, waited)
        yield lesson.epochs[-1]
    place.restore_best()
    eye.eval()
    centre = _centre(desk, train)
    lesson.eye = eye.to("cpu")
    for name in lesson.heads:
        lesson.found[name] = _head(lesson, name, layers[_key(name)], centre)


# ------------------------------------------------------------------ what is shown, in which order


class _Shown:
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

    def __init__(self, lesson: Lesson, plan: Plan) -> None:
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
            neighbour=NEIGHBOUR_DOUBT if self._ordinal and head.startswith("size:") else 0.0,
            smoothing=0.05 if self._ordinal and head == SUBTYPE else 0.0,
        )
        counts = torch.from_numpy(self.weights[head][indices].astype(np.float32))
        return rows, torch.from_numpy(soft), counts


class _Order:
    """Which images an epoch shows: each once, or the rare ones more often."""

    def __init__(self, examples: Sequence[Example], targets: _Targets, plan: Plan) -> None:
        self._n, self._seed = len(examples), plan.seed
        kind = {"oversample": "oversample", "sqrt": "sqrt"}.get(plan.imbalance)
        self._shares: NDArray[np.float64] | None = None
        if kind is not None:
            names = targets.heads
            codes = [_class_of(targets, names, e.code) for e in examples]
            known = sorted(set(codes))
            at = [known.index(code) for code in codes]
            weights = class_weights(at, kind)[at]
            self._shares = weights / weights.sum()

    def pick(self, epoch: int) -> NDArray[np.intp]:
        rng = np.random.default_rng([self._seed, epoch, 1])
        if self._shares is None:
            return rng.permutation(self._n)
        # Even picks along the cumulated shares: every class gets its share in every epoch.
        shuffled = rng.permutation(self._n)
        edges = np.cumsum(self._shares[shuffled])
        at = np.searchsorted(edges, (np.arange(self._n) + rng.random()) / self._n)
        return rng.permutation(shuffled[np.minimum(at, self._n - 1)])


def _class_of(targets: _Targets, heads: Sequence[str], code: str) -> tuple[int, ...]:
    found = []
    for head in heads:
        rows, soft, _ = targets.of(head, [code])
        found.append(int(soft[0].argmax()) if rows else -1)
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Batch:
    pixels: NDArray[np.uint8]
    valid: NDArray[np.bool_]
    codes: tuple[str, ...]
    counts: tuple[float, ...]


def _batches(
    picked: NDArray[np.intp],
    examples: Sequence[Example],
    shown: _Shown,
    plan: Plan,
    epoch: int,
) -> Iterator[_Batch]:
    """Give an epoch's batches, the next ones made while the network works on this one."""

    def made(start: int) -> _Batch:
        frames, codes, counts = [], [], []
        for place in range(start, min(start + plan.batch, len(picked))):
            example = examples[picked[place]]
            rng = np.random.default_rng([plan.seed, epoch, place, _number(example.key)])
            some = shown.frames(example)
            frame = some[int(rng.integers(len(some)))]
            frames.append(augmented(frame, rng, rotate=plan.rotate))
            codes.append(example.code)
            counts.append(example.weight)
        return _stacked(frames, tuple(codes), tuple(counts))

    starts = range(0, len(picked), plan.batch)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        waiting = [pool.submit(made, start) for start in starts[:3]]
        for at in range(len(starts)):
            batch = waiting.pop(0).result()
            if at + 3 < len(starts):
                waiting.append(pool.submit(made, starts[at + 3]))
            yield batch


def _stacked(frames: Sequence[Frame], codes: tuple[str, ...], counts: tuple[float, ...]) -> _Batch:
    """Stack frames of several shapes; what is added counts for nothing."""
    rows = max(frame.valid.shape[0] for frame in frames)
    columns = max(frame.valid.shape[1] for frame in frames)
    pixels = np.zeros((len(frames), rows, columns, 3), np.uint8)
    valid = np.zeros((len(frames), rows, columns), bool)
    for at, frame in enumerate(frames):
        h, w = frame.valid.shape
        around = ((0, rows - h), (0, columns - w))
        pixels[at] = np.pad(frame.pixels, (*around, (0, 0)), mode="symmetric")
        valid[at, :h, :w] = frame.valid
    return _Batch(pixels, valid, codes, counts)


# ------------------------------------------------------------------ one step


@dataclass(frozen=True, slots=True)
class _Desk:
    """What every step of a lesson works with."""

    eye: Eye
    layers: nn.ModuleDict
    device: torch.device
    low: bool
    shown: _Shown
    targets: _Targets


def _loss(desk: _Desk, batch: _Batch) -> Tensor:
    embedding = _embedding(desk, batch.pixels, batch.valid)
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


def _embedding(desk: _Desk, pixels: NDArray[np.uint8], valid: NDArray[np.bool_]) -> Tensor:
    given = torch.from_numpy(pixels).to(desk.device, non_blocking=True)
    steel = torch.from_numpy(valid).to(desk.device, non_blocking=True)
    with torch.autocast(desk.device.type, torch.bfloat16, enabled=desk.low):
        features = desk.eye(given)
    return pooled(features.float(), cells(steel, desk.eye.stride))


@torch.inference_mode()
def _checked(desk: _Desk, examples: Sequence[Example]) -> tuple[float, float]:
    """Give the mean loss and the share of right answers on validation images."""
    losses, right, asked = [], 0, 0
    for example in examples:
        embedding = _whole(desk, desk.shown.frames(example))
        for head in desk.targets.heads:
            rows, soft, _ = desk.targets.of(head, [example.code])
            if not rows:
                continue
            shares = torch.log_softmax(desk.layers[_key(head)](embedding).float(), dim=1).cpu()
            losses.append(-float((soft * shares).sum()))
            right += int(shares[0].argmax() == soft[0].argmax())
            asked += 1
    return (float(np.mean(losses)), right / asked) if asked else (0.0, 0.0)


def _whole(desk: _Desk, frames: Sequence[Frame]) -> Tensor:
    """Give the (1, c) embedding of a field over all its frames."""
    total, count = None, 0.0
    for frame in frames:
        one = _embedding(desk, frame.pixels[None], frame.valid[None])
        steel = max(1.0, float(frame.valid.sum()))
        total = one * steel if total is None else total + one * steel
        count += steel
    if total is None:
        raise TrainingError("A field has no frame.")
    return total / count


@torch.inference_mode()
def _centre(desk: _Desk, examples: Sequence[Example]) -> NDArray[np.float64]:
    seen = [_whole(desk, desk.shown.frames(e)).cpu().numpy()[0] for e in examples]
    return np.asarray(np.mean(seen, axis=0), dtype=np.float64)


def _probe(desk: _Desk, lesson: Lesson, train: Sequence[Example], plan: Plan) -> None:
    """Fit the heads on the untouched network and start from there.

    Source:
        Kumar et al. 2022, arXiv:2202.10054: random heads send wrong gradients into good features.
    """
    with torch.inference_mode():
        shown = [_whole(desk, desk.shown.frames(e)).cpu().numpy()[0] for e in train]
    seen = Seen(
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


def _head(lesson: Lesson, name: str, layer: nn.Module, centre: NDArray[np.float64]) -> Head:
    state = {
        key: tensor.detach().cpu().double().numpy() for key, tensor in layer.state_dict().items()
    }
    bias = state["bias"] + state["weight"] @ centre
    classes = lesson.scheme.heads()[name]
    return head_from(name, lesson.name, classes, (state["weight"], bias), centre)


def _pace(plan: Plan, steps: int) -> Callable[[int], float]:
    total, warm = max(1, plan.epochs * steps), max(1, int(_WARM_SHARE * plan.epochs * steps))

    def factor(step: int) -> float:
        if plan.schedule == "step":  # the paper's StepLR: a tenth after each third
            return float(0.1 ** (3 * step // total))
        if step < warm:
            return (step + 1) / warm
        return float(0.5 * (1 + np.cos(np.pi * min(1.0, (step - warm) / max(1, total - warm)))))

    return factor


def _device(plan: Plan) -> str:
    if plan.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return "cpu" if plan.device == "pytorch" else plan.device


def _low(plan: Plan, device: torch.device) -> bool:
    """Say whether to train in bf16: asked for, or the processor multiplies it in hardware."""
    if plan.precision != "auto":
        return plan.precision == "bf16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return multiplies_bf16()


def _key(head: str) -> str:
    return head.replace(":", "_").replace(".", "_")


def _number(key: str) -> int:
    return int(hashlib.sha256(key.encode()).hexdigest()[:8], 16)


# ------------------------------------------------------------------ kept aside


class _Place:
    """Where the state after each epoch lies: tensors as safetensors, the rest as JSON."""

    def __init__(
        self,
        folder: Path,
        name: str,
        eye: Eye,
        layers: nn.ModuleDict,
        solver: torch.optim.Optimizer,
    ) -> None:
        self._stem = folder / _key(name)
        self._eye, self._layers, self._solver = eye, layers, solver
        self._best: dict[str, Tensor] | None = None

    def take_up(self, epochs: list[Epoch]) -> tuple[int, float, int]:
        """Go on where an interrupted training stopped; epochs done, best loss, epochs waited.

        How the epochs done went is put into `epochs`.
        """
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RuntimeError):
            facts = json.loads(self._file("json").read_bytes())
            last = load_file(self._file("last.safetensors"))
            best = load_file(self._file("best.safetensors"))
            if _sum(last) == facts["last"] and _sum(best) == facts["best"]:
                self._put(last)
                self._put_solver(last)
                self._best = best
                epochs[:] = [Epoch(**epoch) for epoch in facts["epochs"]]
                return len(epochs), float(facts["best_loss"]), int(facts["waited"])
        return 0, float("inf"), 0

    def keep(self, epochs: Sequence[Epoch], best_loss: float, waited: int) -> None:
        """Write the state after an epoch; the JSON comes last, so half a state is no state."""
        last = self._get() | self._get_solver()
        if epochs[-1].best or self._best is None:
            self._best = {name: tensor.clone() for name, tensor in self._get().items()}
        facts = {
            "epochs": [epoch.as_json() for epoch in epochs],
            "best_loss": best_loss,
            "waited": waited,
            "last": _sum(last),
            "best": _sum(self._best),
        }
        try:
            self._stem.parent.mkdir(parents=True, exist_ok=True)
            self._write("last.safetensors", save(last))
            self._write("best.safetensors", save(self._best))
            self._write("json", json.dumps(facts).encode())
        except OSError as error:
            raise TrainingError(
                f"The training could not be kept in {self._stem.parent.name}: {error.strerror}; "
                "make room and start again, it goes on from the last epoch."
            ) from error

    def restore_best(self) -> None:
        """Make the best epoch's network the one that counts."""
        if self._best is not None:
            self._put(self._best)

    def _get(self) -> dict[str, Tensor]:
        modules = (("eye", self._eye), ("layers", self._layers))
        return {
            f"{prefix}/{name}": tensor.detach().cpu().contiguous()
            for prefix, module in modules
            for name, tensor in module.state_dict().items()
        }

    def _put(self, state: dict[str, Tensor]) -> None:
        for prefix, module in (("eye/", self._eye), ("layers/", self._layers)):
            module.load_state_dict(
                {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}
            )

    def _get_solver(self) -> dict[str, Tensor]:
        return {
            f"solver/{index}/{name}": tensor.detach().cpu().contiguous()
            for index, values in self._solver.state_dict()["state"].items()
            for name, tensor in values.items()
            if isinstance(tensor, Tensor)
        }

    def _put_solver(self, state: dict[str, Tensor]) -> None:
        """Put back what the solver remembers, laid out in memory as the parameters are.

        The fused solver walks both in the order of memory, so a plain layout beside `channels_last`
        would mix up what belongs to which weight.
        """
        document = self._solver.state_dict()
        weights = [w for group in self._solver.param_groups for w in group["params"]]
        values: dict[int, dict[str, Tensor]] = {}
        for key, tensor in state.items():
            if key.startswith("solver/"):
                _, index, name = key.split("/")
                values.setdefault(int(index), {})[name] = _laid_out(tensor, weights[int(index)])
        self._solver.load_state_dict({**document, "state": values})

    def _file(self, ending: str) -> Path:
        return self._stem.with_name(f"{self._stem.name}.{ending}")

    def _write(self, ending: str, data: bytes) -> None:
        part = self._file(f"{ending}.part")
        part.write_bytes(data)
        part.replace(self._file(ending))


def _laid_out(tensor: Tensor, like: Tensor) -> Tensor:
    """Copy a tensor in another one's order of memory; a count has no such order."""
    if tensor.shape != like.shape:
        return tensor
    return torch.empty_like(like, device="cpu").copy_(tensor)


def _sum(state: dict[str, Tensor]) -> str:
    return fingerprint(state)[:16]
