"""Make the bundle that the package ships for `agent demo`, and record how.

    python tests/bench/demo_bundle.py --work FOLDER

Draws 192 labelled micrographs that the demonstration never draws (`SEED`, orders from 31 000),
trains the quick plan on them, and rounds the detector to what `agent.demo.bundle` stores. Then it
plays the demonstration with the bundle and tests it on the demonstration's held-out set. It writes
`agent/demo/drawn.bundle` and `drawn.json`: 5 minutes on two cores. All of it is drawn: its figures
are none on steel.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import math
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from agent import settings as settings_room
from agent.cli.app import open_store
from agent.cli.console import silence_log
from agent.cli.models.import_ import import_labelled
from agent.cli.models.train import train_bundle
from agent.cli.start.demo import await_drawings, examine, play
from agent.demo import bundle as shipped
from agent.demo.demo import DemoSize, plan_test_set, prepare_folder
from agent.demo.exporter import Drawings, plan_ordinary, write_manifest
from agent.service.data_folder import bundles_folder, clock
from agent.service.jobs.retrain import read_lab_config
from model import quick_config, use_network_threads
from model.bundle import BundleContents, TestedHeads, load_bundle, read_manifest, write_bundle

SEED = 11
NOTE = (
    "Drawn, for the demo only: trained on micrographs that a program drew. It knows nothing of "
    "steel, and every folder but a demonstration's refuses it."
)


def split_header(content: bytes) -> bytes:
    """Return the beginning of a safetensors file: its length in 8 bytes, and JSON."""
    return content[: 8 + int.from_bytes(content[:8], "little")]


def round_arrays(arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the detector's tensors as they are stored: `restore_arrays` reverts it."""
    stored: dict[str, NDArray[Any]] = {}
    for name, array in arrays.items():
        if name in shipped.HALVES:
            rows, columns = np.triu_indices(array.shape[1])
            stored[name] = array[:, rows, columns].astype(np.float16)
        elif name in {"embeddings", "field.reference"}:
            stored[name] = array.astype(np.float16)
        else:
            stored[name] = array
    return {name: np.ascontiguousarray(array) for name, array in stored.items()}


def round_bundle(path: Path, out: Path) -> Path:
    """Write a bundle again as the package stores it, for the demonstration only, and pack it."""
    loaded, tested = load_bundle(path), load_bundle(path, as_tested=True)
    manifest = loaded.manifest
    facts = manifest.facts | {"purpose": "demo"}
    facts["notes"] = [NOTE, *facts["notes"]]
    stored = round_arrays(loaded.ood_tensors)
    arrays = shipped.restore_arrays(stored)
    rounded = write_bundle(
        BundleContents(
            replace(manifest, facts=facts),
            encoders=loaded.encoders,
            heads=loaded.heads,
            ood_tensors={
                name: arrays[name].astype(array.dtype) for name, array in loaded.ood_tensors.items()
            },
            ood_facts=loaded.ood_facts,
            tested=TestedHeads(tested.heads, tested.manifest.set_levels, manifest.refitted_on),
        ),
        out,
    )
    pack(rounded, stored)
    return rounded


def pack(bundle: Path, arrays: dict[str, NDArray[Any]]) -> None:
    """Write a rounded bundle into the package."""
    manifest = read_manifest(bundle)
    with zipfile.ZipFile(shipped.PACKED, "w", zipfile.ZIP_LZMA) as packed:
        for name in sorted((*manifest.files, "bundle.json")):
            content = (bundle / name).read_bytes()
            if name in {shipped.NETWORK, shipped.DETECTOR}:
                packed_as, content = f"{name}{shipped.HEADER}", split_header(content)
            else:
                packed_as = name
            packed.writestr(zipfile.ZipInfo(packed_as), content, zipfile.ZIP_LZMA)
        places = json.dumps(find_places((bundle / shipped.NETWORK).read_bytes()))
        packed.writestr(zipfile.ZipInfo(shipped.PLACES), places, zipfile.ZIP_LZMA)
        packed.writestr(zipfile.ZipInfo(shipped.ARRAYS), save(arrays), zipfile.ZIP_LZMA)


def find_places(network: bytes) -> dict[str, tuple[int, tuple[int, ...]]]:
    """Return where each tensor begins in the file of the Lite0 package, and its axes there."""
    weights, header = shipped.find_weights_file().read_bytes(), split_header(network)
    places = {}
    for name, kind, shape, start in shipped.iter_tensors(header):
        numbers = np.frombuffer(network, kind, math.prod(shape), len(header) + start).reshape(shape)
        places[name] = next(
            (found, axes)
            for axes in itertools.permutations(range(numbers.ndim))
            if (found := weights.find(numbers.transpose(axes).tobytes())) >= 0
        )
    return places


def write_card(bundle: Path, figures: dict[str, str]) -> None:
    """Write how the bundle was made."""
    manifest = read_manifest(bundle)
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        capture_output=True,
        check=True,
        cwd=Path(__file__).parent,
        text=True,
    ).stdout.strip()
    card = {
        "name": manifest.name,
        "purpose": NOTE,
        "seed": SEED,
        "commit": commit,
        "command": "python tests/bench/demo_bundle.py",
        "trained_on": f"{sum(map(len, manifest.split.values()))} drawn micrographs",
        "versions": manifest.facts["versions"],
        "figures_on_drawn_micrographs": figures,
        "sha256": {
            name: digest for name, digest in manifest.files.items() if name.endswith("safetensors")
        },
        "packed_sha256": hashlib.sha256(shipped.PACKED.read_bytes()).hexdigest(),
    }
    shipped.CARD.write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")


def make(work: Path) -> Path:
    """Train, round and pack; return the rounded bundle."""
    size = DemoSize()
    places, _ = prepare_folder(work / "making", now=clock())
    settings = settings_room.read(places.settings)
    pictures = plan_ordinary(
        size.codes, size.specimens, first_order=31_000, seed=SEED, fields=size.fields
    )
    write_manifest(pictures, places.labelled)
    with (
        Drawings([(places.labelled, pictures)], [], size.pixels) as drawings,
        open_store(settings) as store,
    ):
        await_drawings("Drawing", drawings, places.labelled)
        import_labelled(settings, store, places.labelled, places.labelled / "manifest.csv")
        plan = quick_config(**read_lab_config(settings, store), seed=0)
        with use_network_threads(os.cpu_count() or 1):
            trained = train_bundle(settings, store, plan)
    return round_bundle(trained, bundles_folder(settings))


def examine_demo(work: Path) -> dict[str, str]:
    """Play the demonstration with the packed bundle, and test it on the held-out set."""
    size = DemoSize()
    night = play(work / "demo", size, serve=False)
    places, _ = prepare_folder(work / "demo", now=clock())
    settings = settings_room.read(places.settings)
    pictures = plan_test_set(size)
    write_manifest(pictures, places.test)
    with (
        Drawings([(places.test, pictures)], [], size.pixels) as drawings,
        open_store(settings) as store,
    ):
        await_drawings("Drawing", drawings, places.test)
        held_out = examine(settings, store, places)
    noticed = night.planted - sum(night.missed.values())
    return {
        "codes right, held out": f"{round(held_out.accuracy.value * held_out.n)} of {held_out.n}",
        "codes right, night": f"{night.right} of {night.ordinary}",
        "unusual ones detected": f"{noticed} of {night.planted}",
        "ordinary ones flagged": f"{night.false_alarms} of {night.ordinary}",
    }


def main() -> None:
    """Make the bundle, or only examine the one that is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="New folder, kept.")
    parser.add_argument("--only", choices=("make", "examine"), help="One part of it.")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    silence_log()
    bundle = options.work / "making/data/bundles"
    if options.only != "examine":
        write_card(make(options.work), {})
    if options.only != "make":
        name = shipped.read_card()["name"]
        figures = examine_demo(options.work)
        write_card(bundle / name, figures)
        print(json.dumps(figures, indent=1))
    print(f"{shipped.PACKED.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    sys.exit(main())
