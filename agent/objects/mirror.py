"""Mirror the files of a data folder to an object storage, with the local disk as a cache.

What the agent writes is complete on the local disk first, so that a lab works on while the storage
is away; what is new is sent every minute. Only what the storage has, compared by hash, may be
removed from the disk. What is only in the storage is fetched when it is read.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from agent.objects.bucket import Access, Bucket, ObjectsUnavailable
from agent.objects.disk_cache import DiskCache
from agent.objects.mirrored_files import BUNDLE_FILE, FOLDERS, MirroredFiles, select_own
from agent.objects.pruned_files import PrunedFiles, PruneRecords
from agent.objects.shared_files import SharedFiles
from agent.objects.upload_index import Uploaded, UploadIndex

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agent.settings import StoreSection

_LEAST_AGE_NS: Final = 2_000_000_000
"""A folder that changed so lately is looked through again: clocks of file systems are coarse."""


@dataclass(frozen=True, slots=True)
class RoundOutcome:
    """What one round did.

    Args:
        sent: Files that were stored.
        size_bytes: Of these.
        fetched: Files of other PCs that were fetched: bundles and kept features.
        removed: Files that were removed from the disk, and are in the storage.
        pruned: Files that were deleted because another PC pruned them.
        waiting: Files that are still to be sent.
    """

    sent: int = 0
    size_bytes: int = 0
    fetched: int = 0
    removed: int = 0
    pruned: int = 0
    waiting: int = 0


class ObjectMirror(MirroredFiles):
    """The data folder of one agent and its object storage, kept alike round by round."""

    def run_round(
        self,
        *,
        cache_bytes: int = 0,
        is_enough: Callable[[], bool] = lambda: False,
        records: PruneRecords | None = None,
    ) -> RoundOutcome:
        """Delete and send what is due, remove from the disk what is beyond the cache, and fetch.

        Args:
            cache_bytes: How many bytes of crops and originals stay on the disk; 0 for all.
            is_enough: Called after each file; True ends the round.
            records: What PCs of this site pruned; it is deleted here too, before anything is sent.

        Raises:
            DamagedObject: A bundle in the storage is damaged; everything else was done.
            OSError: A file cannot be read; everything else was done.
            ObjectsUnavailable: The storage does not answer; nothing is lost.
        """
        pruned_files = PrunedFiles(self, records) if records else None
        pruned = pruned_files.delete_new() if pruned_files else 0
        for name in self.index.list_doomed():
            self.delete_remote(name)
        sent, size, faults = self._send_new(is_enough)
        cache = DiskCache(self, pruned_files)
        removed = cache.remove_unused(cache_bytes) if cache_bytes else 0  # a full disk first
        shared = SharedFiles(self)
        fetched, damaged = shared.fetch_bundles()
        fetched += shared.fetch_features()
        if faults or damaged:
            raise [*faults, *damaged][0]
        waiting = sum(1 for _ in self.iter_unsent()) if is_enough() else 0
        return RoundOutcome(sent, size, fetched, removed, pruned, waiting)

    def _send_new(self, is_enough: Callable[[], bool]) -> tuple[int, int, list[OSError]]:
        """Send what is new; return files, bytes, and what is wrong with files that cannot be read.

        Raises:
            ObjectsUnavailable: The storage does not answer.
        """
        sent = size = 0
        faults: list[OSError] = []
        for path in self._iter_unsent(is_sending=True):
            if is_enough():
                break
            try:
                size += self._send(path)
                sent += 1
            except ObjectsUnavailable:
                raise
            except OSError as error:  # one file that cannot be read holds up no other
                faults.append(error)
        for folder in {Path(error.filename).parent for error in faults if error.filename}:
            self.index.record_scan(folder.relative_to(self.folder).as_posix(), 0)
        return sent, size, faults

    def iter_unsent(self) -> Iterator[Path]:
        """Yield each complete file that the storage does not have yet."""
        yield from self._iter_unsent(is_sending=False)

    def _iter_unsent(self, *, is_sending: bool) -> Iterator[Path]:
        """Yield files that are to be sent; only folders that changed since they were sent are read.

        Args:
            is_sending: The caller sends each before it takes the next, so that a folder is
                recorded as sent at its end.
        """
        for folder in self._iter_folders():
            relative = folder.relative_to(self.folder).as_posix()
            with suppress(FileNotFoundError):
                changed_ns = folder.stat().st_mtime_ns
                if self.index.find_scan(relative) == changed_ns:
                    continue
                listed_ns = time.time_ns()
                known = self.index.list_folder(relative)
                for path in sorted(folder.iterdir()):
                    if _is_complete(path) and self._is_new(path, known):
                        yield path
                if is_sending and listed_ns - changed_ns > _LEAST_AGE_NS:
                    self.index.record_scan(relative, changed_ns)

    def fetch_all(self, *, progress: Callable[[int, int], None]) -> int:
        """Fetch everything that is only in the storage, so that it can be given up.

        Args:
            progress: Called with (files done, files).

        Returns:
            How many files were fetched.

        Raises:
            DamagedObject: An object has other bytes than were stored.
            ObjectsUnavailable: The storage does not answer.
        """
        of_bundles, damaged = SharedFiles(self).fetch_bundles()
        missing, doomed = [], set(self.index.list_doomed())
        for folder in FOLDERS:
            names = self.bucket.list_names(f"{folder}/")
            paths = (self.folder / name for name in select_own(names) if name not in doomed)
            missing += [path for path in paths if not path.is_file()]
        missing.sort(key=lambda path: path.name == BUNDLE_FILE)  # a bundle is there by this file
        for number, path in enumerate(missing, start=1):
            self.fetch(path)
            progress(number, len(missing))
        if damaged:
            raise damaged[0]
        return of_bundles + len(missing)

    # --- sending ---

    def _iter_folders(self) -> Iterator[Path]:
        for name in FOLDERS:
            yield from _iter_below(self.folder / name)

    def _is_new(self, path: Path, known: dict[str, Uploaded]) -> bool:
        uploaded = known.get(self.name_of(path))
        if uploaded is None:
            return True
        facts = path.stat()
        return (facts.st_size, facts.st_mtime_ns) != (uploaded.size, uploaded.changed_ns)

    def _send(self, path: Path) -> int:
        """Send one file; return its size. A file that is gone or changes meanwhile comes again."""
        name = self.name_of(path)
        try:
            before = path.stat()
            if path.name == BUNDLE_FILE:
                self._send_rest_of_bundle(path)
            facts = self.bucket.store(name, path)
        except FileNotFoundError:
            return 0
        if not path.exists() and self.index.find(name) is None:
            self.delete_remote(name)  # it was deleted while it was sent
            return 0
        self.index.record(
            Uploaded(
                name, facts.size, before.st_mtime_ns, facts.sha256, is_local=True, is_own=True
            ),
            used_s=time.time(),
        )
        return facts.size

    def _send_rest_of_bundle(self, bundle_file: Path) -> None:
        """Send the other files of a bundle first: another PC takes a bundle by this one."""
        known = self.index.list_start(f"{self.name_of(bundle_file.parent)}/")
        for path in sorted(bundle_file.parent.rglob("*")):
            if _is_complete(path) and path != bundle_file and self.name_of(path) not in known:
                self._send(path)


def open_mirror(section: StoreSection) -> ObjectMirror | None:
    """Return the mirror of a lab's data folder, None for a lab without an object storage.

    Args:
        section: [store].
    """
    if not section.objects:
        return None
    access = Access(
        section.objects,
        section.objects_endpoint,
        section.objects_credentials,
        section.objects_certificate,
    )
    return ObjectMirror(section.folder, _share_bucket(access), UploadIndex(section.folder))


@cache
def _share_bucket(access: Access) -> Bucket:
    """Return one connection per process for each storage."""
    return Bucket(access)


def _is_complete(path: Path) -> bool:
    return path.is_file() and not path.is_symlink() and not path.name.startswith(".")


def _iter_below(folder: Path) -> Iterator[Path]:
    """Yield a folder and every folder below it, except hidden ones, buffers and bundles in work.

    The folder itself may be a link to another disk; links below it are left alone.
    """
    if not folder.is_dir():
        return
    yield folder
    for child in sorted(folder.iterdir()):
        is_own = child.is_dir() and not child.is_symlink()
        if is_own and not child.name.startswith(".") and child.name != "buffers":
            yield from _iter_below(child)
