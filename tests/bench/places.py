"""Measure how surely micrographs of one place are found, and how seldom others are taken for it.

    python tests/bench/places.py [--quick] [--part N] [--folder ../shared/data/uhcs]
        [--pictures DIR] [--stored 100000] [--first SEED] [--only recall false time reach]

    recall       Two crops of one picture, the second changed (turned, magnified, JPEG, ...). With
                 --stored, the first is one of so many in the index and the second has to find it.
    false pairs  All pairs of different micrographs of one heat treatment, of different ones, and of
                 different drawn fields of one specimen. Real pairs that do overlap were looked at
                 and are listed in `uhcs_overlaps.csv`. --pictures writes every other pair that is
                 called the same, with the overlap of both side by side.
    reach        Copies that are blurred, stretched or bent by more, or inverted: registered.
    time         Processor time of a micrograph of 2000 x 1500 px: landmarks, index, registration of
                 what the index proposes.

What fills the index is made: landmarks drawn from those of real and drawn micrographs, changed by
as much as a copy changes them, at random places. Drawn micrographs are not steel.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from drawn.copies import CHANGES, EXTRA, REACH, cut_pair, rgb
from drawn.steel import STEELS, steel

from agent.demo.micrograph import TRAINED, draw_micrograph
from agent.imaging.places import SAME_PLACE, Landmarks, PlaceIndex, extract_landmarks, register
from model import wilson

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drawn.copies import Pair

DATA = Path(__file__).parents[2] / ".." / "shared" / "data" / "uhcs"
OVERLAPS = Path(__file__).with_name("uhcs_overlaps.csv")
LIMIT_SHARE = 0.02  # of the share's own error that is allowed at 25 %
LIMIT_ERROR = 0.03  # of the width: where a point of the overlap is found
CANDIDATES = 8
PARTS = ("recall", "false", "time", "reach")


@dataclass(frozen=True)
class Shown:
    """A picture, and of which specimen or heat treatment it is."""

    name: str
    specimen: str
    grey: np.ndarray


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of all, 5000 stored")
    parser.add_argument("--part", type=int, default=1, metavar="N", help="one Nth of all")
    parser.add_argument("--folder", type=Path, default=DATA)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--stored", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0, metavar="SEED")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    asked = parser.parse_args()
    cv2.setNumThreads(1)
    part = 10 if asked.quick else asked.part
    real = list(_read(asked.folder))[::part] if asked.folder.exists() else []
    if "false" in asked.only:
        _measure_false(real, part, asked.first, asked.pictures)
    if "reach" in asked.only:
        _measure_reach(real, part, asked.first)
    if not {"recall", "time"} & set(asked.only):
        return
    index, pool = _fill(real, 5000 if asked.quick else asked.stored, part, asked.first)
    if "time" in asked.only:
        for inverted in (False, True):
            _time(index, pool, 40 // part, asked.first, inverted=inverted)
    if "recall" in asked.only:
        _measure_all_recall(real, index, part, asked.first)


def _measure_all_recall(real: list[Shown], index: PlaceIndex, part: int, first: int) -> None:
    drawn = list(_draw_large(60 // part, first))
    other = list(_draw_others(54 // part, first))
    print(f"\nRecall, pairs sharing {SAME_PLACE:.0%} or more; {len(index)} micrographs stored\n")
    print("| pictures | change | n | registered | 95 % | found in the index too | 95 % |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    errors: list[float] = []
    for title, pictures, size in (
        ("real", real, (400, 300)),
        ("drawn (demo)", drawn, (1200, 900)),
        ("drawn (cartoons)", other, (1200, 900)),
    ):
        errors += _measure_recall(title, pictures, size, index, first)
    middle, high = np.quantile(np.abs(errors), [0.5, 0.99])
    print(f"\nError of the share: median {middle:.4f}, 99 % below {high:.3f}, n = {len(errors)}")


def _measure_reach(real: list[Shown], part: int, first: int) -> None:
    """Print how many copies are registered that were changed more than is promised."""
    print("\nReach, pairs sharing half or more\n\n| pictures | change | n | registered |")
    print("| --- | --- | --- | --- |")
    drawn = list(_draw_large(60 // part, first))
    for title, pictures, size in (("real", real, (400, 300)), ("drawn (demo)", drawn, (1200, 900))):
        for change in ("inverted", *REACH):
            n = registered = 0
            for at, shown in enumerate(pictures):
                rng = np.random.default_rng([first, at, 99])
                pair = cut_pair(shown.grey, change, rng, size=size, shares=(0.5, 1.0))
                if pair is None:
                    continue
                overlap = register(_extract(pair.one), _extract(pair.other), inverted=True)
                n += 1
                registered += overlap is not None and overlap.share_of_smaller >= SAME_PLACE
            share = f"{registered / n:.3f}, {_interval(registered, n)}"
            print(f"| {title} | {change} | {n} | {share} |",
                  flush=True)  # fmt: skip


def _read(folder: Path) -> Iterator[Shown]:
    with (folder / "MANIFEST.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            encoded = np.fromfile(folder / row["file"], np.uint8)
            name = Path(row["file"]).name
            yield Shown(name, row["specimen"], cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE))


def _draw_field(seed: int, specimen: int, size: tuple[int, int], um_per_px: float) -> np.ndarray:
    code = TRAINED[specimen % len(TRAINED)]
    drawn = draw_micrograph(
        code,
        seed=seed,
        specimen=specimen,
        size=size,
        um_per_px=um_per_px,
        bar=None,
        border=False,
    )
    return np.ascontiguousarray(drawn.pixels[..., 1])


def _draw_large(n: int, first: int) -> Iterator[Shown]:
    for at in range(n):
        scale = (0.1, 0.2)[at % 2]
        grey = _draw_field(first + 9000 + at, at // 2, (2200, 1650), scale)
        yield Shown(f"{at}", f"{at}", grey)


def _draw_cartoon(kind: str, seed: int, height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng([seed, 5])
    grey = steel(rng, height, width, {}, kind=kind).astype(np.float32)
    grey = cv2.GaussianBlur(grey, (0, 0), 0.7) + rng.normal(0, 2, grey.shape)
    return np.clip(grey, 0, 255).astype(np.uint8)


def _draw_others(n: int, first: int) -> Iterator[Shown]:
    for at in range(n):
        kind = STEELS[at % len(STEELS)]
        yield Shown(f"{kind} {at}", kind, _draw_cartoon(kind, first + at, 1650, 2200))


def _extract(grey: np.ndarray) -> Landmarks:
    return extract_landmarks(rgb(grey), np.ones(grey.shape, bool), None)


def _fill(
    real: list[Shown], stored: int, part: int, first: int
) -> tuple[PlaceIndex, list[Landmarks]]:
    """Fill an index with made landmarks; return it and those that they were made of."""
    rng = np.random.default_rng([first, 6])
    smaller = [_draw_field(first + 5000 + at, at, (1000, 750), 0.2) for at in range(200 // part)]
    pool = [_extract(shown.grey) for shown in real] + [_extract(grey) for grey in smaller]
    codes = np.concatenate([landmarks.codes for landmarks in pool])
    sizes = np.concatenate([landmarks.sizes for landmarks in pool])
    index = PlaceIndex()
    started = time.process_time()
    for key in range(stored):
        index.add(key, _make(codes, sizes, rng))
    spent = 1000 * (time.process_time() - started) / stored
    print(
        f"Index of {stored} micrographs: {index.size_bytes / 1e6:.0f} MB, {spent:.2f} ms to make "
        f"and add one; made of {len(codes)} landmarks"
    )
    return index, pool


def _make(codes: np.ndarray, sizes: np.ndarray, rng: np.random.Generator) -> Landmarks:
    chosen = rng.integers(len(codes), size=400)
    noisy = codes[chosen] + rng.normal(0, 1.0, (400, codes.shape[1]))  # as a copy's differ
    return Landmarks(
        positions=(rng.random((400, 2)) * (2000, 1500)).astype(np.float32),
        sizes=sizes[chosen] * 2,
        orientations=(rng.random(400) * 2 * np.pi).astype(np.float32),
        codes=np.clip(np.rint(noisy), -8, 7).astype(np.int8),
        height=1500,
        width=2000,
        um_per_px=None,
    )


def _measure_recall(
    title: str, pictures: list[Shown], size: tuple[int, int], index: PlaceIndex, first: int
) -> list[float]:
    """Print a row for every change; return the errors of the shares."""
    errors: list[float] = []
    totals = np.zeros(3, int)
    for change in (*CHANGES, *EXTRA):
        n = registered = found = 0
        for at, shown in enumerate(pictures):
            rng = np.random.default_rng([first, at, (*CHANGES, *EXTRA).index(change)])
            pair = cut_pair(shown.grey, change, rng, size=size)
            if pair is None:
                continue
            one, other = _extract(pair.one), _extract(pair.other)
            overlap = register(one, other, inverted=change == "inverted")
            right = (
                overlap is not None
                and overlap.share_of_smaller >= SAME_PLACE - LIMIT_SHARE
                and _compute_error(overlap.transform, pair) < LIMIT_ERROR
            )
            n += 1
            registered += right
            if right and change != "corners filled":
                errors.append(overlap.share_of_smaller - pair.share)
            if right:
                index.add(-1, one)
                found += -1 in index.candidates(other, CANDIDATES, inverted=change == "inverted")
                index.remove(-1)
        _print_recall(title, change, n, registered, found)
        if change in CHANGES:
            totals += (n, registered, found)
    _print_recall(title, "**all of the issue**", *totals)
    return errors


def _print_recall(title: str, change: str, n: int, registered: int, found: int) -> None:
    if n:
        shares = " | ".join(f"{k / n:.3f} | {_interval(k, n)}" for k in (registered, found))
        print(f"| {title} | {change} | {n} | {shares} |", flush=True)


def _interval(k: int, n: int) -> str:
    share = wilson(k, n)
    return f"{share.low:.4f} to {share.high:.4f}"


def _compute_error(transform: np.ndarray, pair: Pair) -> float:
    """Return by how much of the width the farthest point of the overlap is off."""
    height, width = pair.one.shape
    rows, columns = np.mgrid[0:height:8, 0:width:8]
    points = np.column_stack([columns.ravel(), rows.ravel(), np.ones(rows.size)])
    true, found = points @ pair.transform.T, points @ transform.T
    inside = ((true >= 0) & (true < pair.other.shape[::-1])).all(axis=1)
    return float(np.linalg.norm(true - found, axis=1)[inside].max() / pair.other.shape[1])


def _measure_false(real: list[Shown], part: int, first: int, pictures: Path | None) -> None:
    print("\nDifferent places called the same\n")
    print("| pairs | n | called the same | share, 95 % |\n| --- | --- | --- | --- |")
    known = _read_overlaps()
    within = [pair for pair in itertools.combinations(real, 2) if _is_one_specimen(*pair)]
    within = [pair for pair in within if _get_names(*pair) not in known]
    across = [pair for pair in itertools.combinations(real, 2) if not _is_one_specimen(*pair)]
    rng = np.random.default_rng([first, 7])
    across = [across[at] for at in rng.permutation(len(across))[: 20_000 // part]]
    _count_false("real, one heat treatment", within, pictures)
    _count_false("real, different heat treatments", across, pictures)
    fields = [
        Shown(f"demo {specimen} {at}", f"{specimen}", grey)
        for specimen in range(max(2, 12 // part))
        for at in range(45)
        for grey in [_draw_field(first + 50 * specimen + at, specimen, (1000, 750), 0.2)]
    ]
    _count_false("drawn (demo), one specimen", _pair_up(fields), pictures)
    cartoons = [
        Shown(f"{kind} {at}", kind, _draw_cartoon(kind, first + 900 + at, 750, 1000))
        for kind in STEELS
        for at in range(max(4, 30 // part))
    ]
    _count_false("drawn (cartoons), one kind", _pair_up(cartoons), pictures)


def _pair_up(fields: list[Shown]) -> list[tuple[Shown, Shown]]:
    return [pair for pair in itertools.combinations(fields, 2) if _is_one_specimen(*pair)]


def _is_one_specimen(one: Shown, other: Shown) -> bool:
    return one.specimen == other.specimen


def _get_names(one: Shown, other: Shown) -> tuple[str, str]:
    first, second = sorted((one.name, other.name))
    return first, second


def _read_overlaps() -> set[tuple[str, str]]:
    if not OVERLAPS.exists():
        return set()
    with OVERLAPS.open(encoding="utf-8", newline="") as file:
        return {(row["one"], row["other"]) for row in csv.DictReader(file)}


def _count_false(title: str, pairs: list[tuple[Shown, Shown]], pictures: Path | None) -> None:
    """Print how many pairs have any overlap, and how many at least the share that counts."""
    kept: dict[str, Landmarks] = {}
    same = any_overlap = 0
    for one, other in pairs:
        for shown in (one, other):
            if shown.name not in kept:
                kept[shown.name] = _extract(shown.grey)
        overlap = register(kept[one.name], kept[other.name], inverted=True)
        if overlap is None:
            continue
        any_overlap += 1
        same += overlap.share_of_smaller >= SAME_PLACE
        if pictures is not None:
            _write_picture(pictures, one, other, overlap.transform)
    if pairs:
        share = f"{same / len(pairs):.5f}, {_interval(same, len(pairs))}"
        print(f"| {title} | {len(pairs)} | {same} ({any_overlap} at any share) | {share} |")


def _write_picture(folder: Path, one: Shown, other: Shown, transform: np.ndarray) -> None:
    """Write the first picture beside the second, laid upon it."""
    folder.mkdir(parents=True, exist_ok=True)
    linear, offset = transform[:, :2], transform[:, 2]
    shifted = np.column_stack([linear, offset + linear @ [0.5, 0.5] - 0.5])
    height, width = one.grey.shape
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    laid = cv2.warpAffine(other.grey, shifted, (width, height), flags=flags)
    _, encoded = cv2.imencode(".png", np.hstack([one.grey, laid]))
    (folder / f"{one.name} and {other.name}.png").write_bytes(encoded.tobytes())


def _time(index: PlaceIndex, pool: list[Landmarks], n: int, first: int, *, inverted: bool) -> None:
    """Print the processor time of one micrograph, registration of all candidates included."""
    parts = ("landmarks", "index", "registration", "all")
    spent: dict[str, list[float]] = {part: [] for part in parts}
    proposed = 0
    for at in range(n):
        grey = rgb(_draw_field(first + 800 + at, at, (2000, 1500), (0.1, 0.2)[at % 2]))
        valid = np.ones(grey.shape[:2], bool)
        clock = [time.process_time()]
        landmarks = extract_landmarks(grey, valid, None)
        clock.append(time.process_time())
        candidates = index.candidates(landmarks, CANDIDATES, inverted=inverted)
        clock.append(time.process_time())
        for candidate in candidates:
            register(pool[candidate % len(pool)], landmarks, inverted=inverted)
        clock.append(time.process_time())
        proposed += len(candidates)
        for name, took in zip(spent, (*np.diff(clock), clock[-1] - clock[0]), strict=True):
            spent[name].append(1000 * took)
    print(f"\n{'Also inverted' if inverted else 'As it is'}:")
    print(
        f"\nTime, 2000 x 1500 px, {len(index)} stored, {proposed / n:.1f} candidates each, n = {n}"
    )
    print("\n| what | CPU ms, median | 95 % below |\n| --- | --- | --- |")
    for name, values in spent.items():
        print(f"| {name} | {np.median(values):.1f} | {np.quantile(values, 0.95):.1f} |")


if __name__ == "__main__":
    main()
