"""Several processes teach what one would teach, and only the first one writes."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from folders import ROOT
from labs.small import past, write_labelled
from labs.training import PLAN, trained

from agent.retrain.bundle_registry import list_bundles
from model import ProcessGroup, TrainingError


def torchrun(*words: object) -> subprocess.CompletedProcess[str]:
    """Start two processes on this machine, as a lab with two GPUs does."""
    start = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return subprocess.run(
        [*start, *map(str, words)],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@pytest.mark.slow  # three processes load PyTorch
def test_two_processes_learn_as_one_does_and_the_first_one_writes_the_bundle(tmp_path):
    ended = torchrun(Path(__file__).with_name("two_processes.py"), tmp_path)

    assert ended.returncode == 0, ended.stderr
    first, second = (json.loads((tmp_path / f"{rank}.json").read_bytes()) for rank in (0, 1))
    assert (first["size"], second["size"]) == (2, 2)
    assert first["apart"] < 1e-5
    assert len(first["told"]) == 2
    assert second["told"] == first["told"]
    assert [epoch["number"] for epoch in first["history"]] == [1, 2]
    assert second["history"] is None
    assert len([p for p in tmp_path.iterdir() if p.is_dir()]) == 1


@pytest.mark.slow
def test_torchrun_starts_the_command_that_trains(tmp_path):
    (tmp_path / "agent.toml").write_text("", encoding="utf-8")
    manifest = write_labelled(past(4, first_order=1000, seed=1), tmp_path / "labelled")
    command = ("-m", "agent", "--config", tmp_path / "agent.toml", "train")

    ended = torchrun(
        *command,
        tmp_path / "labelled",
        "--manifest",
        manifest,
        *("--arch", "resnet18", "--framing", "resize", "--frame", 64, "--epochs", 1),
    )

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("It is the first bundle") == 1
    assert len(list_bundles(tmp_path / "data")) == 1


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        (PLAN, "Start without torchrun"),
        (replace(PLAN, frozen=False, device="cuda:1"), "set model.device to auto"),
        (replace(PLAN, frozen=False, batch=8), "--nproc-per-node 8 or less"),
    ],
)
def test_what_several_processes_cannot_teach_together_is_said(tmp_path, plan, said):
    with pytest.raises(TrainingError, match=said):
        trained(tmp_path / "bundles", plan, processes=ProcessGroup(0, 9))

    assert not (tmp_path / "bundles").exists()
