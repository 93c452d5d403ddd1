"""Find, list and clean up the bundles in the lab's folder."""

from __future__ import annotations

import re
import shutil
import time
from typing import TYPE_CHECKING

from agent.errors import UnusableBundleError
from model import suggest_nearest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from agent.store import Promotion
    from model import Manifest

FOLDER = "bundles"
HALF_WRITTEN = re.compile(r"\.\d{8}-[0-9a-f]{8}-[0-9a-f]{8}")
ASIDE = re.compile(r"\.training-[0-9a-f]+")
COPIED = re.compile(r"\..*\.part")
ASIDE_S, COPIED_S = 14 * 86400.0, 86400.0
"""How long an interrupted training is kept for resuming, and how long a copy may take."""
DEMO_MARK = "demo.json"
"""File of a data folder that `agent demo` made."""
BACK_FROM = "back_from"
"""Key in a promotion's metrics: the bundle that was rolled back from."""


def get_bundles_folder(store_folder: Path) -> Path:
    """Return the folder of the bundles."""
    return store_folder / FOLDER


def get_bundle(store_folder: Path, name: str) -> Path:
    """Return the folder of a bundle.

    Raises:
        UnusableBundleError: There is none of that name; the message lists the existing ones
            and suggests the nearest.
    """
    folder = get_bundles_folder(store_folder)
    if name and "/" not in name and "\\" not in name and (folder / name / "bundle.json").is_file():
        return folder / name
    there = [path.name for path in list_bundles(store_folder)]
    raise UnusableBundleError(
        f"no bundle is called {name!r}; in {folder} there are: {', '.join(there) or 'none'}."
        f"{suggest_nearest(name, there)}"
    )


def allow_demo_bundles(store_folder: Path) -> None:
    """Mark a data folder as a demonstration's, which may use bundles trained on drawn micrographs.

    Args:
        store_folder: New or empty; `agent demo` alone marks one.
    """
    store_folder.mkdir(parents=True, exist_ok=True)
    (store_folder / DEMO_MARK).write_text('{"written_by": "agent demo"}\n', "utf-8")


def require_allowed(store_folder: Path, manifest: Manifest) -> None:
    """Refuse a bundle for the demonstration in every data folder but a demonstration's.

    Raises:
        BundleError: It was trained on drawn micrographs, and this folder is a lab's.
    """
    from model import BundleError  # noqa: PLC0415 - a lab may start without

    if manifest.is_for_demo and not (store_folder / DEMO_MARK).is_file():
        raise BundleError(
            f"The bundle {manifest.name} is drawn, for the demo only: it was trained on "
            f"synthetic micrographs, and {store_folder} is no demonstration. Train a bundle on "
            "your own micrographs: agent train FOLDER."
        )


def is_drawn(bundle: Path) -> bool:
    """Return whether a bundle was trained on drawn micrographs, for the demonstration only.

    A manifest that cannot be read says nothing, so False.
    """
    from model import ModelError, read_manifest  # noqa: PLC0415 - brings PyTorch

    try:
        return read_manifest(bundle).is_for_demo
    except ModelError:
        return False


def has_bundle(store_folder: Path, name: str) -> bool:
    """Return whether there is a bundle of a name."""
    return name in {path.name for path in list_bundles(store_folder)}


def get_record_folder(bundle: Path) -> Path:
    """Return the folder of a bundle's record: in the bundle's folder, but no part of the bundle."""
    return bundle / "record"


def list_bundles(store_folder: Path) -> list[Path]:
    """Return the folders of the bundles, oldest name first."""
    folder = get_bundles_folder(store_folder)
    if not folder.is_dir():
        return []
    return sorted(
        path
        for path in folder.iterdir()
        if not path.name.startswith(".") and (path / "bundle.json").is_file()
    )


def list_previous_bundles(promotions: Sequence[Promotion]) -> list[str]:
    """Return the bundles that the active one can be rolled back to, the newest first.

    A bundle that was rolled back from is left out: a second rollback, also by another lead, must
    not promote again what both wanted to remove.

    Args:
        promotions: Every one, newest first.
    """
    past: list[str] = []
    for promotion in reversed(promotions):
        if promotion.metrics.get(BACK_FROM):
            while past and past[-1] != promotion.bundle:
                past.pop()
        if past[-1:] != [promotion.bundle]:
            past.append(promotion.bundle)
    return [name for name in dict.fromkeys(reversed(past)) if name != past[-1]]


def delete_leftovers(store_folder: Path) -> list[str]:
    """Delete what killed trainings left half-written.

    The caller holds the lease for training, so no other process is writing a bundle now. The
    checkpoint of an interrupted training is kept for `ASIDE_S`: the next one with the same images
    resumes it.

    Returns:
        The names of what was deleted.
    """
    folder, now_s = get_bundles_folder(store_folder), time.time()
    if not folder.is_dir():
        return []
    gone = []
    for path in sorted(folder.iterdir()):
        if _is_left_over(path, now_s - path.stat().st_mtime):
            shutil.rmtree(path, ignore_errors=True)
            gone.append(path.name)
    return gone


def _is_left_over(path: Path, age_s: float) -> bool:
    name = path.name
    return bool(
        HALF_WRITTEN.fullmatch(name)
        or (ASIDE.fullmatch(name) and age_s > ASIDE_S)
        or (COPIED.fullmatch(name) and age_s > COPIED_S)
    )
