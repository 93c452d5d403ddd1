"""Muon: momentum whose update is orthogonalised, for the weights of convolutions.

Source:
    Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"; the coefficients
    of the Newton-Schulz iteration are theirs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor
    from torch.nn import Parameter

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
