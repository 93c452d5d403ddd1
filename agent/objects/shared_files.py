"""Fetch what other PCs of the site made: bundles, and shards of kept features."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from agent.files.whole_file import PART
from agent.objects.bucket import DamagedObject
from agent.objects.mirrored_files import BUNDLE_FILE, FEATURES, select_own

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from agent.objects.mirrored_files import MirroredFiles

_LEFT_OVER_S: Final = 3600.0


class SharedFiles:
    """The files in an object storage that every PC of a site fetches.

    Args:
        mirror: The data folder of this PC and the storage.
    """

    def __init__(self, mirror: MirroredFiles) -> None:
        self._mirror = mirror

    def fetch_bundles(self) -> tuple[int, list[DamagedObject]]:
        """Fetch bundles that this disk does not have; each appears when it is complete.

        Returns:
            How many files were fetched, and what is wrong with bundles that were left out.
        """
        names = select_own(self._mirror.bucket.list_names("bundles/"))
        fetched = 0
        damaged: list[DamagedObject] = []
        for bundle in sorted({name.split("/")[1] for name in names}):
            start = f"bundles/{bundle}/"
            own = [name for name in names if name.startswith(start)]
            if (self._mirror.folder / start).exists() or f"{start}{BUNDLE_FILE}" not in own:
                continue
            try:
                fetched += self._fetch_bundle(bundle, own)
            except DamagedObject as error:
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
                with suppress(FileNotFoundError, DamagedObject):  # joined since then, or made again
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
