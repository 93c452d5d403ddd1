"""Mirror the files of a data folder to an object storage, with the local disk as a cache.

What the agent writes is complete on the local disk first, so that a lab works on while the storage
is away; what is new is sent every minute. Only what the storage has, compared by hash, may be
removed from the disk. What is only in the storage is fetched when it is read.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from agent.files.whole_file import PART, compute_hash
from agent.objects.bucket import Bucket, DamagedObjectError, ObjectsUnavailableError
from agent.objects.mirrored_files import BUNDLE_FILE, FEATURES, FOLDERS, MirroredFiles, select_own
from agent.objects.upload_index import PRUNED, Uploaded

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from agent.settings import StoreSection
    from agent.store import Retention

_BATCH: Final = 500
_LEFT_OVER_S: Final = 3600.0
_LEAST_AGE_NS: Final = 2_000_000_000
"""A folder that changed so lately is looked through again: clocks of file systems are coarse."""
LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""Before any statement."""
SHOWN_STILL: Final = (".preview.jpg", ".thumb.jpg")
"""Ends of files that stay when a crop is pruned: pages show them."""
_PICTURE = re.compile(r"(crops|originals)/[0-9a-f]{2}/([0-9a-f]{64})(?:-p(\d{1,9}))?(?:\..*)?")


@dataclass(frozen=True, slots=True)
class PruneRecords:
    """What the database knows of pruned pixels: the audit log names them, so that it is the record.

    Args:
        retention: Of the site.
        statements_since: What a statement of this time or later names is evidence.
    """

    retention: Retention
    statements_since: datetime = LONG_AGO

    def find_deleted(self, names: Collection[str]) -> set[str]:
        """Return those names of files whose pixels were pruned and that nothing needs now."""
        pictures = {name: picture for name in names if (picture := parse_picture(name))}
        deleted = {
            (kind, *content)
            for kind in ("crops", "originals")
            for content in self.retention.find_deleted(
                kind,
                {sha256 for of, sha256, _page in pictures.values() if of == kind},
                statements_since=self.statements_since,
            )
        }
        return {name for name, picture in pictures.items() if picture in deleted}


@dataclass(frozen=True, slots=True)
class RoundOutcome:
    """What one round did.

    Args:
        sent: Files that were stored.
        size_bytes: Of these.
        fetched: Files of other PCs that were fetched: bundles and kept features.
        removed: Files that were removed from the disk, and are in the storage.
        pruned: Files that were deleted because another PC pruned them.
    """

    sent: int
    size_bytes: int
    fetched: int
    removed: int
    pruned: int


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
            is_enough: Called after each file; True ends the sending.
            records: What PCs of this site pruned; it is deleted here too, before anything is sent.

        Raises:
            DamagedObjectError: A bundle in the storage is damaged; everything else was done.
            OSError: A file cannot be read; everything else was done.
            ObjectsUnavailableError: The storage does not answer; nothing is lost.
        """
        pruned = self._delete_pruned(records) if records else 0
        for name in self.index.list_doomed():
            self.delete_remote(name)
        sizes, faults = self._send_new(is_enough)
        # A full disk is helped before anything is fetched.
        removed = self._remove_unused(cache_bytes, records) if cache_bytes else 0
        fetched, damaged = self._fetch_bundles()
        fetched += self._fetch_features()
        if faults or damaged:
            raise [*faults, *damaged][0]
        return RoundOutcome(len(sizes), sum(sizes), fetched, removed, pruned)

    def fetch_all(self, *, progress: Callable[[int, int], None]) -> int:
        """Fetch everything that is only in the storage, so that it can be given up.

        Args:
            progress: Called with (files done, files).

        Returns:
            How many files were fetched.

        Raises:
            DamagedObjectError: An object has other bytes than were stored.
        """
        of_bundles, damaged = self._fetch_bundles()
        doomed = set(self.index.list_doomed())
        names = select_own([n for folder in FOLDERS for n in self.bucket.list_names(f"{folder}/")])
        paths = [self.folder / name for name in names if name not in doomed]
        missing = [path for path in paths if not path.is_file()]
        missing.sort(key=lambda path: path.name == BUNDLE_FILE)  # a bundle is there by this file
        for number, path in enumerate(missing, start=1):
            self.fetch(path)
            progress(number, len(missing))
        if damaged:
            raise damaged[0]
        return of_bundles + len(missing)

    # --- send what is new ---

    def iter_unsent(self, *, is_sending: bool = False) -> Iterator[Path]:
        """Yield each complete file that the storage does not have yet.

        Only folders that changed since all their files were sent are read.

        Args:
            is_sending: The caller sends each before it takes the next, so that a folder is
                recorded as sent at its end.
        """
        for folder in self._iter_folders():
            name = self.name_of(folder)
            with suppress(FileNotFoundError):
                changed_ns = folder.stat().st_mtime_ns
                if self.index.find_compared(name) == changed_ns:
                    continue
                listed_ns = time.time_ns()
                known = self.index.list_start(f"{name}/")
                for path in sorted(folder.iterdir()):
                    if _is_complete(path) and _is_new(path, known.get(self.name_of(path))):
                        yield path
                if is_sending and listed_ns - changed_ns > _LEAST_AGE_NS:
                    self.index.record_compared(name, changed_ns)

    def _iter_folders(self) -> Iterator[Path]:
        """Yield the folders that are sent, but hidden ones, buffers and bundles in work.

        Each of `FOLDERS` may be a link to another disk; links below it are left alone.
        """
        for name in FOLDERS:
            for folder, inner, _files in os.walk(self.folder / name):
                inner[:] = sorted(
                    child for child in inner if not child.startswith(".") and child != "buffers"
                )
                yield Path(folder)

    def _send_new(self, is_enough: Callable[[], bool]) -> tuple[list[int], list[OSError]]:
        """Send what is new; return sizes, and what is wrong with files that cannot be read."""
        sizes: list[int] = []
        faults: list[OSError] = []
        for path in self.iter_unsent(is_sending=True):
            if is_enough():
                break
            try:
                sizes.append(self._send(path))
            except ObjectsUnavailableError:
                raise
            except OSError as error:  # one file that cannot be read holds up no other
                faults.append(error)
        for folder in {Path(error.filename).parent for error in faults if error.filename}:
            self.index.record_compared(self.name_of(folder), 0)
        return sizes, faults

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
            Uploaded(name, facts.size, before.st_mtime_ns, facts.sha256, is_local=True, is_own=True)
        )
        return facts.size

    def _send_rest_of_bundle(self, bundle_file: Path) -> None:
        """Send the other files of a bundle first: another PC takes a bundle by this one."""
        known = self.index.list_start(f"{self.name_of(bundle_file.parent)}/")
        for path in sorted(bundle_file.parent.rglob("*")):
            if _is_complete(path) and path != bundle_file and self.name_of(path) not in known:
                self._send(path)

    def _send_again(self, name: str) -> None:
        """See that a file is sent with the next round, which the storage has lost."""
        self.index.forget(name)
        self.index.record_compared(name.rpartition("/")[0], 0)

    # --- remove pictures from the disk that were not used for longest, once they are stored ---

    def _remove_unused(self, cache_bytes: int, records: PruneRecords | None) -> int:
        """Remove pictures from the disk until so many bytes are left; return how many."""
        removed, beyond = 0, self.index.measure_pictures() - cache_bytes
        while beyond > 0 and (batch := self.index.list_longest_unused(_BATCH)):
            missing: list[str] = []
            for uploaded in batch:
                if beyond <= 0:
                    break
                if self._is_safe(uploaded):
                    self.index.record_removed(uploaded.name)
                    (self.folder / uploaded.name).unlink(missing_ok=True)
                    beyond -= uploaded.size
                    removed += 1
                else:
                    missing.append(uploaded.name)
            deleted = records.find_deleted(missing) if records else set()
            self._delete_files(deleted)  # what the storage lacks because it was pruned
            for name in {*missing} - deleted:
                self._send_again(name)
        return removed

    def _is_safe(self, uploaded: Uploaded) -> bool:
        """Return whether the storage has the bytes of a file as it is on the disk now."""
        name, path = uploaded.name, self.folder / uploaded.name
        try:
            sha256 = uploaded.sha256 or compute_hash(path)
            facts = self.bucket.find(name)
            if facts is None or (facts.size, facts.sha256) != (uploaded.size, sha256):
                return False
            return not path.is_file() or (
                self.bucket.confirm(name, facts, path, sha256)
                and path.stat().st_mtime_ns == uploaded.changed_ns
            )
        except FileNotFoundError:  # deleted at this moment, here or there
            return False

    # --- delete on this PC what another PC of the site pruned ---
    # Copies of what was labelled, stated or held since then stay, and are sent again where the
    # storage lacks them.

    def _delete_pruned(self, records: PruneRecords) -> int:
        """Delete what was pruned since the last round; return how many files."""
        deleted = 0
        for number, kind, contents in records.retention.list_deletions(
            self.index.find_compared(PRUNED), statements_since=records.statements_since
        ):
            folders: dict[str, set[tuple[str, str, int]]] = defaultdict(set)
            for sha256, page in contents:
                folders[f"{kind}/{sha256[:2]}"].add((kind, sha256, page))
            for folder, pictures in folders.items():
                on_disk = map(self.name_of, (self.folder / folder).glob("*"))
                names = {*on_disk, *self.index.list_start(f"{folder}/")}
                deleted += self._delete_files(n for n in names if parse_picture(n) in pictures)
            self.index.record_compared(PRUNED, number)
        return deleted

    def _delete_files(self, names: Iterable[str]) -> int:
        """Delete files from the disk, and from the storage what may have been sent again."""
        deleted = 0
        for name in names:
            path = self.folder / name
            if path.is_file():
                self.delete(path)
                deleted += 1
            else:
                self.index.forget(name)
        return deleted

    # --- fetch what other PCs of the site made: bundles, and shards of kept features ---

    def _fetch_bundles(self) -> tuple[int, list[DamagedObjectError]]:
        """Fetch bundles that this disk does not have; each appears when it is complete.

        Returns:
            How many files were fetched, and what is wrong with bundles that were left out.
        """
        fetched = 0
        damaged: list[DamagedObjectError] = []
        bundles: dict[str, list[str]] = defaultdict(list)
        for name in select_own(self.bucket.list_names("bundles/")):
            bundles[name.split("/")[1]].append(name)
        for bundle, names in sorted(bundles.items()):
            target = self.folder / "bundles" / bundle
            if not target.exists() and f"bundles/{bundle}/{BUNDLE_FILE}" in names:
                try:
                    fetched += self._fetch_bundle(target, names)
                except DamagedObjectError as error:
                    damaged.append(error)
        return fetched, damaged

    def _fetch_bundle(self, target: Path, names: Sequence[str]) -> int:
        """Fetch one bundle into a folder of its own, as another process may fetch it too."""
        _delete_left_over(target)
        aside = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}{PART}")
        try:
            for name in names:
                self.bucket.fetch(name, aside / (self.folder / name).relative_to(target))
            aside.rename(target)
        except FileNotFoundError:  # deleted since it was listed
            return 0
        except OSError:
            if target.exists():
                return 0  # the other process was first
            raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        return len(names)

    def _fetch_features(self) -> int:
        """Fetch shards of other agents, and delete those that their agent has joined to others."""
        remote = set(select_own(self.bucket.list_names(f"{FEATURES}/")))
        fetched = 0
        for name in sorted(remote, reverse=True):  # a shard comes before its note
            path = self.folder / name
            if not path.is_file() and self.index.find(name) is None:
                # Joined since then, or made again.
                with suppress(FileNotFoundError, DamagedObjectError):
                    self.fetch(path)
                    fetched += 1
        filled = {name.rpartition("/")[0] for name in remote}
        for name, known in self.index.list_start(f"{FEATURES}/").items():
            path = self.folder / name
            if not path.is_file():
                if known.is_own and any(path.parent.glob("*.parquet")):  # joined here
                    self.delete(path)
                else:  # lost or damaged here: the next round fetches it again
                    self.index.forget(name)
            elif name not in remote:
                if name.rpartition("/")[0] in filled and not known.is_own:  # joined by its agent
                    self.index.forget(name)
                    path.unlink(missing_ok=True)
                else:  # deleted there by another program
                    self._send_again(name)
        return fetched


def open_mirror(section: StoreSection) -> ObjectMirror | None:
    """Return the mirror of a lab's data folder, None for a lab without an object storage.

    Args:
        section: [store].
    """
    if not section.objects:
        return None
    bucket = _share_bucket(
        section.objects,
        section.objects_endpoint,
        section.objects_credentials,
        section.objects_certificate,
    )
    return ObjectMirror(section.folder, bucket)


_share_bucket = cache(Bucket)
"""One connection per process for each storage."""


def parse_picture(name: str) -> tuple[str, str, int] | None:
    """Return kind, hash of the content and page of a file that goes when pixels are pruned.

    Args:
        name: In the data folder, with "/".

    Returns:
        ("crops" or "originals", hash, page; 0 for originals), None for every other file.
    """
    match = _PICTURE.fullmatch(name)
    if match is None or name.endswith(SHOWN_STILL):
        return None
    kind, sha256, page = match.groups()
    return (kind, sha256, int(page or 0)) if (page is None) == (kind == "originals") else None


def _is_complete(path: Path) -> bool:
    return path.is_file() and not path.is_symlink() and not path.name.startswith(".")


def _is_new(path: Path, known: Uploaded | None) -> bool:
    if known is None:
        return True
    facts = path.stat()
    return (facts.st_size, facts.st_mtime_ns) != (known.size, known.changed_ns)


def _delete_left_over(bundle: Path) -> None:
    """Delete what killed agents had fetched of a bundle; one that is being fetched stays."""
    for aside in bundle.parent.glob(f".{bundle.name}.*{PART}"):
        with suppress(OSError):
            if time.time() - aside.stat().st_mtime > _LEFT_OVER_S:
                shutil.rmtree(aside, ignore_errors=True)
