"""Folders of a site in the data folder: sites that share a data folder have separate ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from agent.store import Store


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
