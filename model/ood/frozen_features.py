"""What one pass of the frozen network keeps of a field: small enough to store for every micrograph.

A later bundle on the same frozen network scores these features without the image: codes, prediction
sets and the distance of the whole field. Single cells are not kept, a field has megabytes of them,
so local strangeness needs the image. Embeddings that heads classify stay float32: their rounding
would move probabilities across the edges of prediction sets. Loads no PyTorch.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from model.ood.packed_blocks import (
    LARGEST_4,
    LARGEST_8,
    STEP_BYTES,
    LowRankBlocks,
    count_bytes,
    join_halves,
    pack_low_rank,
    quantize,
    read_codes,
    read_floats,
    split_halves,
)
from model.products import round_to_half

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class FrozenFeatures:
    """Summary of one field by the frozen network.

    Args:
        made_by: Network, weights, engine and versions. Two summaries can be compared, and a bundle
            can score one, only if this is equal.
        embedding: (d,) float32, what heads on the frozen network classify.
        whole: Per layer (2c,) float32: mean and standard deviation of each channel over steel.
        blocks: (b, c) float32, unit rows: mean of the broad cells of each block of 80 µm.
        area_px: Area of steel in pixels of the frame.
    """

    made_by: str
    embedding: NDArray[np.float32]
    whole: tuple[NDArray[np.float32], ...]
    blocks: NDArray[np.float32]
    area_px: float

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return everything but `made_by`, arrays by name, for a file or a database."""
        arrays: dict[str, NDArray[np.generic]] = {
            "embedding": self.embedding,
            "blocks": self.blocks,
            "area_px": np.array([self.area_px], np.float64),
        }
        return arrays | {f"whole.{index}": layer for index, layer in enumerate(self.whole)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]], made_by: str) -> Self:
        """Return the features from what `to_arrays` returned, in any floating-point type."""
        count = sum(name.startswith("whole.") for name in arrays)
        return cls(
            made_by,
            np.asarray(arrays["embedding"], np.float32),
            tuple(np.asarray(arrays[f"whole.{index}"], np.float32) for index in range(count)),
            np.asarray(arrays["blocks"], np.float32),
            float(np.asarray(arrays["area_px"], np.float64).item()),
        )


@dataclass(frozen=True, slots=True)
class WholeFieldScore:
    """Strangeness of a whole field, from its features alone; places inside it are not scored.

    Args:
        p_value: Share of reference fields at least as far from the other ones, in (0, 1].
        flagged: Whether `p_value` is at most the false-alarm rate.
        distance: Mean log cosine distance of its blocks to the nearest reference field, corrected
            for a small area.
        nearest: Keys of the most similar reference fields, nearest first, per structure code.
    """

    p_value: float
    flagged: bool
    distance: float
    nearest: dict[str, tuple[str, ...]]


VERSION: Final = 1
"""Raise it when kept features of earlier versions would be misread."""

SHORT_LIMITS, LONG_LIMITS = (8, 16), (4, 9)
"""Blocks that are kept with 8 bits per value, and at most, with 4; next to a long embedding fewer.
Those of a larger field are kept by `low_rank_blocks` in as many bytes. So a row takes less than
6 kB."""

MOST_BLOCKS: Final = 64
"""Of a field of more blocks, so many are kept, spread evenly: with more, few directions fit."""
_MOST_COUNTED = 255
_MOST_COSINES: Final = 1 << 23
"""Cosines that are computed at a time, 32 MB."""

_HEADER = 3  # bits, blocks kept, blocks of the field
_LOW_RANK = 1  # in place of the bits


@dataclass(frozen=True, slots=True)
class FeatureForm:
    """What kept features depend on besides the crop; bundles of one form share them.

    Args:
        made_by: Network, weights, engine and embedding, from `FrozenFeatures`.
        embedding: Length of what heads classify.
        moments: Length of mean and standard deviation of each layer.
        block: Length of a block's feature.
    """

    made_by: str
    embedding: int
    moments: tuple[int, ...]
    block: int

    @classmethod
    def describe(cls, features: FrozenFeatures) -> Self:
        """Return the form of features."""
        return cls(
            features.made_by,
            len(features.embedding),
            tuple(len(layer) for layer in features.whole),
            features.blocks.shape[1],
        )

    @property
    def is_long(self) -> bool:
        """Whether the embedding holds the moments of the last two layers; they are kept once."""
        return self.embedding == sum(self.moments[-2:])

    @property
    def block_limits(self) -> tuple[int, int]:
        """Blocks that are kept with 8 bits per value, and at most."""
        return LONG_LIMITS if self.is_long else SHORT_LIMITS

    def to_json(self) -> dict[str, Any]:
        """Return the form as JSON values."""
        return {"version": VERSION, **asdict(self)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Return the form of a JSON document.

        Raises:
            ValueError: It is of another version.
        """
        if document.get("version") != VERSION:
            raise ValueError(f"features of version {document.get('version')}, not {VERSION}")
        return cls(
            document["made_by"],
            document["embedding"],
            tuple(document["moments"]),
            document["block"],
        )

    def compute_id(self, recipe: str) -> str:
        """Return the name of the features of this form and a crop recipe, 16 hex digits."""
        text = json.dumps({"recipe": recipe, **self.to_json()}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class FeatureBatch:
    """Kept features of many crops of one form.

    Args:
        embeddings: (n, c) float32.
        blocks: n packed blocks.
        area_px: (n,) float32.
        has_scale: (n,) bool; a crop without a scale is framed as each bundle assumes.
    """

    embeddings: NDArray[np.float32]
    blocks: Sequence[bytes]
    area_px: NDArray[np.float32]
    has_scale: NDArray[np.bool_]

    @classmethod
    def stack(cls, features: Sequence[FrozenFeatures]) -> Self:
        """Return features of crops with a scale as a batch."""
        return cls(
            np.stack([one.embedding for one in features]),
            [pack_blocks(one.blocks, FeatureForm.describe(one).block_limits) for one in features],
            np.array([one.area_px for one in features], np.float32),
            np.ones(len(features), bool),
        )


def pack_moments(layers: Sequence[NDArray[np.float32]]) -> NDArray[np.float16]:
    """Return the moments of all layers one after another, (m,) float16."""
    return round_to_half(np.concatenate(list(layers)))


def pack_blocks(blocks: NDArray[np.float32], limits: tuple[int, int] = SHORT_LIMITS) -> bytes:
    """Pack the blocks of a field.

    Args:
        blocks: (b, d) float32, unit rows.
        limits: From `FeatureForm.block_limits`.

    Returns:
        Bits per value, number of blocks kept and in all, the mean as float16, one float32 step per
        kept block, and the differences from the mean in steps; of a field of more blocks the
        header, and what `pack_low_rank` returns.
    """
    total, length = blocks.shape
    if total > limits[1]:
        if total > MOST_BLOCKS:
            blocks = blocks[np.linspace(0, total - 1, MOST_BLOCKS).round().astype(np.intp)]
        room = 2 * length + limits[1] * (STEP_BYTES + count_bytes(length))
        header = bytes((_LOW_RANK, len(blocks), min(total, _MOST_COUNTED)))
        return header + pack_low_rank(blocks, room)
    bits, largest = (8, LARGEST_8) if len(blocks) <= limits[0] else (4, LARGEST_4)
    mean = blocks.mean(axis=0).astype(np.float16)
    steps, codes = quantize(blocks - mean.astype(np.float32), largest)
    packed = codes if largest == LARGEST_8 else join_halves(codes)
    header = bytes((bits, len(blocks), min(total, _MOST_COUNTED)))
    return b"".join((header, mean.tobytes(), steps.tobytes(), packed.tobytes()))


def count_blocks(packed: bytes) -> tuple[int, int]:
    """Return of how many blocks something is kept, and how many the field has (255: at least)."""
    return packed[1], packed[2]


def iter_unpacked(
    packed: Sequence[bytes], length: int
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float32]]]:
    """Unpack the blocks of many fields, those of one shape together.

    Args:
        packed: From `pack_blocks`.
        length: Length d of a block's feature.

    Yields:
        (n,) indices into `packed`, and (n, b, d) float32, unit rows where all blocks were kept.
    """
    for rows, raw, bits, count in _iter_shapes(packed):
        if bits == _LOW_RANK:
            yield rows, LowRankBlocks.unpack(raw, count=count, length=length).restore()
        else:
            yield rows, _unpack(raw, bits, count, length)


def iter_nearest(
    packed: Sequence[bytes], reference: NDArray[np.float32]
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float32]]]:
    """Find the reference field that is nearest to each block of many fields.

    Args:
        packed: From `pack_blocks`.
        reference: (r, d) float32, unit rows.

    Yields:
        (n,) indices into `packed`, and (n, b) float32, the cosine with the nearest.
    """
    length = reference.shape[1]
    for rows, raw, bits, count in _iter_shapes(packed):
        step = max(1, _MOST_COSINES // (count * len(reference)))
        for start in range(0, len(rows), step):
            part = raw[start : start + step]
            if bits == _LOW_RANK:
                fields = LowRankBlocks.unpack(part, count=count, length=length)
                nearest = fields.compute_cosines(reference).max(axis=2)
            else:
                blocks = _unpack(part, bits, count, length).reshape(-1, length)
                nearest = (blocks @ reference.T).max(axis=1).reshape(-1, count)
            yield rows[start : start + step], nearest


def _iter_shapes(
    packed: Sequence[bytes],
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.uint8], int, int]]:
    """Yield the fields of each shape.

    Yields:
        Indices, bytes after the header (n, bytes), bits and number of blocks.
    """
    shapes = np.array([(len(one) << 16) | (one[0] << 8) | one[1] for one in packed])
    for shape in np.unique(shapes):
        rows = np.flatnonzero(shapes == shape)
        raw = np.frombuffer(b"".join([packed[int(row)] for row in rows]), np.uint8)
        yield (
            rows,
            raw.reshape(len(rows), -1)[:, _HEADER:],
            (int(shape) >> 8) & 255,
            int(shape) & 255,
        )


def _unpack(raw: NDArray[np.uint8], bits: int, count: int, length: int) -> NDArray[np.float32]:
    mean, steps, codes = np.split(raw, np.cumsum([2 * length, STEP_BYTES * count]), axis=1)
    if bits == 8:  # noqa: PLR2004 - one value per byte
        values = read_codes(codes).reshape(len(raw), count, length)
    else:
        values = split_halves(codes.reshape(len(raw), count, -1), length)
    values *= read_floats(steps)[:, :, None]
    values += np.ascontiguousarray(mean).view(np.float16).astype(np.float32)[:, None, :]
    values /= np.maximum(np.linalg.norm(values, axis=2, keepdims=True), 1e-12)
    return values
