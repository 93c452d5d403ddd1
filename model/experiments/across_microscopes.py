"""Measure how well specimens and microscopes are graded that no training saw.

The same region of a specimen is often photographed by every microscope and at every setting. So a
microscope is held out together with specimens: neither its images nor any image of the tested
specimens are learned from.

Source:
    Protocols and the figures of others: Bachmann et al. 2026, Scientific Reports 16, 29853.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.data.dataset import Example, folds, validate_examples
from model.errors import ModelError
from model.evaluation.metrics import macro_f1
from model.networks.linear_probe import ProbeData, fit_head, prepare_logistic
from model.networks.schemes import CODE, Scheme, softmax
from model.progress import Progress
from model.taxonomy import Taxonomy

REPEATS, FOLDS = 5, 5
"""Repeats, each with another fifth of the specimens held out."""
MICROSCOPE = "microscope"
OTHER_SPECIMENS = "other specimens"
STATED_OF_SPECIMENS = "ResNet18 0.760 ± 0.066, Swin-T 0.777 ± 0.083"
STATED_OF_MICROSCOPES = "0.67, 0.70, 0.77"
"""What the source states for its own set, by each protocol."""


@dataclass(frozen=True, slots=True)
class AcrossRow:
    """Result of one protocol, a value per repeat.

    Args:
        protocol: "other specimens", or the name of the microscope that was held out with them.
        tested: Images that were tested, in all repeats.
        ours: Accuracy of the heads of the default plan.
        ours_f1: Their macro-averaged F1.
        peer: Accuracy of logistic regression on the same features.
    """

    protocol: str
    tested: int
    ours: tuple[float, ...]
    ours_f1: tuple[float, ...]
    peer: tuple[float, ...]

    @property
    def stated_by_others(self) -> str:
        """What the source states for this protocol on its own set."""
        is_whole = self.protocol == OTHER_SPECIMENS
        return STATED_OF_SPECIMENS if is_whole else STATED_OF_MICROSCOPES

    def as_json(self) -> dict[str, Any]:
        """Return the row as JSON, each measure with mean and standard deviation."""
        measures = {"ours": self.ours, "ours_macro_f1": self.ours_f1, "peer": self.peer}
        return {
            "protocol": self.protocol,
            "tested": self.tested,
            "stated_by_others": self.stated_by_others,
            **{
                name: {"mean": float(np.mean(values)), "sd": spread(values), "each": list(values)}
                for name, values in measures.items()
            },
        }


@dataclass(frozen=True, slots=True)
class AcrossResult:
    """What was measured.

    Args:
        rows: The protocols, other specimens first.
        images, specimens: How many were usable.
        microscopes: Their names.
    """

    rows: tuple[AcrossRow, ...]
    images: int
    specimens: int
    microscopes: tuple[str, ...]


def spread(values: Sequence[float]) -> float:
    """Return the standard deviation of repeats, 0 of one."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def measure_across(
    examples: Sequence[Example], taxonomy: Taxonomy, *, repeats: int = REPEATS, seed: int = 0
) -> Generator[Progress[Path], None, AcrossResult]:
    """Measure codes on other specimens, and on microscopes held out together with them.

    Args:
        examples: Labelled micrographs with their microscope as a slice; groups are specimens.
        taxonomy: The classes.
        repeats: How many fifths of the specimens are held out in turn.
        seed: Of the order of the specimens.

    Raises:
        ModelError: Fewer than two microscopes are named, or a code has one specimen alone.
    """
    usable, known, _ = validate_examples(examples, taxonomy)
    usable = sorted(usable, key=lambda example: example.key)
    microscopes = tuple(sorted({e.slices.get(MICROSCOPE, "") for e in usable} - {""}))
    if len(microscopes) < 2:  # noqa: PLR2004 - one is held out, one stays
        raise ModelError(
            f"{len(microscopes)} microscope is named by these micrographs, 2 are needed: give the "
            "manifest a column `microscope`."
        )
    for code in known.trained_codes:
        if len({e.group for e in usable if e.code == code}) < 2:  # noqa: PLR2004 - likewise
            raise ModelError(f"{code} has micrographs of one specimen alone; 2 are needed.")
    features = yield from _extract(usable)
    scheme = Scheme("global", known)
    own = np.array([example.slices.get(MICROSCOPE, "") for example in usable])
    at = {example.key: row for row, example in enumerate(usable)}
    found: dict[str, list[tuple[float, float, float, int]]] = {OTHER_SPECIMENS: []}
    for repeat in range(repeats):
        split = folds(usable, FOLDS, seed=seed + repeat)[0]
        learned, tested = (np.array([at[e.key] for e in side], np.intp) for side in split)
        parts = [(OTHER_SPECIMENS, learned, tested)] + [
            (name, learned[own[learned] != name], tested[own[tested] == name])
            for name in microscopes
        ]
        for done, (name, of_training, held_out) in enumerate(parts):
            codes = {usable[row].code for row in of_training}
            of_test = np.array([row for row in held_out if usable[row].code in codes], np.intp)
            if len(of_test) and len(codes) > 1:
                scores = _score(usable, features, scheme, of_training, of_test)
                found.setdefault(name, []).append((*scores, len(of_test)))
            yield Progress(f"repeat {repeat + 1} of {repeats}", done + 1, len(parts))
    return AcrossResult(
        tuple(
            AcrossRow(name, sum(n for *_, n in scores), *zip(*(s[:3] for s in scores), strict=True))
            for name, scores in found.items()
            if scores
        ),
        len(usable),
        len({example.group for example in usable}),
        microscopes,
    )


def _extract(examples: Sequence[Example]) -> Generator[Progress[Path], None, NDArray[np.float32]]:
    """Embed images by the frozen network of the default plan at their own pixels."""
    from model.networks.backbones import frozen_lite0  # noqa: PLC0415 - PyTorch takes seconds
    from model.networks.field_embedding import STAGES_3_4_UNIT_PARTS  # noqa: PLC0415 - likewise
    from model.ood.frozen_pass import build_frozen_pass  # noqa: PLC0415 - likewise

    first = examples[0].load()
    frozen_pass = build_frozen_pass(frozen_lite0(), "fp32", first.um_per_px or 1.0, is_native=True)
    rows = []
    for done, example in enumerate(examples):
        seen = frozen_pass.run(example.load())
        rows.append(STAGES_3_4_UNIT_PARTS.compute(seen.maps, seen.weights))
        yield Progress("features", done + 1, len(examples))
    return np.stack(rows)


def _score(
    examples: Sequence[Example],
    features: NDArray[np.float32],
    scheme: Scheme,
    learned: NDArray[np.intp],
    tested: NDArray[np.intp],
) -> tuple[float, float, float]:
    """Return accuracy and macro-F1 of our heads, and the accuracy of logistic regression."""
    from model.training.heads import assign_folds  # noqa: PLC0415 - PyTorch

    own = [examples[row] for row in learned]
    data = ProbeData(
        embeddings=features[learned],
        images=np.arange(len(own)),
        codes=[example.code for example in own],
        counts=np.ones(len(own)),
        folds=assign_folds(own, 0),
    )
    head, _ = fit_head(scheme, CODE, "", data, imbalance="auto", ordinal=False)
    true = np.array([head.classes.index(examples[row].code) for row in tested])
    ours = head.logits(features[tested]).argmax(axis=1)
    labels = np.array([head.classes.index(example.code) for example in own])
    k = len(head.classes)
    peer = predict_logistic(features[learned], labels, features[tested], classes=k).argmax(axis=1)
    f1 = macro_f1(true, ours, k)
    return float((ours == true).mean()), float(f1), float((peer == true).mean())


def predict_logistic(
    learned: NDArray[np.float32],
    labels: NDArray[np.intp],
    tested: NDArray[np.float32],
    *,
    classes: int,
) -> NDArray[np.float64]:
    """Return the probabilities of logistic regression (C = 1) on standardised features, (n, k)."""
    centre, deviation = learned.mean(0), learned.std(0) + 1e-9
    targets = np.eye(classes)[labels]
    x = (learned - centre).astype(np.float64) / deviation
    weight, bias = prepare_logistic(x, targets)(np.ones(len(x)), 0.5)
    return softmax((tested - centre) / deviation @ weight.T + bias)
