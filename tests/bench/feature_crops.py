"""Compare kept features with reading on thousands of crops of real micrographs.

    python tests/bench/features.py real ../shared/data/uhcs --more ../shared/data/micrographs \
        --crops 10000 --parts /tmp/crops

Crops of one micrograph overlap: thousands of crops are not as many fields. They differ in place,
size, quarter turn and the scale that is assumed. Most are 224 to 320 px at 0.2 to 0.3 µm per px,
one or a few blocks; one in `LARGE_EVERY` is as large as its micrograph allows, at up to 0.5 µm per
px, so that more blocks than a row keeps each by itself occur too. What reading gives is written per
part; a part that is there is not made again.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import cv2
import numpy as np

from model import Classifier, Field, quick_config, train
from model.bundle import load_bundle
from model.ood.detector import OodDetector
from model.ood.kept_features import FeatureBatch, count_blocks, pack_blocks

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from model import Example, Prediction
    from model.ood.field_distance import FieldDistance

PART = 250
LARGE_EVERY = 20
LARGEST_PX = 1600
ALPHA = 0.1
SAME = 1e-9
ENDS = {".png", ".tif", ".jpg"}
PARTS_OF_ROW = 80
"""Bytes of a row but what is measured here: keys, scale, area, length of the blocks."""


def list_micrographs(folders: Sequence[Path]) -> list[Path]:
    """Return the micrographs of folders, of those with their manifest the files below."""
    return [
        path
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.suffix in ENDS and path.is_file()
    ]


def choose(micrographs: Sequence[Path], number: int) -> Path:
    """Return the micrograph of a crop; the large ones come from all micrographs, too."""
    return micrographs[(number + 2 * (number // LARGE_EVERY)) % len(micrographs)]


def cut(path: Path, number: int) -> Field:
    """Return a crop with its scale; the number decides which."""
    rng = np.random.default_rng((7, number))
    pixels = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        raise SystemExit(f"{path}: cannot be decoded")
    is_large = number % LARGE_EVERY == 0
    height, width = pixels.shape[:2]
    if is_large:
        size_y, size_x = min(height, LARGEST_PX), min(width, LARGEST_PX)
        um_per_px = rng.uniform(0.3, 0.5)
    else:
        size_y, size_x = (min(int(rng.integers(224, 321)), side) for side in (height, width))
        um_per_px = rng.uniform(0.2, 0.3)
    top, left = (int(rng.integers(0, n + 1)) for n in (height - size_y, width - size_x))
    window = cv2.cvtColor(pixels[top : top + size_y, left : left + size_x], cv2.COLOR_BGR2RGB)
    turned = np.ascontiguousarray(np.rot90(window, int(rng.integers(0, 4))))
    return Field(turned, np.ones(turned.shape[:2], bool), um_per_px)


def open_bundle(examples: Sequence[Example], count: int, folder: Path) -> Path:
    """Return the bundle of the parts, trained where there is none."""
    note = folder / "bundle.txt"
    if note.exists():
        return folder / note.read_text("utf-8")
    chosen = [examples[n] for n in np.random.default_rng(0).permutation(len(examples))[:count]]
    bundle = None
    config = quick_config(without=(), alpha=ALPHA)
    for step in train(chosen, config, folder, recipe="1", now=datetime.now(UTC)):
        bundle = step.result or bundle
    assert bundle is not None
    note.write_text(bundle.name, "utf-8")
    return bundle


def write_part(
    path: Path, micrographs: Sequence[Path], classifier: Classifier, numbers: Sequence[int]
) -> None:
    """Read some crops, and write what the classifier says of them."""
    predictions: list[Prediction] = []
    for start in range(0, len(numbers), 25):
        fields = [cut(choose(micrographs, n), n) for n in numbers[start : start + 25]]
        predictions += classifier.classify(fields)
    kept = [prediction.features for prediction in predictions]
    content = {
        "codes": [prediction.structure_code for prediction in predictions],
        "sets": [" ".join(prediction.prediction_set) for prediction in predictions],
        "probabilities": [prediction.probability for prediction in predictions],
        "embeddings": np.stack([one.embedding for one in kept]),
        "areas": [one.area_px for one in kept],
        "counts": [len(one.blocks) for one in kept],
        "blocks": np.concatenate([one.blocks for one in kept]),
        "moments": [sum(len(layer) for layer in one.whole) for one in kept],
    }
    scratch = path.with_name(f".{path.name}")
    with scratch.open("wb") as file:
        np.savez(file, **{name: np.asarray(values) for name, values in content.items()})
    scratch.replace(path)


def measure_crops(
    folders: Sequence[Path], examples: Sequence[Example], crops: int, train_n: int, parts: Path
) -> None:
    """Read crops in parts, and compare all parts with their kept features."""
    parts.mkdir(parents=True, exist_ok=True)
    micrographs = list_micrographs(folders)
    bundle = open_bundle(examples, train_n, parts)
    classifier = Classifier.load(bundle, device="cpu", alpha=ALPHA)
    began_s, began_cpu_s, made = time.perf_counter(), time.process_time(), 0
    paths = []
    for start in range(0, crops, PART):
        numbers = range(start, min(start + PART, crops))
        paths.append(parts / f"part-{start:06d}-{len(numbers)}.npz")
        if not paths[-1].exists():
            write_part(paths[-1], micrographs, classifier, numbers)
            made += len(numbers)
            print(
                f"{start + len(numbers)} of {crops} crops, "
                f"{1000 * (time.process_time() - began_cpu_s) / made:.0f} ms of processor time "
                f"each, {time.perf_counter() - began_s:.0f} s, load {os.getloadavg()[0]:.0f}",
                flush=True,
            )
    loaded = load_bundle(bundle)
    distance = OodDetector.from_tensors(loaded.ood_tensors, loaded.ood_facts).field_distance
    assert distance is not None
    print(f"{crops} crops of {min(len(micrographs), crops)} real micrographs", end=", ")
    compare_parts([np.load(path) for path in paths], classifier, distance)


def compare_parts(parts: Sequence[np.lib.npyio.NpzFile], classifier: Classifier,
                  distance: FieldDistance) -> None:  # fmt: skip
    """Print how many codes, sets and distances agree."""
    scorer = classifier.build_feature_scorer()
    limits = scorer.form.block_limits
    codes = sets = 0
    largest, sizes, counts, exact, kept, whole = 0.0, [], [], [], [], []
    for part in parts:
        ends = np.cumsum(part["counts"])[:-1]
        blocks = np.split(part["blocks"], ends)
        packed = [pack_blocks(one, limits) for one in blocks]
        n = len(packed)
        scored = scorer.score(
            FeatureBatch(
                part["embeddings"], packed, part["areas"].astype(np.float32), np.ones(n, bool)
            )
        )
        codes += sum(scored.find_code(i) == part["codes"][i] for i in range(n))
        sets += sum(" ".join(scored.list_set(i)) == part["sets"][i] for i in range(n))
        largest = max(largest, float(np.abs(scored.probability - part["probabilities"]).max()))
        own = [distance.measure(*one) for one in zip(blocks, part["areas"], strict=True)]
        at_least = (distance.distances >= np.array(own)[:, None]).sum(axis=1)
        exact.append((1 + at_least) / (1 + len(distance.distances)))
        kept.append(scored.p_whole)
        whole.append(np.abs(scored.whole - own))
        counts += [(*count_blocks(one), len(b)) for one, b in zip(packed, blocks, strict=True)]
        moments = 0 if scorer.form.is_long else scorer.form.moments[-1]
        moments += sum(scorer.form.moments[: -2 if scorer.form.is_long else -1])
        sizes += [
            4 * part["embeddings"].shape[1] + 2 * moments + len(one) + PARTS_OF_ROW
            for one in packed
        ]
    p_exact, p_kept, off_log = map(np.concatenate, (exact, kept, whole))
    off, flags = np.abs(p_kept - p_exact), (p_kept <= ALPHA) == (p_exact <= ALPHA)
    print(f"{len(distance.distances)} reference fields")
    print(f"same code {codes}, same set {sets}, largest difference of a probability {largest:.1e}")
    print(f"bytes of a row: mean {np.mean(sizes):.0f}, largest {max(sizes)}")
    totals = np.array([total for _kept, _noted, total in counts])
    for title, rows in (
        ("blocks kept each by itself", totals <= limits[1]),
        ("by common directions", totals > limits[1]),
    ):
        if not rows.any():
            continue
        print(
            f"{title}: {int(rows.sum())} crops of {totals[rows].min()} to {totals[rows].max()} "
            f"blocks, {len(np.unique(p_exact[rows]))} different p-values, "
            f"{int((p_exact[rows] > p_exact.min()).sum())} above the smallest; same flag "
            f"{int(flags[rows].sum())}, same p-value "
            f"{int((off[rows] < SAME).sum())}, largest difference {off[rows].max():.4f}, 99 % "
            f"below {np.quantile(off[rows], 0.99):.4f}; of log distance median "
            f"{np.median(off_log[rows]):.4f}, largest {off_log[rows].max():.4f}"
        )
