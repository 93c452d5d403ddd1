"""Decide what is trained on what, check it before it starts, and record it."""

from __future__ import annotations

import hashlib
import json
import platform
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

import numpy as np

from model.data.dataset import SIDES, Example, Split, fingerprint, split, validate_examples
from model.data.near_duplicates import ComparedImage, compute_signature, find_leaks
from model.errors import TrainingError
from model.evaluation.evaluation import group_untrained
from model.framing import Framing
from model.networks.schemes import Scheme
from model.ood.frozen_pass import UM_PER_PX
from model.progress import Progress
from model.taxonomy import Taxonomy
from model.training.config import TrainingConfig
from model.training.distributed import ProcessGroup

# --- record what a bundle was trained from: inputs, labels, seeds and versions --------------------


def hash_inputs(config: TrainingConfig, sides: Split) -> str:
    """Hash configuration and labels: an interrupted training is resumed only with the same."""
    options = config.as_json() | {"taxonomy": config.taxonomy.as_json(), "epochs": 0}
    labels = sorted(
        (example.key, example.code, example.weight) for example in sides.train + sides.validation
    )
    return hashlib.sha256(json.dumps([options, labels], sort_keys=True).encode()).hexdigest()[:12]


def describe_data(sides: Split) -> dict[str, Any]:
    """Return fingerprints and label counts of the training and test examples."""
    trained = sides.train + sides.validation
    return {
        "all": fingerprint(trained + sides.test),
        "learned": fingerprint(trained),
        "test": fingerprint(sides.test),
        "codes": dict(Counter(example.code for example in trained + sides.test)),
        "criteria": dict(Counter(example.criterion for example in trained + sides.test)),
        "counting_less": sorted(example.key for example in trained if example.weight < 1),
    }


def derive_seed(config: TrainingConfig, name: str) -> int:
    """Derive the seed of a network or an image from the configuration's seed."""
    return int(hashlib.sha256(f"{config.seed}:{name}".encode()).hexdigest()[:8], 16)


def list_versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that results depend on."""
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - once a training

    versions = {"python": platform.python_version()}
    for name in ("martensight", "torch", "torchvision", "numpy", "safetensors", "openvino"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


# --- check before a training that its split and its processes can be used -------------------------


def leave_out_codes(config: TrainingConfig) -> Taxonomy:
    """Return the taxonomy in which the codes of `config.without` are not trained.

    Raises:
        TaxonomyError: A code is not in the taxonomy.
    """
    given = config.taxonomy
    left_out = {given.code(*given.parse(code)) for code in config.without}
    return given.restricted_to(frozenset(given.trained_codes) - left_out) if left_out else given


def iter_split_notes(notes: Sequence[str], sides: Split, total: int) -> Iterator[Progress[Path]]:
    """Yield the notes on the labels, and the sizes of the split."""
    sizes = (
        f"{len(sides.train)} micrographs to train, {len(sides.validation)} to validate, "
        f"{len(sides.test)} to test."
    )
    yield from (Progress("labels", total, total, note) for note in (*notes, sizes))


def describe_uneven_codes(
    sides: Split, taxonomy: Taxonomy, group_by: str, shares: tuple[float, float, float]
) -> list[str]:
    """Return a sentence for each code of which a side has less than half its share.

    Args:
        sides: The split.
        taxonomy: Of the trained codes.
        group_by: Column that the split keeps together; "" for the specimen.
        shares: Wanted share of each side.
    """
    examples = (sides.train, sides.validation, sides.test)
    counts = [Counter(example.code for example in side) for side in examples]
    sentences = []
    for code in taxonomy.trained_codes:
        on_sides = [count[code] for count in counts]
        n = sum(on_sides)
        if all(2 * own >= share * n for own, share in zip(on_sides, shares, strict=True)):
            continue
        groups = len({e.group for side in examples for e in side if e.code == code})
        train, validate, test = on_sides
        sentences.append(
            f"{code}: {n} micrographs ({group_by or 'specimens'}: {groups}), {train} to train, "
            f"{validate} to validate, {test} to test."
        )
    return sentences


def require_every_code(
    sides: Split, taxonomy: Taxonomy, group_by: str, tested: frozenset[str]
) -> None:
    """Raise if a code is missing from the training or validation set."""
    for side, examples in (("train", sides.train), ("validate", sides.validation)):
        counts = Counter(example.code for example in examples)
        if lacking := [code for code in taxonomy.trained_codes if not counts[code]]:
            if side == "validate" and len(lacking) < len(taxonomy.trained_codes):
                continue  # calibrating without a rare code is possible
            raise TrainingError(_explain_missing_codes(lacking, side, sides, group_by, tested))


def _explain_missing_codes(
    lacking: Sequence[str], side: str, sides: Split, group_by: str, tested: frozenset[str]
) -> str:
    """Return why codes have no image on a side, and what can be done."""
    groups = f"groups by {group_by}" if group_by else "specimens"
    one = f"group by {group_by}" if group_by else "specimen"
    everything = (*sides.train, *sides.validation, *sides.test)
    code = lacking[0]
    own = {e.group for e in everything if e.code == code}
    held = {e.group for e in sides.test if e.key in tested}
    if own and held.issuperset(own):
        return (
            f"No micrograph of {code} is left to {side}: all are of {groups} with images that were "
            "tested on before, and what was tested on stays a test; label images of other "
            f"{groups}, or group them as they were grouped when the bundle at work was taught."
        )
    way_out = (
        f"Label micrographs of more {groups}, or train without: "
        f"agent train --without {','.join(lacking)!r}."
    )
    if len(own) >= len(SIDES):
        return (
            f"No micrograph of {code} is left to {side}: its {len(own)} {groups} hold other codes "
            f"too, and were needed to {'test' if side == 'train' else 'train'} those. {way_out}"
        )
    few = f"one {one} only" if len(own) == 1 else f"{len(own)} {groups} only"
    return (
        f"Code {code} has micrographs of {few}; at least {len(SIDES)} are needed, one each to "
        f"train, validate and test. {way_out}"
    )


def require_distributable(config: TrainingConfig, sides: Split, processes: ProcessGroup) -> None:
    """Raise if the processes cannot train this configuration together."""
    if processes.size == 1:
        return
    if config.frozen:
        raise TrainingError(
            "The heads of a frozen network are trained by one process. Start without torchrun, or "
            "train the whole network (--arch resnet18, without --frozen)."
        )
    if config.device.startswith("cuda:"):
        raise TrainingError(
            f"The device {config.device} is one GPU and there are {processes.size} processes; set "
            "model.device to auto, and every process takes its own."
        )
    if config.batch < processes.size:
        raise TrainingError(
            f"A step shows {config.batch} images and there are {processes.size} processes; give "
            f"torchrun --nproc-per-node {config.batch} or less."
        )
    processes.require_equal(
        hash_inputs(config, sides),
        "it would teach something else than the first one; start the same command on the same "
        "labels everywhere.",
    )


# --- decide what is trained on what: codes, split, heads ------------------------------------------


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """What is trained on what.

    Args:
        config: The training configuration; its taxonomy lists codes without examples as untrained.
        given_taxonomy: The taxonomy as the lab wrote it.
        sides: The split.
        untrained: Kind → images of codes that are not trained.
        n: Number of all examples of trained codes.
        scheme: Defines the heads.
        notes: Sentences for the record; later steps append to it.
        tested_only: Keys of test examples that the heads never learn from.
    """

    config: TrainingConfig
    given_taxonomy: Taxonomy
    sides: Split
    untrained: Mapping[str, Sequence[Example]]
    n: int
    scheme: Scheme
    notes: list[str]
    tested_only: Collection[str]

    @classmethod
    def build(
        cls,
        labelled: Sequence[Example],
        config: TrainingConfig,
        kept: Mapping[str, Sequence[str]],
        tested_only: Collection[str],
    ) -> Self:
        """Check the examples and split them.

        Raises:
            TrainingError: The examples cannot be used for training as they are.
        """
        examples, taxonomy, notes = validate_examples(
            labelled, wanted := leave_out_codes(config), mixed_groups=config.mixed_groups
        )
        given, config = config.taxonomy, replace(config, taxonomy=taxonomy)
        sides = split(examples, shares=config.shares, kept=kept, seed=config.seed)
        require_every_code(sides, taxonomy, config.group_by, frozenset(kept.get("test", ())))
        notes += describe_uneven_codes(sides, taxonomy, config.group_by, config.shares)
        return cls(
            config=config,
            given_taxonomy=given,
            sides=sides,
            untrained=group_untrained(labelled, wanted),
            n=len(examples),
            scheme=Scheme(config.scheme, taxonomy),
            notes=notes,
            tested_only=tested_only,
        )

    @property
    def learned_after_test(self) -> tuple[Example, ...]:
        """Test examples that the heads learn from when they have been tested."""
        return tuple(e for e in self.sides.test if e.key not in self.tested_only)

    @property
    def learned(self) -> tuple[Example, ...]:
        """Training and validation examples."""
        return (*self.sides.train, *self.sides.validation)

    def describe(self) -> dict[str, Any]:
        """Return the record of configuration, labels, notes and versions."""
        return {
            "plan": self.config.as_json(),
            "taxonomy": self.given_taxonomy.as_json(),
            "notes": self.notes,
            "versions": list_versions(),
            "data": hash_inputs(self.config, self.sides),
            "data_set": describe_data(self.sides),
        }


# --- inspect every labelled image once before training: pixel sizes, scope, copies ----------------


MANY_SCALES: Final = 4.0
"""Ratio of the 95th to the 5th percentile of the pixel size from which images are of many scales: a
common pixel size then enlarges or shrinks many of them so much that their texture is lost. 500 and
1000 times, the usual magnifications of hardened steel, differ by a factor of 2."""

_RESIZED = 2.0


class DatasetSummary:
    """Pixel sizes, scope and near-duplicates of the examples of a split.

    Args:
        sides: The split.
    """

    def __init__(self, sides: Split) -> None:
        self._sides = sides
        self._um_per_px: list[float] = []
        self._compared: list[ComparedImage] = []

    def scan(self) -> Iterator[int]:
        """Load every image, and yield how many are done."""
        sides = (self._sides.train, self._sides.validation, self._sides.test)
        for side, examples in zip(SIDES, sides, strict=True):
            for example in examples:
                field = example.load()
                compared = ComparedImage(example.key, example.group, side, compute_signature(field))
                self._compared.append(compared)
                if field.um_per_px is not None and side == "train":
                    self._um_per_px.append(field.um_per_px)
                yield len(self._compared)

    def has_many_scales(self, taxonomy: Taxonomy) -> bool:
        """Return whether a common pixel size makes no sense for the training images.

        Sizes are lengths, so codes with several sizes always need the common pixel size.

        Args:
            taxonomy: Of the trained codes.
        """
        if not self._um_per_px or any(len(s.trained_sizes) > 1 for s in taxonomy.subtypes):
            return False
        low, high = np.quantile(self._um_per_px, (0.05, 0.95))
        return bool(high > MANY_SCALES * low)

    def keeps_pixels(self, config: TrainingConfig) -> bool:
        """Return whether the frozen pass uses the pixels of each image as they are."""
        return config.framing == "native" or self.has_many_scales(config.taxonomy)

    def describe_pixels(self, config: TrainingConfig) -> str:
        """Return the sentences on pixels that are kept because of many scales, or ""."""
        if config.framing == "native" or not self.keeps_pixels(config):
            return ""
        kept = (
            "All are used with their own pixels."
            if config.framing == "scale"
            else "The unusual check uses all with their own pixels."
        )
        zooms = np.array(self._um_per_px) / UM_PER_PX
        resized = int(((zooms > _RESIZED) | (zooms < 1 / _RESIZED)).sum())
        return (
            f"Pixel sizes from {min(self._um_per_px):.2g} to {max(self._um_per_px):.2g} µm: at one "
            f"common size of {UM_PER_PX:g} µm, {resized} of {len(zooms)} micrographs to train "
            f"would change more than twofold. {kept}"
        )

    def build_framing(self, config: TrainingConfig) -> Framing:
        """Return the framing, with the median pixel size assumed for fields without a scale."""
        is_native = config.framing == "scale" and self.keeps_pixels(config)
        return Framing(
            kind="native" if is_native else config.framing,  # type: ignore[arg-type]  # checked by TrainingConfig
            frame_px=config.frame_px,
            um_per_px=config.um_per_px,
            usual_um_per_px=(
                float(np.median(self._um_per_px)) if self._um_per_px else config.um_per_px
            ),
        )

    def build_scope(self) -> dict[str, Any]:
        """Return the range of images that the bundle is validated for."""
        um_per_px, train = self._um_per_px, self._sides.train
        scope: dict[str, Any] = {
            "um_per_px": [min(um_per_px), max(um_per_px)] if um_per_px else None,
            "images": dict(Counter(example.code for example in train)),
            "criteria": dict(Counter(example.criterion for example in train)),
        }
        for key in ("microscope", "magnification", "material"):
            scope[key] = dict(
                Counter(example.slices[key] for example in train if example.slices.get(key))
            )
        return scope

    def find_copies(self) -> list[tuple[str, str]]:
        """Return pairs of keys (trained on, tested on) whose images are near-duplicates."""
        return find_leaks(self._compared)
