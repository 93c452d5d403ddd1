"""What was written whole is there after a power cut, with every folder above it."""

import os
from pathlib import Path

import pytest

from agent.files.whole_file import write_whole

if os.name != "posix":
    pytest.skip("the simulated disk is a POSIX one", allow_module_level=True)

from simulated.disk import Disk, in_place_of_the_real_one

FOLDER = "/simulated/data"


@pytest.fixture
def disk():
    disk = Disk(lambda: 0, lambda _call, _path: None)
    disk.make_folder(FOLDER)
    with in_place_of_the_real_one(lambda: disk):
        yield disk


def test_a_file_in_a_new_folder_survives(disk):
    write_whole({Path(FOLDER, "crops", "ab", "field.png"): b"pixels"})

    disk.cut_power(FOLDER, lambda: 0.0)

    assert disk.files(FOLDER) == {"crops/ab/field.png": b"pixels"}


def test_a_file_that_was_only_written_does_not(disk):
    with Path(FOLDER, "field.png").open("wb") as file:
        file.write(b"pixels")

    disk.cut_power(FOLDER, lambda: 0.0)

    assert disk.files(FOLDER) == {}
