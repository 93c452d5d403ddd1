"""Train the paper's rows on drawn micrographs with the paper's class counts; not steel.

    OMP_NUM_THREADS=1 python tests/bench/paper.py FOLDER [--rows TEXT] [--folds 5] [--epochs 30]

1625 images of 160 px in the counts of Durmaz et al. 2023, one label in ten moved to a neighbouring
size, as raters do; so an answer that is right about every drawing reaches about 90 %. A finished
row is kept in FOLDER, and an unfinished one goes on after its last epoch. Without `--weights` the
ResNets start from scratch where no ImageNet weights can be had, and their "fw" rows then look
through an untrained network: a lower bound, not the paper's. EfficientNet-Lite0 has its ImageNet
weights, so its "fw" rows are the ones to compare with the paper's.

With `--folds` every image is tested once, by networks that never saw it. The intervals then count
the images of all folds as independent, though those of one fold share their networks: what
multi-head loses is therefore said per fold too, beside what chance alone would spread it.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from agent.demo.synthetic.micrograph import draw_micrograph
from model import Example, Field, TrainingConfig, default_taxonomy, folds
from model.experiments.run import run
from model.experiments.tables import RowResult, as_json, as_markdown, compare_results

ROWS = (
    "ResNet-18 global",
    "ResNet-18 2S",
    "ResNet-18 multi-head",
    "ResNet-18 global (fw)",
    "ResNet-18 2S (fw)",
    "EfficientNet-Lite0 global (fw), scale",
    "EfficientNet-Lite0 2S (fw), scale",
    "EfficientNet-Lite0 multi-head (fw), scale",
    "ResNet-50 global",
    "ResNet-50 2S",
)
"""In the order they are trained: what is compared most comes first."""

PAIR = ("ResNet-18 2S", "ResNet-18 multi-head")

COUNTS = {
    "G7": 48, "G8": 196, "G9-10": 985, "M8": 31, "M9-10": 39, "B7": 40, "B8": 137, "B9-10": 149,
}  # fmt: skip
PX, UM_PER_PX, NOISE = 160, 0.4, 0.1


@lru_cache(maxsize=4096)
def drawn(code: str, seed: int, px: int = PX) -> Field:
    pixels = draw_micrograph(
        code, seed=seed, um_per_px=UM_PER_PX, size=(px, px), bar=None, border=False
    ).pixels
    return Field(pixels, np.ones((px, px), bool), UM_PER_PX)


def examples(share: float, *, after: int = 0) -> list[Example]:
    """Draw the paper's counts, or a share of them; `after` so many of a code, others."""
    taxonomy, rng = default_taxonomy(), np.random.default_rng(after)
    found = []
    for code, count in COUNTS.items():
        subtype, size = taxonomy.parse(code)
        sizes = [z.name for z in taxonomy.subtype(subtype).trained_sizes]
        for number in range(after, after + max(6, round(count * share))):
            label = code
            if rng.random() < NOISE:
                at = sizes.index(size)
                near = [sizes[i] for i in (at - 1, at + 1) if 0 <= i < len(sizes)]
                label = subtype + str(rng.choice(near))
            key = f"{code}-{number}"
            seed = 1_000 * number + sorted(COUNTS).index(code)
            found.append(Example(key, label, key, lambda c=code, s=seed: drawn(c, s)))
    return found


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("folder", type=Path)
    ask.add_argument("--rows", default="", help="only rows whose name contains this")
    ask.add_argument("--share", type=float, default=1.0, help="of the paper's counts")
    ask.add_argument("--folds", type=int, default=0, help="leave every image out once, in so many")
    ask.add_argument("--epochs", type=int, default=30)
    ask.add_argument("--batch", type=int, default=16)
    ask.add_argument("--learning-rate", type=float, default=5e-4, help="from scratch")
    ask.add_argument("--weights", type=Path)
    given = ask.parse_args()
    torch.set_num_threads(1)
    labelled = examples(given.share)
    print(dict(Counter(e.code for e in labelled)), len(labelled), flush=True)
    base = TrainingConfig(
        frame_px=PX,
        um_per_px=UM_PER_PX,
        epochs=given.epochs,
        batch=given.batch,
        learning_rate=given.learning_rate,
        views=2,
        weights=given.weights,
    )
    results = [
        trained(name, labelled, base, given.folder, given.folds)
        for name in ROWS
        if given.rows in name
    ]
    (given.folder / "paper.json").write_text(json.dumps(as_json(results)), encoding="utf-8")
    print(as_markdown(results))
    pair = [result for result in results if result.name in PAIR]
    if given.folds and len(pair) == len(PAIR):
        print(per_fold(pair[0], pair[1], labelled, given.folds))


def per_fold(first: RowResult, second: RowResult, labelled: list[Example], count: int) -> str:
    """Return what the second row loses in each fold, and its spread by chance alone."""
    lost, chance = [], []
    for _, held in folds(labelled, count):
        keys = {example.key for example in held}
        a, b = (replace(r, right={k: r.right[k] for k in keys}) for r in (first, second))
        found = compare_results(a, b)
        lost.append(-100 * found["gain"])
        chance.append(100 * (found["only_first"] + found["only_second"]) ** 0.5 / len(keys))
    told = ", ".join(f"{points:.1f}" for points in lost)
    return (
        f"{second.name} loses against {first.name}, points per fold: {told} (standard deviation "
        f"{np.std(lost, ddof=1):.1f}; by chance {np.mean(chance):.1f})"
    )


def trained(
    name: str, labelled: list[Example], base: TrainingConfig, folder: Path, fold_count: int
) -> RowResult:
    """Train one row, or take its result up, and say how it did."""
    started, result = time.process_time(), None
    for step in run(
        labelled,
        base,
        folder,
        only=lambda row: row.name == name,
        fold_count=fold_count,
        recipe="drawn",
        now=datetime.now(UTC),
    ):
        if isinstance(step, RowResult):
            result = step
        elif step[1].note:
            print(
                f"{datetime.now(UTC):%H:%M} {step[0]}, {step[1].stage}: {step[1].note}", flush=True
            )
    assert result is not None
    used = time.process_time() - started
    print(f"{name}: {sum(result.right.values())} of {len(result.right)} right, {used:.0f} s of CPU")
    return result


if __name__ == "__main__":
    main()
