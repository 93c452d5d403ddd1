"""Remove pictures from the disk that were not used for longest, once the storage has them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from agent.objects.bucket import compute_hash

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.objects.mirrored_files import MirroredFiles
    from agent.objects.pruned_files import PrunedFiles
    from agent.objects.upload_index import Uploaded

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
            ObjectsUnavailable: The storage does not answer.
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
