"""Collect the wheels for the installation of a PC without internet, in locked versions.

The lock file holds what was tested, for every system and Python, each file with its hash; pip
compares the collected wheels with their requirements again.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from agent.errors import WrongUse

if TYPE_CHECKING:
    from collections.abc import Mapping

LOCK = Path(__file__).with_name("requirements.lock")
REQUIREMENTS = "requirements.txt"
SUMS = "SHA256SUMS"
_PIN = re.compile(r"^(?P<name>[A-Za-z0-9][\w.-]*)==(?P<version>[^\s;\\]+)")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


def read_lock(lock: Path = LOCK) -> dict[tuple[str, str], frozenset[str]]:
    """Read which files are locked.

    Returns:
        Normalised name and version → SHA-256 of each of its files.

    Raises:
        WrongUse: It cannot be read, or a version has no hash.
    """
    try:
        text = lock.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise WrongUse(f"{lock}: cannot be read as a lock file ({error}).") from error
    hashes: dict[tuple[str, str], frozenset[str]] = {}
    for entry in re.split(r"\n(?=[A-Za-z0-9])", text):
        if pin := _PIN.match(entry):
            digests = frozenset(_HASH.findall(entry))
            if not digests:
                raise WrongUse(f"{lock}: {pin[0]} has no hash; a locked version needs one.")
            hashes[normalise(pin["name"]), pin["version"]] = digests
    return hashes


def normalise(name: str) -> str:
    """Return a distribution's name as an index compares it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def collect(folder: Path, package: str, extras: str, lock: Path | None = LOCK) -> list[Path]:
    """Download a program's wheels and everything that it needs, for this system and this Python.

    Args:
        folder: Where they are written.
        package: The program's wheel, source folder, or name.
        extras: Which of its extras, separated by commas.
        lock: The required versions and hashes; None downloads the newest versions that fit.

    Returns:
        The wheels; `SHA256SUMS` and `requirements.txt` are next to them.

    Raises:
        WrongUse: pip could not, or a file differs from the locked one.
    """
    locked = read_lock(lock) if lock else {}
    with tempfile.TemporaryDirectory(dir=folder, prefix=".collecting-") as scratch:
        made = _fetch(f"{package}[{extras}]" if extras else package, Path(scratch), locked)
        sums = {path.name: _sha256(path) for path in made}
        if locked:
            own = Path(package).name if package.endswith(".whl") else "martensight-"
            _refuse_others({n: s for n, s in sums.items() if not n.startswith(own)}, locked)
        for old in folder.glob("*.whl"):  # of an earlier collection
            old.unlink()
        wheels = [path.replace(folder / path.name) for path in made]
    lines = [f"{total}  {name}\n" for name, total in sums.items()]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")
    pins = [f"./{name} --hash=sha256:{total}\n" for name, total in sums.items()]
    (folder / REQUIREMENTS).write_text("".join(pins), encoding="utf-8")
    return wheels


def _fetch(wanted: str, folder: Path, locked: Mapping[tuple[str, str], object]) -> list[Path]:
    command = [sys.executable, "-m", "pip", "wheel", "--wheel-dir", str(folder), wanted]
    versions = folder / "versions.txt"
    if locked:
        lines = [f"{name}=={version}\n" for name, version in locked]
        versions.write_text("".join(lines), encoding="utf-8")
        command += ["--constraint", str(versions), "--prefer-binary"]
    done = subprocess.run(command, check=False)  # noqa: S603 - our own words; pip shows its progress
    if done.returncode:
        raise WrongUse(f"pip could not collect {wanted}. Its output is above.")
    return sorted(folder.glob("*.whl"))


def _refuse_others(
    sums: Mapping[str, str], locked: Mapping[tuple[str, str], frozenset[str]]
) -> None:
    others = [name for name, total in sums.items() if total not in locked.get(_pin(name), ())]
    if others:
        raise WrongUse(
            f"{', '.join(others)}: not the files that were tested with this version (their SHA-256 "
            "is not in the lock file); nothing was kept. The index gave something else, or a file "
            "was damaged: try again, or take what it has with --no-lock, as for a build of PyTorch "
            "for a GPU."
        )


def _pin(wheel: str) -> tuple[str, str]:
    name, version = wheel.split("-")[:2]
    return normalise(name), version.partition("+")[0]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
