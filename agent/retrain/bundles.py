"""Find the bundles in the lab's folder, by name.

In:  `store.folder`. Out: folders of bundles. Next: `model` loads one.
"""

from __future__ import annotations

import re
import shutil
import time
from typing import TYPE_CHECKING

from agent.errors import BadBundle

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from agent.store import Promotion

FOLDER = "bundles"
HALF_WRITTEN = re.compile(r"\.\d{8}-[0-9a-f]{8}-[0-9a-f]{8}")
ASIDE = re.compile(r"\.training-[0-9a-f]+")
COPIED = re.compile(r"\..*\.part")
ASIDE_S, COPIED_S = 14 * 86400.0, 86400.0
"""How long an interrupted training is kept to be taken up, and how long a copy may take."""
BACK_FROM = "back_from"
"""Under this key of a promotion's metrics stands the bundle that somebody went back from."""


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


def record_of(bundle: Path) -> Path:
    """Say where what is written about a bundle lies: in its folder, and no part of what it is."""
    return bundle / "record"


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


def at_work_before(promotions: Sequence[Promotion]) -> list[str]:
    """Say which bundles one may go back to from the one at work, the newest first.

    One that somebody went back from is none of them: whoever goes back twice, or as another person
    does, must not put to work again what both wanted to be rid of.

    Args:
        promotions: Every one, newest first.
    """
    past: list[str] = []
    for one in reversed(promotions):
        if one.metrics.get(BACK_FROM):
            while past and past[-1] != one.bundle:
                past.pop()
        if past[-1:] != [one.bundle]:
            past.append(one.bundle)
    return [name for name in dict.fromkeys(reversed(past)) if name != past[-1]]


def sweep(store_folder: Path) -> list[str]:
    """Delete what killed teachings left half-written; the names of what is gone.

    Whoever asks holds the right to teach, so nobody is writing a bundle now. What was learned by an
    interrupted training is kept for a while: the next one with the same images takes it up.
    """
    folder, now_s = bundles_in(store_folder), time.time()
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
