"""Fine-tune a whole network with its heads, epoch by epoch, with early stopping.

A checkpoint is saved after every epoch, and every random draw is seeded by configuration, epoch
and image, so an interrupted training resumes exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from model.data.dataset import Example
from model.errors import TrainingError
from model.networks.linear_probe import ProbeData, build_head, fit_head
from model.networks.schemes import Head
from model.runtime.engines import has_bf16
from model.training.batches import FrameCache, Sampler, Targets, iter_batches
from model.training.checkpoint import Checkpoint, Epoch
from model.training.config import TrainingConfig, TrainingTask
from model.training.distributed import SINGLE_PROCESS, ProcessGroup
from model.training.gradients import (
    MemoryBudget,
    TrainState,
    accumulate_gradients,
    all_reduce_gradients,
    compute_mean_embedding,
    compute_validation_loss,
    embed_field,
    get_module_key,
)

_HEAD_LR_FACTOR = 10.0
_WARMUP_SHARE = 0.05  # of all steps
_WEIGHT_DECAY = 1e-4


def fine_tune(
    task: TrainingTask,
    config: TrainingConfig,
    checkpoint_folder: Path,
    processes: ProcessGroup = SINGLE_PROCESS,
) -> Iterator[Epoch]:
    """Train a network and its heads together.

    Args:
        task: Network and examples; afterwards it holds the best epoch's network and heads.
        config: The training configuration.
        checkpoint_folder: Created if missing; a checkpoint in it is resumed.
        processes: Processes that train this task together; they share the folder.

    Yields:
        The result of each epoch.

    Raises:
        TrainingError: The loss is not finite, the disk refused a write, or a GPU failed.
    """
    device = torch.device(_select_device(config))
    try:
        yield from _train_epochs(task, config, checkpoint_folder, processes, device)
    except RuntimeError as error:  # CUDA reports errors at any later call
        if device.type == "cpu":
            raise
        raise TrainingError(
            f"The GPU {device} does not answer any more ({error}); start again, it goes on "
            "from the last epoch, or set model.device to cpu."
        ) from error


def _train_epochs(
    task: TrainingTask,
    config: TrainingConfig,
    checkpoint_folder: Path,
    processes: ProcessGroup,
    device: torch.device,
) -> Iterator[Epoch]:
    layers = nn.ModuleDict(
        {
            get_module_key(name): nn.Linear(task.encoder.channels, len(task.scheme.heads()[name]))
            for name in task.heads
        }
    )
    encoder = task.encoder.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    layers.to(device)
    train, validation = task.select_examples(task.train), task.select_examples(task.validation)
    frame_cache = FrameCache(task.framing)
    targets = Targets(task, config)
    state = TrainState(
        encoder,
        layers,
        device,
        _use_bf16(config, device, encoder.backbone.arch),
        frame_cache,
        targets,
        processes,
    )
    sampler = Sampler(train, targets, config)
    steps = max(1, -(-len(sampler.sample(0)) // config.batch))
    optimizer = torch.optim.AdamW(
        [
            {"params": encoder.parameters(), "lr": config.learning_rate},
            {"params": layers.parameters(), "lr": config.learning_rate * _HEAD_LR_FACTOR},
        ],
        weight_decay=_WEIGHT_DECAY,
        fused=True,
    )
    lr_schedule = _lr_schedule(config, steps)
    base_rates = [group["lr"] for group in optimizer.param_groups]
    checkpoint = Checkpoint(
        checkpoint_folder, task.name, encoder, layers, optimizer, is_writer=processes.is_main
    )
    completed, best_loss, waited = checkpoint.restore(task.epochs)
    processes.require_equal(
        str(completed), "it does not see the state that the first one goes on from."
    )
    if not completed and config.start == "probe" and encoder.backbone.pretrained:
        _fit_initial_heads(state, task, train, config)
    memory = MemoryBudget.measure(encoder) if device.type == "cpu" else None
    step, parts = completed * steps, 1
    for number in range(completed + 1, config.epochs + 1):
        if waited >= config.patience:
            break
        encoder.train()
        losses = []
        for batch in iter_batches(
            sampler.sample(number),
            train,
            config,
            number,
            frame_cache=frame_cache,
            processes=processes,
        ):
            optimizer.zero_grad()
            parts = max(parts, memory.count_parts(batch)) if memory else parts
            loss, parts = accumulate_gradients(state, batch, parts)
            loss = all_reduce_gradients(state, loss)
            if not np.isfinite(loss):
                raise TrainingError(
                    f"The loss of {task.name} is no number any more after {number} epochs; "
                    "train with a smaller learning rate."
                )
            for group, rate in zip(optimizer.param_groups, base_rates, strict=True):
                group["lr"] = rate * lr_schedule(step)
            nn.utils.clip_grad_norm_([*encoder.parameters(), *layers.parameters()], 5.0)
            optimizer.step()
            step += 1
            losses.append(loss)
        encoder.eval()
        processes.all_reduce_mean(
            buffer for buffer in encoder.buffers() if buffer.is_floating_point()
        )
        val_loss, accuracy = compute_validation_loss(state, validation)
        is_best = val_loss < best_loss
        best_loss, waited = (val_loss, 0) if is_best else (best_loss, waited + 1)
        mean = float(np.mean(losses))
        task.epochs.append(Epoch(number, mean, val_loss, accuracy, is_best, parts))
        checkpoint.save(task.epochs, best_loss, waited)
        yield task.epochs[-1]
    checkpoint.restore_best()
    encoder.eval()
    centre = compute_mean_embedding(state, train)
    task.encoder = encoder.to("cpu")
    for name in task.heads:
        task.fitted_heads[name] = _build_head(task, name, layers[get_module_key(name)], centre)


def _fit_initial_heads(
    state: TrainState, task: TrainingTask, train: Sequence[Example], config: TrainingConfig
) -> None:
    """Initialise the heads by a linear probe on the pretrained network.

    Source:
        Kumar et al. 2022, arXiv:2202.10054: random heads send gradients that distort good features.
    """
    with torch.inference_mode():
        embeddings = [
            embed_field(state, state.frame_cache.frames(example)).cpu().numpy()[0]
            for example in train
        ]
    data = ProbeData(
        embeddings=np.stack(embeddings),
        images=np.arange(len(train)),
        codes=[example.code for example in train],
        counts=np.array([example.weight for example in train]),
    )
    for name in task.heads:
        head, _ = fit_head(
            task.scheme,
            name,
            task.name,
            data,
            imbalance=config.sampling,
            ordinal=config.loss == "ordinal",
        )
        parameters = {
            "weight": torch.from_numpy(head.weight),
            "bias": torch.from_numpy(head.bias - head.weight @ head.centre),
        }
        state.layers[get_module_key(name)].load_state_dict(parameters)


def _build_head(
    task: TrainingTask, name: str, layer: nn.Module, centre: NDArray[np.float64]
) -> Head:
    state = {
        key: tensor.detach().cpu().double().numpy() for key, tensor in layer.state_dict().items()
    }
    bias = state["bias"] + state["weight"] @ centre
    classes = task.scheme.heads()[name]
    return build_head(name, task.name, classes, (state["weight"], bias), centre)


def _lr_schedule(config: TrainingConfig, steps: int) -> Callable[[int], float]:
    """Return the factor on the learning rate as a function of the step."""
    total, warm = max(1, config.epochs * steps), max(1, int(_WARMUP_SHARE * config.epochs * steps))

    def factor(step: int) -> float:
        if config.schedule == "step":  # the paper's StepLR: a tenth after each third
            return float(0.1 ** (3 * step // total))
        if step < warm:
            return (step + 1) / warm
        return float(0.5 * (1 + np.cos(np.pi * min(1.0, (step - warm) / max(1, total - warm)))))

    return factor


def _select_device(config: TrainingConfig) -> str:
    if config.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return "cpu" if config.device == "pytorch" else config.device


def _use_bf16(config: TrainingConfig, device: torch.device, arch: str) -> bool:
    """Return whether to train in bf16: as configured, or because it is faster here.

    A CPU multiplies bf16 in hardware, except in depthwise convolutions. MEASURED with AMX, per
    image: a step of EfficientNet-Lite0 50 ms in bf16 and 44 ms in fp32, of ResNet-18 27 and 57 ms.
    """
    if config.precision != "auto":
        return config.precision == "bf16"
    return has_bf16(str(device)) and (device.type == "cuda" or arch.startswith("resnet"))
