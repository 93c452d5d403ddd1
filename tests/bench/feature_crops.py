"""Compare kept features with reading on thousands of crops of real micrographs.

    python tests/bench/features.py real ../shared/data/uhcs --more ../shared/data/micrographs \
        --crops 10000 --parts /tmp/crops

Crops of one micrograph overlap: thousands of crops are not as many fields. They differ in place,
size, quarter turn and the scale that is assumed. Most are 224 to 320 px at 0.2 to 0.3 µm per px;
one in `LARGE_EVERY` is as large as its micrograph allows, at up to 0.5 µm per px. What reading
gives is written per part; a part that is there is not made again.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING

import cv2
import numpy as np

from model import Classifier, Field, quick_config, train
from model.bundle import load_bundle
from model.ood.detector import OodDetector
from model.ood.feature_arrays import FeatureBatch

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from model import Example, Prediction
    from model.inference.predictor import FeatureScorer
    from model.ood.field_distance import FieldDistance

PART = 250
BATCH = 25
LARGE_EVERY = 20
LARGEST_PX = 1600
ALPHA = 0.1
SAME = 1e-9
ENDS = {".png", ".tif", ".jpg"}
PARTS_OF_ROW = 80
"""Bytes of a row but what is measured here: keys, scale, area."""


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


def train_heads(examples: Sequence[Example], count: int, folder: Path) -> Path:
    """Train heads on a frozen network on some of the examples; return the bundle."""
    chosen = [examples[n] for n in np.random.default_rng(0).permutation(len(examples))[:count]]
    config = quick_config(without=(), alpha=ALPHA)
    *_, last = train(chosen, config, folder, recipe="1", now=datetime.now(UTC))
    assert last.result is not None
    return last.result


def open_bundle(examples: Sequence[Example], count: int, folder: Path) -> Path:
    """Return the bundle of the parts, trained where there is none."""
    note = folder / "bundle.txt"
    if not note.exists():
        note.write_text(train_heads(examples, count, folder).name, "utf-8")
    return folder / note.read_text("utf-8")


def write_part(path: Path, fields: Iterable[Field], classifier: Classifier) -> None:
    """Read some fields, and write what the classifier says of them."""
    predictions: list[Prediction] = []
    remaining = iter(fields)
    while batch := list(islice(remaining, BATCH)):
        predictions += classifier.classify(batch)
    kept = [prediction.features for prediction in predictions]
    content = {
        "codes": [prediction.structure_code for prediction in predictions],
        "sets": [" ".join(prediction.prediction_set) for prediction in predictions],
        "probabilities": [prediction.probability for prediction in predictions],
        "embeddings": np.stack([features.embedding for features in kept]),
        "areas": [features.area_px for features in kept],
        "descriptors": np.stack([features.descriptor for features in kept]),
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
            write_part(paths[-1], (cut(choose(micrographs, n), n) for n in numbers), classifier)
            made += len(numbers)
            print(
                f"{start + len(numbers)} of {crops} crops, "
                f"{1000 * (time.process_time() - began_cpu_s) / made:.0f} ms of processor time "
                f"each, {time.perf_counter() - began_s:.0f} s, load {os.getloadavg()[0]:.0f}",
                flush=True,
            )
    print(f"{crops} crops of {min(len(micrographs), crops)} real micrographs", end=", ")
    compare_parts(paths, bundle, classifier)


def compare_parts(paths: Sequence[Path], bundle: Path, classifier: Classifier) -> None:
    """Print how many codes, sets and distances agree."""
    loaded = load_bundle(bundle)
    distance = OodDetector.from_tensors(loaded.ood_tensors, loaded.ood_facts).field_distance
    assert distance is not None
    scorer = classifier.build_feature_scorer()
    parts = [score_part(np.load(path), scorer, distance) for path in paths]
    rows = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    print(f"{len(distance.distances)} reference fields")
    print(
        f"same code {int(rows['same_code'].sum())}, same set {int(rows['same_set'].sum())}, "
        f"largest difference of a probability {rows['off_probability'].max():.1e}"
    )
    print(f"bytes of a row: mean {np.mean(rows['bytes']):.0f}, largest {max(rows['bytes'])}")
    print_distances(rows)


def score_part(
    part: np.lib.npyio.NpzFile, scorer: FeatureScorer, distance: FieldDistance
) -> dict[str, NDArray[np.generic]]:
    """Return what kept features give next to what reading gave, one row per field."""
    exact, areas = part["descriptors"], part["areas"].astype(np.float32)
    n = len(exact)
    rounded = exact.astype(np.float16).astype(np.float32)
    scored = scorer.score(FeatureBatch(part["embeddings"], rounded, areas, np.ones(n, bool)))
    read = distance.measure(exact, part["areas"])
    at_least = (distance.distances >= read[:, None]).sum(axis=1)
    moments = 0 if scorer.form.is_long else scorer.form.moments[-1]
    moments += sum(scorer.form.moments[: -2 if scorer.form.is_long else -1])
    fixed = 4 * part["embeddings"].shape[1] + 2 * (moments + exact.shape[1]) + PARTS_OF_ROW
    sets = [" ".join(scored.list_set(i)) for i in range(n)]
    return {
        "same_code": np.array([scored.find_code(i) for i in range(n)]) == part["codes"],
        "same_set": np.array(sets) == part["sets"],
        "off_probability": np.abs(scored.probability - part["probabilities"]),
        "bytes": np.full(n, fixed),
        "p_read": (1 + at_least) / (1 + len(distance.distances)),
        "p_kept": scored.p_whole,
        "off_log": np.abs(scored.whole - read),
    }


def print_distances(rows: dict[str, NDArray[np.generic]]) -> None:
    """Print how p-values and log distances of the whole field agree."""
    p_read, p_kept, off_log = rows["p_read"], rows["p_kept"], rows["off_log"]
    off = np.abs(p_kept - p_read)
    above = int((p_read > p_read.min()).sum())
    same_flag = int(((p_kept <= ALPHA) == (p_read <= ALPHA)).sum())
    print(
        f"{len(off)} fields, {len(np.unique(p_read))} different p-values, {above} above the "
        f"smallest; same flag {same_flag}, same "
        f"p-value {int((off < SAME).sum())}, largest difference {off.max():.4f}, 99 % below "
        f"{np.quantile(off, 0.99):.4f}; of log distance median {np.median(off_log):.4f}, largest "
        f"{off_log.max():.4f}"
    )
