"""Measure the needle lengths of `agent needles` on drawings of a second program.

Run: python tests/bench/needles.py [--quick] [--real FOLDER] [--overlays FOLDER] [--only PART,…]
     python tests/bench/needles.py --others FOLDER  # fields of a program that others wrote
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from pathlib import Path

import numpy as np
import torch
from needle_growth import MEAN_UM, grow, other_material, photograph
from PIL import Image, ImageDraw
from scipy.stats import t

from agent.demo.micrograph import draw_micrograph
from agent.needles import SizeRule, find_size_conflict
from agent.needles.measuring import summarize
from model import default_taxonomy, wilson
from model.needles.field import NeedleOutcome, measure_field
from model.needles.lengths import (
    compute_distribution,
    compute_weights,
    estimate_quantile,
    predict_longest,
)
from model.needles.needle_map import NeedleMapper

CODES = [(subtype, size) for subtype in "GBM" for size in MEAN_UM]
MATERIALS = ("pearlite", "ferrite", "cast iron", "scratches", "texture")


def share(right: int, n: int) -> str:
    """Return a share with its 95 % interval."""
    if not n:
        return "none"
    interval = wilson(right, n)
    return f"{right} of {n} ({right / n:.0%}, {interval.low:.0%} to {interval.high:.0%})"


def quantiles(values: list[float]) -> str:
    """Return median with a bootstrap interval, and the 90 % quantile."""
    if len(values) < 3:
        return "too few"
    rng = np.random.default_rng(0)
    array = np.abs(np.array(values))
    medians = np.median(rng.choice(array, (1000, len(array))), axis=1)
    low, high = np.quantile(medians, (0.025, 0.975))
    return (
        f"median {np.median(array):.1%} ({low:.1%} to {high:.1%}), 90 % below "
        f"{np.quantile(array, 0.9):.0%}, bias {np.median(values):+.1%}, n {len(array)}"
    )


def truth(field):
    """Return the true distribution and the true needles that the border does not cut."""
    size = (field.grey.shape[1] * field.pixel_um, field.grey.shape[0] * field.pixel_um)
    weights = compute_weights(field.ends_um, size)
    keep = field.length_um >= 3
    return (
        compute_distribution(field.length_um[keep], field.area_um2[keep], weights[keep]),
        weights,
    )


def measure_accuracy(mapper, n: int, overlays: Path | None) -> None:
    """Print errors of L50 and L90 and how many of the five longest are found."""
    errors: dict[str, list[float]] = {"L50": [], "L90": [], "L50 measured": [], "L90 measured": []}
    by_code: dict[str, list[float]] = {}
    found = shown = right = listed = 0
    outcomes: dict[str, int] = {}
    for number in range(n):
        subtype, size = CODES[number % len(CODES)]
        rng = np.random.default_rng(70_000 + number)
        field = grow(rng, subtype, size)
        image = photograph(
            rng,
            field.grey,
            blur_px=rng.uniform(0.3, 0.9),
            contrast=rng.uniform(0.6, 1.2),
            noise=rng.uniform(1, 6),
        )
        result = measure_field(image, 0.2, mapper)
        outcomes[result.outcome.value] = outcomes.get(result.outcome.value, 0) + 1
        true, weights = truth(field)
        if (weights > 0).sum() >= 20:
            add_errors(errors, true, result)
            by_code.setdefault(subtype + size, []).append(errors["L50"][-1])
        longest = np.argsort(-np.where(weights > 0, field.length_um, 0))[:5]
        for index in longest.tolist():
            found += is_near(field.ends_um[index], field.length_um[index], result)
        shown += len(longest)
        for index in result.longest:
            listed += 1
            right += any(
                is_same(
                    result.needles.ends_um[index], result.needles.length_um[index], ends, length
                )
                for ends, length in zip(field.ends_um, field.length_um, strict=True)
            )
        if overlays and number < 12:
            draw(
                overlays / f"drawn_{number:02d}_{subtype}{size}.png",
                image,
                0.2,
                result,
                field.ends_um[longest],
            )
    print("outcomes:", outcomes)
    for name, values in errors.items():
        print(f"{name}: error {quantiles(values)}")
    for code, values in by_code.items():
        print(f"  {code}: L50 error {np.median(np.abs(values)):.0%}, bias {np.median(values):+.0%}")
    print("five longest: found among all needles within 15 % and in place:", share(found, shown))
    print("needles listed: are true needles within 15 % and in place:", share(right, listed))
    print(f"needles listed per field: {listed / n:.1f}, in {n} fields")


def add_errors(errors, true, result) -> None:
    """Add the relative errors of one field, and again where it counts as measured."""
    for name, q in (("L50", 0.5), ("L90", 0.9)):
        measured = result.distribution.quantile_um(q)
        error = -1.0 if measured is None else measured / true.quantile_um(q) - 1
        errors[name].append(error)
        if result.outcome is NeedleOutcome.MEASURED:
            errors[name + " measured"].append(error)


def is_same(ends, length, true_ends, true_length) -> bool:
    """Return whether length agrees within 15 % and both tips within 20 % of the length."""
    if abs(length / true_length - 1) > 0.15:
        return False
    reach = 0.2 * true_length + 0.6
    same = np.linalg.norm(ends - true_ends, axis=1).max()
    swapped = np.linalg.norm(ends[::-1] - true_ends, axis=1).max()
    return min(same, swapped) <= reach


def is_near(true_ends, true_length, result) -> bool:
    """Return whether any measured needle is that needle."""
    return any(
        is_same(ends, length, true_ends, true_length)
        for ends, length in zip(result.needles.ends_um, result.needles.length_um, strict=True)
    )


def measure_invariance(mapper, n: int) -> None:
    """Print by how much L50 changes when only the image changes."""
    changes: dict[str, list[float]] = {}
    for number in range(n):
        subtype, size = CODES[(4 * number + 1) % len(CODES)]
        rng = np.random.default_rng(80_000 + number)
        field = grow(rng, subtype, size)
        plain = photograph(np.random.default_rng(number), field.grey)
        base = measure_field(plain, 0.2, mapper).distribution.quantile_um(0.5)
        if not base:
            continue

        def again(image, pixel_um=0.2, *, base=base):
            value = measure_field(image, pixel_um, mapper).distribution.quantile_um(0.5)
            return np.nan if value is None else value / base - 1

        def photo(*, number=number, field=field, **options):
            return photograph(np.random.default_rng(number), field.grey, **options)

        variants = {
            "a quarter turn": again(np.ascontiguousarray(np.rot90(plain))),
            "mirrored": again(np.ascontiguousarray(plain[:, ::-1])),
            "0.1 µm per px": again(photo(every=1, blur_px=1.0), 0.1),
            "contrast + 25 %": again(photo(contrast=1.25)),
            "contrast - 25 %": again(photo(contrast=0.75)),
            "blur 0.3 px": again(photo(blur_px=0.3)),
            "blur 0.8 px": again(photo(blur_px=0.8)),
            "JPEG 70": again(photo(jpeg=70)),
        }
        for name, value in variants.items():
            changes.setdefault(name, []).append(value)
    for name, values in changes.items():
        print(f"L50 changes, {name}: {quantiles([v for v in values if np.isfinite(v)])}")


def measure_pasted(mapper, n: int) -> None:
    """Print how often one long needle, pasted into a fine structure, is found within 10 %."""
    hits = 0
    for number in range(n):
        rng = np.random.default_rng(90_000 + number)
        field = grow(rng, "GBM"[number % 3], ("8", "9-10")[number % 2])
        length, angle = rng.uniform(20, 50), rng.uniform(0, np.pi)
        height, width = field.grey.shape
        middle = np.array([rng.uniform(0.35, 0.65) * width, rng.uniform(0.35, 0.65) * height])
        gy, gx = np.mgrid[0:height, 0:width]
        s = (gx - middle[0]) * np.cos(angle) + (gy - middle[1]) * np.sin(angle)
        across = (gy - middle[1]) * np.cos(angle) - (gx - middle[0]) * np.sin(angle)
        half = length / 0.1 / 2
        profile = 0.045 * length / 0.1 * np.sqrt(np.clip(1 - (s / half) ** 2, 0, 1))
        grey = field.grey.copy()
        grey[(np.abs(across) <= profile) & (np.abs(s) < half)] = 60
        along = np.array([np.cos(angle), np.sin(angle)]) * length / 2
        ends = np.array([middle * 0.1 - along, middle * 0.1 + along])
        result = measure_field(photograph(rng, grey), 0.2, mapper)
        hits += any(
            abs(found / length - 1) <= 0.1 and is_same(e, found, ends, length)
            for e, found in zip(result.needles.ends_um, result.needles.length_um, strict=True)
        )
    print("pasted needle of 20 to 50 µm found within 10 %:", share(hits, n))


def measure_others(mapper, n: int, real: Path | None, overlays: Path | None) -> None:
    """Print how often materials without needles get no value."""
    for kind in MATERIALS:
        refused = 0
        for number in range(n):
            rng = np.random.default_rng(60_000 + number)
            result = measure_field(other_material(rng, kind), 0.2, mapper)
            refused += result.outcome is not NeedleOutcome.MEASURED
            if overlays and number < 1:
                draw(
                    overlays / f"other_{kind.replace(' ', '_')}.png",
                    other_material(np.random.default_rng(60_000), kind),
                    0.2,
                    result,
                )
        print(f"{kind}: none or not measured", share(refused, n))
    if real is None:
        return
    rows = list_real(real)
    counts: dict[str, list[int]] = {}
    for number, (file, kind, pixel_um) in enumerate(rows):
        image = np.asarray(Image.open(file).convert("L"))
        # At its own scale a field is often smaller than a needle; the texture is what counts.
        for scale in {pixel_um, 0.2}:
            result = measure_field(image, scale, mapper)
            key = (
                f"{kind} at {'its own scale' if scale == pixel_um else 'a pretended 0.2 µm per px'}"
            )
            counts.setdefault(key, []).append(result.outcome is not NeedleOutcome.MEASURED)
            if overlays and result.outcome is NeedleOutcome.MEASURED and number < 400:
                draw(overlays / f"real_{file.stem}_{scale:.3f}.png", image, scale, result)
    for key, refused in sorted(counts.items()):
        print(f"real, {key}: none or not measured", share(sum(refused), len(refused)))


def list_real(folder: Path, every: int = 8):
    """List some real micrographs without needles: file, kind, µm per px."""
    with (folder / "MANIFEST.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["um_per_px"]]
    return [
        (
            folder / "micrographs" / Path(row["file"]).name,
            row["microconstituent"],
            float(row["um_per_px"]),
        )
        for row in rows[::every]
    ]


def measure_statistics() -> None:
    """Print the coverage of the intervals on simulated lengths, without images."""
    rng = np.random.default_rng(1)
    for n in (5, 8, 15):
        hits = 0
        for _ in range(500):
            medians = 12 * rng.lognormal(0, 0.15, n)
            fields = [
                compute_distribution(m * rng.lognormal(0, 0.4, 150), np.ones(150), np.ones(150))
                for m in medians
            ]
            estimate = estimate_quantile(fields, 0.5, is_calibrated=True)
            hits += estimate.low_um <= 12 <= estimate.high_um
        print(f"interval of L50 from {n} fields, 500 simulated specimens:", share(hits, 500))
    for n in (24, 50, 100):
        hits = 0
        for _ in range(500):
            # The longest of 60 log-normal lengths per field: not exactly Gumbel, as in reality.
            maxima = 12 * rng.lognormal(0, 0.4, (n, 60)).max(axis=1)
            unseen = 12 * rng.lognormal(0, 0.4, 60 * 100).max()
            predicted = predict_longest(maxima, [20_000] * n, 2.0)
            hits += predicted.low_um <= unseen <= predicted.high_um
        print(
            f"longest needle in 100 unseen fields from {n} fields, in its interval:",
            share(hits, 500),
        )


def measure_time(mapper) -> None:
    """Print processor time for 2000 × 1500 px."""
    for pixel_um in (0.2, 0.1):
        width, height = 2000 * pixel_um, 1500 * pixel_um
        rng = np.random.default_rng(5)
        field = grow(rng, "G", "8", width_um=width + 2, height_um=height + 2)
        image = photograph(rng, field.grey, every=round(pixel_um / 0.1))[:1500, :2000]
        measure_field(image, pixel_um, mapper)
        start = time.process_time()
        measure_field(image, pixel_um, mapper)
        took = time.process_time() - start
        print(
            f"processor time, 2000 × 1500 px at {pixel_um} µm per px, {mapper.engine}: {took:.2f} s"
        )


def draw(file: Path, image, pixel_um, result, true_ends=()) -> None:
    """Write a picture: true longest needles green, measured longest orange."""
    factor = 2 if image.shape[1] < 900 else 1
    picture = Image.fromarray(image).convert("RGB")
    picture = picture.resize((picture.width * factor, picture.height * factor))
    pen = ImageDraw.Draw(picture)
    for ends in true_ends:
        pen.line([tuple(p) for p in ends / pixel_um * factor], (0, 220, 120), 5)
    for index in result.longest:
        line = result.needles.trace(index) / pixel_um * factor
        pen.line([tuple(p) for p in line], (255, 140, 0), 2)
        pen.text(
            tuple(line[len(line) // 2]), f"{result.needles.length_um[index]:.1f}", (255, 255, 0)
        )
    pen.text(
        (4, 4), f"{result.outcome.value} L50 {result.distribution.quantile_um(0.5)}", (255, 0, 0)
    )
    picture.save(file)


def measure_sizes(mapper, n: int) -> None:
    """Print L90 by size, and how often the size rule contradicts right and wrong sizes."""
    rule, taxonomy = SizeRule(), default_taxonomy()
    sizes = ("6", "7", "8", "9-10")
    for program in ("demo", "second"):
        lengths: dict[str, list[float]] = {size: [] for size in sizes}
        flagged = {0: [0, 0], 2: [0, 0], 3: [0, 0]}
        for number in range(n):
            subtype, size = "GBM"[number % 3], sizes[number // 3 % len(sizes)]
            if program == "demo":
                drawn = draw_micrograph(
                    subtype + size, seed=4000 + number, size=(750, 560), bar=None, border=False
                )
                image = np.round(drawn.pixels.mean(axis=2)).astype(np.uint8)
            else:
                rng = np.random.default_rng(81_000 + number)
                image = photograph(
                    rng, grow(rng, subtype, size).grey, blur_px=0.6, contrast=0.9, noise=3
                )
            field = summarize(measure_field(image, 0.2, mapper), 0.2, network=mapper.version)
            if field.l90_um is None:
                continue
            lengths[size].append(field.l90_um)
            for other in sizes:
                away = abs(sizes.index(other) - sizes.index(size))
                if away in flagged:
                    conflict = find_size_conflict(field, subtype + other, taxonomy, rule)
                    flagged[away][0] += conflict is not None
                    flagged[away][1] += 1
        for size, values in lengths.items():
            if values:
                low, middle, high = np.quantile(values, (0, 0.5, 1))
                print(f"{program} {size}: L90 {middle:.1f} ({low:.1f} to {high:.1f}) µm")
        for away, (wrong, total) in flagged.items():
            print(f"{program}, {away} sizes away: to review {share(wrong, total)}")


def measure_drawn_by_others(mapper: NeedleMapper, folder: Path) -> None:
    """Measure fields of another program: error of the quantiles, and whether intervals hold it.

    The interval of a kind of structure is made of the errors of the other kinds alone.
    """
    file = folder / "drawn_by_others" / "needles" / "truth.json"
    if not file.is_file():
        print(f"no {file}: nothing is measured")
        return
    errors: dict[str, list[tuple[float, float]]] = {}
    listed = hits = right = shown = 0
    for entry in json.loads(file.read_text(encoding="utf-8")):
        grey = np.asarray(Image.open(file.with_name(entry["file"])).convert("L"))
        field = measure_field(grey, entry["um_per_px"], mapper)
        own = errors.setdefault(entry["kind"], [])
        if field.outcome is NeedleOutcome.MEASURED:
            found = [field.distribution.quantile_um(share) or np.nan for share in (0.5, 0.9)]
            own.append((entry["truth"]["l50"] / found[0], entry["truth"]["l90"] / found[1]))
        length = np.array([needle["length_um"] for needle in entry["needles"]])
        ends = np.array([(needle["from"], needle["to"]) for needle in entry["needles"]])
        lines = [(field.needles.ends_um[i], field.needles.length_um[i]) for i in field.longest]
        same = [
            {
                index
                for index, tips in enumerate(ends * entry["um_per_px"])
                if is_same(*line, tips, length[index])
            }
            for line in lines
        ]
        top = set(np.argsort(-length)[:5].tolist())
        listed, right = listed + len(lines), right + sum(map(bool, same))
        shown, hits = shown + len(top), hits + len(top & set().union(*same))
    for at, name in enumerate(("L50", "L90")):
        of_kind = {kind: np.log([pair[at] for pair in own]) for kind, own in errors.items()}
        logs = np.concatenate(list(of_kind.values()))
        held = 0
        for kind, values in of_kind.items():
            others = np.concatenate([each for other, each in of_kind.items() if other != kind])
            n = len(others)
            reach = t.ppf(0.975, n - 1) * others.std(ddof=1) * np.sqrt(1 + 1 / n)
            held += int((np.abs(values - others.mean()) <= reach).sum())
        print(
            f"{name}: {len(logs)} fields measured, error {np.median(np.abs(np.expm1(-logs))):.1%}; "
            f"log(true / measured) {logs.mean():.3f}, standard deviation {logs.std(ddof=1):.3f}; "
            f"within the interval of the other kinds {held} of {len(logs)}"
        )
    print("true five longest listed:", share(hits, shown))
    print("listed lines that are one needle:", share(right, listed))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="fewer fields")
    parser.add_argument("--real", type=Path, help="folder with MANIFEST.csv and micrographs")
    parser.add_argument("--others", type=Path, help="folder with drawn_by_others")
    parser.add_argument("--overlays", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.overlays:
        options.overlays.mkdir(parents=True, exist_ok=True)
    mapper = NeedleMapper("pytorch", options.weights) if options.weights else NeedleMapper()
    parts = {
        "accuracy": lambda: measure_accuracy(
            mapper, 60 if options.quick else 210, options.overlays
        ),
        "invariance": lambda: measure_invariance(mapper, 8 if options.quick else 40),
        "pasted": lambda: measure_pasted(mapper, 20 if options.quick else 100),
        "others": lambda: measure_others(
            mapper, 10 if options.quick else 60, options.real, options.overlays
        ),
        "statistics": measure_statistics,
        "sizes": lambda: measure_sizes(mapper, 36 if options.quick else 120),
        "time": lambda: measure_time(mapper),
    }
    if options.others:
        parts = {"drawn by others": lambda: measure_drawn_by_others(mapper, options.others)}
    for name, part in parts.items():
        if not options.only or name in options.only.split(","):
            print(f"-- {name}", flush=True)
            part()


if __name__ == "__main__":
    main()
