"""Loss of the needle network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

    from model.needles.drawing import DrawnField
    from model.needles.truth import NeedleTargets

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
