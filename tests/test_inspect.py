"""`agent inspect` says what was found in every file, and names each that could not be used."""

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest

KEYS = {
    "file", "id", "sha256", "page", "pages", "width", "height", "format", "um_per_px",
    "um_per_px_source", "scales", "micron_bar", "band", "specimen_area", "crop", "recipe",
    "warnings",
}  # fmt: skip


def agent(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "agent", *map(str, arguments)],
        capture_output=True,
        check=False,
        text=True,
        encoding="utf-8",
    )


@pytest.fixture
def folder(tmp_path):
    noise = np.random.default_rng(1).normal(0, 40, (480, 640))
    grey = np.clip(cv2.GaussianBlur(noise, (0, 0), 1.5) * 3 + 128, 0, 255).astype(np.uint8)
    (tmp_path / "Gefüge 50x.png").write_bytes(cv2.imencode(".png", grey)[1])
    (tmp_path / "cut.jpg").write_bytes(cv2.imencode(".jpg", grey)[1][:3000])
    (tmp_path / "notes.txt").write_text("no image, and not asked for")
    return tmp_path


def test_json_has_one_object_per_micrograph_in_the_order_of_the_names(folder) -> None:
    came = agent("inspect", folder, "--json")

    good, bad = (json.loads(line) for line in came.stdout.splitlines())
    assert set(good) == KEYS
    assert (good["width"], good["height"], good["format"]) == (640, 480, "PNG")
    assert good["um_per_px"] is None
    assert good["id"] == good["sha256"][:16]
    assert bad["error"]["code"] == "truncated"
    assert bad["file"].endswith("cut.jpg")
    assert came.returncode == 1


def test_the_table_and_the_overlay_are_for_people(folder) -> None:
    file = folder / "Gefüge 50x.png"

    came = agent("inspect", file, "--overlay", folder / "pictures")

    assert came.returncode == 0
    assert "µm/px" in came.stdout
    [picture] = (folder / "pictures").iterdir()
    drawn = cv2.imdecode(np.frombuffer(picture.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    assert drawn.shape[1] == 900


def test_a_file_that_is_not_there_is_named(folder) -> None:
    came = agent("inspect", folder / "none.tif", folder / "Gefüge 50x.png", "--json")

    first, second = (json.loads(line) for line in came.stdout.splitlines())
    assert first["error"]["code"] == "unreadable"
    assert second["width"] == 640
    assert came.returncode == 1


def test_classify_without_a_bundle_says_what_to_do_and_makes_no_database(folder) -> None:
    config = folder / "agent.toml"
    config.write_text("[store]\nfolder = 'books'\n", encoding="utf-8")

    came = agent("--config", config, "classify", folder / "Gefüge 50x.png")

    assert came.returncode == 2
    assert "no bundle has been promoted yet" in came.stderr
    assert not (folder / "books").exists()
