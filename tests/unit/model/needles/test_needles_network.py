"""The shipped needle network is what its card says and deterministic; the command shows it."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from drawn.needle_samples import draw_needles
from safetensors.torch import load_file, save_file

from agent.cli import main
from model import WeightsError
from model.needles.field import NeedleOutcome, measure_field
from model.needles.needle_map import WEIGHTS, NeedleMapper
from model.needles.version import CARD, read_card, read_version

sys.path.append(str(Path(__file__).resolve().parents[3] / "bench"))
from needle_training import NeedleTraining, save_weights, train

PIXEL_UM = 0.2


@pytest.fixture(scope="module")
def mapper():
    return NeedleMapper()


@pytest.fixture(scope="module")
def steel():
    return draw_needles()


def write_with_scale(file, grey):
    """Write a TIFF whose metadata state the scale."""
    per_um = (1 / PIXEL_UM, 1 / PIXEL_UM)
    tifffile.imwrite(file, grey, imagej=True, resolution=per_um, metadata={"unit": "um"})


@pytest.fixture
def agent(capsys):
    """Run one command in this process; return its lines and its exit code."""

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        return capsys.readouterr().out.splitlines(), ended.value.code

    return run


def test_the_weights_are_small_and_have_a_card_with_seed_and_hash():
    card = read_card()

    assert WEIGHTS.stat().st_size <= 8_000_000
    assert 500_000 <= card["parameters"] <= 2_000_000
    assert {"seed", "steps", "start", "sha256", "torch", "trained_on"} <= set(card)
    assert NeedleMapper().version == read_version()


def test_changed_weights_are_refused(tmp_path):
    state = load_file(WEIGHTS)
    state["head.bias"] += 0.1
    save_file(state, tmp_path / "needles.safetensors")
    (tmp_path / "needles.json").write_bytes(CARD.read_bytes())

    with pytest.raises(WeightsError, match="differs from its card"):
        NeedleMapper(weights=tmp_path / "needles.safetensors")


def test_the_same_micrograph_gives_the_same_map(mapper, steel):
    first, second = mapper.map(steel, PIXEL_UM), NeedleMapper().map(steel, PIXEL_UM)

    assert np.array_equal(first.axis, second.axis)
    assert np.array_equal(first.far_um, second.far_um)
    assert first.axis.shape == (256, 256)


def test_both_engines_give_the_same_lengths(mapper, steel):
    pytest.importorskip("openvino")

    torch_map = mapper.map(steel, PIXEL_UM)
    openvino_map = NeedleMapper("openvino").map(steel, PIXEL_UM)

    assert np.abs(torch_map.axis - openvino_map.axis).max() < 0.01
    assert np.abs(torch_map.far_um / openvino_map.far_um - 1).max() < 0.02


def test_a_field_of_any_size_and_scale_has_a_map_of_its_area(mapper):
    maps = mapper.map(np.full((333, 517), 120, np.uint8), 0.1)

    assert maps.axis.shape == (83, 129)  # 0.4 µm per cell


def test_an_empty_field_and_a_coarse_one_have_no_lengths(mapper, steel):
    empty = np.random.default_rng(0).normal(128, 2, (400, 400)).astype(np.uint8)

    assert measure_field(empty, PIXEL_UM, mapper).outcome is not NeedleOutcome.MEASURED
    assert measure_field(steel, 20.0, mapper).outcome is NeedleOutcome.TOO_COARSE


def test_a_training_can_be_repeated(tmp_path):
    settings = NeedleTraining(seed=5, steps=1, batch=1, side=64)

    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        [(step, losses, network)] = train(settings)
        save_weights(network, settings, step, tmp_path / name)

    assert set(losses) == {"axis", "body", "structure", "tips", "length", "direction"}
    cards = [json.loads((tmp_path / n / "needles.json").read_text()) for n in ("first", "second")]
    assert cards[0]["sha256"] == cards[1]["sha256"]
    NeedleMapper(weights=tmp_path / "first" / "needles.safetensors")


def test_the_command_writes_lengths_only_where_they_are_measured(agent, steel, tmp_path):
    (tmp_path / "unknown.png").write_bytes(cv2.imencode(".png", steel)[1])
    write_with_scale(tmp_path / "known.tif", steel)

    lines, code = agent("needles", tmp_path, "--json", "--overlay", tmp_path / "shown")

    known, unknown = (json.loads(line)["needles"] for line in lines)
    assert code == 0
    assert known["status"] == "measured"
    assert known["trial"] is True
    assert known["calibrated"] is False
    assert known["l50_um"] < known["l90_um"] < known["l99_um"]
    assert len(known["longest"]) == 5
    assert unknown["status"] == "no_scale"
    assert "l50_um" not in unknown
    assert len(list((tmp_path / "shown").iterdir())) == 2


def test_together_there_is_no_interval_of_one_field_and_no_prediction(agent, steel, tmp_path):
    write_with_scale(tmp_path / "known.tif", steel)

    lines, _ = agent("needles", tmp_path, "--json", "--together", "--longest-in", 100)
    words, _ = agent("needles", tmp_path, "--together", "--longest-in", 100)

    together = json.loads(lines[-1])["together"]
    assert together["fields"] == 1
    assert together["l50"]["low_um"] is None
    assert together["longest"] is None
    assert any("no interval below 5 fields" in line for line in words)
    assert any("needs 20 measured fields" in line for line in words)


def test_a_copy_of_a_field_in_another_format_is_no_further_field(agent, steel, tmp_path):
    write_with_scale(tmp_path / "known.tif", steel)
    per_um = (1 / PIXEL_UM, 1 / PIXEL_UM)
    for n in range(5):
        tifffile.imwrite(
            tmp_path / f"copy {n}.tif", steel, imagej=True, resolution=per_um,
            metadata={"unit": "um", "n": n},
        )  # fmt: skip

    lines, _ = agent("needles", tmp_path, "--json", "--together")
    words, _ = agent("needles", tmp_path, "--together")

    together = json.loads(lines[-1])["together"]
    assert (together["fields"], together["copies_left_out"]) == (1, 5)
    assert together["l50"]["low_um"] is None
    assert any("5 copies of a field were left out" in line for line in words)


@pytest.mark.parametrize("area", ["0", "-1", "nan", "inf"])
def test_an_area_that_is_none_is_refused_before_anything_is_measured(agent, tmp_path, area):
    assert agent("needles", tmp_path, "--together", "--longest-in", area)[1] == 2
    assert agent("needles", tmp_path, "--longest-in", "100")[1] == 2
