"""Reference images are read in a child that ends with the check."""

import os

import cv2
import numpy as np
import pytest
from labs.lab import crop_here
from labs.pool_children import killing_what_reads, list_children

from agent.errors import FileCode, is_out_of_resources
from agent.service.jobs.instrument_check import cropping_apart
from agent.settings import Settings


@pytest.mark.skipif(os.name == "nt", reason="Windows refuses memory, it kills no process for it")
def test_a_child_that_the_system_kills_is_no_fault_of_the_image(tmp_path):
    picture = tmp_path / "reference.png"
    noise = np.random.default_rng(7).integers(60, 200, (4800, 6400, 3), np.uint8)
    picture.write_bytes(cv2.imencode(".png", noise)[1].tobytes())

    with killing_what_reads(), cropping_apart(Settings()) as crops:
        outcome = crops(picture)

    assert is_out_of_resources(outcome)


@pytest.mark.skipif(os.name == "nt", reason="POSIX limits")
def test_no_file_left_to_start_the_child_with_is_no_fault_of_the_image(tmp_path):
    import resource  # noqa: PLC0415 - not on Windows

    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with cropping_apart(Settings()) as crops:
        lowest_free = os.dup(0)  # not the number of open files: there are gaps between theirs
        os.close(lowest_free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, limits[1]))
        try:
            outcome = crops(tmp_path / "reference.png")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    assert is_out_of_resources(outcome)


def test_a_child_crops_as_this_process_does_and_ends(tmp_path):
    picture, cut = tmp_path / "reference.png", tmp_path / "cut.png"
    noise = np.random.default_rng(7).integers(60, 200, (480, 640, 3), np.uint8)
    picture.write_bytes(cv2.imencode(".png", noise)[1].tobytes())
    cut.write_bytes(picture.read_bytes()[:500])
    settings = Settings()
    (here,) = crop_here(picture, settings.imaging.um_per_px_range)
    before = list_children()

    with cropping_apart(settings) as crops:
        (there,) = crops(picture)
        refused, gone = crops(cut), crops(tmp_path / "gone.png")
        during = list_children() - before

    assert there.sha256 == here.sha256
    assert there.box == here.box
    assert np.array_equal(there.pixels, here.pixels)
    assert np.array_equal(there.valid, here.valid)
    assert refused.code is FileCode.TRUNCATED
    assert isinstance(gone, FileNotFoundError)
    assert during - list_children()


def test_a_reference_image_is_read_by_the_labs_own_limits(tmp_path):
    picture = tmp_path / "reference.png"
    noise = np.random.default_rng(7).integers(60, 200, (480, 640, 3), np.uint8)
    picture.write_bytes(cv2.imencode(".png", noise)[1].tobytes())
    (tmp_path / "reference.hdr").write_text("[MAIN]\nPixelSizeX=2e-07\nPixelSizeY=2e-07\n")
    blind = Settings(imaging={"sidecars": False})
    strict = Settings(imaging={"max_megapixels": 1})
    picture_of_two_mp = tmp_path / "large.png"
    picture_of_two_mp.write_bytes(cv2.imencode(".png", np.tile(noise, (2, 4, 1)))[1].tobytes())

    with cropping_apart(Settings()) as crops:
        (told,) = crops(picture)
    with cropping_apart(blind) as crops:
        (untold,) = crops(picture)
    with cropping_apart(strict) as crops:
        refused = crops(picture_of_two_mp)

    assert told.um_per_px == pytest.approx(0.2)
    assert untold.um_per_px is None
    assert refused.code is FileCode.TOO_LARGE
