"""A stored backbone is the network that was written, and no other."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from model.errors import BundleError
from model.networks.architecture import CHANNELS
from model.networks.backbones import ARCHITECTURES, build_backbone, frozen_lite0, is_loaded_lite0
from model.networks.stored_backbone import StoredBackbone


def write(folder, seed=4):
    torch.manual_seed(seed)
    network = build_backbone("tiny")
    file = folder / "20261128-0badcafe" / "eye-0.safetensors"
    file.parent.mkdir(exist_ok=True)
    save_file(network.state_dict(), file)
    return network, file


def test_it_has_the_weights_channels_and_parts_of_the_network(tmp_path):
    network, file = write(tmp_path)

    stored = StoredBackbone.read("tiny", file)

    assert stored.weights_hash == network.weights_hash
    assert stored.channels == network.channels
    assert stored.early_parts() == network.early_parts()
    image = torch.rand(1, 3, 64, 64)
    assert torch.equal(stored.load()(image), network(image))


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_channels_are_known_without_layers(arch):
    assert build_backbone(arch).channels == CHANNELS[arch]


def test_equal_weights_in_two_bundles_are_one_network(tmp_path):
    (tmp_path / "other").mkdir()
    first, second, other = (
        StoredBackbone.read("tiny", write(folder, seed)[1])
        for folder, seed in ((tmp_path, 4), (tmp_path / "other", 4), (tmp_path / "other", 5))
    )

    assert first == second
    assert hash(first) == hash(second)
    assert first != other


def test_a_file_that_was_exchanged_after_it_was_read_is_refused(tmp_path):
    stored = StoredBackbone.read("tiny", write(tmp_path)[1])
    write(tmp_path, seed=5)

    with pytest.raises(BundleError, match="20261128-0badcafe was changed after it was read"):
        stored.load()


def test_weights_that_do_not_fit_the_architecture_are_refused(tmp_path):
    stored = StoredBackbone.read("efficientnet-lite0", write(tmp_path)[1])

    with pytest.raises(BundleError, match="does not hold together"):
        stored.load()


def test_the_installed_network_is_recognised_by_its_weights(tmp_path):
    network, _ = write(tmp_path)

    assert is_loaded_lite0(frozen_lite0().weights_hash)
    assert not is_loaded_lite0(network.weights_hash)
