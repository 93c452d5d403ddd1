"""Keep everything a trained model is in one folder that nobody can change unnoticed.

In:  networks, heads and facts. Out: a folder `YYYYMMDD-<8 hex>`; and back. Next: `classify`.
`bundle.json` names every other file with its sha256; tensors are safetensors, so loading runs no
code. A bundle is written beside its place and renamed, so it is there whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save
from safetensors.torch import load_file as load_torch_file
from safetensors.torch import save as save_torch

from model.durable_file import write_through
from model.errors import BundleError, TaxonomyError
from model.framing import Framing
from model.networks.backbones import build_backbone
from model.networks.encoder import Encoder
from model.networks.schemes import Head, Scheme
from model.taxonomy import Taxonomy, taxonomy_from

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

FORMAT = 1
"""Raised when an older agent could not read a bundle any more."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a bundle says about itself.

    Args:
        name: `YYYYMMDD-<8 hex>`, the same as its folder's.
        created_at: Aware UTC.
        recipe: Version of the crop recipe its images were cut with.
        taxonomy: What it knows and was taught.
        scheme: "two-stage", "global" or "multi-head".
        framing: How it is shown a field.
        conformal_level: Up to where prediction sets grow.
        validated: The scope it was validated on: pixel sizes, criteria, microscopes, counts.
        metrics: `Evaluation.as_json()` on its own test images.
        split: Keys of micrographs per side: "train", "validation", "test".
        facts: Everything else that was recorded: plan, versions, data fingerprint, notes.
        files: File name → sha256.
    """

    name: str
    created_at: datetime
    recipe: str
    taxonomy: Taxonomy
    scheme: str
    framing: Framing
    conformal_level: float
    validated: dict[str, Any]
    metrics: dict[str, Any]
    split: dict[str, tuple[str, ...]]
    facts: dict[str, Any]
    files: dict[str, str]

    @property
    def learned_from(self) -> frozenset[str]:
        """Keys of every micrograph that shaped it: trained on, chosen by or calibrated with."""
        return frozenset(self.split.get("train", ())) | frozenset(self.split.get("validation", ()))

    @property
    def network(self) -> str:
        """Its architecture, or both where the stages have one each; "" where none is recorded."""
        plan = self.facts.get("plan", {})
        arch = plan.get("arch") or ""
        subtype, sizes = (plan.get(stage) or arch for stage in ("subtype_arch", "size_arch"))
        if self.scheme != "two-stage":
            return str(arch)
        return str(subtype) if subtype == sizes else f"{subtype} (subtype), {sizes} (sizes)"


@dataclass(frozen=True, slots=True)
class Contents:
    """What a bundle holds, in memory.

    Args:
        recipe, created_at, scheme, framing, conformal_level, validated, metrics, split, facts:
            As in `Manifest`.
        eyes: Networks by name. heads: heads by name.
        known: Tensors of strangeness, and its facts.
    """

    recipe: str
    created_at: datetime
    scheme: Scheme
    framing: Framing
    conformal_level: float
    validated: Mapping[str, Any]
    metrics: Mapping[str, Any]
    split: Mapping[str, tuple[str, ...]]
    facts: Mapping[str, Any]
    eyes: Mapping[str, Encoder]
    heads: Mapping[str, Head]
    known_tensors: Mapping[str, NDArray[Any]]
    known_facts: Mapping[str, Any]


def write_bundle(contents: Contents, folder: Path) -> Path:
    """Write a bundle into a folder of bundles, whole or not at all.

    Args:
        contents: What it holds.
        folder: The folder of bundles; made if missing.

    Returns:
        The bundle's own folder, named for the day and its contents.

    Raises:
        BundleError: The disk refused; nothing is left behind.
    """
    files = {
        f"eye-{index}.safetensors": save_torch(
            {n: t.detach().cpu().contiguous() for n, t in eye.backbone.state_dict().items()}
        )
        for index, eye in enumerate(contents.eyes.values())
    }
    files["heads.safetensors"] = save(
        {
            f"{part}:{head.name}": np.ascontiguousarray(getattr(head, part))
            for head in contents.heads.values()
            for part in ("weight", "bias", "centre")
        }
    )
    files["strangeness.safetensors"] = save(
        {name: np.ascontiguousarray(array) for name, array in contents.known_tensors.items()}
    )
    files["strangeness.json"] = _json(contents.known_facts)
    files["split.json"] = _json({side: list(keys) for side, keys in contents.split.items()})
    manifest = _manifest_json(contents, {n: _sha256(data) for n, data in files.items()})
    digest = _sha256(_json(manifest))
    name = f"{contents.created_at:%Y%m%d}-{digest[:8]}"
    files["bundle.json"] = _json({"name": name, **manifest})
    aside = folder / f".{name}-{uuid4().hex[:8]}"
    try:
        aside.mkdir(parents=True)
        for file_name, data in files.items():
            write_through(aside / file_name, data)
        if not (folder / name).exists():
            aside.rename(folder / name)
    except OSError as error:
        raise BundleError(
            f"The bundle {name} could not be written to {folder}: {error.strerror}; "
            "nothing was left behind."
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return folder / name


def read_manifest(bundle: Path) -> Manifest:
    """Read what a bundle says about itself, without checking its other files.

    Raises:
        BundleError: There is none, or it cannot be read.
    """
    try:
        document = json.loads((bundle / "bundle.json").read_bytes())
        split = json.loads((bundle / "split.json").read_bytes())
        if document["format"] > FORMAT:
            raise BundleError(
                f"The bundle {bundle.name} was made by a newer version; update this agent."
            )
        return Manifest(
            name=document["name"],
            created_at=datetime.fromisoformat(document["created_at"]),
            recipe=document["recipe"],
            taxonomy=taxonomy_from(document["taxonomy"]),
            scheme=document["scheme"],
            framing=Framing(**document["framing"]),
            conformal_level=float(document["conformal_level"]),
            validated=document["validated"],
            metrics=document["metrics"],
            split={side: tuple(keys) for side, keys in split.items()},
            facts=document["facts"],
            files=document["files"],
        )
    except FileNotFoundError as error:
        missing = Path(error.filename).name
        raise BundleError(f"{bundle} is no bundle: it has no {missing}.") from error
    except (OSError, ValueError, KeyError, TypeError, TaxonomyError) as error:
        raise BundleError(f"The bundle {bundle.name} has a broken bundle.json: {error}.") from error


def taught_codes(bundle: Path) -> dict[str, str]:
    """Say by which structure code each micrograph that shaped a bundle was taught, key → code.

    Raises:
        BundleError: It cannot be read.
    """
    try:
        facts = json.loads((bundle / "strangeness.json").read_bytes())
        return dict(zip(facts["keys"], facts["codes"], strict=True))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(
            f"The bundle {bundle.name} has a broken strangeness.json: {error}."
        ) from error


def verify_bundle(bundle: Path) -> Manifest:
    """Check that a bundle is what it was when it was written.

    Only what it names is loaded, so only that is looked at: whatever else lies in the folder, such
    as the `record` that people write beside it, changes no answer.

    Raises:
        BundleError: A file it names is missing or changed, or the folder was renamed.
    """
    manifest = read_manifest(bundle)
    if manifest.name != bundle.name:
        raise BundleError(f"The bundle {manifest.name} lies in a folder called {bundle.name}.")
    document = json.loads((bundle / "bundle.json").read_bytes())
    document.pop("name")
    if _sha256(_json(document))[:8] != manifest.name[-8:]:
        raise BundleError(
            f"The bundle {bundle.name} was changed after it was written (bundle.json); "
            "restore it from a copy or promote another one."
        )
    for name, sha256 in manifest.files.items():
        path = bundle / name
        if not path.is_file():
            raise BundleError(f"The bundle {bundle.name} lacks {name}; restore it from a copy.")
        if _sha256(path.read_bytes()) != sha256:
            raise BundleError(
                f"The bundle {bundle.name} was changed after it was written ({name}); "
                "restore it from a copy or promote another one."
            )
    return manifest


@dataclass(frozen=True, slots=True)
class Loaded:
    """A bundle read back and verified."""

    manifest: Manifest
    scheme: Scheme
    eyes: dict[str, Encoder]
    heads: dict[str, Head]
    known_tensors: dict[str, NDArray[Any]]
    known_facts: dict[str, Any]


def load_bundle(bundle: Path) -> Loaded:
    """Verify and read a bundle.

    Raises:
        BundleError: It is not what it was, or does not hold together.
    """
    manifest = verify_bundle(bundle)
    document = json.loads((bundle / "bundle.json").read_bytes())
    try:
        tensors = load_file(bundle / "heads.safetensors")
        heads = {
            entry["name"]: Head(
                name=entry["name"],
                eye=entry["eye"],
                classes=tuple(entry["classes"]),
                weight=tensors[f"weight:{entry['name']}"],
                bias=tensors[f"bias:{entry['name']}"],
                centre=tensors[f"centre:{entry['name']}"],
                temperature=float(entry["temperature"]),
            )
            for entry in document["heads"]
        }
        eyes = {}
        for entry in document["eyes"]:
            backbone = build_backbone(entry["arch"])
            backbone.load_state_dict(load_torch_file(bundle / entry["file"]))
            eyes[entry["name"]] = Encoder(backbone, entry["taps"]).eval().requires_grad_(False)  # noqa: FBT003 - torch's own signature
        return Loaded(
            manifest=manifest,
            scheme=Scheme(manifest.scheme, manifest.taxonomy),
            eyes=eyes,
            heads=heads,
            known_tensors=load_file(bundle / "strangeness.safetensors"),
            known_facts=json.loads((bundle / "strangeness.json").read_bytes()),
        )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise BundleError(f"The bundle {bundle.name} does not hold together: {error}.") from error


def _manifest_json(contents: Contents, files: dict[str, str]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "created_at": contents.created_at.isoformat(),
        "recipe": contents.recipe,
        "taxonomy": contents.scheme.taxonomy.as_json(),
        "scheme": contents.scheme.kind,
        "framing": asdict(contents.framing),
        "conformal_level": contents.conformal_level,
        "eyes": [
            {
                "name": name,
                "arch": eye.backbone.arch,
                "taps": list(eye.taps),
                "file": f"eye-{index}.safetensors",
            }
            for index, (name, eye) in enumerate(contents.eyes.items())
        ],
        "heads": [
            {
                "name": head.name,
                "eye": head.eye,
                "classes": list(head.classes),
                "temperature": head.temperature,
            }
            for head in contents.heads.values()
        ],
        "validated": dict(contents.validated),
        "metrics": dict(contents.metrics),
        "facts": dict(contents.facts),
        "files": files,
    }


def _json(document: object) -> bytes:
    return json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True).encode()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
