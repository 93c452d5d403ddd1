"""`agent inspect` says what was found in every file, and names each that could not be used."""

import hashlib
import json
import re
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest

from agent.cli import main
from agent.cli.examples import EXAMPLES
from agent.store import Store, store_url

KEYS = {
    "file", "id", "sha256", "page", "pages", "width", "height", "format", "um_per_px",
    "um_per_px_source", "scales", "micron_bar", "band", "specimen_area", "crop", "recipe",
    "warnings",
}  # fmt: skip


class Said(NamedTuple):
    """What a command said and how it ended."""

    stdout: str
    stderr: str
    returncode: int


@pytest.fixture
def agent(capsys):
    """Run one command in this process; its workers are processes of their own."""

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        return Said(*capsys.readouterr(), ended.value.code)

    return run


@pytest.fixture
def folder(tmp_path):
    noise = np.random.default_rng(1).normal(0, 40, (480, 640))
    grey = np.clip(cv2.GaussianBlur(noise, (0, 0), 1.5) * 3 + 128, 0, 255).astype(np.uint8)
    (tmp_path / "Gefüge 50x.png").write_bytes(cv2.imencode(".png", grey)[1])
    (tmp_path / "cut.jpg").write_bytes(cv2.imencode(".jpg", grey)[1][:3000])
    (tmp_path / "notes.txt").write_text("no image, and not asked for")
    return tmp_path


def test_json_has_one_object_per_micrograph_in_the_order_of_the_names(agent, folder) -> None:
    came = agent("inspect", folder, "--json")

    good, bad = (json.loads(line) for line in came.stdout.splitlines())
    assert set(good) == KEYS
    assert (good["width"], good["height"], good["format"]) == (640, 480, "PNG")
    assert good["um_per_px"] is None
    assert good["id"] == good["sha256"][:16]
    assert bad["error"]["code"] == "truncated"
    assert bad["file"].endswith("cut.jpg")
    assert came.returncode == 1


def test_the_table_and_the_overlay_are_for_people(agent, folder) -> None:
    file = folder / "Gefüge 50x.png"

    came = agent("inspect", file, "--overlay", folder / "pictures")

    assert came.returncode == 0
    assert "µm/px" in came.stdout
    [picture] = (folder / "pictures").iterdir()
    drawn = cv2.imdecode(np.frombuffer(picture.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    assert drawn.shape[1] == 900

    again = agent("inspect", folder, "--overlay", folder / "pictures", "--json")
    assert len(again.stdout.splitlines()) == 2  # its own pictures are no micrographs
    above = agent("inspect", folder / "pictures", "--overlay", folder, "--json")
    assert len(above.stdout.splitlines()) == 1


def test_an_overlay_that_cannot_be_written_is_one_sentence(agent, folder) -> None:
    taken = agent("inspect", folder / "cut.jpg", "--overlay", folder / "notes.txt")

    assert taken.returncode == 2
    assert "--overlay" in taken.stderr
    assert "Name a folder that you may write to" in taken.stderr
    assert taken.stdout == ""


def test_the_longest_name_a_file_can_have_gets_its_overlay(agent, folder) -> None:
    file = (folder / "Gefüge 50x.png").rename(folder / f"{'ü' * 120}.png")

    came = agent("inspect", file, "--overlay", folder / "pictures")

    assert came.returncode == 0
    assert len(list((folder / "pictures").iterdir())) == 1


def test_a_folder_without_pictures_is_said(agent, folder) -> None:
    (folder / "Gefüge").mkdir()

    came = agent("inspect", folder / "Gefüge", "--json")

    assert (came.returncode, came.stdout) == (2, "")
    assert "no image file found" in came.stderr


def test_a_file_that_is_not_there_is_named(agent, folder) -> None:
    came = agent("inspect", folder / "none.tif", folder / "Gefüge 50x.png", "--json")

    first, second = (json.loads(line) for line in came.stdout.splitlines())
    assert first["error"]["code"] == "unreadable"
    assert second["width"] == 640
    assert came.returncode == 1


def test_classify_without_a_bundle_says_what_to_do_and_makes_no_database(agent, folder) -> None:
    config = folder / "agent.toml"
    config.write_text("[store]\nfolder = 'books'\n", encoding="utf-8")

    came = agent("--config", config, "classify", folder / "Gefüge 50x.png")

    assert came.returncode == 2
    assert "No bundle is in use yet" in came.stderr
    assert not (folder / "books").exists()


def ruled(folder: Path) -> Path:
    """Draw a stage micrometer with lines every 10 µm at 0.2 µm per pixel."""
    columns = np.arange(1200) * 0.2
    line = np.abs(columns - 10 * np.round(columns / 10)) < 1
    ruling = cv2.GaussianBlur(
        np.tile(np.where(line, 60, 200).astype(np.uint8), (800, 1)), (5, 5), 0
    )
    image = folder / "micrometer.png"
    image.write_bytes(cv2.imencode(".png", ruling)[1])
    return image


def test_a_stage_micrometer_is_measured_compared_and_remembered(agent, folder) -> None:
    image = ruled(folder)
    config = folder / "agent.toml"
    config.write_text("[store]\nfolder = 'books'\n", encoding="utf-8")
    [division] = re.findall(r"--division (\S+)", EXAMPLES["scale check"])
    check = ("--config", config, "scale", "check", image, "--division", division, "--by", "A. Cole")

    right = agent(*check, "--expected", "0.2", "--json")
    wrong = agent(*check, "--expected", "0.1")
    no_ruling = agent("--config", config, "scale", "check", folder / "Gefüge 50x.png",
                      "--division", "10um")  # fmt: skip
    senseless = [agent(*check, "--expected", said).returncode for said in ("0", "nan", "-1")]

    assert json.loads(right.stdout)["um_per_px"] == pytest.approx(0.2, rel=1e-3)
    assert (right.returncode, wrong.returncode, no_ruling.returncode) == (0, 3, 3)
    assert senseless == [2, 2, 2]
    assert "+100" in wrong.stdout
    with Store.open(store_url(folder / "books"), site="Plant 1", agent="a") as store:
        acts = [
            (entry.actor, entry.subject) for entry in store.audit_log.iter_acts("scale.checked")
        ]
    assert acts == [("A. Cole", "micrometer.png")] * 2


def test_a_measurement_that_names_its_objective_is_a_record(agent, folder) -> None:
    image = ruled(folder)
    config = folder / "agent.toml"
    config.write_text("[store]\nfolder = 'books'\n", encoding="utf-8")
    check = ("--config", config, "scale", "check", image, "--division", "10um")

    known = agent(*check, "--microscope", "LOM-07", "--objective", "50x", "--by", "A. Cole",
                  "--certificate", "DKD 4711", "--json")  # fmt: skip
    nobody = agent(*check, "--microscope", "LOM-07", "--objective", "50x")
    nowhere = agent(*check, "--objective", "50x", "--by", "A. Cole")
    unknown = agent(*check, "--source", "LOM-08", "--objective", "50x", "--by", "A. Cole")

    assert [one.returncode for one in (known, nobody, nowhere, unknown)] == [0, 2, 2, 2]
    with Store.open(store_url(folder / "books"), site="Plant 1", agent="a") as store:
        (record,) = store.records.all("scale_check")
    assert record.id == json.loads(known.stdout)["record"]
    assert (record.subject, record.by) == ("LOM-07", "A. Cole")
    assert record.facts["um_per_px"] == pytest.approx(0.2, rel=1e-3)
    wanted = {"microscope": "LOM-07", "objective": "50x", "certificate": "DKD 4711"}
    assert wanted.items() <= record.facts.items()
    assert record.facts["sha256"] == hashlib.sha256(image.read_bytes()).hexdigest()
