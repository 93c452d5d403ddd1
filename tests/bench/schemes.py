"""Hold multi-head against two-stage on drawn micrographs with the paper's class counts; not steel.

    OMP_NUM_THREADS=1 python tests/bench/schemes.py FOLDER [--arch NAME] [--epochs N] [--seed N]

Both are taught on the same split of `paper.py`'s 1625 images and asked about that split's test
images and a second drawing of the same counts, label noise and all: many test images for one
training of each. As the networks are one pair, the interval is about them; another --seed gives
another split and another pair. An epoch of either shows as many images, so both are taught as
long. What a scheme said is kept in FOLDER, and an unfinished training goes on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import torch
from paper import PX, UM_PER_PX, examples

from model import Classifier, Example, TrainingConfig, default_taxonomy, split, train
from model.experiments.run import build_cached_fit, list_rows
from model.experiments.tables import RowResult, compare_results

MORE = 1000
"""The second drawing's images are numbered from here; the first has fewer of every code."""


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("folder", type=Path)
    ask.add_argument("--arch", default="efficientnet-lite0")
    ask.add_argument("--epochs", type=int, default=3)
    ask.add_argument("--learning-rate", type=float, default=1e-4, help="5e-4 from scratch")
    ask.add_argument("--seed", type=int, default=0)
    ask.add_argument("--share", type=float, default=1.0, help="of the paper's counts")
    given = ask.parse_args()
    torch.set_num_threads(1)
    labelled, more = examples(given.share), examples(given.share, after=MORE)
    has_weights = given.arch == "efficientnet-lite0"
    plan = TrainingConfig(
        arch=given.arch,
        taps=(2,) if has_weights else None,
        framing="scale",
        frame_px=PX,
        um_per_px=UM_PER_PX,
        epochs=given.epochs,
        batch=16,
        learning_rate=given.learning_rate,
        seed=given.seed,
    )
    first, second = (
        asked(replace(plan, scheme=scheme), labelled, more, given.folder)
        for scheme in ("two-stage", "multi-head")
    )
    own = {example.key for example in split(labelled, seed=given.seed).test}
    for name, keys in (
        ("the split's own", own),
        ("the second drawing's", first.right.keys() - own),
    ):
        print(f"{name} test images:", counted(first, keys), counted(second, keys))
    print(json.dumps(compare_results(first, second)))


def asked(
    plan: TrainingConfig, labelled: list[Example], more: list[Example], folder: Path
) -> RowResult:
    """Teach a scheme, or take up what it said, and say which test images it has right."""
    told = json.dumps([plan.as_json(), len(labelled)]).encode()
    place = folder / f"{plan.arch}-{plan.scheme}-{hashlib.sha256(told).hexdigest()[:8]}.json"
    if not place.is_file():
        bundle = taught(plan, labelled, folder)
        classifier = Classifier.load(bundle)
        test = [*split(labelled, seed=plan.seed).test, *more]
        taxonomy = default_taxonomy()
        right = {}
        for example in test:
            (answer,) = classifier.predict_codes([example.load()])
            right[example.key] = taxonomy.code(*answer.best) == example.code
        place.write_text(json.dumps(right), encoding="utf-8")
    return RowResult("ours", plan.scheme, json.loads(place.read_bytes()), {})


def taught(plan: TrainingConfig, labelled: list[Example], folder: Path) -> Path:
    started, bundle = time.process_time(), None
    known = build_cached_fit([], list_rows(plan)[0])
    for step in train(
        labelled, plan, folder, fit_detector=known, recipe="drawn", now=datetime.now(UTC)
    ):
        bundle = step.result or bundle
        if step.note:
            print(f"{datetime.now(UTC):%H:%M} {plan.scheme}, {step.stage}: {step.note}", flush=True)
    assert bundle is not None
    print(f"{plan.scheme}: {time.process_time() - started:.0f} s of CPU", flush=True)
    return bundle


def counted(result: RowResult, keys: set[str]) -> str:
    return f"{result.name} {sum(result.right[key] for key in keys)} of {len(keys)}"


if __name__ == "__main__":
    main()
