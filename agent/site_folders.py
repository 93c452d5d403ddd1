"""Folders of a site in the data folder: sites that share a data folder have separate ones."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from agent.store import Store


KEPT_COPIES = (
    "*.before-schema-*",
    "*.before-restore-*",
    "settings-of-backup-*",
)
"""Names in the data folder of what an upgrade or a restore kept as it was."""


def list_kept_copies(data: Path) -> dict[Path, int]:
    """Return what an upgrade or a restore kept in the data folder, with its size in bytes.

    The program needs none of it; an operator deletes it once the upgrade or restore proved good.
    """
    found = sorted({path for pattern in KEPT_COPIES for path in data.glob(pattern)})
    return {path: _measure(path) for path in found}


def _measure(path: Path) -> int:
    with suppress(OSError):
        if path.is_dir():
            return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        return path.stat().st_size
    return 0


def get_features_folder(data: Path, store: Store) -> Path:
    """Return the folder of a site's kept features; each site has its own."""
    folder = data / "kept-features"
    return folder if store.site_id == 1 else folder / f"site-{store.site_id}"


def reports_folder(data: Path, store: Store) -> Path:
    """Return the folder of a site's reports: sites that share a data folder must not share pages.

    The first site of a database has `reports/`, every later one a separate folder below it.
    """
    folder = data / "reports"
    return folder if store.site_id == 1 else folder / f"site-{store.site_id}"
