"""Measure what the unusual check finds of foreign material, next to a plain patch memory.

    python tests/bench/foreign_places.py ../shared/data [--part choose|report] [--kept FOLDER]

Each heat treatment of the labelled ultrahigh-carbon steel is held out once; a detector is fitted
to the others, at own pixels. Tested are its own micrographs, those of kinds that were never
trained, micrographs of other repositories, and its part of 60 micrographs with an elliptic place of
another repository's picture over 5, 10 and 20 % of the area, every second one with the brightness
and contrast of its surroundings. The detector was chosen with heat treatments and repositories of
"choose"; "report" are the others.

The peer is a patch memory on the same pass (PatchCore: Roth et al. 2022): cells of strides 8 and
16, smoothed, 8000 at random, mean of the farthest 3 %; it flags at as many false alarms as the
detector. Fields of one heat treatment count as independent, and so do the trainings that answer for
one foreign picture, which they are not. Without the folder nothing is measured.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from real_classes import read_rgb
from torch.nn import functional

from model import upper_bound
from model.data.dataset import Example
from model.data.feature_cache import FeatureCache
from model.evaluation.metrics import auroc
from model.evaluation.paired import sign_test
from model.framing import Field
from model.networks.backbones import frozen_lite0
from model.ood.features import build_ood_extractor
from model.ood.fit import ReferenceFeatures, iter_fit_detector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from model.ood.features import OodFeatureExtractor

ALPHA = 0.02
CODES = {"spheroidite": "G8", "spheroidite+widmanstatten": "G7", "network": "B8"}
SHARES = (0.05, 0.1, 0.2)
HOSTS = 60
CHOSEN_ON = frozenset({"800C-3H-Q", "970C-3H-Q", "1000C-5M-Q", "970C-5M-Q", "970C-90M-AR"})
CHOSEN_WITH = frozenset({"nasa", "ronan498"})
STRIPS = frozenset({"pv-is-nrt", "pyxelr", "jamhan"})
"""Repositories whose pictures have a strip or a bar below."""

BANK, TOP_SHARE = 8000, 0.03


@dataclass(frozen=True)
class Shown:
    """A picture: how it is called, what it is, and of which heat treatment or repository."""

    name: str
    kind: str
    group: str
    um_per_px: float | None
    draw: Callable[[], NDArray[np.uint8]]

    def field(self) -> Field:
        pixels = self.draw()
        return Field(pixels, np.ones(pixels.shape[:2], bool), self.um_per_px)


def list_steel(folder: Path) -> list[Shown]:
    """Return the labelled micrographs; [] without them."""
    manifest = folder / "uhcs" / "MANIFEST.csv"
    if not manifest.exists():
        return []
    return [
        Shown(
            row["file"],
            row["microconstituent"],
            row["specimen"],
            float(row["um_per_px"]) if row["um_per_px"] else None,
            lambda path=folder / "uhcs" / row["file"]: read_rgb(path),
        )
        for row in csv.DictReader(manifest.read_text(encoding="utf-8").splitlines())
    ]


def list_foreign(folder: Path) -> Iterator[Shown]:
    """Yield the middles of other materials' SEM pictures, without strips and bars."""
    document = json.loads((folder / "micrographs" / "MANIFEST.json").read_text(encoding="utf-8"))
    for image in document["images"]:
        if image["modality"].startswith("SEM") and not image["file"].startswith("uhcs"):
            band = image.get("info_band_bbox")
            share = 1.0 if band or not image["has_scale_bar"] else 0.88
            yield _show(folder / "micrographs" / image["file"], image["file"].split("_")[0],
                        band[1] if band else None, share)  # fmt: skip
    manifest = folder / "other_labs" / "MANIFEST.csv"
    for row in csv.DictReader(manifest.read_text(encoding="utf-8").splitlines()):
        path, repository = folder / "other_labs" / row["file"], row["repository"].split("/")[0]
        is_picture = path.suffix.lower() in {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"}
        if path.exists() and is_picture and repository not in {"repositoryfiles", "gmarxcc"}:
            yield _show(path, repository, None, 0.85 if repository in STRIPS else 1.0)


def _show(path: Path, repository: str, foot: int | None, share: float) -> Shown:
    def draw() -> NDArray[np.uint8]:
        pixels = read_rgb(path)
        pixels = pixels[: foot or int(share * len(pixels))]
        top, left = max(0, (len(pixels) - 481) // 2), max(0, (pixels.shape[1] - 645) // 2)
        return np.ascontiguousarray(pixels[top : top + 481, left : left + 645])

    return Shown(path.name, "other material", repository, None, draw)


def list_pasted(steel: Sequence[Shown], foreign: Sequence[Shown], *, seed: int) -> list[Shown]:
    """Return fields with a foreign place, `HOSTS` of each share."""
    rng = np.random.default_rng(seed)
    hosts = [image for image in steel if image.kind in CODES]
    hosts = [hosts[at] for at in rng.permutation(len(hosts))[:HOSTS]]
    return [
        Shown(
            f"{share:g} in {host.name}",
            f"place of {share:.0%}",
            host.group,
            host.um_per_px,
            lambda host=host, share=share, at=at: paste(host, foreign, share, at),
        )
        for at, host in enumerate(hosts)
        for share in SHARES
    ]


def paste(host: Shown, guests: Sequence[Shown], share: float, at: int) -> NDArray[np.uint8]:
    """Return a field with an elliptic place of a guest."""
    rng = np.random.default_rng([at, round(100 * share)])
    ground = host.draw().astype(np.float32)
    height, width = ground.shape[:2]
    longer = np.sqrt(share * height * width / np.pi * np.exp(rng.uniform(-0.4, 0.4)))
    shorter, angle = share * height * width / np.pi / longer, rng.uniform(0, np.pi)
    margin = int(max(longer, shorter)) + 3
    x0 = rng.uniform(min(margin, width / 2), max(width - margin, width / 2))
    y0 = rng.uniform(min(margin, height / 2), max(height - margin, height / 2))
    y, x = np.mgrid[:height, :width]
    along = (x - x0) * np.cos(angle) + (y - y0) * np.sin(angle)
    across = (y - y0) * np.cos(angle) - (x - x0) * np.sin(angle)
    inside = (1 - np.hypot(along / longer, across / shorter)) * min(longer, shorter) / 2
    cover = np.clip(inside + 0.5, 0, 1)[..., None]
    guest = guests[rng.integers(len(guests))].draw()
    missing = [(0, max(0, height - len(guest))), (0, max(0, width - guest.shape[1])), (0, 0)]
    guest = np.pad(guest, missing, mode="symmetric")[:height, :width].astype(np.float32)
    guest = np.roll(guest, (rng.integers(height), rng.integers(width)), (0, 1))
    if at % 2 == 0:
        own = guest[cover[..., 0] > 0.5]
        guest = (guest - own.mean()) / max(own.std(), 1.0) * ground.std() + ground.mean()
    return np.clip(ground * (1 - cover) + guest * cover, 0, 255).astype(np.uint8)


class PatchMemory:
    """Mean distance of the farthest cells of a field to the nearest of a bank."""

    def __init__(self, extractor: OodFeatureExtractor) -> None:
        self.extractor = extractor
        self._cells: dict[str, torch.Tensor] = {}

    def describe(self, image: Shown) -> torch.Tensor:
        """Return every second cell in both directions, (n, 152)."""
        if image.name not in self._cells:
            maps = self.extractor.frozen_pass.run(image.field()).maps
            finer, coarser = (torch.from_numpy(maps[at])[None] for at in (1, 2))
            coarser = functional.interpolate(coarser, size=finer.shape[2:], mode="bilinear")
            both = functional.avg_pool2d(torch.cat([finer, coarser], 1), 3, 1, 1)
            self._cells[image.name] = both[0, :, ::2, ::2].flatten(1).T.half()
        return self._cells[image.name].float()

    def fit(self, taught: Sequence[Shown]) -> Callable[[Shown], float]:
        """Return the function that scores a field."""
        rng = np.random.default_rng(0)
        own = [self.describe(image) for image in taught]
        each = -(-BANK // len(own))
        bank = torch.cat([cells[rng.choice(len(cells), each, replace=False)] for cells in own])
        spread = bank.std(dim=0).clamp_min(1e-6)

        def score(image: Shown) -> float:
            nearest = torch.cdist(self.describe(image) / spread, bank / spread).amin(dim=1)
            return float(nearest.topk(max(1, int(TOP_SHARE * len(nearest)))).values.mean())

        return score


def measure(
    steel: Sequence[Shown], tested: Sequence[Shown], group: str, kept: FeatureCache,
    memory: PatchMemory,
) -> Iterator[tuple[str, float, float, float]]:  # fmt: skip
    """Yield kind, p-value and score of the detector, and score of the peer, of every picture."""
    taught = [image for image in steel if image.kind in CODES and image.group != group]
    examples = [
        Example(image.name, CODES[image.kind], image.group, image.field) for image in taught
    ]
    features = ReferenceFeatures(examples, memory.extractor, kept)
    *_, last = iter_fit_detector(examples, subtype_of=lambda code: code[0], features=features)
    peer = memory.fit(taught)
    for image in tested:
        field = image.field()
        result = last.result.score_description(features.extract(field), field, ALPHA)
        kind = "steel held out" if image.kind in CODES else image.kind
        yield kind, result.p_value, result.score, peer(image)


def print_table(measured: dict[str, list[tuple[float, float, float]]]) -> None:
    """Print per kind what detector and peer flag, and how they rank it above steel held out."""
    steel = np.array(measured["steel held out"])
    alarms = int((steel[:, 0] <= ALPHA).sum())
    level = np.sort(steel[:, 2])[-alarms] if alarms else np.inf
    for kind, rows in measured.items():
        values = np.array(rows)
        ours, theirs = values[:, 0] <= ALPHA, values[:, 2] >= level
        high = upper_bound(int(ours.sum()), len(ours), 0.975)
        low = 1 - upper_bound(int((~ours).sum()), len(ours), 0.975)
        ranks = [auroc((-values[:, at]).tolist(), np.sort(-steel[:, at])) for at in (1, 2)]
        won, lost = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
        p_value = min(1.0, 2 * min(sign_test(won, lost), sign_test(lost, won)))
        print(
            f"{kind:28} n {len(ours):4}  flagged {ours.sum():4} ({low:.3f}-{high:.3f}), AUROC "
            f"{ranks[0]:.3f}; patch memory {theirs.sum():4}, {ranks[1]:.3f}; +{won} -{lost}, "
            f"p = {p_value:.2g}"
        )


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--part", choices=("choose", "report"), default="report")
    parser.add_argument("--kept", type=Path, help="folder that keeps features of every picture")
    given = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    steel = list_steel(given.folder)
    if not steel:
        print(f"no uhcs/MANIFEST.csv in {given.folder}: nothing is measured")
        return 0
    is_choice = given.part == "choose"
    groups = sorted({image.group for image in steel if (image.group in CHOSEN_ON) == is_choice})
    foreign = [
        image for image in list_foreign(given.folder) if (image.group in CHOSEN_WITH) == is_choice
    ]
    own = [image for image in steel if image.group in groups]
    pasted = list_pasted(own, foreign, seed=7 if is_choice else 8)
    kept = FeatureCache(given.kept or Path(), 20_000_000_000 if given.kept else 0)
    memory = PatchMemory(build_ood_extractor(frozen_lite0(), "fp32", is_native=True))
    measured: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    for group in groups:
        tested = [image for image in (*own, *pasted) if image.group == group]
        for kind, *values in measure(steel, [*tested, *foreign], group, kept, memory):
            measured[kind].append(tuple(values))
        print(f"{group}: done", flush=True)
    print_table(measured)
    return 0


if __name__ == "__main__":
    sys.exit(main())
