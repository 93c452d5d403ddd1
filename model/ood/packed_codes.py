"""Numbers packed as codes of 8 or 4 bits, each row with the step between its codes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGEST_8, LARGEST_4 = 127, 7
STEP_BYTES: Final = 4
"""Size of a step, a float32."""


def quantize(
    values: NDArray[np.floating], largest: int
) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    """Return the step of each row, (k, 1), and its codes, (k, d).

    Args:
        values: (k, d).
        largest: Largest code, `LARGEST_8` or `LARGEST_4`.
    """
    extent = np.abs(values).max(axis=1, keepdims=True)
    steps = (np.maximum(extent, 1e-12) / largest).astype(np.float32)
    return steps, np.clip(np.rint(values / steps), -largest, largest).astype(np.int8)


def count_bytes(codes: int) -> int:
    """Return the size of a row of 4-bit codes."""
    return (codes + 1) // 2


def join_halves(codes: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Return (k, d) codes of 4 bits as two per byte."""
    both = (np.pad(codes, ((0, 0), (0, codes.shape[1] % 2))) + 8).astype(np.uint8)
    return np.asarray(both[:, ::2] | (both[:, 1::2] << 4), np.uint8)


def split_halves(raw: NDArray[np.uint8], length: int) -> NDArray[np.float32]:
    """Return the codes that `join_halves` joined, (n, k, length) float32.

    Args:
        raw: (n, k, bytes).
        length: Codes per row.
    """
    codes = np.empty((*raw.shape[:2], 2 * raw.shape[2]), np.float32)
    codes[..., ::2], codes[..., 1::2] = raw & 15, raw >> 4
    codes -= 8
    return codes[..., :length]


def read_floats(raw: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the float32 values in the bytes of each row."""
    return np.ascontiguousarray(raw).view(np.float32)


def read_codes(raw: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return codes of 8 bits as float32."""
    return np.ascontiguousarray(raw).view(np.int8).astype(np.float32)
