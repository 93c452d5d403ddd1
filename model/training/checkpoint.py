"""Keep a training's state after every epoch, so that an interrupted one goes on exactly.

In:  a network, its heads and its solver. Out: the same, as they were after the last whole epoch.
Next: `fitting`. Every epoch writes files of its own; the JSON comes last and names them, with their
hashes, and only then the files of the epoch before go: whenever the power or the disk fails, there
is one whole state.
"""

from __future__ import annotations

import contextlib
import glob
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from model.durable_file import write_durably
from model.errors import TrainingError
from model.networks.backbones import hash_state_dict

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import nn

    from model.networks.encoder import Encoder


@dataclass(frozen=True, slots=True)
class Epoch:
    """How one pass over the training images went.

    Args:
        number: Counted from 1.
        loss: Mean training loss.
        validation_loss: Mean over the validation images, without augmentation.
        validation_accuracy: Share of right answers of all heads there.
        best: Whether it is the best so far.
        micro_batches: In how many parts its batches were taken, for want of memory; their
            gradients are added up.
    """

    number: int
    loss: float
    validation_loss: float
    validation_accuracy: float
    best: bool
    micro_batches: int = 1

    def as_json(self) -> dict[str, Any]:
        """Give it for the record."""
        return asdict(self)

    def sentence(self) -> str:
        """Say it for a progress bar."""
        parts = self.micro_batches
        return (
            f"loss {self.loss:.3f}, validation {self.validation_loss:.3f}, "
            f"{100 * self.validation_accuracy:.0f} % right"
            + (f"; memory is short: batches in {parts} parts" if parts > 1 else "")
        )


class Checkpoint:
    """Where the state after each epoch lies: tensors as safetensors, the rest as JSON.

    Args:
        folder: Made when the first epoch is kept.
        name: The network's.
        eye: The network.
        layers: Its heads.
        solver: What changes both, with what it remembers.
        writes: Whether the state is also written; of several processes one writes.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        eye: Encoder,
        layers: nn.ModuleDict,
        solver: torch.optim.Optimizer,
        *,
        writes: bool = True,
    ) -> None:
        self._stem = folder / name.replace(":", "_").replace(".", "_")
        self._eye, self._layers, self._solver = eye, layers, solver
        self._writes = writes
        self._best: dict[str, Tensor] | None = None
        self._best_file = ""

    def restore(self, epochs: list[Epoch]) -> tuple[int, float, int]:
        """Go on where an interrupted training stopped; epochs done, best loss, epochs waited.

        How the epochs done went is put into `epochs`.
        """
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RuntimeError):
            facts = json.loads(self._file("json").read_bytes())
            last, best = (load_file(self._file(name)) for name in facts["files"])
            if _sum(last) == facts["last"] and _sum(best) == facts["best"]:
                self._put(last)
                self._put_solver(last)
                self._best = {name: tensor.clone() for name, tensor in best.items()}
                self._best_file = facts["files"][1]
                epochs[:] = [Epoch(**epoch) for epoch in facts["epochs"]]
                return len(epochs), float(facts["best_loss"]), int(facts["waited"])
        return 0, float("inf"), 0

    def keep(self, epochs: Sequence[Epoch], best_loss: float, waited: int) -> None:
        """Write the state after an epoch; until it is whole the one before counts.

        Raises:
            TrainingError: It could not be written; the state before is as it was.
        """
        number, is_best = epochs[-1].number, epochs[-1].best or self._best is None
        if is_best or self._best is None:
            self._best = {name: tensor.clone() for name, tensor in self._get().items()}
            self._best_file = f"{number}.best.safetensors"
        if not self._writes:
            return
        last, last_file = self._get() | self._get_solver(), f"{number}.last.safetensors"
        facts = {
            "epochs": [epoch.as_json() for epoch in epochs],
            "best_loss": best_loss,
            "waited": waited,
            "files": [last_file, self._best_file],
            "last": _sum(last),
            "best": _sum(self._best),
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
            self._sweep()

    def _sweep(self) -> None:
        """Delete what the JSON does not name: an earlier epoch, or half a state on a full disk."""
        named = {self._file("json")}
        with contextlib.suppress(OSError, ValueError, KeyError):
            facts = json.loads(self._file("json").read_bytes())
            named |= {self._file(name) for name in facts["files"]}
        for file in self._stem.parent.glob(f"{glob.escape(self._stem.name)}.*"):
            if file not in named:
                with contextlib.suppress(OSError):
                    file.unlink()

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


def _laid_out(tensor: Tensor, like: Tensor) -> Tensor:
    """Copy a tensor in another one's order of memory; a count has no such order."""
    if tensor.shape != like.shape:
        return tensor
    return torch.empty_like(like, device="cpu").copy_(tensor)


def _sum(state: dict[str, Tensor]) -> str:
    return hash_state_dict(state)[:16]
