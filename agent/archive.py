"""Keep pixels at rest, named by content, written before the row that names them.

In:  `Crop`s, maps, original bytes. Out: files under the data folder, whole or not there at all.
Next: `model` for training, `night` and `web` for people: neither ever decodes an original, since
the share it lies on may be offline. Names never change; writing one again gives the same file.

    crops/ab/<sha256>-p0.png  .valid.png  .preview.jpg  .thumb.jpg  .<bundle>.maps.safetensors
    originals/ab/<sha256>.tif
    statements/ab/<sha256>.json  .html  .pdf
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import sys
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import safetensors.numpy

from agent import pictures
from agent.regular_file import open_regular

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from agent.imaging import Crop

PIECE_BYTES = 1 << 20
PART = ".part"
MAPS = ".maps.safetensors"
KINDS = {"crop": ".png", "valid": ".valid.png", "preview": ".preview.jpg", "thumb": ".thumb.jpg"}
"""What is kept of every micrograph: kind → the end of its name."""


class Archive:
    """The pixels of one data folder; safe to share between threads and agents.

    Args:
        folder: The data folder, `store.folder`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    # --- where things are ---

    def crop_path(self, sha256: str, page: int) -> Path:
        """Where the kept rectangle is, PNG."""
        return self._path(sha256, page, KINDS["crop"])

    def valid_path(self, sha256: str, page: int) -> Path:
        """Where the mask of valid pixels is, PNG."""
        return self._path(sha256, page, KINDS["valid"])

    def preview_path(self, sha256: str, page: int) -> Path:
        """Where the whole field at 2000 px at most is, JPEG."""
        return self._path(sha256, page, KINDS["preview"])

    def thumbnail_path(self, sha256: str, page: int) -> Path:
        """Where the thumbnail at 320 px at most is, JPEG."""
        return self._path(sha256, page, KINDS["thumb"])

    def maps_path(self, sha256: str, page: int, bundle: str) -> Path:
        """Where one bundle's maps are, safetensors."""
        return self._path(sha256, page, f".{bundle}{MAPS}")

    def original_path(self, sha256: str) -> Path | None:
        """Where the original bytes are, or None if they were not kept."""
        return next(iter(sorted(self._originals(sha256).glob(f"{sha256}*"))), None)

    def statement_path(self, sha256: str, kind: str) -> Path:
        """Return where a file of a statement is; none of them is ever pruned.

        Args:
            sha256: Hash of the statement.
            kind: "pdf", "html" or "json".
        """
        return self.folder / "statements" / sha256[:2] / f"{sha256}.{kind}"

    def find_statement_file(self, sha256: str, kind: str, expected: str) -> Path:
        """Return where the file of a statement with these bytes is.

        Args:
            sha256: Hash of the statement.
            kind: "pdf", "html" or "json".
            expected: Hash of the file.

        Returns:
            Its own place, also where other bytes are there, unless it was kept aside.
        """
        path = self.statement_path(sha256, kind)
        aside = _aside(path, expected)
        return aside if aside.exists() and _fault(path, expected) else path

    def keep_statement_aside(self, sha256: str, kind: str, content: bytes) -> None:
        """Move a file of a statement aside, under its own hash, where it holds other bytes."""
        path = self.statement_path(sha256, kind)
        try:
            held = hashlib.sha256(path.read_bytes()).hexdigest()
        except FileNotFoundError:
            return
        if held != hashlib.sha256(content).hexdigest():
            path.replace(_aside(path, held))

    def _path(self, sha256: str, page: int, end: str) -> Path:
        return self.folder / "crops" / sha256[:2] / f"{sha256}-p{page}{end}"

    def _originals(self, sha256: str) -> Path:
        return self.folder / "originals" / sha256[:2]

    # --- putting to rest ---

    def keep(self, crop: Crop) -> dict[str, str]:
        """Keep a crop, its mask, a preview and a thumbnail.

        Returns:
            Kind → sha256 of the file, for the row that names them.

        Raises:
            OSError: The data folder cannot be written.
        """
        encoded = {
            "crop": pictures.encode_png(crop.pixels),
            "valid": pictures.encode_png(crop.valid),
            "preview": pictures.encode_jpeg(pictures.fitted(crop.preview, pictures.PREVIEW_PX)),
            "thumb": pictures.encode_jpeg(pictures.thumbnail(crop.pixels)),
        }
        write_whole({self._path(crop.sha256, crop.page, KINDS[k]): v for k, v in encoded.items()})
        return {kind: hashlib.sha256(written).hexdigest() for kind, written in encoded.items()}

    def keep_maps(
        self, sha256: str, page: int, bundle: str, maps: Mapping[str, NDArray[np.floating]]
    ) -> str:
        """Keep the maps one bundle made of one micrograph.

        Args:
            sha256: Of the content.
            page: Index of the page.
            bundle: Name of the bundle.
            maps: Name ("subtype", "size", "strangeness") → (rows, columns), kept as float16.

        Returns:
            sha256 of the file.
        """
        held = {name: np.ascontiguousarray(map_, np.float16) for name, map_ in maps.items()}
        encoded = safetensors.numpy.save(held)
        write_whole({self.maps_path(sha256, page, bundle): encoded})
        return hashlib.sha256(encoded).hexdigest()

    def keep_original(self, path: Path, sha256: str) -> bool:
        """Keep a file's bytes as they are.

        Returns:
            False if the bytes are no longer those of `sha256`; then nothing is kept.

        Raises:
            OSError: The file cannot be read, or the data folder cannot be written.
        """
        if self.original_path(sha256):
            return True
        target = self._originals(sha256) / f"{sha256}{_suffix(path)}"
        with open_regular(path) as original:
            return _write(target, lambda file: _copy(original, file) == sha256)

    # --- giving back ---

    def field(self, sha256: str, page: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Give back a crop bit for bit.

        Returns:
            Pixels (h, w, 3) uint8 RGB, and valid (h, w) bool.

        Raises:
            FileNotFoundError: It was never kept, or was pruned.
        """
        pixels = pictures.decode(self.crop_path(sha256, page).read_bytes())
        return pixels, pictures.decode_mask(self.valid_path(sha256, page).read_bytes())

    def maps(self, sha256: str, page: int, bundle: str) -> dict[str, NDArray[np.float16]]:
        """Give back one bundle's maps; empty if there are none."""
        path = self.maps_path(sha256, page, bundle)
        try:
            return dict(safetensors.numpy.load(path.read_bytes()))
        except FileNotFoundError:
            return {}

    # --- upkeep ---

    def of(self, sha256: str, page: int) -> Iterator[Path]:
        """Say every file that is kept of one micrograph, its original apart."""
        folder = self.folder / "crops" / sha256[:2]
        yield from sorted(folder.glob(f"{sha256}-p{page}.*"))

    def leftovers(self) -> Iterator[Path]:
        """Say every file that a killed agent left half-written."""
        for room in ("crops", "originals", "statements"):
            yield from sorted((self.folder / room).glob(f"*/.*{PART}"))

    def sweep(self, *, before_s: float) -> int:
        """Delete what killed agents left half-written; how many files that were.

        Args:
            before_s: Only files last changed before this, in seconds since 1970: a younger one
                may be another agent's, still being written.
        """
        old = [part for part in self.leftovers() if part.stat().st_mtime < before_s]
        for part in old:
            part.unlink(missing_ok=True)
        return len(old)

    def damage(self, sha256: str, page: int, hashes: Mapping[str, str]) -> list[str]:
        """Compare what is kept of one micrograph with what its row says; a sentence per fault.

        Args:
            sha256: Of the content.
            page: Index of the page.
            hashes: Kind → sha256 as `keep` gave it.
        """
        found = []
        for kind, expected in hashes.items():
            if kind not in KINDS:
                continue
            path = self._path(sha256, page, KINDS[kind])
            if said := _fault(path, expected):
                found.append(said)
        return found

    def damage_of_statement(self, sha256: str, kind: str, expected: str) -> list[str]:
        """Compare a file of a statement with the hash in its row; a sentence per fault."""
        said = _fault(self.find_statement_file(sha256, kind, expected), expected)
        return [said] if said else []

    def damage_of_original(self, sha256: str) -> list[str]:
        """Compare an original with the hash in its name; a sentence per fault."""
        path = self.original_path(sha256)
        if path is None:
            return [f"{self._originals(sha256) / sha256}: the original is missing"]
        said = _fault(path, sha256)
        return [said] if said else []


def _aside(path: Path, sha256: str) -> Path:
    return path.with_name(f"{path.stem}.{sha256[:16]}{path.suffix}")


def _fault(path: Path, expected: str) -> str | None:
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return f"{path}: missing"
    except OSError as error:
        return f"{path}: cannot be read ({error.strerror or error})"
    return None if found == expected else f"{path}: not what was archived (its hash differs)"


def _suffix(path: Path) -> str:
    return path.suffix.lower() if re.fullmatch(r"\.[A-Za-z0-9]{1,8}", path.suffix) else ""


def _copy(original: BinaryIO, copy: BinaryIO) -> str:
    digest = hashlib.sha256()
    while piece := original.read(PIECE_BYTES):
        digest.update(piece)
        copy.write(piece)
    return digest.hexdigest()


def write_whole(files: Mapping[Path, bytes]) -> None:
    """Write files so that each is there whole or not at all, also after a power cut.

    Args:
        files: Path → bytes; all in one folder, which is made.
    """
    parts: dict[Path, Path] = {}
    try:
        for path, held in files.items():
            part = parts[path] = _part(path)
            with part.open("xb") as file:
                file.write(held)
                _to_disk(file)
        for path, part in parts.items():
            part.replace(path)
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)
    for folder in {path.parent for path in files}:
        folder_to_disk(folder)


def _write(path: Path, fill: Callable[[BinaryIO], bool]) -> bool:
    part = _part(path)
    try:
        with part.open("xb") as file:
            good = fill(file)
            _to_disk(file)
        if good:
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    folder_to_disk(path.parent)
    return good


def _part(path: Path) -> Path:
    _make_folder(path.parent)
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{PART}")


def _make_folder(folder: Path) -> None:
    """Make a folder whose own name a power cut does not take away, with all that is in it."""
    if folder.is_dir():
        return
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for made in reversed(missing):
        folder_to_disk(made.parent)


def _to_disk(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def folder_to_disk(folder: Path) -> None:
    """Bring the names in a folder to the disk.

    Args:
        folder: In which something was renamed.
    """
    # Without it a power cut may take the name away though the bytes are there. Windows cannot
    # open a folder, and its journal keeps names by itself.
    if sys.platform == "win32":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
