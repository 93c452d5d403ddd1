"""Saliency: signed evidence per cell, exact and without a backward pass.

A prediction is the mean over cells followed by a linear head, so the gradient that Grad-CAM
averages is the head's weight itself. A few logits per cell suffice; feature maps stay on the
device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from model.networks.schemes import Head

_LARGEST_HALF = float(np.finfo(np.float16).max)


def compute_evidence(by_cell: NDArray[np.float32], head: Head, index: int) -> NDArray[np.float32]:
    """Compute the evidence of every cell for a class.

    Args:
        by_cell: (k, rows, columns) float32, the logits of every cell.
        head: The head that computed them.
        index: Index of the class.

    Returns:
        (rows, columns) float32, signed; its weighted mean over cells plus the head's bias is the
        logit of the class. 0 = as in the average training image.

    Source:
        Zhou et al. 2016, arXiv:1512.04150; equal to Grad-CAM (Selvaraju et al. 2017,
        arXiv:1610.02391) before its ReLU for a network that ends in mean and linear layer, except
        that the training mean of the features is subtracted, which moves a constant into the bias.
    """
    cell_evidence: NDArray[np.float32] = by_cell[index] - head.bias[index]
    return cell_evidence


def compute_contrast(
    by_cell: NDArray[np.float32], head: Head, index: int, other: int
) -> NDArray[np.float32]:
    """Compute the evidence of every cell for one class over another: "why 8 and not 7".

    Args:
        by_cell: (k, rows, columns) float32, the logits of every cell.
        head: The head that computed them.
        index: Index of the class that positive evidence supports.
        other: Index of the class that negative evidence supports.

    Returns:
        (rows, columns) float32; its weighted mean plus the difference of the biases is the
        difference of the logits.
    """
    return compute_evidence(by_cell, head, index) - compute_evidence(by_cell, head, other)


def compute_coarser_margin(by_cell: NDArray[np.float32], at: int) -> NDArray[np.float32]:
    """Compute by how many logits every cell favours a size coarser than the given one.

    Args:
        by_cell: (k, rows, columns) float32 from `logits_by_cell`, coarse to fine.
        at: Index of the given size, 1 to k - 1; no size is coarser than the coarsest.

    Returns:
        (rows, columns) float32: the largest logit of the coarser sizes minus the largest of all
        other sizes; above 0 the cell is coarser than the given size.
    """
    return np.asarray(by_cell[:at].max(axis=0) - by_cell[at:].max(axis=0), dtype=np.float32)


def compute_evidence_limit(values: Sequence[NDArray[np.float32]]) -> float:
    """Compute the evidence that is drawn in full colour, one value for all maps of a stage.

    Args:
        values: Evidence of valid cells, one array per validation image.

    Returns:
        The 99th percentile of the absolute evidence, in logits; 0 if `values` is empty.
    """
    magnitudes = np.abs(np.concatenate([v.ravel() for v in values])) if values else np.zeros(0)
    return float(np.percentile(magnitudes, 99)) if magnitudes.size else 0.0


def crop_to_field(
    evidence_map: NDArray[np.float32], extent: tuple[int, int], stride: int, *, fine: bool = False
) -> NDArray[np.float16]:
    """Crop a map to the part of its frame that shows the field.

    Args:
        evidence_map: (rows, columns) float32 over a frame.
        extent: Rows and columns of the frame that show the field, in pixels.
        stride: Pixels per cell.
        fine: Whether every cell is repeated 4 × 4 times even if the field ends between cells.

    Returns:
        (rows, columns) float16 over the field; evidence beyond its range is its largest number. If
        the field ends inside a cell, every cell is repeated 4 × 4 times, so that the map can be cut
        to a quarter of a cell.
    """
    height, width = extent
    half = evidence_map.clip(-_LARGEST_HALF, _LARGEST_HALF).astype(np.float16)
    if not fine and height % stride == 0 and width % stride == 0:
        return half[: height // stride, : width // stride]
    repeated = np.repeat(np.repeat(half, 4, axis=0), 4, axis=1)
    rows, columns = (max(1, round(4 * side / stride)) for side in extent)
    return repeated[:rows, :columns]
