"""Measure how well classes of real micrographs are told apart, beside a simple peer.

    python tests/bench/real_classes.py ../shared/data

Classes with at least ten images, on images of other heat treatments (each held out once) and on
other images (five folds). The product: heads of the default plan on the frozen pass, which keeps
the pixels of images of so many scales; also at one common pixel size. Penalty and
class weights chosen inside each training by cross-validation over groups, temperature from its
out-of-fold logits. The peer: the same network at native pixels up to 800 px, means of stages 3 and
4 and standard deviation of stage 3, standardised, logistic regression (C = 1), which classifies the
product's features, too. All see the same images; p is of an exact sign test. Images of one heat
treatment are counted as independent, which they are not. Without the folder nothing is measured.
"""

from __future__ import annotations

import csv
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from model import taxonomy_from, wilson
from model.calibration import fit_set_levels, fit_temperature, prediction_set
from model.data.dataset import Example
from model.evaluation.metrics import calibration_error
from model.evaluation.paired import sign_test
from model.experiments.across_microscopes import predict_logistic
from model.framing import Field, Framing
from model.networks.backbones import frozen_lite0, normalize
from model.networks.field_embedding import STAGE_3_MEAN, STAGES_3_4_MEAN_STD, STAGES_3_4_UNIT_PARTS
from model.networks.linear_probe import ProbeData, fit_head
from model.networks.schemes import SUBTYPE, Scheme, softmax
from model.ood.frozen_pass import build_frozen_pass
from model.statistics import bootstrap
from model.training.heads import assign_folds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from model.networks.field_embedding import FieldEmbedding

    Predict = Callable[[NDArray[np.intp], NDArray[np.intp]], NDArray[np.float64]]

FEWEST = 10
FOLDS = 5
NATIVE = Framing("scale", 800, 1.0, 1.0)


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """Read an image as (h, w, 3) uint8, RGB."""
    bgr = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    return np.ascontiguousarray(bgr[:, :, ::-1], np.uint8)


def load(folder: Path) -> tuple[list[Example], list[Field]]:
    """Load the micrographs of classes with enough images, grouped by heat treatment."""
    manifest = folder / "uhcs" / "MANIFEST.csv"
    if not manifest.exists():
        return [], []
    rows = list(csv.DictReader(manifest.read_text(encoding="utf-8").splitlines()))
    counts = Counter(row["microconstituent"] for row in rows)
    examples, fields = [], []
    for row in rows:
        if counts[row["microconstituent"]] < FEWEST:
            continue
        pixels = read_rgb(folder / "uhcs" / row["file"])
        scale = float(row["um_per_px"]) if row["um_per_px"] else None
        field = Field(pixels, np.ones(pixels.shape[:2], bool), scale)
        fields.append(field)
        examples.append(
            Example(
                row["file"], row["microconstituent"], row["specimen"], lambda field=field: field
            )
        )
    return examples, fields


def embed(
    fields: Sequence[Field], embeddings: Sequence[FieldEmbedding], *, is_native: bool
) -> list[NDArray[np.float32]]:
    """Return the embeddings of every field by the frozen pass, one (n, d) array per kind."""
    usual = float(np.median([field.um_per_px for field in fields if field.um_per_px]))
    frozen_pass = build_frozen_pass(frozen_lite0(), "fp32", usual, is_native=is_native)
    rows: list[list[NDArray[np.float32]]] = [[] for _ in embeddings]
    for field in fields:
        seen = frozen_pass.run(field)
        for own, embedding in zip(rows, embeddings, strict=True):
            own.append(embedding.compute(seen.maps, seen.weights))
    return [np.stack(own) for own in rows]


@torch.inference_mode()
def embed_peer(fields: Sequence[Field]) -> NDArray[np.float32]:
    """Return the embeddings of the peer, (n, 544)."""
    rows = []
    for field in fields:
        frame = NATIVE.frames(Field(field.pixels, field.valid, None))[0]
        third, fourth = frozen_lite0().stages(normalize(frame.pixels[None]))[2:]
        height, width = frame.extent
        third = third[0, :, : height // 16, : width // 16].flatten(1)
        fourth = fourth[0, :, : height // 32, : width // 32].flatten(1)
        rows.append(torch.cat([third.mean(1), fourth.mean(1), third.std(1)]).numpy())
    return np.stack(rows)


def predict_product(
    examples: Sequence[Example],
    embeddings: NDArray[np.float32],
    scheme: Scheme,
    sets: dict[int, tuple[str, ...]],
) -> Predict:
    """Return the function that fits the heads as a training does, and predicts other images.

    It fills `sets` with the prediction set of each image that it predicts.
    """

    def predict(train: NDArray[np.intp], test: NDArray[np.intp]) -> NDArray[np.float64]:
        own = [examples[row] for row in train]
        data = ProbeData(
            embeddings=embeddings[train],
            images=np.arange(len(train)),
            codes=[example.code for example in own],
            counts=np.ones(len(train)),
            folds=assign_folds(own, 0),
        )
        head, logits = fit_head(scheme, SUBTYPE, "", data, imbalance="auto", ordinal=False)
        rows = ~np.isnan(logits).any(axis=1)
        targets = np.array([scheme.target(SUBTYPE, example.code) for example in own])
        temperature = fit_temperature(logits[rows], targets[rows])
        levels = fit_set_levels(
            [scheme.combine({SUBTYPE: row}) for row in softmax(logits[rows] / temperature)],
            [scheme.taxonomy.parse(own[row].code) for row in np.flatnonzero(rows)],
            [own[row].group for row in np.flatnonzero(rows)],
            scheme.taxonomy,
        )
        found = head.with_temperature(temperature).probabilities(embeddings[test])
        for row, probabilities in zip(test, found, strict=True):
            answer = scheme.combine({SUBTYPE: probabilities})
            sets[int(row)] = prediction_set(answer, scheme.taxonomy, levels)
        return found

    return predict


def describe_sets(examples: Sequence[Example], sets: dict[int, tuple[str, ...]]) -> str:
    """Return in how many sets the true class is, of each class, and how large the sets are."""
    held = {code: [0, 0] for code in sorted({example.code for example in examples})}
    for row, members in sets.items():
        held[examples[row].code][0] += examples[row].code in members
        held[examples[row].code][1] += 1
    sizes = Counter(map(len, sets.values()))
    of_each = ", ".join(f"{code} {right} of {n}" for code, (right, n) in held.items())
    right = sum(right for right, _ in held.values())
    found = f"{right} of {len(sets)} hold the true class ({of_each})"
    return f"{found}; codes in a set: {dict(sorted(sizes.items()))}"


def predict_peer(embeddings: NDArray[np.float32], targets: NDArray[np.intp]) -> Predict:
    """Return the function that fits logistic regression with C = 1, and predicts."""
    return lambda train, test: predict_logistic(
        embeddings[train], targets[train], embeddings[test], classes=int(targets.max()) + 1
    )


def measure(predict: Predict, held_out: Sequence[NDArray[np.intp]]) -> NDArray[np.float64]:
    """Return the probabilities of every image by a model that did not learn from its fold."""
    n = sum(map(len, held_out))
    parts = [(rows, predict(np.setdiff1d(np.arange(n), rows), rows)) for rows in held_out]
    probabilities = np.zeros((n, parts[0][1].shape[1]))
    for rows, own in parts:
        probabilities[rows] = own
    return probabilities


def describe(
    name: str,
    probabilities: NDArray[np.float64],
    targets: NDArray[np.intp],
    peer: tuple[NDArray[np.bool_], NDArray[np.float64]] | None,
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Print one row; return which images are right, and what each loses."""
    right = probabilities.argmax(1) == targets
    share = wilson(int(right.sum()), len(right))
    losses = -np.log(np.maximum(probabilities[np.arange(len(targets)), targets], 1e-9))
    recall = np.mean([right[targets == target].mean() for target in np.unique(targets)])
    ece = calibration_error(np.column_stack([probabilities.max(1), right]))
    row = (
        f"{name:28} {right.sum():4} of {len(right)} ({share.low:.3f}-{share.high:.3f})  "
        f"mean recall {recall:.3f}  NLL {losses.mean():.3f}  ECE {ece:.3f}"
    )
    if peer is not None:
        won, lost = int((right & ~peer[0]).sum()), int((~right & peer[0]).sum())
        p_value = min(1.0, 2 * min(sign_test(won, lost), sign_test(lost, won)))
        change = losses - peer[1]
        nll = bootstrap(len(change), lambda rows: float(change[rows].mean()))
        row += (
            f"  beside the peer +{won} -{lost}, p = {p_value:.3f}; "
            f"NLL {nll.value:+.3f} ({nll.low:+.3f} to {nll.high:+.3f})"
        )
    print(row, flush=True)
    return right, losses


def main() -> int:
    """Measure and print."""
    torch.set_num_threads(1)
    began = time.process_time()
    examples, fields = load(Path(sys.argv[1]))
    if not examples:
        print(f"no uhcs/MANIFEST.csv in {sys.argv[1]}: nothing is measured")
        return 0
    names = sorted({example.code for example in examples})
    subtypes = [{"name": f"C{at}", "sizes": ["1"]} for at in range(len(names))]
    scheme = Scheme("two-stage", taxonomy_from({"size": [{"name": "1"}], "subtype": subtypes}))
    coded = [
        Example(e.key, f"C{names.index(e.code)}1", e.group, e.load, slices={"of": e.group})
        for e in examples
    ]
    targets = np.array([names.index(example.code) for example in examples])
    before, common = embed(fields, (STAGE_3_MEAN, STAGES_3_4_MEAN_STD), is_native=False)
    own_pixels, own_raw = embed(
        fields, (STAGES_3_4_UNIT_PARTS, STAGES_3_4_MEAN_STD), is_native=True
    )
    native = embed_peer(fields)
    treatments = np.unique([example.group for example in coded], return_inverse=True)[1]
    by_image = np.random.default_rng(0).permutation(len(coded)) % FOLDS
    single = [Example(e.key, e.code, e.key, e.load) for e in coded]
    for title, parts, own in (
        ("each heat treatment held out once", treatments, coded),
        ("five folds of images", by_image, single),
    ):
        held_out = [np.flatnonzero(parts == part) for part in np.unique(parts)]
        print(f"{title}: {dict(Counter(example.code for example in examples))}")
        peer = describe("peer", measure(predict_peer(native, targets), held_out), targets, None)
        same = measure(predict_peer(own_pixels, targets), held_out)
        describe("… on the product's features", same, targets, peer)
        for name, embedding in (
            ("product", own_pixels),
            ("… parts as they are", own_raw),
            ("… common pixel size", common),
            ("… mean of stage 3", before),
        ):
            sets: dict[int, tuple[str, ...]] = {}
            found = measure(predict_product(own, embedding, scheme, sets), held_out)
            describe(name, found, targets, peer)
            print(f"  prediction sets: {describe_sets(own, sets)}", flush=True)
    print(f"{time.process_time() - began:.0f} s of processor time")
    return 0


if __name__ == "__main__":
    sys.exit(main())
