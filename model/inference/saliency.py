"""Show what a network looked at, as a by-product of the pass that gave the answer.

In:  the logits of every cell, and the head that judged their mean. Out: signed evidence per cell.
Next: `classify` keeps it. The answer is a mean over cells followed by a linear head, so the
gradient that Grad-CAM averages is the head's weight itself: no backward pass, nothing approximate,
and a handful of logits per cell is all that has to leave the place where a network runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from model.networks.schemes import Head


def evidence(by_cell: NDArray[np.float32], head: Head, index: int) -> NDArray[np.float32]:
    """Say how much every cell speaks for a class.

    Args:
        by_cell: (k, rows, columns) float32, the logits of every cell.
        head: The head that gave them.
        index: The class.

    Returns:
        (rows, columns) float32, signed; its mean over valid cells plus the head's bias is the
        logit of the class. 0 = as in the average training image.

    Source:
        Zhou et al. 2016, arXiv:1512.04150; equal to Grad-CAM (Selvaraju et al. 2017,
        arXiv:1610.02391) before its ReLU for a network that ends in mean and linear layer. Ours
        subtracts the training mean of the features, which moves a constant into the bias.
    """
    found: NDArray[np.float32] = by_cell[index] - head.bias[index]
    return found


def contrast(
    by_cell: NDArray[np.float32], head: Head, index: int, other: int
) -> NDArray[np.float32]:
    """Say how much every cell speaks for one class and against another: "why 8 and not 7".

    Args:
        by_cell: (k, rows, columns) float32, the logits of every cell.
        head: The head that gave them.
        index: The class spoken for.
        other: The class spoken against.

    Returns:
        (rows, columns) float32; its mean plus the difference of biases is that of the logits.
    """
    return evidence(by_cell, head, index) - evidence(by_cell, head, other)


def grad_cam(by_cell: NDArray[np.float32], head: Head, index: int) -> NDArray[np.float32]:
    """Give the map the paper shows: Grad-CAM after its ReLU, (rows, columns) float32, >= 0."""
    offset = float(head.weight[index].astype(np.float64) @ head.centre)
    raw = evidence(by_cell, head, index) + offset
    return np.maximum(raw / raw.size, 0.0).astype(np.float32)


def coarser_margin(by_cell: NDArray[np.float32], at: int) -> NDArray[np.float32]:
    """Say how much every cell looks coarser than a size.

    Args:
        by_cell: (k, rows, columns) float32 from `logits_by_cell`, coarse to fine.
        at: Which of the k sizes; at least 1, as nothing is coarser than the coarsest.

    Returns:
        (rows, columns) float32: how far the best coarser size lies before the best other one, in
        logits; above 0 the cell looks coarser.
    """
    return np.asarray(by_cell[:at].max(axis=0) - by_cell[at:].max(axis=0), dtype=np.float32)


def evidence_limit(values: Sequence[NDArray[np.float32]]) -> float:
    """Say which evidence gets the full colour on every map of a stage.

    Args:
        values: Evidence of valid cells, one array per validation image.

    Returns:
        The 99th percentile of its size, so that one scale serves all images and few cells leave
        it; 0 where there is none.
    """
    seen = np.abs(np.concatenate([v.ravel() for v in values])) if values else np.zeros(0)
    return float(np.percentile(seen, 99)) if seen.size else 0.0


def crop_to_field(
    evidence_map: NDArray[np.float32], extent: tuple[int, int], stride: int, *, fine: bool = False
) -> NDArray[np.float16]:
    """Cut a map to the part of its frame that shows the field.

    Args:
        evidence_map: (rows, columns) float32 over a frame.
        extent: Rows and columns of the frame that show the field, in pixels.
        stride: Pixels per cell.
        fine: Write 4 × 4 equal cells for each in any case.

    Returns:
        (rows, columns) float16 that covers the field and nothing else; where the field ends inside
        a cell, every cell is written as 4 × 4 equal ones, so that a picture of it fits.
    """
    height, width = extent
    half = evidence_map.astype(np.float16)
    if not fine and height % stride == 0 and width % stride == 0:
        return half[: height // stride, : width // stride]
    drawn = np.repeat(np.repeat(half, 4, axis=0), 4, axis=1)
    rows, columns = (max(1, round(4 * side / stride)) for side in extent)
    return drawn[:rows, :columns]
