"""What was swapped for a link or a pipe after it was listed is neither followed nor waited for."""

from __future__ import annotations

import errno
import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from drawn.gradients import colours

from agent.archive import Archive
from agent.files.pictures import encode_png
from agent.files.whole_file import open_regular
from agent.imaging.readers.read import Limits, read, read_sidecar_scales
from agent.orders.facts.process_data import find_notes

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


# --- a folder between a source and a file, swapped for a link and swapped back --------------------

OURS, FOREIGN = 120, 200
"""Grey levels of the pictures in the source and in the other folder."""


@pytest.fixture
def source(tmp_path) -> Path:
    """A source with a picture and its note in a folder, and a folder like it elsewhere."""
    for name, level, order in (("export", OURS, "4711"), ("other", FOREIGN, "9999")):
        day = tmp_path / name / "day"
        day.mkdir(parents=True)
        (day / "a.png").write_bytes(encode_png(np.full((64, 64, 3), level, np.uint8)))
        (day / "a.json").write_text(f'{{"order": "{order}"}}', encoding="utf-8")
    (tmp_path / "link").symlink_to(tmp_path / "other" / "day")
    return tmp_path / "export"


@contextmanager
def swapping(source: Path, begin: int, end: int) -> Iterator[list[str]]:
    """Put a link in the place of a folder at one instant, and the folder again at another.

    Instants are before and after each call of the operating system by this thread and those that
    it starts, counted from 0; all that came are in the list that is yielded.
    """
    folder, link, aside = source / "day", source.parent / "link", source.parent / "aside"
    moves = {begin: ((folder, aside), (link, folder)), end: ((folder, link), (aside, folder))}
    instants: list[str] = []

    def watch(_frame: object, event: str, function: object) -> None:
        if event.startswith("c_") and getattr(function, "__module__", "") == "posix":
            for before, after in moves.get(len(instants), ()):
                before.rename(after)
            instants.append(event)

    threading.setprofile(watch)
    sys.setprofile(watch)
    try:
        yield instants
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]  # as documented


def level_of(source: Path) -> int:
    limits = Limits(sidecars=False, roots=(source,))
    (micrograph,) = read(source / "day" / "a.png", limits=limits)
    return int(micrograph.pixels[0, 0, 0])


def order_of(source: Path) -> str:
    (note,) = find_notes(source / "day" / "a.png", root=source)
    return note["order"]


@posix
@pytest.mark.parametrize(("ask", "ours"), [(level_of, OURS), (order_of, "4711")])
def test_a_folder_swapped_for_a_link_and_back_at_any_instant_gives_no_file_elsewhere(
    source, ask, ours
) -> None:
    never = 10**6
    with swapping(source, never, never) as instants:
        assert ask(source) == ours
    answers = set()
    for begin, end in combinations(range(len(instants) + 1), 2):
        with suppress(OSError, ValueError), swapping(source, begin, end) as passed:
            answers.add(ask(source))
        if begin < len(passed) <= end:  # it is still swapped
            (source / "day").rename(source.parent / "link")
            (source.parent / "aside").rename(source / "day")

    assert len(instants) > 4
    assert answers == {ours}


@posix
def test_a_folder_that_is_a_link_now_is_a_fault_of_the_share_and_no_missing_note(source) -> None:
    (source / "day").rename(source.parent / "aside")
    (source.parent / "link").rename(source / "day")

    with pytest.raises(OSError, match="a folder above it is a link") as caught:
        find_notes(source / "day" / "a.png", root=source)
    assert caught.value.errno == errno.EBUSY


@posix
def test_the_folder_of_a_source_may_be_a_link_itself(source) -> None:
    (source.parent / "linked").symlink_to(source)

    assert level_of(source.parent / "linked") == OURS
    assert order_of(source.parent / "linked") == "4711"
