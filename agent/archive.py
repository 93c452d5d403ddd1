"""Store pixels, maps, originals and statements as files named by content.

A file is written completely or not at all, and before the row that names it. Originals are never
decoded again, since their share may be offline. Names never change; writing a file again gives
the same bytes.

    crops/ab/<sha256>-p0.png  .valid.png  .preview.jpg  .thumb.jpg  .<bundle>.maps.safetensors
    originals/ab/<sha256>.tif
    statements/ab/<sha256>.json  .html  .pdf

Where the lab has an object storage, the folder is its cache: a file that is not on the disk is
fetched when it is read.
"""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from agent.files import pictures
from agent.files.whole_file import PART, open_regular, write_from, write_whole
from agent.objects import BeingFetchedError, ObjectMirror, ObjectsUnavailableError, open_mirror

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from agent.imaging import Crop
    from agent.settings import Settings

PIECE_BYTES = 1 << 20
MAPS = ".maps.safetensors"
KINDS = {"crop": ".png", "valid": ".valid.png", "preview": ".preview.jpg", "thumb": ".thumb.jpg"}
"""Files of every micrograph: kind → end of the name."""


class Archive:
    """The files of one data folder; safe to share between threads and processes.

    Args:
        folder: The data folder, `store.folder`.
        mirror: The object storage of this folder; None for a folder that holds everything.
        max_megapixels: Of a crop, in millions; a larger one was never archived.
    """

    def __init__(
        self, folder: Path, mirror: ObjectMirror | None = None, *, max_megapixels: float = 200.0
    ) -> None:
        self.folder = folder
        self.mirror = mirror
        self._max_megapixels = max_megapixels

    @classmethod
    def open(cls, settings: Settings) -> Archive:
        """Return the archive of a lab, by its settings."""
        store, limit = settings.store, settings.imaging.max_megapixels
        return cls(store.folder, open_mirror(store), max_megapixels=limit)

    # --- paths ---

    def crop_path(self, sha256: str, page: int) -> Path:
        """Return the path of the kept rectangle, PNG."""
        return self._path(sha256, page, KINDS["crop"])

    def valid_path(self, sha256: str, page: int) -> Path:
        """Return the path of the mask of valid pixels, PNG."""
        return self._path(sha256, page, KINDS["valid"])

    def preview_path(self, sha256: str, page: int) -> Path:
        """Return the path of the whole field at 2000 px at most, JPEG."""
        return self._path(sha256, page, KINDS["preview"])

    def thumbnail_path(self, sha256: str, page: int) -> Path:
        """Return the path of the thumbnail at 320 px at most, JPEG."""
        return self._path(sha256, page, KINDS["thumb"])

    def maps_path(self, sha256: str, page: int, bundle: str) -> Path:
        """Return the path of one bundle's maps, safetensors."""
        return self._path(sha256, page, f".{bundle}{MAPS}")

    def original_path(self, sha256: str) -> Path | None:
        """Return the path of the original bytes, or None if not stored."""
        start = self._originals(sha256) / sha256
        if stored := next(iter(sorted(start.parent.glob(f"{sha256}*"))), None):
            return stored
        return self.mirror.find_start(start) if self.mirror else None

    def statement_path(self, sha256: str, kind: str) -> Path:
        """Return the path of a file of a statement; none is ever pruned.

        Args:
            sha256: Hash of the statement.
            kind: "pdf", "html" or "json".
        """
        return self.folder / "statements" / sha256[:2] / f"{sha256}.{kind}"

    def find_statement_file(self, sha256: str, kind: str, expected: str) -> Path:
        """Return the path of a statement's file with these bytes.

        Args:
            sha256: Hash of the statement.
            kind: "pdf", "html" or "json".
            expected: Hash of the file.

        Returns:
            The regular path, even if it holds other bytes, unless the file was moved aside.
        """
        path = self.statement_path(sha256, kind)
        aside = _get_aside_path(path, expected)
        return aside if aside.exists() and self._find_fault(path, expected) else path

    def keep_statement_aside(self, sha256: str, kind: str, content: bytes) -> None:
        """Move a statement's file aside, named by its own hash, if it holds other bytes."""
        path = self.statement_path(sha256, kind)
        if not self._is_known(path):
            return
        try:
            stored = hashlib.sha256(self.read(path)).hexdigest()
        except FileNotFoundError:
            return
        if stored != hashlib.sha256(content).hexdigest():
            path.replace(_get_aside_path(path, stored))

    def _path(self, sha256: str, page: int, end: str) -> Path:
        return self.folder / f"crops/{sha256[:2]}/{sha256}-p{page}{end}"

    def _originals(self, sha256: str) -> Path:
        return self.folder / "originals" / sha256[:2]

    # --- writing ---

    def keep(self, crop: Crop) -> dict[str, str]:
        """Store a crop, its mask, a preview and a thumbnail.

        A file that already holds the same pixels stays as it is: another version of a library may
        have compressed them to other bytes, and rows name it by its hash.

        Returns:
            Kind → sha256 of the file, for the row that names them.

        Raises:
            OSError: The data folder cannot be written.
        """
        encoded = {
            "crop": pictures.encode_png(crop.pixels),
            "valid": pictures.encode_png(crop.valid),
            "preview": pictures.encode_jpeg(pictures.fit_within(crop.preview, pictures.PREVIEW_PX)),
            "thumb": pictures.encode_jpeg(pictures.thumbnail(crop.pixels)),
        }
        new: dict[Path, bytes] = {}
        for kind, content in encoded.items():
            path = self._path(crop.sha256, crop.page, KINDS[kind])
            if stored := self._find_same_picture(path, content):
                encoded[kind] = stored
            else:
                new[path] = content
        write_whole(new)
        return {kind: hashlib.sha256(content).hexdigest() for kind, content in encoded.items()}

    def keep_maps(
        self, sha256: str, page: int, bundle: str, maps: Mapping[str, NDArray[np.floating]]
    ) -> str:
        """Store the maps of one bundle and micrograph.

        Args:
            sha256: Of the content.
            page: Index of the page.
            bundle: Name of the bundle.
            maps: Name ("subtype", "size", "strangeness") → (rows, columns), stored as float16.

        Returns:
            sha256 of the file.
        """
        arrays = {name: np.ascontiguousarray(map_, np.float16) for name, map_ in maps.items()}
        encoded = safetensors.numpy.save(arrays)
        write_whole({self.maps_path(sha256, page, bundle): encoded})
        return hashlib.sha256(encoded).hexdigest()

    def keep_original(self, path: Path, sha256: str) -> bool:
        """Store a file's original bytes.

        Returns:
            False if the bytes no longer match `sha256`; then nothing is stored.

        Raises:
            OSError: The file cannot be read, or the data folder cannot be written.
        """
        if self._has_original(sha256):
            return True
        target = self._originals(sha256) / f"{sha256}{_get_suffix(path)}"
        with open_regular(path) as original:
            return write_from(target, lambda file: _copy(original, file) == sha256)

    def _has_original(self, sha256: str) -> bool:
        """Return whether the original is stored; no request is sent to the object storage."""
        start = self._originals(sha256) / sha256
        if any(start.parent.glob(f"{sha256}*")):
            return True
        return self.mirror is not None and self.mirror.is_known(start)

    # --- reading ---

    def has(self, path: Path) -> bool:
        """Return whether a file of this archive exists, on the disk or in the object storage.

        Raises:
            ObjectsUnavailableError: It is not known, and the storage does not answer.
        """
        return path.is_file() if self.mirror is None else self.mirror.has(path)

    def may_have(self, path: Path) -> bool:
        """Return whether a file exists, True while that is being looked up; raises as `has`."""
        try:
            return self.has(path)
        except BeingFetchedError:
            return True

    def has_crops(self, contents: Sequence[tuple[str, int]]) -> list[bool]:
        """Return whether each of these crops exists; raises as `has` once all were asked for.

        Args:
            contents: Hash and page of each.
        """
        answers: list[bool] = []
        pending: BeingFetchedError | None = None
        for sha256, page in contents:
            try:
                answers.append(self.has_crop(sha256, page))
            except BeingFetchedError as error:
                pending = error
        if pending:
            raise pending
        return answers

    def has_crop(self, sha256: str, page: int) -> bool:
        """Return whether the crop of a micrograph exists; raises as `has`."""
        return self.has(self.crop_path(sha256, page))

    def make_local(self, path: Path) -> Path:
        """Return the path of a file of this archive after it was fetched, if need be.

        Raises:
            FileNotFoundError: It was never stored, or was pruned.
            OSError: The object storage does not answer, or has other bytes.
        """
        if self.mirror is not None:
            self.mirror.fetch(path)
        return path

    def read(self, path: Path) -> bytes:
        """Return the bytes of a file of this archive.

        Raises:
            FileNotFoundError: It was never stored, or was pruned.
            OSError: It cannot be read, or the object storage does not answer.
        """
        try:
            return path.read_bytes()
        except FileNotFoundError:
            if self.mirror is None:
                raise
        return self.make_local(path).read_bytes()

    def measure(self, path: Path) -> int:
        """Return the size of a file in bytes; 0 where there is none."""
        if self.mirror is not None:
            return self.mirror.measure(path)
        return path.stat().st_size if path.exists() else 0

    def delete(self, path: Path) -> None:
        """Delete a file of this archive, also from the object storage."""
        if self.mirror is None:
            path.unlink(missing_ok=True)
        else:
            self.mirror.delete(path)

    def field(self, sha256: str, page: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Load a crop bit for bit.

        Returns:
            Pixels (h, w, 3) uint8 RGB, and valid (h, w) bool.

        Raises:
            FileNotFoundError: It was never stored, or was pruned.
            ValueError: It is not what was archived; a larger one than the intake reads, or a mask
                of another size, is not decoded.
        """
        crop = self.read(path := self.crop_path(sha256, page))
        valid = self.read(valid_path := self.valid_path(sha256, page))
        width, height = size = pictures.read_size(crop)
        if width * height > self._max_megapixels * 1e6:
            raise ValueError(
                f"{path}: not what was archived, it has {width} × {height} px, more than "
                f"{self._max_megapixels:g} megapixels ([imaging] max_megapixels)"
            )
        if pictures.read_size(valid) != size:
            raise ValueError(f"{valid_path}: not what was archived, it has another size")
        return pictures.decode(crop), pictures.decode_mask(valid)

    def maps(self, sha256: str, page: int, bundle: str) -> dict[str, NDArray[np.float16]]:
        """Load one bundle's maps; empty if there are none, or damaged, or if no storage answers."""
        path = self.maps_path(sha256, page, bundle)
        try:
            return dict(safetensors.numpy.load(self.read(path)))
        except (FileNotFoundError, ObjectsUnavailableError, SafetensorError):
            return {}

    # --- maintenance ---

    def of(self, sha256: str, page: int) -> Iterator[Path]:
        """Yield every stored file of one micrograph except its original."""
        start = self.folder / "crops" / sha256[:2] / f"{sha256}-p{page}."
        if self.mirror is not None:
            yield from self.mirror.list_start(start)
        else:
            yield from sorted(start.parent.glob(f"{start.name}*"))

    def leftovers(self) -> Iterator[Path]:
        """Yield every incomplete file of a killed agent."""
        for name in ("crops", "originals", "statements"):
            yield from sorted((self.folder / name).glob(f"*/.*{PART}"))

    def sweep(self, *, before_s: float) -> int:
        """Delete incomplete files of killed agents; return their number.

        Args:
            before_s: Only files last changed before this, in seconds since 1970: another agent may
                still be writing a younger one.
        """
        old = [part for part in self.leftovers() if part.stat().st_mtime < before_s]
        for part in old:
            part.unlink(missing_ok=True)
        return len(old)

    def damage(self, sha256: str, page: int, hashes: Mapping[str, str]) -> list[str]:
        """Compare the files of one micrograph with its row; return a sentence per fault.

        Args:
            sha256: Of the content.
            page: Index of the page.
            hashes: Kind → sha256 as `keep` returned it.
        """
        faults = []
        for kind, expected in hashes.items():
            if kind not in KINDS:
                continue
            path = self._path(sha256, page, KINDS[kind])
            if fault := self._find_fault(path, expected):
                faults.append(fault)
        return faults

    def damage_of_statement(self, sha256: str, kind: str, expected: str) -> list[str]:
        """Compare a statement's file with the hash in its row; return a sentence per fault."""
        fault = self._find_fault(self.find_statement_file(sha256, kind, expected), expected)
        return [fault] if fault else []

    def damage_of_original(self, sha256: str) -> list[str]:
        """Compare an original with the hash in its name; return a sentence per fault."""
        path = self.original_path(sha256)
        if path is None:
            return [f"{self._originals(sha256) / sha256}: the original is missing"]
        fault = self._find_fault(path, sha256)
        return [fault] if fault else []

    def _is_known(self, path: Path) -> bool:
        """Return whether a file is known to exist; no request is sent to the object storage."""
        return path.exists() or (self.mirror is not None and self.mirror.is_known(path))

    def _find_fault(self, path: Path, expected: str) -> str | None:
        try:
            actual = self._compute_hash(path)
        except FileNotFoundError:
            return f"{path}: missing"
        except ObjectsUnavailableError:  # that is known later
            raise
        except OSError as error:
            return f"{path}: cannot be read ({error.strerror or error})"
        return None if actual == expected else f"{path}: not what was archived (its hash differs)"

    def _compute_hash(self, path: Path) -> str:
        try:
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            if self.mirror is None:
                raise
        return self.mirror.compute_hash(path)

    def _find_same_picture(self, path: Path, content: bytes) -> bytes | None:
        """Return the bytes of a stored picture with the same pixels as `content`, else None."""
        if not self._is_known(path):
            return None
        with suppress(OSError, ValueError):
            stored = self.read(path)
            same = stored == content or (
                pictures.read_size(stored) == pictures.read_size(content)
                and np.array_equal(pictures.decode(stored), pictures.decode(content))
            )
            return stored if same else None
        return None


def _get_aside_path(path: Path, sha256: str) -> Path:
    return path.with_name(f"{path.stem}.{sha256[:16]}{path.suffix}")


def _get_suffix(path: Path) -> str:
    return path.suffix.lower() if re.fullmatch(r"\.[A-Za-z0-9]{1,8}", path.suffix) else ""


def _copy(original: BinaryIO, copy: BinaryIO) -> str:
    digest = hashlib.sha256()
    while piece := original.read(PIECE_BYTES):
        digest.update(piece)
        copy.write(piece)
    return digest.hexdigest()
