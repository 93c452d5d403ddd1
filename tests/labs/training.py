"""A training that takes a second."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache

import numpy as np
import torch

from model import SINGLE_PROCESS, Example, Field, TrainingConfig, taxonomy_from, train
from model.framing import Framing
from model.networks.schemes import Scheme
from model.ood.fit import fit_detector
from model.training.batches import Batch, FrameCache, Targets
from model.training.config import TrainingTask
from model.training.gradients import TrainState

NOW = datetime(2026, 11, 24, 23, 30, tzinfo=UTC)

TAXONOMY = taxonomy_from(
    {
        "name": "stripes",
        "size": [{"name": "7"}, {"name": "8"}],
        "subtype": [{"name": "G", "sizes": ["7", "8"]}, {"name": "B", "sizes": ["8"]}],
    }
)

PLAN = TrainingConfig(
    taxonomy=TAXONOMY,
    arch="tiny",
    taps=(1, 2),
    framing="scale",
    um_per_px=0.2,
    frozen=True,
    views=2,
    shares=(0.6, 0.2, 0.2),
    device="pytorch",
)


def field(code: str, seed: int) -> Field:
    """G7 has broad stripes, G8 narrow ones, B8 is a dark chequerboard."""
    rng = np.random.default_rng([seed, len(code), ord(code[0])])
    y, x = np.mgrid[:64, :64]
    pitch = 16 if code == "G7" else 6
    wave = np.sin(2 * np.pi * (x + rng.integers(16)) / pitch)
    grey = 150 + 60 * wave if code[0] == "G" else 70 + 50 * wave * np.sin(2 * np.pi * y / pitch)
    pixels = np.clip(grey[..., None] + rng.normal(0, 8, (64, 64, 3)), 0, 255).astype(np.uint8)
    return Field(pixels, np.ones((64, 64), bool), 0.2)


def examples(per_code: int = 10, codes: tuple[str, ...] = ("G7", "G8", "B8")) -> list[Example]:
    return [
        Example(
            key=f"{code}-{i:02d}",
            code=code,
            group=f"{code}-s{i}",
            load=lambda code=code, i=i: field(code, i),
            slices={"microscope": f"LOM-0{i % 2}"},
        )
        for code in codes
        for i in range(per_code)
    ]


def trained(folder, plan=PLAN, given=None, **more):
    more = {"fit_detector": ordinary, "recipe": "1", "now": NOW, **more}
    return list(train(given or examples(), plan, folder, **more))


@cache
def taught_once():
    return fit_detector(examples(4), subtype_of=lambda code: code[0])


def ordinary(_):
    """Strangeness takes seconds to learn and is not what these tests are about."""
    return taught_once()


def lesson_of(eye):
    one = tuple(examples(2))
    return TrainingTask(eye, "s", ("subtype",), Scheme("two-stage", TAXONOMY), Framing(), one, one)


def train_state_of(eye, layers, lesson):
    targets = Targets(lesson, PLAN)
    cpu = torch.device("cpu")
    shown = FrameCache(Framing())
    return TrainState(
        eye,
        layers,
        cpu,
        use_bf16=False,
        frame_cache=shown,
        targets=targets,
        processes=SINGLE_PROCESS,
    )


def batch_of(given):
    fields = [example.load() for example in given]
    pixels, valid = np.stack([f.pixels for f in fields]), np.stack([f.valid for f in fields])
    codes = tuple(e.code for e in given)
    return Batch(pixels, valid, codes, (1.0,) * len(given), total=len(given))
