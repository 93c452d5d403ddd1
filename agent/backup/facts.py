"""The manifest of a back-up: its lab, its author and its content.

Several labs may back up into one folder. A back-up is a lab's own where its manifest names the
lab's first act, which is the same on every PC that the lab was ever on.
"""

from __future__ import annotations

import json
import re
import unicodedata
import zipfile
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agent.evidence.anchors import MANIFEST, NOT_WHOLE

NIGHTLY = "nightly"
NAMES = "martensight-*.zip"


@dataclass(frozen=True, slots=True)
class BackupFacts:
    """Facts in the manifest of a back-up.

    Attributes:
        made_at: Aware UTC.
        site: Of the lab.
        lab: Hash of the lab's first act, "" where there was none yet.
        is_automatic: The service made it; only such a one is thinned out.
        counts: Table → rows in the copy of the database.
        names: Of the files in it.
    """

    made_at: datetime
    site: str
    lab: str = ""
    is_automatic: bool = False
    counts: Mapping[str, int] = field(default_factory=dict)
    names: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, document: Any) -> BackupFacts:
        """Return it from a manifest. Raises `KeyError`, `TypeError` or `ValueError`."""
        made_at = datetime.fromisoformat(document["made_at"])
        counts = document.get("counts") or {}
        return cls(
            made_at=made_at if made_at.tzinfo else made_at.replace(tzinfo=UTC),
            site=str(document["site"]),
            lab=str(document["lab"]),
            is_automatic=document.get("automatic") is True,
            counts={str(name): int(count) for name, count in counts.items()},
            names=tuple(document["sha256"]),
        )


@dataclass(frozen=True, slots=True)
class KnownBackup:
    """A back-up in a folder."""

    file: Path
    facts: BackupFacts


def name_backup(site: str, lab: str, at: datetime, *, is_automatic: bool) -> str:
    """Return the name of a back-up's file; two labs have two names.

    Args:
        site: Name of the site.
        lab: Hash of its first act, "" where there is none yet.
        at: Now, aware UTC.
        is_automatic: The service makes it by itself.
    """
    whose = "-".join(filter(None, (name_site(site), lab[:6])))
    kind = f"{NIGHTLY}-" if is_automatic else ""
    return f"martensight-{whose}-{kind}{at:%Y%m%dT%H%M%SZ}.zip"


def name_site(site: str) -> str:
    """Return a site's name as a file name holds it; two sites may have the same one."""
    letters = unicodedata.normalize("NFKD", site.casefold()).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", letters)[:40].strip("-") or "lab"


def read_facts(file: Path) -> BackupFacts | None:
    """Return the manifest of a back-up, None where it is no back-up or cannot be read."""
    faults = (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError)
    with suppress(*faults, zipfile.BadZipFile, zlib.error), zipfile.ZipFile(file) as packed:
        return BackupFacts.from_json(json.loads(packed.read(MANIFEST)))
    return None


def list_backups(folder: Path) -> list[KnownBackup]:
    """Return the back-ups in a folder, the oldest first; none where it cannot be seen."""
    try:
        files = sorted(folder.glob(NAMES))
    except OSError:
        return []
    known = [KnownBackup(file, facts) for file in files if (facts := read_facts(file))]
    return sorted(known, key=lambda one: (one.facts.made_at, one.file.name))


def is_own(facts: BackupFacts, *, site: str, lab: str) -> bool:
    """Return whether a back-up is of a lab.

    Args:
        facts: Of the back-up.
        site: Name of the lab's site.
        lab: Hash of its first act, "" where that is not known: the site decides alone.
    """
    return facts.site == site and (not lab or facts.lab == lab)


# --- those that cannot be read ------------------------------------------------------------------


def find_broken_backups(
    folder: Path, *, site: str, lab: str, thorough: bool = False
) -> tuple[list[str], list[str]]:
    """Find the back-ups that cannot be read; other zip files in the folder are passed over.

    Args:
        folder: Of the back-ups, which several labs may use.
        site: Name of the lab's site, "": every back-up is its own.
        lab: Hash of its first act, "" where that is not known: the site decides alone.
        thorough: Read every byte, else the list of what is inside; and count one that names no lab
            as the lab's own, since it may be evidence that was spoilt.

    Returns:
        A sentence per back-up of the lab itself; and one per back-up of another lab, or of nobody
        that is known.
    """
    faults, remarks = [], []
    for file in sorted(folder.glob(NAMES)):
        fault = _find_fault(file, thorough=thorough)
        if not fault:
            continue
        known = _guess_is_own(file, site=site, lab=lab) if site else True
        if known or (known is None and thorough):
            faults.append(
                f"back-up {file.name}: it is damaged ({fault}), so it holds no evidence and cannot "
                "be restored. Put a copy of it back, or move it out of the folder"
            )
        else:
            remarks.append(
                f"back-up {file.name}: it cannot be read ({fault}), and is none of this lab's as "
                "far as can be seen. Move it out of the folder if no lab needs it"
            )
    return faults, remarks


def _guess_is_own(file: Path, *, site: str, lab: str) -> bool | None:
    """Return whether a damaged back-up is of a lab, by manifest or name; None: neither says."""
    facts = read_facts(file)
    if facts and facts.site:
        return is_own(facts, site=site, lab=lab)
    first = re.escape(lab[:6]) if lab else "[0-9a-f]{6}"
    if re.fullmatch(rf"martensight-{name_site(site)}(-{first})?{_ENDING}", file.name):
        return True
    return False if re.fullmatch(rf"martensight-[a-z].*{_ENDING}", file.name) else None


_ENDING = rf"(-{NIGHTLY})?-\d{{8}}T\d{{6}}Z\.zip"
"""End of the name that `name_backup` makes."""


def _find_fault(file: Path, *, thorough: bool) -> str:
    try:
        with zipfile.ZipFile(file) as packed:
            document = json.loads(packed.read(MANIFEST))
            missing = set(document["sha256"]) - set(packed.namelist())
            bad = packed.testzip() if thorough else None
    except NOT_WHOLE as error:
        return str(error) or type(error).__name__
    if missing:
        return f"{min(missing)} is not in it"
    return f"{bad} was changed" if bad else ""
