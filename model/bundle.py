"""Model bundle: networks, heads, OOD detector and metadata in one tamper-evident folder.

`bundle.json` lists the SHA-256 of every other file, and the folder name ends in its own hash.
Tensors are stored as safetensors, so loading runs no code. A bundle is written to a hidden folder
and renamed, so it exists completely or not at all.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from model.calibration import SetLevels
from model.durable_file import write_durably
from model.errors import BundleError, TaxonomyError
from model.framing import Framing
from model.networks.architecture import CHANNELS
from model.networks.schemes import Head, Scheme
from model.networks.stored_backbone import StoredBackbone
from model.taxonomy import Taxonomy, taxonomy_from

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from model.networks.backbones import Encoder


# --- heads in the files of a bundle: those in service, and those that were tested -----------------


@dataclass(frozen=True, slots=True)
class TestedHeads:
    """The heads as they were tested, before they were fitted to the test images too.

    Args:
        heads: Heads by name.
        set_levels: How unlikely a class of their prediction sets may be.
        refitted_on: As in `Manifest`.
    """

    heads: Mapping[str, Head]
    set_levels: SetLevels
    refitted_on: Mapping[str, str]


def build_head_tensors(heads: Mapping[str, Head]) -> dict[str, NDArray[Any]]:
    """Return the arrays of heads by part and name."""
    return {
        f"{part}:{head.name}": np.ascontiguousarray(getattr(head, part))
        for head in heads.values()
        for part in ("weight", "bias", "centre")
    }


def heads_to_json(heads: Mapping[str, Head]) -> list[dict[str, Any]]:
    """Return the facts of heads as JSON values."""
    return [
        {
            "name": head.name,
            "eye": head.encoder,
            "classes": list(head.classes),
            "temperature": head.temperature,
        }
        for head in heads.values()
    ]


def load_heads(entries: Sequence[Mapping[str, Any]], file: Path) -> dict[str, Head]:
    """Load heads from their facts and the file of their arrays."""
    tensors = load_file(file)
    return {
        entry["name"]: Head(
            name=entry["name"],
            encoder=entry["eye"],
            classes=tuple(entry["classes"]),
            weight=tensors[f"weight:{entry['name']}"],
            bias=tensors[f"bias:{entry['name']}"],
            centre=tensors[f"centre:{entry['name']}"],
            temperature=float(entry["temperature"]),
        )
        for entry in entries
    }


def tested_to_json(tested: TestedHeads) -> dict[str, Any]:
    """Return the facts of tested heads as JSON values."""
    return {
        "heads": heads_to_json(tested.heads),
        "set_levels": tested.set_levels.as_json(),
        "refitted_on": dict(tested.refitted_on),
    }


# --- model bundle: networks, heads, OOD detector and metadata in one tamper-evident folder --------


FORMAT = 3
"""Version of the layout; increase it when older agents can no longer read new bundles. In format 2
the heads classify an embedding by the frozen pass of the out-of-distribution check, or they have
learned from the test images too: a reader that does not know this would count those as tests. In
format 3 the frozen pass uses the pixels of each image as they are. A bundle is written in the
lowest format that it needs, which older agents read too."""

_TESTED_FILE = "tested-heads.safetensors"


@dataclass(frozen=True, slots=True)
class Manifest:
    """Metadata of a bundle.

    Args:
        name: `YYYYMMDD-<8 hex>`, equal to the name of its folder; "" before it is written.
        created_at: Aware UTC.
        recipe: Version of the crop recipe that its images were cropped with.
        taxonomy: The classes, those without training images marked as untrained.
        scheme: "two-stage", "global" or "multi-head".
        framing: Turns fields into frames.
        set_levels: How unlikely a class of a prediction set may be.
        validated: Scope of the validation: pixel sizes, criteria, microscopes, counts.
        metrics: `Evaluation.as_json()` on its own test images.
        split: Keys of the micrographs per side: "train", "validation", "test".
        facts: Training configuration, versions, dataset fingerprint, notes and other records.
        files: File name → SHA-256 as hex.
        refitted_on: Key → structure code of the test micrographs that the heads were fitted to
            after the test. The heads that were tested are stored too, see `load_bundle`.
        field_embedding: Name of the embedding by the frozen pass that the heads classify; "" if
            their encoders have a pass of their own.
    """

    name: str
    created_at: datetime
    recipe: str
    taxonomy: Taxonomy
    scheme: str
    framing: Framing
    set_levels: SetLevels
    validated: dict[str, Any]
    metrics: dict[str, Any]
    split: dict[str, tuple[str, ...]]
    facts: dict[str, Any]
    files: dict[str, str]
    refitted_on: dict[str, str] = field(default_factory=dict)
    field_embedding: str = ""

    @property
    def learned_from(self) -> frozenset[str]:
        """Keys of all micrographs used for training, model selection or calibration."""
        return self.learned_before_test | frozenset(self.refitted_on)

    @property
    def learned_before_test(self) -> frozenset[str]:
        """Keys of the micrographs that the tested heads learned from: none of the test."""
        return frozenset(self.split.get("train", ())) | frozenset(self.split.get("validation", ()))

    @property
    def is_for_demo(self) -> bool:
        """Whether it was trained on drawn micrographs, for the demonstration only."""
        return self.facts.get("purpose") == "demo"

    @property
    def network(self) -> str:
        """Its architecture, or both if the stages differ; "" if none is recorded."""
        plan = self.facts.get("plan", {})
        arch = plan.get("arch") or ""
        subtype, sizes = (plan.get(stage) or arch for stage in ("subtype_arch", "size_arch"))
        if self.scheme != "two-stage":
            return str(arch)
        return str(subtype) if subtype == sizes else f"{subtype} (subtype), {sizes} (sizes)"


@dataclass(frozen=True, slots=True)
class BundleContents:
    """Everything that is written to a bundle.

    Args:
        manifest: Its metadata; name and files are found when it is written.
        encoders: Encoders by name.
        heads: Heads by name.
        ood_tensors: Tensors of the OOD detector.
        ood_facts: JSON values of the OOD detector.
        tested: The heads that were tested, if `heads` learned from more than those; else None.
    """

    manifest: Manifest
    encoders: Mapping[str, Encoder]
    heads: Mapping[str, Head]
    ood_tensors: Mapping[str, NDArray[Any]]
    ood_facts: Mapping[str, Any]
    tested: TestedHeads | None = None


def write_bundle(contents: BundleContents, folder: Path) -> Path:
    """Write a bundle atomically into a folder of bundles.

    Args:
        contents: What is written.
        folder: The folder of bundles; created if missing.

    Returns:
        The bundle's own folder, named by date and content hash.

    Raises:
        BundleError: Writing failed; no partial bundle remains.
    """
    from safetensors.torch import save as save_torch  # noqa: PLC0415 - PyTorch; reading needs none

    files = {
        f"eye-{index}.safetensors": save_torch(
            {n: t.detach().cpu().contiguous() for n, t in encoder.backbone.state_dict().items()}
        )
        for index, encoder in enumerate(contents.encoders.values())
    }
    files["heads.safetensors"] = save(build_head_tensors(contents.heads))
    if contents.tested:
        files[_TESTED_FILE] = save(build_head_tensors(contents.tested.heads))
    files["strangeness.safetensors"] = save(
        {name: np.ascontiguousarray(array) for name, array in contents.ood_tensors.items()}
    )
    files["strangeness.json"] = _json(contents.ood_facts)
    files["split.json"] = _json(
        {side: list(keys) for side, keys in contents.manifest.split.items()}
    )
    manifest = _manifest_json(contents, {n: _sha256(data) for n, data in files.items()})
    digest = _sha256(_json(manifest))
    name = f"{contents.manifest.created_at:%Y%m%d}-{digest[:8]}"
    files["bundle.json"] = _json({"name": name, **manifest})
    temporary = folder / f".{name}-{uuid4().hex[:8]}"
    try:
        temporary.mkdir(parents=True)
        for file_name, data in files.items():
            write_durably(temporary / file_name, data)
        if not (folder / name).exists():
            temporary.rename(folder / name)
    except OSError as error:
        raise BundleError(
            f"The bundle {name} could not be written to {folder}: {error.strerror}; "
            "nothing was left behind."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder / name


def read_manifest(bundle: Path) -> Manifest:
    """Read the manifest of a bundle without verifying its other files.

    Raises:
        BundleError: The manifest is missing, invalid, or of a newer format.
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
            set_levels=SetLevels.from_json(document["set_levels"]),
            validated=document["validated"],
            metrics=document["metrics"],
            split={side: tuple(keys) for side, keys in split.items()},
            facts=document["facts"],
            files=document["files"],
            refitted_on=document.get("tested", {}).get("refitted_on", {}),
            field_embedding=document.get("field_embedding", ""),
        )
    except FileNotFoundError as error:
        missing = Path(error.filename).name
        raise BundleError(f"{bundle} is no bundle: it has no {missing}.") from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError, TaxonomyError) as error:
        raise BundleError(f"The bundle {bundle.name} has a broken bundle.json: {error}.") from error


def read_training_labels(bundle: Path) -> dict[str, str]:
    """Read the label that each micrograph had when the bundle was trained, key → structure code.

    Raises:
        BundleError: The file with the labels is missing or invalid.
    """
    try:
        facts = json.loads((bundle / "strangeness.json").read_bytes())
        labels = dict(zip(facts["keys"], facts["codes"], strict=True))
        return labels | read_manifest(bundle).refitted_on
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(
            f"The bundle {bundle.name} has a broken strangeness.json: {error}."
        ) from error


def verify_bundle(bundle: Path) -> Manifest:
    """Check that a bundle has not been changed since it was written.

    Files that the manifest does not list are ignored, such as a training record that was added
    later: they are never loaded.

    Raises:
        BundleError: A listed file is missing or changed, or the folder was renamed.
    """
    manifest = read_manifest(bundle)
    if manifest.name != bundle.name:
        raise BundleError(f"The bundle {manifest.name} is in a folder named {bundle.name}.")
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
class StoredEncoder:
    """An encoder in the files of a bundle.

    Args:
        name: Its name.
        backbone: Its network.
        taps: Indices of the feature maps that it uses.
    """

    name: str
    backbone: StoredBackbone
    taps: tuple[int, ...]


@dataclass(frozen=True)
class LoadedBundle:
    """A bundle that was read and verified."""

    manifest: Manifest
    scheme: Scheme
    stored_encoders: tuple[StoredEncoder, ...]
    heads: dict[str, Head]
    ood_tensors: dict[str, NDArray[Any]]
    ood_facts: dict[str, Any]

    @cached_property
    def encoders(self) -> dict[str, Encoder]:
        """Its encoders with their layers, by name.

        Raises:
            BundleError: The layers do not fit their architecture.
        """
        from model.networks.backbones import Encoder  # noqa: PLC0415 - PyTorch

        return {
            stored.name: Encoder(stored.backbone.load(), stored.taps).eval().requires_grad_(False)  # noqa: FBT003 - torch's own signature
            for stored in self.stored_encoders
        }


def load_bundle(bundle: Path, *, as_tested: bool = False) -> LoadedBundle:
    """Verify and load a bundle.

    Args:
        bundle: Its folder.
        as_tested: Whether to load the heads that have not learned from its test images, and a
            manifest that says so; the only heads of a bundle that were never fitted again.

    Raises:
        BundleError: The bundle was changed after it was written, or is invalid.
    """
    manifest = verify_bundle(bundle)
    document = json.loads((bundle / "bundle.json").read_bytes())
    try:
        tested = document.get("tested")
        if as_tested and tested:
            heads = load_heads(tested["heads"], bundle / _TESTED_FILE)
            levels = SetLevels.from_json(tested["set_levels"])
            manifest = replace(manifest, set_levels=levels, refitted_on={})
        else:
            heads = load_heads(document["heads"], bundle / "heads.safetensors")
        return LoadedBundle(
            manifest=manifest,
            scheme=Scheme(manifest.scheme, manifest.taxonomy),
            stored_encoders=tuple(_read_encoder(bundle, entry) for entry in document["eyes"]),
            heads=heads,
            ood_tensors=load_file(bundle / "strangeness.safetensors"),
            ood_facts=json.loads((bundle / "strangeness.json").read_bytes()),
        )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise BundleError(f"The bundle {bundle.name} does not hold together: {error}.") from error


def _read_encoder(bundle: Path, entry: Mapping[str, Any]) -> StoredEncoder:
    if entry["arch"] not in CHANNELS:
        raise BundleError(
            f"The bundle {bundle.name} has a network of an unknown architecture, {entry['arch']}; "
            "update this agent."
        )
    backbone = StoredBackbone.read(entry["arch"], bundle / entry["file"])
    return StoredEncoder(entry["name"], backbone, tuple(entry["taps"]))


def _manifest_json(contents: BundleContents, files: dict[str, str]) -> dict[str, Any]:
    manifest = contents.manifest
    shared = {"field_embedding": manifest.field_embedding} if manifest.field_embedding else {}
    tested = {"tested": tested_to_json(contents.tested)} if contents.tested else {}
    return {
        "format": FORMAT if _is_native(contents) else 2 if tested or shared else 1,
        **tested,
        **shared,
        "created_at": manifest.created_at.isoformat(),
        "recipe": manifest.recipe,
        "taxonomy": manifest.taxonomy.as_json(),
        "scheme": manifest.scheme,
        "framing": asdict(manifest.framing),
        "set_levels": manifest.set_levels.as_json(),
        "eyes": [
            {
                "name": name,
                "arch": encoder.backbone.arch,
                "taps": list(encoder.taps),
                "file": f"eye-{index}.safetensors",
            }
            for index, (name, encoder) in enumerate(contents.encoders.items())
        ],
        "heads": heads_to_json(contents.heads),
        "validated": manifest.validated,
        "metrics": manifest.metrics,
        "facts": manifest.facts,
        "files": files,
    }


def _is_native(contents: BundleContents) -> bool:
    """Return whether a pass of the bundle uses the pixels of each image as they are."""
    return contents.manifest.framing.is_native or contents.ood_facts.get("framing") == "native"


def _json(document: object) -> bytes:
    return json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True).encode()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
