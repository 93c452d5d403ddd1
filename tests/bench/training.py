"""Measure a smoke run of training on small drawn fields, from labels to bundle; not steel.

    python tests/bench/training.py [--n 200] [--px 160] [--epochs 8] [--int8]

Three plans on the same images and split: the default of a PC without a GPU; a whole ResNet-18 from
scratch; and the same network left as it is, with only its heads fitted. Prints seconds of wall and
processor time, how the loss fell, and how many test images are right. `--int8` teaches the first
alone, converts it, and says what that costs.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from paper import PX, UM_PER_PX, drawn

from model import Example, ModelError, TrainingConfig, convert, quick_config, read_manifest, train

if TYPE_CHECKING:
    from collections.abc import Sequence

CODES = ("G7", "G8", "G9-10", "B7", "B8", "B9-10", "M8", "M9-10")


def examples(n: int, px: int) -> list[Example]:
    found = []
    for number in range(n):
        code = CODES[number % len(CODES)]
        shown = drawn(code, 70_000 + number, px)
        key = f"{code}-{number}"
        found.append(Example(key, code, key, lambda shown=shown: shown))
    return found


def converted(given: Sequence[Example]) -> None:
    """Teach the default, convert it to int8, and print what that costs or why not."""
    with tempfile.TemporaryDirectory() as folder:
        *_, last = train(given, quick_config(), Path(folder), recipe="drawn", now=datetime.now(UTC))
        assert last.result is not None
        try:
            *_, step = convert(last.result, given)
        except ModelError as error:
            print(error)
        else:
            assert step.result is not None
            print(step.result.sentence())


def measured(name: str, given: Sequence[Example], plan: TrainingConfig) -> None:
    wall, spent, losses = time.perf_counter(), time.process_time(), []
    per_stage: dict[str, float] = defaultdict(float)
    with tempfile.TemporaryDirectory() as folder:
        last = time.process_time()
        bundle = None
        for step in train(given, plan, Path(folder), recipe="drawn", now=datetime.now(UTC)):
            per_stage[step.stage] += time.process_time() - last
            last = time.process_time()
            bundle = step.result or bundle
        assert bundle is not None
        manifest = read_manifest(bundle)
        losses = [epoch["loss"] for epoch in manifest.facts["history"]]
    metrics = manifest.metrics
    right = round(metrics["accuracy"]["value"] * metrics["n"])
    fell = f", loss {losses[0]:.2f} to {losses[-1]:.2f} in {len(losses)} epochs" if losses else ""
    print(
        f"{name:<34} {time.perf_counter() - wall:6.1f} s wall {time.process_time() - spent:6.1f} s "
        f"CPU  {right} of {metrics['n']} right{fell}"
    )
    slowest = sorted(per_stage.items(), key=lambda item: -item[1])[:4]
    print("  " + ", ".join(f"{stage} {spent:.1f} s" for stage, spent in slowest), flush=True)


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--n", type=int, default=200)
    ask.add_argument("--px", type=int, default=PX)
    ask.add_argument("--epochs", type=int, default=8)
    ask.add_argument("--int8", action="store_true")
    given = ask.parse_args()
    torch.set_num_threads(1)
    labelled = examples(given.n, given.px)
    whole = TrainingConfig(
        arch="resnet18",
        scheme="multi-head",
        frame_px=given.px,
        um_per_px=UM_PER_PX,
        epochs=given.epochs,
        batch=16,
        learning_rate=5e-4,
        start="random",
    )
    print(f"{given.n} drawn fields of {given.px} px, one thread")
    if given.int8:
        converted(labelled)
        return
    measured("default (Lite0, heads only)", labelled, quick_config())
    measured("ResNet-18, whole, from scratch", labelled, whole)
    measured("ResNet-18, untrained, heads only", labelled, replace(whole, frozen=True, views=2))


if __name__ == "__main__":
    main()
