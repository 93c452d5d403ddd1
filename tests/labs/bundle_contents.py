"""The contents of a small bundle."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import torch

from model import default_taxonomy
from model.bundle import BundleContents, Manifest
from model.calibration import SetLevels
from model.framing import Framing
from model.networks.backbones import Encoder, build_backbone
from model.networks.schemes import Head, Scheme

SCHEME = Scheme("two-stage", default_taxonomy().restricted_to(frozenset({"G7", "G8", "B8"})))


def contents() -> BundleContents:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    heads = {
        name: Head(
            name,
            "shared",
            classes,
            rng.normal(size=(len(classes), 16)).astype(np.float32),
            rng.normal(size=len(classes)).astype(np.float32),
            rng.normal(size=16).astype(np.float32),
            1.5,
        )
        for name, classes in SCHEME.heads().items()
    }
    manifest = Manifest(
        name="",
        created_at=datetime(2026, 11, 24, tzinfo=UTC),
        recipe="1",
        taxonomy=SCHEME.taxonomy,
        scheme=SCHEME.kind,
        framing=Framing("scale", 1994, 0.25, 0.2),
        set_levels=SetLevels(0.1, 0.8),
        validated={"um_per_px": [0.1, 0.2]},
        metrics={"n": 3},
        split={"train": ("a",), "validation": ("b",), "test": ("c",)},
        facts={"plan": {}},
        files={},
    )
    return BundleContents(
        manifest,
        encoders={"shared": Encoder(build_backbone("tiny"))},
        heads=heads,
        ood_tensors={"mean": np.ones(3, np.float32)},
        ood_facts={"n": 2},
    )
