"""Find the bundles in the lab's folder, by name.

In:  `store.folder`. Out: folders of bundles. Next: `model` loads one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.errors import BadBundle

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = "bundles"


def bundles_in(store_folder: Path) -> Path:
    """Say where the bundles lie."""
    return store_folder / FOLDER


def bundle_named(store_folder: Path, name: str) -> Path:
    """Find a bundle by its name.

    Raises:
        BadBundle: There is none; the message names those there are.
    """
    folder = bundles_in(store_folder)
    if name and "/" not in name and "\\" not in name and (folder / name / "bundle.json").is_file():
        return folder / name
    there = ", ".join(path.name for path in every_bundle(store_folder)) or "none"
    raise BadBundle(f"no bundle is called {name!r}; in {folder} there are: {there}.")


def every_bundle(store_folder: Path) -> list[Path]:
    """List the bundles, oldest name first."""
    folder = bundles_in(store_folder)
    if not folder.is_dir():
        return []
    return sorted(
        path
        for path in folder.iterdir()
        if not path.name.startswith(".") and (path / "bundle.json").is_file()
    )
