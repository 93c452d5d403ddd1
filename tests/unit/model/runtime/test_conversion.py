"""A network that a child process converts is the same network, and leaves nothing behind here."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import tempfile
from functools import partial

import numpy as np
import pytest
import torch

from model.runtime import conversion
from model.runtime.conversion import (
    ConvertedFolder,
    Recipe,
    convert,
    converting_apart,
    keeping_converted,
    name_versions,
)
from model.runtime.engines import OpenVinoRunner, choose_engine

pytest.importorskip("openvino")

EXAMPLE = (torch.zeros(1, 3, 32, 32),)
SCRIPT = """
import sys
import numpy as np
from model import Field, converting_apart
from model.networks.backbones import frozen_lite0
from model.ood.frozen_pass import FrozenPass

def main():
    with converting_apart():
        frozen_pass = FrozenPass(frozen_lite0())
    frozen_pass.run(Field(np.full((96, 128, 3), 90, np.uint8), np.ones((96, 128), bool), 0.3))
    print([name for name in ("sympy", "torchvision", "torch._dynamo") if name in sys.modules])

if __name__ == "__main__":
    main()
"""


def build_network() -> torch.nn.Module:
    torch.manual_seed(4)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, stride=2, padding=1), torch.nn.BatchNorm2d(8), torch.nn.ReLU6()
    ).eval()


def compute_maps(network: torch.nn.Module) -> list[np.ndarray]:
    image = np.random.default_rng(5).random((3, 64, 96), np.float32)
    return OpenVinoRunner(network, choose_engine("cpu", "fp32"), None, EXAMPLE).maps(image)


def test_a_child_converts_to_the_same_bits() -> None:
    (here,) = compute_maps(build_network())

    with converting_apart():
        (apart,) = compute_maps(build_network())

    assert np.array_equal(here, apart)


def test_a_network_that_cannot_be_sent_is_converted_here() -> None:
    class Local(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return image * 2

    with converting_apart():
        (doubled,) = compute_maps(Local().eval())

    assert doubled.shape == (3, 64, 96)


@pytest.mark.slow
def test_the_frozen_pass_needs_neither_sympy_nor_torchvision(tmp_path) -> None:
    script = tmp_path / "run.py"
    script.write_text(SCRIPT, encoding="utf-8")

    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


posix = pytest.mark.skipif(os.name == "nt", reason="rights of POSIX")
STRUCTURE, WEIGHTS = b"<net/>", b"\x00\x01\x02"


def keep(folder):
    converted = ConvertedFolder(folder)
    converted.keep("lite0 part 1", "2026.4", STRUCTURE, WEIGHTS)
    return converted


def test_what_is_kept_is_found_by_all_that_it_depends_on(tmp_path):
    converted = keep(tmp_path / "converted")

    assert converted.find("lite0 part 1", "2026.4") == (STRUCTURE, WEIGHTS)
    assert converted.find("lite0 part 2", "2026.4") is None
    assert converted.find("lite0 part 1", "2026.5") is None


@pytest.mark.parametrize("suffix", [".xml", ".bin", ".json"])
@pytest.mark.parametrize("act", ["cut", "replace", "remove", "folder"])
def test_a_damaged_a_foreign_and_a_missing_file_are_not_used(tmp_path, suffix, act):
    converted = keep(tmp_path)
    (file,) = tmp_path.glob(f"*{suffix}")

    content = file.read_bytes()
    file.unlink()
    if act == "cut":
        file.write_bytes(content[:-1])
    elif act == "replace":
        file.write_bytes(b"other" + content[5:])
    elif act == "folder":
        file.mkdir()

    assert converted.find("lite0 part 1", "2026.4") is None


def test_a_record_that_is_nested_without_end_is_not_used(tmp_path):
    converted = keep(tmp_path)
    (record,) = tmp_path.glob("*.json")

    record.write_text("[" * 200_000, encoding="utf-8")

    assert converted.find("lite0 part 1", "2026.4") is None


@posix
def test_a_pipe_in_place_of_a_file_is_not_waited_for(tmp_path):
    converted = keep(tmp_path)
    (record,) = tmp_path.glob("*.json")

    record.unlink()
    os.mkfifo(record)

    assert converted.find("lite0 part 1", "2026.4") is None


@posix
@pytest.mark.parametrize("mode", [0o777, 0o770])
def test_nothing_is_used_from_a_folder_that_others_write(tmp_path, mode):
    converted = keep(tmp_path / "converted")

    (tmp_path / "converted").chmod(mode)

    assert converted.find("lite0 part 1", "2026.4") is None


@posix
def test_nothing_is_used_or_kept_behind_a_link(tmp_path):
    keep(tmp_path / "elsewhere")
    (tmp_path / "converted").symlink_to(tmp_path / "elsewhere")

    assert keep(tmp_path / "converted").find("lite0 part 1", "2026.4") is None


def set_age(path, days):
    now_s = path.stat().st_mtime
    os.utime(path, (now_s, now_s - days * 86_400))


def test_a_network_that_nothing_loaded_for_long_goes_when_another_is_kept(tmp_path):
    converted = keep(tmp_path)
    set_age(next(tmp_path.glob("*.json")), days=91)
    (tmp_path / ".cut.part").write_bytes(b"half")
    set_age(tmp_path / ".cut.part", days=91)
    (tmp_path / ".other.part").write_bytes(b"half")

    converted.keep("lite0 part 2", "2026.5", STRUCTURE, WEIGHTS)

    assert converted.find("lite0 part 1", "2026.4") is None
    assert converted.find("lite0 part 2", "2026.5") == (STRUCTURE, WEIGHTS)
    assert len(list(tmp_path.iterdir())) == 4
    assert (tmp_path / ".other.part").exists()  # of a process that writes now


def test_a_network_that_was_loaded_since_then_stays(tmp_path):
    converted = keep(tmp_path)
    set_age(next(tmp_path.glob("*.json")), days=91)

    assert converted.find("lite0 part 1", "2026.4") == (STRUCTURE, WEIGHTS)
    converted.keep("lite0 part 2", "2026.5", STRUCTURE, WEIGHTS)

    assert converted.find("lite0 part 1", "2026.4") == (STRUCTURE, WEIGHTS)


def test_a_network_that_cannot_be_removed_hinders_nothing(tmp_path):
    converted = keep(tmp_path)
    record = next(tmp_path.glob("*.json"))
    record.unlink()
    record.mkdir()
    set_age(record, days=91)

    converted.keep("lite0 part 2", "2026.5", STRUCTURE, WEIGHTS)

    assert converted.find("lite0 part 2", "2026.5") == (STRUCTURE, WEIGHTS)


def test_what_a_stopped_process_left_without_a_record_is_removed_too(tmp_path):
    converted = keep(tmp_path)
    for file in tmp_path.glob("*"):
        set_age(file, days=91)
    next(tmp_path.glob("*.json")).unlink()

    converted.keep("lite0 part 2", "2026.5", STRUCTURE, WEIGHTS)

    assert len(list(tmp_path.iterdir())) == 3
    assert converted.find("lite0 part 2", "2026.5") == (STRUCTURE, WEIGHTS)


def test_a_full_disk_of_temporary_files_does_not_keep_a_network_from_converting(
    tmp_path, monkeypatch
):
    pytest.importorskip("openvino")
    recipe = Recipe("a convolution", partial(build, tmp_path / "log"))
    with keeping_converted(tmp_path / "converted"):
        before = compute(recipe)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))

    with keeping_converted(tmp_path / "other"):
        assert np.array_equal(compute(recipe), before)

    assert not (tmp_path / "other").exists()


def test_a_record_of_another_network_is_not_used_under_this_name(tmp_path):
    converted = keep(tmp_path)
    (record,) = tmp_path.glob("*.json")
    facts = json.loads(record.read_bytes())

    record.write_text(json.dumps(facts | {"network": "resnet18 part 1"}), encoding="utf-8")

    assert converted.find("lite0 part 1", "2026.4") is None


@posix
def test_only_the_owner_reads_and_writes_what_is_kept(tmp_path):
    before = os.umask(0)
    try:
        keep(tmp_path / "converted")
    finally:
        os.umask(before)

    modes = {stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "converted").iterdir()}
    assert modes == {0o600}
    assert stat.S_IMODE((tmp_path / "converted").stat().st_mode) == 0o700


def test_a_folder_that_cannot_be_made_costs_only_the_time_of_another_conversion(tmp_path):
    (tmp_path / "file").write_bytes(b"")

    converted = keep(tmp_path / "file" / "converted")

    assert converted.find("lite0 part 1", "2026.4") is None


def build(log):
    with log.open("a", encoding="utf-8") as lines:
        lines.write("built\n")
    torch.manual_seed(4)
    return torch.nn.Conv2d(3, 4, 3, padding=1).eval(), (torch.zeros(1, 3, 32, 32),)


def compute(recipe):
    image = np.random.default_rng(5).random((3, 64, 96), np.float32)
    (maps,) = OpenVinoRunner(recipe, choose_engine("cpu", "fp32"), None).maps(image)
    return maps


def test_a_network_is_built_once_and_again_where_what_is_kept_is_damaged(tmp_path):
    pytest.importorskip("openvino")
    log, kept = tmp_path / "log", tmp_path / "converted"
    recipe = Recipe("a convolution", partial(build, log))

    with keeping_converted(kept):
        maps = [compute(recipe), compute(recipe)]
        once = log.read_text(encoding="utf-8")
        (weights,) = kept.glob("*.bin")
        weights.write_bytes(bytes(len(weights.read_bytes())))
        maps += [compute(recipe), compute(recipe)]

    assert once == "built\n"
    assert log.read_text(encoding="utf-8") == "built\nbuilt\n"
    assert all(np.array_equal(own, maps[0]) for own in maps)
    assert np.abs(maps[0]).max() > 0


def test_what_openvino_cannot_read_is_made_again(tmp_path):
    pytest.importorskip("openvino")
    log = tmp_path / "log"
    ConvertedFolder(tmp_path).keep("a convolution", name_versions(), b"no network", b"")

    with keeping_converted(tmp_path):
        convert(Recipe("a convolution", partial(build, log)))

    assert log.read_text(encoding="utf-8") == "built\n"


def test_another_release_converts_anew(tmp_path, monkeypatch):
    pytest.importorskip("openvino")
    log = tmp_path / "log"
    recipe = Recipe("a convolution", partial(build, log))

    with keeping_converted(tmp_path / "converted"):
        convert(recipe)
        monkeypatch.setattr(conversion, "version", lambda _: "99.0")
        convert(recipe)

    assert log.read_text(encoding="utf-8") == "built\nbuilt\n"


def test_nothing_is_kept_outside_of_a_folder_for_it(tmp_path):
    pytest.importorskip("openvino")
    log = tmp_path / "log"

    for _ in range(2):
        convert(Recipe("a convolution", partial(build, log)))

    assert log.read_text(encoding="utf-8") == "built\nbuilt\n"
