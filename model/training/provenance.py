"""Record what a bundle was trained from: inputs, labels, seeds and versions."""

from __future__ import annotations

import hashlib
import json
import platform
from collections import Counter
from typing import TYPE_CHECKING, Any

from model.data.dataset import fingerprint

if TYPE_CHECKING:
    from model.data.splits import Split
    from model.training.config import TrainingConfig


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
