"""Measure kept features: scoring made rows, and finding the neighbours of one micrograph.

    python tests/bench/features.py made [--rows 65536] [--references 300]
    python tests/bench/features.py similar [--rows 100000]

`made` writes rows of the size of real ones into shards, reads them back, hashes included, and
scores them; the file cache is warm. 10 million rows are extrapolated from the rate, and the peak
of memory is that of this process, which holds one row group at a time.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from agent.features import FeatureFolder, FeatureRow, FormOfRows, SimilarIndex, to_batch
from agent.features.feature_rows import encode_shard
from agent.files.whole_file import write_whole
from model import default_taxonomy
from model.calibration import SetLevels
from model.inference.predictor import FeatureScorer
from model.networks.schemes import Head, Scheme
from model.ood.feature_arrays import FeatureForm
from model.ood.field_distance import FieldDistance, ReferenceFields

CHANNELS, LENGTH = 864, 432
MOMENTS = (48, 80, 224, 640)
SHARD_ROWS = 16_384
TEN_MILLION = 10_000_000


def make_form() -> FormOfRows:
    return FormOfRows(FeatureForm("made", CHANNELS, MOMENTS, LENGTH), "1")


def make_descriptors(rng: np.random.Generator, count: int) -> np.ndarray:
    rows = rng.normal(size=(count, LENGTH))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def make_scorer(of: FormOfRows, references: int) -> FeatureScorer:
    rng = np.random.default_rng(1)
    scheme = Scheme("two-stage", default_taxonomy())
    heads = {
        name: Head(
            name,
            "frozen",
            classes,
            0.3 * rng.normal(size=(len(classes), CHANNELS)).astype(np.float32),
            np.zeros(len(classes), np.float32),
            np.zeros(CHANNELS, np.float32),
        )
        for name, classes in scheme.heads().items()
    }
    rows = make_descriptors(rng, references)
    fields = ReferenceFields(rows, rows[:, None], np.arange(references) % 10)
    distance = FieldDistance.fit(
        fields,
        fields.compare_held_out(),
        quarters={},
        z_scores=rng.normal(size=(references, 5)),
        microscopes={},
        area_px=1e6,
    )
    return FeatureScorer(
        name="made",
        scheme=scheme,
        heads=heads,
        form=of.form,
        set_levels=SetLevels(0.1, 0.8),
        field_distance=distance,
        alpha=0.02,
    )


def write_made(folder: FeatureFolder, of: FormOfRows, rows: int) -> None:
    rng = np.random.default_rng(0)
    for start in range(0, rows, SHARD_ROWS):
        part = [
            FeatureRow(
                hashlib.sha256(str(n).encode()).hexdigest(),
                0,
                "c" * 64,
                0.2,
                1e6,
                rng.normal(size=CHANNELS).astype(np.float32).tobytes(),
                rng.normal(size=sum(MOMENTS[:-2])).astype(np.float16).tobytes(),
                b"",
                make_descriptors(rng, 1).astype(np.float16).tobytes(),
            )
            for n in range(start, min(start + SHARD_ROWS, rows))
        ]
        content = encode_shard(of, part)
        name = hashlib.sha256(content).hexdigest()
        write_whole({folder.folder / of.id / f"{name}.parquet": content})


def measure_made(rows: int, references: int, where: str | None) -> None:
    of = make_form()
    with tempfile.TemporaryDirectory(dir=where) as scratch:
        folder = FeatureFolder(Path(scratch), "bench")
        write_made(folder, of, rows)
        size = sum(path.stat().st_size for path in folder.list_shards(of.id))
        scorer = make_scorer(of, references)
        before = resource.getrusage(resource.RUSAGE_SELF)
        began_s = time.perf_counter()
        scored = 0
        for _, table in folder.iter_tables(of.id):
            scored += len(scorer.score(to_batch(table)))
        wall_s = time.perf_counter() - began_s
        after = resource.getrusage(resource.RUSAGE_SELF)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"{scored} made rows, {size / scored:.0f} bytes each, ", end="")
    print(f"{references} reference fields, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"{scored / wall_s:.0f} rows/s, {1e6 * cpu_s / scored:.0f} µs of processor time a row")
    print(f"10 million: {TEN_MILLION / scored * wall_s / 60:.1f} min at this load, ", end="")
    print(f"{TEN_MILLION / scored * cpu_s / 2 / 60:.1f} min on 2 idle cores")
    print(f"peak memory {after.ru_maxrss / 1e6:.2f} GB (writing the rows included)")


def measure_similar(rows: int, where: str | None) -> None:
    of = make_form()
    with tempfile.TemporaryDirectory(dir=where) as scratch:
        folder = FeatureFolder(Path(scratch), "bench")
        write_made(folder, of, rows)
        index = SimilarIndex(folder)
        seconds = []
        for n in (0, *range(1, 40)):
            began_s = time.perf_counter()
            found = index.find(hashlib.sha256(str(n).encode()).hexdigest(), 0, n=72)
            seconds.append(time.perf_counter() - began_s)
            assert found is not None
            assert len(found) == 72
    first, rest = seconds[0], np.sort(seconds[1:])
    print(
        f"{rows} rows: first question {first:.2f} s, then median {1000 * np.median(rest):.0f} ms, "
    )
    print(f"longest {1000 * rest[-1]:.0f} ms, load {os.getloadavg()[0]:.1f}")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("made", "similar"))
    parser.add_argument("--rows", type=int, default=65_536)
    parser.add_argument("--references", type=int, default=300)
    parser.add_argument("--scratch", help="Folder for the made shards.")
    given = parser.parse_args()
    if given.what == "made":
        measure_made(given.rows, given.references, given.scratch)
    else:
        measure_similar(given.rows, given.scratch)


if __name__ == "__main__":
    main()
