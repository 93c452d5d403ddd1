"""Measure the out-of-distribution check on real micrographs by the size of the field.

    python tests/bench/real.py ../shared/data [--quick] [--whole] [--kept FOLDER]
        [--scale fixed|own|native]

Trained on one piece (1/16 of the area) of each micrograph of ultrahigh-carbon steel, tested on
pieces of a quarter, 1, 4 and 16 times that area of micrographs whose heat treatment was held out;
each heat treatment is held out once. With `--whole` trained on whole micrographs, tested on whole
ones and quarters. The peer is a Mahalanobis distance on the pooled features of the same network.
`--scale fixed`: all pixels at 1.5 times their size. `own`: resampled to 0.25 µm by the scale of
each micrograph, as a bundle of one scale does. `native`: pixels kept, as a training does for images
of many scales; the magnifications differ by a factor of 400.
`--kept FOLDER` keeps features of every piece, so that each passes the network once.
Intervals are
Clopper and Pearson's; images of one heat treatment are counted as independent, which they are not,
and so are the answers of the trainings on each picture of another material.
Without the folder nothing is measured.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from scipy.stats import beta
from yardsticks import TiedGaussians

from model.data.dataset import Example
from model.data.feature_cache import FeatureCache
from model.evaluation.metrics import auroc, auroc_interval
from model.framing import Field
from model.networks.backbones import frozen_lite0
from model.ood import conformal
from model.ood.features import build_ood_extractor
from model.ood.fit import iter_fit_detector
from model.ood.mahalanobis import normalize_rows
from model.ood.reference_features import ReferenceFeatures

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

ALPHA = 0.02
SIZES = {"1/4": 8, "1": 4, "4": 2, "16": 1}
"""Times the area taught → divisor of height and width of a micrograph."""

CODES = {"spheroidite": "G8", "spheroidite+widmanstatten": "G7", "network": "B8"}
UM_PER_PX = 0.375
SPLITS = 5


@dataclass(frozen=True)
class Micrograph:
    """A micrograph: its pixels (h, w, 3) uint8, what it is, and its heat treatment."""

    name: str
    pixels: NDArray[np.uint8]
    kind: str
    group: str
    um_per_px: float | None

    def piece(self, size: str) -> Field:
        """Return a piece; its place depends on name and size only."""
        height, width = (length // SIZES[size] for length in self.pixels.shape[:2])
        rng = np.random.default_rng([*self.name.encode(), SIZES[size]])
        y = rng.integers(0, self.pixels.shape[0] - height + 1)
        x = rng.integers(0, self.pixels.shape[1] - width + 1)
        pixels = np.ascontiguousarray(self.pixels[y : y + height, x : x + width])
        return Field(pixels, np.ones((height, width), bool), self.um_per_px)


@dataclass
class Scores:
    """p-values and scores of one method for one kind and size."""

    p_values: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)


class Peer:
    """Mahalanobis distance on the pooled features of the last layer, calibrated by group."""

    def __init__(self, embeddings: NDArray[np.float32], taught: Sequence[Example]) -> None:
        codes = [example.code for example in taught]
        folds = conformal.assign_folds(
            [example.group for example in taught], codes, [example.key for example in taught]
        )
        held_out = np.zeros(len(taught))
        for fold in range(int(folds.max()) + 1):
            rest = np.flatnonzero(folds != fold)
            model = TiedGaussians.fit(embeddings[rest], [codes[i] for i in rest])
            held_out[folds == fold] = model.squared_distances(embeddings[folds == fold]).min(axis=1)
        self._reference = np.sort(held_out)
        self._model = TiedGaussians.fit(embeddings, codes)

    def score(self, embedding: NDArray[np.float32]) -> tuple[float, float]:
        """Return p-value and score of an embedding."""
        score = self._model.squared_distances(embedding[None]).min(axis=1)
        return float(conformal.compute_p_values(score, self._reference)[0]), float(score[0])


def load_steel(folder: Path, step: int) -> list[Micrograph]:
    """Load every step-th micrograph of the labelled set; [] without it."""
    manifest = folder / "uhcs" / "MANIFEST.csv"
    if not manifest.exists():
        return []
    rows = list(csv.DictReader(manifest.read_text().splitlines()))[::step]
    return [
        Micrograph(
            row["file"],
            read_rgb(folder / "uhcs" / row["file"]),
            row["microconstituent"],
            row["specimen"],
            float(row["um_per_px"]) if row["um_per_px"] else None,
        )
        for row in rows
    ]


def load_foreign(folder: Path) -> list[Micrograph]:
    """Load the SEM pictures of other materials, without info bands and scale bars."""
    manifest = folder / "micrographs" / "MANIFEST.json"
    if not manifest.exists():
        return []
    loaded = []
    for image in json.loads(manifest.read_text())["images"]:
        if not image["modality"].startswith("SEM") or image["file"].startswith("uhcs"):
            continue
        pixels = read_rgb(folder / "micrographs" / image["file"])
        band = image.get("info_band_bbox")
        foot = band[1] if band else int((0.88 if image["has_scale_bar"] else 1) * len(pixels))
        top, left = max(0, (foot - 481) // 2), max(0, (pixels.shape[1] - 645) // 2)
        middle = np.ascontiguousarray(pixels[:foot][top : top + 481, left : left + 645])
        scale = image.get("um_per_px") or image.get("pixel_size_um_metadata")
        loaded.append(Micrograph(image["file"], middle, "foreign SEM", "", scale))
    return loaded


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """Read an image as (h, w, 3) uint8, RGB."""
    bgr = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    return np.ascontiguousarray(bgr[:, :, ::-1], np.uint8)


def assign_splits(steel: Sequence[Micrograph]) -> dict[str, int]:
    """Assign heat treatments to splits of about equal size, the largest first."""
    counts, filled = Counter(image.group for image in steel), [0] * SPLITS
    split_of = {}
    for group, n in counts.most_common():
        split_of[group] = int(np.argmin(filled))
        filled[split_of[group]] += n
    return split_of


def measure_split(
    taught: Sequence[Micrograph],
    tested: Sequence[Micrograph],
    usual: str,
    *,
    is_native: bool,
    kept: FeatureCache,
) -> Iterator[tuple[str, str, str, float, float]]:
    """Yield kind, size, method, p-value and score of every tested piece."""
    examples = [
        Example(image.name, CODES[image.kind], image.group, lambda image=image: image.piece(usual))
        for image in taught
    ]
    scales = [image.um_per_px for image in taught if image.um_per_px]
    extractor = build_ood_extractor(
        frozen_lite0(),
        "fp32",
        float(np.median(scales)),
        is_native=is_native,
    )
    features = ReferenceFeatures(examples, extractor, kept)
    *_, last = iter_fit_detector(examples, subtype_of=lambda code: code[0], features=features)
    after = last.result
    embeddings = after.embeddings()
    peer = Peer(np.stack([embeddings[example.key] for example in examples]), examples)
    sizes = list(SIZES) if usual == "1" else [size for size in SIZES if SIZES[size] <= 2]
    for image in tested:
        kind = "steel, heat treatment held out" if image.kind in CODES else image.kind
        kind = "with pearlite" if "pearlite" in kind else kind
        for size in sizes:
            piece = image.piece(size)
            area = f"{(SIZES[usual] / SIZES[size]) ** 2:g}"
            seen = features.extract(piece)
            result = after.score_description(seen, piece, ALPHA)
            yield kind, area, "after", result.p_value, result.score
            yield kind, area, "peer", *peer.score(normalize_rows(seen.whole[-1][None])[0])


def clopper_pearson(hits: int, n: int) -> tuple[float, float]:
    """Return the exact 95 % interval of a share."""
    low = beta.ppf(0.025, hits, n - hits + 1) if hits else 0.0
    high = beta.ppf(0.975, hits + 1, n - hits) if hits < n else 1.0
    return float(low), float(high)


def print_table(measured: dict[tuple[str, str, str], Scores]) -> None:
    """Print per kind, size and method the share flagged, and the AUROC against held-out steel."""
    print(f"{'kind':32} {'area':>4} {'method':7} {'n':>4}  flagged at {ALPHA:g}         AUROC")
    for (kind, size, method), found in measured.items():
        n, flagged = len(found.p_values), sum(p <= ALPHA for p in found.p_values)
        low, high = clopper_pearson(flagged, n)
        line = f"{kind:32} {size:>4} {method:7} {n:4}  {flagged:3} ({low:.3f}-{high:.3f})"
        usual = measured["steel, heat treatment held out", size, method].scores
        if not kind.startswith("steel"):
            value = auroc([-s for s in found.scores], np.sort(-np.array(usual)))
            a, b = auroc_interval(value, n, len(usual))
            line += f"  {value:.3f} ({a:.2f}-{b:.2f})"
        print(line)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--quick", action="store_true", help="every second image, three splits")
    parser.add_argument("--whole", action="store_true", help="trained on whole micrographs")
    parser.add_argument("--kept", type=Path, help="folder that keeps features of every piece")
    scales = ("fixed", "own", "native")
    parser.add_argument("--scale", choices=scales, default="fixed", help="of the pixels")
    options = parser.parse_args()
    torch.set_num_threads(1)
    began = time.monotonic()
    steel, foreign = (
        load_steel(options.folder, 2 if options.quick else 1),
        load_foreign(options.folder),
    )
    if not steel:
        print(f"no uhcs/MANIFEST.csv in {options.folder}: nothing is measured")
        return 0
    if options.scale == "fixed":
        steel, foreign = (
            [replace(image, um_per_px=UM_PER_PX) for image in images] for images in (steel, foreign)
        )
    split_of = assign_splits(steel)
    measured: dict[tuple[str, str, str], Scores] = defaultdict(Scores)
    kept = FeatureCache(options.kept or Path(), 20_000_000_000 if options.kept else 0)
    for split in range(3 if options.quick else SPLITS):
        own = [image for image in steel if split_of[image.group] == split]
        taught = [
            image for image in steel if split_of[image.group] != split and image.kind in CODES
        ]
        tested = [*own, *foreign]
        for kind, size, method, p_value, score in measure_split(
            taught,
            tested,
            "16" if options.whole else "1",
            is_native=options.scale == "native",
            kept=kept,
        ):
            measured[kind, size, method].p_values.append(p_value)
            measured[kind, size, method].scores.append(score)
        seconds = time.monotonic() - began
        print(
            f"split {split}: {len(taught)} taught, {len(tested)} tested, {seconds:.0f} s",
            flush=True,
        )
    print_table(measured)
    return 0


if __name__ == "__main__":
    sys.exit(main())
