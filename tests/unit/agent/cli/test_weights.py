"""Nobody asks the internet for weights but a person, and then they are what they are called."""

from __future__ import annotations

import hashlib
import socket
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib import request

import pytest
import torch

from agent.cli.app import main
from model import WeightsError, fetch_weights
from model.networks import pretrained
from model.networks.backbones import build_backbone, load_backbone
from model.networks.pretrained import weights_path


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """Say nothing of requests."""


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def swallows(monkeypatch):
    """A firewall that takes every question and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setattr(pretrained, "_SOCKET_TIMEOUT_S", 0.2)
        monkeypatch.setattr(request, "_opener", None)  # it keeps what the first question found
        yield server


def asked(server) -> bool:
    """Say whether anybody asked, and take the question."""
    server.settimeout(0)
    try:
        server.accept()[0].close()
    except BlockingIOError:
        return False
    return True


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A folder that a server on this PC serves, and its address."""
    monkeypatch.setattr(request, "_opener", None)
    folder = tmp_path / "served"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=str(folder)))
    Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_training_asks_nobody_for_weights(swallows):
    network, sentence = load_backbone("resnet18")

    assert not network.pretrained
    assert "fetch them with agent models weights resnet18" in sentence
    assert not asked(swallows)


def test_a_pc_without_internet_is_told_what_to_copy_where(swallows, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["models", "weights", "resnet18"])

    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert asked(swallows)
    assert weights_path("resnet18").name in said
    assert str(weights_path("resnet18").parent) in said
    assert socket.getdefaulttimeout() is None


def test_fetched_weights_are_taken_from_then_on(served, monkeypatch):
    folder, address = served
    torch.manual_seed(1)
    taught = build_backbone("resnet18")
    torch.save(taught.state_dict(), folder / "made.pth")
    digits = hashlib.sha256((folder / "made.pth").read_bytes()).hexdigest()[:8]
    monkeypatch.setattr(pretrained, "_weights_url", lambda arch: f"{address}/{arch}-{digits}.pth")
    (folder / "made.pth").rename(folder / f"resnet18-{digits}.pth")

    place = fetch_weights("resnet18")
    network, sentence = load_backbone("resnet18")

    assert place == weights_path("resnet18")
    assert network.pretrained
    assert sentence == "resnet18: ImageNet weights from torchvision."
    assert torch.equal(network.conv1.weight, taught.conv1.weight)
    assert fetch_weights("resnet18") == place, "what is there stays"


def test_weights_that_are_not_what_they_are_called_are_not_kept(served, monkeypatch):
    folder, address = served
    (folder / "resnet18-0badcafe.pth").write_bytes(b"something else")
    monkeypatch.setattr(pretrained, "_weights_url", lambda _: f"{address}/resnet18-0badcafe.pth")

    with pytest.raises(WeightsError, match=r"could not be fetched \(invalid hash value"):
        fetch_weights("resnet18")
    assert not weights_path("resnet18").exists()
    assert list(weights_path("resnet18").parent.iterdir()) == []


def test_a_network_that_brings_its_own_weights_has_none_to_fetch():
    with pytest.raises(WeightsError, match="only of resnet18 and resnet50"):
        fetch_weights("efficientnet-lite0")
