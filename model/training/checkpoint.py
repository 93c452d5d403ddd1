"""Save a checkpoint after every epoch, so that an interrupted training resumes exactly.

Every epoch writes new files. The JSON file is written last and names them with their hashes; only
then are the files of the previous epoch deleted. One complete state exists whenever the power or
the disk fails.
"""

from __future__ import annotations

import contextlib
import glob
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from model.durable_file import write_durably
from model.errors import TrainingError
from model.networks.backbones import Encoder, hash_state_dict


@dataclass(frozen=True, slots=True)
class Epoch:
    """Result of one pass over the training images.

    Args:
        number: Counted from 1.
        loss: Mean training loss.
        validation_loss: Mean over the validation images, without augmentation.
        validation_accuracy: Share of correct predictions there, over all heads, in [0, 1].
        best: Whether the validation loss is the lowest so far.
        micro_batches: Number of parts that its batches were split into for lack of memory;
            gradients are accumulated over them.
    """

    number: int
    loss: float
    validation_loss: float
    validation_accuracy: float
    best: bool
    micro_batches: int = 1

    def as_json(self) -> dict[str, Any]:
        """Return the fields for the training record."""
        return asdict(self)

    def sentence(self) -> str:
        """Format the result for a progress bar."""
        parts = self.micro_batches
        return (
            f"loss {self.loss:.3f}, validation {self.validation_loss:.3f}, "
            f"{100 * self.validation_accuracy:.0f} % right"
            + (f"; memory is short: batches in {parts} parts" if parts > 1 else "")
        )


class Checkpoint:
    """Training state after the last complete epoch: tensors as safetensors, the rest as JSON.

    Args:
        folder: Created when the first checkpoint is saved.
        name: Name of the network.
        encoder: The network.
        layers: Its heads.
        optimizer: Optimizer of both, with its state.
        is_writer: Whether this process writes files; exactly one of several does.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        encoder: Encoder,
        layers: nn.ModuleDict,
        optimizer: torch.optim.Optimizer,
        *,
        is_writer: bool = True,
    ) -> None:
        self._stem = folder / name.replace(":", "_").replace(".", "_")
        self._encoder, self._layers, self._optimizer = encoder, layers, optimizer
        self._is_writer = is_writer
        self._best: dict[str, Tensor] | None = None
        self._best_file = ""

    def restore(self, epochs: list[Epoch]) -> tuple[int, float, int]:
        """Load the last checkpoint, if it is complete and intact.

        Args:
            epochs: Replaced by the results of the completed epochs.

        Returns:
            Number of completed epochs, lowest validation loss, and epochs since then.
        """
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RuntimeError):
            facts = json.loads(self._file("json").read_bytes())
            last, best = (load_file(self._file(name)) for name in facts["files"])
            if _hash_state(last) == facts["last"] and _hash_state(best) == facts["best"]:
                self._load_weights(last)
                self._load_optimizer_state(last)
                self._best = {name: tensor.clone() for name, tensor in best.items()}
                self._best_file = facts["files"][1]
                epochs[:] = [Epoch(**epoch) for epoch in facts["epochs"]]
                return len(epochs), float(facts["best_loss"]), int(facts["waited"])
        return 0, float("inf"), 0

    def save(self, epochs: Sequence[Epoch], best_loss: float, waited: int) -> None:
        """Save the state after an epoch; the previous one is valid until this one is complete.

        Args:
            epochs: Results of all completed epochs.
            best_loss: Lowest validation loss.
            waited: Epochs since then.

        Raises:
            TrainingError: It could not be written; the previous state is unchanged.
        """
        number, is_best = epochs[-1].number, epochs[-1].best or self._best is None
        if is_best or self._best is None:
            self._best = {name: tensor.clone() for name, tensor in self._get_weights().items()}
            self._best_file = f"{number}.best.safetensors"
        if not self._is_writer:
            return
        last = self._get_weights() | self._get_optimizer_state()
        last_file = f"{number}.last.safetensors"
        facts = {
            "epochs": [epoch.as_json() for epoch in epochs],
            "best_loss": best_loss,
            "waited": waited,
            "files": [last_file, self._best_file],
            "last": _hash_state(last),
            "best": _hash_state(self._best),
        }
        try:
            self._stem.parent.mkdir(parents=True, exist_ok=True)
            write_durably(self._file(last_file), save(last))
            if is_best:
                write_durably(self._file(self._best_file), save(self._best))
            part = self._file("json.part")
            write_durably(part, json.dumps(facts).encode())
            part.replace(self._file("json"))
        except OSError as error:
            raise TrainingError(
                f"The training could not be kept in {self._stem.parent}: {error.strerror}; "
                "make room and start again, it goes on from the last epoch."
            ) from error
        finally:
            self._delete_stale()

    def _delete_stale(self) -> None:
        """Delete files that the JSON does not name: an earlier epoch, or one that was cut off."""
        current = {self._file("json")}
        with contextlib.suppress(OSError, ValueError, KeyError):
            facts = json.loads(self._file("json").read_bytes())
            current |= {self._file(name) for name in facts["files"]}
        for file in self._stem.parent.glob(f"{glob.escape(self._stem.name)}.*"):
            if file not in current:
                with contextlib.suppress(OSError):
                    file.unlink()

    def restore_best(self) -> None:
        """Load the weights of the epoch with the lowest validation loss."""
        if self._best is not None:
            self._load_weights(self._best)

    def _get_weights(self) -> dict[str, Tensor]:
        modules = (("eye", self._encoder), ("layers", self._layers))
        return {
            f"{prefix}/{name}": tensor.detach().cpu().contiguous()
            for prefix, module in modules
            for name, tensor in module.state_dict().items()
        }

    def _load_weights(self, state: dict[str, Tensor]) -> None:
        for prefix, module in (("eye/", self._encoder), ("layers/", self._layers)):
            module.load_state_dict(
                {
                    key.removeprefix(prefix): tensor
                    for key, tensor in state.items()
                    if key.startswith(prefix)
                }
            )

    def _get_optimizer_state(self) -> dict[str, Tensor]:
        return {
            f"solver/{index}/{name}": tensor.detach().cpu().contiguous()
            for index, values in self._optimizer.state_dict()["state"].items()
            for name, tensor in values.items()
            if isinstance(tensor, Tensor)
        }

    def _load_optimizer_state(self, state: dict[str, Tensor]) -> None:
        """Load the optimizer state in the memory format of the parameters.

        The fused optimizer iterates over both in memory order; a contiguous state next to
        `channels_last` weights would assign values to the wrong weights.
        """
        state_dict = self._optimizer.state_dict()
        weights = [w for group in self._optimizer.param_groups for w in group["params"]]
        by_index: dict[int, dict[str, Tensor]] = {}
        for key, tensor in state.items():
            if key.startswith("solver/"):
                _, index, name = key.split("/")
                laid_out = _match_layout(tensor, weights[int(index)])
                by_index.setdefault(int(index), {})[name] = laid_out
        self._optimizer.load_state_dict({**state_dict, "state": by_index})

    def _file(self, ending: str) -> Path:
        return self._stem.with_name(f"{self._stem.name}.{ending}")


def _match_layout(tensor: Tensor, like: Tensor) -> Tensor:
    """Copy a tensor into the memory format of another; scalars such as the step are returned."""
    if tensor.shape != like.shape:
        return tensor
    return torch.empty_like(like, device="cpu").copy_(tensor)


def _hash_state(state: dict[str, Tensor]) -> str:
    return hash_state_dict(state)[:16]
