"""Reference images are read in a child that ends with the check."""

import cv2
import numpy as np
import psutil

from agent.errors import FileCode
from agent.orders.instrument_checks import crop_in_this_process
from agent.service.jobs.reference_crops import cropping_apart
from agent.settings import Settings


def list_children():
    return {child.pid for child in psutil.Process().children()}


def test_a_child_crops_as_this_process_does_and_ends(tmp_path):
    picture, cut = tmp_path / "reference.png", tmp_path / "cut.png"
    noise = np.random.default_rng(7).integers(60, 200, (480, 640, 3), np.uint8)
    picture.write_bytes(cv2.imencode(".png", noise)[1].tobytes())
    cut.write_bytes(picture.read_bytes()[:500])
    settings = Settings()
    (here,) = crop_in_this_process(picture, settings.imaging.um_per_px_range)
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
