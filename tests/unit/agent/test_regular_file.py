"""What was swapped for a link or a pipe after it was listed is neither followed nor waited for."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING

import pytest
from drawn.gradients import colours

from agent.archive import Archive
from agent.files.pictures import encode_png
from agent.files.regular_file import open_regular
from agent.imaging.readers.read import read
from agent.imaging.readers.sidecars import read_sidecar_scales
from agent.orders.facts.process_data import find_notes

if TYPE_CHECKING:
    from pathlib import Path

posix = pytest.mark.skipif(sys.platform == "win32", reason="links and pipes of POSIX")


@pytest.fixture
def secret(tmp_path) -> Path:
    file = tmp_path / "secret.png"
    file.write_bytes(encode_png(colours()))
    return file


@posix
def test_a_link_in_the_place_of_a_micrograph_is_not_read(tmp_path, secret) -> None:
    link = tmp_path / "a.png"
    link.symlink_to(secret)

    with pytest.raises(OSError, match=r"[Ss]ymbolic links|no regular file"):
        read(link)
    with pytest.raises(OSError, match=r"[Ss]ymbolic links|no regular file"):
        Archive(tmp_path / "data").keep_original(link, "0" * 64)


@posix
def test_a_pipe_in_the_place_of_a_micrograph_holds_nobody(tmp_path) -> None:
    pipe = tmp_path / "a.png"
    os.mkfifo(pipe)

    with pytest.raises(OSError, match="no regular file"):
        read(pipe)


@posix
def test_a_link_in_the_place_of_a_sidecar_says_no_scale(tmp_path, secret) -> None:
    text = "<OME><Image><Pixels SizeX='128' PhysicalSizeX='0.2' PhysicalSizeY='0.2'/></Image></OME>"
    (tmp_path / "elsewhere.xml").write_text(text)
    (tmp_path / "secret.xml").write_text(text)
    heard = read_sidecar_scales(secret, (128, 96))
    (tmp_path / "secret.xml").unlink()
    (tmp_path / "secret.xml").symlink_to(tmp_path / "elsewhere.xml")

    assert heard
    assert read_sidecar_scales(secret, (128, 96)) == ()


@posix
def test_a_link_in_the_place_of_a_note_names_no_order(tmp_path, secret) -> None:
    (tmp_path / "elsewhere.txt").write_text("order = 4711")
    (tmp_path / "secret.txt").write_text("order = 4711")
    before = find_notes(secret)
    (tmp_path / "secret.txt").unlink()
    (tmp_path / "secret.txt").symlink_to(tmp_path / "elsewhere.txt")

    assert before == [{"order": "4711"}]
    assert find_notes(secret) == []


def test_a_regular_file_is_opened(secret) -> None:
    with open_regular(secret) as file:
        assert file.read(4) == b"\x89PNG"


def test_a_folder_is_no_regular_file(tmp_path) -> None:
    with pytest.raises(OSError, match=r"no regular file|Permission denied|Is a directory"):
        open_regular(tmp_path)


def test_a_conversion_that_fails_leaves_the_log_as_it_was() -> None:
    openvino = pytest.importorskip("openvino")
    torch = pytest.importorskip("torch")
    from model.runtime.engines import OpenVinoRunner, choose_engine  # noqa: PLC0415 - slow to import

    class Broken(torch.nn.Module):
        def forward(self, pixels):
            raise RuntimeError(f"no network for {pixels.shape}")

    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.INFO)
    try:
        with pytest.raises(Exception, match=r"no network|convert|trace|Check"):
            OpenVinoRunner(Broken(), choose_engine("cpu", "fp32"), None)

        assert root.level == logging.INFO
        assert openvino
    finally:
        root.setLevel(before)
