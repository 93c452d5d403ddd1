"""Delete on this PC what another PC of the site pruned.

The audit log names what was pruned, so that the database is the one record of it. Copies of what
was labelled, stated or held since then stay, and are sent again where the storage lacks them.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from agent.objects.mirrored_files import MirroredFiles
    from agent.store import Retention

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
        for deletion in self._records.retention.list_deletions(
            index.find_read_act(), statements_since=self._records.statements_since
        ):
            folders: dict[str, set[tuple[str, str, int]]] = defaultdict(set)
            for sha256, page in deletion.contents:
                folders[f"{deletion.kind}/{sha256[:2]}"].add((deletion.kind, sha256, page))
            for folder, pictures in folders.items():
                names = [n for n in self._list_names(folder) if parse_picture(n) in pictures]
                deleted += self._delete(names)
            index.record_read_act(deletion.number)
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
