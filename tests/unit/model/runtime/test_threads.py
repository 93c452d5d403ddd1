"""The threads of a network change neither its results nor PyTorch's threads."""

import os
import subprocess
import sys

import torch

from model import use_network_threads
from model.networks.backbones import frozen_lite0
from model.ood.frozen_pass import FrozenPass
from model.runtime.engines import get_network_threads


def test_two_threads_compute_the_same_bits_as_one():
    prints = []
    for count in (1, 2):
        with use_network_threads(count):
            prints.append(FrozenPass(frozen_lite0()).fingerprint())

    assert prints[0] == prints[1]


def test_threads_are_set_within_the_context_only():
    before = torch.get_num_threads()

    with use_network_threads(before + 1):
        inside = get_network_threads()
        assert torch.get_num_threads() == before

    assert (inside, get_network_threads()) == (before + 1, before)


def test_a_process_without_pytorch_uses_as_many_threads_as_are_set_for_it():
    script = (
        "import sys; from model.runtime.engines import get_network_threads; "
        "print(get_network_threads(), 'torch' in sys.modules)"
    )

    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"OMP_NUM_THREADS": "3"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.split() == ["3", "False"]
