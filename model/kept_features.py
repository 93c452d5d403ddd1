"""What a frozen network saw of a field, small enough to be kept for every micrograph.

A later bundle on the same frozen network scores these features without the picture: codes,
prediction sets and the distance of the whole field. Single cells are not kept, a field has
megabytes of them, so local strangeness needs the picture. Loads no PyTorch.

Head embeddings stay float32: their rounding would move probabilities across the edges of
prediction sets. Blocks are stored as their mean and the differences from it, which are small in a
field of one structure.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

VERSION: Final = 1
"""Raise it when kept features of earlier versions would be misread."""

MOST_EXACT, MOST_BLOCKS = 8, 16
"""Blocks that are kept with 8 bits per value, and with 4. Of a larger field 16 blocks are kept,
spread evenly. With them a row takes less than 6 kB."""

_LARGEST_HALF = 65504.0
_HEADER = 3  # bits, blocks kept, blocks of the field


@dataclass(frozen=True, slots=True)
class HeadForm:
    """What the embedding of one frozen encoder depends on besides the crop.

    Args:
        backbone: SHA-256 of the network's weights.
        taps: Stages that are joined.
        framing: Kind, side (px) and pixel size (µm) of the frames.
        channels: Length of the embedding.
        precision: Of the engine that computes it.
    """

    backbone: str
    taps: tuple[int, ...]
    framing: tuple[str, int, float]
    channels: int
    precision: str


@dataclass(frozen=True, slots=True)
class FeatureForm:
    """What kept features depend on besides the crop; bundles of one form share them.

    Args:
        backbone: SHA-256 of the weights of the frozen network of the out-of-distribution check.
        precision: Of its engine.
        moments: Length of mean and standard deviation of each of its layers.
        block: Length of a block's feature.
        heads: Forms of the embeddings of frozen encoders; () for a bundle with trained networks.
    """

    backbone: str
    precision: str
    moments: tuple[int, ...]
    block: int
    heads: tuple[HeadForm, ...] = ()

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
        heads = tuple(
            HeadForm(
                head["backbone"],
                tuple(head["taps"]),
                (head["framing"][0], head["framing"][1], head["framing"][2]),
                head["channels"],
                head["precision"],
            )
            for head in document["heads"]
        )
        return cls(
            document["backbone"],
            document["precision"],
            tuple(document["moments"]),
            document["block"],
            heads,
        )

    def compute_id(self, recipe: str) -> str:
        """Return the name of the features of this form and a crop recipe, 16 hex digits."""
        text = json.dumps({"recipe": recipe, **self.to_json()}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def head_length(self) -> int:
        """Length of the embeddings of all heads together."""
        return sum(head.channels for head in self.heads)


@dataclass(frozen=True, slots=True)
class WholeField:
    """What the frozen network of the out-of-distribution check saw of a whole field.

    Args:
        moments: (m,) float16, mean and standard deviation per channel, one layer after another.
        blocks: From `pack_blocks`.
        area_px: Area of steel in pixels of the frame.
    """

    moments: NDArray[np.float16]
    blocks: bytes
    area_px: float


@dataclass(frozen=True, slots=True)
class KeptFeatures:
    """The features of one crop.

    Args:
        form: What they depend on besides the crop.
        crop: SHA-256 of pixels, mask and scale.
        um_per_px: Scale of the crop, or None.
        assumed_um_per_px: Scale that the framing assumed where there is none, else 0.
        heads: (c,) float32, the embeddings of the form's heads, one after another.
        whole: From the out-of-distribution check.
    """

    form: FeatureForm
    crop: str
    um_per_px: float | None
    assumed_um_per_px: float
    heads: NDArray[np.float32]
    whole: WholeField


@dataclass(frozen=True, slots=True)
class FeatureBatch:
    """Kept features of many crops of one form.

    Args:
        heads: (n, c) float32.
        moments: (n, m) float16.
        blocks: n packed blocks.
        area_px: (n,) float32.
        assumed_um_per_px: (n,) float32, 0 for a crop with a scale.
    """

    heads: NDArray[np.float32]
    moments: NDArray[np.float16]
    blocks: Sequence[bytes]
    area_px: NDArray[np.float32]
    assumed_um_per_px: NDArray[np.float32]

    @classmethod
    def stack(cls, kept: Sequence[KeptFeatures]) -> Self:
        """Return features of one form as a batch."""
        return cls(
            np.stack([one.heads for one in kept]),
            np.stack([one.whole.moments for one in kept]),
            [one.whole.blocks for one in kept],
            np.array([one.whole.area_px for one in kept], np.float32),
            np.array([one.assumed_um_per_px for one in kept], np.float32),
        )


def pack_moments(layers: Sequence[NDArray[np.float32]]) -> NDArray[np.float16]:
    """Return the moments of all layers one after another, (m,) float16."""
    together = np.concatenate(list(layers))
    return np.asarray(np.clip(together, -_LARGEST_HALF, _LARGEST_HALF), np.float16)


def pack_blocks(blocks: NDArray[np.float32]) -> bytes:
    """Pack the blocks of a field.

    Args:
        blocks: (b, d) float32, unit rows.

    Returns:
        Bits per value, number of blocks kept and in all, the mean as float16, one float32 step per
        kept block, and the differences from the mean in steps.
    """
    total = len(blocks)
    if total > MOST_BLOCKS:
        blocks = blocks[np.linspace(0, total - 1, MOST_BLOCKS).round().astype(np.intp)]
    bits = 8 if len(blocks) <= MOST_EXACT else 4
    largest = 2 ** (bits - 1) - 1
    mean = blocks.mean(axis=0).astype(np.float16)
    differences = blocks - mean.astype(np.float32)
    steps = np.maximum(np.abs(differences).max(axis=1), 1e-12).astype(np.float32) / largest
    codes = np.rint(differences / steps[:, None]).astype(np.int8)
    if bits == 4:  # noqa: PLR2004 - two values per byte
        odd = codes.shape[1] % 2
        both = (np.pad(codes, ((0, 0), (0, odd))) + 8).astype(np.uint8)
        codes = (both[:, ::2] | (both[:, 1::2] << 4)).astype(np.uint8).view(np.int8)
    header = bytes((bits, len(blocks), min(total, 255)))
    return b"".join((header, mean.tobytes(), steps.tobytes(), codes.tobytes()))


def count_blocks(packed: bytes) -> tuple[int, int]:
    """Return how many blocks are kept, and how many the field has (255: at least)."""
    return packed[1], packed[2]


def iter_unpacked(
    packed: Sequence[bytes], length: int
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float32]]]:
    """Unpack the blocks of many fields, those of one shape together.

    Args:
        packed: From `pack_blocks`.
        length: Length d of a block's feature.

    Yields:
        (n,) indices into `packed`, and (n, b, d) float32, unit rows.
    """
    shapes = np.array([(one[0] << 8) | one[1] for one in packed])
    for shape in np.unique(shapes):
        rows = np.flatnonzero(shapes == shape)
        bits, count = int(shape) >> 8, int(shape) & 255
        raw = np.frombuffer(b"".join([packed[int(row)] for row in rows]), np.uint8)
        yield rows, _unpack(raw.reshape(len(rows), -1), bits, count, length)


def _unpack(raw: NDArray[np.uint8], bits: int, count: int, length: int) -> NDArray[np.float32]:
    steps_at = _HEADER + 2 * length
    codes_at = steps_at + 4 * count
    mean = np.ascontiguousarray(raw[:, _HEADER:steps_at]).view(np.float16).astype(np.float32)
    steps = np.ascontiguousarray(raw[:, steps_at:codes_at]).view(np.float32)  # (n, b)
    codes = raw[:, codes_at:].reshape(len(raw), count, -1)
    if bits == 4:  # noqa: PLR2004 - two values per byte
        values = np.empty((*codes.shape[:2], 2 * codes.shape[2]), np.float32)
        values[..., ::2], values[..., 1::2] = codes & 15, codes >> 4
        values -= 8
        values = values[..., :length]
    else:
        values = codes.view(np.int8).astype(np.float32)
    values *= steps[:, :, None]
    values += mean[:, None, :]
    values /= np.maximum(np.linalg.norm(values, axis=2, keepdims=True), 1e-12)
    return np.asarray(values, np.float32)
