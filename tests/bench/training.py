"""Measure a smoke run of training on small drawn fields, from labels to bundle; not steel.

    python tests/bench/training.py [--n 200] [--px 160] [--epochs 8] [--int8] [--real FOLDER]

Three plans on the same images and split: the default of a PC without a GPU; a whole ResNet-18 from
scratch; and the same network left as it is, with only its heads fitted. Prints seconds of wall and
processor time, how the loss fell, and how many test images are right. `--int8` teaches the first
alone, converts it, and says what that costs. `--real` trains the default on the real micrographs
of the folder instead, grouped by image, and prints the cross-validated figures of the model card.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from real_classes import load

from agent.demo.micrograph import draw_micrograph
from model import (
    Example,
    Field,
    ModelError,
    TrainingConfig,
    convert,
    quick_config,
    read_manifest,
    taxonomy_from,
    train,
)

CODES = ("G7", "G8", "G9-10", "B7", "B8", "B9-10", "M8", "M9-10")

PX, UM_PER_PX = 160, 0.4


def drawn(code: str, seed: int, px: int) -> Field:
    pixels = draw_micrograph(
        code, seed=seed, um_per_px=UM_PER_PX, size=(px, px), bar=None, border=False
    ).pixels
    return Field(pixels, np.ones((px, px), bool), UM_PER_PX)


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
    if estimate := manifest.facts.get("cross_validation"):
        shares = {name: estimate[name]["value"] for name in ("accuracy", "coverage")}
        print(
            f"  cross-validated, n {estimate['n']}: right {shares['accuracy']:.3f}, "
            f"set covers {shares['coverage']:.3f}, ECE {estimate['ece']:.3f}"
        )


def train_real(folder: Path) -> None:
    """Train the default plan on the real micrographs of a folder."""
    known, fields = load(folder)
    names = sorted({example.code for example in known})
    subtypes = [{"name": f"C{at}", "sizes": ["1"]} for at in range(len(names))]
    taxonomy = taxonomy_from({"size": [{"name": "1"}], "subtype": subtypes})
    given = [
        Example(own.key, f"C{names.index(own.code)}1", own.key, lambda field=field: field)
        for own, field in zip(known, fields, strict=True)
    ]
    measured(f"default, {len(given)} real micrographs", given, quick_config(taxonomy=taxonomy))


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--n", type=int, default=200)
    ask.add_argument("--px", type=int, default=PX)
    ask.add_argument("--epochs", type=int, default=8)
    ask.add_argument("--int8", action="store_true")
    ask.add_argument("--real", type=Path, metavar="FOLDER")
    given = ask.parse_args()
    torch.set_num_threads(1)
    if given.real:
        train_real(given.real)
        return
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
