"""A bundle is what it was when it was written, or it is refused; loaded, it says the same."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from labs.bundle_contents import SCHEME, contents

from model import BundleError, read_manifest, verify_bundle
from model.bundle import BundleContents, load_bundle, write_bundle


@pytest.fixture
def bundle(tmp_path):
    return write_bundle(contents(), tmp_path)


def changed(**metadata: object) -> BundleContents:
    written = contents()
    return replace(written, manifest=replace(written.manifest, **metadata))


def read_format(bundle) -> int:
    return json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))["format"]


def test_only_heads_on_the_frozen_pass_need_the_newer_format(bundle, tmp_path):
    shared = write_bundle(changed(field_embedding="stage-3-mean"), tmp_path)

    assert read_format(bundle) == 1
    assert read_manifest(bundle).field_embedding == ""
    assert read_format(shared) == 2
    assert read_manifest(shared).field_embedding == "stage-3-mean"


def test_a_bundle_of_two_architectures_names_both(tmp_path):
    mixed = {"arch": "resnet18", "subtype_arch": "resnet50", "size_arch": None}
    alone = {"arch": "resnet18", "subtype_arch": "resnet50", "size_arch": "resnet50"}

    names = [
        read_manifest(write_bundle(changed(facts={"plan": plan}), tmp_path)).network
        for plan in (mixed, alone, {})
    ]

    assert names == ["resnet50 (subtype), resnet18 (sizes)", "resnet50", ""]


def test_what_was_written_comes_back(bundle):
    written, read = contents(), load_bundle(bundle)

    assert read.manifest.name == bundle.name
    assert read.manifest.framing == written.manifest.framing
    assert read.manifest.learned_from == {"a", "b"}
    assert read.scheme == SCHEME
    assert read.ood_facts == {"n": 2}
    embedding = np.random.default_rng(1).normal(size=(2, 16)).astype(np.float32)
    for name, head in written.heads.items():
        assert np.array_equal(read.heads[name].logits(embedding), head.logits(embedding))
    pixels = torch.zeros(1, 32, 32, 3, dtype=torch.uint8)
    assert torch.equal(read.encoders["shared"](pixels), written.encoders["shared"](pixels))


def test_the_same_contents_are_the_same_bundle(bundle, tmp_path):
    assert write_bundle(contents(), tmp_path) == bundle


def test_nothing_is_left_beside_it(bundle):
    assert [p.name for p in bundle.parent.iterdir()] == [bundle.name]


@pytest.mark.parametrize(
    "name", ["eye-0.safetensors", "heads.safetensors", "split.json", "strangeness.safetensors"]
)
def test_one_changed_byte_is_noticed(bundle, name):
    data = bytearray((bundle / name).read_bytes())
    data[-1] ^= 1
    (bundle / name).write_bytes(data)

    with pytest.raises(BundleError, match=r"changed|broken"):
        verify_bundle(bundle)


def test_a_changed_threshold_is_noticed(bundle):
    document = json.loads((bundle / "bundle.json").read_bytes())
    document["set_levels"]["size"] = 0.1
    (bundle / "bundle.json").write_text(json.dumps(document), encoding="utf-8")

    with pytest.raises(BundleError, match="was changed after it was written"):
        verify_bundle(bundle)


def test_a_renamed_bundle_is_noticed(bundle):
    bundle.rename(bundle.with_name("20261124-ffffffff"))

    with pytest.raises(BundleError, match="is in a folder named"):
        verify_bundle(bundle.with_name("20261124-ffffffff"))


def test_a_missing_file_is_named(bundle):
    (bundle / "heads.safetensors").unlink()

    with pytest.raises(BundleError, match=r"lacks heads\.safetensors"):
        verify_bundle(bundle)


def test_a_folder_that_is_no_bundle_says_so(tmp_path):
    with pytest.raises(BundleError, match=r"is no bundle: it has no bundle\.json\."):
        read_manifest(tmp_path / "nothing")


def test_a_bundle_of_a_newer_version_asks_for_an_update(bundle):
    document = json.loads((bundle / "bundle.json").read_bytes())
    document["format"] = 99
    (bundle / "bundle.json").write_text(json.dumps(document), encoding="utf-8")

    with pytest.raises(BundleError, match="made by a newer version"):
        read_manifest(bundle)
