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
from agent.objects.bucket import Access, Bucket, DamagedObjectError, ObjectsUnavailableError
from agent.objects.mirrored_files import BUNDLE_FILE, FEATURES, FOLDERS, MirroredFiles, select_own
from agent.objects.upload_index import Uploaded, UploadIndex

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from agent.settings import StoreSection
    from agent.store import Retention


# --- remove pictures from the disk that were not used for longest, once the storage has them ------


_BATCH: Final = 500


class DiskCache:
    """The crops and originals of a data folder that the storage has, too.

    Args:
        mirror: The data folder and the storage.
        pruned: Knows what was pruned; None where nothing ever is.
    """

    def __init__(self, mirror: MirroredFiles, pruned: PrunedFiles | None) -> None:
        self._mirror, self._pruned = mirror, pruned

    def remove_unused(self, cache_bytes: int) -> int:
        """Remove pictures from the disk that were not used for longest; return how many.

        Args:
            cache_bytes: How many bytes may stay.
        """
        index = self._mirror.index
        removed, beyond = 0, index.measure_pictures() - cache_bytes
        while beyond > 0 and (batch := index.list_longest_unused(_BATCH)):
            missing: list[Uploaded] = []
            for uploaded in batch:
                if beyond <= 0:
                    break
                if self._is_safe(uploaded):
                    index.record_removed(uploaded.name)
                    (self._mirror.folder / uploaded.name).unlink(missing_ok=True)
                    beyond -= uploaded.size
                    removed += 1
                else:
                    missing.append(uploaded)
            self._settle(missing)
        return removed

    def _settle(self, missing: Sequence[Uploaded]) -> None:
        """Delete what the storage lacks because it was pruned; the rest is sent again."""
        names = [uploaded.name for uploaded in missing]
        deleted = self._pruned.delete_missing(names) if self._pruned and names else set()
        for name in names:
            if name not in deleted:
                self._mirror.index.forget(name)
                self._mirror.index.record_scan(Path(name).parent.as_posix(), 0)

    def _is_safe(self, uploaded: Uploaded) -> bool:
        """Return whether the storage has the bytes of a file as it is on the disk now.

        Raises:
            ObjectsUnavailableError: The storage does not answer.
        """
        bucket, path = self._mirror.bucket, self._mirror.folder / uploaded.name
        facts = bucket.find(uploaded.name)
        if facts is None:
            return False
        if not path.is_file():
            return (facts.size, facts.sha256) == (uploaded.size, uploaded.sha256 or "?")
        try:
            sha256 = uploaded.sha256 or compute_hash(path)
            return (
                (facts.size, facts.sha256) == (uploaded.size, sha256)
                and bucket.confirm(uploaded.name, facts, path, sha256)
                and path.stat().st_mtime_ns == uploaded.changed_ns
            )
        except FileNotFoundError:  # deleted at this moment, here or there
            return False


# --- fetch what other PCs of the site made: bundles, and shards of kept features ------------------


_LEFT_OVER_S: Final = 3600.0


class SharedFiles:
    """The files in an object storage that every PC of a site fetches.

    Args:
        mirror: The data folder of this PC and the storage.
    """

    def __init__(self, mirror: MirroredFiles) -> None:
        self._mirror = mirror

    def fetch_bundles(self) -> tuple[int, list[DamagedObjectError]]:
        """Fetch bundles that this disk does not have; each appears when it is complete.

        Returns:
            How many files were fetched, and what is wrong with bundles that were left out.
        """
        names = select_own(self._mirror.bucket.list_names("bundles/"))
        fetched = 0
        damaged: list[DamagedObjectError] = []
        for bundle in sorted({name.split("/")[1] for name in names}):
            start = f"bundles/{bundle}/"
            own = [name for name in names if name.startswith(start)]
            if (self._mirror.folder / start).exists() or f"{start}{BUNDLE_FILE}" not in own:
                continue
            try:
                fetched += self._fetch_bundle(bundle, own)
            except DamagedObjectError as error:
                damaged.append(error)
        return fetched, damaged

    def _fetch_bundle(self, bundle: str, names: Sequence[str]) -> int:
        """Fetch one bundle into a folder of its own, as another process may fetch it too."""
        target, start = self._mirror.folder / "bundles" / bundle, f"bundles/{bundle}/"
        _delete_left_over(target)
        aside = target.with_name(f".{bundle}.{os.getpid()}-{secrets.token_hex(4)}{PART}")
        try:
            for name in names:
                self._mirror.bucket.fetch(name, aside / name.removeprefix(start))
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

    def fetch_features(self) -> int:
        """Fetch shards of other agents, and delete those that their agent has joined to others."""
        remote = set(select_own(self._mirror.bucket.list_names(f"{FEATURES}/")))
        filled = {name.rpartition("/")[0] for name in remote}
        fetched = 0
        for name in sorted(remote, reverse=True):  # a shard comes before its note
            path = self._mirror.folder / name
            if not path.is_file() and self._mirror.index.find(name) is None:
                with suppress(
                    FileNotFoundError, DamagedObjectError
                ):  # joined since then, or made again
                    self._mirror.fetch(path)
                    fetched += 1
        for name in self._mirror.index.list_start(f"{FEATURES}/"):
            self._settle_shard(name, is_remote=name in remote, filled=filled)
        return fetched

    def _settle_shard(self, name: str, *, is_remote: bool, filled: Collection[str]) -> None:
        """Delete a shard that was joined to others where it is left; else see that both have it.

        Args:
            name: Of a shard that was sent or fetched once, or of its note.
            is_remote: The storage has it.
            filled: Folders of which the storage has shards.
        """
        path, folder = self._mirror.folder / name, name.rpartition("/")[0]
        known = self._mirror.index.find(name)
        is_own = known is not None and known.is_own
        if not path.is_file() and is_own and any(path.parent.glob("*.parquet")):  # joined here
            self._mirror.index.doom(name)
            self._mirror.delete_remote(name)
        elif not path.is_file():  # lost or damaged here: the next round fetches it again
            self._mirror.index.forget(name)
        elif not is_remote:
            self._mirror.index.forget(name)
            if folder in filled and not is_own:  # joined by its agent
                path.unlink(missing_ok=True)
            else:  # deleted there by another program: it is sent again
                self._mirror.index.record_scan(folder, 0)


def _delete_left_over(bundle: Path) -> None:
    """Delete what killed agents had fetched of a bundle; one that is being fetched stays."""
    for aside in bundle.parent.glob(f".{bundle.name}.*{PART}"):
        with suppress(OSError):
            if time.time() - aside.stat().st_mtime > _LEFT_OVER_S:
                shutil.rmtree(aside, ignore_errors=True)


# --- delete on this PC what another PC of the site pruned -----------------------------------------
# The audit log names what was pruned, so that the database is the one record of it. Copies of what
# was labelled, stated or held since then stay, and are sent again where the storage lacks them.


LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""Before any statement."""
SHOWN_STILL: Final = (".preview.jpg", ".thumb.jpg")
"""Ends of files that stay when a crop is pruned: pages show them."""
_PICTURE = re.compile(r"(crops|originals)/[0-9a-f]{2}/([0-9a-f]{64})(?:-p(\d{1,9}))?(?:\..*)?")


@dataclass(frozen=True, slots=True)
class PruneRecords:
    """What the database knows of pruned pixels.

    Args:
        retention: Of the site.
        statements_since: What a statement of this time or later names is evidence.
    """

    retention: Retention
    statements_since: datetime = LONG_AGO

    def find_deleted(self, names: Collection[str]) -> set[str]:
        """Return those names of files whose pixels were pruned and that nothing needs now."""
        by_kind: dict[str, dict[str, tuple[str, int]]] = defaultdict(dict)
        for name in names:
            if picture := parse_picture(name):
                kind, sha256, page = picture
                by_kind[kind][name] = (sha256, page)
        unneeded: set[str] = set()
        for kind, contents in by_kind.items():
            deleted = self.retention.find_deleted(
                kind,
                {sha256 for sha256, _page in contents.values()},
                statements_since=self.statements_since,
            )
            unneeded |= {name for name, content in contents.items() if content in deleted}
        return unneeded


class PrunedFiles:
    """The files in a data folder that were pruned on another PC.

    Args:
        mirror: The data folder of this PC and the storage.
        records: What was pruned.
    """

    def __init__(self, mirror: MirroredFiles, records: PruneRecords) -> None:
        self._mirror, self._records = mirror, records

    def delete_new(self) -> int:
        """Delete what was pruned since the last round; return how many files."""
        index, deleted = self._mirror.index, 0
        for number, kind, contents in self._records.retention.list_deletions(
            index.find_read_act(), statements_since=self._records.statements_since
        ):
            folders: dict[str, set[tuple[str, str, int]]] = defaultdict(set)
            for sha256, page in contents:
                folders[f"{kind}/{sha256[:2]}"].add((kind, sha256, page))
            for folder, pictures in folders.items():
                names = [n for n in self._list_names(folder) if parse_picture(n) in pictures]
                deleted += self._delete(names)
            index.record_read_act(number)
        return deleted

    def delete_missing(self, names: Collection[str]) -> set[str]:
        """Delete those files that the storage lacks because they were pruned; return their names.

        Args:
            names: Of files that were in the storage and are not any more.
        """
        deleted = self._records.find_deleted(names)
        self._delete(deleted)
        return deleted

    def _delete(self, names: Iterable[str]) -> int:
        """Delete files from the disk, and from the storage what may have been sent again."""
        deleted = 0
        for name in names:
            path = self._mirror.folder / name
            if path.is_file():
                self._mirror.delete(path)
                deleted += 1
            else:
                self._mirror.index.forget(name)
        return deleted

    def _list_names(self, folder: str) -> set[str]:
        path = self._mirror.folder / folder
        on_disk = {f"{folder}/{file.name}" for file in path.iterdir()} if path.is_dir() else set()
        return on_disk | set(self._mirror.index.list_folder(folder))


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


# --- mirror the files of a data folder to an object storage, with the local disk as a cache -------


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
            DamagedObjectError: A bundle in the storage is damaged; everything else was done.
            OSError: A file cannot be read; everything else was done.
            ObjectsUnavailableError: The storage does not answer; nothing is lost.
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
            ObjectsUnavailableError: The storage does not answer.
        """
        sent = size = 0
        faults: list[OSError] = []
        for path in self._iter_unsent(is_sending=True):
            if is_enough():
                break
            try:
                size += self._send(path)
                sent += 1
            except ObjectsUnavailableError:
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
            DamagedObjectError: An object has other bytes than were stored.
            ObjectsUnavailableError: The storage does not answer.
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
