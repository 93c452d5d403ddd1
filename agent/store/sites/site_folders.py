"""Folders and files in the data folder that its sites, or its PCs, do not share."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from agent.settings import find_pc_name
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


def get_own_file(data: Path, name: str, *, url: str, pc: str = "") -> Path:
    """Return a file of the agent, named by its PC where several PCs share the data folder.

    Args:
        data: The data folder.
        name: Of the file where one PC has the folder, such as "status.json".
        url: Address of the database: PCs share the folder with PostgreSQL.
        pc: Name of the PC, "": this one.
    """
    file = data / name
    if not url.startswith("postgresql"):
        return file
    own = re.sub(r"[^A-Za-z0-9_.-]", "_", pc or find_pc_name())
    return file.with_name(f"{file.stem}-{own}{file.suffix}")


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
