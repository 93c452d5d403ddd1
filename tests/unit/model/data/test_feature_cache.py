"""What a frozen network computed of a crop is kept, bounded, checked, and gives the same bundle."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from labs.training import PLAN, examples, trained

from model import Example, FeatureCache, Field
from model.networks.backbones import build_backbone
from model.ood.fit import iter_fit_detector

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from model.ood.detector import OodDetector

FIELD = Field(np.full((8, 9, 3), 7, np.uint8), np.ones((8, 9), bool), 0.2)
FEATURES = {"a": np.arange(6, dtype=np.float16).reshape(2, 3), "b": np.array([True, False])}


class Counted:
    """Computes features and counts how often."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> dict[str, np.ndarray]:
        self.times += 1
        return FEATURES


def test_features_are_computed_once_per_content_and_maker(tmp_path: Path) -> None:
    compute = Counted()
    darker = replace(FIELD, pixels=FIELD.pixels - 1)
    masked = replace(FIELD, valid=np.arange(72).reshape(8, 9) > 0)

    for cache in (FeatureCache(tmp_path, 10**6), FeatureCache(tmp_path, 10**6)):
        for field in (FIELD, darker, masked, replace(FIELD, um_per_px=0.1)):
            kept = cache.get_or_compute(field, "network 1", compute)
        cache.get_or_compute(FIELD, "network 2", compute)

    assert compute.times == 5
    assert all((kept[name] == array).all() for name, array in FEATURES.items())
    assert kept["a"].dtype == np.float16


@pytest.mark.parametrize("damage", [b"", b"\0" * 40, None])
def test_a_damaged_file_is_noticed_and_computed_again(tmp_path: Path, damage: bytes | None) -> None:
    compute, cache = Counted(), FeatureCache(tmp_path, 10**6)
    cache.get_or_compute(FIELD, "n", compute)
    (file,) = tmp_path.rglob("*.features")
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]) if damage is None else damage)

    again = cache.get_or_compute(FIELD, "n", compute)

    assert compute.times == 2
    assert (again["a"] == FEATURES["a"]).all()
    assert file.read_bytes() == whole


def test_the_folder_stays_within_its_limit_and_without_one_nothing_is_kept(tmp_path: Path) -> None:
    compute, cache = Counted(), FeatureCache(tmp_path / "small", 2000)
    fields = [replace(FIELD, pixels=FIELD.pixels + n) for n in range(40)]

    for field in fields:
        cache.get_or_compute(field, "n", compute)
    FeatureCache(tmp_path / "none", 0).get_or_compute(FIELD, "n", compute)

    kept = [path.stat().st_size for path in (tmp_path / "small").rglob("*.features")]
    assert 0 < sum(kept) <= 2200
    assert not (tmp_path / "none").exists()
    before = compute.times
    cache.get_or_compute(fields[-1], "n", compute)
    assert compute.times == before


def test_a_folder_that_cannot_be_written_costs_only_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    kept = FeatureCache(tmp_path / "file", 10**6).get_or_compute(FIELD, "n", Counted())

    assert (kept["a"] == FEATURES["a"]).all()


def test_the_second_training_reads_every_feature_and_gives_the_same_bundle(tmp_path: Path) -> None:
    torch.manual_seed(0)
    backbone = build_backbone("tiny")
    cache = FeatureCache(tmp_path / "features", 10**8)

    def run(name: str, features: FeatureCache | None) -> Path:
        def fit(known: Sequence[Example]) -> OodDetector:
            steps = iter_fit_detector(
                known, backbone, subtype_of=lambda code: code[0], cache=features
            )
            *_, fitted = steps
            assert fitted.result is not None
            return fitted.result

        *_, last = trained(
            tmp_path / name,
            PLAN,
            examples(5),
            fit_detector=fit,
            features=features,
        )
        assert last.result is not None
        return last.result

    plain, first = run("plain", None), run("first", cache)
    files = list((tmp_path / "features").rglob("*.features"))
    for file in files:
        os.utime(file, (0, 0))
    second = run("second", cache)

    # Views of 15 fields for the heads; 12 fields and their middles for the unusual check.
    assert len(files) == 15 + 2 * 12
    assert sorted((tmp_path / "features").rglob("*.features")) == sorted(files)
    assert all(file.stat().st_mtime > 0 for file in files)
    assert second.name == first.name == plain.name
    for name in ("heads.safetensors", "strangeness.safetensors"):
        assert (second / name).read_bytes() == (plain / name).read_bytes()
